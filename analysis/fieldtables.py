"""What the pictures and the report ask of the tables of a field: which spine came, stayed or went, seen from a session.

The tables are those that ``samefield analyse`` writes: spines, dendrites, tracks and fates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from analysis.centreline import is_within
from analysis.errors import StackError
from analysis.model import Dendrite, Fate, Floats, Stack
from analysis.tables import (
    DENDRITE_COLUMNS,
    FATE_COLUMNS,
    FATES_FILE,
    SESSION_COLUMNS,
    SESSIONS_FILE,
    SPINE_COLUMNS,
    STATE_COLUMNS,
    STATES_FILE,
    STRETCH_COLUMNS,
    TRACK_COLUMNS,
    make_table,
    typed_table,
    write_table,
)

HEAD = ["head_z_um", "head_y_um", "head_x_um"]
POINT = ["z_um", "y_um", "x_um"]
SHAFT_RADIUS_UM = 0.5


class FieldTables(Protocol):
    """The four tables of one field over its sessions; columns as ``samefield analyse`` writes them."""

    @property
    def spines(self) -> pd.DataFrame:
        """One row a spine in a session."""

    @property
    def dendrites(self) -> pd.DataFrame:
        """One row a centreline point in a session."""

    @property
    def tracks(self) -> pd.DataFrame:
        """One row an observation of a spine."""

    @property
    def fates(self) -> pd.DataFrame:
        """One row a spine and an interval."""

    @property
    def states(self) -> pd.DataFrame | None:
        """One row a spine and session, also where it is absent; None where only the other tables are known."""

    @property
    def warnings(self) -> Sequence[str]:
        """What must be known before the numbers are believed, one sentence each."""


@dataclass(frozen=True, eq=False)
class SavedTables:
    """The tables of a field as they were written."""

    spines: pd.DataFrame
    dendrites: pd.DataFrame
    tracks: pd.DataFrame
    fates: pd.DataFrame
    warnings: tuple[str, ...] = ()
    states: pd.DataFrame | None = None


def read_tables(folder: Path) -> SavedTables:
    """Read the four tables that ``samefield analyse`` wrote into a folder.

    Raises
    ------
    StackError
        When a table is missing, or lacks a column.
    """
    spines = _read_table(folder / "spines.csv", SPINE_COLUMNS)
    dendrites = _read_table(folder / "dendrites.csv", DENDRITE_COLUMNS)
    tracks = _read_table(folder / "tracks.csv", TRACK_COLUMNS)
    fates = _read_table(folder / FATES_FILE, FATE_COLUMNS)
    file = folder / STATES_FILE
    return SavedTables(
        spines, dendrites, tracks, fates, states=_read_table(file, STATE_COLUMNS) if file.is_file() else None
    )


def _read_table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
        if missing := [name for name in columns if name not in table.columns]:
            lacking = f"{len(missing)} of {len(columns)} columns: {', '.join(missing)}"
            raise StackError(f"{file} lacks {lacking}; another version wrote it, or a person: analyse the field again")
        return typed_table(table, columns)
    except (OSError, ValueError, KeyError) as error:
        said = str(error).splitlines()[0]
        raise StackError(f"{file} cannot be read: {said}; analyse the field first, or again") from error


def write_sessions(folder: Path, sessions: pd.DataFrame) -> None:
    """Write which session each number of the tables is: ``session, name, day, stack``.

    ``day`` may be empty; ``stack`` is where its stack lies, seen from the animal's folder, and may be empty.
    """
    write_table(sessions, folder / SESSIONS_FILE)


def session_table(
    names: Sequence[str], days: Sequence[float] | None = None, stacks: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the table for :func:`write_sessions`; days and stacks stay empty where they are not known."""
    days = [float("nan")] * len(names) if days is None else days
    stacks = [""] * len(names) if stacks is None else stacks
    rows = [(number, *row) for number, row in enumerate(zip(names, days, stacks, strict=True))]
    return make_table(rows, SESSION_COLUMNS)


def read_session_table(folder: Path) -> pd.DataFrame:
    """Return which session each number of the tables in a folder is; no rows when that was not written.

    Raises
    ------
    StackError
        When it was written and cannot be read.
    """
    file = folder / SESSIONS_FILE
    if not file.is_file():
        return make_table([], SESSION_COLUMNS)
    try:
        written = pd.read_csv(file, dtype={"name": str, "stack": str})
        table = written[["session", "name"]].copy()
        table["day"] = written["day"].astype(float) if "day" in written else float("nan")
        table["stack"] = written["stack"].fillna("") if "stack" in written else ""
    except (OSError, ValueError, KeyError) as error:
        raise StackError(f"{file} cannot be read: {error}; analyse the field again") from error
    return table


def read_sessions(folder: Path) -> list[str]:
    """Return the names of the sessions of the tables in a folder, in their order; raises StackError as the table."""
    return [str(name) for name in read_session_table(folder)["name"]]


def session_dendrites(tables: FieldTables, session: int) -> dict[int, Dendrite]:
    """Return the dendrites of one session by name."""
    rows = tables.dendrites[tables.dendrites["session"] == session]
    dendrites = {}
    for name in sorted({int(name) for name in rows["dendrite"]}):
        line = rows.loc[rows["dendrite"] == name, POINT].to_numpy(dtype=float)
        if len(line) > 1:
            dendrites[name] = Dendrite(name, line, np.full(len(line), SHAFT_RADIUS_UM))
    return dendrites


