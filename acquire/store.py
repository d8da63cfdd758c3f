"""The study on disk: plain files that a person can read, copy and put under backup.

Who may write is settled by a lock on the study: a second program is refused with the name of the first, and the
system lets go of the lock when a program dies.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from acquire.errors import StudyError, validation_summary
from acquire.files import append_line, write_text, writing
from acquire.images import (
    JOURNAL,
    frames_path,
    is_comparable,
    is_complete,
    is_judged,
    read_plane_lines,
    said_of_making,
    software_version,
)
from acquire.lock import study_lock
from acquire.model import AnimalRecord, FieldRecord, Record, SessionRecord, StagePosition, StudyRecord, utc_now

R = TypeVar("R", bound=Record)
STUDY_FILE, ANIMAL_FILE, SESSION_FILE = "study.json", "animal.json", "session.json"
MOST_DAYS = 36_500
MEND = "mend it, or put it back from your backup; nothing was changed"
LOG_FILE = "log.jsonl"
LIGHT_IN_NO_PLANE = "light in no plane"


def read_record(path: Path, kind: type[R]) -> R:
    """Read one record.

    Raises
    ------
    StudyError
        When the file is missing, no JSON, or says something that this program does not know.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise StudyError(f"{path} cannot be understood: {validation_summary(error)}; {MEND}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path} cannot be read: it is no text in UTF-8 (byte {error.start}); {MEND}") from error
    except OSError as error:
        raise StudyError(
            f"{path} cannot be read: {error.strerror or error}; put it back or give the right to read it"
        ) from error


