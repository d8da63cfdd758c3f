"""Analysis 12: how far new spines form from the nearest stable one, against placement anywhere on the dendrite.

All new spines of a dendrite are put anywhere on its stretch that could be judged at both ends of the phase; the stable
ones stay, and in every run the new ones are classed again: clustered ones are those of long gaps by chance, too. Two
spines cannot stand at one place, so chance is drawn twice: anywhere, and no nearer to a stable spine than a least gap.
Dendrites without a stable spine have no such distance and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.study import charts
from analysis.study.clusters import FIRST, ROUNDING_UM, SUCCEDENT
from analysis.study.conditions import (
    KindNames,
    as_groups,
    compare_conditions,
    compare_kinds,
    condition_names,
    tell_numbers,
)
from analysis.study.dendrites import (
    Dendrites,
    Floats,
    judged_pieces,
    read_dendrites,
    read_pieces,
    tell_left_out,
    with_room,
)
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import CONFIDENCE, against_null, group_means, holm, mean_sem
from analysis.study.nulls import NewSpines, observed_spines, uniform_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import mean_known, mean_of_animals, ratio, read_material, unit_of
from analysis.study.spineclasses import (
    ALL,
    CLASSES,
    CLUSTERED,
    LONE,
    classes_of,
    deal_formed,
    formed_of,
    with_classes,
)
from analysis.study.tables import StudyTables

GRID_UM = tuple(round(0.25 * step, 2) for step in range(1, 41))
MEASURE = "distance of new spines to the nearest stable one, um"
BEYOND = "distance of new spines to the nearest stable one beyond chance, um"
PAIRS = ((CLUSTERED, LONE), (SUCCEDENT, FIRST), (SUCCEDENT, LONE))


@dataclass(frozen=True, eq=False)
class Sample:
    """The dendrites with a stable spine as arrays.

    Parameters
    ----------
    dendrites
        All of them.
    unit, condition
        The row of ``units`` of each dendrite, and the number of the condition of each unit.
    formed
        (new spines,) the session in which each is first seen.
    """

    dendrites: Dendrites
    unit: NDArray[np.int64]
    condition: NDArray[np.int64]
    formed: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tally:
    """What is counted of one class in runs.

    Parameters
    ----------
    sums, numbers
        (runs, units) of the distances, um, and how many there are.
    within
        (runs, conditions, grid) how many lie within each distance.
    """

    sums: Floats
    numbers: Floats
    within: NDArray[np.int32]

    @property
    def means_um(self) -> Floats:
        """Mean distance of each unit, (runs, units); NaN where the class is empty."""
        return ratio(self.sums, self.numbers)


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
    if not fates[ALL].any():
        raise NotComputable("no new spine on a dendrite that also has a stable one")
    fates, left_out = with_room(fates, pieces, gap_um=settings.least_gap_um)
    spines = _distances(fates, units)
    animals = _by_animal(spines, units)
    sample = _read_sample(fates, units)
    seen = _tally(observed_spines(sample.dendrites), sample, sample.formed[None])
    curves, lines = [], []
    for gap_um in (0.0, settings.least_gap_um):
        runs = _draw_runs(sample, pieces, gap_um, settings)
        if not gap_um:
            animals = animals.assign(chance_um=_chance_of_animals(runs, animals))
        for kind in CLASSES:
            part, tested = _against_uniform(kind, seen[kind], runs[kind], units, gap_um)
            curves += part
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
        legend=_legend(shown, statistics, settings) + tell_left_out(left_out),
        tables={"": animals, "spines": spines, "curves": told},
        statistics=tuple(statistics),
        draw=lambda: _draw(told, animals, settings),
    )


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


def _read_sample(fates: pd.DataFrame, units: pd.DataFrame) -> Sample:
    dendrites, names = read_dendrites(fates), condition_names(units)
    condition = units["condition"].map(names.index).to_numpy(dtype=np.int64)
    return Sample(dendrites, unit_of(dendrites, units), condition, formed_of(fates))


def _draw_runs(sample: Sample, pieces: pd.DataFrame, gap_um: float, settings: StudySettings) -> dict[str, Tally]:
    """Place all new spines anywhere, and class them again in every run."""
    dendrites, runs, seed = sample.dendrites, settings.runs, settings.seed
    drawn = uniform_spines(dendrites, read_pieces(pieces, dendrites, gap_um=gap_um), runs=runs, seed=seed)
    of_spine = np.repeat(sample.unit, dendrites.new.counts)
    return _tally(drawn, sample, deal_formed(sample.formed, of_spine, runs=runs, seed=seed))


def _tally(drawn: Iterable[NewSpines], sample: Sample, formed: NDArray[np.int64]) -> dict[str, Tally]:
    """Count distances by class; ``formed`` is (runs, new spines)."""
    runs, units, bins = len(formed), len(sample.condition), len(GRID_UM) + 1
    conditions = int(sample.condition.max()) + 1
    sums, numbers = ({kind: np.zeros((runs, units)) for kind in CLASSES} for _ in range(2))
    counts = {kind: np.zeros((runs, conditions * bins), dtype=np.int32) for kind in CLASSES}
    for block in drawn:
        number = np.arange(block.along_um.shape[-1])
        rows = slice(block.first_run, block.first_run + len(block.along_um))
        mine = sample.dendrites.new.starts[block.dendrite][:, None] + number
        nearest = sample.dendrites.stable.nearest_um(block.dendrite[:, None], block.along_um)
        unit = sample.unit[block.dendrite]
        belongs = (unit[:, None] == np.arange(units)).astype(float)
        place = np.searchsorted(np.asarray(GRID_UM), nearest - ROUNDING_UM) + bins * sample.condition[unit][:, None]
        place += conditions * bins * np.arange(len(nearest))[:, None, None]
        for kind, chosen in classes_of(block, formed[rows][:, mine]).items():
            sums[kind][rows] += np.where(chosen, nearest, 0.0).sum(axis=-1) @ belongs
            numbers[kind][rows] += chosen.sum(axis=-1) @ belongs
            found = np.bincount(place[chosen], minlength=len(nearest) * conditions * bins)
            counts[kind][rows] += found.reshape(len(nearest), -1).astype(np.int32)
    within = {
        kind: np.cumsum(counts[kind].reshape(runs, conditions, bins), axis=-1, dtype=np.int32) for kind in CLASSES
    }
    return {kind: Tally(sums[kind], numbers[kind], within[kind]) for kind in CLASSES}


def _chance_of_animals(runs: dict[str, Tally], animals: pd.DataFrame) -> Floats:
    """Return the mean distance by chance in the rows of the animals, where there is one observed."""
    chance = np.concatenate([mean_known(runs[kind].means_um, axis=0) for kind in CLASSES])
    return np.where(animals["distance_um"].notna(), chance, np.nan)


def _against_uniform(
    kind: str, seen: Tally, runs: Tally, units: pd.DataFrame, gap_um: float
) -> tuple[list[pd.DataFrame], list[Statistic]]:
    """Return the curves of every condition with their envelope, and the tests of one class against one null.

    Animals that have none of the class are left out of both sides; runs without any spine of it say nothing.
    """
    null = "uniform placement, classed again" + (f", no nearer to a stable spine than {gap_um:g} um" if gap_um else "")
    observed_um = seen.means_um
    drawn_um = np.where(np.isfinite(observed_um), runs.means_um, np.nan)
    curves, lines = [], []
    for place, condition in enumerate(condition_names(units)):
        mean, means = (mean_of_animals(values, units, condition) for values in (observed_um, drawn_um))
        observed, shares = (_percent_within(tally, place) for tally in (seen, runs))
        means = means[np.isfinite(means)]
        if not np.isfinite(mean[0]) or not len(means):
            continue
        mine = (units["condition"] == condition).to_numpy()
        animals, count = int((seen.numbers[0, mine] > 0).sum()), int(seen.numbers[0, mine].sum())
        measure = f"{MEASURE}: {condition}, {kind}"
        lines.append(against_null(float(mean[0]), means, measure, null, n_animals=animals, n_spines=count))
        distance, p = kolmogorov_smirnov(observed[:, 0], shares)
        lines.append(
            Statistic(
                measure, "observed against chance",
                f"K-S: largest difference of the cumulative shares, % points, from the mean of {shares.shape[1]} runs "
                f"of {null}; Monte Carlo", animals, count, distance, p=p,
            )
        )  # fmt: skip
        low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
        curves.append(
            pd.DataFrame(
                {"condition": condition, "kind": kind, "gap_um": gap_um, "distance_um": GRID_UM,
                 "observed_percent": observed[:, 0], "chance_percent": shares.mean(axis=1), "low_percent": low,
                 "high_percent": high, "chance_mean_um": float(means.mean())}
            )
        )  # fmt: skip
    return curves, _corrected(lines)


def _percent_within(tally: Tally, condition: int) -> Floats:
    """Return the cumulative shares of a condition in the runs that have the class, %: (grid, runs)."""
    within = tally.within[:, condition].astype(float)
    within = within[within[:, -1] > 0]
    percent: Floats = 100 * within[:, :-1].T / within[:, -1]
    return percent


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
    """Compare classes within animals by what each is beyond chance, by condition; P corrected over all.

    The distances themselves differ by chance alone, as the classes are told apart by where the spines stand.
    """
    beyond = animals.assign(beyond_um=animals["distance_um"] - animals["chance_um"])
    names = KindNames("beyond_um", "new_spines", ("animal", "phase"))
    return compare_kinds(beyond, names, PAIRS, BEYOND, runs=settings.runs, seed=settings.seed)


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
        f"gap. In every run all new spines are placed and classed again, and the sessions in which they were first "
        f"seen are dealt anew within each animal: clustered spines stand in long gaps by chance, too. "
        f"{tell_numbers(shown, 'distance_um', 'new_spines')} K-S of all new spines against chance "
        f"(spines of a group together, Monte Carlo, P corrected after Holm over the groups): {told}. Each class "
        f"against chance, means of animals against chance, and classes against each other within animals (by what "
        f"each is beyond its chance without a gap) are in statistics.json."
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
