"""The tables of a field as Neurodata Without Borders (NWB): one file a field, one table a kind, columns described.

NWB has no type for spines followed over weeks, so they are dynamic tables of a processing module. Needs pynwb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pandas as pd

from analysis.dictionary import column
from analysis.errors import StackError
from analysis.fieldtables import FieldTables

NOT_KNOWN = "1970-01-01T00:00:00+00:00"  # NWB needs a start; this one says that there is none
MODULE = "spines"
RENAMED = {"name": "session_name"}  # every table of NWB has a name of its own
ABOUT = {
    "spines": "one row a spine in a session",
    "dendrites": "one row a point of a centreline in a session",
    "tracks": "one row an observation of a spine; equal track_id is the same spine",
    "fates": "one row a spine and an interval between consecutive sessions",
    "sessions": "one row a session",
}


@dataclass(frozen=True)
class NwbSession:
    """A session: number in the tables, name, day, start as ISO 8601 (empty when not known)."""

    number: int
    name: str
    day: float | None
    started: str


def write_nwb(file: Path, tables: FieldTables, sessions: Sequence[NwbSession], *, animal: str, field: str) -> None:
    """Write the tables of a field.

    Raises
    ------
    StackError
        When pynwb is not installed.
    """
    try:
        from pynwb import NWBHDF5IO, NWBFile
        from pynwb.file import Subject
    except ImportError as error:
        raise StackError("NWB needs pynwb; install it with: python -m pip install 'samefield[nwb]'") from error
    started = min((each.started for each in sessions if each.started), default=NOT_KNOWN)
    nwb = NWBFile(
        session_description=f"dendritic spines of field {field} of animal {animal}, {len(sessions)} sessions",
        identifier=str(uuid5(NAMESPACE_URL, f"samefield/{animal}/{field}/{started}")),
        session_start_time=datetime.fromisoformat(started),
        subject=Subject(subject_id=animal, description="mouse or other animal; see the study"),
    )
    module = nwb.create_processing_module(MODULE, "spines and dendrites over sessions; um from the first voxel")
    rows = [(each.number, each.name, each.day, each.started) for each in sessions]
    session_table = pd.DataFrame(rows, columns=["session", "name", "day", "started"]).astype({"day": "float64"})
    for name in ("spines", "dendrites", "tracks", "fates"):
        module.add(_table(name, getattr(tables, name)))
    module.add(_table("sessions", session_table))
    with NWBHDF5IO(str(file), "w") as out:
        out.write(nwb)


def _table(name: str, table: pd.DataFrame) -> Any:
    from hdmf.common import DynamicTable, VectorData

    columns = []
    for label in map(str, table.columns):
        about = column(name, label)
        told = f"{about.meaning} ({about.unit})" if about.unit else about.meaning
        values = table[label]
        data = values.to_list() if values.dtype.kind in "OUT" or str(values.dtype) == "str" else values.to_numpy()
        columns.append(VectorData(name=RENAMED.get(label, label), description=told, data=data))
    return DynamicTable(name=name, description=ABOUT[name], columns=columns)
