"""The reviewed tables of a field on the disk, beside those of the machine: for a spreadsheet, R, or a backup.

They are a copy for other programs: whoever has this one reads :func:`read_reviewed`, which does the decisions on the
machine's tables each time, so that what lies on the disk may be old and does no harm. What a second rater decided
alone is in neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from analysis.edits import EDITS_FILE, Edit, EditBook, History
from analysis.errors import StackError
from analysis.fieldtables import SavedTables, read_session_table, read_sessions, read_tables, write_sessions
from analysis.followed import AnalysedField, FieldReview, as_analysed
from analysis.reviewed import apply_edits
from analysis.tables import FIELD_TABLES, SESSIONS_FILE, STATES_FILE, write_table, write_whole

REVIEWED_FOLDER, NOTE_FILE = "reviewed", "reviewed.json"
MADE_OF = (*(f"{name}.csv" for name in FIELD_TABLES), SESSIONS_FILE, STATES_FILE)
WRITTEN = (*MADE_OF, *(f"{name}.parquet" for name in FIELD_TABLES))
PATIENCE_S = 30.0  # for another program that writes the same tables
DIGEST_BYTES = 16


class ReviewNote(BaseModel):
    """What the reviewed tables were made of: ``reviewed.json``, written last, so that all others are whole beside it.

    Parameters
    ----------
    decisions
        How many are in force.
    who
        Who made them, and how many.
    last
        When the last one was made.
    unplaced
        One sentence for every decision that could not be done, or line that could not be read.
    machine
        Fingerprint of the machine's tables.
    edits
        Fingerprint of the file of decisions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    decisions: int
    who: dict[str, int]
    last: AwareDatetime | None
    unplaced: tuple[str, ...]
    machine: str
    edits: str


def read_reviewed(folder: Path) -> SavedTables:
    """Return the tables of a field with the decisions in force, from the folder of its analysis.

    Without a decision these are the machine's. ``spines``, ``tracks`` and ``fates`` say who decided in ``reviewed_by``.

    Raises
    ------
    StackError
        When a table is missing or cannot be read.
    EditError
        When the file of decisions cannot be understood.
    """
    review = review_of(folder)
    return SavedTables(review.spines, review.dendrites, review.tracks, review.fates, review.warnings, review.states)


def write_reviewed(folder: Path) -> ReviewNote | None:
    """Write the reviewed tables into a folder beside the machine's, when they are not there or not of today.

    Parameters
    ----------
    folder
        Of the analysis of a field.

    Returns
    -------
    ReviewNote or None
        What they are made of; None where nobody has reviewed the field.

    Raises
    ------
    StackError
        When a table cannot be read or written.
    EditError
        When the file of decisions cannot be understood.
    """
    target = folder / REVIEWED_FOLDER
    if not (folder / EDITS_FILE).exists() and not target.exists():
        return None
    try:
        target.mkdir(exist_ok=True)
        with FileLock(folder / f".{REVIEWED_FOLDER}.lock", timeout=PATIENCE_S):
            return _write(folder, target)
    except Timeout as error:
        raise StackError(f"{target} is being written by another program; close that program first") from error
    except OSError as error:
        raise StackError(
            f"the reviewed tables cannot be written to {target}: {error.strerror or error}; free space or change the "
            "rights, the decisions are kept"
        ) from error


def read_review_note(folder: Path) -> ReviewNote | None:
    """Return what the reviewed tables beside a field's are made of; None when there are none, or not all."""
    try:
        return ReviewNote.model_validate_json((folder / REVIEWED_FOLDER / NOTE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def is_fresh(folder: Path) -> bool:
    """Tell whether the reviewed tables on the disk are all there, and those of today's tables and decisions."""
    return _is_made_of(folder, _fingerprints(folder))


def _is_made_of(folder: Path, made_of: tuple[str, str]) -> bool:
    note = read_review_note(folder)
    is_whole = all((folder / REVIEWED_FOLDER / name).is_file() for name in WRITTEN)
    return is_whole and note is not None and (note.machine, note.edits) == made_of


def _write(folder: Path, target: Path) -> ReviewNote | None:
    made_of = _fingerprints(folder)  # before anything is read: what changes meanwhile makes these tables old
    if _is_made_of(folder, made_of):
        return read_review_note(folder)
    book = EditBook(folder / EDITS_FILE)
    review, sessions = _apply(folder, book), read_session_table(folder)
    (target / NOTE_FILE).unlink(missing_ok=True)
    for name in FIELD_TABLES:
        write_table(getattr(review, name), target / f"{name}.csv", parquet=True)
    write_table(review.states, target / STATES_FILE)
    write_sessions(target, sessions)
    made = _note(_decisions(book), (*review.unplaced, *book.trouble), made_of)
    write_whole(target / NOTE_FILE, lambda part: part.write_text(made.model_dump_json(indent=2), encoding="utf-8"))
    return made


def review_of(folder: Path) -> FieldReview:
    """Return what :func:`read_reviewed` returns, and with it every spine and the decisions that found none."""
    return _apply(folder, EditBook(folder / EDITS_FILE))


def _apply(folder: Path, book: EditBook) -> FieldReview:
    tables, sessions = read_tables(folder), read_sessions(folder)
    decisions = _decisions(book)
    if decisions and not sessions:
        raise StackError(
            f"{folder} has {len(decisions)} decisions but no {SESSIONS_FILE}, which says of which sessions they are; "
            "analyse the field again"
        )
    analysed = AnalysedField(tables, sessions or _numbers(tables))
    return apply_edits(analysed, decisions) if decisions else as_analysed(analysed)


def _decisions(book: EditBook) -> list[Edit]:
    return History(book.edits).of_review


def _numbers(tables: SavedTables) -> Sequence[str]:
    return [str(number) for number in range(1 + max(map(int, tables.dendrites["session"]), default=-1))]


def _note(decisions: Sequence[Edit], unplaced: Sequence[str], made_of: tuple[str, str]) -> ReviewNote:
    last = max((edit.when for edit in decisions), default=None)
    who = dict(sorted(Counter(edit.who for edit in decisions).items()))
    return ReviewNote(
        decisions=len(decisions), who=who, last=last, unplaced=tuple(unplaced), machine=made_of[0], edits=made_of[1]
    )


def _fingerprints(folder: Path) -> tuple[str, str]:
    """Return those of the machine's tables and of the file of decisions."""
    return _digest(folder / name for name in MADE_OF), _digest([folder / EDITS_FILE])


def _digest(files: Iterable[Path]) -> str:
    digest = blake2b(digest_size=DIGEST_BYTES)
    for file in files:
        content = file.read_bytes() if file.exists() else b""
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
