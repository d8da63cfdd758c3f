"""Analysis 6: clustering against chance, by both definitions and both nulls, and how far each animal is beyond it.

A group that forms more spines has more of them side by side by chance alone. What is beyond chance, animal by animal,
is what groups can be compared by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import charts
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Floats, judged_pieces, read_pieces
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import group_means
from analysis.study.nulls import NewSpines, observed_spines, permuted_spines, uniform_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    PERMUTED,
    UNIFORM,
    Counts,
    Material,
    against_chance,
    clustered_counts,
    count_near,
    count_neighbours,
    mean_known,
    mean_of_animals,
    percent_clustered,
    read_material,
    turn_names,
)
from analysis.study.tables import StudyTables

MANY = 6
"""Conditions from which on the panels stand in two rows."""
NULLS = {"permuted": PERMUTED, "uniform": UNIFORM}


def clustering_against_chance(tables: StudyTables, settings: StudySettings) -> Finding:
    """Put the share of clustered new spines against the runs of two nulls, by group and definition.

    Raises
    ------
    NotComputable
        There is no phase of two views, or no new spine.
    """
    material = read_material(tables, settings)
    definitions: dict[str, Counts] = {"1": count_neighbours, "2": count_near(settings.cluster_distance_um)}
    chances, beyond, statistics, runs, left_out = [], [], [], {}, ""
    for null, words in NULLS.items():
        for definition, count in definitions.items():
            try:
                drawn = _drawn(tables, material, count, null, settings)
            except NotComputable as error:
                left_out = f" Uniform placement is left out: {error}."
                continue
            table = _by_animal(material, count, drawn).assign(definition=definition, null=null)
            measure = f"new spines in clusters (definition {definition}), % of new spines"
            chance, lines = against_chance(table, "clustered_percent", drawn, measure, words)
            chances.append(chance.assign(definition=definition, null=null))
            beyond.append(table)
            runs[null, definition] = {
                name: mean_of_animals(drawn, material.units, name) for name in condition_names(material.units)
            }
            statistics += [*lines, *_beyond(table, f"{measure}, beyond chance ({null})", settings)]
    chance, table = pd.concat(chances, ignore_index=True), pd.concat(beyond, ignore_index=True)
    return Finding(
        name="06_clustering_against_chance",
        title="Clustering of new spines against chance",
        legend=_legend(table, chance, settings) + left_out,
        tables={"": chance, "animals": table},
        statistics=tuple(statistics),
        draw=lambda: _draw(chance, table, runs, settings),
    )


def _drawn(tables: StudyTables, material: Material, count: Counts, null: str, settings: StudySettings) -> Floats:
    dendrites, runs, seed = material.dendrites, settings.runs, settings.seed
    spines: Iterator[NewSpines] = permuted_spines(dendrites, runs=runs, seed=seed)
    if null == "uniform":
        pieces = read_pieces(judged_pieces(tables, material.phases), dendrites)
        spines = uniform_spines(dendrites, pieces, runs=runs, seed=seed)
    return percent_clustered(clustered_counts(spines, count, dendrites, material.units, runs=runs))


def _by_animal(material: Material, count: Counts, drawn: Floats) -> pd.DataFrame:
    counts = clustered_counts(observed_spines(material.dendrites), count, material.dendrites, material.units)
    observed, chance = percent_clustered(counts)[0], mean_known(drawn, axis=0)
    return material.units.assign(
        new_spines=counts[0, 0].astype(int), clustered_percent=observed, chance_percent=chance,
        beyond_chance_percent=observed - chance,
    )  # fmt: skip


def _beyond(table: pd.DataFrame, measure: str, settings: StudySettings) -> list[Statistic]:
    value = "beyond_chance_percent"
    return [
        *group_means(as_groups(table), value, measure, spines="new_spines"),
        *compare_conditions(table, value, measure, spines="new_spines", runs=settings.runs, seed=settings.seed),
    ]


def _legend(table: pd.DataFrame, chance: pd.DataFrame, settings: StudySettings) -> str:
    told = []
    for (null, definition), rows in chance.groupby(["null", "definition"], sort=False):
        each = "; ".join(
            f"{row.condition}: {row.observed_percent:.1f} % observed, {row.chance_percent:.1f} % "
            f"({row.low_percent:.1f} to {row.high_percent:.1f}) by chance, z = {row.z:.2f}, P = {row.p:.2g}"
            for row in rows.itertuples()
        )
        told.append(f"Definition {definition}, {null}: {each}.")
    shown = table[(table["null"] == "permuted") & (table["definition"] == "1")]
    return (
        f"Percentage of new spines in clusters, mean of animals: coloured marks, observed; grey, the means of "
        f"{settings.runs} runs by chance, with their interval of 95 % (bar) and mean (white line). Definition 1: no "
        f"stable spine between; definition 2: within {settings.cluster_distance_um:g} um of another. Permuted: "
        f"{PERMUTED}; uniform: {UNIFORM}; each dendrite keeps the number of its new spines, and what is stable stays. "
        f"Right: what each animal is beyond the mean of its permuted runs (definition 1), with mean and s.e.m.; groups "
        f"compared by permutation of animals, Mann-Whitney and Welch's t test, P corrected after Holm "
        f"(statistics.json). {' '.join(told)} {tell_numbers(shown, 'clustered_percent', 'new_spines')} P is two-sided "
        f"and counts the observed as one of the runs."
    )


def _draw(
    chance: pd.DataFrame, table: pd.DataFrame, runs: dict[tuple[str, str], dict[str, Floats]], settings: StudySettings
) -> Figure:
    names = condition_names(table)
    count = len(runs) + 1
    columns = count if len(names) < MANY else -(-count // 2)
    figure, axes = charts.panels(columns, -(-count // columns), width_in=max(2.5, 0.4 * len(names) + 0.8))
    for empty in axes[count:]:
        empty.set_axis_off()
    distance = f"within {settings.cluster_distance_um:g} um"
    for panel, ((null, definition), drawn) in zip(axes, runs.items(), strict=False):
        rows = chance[(chance["null"] == null) & (chance["definition"] == definition)]
        _draw_runs(panel, rows, drawn, names)
        panel.set_title(f"{'no stable spine between' if definition == '1' else distance},\n{null}")
        panel.set_ylabel("new spines in clusters, %")
    last = axes[count - 1]
    shown = table[(table["null"] == "permuted") & (table["definition"] == "1")]
    last.axhline(0, color=charts.NULL, linewidth=1, zorder=0)
    charts.draw_animals(last, as_groups(shown), "beyond_chance_percent", groups=names, label="beyond chance, % points")
    turn_names(last, names)
    last.set_title("no stable spine between,\nbeyond permuted")
    return figure


def _draw_runs(axes: Axes, rows: pd.DataFrame, drawn: dict[str, Floats], names: Sequence[str]) -> None:
    for row in rows.to_dict("records"):
        name = str(row["condition"])
        place, means = list(names).index(name), drawn[name][np.isfinite(drawn[name])]
        if np.ptp(means) > 0:
            bodies: Any = axes.violinplot([means], positions=[place], widths=0.8, showextrema=False)["bodies"]
            bodies[0].set(facecolor=charts.NULL, alpha=0.8, edgecolor="none")
        axes.plot(
            [place, place],
            [row["low_percent"], row["high_percent"]],
            color=charts.QUIET,
            linewidth=3,
            solid_capstyle="butt",
        )
        axes.plot([place - 0.1, place + 0.1], [row["chance_percent"]] * 2, color="white", linewidth=1.2)
        axes.plot(
            place, row["observed_percent"], charts.group_marker(name, names), markersize=6,
            color=charts.group_colour(name, names), markeredgecolor=charts.INK, markeredgewidth=0.5,
        )  # fmt: skip
    axes.set_xticks(range(len(names)), [charts.wrapped(name) for name in names])
    turn_names(axes, names)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(bottom=-2)
