"""How a stack comes into the study: taken where it is asked, gone on with where it was cut short, never too much light.

This room moves nothing by itself but for a stack, and decides nothing about where a field is: the session does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from acquire import relocate
from acquire.drift import align_stack
from acquire.engine import PlanesInMemory, take_stack
from acquire.errors import RelocationError, StudyError
from acquire.files import append_line
from acquire.images import JOURNAL, ImageProvenance, StackWriter, frames_path
from acquire.meter import LightBudget
from acquire.model import (
    FieldRecord,
    PlaneRecord,
    SessionRecord,
    StackPlan,
    StagePosition,
    TakenPlane,
    TransformRecord,
)
from acquire.quality import QualityWatch, consecutive_runs
from acquire.rig import Rig
from acquire.store import LIGHT_IN_NO_PLANE, Study
from analysis.model import Stack, Verdict
from analysis.register import register_stacks
from analysis.stack import read_stack

LOOKS_FILE = f"looks{JOURNAL}"
RESUME_PLANES = 3  # saved planes that are taken again, to see whether the tissue moved
RESUME_SHIFT_UM = 5.0  # farther than this the stack is not gone on with
RESUME_SCORE = 0.3
LIGHT_AROUND_FRAMES = 1.1  # the shutter is open somewhat longer than the frames take
LEAST_LIGHT_MJ = 1e-3


class RecordKeeper(Protocol):
    """What keeps planes and says which."""

    @property
    def records(self) -> Sequence[PlaneRecord]:
        """The planes it holds."""


class LookedAtPlanes(PlanesInMemory):
    """Planes taken only to look: kept in memory, their light written down.

    Parameters
    ----------
    journal
        Where a line a plane goes.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self._journal = journal

    def append(self, taken: TakenPlane) -> None:
        """Keep one plane."""
        append_line(self._journal, taken.record.model_dump_json())
        super().append(taken)


