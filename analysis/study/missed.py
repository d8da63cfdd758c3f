"""How far a result hangs on spines that were missed: detections are dropped at random, and it is counted again.

A missed existing spine no longer stands between two new ones and makes of them a false cluster; a spine missed in the
first view alone looks new. Each has its own way of being drawn: spines ``never seen`` at all, and ``single views`` in
which a spine that is there is called absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study.clusters import along_dendrites, beside, neighbours
from analysis.study.dendrites import Floats
from analysis.study.shares import mean_known, mean_of_animals, percent_clustered

NEVER_SEEN, SINGLE_VIEWS = "never seen", "single views"
MOST_RUNS = 200
"""Enough for a mean: the spread over runs is printed."""


def with_missed(
    fates: pd.DataFrame, units: pd.DataFrame, shares: Sequence[float], *, runs: int, seed: int
) -> pd.DataFrame:
    """Return the share of clustered new spines (definition 1) after detections were dropped at random.

    Parameters
    ----------
    fates
        Of all phases.
    units
        One row an animal and phase, with ``condition``.
    shares
        Shares of the detections that are dropped; 0, as observed, is always there.
    runs, seed
        How often each is drawn (at most 200 times), and of what.

    Returns
    -------
    ``missed`` (never seen, single views), ``missed_share, condition, clustered_percent`` (mean over the runs of the
    mean of animals), ``low, high`` (of 95 % of the runs), ``new_spines`` (mean number counted as new).
    """
    table = along_dendrites(fates)
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    unit = keys.get_indexer(pd.MultiIndex.from_frame(table[["animal", "phase"]])).astype(np.int64)
    dendrite, fate = table["dendrite_number"].to_numpy(), table["fate"].to_numpy(dtype=str)
    rows: list[dict[str, object]] = []
    for place, way in enumerate((NEVER_SEEN, SINGLE_VIEWS)):
        for number, share in enumerate((0.0, *shares)):
            rng = np.random.default_rng([seed, place, number])
            drawn = [fate] if not share else list(_drops(fate, way, share, min(runs, MOST_RUNS), rng))
            counts = np.stack([_counts(dendrite, one, unit, len(units)) for one in drawn], axis=1)
            rows += _by_condition(counts, units, way, share)
    return pd.DataFrame(rows)


def _drops(
    fate: NDArray[np.str_], way: str, share: float, runs: int, rng: np.random.Generator
) -> Iterator[NDArray[np.str_]]:
    at_first, at_last = (np.isin(fate, [Fate.STABLE.value, kind.value]) for kind in (Fate.LOST, Fate.GAINED))
    for _ in range(runs):
        if way == NEVER_SEEN:
            yield np.where(rng.random(len(fate)) < share, "", fate)
            continue
        first, last = rng.random((2, len(fate))) >= share
        first &= at_first
        last &= at_last
        seen = np.select([first & last, last, first], [Fate.STABLE.value, Fate.GAINED.value, Fate.LOST.value], "")
        yield np.where(fate == Fate.UNSCORABLE.value, fate, seen)


def _counts(dendrite: NDArray[np.int64], fate: NDArray[np.str_], unit: NDArray[np.int64], units: int) -> Floats:
    new, together, doubtful = neighbours(dendrite, fate)
    clustered = beside(together) if len(new) else np.zeros(0, dtype=bool)
    undecided = beside(doubtful) & ~clustered if len(new) else clustered
    known = unit[new] >= 0
    return np.array(
        [
            np.bincount(unit[new][known], weights=values[known].astype(float), minlength=units)
            for values in (np.ones(len(new)), clustered, undecided)
        ]
    )


def _by_condition(counts: Floats, units: pd.DataFrame, way: str, share: float) -> Iterator[dict[str, object]]:
    percent = percent_clustered(counts)
    for condition in dict.fromkeys(units["condition"]):
        means = mean_of_animals(percent, units, condition)
        known = means[np.isfinite(means)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        new = counts[0][:, (units["condition"] == condition).to_numpy()].sum(axis=1).mean()
        yield {
            "missed": way, "missed_share": share, "condition": condition,
            "clustered_percent": float(mean_known(means, axis=0)), "low": float(low), "high": float(high),
            "new_spines": float(new),
        }  # fmt: skip
