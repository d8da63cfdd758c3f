"""The acquisition engine: one plane an event, everything checked and read back, the light closed on every way out.

It runs inside pymmcore-plus's MDA runner in place of the stock engine, which only warns when a move, a power or a snap
is refused, and leaves the shutter open after a cancel. It knows Micro-Manager and useq; it deliberately does not know
studies or files: planes go to a sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus.mda import MDARunner, PMDAEngine
from useq import AbsolutePosition, MDAEvent, MDASequence, ZAbsolutePositions

from acquire.drift import follow_drift
from acquire.errors import RigError
from acquire.frames import AlignedPlane, align_frames
from acquire.model import PlaneRecord, StackPlan, StagePosition, TakenPlane, utc_now
from acquire.rig import Rig

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
    ) -> None:
        self._rig = rig
        self._plan = plan
        self._planes = list(planes)
        self._sinks = tuple(sinks)
        self._progress = progress
        self._previous: NDArray[np.uint16] | None = None
        self._drift_yx_um = (0.0, 0.0)
        self._centre = centre
        self._began = rig.scan_settings()
        self.planes_kept = 0

    def setup_sequence(self, sequence: MDASequence) -> None:
        """Start dark."""
        self._rig.close_light()

    def event_iterator(self, events: Iterable[MDAEvent]) -> Iterator[MDAEvent]:
        """End when somebody asks to stop."""
        for event in events:
            if self._rig.stop_requested:
                return
            yield event

    def setup_event(self, event: MDAEvent) -> None:
        """Move to the plane and set its power; raises when the rig does not arrive."""
        self._rig.wait_while_paused()
        self._rig.move_z(float(event.z_pos or 0.0))
        if self._rig.config.roles.power is not None:
            self._rig.set_power_mw(self._plan.plane_power_mw(self._plane(event)))

    def exec_event(self, event: MDAEvent) -> Iterator[tuple[NDArray[Any], MDAEvent, Any]]:
        """Take the frames of one plane, keep them and their mean, show the mean to whoever listens."""
        frames: list[NDArray[np.uint16]] = []
        aligned = self._aligned(frames, self._plan.frames_per_plane)
        most = self._plan.frames_per_plane + self._plan.replacement_frames
        while aligned and (wanted := self._plan.frames_per_plane - int(aligned.kept.sum())) > 0 and len(frames) < most:
            aligned = self._aligned(frames, min(wanted, most - len(frames)))
        if aligned is None:
            return
        self._rig.check_light()  # somebody else may have closed the shutter: then the plane is dark, and not kept
        step_yx_um = self._drift_since_last(aligned.pixels)
        record = self._record(self._plane(event), float(event.z_pos or 0.0), aligned, len(frames))
        taken = TakenPlane(aligned.pixels, tuple(frames), record)
        self._follow(step_yx_um)
        for sink in self._sinks:
            sink.append(taken)
        self.planes_kept += 1
        if self._progress is not None:
            self._progress(self.planes_kept, len(self._planes))
        yield aligned.pixels, event, {"plane": taken.record.model_dump(mode="json")}

    def _plane(self, event: MDAEvent) -> int:
        return self._planes[event.index["z"]]

    def _aligned(self, frames: list[NDArray[np.uint16]], more: int) -> AlignedPlane | None:
        """Take ``more`` frames and register all of them; None when somebody asked to stop."""
        for _ in range(more):
            self._rig.wait_while_paused()
            if self._rig.stop_requested:
                return None
            self._rig.open_light()
            frames.append(self._snap())
        return None if self._rig.stop_requested else align_frames(frames, self._plan.voxel_um[1])

    def _snap(self) -> NDArray[np.uint16]:
        frame, asked = self._rig.snap(), self._plan.shape[1:]
        if frame.shape != asked:
            raise RigError(
                f"{self._rig.config.roles.scanner} gave an image of {frame.shape[0]} x {frame.shape[1]} pixels instead "
                f"of {asked[0]} x {asked[1]}; somebody changed its resolution or region"
            )
        return frame

    def _drift_since_last(self, pixels: NDArray[np.uint16]) -> tuple[float, float]:
        """Return how far the tissue drifted since the plane before (y, x), um; 0 when not asked or not measured."""
        previous, self._previous = self._previous, pixels
        if not self._plan.follow_drift or previous is None:
            return 0.0, 0.0
        step_yx_um = follow_drift(previous, pixels, self._plan.voxel_um[1]) or (0.0, 0.0)
        self._drift_yx_um = (self._drift_yx_um[0] + step_yx_um[0], self._drift_yx_um[1] + step_yx_um[1])
        return step_yx_um

    def _follow(self, step_yx_um: tuple[float, float]) -> None:
        """Move after the tissue."""
        if np.hypot(*step_yx_um) > LEAST_DRIFT_UM:
            x, y, _ = self._rig.config.orientation.stage_offset_um((0.0, *step_yx_um))
            self._centre = self._centre.moved(x_um=x, y_um=y)
            self._rig.move_to(self._centre.model_copy(update={"z_um": self._rig.position().z_um}))
            self._previous = None  # the next plane shows the tissue back in its place

    def _record(self, plane: int, z_um: float, aligned: AlignedPlane, frames_taken: int) -> PlaneRecord:
        """Read everything back; what is not as it was set is refused, and the plane is not kept."""
        rig = self._rig
        settings = rig.scan_settings()
        if changed := settings.why_not(self._began):
            raise RigError(f"plane {plane}: {changed}; take the stack again")
        power_mw, power_setting = rig.confirm_power_mw(self._plan.plane_power_mw(plane))
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
            frames_taken=frames_taken,
            motion_um=aligned.motion_um,
            drift_yx_um=self._drift_yx_um,
        )

    def teardown_event(self, event: MDAEvent) -> None:
        """Nothing: the light stays on between planes that follow at once."""

    def teardown_sequence(self, sequence: MDASequence) -> None:
        """Nothing: the light is closed after every run, and an error here would leave the runner stuck."""


def take_stack(
    rig: Rig,
    plan: StackPlan,
    centre: StagePosition,
    sinks: Iterable[PlaneSink],
    *,
    progress: Callable[[int, int], None] | None = None,
    planes: Sequence[int] | None = None,
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

    Raises
    ------
    RigError
        When the place or the power is refused, or a device does not obey. The light is off then.
    StackCancelledError
        When :meth:`Rig.stop` was called.
    """
    if refusal := rig.why_not(centre, plan):
        raise RigError(refusal)
    rig.allow()
    wanted = list(range(plan.planes)) if planes is None else list(planes)
    if not wanted:
        return
    offsets_um = plan.plane_offsets_um
    z_um = [centre.z_um + rig.config.orientation.deeper_is * offsets_um[plane] for plane in wanted]
    # One absolute position a plane: relative z plans silently give fewer planes than asked.
    sequence = MDASequence(
        stage_positions=(AbsolutePosition(x=centre.x_um, y=centre.y_um),), z_plan=ZAbsolutePositions(absolute=z_um)
    )
    engine = StackEngine(rig, plan, centre, planes=wanted, sinks=sinks, progress=progress)
    # A runner for this stack alone: one that met a KeyboardInterrupt stays "running" and refuses every later stack.
    runner = MDARunner()
    runner.set_engine(engine)
    try:
        rig.move_to(centre.moved(z_um=z_um[0] - centre.z_um))
        runner.run(sequence)
    finally:
        rig.close_light()
    if rig.stop_requested:
        raise StackCancelledError(f"stopped after {engine.planes_kept} of {len(wanted)} planes; the light is off")
    if engine.planes_kept != len(wanted):
        raise RigError(f"{engine.planes_kept} of {len(wanted)} planes were taken; take the stack again")
