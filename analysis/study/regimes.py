"""Analysis 10: clustering by what was trained, and whether the regimes formed equally many spines.

A regime in which more spines form has more of them in clusters by chance alone. That two rates do not differ
significantly does not make them equal: equality is stated by two one-sided tests within a margin (Schuirmann 1987), and
by the smallest margin within which the rates would be called equal.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from analysis.model import Fate
from analysis.study import charts
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Floats
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import ROUNDING, group_means, holm, is_flat
from analysis.study.nulls import observed_spines, permuted_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    PERMUTED,
    Material,
    against_chance,
    clustered_counts,
    count_neighbours,
    draw_chance,
    mean_known,
    panel_height,
    panel_width,
    percent_clustered,
    ratio,
    read_material,
    tell_chance,
    turn_names,
)
from analysis.study.tables import StudyTables

ALPHA = 0.05
CLUSTERED = "new spines in clusters (definition 1), % of new spines"
FORMED = "new spines, % of the spines of the first view"


def clustering_by_task(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the share of clustered new spines by task, beside the formation rates and whether these are equal.

    Raises
    ------
    NotComputable
        There are not two tasks in the phases of the study, or no new spine.
    """
    material = read_material(tables, settings)
    units = material.units.assign(task=material.units["task"].astype(str))
    if units["task"].nunique() < 2:
        raise NotComputable(
            f"the phases of the study have one task only ({units['task'].iloc[0] or 'none named'}); clustering by task "
            "needs two, named in the table of phases"
        )
    table, drawn = _by_animal(material, units, settings)
    chance, chance_lines = against_chance(table, "clustered_percent", drawn, CLUSTERED, PERMUTED)
    equal = equal_rates(table, "formed_percent", settings.equal_formation_percent)
    statistics = []
    for value, measure, spines in (
        ("clustered_percent", CLUSTERED, "new_spines"), ("formed_percent", FORMED, "first_view_spines"),
    ):  # fmt: skip
        statistics += group_means(as_groups(table), value, measure, spines=spines)
        statistics += compare_conditions(table, value, measure, spines=spines, runs=settings.runs, seed=settings.seed)
    return Finding(
        name="10_clustering_by_task",
        title="Clustering of new spines by task",
        legend=_legend(table, chance, equal, settings),
        tables={"": table, "chance": chance},
        statistics=(*statistics, *equal, *chance_lines),
        draw=lambda: _draw(table, chance),
    )


