"""Analysis 15: do new spines form again where others were eliminated, and what becomes of them (Lai et al. 2012).

Eliminated is what was lost in any earlier phase of the animal and is not there at the first view of the later one.
A new spine counts as formed again when it stands within a distance of one of these along its dendrite.
Its later fate is put against spines of the same age (formed in the same phase, elsewhere) and against older ones.

Chance is uniform placement no nearer to a stable spine than a least gap: a new spine finds no room on a stable one, but
does where one was eliminated. To permute which spines are new is too low a chance here, as stable spines kept a spine's
width from the eliminated one while it stood: it finds re-formation where there is none, and only stands beside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study import charts
from analysis.study.clusters import ROUNDING_UM
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
    Places,
    judged_pieces,
    place_on,
    read_dendrites,
    read_pieces,
    tell_left_out,
    with_room,
)
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import group_means, mean_sem
from analysis.study.nulls import NewSpines, observed_spines, permuted_spines, sums_by, uniform_spines
from analysis.study.settings import StudySettings
from analysis.study.shares import (
    PERMUTED,
    UNIFORM,
    Material,
    against_chance,
    draw_chance,
    mean_known,
    ratio,
    read_material,
    tell_chance,
    turn_names,
    unit_of,
)
from analysis.study.tables import SPINE_KEY, StudyTables

FARTHEST_UM = 10.0
GRID_UM = tuple(float(step) for step in range(1, int(FARTHEST_UM) + 1))
PERMUTED_NULL, UNIFORM_NULL, GAP_NULL = "permuted", "uniform", "uniform_gap"
LABELS = {GAP_NULL: "placed"}
AGAIN, ELSEWHERE, OLDER = "formed again", "formed elsewhere", "older"
CLASSES = (AGAIN, ELSEWHERE, OLDER)
NO_VALUE = "no new spine, or none eliminated earlier"
LOST_LATER = "spines eliminated in the later phase, % of their class"


def reformation(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return how near new spines come to those eliminated earlier, against chance, and their fate in the next phase.

    Raises
    ------
    NotComputable
        No animal has two phases, or nothing was eliminated in the earlier and formed in a later one.
    """
    material = read_material(tables, settings)
    order = _earlier(material)
    if not order:
        raise NotComputable("no animal has two phases; forming again needs spines eliminated in an earlier phase")
    later = material.units[[key in order for key in _keys(material.units)]].reset_index(drop=True)
    fates = material.fates[[key in order for key in _keys(material.fates)]]
    dendrites = read_dendrites(fates)
    lost = eliminated_before(material.fates, order)
    if lost.empty or not len(dendrites.new.um):
        raise NotComputable("no spine was eliminated in one phase, or none formed in a later phase of the same animal")
    spines = _distances(fates, dendrites, place_on(dendrites, lost), later)
    judged, left_out = judged_pieces(tables, material.phases), 0
    with suppress(NotComputable):  # no stretch is known: permuted chance stands alone, of all dendrites
        fates, left_out = with_room(fates, judged, gap_um=settings.least_gap_um)
    dendrites = read_dendrites(fates)
    places = place_on(dendrites, lost)
    anywhere, apart = (read_pieces(judged, dendrites, gap_um=gap) for gap in (0.0, settings.least_gap_um))
    nulls = {
        GAP_NULL: partial(uniform_spines, dendrites, apart), UNIFORM_NULL: partial(uniform_spines, dendrites, anywhere),
        PERMUTED_NULL: partial(permuted_spines, dendrites),
    }  # fmt: skip
    table, chances, curves, lines = _shares(nulls, later, dendrites, places, settings)
    next_fates = later_fates(material, spines, settings.reformation_distance_um)
    statistics = [
        *group_means(as_groups(table), "again_percent", _measure(settings), spines="new_spines"),
        *compare_conditions(
            table, "again_percent", _measure(settings), spines="new_spines", runs=settings.runs, seed=settings.seed
        ),
        *lines,
        *compare_classes(next_fates, settings),
    ]
    shown = GAP_NULL if GAP_NULL in chances else PERMUTED_NULL
    return Finding(
        name="15_reformation",
        title="New spines where others were eliminated earlier",
        legend=_legend(table, chances, next_fates, statistics, settings) + tell_left_out(left_out),
        tables={
            "": table, "spines": spines, "curves": curves, "later_fate": next_fates,
            **{f"chance_{null}": rows for null, rows in chances.items()},
        },
        statistics=tuple(statistics),
        draw=lambda: _draw(table, chances[shown], curves, next_fates, settings),
    )  # fmt: skip


