"""Behaviour beside spines: analysis 14. The course of every measure by group, and who gains more against whose spines.

The animal is the unit: one point an animal and phase. What animals of different groups have in common is their
group's, too; so the correlation within groups (group means taken off) stands beside that of all animals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import factorial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from analysis.study.charts import draw_course, group_colour, group_marker, key_above, panels, wrapped
from analysis.study.conditions import as_groups, compare_conditions, conditions_of
from analysis.study.dynamics import interval_rates
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import CONFIDENCE, MOST_EXACT, group_means, holm, is_flat
from analysis.study.intervals import WITHIN_DAYS, Phase, phase_names, phases_of
from analysis.study.lifetimes import followed_spines, limits, still_there
from analysis.study.settings import StudySettings
from analysis.study.survival import CLUSTERED, LONE, SPINE_CLASS, UNDECIDED, new_spine_classes
from analysis.study.tables import StudyTables

Floats = NDArray[np.float64]
SPINE_MEASURES = {
    "clustered_percent": "new spines in clusters (%)",
    "formation_percent": "formation (%)",
    "elimination_percent": "elimination (%)",
    "persistence_percent": "new spines still present (%)",
    "clustered_persistence_percent": "clustered new spines still present (%)",
    "lone_persistence_percent": "non-clustered new spines still present (%)",
}
"""Columns of what is set against behaviour, and their names."""
DRAWN_MEASURES = 4
"""How many of them are drawn; all are tested."""
FEWEST_PAIRS = 4
"""Animals that it takes to speak of a correlation: Fisher's interval needs four."""
WITHOUT_SPREAD = 1e-9
"""Below it nothing is left to correlate."""


def behaviour_and_spines(tables: StudyTables, settings: StudySettings) -> Finding:
    """Answer analysis 14.

    Raises
    ------
    NotComputable
        The study has no behaviour, or none of its own animals.
    """
    if tables.behaviour.empty:
        raise NotComputable(
            "the study has no behaviour; add a table with animal, day, measure and value (success rate by day)"
        )
    course = behaviour_by_day(tables)
    if course.empty:
        said, listed = (
            ", ".join(dict.fromkeys(part["animal"].astype(str))) for part in (tables.behaviour, tables.animals)
        )
        raise NotComputable(
            f"no row of the table of behaviour has a value of an animal of the study; it names {said}, the study has "
            f"{listed}; write the animals as in the study"
        )
    phases = phases_of(tables, same_day=settings.same_day)
    gains = behaviour_gained(tables, phases)
    paired = gains.merge(spine_measures(tables, settings), on=["animal", "phase"], how="left")
    statistics = [*_course_lines(course), *_gain_lines(gains, phases, settings)]
    correlated = _corrected(list(_correlations(paired, settings)))
    statistics += correlated
    groups = tables.groups
    order = phase_names(phases)
    shown = {(line.measure, line.comparison): line for line in correlated if line.test.startswith("Spearman")}

    def draw() -> Figure:
        return _draw(course, paired, shown, (groups, order))

    known = paired["gained"].notna().sum() if len(paired) else 0
    legend = (
        "First panel of a measure: behaviour by day, mean +/- s.e.m. of animals (faint marks: animals). Other panels: "
        "what an animal gained in behaviour over a phase (last minus first value between the phase's sessions) against "
        "its new spines in clusters (definition 1), formation and elimination in that phase, and the share of its new "
        f"spines still present later, one mark an animal. n = {course['animal'].nunique()} animals with behaviour, "
        f"{known} gains over a phase. In the titles Spearman's "
        "correlation with corrected P. Spearman's rank correlation (P of permuting animals, interval over draws of "
        "animals) and Pearson's (Fisher's interval) of all animals, and Pearson's within groups; P of each kind "
        "corrected after Holm over the spine measures and phases. A correlation is none of cause."
    )  # fmt: skip
    named = {"": paired, "course": course}
    return Finding("14_behaviour", "Behaviour and spines", legend, named, tuple(statistics), draw)