def observed_spines(tables: FieldTables, session: int) -> pd.DataFrame:
    """Return the tracks seen in one session, with the dendrite and the kind of their spine.

    A track's row carries the head of the spine that was observed, so the nearest spine of the session is that spine.
    """
    tracks = tables.tracks[tables.tracks["session"] == session].reset_index(drop=True)
    spines = tables.spines[tables.spines["session"] == session].reset_index(drop=True)
    if tracks.empty or spines.empty:
        return tracks.assign(dendrite=pd.Series(dtype=int), kind=pd.Series(dtype=str)).iloc[:0]
    _, nearest = cKDTree(spines[HEAD].to_numpy(dtype=float)).query(tracks[HEAD].to_numpy(dtype=float))
    return tracks.assign(dendrite=spines["dendrite"].to_numpy()[nearest], kind=spines["kind"].to_numpy()[nearest])


def fates_seen_from(tables: FieldTables, session: int) -> pd.DataFrame:
    """Return the spines of one session with what became of them, one row a mark to draw.

    Columns as of :func:`observed_spines`, and ``fate``: ``gained`` since the session before, ``lost`` by the next;
    a spine that is both has two rows; ``unscorable`` when nothing can be said on either side, else ``stable``.
    """
    seen = observed_spines(tables, session)
    fates = tables.fates
    since = _fate_by_track(fates[fates["to_session"] == session], session - 1)
    until = _fate_by_track(fates[fates["from_session"] == session], session + 1)
    before, after = seen["track_id"].map(since), seen["track_id"].map(until)
    gained, lost = before == Fate.GAINED, after == Fate.LOST
    judged = (before == Fate.STABLE) | (after == Fate.STABLE)
    unscorable = ~gained & ~lost & ~judged & ((before == Fate.UNSCORABLE) | (after == Fate.UNSCORABLE))
    stable = ~gained & ~lost & ~unscorable
    parts = {Fate.STABLE: stable, Fate.UNSCORABLE: unscorable, Fate.GAINED: gained, Fate.LOST: lost}
    return pd.concat([seen[rows].assign(fate=fate.value) for fate, rows in parts.items()], ignore_index=True)


def _fate_by_track(fates: pd.DataFrame, neighbour: int) -> dict[int, str]:
    consecutive = fates[(fates["to_session"] == neighbour) | (fates["from_session"] == neighbour)]
    return dict(zip(consecutive["track_id"], consecutive["fate"].astype(str), strict=True))


def interval_counts(fates: pd.DataFrame) -> pd.DataFrame:
    """Count fates by interval between consecutive sessions.

    Returns
    -------
    One row an interval: ``from_session, to_session, present`` (judged and there in the first), ``stable, gained,
    lost, unscorable, gained_percent, lost_percent`` (of present), ``turnover_percent``: (gained + lost) / (2 present).
    """
    fates = fates[fates["to_session"] - fates["from_session"] == 1]
    interval = ["from_session", "to_session"]
    counts = fates[interval].drop_duplicates().sort_values(interval).reset_index(drop=True)
    for fate in Fate:
        found = fates[fates["fate"].astype(str) == fate.value].groupby(interval).size().rename(fate.value)
        counts = counts.join(found, on=interval)
    counts = counts.fillna(0).astype(int)
    counts.insert(2, "present", counts["stable"] + counts["lost"])
    present = counts["present"].where(counts["present"] > 0).astype(float)
    counts["gained_percent"] = 100 * counts["gained"] / present
    counts["lost_percent"] = 100 * counts["lost"] / present
    counts["turnover_percent"] = 50 * (counts["gained"] + counts["lost"]) / present
    return counts


def session_densities(tables: FieldTables, sessions: int, stacks: Sequence[Stack] = ()) -> pd.DataFrame:
    """Count spines and dendrite length by session; where ``stacks`` are given, only the length that they show.

    Returns
    -------
    One row a session and dendrite: ``session, dendrite, length_um, spines, density_per_um``.
    """
    rows = []
    for session in range(sessions):
        seen = observed_spines(tables, session)
        for name, dendrite in session_dendrites(tables, session).items():
            count, length = int((seen["dendrite"] == name).sum()), _length_um(dendrite, stacks[session : session + 1])
            rows.append((session, name, length, count, count / length if length else float("nan")))
    return pd.DataFrame(rows, columns=["session", "dendrite", "length_um", "spines", "density_per_um"])


def scorable_stretches(tables: FieldTables, stacks: Sequence[Stack]) -> pd.DataFrame:
    """Return the pieces of every dendrite that lie within the stack of a session.

    Returns
    -------
    One row a piece: ``session, dendrite, from_um, to_um``, along the dendrite as it lies in its first session, which is
    where ``along_um`` of a spine is told, too.
    """
    rows = []
    along_um: dict[int, Floats] = {}
    for session, stack in enumerate(stacks):
        for name, dendrite in session_dendrites(tables, session).items():
            reference_um = along_um.setdefault(name, dendrite.along_um)
            inside = np.concatenate([[False], is_within(stack, dendrite.points_zyx_um), [False]])
            starts, ends = (np.flatnonzero(np.diff(inside.astype(int)) == step) for step in (1, -1))
            pieces = zip(reference_um[starts], reference_um[ends - 1], strict=True)
            rows += [(session, name, float(start), float(end)) for start, end in pieces if end > start]
    return make_table(rows, STRETCH_COLUMNS)


def _length_um(dendrite: Dendrite, stacks: Sequence[Stack]) -> float:
    steps_um = np.diff(dendrite.along_um)
    for stack in stacks:
        within = is_within(stack, dendrite.points_zyx_um)
        steps_um = steps_um * (within[1:] & within[:-1])
    return float(steps_um.sum())


def session_labels(stacks: Sequence[Stack]) -> list[str]:
    """Name the sessions: by day where every stack says its day, else by number."""
    days = [stack.provenance.get("day") for stack in stacks]
    if all(isinstance(day, int | float) for day in days):
        return [f"day {day:g}" for day in days]
    return [f"session {number}" for number in range(len(stacks))]
