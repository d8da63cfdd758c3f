"""Analysis 12: how far new spines form from the nearest stable one, against placement anywhere on the dendrite.

Each new spine is put anywhere on the stretch of its dendrite that could be judged at both ends of the phase; the stable
ones stay. Two spines cannot stand at one place, so chance is drawn twice: anywhere, and no nearer to a stable spine
than a least gap. Dendrites without a stable spine have no such distance and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study import charts
from analysis.study.clusters import ALONE, FIRST, ROUNDING_UM, SUCCEDENT, cluster_members, cluster_roles, dendrite_key
from analysis.study.conditions import as_groups, compare_conditions, condition_names, tell_numbers
from analysis.study.dendrites import Dendrites, Floats, judged_pieces, read_dendrites, read_pieces
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import CONFIDENCE, against_null, compare_paired, group_means, holm, mean_sem
from analysis.study.nulls import NewSpines, observed_spines, uniform_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import mean_of_animals, ratio, read_material, unit_of
from analysis.study.tables import StudyTables

ALL, LONE, CLUSTERED = "all new", "not clustered", "clustered"
CLASSES = (ALL, LONE, CLUSTERED, FIRST, SUCCEDENT)
GRID_UM = tuple(round(0.25 * step, 2) for step in range(1, 41))
MEASURE = "distance of new spines to the nearest stable one, um"
PAIRS = ((CLUSTERED, LONE), (SUCCEDENT, FIRST), (SUCCEDENT, LONE))


@dataclass(frozen=True, eq=False)
class Sample:
    """The new spines of one class: as arrays, with the row of ``units`` of each dendrite."""

    kind: str
    dendrites: Dendrites
    unit: NDArray[np.int64]


def distance_to_stable(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the distance of each new spine to the nearest stable one, by class, against uniform placement.

    Raises
    ------
    NotComputable
        There is no new spine on a dendrite with a stable one, or the stretches that could be judged are not known.
    """
    material = read_material(tables, settings)
    units, pieces = material.units, judged_pieces(tables, material.phases)
    fates = with_classes(material.fates, settings.cluster_distance_um)
    spines = _distances(fates, units)
    if spines.empty:
        raise NotComputable("no new spine on a dendrite that also has a stable one")
    animals = _by_animal(spines, units)
    curves, lines = [], []
    for kind in CLASSES:
        chosen = fates[~fates["fate"].eq(Fate.GAINED.value) | fates[kind]]
        dendrites = read_dendrites(chosen)
        if not len(dendrites.new.um):
            continue
        sample = Sample(kind, dendrites, unit_of(dendrites, units))
        for gap_um in (0.0, settings.least_gap_um):
            part, tested = _against_uniform(sample, pieces, units, gap_um, settings)
            curves.append(part)
            lines += tested
    told = pd.concat(curves, ignore_index=True)
    shown = animals[animals["kind"] == ALL]
    statistics = [
        *group_means(as_groups(shown), "distance_um", MEASURE, spines="new_spines"),
        *compare_conditions(
            shown, "distance_um", MEASURE, spines="new_spines", runs=settings.runs, seed=settings.seed
        ),
        *lines,
        *_compare_classes(animals, settings),
    ]  # fmt: skip
    return Finding(
        name="12_distance_to_stable",
        title="Distance of new spines to the nearest stable spine",
        legend=_legend(shown, statistics, settings),
        tables={"": animals, "spines": spines, "curves": told},
        statistics=tuple(statistics),
        draw=lambda: _draw(told, animals, settings),
    )


def with_classes(fates: pd.DataFrame, distance_um: float) -> pd.DataFrame:
    """Return the fates on dendrites with a stable spine, with a column a class that says which new spines are of it.

    Undecided new spines are neither clustered nor not; spines of a cluster that came together are neither first nor
    succedent.
    """
    members = cluster_members(fates, distance_um)
    role, new = cluster_roles(fates, members["cluster"]), fates["fate"] == Fate.GAINED.value
    clustered = members["cluster"] != ALONE
    table = fates.assign(
        **{
            ALL: new, LONE: new & ~clustered & ~members["undecided"], CLUSTERED: clustered, FIRST: role == FIRST,
            SUCCEDENT: role == SUCCEDENT,
        }
    )  # fmt: skip
    has_stable = (fates["fate"] == Fate.STABLE.value).groupby([fates[name] for name in dendrite_key(fates)])
    return table[has_stable.transform("any")].reset_index(drop=True)


