"""Analysis 13: spacing of spines and their pair correlation along the dendrite.

The pair correlation is the number of pairs at a distance over the number that as many points anywhere on the judged
pieces would have: 1 is random, below 1 avoided, above 1 sought. The expectation is exact for any set of pieces (their
set covariance), which is the correction for edges: near an end fewer partners are possible, and none is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import Fate, SpineKind, SpineState
from analysis.study import charts
from analysis.study.conditions import as_groups, compare_conditions, condition_names, conditions_of, tell_numbers
from analysis.study.dendrites import (
    Dendrites,
    Floats,
    Pieces,
    Places,
    judged_pieces,
    read_dendrites,
    read_pieces,
    tell_left_out,
    with_room,
)
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import CONFIDENCE, against_null, group_means, holm, mean_sem
from analysis.study.intervals import Phase, phase_fates, phases_of
from analysis.study.nulls import NewSpines, observed_spines, uniform_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import mean_known, mean_of_animals, ratio, unit_of
from analysis.study.tables import SPINE_KEY, StudyTables

STEP_UM, FARTHEST_UM = 0.5, 10.0
EDGES_UM = np.arange(0.0, FARTHEST_UM + STEP_UM / 2, STEP_UM)
MIDDLES_UM = (EDGES_UM[:-1] + EDGES_UM[1:]) / 2
BINS = len(MIDDLES_UM)
FINE = 20
"""Parts of a bin in which the expected number is summed."""
MOST_RUNS = 1000
"""Enough for an envelope of 95 %."""
ALL, NEW = "all spines", "new spines"
SPACING = "spacing of spines along the dendrite, um"
REGULARITY = "coefficient of variation of the spacing of spines (1 for random, less for regular)"


@dataclass(frozen=True, eq=False)
class Tally:
    """What is counted in runs: pairs and spacings by distance, (runs, units, bins), and sums of spacings.

    ``sums`` are (3, runs, units): number, sum and sum of squares of the spacings within judged pieces.
    """

    pairs: Floats
    spacings: Floats
    sums: Floats


def spine_spacing(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return the spacing of the spines at the end of each phase, and the pair correlation of all and of new ones.

    Raises
    ------
    NotComputable
        There is no phase of two views, no dendrite with two spines, or the judged stretches are not known.
    """
    phases = phases_of(tables, same_day=settings.same_day)
    units = conditions_of(phases)
    ends = [replace(phase, sessions=phase.sessions[-1:], days=phase.days[-1:]) for phase in phases]
    standing = standing_at(tables, ends, with_filopodia=settings.with_filopodia)
    fates = phase_fates(tables, phases, with_filopodia=settings.with_filopodia)
    samples = {ALL: (standing, ends), NEW: (fates[fates["fate"] == Fate.GAINED.value], phases)}
    runs, curves, found, left_out = min(settings.runs, MOST_RUNS), [], {}, {}
    for kind, (spines, views) in samples.items():
        if (read_dendrites(spines).new.counts < 2).all():
            continue
        judged = judged_pieces(tables, views)
        try:
            placed, left_out[kind] = with_room(spines, judged, fewest=2)
        except NotComputable:
            if kind == ALL:
                raise
            continue
        standing = placed if kind == ALL else standing
        dendrites = read_dendrites(placed)
        pieces = read_pieces(judged, dendrites)
        drawn = uniform_spines(dendrites, pieces, runs=runs, seed=settings.seed, fewest=2)
        count = partial(tally, pieces, unit_of(dendrites, units), len(units))
        found[kind] = (count(observed_spines(dendrites, fewest=2), 1), count(drawn, runs))
        expected = expected_pairs(dendrites, pieces, unit_of(dendrites, units), len(units))
        curves.append(_correlation(found[kind], expected, units).assign(kind=kind))
    if ALL not in found:
        raise NotComputable("no dendrite with two spines at the end of a phase: there is no spacing to measure")
    animals, table = _spacing(found[ALL], units, standing), pd.concat(curves, ignore_index=True)
    histogram, chance = _histogram(found[ALL], units), _regularity(found[ALL], animals, units)
    statistics = [
        *chance,
        *(line for value, measure in (("spacing_um", SPACING), ("regularity", REGULARITY))
          for line in _compared(animals, value, measure, settings)),
    ]  # fmt: skip
    return Finding(
        name="13_spine_spacing",
        title="Spacing and pair correlation of spines along the dendrite",
        legend=_legend(animals, chance, table, runs) + tell_left_out(left_out[ALL]),
        tables={"": animals, "spacing": histogram, "pair_correlation": table},
        statistics=tuple(statistics),
        draw=lambda: _draw(histogram, table, condition_names(units)),
    )