def behaviour_by_day(tables: StudyTables) -> pd.DataFrame:
    """Return one row an animal, measure and whole day: ``group, animal, measure, day, value`` (mean of the day)."""
    rows = tables.behaviour.assign(
        day=tables.behaviour["day"].astype(float).round(), value=tables.behaviour["value"].astype(float)
    )
    rows = rows[rows["value"].notna()].merge(tables.animals[["animal", "group"]], on="animal")
    means = rows.groupby(["measure", "group", "animal", "day"], as_index=False, sort=False)[["value"]].mean()
    place = {animal: number for number, animal in enumerate(tables.animals["animal"])}
    ranked = means.assign(rank=means["animal"].map(place)).sort_values(["measure", "rank", "day"], ignore_index=True)
    return ranked.drop(columns="rank")


def behaviour_gained(tables: StudyTables, phases: Sequence[Phase]) -> pd.DataFrame:
    """Return what every animal gained over every phase, one row an animal, phase and measure.

    Returns
    -------
    ``animal, group, phase, measure, first, last, gained``: the first and last value between the days of the phase's
    first and last session, half a day more at both ends, and last minus first; animals with values on fewer than two
    days are left out.
    """
    rows = []
    behaviour = tables.behaviour.assign(day=tables.behaviour["day"].astype(float))
    behaviour = behaviour[behaviour["value"].notna()]
    by_animal = {str(name): part for name, part in behaviour.groupby("animal")}
    for phase in phases:
        if phase.animal not in by_animal:
            continue
        own = by_animal[phase.animal]
        inside = own[own["day"].between(phase.days[0] - WITHIN_DAYS, phase.days[-1] + WITHIN_DAYS)]
        for measure, part in inside.groupby("measure"):
            means = part.groupby("day")["value"].mean().sort_index().to_numpy(dtype=float)
            if len(means) > 1:
                change = (means[0], means[-1], means[-1] - means[0])
                rows.append((phase.animal, phase.group, phase.name, str(measure), *change))
    return pd.DataFrame(rows, columns=["animal", "group", "phase", "measure", "first", "last", "gained"])


