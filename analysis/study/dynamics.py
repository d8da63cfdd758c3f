"""How many spines form and go: analysis 7. Per cent of the first view, density, turnover; by interval and by group.

The value of an animal is of all its dendrites together, those of dendrites are kept beside it. Only spines that could
be judged in both views of an interval count in it; density asks for one view alone, and for the stretch judged in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.model import Fate, SpineKind, SpineState
from analysis.study.charts import draw_course, from_zero, key_above, panels
from analysis.study.conditions import as_groups, compare_conditions, conditions_of
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import compare_groups, compare_nested, group_means, holm
from analysis.study.intervals import (
    Phase,
    consecutive_intervals,
    lost_fields,
    name_some,
    phase_fates,
    phase_names,
    phases_of,
    session_days,
)
from analysis.study.settings import StudySettings
from analysis.study.tables import DENDRITE_KEY, StudyTables

RATES = {"formation_percent": "formation", "elimination_percent": "elimination", "turnover_percent": "turnover"}
"""Columns of the rates, and their names."""
BY_ANIMAL = ["phase", "task", "group", "animal"]
BY_DENDRITE = [*BY_ANIMAL, "field", "dendrite"]
DENSITY = "density_per_um"


def formation_and_elimination(tables: StudyTables, settings: StudySettings) -> Finding:
    """Answer analysis 7.

    Raises
    ------
    NotComputable
        No field was seen on two days.
    """
    by_interval, by_phase = interval_rates(tables, settings), _phase_rates(tables, settings)
    density = spine_density(tables, settings)
    statistics = _compare_intervals(*by_interval, settings)
    if by_phase is not None:
        statistics += _compare_phases(*by_phase, settings)
    statistics += _compare_density(*density, settings)
    named = {"": by_interval[0], "intervals_by_dendrite": by_interval[1]}
    if by_phase is not None:
        named |= {"phases": by_phase[0], "phases_by_dendrite": by_phase[1]}
    named |= {"density": density[0], "density_by_dendrite": density[1]}
    groups = tables.groups

    def draw() -> Figure:
        return _draw(by_interval[0], None if by_phase is None else by_phase[0], density[0], groups)

    title = "Formation and elimination of spines"
    legend = _legend(by_interval[0], statistics, settings) + _left_out(tables, settings)
    return Finding("07_dynamics", title, legend, named, tuple(statistics), draw)


def _left_out(tables: StudyTables, settings: StudySettings) -> str:
    """Return the fields that are missing from an interval or a phase, as a sentence."""
    both = [take(tables, same_day=settings.same_day) for take in (consecutive_intervals, phases_of)]
    lost = list(dict.fromkeys(name for phases in both for name in lost_fields(tables, phases)))
    if not lost:
        return ""
    return f" Left out, because not seen in both the first and the last session: {name_some(lost)}."


def interval_rates(
    tables: StudyTables, settings: StudySettings, *, phases: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rates of every interval, one row an animal, and the same one row a dendrite.

    Parameters
    ----------
    tables, settings
        The study and its choices.
    phases
        From the first to the last session of each phase; else from each session to the next of a later day.

    Returns
    -------
    Rows with ``phase`` (name of the phase, or of the interval as ``day 0-4``), ``task, group, animal, from_day,
    to_day``, counts ``stable, gained, lost, unscorable`` (seen in one view, hidden in the other), ``present`` (in the
    first view and scorable in both), ``formation_percent`` and ``elimination_percent`` (of ``present``),
    ``turnover_percent`` ((gained + lost) / (2 x present)). NaN where nothing was present. In the order of time.

    Raises
    ------
    NotComputable
        No field was seen on two days.
    """
    take = phases_of if phases else consecutive_intervals
    intervals = take(tables, same_day=settings.same_day)
    fates = phase_fates(tables, intervals, with_filopodia=settings.with_filopodia, with_hidden=False)
    order = phase_names(intervals)
    days = pd.DataFrame(
        [(one.name, one.animal, one.days[0], one.days[-1]) for one in intervals],
        columns=["phase", "animal", "from_day", "to_day"],
    )
    found = []
    for keys in (BY_ANIMAL, BY_DENDRITE):
        rates = count_rates(fates, keys).merge(days, on=["phase", "animal"], how="left")
        found.append(_in_order(rates, order, tables))
    return found[0], found[1]


