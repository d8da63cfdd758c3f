"""A study on disk as tables: what the machine told, and what people decided after it.

The folder is only read. Plain files are enough: ``study.json``, ``animals/A/animal.json``, the four tables of each
field in ``animals/A/analysis/F`` with ``sessions.csv``, and, where there are any, ``edits.jsonl`` beside them and
``phases.csv`` and ``behaviour.csv`` in the study's folder. So a study that was imported, simulated or taken elsewhere
opens as one that was taken here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.errors import ExperimentError, StudyTablesError
from analysis.fieldtables import FieldTables, read_session_table, session_dendrites
from analysis.followed import FollowedSpine
from analysis.gallery import draw_gallery
from analysis.model import SpineState
from analysis.reviewtables import read_reviewed, review_of
from analysis.stack import read_stack
from analysis.study.finding import NotComputable
from analysis.study.tables import (
    ANIMAL_COLUMNS,
    BEHAVIOUR_COLUMNS,
    PHASE_COLUMNS,
    SESSION_COLUMNS,
    SPINE_COLUMNS,
    STRETCH_COLUMNS,
    StudyTables,
)
from analysis.tables import SESSIONS_FILE, STRETCHES_FILE
from analysis.tables import SPINE_COLUMNS as FIELD_SPINE_COLUMNS

PHASES_FILE, BEHAVIOUR_FILE = "phases.csv", "behaviour.csv"
NO_GROUP = ""
_ALONG, _SIZE, _KIND, _SIZE_SD, _SATURATED = (
    FIELD_SPINE_COLUMNS.index(name) for name in ("along_um", "head_size_ratio", "kind", "head_size_sd", "saturated")
)
NOT_THERE = ("", np.nan, np.nan, False)
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class _Field:
    """One field: the days of its sessions by name, its spines, and what was measured of them by session and track."""

    animal: str
    name: str
    days: dict[str, float]
    spines: tuple[FollowedSpine, ...]
    measured: dict[tuple[int, int], tuple[Any, ...]]
    stretches: pd.DataFrame
    unplaced: tuple[str, ...] = ()


def open_study(folder: Path | str) -> StudyTables:
    """Read the tables of a study.

    Every session of an animal gets one number, in the order of the days, whichever fields were taken in it.

    Parameters
    ----------
    folder
        The study: the folder that holds ``study.json``.

    Raises
    ------
    StudyTablesError
        When the folder is no study, a record cannot be read, or no field is analysed. A field whose tables cannot be
        read is left out, and said in ``dropped``.
    """
    folder = Path(folder)
    record = _read_json(folder / "study.json", f"{folder} is no study; make one with 'samefield new-study {folder}'")
    groups = {_name_of(path): str(_read_json(path).get("group", NO_GROUP)) for path in _animal_files(folder)}
    dropped: list[str] = []
    fields = list(_fields(folder, groups, dropped))
    if not fields:
        said = "; ".join(dropped) or "no field is analysed"
        raise StudyTablesError(f"{folder} has nothing to draw: {said}; run 'samefield analyse --study {folder}'")
    order = list(dict.fromkeys([*record.get("groups", ()), *sorted(set(groups.values()))]))
    animals = sorted({each.animal for each in fields}, key=lambda animal: (order.index(groups[animal]), animal))
    numbers, sessions = _sessions(fields, animals)
    phases = _read_plain(folder / PHASES_FILE, PHASE_COLUMNS, ("first_day", "last_day"))
    behaviour = _read_plain(folder / BEHAVIOUR_FILE, BEHAVIOUR_COLUMNS, ("day", "value"))
    dropped += _unknown(PHASES_FILE, "group", phases, {"", *groups.values()})
    dropped += _unknown(BEHAVIOUR_FILE, "animal", behaviour, set(groups))
    spines = [row for each in fields for row in _spine_rows(each, numbers)]
    stretches = [row for each in fields for row in _stretch_rows(each, numbers)]
    return StudyTables(
        name=str(record.get("name", folder.name)),
        animals=pd.DataFrame([(animal, groups[animal]) for animal in animals], columns=list(ANIMAL_COLUMNS)),
        sessions=pd.DataFrame(sessions, columns=list(SESSION_COLUMNS)),
        spines=pd.DataFrame(spines, columns=list(SPINE_COLUMNS)),
        stretches=pd.DataFrame(stretches, columns=list(STRETCH_COLUMNS)),
        phases=phases,
        behaviour=behaviour,
        dropped=tuple(dropped),
    )


def field_painter(folder: Path | str) -> Callable[[str, str, int], Figure]:
    """Return what draws one dendrite of a study in its images: by animal, field and dendrite.

    It raises NotComputable when the stacks are not where the analysis saw them.
    """

    def draw(animal: str, field: str, dendrite: int) -> Figure:
        place = Path(folder) / "animals" / animal / "analysis" / field
        stores = [place.parent.parent / stack for stack in read_session_table(place)["stack"] if stack]
        missing = [store for store in stores if not store.exists()]
        tables = read_reviewed(place)
        if missing or len(stores) <= int(tables.dendrites["session"].max()):
            gone = f"{len(missing)} of them, {missing[0]} first" if missing else "the analysis names none"
            raise NotComputable(f"the stacks of {animal} {field} are not in the study ({gone})")
        return draw_gallery([read_stack(store) for store in stores], tables, dendrite)

    return draw


def _animal_files(folder: Path) -> list[Path]:
    return sorted((folder / "animals").glob("*/animal.json"))


def _name_of(file: Path) -> str:
    return file.parent.name


def _read_json(file: Path, otherwise: str = "") -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyTablesError(f"{file} cannot be read: {error}" + (f"; {otherwise}" if otherwise else "")) from error
    if not isinstance(content, dict):
        raise StudyTablesError(f"{file} holds no record but a {type(content).__name__}; restore it from a backup")
    return content


def _read_plain(file: Path, columns: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Read a table that a person wrote; an empty one when there is none. A column of words may be left out."""
    if not file.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
        missing = [name for name in columns if name not in table.columns and name not in {"group", "task"}]
        if missing:
            raise StudyTablesError(f"{file} lacks the column {', '.join(missing)}; it needs {', '.join(columns)}")
        table = table.reindex(columns=list(columns), fill_value="").map(str.strip)
        return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})
    except (OSError, ValueError) as error:
        raise StudyTablesError(f"{file} cannot be read: {error}; it needs the columns {', '.join(columns)}") from error