def spine_measures(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return what is set against behaviour, one row an animal and phase; NaN where it cannot be told.

    Persistence is that of the latest day after the phase on which most animals were seen, the same for all.
    """
    try:
        table = interval_rates(tables, settings, phases=True)[0]
    except NotComputable:
        return pd.DataFrame(columns=["animal", "phase", *SPINE_MEASURES])
    table = table[["animal", "phase", "formation_percent", "elimination_percent"]]
    found = [table]
    try:
        start = new_spine_classes(tables, settings)
    except NotComputable:
        start = pd.DataFrame()
    if len(start):
        found.append(_clustered(start))
        followed = followed_spines(tables, start, same_day=settings.same_day)
        followed = followed.merge(_common_day(followed), on=["phase", "days_after"])
        for name, spine_classes in (("", [CLUSTERED, LONE, UNDECIDED]), ("clustered_", [CLUSTERED]), ("lone_", [LONE])):
            shares = still_there(followed[followed[SPINE_CLASS].isin(spine_classes)], ["animal", "phase"])
            named = shares.rename(columns={"percent": f"{name}persistence_percent"})
            found.append(named.drop(columns=["there", "judged", "days_after"]))
    for part in found[1:]:
        table = table.merge(part, on=["animal", "phase"], how="left")
    return table.reindex(columns=["animal", "phase", *SPINE_MEASURES])


def _clustered(start: pd.DataFrame) -> pd.DataFrame:
    decided = start[start[SPINE_CLASS].isin([CLUSTERED, LONE])]
    shares = decided[SPINE_CLASS].eq(CLUSTERED).groupby([decided["animal"], decided["phase"]]).mean() * 100
    return shares.rename("clustered_percent").reset_index()


def _common_day(followed: pd.DataFrame) -> pd.DataFrame:
    """Return the latest of the days on which most animals have new spines that could be judged, for each phase."""
    shares = still_there(followed, ["animal", "phase"])
    animals = shares.groupby(["phase", "days_after"], as_index=False).agg(animals=("animal", "size"))
    best = animals.sort_values(["animals", "days_after"]).groupby("phase", as_index=False).last()
    return best[["phase", "days_after"]]


# ---- statistics ------------------------------------------------------------------------------------------------------


def _course_lines(course: pd.DataFrame) -> Iterator[Statistic]:
    for (measure, day), rows in course.groupby(["measure", "day"]):
        yield from group_means(rows, "value", f"{measure}, day {day:g}")


def _gain_lines(gains: pd.DataFrame, phases: Sequence[Phase], settings: StudySettings) -> Iterator[Statistic]:
    if gains.empty:
        return
    units = gains.merge(conditions_of(phases)[["animal", "phase", "condition"]], on=["animal", "phase"])
    for measure, rows in units.groupby("measure", sort=False):
        named = f"{measure} gained over a phase"
        yield from group_means(as_groups(rows), "gained", named)
        yield from compare_conditions(rows, "gained", named, runs=settings.runs, seed=settings.seed)


def _correlations(paired: pd.DataFrame, settings: StudySettings) -> Iterator[Statistic]:
    for (measure, phase), rows in paired.groupby(["measure", "phase"], sort=False):
        for column, name in SPINE_MEASURES.items():
            both = rows[rows["gained"].notna() & rows[column].notna()]
            yield from correlate(both, column, (f"{measure} gained, phase {phase}", name), settings)


def correlate(rows: pd.DataFrame, column: str, names: tuple[str, str], settings: StudySettings) -> Iterator[Statistic]:
    """Correlate what animals gained with one measure of their spines; nothing of fewer than four animals.

    Parameters
    ----------
    rows
        One row an animal: ``group, gained`` and the column.
    column
        Column of the measure of spines.
    names
        Of what was gained, and of the measure.
    settings
        Runs and seed.
    """
    gained, spines = rows["gained"].to_numpy(dtype=float), rows[column].to_numpy(dtype=float)
    n = len(rows)
    if n < FEWEST_PAIRS or is_flat(gained) or is_flat(spines):
        return
    pearson = stats.pearsonr(gained, spines)
    low, high = pearson.confidence_interval(CONFIDENCE)
    versus = f"with {names[1]}"
    yield Statistic(
        names[0], versus, "Pearson correlation of animals, Fisher's interval", n, 0,
        float(pearson.statistic), float(low), float(high), float(pearson.pvalue),
    )  # fmt: skip
    rho, interval, p, ways = rank_correlation(gained, spines, settings.runs, settings.seed)
    test = f"Spearman correlation of animals, {ways}, interval over draws of animals"
    yield Statistic(names[0], versus, test, n, 0, rho, *interval, p)
    yield from _within_groups(rows, column, names[0], versus)


def rank_correlation(
    x: Floats, y: Floats, runs: int, seed: int
) -> tuple[float, tuple[float | None, float | None], float, str]:
    """Return Spearman's correlation, its interval over draws of pairs, its P over permuted pairs, and how that was."""
    ranks = np.array([stats.rankdata(values) for values in (x, y)])
    ways = factorial(len(x))
    is_exact = ways <= MOST_EXACT
    permuted = stats.permutation_test(
        [ranks[0].tolist()], lambda a, axis: _row_correlation(a, np.broadcast_to(ranks[1], a.shape), axis),
        permutation_type="pairings", vectorized=True, n_resamples=ways if is_exact else runs,
        rng=np.random.default_rng(seed), batch=20_000,
    )  # fmt: skip
    drawn = np.random.default_rng(seed).integers(0, len(x), (runs, len(x)))
    rhos = _row_correlation(stats.rankdata(x[drawn], axis=1), stats.rankdata(y[drawn], axis=1))
    low, high = limits(rhos[:, None], len(x))
    told = f"exact permutation ({ways} ways)" if is_exact else f"permutation ({runs} drawn)"
    return float(permuted.statistic), (float(low[0]), float(high[0])), float(permuted.pvalue), told


def _row_correlation(a: Floats, b: Floats, axis: int = -1) -> Floats:
    """Return Pearson's correlation along an axis; NaN where one side is all equal."""
    a, b = (values - values.mean(axis=axis, keepdims=True) for values in (a, b))
    size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    found: Floats = np.divide((a * b).sum(axis=axis), size, out=np.full(size.shape, np.nan), where=size > 0)
    return found


def _within_groups(rows: pd.DataFrame, column: str, measure: str, versus: str) -> Iterator[Statistic]:
    """Correlate what is left when each group's mean is taken off: t with n - groups - 1 degrees of freedom."""
    groups = rows["group"].nunique()
    free = len(rows) - groups - 1
    if groups == 1 or free < FEWEST_PAIRS - 2:
        return
    left = rows[["gained", column]].astype(float)
    left = left - left.groupby(rows["group"]).transform("mean")
    a, b = left["gained"].to_numpy(), left[column].to_numpy()
    if min(np.ptp(a), np.ptp(b)) <= WITHOUT_SPREAD:
        return
    r = float(np.clip(_row_correlation(a, b), -1.0, 1.0))
    p = 2 * float(stats.t.sf(abs(r) * np.sqrt(free / max(1 - r**2, WITHOUT_SPREAD)), free))
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) / np.sqrt(free - 1)
    at = np.arctanh(np.clip(r, -1 + WITHOUT_SPREAD, 1 - WITHOUT_SPREAD))
    test = f"Within groups: Pearson correlation, means of {groups} groups taken off, Fisher's interval"
    low, high = float(np.tanh(at - reach)), float(np.tanh(at + reach))
    yield Statistic(measure, versus, test, len(rows), 0, r, low, high, p)