def _by_animal(
    material: Material, units: pd.DataFrame, settings: StudySettings
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return one row an animal and phase, whose condition is the task, and its share in the runs of chance."""
    dendrites = material.dendrites
    counts = clustered_counts(observed_spines(dendrites), count_neighbours, dendrites, units)
    permuted = permuted_spines(dendrites, runs=settings.runs, seed=settings.seed)
    drawn = percent_clustered(clustered_counts(permuted, count_neighbours, dendrites, units, runs=settings.runs))
    first = material.fates[material.fates["fate"].isin([Fate.STABLE.value, Fate.LOST.value])]
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    before = first.groupby(["animal", "phase"]).size().reindex(keys).fillna(0).to_numpy(dtype=float)
    new: Floats = counts[0, 0]
    table = units.assign(
        condition=_condition(material, units), new_spines=new.astype(int), first_view_spines=before.astype(int),
        clustered_percent=percent_clustered(counts)[0], chance_percent=mean_known(drawn, axis=0),
        formed_percent=ratio(100.0 * new, np.asarray(before, dtype=float)),
    )  # fmt: skip
    order = np.argsort(table["condition"].map(condition_names(table).index).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True), drawn[:, order]


def _condition(material: Material, units: pd.DataFrame) -> list[str]:
    """Return the task; with its days where it was done at different times: early and late training are two regimes.

    The days are those of the table of phases: an animal that lacks its last session was trained as the others.
    """
    days = {
        (phase.animal, phase.name): (round(phase.planned_days[0]), round(phase.planned_days[1]))
        for phase in material.phases
    }
    when = pd.Series([days[key] for key in zip(units["animal"], units["phase"], strict=True)], index=units.index)
    task = units["task"].replace("", "no task")
    several = when.groupby(task).transform("nunique") > 1
    return [
        f"{name}, days {first} to {last}" if is_one_of_several else name
        for name, (first, last), is_one_of_several in zip(task, when, several, strict=True)
    ]


def equal_rates(table: pd.DataFrame, value: str, margin: float) -> list[Statistic]:
    """Return for every pair of conditions whether their means are equal within a margin.

    The test is two one-sided Welch t tests (paired where the same animals are in both); its P is the larger of both,
    the interval is that of 90 %, which lies within the margin when P < 0.05.
    """
    lines = []
    for first, second in combinations(condition_names(table), 2):
        rows = [table[(table["condition"] == name) & table[value].notna()] for name in (first, second)]
        shared = rows[0].merge(rows[1], on="animal", suffixes=("_a", "_b"))
        paired = len(shared) > 1
        x, y = (
            (shared[f"{value}_{side}"] if paired else part[value]).to_numpy(dtype=float)
            for side, part in zip("ab", rows, strict=True)
        )
        if min(len(x), len(y)) < 2 or (not paired and len(shared)):
            continue
        low, high, p = two_one_sided(x, y, margin, paired=paired)
        kind = "paired t" if paired else "Welch t"
        least = "" if low is None or high is None else f"; equal within {max(abs(low), abs(high)):.2g} % points or more"
        lines.append(
            Statistic(
                FORMED, f"{first} equal to {second}",
                f"two one-sided tests ({kind}), margin {margin:g} % points; the interval is that of 90 %{least}",
                len(shared) if paired else len(x) + len(y),
                int(sum(part["first_view_spines"].sum() for part in rows)), float(x.mean() - y.mean()), low, high, p,
            )
        )  # fmt: skip
    return holm(lines)


def two_one_sided(
    x: NDArray[np.float64], y: NDArray[np.float64], margin: float, *, paired: bool = False
) -> tuple[float | None, float | None, float | None]:
    """Return the 90 % interval of mean(x) - mean(y), and P that it lies outside the margin; None without a spread."""
    rounding = ROUNDING * float(np.max(np.abs([*x, *y])))
    if float(np.ptp(x - y)) <= rounding if paired else is_flat(x) and is_flat(y):
        return None, None, None
    test = stats.ttest_rel if paired else partial(stats.ttest_ind, equal_var=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)  # equal in one group
        above, below = test(x + margin, y, alternative="greater"), test(x - margin, y, alternative="less")
        interval = test(x, y).confidence_interval(1 - 2 * ALPHA)
    return float(interval.low), float(interval.high), float(max(above.pvalue, below.pvalue))


def _legend(table: pd.DataFrame, chance: pd.DataFrame, equal: list[Statistic], settings: StudySettings) -> str:
    tested = [line for line in equal if line.p_corrected is not None]
    sure = [line for line in tested if (line.p_corrected or 0.0) < ALPHA]
    margin = f"within {settings.equal_formation_percent:g} % points (two one-sided tests, P corrected after Holm)"
    told = [f"Shown to be equal {margin}: {_tell(sure)}."]
    told += [f"Not shown to be equal: {_tell([line for line in tested if line not in sure])}."]
    return (
        f"Left: percentage of new spines in clusters (definition 1) by task, one mark an animal, with mean and s.e.m.; "
        f"grey, chance (mean and interval of 95 % of {settings.runs} runs in which it is permuted which spines of "
        f"a dendrite are new). Right: formation, new spines in percent of the spines of the first view. Are the "
        f"formation rates equal? {' '.join(told) if tested else 'Too few animals, or none that differ, to say.'} "
        f"{tell_numbers(table, 'clustered_percent', 'new_spines')} {tell_chance(chance)} Tasks are compared by "
        f"permutation of animals, Mann-Whitney and Welch's t test, P corrected after Holm (statistics.json)."
    )


def _tell(lines: Sequence[Statistic]) -> str:
    return "; ".join(
        f"{line.comparison.replace(' equal to ', ' and ')} (difference {line.value:.1f}, 90 % interval {line.low:.1f} "
        f"to {line.high:.1f}, P = {line.p_corrected:.2g})"
        for line in lines
    ) or "none"  # fmt: skip


def _draw(table: pd.DataFrame, chance: pd.DataFrame) -> Figure:
    names = condition_names(table)
    figure, (left, right) = charts.panels(2, width_in=panel_width(names), height_in=panel_height(names))
    draw_chance(left, chance, names)
    charts.draw_animals(left, as_groups(table), "clustered_percent", groups=names, label="new spines in clusters, %")
    turn_names(left, names)
    left.legend(loc="best")
    label = "new spines,\n% of the first view"
    charts.draw_animals(right, as_groups(table), "formed_percent", groups=names, label=label)
    turn_names(right, names)
    right.set_ylim(bottom=0)
    return figure