def _measure(settings: StudySettings) -> str:
    return f"new spines within {settings.reformation_distance_um:g} um of one eliminated earlier, % of new spines"


def _words_of(null: str, settings: StudySettings) -> str:
    words = {PERMUTED_NULL: f"{PERMUTED} (too low here)", UNIFORM_NULL: UNIFORM}
    return words.get(null, f"{UNIFORM}, no nearer to a stable spine than {settings.least_gap_um:g} um")


def _keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["animal"], table["phase"], strict=True))


def _earlier(material: Material) -> dict[tuple[str, str], list[str]]:
    """Return for every animal and phase the phases that ended before it began, the last one last."""
    found: dict[tuple[str, str], list[str]] = {}
    for phase in material.phases:
        same = [other for other in material.phases if other.animal == phase.animal]
        before = sorted((other for other in same if other.days[-1] <= phase.days[0]), key=lambda other: other.days[-1])
        if before:
            found[phase.animal, phase.name] = [other.name for other in before]
    return found


def eliminated_before(fates: pd.DataFrame, earlier: dict[tuple[str, str], list[str]]) -> pd.DataFrame:
    """Return the spines eliminated in an earlier phase and not there at the first view of each later one.

    Returns
    -------
    One row a spine and later phase: ``phase`` (the later), ``animal, field, dendrite, track, along_um, lost_in``.
    """
    parts = []
    at_first = fates[fates["fate"].isin([Fate.STABLE.value, Fate.LOST.value])]
    for (animal, phase), names in earlier.items():
        mine = fates[(fates["animal"] == animal) & (fates["fate"] == Fate.LOST.value) & fates["phase"].isin(names)]
        lost = mine.rename(columns={"phase": "lost_in"}).drop_duplicates(SPINE_KEY, keep="last")
        there = at_first[(at_first["animal"] == animal) & (at_first["phase"] == phase)]
        back = pd.MultiIndex.from_frame(lost[SPINE_KEY]).isin(pd.MultiIndex.from_frame(there[SPINE_KEY]))
        parts.append(lost.loc[~back, [*SPINE_KEY, "along_um", "lost_in"]].assign(phase=phase))
    return pd.concat(parts, ignore_index=True)


def _distances(fates: pd.DataFrame, dendrites: Dendrites, places: Places, units: pd.DataFrame) -> pd.DataFrame:
    """Return one row a new spine with its distance to the nearest eliminated one, um; NaN where there is none."""
    new = fates[fates["fate"] == Fate.GAINED.value]
    names = pd.MultiIndex.from_frame(dendrites.names)
    number = names.get_indexer(pd.MultiIndex.from_frame(new[list(dendrites.names)])).astype(np.int64)
    distance = places.nearest_um(number, new["along_um"].to_numpy(dtype=float))
    told = new[["phase", *SPINE_KEY, "along_um"]].assign(distance_um=np.where(np.isinf(distance), np.nan, distance))
    return units[["animal", "group", "phase", "condition"]].merge(told, on=["animal", "phase"])


def _within(places: Places, limits_um: Sequence[float]) -> Callable[[NewSpines], list[NDArray[np.int64]]]:
    def count(block: NewSpines) -> list[NDArray[np.int64]]:
        nearest = places.nearest_um(block.dendrite[:, None], block.along_um)
        return [(nearest <= limit + ROUNDING_UM).sum(axis=-1) for limit in limits_um]

    return count


def _shares(
    nulls: Mapping[str, Callable[..., Iterator[NewSpines]]], units: pd.DataFrame, dendrites: Dendrites, places: Places,
    settings: StudySettings,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], pd.DataFrame, list[Statistic]]:  # fmt: skip
    """Return the shares of animals, each null's table, the shares at all distances, and the tests against chance."""
    unit = unit_of(dendrites, units)
    new = np.bincount(unit, dendrites.new.counts, minlength=len(units)).astype(float)
    eliminated = np.bincount(unit, places.counts, minlength=len(units)).astype(float)
    limits = sorted({*GRID_UM, settings.reformation_distance_um})
    place = limits.index(settings.reformation_distance_um)

    def percent(spines: Iterator[NewSpines], runs: int) -> Floats:
        summed = sums_by(spines, _within(places, limits), unit, runs=runs)
        full = np.zeros((*summed.shape[:2], len(units)))
        full[..., : summed.shape[2]] = summed
        return ratio(100 * full, np.broadcast_to(np.where(eliminated > 0, new, 0.0), full.shape))

    observed = percent(observed_spines(dendrites), 1)
    table = units.assign(
        new_spines=new.astype(int), eliminated_spines=eliminated.astype(int), again_percent=observed[place, 0]
    )
    curves, chances, lines = [_curve(table, observed, limits, "observed")], {}, []
    for null, draw in nulls.items():
        try:
            drawn = percent(draw(runs=settings.runs, seed=settings.seed), settings.runs)
        except NotComputable:
            continue
        table[f"chance_{null}_percent"] = mean_known(drawn[place], axis=0)
        curves.append(_curve(table, drawn, limits, null))
        chances[null], tested = against_chance(
            table, "again_percent", drawn[place], _measure(settings), _words_of(null, settings)
        )
        lines += tested
    return table, chances, pd.concat(curves, ignore_index=True), lines


