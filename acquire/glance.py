"""A study at a glance: the values that :mod:`acquire.overview` reads and the window shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SAME_DAY = 0.5  # days: a session this near to a planned day is the one that was planned


class Taken(StrEnum):
    """What there is of a field in a session."""

    NOT = "not taken"
    CUT_SHORT = "cut short"
    UNJUDGED = "not judged yet"
    ELSEWHERE = "of another place"
    DAMAGED = "damaged"
    WHOLE = "whole"


@dataclass(frozen=True)
class FieldVisit:
    """One field in one session.

    Parameters
    ----------
    field
        Its name.
    taken
        What there is; ``WHOLE`` is comparable.
    planes, of_planes
        How many planes a stack that was cut short has; None when nobody can tell.
    is_analysed
        Whether tables were written after its stack.
    decisions
        How many decisions of people concern it.
    trouble
        What cannot be read.
    """

    field: str
    taken: Taken
    planes: int | None = None
    of_planes: int | None = None
    is_analysed: bool = False
    decisions: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class SessionSight:
    """One session of an animal; ``day`` is None when its record cannot be read, which ``trouble`` tells."""

    name: str
    day: float | None
    is_closed: bool = False
    fields: tuple[FieldVisit, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Due:
    """What is next for an animal, in words."""

    text: str
    is_overdue: bool = False


@dataclass(frozen=True)
class AnimalSight:
    """One animal: its sessions, first to last, and what is due; ``trouble`` tells what cannot be read of it."""

    animal: str
    group: str = ""
    sessions: tuple[SessionSight, ...] = ()
    due: Due = Due("")
    decisions: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class StudyOverview:
    """A whole study at a glance.

    Parameters
    ----------
    study
        Its name.
    is_blind
        Whether groups are hidden.
    groups
        Its groups.
    planned_days
        Days on which each animal is to be imaged.
    animals
        Sorted by name.
    """

    study: str
    is_blind: bool = False
    groups: tuple[str, ...] = ()
    planned_days: tuple[float, ...] = ()
    animals: tuple[AnimalSight, ...] = ()

    @property
    def days(self) -> tuple[float, ...]:
        """Days that were planned or came otherwise, rising."""
        done = (one.day for animal in self.animals for one in animal.sessions if one.day is not None)
        return tuple(sorted({*self.planned_days, *(self.day_of(day) for day in done)}))

    @property
    def has_undated(self) -> bool:
        """Whether there are sessions whose day cannot be read."""
        return any(one.day is None for animal in self.animals for one in animal.sessions)

    def day_of(self, day: float) -> float:
        """Return the planned day that a session's day stands for, else the day itself to a tenth."""
        near = [planned for planned in self.planned_days if abs(planned - day) <= SAME_DAY]
        return min(near, key=lambda planned: abs(planned - day)) if near else round(day, 1)

    def on_day(self, animal: AnimalSight, day: float | None) -> tuple[SessionSight, ...]:
        """Return the sessions of an animal on a day; without a day those whose day cannot be read."""
        return tuple(one for one in animal.sessions if (None if one.day is None else self.day_of(one.day)) == day)
