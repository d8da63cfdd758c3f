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
from acquire.model import (
    AnimalRecord,
    FieldRecord,
    RelocationRecord,
    SessionRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
)
from acquire.opening import open_rig
from acquire.pictures import map_section, relocation_section
from acquire.rig import Rig
from acquire.session import Session
from acquire.store import Study, refuse_used_folder
from analysis.field import FieldAnalysis
from analysis.fieldtables import interval_counts
from analysis.model import Verdict
from analysis.page import Report, Section, write_report
from analysis.report import field_report
from analysis.score import DetectionScore, FateScore, score_detection, score_fates
from analysis.stack import read_stack

ANIMAL = "M001"
MOST_DAYS = 1000
# Recorded stacks are taken nearly whole, with about the pixels they were recorded with.
RECORDED_PLAN = StackPlan(field_of_view_um=110.0, pixels=912, depth_um=56.0, frames_per_plane=1)
RELOCATION_TEXT = (
    "How far, on average over the field, the tissue lies from where the reference had it, when the stack is taken: "
    "against the truth of the simulated sample (a dash where it is not known). Rig time is that of the simulation."
)
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

    def relocation_table(self) -> pd.DataFrame:
        """Return the relocations, one a row, with the errors against the truth in um (nan: not known)."""
        return relocation_table(self.relocations)

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