def _curve(table: pd.DataFrame, percent: Floats, limits: Sequence[float], kind: str) -> pd.DataFrame:
    parts = [
        table[["animal", "phase", "condition"]].assign(
            kind=kind, distance_um=limit, percent=mean_known(percent[number], axis=0)
        )
        for number, limit in enumerate(limits)
    ]
    return pd.concat(parts, ignore_index=True)


def later_fates(material: Material, spines: pd.DataFrame, distance_um: float) -> pd.DataFrame:
    """Return what the later of two phases in turn did to the spines formed in the earlier one, and to older ones.

    Returns
    -------
    One row an animal, pair of phases and class: ``animal, group, phase`` (the later), ``formed_in, condition, kind``
    (formed again, formed elsewhere, older), ``spines, eliminated, eliminated_percent``.
    """
    again = pd.MultiIndex.from_frame(
        spines.loc[spines["distance_um"] <= distance_um + ROUNDING_UM, ["phase", *SPINE_KEY]]
    )
    conditions = material.units.set_index(["animal", "phase"])["condition"]
    rows = []
    for animal, phases in pd.DataFrame(
        [(phase.animal, phase.days[0], phase.name, phase.group) for phase in material.phases],
        columns=["animal", "day", "phase", "group"],
    ).groupby("animal", sort=False):
        mine = material.fates[material.fates["animal"] == animal]
        for first, second in pairwise(phases.sort_values("day").to_dict("records")):
            before, after = (mine[mine["phase"] == one["phase"]] for one in (first, second))
            both = before.merge(after[[*SPINE_KEY, "fate"]], on=SPINE_KEY, suffixes=("", "_later"))
            both = both[both["fate_later"].isin([Fate.STABLE.value, Fate.LOST.value])]
            is_again = pd.MultiIndex.from_frame(both[["phase", *SPINE_KEY]]).isin(again)
            formed = (both["fate"] == Fate.GAINED.value).to_numpy()
            kinds = (formed & is_again, formed & ~is_again, (both["fate"] == Fate.STABLE.value).to_numpy())
            lost = (both["fate_later"] == Fate.LOST.value).to_numpy()
            for kind, chosen in zip(CLASSES, kinds, strict=True):
                rows.append(
                    (animal, first["group"], second["phase"], first["phase"], conditions[animal, second["phase"]], kind,
                     int(chosen.sum()), int(lost[chosen].sum()))
                )  # fmt: skip
    columns = ["animal", "group", "phase", "formed_in", "condition", "kind", "spines", "eliminated"]
    table = pd.DataFrame(rows, columns=columns)
    count, gone = (table[name].to_numpy(dtype=float) for name in ("spines", "eliminated"))
    return table.assign(eliminated_percent=ratio(100 * gone, count))


