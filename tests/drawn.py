"""A field whose tables are drawn, not measured: a straight dendrite, a spine every 3 um, known states in 3 sessions."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from acquire.images import ImageProvenance, StackWriter
from acquire.model import (
    AnimalRecord,
    FieldRecord,
    PlaneRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
    TakenPlane,
    utc_now,
)
from acquire.store import Study
from analysis.edits import Place
from analysis.fieldtables import SavedTables, session_table, write_sessions
from analysis.followed import AnalysedField
from analysis.model import SpineState
from analysis.presence import Presence
from analysis.tables import (
    DENDRITE_COLUMNS,
    FATE_COLUMNS,
    SPINE_COLUMNS,
    TRACK_COLUMNS,
    make_table,
    write_table,
)

P, A, U = SpineState.PRESENT, SpineState.ABSENT, SpineState.UNSCORABLE
NAMES = ("monday", "friday", "sunday")
SHIFT_UM = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, -1.0], [-0.5, 3.0, 4.0]])
STATES = ((P, P, P), (P, A, A), (A, P, P), (P, U, P), (P, P, A), (A, A, P), (U, P, P))
APART_UM = 3.0
PLAN = StackPlan(field_of_view_um=48.0, pixels=240, depth_um=10.0, step_um=1.0)
BLUR_UM = np.array([1.2, 0.3, 0.3])


@dataclass(frozen=True)
class Drawn:
    """Tables, and the states that they were made of."""

    tables: SavedTables
    states: tuple

    def head(self, spine, session):
        return np.array([5.0, 10.0 + (1.5 if spine % 2 else -1.5), 2.0 + APART_UM * spine]) + SHIFT_UM[session]

    def place(self, spine, session):
        return Place(session=NAMES[session], head_zyx_um=tuple(self.head(spine, session)), dendrite=0)

    def places(self, spine):
        return tuple(self.place(spine, s) for s in range(3) if self.states[spine][s] is P)

    @property
    def field(self):
        return AnalysedField(self.tables, NAMES)

    def light(self, session):
        """Draw the stack of a session: shaft and the heads that are there."""
        z, y, x = (
            np.arange(n) * um for n, um in zip((PLAN.planes, PLAN.pixels, PLAN.pixels), PLAN.voxel_um, strict=True)
        )
        shaft = SHIFT_UM[session] + [5.0, 10.0, 0.0]
        away = np.hypot((z - shaft[0])[:, None, None] / 1.5, (y - shaft[1])[None, :, None] / 0.5)
        light = np.exp(-0.5 * away**2) * np.ones(len(x))
        for spine, row in enumerate(self.states):
            if row[session] is P:
                dz, dy, dx = (
                    np.exp(-0.5 * ((axis - at) / blur) ** 2)
                    for axis, at, blur in zip((z, y, x), self.head(spine, session), BLUR_UM, strict=True)
                )
                light += dz[:, None, None] * dy[None, :, None] * dx
        noise = np.random.default_rng(session).normal(100, 10, light.shape)
        return np.clip(noise + 1500 * light, 0, 4095).astype(np.uint16)


def drawn(states=STATES) -> Drawn:
    """Return the tables of a field with these states, one row a spine."""
    figure = Drawn(None, tuple(states))
    probability = np.array([[{P: 0.9, A: 0.1, U: 0.4}[s] for s in row] for row in states]).reshape(-1, 3)
    presence = Presence(probability, np.array(states, dtype=object).reshape(-1, 3))
    line = np.stack([np.full(200, 5.0), np.full(200, 10.0), np.linspace(0, 40, 200)], axis=1)
    dendrites = [(s, 0, *point) for s in range(3) for point in (line + SHIFT_UM[s]).tolist()]
    spines, tracks = [], []
    for track, row in enumerate(states):
        for session, state in enumerate(row):
            if state is P:
                head = figure.head(track, session)
                base = (head[0], 10.0 + SHIFT_UM[session][1], head[2])
                measures = (head[2], 1.5, "right" if track % 2 else "left", 0.8, "spine", 0.9, P, 0.1, False)
                spines.append((session, track, 0, *head, *base, *measures))
                tracks.append((session, track, *head, P, 0.9))
    spines.sort(key=lambda row: row[:2])
    told = ((s, track, presence.fate(track, s)) for s in range(2) for track in range(len(states)))
    fates = [(s, s + 1, track, *fate) for s, track, fate in told if fate is not None]
    tables = SavedTables(
        make_table(spines, SPINE_COLUMNS),
        make_table(dendrites, DENDRITE_COLUMNS),
        make_table(tracks, TRACK_COLUMNS),
        make_table(fates, FATE_COLUMNS),
    )
    return replace(figure, tables=tables)


def write_tables(field: Drawn, folder: Path) -> None:
    """Write the four tables as an analysis does."""
    for name in ("spines", "dendrites", "tracks", "fates"):
        write_table(getattr(field.tables, name), folder / f"{name}.csv")


def make_drawn_study(folder: Path, field: Drawn) -> Study:
    """Make a study with the stacks and the analysis of a drawn field."""
    study = Study.create(folder, StudyRecord(name="drawn", plan=PLAN))
    study.new_animal(AnimalRecord(id="M1", group=""))
    stage = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    sessions = [study.new_session("M1", rig="drawn", day=float(day)) for day in (0, 4, 6)]
    study.save_field("M1", FieldRecord(name="F01", plan=PLAN, position=stage, reference_session=sessions[0].name))
    stores = []
    for number, session in enumerate(sessions):
        provenance = ImageProvenance(
            kind="stack", animal="M1", session=session.name, day=session.day, rig={}, stage=stage, field="F01",
            plan=PLAN, saturation=4095,
        )  # fmt: skip
        stores.append(study.new_store(session, "F01", "stack"))
        with StackWriter(stores[-1], PLAN, provenance) as writer:
            for plane, pixels in enumerate(field.light(number)):
                record = PlaneRecord(
                    plane=plane, time=utc_now(), stage=stage, power_mw=1.0, power_setting=0.1, exposure_ms=1.0,
                    pmt_gain=1.0, zoom=2.0, frames=1, crc32=zlib.crc32(np.ascontiguousarray(pixels).tobytes()),
                )  # fmt: skip
                writer.append(TakenPlane(pixels, (pixels,), record))
    analysis = study.analysis_folder("M1", "F01")
    write_tables(field, analysis)
    stacks = [store.relative_to(study.animal_folder("M1")).as_posix() for store in stores]
    names, days = [session.name for session in sessions], [session.day for session in sessions]
    write_sessions(analysis, session_table(names, days, stacks))
    return study