class StackTaker:
    """Takes the stacks of one session into the study.

    Parameters
    ----------
    study
        The opened study.
    session
        The session that the stacks belong to.
    rig
        The opened rig.
    progress
        Called with what is being done and its share done (0 to 1).
    """

    def __init__(self, study: Study, session: SessionRecord, rig: Rig, progress: Callable[[str, float], None]) -> None:
        self.study, self.record, self.rig, self._progress = study, session, rig, progress

    def reference_overview(self, field: FieldRecord) -> Stack:
        """Return the overview that was taken when the field was kept."""
        return read_stack(self.reference_store(field))

    def reference_store(self, field: FieldRecord) -> Path:
        """Return where that overview is.

        Raises
        ------
        RelocationError
            When it is missing or was cut short.
        """
        session = self.study.session(self.record.animal, field.reference_session)
        store = self.study.store_at(session, field.name, "overview", field.position)
        if store is None:
            raise RelocationError(
                f"field {field.name} has no complete overview in session {session.name}; keep it anew"
            )
        return store

    def take(
        self,
        field: FieldRecord,
        kind: str,
        position: StagePosition,
        plan: StackPlan,
        reference_from_today: TransformRecord | None = None,
    ) -> Path:
        """Take one stack into the study; whatever happens, it is readable and says whether it is whole."""
        plan = self.rig.set_scan(self.limited(plan))
        if refusal := self.rig.why_not(position, plan):
            raise RelocationError(f"{kind} of {field.name} refused: {refusal}")
        self._refuse_overdose(field, plan)
        provenance = self.provenance(kind, position, field, plan, reference_from_today)
        path = self.study.new_store(self.record, field.name, kind)
        writer = StackWriter(path, plan, provenance)
        with self._counting_light(field, writer) as budget, writer:
            watch = self._watch()
            progress = self._stack_progress(field, kind, watch)
            take_stack(self.rig, plan, position, [writer, watch], progress=progress, budget=budget)
        return path

    def limited(self, plan: StackPlan) -> StackPlan:
        """Return a plan with its power capped by the animal's own limit."""
        limit_mw = self.study.animal(self.record.animal).power_limit_mw
        if limit_mw is None:
            return plan
        changes = {name: min(getattr(plan, name), limit_mw) for name in ("power_mw", "power_limit_mw")}
        return plan.model_copy(update=changes)

    def resume(self, field: FieldRecord, store: Path) -> Path:
        """Take the missing planes of a stack, after the stage was moved to where its saved planes are now."""
        had_frames = frames_path(store).exists()
        writer = StackWriter.reopen(store)
        if not writer.missing:  # cut short when nothing was left but to say so, or to judge it
            return self._end(writer)
        if frames_path(store).exists() and not had_frames:
            self._log("raw frames were taken away", store=store.name, lost=len(writer.records))
        if writer.records:
            where = self._where_the_tissue_is(field, writer, writer.missing)
        else:
            where = writer.stage
            self._refuse_overdose(field, self.rig.set_scan(self.limited(writer.plan)), writer.missing)
        return self._fill(field, writer, where)

    def retake(self, field: FieldRecord, store: Path, planes: Sequence[int]) -> Path:
        """Take planes of a whole stack again: into a new stack, which has the others as they were.

        Raises
        ------
        RelocationError
            When the stack has no such planes, or its tissue is not recognised any more.
        StudyError
            When the stack or its journal is damaged.
        """
        whole = StackWriter.reopen(store)
        if whole.missing:
            raise StudyError(f"the journal of {store} lacks {len(whole.missing)} of its planes; take a new stack")
        last = whole.plan.planes - 1
        if not planes or not 0 <= min(planes) <= max(planes) <= last:
            raise RelocationError(f"{store.name} has the planes 0 to {last}, not {sorted(planes)}; name some of those")
        where = self._where_the_tissue_is(field, whole, planes)
        path = self.study.new_store(self.record, field.name, "stack")
        return self._fill(field, StackWriter.retaking(path, whole, planes), where)

    def _end(self, writer: StackWriter) -> Path:
        with writer:
            return writer.path

    def _fill(self, field: FieldRecord, writer: StackWriter, position: StagePosition) -> Path:
        """Take the planes that a stack lacks, with the plan that it was begun with."""
        with self._counting_light(field, writer) as budget, writer:
            plan = self.rig.set_scan(self.limited(writer.plan))
            watch = self._watch()
            progress = self._stack_progress(field, "stack", watch)
            missing = writer.missing
            take_stack(self.rig, plan, position, [writer, watch], progress=progress, planes=missing, budget=budget)
        return writer.path

    def _where_the_tissue_is(self, field: FieldRecord, seen: StackWriter, wanted: Sequence[int]) -> StagePosition:
        """Take the richest saved planes of a stack again, before others are; return where its middle is now."""
        plan = self.rig.set_scan(self.limited(seen.plan))
        saved = longest_run([record.plane for record in seen.records])
        before = seen.planes(saved)
        first = richest_planes(before, RESUME_PLANES)
        again = LookedAtPlanes(seen.path.with_name(LOOKS_FILE))
        looked_at = saved[first : first + RESUME_PLANES]
        self._refuse_overdose(field, plan, [*looked_at, *wanted])
        with self._counting_light(field, again) as budget:
            take_stack(self.rig, plan.of_first_channel(), seen.stage, [again], planes=looked_at, budget=budget)
        moved = align_stack(before, np.stack(again.planes), plan.voxel_um, RESUME_SHIFT_UM, first_plane=first)
        self._log("resume", field=field.name, store=seen.path.name, shift_zyx_um=moved.shift_zyx_um, score=moved.score)
        shift = moved.shift_zyx_um if moved.score >= RESUME_SCORE else self._shift_of_overview(field, seen)
        return seen.stage.moved(*self.rig.config.orientation.stage_offset_um(shift))

    def _shift_of_overview(self, field: FieldRecord, seen: StackWriter) -> tuple[float, float, float]:
        """Return how far the field lies from where a stack was begun, by an overview: saved planes show too little."""
        overview = read_stack(self.take(field, "overview", seen.stage, field.overview_plan))
        registration = register_stacks(self.reference_overview(field), overview)
        shift = relocate.offset_zyx_um(registration.reference_from_today, field.overview_plan)
        self._log("resume by overview", field=field.name, verdict=registration.verdict, shift_zyx_um=shift)
        if registration.verdict is not Verdict.FOUND or np.linalg.norm(shift) > RESUME_SHIFT_UM:
            raise RelocationError(
                f"the tissue of {seen.path.name} is not recognised ({registration.verdict}, score "
                f"{registration.score:.2f}, {np.linalg.norm(shift):.1f} um off, limit {RESUME_SHIFT_UM:.1f} um); "
                f"relocate {field.name} and take a new stack"
            )
        return shift

    def _watch(self) -> QualityWatch:
        return QualityWatch(self.rig.config.scan.saturation)

    def _stack_progress(self, field: FieldRecord, kind: str, watch: QualityWatch) -> Callable[[int, int], None]:
        def tell(done: int, planes: int) -> None:
            fault = f": {watch.says}" if watch.says else ""
            self._progress(f"{field.name} {kind}{fault}", done / planes)

        return tell

    @contextmanager
    def _counting_light(self, field: FieldRecord, keeper: RecordKeeper) -> Iterator[LightBudget]:
        """Give what the planes of the block may cost; write down the light that ended in none of them."""
        limit_mj, before_mj = field.plan.dose_limit_mj, _dose_mj(keeper)
        left_mj = math.inf if limit_mj is None else limit_mj - self.study.dose_mj(self.record, field.name)
        budget = LightBudget(lambda: self.rig.lit, left_mj)
        try:
            yield budget
        finally:
            lost_mj = budget.spent_mj - (_dose_mj(keeper) - before_mj)
            if lost_mj > LEAST_LIGHT_MJ:
                try:
                    self._log(LIGHT_IN_NO_PLANE, field=field.name, mj=round(lost_mj, 4))
                except StudyError as error:  # a full disk; what stopped the stack matters more
                    self.rig.alarms.append(f"{lost_mj:.1f} mJ in {field.name} are in no plane and not logged: {error}")

    def _refuse_overdose(self, field: FieldRecord, plan: StackPlan, planes: Sequence[int] | None = None) -> None:
        """Raise when the planes would bring the field's light of this session above the plan's limit."""
        if field.plan.dose_limit_mj is None:
            return
        so_far = self.study.dose_mj(self.record, field.name)
        powers = [plan.plane_power_mw(plane) for plane in (range(plan.planes) if planes is None else planes)]
        more = LIGHT_AROUND_FRAMES * sum(powers) * self.rig.lit_ms(plan) / 1000 * plan.frames_per_plane
        if so_far + more > field.plan.dose_limit_mj:
            raise RelocationError(
                f"{field.name} has had {so_far:.1f} mJ in this session and the stack needs {more:.1f} mJ, "
                f"above the limit of {field.plan.dose_limit_mj:.1f} mJ; let it rest, or raise dose_limit_mj"
            )

    def provenance(
        self,
        kind: str,
        stage: StagePosition,
        field: FieldRecord | None = None,
        plan: StackPlan | None = None,
        reference_from_today: TransformRecord | None = None,
    ) -> ImageProvenance:
        """Return what an image of this session says of its making."""
        return ImageProvenance(
            kind=kind,
            animal=self.record.animal,
            session=self.record.name,
            day=self.record.day,
            rig=self.rig.config.model_dump(mode="json"),
            stage=stage,
            field=None if field is None else field.name,
            plan=plan,
            reference_from_today=reference_from_today,
            saturation=self.rig.config.scan.saturation if field is not None else None,
            shows_field=None if kind == "stack" else True,  # until the session has judged it
        )

    def _log(self, event: str, **details: object) -> None:
        self.study.log(self.record, event, **details)


def _dose_mj(keeper: RecordKeeper) -> float:
    return sum(record.dose_mj for record in keeper.records)


def longest_run(planes: Sequence[int]) -> list[int]:
    """Return the longest run of consecutive planes, the first of several.

    Examples
    --------
    >>> longest_run([0, 1, 4, 5, 6, 9])
    [4, 5, 6]
    """
    return max(consecutive_runs(planes), key=len)


def richest_planes(planes: NDArray[np.uint16], count: int) -> int:
    """Return the first of the ``count`` consecutive planes, shape (z, y, x), that show the most."""
    contrast = planes[:, ::2, ::2].std(axis=(1, 2))
    window = min(count, len(planes))
    return int(np.argmax(np.convolve(contrast, np.ones(window), mode="valid")))
