"""What became of every spine between two sessions: the one place where new, eliminated and stable are counted.

A spine counts in an interval when it was scorable in both its sessions: unscorable is never lost and never gained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import Fate, SpineKind, SpineState
from analysis.study.finding import NotComputable
from analysis.study.tables import DENDRITE_KEY, SPINE_KEY, StudyTables

WITHIN_DAYS = 0.5
"""Sessions this near to the days of a phase belong to it, days."""
UNKNOWN = -1
"""Session in which a spine was first seen, where that is not known."""


@dataclass(frozen=True)
class Phase:
    """The sessions of one animal in one phase: from ``sessions[0]`` to ``sessions[-1]``, at least two; no repeats.

    ``planned_days`` are the first and the last day that the table of phases gives, the same for all animals of a group;
    an animal's own sessions may end sooner.
    """

    name: str
    task: str
    animal: str
    group: str
    sessions: tuple[int, ...]
    days: tuple[float, ...]
    planned_days: tuple[float, float]


def phases_of(tables: StudyTables, *, same_day: float = 0.25) -> list[Phase]:
    """Return the phases of every animal, in their order in time; those with fewer than two sessions are left out.

    A phase of a group's own takes the place of the phase of that name that is of all groups.
    Where no phases are given there is one, ``first interval``: from the first session to the next of a later day.
    Same-day repeats belong to no phase: a repeat is often of one field alone, and would leave out all others.
    """
    found = []
    every = session_days(tables.sessions, same_day=same_day)
    every = every[~every["is_repeat"]]
    for row in tables.animals.itertuples():
        sessions = every[every["animal"] == row.animal]
        days = sessions["day"].to_numpy(dtype=float)
        for name, task, first, last in _windows(tables.phases, str(row.group), days):
            inside = (days >= first - WITHIN_DAYS) & (days <= last + WITHIN_DAYS)
            if inside.sum() > 1:
                numbers = tuple(int(number) for number in sessions["session"][inside])
                held = tuple(float(day) for day in days[inside])
                found.append(Phase(name, task, str(row.animal), str(row.group), numbers, held, (first, last)))
    return found


def session_days(sessions: pd.DataFrame, *, same_day: float = 0.25) -> pd.DataFrame:
    """Return the sessions with the day that each stands for.

    Returns
    -------
    ``animal, session, day`` sorted, ``is_repeat`` (taken within ``same_day`` of the animal's first session of that day)
    and ``nominal_day``: the day as a whole number, so that animals can be put together; with one decimal where an
    animal has separate sessions on one whole day. A repeat has the nominal day of the session that it repeats.
    """
    table = sessions[["animal", "session", "day"]].sort_values(["animal", "session"], ignore_index=True)
    table["day"] = table["day"].astype(float)
    opens = np.zeros(len(table), dtype=int)
    last_animal, opened = None, 0
    for place, (animal, day) in enumerate(zip(table["animal"], table["day"], strict=True)):
        if animal != last_animal or day > table["day"].iloc[opened] + same_day:
            last_animal, opened = animal, place
        opens[place] = opened
    table["is_repeat"] = opens != np.arange(len(table))
    kept = table[~table["is_repeat"]]
    digits = 1 if kept.assign(day=kept["day"].round()).duplicated(["animal", "day"]).any() else 0
    table["nominal_day"] = table["day"].round(digits).to_numpy()[opens]
    return table


def consecutive_intervals(tables: StudyTables, *, same_day: float = 0.25) -> list[Phase]:
    """Return every interval from one session of an animal to its next of a later day, named ``day 0-4``."""
    groups = dict(zip(tables.animals["animal"], tables.animals["group"], strict=True))
    days = session_days(tables.sessions, same_day=same_day)
    found = []
    for animal, rows in days[~days["is_repeat"] & days["animal"].isin(list(groups))].groupby("animal", sort=False):
        sessions, nominal, held = (rows[column].tolist() for column in ("session", "nominal_day", "day"))
        for place in range(len(rows) - 1):
            name = f"day {nominal[place]:g}-{nominal[place + 1]:g}"
            numbers, ends = (int(sessions[place]), int(sessions[place + 1])), (held[place], held[place + 1])
            found.append(Phase(name, "", str(animal), str(groups[animal]), numbers, ends, ends))
    return found


def _windows(phases: pd.DataFrame, group: str, days: NDArray[np.float64]) -> Iterator[tuple[str, str, float, float]]:
    if phases.empty:
        if len(days) > 1:
            yield "first interval", "", float(days[0]), float(days[1])
        return
    own = phases["group"] == group
    of_all = phases["group"].eq("") & ~phases["phase"].isin(phases.loc[own, "phase"])
    for row in phases[own | of_all].sort_values("first_day").to_dict("records"):
        yield str(row["phase"]), str(row["task"]), float(row["first_day"]), float(row["last_day"])


def phase_names(phases: list[Phase]) -> list[str]:
    """Return the names of phases, in their order in time."""
    return list(dict.fromkeys(phase.name for phase in sorted(phases, key=lambda phase: phase.days[0])))


def fates_between(spines: pd.DataFrame, first: int, last: int, *, with_hidden: bool = False) -> pd.DataFrame:
    """Return what became of the spines of one animal from one session to another.

    Parameters
    ----------
    spines
        Rows of one animal, as in :class:`StudyTables`.
    first, last
        The sessions.
    with_hidden
        Also, as unscorable, what is unscorable in both and was seen in another session: it may stand between two new
        spines all the same.

    Returns
    -------
    One row a spine that is present in one of them: ``animal, field, dendrite, track, along_um, fate`` (stable, gained,
    lost, unscorable), ``kind`` (where it is present; in the last if in both; where it was last seen if hidden in both),
    sorted by dendrite and place.
    """
    before, after = spines[spines["session"] == first], spines[spines["session"] == last]
    both = before.merge(after, on=SPINE_KEY, suffixes=("_first", "_last"))
    was, is_now = (both[f"state_{when}"].astype(str) for when in ("first", "last"))
    present, absent, unscorable = (
        state.value for state in (SpineState.PRESENT, SpineState.ABSENT, SpineState.UNSCORABLE)
    )
    table = both[SPINE_KEY].assign(along_um=both["along_um_last"].astype(float))
    table["fate"] = np.select(
        [
            (was == unscorable) | (is_now == unscorable),
            (was == present) & (is_now == present),
            (was == absent) & (is_now == present),
            (was == present) & (is_now == absent),
        ],
        [Fate.UNSCORABLE.value, Fate.STABLE.value, Fate.GAINED.value, Fate.LOST.value],
        default="",
    )
    table["kind"] = both["kind_last"].where(is_now == present, both["kind_first"]).astype(str)
    kept = table["fate"].ne("") & ((was == present) | (is_now == present))
    if with_hidden:
        seen = spines[spines["state"].astype(str) == present].sort_values("session")
        kinds = seen.drop_duplicates(SPINE_KEY, keep="last").set_index(SPINE_KEY)["kind"]
        elsewhere = kinds.reindex(pd.MultiIndex.from_frame(table[SPINE_KEY])).reset_index(drop=True)
        hidden = (was == unscorable) & (is_now == unscorable) & elsewhere.notna()
        table["kind"] = table["kind"].where(~hidden, elsewhere).astype(str)
        kept |= hidden
    return table[kept].sort_values([*DENDRITE_KEY, "along_um", "track"], ignore_index=True)


def phase_fates(
    tables: StudyTables, phases: list[Phase], *, with_filopodia: bool = False, with_hidden: bool = True
) -> pd.DataFrame:
    """Return :func:`fates_between` the ends of every phase, with ``phase, task, group`` and ``formed``.

    ``formed`` is the first session of the phase in which a gained spine is present; -1 for others, and where the spine
    was unscorable in the session before that: it may have been there already. Filopodia are left
    out (of all fates) unless asked for: a spine is judged by its kind at the end of the phase, or before it is lost.

    Raises
    ------
    NotComputable
        No animal has two sessions in a phase, or no field was seen in both the first and the last of one.
    """
    by_animal = dict(list(tables.spines.groupby("animal", sort=False)))
    parts = []
    for phase in phases:
        spines = by_animal.get(phase.animal)
        if spines is None:
            continue
        table = fates_between(spines, phase.sessions[0], phase.sessions[-1], with_hidden=with_hidden)
        formed = _first_seen(spines, phase.sessions).reindex(pd.MultiIndex.from_frame(table[SPINE_KEY])).to_numpy()
        table["formed"] = np.where(table["fate"] == Fate.GAINED.value, formed, UNKNOWN).astype(int)
        parts.append(table.assign(phase=phase.name, task=phase.task, group=phase.group))
    if not parts:
        raise NotComputable("no animal has sessions on two days of a phase; fates need two views of a field")
    table = pd.concat(parts, ignore_index=True)
    if table.empty and (lost := lost_fields(tables, phases)) and len(lost) == _count_fields(tables, phases):
        raise NotComputable(
            f"no field was seen in both the first and the last session of a phase: {name_some(lost)}; set the days of "
            "the phases to sessions in which the same fields were seen"
        )
    return table if with_filopodia else table[table["kind"] != SpineKind.FILOPODIUM.value].reset_index(drop=True)


def lost_fields(tables: StudyTables, phases: list[Phase]) -> list[str]:
    """Return the fields that a phase leaves out, as words: not seen in both its first and its last session."""
    rows = tables.spines[["animal", "field", "session"]].drop_duplicates()
    sessions = {key: set(part["session"]) for key, part in rows.groupby(["animal", "field"], sort=False)}
    return [
        f"{field} of {animal} ({phase.name})"
        for phase in phases
        for (animal, field), seen in sessions.items()
        if animal == phase.animal and not {phase.sessions[0], phase.sessions[-1]} <= seen
    ]


def name_some(names: list[str], most: int = 6) -> str:
    """Return the first of some names, and how many more there are.

    >>> name_some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count_fields(tables: StudyTables, phases: list[Phase]) -> int:
    fields = tables.spines.groupby("animal")["field"].nunique()
    return int(sum(fields.get(phase.animal, 0) for phase in phases))


def _first_seen(spines: pd.DataFrame, sessions: tuple[int, ...]) -> pd.Series:
    """Return the session in which each spine is first present, -1 where it was unscorable in the one before."""
    rows = spines[spines["session"].isin(sessions)].sort_values("session")
    before = rows.groupby(SPINE_KEY)["state"].shift().astype(str)
    known = rows.assign(formed=rows["session"].where(before != SpineState.UNSCORABLE.value, UNKNOWN))
    seen = known[known["state"].astype(str).eq(SpineState.PRESENT.value)]
    return seen.drop_duplicates(SPINE_KEY).set_index(SPINE_KEY)["formed"]
