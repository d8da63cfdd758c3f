"""The fields of a study as pieces of work: what is asked of each, what came of it, how much is left.

A piece of work is a few words, so it can be sent to another process or computer; there it needs the stacks and this
program, no window and no rig. One field that cannot be analysed is an outcome like another: it keeps none from being
done. What analyses is loaded when the first field is done, after a worker was told its share of the computer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acquire.errors import StudyError, tell_unexpected
from analysis.errors import ExperimentError
from analysis.remote import RemotePath, as_place, reaching
from analysis.tables import OVERLAY

Progress = Callable[[str, float], None]
FETCHED = (".csv", ".parquet", ".png", ".html", ".json", ".jsonl")
LEAST_KNOWN = 0.1  # of a field: before that nobody knows how long the others take
LEAST_WAITED_S = 5.0


@dataclass(frozen=True)
class FieldWork:
    """One field to be analysed.

    Parameters
    ----------
    animal, field
        Whose it is.
    stores
        Path or URL of each stack, in the order of the sessions.
    folder
        Path or URL of the folder for tables and pictures.
    weights
        Path of the weights of a laboratory's own spine network.
    again
        Analyse it although it is up to date.
    """

    animal: str
    field: str
    stores: tuple[str, ...]
    folder: str
    weights: str | None = None
    again: bool = False

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.animal} {self.field}"


@dataclass(frozen=True)
class FieldOutcome:
    """What came of a field.

    Parameters
    ----------
    animal, field
        Whose it is.
    told
        Counts and warnings, a line each; empty when there are no tables.
    fault
        Why there are none; None when there are.
    is_new
        False when the tables were up to date, and were left.
    """

    animal: str
    field: str
    told: str = ""
    fault: str | None = None
    is_new: bool = True

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"{self.animal} {self.field}"


def do_field(work: FieldWork, progress: Progress) -> FieldOutcome:
    """Analyse a field unless its tables are up to date; what goes wrong is told in the outcome."""
    try:
        told, is_new = _do_remotely(work, progress) if _is_remote(work) else _do(work, Path(work.folder), progress)
    except ExperimentError as error:
        return FieldOutcome(work.animal, work.field, fault=str(error))
    except Exception as error:  # noqa: BLE001 - the last resort of a field: one line, the rest to a log
        return FieldOutcome(work.animal, work.field, fault=tell_unexpected(error))
    return FieldOutcome(work.animal, work.field, told, is_new=is_new)


def _do(work: FieldWork, folder: Path, progress: Progress) -> tuple[str, bool]:
    from acquire.analysing import analyse_stores, review_again, with_trouble
    from acquire.uptodate import read_up_to_date

    stores = [as_place(store) for store in work.stores]
    weights = None if work.weights is None else Path(work.weights)
    if not work.again and (record := read_up_to_date(folder, stores, weights)) is not None:
        return "\n".join([f"up to date, {record.told}", *review_again(folder)]), False
    done = analyse_stores(stores, folder, weights=weights, progress=progress)
    return with_trouble(done.told, done.trouble), True


def _is_remote(work: FieldWork) -> bool:
    return isinstance(as_place(work.folder), RemotePath)


def _do_remotely(work: FieldWork, progress: Progress) -> tuple[str, bool]:
    """Analyse in a folder of this computer; bring there what lies at the URL, and what is new from there."""
    from acquire.uptodate import ANALYSIS_FILE, outputs_in
    from analysis.reviewtables import NOTE_FILE, REVIEWED_FOLDER

    there = RemotePath(work.folder)
    with tempfile.TemporaryDirectory(prefix="samefield-") as made:
        here = Path(made)
        with reaching(work.folder):
            _fetch_outputs(there, here)
        told, is_new = _do(work, here, progress)
        with reaching(work.folder):
            if is_new:
                there.files.makedirs(there.inside, exist_ok=True)
                _send_outputs([*outputs_in(here), here / ANALYSIS_FILE], there)
            if (here / REVIEWED_FOLDER).is_dir():
                there.files.makedirs(f"{there.inside}/{REVIEWED_FOLDER}", exist_ok=True)
                reviewed = sorted((here / REVIEWED_FOLDER).iterdir(), key=lambda file: (file.name == NOTE_FILE, file))
                _send_outputs(reviewed, there / REVIEWED_FOLDER)
    return told.replace(str(here), work.folder), is_new


def _fetch_outputs(there: RemotePath, here: Path) -> None:
    if there.files.exists(there.inside):
        for name in there.files.ls(there.inside, detail=False):
            if Path(name).suffix in FETCHED and there.files.isfile(name):
                there.files.get_file(name, str(here / Path(name).name))


def _send_outputs(files: Sequence[Path], there: RemotePath) -> None:
    """Send files in their order, the last of which says that the others belong together; remove what is out of date."""
    names = {file.name for file in files}
    for name in there.files.ls(there.inside, detail=False):
        if Path(name).name not in names and OVERLAY.fullmatch(Path(name).name):
            there.files.rm_file(name)
    for file in files:
        there.files.put_file(str(file), f"{there.inside}/{file.name}")


class Countdown:
    """How many fields are done, and how long the others take.

    Parameters
    ----------
    total
        Number of fields.
    progress
        Is told in words, and with the share that is done.
    clock
        Seconds.
    """

    def __init__(self, total: int, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._progress, self._clock = total, progress, clock
        self._began_s = clock()
        self._begun: dict[str, float] = {}
        self._done = self._new = 0

    def hear(self, name: str, what: str, share: float) -> None:
        """Tell of a field that is being analysed; ``share`` of it is done."""
        self._begun[name] = share
        self._tell(f"; {name}: {what}")

    def end(self, outcome: FieldOutcome) -> None:
        """Tell that a field is done."""
        self._begun.pop(outcome.name, None)
        self._done += 1
        self._new += outcome.is_new
        self._tell("")

    def _tell(self, what: str) -> None:
        said = f"{self._done} of {self._total} fields done"
        if (left_s := self.left_s()) is not None:
            said += f", about {said_time(left_s)} left"
        self._progress(said + what, (self._done + sum(self._begun.values())) / max(1, self._total))

    def left_s(self) -> float | None:
        """Return the seconds that are left when no other field is up to date, None while that cannot be known."""
        begun, waited_s = sum(self._begun.values()), self._clock() - self._began_s
        computed = self._new + begun
        if computed < LEAST_KNOWN or waited_s < LEAST_WAITED_S:
            return None
        return waited_s / computed * (self._total - self._done - begun)


def said_time(seconds: float) -> str:
    """Say how long something takes.

    Examples
    --------
    >>> said_time(42), said_time(600), said_time(5400)
    ('42 s', '10 min', '1.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def do_here(works: Sequence[FieldWork], progress: Progress) -> Iterator[FieldOutcome]:
    """Analyse fields one after the other in this process."""
    countdown = Countdown(len(works), progress)
    for work in works:
        outcome = do_field(work, lambda what, share, name=work.name: countdown.hear(name, what, share))  # type: ignore[misc]
        countdown.end(outcome)
        yield outcome


def refuse_failed(failed: Sequence[tuple[str, str]], total: int) -> None:
    """Raise what is told at the end when fields failed: how many of all, their names and reasons.

    Raises
    ------
    StudyError
        When there is one.
    """
    if failed:
        reasons = "; ".join(f"{name}: {fault}" for name, fault in failed)
        raise StudyError(f"{len({name for name, _ in failed})} of {total} fields failed: {reasons}")
