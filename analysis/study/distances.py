"""Analysis 3: new spines within a distance of another new one (definition 2), and what lies between.

The unit is the animal. The distance is swept, since 5 um is a choice; filopodia are counted both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.study import charts
from analysis.study.clusters import ROUNDING_UM
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Floats
from analysis.study.finding import Finding
from analysis.study.inference import group_means, mean_sem
from analysis.study.nulls import NewSpines, observed_spines, permuted_spines, sums_by
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    PERMUTED,
    Material,
    against_chance,
    count_near,
    draw_chance,
    mean_known,
    panel_width,
    ratio,
    read_material,
    tell_chance,
    turn_names,
    unit_of,
)
from analysis.study.tables import StudyTables

BETWEEN = ("0", "1", "2", "3 or more")
SHADES = ("#1f1f1f", "#6a6a6a", "#a8a8a8", "#dcdcdc")
Measure = Callable[[NewSpines], Sequence[NDArray[np.int64]]]


def clustered_share_by_distance(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the percentage of new spines within a distance of another new spine of their dendrite.

    Raises
    ------
    NotComputable
        There is no phase of two views, or no new spine.
    """
    limit = settings.cluster_distance_um
    distances = sorted({*settings.sweep_um, limit})
    sweeps, mains, statistics = [], {}, []
    for with_filopodia in (False, True):
        material = read_material(tables, settings, with_filopodia=with_filopodia)
        observed, drawn = _percent(material, _near_at(distances), settings)
        sweeps.append(_sweep(material, distances, observed, drawn, with_filopodia))
        place = distances.index(limit)
        mains[with_filopodia] = _new(material).assign(
            with_filopodia=with_filopodia, near_percent=observed[place, 0], chance_percent=mean_known(drawn[place], 0)
        )
        measure = f"new {_noun(with_filopodia)} within {limit:g} um of another (definition 2), % of them"
        chance, lines = against_chance(mains[with_filopodia], "near_percent", drawn[place], measure, PERMUTED)
        statistics += [
            *group_means(as_groups(mains[with_filopodia]), "near_percent", measure, spines="new_spines"),
            *compare_conditions(
                mains[with_filopodia], "near_percent", measure, spines="new_spines", runs=settings.runs,
                seed=settings.seed,
            ),
            *lines,
        ]  # fmt: skip
        if with_filopodia == settings.with_filopodia:
            shown, between = chance, _between(material, limit, settings)
    table, sweep = mains[settings.with_filopodia], pd.concat(sweeps, ignore_index=True)
    return Finding(
        name="03_clustered_share_by_distance",
        title=f"New spines within {limit:g} um of another new spine (definition 2)",
        legend=_legend(table, shown, settings),
        tables={
            "": pd.concat(mains.values(), ignore_index=True), "sweep": sweep, "between": between, "chance": shown,
        },
        statistics=tuple(statistics),
        draw=lambda: _draw(table, shown, sweep, between, settings),
    )  # fmt: skip


def _noun(with_filopodia: bool) -> str:
    return "spines and filopodia" if with_filopodia else "spines"


def _near_at(distances: Sequence[float]) -> Measure:
    return lambda block: [count_near(distance)(block)[0] for distance in distances]


def existing_between(limit_um: float) -> Measure:
    """Return the function that counts the new spines near another by the stable spines between (0, 1, 2, 3 or more).

    A new spine with a new one near on either side counts by the side with fewer between.
    """

    def count(block: NewSpines) -> list[NDArray[np.int64]]:
        near = np.diff(block.along_um, axis=-1) <= limit_um + ROUNDING_UM
        between = np.where(near, np.minimum(block.stable_between, len(BETWEEN) - 1), len(BETWEEN))
        nobody = np.full((*between.shape[:-1], 1), len(BETWEEN))
        fewest = np.minimum(np.concatenate([nobody, between], -1), np.concatenate([between, nobody], -1))
        return [(fewest == number).sum(axis=-1) for number in range(len(BETWEEN))]

    return count


def _new(material: Material) -> pd.DataFrame:
    unit = unit_of(material.dendrites, material.units)
    new = np.bincount(unit, material.dendrites.new.counts, minlength=len(material.units))
    return material.units.assign(new_spines=new.astype(int))


def _percent(material: Material, measure: Measure, settings: StudySettings) -> tuple[Floats, Floats]:
    """Return what is observed and what is drawn in percent of the new spines: (measures, runs, units)."""
    unit, new = unit_of(material.dendrites, material.units), _new(material)["new_spines"].to_numpy(dtype=float)
    permuted = permuted_spines(material.dendrites, runs=settings.runs, seed=settings.seed)
    found = []
    for blocks, runs in ((observed_spines(material.dendrites), 1), (permuted, settings.runs)):
        summed = sums_by(blocks, measure, unit, runs=runs)
        full = np.zeros((*summed.shape[:2], len(new)))
        full[..., : summed.shape[2]] = summed
        found.append(ratio(100 * full, np.broadcast_to(new, full.shape)))
    return found[0], found[1]


