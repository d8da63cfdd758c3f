"""Analysis 5: when the first spine of a cluster comes, and when the second joins it.

A cluster is dated by the sessions in which its spines are first seen: its first spine by the earliest, its second (the
first **succedent** one) by the next. Where both are first seen in the same session their order is not known. A cluster
with a spine that was unscorable in the session before it was first seen cannot be dated, and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study import charts
from analysis.study.clusters import ALONE, cluster_members
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Floats
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import group_means
from analysis.study.intervals import UNKNOWN, Phase
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    Material,
    against_chance,
    draw_chance,
    mean_known,
    panel_height,
    panel_width,
    ratio,
    read_material,
    tell_chance,
    turn_names,
)
from analysis.study.tables import StudyTables

NULL = "the sessions in which the new spines of an animal were first seen permuted among them"
AT_FIRST = "clusters whose first spine is seen in the first session of the phase, % of clusters"
IN_STEPS = "clusters whose second spine came in a later session than the first, % of clusters"
CURVES = (("first_day", "first spine there", "-", True), ("second_day", "second spine there", "--", False))


def cluster_order(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the days on which the first and the second spine of each cluster (definition 1) are first seen.

    Raises
    ------
    NotComputable
        No phase has a session between its ends, or there is no cluster in one.
    """
    material = read_material(tables, settings)
    phases = [phase for phase in material.phases if len(phase.sessions) > 2]
    if not phases:
        raise NotComputable(
            "every phase has two views only; the order in which the spines of a cluster came needs a session between"
        )
    new = _new_in(material, phases)
    table = _clusters(new, material.units)
    if table.empty:
        raise NotComputable("no cluster (definition 1) in a phase with a session between its ends")
    seen = pd.DataFrame([(phase.animal, phase.name) for phase in phases], columns=["animal", "phase"])
    units = material.units.merge(seen, on=["animal", "phase"])
    of_animals = _by_animal(table, units)
    first, steps = _drawn(new, units, settings)
    parts, lines = {}, []
    for value, measure, drawn in (("at_first_percent", AT_FIRST, first), ("in_steps_percent", IN_STEPS, steps)):
        of_animals[value.replace("percent", "chance_percent")] = mean_known(drawn, axis=0)
        parts[value], tested = against_chance(of_animals, value, drawn, measure, NULL)
        lines += _compared(of_animals, value, measure, settings) + tested
    by_day = _by_day(table)
    return Finding(
        name="05_cluster_order",
        title="When the first and the second spine of a cluster come",
        legend=_legend(of_animals, table, parts, settings),
        tables={
            "": table,
            "animals": of_animals,
            "by_day": by_day,
            **{k[:-8] + "_chance": v for k, v in parts.items()},
        },
        statistics=tuple(lines),
        draw=lambda: _draw(of_animals, by_day, parts, condition_names(material.units)),
    )


def _new_in(material: Material, phases: Sequence[Phase]) -> pd.DataFrame:
    """Return the new spines of phases with their cluster, ``seen_day`` and ``at_first``; days since the phase began."""
    days = {
        (phase.animal, phase.name, session): (round(day - phase.days[0], 6), session == phase.sessions[1])
        for phase in phases
        for session, day in zip(phase.sessions, phase.days, strict=True)
    }  # fmt: skip
    fates = material.fates.assign(cluster=cluster_members(material.fates)["cluster"])
    new = fates[fates["fate"] == Fate.GAINED.value]
    is_open = new["cluster"].isin(new.loc[new["formed"].eq(UNKNOWN), "cluster"]) & new["cluster"].ne(ALONE)
    new = new[~is_open]
    found = [days.get(key) for key in zip(new["animal"], new["phase"], new["formed"], strict=True)]
    new = new[[one is not None for one in found]]
    known = [one for one in found if one is not None]
    new = new.assign(seen_day=[day for day, _ in known], at_first=[first for _, first in known])
    return new.sort_values(["animal", "phase", "field", "dendrite", "along_um", "track"], ignore_index=True)


