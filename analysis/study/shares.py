"""The share of new spines in clusters, animal by animal: as observed, and as chance alone would have it.

A share f of new spines puts about 1 - (1 - f)^2 of them next to another by chance alone, so that a share without its
chance says nothing: both are always counted by the same function here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.study import charts
from analysis.study.clusters import ROUNDING_UM, beside
from analysis.study.conditions import condition_names, conditions_of
from analysis.study.dendrites import Dendrites, Floats, Numbers, read_dendrites
from analysis.study.finding import NotComputable, Statistic
from analysis.study.inference import CONFIDENCE, against_null, holm
from analysis.study.intervals import Phase, phase_fates, phases_of
from analysis.study.nulls import NewSpines, sums_by
from analysis.study.settings import StudySettings
from analysis.study.tables import StudyTables

PERMUTED = "which spines are new permuted within each dendrite"
UNIFORM = "new spines placed anywhere on the judged stretch of each dendrite"
CHANCE_COLUMNS = [
    "condition",
    "observed_percent",
    "chance_percent",
    "low_percent",
    "high_percent",
    "z",
    "p",
    "p_corrected",
]


@dataclass(frozen=True, eq=False)
class Material:
    """What the analyses of new spines are made of.

    Parameters
    ----------
    phases
        Of every animal.
    units
        One row an animal and phase, with its condition.
    fates
        Of every spine in every phase.
    dendrites
        The same as arrays.
    """

    phases: list[Phase]
    units: pd.DataFrame
    fates: pd.DataFrame
    dendrites: Dendrites


def read_material(tables: StudyTables, settings: StudySettings, *, with_filopodia: bool | None = None) -> Material:
    """Return the fates of a study in all its phases.

    Raises
    ------
    NotComputable
        There is no phase of two views, or no new spine in any.
    """
    phases = phases_of(tables, same_day=settings.same_day)
    units = conditions_of(phases)
    kept = settings.with_filopodia if with_filopodia is None else with_filopodia
    fates = phase_fates(tables, phases, with_filopodia=kept)
    dendrites = read_dendrites(fates)
    if not len(dendrites.new.um):
        raise NotComputable("no new spine in any phase, and the question is about new spines")
    return Material(phases, units, fates, dendrites)


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


def against_chance(
    table: pd.DataFrame, value: str, drawn: Floats, measure: str, null: str
) -> tuple[pd.DataFrame, list[Statistic]]:
    """Return the mean of animals of every condition against the runs of a null.

    Parameters
    ----------
    table
        One row an animal and phase, with ``condition, new_spines`` and the value observed.
    value
        Column of the value.
    drawn
        (runs, rows of the table) the same value in each run.
    measure, null
        What it is, and how chance was drawn.

    Returns
    -------
    Table of ``CHANCE_COLUMNS``, and the tests, P corrected after Holm over the conditions. Animals without an observed
    value are left out of the runs, too.
    """
    rows, lines = [], []
    drawn = np.where(table[value].notna().to_numpy(), drawn, np.nan)
    for condition in condition_names(table):
        known = table[(table["condition"] == condition) & table[value].notna()]
        means = mean_of_animals(drawn, table, condition)
        means = means[np.isfinite(means)]
        if known.empty or not len(means):
            continue
        observed, count = float(known[value].mean()), int(known["new_spines"].sum())
        line = against_null(
            observed, means, f"{measure}: {condition}", null, n_animals=len(known), n_spines=count
        )  # fmt: skip
        spread = float(means.std())
        z = (observed - float(means.mean())) / spread if spread else np.nan
        rows.append((condition, observed, float(means.mean()), line.low, line.high, z, line.p))
        lines.append(line)
    lines = holm(lines)
    corrected = [(*row, line.p_corrected) for row, line in zip(rows, lines, strict=True)]
    return pd.DataFrame(corrected, columns=CHANCE_COLUMNS), lines


def tell_chance(chance: pd.DataFrame) -> str:
    """Return a table of ``CHANCE_COLUMNS`` as a sentence."""
    told = "; ".join(
        f"{row.condition}: {row.observed_percent:.1f} % observed, {row.chance_percent:.1f} % by chance, "
        f"P = {row.p_corrected:.2g}"
        for row in chance.itertuples()
    )
    return (
        f"Against chance (P corrected after Holm over the groups): {told}."
        if told
        else "Nothing could be put against chance."
    )


MOST_UPRIGHT, LONGEST_UPRIGHT = 4, 10
"""Names of so many conditions, or of so many letters a line, stand upright under their places; others are turned."""


def panel_width(names: Sequence[str]) -> float:
    """Return the width of a panel that has a place for every condition, inches."""
    return max(charts.PANEL_IN[0], 0.5 * len(names) + 0.8)


def panel_height(names: Sequence[str]) -> float:
    """Return the height of a panel that leaves room for the names below it and a key, inches."""
    return 3.2 + (0.04 * max(map(len, names)) if is_turned(names) else 0.0)


def is_turned(names: Sequence[str]) -> bool:
    """Return whether names are too many, or too long for so many, to stand upright under their places."""
    longest = max((len(line) for name in names for line in charts.wrapped(name).split("\n")), default=0)
    return len(names) > MOST_UPRIGHT + 1 or (len(names) > MOST_UPRIGHT and longest > LONGEST_UPRIGHT)


def turn_names(axes: Axes, names: Sequence[str]) -> None:
    """Turn the names under the places where they cannot stand upright."""
    if is_turned(names):
        axes.set_xticks(range(len(names)), list(names), rotation=35, ha="right", rotation_mode="anchor")


def draw_chance(axes: Axes, chance: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw the interval and the mean of chance behind the animals of each condition."""
    for number, row in enumerate(chance.to_dict("records")):
        place = list(names).index(row["condition"])
        axes.fill_between(
            [place - 0.38, place + 0.38], row["low_percent"], row["high_percent"], color=charts.NULL, alpha=0.55,
            linewidth=0, zorder=0, label="" if number else f"chance, {100 * CONFIDENCE:g} % of runs",
        )  # fmt: skip
        axes.plot(
            [place - 0.38, place + 0.38], [row["chance_percent"]] * 2, color=charts.QUIET, linewidth=1.0, zorder=1,
            label="" if number else "chance, mean",
        )  # fmt: skip
