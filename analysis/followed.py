"""The tables of a field as spines that are followed from session to session, and these as tables again.

Where the table of states is not there, what the others leave out is told from what they hold: a session in which a
spine is not present has it absent where the fates say gained, lost or nothing, else it is unscorable. Taken apart and
put together again, the tables are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.aligned import AlignedDendrite
from analysis.fieldtables import POINT, FieldTables
from analysis.model import Fate, Floats, SpineKind, SpineState
from analysis.presence import Presence
from analysis.straighten import AXIAL_TO_LATERAL
from analysis.tables import FATE_COLUMNS, SPINE_COLUMNS, STATE_COLUMNS, TRACK_COLUMNS, make_table, states_table

REVIEWED_BY = "reviewed_by"
UNMEASURED = float("nan")
Row = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class FollowedSpine:
    """One spine over all sessions of a field.

    Parameters
    ----------
    track_id
        Its number in the tables.
    dendrite
        Number of its dendrite.
    heads
        Where its head is in a session, (z, y, x), um in the session's stack frame; only where it is or was seen.
    states
        Present, absent or unscorable, one a session.
    probability
        That it is there, one a session.
    kind
        Said by a person, None as measured.
    rows
        What was measured of it in a session, columns as of the table of spines.
    fates
        The fates that the machine told, by first session; of no use once a state was changed.
    known
        Every place in which the spine was ever said to be, by session: decisions find it by them.
    judged
        Sessions that a person judged.
    reviewed_by
        Who decided anything about it.
    notes
        What was noted.
    is_rejected
        A person said that it is no spine.
    is_added
        A person found it.
    """

    track_id: int
    dendrite: int
    heads: Mapping[int, tuple[float, float, float]]
    states: tuple[SpineState, ...]
    probability: tuple[float, ...]
    kind: SpineKind | None = None
    rows: Mapping[int, Row] = field(default_factory=dict)
    fates: Mapping[int, Row] | None = None
    known: Mapping[int, tuple[tuple[float, float, float], ...]] = field(default_factory=dict)
    judged: frozenset[int] = frozenset()
    reviewed_by: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    is_rejected: bool = False
    is_added: bool = False

    @property
    def present(self) -> list[int]:
        """The sessions in which it is there."""
        return [session for session, state in enumerate(self.states) if state is SpineState.PRESENT]

    @property
    def is_shown(self) -> bool:
        """Whether it belongs into the tables: no person rejected it, and some session has it."""
        return not self.is_rejected and bool(self.present)

    def fate_rows(self) -> list[Row]:
        """Return its rows of the table of fates."""
        if self.fates is not None:
            return [self.fates[first] for first in sorted(self.fates)]
        presence = Presence(np.array([self.probability]), np.array([self.states], dtype=object))
        told = [(first, presence.fate(0, first)) for first in range(len(self.states) - 1)]
        return [(first, first + 1, self.track_id, *fate) for first, fate in told if fate is not None]

    def fate(self, first: int) -> Fate | None:
        """Return what became of it from a session to the next, None when it is in neither."""
        return next((Fate(str(row[3])) for row in self.fate_rows() if row[0] == first), None)

    @property
    def certainty(self) -> float:
        """How sure the least sure of its fates is, 0-1; of a single session, how sure that it is there."""
        fates = [float(row[4]) for row in self.fate_rows()]
        return min(fates or [self.probability[session] for session in self.present] or [0.0])


class AnalysedField:
    """The tables of a field with the names of its sessions, taken apart once for all reviews of it.

    Parameters
    ----------
    tables
        As ``samefield analyse`` writes them.
    sessions
        Names of the sessions, in the order of the tables.
    """

    def __init__(self, tables: FieldTables, sessions: Sequence[str]) -> None:
        self.tables = tables
        self.sessions = tuple(sessions)
        self._aligned: dict[int, AlignedDendrite] = {}

    @cached_property
    def dendrites(self) -> list[int]:
        """Names of the dendrites, sorted."""
        return sorted({int(name) for name in self.tables.dendrites["dendrite"]})

    @cached_property
    def spines(self) -> tuple[FollowedSpine, ...]:
        """Every track of the tables."""
        tracks, fates = self.tables.tracks, self.tables.fates
        rows = {(int(row[0]), int(row[1])): row for row in _rows(self.tables.spines, SPINE_COLUMNS)}
        fate_rows: dict[int, dict[int, Row]] = {}
        for row in _rows(fates, FATE_COLUMNS):
            fate_rows.setdefault(int(row[2]), {})[int(row[0])] = row
        told: dict[int, dict[int, Row]] = {}
        for row in _rows(self.tables.states, STATE_COLUMNS) if self.tables.states is not None else ():
            told.setdefault(int(row[1]), {})[int(row[0])] = row
        seen: dict[int, dict[int, Row]] = {}
        for row in _rows(tracks, TRACK_COLUMNS):
            seen.setdefault(int(row[1]), {})[int(row[0])] = row
        return tuple(
            self._follow(track, seen[track], rows, fate_rows.get(track, {}), told.get(track, {}))
            for track in sorted(seen)
        )

    def aligned(self, dendrite: int) -> AlignedDendrite:
        """Return the map of one dendrite through the sessions."""
        if dendrite not in self._aligned:
            self._aligned[dendrite] = AlignedDendrite.of(self.tables, dendrite)
        return self._aligned[dendrite]

    def nearest_dendrite(self, session: int, head_zyx_um: Sequence[float]) -> tuple[int, float] | None:
        """Return the dendrite nearest to a place in one session, and how far it is, um sideways; depth counts less."""
        lines = self.tables.dendrites[self.tables.dendrites["session"] == session]
        if lines.empty:
            return None
        away = (lines[POINT].to_numpy(dtype=float) - np.asarray(head_zyx_um)) / [AXIAL_TO_LATERAL, 1.0, 1.0]
        distance_um = np.linalg.norm(away, axis=1)
        nearest = int(np.argmin(distance_um))
        return int(lines["dendrite"].iloc[nearest]), float(distance_um[nearest])

    def _follow(
        self,
        track: int,
        seen: Mapping[int, Row],
        rows: Mapping[tuple[int, int], Row],
        fates: Mapping[int, Row],
        told: Mapping[int, Row],
    ) -> FollowedSpine:
        own = {session: rows[session, track] for session in seen if (session, track) in rows}
        heads = {session: _head(row[2:5]) for session, row in seen.items()}
        states = _states_of(set(seen), fates, len(self.sessions))
        probability = [float(seen[session][6]) if session in seen else 0.0 for session in range(len(self.sessions))]
        for first, row in fates.items():
            _tell_absent(probability, first, row)
        if len(told) == len(self.sessions):
            states = tuple(SpineState(str(told[session][2])) for session in range(len(told)))
            probability = [float(told[session][3]) for session in range(len(told))]
        dendrite = int(next(iter(own.values()))[2]) if own else self._dendrite_of(heads)
        known = {session: (head,) for session, head in heads.items()}
        return FollowedSpine(track, dendrite, heads, states, tuple(probability), None, own, fates, known)

    def _dendrite_of(self, heads: Mapping[int, tuple[float, float, float]]) -> int:
        session, head = next(iter(heads.items()))
        found = self.nearest_dendrite(session, head)
        return -1 if found is None else found[0]


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[Row]:
    return list(table[list(columns)].itertuples(index=False, name=None))


def _head(values: Sequence[Any]) -> tuple[float, float, float]:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _states_of(present: set[int], fates: Mapping[int, Row], sessions: int) -> tuple[SpineState, ...]:
    def state(session: int) -> SpineState:
        if session in present:
            return SpineState.PRESENT
        beside = [fates.get(first) for first in (session - 1, session) if 0 <= first < sessions - 1]
        is_open = all(row is not None and str(row[3]) == Fate.UNSCORABLE for row in beside)
        return SpineState.UNSCORABLE if is_open else SpineState.ABSENT

    return tuple(state(session) for session in range(sessions))


def _tell_absent(probability: list[float], first: int, fate: Row) -> None:
    """Fill in how probable the spine is where it was found absent: a gain's probability is (1 - p) q."""
    told = str(fate[3])
    if told in {Fate.GAINED, Fate.LOST}:
        absent, there = (first, first + 1) if told == Fate.GAINED else (first + 1, first)
        if probability[there] > 0:
            probability[absent] = float(np.clip(1.0 - float(fate[4]) / probability[there], 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Measures:
    """How a spine that a person placed is described: by its place alone, nothing is measured in the image."""

    analysed: AnalysedField

    def row(self, spine: FollowedSpine, session: int) -> Row:
        """Return the row of the table of spines for one session."""
        row = spine.rows.get(session)
        head = spine.heads[session]
        if row is None or _head(row[3:6]) != head:
            row = self._placed(spine, session, head, row)
        kind = row[13] if spine.kind is None else spine.kind
        return (session, spine.track_id, spine.dendrite, *row[3:13], kind, spine.probability[session], *row[15:])

    def _placed(self, spine: FollowedSpine, session: int, head: Sequence[float], row: Row | None) -> Row:
        aligned = self.analysed.aligned(spine.dendrite)
        along_um, across_um, _ = aligned.places(session, [head])[0]
        base: Floats = aligned.points(session, [(along_um, 0.0, 0.0)])[0]
        if row is not None:
            base = np.array(row[6:9], dtype=float)
        length_um = float(np.linalg.norm(np.asarray(head) - base))
        side = "left" if across_um > 0 else "right"
        kind = SpineKind.SPINE if row is None else row[13]
        size = (UNMEASURED, kind, spine.probability[session], SpineState.PRESENT, UNMEASURED, False)
        return (session, spine.track_id, spine.dendrite, *head, *base.tolist(), float(along_um), length_um, side, *size)


@dataclass(frozen=True, eq=False)
class FieldReview:
    """The tables of a field as a person left them; columns as of the machine's, and ``reviewed_by``.

    Parameters
    ----------
    spines, tracks, fates
        Of the spines that are left; a rejected one is in none of them.
    dendrites
        As the machine traced them.
    followed
        Every spine, also the rejected ones.
    unplaced
        One sentence for every decision that found no spine, and why.
    """

    spines: pd.DataFrame
    dendrites: pd.DataFrame
    tracks: pd.DataFrame
    fates: pd.DataFrame
    warnings: tuple[str, ...]
    followed: tuple[FollowedSpine, ...]
    unplaced: tuple[str, ...] = ()

    @property
    def states(self) -> pd.DataFrame:
        """State of every spine that is left, in every session."""
        shown = sorted(self.shown, key=lambda spine: spine.track_id)
        tracks = [spine.track_id for spine in shown]
        return states_table(tracks, [spine.states for spine in shown], [spine.probability for spine in shown])

    @property
    def shown(self) -> tuple[FollowedSpine, ...]:
        """The spines that are in the tables."""
        return tuple(spine for spine in self.followed if spine.is_shown)


def put_together(analysed: AnalysedField, spines: Sequence[FollowedSpine], unplaced: Sequence[str] = ()) -> FieldReview:
    """Make tables of followed spines, in the order of the machine's tables."""
    shown = sorted((spine for spine in spines if spine.is_shown), key=lambda spine: spine.track_id)
    measures = Measures(analysed)
    sessions = range(len(analysed.sessions))
    spine_rows = [measures.row(spine, s) for s in sessions for spine in shown if s in spine.present]
    track_rows = [
        (session, spine.track_id, *spine.heads[session], SpineState.PRESENT, spine.probability[session])
        for spine in shown
        for session in spine.present
    ]
    fate_rows = sorted((row for spine in shown for row in spine.fate_rows()), key=lambda row: (row[0], row[2]))
    who = {spine.track_id: ", ".join(sorted(spine.reviewed_by)) for spine in shown}
    made = [
        _signed(make_table(rows, columns), who, column)
        for rows, columns, column in (
            (spine_rows, SPINE_COLUMNS, "spine_id"),
            (track_rows, TRACK_COLUMNS, "track_id"),
            (fate_rows, FATE_COLUMNS, "track_id"),
        )
    ]
    dendrites, warnings = analysed.tables.dendrites, (*analysed.tables.warnings, *unplaced)
    return FieldReview(made[0], dendrites, made[1], made[2], warnings, tuple(spines), tuple(unplaced))


def as_analysed(analysed: AnalysedField) -> FieldReview:
    """Return the tables of a field that nobody decided about: what :func:`put_together` makes of the same spines."""
    tables = analysed.tables
    spines, tracks, fates = (
        table.assign(**{REVIEWED_BY: pd.Series("", index=table.index, dtype="str")})
        for table in (tables.spines, tables.tracks, tables.fates)
    )
    return FieldReview(spines, tables.dendrites, tracks, fates, tuple(tables.warnings), analysed.spines)


def _signed(table: pd.DataFrame, who: Mapping[int, str], column: str) -> pd.DataFrame:
    return table.assign(**{REVIEWED_BY: table[column].map(who).astype("str")})


def renumbered(spine: FollowedSpine, track_id: int) -> FollowedSpine:
    """Return the same spine under another number."""
    fates = (
        None if spine.fates is None else {first: (*row[:2], track_id, *row[3:]) for first, row in spine.fates.items()}
    )
    return replace(spine, track_id=track_id, fates=fates)