def _compared(animals: pd.DataFrame, value: str, measure: str, settings: StudySettings) -> list[Statistic]:
    return [
        *group_means(as_groups(animals), value, measure, spines="spines"),
        *compare_conditions(animals, value, measure, spines="spines", runs=settings.runs, seed=settings.seed),
    ]


def standing_at(tables: StudyTables, views: Sequence[Phase], *, with_filopodia: bool) -> pd.DataFrame:
    """Return the spines present in the (only) session of each view, as fates: ``phase, animal, ..., along_um, fate``.

    All are called gained, which is what :mod:`analysis.study.nulls` places anew.
    """
    parts = []
    by_animal = dict(list(tables.spines.groupby("animal", sort=False)))
    for view in views:
        if view.animal not in by_animal:
            continue
        spines = by_animal[view.animal]
        there = (spines["session"] == view.sessions[0]) & spines["state"].astype(str).eq(SpineState.PRESENT.value)
        if not with_filopodia:
            there &= spines["kind"].astype(str).ne(SpineKind.FILOPODIUM.value)
        parts.append(spines.loc[there, [*SPINE_KEY, "along_um"]].assign(phase=view.name))
    return pd.concat(parts, ignore_index=True).assign(fate=Fate.GAINED.value)


def tally(pieces: Pieces, unit: NDArray[np.int64], units: int, drawn: Iterable[NewSpines], runs: int) -> Tally:
    """Count pairs by distance, and spacings between neighbours on one judged piece, by unit and run."""
    shape = (runs, units, BINS)
    pairs, spacings, sums = np.zeros(shape), np.zeros(shape), np.zeros((3, runs, units))
    starts = Places(pieces.from_um, pieces.starts)
    for block in drawn:
        rows = slice(block.first_run, block.first_run + len(block.along_um))
        piece = starts.before(block.dendrite[:, None], np.nextafter(block.along_um, np.inf))
        whole = np.diff(piece, axis=-1) == 0
        mine = unit[block.dendrite]
        for lag in range(1, block.along_um.shape[-1]):
            apart = block.along_um[..., lag:] - block.along_um[..., :-lag]
            pairs[rows] += _by_bin(apart, apart < FARTHEST_UM, mine, units)
            if lag == 1:
                spacings[rows] += _by_bin(apart, whole & (apart < FARTHEST_UM), mine, units)
                belongs = (mine[:, None] == np.arange(units)).astype(float)
                for power in range(3):
                    sums[power, rows] += np.where(whole, apart**power, 0.0).sum(axis=-1) @ belongs
            if apart.min() >= FARTHEST_UM:
                break
    return Tally(pairs, spacings, sums)


def _by_bin(apart: Floats, counted: NDArray[np.bool_], unit: NDArray[np.int64], units: int) -> Floats:
    """Count distances by run, unit and bin; ``apart`` is (runs, dendrites, pairs)."""
    run, dendrite, _ = np.nonzero(counted)
    place = np.minimum((apart[counted] / STEP_UM).astype(np.int64), BINS - 1)
    flat = (run * units + unit[dendrite]) * BINS + place
    return np.bincount(flat, minlength=len(apart) * units * BINS).reshape(len(apart), units, BINS).astype(float)


