"""The share of new spines in clusters, animal by animal: as observed, and as chance alone would have it.

A share f of new spines puts about 1 - (1 - f)^2 of them next to another by chance alone, so that a share without its
chance says nothing: both are always counted by the same function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.study.clusters import ROUNDING_UM, beside
from analysis.study.dendrites import Dendrites, Floats, Numbers
from analysis.study.nulls import NewSpines, sums_by

Counts = Callable[[NewSpines], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Gives the clustered and the undecided new spines of dendrites, (runs, dendrites) each."""


def count_neighbours(spines: NewSpines) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count new spines in clusters by definition 1, and those that are undecided."""
    open_between, clear = spines.stable_between == 0, spines.hidden_between == 0
    clustered = beside(open_between & clear)
    undecided = beside(open_between & ~clear) & ~clustered
    return clustered.sum(axis=-1), undecided.sum(axis=-1)


def count_near(distance_um: float) -> Counts:
    """Return the function that counts new spines within a distance of another (definition 2); none is undecided."""

    def count(spines: NewSpines) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        near = beside(np.diff(spines.along_um, axis=-1) <= distance_um + ROUNDING_UM)
        clustered = near.sum(axis=-1)
        return clustered, np.zeros_like(clustered)

    return count


def unit_of(dendrites: Dendrites, units: pd.DataFrame) -> Numbers:
    """Return the row of ``units`` (``animal, phase``) that each dendrite belongs to, -1 for none."""
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    return keys.get_indexer(pd.MultiIndex.from_frame(dendrites.names[["animal", "phase"]])).astype(np.int64)


def clustered_counts(
    drawn: Iterable[NewSpines], count: Counts, dendrites: Dendrites, units: pd.DataFrame, *, runs: int = 1
) -> Floats:
    """Return new, clustered and undecided spines: (3, runs, units)."""
    found = np.zeros((3, runs, len(units)))
    unit = unit_of(dendrites, units)
    known = unit >= 0
    found[0] = np.bincount(unit[known], dendrites.new.counts[known], minlength=len(units))
    summed = sums_by(drawn, count, unit, runs=runs)
    if summed.size:
        found[1:, :, : summed.shape[2]] = summed
    return found


def percent_clustered(counts: Floats) -> Floats:
    """Return clustered in percent of the decided new spines, (runs, units); NaN where there are none."""
    new, clustered, undecided = counts
    return ratio(100.0 * clustered, new - undecided)


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return part over whole; NaN where the whole is 0."""
    found: Floats = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found


def mean_known(values: Floats, axis: int) -> Floats:
    """Return the mean of the numbers along an axis; NaN where there are none."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis).astype(float))


def mean_of_animals(percent: Floats, units: pd.DataFrame, condition: str) -> Floats:
    """Return the mean over the animals of a condition, run by run; NaN where none has a value."""
    return mean_known(percent[:, (units["condition"] == condition).to_numpy()], axis=1)
