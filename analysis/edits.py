"""What a person decided about the spines of a field: one line of ``edits.jsonl`` a decision, never rewritten.

A line outlives a new analysis, which numbers the tracks anew: it names sessions by their names, and a spine by the
places where it was seen, in the stack frame of each session. An undo is one more line, and so is a redo. What a line
does to the tables is told in :mod:`analysis.reviewed`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.errors import ExperimentError
from analysis.journal import append_line

EDITS_FILE = "edits.jsonl"
FORMAT_VERSION: Literal[1] = 1
PATIENCE_S = 2.0  # for another program that is writing its line
Finite = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


class EditError(ExperimentError):
    """A decision that cannot be kept, or a file of decisions that cannot be understood."""


class EditKind(StrEnum):
    """What was decided."""

    ACCEPT = "accept"
    REJECT = "reject"
    ADD = "add"
    MOVE = "move"
    JOIN = "join"
    SPLIT = "split"
    FILOPODIUM = "filopodium"
    SPINE = "spine"
    PRESENT = "present"
    ABSENT = "absent"
    UNSCORABLE = "unscorable"
    NOTE = "note"
    UNDO = "undo"
    REDO = "redo"
    BLIND = "blind"
    UNBLIND = "unblind"


ABOUT_LINES = (EditKind.UNDO, EditKind.REDO)
ABOUT_BLINDING = (EditKind.BLIND, EditKind.UNBLIND)
ABOUT_SESSIONS = (EditKind.SPLIT, EditKind.PRESENT, EditKind.ABSENT, EditKind.UNSCORABLE)
WITH_PLACES = (EditKind.ADD, EditKind.MOVE, EditKind.JOIN)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Place(_Frozen):
    """Where the head of a spine is in one session.

    Parameters
    ----------
    session
        Name of the session.
    head_zyx_um
        In that session's own stack frame, um.
    dendrite
        Its number when the decision was made; a later analysis may give another.
    """

    session: Name
    head_zyx_um: tuple[Finite, Finite, Finite]
    dendrite: int | None = None


class Edit(_Frozen):
    """One decision.

    Parameters
    ----------
    version
        Of this format.
    when
        Time of the decision, with its zone.
    who
        Whose decision it is.
    kind
        What was decided.
    step
        The same in all lines of one decision: they are undone together.
    second
        Whether it belongs to a second rater's own judgement, which is kept apart from the review.
    spine
        Where the spine was seen when the decision was made; the first place that finds a spine counts.
    sessions
        The sessions that the decision is about: where the spine is present, absent or unscorable; of a split those
        whose sight becomes a spine of its own.
    to
        The new head (add, move, and present where nothing was seen); the places of the other spine (join).
    of
        The step that is undone or redone.
    text
        Of a note.
    seed
        Of the order in which the sessions are shown while blind.
    """

    version: Literal[1] = FORMAT_VERSION
    when: AwareDatetime
    who: Name
    kind: EditKind
    step: Name
    second: bool = False
    spine: tuple[Place, ...] = ()
    sessions: tuple[Name, ...] = ()
    to: tuple[Place, ...] = ()
    of: str | None = None
    text: str = ""
    seed: int | None = None

    @classmethod
    def now(cls, who: str, kind: EditKind, *, step: str | None = None, **about: Any) -> Edit:
        """Make a decision of this moment; a ``step`` of its own unless it is part of another."""
        return cls(when=datetime.now(UTC), who=who, kind=kind, step=step or new_step(), **about)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind in ABOUT_LINES:
            lacking = "of" if not self.of else ""
        elif self.kind in ABOUT_BLINDING:
            lacking = "seed" if self.kind is EditKind.BLIND and self.seed is None else ""
        elif self.kind in ABOUT_SESSIONS and not self.sessions:
            lacking = "sessions"
        elif self.kind in WITH_PLACES and not self.to:
            lacking = "to"
        else:
            lacking = "spine" if self.kind is not EditKind.ADD and not self.spine else ""
        if lacking:
            raise ValueError(f"a decision of kind {self.kind} needs {lacking!r}")
        return self

    @property
    def is_about_a_spine(self) -> bool:
        """Whether the tables change by it."""
        return self.kind not in (*ABOUT_LINES, *ABOUT_BLINDING)

    def line(self) -> str:
        """Return it as one line of the file, without what was not said."""
        return self.model_dump_json(exclude_defaults=True).replace("{", f'{{"version":{self.version},', 1)


def new_step() -> str:
    """Return a name that no other step has."""
    return uuid4().hex[:12]


class History:
    """Which decisions of one rater are in force, and which step an undo or a redo would take.

    Parameters
    ----------
    edits
        All lines, in the order of the file.
    """

    def __init__(self, edits: Iterable[Edit]) -> None:
        self._edits = list(edits)
        self._done: dict[tuple[str, bool], list[str]] = {}
        self._undone: dict[tuple[str, bool], list[str]] = {}
        self._off: set[str] = set()
        self.astray: list[Edit] = []
        for edit in self._edits:
            self._take(edit)

    @property
    def in_force(self) -> list[Edit]:
        """The decisions about spines that are not undone, in the order of the file."""
        return [edit for edit in self._edits if edit.is_about_a_spine and edit.step not in self._off]

    @property
    def of_review(self) -> list[Edit]:
        """Those of them that change the reviewed tables: what a second rater decides alone does not."""
        return [edit for edit in self.in_force if not edit.second]

    def undoable(self, who: str, *, second: bool = False) -> str | None:
        """Return the step that an undo takes back, None when there is none."""
        return _last(self._done.get((who, second)))

    def redoable(self, who: str, *, second: bool = False) -> str | None:
        """Return the step that a redo brings back, None when there is none."""
        return _last(self._undone.get((who, second)))

    def _take(self, edit: Edit) -> None:
        if edit.kind in ABOUT_BLINDING:
            return
        rater = (edit.who, edit.second)
        done, undone = self._done.setdefault(rater, []), self._undone.setdefault(rater, [])
        if edit.is_about_a_spine:
            if edit.step not in done[-1:]:
                done.append(edit.step)
            undone.clear()
            return
        source, target = (done, undone) if edit.kind is EditKind.UNDO else (undone, done)
        if edit.of not in source:
            self.astray.append(edit)
            return
        source.remove(edit.of)
        target.append(edit.of)
        (self._off.add if edit.kind is EditKind.UNDO else self._off.discard)(edit.of)


def _last(steps: Sequence[str] | None) -> str | None:
    return steps[-1] if steps else None


class EditBook:
    """The file of decisions of one field, open for adding to it.

    Parameters
    ----------
    file
        ``edits.jsonl``; made by the first decision.

    Raises
    ------
    EditError
        When the file cannot be read, or holds a line of a later version of this program.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = FileLock(file.with_name(f".{file.name}.lock"))
        self.reload()

    def reload(self) -> None:
        """Read the file again."""
        content = self._read()
        self.edits, self.trouble = parse_edits(content, self.file)
        self._known_bytes = len(content)

    def append(self, *edits: Edit) -> None:
        """Write decisions, all or none; when it returns they are on the disk.

        Raises
        ------
        EditError
            When the disk takes no more, or another program has written since: its lines are taken in then.
        """
        if not edits:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.acquire(timeout=PATIENCE_S):
                self._refuse_stale()
                append_line(self.file, "\n".join(edit.line() for edit in edits))
                self._known_bytes = self.file.stat().st_size
        except Timeout as error:
            raise EditError(f"{self.file} is being written by another program; close that program first") from error
        except OSError as error:
            raise EditError(
                f"The decision was not kept: {self.file} cannot be written ({error.strerror or error}). "
                "Free space or change the rights, and decide again."
            ) from error
        self.edits = (*self.edits, *edits)

    def _refuse_stale(self) -> None:
        if (self.file.stat().st_size if self.file.exists() else 0) == self._known_bytes:
            return
        before = len(self.edits)
        self.reload()
        new = self.edits[before:]
        who = ", ".join(sorted({edit.who for edit in new})) or "another program"
        raise EditError(
            f"The decision was not kept: {self.file.name} was changed meanwhile ({len(new)} decisions of {who} are new "
            "and are shown now). Look again and decide again; one program at a time."
        )

    def _read(self) -> bytes:
        try:
            return self.file.read_bytes() if self.file.exists() else b""
        except OSError as error:
            raise EditError(f"{self.file} cannot be read: {error.strerror or error}; change the rights") from error


def read_edits(file: Path) -> tuple[Edit, ...]:
    """Return all lines of a file of decisions, none when there is no file; raises EditError as :class:`EditBook`."""
    return EditBook(file).edits


def parse_edits(content: bytes, file: Path) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """Return the decisions of a file, and one sentence for every line that was torn and is set aside.

    Raises
    ------
    EditError
        When a whole line is of another version or says what no decision can say.
    """
    edits, torn = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"))
        except ValueError:  # cut short by a full disk or a power failure
            torn.append(number)
            continue
        edits.append(_parse_edit(values, f"{file}, line {number}"))
    return tuple(edits), tuple(
        f"{file.name}, line {number} is torn (a power failure or a full disk) and is set aside; "
        f"the other {len(edits)} decisions are whole: make the one that was lost again."
        for number in torn
    )


def _parse_edit(values: Any, where: str) -> Edit:
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise EditError(f"{where} is of version {version}, this program knows {FORMAT_VERSION}; update the program")
    try:
        return Edit.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise EditError(f"{where} is no decision: {faults}. Mend it or take it out, with a copy kept.") from error