def expected_pairs(dendrites: Dendrites, pieces: Pieces, unit: NDArray[np.int64], units: int) -> Floats:
    """Return the pairs by distance that as many points anywhere on the pieces would have in the mean: (units, bins)."""
    found = np.zeros((units, BINS))
    for number, count in enumerate(dendrites.new.counts):
        part = slice(pieces.starts[number], pieces.starts[number + 1])
        if count > 1 and unit[number] >= 0:
            share = pair_shares(pieces.from_um[part], pieces.to_um[part])
            found[unit[number]] += share * count * (count - 1) / 2
    return found


def pair_shares(from_um: Floats, to_um: Floats) -> Floats:
    """Return the share of pairs of even points on pieces of a line that lie apart by each distance: (bins,)."""
    total = float((to_um - from_um).sum())
    apart = (np.arange(BINS * FINE) + 0.5) * STEP_UM / FINE
    low = np.maximum(from_um[:, None, None], from_um[None, :, None] - apart)
    high = np.minimum(to_um[:, None, None], to_um[None, :, None] - apart)
    covariance = np.clip(high - low, 0, None).sum(axis=(0, 1))
    shares: Floats = (2 * covariance * STEP_UM / FINE / total**2).reshape(BINS, FINE).sum(axis=1)
    return shares


def _means(values: Floats, units: pd.DataFrame, condition: str) -> Floats:
    """Return the mean over the animals of a condition of (runs, units, bins) values: (runs, bins)."""
    return mean_known(values[:, (units["condition"] == condition).to_numpy()], axis=1)


