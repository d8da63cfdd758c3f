"""What is written down of spines that were marked in another program: where they come from, and what was assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from acquire.model import FORMAT_VERSION, Finite, Record
from acquire.store import read_record, write_record
from analysis.tables import IMPORT_FILE

IMPORTED = "imported"
"""Name of the rig of sessions that were taken in, and key of what their stacks say of it."""


class ImportedFile(Record):
    """A file that was read, and its checksum (SHA-256)."""

    file: str
    sha256: str


class ImportedSession(Record):
    """One session of it: voxel size (z, y, x) and centre of the last voxel, um, None when the files do not tell."""

    name: str
    voxel_um: tuple[Finite, Finite, Finite] | None = None
    extent_zyx_um: tuple[Finite, Finite, Finite] | None = None


class ImportRecord(Record):
    """Beside the tables of a field that was imported."""

    format_version: Literal[1] = FORMAT_VERSION
    software_version: str
    program: str
    files: tuple[ImportedFile, ...]
    sessions: tuple[ImportedSession, ...]
    assumed: tuple[str, ...]


def read_import(folder: Path) -> ImportRecord | None:
    """Read where the tables of a folder were imported from; None when an analysis made them."""
    file = folder / IMPORT_FILE
    return read_record(file, ImportRecord) if file.is_file() else None


def write_import(folder: Path, record: ImportRecord) -> None:
    """Write it."""
    write_record(folder / IMPORT_FILE, record)
