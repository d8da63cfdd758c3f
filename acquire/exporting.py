"""The spines and dendrites of a study in the files of other programs, in a folder of their own.

The tables are those after the decisions of the review; the study itself is only read. What a file of another program
needs and the study does not have (a voxel size, a stack) is said, and the rest is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pandas as pd

from acquire.analysing import Progress
from acquire.errors import StudyError
from acquire.files import writing
from acquire.images import said_of_making
from acquire.imported import IMPORTED, ImportRecord, read_import
from acquire.model import SessionRecord
from acquire.store import Study
from analysis.dictionary import data_dictionary
from analysis.errors import StackError
from analysis.fieldtables import FieldTables, read_sessions, read_tables
from analysis.followed import REVIEWED_BY
from analysis.labels import write_labels
from analysis.marked import MarkedSession, Point, marked_session
from analysis.omezarr import look_at_zarr
from analysis.rawimage import ACQUIRED
from analysis.reviewtables import review_of
from analysis.roisets import write_roi_set
from analysis.stack import read_stack
from analysis.swc import write_swc
from analysis.tables import FATES_FILE, FIELD_TABLES, write_table

SESSIONS, DICTIONARY, TABLES_FOLDER = "sessions", "columns", "tables"
PARTS_IN_STUDY = 6  # animals, animal, sessions, session, field, stack
VOXEL_COLUMNS = ("voxel_z_um", "voxel_y_um", "voxel_x_um")


class Format(StrEnum):
    """What an export writes."""

    IMAGEJ = "imagej"
    SWC = "swc"
    LABELS = "labels"
    TABLES = "tables"
    NWB = "nwb"


USUAL = tuple(form for form in Format if form is not Format.NWB)


@dataclass(frozen=True)
class ExportPlan:
    """What is exported.

    Parameters
    ----------
    formats
        Which files.
    animal, fields
        Only these; None takes all.
    as_analysed
        The tables as the machine made them, without the decisions of the review.
    with_image
        Copy the stack beside its labels, so that a viewer shows both.
    voxel_um
        Of sessions that have no stack in the study, (z, y, x), um.
    """

    formats: tuple[Format, ...] = USUAL
    animal: str | None = None
    fields: tuple[str, ...] | None = None
    as_analysed: bool = False
    with_image: bool = False
    voxel_um: Point | None = None


@dataclass(frozen=True, eq=False)
class ExportedSession:
    """One session of a field: its number in the tables, its name, its stack as far as there is one."""

    number: int
    name: str
    day: float | None
    started: str
    store: Path | None
    voxel_um: Point | None
    shape: tuple[int, int, int] | None
    channels: int


@dataclass(frozen=True, eq=False)
class ExportedField:
    """One field: its tables and its sessions."""

    animal: str
    field: str
    group: str
    tables: FieldTables
    sessions: tuple[ExportedSession, ...]

    @property
    def name(self) -> str:
        """How its files begin."""
        return f"{self.animal}_{self.field}"

    def marked(self, session: ExportedSession) -> MarkedSession:
        """Return what is marked in a session."""
        return marked_session(self.tables, session.number)


def export_study(study_folder: Path, folder: Path, plan: ExportPlan, progress: Progress) -> list[str]:
    """Write the analysed fields of a study into a folder; return what is to be told.

    Raises
    ------
    StudyError
        No field was analysed, or the folder lies in the study's animals.
    """
    if folder.resolve().is_relative_to((study_folder / "animals").resolve()):
        raise StudyError(f"{folder} lies among the study's data; choose a folder outside of {study_folder}/animals")
    with Study(study_folder) as study:
        names = _analysed(study, plan)
        fields = [_exported_field(study, animal, field, plan) for animal, field in names]
        blind = study.record.blind
    told: list[str] = []
    with writing(folder):
        for done, field in enumerate(fields):
            progress(f"writing {field.animal} {field.field}", done / len(fields))
            told += _write_field(field, folder, plan)
        if Format.TABLES in plan.formats:
            told += _write_tables(fields, folder / TABLES_FOLDER, blind=blind)
    return told


def _analysed(study: Study, plan: ExportPlan) -> list[tuple[str, str]]:
    animals = [study.animal(plan.animal).id] if plan.animal else study.animals()
    wanted = [(animal, field.name) for animal in animals for field in study.animal(animal).fields]
    if plan.fields is not None:
        for animal in animals if plan.animal else ():
            for name in plan.fields:
                study.field(animal, name)  # refuses one that is not there, with those that are
        wanted = [(animal, name) for animal, name in wanted if name in plan.fields]
    found = [(animal, name) for animal, name in wanted if (_analysis(study, animal, name) / FATES_FILE).is_file()]
    if not found:
        raise StudyError(
            f"{study.folder} has {len(wanted)} fields of those asked for, of which 0 were analysed; "
            f"analyse them with 'samefield analyse --study {study.folder}'"
        )
    return found


def _analysis(study: Study, animal: str, field: str) -> Path:
    return study.animal_folder(animal) / "analysis" / field


def _exported_field(study: Study, animal: str, name: str, plan: ExportPlan) -> ExportedField:
    folder = _analysis(study, animal, name)
    tables: FieldTables = read_tables(folder) if plan.as_analysed else review_of(folder)
    stores = {session.name: store for session, store in study.stacks(animal, name)}
    names = read_sessions(folder) or list(stores)
    imported = read_import(folder)
    records = {record.name: record for record in study.sessions(animal)}
    sessions = []
    for number, session in enumerate(names):
        record, store = records.get(session), stores.get(session)
        voxel_um, shape, channels = _geometry(store, imported, number, plan.voxel_um)
        day = None if record is None else record.day
        started = "" if record is None else _started(record, store)
        sessions.append(ExportedSession(number, session, day, started, store, voxel_um, shape, channels))
    return ExportedField(animal, name, study.animal(animal).group, tables, tuple(sessions))


def _started(record: SessionRecord, store: Path | None) -> str:
    """Return when a session began; of an imported one what its stack says, empty when that says nothing."""
    if record.rig != IMPORTED:
        return record.started.isoformat()
    told = {} if store is None else said_of_making(store).get(IMPORTED, {})
    return "" if told.get(ACQUIRED) is None else record.started.isoformat()


def _geometry(
    store: Path | None, imported: ImportRecord | None, number: int, given_um: Point | None
) -> tuple[Point | None, tuple[int, int, int] | None, int]:
    """Return voxel size, shape (z, y, x) and channels of a session, as far as they are known."""
    if store is not None:
        seen = look_at_zarr(store)
        z, y, x = (seen.count(axis) for axis in "ZYX")
        return (seen.size_um["Z"], seen.size_um["Y"], seen.size_um["X"]), (z, y, x), seen.count("C")
    known = imported.sessions[number] if imported is not None and number < len(imported.sessions) else None
    voxel_um = given_um or (None if known is None else known.voxel_um)
    if known is None or voxel_um is None or known.extent_zyx_um is None:
        return voxel_um, None, 1
    z, y, x = (round(extent / um) + 1 for extent, um in zip(known.extent_zyx_um, voxel_um, strict=True))
    return voxel_um, (z, y, x), 1


def _write_field(field: ExportedField, folder: Path, plan: ExportPlan) -> list[str]:
    own = folder / field.animal / field.field
    told = [f"warning: {field.animal} {field.field}: {sentence}" for sentence in field.tables.warnings]
    for session in field.sessions if set(plan.formats) - {Format.TABLES, Format.NWB} else ():
        own.mkdir(parents=True, exist_ok=True)
        for form, write in WRITERS.items():
            if form in plan.formats and (lacking := write(field, session, own, plan)):
                told.append(f"note: {field.animal} {field.field} session {session.number} has no {form}: {lacking}")
    if Format.NWB in plan.formats:
        from analysis.nwb import NwbSession, write_nwb

        own.mkdir(parents=True, exist_ok=True)
        sessions = [NwbSession(each.number, each.name, each.day, each.started) for each in field.sessions]
        write_nwb(own / f"{field.name}.nwb", field.tables, sessions, animal=field.animal, field=field.field)
    counts = f"{len(field.sessions)} sessions, {field.tables.tracks['track_id'].nunique()} spines"
    written = ", ".join(form for form in plan.formats if form is not Format.TABLES)
    return [*told, *([f"{field.animal} {field.field}: {counts}; {written}; {own}"] if written else [])]


def _write_imagej(field: ExportedField, session: ExportedSession, folder: Path, _plan: ExportPlan) -> str:
    if session.voxel_um is None:
        return "it has no stack in the study; give its voxel size with --voxel-um Z Y X"
    file = folder / f"{field.name}_session{session.number}_rois.zip"
    try:
        write_roi_set(file, field.marked(session), session.voxel_um, channels=session.channels)
    except StackError as error:
        return str(error)
    return ""


def _write_swc(field: ExportedField, session: ExportedSession, folder: Path, _plan: ExportPlan) -> str:
    marked = field.marked(session)
    if not marked.spines and not marked.dendrites:
        return "nothing is marked in it"
    title = f"{field.animal} {field.field} session {session.number} ({session.name})"
    file = folder / f"{field.name}_session{session.number}.swc"
    write_swc(file, marked, title=title)
    if marked.dendrites:
        write_swc(file.with_name(f"{file.stem}_dendrites.swc"), marked, title=title, spines=False)
    return ""


def _write_labels(field: ExportedField, session: ExportedSession, folder: Path, plan: ExportPlan) -> str:
    if session.voxel_um is None or session.shape is None:
        return "it has no stack in the study, and how large that was is not known"
    store = folder / f"{field.name}_session{session.number}_labels.ome.zarr"
    source = None if session.store is None else str(session.store)
    image = read_stack(session.store).pixels if plan.with_image and session.store is not None else None
    write_labels(store, field.marked(session), session.shape, session.voxel_um, source=source, image=image)
    return ""


WRITERS: dict[Format, Callable[[ExportedField, ExportedSession, Path, ExportPlan], str]] = {
    Format.IMAGEJ: _write_imagej,
    Format.SWC: _write_swc,
    Format.LABELS: _write_labels,
}


def _write_tables(fields: Sequence[ExportedField], folder: Path, *, blind: bool) -> list[str]:
    """Write one table of each kind over all fields, as CSV and parquet, and what their columns mean."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {name: _joined(fields, name) for name in FIELD_TABLES}
    tables[SESSIONS] = pd.DataFrame([_session_row(field, each) for field in fields for each in field.sessions])
    if not blind:
        groups = {field.animal: field.group for field in fields}
        tables = {name: _with_group(table, groups) for name, table in tables.items()}
    meaning = data_dictionary((name, map(str, table.columns)) for name, table in tables.items())
    for name, table in tables.items():
        write_table(table, folder / f"{name}.csv", parquet=True)
    write_table(meaning, folder / f"{DICTIONARY}.csv", parquet=True)
    told = [f"tables: {', '.join(f'{len(table)} {name}' for name, table in tables.items())}; {folder}"]
    return [*told, "note: the study is blind: the groups are left out"] if blind else told