def _clusters(new: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for number, spines in new[new["cluster"] != ALONE].groupby("cluster"):
        days = np.sort(spines["seen_day"].to_numpy(dtype=float))
        head = spines.iloc[0]
        rows.append(
            (head["animal"], head["phase"], head["field"], head["dendrite"], number, len(days), days[0], days[1],
             bool(days[0] < days[-1]), bool(spines["at_first"].any()))
        )  # fmt: skip
    columns = ["animal", "phase", "field", "dendrite", "cluster", "size", "first_day", "second_day", "in_steps"]
    table = pd.DataFrame(rows, columns=[*columns, "at_first"])
    return units[["animal", "group", "phase", "condition"]].merge(table, on=["animal", "phase"])


def _by_animal(table: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    told = table.groupby(["animal", "phase"]).agg(
        clusters=("size", "size"), new_spines=("size", "sum"), first=("at_first", "mean"), steps=("in_steps", "mean")
    )
    told = told.reindex(pd.MultiIndex.from_frame(units[["animal", "phase"]]))
    return units.assign(
        clusters=told["clusters"].fillna(0).to_numpy(dtype=int),
        new_spines=told["new_spines"].fillna(0).to_numpy(dtype=int),
        at_first_percent=100 * told["first"].to_numpy(dtype=float),
        in_steps_percent=100 * told["steps"].to_numpy(dtype=float),
    )


def _drawn(new: pd.DataFrame, units: pd.DataFrame, settings: StudySettings) -> tuple[Floats, Floats]:
    """Return both shares when the sessions are permuted among the new spines of an animal: (runs, units)."""
    first, steps = (np.full((settings.runs, len(units)), np.nan) for _ in range(2))
    for place, row in enumerate(units.itertuples()):
        spines = new[(new["animal"] == row.animal) & (new["phase"] == row.phase)]
        rng = np.random.default_rng([settings.seed, place])
        dealt = np.argsort(rng.random((settings.runs, len(spines))), axis=1)
        cluster = spines["cluster"].to_numpy()
        inside = np.flatnonzero(cluster != ALONE)
        if not len(inside):
            continue
        inside = inside[np.argsort(cluster[inside], kind="stable")]
        starts = np.flatnonzero(np.diff(cluster[inside], prepend=ALONE))
        days = spines["seen_day"].to_numpy(dtype=float)[dealt[:, inside]]
        early: NDArray[np.bool_] = spines["at_first"].to_numpy(dtype=bool)[dealt[:, inside]]
        first[:, place] = 100 * np.logical_or.reduceat(early, starts, axis=1).mean(axis=1)
        lowest, highest = (kind.reduceat(days, starts, axis=1) for kind in (np.minimum, np.maximum))
        steps[:, place] = 100 * (lowest < highest).mean(axis=1)
    return first, steps


def _compared(table: pd.DataFrame, value: str, measure: str, settings: StudySettings) -> list[Statistic]:
    return [
        *group_means(as_groups(table), value, measure, spines="new_spines"),
        *compare_conditions(table, value, measure, spines="new_spines", runs=settings.runs, seed=settings.seed),
    ]


def _by_day(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of all clusters of a condition that have their first, and second, spine by each day."""
    rows = []
    for condition in condition_names(table):
        clusters = table[table["condition"] == condition]
        for day in sorted({0.0, *clusters["first_day"], *clusters["second_day"]}):
            have = [(clusters[name] <= day).to_numpy().sum() for name in ("first_day", "second_day")]
            percent = ratio(100.0 * np.array(have, dtype=float), np.full(2, float(len(clusters))))
            rows.append((condition, day, len(clusters), *percent))
    columns = ["condition", "day", "clusters", "first_day_percent", "second_day_percent"]
    return pd.DataFrame(rows, columns=columns)


def _legend(
    of_animals: pd.DataFrame, table: pd.DataFrame, parts: dict[str, pd.DataFrame], settings: StudySettings
) -> str:
    clusters = "; ".join(f"{name}: {len(rows)}" for name, rows in table.groupby("condition", sort=False))
    return (
        f"Left: percentage of the clusters (definition 1) whose first spine (full line, filled) and whose second "
        f"spine (dashed, open) had been seen by each day, counted from the first view of the phase; all clusters of "
        f"a group together ({clusters}); without those of which a spine was unscorable in the session before it was "
        f"first seen. Middle: percentage of the clusters of each animal whose first spine was there "
        f"in the first session after the first view. Right: percentage of the clusters of each animal whose second "
        f"spine came in a later session than the first. Mean and s.e.m. of animals; grey, chance (mean, and the "
        f"interval of 95 % of {settings.runs} runs in which the sessions of the new spines of an animal are permuted "
        f"among them). "
        f"{tell_numbers(of_animals, 'at_first_percent', 'new_spines', 'new spines in clusters')} "
        f"First spine in the first session. {tell_chance(parts['at_first_percent'])} "
        f"Second spine later. {tell_chance(parts['in_steps_percent'])}"
    )


def _draw(
    of_animals: pd.DataFrame, by_day: pd.DataFrame, parts: dict[str, pd.DataFrame], names: Sequence[str]
) -> Figure:
    figure, (left, middle, right) = charts.panels(3, width_in=panel_width(names), height_in=panel_height(names))
    for name in condition_names(by_day):
        rows, colour = by_day[by_day["condition"] == name], charts.group_colour(name, names)
        for value, what, line, filled in CURVES:
            left.plot(
                rows["day"], rows[f"{value}_percent"], line, drawstyle="steps-post", color=colour, linewidth=1.2,
                marker=charts.group_marker(name, names), markersize=4, label=f"{name}, {what}",
                markerfacecolor=colour if filled else "white",
            )  # fmt: skip
    left.set_xlabel("days since the first view")
    left.set_ylabel("clusters, %")
    left.set_ylim(-3, 103)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(names)))
    for axes, value, label in (
        (middle, "at_first_percent", "clusters with their first spine\nin the first session, %"),
        (right, "in_steps_percent", "clusters whose second spine\ncame later, %"),
    ):
        draw_chance(axes, parts[value], names)
        charts.draw_animals(axes, as_groups(of_animals), value, groups=names, label=label)
        turn_names(axes, names)
        axes.set_ylim(-3, 103)
    right.legend(loc="best")
    return figure
