"""A study as a table of words and marks: what a cell says, and what a new animal may be called. Knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from acquire.errors import validation_summary
from acquire.glance import AnimalSight, FieldVisit, SessionSight, StudyOverview, Taken
from acquire.gui.words import MARKS
from acquire.model import AnimalRecord, Light

LIGHTS = {Taken.WHOLE: Light.GREEN, Taken.DAMAGED: Light.RED}
NEXT = "Next"
UNDATED = "Unreadable"


@dataclass(frozen=True)
class Cell:
    """What one cell says; ``tip`` says it field by field."""

    text: str = ""
    light: Light | None = None
    tip: str = ""


@dataclass(frozen=True)
class StudyTable:
    """What the table shows: headings of columns, names of rows, cells row by row."""

    columns: tuple[str, ...] = ()
    animals: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    labels: tuple[str, ...] = ()
    summary: str = ""


def table_of(overview: StudyOverview) -> StudyTable:
    """Return a study as a table: animals down, what is next and the sessions by day across."""
    days: list[float | None] = [*overview.days, *([None] if overview.has_undated else [])]
    rows = [
        (_next_cell(animal), *(_day_cell(animal, overview.on_day(animal, day)) for day in days))
        for animal in overview.animals
    ]
    headings = [UNDATED if day is None else f"Day {day:g}" for day in days]
    return StudyTable(
        (NEXT, *headings),
        tuple(animal.animal for animal in overview.animals),
        tuple(rows),
        tuple(_label(animal, overview.is_blind) for animal in overview.animals),
        summary(overview),
    )


def summary(overview: StudyOverview) -> str:
    """Return a line about the whole study."""
    overdue = [animal.animal for animal in overview.animals if animal.due.is_overdue]
    held = sum(len(animal.sessions) for animal in overview.animals)
    told = f"{overview.study}: {counted(len(overview.animals), 'animal')}, {counted(held, 'session')}"
    if overdue:
        told += f"; overdue: {', '.join(overdue)}"
    return f"{told}; groups are hidden" if overview.is_blind else told


def counted(number: int, what: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> counted(1, "animal"), counted(3, "animal")
    ('1 animal', '3 animals')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def _label(animal: AnimalSight, is_blind: bool) -> str:
    return animal.animal if is_blind or not animal.group else f"{animal.animal}\n{animal.group}"


def _next_cell(animal: AnimalSight) -> Cell:
    if animal.trouble:
        return Cell(f"{MARKS[Light.RED]} {animal.due.text}", Light.RED, animal.trouble)
    light = Light.AMBER if animal.due.is_overdue else None
    mark = f"{MARKS[light]} " if light else ""
    return Cell(mark + animal.due.text.replace("; ", "\n"), light, animal.due.text)


def _day_cell(animal: AnimalSight, sessions: Sequence[SessionSight]) -> Cell:
    """Return what the sessions of one day say, the worst light for all."""
    none = "fields unknown" if animal.trouble else "no field"
    cells = [_session_cell(one, none) for one in sessions]
    order = (Light.RED, Light.AMBER, Light.GREEN)
    light = next((each for each in order if any(cell.light is each for cell in cells)), None)
    return Cell("\n".join(cell.text for cell in cells), light, "\n\n".join(cell.tip for cell in cells))


def _session_cell(session: SessionSight, none: str) -> Cell:
    visits, tip = session.fields, "\n".join([session.name, *map(tell_visit, session.fields)])
    if session.trouble:
        return Cell(f"{MARKS[Light.RED]} {session.name}\ncannot be read", Light.RED, session.trouble)
    if not visits:
        return Cell(f"{MARKS[None]} {none}", None, tip)
    lights = [LIGHTS.get(visit.taken, Light.AMBER) for visit in visits]
    light = max(lights, key=(Light.GREEN, Light.AMBER, Light.RED).index)
    whole = [visit for visit in visits if visit.taken is Taken.WHOLE]
    lines = [f"{MARKS[light]} {len(whole)} of {counted(len(visits), 'field')} whole"]
    lines += [_lacking(visit) for visit in visits if visit.taken is not Taken.WHOLE]
    if whole:
        lines.append(_worked_on(whole))
    return Cell("\n".join(lines), light, tip)


def _lacking(visit: FieldVisit) -> str:
    planes = f", {visit.planes} of {visit.of_planes} planes" if visit.planes is not None else ""
    return f"{visit.field} {visit.taken}{planes}"


def _worked_on(whole: Sequence[FieldVisit]) -> str:
    analysed, decisions = sum(visit.is_analysed for visit in whole), sum(visit.decisions for visit in whole)
    told = "analysed" if analysed == len(whole) else f"{analysed} of {len(whole)} analysed"
    if not analysed:
        told = "not analysed"
    return f"{told}, {counted(decisions, 'decision')}" if decisions else f"{told}, not reviewed" if analysed else told


def tell_visit(visit: FieldVisit) -> str:
    """Return everything about a field in a session."""
    told = [_lacking(visit)]
    if visit.taken is Taken.WHOLE:
        told += ["comparable", "analysed" if visit.is_analysed else "not analysed since it was taken"]
        told.append(f"reviewed: {counted(visit.decisions, 'decision')}" if visit.decisions else "not reviewed")
    return ", ".join(told) + (f": {visit.trouble}" if visit.trouble else "")


def why_not_animal(animal: str, limit_mw: str, overview: StudyOverview) -> str | None:
    """Say why an animal cannot be added as it was typed; None when it can."""
    if not animal.strip():
        return "give the animal a name first"
    if animal.strip() in {one.animal for one in overview.animals}:
        return f"the study has an animal {animal.strip()} already; choose another name"
    try:
        AnimalRecord(id=animal.strip(), power_limit_mw=limit_of(limit_mw))
    except ValidationError as error:
        return validation_summary(error)
    except ValueError as error:
        return str(error)
    return None


def limit_of(typed: str) -> float | None:
    """Return a typed power limit, mW; None when nothing was typed.

    Raises
    ------
    ValueError
        When it is no number.
    """
    if not typed.strip():
        return None
    try:
        return float(typed)
    except ValueError as error:
        raise ValueError(f"power limit {typed.strip()!r} is no number; leave it empty for none") from error
