"""The acquisition engine: one plane an event, everything checked and read back, the light closed on every way out.

Planes that the devices can time by themselves are taken in bursts (:mod:`acquire.timed`), all others one by one.
It runs inside pymmcore-plus's MDA runner in place of the stock engine, which only warns when a move, a power or a snap
is refused, and leaves the shutter open after a cancel. It knows Micro-Manager and useq; it deliberately does not know
studies or files: planes go to a sink.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus.core import SequencedEvent
from pymmcore_plus.mda import MDARunner, PMDAEngine
from useq import AbsolutePosition, MDAEvent, MDASequence, ZAbsolutePositions

from acquire.channels import Exposure
from acquire.drift import follow_drift
from acquire.errors import RigError
from acquire.frames import AlignedPlane, align_frames
from acquire.meter import LightBudget
from acquire.model import PlaneRecord, StackPlan, StagePosition, TakenPlane, utc_now
from acquire.rig import Rig, ScanSettings
from acquire.timed import Burst, BurstPlane, TimedFrame, burst_planes, planes_per_burst, why_not_timed

ALIGNERS = max(1, min(4, (os.cpu_count() or 1) - 1))  # one core is for the devices
LEAST_DRIFT_UM = 0.2  # a step between two planes is known to about 0.1 um


class StackCancelledError(RigError):
    """The stack was stopped on request; what was taken is kept and marked incomplete."""


class PlaneSink(Protocol):
    """Where planes go: a store on disk, or memory."""

    def append(self, taken: TakenPlane) -> None:
        """Keep one plane; raises when it cannot."""


class PlanesInMemory:
    """A sink that keeps the planes of a stack."""

    def __init__(self) -> None:
        self.planes: list[NDArray[np.uint16]] = []
        self.records: list[PlaneRecord] = []

    def append(self, taken: TakenPlane) -> None:
        """Keep one plane."""
        self.planes.append(taken.pixels)
        self.records.append(taken.record)


@dataclass(frozen=True, eq=False)
class HeldPlane:
    """A plane of a burst that is known to be good, before frames that moved too far are taken again."""

    step: BurstPlane
    frames: tuple[TimedFrame, ...]
    aligned: AlignedPlane


@dataclass(frozen=True, eq=False)
class ExposedPlane:
    """The channels of a plane that were read at once, their frames registered to each other."""

    exposure: Exposure
    frames: tuple[NDArray[np.uint16], ...]
    aligned: AlignedPlane
    settings: ScanSettings


class StackEngine(PMDAEngine):
    """Take planes of one stack through a rig, into sinks.

    Parameters
    ----------
    rig
        The rig; its verbs raise when a device does not do what was asked.
    plan
        How the stack is taken.
    centre
        Stage position of its middle.
    planes
        Which planes of the plan, in the order of the sequence's z positions.
    sinks
        Every plane is handed to each of them, in order.
    progress
        Called with (planes kept, planes asked for) after each plane was kept.
    budget
        How much light the planes may cost; no limit when not given.
    """

    def __init__(
        self,
        rig: Rig,
        plan: StackPlan,
        centre: StagePosition,
        *,
        planes: Sequence[int],
        sinks: Iterable[PlaneSink],
        progress: Callable[[int, int], None] | None = None,
        budget: LightBudget | None = None,
    ) -> None:
        self._rig = rig
        self._plan = plan
        self._planes = list(planes)
        self._sinks = tuple(sinks)
        self._progress = progress
        self._budget = budget or LightBudget(lambda: rig.lit)
        self._previous: NDArray[np.uint16] | None = None
        self._drift_yx_um = (0.0, 0.0)
        self._centre = centre
        self._asked_mw = 0.0
        self._power: tuple[float | None, float | None] = (None, None)
        self._exposures = rig.exposures(plan)
        self._exposure = self._exposures[0]
        self._began = {self._exposure: rig.scan_settings()}
        self.planes_kept = 0

    def setup_sequence(self, sequence: MDASequence) -> None:
        """Start dark."""
        self._rig.close_light()

    def event_iterator(self, events: Iterable[MDAEvent]) -> Iterator[MDAEvent]:
        """Join planes into bursts where the devices can time them; end when somebody asks to stop."""
        for event in self._in_bursts(list(events)):
            if self._rig.stop_requested:
                return
            yield event

    def _in_bursts(self, events: list[MDAEvent]) -> Iterator[MDAEvent]:
        if why_not_timed(self._rig, self._plan, self._planes) is not None:
            yield from events
            return
        most = planes_per_burst(self._rig, self._plan, self._planes)
        for run in np.split(np.array(self._planes), np.flatnonzero(np.diff(self._planes) != 1) + 1):
            for part in np.array_split(run, -(-len(run) // most)):
                burst, events = events[: len(part)], events[len(part) :]
                yield SequencedEvent(events=tuple(burst), index=burst[0].index) if len(burst) > 1 else burst[0]

    def setup_event(self, event: MDAEvent) -> None:
        """Move to the plane and set its power; raises when the rig does not arrive."""
        self._rig.wait_while_paused()
        if not isinstance(event, SequencedEvent):  # a burst goes to its first plane itself
            self._go_to(event)

    def _go_to(self, event: MDAEvent) -> None:
        """Move under the least power, which the beam has had since the plane before."""
        self._rig.move_z(float(event.z_pos or 0.0))
        self._asked_mw = self._plan.plane_power_mw(self._plane(event))

    def exec_event(self, event: MDAEvent) -> Iterator[tuple[NDArray[Any], MDAEvent, Any]]:
        """Take the frames of planes, keep them and their mean, show the mean to whoever listens."""
        if isinstance(event, SequencedEvent):
            yield from self._exec_bursts(event.events)
            return
        exposed = self._exposed(self._plane(event))
        if not exposed:
            return
        pixels, z_um = join_channels([each.aligned.pixels for each in exposed], exposed), float(event.z_pos or 0.0)
        frames = tuple(
            join_channels([each.frames[number] if number < len(each.frames) else None for each in exposed], exposed)
            for number in range(max(len(each.frames) for each in exposed))
        )
        step_yx_um = self._drift_since_last(pixels if pixels.ndim == 2 else pixels[0])
        record = self._record(self._plane(event), z_um, exposed)
        self._follow(step_yx_um, z_um)
        yield self._keep(event, TakenPlane(pixels, frames, record))

    def _exposed(self, plane: int) -> list[ExposedPlane]:
        """Take the frames of all channels, one exposure after another; none when somebody asked to stop."""
        exposed = []
        for exposure in self._exposures:
            self._rig.choose(exposure)
            self._exposure = exposure
            self._refuse_overdose(self._plan.frames_per_plane * self._frame_mj(self._asked_mw))
            frames: list[NDArray[np.uint16]] = []
            aligned = self._replaced(frames, self._aligned(frames, self._plan.frames_per_plane))
            if aligned is None:
                return []
            self._rig.check_light()  # somebody else may have closed the shutter: then the plane is dark, and not kept
            self._rig.confirm(exposure)
            exposed.append(ExposedPlane(exposure, tuple(frames), aligned, self._unchanged_settings(plane, exposure)))
        return exposed

    def _keep(self, event: MDAEvent, taken: TakenPlane) -> tuple[NDArray[Any], MDAEvent, Any]:
        for sink in self._sinks:
            sink.append(taken)
        self.planes_kept += 1
        if self._progress is not None:
            self._progress(self.planes_kept, len(self._planes))
        return taken.shown, event, {"plane": taken.record.model_dump(mode="json")}

    def _exec_bursts(self, events: Sequence[MDAEvent]) -> Iterator[tuple[NDArray[Any], MDAEvent, Any]]:
        """Take planes in one burst; after a pause go on with those that are missing."""
        while events:
            self._rig.wait_while_paused()
            if self._rig.stop_requested:
                return
            numbers, z_um = [self._plane(event) for event in events], [float(event.z_pos or 0.0) for event in events]
            held = self._take_burst(burst_planes(self._rig, self._plan, numbers, z_um))
            settings = self._unchanged_settings(numbers[0], self._exposures[0])
            stage = self._rig.position_at(self._centre.model_copy(update={"z_um": self._rig.position().z_um}))
            for event, plane in zip(events, held, strict=False):
                frames = [frame.pixels for frame in plane.frames]
                aligned = self._mended(event, frames, plane.aligned)
                if aligned is None:
                    return
                record = self._timed_record(plane, settings, stage, aligned, len(frames))
                yield self._keep(event, TakenPlane(aligned.pixels, tuple(frames), record))
            events = events[len(held) :]

    def _take_burst(self, steps: list[BurstPlane]) -> list[HeldPlane]:
        """Return the planes that were taken before somebody wanted to stop or to pause; else all."""
        count, pixel_um = self._plan.frames_per_plane, self._plan.voxel_um[1]
        self._refuse_overdose(sum(count * self._frame_mj(step.power_mw or 0.0) for step in steps))
        self._rig.tell("burst", first_plane=steps[0].plane, planes=len(steps), frames=count * len(steps))
        burst = Burst(self._rig, steps, count)
        with contextlib.ExitStack() as undo:
            aligner = ThreadPoolExecutor(ALIGNERS, thread_name_prefix="align frames")
            undo.callback(aligner.shutdown, cancel_futures=True)
            frames: list[TimedFrame] = []
            aligning = []
            with burst:
                for frame in burst:
                    self._budget.expose(self._frame_mj(steps[len(frames) // count].power_mw or 0.0))
                    self._refuse_shape(frame.pixels)
                    frames.append(frame)
                    if len(frames) % count == 0:
                        pixels = [each.pixels for each in frames[-count:]]
                        aligning.append(aligner.submit(align_frames, pixels, pixel_um))
            burst.confirm_end(len(aligning))
            return [
                HeldPlane(step, tuple(frames[number * count : (number + 1) * count]), aligned.result())
                for number, (step, aligned) in enumerate(zip(steps, aligning, strict=False))
            ]

    def _mended(self, event: MDAEvent, frames: list[NDArray[np.uint16]], aligned: AlignedPlane) -> AlignedPlane | None:
        """Take frames of a plane of a burst again, one by one, where some moved too far."""
        if not aligned.left_out or not self._plan.replacement_frames:
            return aligned
        self._go_to(event)
        mended = self._replaced(frames, aligned)
        self._rig.check_light()
        self._rig.close_light()
        return mended

    def _plane(self, event: MDAEvent) -> int:
        return self._planes[event.index["z"]]

    def _replaced(self, frames: list[NDArray[np.uint16]], aligned: AlignedPlane | None) -> AlignedPlane | None:
        """Take frames for those that moved too far, at most as many as the plan allows; None when to stop."""
        most = self._plan.frames_per_plane + self._plan.replacement_frames
        while aligned and (wanted := self._plan.frames_per_plane - int(aligned.kept.sum())) > 0 and len(frames) < most:
            more = min(wanted, most - len(frames))
            if not self._budget.affords(more * self._frame_mj(self._asked_mw)):
                break
            aligned = self._aligned(frames, more)
        return aligned

    def _frame_mj(self, power_mw: float) -> float:
        """Return what a frame of the present channel brings into the tissue, mJ; 0 on a rig of unknown power."""
        if self._rig.config.roles.power is None:
            return 0.0
        settings = self._began.get(self._exposure) or self._began[self._exposures[0]]
        return power_mw * settings.exposure_ms / 1000

    def _refuse_overdose(self, more_mj: float) -> None:
        if not self._budget.affords(more_mj):
            raise RigError(
                f"the stack has cost {self._budget.spent_mj:.1f} mJ after {self.planes_kept} of {len(self._planes)} "
                f"planes and may cost {self._budget.limit_mj:.1f} mJ; let the field rest, or raise dose_limit_mj; "
                "then go on with --resume"
            )

    def _aligned(self, frames: list[NDArray[np.uint16]], more: int) -> AlignedPlane | None:
        """Take ``more`` frames and register all of them; None when somebody asked to stop.

        The beam has the plane's power only for them: it stands still while they are registered and the drive moves.
        """
        self._rig.set_power_mw(self._asked_mw)
        for _ in range(more):
            self._rig.wait_while_paused()
            if self._rig.stop_requested:
                return None
            self._rig.open_light()
            self._budget.expose(self._frame_mj(self._asked_mw))
            frames.append(self._snap())
        if self._rig.stop_requested:
            return None
        self._power = self._rig.confirm_power_mw(self._asked_mw)
        self._rig.dim()
        return align_frames(frames, self._plan.voxel_um[1])

    def _snap(self) -> NDArray[np.uint16]:
        frame = self._rig.snap()
        self._refuse_shape(frame)
        return frame

    def _refuse_shape(self, frame: NDArray[np.uint16]) -> None:
        asked = self._plan.shape[1:]
        if frame.shape[-2:] != asked:
            raise RigError(
                f"{self._rig.config.roles.scanner} gave an image of {frame.shape[-2]} x {frame.shape[-1]} pixels "
                f"instead of {asked[0]} x {asked[1]}; somebody changed its resolution or region"
            )

    def _drift_since_last(self, pixels: NDArray[np.uint16]) -> tuple[float, float]:
        """Return how far the tissue drifted since the plane before (y, x), um; 0 when not asked or not measured."""
        previous, self._previous = self._previous, pixels
        if not self._plan.follow_drift or previous is None:
            return 0.0, 0.0
        step_yx_um = follow_drift(previous, pixels, self._plan.voxel_um[1]) or (0.0, 0.0)
        self._drift_yx_um = (self._drift_yx_um[0] + step_yx_um[0], self._drift_yx_um[1] + step_yx_um[1])
        return step_yx_um

    def _follow(self, step_yx_um: tuple[float, float], z_um: float) -> None:
        """Move after the tissue, at the same depth."""
        if np.hypot(*step_yx_um) > LEAST_DRIFT_UM:
            x, y, _ = self._rig.config.orientation.stage_offset_um((0.0, *step_yx_um))
            self._centre = self._centre.moved(x_um=x, y_um=y)
            self._rig.move_to(self._centre.model_copy(update={"z_um": z_um}))
            self._previous = None  # the next plane shows the tissue back in its place

    def _record(self, plane: int, z_um: float, exposed: Sequence[ExposedPlane]) -> PlaneRecord:
        """Read everything back; what is not as it was set is refused, and the plane is not kept."""
        rig, aligned, settings = self._rig, exposed[0].aligned, exposed[0].settings
        power_mw, power_setting = self._power
        return PlaneRecord(
            plane=plane,
            time=utc_now(),
            stage=rig.position_at(self._centre.model_copy(update={"z_um": z_um})),
            power_mw=power_mw,
            power_setting=power_setting,
            exposure_ms=settings.exposure_ms,
            pmt_gain=settings.pmt_gain,
            zoom=settings.zoom,
            frames=int(aligned.kept.sum()),
            frames_taken=len(exposed[0].frames),
            further_lit_ms=sum(len(each.frames) * each.settings.exposure_ms for each in exposed[1:]),
            motion_um=aligned.motion_um,
            drift_yx_um=self._drift_yx_um,
        )

    def _unchanged_settings(self, plane: int, exposure: Exposure) -> ScanSettings:
        settings = self._rig.scan_settings()
        if changed := settings.why_not(self._began.setdefault(exposure, settings), self._rig.config.roles):
            raise RigError(f"plane {plane}: {changed}; take the stack again")
        return settings

    def _timed_record(
        self, plane: HeldPlane, settings: ScanSettings, stage: StagePosition, aligned: AlignedPlane, frames_taken: int
    ) -> PlaneRecord:
        """Write down what was commanded; it was read back at the end of the burst."""
        return PlaneRecord(
            plane=plane.step.plane,
            time=plane.frames[-1].time,
            stage=stage.model_copy(update={"z_um": plane.step.z_um}),
            power_mw=plane.step.power_mw,
            power_setting=plane.step.setting,
            exposure_ms=settings.exposure_ms,
            pmt_gain=settings.pmt_gain,
            zoom=settings.zoom,
            frames=int(aligned.kept.sum()),
            frames_taken=frames_taken,
            motion_um=aligned.motion_um,
            timing="hardware",
        )

    def teardown_event(self, event: MDAEvent) -> None:
        """Nothing: the light stays on between planes that follow at once."""

    def teardown_sequence(self, sequence: MDASequence) -> None:
        """Nothing: the light is closed after every run, and an error here would leave the runner stuck."""


def join_channels(images: Sequence[NDArray[np.uint16] | None], exposed: Sequence[ExposedPlane]) -> NDArray[np.uint16]:
    """Return the images of the exposures of a plane as one, (c, y, x) as in the plan; zeros where one lacks."""
    first = images[0]
    if len(images) == 1 and first is not None:
        return first
    places = [list(each.exposure.places) for each in exposed]
    shape = next(image for image in images if image is not None).shape[-2:]
    joined = np.zeros((sum(map(len, places)), *shape), np.uint16)
    for place, image in zip(places, images, strict=True):
        if image is not None:
            joined[place] = image
    return joined


def take_stack(
    rig: Rig,
    plan: StackPlan,
    centre: StagePosition,
    sinks: Iterable[PlaneSink],
    *,
    progress: Callable[[int, int], None] | None = None,
    planes: Sequence[int] | None = None,
    budget: LightBudget | None = None,
) -> None:
    """Take a stack centred at a position, shallowest plane first.

    Parameters
    ----------
    rig
        The rig.
    plan
        How the stack is taken, as :meth:`Rig.set_scan` returned it.
    centre
        Stage position of the middle of the stack.
    sinks
        Where the planes go.
    progress
        Called with (planes kept, planes asked for) after each plane was kept.
    planes
        Which planes of the plan; all when not given.
    budget
        How much light the planes may cost; no limit when not given. It is counted in it.

    Raises
    ------
    RigError
        When the place or the power is refused, the budget does not suffice for the next plane, or a device does not
        obey. The light is off then.
    StackCancelledError
        When :meth:`Rig.stop` was called.
    """
    if refusal := rig.why_not(centre, plan):
        raise RigError(refusal)
    wanted = list(range(plan.planes)) if planes is None else list(planes)
    if not wanted:
        return
    offsets_um = plan.plane_offsets_um
    z_um = [centre.z_um + rig.config.orientation.deeper_is * offsets_um[plane] for plane in wanted]
    # One absolute position a plane: relative z plans silently give fewer planes than asked.
    sequence = MDASequence(
        stage_positions=(AbsolutePosition(x=centre.x_um, y=centre.y_um),), z_plan=ZAbsolutePositions(absolute=z_um)
    )
    engine = StackEngine(rig, plan, centre, planes=wanted, sinks=sinks, progress=progress, budget=budget)
    # A runner for this stack alone: one that met a KeyboardInterrupt stays "running" and refuses every later stack.
    runner = MDARunner()
    runner.set_engine(engine)
    with rig.work():
        try:
            if not rig.stop_requested:  # it may be, when the stack is part of other work
                rig.move_to(centre.moved(z_um=z_um[0] - centre.z_um))
                runner.run(sequence)
        except RigError:
            if not rig.stop_requested:  # else a motor was halted on its way, as somebody wished
                raise
        finally:
            rig.close_light()
        if rig.stop_requested:
            raise StackCancelledError(f"stopped after {engine.planes_kept} of {len(wanted)} planes; the light is off")
    if engine.planes_kept != len(wanted):
        raise RigError(f"{engine.planes_kept} of {len(wanted)} planes were taken; take the stack again")
