"""The four tables of a field and how they reach the disk: their columns are a contract with whoever reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analysis.errors import StackError
from analysis.model import SpineState

SPINE_COLUMNS = (
    "session", "spine_id", "dendrite", "head_z_um", "head_y_um", "head_x_um", "base_z_um", "base_y_um", "base_x_um",
    "along_um", "length_um", "side", "head_size_ratio", "kind", "present_probability", "state", "head_size_sd",
    "saturated",
)  # fmt: skip
DENDRITE_COLUMNS = ("session", "dendrite", "z_um", "y_um", "x_um")
TRACK_COLUMNS = ("session", "track_id", "head_z_um", "head_y_um", "head_x_um", "state", "present_probability")
FATE_COLUMNS = ("from_session", "to_session", "track_id", "fate", "probability")
STATE_COLUMNS = ("session", "track_id", "state", "present_probability")
STRETCH_COLUMNS = ("session", "dendrite", "from_um", "to_um")
SESSION_COLUMNS = ("session", "name", "day", "stack")
FIELD_TABLES = ("spines", "dendrites", "tracks", "fates")
"""The four tables of a field; fates are written last of them."""
FATES_FILE = "fates.csv"
IMPORT_FILE = "imported.json"
"""Beside the tables of a field whose spines were marked in another program: no analysis writes over these."""
STRETCHES_FILE, SESSIONS_FILE, STATES_FILE = "stretches.csv", "sessions.csv", "states.csv"

WHOLE_NUMBERS = ("session", "spine_id", "dendrite", "track_id", "from_session", "to_session")
WORDS = ("side", "kind", "state", "fate", "name", "stack")
FLAGS = ("saturated",)
DECIMALS = 4
OVERLAY = re.compile(r"overlay_session\d+\.png")


def make_table(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    """Make a table with the right types, also of no rows."""
    return typed_table(pd.DataFrame(list(rows), columns=list(columns)), columns)


def typed_table(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a table with the right types."""
    table = table[list(columns)]
    kinds = {**dict.fromkeys(WHOLE_NUMBERS, "int64"), **dict.fromkeys(WORDS, "str"), **dict.fromkeys(FLAGS, "bool")}
    return table.astype({column: kinds.get(column, "float64") for column in columns})


def states_table(
    tracks: Sequence[int], states: Sequence[Sequence[SpineState]], probability: Sequence[Sequence[float]]
) -> pd.DataFrame:
    """Return the state of every track in every session, sorted by session and track.

    Fates tell of neighbouring sessions only: without this table nobody can tell absent from unscorable beside a session
    that was unscorable.
    """
    rows = [
        (session, track, state.value, float(p))
        for track, own, told in zip(tracks, states, probability, strict=True)
        for session, (state, p) in enumerate(zip(own, told, strict=True))
    ]
    return make_table(sorted(rows, key=lambda row: row[:2]), STATE_COLUMNS)


def write_table(table: pd.DataFrame, file: Path, *, parquet: bool = False) -> None:
    """Write a table as CSV, and as parquet beside it if asked; a reader sees the old file or the whole new one."""
    rounded = table.round(DECIMALS)
    write_whole(file, lambda part: rounded.to_csv(part, index=False))
    if parquet:
        write_whole(file.with_suffix(".parquet"), lambda part: rounded.to_parquet(part, index=False))


def clear_outputs(folder: Path, tables: Sequence[str] = ()) -> None:
    """Remove report, pictures, states and stretches of an earlier analysis, and the parquet files of ``tables``.

    The report goes first: it is written last, and its being there says that all the others belong to it.

    Raises
    ------
    StackError
        A file cannot be removed.
    """
    pictures = [file for file in folder.glob("overlay_session*.png") if OVERLAY.fullmatch(file.name)]
    parquet = [folder / f"{name}.parquet" for name in tables]
    told = [folder / STATES_FILE, folder / STRETCHES_FILE]
    for file in (folder / "report.html", folder / "gallery.png", *sorted(pictures), *parquet, *told):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StackError(
                f"{file} of an earlier analysis cannot be removed: {error.strerror or error}; close what shows it"
            ) from error


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Have a file written under another name, then renamed: a reader sees the old file or the whole new one."""
    part = file.with_name(f".{file.name}.part")
    try:
        write(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
