"""The tables of a whole study, as every analysis of it takes them.

Nothing is known here of files; :mod:`analysis.study.opening` reads a study into this, :mod:`analysis.study.planted`
draws one with known effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import pandas as pd

from analysis.errors import StudyTablesError

DENDRITE_KEY = ["animal", "field", "dendrite"]
"""Columns that name a dendrite: it belongs to a field, the field to an animal."""
SPINE_KEY = [*DENDRITE_KEY, "track"]
"""Columns that name a spine."""

ANIMAL_COLUMNS = ("animal", "group")
SESSION_COLUMNS = ("animal", "session", "day")
PHASE_COLUMNS = ("phase", "group", "first_day", "last_day", "task")
STRETCH_COLUMNS = (*DENDRITE_KEY, "session", "from_um", "to_um")
SPINE_COLUMNS = (
    *SPINE_KEY, "session", "along_um", "state", "probability", "kind", "head_size", "head_size_sd", "saturated",
)  # fmt: skip
BEHAVIOUR_COLUMNS = ("animal", "day", "measure", "value")
_COLUMNS = {
    "animals": ANIMAL_COLUMNS,
    "sessions": SESSION_COLUMNS,
    "phases": PHASE_COLUMNS,
    "stretches": STRETCH_COLUMNS,
    "spines": SPINE_COLUMNS,
    "behaviour": BEHAVIOUR_COLUMNS,
}


def _none(columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns))


@dataclass(frozen=True, eq=False)
class StudyTables:
    """A study as tables. Sessions are counted from 0 within an animal; positions are um along the dendrite.

    Parameters
    ----------
    name
        Of the study.
    animals
        One row an animal: ``animal, group`` (a word; empty where none is known), in the order of the groups.
    sessions
        One row a sitting: ``animal, session, day`` (from the animal's first session, analysed or not; it rises with the
        session). Sessions of one day, a quarter of a day apart at most, are same-day repeats.
    phases
        One row a phase and group: ``phase, group, first_day, last_day, task``: the phase runs from the animal's first
        to its last session within these days; a spine is new in it when it was absent in the first and is present
        in the last. An empty ``group`` means all of them. No rows: one phase, from the first session to the second.
    stretches
        One row a piece of dendrite that could be judged in a session: ``animal, field, dendrite, session, from_um,
        to_um``; its pieces of one session do not overlap.
    spines
        One row a spine and a session, for every session of its field: ``animal, field, dendrite, track, session,
        along_um`` (one place for all sessions), ``state`` (present, absent, unscorable), ``probability`` (of being
        present), ``kind`` (spine, filopodium, stubby; empty where absent), ``head_size`` (over the local shaft),
        ``head_size_sd``, ``saturated``.
    behaviour
        One row a value: ``animal, day, measure, value``.
    dropped
        What was left out while reading, one sentence each.
    """

    name: str
    animals: pd.DataFrame
    sessions: pd.DataFrame
    spines: pd.DataFrame
    stretches: pd.DataFrame
    phases: pd.DataFrame = field(default_factory=lambda: _none(PHASE_COLUMNS))
    behaviour: pd.DataFrame = field(default_factory=lambda: _none(BEHAVIOUR_COLUMNS))
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, columns in _COLUMNS.items():
            missing = [column for column in columns if column not in getattr(self, name).columns]
            if missing:
                raise StudyTablesError(f"the table {name} lacks {', '.join(missing)}; it needs {', '.join(columns)}")

    @property
    def groups(self) -> list[str]:
        """The groups that have animals, in their order."""
        return list(dict.fromkeys(self.animals["group"]))

    def of_animals(self, animals: list[str]) -> Self:
        """Return the study with these animals alone."""
        parts = ("animals", "sessions", "spines", "stretches", "behaviour")
        kept = {name: (table := getattr(self, name))[table["animal"].isin(animals)] for name in parts}
        return replace(self, **kept)