def _sweep(
    material: Material, distances: Sequence[float], observed: Floats, drawn: Floats, with_filopodia: bool
) -> pd.DataFrame:
    parts = [
        _new(material).assign(
            with_filopodia=with_filopodia, distance_um=distance, near_percent=observed[place, 0],
            chance_percent=mean_known(drawn[place], 0),
        )
        for place, distance in enumerate(distances)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _between(material: Material, limit_um: float, settings: StudySettings) -> pd.DataFrame:
    observed, drawn = _percent(material, existing_between(limit_um), settings)
    parts = [
        _new(material).assign(
            existing_between=name, near_percent=observed[place, 0], chance_percent=mean_known(drawn[place], 0)
        )
        for place, name in enumerate(BETWEEN)
    ]
    return pd.concat(parts, ignore_index=True)


def _legend(table: pd.DataFrame, chance: pd.DataFrame, settings: StudySettings) -> str:
    limit, main = settings.cluster_distance_um, _noun(settings.with_filopodia)
    return (
        f"Left: percentage of new {main} that have another new one within {limit:g} um along the dendrite, whatever "
        f"lies between, one mark an animal, with mean and s.e.m.; grey, chance (mean, and the interval that holds 95 % "
        f"of {settings.runs} runs in which the number of new spines of each dendrite is kept and which of its spines "
        f"are new is permuted). Middle: the same for other distances, mean of animals and s.e.m.; full lines, spines "
        f"alone; dashed, with filopodia; dotted, chance for {main}; the vertical line is at {limit:g} um. Right: those "
        f"within {limit:g} um by the number of stable spines between them and the nearest new one with the fewest "
        f"between, mean of animals; pale hatched bars, chance. {tell_numbers(table, 'near_percent', 'new_spines')} "
        f"{tell_chance(chance)} Groups are compared by permutation of animals, Mann-Whitney and Welch's t test, P "
        f"corrected after Holm (statistics.json)."
    )


def _draw(
    table: pd.DataFrame, chance: pd.DataFrame, sweep: pd.DataFrame, between: pd.DataFrame, settings: StudySettings
) -> Figure:
    names = condition_names(table)
    figure, (left, middle, right) = charts.panels(3, width_in=panel_width(names), height_in=3.0)
    draw_chance(left, chance, names)
    label = f"new spines within\n{settings.cluster_distance_um:g} um of another, %"
    charts.draw_animals(left, as_groups(table), "near_percent", groups=names, label=label)
    turn_names(left, names)
    left.legend(loc="best")
    _draw_sweep(middle, sweep, names, settings)
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=min(7, len(names) + 2))
    _draw_between(right, between, names, label)
    return figure


def _draw_sweep(axes: Axes, sweep: pd.DataFrame, names: Sequence[str], settings: StudySettings) -> None:
    axes.axvline(settings.cluster_distance_um, color=charts.NULL, linewidth=1, zorder=0)
    for name in names:
        colour = charts.group_colour(name, names)
        for with_filopodia, line in ((False, "-"), (True, "--")):
            rows = sweep[(sweep["condition"] == name) & (sweep["with_filopodia"] == with_filopodia)]
            told = rows.groupby("distance_um")["near_percent"].apply(lambda values: mean_sem(values.to_numpy()))
            mean, sem = np.array(told.tolist()).T
            axes.errorbar(
                told.index, mean, yerr=None if with_filopodia else np.nan_to_num(sem), fmt=line, color=colour,
                linewidth=1.1, elinewidth=0.6,
                marker=None if with_filopodia else charts.group_marker(name, names), markersize=3,
                label=None if with_filopodia else name,
            )  # fmt: skip
            if with_filopodia == settings.with_filopodia:
                chance = rows.groupby("distance_um")["chance_percent"].mean()
                axes.plot(chance.index, chance, ":", color=colour, linewidth=1)
    axes.set_xlabel("distance along the dendrite, um")
    axes.set_ylabel("new spines near another, %")
    axes.set_ylim(bottom=0)
    axes.plot([], [], "--", color=charts.QUIET, label="with filopodia")
    axes.plot([], [], ":", color=charts.QUIET, label="chance")


def _draw_between(axes: Axes, between: pd.DataFrame, names: Sequence[str], label: str) -> None:
    highest = 0.0
    for value, shift, hatch in (("near_percent", -0.2, ""), ("chance_percent", 0.2, "///")):
        bottom = np.zeros(len(names))
        for count, shade in zip(BETWEEN, SHADES, strict=True):
            rows = between[between["existing_between"] == count].groupby("condition")[value].mean()
            height = rows.reindex(list(names)).fillna(0.0).to_numpy()
            axes.bar(
                np.arange(len(names)) + shift, height, 0.36, bottom=bottom, color=shade, edgecolor=charts.INK,
                linewidth=0.5, hatch=hatch, alpha=0.55 if hatch else 1.0, label=count if not hatch else None,
            )  # fmt: skip
            bottom += height
        highest = max(highest, float(bottom.max()))
    axes.set_xticks(range(len(names)), [charts.wrapped(name) for name in names])
    turn_names(axes, names)
    axes.set_ylim(0, max(1.0, 1.08 * highest))
    axes.set_ylabel(label)
    axes.legend(loc="best", title="stable spines between", title_fontsize=7)
