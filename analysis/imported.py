"""Spines that were marked and linked in another program, as the four tables of a field.

Nothing is looked at in images: a spine that is listed is present. One that is not listed in a session is absent, unless
the session does not cover the place: it has nothing of the spine's dendrite, or the place lies outside its stack; then
nothing can be told. What was assumed is told in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.aligned import STEP_UM
from analysis.errors import StackError
from analysis.fieldtables import SavedTables
from analysis.marked import NO_DENDRITE, MarkedSession, MarkedSpine
from analysis.model import Dendrite, Floats, SpineKind, SpineState
from analysis.presence import Presence
from analysis.straighten import DendriteFrame
from analysis.tables import DENDRITE_COLUMNS, FATE_COLUMNS, SPINE_COLUMNS, TRACK_COLUMNS, make_table, states_table

SURE = 0.999  # as for marks of a person in analysis.marks
PROBABILITY = {SpineState.PRESENT: SURE, SpineState.ABSENT: 1 - SURE, SpineState.UNSCORABLE: 0.5}
NEIGHBOURS = 5
BEYOND_UM = 1.0  # so far outside its stack a place is taken for a rounded one
UNMEASURED = float("nan")
Seen = dict[int, MarkedSpine]


@dataclass(frozen=True, eq=False)
class Imported:
    """Tables, and one sentence for everything that was assumed in making them."""

    tables: SavedTables
    assumed: tuple[str, ...]


def make_tables(sessions: Sequence[MarkedSession]) -> Imported:
    """Make the tables of a field of what was marked in its sessions, in the order of time.

    Raises
    ------
    StackError
        There is nothing in them, or a track is listed twice in a session.
    """
    if not any(session.spines for session in sessions):
        raise StackError(f"{len(sessions)} sessions have 0 spines; give files with marked spines")
    linked, assumed = _linked(sessions)
    tracks = _by_track(linked)
    if not tracks:
        raise StackError("every spine is said to be absent or unscorable in every session; give where they are present")
    states = {track: _states(track, tracks, linked) for track in sorted(tracks)}
    tables = SavedTables(
        make_table(_spine_rows(tracks, states, linked), SPINE_COLUMNS),
        make_table(_dendrite_rows(linked), DENDRITE_COLUMNS),
        make_table(_track_rows(tracks, states), TRACK_COLUMNS),
        make_table(_fate_rows(states), FATE_COLUMNS),
        states=states_table(
            list(states), list(states.values()), [[PROBABILITY[s] for s in row] for row in states.values()]
        ),
    )
    return Imported(tables, (*assumed, *_told(states, linked)))


def _states_told(states: Mapping[int, Sequence[SpineState]]) -> pd.DataFrame:
    probability = [[PROBABILITY[state] for state in row] for row in states.values()]
    return states_table(list(states), list(states.values()), probability)


def _linked(sessions: Sequence[MarkedSession]) -> tuple[list[MarkedSession], list[str]]:
    """Give every spine without a track one of its own: nobody said that it is the same as another."""
    free = 1 + max((s.track_id for one in sessions for s in one.spines if s.track_id is not None), default=-1)
    linked, unlinked = [], 0
    for session in sessions:
        spines = []
        for spine in session.spines:
            alone = spine.track_id is None
            spines.append(replace(spine, track_id=free + unlinked) if alone else spine)
            unlinked += alone
        linked.append(replace(session, spines=tuple(spines)))
    several = len(sessions) > 1 and unlinked
    told = f"{unlinked} spines are not linked over sessions in the file: each is taken for a spine of its own"
    return linked, [told] if several else []


def _by_track(sessions: Sequence[MarkedSession]) -> dict[int, Seen]:
    tracks: dict[int, Seen] = {}
    for number, session in enumerate(sessions):
        for spine in session.spines:
            seen = tracks.setdefault(int(spine.track_id or 0), {})
            if number in seen:
                raise StackError(f"track {spine.track_id} is listed twice in session {number}; list each spine once")
            seen[number] = spine
    return {
        track: seen
        for track, seen in tracks.items()
        if any(spine.state is SpineState.PRESENT for spine in seen.values())
    }


def _states(track: int, tracks: dict[int, Seen], sessions: Sequence[MarkedSession]) -> tuple[SpineState, ...]:
    seen = tracks[track]
    return tuple(
        seen[number].state if number in seen else _state_unlisted(track, number, tracks, session)
        for number, session in enumerate(sessions)
    )


def _state_unlisted(track: int, number: int, tracks: dict[int, Seen], session: MarkedSession) -> SpineState:
    dendrite = next(iter(tracks[track].values())).dendrite
    shown = {*session.dendrites, *(spine.dendrite for spine in session.spines)}
    if dendrite != NO_DENDRITE and dendrite not in shown:
        return SpineState.UNSCORABLE
    if session.extent_zyx_um is not None:
        place = _place(track, number, tracks)
        if np.any(place < -BEYOND_UM) or np.any(place > np.asarray(session.extent_zyx_um) + BEYOND_UM):
            return SpineState.UNSCORABLE
    return SpineState.ABSENT


def _place(track: int, number: int, tracks: dict[int, Seen]) -> Floats:
    """Return where a spine should lie in a session that does not list it: shifted as its nearest neighbours are."""
    known = min(tracks[track], key=lambda session: abs(session - number))
    head = np.asarray(tracks[track][known].head_zyx_um)
    both = [seen for seen in tracks.values() if known in seen and number in seen]
    if not both:
        return head
    there, here = (np.array([seen[s].head_zyx_um for seen in both]) for s in (known, number))
    nearest = np.argsort(np.linalg.norm(there - head, axis=1))[:NEIGHBOURS]
    shifted: Floats = head + np.median(here[nearest] - there[nearest], axis=0)
    return shifted


def _spine_rows(
    tracks: dict[int, Seen], states: dict[int, tuple[SpineState, ...]], sessions: Sequence[MarkedSession]
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, session in enumerate(sessions):
        frames = {
            name: DendriteFrame.of(Dendrite(name, line, np.full(len(line), 0.5)), STEP_UM)
            for name, line in session.dendrites.items()
        }
        lines = session.dendrites
        for track in states:
            if states[track][number] is SpineState.PRESENT:
                spine = tracks[track][number]
                rows.append(_spine_row(number, track, spine, frames.get(spine.dendrite), lines.get(spine.dendrite)))
    return rows


def _spine_row(
    number: int, track: int, spine: MarkedSpine, frame: DendriteFrame | None, line: Floats | None
) -> tuple[object, ...]:
    head = np.asarray(spine.head_zyx_um)
    along_um, side, base = UNMEASURED, "", np.full(3, UNMEASURED)
    if frame is not None and line is not None:
        along_um, across_um, _ = (float(value) for value in frame.dendrite_from_stack([head])[0])
        side = "left" if across_um > 0 else "right"
        base = frame.stack_from_dendrite([(along_um, 0.0, 0.0)])[0]
    if spine.base_zyx_um is not None:
        base = np.asarray(spine.base_zyx_um)
    length_um = float(np.linalg.norm(head - base))
    size = (UNMEASURED, SpineKind.SPINE, SURE, SpineState.PRESENT, UNMEASURED, False)
    return (number, track, spine.dendrite, *head.tolist(), *base.tolist(), along_um, length_um, side, *size)


def _dendrite_rows(sessions: Sequence[MarkedSession]) -> list[tuple[object, ...]]:
    return [
        (number, name, *(float(value) for value in point))
        for number, session in enumerate(sessions)
        for name, line in sorted(session.dendrites.items())
        for point in line
    ]


def _track_rows(tracks: dict[int, Seen], states: dict[int, tuple[SpineState, ...]]) -> list[tuple[object, ...]]:
    return [
        (number, track, *tracks[track][number].head_zyx_um, SpineState.PRESENT, SURE)
        for track, told in states.items()
        for number, state in enumerate(told)
        if state is SpineState.PRESENT
    ]


def _fate_rows(states: dict[int, tuple[SpineState, ...]]) -> list[tuple[object, ...]]:
    told = list(states.values())
    probability = np.array([[PROBABILITY[state] for state in row] for row in told])
    presence = Presence(probability, np.array(told, dtype=object))
    count = len(told[0])
    fates = [
        (first, first + 1, track, *fate)
        for first in range(count - 1)
        for row, track in enumerate(states)
        if (fate := presence.fate(row, first)) is not None
    ]
    return list(fates)


def _told(states: dict[int, tuple[SpineState, ...]], sessions: Sequence[MarkedSession]) -> list[str]:
    counts = {state: sum(row.count(state) for row in states.values()) for state in SpineState}
    told = []
    if counts[SpineState.ABSENT]:
        told.append(
            f"{counts[SpineState.ABSENT]} times a session that covers the place does not list a spine: taken for absent"
        )
    if counts[SpineState.UNSCORABLE]:
        told.append(
            f"{counts[SpineState.UNSCORABLE]} times a session that does not cover the place does not list a spine: "
            "taken for unscorable"
        )
    unknown = [str(number) for number, session in enumerate(sessions) if session.extent_zyx_um is None]
    if unknown and len(sessions) > 1:
        told.append(f"how far the stacks of sessions {', '.join(unknown)} reach is not known: taken for far enough")
    if not any(session.dendrites for session in sessions):
        told.append("there are no dendrites: lengths, sides and densities are not known")
    return told