def _unknown(file: str, column: str, table: pd.DataFrame, known: set[str]) -> list[str]:
    """Tell of names in a person's table that the study does not have: their rows count nowhere."""
    strange = sorted(set(table[column].astype(str)) - known)
    has = ", ".join(sorted(known - {""})) or "none"
    return [f"{file}: no {column} of the study is called {name!r}; it has {has}" for name in strange]


# ---- fields ----------------------------------------------------------------------------------------------------------


def _fields(folder: Path, animals: Iterable[str], dropped: list[str]) -> Iterator[_Field]:
    for animal in animals:
        for tables in sorted((folder / "animals" / animal / "analysis").glob("*/tracks.csv")):
            try:
                field = _read_field(folder, animal, tables.parent)
            except ExperimentError as error:
                dropped.append(f"{animal} {tables.parent.name} is left out: {error}")
                continue
            dropped += [f"{animal} {field.name}: a decision is not applied: {why}" for why in field.unplaced]
            yield field


def _read_field(folder: Path, animal: str, place: Path) -> _Field:
    review = review_of(place)
    days = _days(folder / "animals" / animal / "sessions", place)
    described = review.spines[list(FIELD_SPINE_COLUMNS)].itertuples(index=False, name=None)
    measured = {(int(row[0]), int(row[1])): row for row in described}
    stretches = _stretches(place, review, len(days))
    return _Field(animal, place.name, days, review.shown, measured, stretches, review.unplaced)


def _days(sessions: Path, place: Path) -> dict[str, float]:
    """Return the day of every session of a field by its name: as the session says, else as the table beside it."""
    days = {}
    for name, day in read_session_table(place)[["name", "day"]].itertuples(index=False, name=None):
        record = sessions / name / "session.json"
        days[name] = float(_read_json(record)["day"]) if record.is_file() else float(day)
    if unknown := [name for name, day in days.items() if not np.isfinite(day)]:
        file = place / SESSIONS_FILE
        raise StudyTablesError(
            f"the day of session {', '.join(unknown)} is not known; write it into {file}, column day"
        )
    return days


def _stretches(place: Path, tables: FieldTables, sessions: int) -> pd.DataFrame:
    """Return the scorable pieces of the dendrites; the whole of each where the analysis did not say."""
    file = place / STRETCHES_FILE
    if file.is_file():
        return pd.read_csv(file)
    rows = [
        (session, name, 0.0, float(dendrite.along_um[-1]))
        for session in range(sessions)
        for name, dendrite in session_dendrites(tables, session).items()
    ]
    return pd.DataFrame(rows, columns=["session", "dendrite", "from_um", "to_um"])


# ---- rows of the study -----------------------------------------------------------------------------------------------


def _sessions(fields: Sequence[_Field], animals: Sequence[str]) -> tuple[dict[tuple[str, str], int], Rows]:
    """Count the sessions of every animal by day; return the numbers by animal and name, and the rows."""
    numbers: dict[tuple[str, str], int] = {}
    rows: Rows = []
    for animal in animals:
        known = {name: day for each in fields if each.animal == animal for name, day in each.days.items()}
        for number, (name, day) in enumerate(sorted(known.items(), key=lambda item: (item[1], item[0]))):
            numbers[animal, name] = number
            rows.append((animal, number, day))
    return numbers, rows


def _spine_rows(each: _Field, numbers: dict[tuple[str, str], int]) -> Iterator[tuple[Any, ...]]:
    session_numbers = [numbers[each.animal, name] for name in each.days]
    along_um = {track: float(row[_ALONG]) for (_, track), row in each.measured.items()}
    for spine in each.spines:
        key = (each.animal, each.name, spine.dendrite, spine.track_id)
        for own, (session, state) in enumerate(zip(session_numbers, spine.states, strict=True)):
            row = each.measured.get((own, spine.track_id))
            described: tuple[Any, ...] = NOT_THERE
            if row is not None and state is SpineState.PRESENT:
                described = (str(row[_KIND]), row[_SIZE], row[_SIZE_SD], bool(row[_SATURATED]))
            probability = float(spine.probability[own])
            yield (*key, session, along_um[spine.track_id], state.value, probability, *described)


def _stretch_rows(each: _Field, numbers: dict[tuple[str, str], int]) -> Iterator[tuple[Any, ...]]:
    """Return the pieces of the sessions that show anything: where every spine is unscorable, none could be judged."""
    names = list(each.days)
    seen = np.array([[state is not SpineState.UNSCORABLE for state in spine.states] for spine in each.spines])
    for session, dendrite, start, end in each.stretches.itertuples(index=False, name=None):
        if not len(seen) or seen[:, int(session)].any():
            yield (each.animal, each.name, int(dendrite), numbers[each.animal, names[int(session)]], start, end)