def _corrected(lines: Sequence[Statistic]) -> list[Statistic]:
    kinds: dict[str, list[Statistic]] = {}
    for line in lines:
        kinds.setdefault(line.test.split()[0], []).append(line)
    return [line for part in kinds.values() for line in holm(part)]


# ---- drawing ---------------------------------------------------------------------------------------------------------


def _draw(
    course: pd.DataFrame,
    paired: pd.DataFrame,
    shown: dict[tuple[str, str], Statistic],
    order: tuple[list[str], list[str]],
) -> Figure:
    groups, phases = order
    measures = list(dict.fromkeys(course["measure"]))
    columns = list(SPINE_MEASURES)[:DRAWN_MEASURES]
    rows = [
        (measure, phase)
        for measure in measures
        for phase in [one for one in phases if _is_shown(paired, measure, one, columns)] or [""]
    ]
    wide = 1 + len(columns) if any(phase for _, phase in rows) else 1
    figure, axes = panels(wide, len(rows), width_in=2.5 if wide > 1 else None)
    for number, (measure, phase) in enumerate(rows):
        first, *others = axes[number * wide : (number + 1) * wide]
        if measure in {one for one, _ in rows[:number]}:
            first.set_axis_off()
        else:
            draw_course(
                first, course[course["measure"] == measure], "value", x="day", groups=groups, label=wrapped(measure, 30)
            )
            first.set_xlabel("day")
        for place, column in zip(others, columns, strict=False):
            both = _pairs(paired, measure, phase, column)
            if len(both) < FEWEST_PAIRS:
                place.set_axis_off()
                continue
            _draw_pairs(place, both, column, groups)
            place.set_xlabel(wrapped(f"{measure} gained, {phase}", 36))
            line = shown.get((f"{measure} gained, phase {phase}", f"with {SPINE_MEASURES[column]}"))
            if line is not None:
                told = f"Spearman {line.value:.2f}, P = {line.p_corrected:.2g}, n = {line.n_animals}"
                place.set_title(told, fontsize=7)
    key_above(figure, *axes)
    return figure


def _is_shown(paired: pd.DataFrame, measure: str, phase: str, columns: Sequence[str]) -> bool:
    return any(len(_pairs(paired, measure, phase, column)) >= FEWEST_PAIRS for column in columns)


def _pairs(paired: pd.DataFrame, measure: str, phase: str, column: str) -> pd.DataFrame:
    rows = paired[(paired["measure"] == measure) & (paired["phase"] == phase)]
    return rows[rows["gained"].notna() & rows[column].notna()]


def _draw_pairs(axes: Axes, rows: pd.DataFrame, column: str, groups: Sequence[str]) -> None:
    for group in groups:
        own = rows[rows["group"] == group]
        axes.plot(
            own["gained"], own[column], group_marker(group, groups), color=group_colour(group, groups), markersize=4.5
        )
    axes.set_ylabel(SPINE_MEASURES[column])