def _distances(fates: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """Return one row a new spine: its classes and ``distance_um``."""
    dendrites = read_dendrites(fates)
    new = fates[fates[ALL]]
    names = pd.MultiIndex.from_frame(dendrites.names)
    number = names.get_indexer(pd.MultiIndex.from_frame(new[list(dendrites.names)])).astype(np.int64)
    distance = dendrites.stable.nearest_um(number, new["along_um"].to_numpy(dtype=float))
    columns = ["phase", "animal", "field", "dendrite", "track", "along_um", *CLASSES]
    told = new[columns].assign(distance_um=distance)
    return units[["animal", "group", "phase", "condition"]].merge(told, on=["animal", "phase"])


def _by_animal(spines: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    parts = []
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    for kind in CLASSES:
        told = spines[spines[kind]].groupby(["animal", "phase"])["distance_um"].agg(["mean", "size"]).reindex(keys)
        parts.append(
            units.assign(
                kind=kind, new_spines=told["size"].fillna(0).to_numpy(dtype=int), distance_um=told["mean"].to_numpy()
            )
        )
    return pd.concat(parts, ignore_index=True)


def _sum_and_shares(
    drawn: Iterable[NewSpines], sample: Sample, condition: NDArray[np.int64], units: int, runs: int
) -> tuple[Floats, Floats]:
    """Return the sum of the distances of every unit, (runs, units), and how many lie within each of the grid.

    The latter by condition: (runs, conditions, grid); ``condition`` is the number of that of each unit.
    """
    conditions, bins = int(condition.max()) + 1, len(GRID_UM) + 1
    sums, counts = np.zeros((runs, units)), np.zeros((runs, conditions * bins))
    for block in drawn:
        nearest = sample.dendrites.stable.nearest_um(block.dendrite[:, None], block.along_um)
        unit = sample.unit[block.dendrite]
        rows = slice(block.first_run, block.first_run + len(nearest))
        sums[rows] += nearest.sum(axis=-1) @ (unit[:, None] == np.arange(units)).astype(float)
        bin_ = np.searchsorted(np.asarray(GRID_UM), nearest - ROUNDING_UM) + bins * condition[unit][:, None]
        bin_ += conditions * bins * np.arange(len(nearest))[:, None, None]
        found = np.bincount(bin_.ravel(), minlength=len(nearest) * conditions * bins)
        counts[rows] += found.reshape(len(nearest), -1)
    within = np.cumsum(counts.reshape(runs, conditions, bins), axis=-1)[..., :-1]
    return sums, within


def _against_uniform(
    sample: Sample, pieces: pd.DataFrame, units: pd.DataFrame, gap_um: float, settings: StudySettings
) -> tuple[pd.DataFrame, list[Statistic]]:
    """Return the curves of every condition with their envelope, and the tests of one class against one null."""
    dendrites, kind = sample.dendrites, sample.kind
    number = np.bincount(sample.unit, dendrites.new.counts, minlength=len(units)).astype(float)
    drawn = uniform_spines(
        dendrites, read_pieces(pieces, dendrites, gap_um=gap_um), runs=settings.runs, seed=settings.seed
    )
    names = condition_names(units)
    of_unit = units["condition"].map(names.index).to_numpy(dtype=np.int64)
    seen, runs = (
        _sum_and_shares(spines, sample, of_unit, len(units), runs)
        for spines, runs in ((observed_spines(dendrites), 1), (drawn, settings.runs))
    )
    null = "uniform placement" + (f", no nearer to a stable spine than {gap_um:g} um" if gap_um else "")
    curves, lines = [], []
    for place, condition in enumerate(names):
        mine = of_unit == place
        count = number[mine].sum()
        if not count:
            continue
        means = [mean_of_animals(ratio(sums, np.broadcast_to(number, sums.shape)), units, condition)
                 for sums, _ in (seen, runs)]  # fmt: skip
        observed, shares = (100 * within[:, place].T / count for _, within in (seen, runs))
        animals = int((number[mine] > 0).sum())
        lines.append(
            against_null(
                float(means[0][0]), means[1], f"{MEASURE}: {condition}, {kind}", null, n_animals=animals,
                n_spines=int(count),
            )
        )  # fmt: skip
        distance, p = kolmogorov_smirnov(observed[:, 0], shares)
        lines.append(
            Statistic(
                f"{MEASURE}: {condition}, {kind}", "observed against chance",
                f"K-S: largest difference of the cumulative shares, % points, from the mean of {settings.runs} runs of "
                f"{null}; Monte Carlo", animals, int(count), distance, p=p,
            )
        )  # fmt: skip
        low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
        curves.append(
            pd.DataFrame(
                {"condition": condition, "kind": kind, "gap_um": gap_um, "distance_um": GRID_UM,
                 "observed_percent": observed[:, 0], "chance_percent": shares.mean(axis=1), "low_percent": low,
                 "high_percent": high, "chance_mean_um": float(np.nanmean(means[1]))}
            )
        )  # fmt: skip
    return pd.concat(curves, ignore_index=True), _corrected(lines)


def _corrected(lines: Sequence[Statistic]) -> list[Statistic]:
    """Correct the P of the means, and those of K-S, over the conditions."""
    is_ks = [line.test.startswith("K-S") for line in lines]
    parts = [[line for line, mine in zip(lines, is_ks, strict=True) if mine is wanted] for wanted in (False, True)]
    return [line for part in parts for line in holm(part)]


def kolmogorov_smirnov(observed: Floats, drawn: Floats) -> tuple[float, float]:
    """Return the largest difference of a cumulative share from the mean of drawn ones, and its Monte Carlo P.

    Parameters
    ----------
    observed
        (places,) cumulative share.
    drawn
        (places, runs) that of each run.
    """
    mean = drawn.mean(axis=1)
    farthest = np.abs(drawn - mean[:, None]).max(axis=0)
    distance = float(np.abs(observed - mean).max())
    return distance, float((1 + np.count_nonzero(farthest >= distance - 1e-9)) / (1 + drawn.shape[1]))


def _compare_classes(animals: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    """Compare classes within animals, by condition; P corrected over all."""
    kinds: dict[int, list[Statistic]] = {}
    for condition, rows in animals.groupby("condition", sort=False):
        wide = rows.pivot_table(index=["animal", "phase"], columns="kind", values=["distance_um", "new_spines"])
        for first, second in PAIRS:
            columns = [("distance_um", first), ("distance_um", second)]
            if not set(columns) <= set(wide.columns) or len(pair := wide[columns].dropna()) < 2:
                continue
            x, y = pair.to_numpy(dtype=float).T
            count = int(wide.loc[pair.index, [("new_spines", first), ("new_spines", second)]].to_numpy().sum())
            words = f"{first} against {second}: {condition}"
            tests = compare_paired(
                x, y, MEASURE, words, n_spines=count, runs=settings.runs, seed=settings.seed
            )  # fmt: skip
            for place, line in enumerate(tests):
                kinds.setdefault(place, []).append(line)
    return [line for lines in kinds.values() for line in holm(lines)]


def _legend(shown: pd.DataFrame, statistics: Sequence[Statistic], settings: StudySettings) -> str:
    tested = [line for line in statistics if line.test.startswith("K-S") and line.measure.endswith(f", {ALL}")]
    gap = f"than {settings.least_gap_um:g} um"
    told = "; ".join(
        f"{line.measure.split(': ')[1].removesuffix(f', {ALL}')}, {'with' if gap in line.test else 'without'} gap: "
        f"{line.value:.0f} % points, "
        f"P = {line.p_corrected:.2g}"
        for line in tested
    )
    return (
        f"Distance of new spines to the nearest stable one on their dendrite. Left panels: cumulative share of the new "
        f"spines of each group within a distance; grey, interval of 95 % of {settings.runs} runs in which they are "
        f"placed anywhere on the stretch judged at both ends of the phase; the dashed grey line is the mean of runs in "
        f"which none comes nearer to a stable spine {gap}. Classes: not clustered and clustered by definition 1; first "
        f"and succedent, the spine of a cluster that was seen first, and those that joined it later. Last panel: mean "
        f"distance by class, one mark an animal, with mean and s.e.m.; short grey lines, means of chance without a "
        f"gap. {tell_numbers(shown, 'distance_um', 'new_spines')} K-S of all new spines against chance "
        f"(spines of a group together, Monte Carlo, P corrected after Holm over the groups): {told}. Each class "
        f"against chance, means of animals against chance, and classes against each other within animals are in "
        f"statistics.json."
    )


MOST_COLUMNS = 4
LINES = {ALL: ("-", 1.8), LONE: ("-", 0.8), CLUSTERED: ("--", 1.2), SUCCEDENT: (":", 1.4)}


def _draw(curves: pd.DataFrame, animals: pd.DataFrame, settings: StudySettings) -> Figure:
    names = condition_names(animals)
    shown = [name for name in names if (curves["condition"] == name).any()]
    count = len(shown) + 1
    columns = min(MOST_COLUMNS, count)
    figure, axes = charts.panels(columns, -(-count // columns), width_in=2.9, height_in=2.8)
    for empty in axes[count:]:
        empty.set_axis_off()
    for panel, name in zip(axes, shown, strict=False):
        _draw_curves(panel, curves[curves["condition"] == name], charts.group_colour(name, names), settings)
        panel.set_title(name)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    _draw_means(axes[count - 1], animals, curves, names)
    return figure


def _draw_curves(axes: Axes, curves: pd.DataFrame, colour: str, settings: StudySettings) -> None:
    free, kept = (
        curves[(curves["kind"] == ALL) & (curves["gap_um"] == gap_um)] for gap_um in (0.0, settings.least_gap_um)
    )
    axes.fill_between(
        free["distance_um"], free["low_percent"], free["high_percent"], color=charts.NULL, alpha=0.6, linewidth=0,
        label="chance, 95 % of runs",
    )  # fmt: skip
    gap = f"chance, gap of {settings.least_gap_um:g} um"
    axes.plot(kept["distance_um"], kept["chance_percent"], "--", color=charts.QUIET, linewidth=1, label=gap)
    for kind, (line, width) in LINES.items():
        rows = curves[(curves["kind"] == kind) & (curves["gap_um"] == 0.0)]
        axes.plot(
            np.r_[0.0, rows["distance_um"]], np.r_[0.0, rows["observed_percent"]], line, color=colour, linewidth=width,
            label=kind, drawstyle="steps-post",
        ) if len(rows) else axes.plot([], [], line, color=colour, linewidth=width, label=kind)  # fmt: skip
    axes.set_xlabel("nearest stable spine, um")
    axes.set_ylabel("new spines within it, %")
    axes.set_xlim(0, max(GRID_UM))
    axes.set_ylim(0, 102)


def _draw_means(axes: Axes, animals: pd.DataFrame, curves: pd.DataFrame, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        shift = min(0.26, 0.8 / len(names)) * (number - (len(names) - 1) / 2)
        colour, marker = charts.group_colour(name, names), charts.group_marker(name, names)
        for place, kind in enumerate(CLASSES):
            rows = animals[(animals["condition"] == name) & (animals["kind"] == kind)]
            values = rows["distance_um"].dropna().to_numpy(dtype=float)
            axes.plot(
                place + shift + charts.spread(values, 0.08), values, marker, color=colour, markersize=3, alpha=0.6,
                markeredgewidth=0, label=name if not place else None,
            )  # fmt: skip
            mean, sem = mean_sem(values)
            axes.errorbar(
                place + shift + 0.1, mean, yerr=np.nan_to_num(sem), fmt="_", color=charts.INK, markersize=6, capsize=2
            )
            chosen = (curves["condition"] == name) & (curves["kind"] == kind) & (curves["gap_um"] == 0.0)
            chance = curves.loc[chosen, "chance_mean_um"]
            if len(chance):
                axes.hlines(chance.iloc[0], place + shift - 0.1, place + shift + 0.14, color=charts.QUIET, linewidth=1)
    axes.set_xticks(range(len(CLASSES)), [charts.wrapped(kind, 8) for kind in CLASSES], fontsize=6.5)
    axes.set_ylabel("distance to the nearest\nstable spine, um")
    axes.set_ylim(bottom=0)
    if len(names) <= MOST_COLUMNS:
        axes.legend(loc="best")  # beyond, the colours are those of the panels
