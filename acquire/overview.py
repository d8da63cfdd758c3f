"""A study at a glance: animals by sessions, what is taken, comparable, analysed, reviewed, and what is due next.

It reads the small files on disk and never a pixel. What is damaged is told where it lies, and hides nothing else. It
does not judge: what a stack is worth was written beside it when it was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from acquire.errors import StudyError
from acquire.glance import SAME_DAY, AnimalSight, Due, FieldVisit, SessionSight, StudyOverview, Taken
from acquire.images import is_complete, is_judged, read_journal, said_of_making
from acquire.model import AnimalRecord, FieldRecord, SessionRecord, utc_now
from acquire.store import ANIMAL_FILE, SESSION_FILE, Study, read_record
from analysis.edits import Edit, History, parse_edits
from analysis.errors import StackError

TABLE_FILE, EDITS_FILE = "fates.csv", "edits.jsonl"


def study_overview(study: Study, now: datetime | None = None) -> StudyOverview:
    """Read what there is of every animal, field and session; ``now`` tells what is overdue."""
    record, now = study.record, now or utc_now()
    animals = tuple(_animal(study, name, now) for name in study.animals())
    return StudyOverview(record.name, record.blind, record.groups, record.days, animals)


def _animal(study: Study, name: str, now: datetime) -> AnimalSight:
    sessions, undated = _sessions(study, name)
    try:
        record = read_record(study.animal_folder(name) / ANIMAL_FILE, AnimalRecord)
        books = {one.name: _read_edits(study, name, one.name) for one in record.fields}
        seen = tuple(_session(study, record, session, sessions, books) for session in sessions)
        due = _due(study.record.days, sessions, seen, now)
        if undated:  # nobody knows then which day was missed or is next
            due = Due(f"{len(undated)} of {len(seen) + len(undated)} sessions cannot be read: mend them first")
        decisions = sum(len(book.lines) for book in books.values())
        troubles = [*(one.trouble for one in undated), *(book.trouble for book in books.values())]
        trouble = "; ".join(filter(None, troubles))
        return AnimalSight(name, record.group, (*seen, *undated), due, decisions, trouble)
    except (StudyError, OSError) as error:
        seen = tuple(SessionSight(one.name, one.day, one.closed is not None) for one in sessions)
        return AnimalSight(name, "", (*seen, *undated), Due("mend its files first"), 0, str(error))


def _sessions(study: Study, animal: str) -> tuple[list[SessionRecord], list[SessionSight]]:
    """Return the sessions that can be read, first to last, and beside them those that cannot."""
    read, unread = [], []
    for file in sorted((study.animal_folder(animal) / "sessions").glob(f"*/{SESSION_FILE}")):
        try:
            read.append(read_record(file, SessionRecord))
        except StudyError as error:
            unread.append(SessionSight(file.parent.name, None, trouble=str(error)))
    return sorted(read, key=lambda record: (record.number, record.started)), unread


def _session(
    study: Study,
    animal: AnimalRecord,
    session: SessionRecord,
    sessions: Sequence[SessionRecord],
    books: dict[str, _Edits],
) -> SessionSight:
    order = {one.name: place for place, one in enumerate(sessions)}
    kept = [one for one in animal.fields if order.get(one.reference_session, 0) <= order[session.name]]
    visits = tuple(_visit(study, session, one, books[one.name]) for one in kept)
    return SessionSight(session.name, session.day, session.closed is not None, visits)


def _visit(study: Study, session: SessionRecord, place: FieldRecord, edits: _Edits) -> FieldVisit:
    try:
        last, compared = study.last_stack(session, place.name), study.last_store(session, place.name, "stack")
        if last is None:
            return FieldVisit(place.name, Taken.NOT)
        if compared is None:
            return _without_comparable(place, last)
        table = study.animal_folder(session.animal) / "analysis" / place.name / TABLE_FILE
        decisions = edits.about(session.name)
        return FieldVisit(place.name, Taken.WHOLE, is_analysed=is_written_after(table, compared), decisions=decisions)
    except (StudyError, OSError) as error:
        return FieldVisit(place.name, Taken.DAMAGED, trouble=str(error))


def _without_comparable(place: FieldRecord, last: Path) -> FieldVisit:
    """Say what the last stack of a session is that has none to compare."""
    said = said_of_making(last)
    if not said:
        return FieldVisit(place.name, Taken.DAMAGED, trouble=f"{last} cannot be read: it does not say how it was made")
    if is_complete(last):
        return FieldVisit(place.name, Taken.ELSEWHERE if is_judged(last) else Taken.UNJUDGED)
    of_planes = place.plan.planes
    plan = said.get("plan")
    if isinstance(plan, dict) and {"depth_um", "step_um"} <= set(plan):
        of_planes = round(plan["depth_um"] / plan["step_um"]) + 1
    return FieldVisit(place.name, Taken.CUT_SHORT, len(read_journal(last)), of_planes)


def is_written_after(table: Path, store: Path) -> bool:
    """Tell whether a table is there and younger than a stack."""
    if not table.is_file():
        return False
    written = said_of_making(store).get("written")
    try:
        stack_s = datetime.fromisoformat(str(written)).timestamp()
    except ValueError:
        stack_s = store.stat().st_mtime
    return table.stat().st_mtime >= stack_s


# ---- decisions of people -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edits:
    """The decisions about one field that are not undone, and what of them cannot be read."""

    lines: tuple[Edit, ...] = ()
    trouble: str = ""

    def about(self, session: str) -> int:
        """Return how many name a session: as what they are about, or as where they saw the spine."""
        return sum(session in _sessions_named(line) for line in self.lines)


def _sessions_named(edit: Edit) -> set[str]:
    return {*edit.sessions, *(place.session for place in (*edit.spine, *edit.to))}


def _read_edits(study: Study, animal: str, place: str) -> _Edits:
    file = study.animal_folder(animal) / "analysis" / place / EDITS_FILE
    if not file.is_file():
        return _Edits()
    try:
        edits, torn = parse_edits(file.read_bytes(), file)
    except StackError as error:
        return _Edits(trouble=str(error))
    return _Edits(tuple(History(edits).in_force), "; ".join(torn))


# ---- what is due ---------------------------------------------------------------------------------------------------


def _due(
    planned: Sequence[float], sessions: Sequence[SessionRecord], seen: Sequence[SessionSight], now: datetime
) -> Due:
    due = _next_day(planned, sessions, now)
    left = _left_over(seen)
    return Due("; ".join(text for text in (due.text, left) if text), due.is_overdue)


def _next_day(planned: Sequence[float], sessions: Sequence[SessionRecord], now: datetime) -> Due:
    """Say when the next planned day is, by the calendar of the first session."""
    if not planned:
        return Due("no days are planned" if sessions else "no session yet")
    if not sessions:
        return Due(f"day {min(planned):g}: the first session")
    first, last_day = sessions[0], max(one.day for one in sessions)
    left = [day for day in sorted(planned) if day > last_day + SAME_DAY]
    missed = [day for day in planned if day < last_day - SAME_DAY and not _was_held(day, sessions)]
    told = f", day {', '.join(f'{day:g}' for day in missed)} was missed" if missed else ""
    if not left:
        return Due(f"all planned days are over{told}" if missed else f"all {len(planned)} planned days are done")
    date = (first.started + timedelta(days=left[0] - first.day)).astimezone().date()
    days = (date - now.astimezone().date()).days
    text = f"day {left[0]:g} {_in_words(days)} ({date.isoformat()}){told}"
    return Due(text, days < 0)


def _was_held(day: float, sessions: Sequence[SessionRecord]) -> bool:
    return any(abs(one.day - day) <= SAME_DAY for one in sessions)


def _in_words(days: int) -> str:
    """Return how far off a date is.

    Examples
    --------
    >>> _in_words(3), _in_words(1), _in_words(0), _in_words(-1), _in_words(-3)
    ('is due in 3 days', 'is due tomorrow', 'is due today', 'is overdue since yesterday', 'is overdue by 3 days')
    """
    named = {1: "is due tomorrow", 0: "is due today", -1: "is overdue since yesterday"}
    return named.get(days) or (f"is due in {days} days" if days > 0 else f"is overdue by {-days} days")


def _left_over(seen: Sequence[SessionSight]) -> str:
    """Say which fields of the last session lack a stack, and which have one that is not analysed."""
    if not seen:
        return ""
    lacking = [visit.field for visit in seen[-1].fields if visit.taken is not Taken.WHOLE]
    waiting = {
        visit.field for one in seen for visit in one.fields if visit.taken is Taken.WHOLE and not visit.is_analysed
    }
    told = []
    if lacking and not seen[-1].is_closed:
        told.append(f"{', '.join(lacking)} to be taken")
    if waiting:
        told.append(f"{', '.join(sorted(waiting))} to be analysed")
    return "; ".join(told)