def _joined(fields: Sequence[ExportedField], name: str) -> pd.DataFrame:
    parts = []
    for field in fields:
        table = getattr(field.tables, name)
        if name != "dendrites" and REVIEWED_BY not in table:
            table = table.assign(**{REVIEWED_BY: ""})
        parts.append(table.assign(animal=field.animal, field=field.field))
    joined: pd.DataFrame = pd.concat(parts, ignore_index=True)
    own = [str(column) for column in joined.columns if column not in ("animal", "field")]
    return joined.reindex(columns=["animal", "field", *own])


def _session_row(field: ExportedField, session: ExportedSession) -> dict[str, object]:
    voxel = session.voxel_um or (float("nan"),) * 3
    return {
        "animal": field.animal,
        "field": field.field,
        "session": session.number,
        "name": session.name,
        "day": float("nan") if session.day is None else session.day,
        "started": session.started,
        **dict(zip(VOXEL_COLUMNS, voxel, strict=True)),
        "stack": "" if session.store is None else "/".join(session.store.parts[-PARTS_IN_STUDY:]),
    }


def _with_group(table: pd.DataFrame, groups: dict[str, str]) -> pd.DataFrame:
    table = table.copy()
    table.insert(1, "group", table["animal"].map(groups).astype("str"))
    return table