def relocation_table(results: Sequence[RelocationResult]) -> pd.DataFrame:
    """Return relocations as a table, one a row; nan where the truth is not known."""
    rows = [
        (
            f"{each.day:g}",
            each.field,
            str(each.verdict),
            np.nan if each.lateral_error_um is None else round(each.lateral_error_um, 2),
            np.nan if each.axial_error_um is None else round(each.axial_error_um, 2),
            each.stacks,
            round(each.rig_s, 1),
            round(each.compute_s, 1),
        )
        for each in results
    ]
    columns = ["day", "field", "verdict", "lateral_um", "axial_um", "overviews", "rig_s", "compute_s"]
    return pd.DataFrame(rows, columns=columns)


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
    refuse_used_folder(folder)
    if plan.days is not None and not (
        min(plan.days) >= 0 and max(plan.days) <= MOST_DAYS and np.all(np.diff(plan.days) > 0)
    ):
        given = " ".join(f"{day:g}" for day in plan.days)
        raise StudyError(f"days {given} must rise from 0 to at most {MOST_DAYS}; sort them")
    with open_rig(plan.config()) as rig, Study.create(folder, StudyRecord(name="demo")) as study:
        study.new_animal(AnimalRecord(id=ANIMAL, group="demo"))
        days = _days(plan, rig)
        course = _Course(study, rig, days, progress)
        for number in range(len(days)):
            course.sit(number, plan.fields)
        spines, fates = course.scores()
        report = write_report(folder / "report.html", course.report())
        progress("done", 1.0)
        return DemoResult(
            seed=plan.seed,
            seconds=time.perf_counter() - started,
            report=report,
            study=folder,
            relocations=tuple(course.results),
            spines=spines,
            fates=fates,
            counts=course.counts(),
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
        self._share_done = 0.0
        self._analyses: dict[str, FieldAnalysis] = {}
        self._records: list[tuple[FieldRecord, SessionRecord, RelocationRecord]] = []

    def sit(self, number: int, fields: int | None) -> None:
        """Hold one session: the first keeps the fields, the later ones find them again; all take stacks."""
        day = self._days[number]

        def show(what: str, _share: float) -> None:
            self._progress(f"day {day:g}: {what}", self._share_done)

        started = FIRST_DAY + timedelta(days=day)
        with Session.open(
            self._study, ANIMAL, self._rig, experimenter="demo", day=day, started=started, new=True, progress=show
        ) as session:
            session.map_surface()
            if number == 0:
                self._keep_fields(session, fields)
            kept = self._study.animal(ANIMAL).fields
            for index, field in enumerate(kept):
                self._share_done = (number + index / len(kept)) / len(self._days)
                if number > 0 and self._find(session, number, field) is not Verdict.FOUND:
                    continue
                session.take_stack(field.name)
                if number > 0:
                    self._analyses[field.name] = session.analyse(field.name)
            session.close()

    def _keep_fields(self, session: Session, count: int | None) -> None:
        recorded = self._sample.sample_days is not None
        for x, y, z in self._sample.good_places(count or (1 if recorded else 2)):
            self._rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            session.new_field(plan=RECORDED_PLAN if recorded else None)

    def _find(self, session: Session, number: int, field: FieldRecord) -> Verdict:
        record = session.relocate(field.name)
        lateral_um = axial_um = None
        extent_um = field.plan.extent_zyx_um
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

    # ---- the end -----------------------------------------------------------------------------------------------

    def _sessions_of(self, field: FieldRecord) -> list[tuple[SessionRecord, Path]]:
        return self._study.stacks(ANIMAL, field.name)

    def _truth(self, field: FieldRecord) -> list[pd.DataFrame] | None:
        """Return the true spines of every stack of a field, a table a session; None when they are not known."""
        tables = []
        for session, store in self._sessions_of(field):
            stack = read_stack(store)
            centre = StagePosition.model_validate(stack.provenance["stage"])
            planes, height, width = stack.pixels.shape
            truth = self._sample.true_spines(session.number, centre.xyz_um, (planes, height, width), stack.voxel_um)
            if truth is None or truth.empty:
                return None
            tables.append(truth)
        return tables

    def scores(self) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Return spine and fate scores over all fields, against the truth of the sample; None where none is known."""
        detections, fates = [], []
        for field in self._study.animal(ANIMAL).fields:
            truth, analysis = self._truth(field), self._analyses.get(field.name)
            if truth is None or analysis is None:
                continue
            for number, table in enumerate(truth):
                spines = analysis.spines[analysis.spines["session"] == number]
                detections.append(score_detection(spines, table))
            fates.append(score_fates(analysis.tracks, truth, analysis.fates))
        return _pooled(detections), _averaged(fates)

    def counts(self) -> pd.DataFrame:
        """Return spines gained and lost by field and interval."""
        rows = []
        for field in self._study.animal(ANIMAL).fields:
            analysis = self._analyses.get(field.name)
            if analysis is None:
                continue
            days = [session.day for session, _ in self._sessions_of(field)]
            table = interval_counts(analysis.fates)
            table.insert(0, "field", field.name)
            ends = zip(table.pop("from_session"), table.pop("to_session"), strict=True)
            table.insert(1, "days", [f"{days[first]:g} to {days[last]:g}" for first, last in ends])
            rows.append(table.round(1))
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["field", "days"])

    def report(self) -> Report:
        """Put the whole course on one page."""
        fields = self._study.animal(ANIMAL).fields
        first = self._study.sessions(ANIMAL)[0]
        sections = [
            Section("Spines gained and lost", table=self.counts()),
            Section("Fields found again", RELOCATION_TEXT, relocation_table(self.results)),
            map_section(self._study, first, fields, self._rig.config.orientation),
        ]
        for field in fields:
            found = [(session, record) for each, session, record in self._records if each.name == field.name]
            sections.append(relocation_section(self._study, field, first, found))
            analysis = self._analyses.get(field.name)
            if analysis is not None:
                stacks = [read_stack(store) for _, store in self._sessions_of(field)]
                for section in field_report(stacks, analysis).sections:
                    heading = f"Field {field.name}: {section.heading.lower()}"
                    sections.append(Section(heading, section.text, section.table, section.figures))
        subtitle = f"{len(self._days)} sessions, {len(fields)} fields"
        recorded = self._sample.sample_days is not None
        warnings = ["The dendrites were recorded; the vessels and the mounting of the head are simulated."]
        return Report("The demo: a study on simulated hardware", sections, subtitle, warnings if recorded else ())


def _pooled(scores: Sequence[DetectionScore]) -> dict[str, float | None]:
    """Return precision, recall and F1 over all stacks together."""
    hits, predicted, truth = (sum(getattr(score, name) for score in scores) for name in ("hits", "predicted", "truth"))
    return {
        "f1": 2 * hits / (predicted + truth) if predicted + truth else None,
        "precision": hits / predicted if predicted else None,
        "recall": hits / truth if truth else None,
    }


def _averaged(scores: Sequence[FateScore]) -> dict[str, float | None]:
    """Return the fate scores, mean over the fields that have them."""
    names = ("gained_f1", "lost_f1", "identity_accuracy")
    known = {name: [value for score in scores if (value := getattr(score, name)) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}
