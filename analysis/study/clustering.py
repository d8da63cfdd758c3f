"""Analysis 2: the share of new spines that stand in clusters, never without what chance alone would give.

The unit is the animal: one value an animal and phase.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.study import charts
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Floats
from analysis.study.finding import Finding, Statistic
from analysis.study.inference import group_means
from analysis.study.missed import NEVER_SEEN, SINGLE_VIEWS, with_missed
from analysis.study.nulls import observed_spines, permuted_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    PERMUTED,
    against_chance,
    clustered_counts,
    count_neighbours,
    draw_chance,
    mean_known,
    panel_width,
    percent_clustered,
    ratio,
    read_material,
    tell_chance,
    turn_names,
)
from analysis.study.tables import StudyTables

MEASURE = "new spines in clusters (definition 1), % of new spines"
RULE = (
    "A cluster is two or more neighbouring new spines with no stable spine between them. New spines that an unscorable "
    "spine alone keeps from a cluster are undecided and left out; the table gives the share with all of them taken as "
    "alone and with all taken as clustered."
)


def clustered_share(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the percentage of new spines in clusters by definition 1, by animal, group and phase.

    Raises
    ------
    NotComputable
        There is no phase of two views, or no new spine.
    """
    material = read_material(tables, settings)
    units, fates, dendrites = material.units, material.fates, material.dendrites
    drawn = percent_clustered(
        clustered_counts(
            permuted_spines(dendrites, runs=settings.runs, seed=settings.seed), count_neighbours, dendrites, units,
            runs=settings.runs,
        )
    )  # fmt: skip
    counts = clustered_counts(observed_spines(dendrites), count_neighbours, dendrites, units)
    table = _by_animal(units, counts).assign(chance_percent=mean_known(drawn, axis=0))
    by_chance, lines = against_chance(table, "clustered_percent", drawn, MEASURE, PERMUTED)
    missed = with_missed(fates, units, settings.missed_shares, runs=settings.runs, seed=settings.seed)
    compared = [
        *group_means(as_groups(table), "clustered_percent", MEASURE, spines="new_spines"),
        *compare_conditions(
            table, "clustered_percent", MEASURE, spines="new_spines", runs=settings.runs, seed=settings.seed
        ),
    ]
    return Finding(
        name="02_clustered_share",
        title="New spines in clusters (definition 1)",
        legend=_legend(table, by_chance, settings),
        tables={"": table, "chance": by_chance, "missed": missed},
        statistics=(*compared, *lines, *_missed_statistics(missed, table)),
        draw=lambda: _draw(table, by_chance, missed),
    )


def _by_animal(units: pd.DataFrame, counts: Floats) -> pd.DataFrame:
    new, clustered, undecided = counts[:, 0]
    return units.assign(
        new_spines=new.astype(int),
        clustered_spines=clustered.astype(int),
        undecided_spines=undecided.astype(int),
        clustered_percent=percent_clustered(counts)[0],
        all_undecided_alone_percent=100 * ratio(clustered, new),
        all_undecided_clustered_percent=100 * ratio(clustered + undecided, new),
    )


def _missed_statistics(missed: pd.DataFrame, table: pd.DataFrame) -> list[Statistic]:
    animals = table[table["clustered_percent"].notna()].groupby("condition").size()
    return [
        Statistic(
            MEASURE, f"{row['condition']}, {100 * row['missed_share']:g} % of detections dropped ({row['missed']})",
            "mean of the runs; the interval holds 95 % of them", int(animals.get(row["condition"], 0)),
            round(row["new_spines"]), _number(row["clustered_percent"]), _number(row["low"]), _number(row["high"]),
        )
        for row in missed[missed["missed_share"] > 0].to_dict("records")
    ]  # fmt: skip


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _legend(table: pd.DataFrame, chance: pd.DataFrame, settings: StudySettings) -> str:
    return (
        f"Left: percentage of new spines that stand in clusters, one mark an animal, with mean and s.e.m.; grey, what "
        f"chance gives (mean, and the interval that holds 95 % of {settings.runs} runs in which the number of new "
        f"spines of each dendrite is kept and which of its spines are new is permuted). {RULE} "
        f"{tell_numbers(table, 'clustered_percent', 'new_spines')} {tell_chance(chance)} Groups are compared by "
        f"permutation of animals, Mann-Whitney and Welch's t test, P corrected after Holm (statistics.json). "
        f"Undecided: {int(table['undecided_spines'].sum())} of {int(table['new_spines'].sum())} new spines. "
        f"Right: the same share after detections were dropped at random, as mean of animals and interval of 95 % of "
        f"the runs: filled marks and full lines, spines never seen in any view; open marks and dashed lines, "
        f"single views in which a spine that is there is called absent."
    )


def _draw(table: pd.DataFrame, chance: pd.DataFrame, missed: pd.DataFrame) -> Figure:
    names = condition_names(table)
    figure, (left, right) = charts.panels(2, width_in=panel_width(names), height_in=3.2)
    draw_chance(left, chance, names)
    charts.draw_animals(left, as_groups(table), "clustered_percent", groups=names, label="new spines in clusters, %")
    left.set_ylim(bottom=min(0.0, left.get_ylim()[0]))
    turn_names(left, names)
    left.legend(loc="best")
    _draw_missed(right, missed, names)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), fontsize=6)
    return figure


def _draw_missed(axes: Axes, missed: pd.DataFrame, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        for way, line, filled in ((NEVER_SEEN, "-", True), (SINGLE_VIEWS, "--", False)):
            rows = missed[(missed["condition"] == name) & (missed["missed"] == way)]
            middle, colour = rows["clustered_percent"].to_numpy(), charts.group_colour(name, names)
            shift = 0.25 * (place - (len(names) - 1) / 2) + (0.1 if not filled else 0.0)
            axes.errorbar(
                100 * rows["missed_share"].to_numpy() + shift, middle,
                yerr=np.clip([middle - rows["low"].to_numpy(), rows["high"].to_numpy() - middle], 0, None),
                fmt=charts.group_marker(name, names) + line, color=colour, markersize=4, linewidth=1.0, elinewidth=0.6,
                markerfacecolor=colour if filled else "white", label=f"{name}, {way}",
            )  # fmt: skip
    axes.set_xlabel("detections dropped at random, %")
    axes.set_ylabel("new spines in clusters, %")
    axes.set_ylim(bottom=0)
