"""Fields of one simulated mouse over re-mounted sessions: stacks as the program takes them, with their truth."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tallies import Truth

from acquire.config import RigConfig, read_rig_config
from acquire.model import AnimalRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study
from analysis.model import Stack, Verdict
from analysis.stack import read_stack
from devices import truth
from devices.simulated import SimulatedRig

ANIMAL = "M1"
DAYS = (0.0, 0.0, 4.0, 8.0)  # the first day twice, the head re-mounted between: nothing truly came or went
REPEATS = tuple(f"{n}-{n + 1}" for n, (day, following) in enumerate(pairwise(DAYS)) if day == following)
FIRST_DAY = datetime(2026, 1, 1, 8, tzinfo=UTC)
SITTING = timedelta(hours=1)
PLAN = StackPlan(keep_frames=False)


@dataclass(frozen=True, eq=False)
class Restudied:
    """One field: its stacks in the order of the sessions, and what is true in them."""

    name: str
    stacks: list[Stack]
    truth: Truth


def restudy(seed: int, fields: int) -> Iterator[Restudied]:
    """Keep fields of one animal, and take them again in every later session in which each of them was found."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_rig(_config_of(seed)) as rig,
        Study.create(Path(folder) / "study", StudyRecord(name="spines")) as study,
    ):
        study.new_animal(AnimalRecord(id=ANIMAL))
        for number, day in enumerate(DAYS):
            started = FIRST_DAY + timedelta(days=day) + number * SITTING
            with Session.open(study, ANIMAL, rig, day=day, started=started, new=True) as session:
                session.map_surface()
                if number == 0:
                    for x, y, z in rig.loaded.good_places(fields):
                        rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
                        session.new_field(plan=PLAN)
                for field in study.animal(ANIMAL).fields:
                    if number == 0 or session.relocate(field.name).verdict == Verdict.FOUND:
                        session.take_stack(field.name)
                session.close()
        for field in study.animal(ANIMAL).fields:
            stores = study.stacks(ANIMAL, field.name)
            if len(stores) == len(DAYS):
                stacks = [read_stack(store) for _, store in stores]
                yield Restudied(field.name, stacks, _truth(rig.loaded, stacks))


def _config_of(seed: int) -> RigConfig:
    config = read_rig_config("simulated")
    settings: dict[str, Any] = {**config.load_settings, "seed": seed, "shutter_file": None, "realtime": False}
    return config.model_copy(update={"load_settings": settings, "watchdog": None})


def _truth(loaded: SimulatedRig, stacks: list[Stack]) -> Truth:
    """Return the truth of the stacks, all of a field as one part."""
    spines, lines, seen = [], [], []
    for session, (day, stack) in enumerate(zip(DAYS, stacks, strict=True)):
        centre = StagePosition.model_validate(stack.provenance["stage"]).xyz_um
        orientation = loaded.scene.image_orientation
        frame = truth.StackFrame.at(centre, orientation, stack.pixels.shape, stack.voxel_um)
        pose = loaded.pose(session)
        ever = [truth.spines_in(loaded.sample, pose, each, frame) for each in sorted(set(DAYS))]
        everywhere = pd.concat(ever)
        seen.append(set(everywhere.loc[everywhere["scorable"], "spine_id"]))
        spines.append(ever[sorted(set(DAYS)).index(day)].assign(part=0))
        lines.append(truth.dendrites_in(loaded.sample, pose, frame).assign(part=0))
    return Truth(spines, lines, seen, True)


def turnover(field: Restudied) -> float:
    """Return (gained + lost) / (before + after) between two days, the mean over all, as the truth has it."""
    shares = []
    for before, (day, following) in enumerate(pairwise(DAYS)):
        if day != following:
            inside = field.truth.seen[before] & field.truth.seen[before + 1]
            a, b = (set(field.truth.spines[n]["spine_id"]) & inside for n in (before, before + 1))
            shares.append(len(a ^ b) / max(len(a) + len(b), 1))
    return round(float(np.mean(shares)), 4)