def _correlation(found: tuple[Tally, Tally], expected: Floats, units: pd.DataFrame) -> pd.DataFrame:
    observed, drawn = (ratio(part.pairs, np.broadcast_to(expected, part.pairs.shape)) for part in found)
    parts = []
    for condition in condition_names(units):
        chosen = (units["condition"] == condition).to_numpy()
        mean, runs = _means(observed, units, condition)[0], _means(drawn, units, condition)
        if np.isnan(mean).all():
            continue
        low, high = np.quantile(runs, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
        sem = [mean_sem(column)[1] for column in observed[0][chosen].T]
        parts.append(
            pd.DataFrame(
                {"condition": condition, "distance_um": MIDDLES_UM, "pairs": found[0].pairs[0][chosen].sum(axis=0),
                 "expected": expected[chosen].sum(axis=0), "correlation": mean, "sem": sem, "low": low, "high": high}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _spread(sums: Floats) -> tuple[Floats, Floats]:
    """Return mean and coefficient of variation of the spacings: (runs, units)."""
    number, total, squares = sums
    mean = ratio(total, number)
    variance = np.clip(ratio(squares, number) - mean**2, 0, None)
    return mean, np.where(number > 1, np.sqrt(variance) / mean, np.nan)


def _spacing(found: tuple[Tally, Tally], units: pd.DataFrame, standing: pd.DataFrame) -> pd.DataFrame:
    keys = pd.MultiIndex.from_frame(units[["animal", "phase"]])
    count = standing.groupby(["animal", "phase"]).size().reindex(keys).fillna(0).to_numpy(dtype=int)
    mean, variation = _spread(found[0].sums)
    chance = mean_known(_spread(found[1].sums)[1], axis=0)
    return units.assign(spines=count, spacing_um=mean[0], regularity=variation[0], chance_regularity=chance)


def _histogram(found: tuple[Tally, Tally], units: pd.DataFrame) -> pd.DataFrame:
    observed, drawn = (
        ratio(100 * part.spacings, np.broadcast_to(part.sums[0][..., None], part.spacings.shape)) for part in found
    )
    return pd.concat(
        [
            pd.DataFrame(
                {"condition": name, "spacing_um": MIDDLES_UM, "percent": _means(observed, units, name)[0],
                 "chance_percent": mean_known(_means(drawn, units, name), axis=0)}
            )
            for name in condition_names(units)
        ],
        ignore_index=True,
    )  # fmt: skip


def _regularity(found: tuple[Tally, Tally], animals: pd.DataFrame, units: pd.DataFrame) -> list[Statistic]:
    drawn, lines = _spread(found[1].sums)[1], []
    for name in condition_names(units):
        rows = animals[(animals["condition"] == name) & animals["regularity"].notna()]
        if len(rows):
            lines.append(
                against_null(
                    float(rows["regularity"].mean()), mean_of_animals(drawn, units, name), f"{REGULARITY}: {name}",
                    "as many spines placed anywhere on the judged stretch", n_animals=len(rows),
                    n_spines=int(rows["spines"].sum()),
                )
            )  # fmt: skip
    return holm(lines)


def _legend(animals: pd.DataFrame, chance: Sequence[Statistic], table: pd.DataFrame, runs: int) -> str:
    means = "; ".join(
        f"{name}: {rows['spacing_um'].mean():.2f} um"
        for name, rows in animals[animals["spacing_um"].notna()].groupby("condition", sort=False)
    )
    told = "; ".join(f"{line.measure.split(': ')[-1]}: {line.value:.2f}, P = {line.p_corrected:.2g}" for line in chance)
    new = (
        "Right: the same for the spines that are new in the phase." if (table["kind"] == NEW).any()
        else "No dendrite has two new spines, so that they have no pairs."
    )  # fmt: skip
    return (
        f"Left: spacings of neighbouring spines along the dendrite at the last view of each phase, mean of animals; "
        f"dashed, as many spines placed anywhere on the judged stretch. Mean spacing, {means}. Coefficient of "
        f"variation of the spacings against chance (1 for random, less for regular; P corrected after Holm over the "
        f"groups), {told}. Middle: pair correlation "
        f"of all these spines, observed pairs over those expected of even points on the judged pieces (corrected for "
        f"edges), mean and s.e.m. of animals; shaded, interval of 95 % of {runs} runs of uniform placement; the line "
        f"is at 1, random. {new} {tell_numbers(animals, 'spacing_um', 'spines', 'spines')}"
    )


def _draw(histogram: pd.DataFrame, table: pd.DataFrame, names: Sequence[str]) -> Figure:
    kinds = [kind for kind in (ALL, NEW) if (table["kind"] == kind).any()]
    figure, axes = charts.panels(1 + len(kinds), height_in=2.9)
    for name in names:
        rows, colour = histogram[histogram["condition"] == name], charts.group_colour(name, names)
        marker = charts.group_marker(name, names)
        axes[0].plot(rows["spacing_um"], rows["percent"], f"{marker}-", color=colour, markersize=3, linewidth=1.1,
                     label=name)  # fmt: skip
        axes[0].plot(rows["spacing_um"], rows["chance_percent"], "--", color=colour, linewidth=0.9)
    axes[0].plot([], [], "--", color=charts.QUIET, label="chance")
    axes[0].set_xlabel("spacing of neighbours, um")
    axes[0].set_ylabel(f"spacings, % in {STEP_UM:g} um")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(loc="best")
    for panel, kind in zip(axes[1:], kinds, strict=True):
        _draw_correlation(panel, table[table["kind"] == kind], names)
        panel.set_title(kind)
    return figure


def _draw_correlation(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    axes.axhline(1, color=charts.QUIET, linewidth=0.8)
    for name in names:
        rows, colour = table[table["condition"] == name], charts.group_colour(name, names)
        axes.fill_between(rows["distance_um"], rows["low"], rows["high"], color=colour, alpha=0.12, linewidth=0)
        axes.errorbar(
            rows["distance_um"], rows["correlation"], yerr=np.nan_to_num(rows["sem"].to_numpy(dtype=float)),
            fmt=f"{charts.group_marker(name, names)}-", color=colour, markersize=3, linewidth=1.1, elinewidth=0.6,
        )  # fmt: skip
    axes.set_xlabel("distance along the dendrite, um")
    axes.set_ylabel("pair correlation")
    axes.set_ylim(bottom=0)
