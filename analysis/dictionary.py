"""What every column of every table means: name, unit, meaning, frame. The one place in which it is told.

The tables of a field (:mod:`analysis.tables`) and those that an export adds are described; a column that is written
without an entry here is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from analysis.errors import StackError

STACK = "stack: um from the centre of the first voxel of that session's stack"
DENDRITE = "dendrite: along, across and depth of its centreline in that session"
NO_FRAME = ""
DICTIONARY_COLUMNS = ("table", "column", "unit", "meaning", "frame")


@dataclass(frozen=True)
class Column:
    """One column: its unit (empty for words and counts), what it says, and in which frame it is."""

    unit: str
    meaning: str
    frame: str = NO_FRAME


def _point(what: str) -> dict[str, Column]:
    place = {"z": "depth, deeper is larger", "y": "down in the image", "x": "right in the image"}
    prefix, told = (f"{what}_", f"{what} of the spine") if what else ("", "point of the centreline")
    return {f"{prefix}{axis}_um": Column("um", f"{told}: {way}", STACK) for axis, way in place.items()}


ANY_TABLE = {
    "animal": Column("", "id of the animal"),
    "field": Column("", "name of the field, the place that is imaged again and again"),
    "group": Column("", "group of the animal; empty when it has none"),
    "session": Column("", "number of the session in the tables of this field, from 0, in the order of time"),
    "dendrite": Column("", "number of the dendrite, the same in all sessions of a field; -1 when not known"),
    "track_id": Column("", "number of the spine: the same number in several sessions is the same spine"),
    "state": Column("", "present: the spine is there in this session"),
    "present_probability": Column("", "probability that the spine is there in this session, 0-1"),
    "reviewed_by": Column("", "who decided anything about this spine; empty when nobody did"),
    **_point("head"),
    **_point("base"),
    **_point(""),
}

OF_TABLE: dict[str, dict[str, Column]] = {
    "spines": {
        "spine_id": Column("", "number of the spine, equal to its track_id in the table of tracks"),
        "along_um": Column("um", "length of the dendrite from its first point to the spine", DENDRITE),
        "length_um": Column("um", "from the base to the head, straight"),
        "side": Column(
            "", "side of the dendrite in the image, seen from its first towards its last point: left, right", DENDRITE
        ),
        "head_size_ratio": Column("1", "brightness of the spine over that of the shaft beside it; empty: not measured"),
        "head_size_sd": Column("1", "standard deviation of head_size_ratio by the noise of the image; empty: unknown"),
        "kind": Column("", "spine, stubby or filopodium"),
        "saturated": Column("", "True: some of its pixels are as bright as the detector can tell, its size is too low"),
    },
    "dendrites": {},
    "tracks": {},
    "fates": {
        "from_session": Column("", "number of the first session of the interval"),
        "to_session": Column("", "number of the next session"),
        "fate": Column("", "stable, gained, lost; unscorable: one of the sessions cannot tell"),
        "probability": Column("", "probability of this fate, 0-1"),
    },
    "sessions": {
        "name": Column("", "name of the session's folder in the study"),
        "day": Column("d", "days since the first session of the animal; empty: not known"),
        "started": Column("", "when the session began, ISO 8601 with its zone; empty: not known"),
        **{
            f"voxel_{axis}_um": Column("um", f"voxel size of the stack along {axis}; empty: no stack", "")
            for axis in "zyx"
        },
        "stack": Column("", "path of the stack in the study; empty: no stack"),
    },
}


def column(table: str, name: str) -> Column:
    """Return what a column means.

    Raises
    ------
    StackError
        The column is not described.
    """
    found = OF_TABLE.get(table, {}).get(name) or ANY_TABLE.get(name)
    if found is None:
        raise StackError(f"column {name!r} of the table {table} has no entry in the data dictionary; add it there")
    return found


def data_dictionary(tables: Iterable[tuple[str, Iterable[str]]]) -> pd.DataFrame:
    """Describe the columns of some tables, one row a column: table, column, unit, meaning, frame."""
    told = [(table, name, column(table, name)) for table, columns in tables for name in columns]
    rows = [(table, name, about.unit, about.meaning, about.frame) for table, name, about in told]
    return pd.DataFrame(rows, columns=list(DICTIONARY_COLUMNS))
