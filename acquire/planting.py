"""A simulated study on disk, as if it had been taken and analysed: records, sessions, tables; no images.

What is true of it is in :mod:`analysis.study.plan`. It is for seeing what the figures say when the answer is known.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from acquire.files import writing
from acquire.model import AnimalRecord, FieldRecord, SessionRecord, StagePosition, StudyRecord
from acquire.store import Study
from analysis.model import SpineState
from analysis.presence import Presence
from analysis.study.opening import BEHAVIOUR_FILE, PHASES_FILE
from analysis.study.plan import PlantedPlan
from analysis.study.planted import plant_study
from analysis.study.tables import StudyTables
from analysis.tables import (
    DENDRITE_COLUMNS,
    FATE_COLUMNS,
    FATES_FILE,
    SESSION_COLUMNS,
    SESSIONS_FILE,
    SPINE_COLUMNS,
    STATE_COLUMNS,
    STATES_FILE,
    STRETCH_COLUMNS,
    STRETCHES_FILE,
    TRACK_COLUMNS,
    make_table,
    write_table,
)

RIG = "none: simulated tables"
BEGUN = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
"""When the first session of every simulated animal began."""
FIELDS_APART_UM, DENDRITES_APART_UM, MARGIN_UM = 200.0, 10.0, 5.0
DEPTH_UM, SPINE_UM, POINTS_APART_UM = 10.0, 1.2, 2.0
"""Where simulated dendrites are drawn: straight along x, one beside the other, um."""


def plant_on_disk(folder: Path, plan: PlantedPlan, *, animals: int, seed: int) -> StudyTables:
    """Draw a study and write it as a study folder; return its tables.

    Raises
    ------
    StudyError
        The folder holds something, or cannot be written.
    """
    tables = plant_study(plan, animals, seed)
    record = StudyRecord(name=plan.name, groups=tuple(tables.groups), days=plan.days, created=BEGUN)
    with Study.create(folder, record) as study:
        for row in tables.animals.itertuples():
            _write_animal(study, tables, str(row.animal), str(row.group))
        with writing(folder):
            write_table(tables.phases, folder / PHASES_FILE)
            write_table(tables.behaviour, folder / BEHAVIOUR_FILE)
    return tables


def _write_animal(study: Study, tables: StudyTables, animal: str, group: str) -> None:
    study.new_animal(AnimalRecord(id=animal, group=group))
    days = tables.sessions.loc[tables.sessions["animal"] == animal, "day"]
    sessions = [
        study.new_session(animal, rig=RIG, day=float(day), started=BEGUN + timedelta(days=float(day))) for day in days
    ]
    for session in sessions:
        study.save_session(session.model_copy(update={"closed": session.started + timedelta(hours=1)}))
    spines, stretches = (table[table["animal"] == animal] for table in (tables.spines, tables.stretches))
    for number, (name, rows) in enumerate(spines.groupby("field", sort=True)):
        place = StagePosition(x_um=FIELDS_APART_UM * number, y_um=0.0, z_um=0.0)
        study.save_field(animal, FieldRecord(name=str(name), position=place, reference_session=sessions[0].name))
        out = study.analysis_folder(animal, str(name))
        with writing(out):
            _write_field(out, rows, stretches[stretches["field"] == name], sessions)


def _write_field(out: Path, spines: pd.DataFrame, stretches: pd.DataFrame, sessions: list[SessionRecord]) -> None:
    told = [(session.number, session.name, session.day, "") for session in sessions]
    tables = {
        "spines.csv": _spines(spines),
        "tracks.csv": _tracks(spines),
        FATES_FILE: _fates(spines),
        "dendrites.csv": _dendrites(stretches, len(sessions)),
        STATES_FILE: _states(spines),
        SESSIONS_FILE: make_table(told, SESSION_COLUMNS),
        STRETCHES_FILE: stretches[list(STRETCH_COLUMNS)],
    }
    for name, table in tables.items():
        write_table(table, out / name, parquet=True)


def _placed(spines: pd.DataFrame) -> pd.DataFrame:
    """Return the spines that are present, with the places of head and base, um."""
    there = spines[spines["state"] == SpineState.PRESENT.value]
    side = np.where(there["track"] % 2, 1.0, -1.0)
    y_um, x_um = DENDRITES_APART_UM * (there["dendrite"] + 1.0), MARGIN_UM + there["along_um"]
    return there.assign(
        base_z_um=DEPTH_UM, base_y_um=y_um, base_x_um=x_um, head_z_um=DEPTH_UM, head_y_um=y_um + side * SPINE_UM,
        head_x_um=x_um, side=np.where(side > 0, "left", "right"), length_um=SPINE_UM,
    )  # fmt: skip


def _spines(spines: pd.DataFrame) -> pd.DataFrame:
    names = {"track": "spine_id", "head_size": "head_size_ratio", "probability": "present_probability"}
    table = _placed(spines).rename(columns=names).sort_values(["session", "spine_id"])
    return table[list(SPINE_COLUMNS)]


def _tracks(spines: pd.DataFrame) -> pd.DataFrame:
    names = {"track": "track_id", "probability": "present_probability"}
    table = _placed(spines).rename(columns=names).sort_values(["session", "track_id"])
    return table[list(TRACK_COLUMNS)]


def _states(spines: pd.DataFrame) -> pd.DataFrame:
    names = {"track": "track_id", "probability": "present_probability"}
    return spines.rename(columns=names).sort_values(["session", "track_id"])[list(STATE_COLUMNS)]


def _fates(spines: pd.DataFrame) -> pd.DataFrame:
    """Return what became of every spine from one session to the next, as an analysis tells it."""
    state, probability = (spines.pivot_table(index="track", columns="session", values=name, aggfunc="first")
                          for name in ("state", "probability"))  # fmt: skip
    states = np.array([[SpineState(one) for one in row] for row in state.to_numpy()], dtype=object)
    presence = Presence(probability.to_numpy(dtype=float), states)
    rows = [
        (session, session + 1, int(track), *fate)
        for session in range(len(state.columns) - 1)
        for number, track in enumerate(state.index)
        if (fate := presence.fate(number, session)) is not None
    ]
    return make_table(rows, FATE_COLUMNS)


def _dendrites(stretches: pd.DataFrame, sessions: int) -> pd.DataFrame:
    ends = stretches.groupby("dendrite")["to_um"].max()
    rows = [
        (session, name, DEPTH_UM, DENDRITES_APART_UM * (name + 1), MARGIN_UM + float(along))
        for session in range(sessions)
        for name, end in zip(ends.index.astype(int), ends, strict=True)
        for along in np.append(np.arange(0.0, end, POINTS_APART_UM), end)
    ]
    return make_table(rows, DENDRITE_COLUMNS)
