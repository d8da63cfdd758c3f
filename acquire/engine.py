"""The acquisition engine: one plane an event, everything checked and read back, the light closed on every way out.

It runs inside pymmcore-plus's MDA runner in place of the stock engine, which only warns when a move, a power or a snap
is refused, and leaves the shutter open after a cancel. It knows Micro-Manager and useq; it deliberately does not know
studies or files: planes go to a sink.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus.mda import MDARunner, PMDAEngine
from useq import AbsolutePosition, MDAEvent, MDASequence, PropertyTuple, ZAbsolutePositions

from acquire.errors import RigError
from acquire.model import PlaneRecord, StackPlan, StagePosition, utc_now
from acquire.rig import Rig


class StackCancelledError(RigError):
    """The stack was stopped on request; what was taken is kept and marked incomplete."""


class PlaneSink(Protocol):
    """Where planes go: a store on disk, or memory."""

    def append(self, pixels: NDArray[np.uint16], record: PlaneRecord) -> None:
        """Keep one plane, shape (y, x); raises when it cannot."""


class PlanesInMemory:
    """A sink that keeps the planes of an overview until it is registered."""

    def __init__(self) -> None:
        self.planes: list[NDArray[np.uint16]] = []
        self.records: list[PlaneRecord] = []

    def append(self, pixels: NDArray[np.uint16], record: PlaneRecord) -> None:
        """Keep one plane."""
        self.planes.append(pixels)
        self.records.append(record)


class StackEngine(PMDAEngine):
    """Take one stack through a rig, into a sink.

    Parameters
    ----------
    rig
        The rig; its verbs raise when a device does not do what was asked.
    plan
        How the stack is taken.
    sinks
        Every plane is handed to each of them, in order.
    progress
        Called with (planes done, planes in all) after each plane was kept.
    """

    def __init__(
        self, rig: Rig, plan: StackPlan, sinks: Iterable[PlaneSink], progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._rig = rig
        self._plan = plan
        self._sinks = tuple(sinks)
        self._progress = progress
        self.planes_kept = 0

    def setup_sequence(self, sequence: MDASequence) -> None:
        """Start dark."""
        self._rig.close_light()

    def event_iterator(self, events: Iterable[MDAEvent]) -> Iterator[MDAEvent]:
        """Give every plane its power."""
        power = self._rig.config.roles.power
        for event in events:
            if self._rig.stop_requested:
                return
            if power is None:
                yield event
                continue
            value = self._rig.power_setting(self._plan.plane_power_mw(event.index["z"]))
            yield event.model_copy(update={"properties": [PropertyTuple(power.device, power.property, value)]})

    def setup_event(self, event: MDAEvent) -> None:
        """Move to the plane and set its power; raises when the rig does not arrive."""
        self._rig.move_z(float(event.z_pos or 0.0))
        if self._rig.config.roles.power is not None:
            self._rig.set_power_mw(self._plan.plane_power_mw(event.index["z"]))

    def exec_event(self, event: MDAEvent) -> Iterator[tuple[NDArray[Any], MDAEvent, Any]]:
        """Take the frames of one plane, keep their mean, show it to whoever listens."""
        self._rig.open_light()
        frames: list[NDArray[np.uint16]] = []
        while len(frames) < self._plan.frames_per_plane and not self._rig.stop_requested:
            frames.append(self._rig.snap())
        if self._rig.stop_requested:
            self._rig.close_light()
            return
        pixels = frames[0] if len(frames) == 1 else np.rint(np.mean(frames, axis=0)).astype(frames[0].dtype)
        record = self._plane_record(event.index["z"], pixels, len(frames))
        for sink in self._sinks:
            sink.append(pixels, record)
        self.planes_kept += 1
        if self._progress is not None:
            self._progress(self.planes_kept, self._plan.planes)
        yield pixels, event, {"plane": record.model_dump(mode="json")}

    def _plane_record(self, plane: int, pixels: NDArray[np.uint16], frames: int) -> PlaneRecord:
        rig = self._rig
        return PlaneRecord(
            plane=plane,
            time=utc_now(),
            stage=rig.position(),
            power_mw=rig.power_mw(),
            power_setting=rig.property_value(rig.config.roles.power),
            exposure_ms=rig.exposure_ms(),
            pmt_gain=rig.property_value(rig.config.roles.pmt_gain),
            zoom=rig.property_value(rig.config.roles.zoom),
            frames=frames,
            crc32=zlib.crc32(pixels.tobytes()),
        )

    def teardown_event(self, event: MDAEvent) -> None:
        """Nothing: the light stays on between planes that follow at once."""

    def teardown_sequence(self, sequence: MDASequence) -> None:
        """Nothing: the rig closes the light after every run, and an error here would leave the runner stuck."""


def take_stack(
    rig: Rig,
    plan: StackPlan,
    centre: StagePosition,
    sinks: Iterable[PlaneSink],
    progress: Callable[[int, int], None] | None = None,
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
        Called with (planes done, planes in all) after each plane was kept.

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
    z_um = [centre.z_um + rig.config.orientation.deeper_is * offset for offset in plan.plane_offsets_um]
    # One absolute position a plane: relative z plans silently give fewer planes than asked.
    sequence = MDASequence(
        stage_positions=(AbsolutePosition(x=centre.x_um, y=centre.y_um),), z_plan=ZAbsolutePositions(absolute=z_um)
    )
    engine = StackEngine(rig, plan, sinks, progress)
    # A runner for this stack alone: one that met a KeyboardInterrupt stays "running" and refuses every later stack.
    runner = MDARunner()
    runner.set_engine(engine)
    try:
        rig.move_to(centre.moved(z_um=z_um[0] - centre.z_um))
        runner.run(sequence)
    finally:
        rig.close_light()
    if rig.stop_requested:
        raise StackCancelledError(f"stopped after {engine.planes_kept} of {plan.planes} planes; the light is off")
    if engine.planes_kept != plan.planes:
        raise RigError(f"{engine.planes_kept} of {plan.planes} planes were taken; take the stack again")
