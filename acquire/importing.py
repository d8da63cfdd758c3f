"""Stacks and marked spines of other programs, taken into a study.

A stack becomes the OME-Zarr stack of a session, with its source, checksum and program; what the file does not say is
asked for. Marked spines become the tables of a field, as an analysis writes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquire.errors import StudyError
from acquire.files import writing
from acquire.images import said_of_making, software_version, write_foreign_stack
from acquire.imported import IMPORTED, ImportedFile, ImportedSession, ImportRecord, write_import
from acquire.model import FieldRecord, SessionRecord, StagePosition, utc_now
from acquire.store import Study, made_record
from analysis.errors import StackError
from analysis.fieldtables import session_table, write_sessions
from analysis.imported import make_tables
from analysis.linkedmarks import read_linked_marks
from analysis.mapmanager import is_map, read_map
from analysis.marked import MarkedSession, Point
from analysis.model import Stack
from analysis.omezarr import look_at_zarr
from analysis.rawimage import ACQUIRED, SOFTWARE, STAGE_UM
from analysis.recording import files_of, find_description
from analysis.roisets import read_roi_set
from analysis.stack import read_stack, reading
from analysis.swc import read_swc
from analysis.tables import FATES_FILE, FIELD_TABLES, IMPORT_FILE, STATES_FILE, write_table

SAME_SITTING_DAYS = 0.25
SECONDS_A_DAY = 86400.0
CHUNK_BYTES = 1 << 22
UNKNOWN_PLACE = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)


@dataclass(frozen=True)
class Place:
    """Where in a study something is taken in, and the day that was given for it."""

    animal: str
    field: str
    day: float | None = None


def import_stack(
    path: Path, study_folder: Path, place: Place, *, voxel_um: tuple[float, float, float] | None = None
) -> list[str]:
    """Take a stack of another program into a study, all its channels; return what is to be told.

    Raises
    ------
    StackError
        The file cannot be read, or does not say its voxel size and none was given.
    StudyError
        Neither the file nor ``place`` says the day, the stack was imported before, or it is earlier than the last.
    """
    first = read_stack(path, voxel_um=voxel_um)
    others = [read_stack(path, voxel_um=voxel_um, channel=channel) for channel in range(1, first.channels)]
    pixels = np.stack([stack.pixels for stack in (first, *others)]) if others else first.pixels
    checksum = _checksum(path)
    with Study(study_folder) as study:
        _refuse_imported(study, place, checksum)
        acquired = _acquired(first)
        session = _session_of(study, place, acquired, path.name)
        made = _keep_field(study, place, session, first)
        store = study.new_store(session, place.field, "stack")
        about = _about_stack(first, session, place, {"file": path.name, "sha256": checksum})
        about[IMPORTED]["voxel_um_from"] = "file" if voxel_um is None else "given"
        about["planes"] = _plane_records(pixels)
        write_foreign_stack(store, pixels, first.voxel_um, about)
        study.log(session, "imported a stack", store=store.name, **about[IMPORTED])
    return [*made, *_told(first, session, store, acquired)]


def _about_stack(stack: Stack, session: SessionRecord, place: Place, source: dict[str, str]) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": "stack",
        "animal": place.animal,
        "session": session.name,
        "day": session.day,
        "field": place.field,
        "rig": {"name": IMPORTED},
        "saturation": stack.saturation,
        "shows_field": True,
        "complete": True,
        IMPORTED: {
            **source,
            SOFTWARE: stack.provenance.get(SOFTWARE),
            ACQUIRED: stack.provenance.get(ACQUIRED),
        },
    }
    position = _position(stack)
    return about if position is None else {**about, "stage": position.model_dump()}


def _position(stack: Stack) -> StagePosition | None:
    place = stack.provenance.get(STAGE_UM)
    return None if place is None else StagePosition(x_um=place["x"], y_um=place["y"], z_um=place["z"])


def _plane_records(pixels: NDArray[Any]) -> list[dict[str, int]]:
    """Return the checksum of each plane, all channels together, by which a reader sees whether it is whole."""
    planes = np.moveaxis(pixels, -3, 0)
    return [{"plane": n, "crc32": zlib.crc32(np.ascontiguousarray(plane).data)} for n, plane in enumerate(planes)]


def _checksum(path: Path) -> str:
    """Return the SHA-256 of a file, of all files of a folder, or of a recording with the name of its description."""
    digest = sha256()
    with reading(path):
        if (description := find_description(path)) is not None:
            digest.update(description.name.encode())
        for file in files_of(path):
            with file.open("rb") as content:
                while chunk := content.read(CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()


def _refuse_imported(study: Study, place: Place, checksum: str) -> None:
    study.animal(place.animal)
    for session, store in study.stacks(place.animal, place.field):
        if said_of_making(store).get(IMPORTED, {}).get("sha256") == checksum:
            raise StudyError(
                f"this stack was imported already, as {place.animal} {place.field} of session {session.name} "
                f"(day {session.day:g}); give another"
            )


def _acquired(stack: Stack) -> datetime | None:
    """Return when a stack was taken; files that name no zone mean that of this computer."""
    text = stack.provenance.get(ACQUIRED)
    return None if text is None else datetime.fromisoformat(text).astimezone()


def _session_of(study: Study, place: Place, acquired: datetime | None, name: str) -> SessionRecord:
    """Return the sitting of that day, a new one when there is none that lacks the field."""
    sessions = study.sessions(place.animal)
    day = place.day if place.day is not None else _day(study, sessions, acquired, name)
    for session in sessions:
        is_same = abs(session.day - day) < SAME_SITTING_DAYS
        if is_same and study.last_stack(session, place.field) is None:
            return session
    if sessions and day < sessions[-1].day:
        raise StudyError(
            f"{name} is of day {day:g}, before day {sessions[-1].day:g} of the last session {sessions[-1].name}; "
            "import stacks in the order of time"
        )
    return _new_session(study, place.animal, day, acquired)


def _new_session(study: Study, animal: str, day: float, started: datetime | None = None) -> SessionRecord:
    """Make a session that is over: no rig goes on with it."""
    made = study.new_session(animal, rig=IMPORTED, day=day, started=started)
    record = made.model_copy(update={"closed": made.started})
    study.save_session(record)
    return record


def _day(study: Study, sessions: Sequence[SessionRecord], acquired: datetime | None, name: str) -> float:
    if acquired is None:
        raise StudyError(f"{name} does not say when it was taken; give --day, the days since the first session")
    if not sessions:
        return 0.0
    if any(line.get(ACQUIRED) is None for line in study.log_lines(sessions[0], "imported a stack")):
        raise StudyError(
            f"the day of {name} cannot be told: when session {sessions[0].name} was is not known; give --day"
        )
    return round(sessions[0].day + (acquired - sessions[0].started).total_seconds() / SECONDS_A_DAY, 3)


def _keep_field(study: Study, place: Place, session: SessionRecord, stack: Stack | None) -> list[str]:
    """Make the field when the animal has none of that name; return what is to be told."""
    if any(field.name == place.field for field in study.animal(place.animal).fields):
        return []
    position = None if stack is None else _position(stack)
    note = "imported; its position is of another microscope" if position else "imported; its position is not known"
    record = made_record(
        FieldRecord,
        name=place.field,
        position=position or UNKNOWN_PLACE,
        reference_session=session.name,
        plan=study.record.plan,
        overview_plan=study.record.overview_plan,
        note=note,
    )
    study.save_field(place.animal, record)
    return [f"made field {place.field} of {place.animal}: {note}"]


def _told(stack: Stack, session: SessionRecord, store: Path, acquired: datetime | None) -> list[str]:
    z, y, x = stack.voxel_um
    planes, height, width = stack.pixels.shape
    when = "time not told by the file" if acquired is None else f"taken {acquired:%Y-%m-%d %H:%M}"
    program = stack.provenance.get(SOFTWARE, "program not told")
    channels = f"{stack.channels} channel{'s' if stack.channels > 1 else ''}"
    return [
        f"session {session.name}, day {session.day:g}: {planes} planes of {height} x {width} pixels, "
        f"{channels}, voxel {z:g} x {y:g} x {x:g} um; {when}; {program}",
        str(store),
    ]


# ---- marked spines -------------------------------------------------------------------------------------------------


class MarkFormat(StrEnum):
    """In which form spines were marked."""

    CSV = "csv"
    IMAGEJ = "imagej"
    SWC = "swc"
    MAPMANAGER = "mapmanager"


@dataclass(frozen=True)
class Marks:
    """Files of marked spines.

    Parameters
    ----------
    files
        One for all sessions (CSV, Map Manager), or one a session in the order of time (ImageJ, SWC).
    form
        None tells it by the name of the file.
    dendrites
        CSV of the dendrites, beside a CSV of spines.
    days
        Day of each session; None takes what the files say.
    voxel_um
        Of the stacks (z, y, x), um; ImageJ counts in pixels.
    """

    files: tuple[Path, ...]
    form: MarkFormat | None = None
    dendrites: Path | None = None
    days: tuple[float, ...] | None = None
    voxel_um: tuple[float, float, float] | None = None


def import_spines(marks: Marks, study_folder: Path, place: Place) -> list[str]:
    """Take spines that were marked in another program into a study, as the tables of a field.

    Returns
    -------
    What is to be told: what was found, and every assumption.

    Raises
    ------
    StackError
        A file cannot be read, or says too little.
    StudyError
        The field was analysed here, or the days do not fit.
    """
    form = marks.form or _form(marks.files[0])
    with Study(study_folder) as study:
        folder = study.animal_folder(place.animal) / "analysis" / place.field
        if (folder / FATES_FILE).is_file() and not (folder / IMPORT_FILE).is_file():
            raise StudyError(f"{place.field} of {place.animal} was analysed in this study; give another field name")
        study.animal(place.animal)
        stacks = [store for _, store in study.stacks(place.animal, place.field)]
        sessions = _with_stacks(_read_marks(marks, form, stacks), stacks, marks.voxel_um)
        made = make_tables(sessions)
        records = _sessions_of_days(study, place, _days(marks, sessions))
        told = _keep_field(study, place, records[0], None)
        folder = study.analysis_folder(place.animal, place.field)
        write_import(folder, _import_record(marks, form, records, sessions, made.assumed))  # before what it keeps
        with writing(folder):
            for name in FIELD_TABLES:
                write_table(getattr(made.tables, name), folder / f"{name}.csv", parquet=True)
            if made.tables.states is not None:
                write_table(made.tables.states, folder / STATES_FILE)
            write_sessions(folder, session_table([r.name for r in records], [r.day for r in records]))
    tables = made.tables
    fates = ", ".join(f"{count} {fate}" for fate, count in tables.fates["fate"].value_counts().items())
    spines, dendrites = tables.tracks["track_id"].nunique(), tables.dendrites["dendrite"].nunique()
    counts = f"{len(records)} sessions, {dendrites} dendrites, {spines} spines; {fates or 'no fates'}; {folder}"
    return [*told, f"{place.animal} {place.field}: {counts}", *(f"assumed: {text}" for text in made.assumed)]


def _form(file: Path) -> MarkFormat:
    if is_map(file):
        return MarkFormat.MAPMANAGER
    forms = {".csv": MarkFormat.CSV, ".zip": MarkFormat.IMAGEJ, ".roi": MarkFormat.IMAGEJ, ".swc": MarkFormat.SWC}
    if (form := forms.get(file.suffix.lower())) is None:
        raise StackError(
            f"{file.name} is of no known kind; give a CSV, an ImageJ ROI set (.zip), SWC, or NAME.txt of a Map Manager "
            f"map with its folders, or say which with --format ({', '.join(MarkFormat)})"
        )
    return form


def _read_marks(marks: Marks, form: MarkFormat, stacks: Sequence[Path]) -> list[MarkedSession]:
    if form in (MarkFormat.CSV, MarkFormat.MAPMANAGER):
        if len(marks.files) > 1:
            raise StackError(f"{len(marks.files)} files given, but one {form} holds all sessions; give it alone")
        file = marks.files[0]
        return read_linked_marks(file, marks.dendrites) if form is MarkFormat.CSV else read_map(file)
    if form is MarkFormat.SWC:
        return [read_swc(file) for file in marks.files]
    if marks.voxel_um is None and len(stacks) != len(marks.files):
        raise StackError(
            f"{marks.files[0].name} counts in pixels and the study has {len(stacks)} stacks of the field for "
            f"{len(marks.files)} files; give --voxel-um Z Y X, or import the stacks first"
        )
    sizes = [marks.voxel_um or _looked_at(store)[0] for store in (stacks or marks.files)]
    return [read_roi_set(file, voxel_um) for file, voxel_um in zip(marks.files, sizes, strict=False)]


def _looked_at(store: Path) -> tuple[Point, Point]:
    """Return the voxel size of a stack, and the centre of its last voxel, um."""
    seen = look_at_zarr(store)
    voxel_um = seen.size_um["Z"], seen.size_um["Y"], seen.size_um["X"]
    z, y, x = ((seen.count(axis) - 1) * um for axis, um in zip("ZYX", voxel_um, strict=True))
    return voxel_um, (z, y, x)


def _with_stacks(
    sessions: Sequence[MarkedSession], stacks: Sequence[Path], given_um: Point | None
) -> list[MarkedSession]:
    """Add how far the stacks reach, where the study has them."""
    if len(stacks) != len(sessions):
        return [replace(session, voxel_um=session.voxel_um or given_um) for session in sessions]
    known = [_looked_at(store) for store in stacks]
    return [replace(one, voxel_um=um, extent_zyx_um=extent) for one, (um, extent) in zip(sessions, known, strict=True)]


def _days(marks: Marks, sessions: Sequence[MarkedSession]) -> list[float]:
    if marks.days is not None:
        if len(marks.days) != len(sessions):
            raise StudyError(
                f"--days gives {len(marks.days)} days, the files have {len(sessions)} sessions; give one each"
            )
        return list(marks.days)
    told = [session.day for session in sessions]
    if len(sessions) > 1 and None in told:
        raise StudyError(
            f"the days of the {len(sessions)} sessions are not in the files; give them, as in --days 0 4 8"
        )
    return [day or 0.0 for day in told]


def _sessions_of_days(study: Study, place: Place, days: Sequence[float]) -> list[SessionRecord]:
    """Return the animal's sessions of these days; those that lack are made."""
    if list(days) != sorted(set(days)):
        raise StudyError(f"days {' '.join(f'{day:g}' for day in days)} do not rise; order the sessions in time")
    known = study.sessions(place.animal)
    found = [min(known, key=lambda one: abs(one.day - day), default=None) for day in days]
    records = []
    for day, near in zip(days, found, strict=True):
        is_same = near is not None and abs(near.day - day) < SAME_SITTING_DAYS and near not in records
        records.append(near if is_same and near else _new_session(study, place.animal, day))
    return records


def _import_record(
    marks: Marks,
    form: MarkFormat,
    records: Sequence[SessionRecord],
    sessions: Sequence[MarkedSession],
    assumed: Sequence[str],
) -> ImportRecord:
    files = [*marks.files, *([marks.dendrites] if marks.dendrites else [])]
    return made_record(
        ImportRecord,
        software_version=f"{software_version()}, {utc_now().isoformat()}",
        program=str(form),
        files=[ImportedFile(file=file.name, sha256=_file_checksum(file)) for file in files],
        sessions=[
            ImportedSession(name=record.name, voxel_um=one.voxel_um, extent_zyx_um=one.extent_zyx_um)
            for record, one in zip(records, sessions, strict=True)
        ],
        assumed=tuple(assumed),
    )


def _file_checksum(file: Path) -> str:
    with reading(file):
        return sha256(file.read_bytes()).hexdigest()
