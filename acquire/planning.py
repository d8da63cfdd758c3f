"""Which fields of a study are to be analysed, and of which stacks: in a folder, or at a URL.

Of a study at a URL only the small records are brought here: they are laid out as the study's folder is, so the same
questions are asked of both. The stacks stay where they are until a field is analysed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from acquire.errors import StudyError
from acquire.files import writing
from acquire.imported import read_import
from acquire.place import judge_left_stacks
from acquire.store import Study
from acquire.studywork import FieldWork
from analysis.errors import StackError
from analysis.remote import RemotePath, as_place, reaching

RECORDS = (
    "study.json",
    "animals/{animal}/animal.json",
    "animals/{animal}/analysis/*/imported.json",
    "animals/{animal}/sessions/*/session.json",
    "animals/{animal}/sessions/*/*/*.ome.zarr/zarr.json",
)
PROBE = ".samefield-can-write"


IMPORT_STACKS = "import the stacks as another field"


@dataclass(frozen=True)
class StudyAnalysis:
    """How a study is analysed.

    Parameters
    ----------
    animal
        Only this one.
    fields
        Only these; all when empty.
    out
        A folder for the tables instead of the study's own: in it one folder an animal, and in that one a field.
    weights
        Of a laboratory's own spine network.
    again
        Also what is up to date.
    scheduler
        Address of the scheduler of a dask cluster that does it.
    workers
        So many processes on this computer that do it.
    """

    animal: str | None = None
    fields: tuple[str, ...] = ()
    out: Path | None = None
    weights: Path | None = None
    again: bool = False
    scheduler: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class AnalysisPlan:
    """What is to be done, what is to be told before, and which fields cannot be done, with the reason."""

    works: tuple[FieldWork, ...]
    told: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def total(self) -> int:
        """Number of fields that can be done or not."""
        return len({work.name for work in self.works} | {name for name, _ in self.failed})


@contextmanager
def plan_analysis(folder: str, asked: StudyAnalysis) -> Iterator[AnalysisPlan]:
    """Open a study for its analysis; no other program may change it until the block ends (in a folder, not at a URL).

    Raises
    ------
    StudyError
        There is no study, no stack, no such animal or field, or no place for the tables.
    """
    if asked.scheduler is not None and asked.workers is not None:
        raise StudyError("--scheduler names a cluster that has its own workers; leave --workers out")
    place = as_place(folder)
    if isinstance(place, Path):
        with Study(place) as study:
            yield _Planner(study, asked, None).plan()
        return
    if place.url.startswith("memory://") and (asked.scheduler or asked.workers):
        raise StudyError(f"{place} lies in the memory of this process, where no worker sees it; leave --workers out")
    if asked.out is None:
        _refuse_unwritable(place)
    with tempfile.TemporaryDirectory(prefix="samefield-") as made:
        _fetch_records(place, Path(made), asked.animal or "*")
        with Study(Path(made)) as study:
            yield _Planner(study, asked, place).plan()


class _Planner:
    """The plan of a study, as it grows field by field.

    Parameters
    ----------
    study
        The study, or its records alone.
    asked
        What is asked of it.
    there
        Where it lies when its records alone are here.
    """

    def __init__(self, study: Study, asked: StudyAnalysis, there: RemotePath | None) -> None:
        self._study, self._asked, self._there = study, asked, there
        self._works: list[FieldWork] = []
        self._told: list[str] = []
        self._failed: list[tuple[str, str]] = []

    def plan(self) -> AnalysisPlan:
        """Return the plan of all fields that were asked for."""
        study, asked = self._study, self._asked
        missing = set(asked.fields)
        for animal in [study.animal(asked.animal).id] if asked.animal else study.animals():
            for name in self._fields(animal):
                missing.discard(name)
                self._plan_field(animal, name)
        where = self._there or study.folder
        self._failed += [(name, f"{asked.animal or where} has no such field") for name in sorted(missing)]
        if not (self._works or self._told or self._failed):
            raise StudyError(f"{where} has no complete stack to analyse; take one with 'samefield acquire'")
        return AnalysisPlan(tuple(self._works), tuple(self._told), tuple(self._failed))

    def _fields(self, animal: str) -> Sequence[str]:
        try:
            names = [field.name for field in self._study.animal(animal).fields]
        except StudyError as error:  # one damaged animal does not keep the others from being analysed
            self._failed.append((animal, str(error)))
            return ()
        return [name for name in names if not self._asked.fields or name in self._asked.fields]

    def _plan_field(self, animal: str, name: str) -> None:
        study = self._study
        try:
            if (imported := read_import(study.animal_folder(animal) / "analysis" / name)) is not None:
                sources = ", ".join(source.file for source in imported.files)
                self._told.append(f"note: {animal} {name} keeps the spines imported from {sources}; {IMPORT_STACKS}")
                return
            self._judge(animal, name)
            stores = [store for _, store in study.stacks(animal, name)]
            self._told += [
                f"warning: {self._where(store)} is cut short, damaged, or of another place, and is not compared"
                for store in study.left_out(animal, name)
            ]
            if stores:
                self._works.append(self._work(animal, name, stores))
        except StudyError as error:
            self._failed.append((f"{animal} {name}", str(error)))

    def _judge(self, animal: str, name: str) -> None:
        """Have it judged what was left unjudged, where that can be written down."""
        if self._there is None:
            faults = judge_left_stacks(self._study, animal, self._study.field(animal, name))
        else:
            unjudged = [self._where(store) for _, store in self._study.unjudged(animal, name)]
            faults = [f"{store} is not judged yet and not compared; analyse it where it lies" for store in unjudged]
        self._failed += [(f"{animal} {name}", fault) for fault in faults]

    def _work(self, animal: str, name: str, stores: Sequence[Path]) -> FieldWork:
        asked = self._asked
        return FieldWork(
            animal,
            name,
            tuple(self._where(store) for store in stores),
            self._folder(animal, name),
            None if asked.weights is None else str(asked.weights.absolute()),
            asked.again,
        )

    def _where(self, store: Path) -> str:
        if self._there is None:
            return str(store.absolute())
        return str(self._there / store.relative_to(self._study.folder).as_posix())

    def _folder(self, animal: str, name: str) -> str:
        out = self._asked.out
        if out is not None:
            folder = out.absolute() / animal / name
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            return str(folder)
        if self._there is not None:
            return str(self._there / f"animals/{animal}/analysis/{name}")
        return str(self._study.analysis_folder(animal, name).absolute())


def _refuse_unwritable(there: RemotePath) -> None:
    remedy = "give --out DIR for the tables"
    if there.url.startswith(("http://", "https://")):
        raise StudyError(f"{there} can be read, but a web server takes no tables; {remedy}")
    with reaching(there.url):
        if not there.files.exists(f"{there.inside}/study.json"):
            raise StudyError(f"{there} is no study: it has no study.json; check the URL")
    try:
        with reaching(there.url):
            there.files.pipe_file(f"{there.inside}/{PROBE}", b"")
            there.files.rm_file(f"{there.inside}/{PROBE}")
    except StackError as error:
        raise StudyError(f"{there} cannot be written; {remedy} ({error})") from error


def _fetch_records(there: RemotePath, folder: Path, animal: str) -> None:
    """Bring the small files of a study into a folder, each to its place."""
    with reaching(there.url):
        for pattern in RECORDS:
            for name in there.files.glob(f"{there.inside}/{pattern.format(animal=animal)}"):
                place = PurePosixPath(name.removeprefix(there.inside).lstrip("/"))
                if ".." not in place.parts:
                    (folder / place).parent.mkdir(parents=True, exist_ok=True)
                    (folder / place).write_bytes(there.files.cat_file(name))
    if not (folder / RECORDS[0]).is_file():
        raise StudyError(f"{there} is no study: it has no study.json; check the URL")
