"""A plain table of spines that a person marked and linked over sessions, in any program.

``spines``: a CSV with the columns ``session, track_id, head_z_um, head_y_um, head_x_um``, one row a spine and session;
the sessions are numbered from 0 in the order of time, equal ``track_id`` is the same spine. It may have ``dendrite``,
``base_z_um, base_y_um, base_x_um`` and ``state`` (present, absent or unscorable). The table of tracks of an analysis is
one such; so is one that PyMapManager wrote, with ``mapSession, runIdx, x, y, z`` in um. ``dendrites``: a CSV with
``session, dendrite, z_um, y_um, x_um``, the points of a line in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import StackError
from analysis.fieldtables import HEAD, POINT
from analysis.marked import BASE, NO_DENDRITE, MarkedSession, MarkedSpine, Point, as_point
from analysis.model import Floats, SpineState

NEEDED = ("session", "track_id", *HEAD)
OF_PYMAPMANAGER = {
    "mapSession": "session",
    "runIdx": "track_id",
    "parentID": "dendrite",
    **{axis: f"head_{axis}_um" for axis in "zyx"},
    **{f"c{axis}": f"base_{axis}_um" for axis in "zyx"},
}
DENDRITE_NEEDED = ("session", "dendrite", *POINT)


def read_linked_marks(file: Path, dendrites: Path | None = None) -> list[MarkedSession]:
    """Read the sessions of a table of linked spines.

    Raises
    ------
    StackError
        A table is missing or unreadable, lacks a column, or says what is no number or no state.
    """
    table = read_numbers(file, NEEDED)
    lines = read_numbers(dendrites, DENDRITE_NEEDED) if dendrites is not None else None
    first = int(table["session"].min())
    if first < 0:
        raise StackError(f"{file.name} has a session {first}; number the sessions 0, 1, 2, ... in the order of time")
    every = [table["session"], *([] if lines is None else [lines["session"]])]
    count = 1 + int(max(one.max() for one in every))
    return [MarkedSession(_spines(file, table, number), _lines(lines, number)) for number in range(count)]


def read_numbers(file: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read a CSV whose columns ``needed`` must be numbers."""
    if not file.is_file():
        raise StackError(f"{file} does not exist; give a CSV with the columns {', '.join(needed)}")
    try:
        table = pd.read_csv(file, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise StackError(f"{file.name} is no readable CSV: {str(error).splitlines()[0]}") from error
    if {"mapSession", "runIdx"} <= set(table.columns):
        spines = table["roiType"] == "spineROI" if "roiType" in table else table["runIdx"].notna()
        table = table[spines].rename(columns=OF_PYMAPMANAGER)
    if missing := [name for name in needed if name not in table]:
        raise StackError(f"{file.name} lacks {', '.join(missing)}; it needs {', '.join(needed)}")
    if table.empty:
        raise StackError(f"{file.name} holds 0 rows; give one row a spine and session")
    numbers = table[list(needed)].apply(pd.to_numeric, errors="coerce")
    broken = ~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    if broken.any():
        raise StackError(f"{file.name}, line {int(np.argmax(broken)) + 2}: not a number in {broken.sum()} rows")
    return table.assign(**{name: numbers[name] for name in needed})


def _spines(file: Path, table: pd.DataFrame, number: int) -> tuple[MarkedSpine, ...]:
    rows = table[table["session"] == number]
    return tuple(_spine(file, row) for _, row in rows.iterrows())


def _spine(file: Path, row: pd.Series) -> MarkedSpine:
    told = row.get("state", SpineState.PRESENT)
    try:
        state = SpineState.PRESENT if pd.isna(told) else SpineState(str(told).strip())
    except ValueError as error:
        raise StackError(f"{file.name} has the state {told!r}; it is one of {', '.join(SpineState)}") from error
    dendrite = row.get("dendrite", NO_DENDRITE)
    return MarkedSpine(
        int(row["track_id"]),
        NO_DENDRITE if pd.isna(dendrite) else int(dendrite),
        as_point(row[HEAD].to_numpy(dtype=float)),
        _base(row),
        state=state,
    )


def _base(row: pd.Series) -> Point | None:
    if not set(BASE) <= set(row.index):
        return None
    base = row[BASE].to_numpy(dtype=float)
    return as_point(base) if np.isfinite(base).all() else None


def _lines(table: pd.DataFrame | None, number: int) -> dict[int, Floats]:
    if table is None:
        return {}
    rows = table[table["session"] == number]
    lines = {
        int(str(name)): points[POINT].to_numpy(dtype=float) for name, points in rows.groupby("dendrite", sort=True)
    }
    return {name: line for name, line in lines.items() if len(line) > 1 and np.ptp(line, axis=0).any()}