def compare_classes(table: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    """Compare the classes within animals, by condition: formed again against elsewhere, and each against older."""
    pairs = ((AGAIN, ELSEWHERE), (AGAIN, OLDER), (ELSEWHERE, OLDER))
    names = KindNames("eliminated_percent", "spines", ("animal",))
    return compare_kinds(table, names, pairs, LOST_LATER, runs=settings.runs, seed=settings.seed)


def _legend(
    table: pd.DataFrame, chances: dict[str, pd.DataFrame], fates: pd.DataFrame, statistics: Sequence[Statistic],
    settings: StudySettings,
) -> str:  # fmt: skip
    compared = "; ".join(
        f"{line.comparison}, difference {line.value:.1f} % points, P = {line.p_corrected:.2g}, {line.n_animals} animals"
        for line in statistics
        if line.measure == LOST_LATER and line.test.startswith("signs") and line.p_corrected is not None
    )
    classes = "; ".join(
        f"{condition}, {kind}: {int(rows['spines'].sum())}"
        for (condition, kind), rows in fates.groupby(["condition", "kind"], sort=False)
    )
    told = " ".join(f"{_words_of(null, settings).capitalize()}. {tell_chance(rows)}" for null, rows in chances.items())
    gap = f"no nearer to a stable spine than {settings.least_gap_um:g} um"
    drawn = f"new spines are placed anywhere on the judged stretch, {gap}"
    if GAP_NULL not in chances:
        drawn = "it is permuted which spines of a dendrite are new"
        told += " Uniform placement is left out: no stretches that could be judged are known of some dendrites."
    return (
        f"Left: percentage of the new spines of a phase that stand within {settings.reformation_distance_um:g} um of a "
        f"spine eliminated in an earlier phase on the same dendrite, one mark an animal, with mean and s.e.m.; grey, "
        f"chance (mean and interval of 95 % of {settings.runs} runs in which {drawn}). Middle: the same share for "
        f"other distances, mean of animals; full lines, observed; dotted, placed so; dashed, permuted, which is "
        f"too low a chance: stable spines kept a spine's width from the eliminated ones, and so do the permuted. New "
        f"spines on a dendrite without an eliminated one count as far. "
        f"{tell_numbers(table, 'again_percent', 'new_spines', why_none=NO_VALUE)} {told} "
        f"Right: percentage of the "
        f"spines of each class that the later phase eliminated, one line an animal, with mean and s.e.m.: formed again "
        f"(in the phase before, where one had been eliminated), formed elsewhere in the same phase, so of the same "
        f"age, and older (there through the phase before). Spines: {classes}. Compared within animals by turning "
        f"the signs of their differences, P corrected after Holm: {compared or 'too few animals'}."
    )


def _draw(
    table: pd.DataFrame, chance: pd.DataFrame, curves: pd.DataFrame, fates: pd.DataFrame, settings: StudySettings
) -> Figure:
    names = condition_names(table)
    figure, (left, middle, right) = charts.panels(3, width_in=max(3.3, 0.9 * len(names) + 0.6), height_in=3.2)
    draw_chance(left, chance, names)
    label = f"new spines within {settings.reformation_distance_um:g} um\nof an eliminated one, %"
    charts.draw_animals(left, as_groups(table), "again_percent", groups=names, label=label)
    left.set_ylim(bottom=min(0.0, left.get_ylim()[0]))
    turn_names(left, names)
    left.legend(loc="best")
    middle.axvline(settings.reformation_distance_um, color=charts.NULL, linewidth=1, zorder=0)
    for name in names:
        for kind, line in (("observed", "-"), (GAP_NULL, ":"), (PERMUTED_NULL, "--")):
            rows = curves[(curves["condition"] == name) & (curves["kind"] == kind)]
            mean = rows.groupby("distance_um")["percent"].mean()
            middle.plot(
                mean.index,
                mean,
                line,
                color=charts.group_colour(name, names),
                linewidth=1.2,
                label=f"{name}, {LABELS.get(kind, kind)}",
            )
    middle.set_xlabel("distance to the nearest eliminated spine, um")
    middle.set_ylabel("new spines within it, %")
    middle.set_ylim(bottom=0)
    figure.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, max(2, len(names))))
    _draw_classes(right, fates, names)
    return figure


def _draw_classes(axes: Axes, fates: pd.DataFrame, names: Sequence[str]) -> None:
    shown = [name for name in names if (fates["condition"] == name).any()]
    for number, name in enumerate(shown):
        shift = 0.26 * (number - (len(shown) - 1) / 2)
        colour, marker = charts.group_colour(name, names), charts.group_marker(name, names)
        wide = fates[fates["condition"] == name].pivot_table(
            index="animal", columns="kind", values="eliminated_percent", dropna=False
        )
        wide = wide.reindex(columns=list(CLASSES))
        for values in wide.to_numpy(dtype=float):
            known = np.flatnonzero(np.isfinite(values))
            axes.plot(known + shift, values[known], f"{marker}-", color=colour, markersize=3, linewidth=0.6, alpha=0.6)
        for place, kind in enumerate(CLASSES):
            mean, sem = mean_sem(wide[kind].to_numpy(dtype=float))
            axes.errorbar(
                place + shift + 0.09, mean, yerr=np.nan_to_num(sem), fmt="_", color=charts.INK, markersize=8, capsize=2
            )
    axes.set_xticks(range(len(CLASSES)), [charts.wrapped(kind) for kind in CLASSES])
    axes.set_xlim(-0.6, len(CLASSES) - 0.4)
    axes.set_ylabel("spines eliminated later, %")