def _phase_rates(tables: StudyTables, settings: StudySettings) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the rates of the phases; None where none is told of, or none holds two sessions."""
    if tables.phases.empty:
        return None
    try:
        return interval_rates(tables, settings, phases=True)
    except NotComputable:
        return None


def count_rates(fates: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return counts of fates and the rates of formation, elimination and turnover, one row for each of the keys."""
    table = fates[list(keys)].assign(**{fate.value: fates["fate"].eq(fate.value).astype(int) for fate in Fate})
    counts = table.groupby(list(keys), sort=False, as_index=False)[[fate.value for fate in Fate]].sum()
    counts["present"] = counts["stable"] + counts["lost"]
    of = counts["present"].where(counts["present"] > 0) / 100
    counts["formation_percent"] = counts["gained"] / of
    counts["elimination_percent"] = counts["lost"] / of
    counts["turnover_percent"] = (counts["gained"] + counts["lost"]) / (2 * of)
    return counts


def spine_density(tables: StudyTables, settings: StudySettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return spines per um of the stretch that could be judged, one row an animal and session, and a row a dendrite.

    Returns
    -------
    Rows with ``group, animal, session, day`` (nominal), ``spines, length_um, density_per_um``; repeats of a day are
    left out.
    """
    pieces = tables.stretches.assign(length_um=tables.stretches["to_um"] - tables.stretches["from_um"])
    length: pd.DataFrame = pieces.groupby([*DENDRITE_KEY, "session"], as_index=False)[["length_um"]].sum()
    here: pd.DataFrame = tables.spines[tables.spines["state"].astype(str) == SpineState.PRESENT.value]
    if not settings.with_filopodia:
        here = here[here["kind"].astype(str) != SpineKind.FILOPODIUM.value]
    count = here.groupby([*DENDRITE_KEY, "session"], as_index=False).agg(spines=("track", "size"))
    days = session_days(tables.sessions, same_day=settings.same_day)
    days = days.loc[~days["is_repeat"], ["animal", "session", "nominal_day"]].rename(columns={"nominal_day": "day"})
    table = length[length["length_um"] > 0].merge(count, how="left", on=[*DENDRITE_KEY, "session"])
    table = table.assign(spines=table["spines"].fillna(0).astype(int)).merge(days, on=["animal", "session"])
    table = table.merge(tables.animals[["animal", "group"]], on="animal")
    keys = ["group", "animal", "session", "day"]
    found = []
    for key in (keys, [*keys, "field", "dendrite"]):
        part = table.groupby(key, as_index=False)[["spines", "length_um"]].sum()
        part[DENSITY] = part["spines"] / part["length_um"]
        found.append(_by_group(part, tables, ["day"]))
    return found[0], found[1]


def _in_order(table: pd.DataFrame, names: Sequence[str], tables: StudyTables) -> pd.DataFrame:
    at = table["phase"].map({name: place for place, name in enumerate(names)})
    return _by_group(table.assign(at=at), tables, ["at"]).drop(columns="at")


def _by_group(table: pd.DataFrame, tables: StudyTables, first: Sequence[str]) -> pd.DataFrame:
    """Sort by the columns ``first``, then by group and animal in the order of the study, then by dendrite."""
    rank = {animal: place for place, animal in enumerate(tables.animals["animal"])}
    rest = [name for name in ("field", "dendrite") if name in table]
    ranked = table.assign(rank=table["animal"].map(rank))
    return ranked.sort_values([*first, "rank", *rest], ignore_index=True).drop(columns="rank")


def _compare_intervals(animals: pd.DataFrame, dendrites: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    """Compare groups interval by interval; P corrected over groups and intervals of one rate."""
    lines: list[Statistic] = []
    for column, name in RATES.items():
        compared: list[Statistic] = []
        for interval, rows in animals.groupby("phase", sort=False):
            measure = f"{name}, {interval}, % of the first view"
            lines += group_means(rows, column, measure, spines="present")
            compared += compare_groups(rows, column, measure, spines="present", runs=settings.runs, seed=settings.seed)
            own = dendrites[dendrites["phase"] == interval]
            compared += compare_nested(own, column, measure, spines="present")
        lines += _corrected(compared)
    return lines


def _compare_phases(animals: pd.DataFrame, dendrites: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    """Compare conditions: groups that have a phase each, or groups within phases and phases within groups."""
    lines: list[Statistic] = []
    units = animals.merge(_conditions(animals), on=["animal", "phase"])
    nested = dendrites.merge(_conditions(animals), on=["animal", "phase"])
    parts = [nested] if not units["animal"].duplicated().any() else [rows for _, rows in nested.groupby("phase")]
    for column, name in RATES.items():
        measure = f"{name} in a phase, % of the first view"
        lines += group_means(as_groups(units), column, measure, spines="present")
        lines += compare_conditions(units, column, measure, spines="present", runs=settings.runs, seed=settings.seed)
        lines += _corrected(
            [line for rows in parts for line in compare_nested(as_groups(rows), column, measure, spines="present")]
        )
    return lines


def _conditions(animals: pd.DataFrame) -> pd.DataFrame:
    columns = ["phase", "task", "animal", "group", "from_day"]
    phases = [
        Phase(str(phase), str(task), str(animal), str(group), (), (float(day),), (float(day), float(day)))
        for phase, task, animal, group, day in zip(*(animals[name].tolist() for name in columns), strict=True)
    ]
    return conditions_of(phases)[["animal", "phase", "condition"]]


def _compare_density(animals: pd.DataFrame, dendrites: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    lines, compared = [], []
    for day, rows in animals.groupby("day"):
        measure = f"density of spines, day {day:g}, per um"
        lines += group_means(rows, DENSITY, measure, spines="spines")
        compared += compare_groups(rows, DENSITY, measure, spines="spines", runs=settings.runs, seed=settings.seed)
        compared += compare_nested(dendrites[dendrites["day"] == day], DENSITY, measure, spines="spines")
    return lines + _corrected(compared)


def _corrected(lines: Sequence[Statistic]) -> list[Statistic]:
    """Correct the P of each kind of test over all pairs of groups and all intervals of one measure."""
    kinds: dict[str, list[Statistic]] = {}
    for line in lines:
        kind = line.test.split()[0]
        kinds.setdefault("exact" if kind == "permutation" else kind, []).append(line)
    return [line for part in kinds.values() for line in holm(part)]


def _legend(animals: pd.DataFrame, statistics: Sequence[Statistic], settings: StudySettings) -> str:
    counts = animals[["gained", "lost", "unscorable"]].sum()
    nested = [line for line in statistics if line.test.startswith("mixed")]
    failed = sum(line.value is None for line in nested)
    said = [
        "Formation and elimination in % of the spines of the first view of an interval "
        f"({'with' if settings.with_filopodia else 'without'} filopodia), turnover = (gained + lost) / (2 x present), "
        "density per um of the stretch that could be judged.",
        "Faint marks: animals (all dendrites of an animal together); large marks: mean +/- s.e.m. of animals.",
        f"n = {animals['animal'].nunique()} animals; over all intervals {counts['gained']} spines gained and "
        f"{counts['lost']} lost; {counts['unscorable']} times a spine could not be judged in one of the views: it is "
        "counted neither as gained nor as lost.",
        "Groups are compared by permutation of animals, Mann-Whitney U and Welch's t; P corrected after Holm over "
        "groups and intervals.",
    ]
    if nested:
        said.append("Beside them stands a mixed model of dendrites with the animal as random effect.")
    if failed:
        said.append(
            f"In {failed} cases that model does not converge or finds no spread between animals: there the tests of "
            "animals stand alone."
        )
    return " ".join(said)


def _draw(intervals: pd.DataFrame, phases: pd.DataFrame | None, density: pd.DataFrame, groups: Sequence[str]) -> Figure:
    columns = list(RATES)
    shown = intervals.assign(days=intervals["phase"].str.removeprefix("day "))
    figure, axes = panels(2, 2) if phases is None else panels(3, 2, width_in=3.0)
    for place, column in zip(axes, columns, strict=False):
        label = f"{RATES[column]} (%)"
        draw_course(place, shown, column, x="days", groups=groups, label=label)
        place.set_xlabel("from day - to day")
    rest = axes[len(columns) :]
    if phases is not None:
        for place, column in zip(rest, columns[:2], strict=False):
            label = f"{RATES[column]} (%)"
            draw_course(place, phases, column, x="phase", groups=groups, label=label, is_joined=False)
            place.set_xlabel("phase, first to last session")
    draw_course(rest[-1], density, DENSITY, x="day", groups=groups, label="spines per um")
    rest[-1].set_xlabel("day")
    for place in axes:
        from_zero(place)
    key_above(figure, axes[0])
    return figure
