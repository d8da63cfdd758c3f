"""Analysis 4: how many new spines a cluster has, by both definitions, beside chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.study import charts
from analysis.study.clusters import ALONE, ROUNDING_UM, cluster_members
from analysis.study.conditions import as_groups, compare_conditions, condition_names
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import against_null, group_means, holm
from analysis.study.nulls import NewSpines, permuted_spines, sums_by
from analysis.study.settings import StudySettings
from analysis.study.shares import PERMUTED, Material, read_material, unit_of
from analysis.study.tables import StudyTables

SIZES = ("2", "3", "4 or more")
NEIGHBOURS, NEAR = "1", "2"
COLUMNS = {NEIGHBOURS: "cluster", NEAR: "near_cluster"}
MEASURE = "new spines of a cluster (definition {definition}), mean of the clusters of an animal"


def cluster_sizes(tables: StudyTables, settings: StudySettings) -> Finding:
    """Count clusters by the number of their spines.

    Raises
    ------
    NotComputable
        There is no phase of two views, or no cluster.
    """
    material = read_material(tables, settings)
    table = pd.concat([_sizes(material, name, settings.cluster_distance_um) for name in COLUMNS], ignore_index=True)
    if table.empty:
        raise NotComputable("no cluster in any phase, by either definition: there are no sizes to count")
    parts = [_against_chance(material, table, name, settings) for name in COLUMNS]
    counts = pd.concat([part for part, _ in parts], ignore_index=True)
    statistics = [line for name in COLUMNS for line in _means(material, table, name, settings)]
    return Finding(
        name="04_cluster_sizes",
        title="Sizes of clusters of new spines",
        legend=_legend(material, counts, settings),
        tables={"": table, "counts": counts},
        statistics=(*statistics, *(line for _, lines in parts for line in lines)),
        draw=lambda: _draw(counts, condition_names(material.units), settings),
    )


def _sizes(material: Material, definition: str, distance_um: float) -> pd.DataFrame:
    """Return one row a cluster: ``animal, group, phase, condition, field, dendrite, definition, size``."""
    members = cluster_members(material.fates, distance_um)[COLUMNS[definition]]
    inside = material.fates[members != ALONE].assign(cluster=members)
    key = ["animal", "phase", "field", "dendrite", "cluster"]
    sizes = inside.groupby(key, sort=False).size().rename("size").reset_index()
    known = material.units[["animal", "group", "phase", "condition"]]
    return known.merge(sizes, on=["animal", "phase"]).assign(definition=definition)


def count_sizes(linked: Callable[[NewSpines], NDArray[np.bool_]]) -> Callable[[NewSpines], list[NDArray[np.int64]]]:
    """Return the function that counts chains of 2, 3, and 4 or more new spines, each (runs, dendrites)."""

    def count(block: NewSpines) -> list[NDArray[np.int64]]:
        links = linked(block)
        none = np.zeros((*links.shape[:-1], 1), dtype=bool)
        starts = links & ~np.concatenate([none, links[..., :-1]], axis=-1)[..., : links.shape[-1]]
        lasting, counts = starts, []
        for step in range(1, len(SIZES) + 1):
            counts.append(lasting.sum(axis=-1))
            later = links[..., step:]
            lasting = lasting[..., : later.shape[-1]] & later
        return [counts[0] - counts[1], counts[1] - counts[2], counts[2]]

    return count


def linked_by(definition: str, distance_um: float) -> Callable[[NewSpines], NDArray[np.bool_]]:
    """Return the function that says which new spines are in one cluster with the next."""

    def link(block: NewSpines) -> NDArray[np.bool_]:
        near: NDArray[np.bool_] = np.diff(block.along_um, axis=-1) <= distance_um + ROUNDING_UM
        return near if definition == NEAR else (block.stable_between == 0) & (block.hidden_between == 0)

    return link


def _against_chance(
    material: Material, table: pd.DataFrame, definition: str, settings: StudySettings
) -> tuple[pd.DataFrame, list[Statistic]]:
    names = condition_names(material.units)
    number = material.units["condition"].map(names.index).to_numpy()
    unit = unit_of(material.dendrites, material.units)
    drawn = sums_by(
        permuted_spines(material.dendrites, runs=settings.runs, seed=settings.seed),
        count_sizes(linked_by(definition, settings.cluster_distance_um)), number[unit], runs=settings.runs,
    )  # fmt: skip
    kind = table[table["definition"] == definition]
    bins = pd.Series(np.asarray(SIZES)[np.minimum(kind["size"].to_numpy(dtype=int), 4) - 2], index=kind.index)
    rows, lines = [], []
    for place, name in enumerate(names[: drawn.shape[2]]):
        units = material.units[material.units["condition"] == name]
        new = int(((material.fates["fate"] == "gained") & _of(material.fates, units)).sum())
        for size, runs in zip(SIZES, drawn[:, :, place], strict=True):
            observed = int(((kind["condition"] == name) & (bins == size)).sum())
            line = against_null(
                observed, runs, f"clusters of {size} new spines (definition {definition}), number: {name}", PERMUTED,
                n_animals=len(units), n_spines=new,
            )  # fmt: skip
            lines.append(line)
            rows.append((name, definition, size, observed, float(runs.mean()), line.low, line.high, line.p))
    lines = holm(lines)
    columns = ["condition", "definition", "size", "clusters", "chance", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_corrected=np.array([line.p_corrected for line in lines], dtype=float)), lines


def _of(fates: pd.DataFrame, units: pd.DataFrame) -> NDArray[np.bool_]:
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    return np.asarray(keys.get_indexer(pd.MultiIndex.from_frame(fates[["animal", "phase"]])) >= 0)


def _means(material: Material, table: pd.DataFrame, definition: str, settings: StudySettings) -> list[Statistic]:
    kind = table[table["definition"] == definition].groupby(["animal", "phase"])["size"].agg(["mean", "sum"])
    keys = pd.MultiIndex.from_frame(material.units[["animal", "phase"]])
    of_animals = material.units.assign(
        mean_size=kind["mean"].reindex(keys).to_numpy(), spines=kind["sum"].reindex(keys).fillna(0).to_numpy()
    )
    measure = MEASURE.format(definition=definition)
    return [
        *group_means(as_groups(of_animals), "mean_size", measure, spines="spines"),
        *compare_conditions(
            of_animals, "mean_size", measure, spines="spines", runs=settings.runs, seed=settings.seed
        ),
    ]  # fmt: skip


def _legend(material: Material, counts: pd.DataFrame, settings: StudySettings) -> str:
    told = []
    for definition in COLUMNS:
        kind = counts[counts["definition"] == definition]
        each = "; ".join(
            f"{name}: " + ", ".join(f"{row.clusters} of {row.size_}" for row in rows.itertuples())
            for name, rows in kind.rename(columns={"size": "size_"}).groupby("condition", sort=False)
        )
        told.append(f"Definition {definition}, clusters of so many spines: {each}.")
    animals = "; ".join(
        f"{name}: {len(rows)} {'animal' if len(rows) == 1 else 'animals'}"
        for name, rows in material.units.groupby("condition", sort=False)
    )
    return (
        f"Number of clusters by the number of their new spines. Left: definition 1 (no stable or unscorable spine "
        f"between); right: definition 2 (within {settings.cluster_distance_um:g} um of the next). Bars, observed; grey "
        f"line and whisker, mean and interval of 95 % of {settings.runs} runs in which the number of new spines of "
        f"each dendrite is kept and which of its spines are new is permuted (P of each definition corrected after "
        f"Holm over sizes and groups). {' '.join(told)} n: {animals}."
    )


def _draw(counts: pd.DataFrame, names: Sequence[str], settings: StudySettings) -> Figure:
    figure, axes = charts.panels(2, width_in=max(3.3, 0.6 * len(names) + 1.5))
    for panel, definition in zip(axes, COLUMNS, strict=True):
        _draw_counts(panel, counts[counts["definition"] == definition], names)
        panel.set_title("definition 1" if definition == NEIGHBOURS else f"within {settings.cluster_distance_um:g} um")
    axes[0].legend(loc="best")
    return figure


def _draw_counts(axes: Axes, counts: pd.DataFrame, names: Sequence[str]) -> None:
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        rows = counts[counts["condition"] == name].set_index("size").reindex(list(SIZES))
        places = np.arange(len(SIZES)) + width * (number - (len(names) - 1) / 2)
        bars = axes.bar(
            places - 0.15 * width, rows["clusters"], 0.6 * width, color=charts.group_colour(name, names), label=name
        )
        axes.bar_label(bars, [name_of(value) for value in rows["clusters"]], padding=2, fontsize=7)
        spread = np.clip([rows["chance"] - rows["low"], rows["high"] - rows["chance"]], 0, None)
        axes.errorbar(
            places + 0.3 * width, rows["chance"], yerr=spread, fmt="_", color=charts.QUIET, markersize=6,
            capsize=1.5, linewidth=1,
            label="chance" if number == len(names) - 1 else None,
        )  # fmt: skip
    axes.set_xticks(range(len(SIZES)), list(SIZES))
    axes.set_xlabel("new spines in the cluster")
    axes.set_ylabel("clusters")
    axes.margins(y=0.1)


def name_of(count: float) -> str:
    """Return a count as it stands over its bar; nothing where there is none."""
    return "" if np.isnan(count) else f"{int(count)}"
