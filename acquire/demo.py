"""The whole study on simulated hardware, with its truth at hand: days of re-mounting, finding, taking, comparing.

Only this room may look at the sample's truth, and only to print how far the program was from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from acquire.config import RigConfig, read_rig_config
from acquire.errors import RigError, StudyError
from acquire.images import stack_place
from acquire.model import (
    AnimalRecord,
    FieldRecord,
    RelocationRecord,
    SessionRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
)
from acquire.pictures import map_section, relocation_section
from acquire.rig import Rig, open_rig
from acquire.session import Session
from acquire.store import Study
from analysis.field import FieldAnalysis
from analysis.model import Verdict
from analysis.report import Report, field_report, write_report
from analysis.score import pool_detection, pool_fates, score_detection, score_fates
from analysis.stack import read_stack

ANIMAL = "M001"
FIRST_DAY = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


@runtime_checkable
class KnownSample(Protocol):
    """What the simulated rig knows of its sample: where the tissue is, which spines there are."""

    sample_days: tuple[float, ...] | None

    def good_places(self, count: int) -> list[tuple[float, float, float]]:
        """Return stage positions (x, y, z) in um that are worth imaging, under the session mounted now."""

    def displacement_um(
        self,
        reference_session: int,
        reference_xyz_um: tuple[float, float, float],
        today_session: int,
        today_xyz_um: tuple[float, float, float],
        extent_zyx_um: tuple[float, float, float],
    ) -> tuple[float, float, float] | None:
        """Return how far off (z, y, x) the tissue lies in today's stack, mean over the field, um; None: not known."""

    def true_spines(
        self,
        session: int,
        centre_xyz_um: tuple[float, float, float],
        shape: tuple[int, int, int],
        voxel_um: tuple[float, float, float],
    ) -> pd.DataFrame | None:
        """Return the true spines of a stack, in its frame; None: not known."""


@dataclass(frozen=True)
class RelocationResult:
    """One field found again on one day, against the truth."""

    day: float
    field: str
    verdict: Verdict
    lateral_error_um: float | None
    axial_error_um: float | None
    stacks: int
    rig_s: float
    compute_s: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo ends with."""

    seed: int
    seconds: float
    report: Path
    study: Path
    relocations: tuple[RelocationResult, ...]
    spines: dict[str, float | None]
    fates: dict[str, float | None]
    counts: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "report": str(self.report),
            "relocations": [
                {**vars(each), "verdict": str(each.verdict), "rig_s": round(each.rig_s, 2)} for each in self.relocations
            ],
            "spines": self.spines,
            "fates": self.fates,
        }


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does: days, fields, sample."""

    seed: int = 0
    days: tuple[float, ...] | None = None
    fields: int | None = None
    sample: str = "cortex"

    def config(self) -> RigConfig:
        """Return the simulated rig, with this seed and sample."""
        config = read_rig_config("simulated")
        settings = {**config.load_settings, "seed": self.seed, "sample": self.sample}
        return config.model_copy(update={"load_settings": settings})


def run_demo(folder: Path, plan: DemoPlan, progress: Callable[[str, float], None]) -> DemoResult:
    """Run a whole study on the simulated rig.

    Parameters
    ----------
    folder
        Where the study is made; must be missing or empty.
    plan
        Seed, days, fields, sample.
    progress
        Called with what is being done and the share of the whole that is done.
    """
    started = time.perf_counter()
    with open_rig(plan.config()) as rig, Study.create(folder, StudyRecord(name="demo")) as study:
        study.new_animal(AnimalRecord(id=ANIMAL, group="demo"))
        days = _days(plan, rig)
        course = _Course(study, rig, days, progress)
        for number in range(len(days)):
            course.sit(number, plan.fields)
        analyses = course.analyse()
        report = course.report(analyses)
        return DemoResult(
            seed=plan.seed,
            seconds=time.perf_counter() - started,
            report=report,
            study=folder,
            relocations=tuple(course.results),
            spines=course.spine_scores(analyses),
            fates=course.fate_scores(analyses),
            counts=course.counts(analyses),
        )


def _days(plan: DemoPlan, rig: Rig) -> tuple[float, ...]:
    recorded = rig.loaded.sample_days if isinstance(rig.loaded, KnownSample) else None
    if recorded is None:
        return plan.days or (0.0, 4.0, 8.0)
    if plan.days is None:
        return recorded
    if len(plan.days) > len(recorded):
        raise StudyError(f"{plan.sample} holds {len(recorded)} stacks; {len(plan.days)} days need as many")
    return plan.days


class _Course:
    """The course of the demo: session after session, then the comparison."""

    def __init__(self, study: Study, rig: Rig, days: Sequence[float], progress: Callable[[str, float], None]) -> None:
        if not isinstance(rig.loaded, KnownSample):
            raise RigError("the demo needs a simulated rig whose sample can be re-mounted")
        self.results: list[RelocationResult] = []
        self._study, self._rig, self._days, self._progress = study, rig, days, progress
        self._sample = rig.loaded
        self._records: list[tuple[FieldRecord, SessionRecord, RelocationRecord]] = []

    def sit(self, number: int, fields: int | None) -> None:
        """Hold one session: the first keeps the fields, the later ones find them again; all take stacks."""
        day = self._days[number]

        def show(what: str, share: float) -> None:
            self._progress(f"day {day:g}: {what}", (number + min(share, 1.0) * 0.01) / (len(self._days) + 1))

        started = FIRST_DAY + timedelta(days=day)
        with Session.open(
            self._study, ANIMAL, self._rig, experimenter="demo", day=day, started=started, new=True, progress=show
        ) as session:
            session.map_surface()
            if number == 0:
                self._keep_fields(session, fields)
            for field in self._study.animal(ANIMAL).fields:
                if number > 0 and self._find(session, number, field) is not Verdict.FOUND:
                    continue
                session.take_stack(field.name)
            session.close()

    def _keep_fields(self, session: Session, count: int | None) -> None:
        wanted = count or (2 if self._sample.sample_days is None else 1)
        for x, y, z in self._sample.good_places(wanted):
            self._rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            session.new_field()

    def _find(self, session: Session, number: int, field: FieldRecord) -> Verdict:
        record = session.relocate(field.name)
        lateral_um = axial_um = None
        plan = field.plan
        extent_um = (plan.depth_um, plan.field_of_view_um, plan.field_of_view_um)
        truth = self._sample.displacement_um(0, field.position.xyz_um, number, record.position.xyz_um, extent_um)
        if truth is not None:
            lateral_um, axial_um = float(np.hypot(truth[1], truth[2])), abs(float(truth[0]))
        self._records.append((field, session.record, record))
        self.results.append(
            RelocationResult(
                day=self._days[number],
                field=field.name,
                verdict=record.verdict,
                lateral_error_um=lateral_um,
                axial_error_um=axial_um,
                stacks=len(record.steps),
                rig_s=record.rig_s,
                compute_s=record.compute_s,
            )
        )
        return record.verdict