def made_record(kind: type[R], **values: Any) -> R:
    """Make a record of what a user typed.

    Raises
    ------
    StudyError
        When a value is not allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise StudyError(validation_summary(error)) from error


def write_record(path: Path, record: Record) -> None:
    """Write one record: temporary name, synced, renamed."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def refuse_used_folder(folder: Path) -> None:
    """Raise StudyError when a new study cannot be made here because something is here."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} exists and is not an empty folder; choose another name for the study")


class Study:
    """A study folder, opened for writing. Use it in a ``with`` statement, or call :meth:`close`.

    Parameters
    ----------
    folder
        The study's folder; it holds ``study.json``.

    Raises
    ------
    StudyError
        When the folder is no study, cannot be written, or another program has it open.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / STUDY_FILE).is_file():
            raise StudyError(
                f"{folder} is no study: it has no {STUDY_FILE}; make one with 'samefield new-study {folder}'"
            )
        self.record = read_record(folder / STUDY_FILE, StudyRecord)
        self._lock = study_lock(folder)
        self._lock.take()

    @classmethod
    def create(cls, folder: Path, record: StudyRecord) -> Study:
        """Make a new study in a folder that is missing or empty."""
        refuse_used_folder(folder)
        with writing(folder):
            (folder / "animals").mkdir(parents=True, exist_ok=True)
        write_record(folder / STUDY_FILE, record)
        return cls(folder)

    def close(self) -> None:
        """Let other programs write."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- animals -----------------------------------------------------------------------------------------------

    def animal_folder(self, animal: str) -> Path:
        """Return the folder of an animal, existing or not; refuses to when the whole study is gone."""
        return self._animals / animal

    def animals(self) -> list[str]:
        """Return the ids of all animals, sorted."""
        return sorted(file.parent.name for file in self._animals.glob(f"*/{ANIMAL_FILE}"))

    @property
    def _animals(self) -> Path:
        # Without this, writing would make the folders anew: on the disk beneath the one that was taken out.
        if not (self.folder / STUDY_FILE).is_file():
            raise StudyError(
                f"the study {self.folder} is gone: was its disk taken out, its share unmounted or its folder moved? "
                "Bring it back under this name and do it again"
            )
        return self.folder / "animals"

    def animal(self, animal: str) -> AnimalRecord:
        """Read an animal."""
        path = self.animal_folder(animal) / ANIMAL_FILE
        if not path.is_file():
            known = ", ".join(self.animals()) or "none yet"
            raise StudyError(f"{self.folder} has no animal {animal!r} (known: {known}); make it with new-animal")
        return read_record(path, AnimalRecord)

    def new_animal(self, record: AnimalRecord) -> AnimalRecord:
        """Add an animal."""
        if (self.animal_folder(record.id) / ANIMAL_FILE).exists():
            raise StudyError(f"{self.folder} has an animal {record.id} already")
        if self.record.groups and record.group and record.group not in self.record.groups:
            raise StudyError(f"group {record.group!r} is none of the study's: {', '.join(self.record.groups)}")
        write_record(self.animal_folder(record.id) / ANIMAL_FILE, record)
        return record

    def field(self, animal: str, name: str) -> FieldRecord:
        """Return a field of an animal."""
        record = self.animal(animal)
        try:
            return record.field(name)
        except KeyError as error:
            known = ", ".join(field.name for field in record.fields) or "none yet"
            raise StudyError(f"animal {animal} has no field {name!r} (known: {known})") from error

    def save_field(self, animal: str, field: FieldRecord) -> None:
        """Add a field to an animal, or replace the one of that name."""
        record = self.animal(animal)
        others = tuple(other for other in record.fields if other.name != field.name)
        fields = tuple(sorted((*others, field), key=lambda each: each.name))
        write_record(self.animal_folder(animal) / ANIMAL_FILE, record.model_copy(update={"fields": fields}))

    # ---- sessions ----------------------------------------------------------------------------------------------

    def sessions(self, animal: str) -> list[SessionRecord]:
        """Return the sessions of an animal, first to last."""
        files = (self.animal_folder(animal) / "sessions").glob(f"*/{SESSION_FILE}")
        records = sorted((read_record(file, SessionRecord) for file in files), key=lambda record: record.number)
        for one, other in itertools.pairwise(records):
            if one.number == other.number:
                raise StudyError(
                    f"sessions {one.name} and {other.name} of {animal} both have the number {one.number}; "
                    "number them in the order of time in their session.json"
                )
        return records

    def session(self, animal: str, name: str) -> SessionRecord:
        """Return a session of an animal."""
        for record in self.sessions(animal):
            if record.name == name:
                return record
        raise StudyError(f"animal {animal} has no session {name}; its folder is missing or has another name")

    def new_session(
        self,
        animal: str,
        *,
        rig: str,
        experimenter: str = "",
        day: float | None = None,
        started: datetime | None = None,
    ) -> SessionRecord:
        """Begin a session: a new folder, numbered after the last; ``day`` counts from the first session."""
        self.animal(animal)
        earlier = self.sessions(animal)
        started = started or utc_now()
        if day is None:
            day = 0.0
            if earlier:
                day = round(earlier[0].day + (started - earlier[0].started).total_seconds() / 86400, 3)
        if not abs(day) <= MOST_DAYS:
            raise StudyError(
                f"day {day:g} is no day of a study; give the days since the first session, at most {MOST_DAYS}, "
                "or none to take it from the clock"
            )
        if earlier and day < earlier[-1].day:
            raise StudyError(
                f"day {day:g} lies before day {earlier[-1].day:g} of the last session {earlier[-1].name}; "
                "give a later --day, or check the clock"
            )
        taken = {record.name for record in earlier}
        minute = name = started.strftime("%Y-%m-%dT%H%M")
        suffix = 2
        while name in taken:
            name, suffix = f"{minute}-{suffix}", suffix + 1
        record = made_record(
            SessionRecord,
            animal=animal,
            name=name,
            number=1 + max((record.number for record in earlier), default=-1),
            day=day,
            started=started,
            experimenter=experimenter,
            rig=rig,
            software_version=software_version(),
        )
        self.save_session(record)
        return record

    def session_folder(self, animal: str, session: str) -> Path:
        """Return the folder of a session."""
        return self.animal_folder(animal) / "sessions" / session

    def analysis_folder(self, animal: str, field: str) -> Path:
        """Return the folder of a field's tables and pictures, made if missing."""
        folder = self.animal_folder(animal) / "analysis" / field
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save_session(self, record: SessionRecord) -> None:
        """Write a session's record."""
        write_record(self.session_folder(record.animal, record.name) / SESSION_FILE, record)

    def log(self, record: SessionRecord, event: str, **details: Any) -> None:
        """Append one line to the session's log: time, event, details."""
        line = json.dumps({"time": utc_now().isoformat(), "event": event, **details}, default=str)
        append_line(self.session_folder(record.animal, record.name) / LOG_FILE, line)

    def new_store(self, session: SessionRecord, field: str, kind: str) -> Path:
        """Return a free name for the next store of a kind: ``stack``, then ``stack-2``..."""
        folder = self.session_folder(session.animal, session.name) / field
        number = 1 + max(map(_number, self._stores(session, field, kind)), default=0)
        store = folder / (f"{kind}.ome.zarr" if number == 1 else f"{kind}-{number}.ome.zarr")
        while frames_path(store).exists():  # of a stack that a person took away
            number += 1
            store = folder / f"{kind}-{number}.ome.zarr"
        return store

    def last_store(self, session: SessionRecord, field: str, kind: str) -> Path | None:
        """Return the last whole store of a kind in one session that shows its field, None when there is none."""
        return max(self._whole_stores(session, field, kind), key=_number, default=None)

    def last_stack(self, session: SessionRecord, field: str) -> Path | None:
        """Return the last stack of a field in one session, whole or not, None when there is none."""
        return max(self._stores(session, field, "stack"), key=_number, default=None)

    def store_at(self, session: SessionRecord, field: str, kind: str, stage: StagePosition) -> Path | None:
        """Return the first complete store of a kind that was taken there: of overviews the one a field was kept with.

        Others may lie before it: of a field that could not be kept because the disk was full.
        """
        whole, asked = self._whole_stores(session, field, kind), stage.model_dump()
        return min((store for store in whole if said_of_making(store).get("stage") == asked), key=_number, default=None)

    def _stores(self, session: SessionRecord, field: str, kind: str) -> list[Path]:
        """Return the stores of a kind; those of its raw frames are none of them."""
        folder = self.session_folder(session.animal, session.name) / field
        return [*folder.glob(f"{kind}.ome.zarr"), *folder.glob(f"{kind}-*.ome.zarr")]

    def _whole_stores(self, session: SessionRecord, field: str, kind: str) -> list[Path]:
        return [store for store in self._stores(session, field, kind) if is_comparable(store)]

    def unfinished_store(self, session: SessionRecord, field: str) -> Path | None:
        """Return the last stack of a field in a session when it was cut short, or is not judged yet; else None."""
        last = self.last_stack(session, field)
        return None if last is None or is_judged(last) else last

    def stacks_left(self, session: SessionRecord, field: str, repeats: int) -> int:
        """Return how many stacks of a field a session still needs for so many repeats, 0 when it has them.

        One that was cut short last is gone on with, and counts as one. Planes that were taken again make no repeat.
        """
        whole = [store for store in self._whole_stores(session, field, "stack") if not _is_retake(store)]
        left = max(0, repeats - len(whole))
        cut_short = self.unfinished_store(session, field)
        if cut_short is None:
            return left
        return left + 1 if _is_retake(cut_short) else max(1, left)

    def unjudged(self, animal: str, field: str) -> list[tuple[SessionRecord, Path]]:
        """Return the whole stacks of a field of which nobody knows yet whether they show it, with their sessions."""
        stores = [
            (session, store) for session in self.sessions(animal) for store in self._stores(session, field, "stack")
        ]
        return [(session, store) for session, store in stores if is_complete(store) and not is_judged(store)]

    def left_out(self, animal: str, field: str) -> list[Path]:
        """Return the last stacks of sessions that have none to compare: cut short, damaged, or of another place."""
        used = {session.name for session, _ in self.stacks(animal, field)}
        unused = [session for session in self.sessions(animal) if session.name not in used]
        last = [self.last_stack(session, field) for session in unused]
        return [store for store in last if store is not None]

    def dose_mj(self, session: SessionRecord, field: str) -> float:
        """Return the energy that everything taken of a field in a session brought into it, mJ.

        Of a run that was killed the planes it kept count, not the light around their frames, of its plane in hand or
        of its burst.
        """
        folder = self.session_folder(session.animal, session.name) / field
        kept = sum(record.dose_mj for journal in folder.glob(f"*{JOURNAL}") for record in read_plane_lines(journal))
        lost = (line for line in self.log_lines(session, LIGHT_IN_NO_PLANE) if line.get("field") == field)
        return kept + sum(float(line.get("mj", 0.0)) for line in lost)

    def log_lines(self, session: SessionRecord, event: str) -> list[dict[str, Any]]:
        """Return the whole lines of a session's log that tell of one kind of event."""
        log = self.session_folder(session.animal, session.name) / LOG_FILE
        lines = []
        for line in log.read_bytes().splitlines() if log.is_file() else []:
            with contextlib.suppress(ValueError):  # cut short by a full disk or a power failure
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict) and line.get("event") == event]

    def stacks(self, animal: str, field: str) -> list[tuple[SessionRecord, Path]]:
        """Return the sessions that have a complete stack of a field, with the last one of each, in order."""
        found = [(session, self.last_store(session, field, "stack")) for session in self.sessions(animal)]
        return [(session, store) for session, store in found if store is not None]


def _is_retake(store: Path) -> bool:
    return said_of_making(store).get("retake_of") is not None


def _number(store: Path) -> int:
    """Return which of its kind a store is: 1 for ``stack.ome.zarr``, 2 for ``stack-2.ome.zarr``."""
    _, _, number = store.name.removesuffix(".ome.zarr").partition("-")
    return int(number) if number.isdigit() else 1
