"""Planes timed by the devices: the z drive and the power step with the camera's frames, without a word from here.

A burst is some planes of a stack taken this way. Everything in it is checked before anything is sent, the light is on
only while frames come, and at its end drive and power are read back: only then are its planes those they are said to
be. This module knows Micro-Manager's sequences; it deliberately does not know sinks, nor how frames become a plane.

Settle times of the config do not count here: a drive that needs them gets them from its own controller.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquire.errors import RigError
from acquire.model import StackPlan, utc_now
from acquire.rig import READ_BACK_TOLERANCE, STAGE_TOLERANCE_UM, Rig

MOST_BURST_S = 10.0  # planes are shown, and counted as taken, at the end of their burst
MOST_BURST_MB = 512.0  # frames wait in memory until then
LEAST_TOLERANCE_UM = 0.2  # drives do not stop more exactly than this
POLL_S = 0.001
STALL_SHARE = 0.8  # of stall_s: a camera that falls silent is named before the guard of the light acts


@dataclass(frozen=True)
class BurstPlane:
    """Where a plane of a burst is taken, and with what power.

    Parameters
    ----------
    plane
        Its number in the stack.
    z_um
        Position of the z drive, um.
    power_mw
        Power at the sample, mW; None when the rig cannot set it.
    setting
        Property value that gives that power; None when the rig cannot set it.
    """

    plane: int
    z_um: float
    power_mw: float | None
    setting: float | None


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """One frame of a burst.

    Parameters
    ----------
    number
        Its number in the burst, from 0.
    pixels
        Shape (y, x).
    time
        When it came.
    """

    number: int
    pixels: NDArray[np.uint16]
    time: datetime


def why_not_timed(rig: Rig, plan: StackPlan, planes: Sequence[int]) -> str | None:
    """Say why the devices cannot time the planes of a stack by themselves; None when they can.

    Parameters
    ----------
    rig
        The rig, its scan set.
    plan
        How the stack is taken.
    planes
        Which planes of it.
    """
    if not plan.hardware_timing:
        return "hardware_timing is off in the plan"
    if plan.follow_drift:
        return "the stage follows the drift of the tissue between the planes"
    if len(planes) < 2:
        return "a single plane needs no timing"
    return rig.why_not_in_bursts(plan) or _why_no_sequence(rig, plan, planes) or _why_no_burst(rig, plan, planes)


def _why_no_sequence(rig: Rig, plan: StackPlan, planes: Sequence[int]) -> str | None:
    drive, power = rig.config.roles.z_drive, rig.config.roles.power
    with rig.asking(f"asking whether {drive} and {power} can run a sequence"):
        if not rig.core.isStageSequenceable(drive):
            return f"{drive} cannot run a sequence of positions"
        if power is None or not _power_changes(plan, planes):
            return None
        if not rig.core.isPropertySequenceable(power.device, power.property):
            return f"{power} cannot run a sequence, and the power changes from plane to plane"
    return None


def _why_no_burst(rig: Rig, plan: StackPlan, planes: Sequence[int]) -> str | None:
    if planes_per_burst(rig, plan, planes) >= 2:
        return None
    plane_s, steps = plan.frames_per_plane * rig.exposure_ms() / 1000, _most_steps(rig, plan, planes)
    return (
        f"a plane of {plan.frames_per_plane} frames takes {plane_s:.1f} s and {_plane_mb(plan):.0f} MB; two are "
        f"more than a burst holds ({MOST_BURST_S:.0f} s, {MOST_BURST_MB:.0f} MB, {steps} steps)"
    )


def planes_per_burst(rig: Rig, plan: StackPlan, planes: Sequence[int]) -> int:
    """Return how many planes a burst can have: by the devices' memory, by ours, and by the time until they are kept."""
    plane_s = plan.frames_per_plane * rig.exposure_ms() / 1000
    most = min(MOST_BURST_S / max(plane_s, 1e-6), MOST_BURST_MB / _plane_mb(plan))
    return min(int(most), _most_steps(rig, plan, planes) // plan.frames_per_plane, len(planes))


def _plane_mb(plan: StackPlan) -> float:
    _, rows, columns = plan.shape
    return plan.frames_per_plane * rows * columns * np.dtype(np.uint16).itemsize / 1e6


def _most_steps(rig: Rig, plan: StackPlan, planes: Sequence[int]) -> int:
    """Return the longest sequence that all devices of a burst can hold."""
    drive, power = rig.config.roles.z_drive, rig.config.roles.power
    with rig.asking(f"asking how long a sequence of {drive} and {power} may be"):
        most = int(rig.core.getStageSequenceMaxLength(drive))
        if power is not None and _power_changes(plan, planes):
            most = min(most, int(rig.core.getPropertySequenceMaxLength(power.device, power.property)))
    return most


def _power_changes(plan: StackPlan, planes: Sequence[int]) -> bool:
    return len({plan.plane_power_mw(plane) for plane in planes}) > 1


def burst_planes(rig: Rig, plan: StackPlan, planes: Sequence[int], z_um: Sequence[float]) -> list[BurstPlane]:
    """Say where and with what power planes are taken.

    Raises
    ------
    RigError
        When a position or a power is beyond the limits.
    """
    steps = []
    for plane, z in zip(planes, z_um, strict=True):
        rig.refuse_z(z)
        if rig.config.roles.power is None:
            steps.append(BurstPlane(plane, z, None, None))
        else:
            power_mw = plan.plane_power_mw(plane)
            steps.append(BurstPlane(plane, z, power_mw, rig.power_setting(power_mw)))
    return steps


class Burst:
    """Planes that the devices take by themselves; a context manager, and inside it an iterator over the frames.

    It ends early, without an error, when somebody asks to stop or to pause. On every way out the light goes off
    first, then the camera and the sequences are stopped.

    Parameters
    ----------
    rig
        The rig, its scan set.
    planes
        The planes, as :func:`burst_planes` gives them.
    frames_per_plane
        Frames of each.

    Raises
    ------
    RigError
        When a device refuses, a frame does not come in time, or frames are lost.
    """

    def __init__(self, rig: Rig, planes: Sequence[BurstPlane], frames_per_plane: int) -> None:
        self._rig = rig
        self._planes = list(planes)
        self._per_plane = frames_per_plane
        self._steps = [plane for plane in self._planes for _ in range(frames_per_plane)]
        self._camera = rig.config.roles.scanner
        self._exposure_s = rig.exposure_ms() / 1000
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Burst:
        with contextlib.ExitStack() as undo:
            self._load(undo)
            # Pushed last, undone first: whatever else fails on the way out, it is dark.
            undo.callback(self._rig.close_light)
            self._rig.open_light()
            self._rig.beat(self._exposure_s)
            with self._rig.asking(f"starting {len(self._steps)} frames of {self._camera}"):
                self._rig.core.startSequenceAcquisition(self._camera, len(self._steps), 0.0, True)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._undo.close()

    def _load(self, undo: contextlib.ExitStack) -> None:
        """Go to the first plane, hand the sequences to the devices, and have them wait for the frames."""
        rig, core, first, steps = self._rig, self._rig.core, self._planes[0], self._steps
        drive, power = rig.config.roles.z_drive, rig.config.roles.power
        rig.move_z(first.z_um)
        if first.power_mw is not None:
            rig.set_power_mw(first.power_mw)
        if len({step.z_um for step in steps}) > 1:
            undo.callback(self._stop, drive, core.stopStageSequence, drive)
            with rig.asking(f"loading {len(steps)} positions into {drive}"):
                core.loadStageSequence(drive, [step.z_um for step in steps])
                core.startStageSequence(drive)
        if power is not None and len({step.setting for step in steps}) > 1:
            undo.callback(self._stop, str(power), core.stopPropertySequence, power.device, power.property)
            with rig.asking(f"loading {len(steps)} settings into {power}"):
                core.loadPropertySequence(power.device, power.property, [str(step.setting) for step in steps])
                core.startPropertySequence(power.device, power.property)
        undo.callback(self._stop, self._camera, core.stopSequenceAcquisition, self._camera)
        with rig.asking(f"preparing {self._camera} for {len(steps)} frames"):
            core.initializeCircularBuffer()

    def _stop(self, device: str, stop: Callable[..., object], *which: str) -> None:
        with self._rig.asking(f"ending the sequence of {device}"):
            stop(*which)

    def __iter__(self) -> Iterator[TimedFrame]:
        """Give the frames as they come; fewer than asked only when somebody wants to stop or to pause."""
        for number in range(len(self._steps)):
            frame = self._next(number)
            if (number + 1) % self._per_plane == 0:
                self._rig.check_light()  # somebody else may have closed the shutter: then the plane is dark
            if (power_mw := self._steps[min(number + 1, len(self._steps) - 1)].power_mw) is not None:
                self._rig.stepped_power(power_mw)
            # Whoever stops says so before the light goes off: a frame that was here before had light.
            if self._rig.interrupted or frame is None:
                return
            self._rig.beat(self._exposure_s)
            yield frame

    def _next(self, number: int) -> TimedFrame | None:
        """Wait for a frame; None when somebody wants to stop or to pause."""
        rig, asked_s = self._rig, time.monotonic()
        with rig.asking(f"waiting for frame {number + 1} of {len(self._steps)} of {self._camera}", self._patience_s):
            while not rig.core.getRemainingImageCount():
                if rig.interrupted:
                    return None
                self._refuse_silence(number, time.monotonic() - asked_s)
                time.sleep(POLL_S)
            pixels, metadata = rig.core.popNextImageAndMD()
        told = dict(metadata)
        if int(told.get("ImageNumber", number)) != number:
            raise self._lost(number, f"frame {told['ImageNumber']} came in place of frame {number}")
        rig.images_taken += 1
        frame = rig.grey(self._camera, np.asarray(pixels))
        rig.show(frame)
        return TimedFrame(number, frame, _time_of(told))

    @property
    def _patience_s(self) -> float:
        return self._exposure_s + STALL_SHARE * self._rig.config.stall_s

    def _refuse_silence(self, number: int, silent_s: float) -> None:
        core = self._rig.core
        # Asked in this order: the last frame may come between the two questions.
        if not core.isSequenceRunning(self._camera) and not core.getRemainingImageCount():
            raise self._lost(number, "its buffer overflowed" if core.isBufferOverflowed() else "it ended by itself")
        if silent_s > self._patience_s:
            raise RigError(
                f"{self._camera} gave no frame for {silent_s:.1f} s (limit {self._patience_s:.1f} s) in plane "
                f"{self._plane(number).plane}, after {number} of {len(self._steps)} frames of a burst; "
                "check its trigger, or set hardware_timing = false in the plan"
            )

    def _lost(self, number: int, why: str) -> RigError:
        return RigError(
            f"{self._camera} gave {number} of {len(self._steps)} frames of a burst, up to plane "
            f"{self._plane(number).plane}: {why}; nothing of the burst is kept; take its planes again"
        )

    def _plane(self, number: int) -> BurstPlane:
        return self._planes[number // self._per_plane]

    def confirm_end(self, kept: int) -> None:
        """Read the z drive and the power back after the burst; call it when the burst was left.

        Parameters
        ----------
        kept
            How many of its planes have all their frames. When these are all, drive and power must stand at the last;
            else at the last of these or beyond, for they went on until they were stopped. A single trigger that was
            missed leaves no trace here when planes have several frames: the last ones stand alike.

        Raises
        ------
        RigError
            When they stand elsewhere: a trigger was missed, and nobody knows where the planes were taken.
        """
        rig, power = self._rig, self._rig.config.roles.power
        expected = self._planes[max(kept - 1, 0) :]
        z_um = rig.settled_z_um()
        off_um = min(abs(z_um - plane.z_um) for plane in expected)
        if off_um > self._tolerance_um:
            raise self._elsewhere(rig.config.roles.z_drive, f"{z_um:.2f} um", f"{expected[0].z_um:.2f} um")
        setting = rig.property_value(power)
        settings = [plane.setting for plane in expected if plane.setting is not None]
        if setting is None or not settings:
            return
        if all(abs(setting - value) > READ_BACK_TOLERANCE * max(1.0, abs(value)) for value in settings):
            raise self._elsewhere(str(power), f"{setting:g}", f"{settings[0]:g}")

    def _elsewhere(self, device: str, reads: str, asked: str) -> RigError:
        first, last = self._planes[0].plane, self._planes[-1].plane
        return RigError(
            f"{device} reads {reads} after a burst that was to bring it to {asked} (planes {first} to {last}); nothing "
            "of the burst is kept; check its trigger cable, or set hardware_timing = false in the plan"
        )

    @property
    def _tolerance_um(self) -> float:
        """That of the rig, but a missed step must be noticed."""
        z_um = np.array([plane.z_um for plane in self._planes])
        least_step_um = float(np.abs(np.diff(z_um)).min(initial=np.inf))
        return min(STAGE_TOLERANCE_UM, max(least_step_um / 2, LEAST_TOLERANCE_UM))


def _time_of(metadata: dict[str, Any]) -> datetime:
    """Return when a frame came: as the core says, in local time without a zone; else now."""
    try:
        return datetime.fromisoformat(str(metadata["TimeReceivedByCore"])).astimezone(UTC)
    except (KeyError, ValueError):
        return utc_now()
