"""The rig: stage, scan, images and power, under a light that is off unless an image is taken.

With :mod:`acquire.light` and :mod:`acquire.opening` this is all that talks to Micro-Manager.

Every verb blocks until the devices have done what was asked, checks the limits before anything is sent, reads back
what was set, and raises :class:`RigError` with device, action and value when they differ. The shutter opens for
images and closes on every way out.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from acquire.channels import Exposure, exposures_of
from acquire.config import PropertyRole, RigConfig, Roles
from acquire.core import ChannelCore
from acquire.errors import DEVICE_FAULTS, RigError, StudyError
from acquire.light import LightPath
from acquire.meter import Lit
from acquire.model import StackPlan, StagePosition
from acquire.readout import Readout
from acquire.sight import RigSight
from acquire.watchdog import Watchdog

STAGE_TOLERANCE_UM = 1.0
READ_BACK_TOLERANCE = 1e-3  # of the value, or of 1: how far a property may read from what it was set to


@runtime_checkable
class Remountable(Protocol):
    """What a simulated rig offers beside its devices: the animal can be put under the objective by program."""

    def mount(self, session: int, day: float) -> None:
        """Put the head under the objective for one session."""

    def good_places(self, count: int) -> list[tuple[float, float, float]]:
        """Return stage positions (x, y, z) in um that are worth imaging."""


@dataclass(frozen=True)
class ScanSettings:
    """Settings of a scan that nobody may change while a stack is taken."""

    exposure_ms: float
    pmt_gain: float | None
    zoom: float | None
    pixel_dwell_us: float | None

    def why_not(self, began: ScanSettings, roles: Roles) -> str | None:
        """Say what changed since a stack began, with its device; None when nothing did."""
        for name, now in vars(self).items():
            then = getattr(began, name)
            if now is not None and abs(now - then) > READ_BACK_TOLERANCE * max(1.0, abs(then)):
                device = getattr(roles, name.removesuffix("_us"), None) or f"{name} of {roles.scanner}"
                return f"{device} reads {now:g}, but {then:g} when the stack began; somebody changed it"
        return None


def _tell_nobody(_event: str, **_details: object) -> None:
    """Keep no log: nobody listens yet."""


class Rig:
    """The live rig. Use :func:`acquire.opening.open_rig`, best in a ``with`` statement.

    ``alarms`` says what the guards of the light had to do since it was opened. ``surface_z_um`` is where the z drive
    stands when the brain surface is in focus; while it is None nobody can watch the working distance.

    Parameters
    ----------
    core
        Micro-Manager's core with the devices of ``config`` loaded.
    config
        The rig config.
    loaded
        What the config's ``load`` callable returned; the simulated rig returns its sample.
    watchdog
        The process that closes the shutter when this program cannot.
    undo
        What :meth:`close` undoes, last first, after it has closed the light.
    """

    def __init__(
        self,
        core: ChannelCore,
        config: RigConfig,
        loaded: object = None,
        watchdog: Watchdog | None = None,
        undo: contextlib.ExitStack | None = None,
    ) -> None:
        self.core = core
        self.config = config
        self.loaded = loaded
        self.images_taken = 0
        self.surface_z_um: float | None = None
        self._pixel_bytes: int | None = None
        self._here: StagePosition | None = None
        self._moving: str | None = None
        self._newest: tuple[NDArray[np.uint16] | None, int, float] = (None, 0, 0.0)
        self._light = LightPath(core, config, watchdog, self._tell_light_off)
        self._readout = Readout(core, config, self.asking)
        self.tell: Callable[..., None] = _tell_nobody
        self.alarms = self._light.alarms
        self._undo = undo or contextlib.ExitStack()
        self._undo.callback(self._light.dismiss_guards)
        self._undo.callback(self.close_light)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the light, dismiss its guards, let go of the devices and of the lock; a second call does nothing."""
        # Whatever of this fails, the rest is still done.
        self._undo.close()

    def asking(self, action: str, longer_s: float = 0.0) -> AbstractContextManager[None]:
        """Ask something of a device: see :meth:`acquire.light.LightPath.asking`."""
        return self._light.asking(action, longer_s)

    # ---- light -------------------------------------------------------------------------------------------------

    def light(self) -> AbstractContextManager[None]:
        """Keep the light on for the block; off on every way out of it."""
        return self._light.on()

    def open_light(self) -> None:
        """Open the shutter and read it back; after :meth:`stop` it stays closed until other :meth:`work` begins.

        Raises
        ------
        RigError
            When it does not open, when the watchdog does not answer, or when a guard has closed it since it was opened.
        """
        if not self._light.is_lit:
            power_mw = self._harmless_power_mw()
            self._newest = (*self._newest[:2], 0.0)
            self.tell("light on", power_mw=power_mw)  # told first: what cannot be written down is not switched on
            self._light.meter.set_power(power_mw or 0.0)
        self._light.open()

    def _harmless_power_mw(self) -> float | None:
        """Return the power as the device reports it; RigError when it is above the limit or outside the table."""
        role, table, limit_mw = self.config.roles.power, self.config.power, self.config.limits.power_mw
        value = self.property_value(role)
        if value is None or table is None:
            return None
        power_mw, low, high = table.power_at(value), table.value[0], table.value[-1]
        stays_off = "the light stays off; lower the power by hand and check the device"
        if power_mw > limit_mw * (1 + READ_BACK_TOLERANCE):
            raise RigError(f"{role} reads {power_mw:.1f} mW, above the limit of {limit_mw:.1f} mW; {stays_off}")
        if not low - READ_BACK_TOLERANCE <= value <= high + READ_BACK_TOLERANCE:
            raise RigError(f"{role} reads {value:g}, outside its table [power], {low:g} to {high:g}; {stays_off}")
        return power_mw

    def close_light(self) -> None:
        """Close the shutter; if it does not obey, set the power to its least; raises when neither works."""
        self._light.close()

    def _tell_light_off(self, lit: Lit) -> None:
        try:
            self.tell("light off", lit_s=round(lit.seconds, 3), mj=round(lit.mj, 4))
        except StudyError as error:  # a full disk: the light is off, and that matters more than its line
            self.alarms.append(f"the light went off, but that is not in the log: {error}")

    def check_guards(self) -> None:
        """Call up the guards of the light in the dark; RigError when the watchdog does not answer."""
        self._light.check_guards()

    def check_light(self) -> None:
        """Raise RigError when the light should be on and is not: what was imaged is dark."""
        self._light.check()

    def beat(self, frame_s: float = 0.0) -> None:
        """Give a sign of life: needed every ``stall_s`` while the light is on; :meth:`snap` does it for each frame.

        Parameters
        ----------
        frame_s
            How much longer than ``stall_s`` the next sign may take.

        Raises
        ------
        RigError
            When a guard had to close the light since it was opened: what was imaged since the last sign is dark.
        """
        self._light.beat(frame_s)

    def stop(self) -> None:
        """End the work that is going on: light off at once, then the motor that moves is halted where it is.

        May be called from any thread, as may ``pause``.
        """
        try:
            self._light.stop()
        finally:
            moving = self._moving
            if moving is not None:
                with contextlib.suppress(*DEVICE_FAULTS):  # one that cannot be halted ends its move
                    self.core.stop(moving)

    def pause(self, paused: bool = True) -> None:
        """Hold the stack that is being taken after the frame it is at, dark; ``pause(False)`` goes on."""
        self._light.pause(paused)

    def work(self) -> AbstractContextManager[None]:
        """Do something that can be stopped: see :meth:`acquire.light.LightPath.work`."""
        return self._light.work()

    def wait_while_paused(self) -> None:
        """Return when nobody wants a pause, light off until then."""
        self._light.wait_while_paused()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._light.stop_requested

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked to stop or to pause."""
        return self._light.interrupted

    @property
    def lit(self) -> Lit:
        """All light since the rig was opened, by the clock; its energy is 0 on a rig that does not know its power."""
        return self._light.meter.total

    @property
    def sight(self) -> RigSight:
        """What was last known of the rig."""
        meter, (frame, frames, frame_mw) = self._light.meter, self._newest
        is_lit = meter.reaches_sample
        return RigSight(is_lit, max(frame_mw, meter.power_mw) if is_lit else meter.power_mw, self._here, frame, frames)

    # ---- power -------------------------------------------------------------------------------------------------

    def power_setting(self, power_mw: float) -> float:
        """Return the property value for a power; refuses more than the limit, and what the table does not hold."""
        table = self.config.power
        if table is None:
            raise RigError(f"rig {self.config.name} has no power table; add [power] to its config")
        if refusal := self._why_not_power(power_mw, power_mw):
            raise RigError(refusal)
        return table.value_at(power_mw)

    @property
    def power_range_mw(self) -> tuple[float, float]:
        """Least and most power at the sample that limit and table allow, mW."""
        table, limit_mw = self.config.power, self.config.limits.power_mw
        return (0.0, limit_mw) if table is None else (table.power_mw[0], min(limit_mw, table.power_mw[-1]))

    def _why_not_power(self, least_mw: float, most_mw: float) -> str | None:
        low_mw, high_mw = self.power_range_mw
        for power_mw in (most_mw, least_mw):
            if not low_mw <= power_mw <= high_mw:
                return (
                    f"power {power_mw:.1f} mW is outside {low_mw:g} to {high_mw:.1f} mW, which the rig allows by its "
                    "limit and its table [power]; change power_mw or power_limit_mw"
                )
        return None

    def set_power_mw(self, power_mw: float) -> None:
        """Set the power at the sample and read it back."""
        if self.config.roles.power is not None:
            self._set_power(self.power_setting(power_mw), power_mw)

    def dim(self) -> None:
        """Set the least power that the table holds, the shutter as it is."""
        if self.config.power is not None:
            self._set_power(self.config.power.value[0], self.config.power.power_mw[0])

    def _set_power(self, value: float, power_mw: float) -> None:
        role, meter = self.config.roles.power, self._light.meter
        if role is None:
            return
        meter.set_power(max(power_mw, meter.power_mw))  # while it changes, and when it fails, the higher one counts
        self._set_number(role, value)
        meter.set_power(power_mw)

    def stepped_power(self, power_mw: float) -> None:
        """Say that a device set another power by itself."""
        self._light.meter.set_power(power_mw)

    def confirm_power_mw(self, power_mw: float) -> tuple[float | None, float | None]:
        """Return power at the sample (mW) and property value as read back; RigError when they are not those set."""
        role, table = self.config.roles.power, self.config.power
        if role is None or table is None:
            return None, None
        setting = self._read_back(role, self.power_setting(power_mw))
        return table.power_at(setting), setting

    def power_mw(self) -> float | None:
        """Return the power at the sample as the device reports it, mW; None when the rig cannot tell."""
        value, table = self.property_value(self.config.roles.power), self.config.power
        return None if value is None or table is None else table.power_at(value)

    # ---- stage -------------------------------------------------------------------------------------------------

    def position(self) -> StagePosition:
        """Return where the motors say they are."""
        roles = self.config.roles
        z = self._read_z()
        x = y = 0.0
        if roles.xy_stage is not None:
            x, y = self._read_xy(roles.xy_stage)
        self._here = StagePosition(x_um=x, y_um=y, z_um=z)
        return self._here

    def position_at(self, asked: StagePosition) -> StagePosition:
        """Return where the motors say they are; RigError when that is not where they were sent."""
        here = self.position()
        off_um = max(here.lateral_distance_um(asked), abs(here.z_um - asked.z_um))
        if off_um > STAGE_TOLERANCE_UM:
            raise RigError(
                f"the stage stands at {here}, {off_um:.1f} um from where it was sent ({asked}; tolerance "
                f"{STAGE_TOLERANCE_UM} um); check {self.config.roles.xy_stage} and {self.config.roles.z_drive}"
            )
        return here

    def _read_xy(self, stage: str) -> tuple[float, float]:
        with self._light.asking(f"reading the position of {stage}"):
            x, y = (float(value) for value in self.core.getXYPosition(stage))
        if not np.isfinite([x, y]).all():
            raise RigError(f"{stage} reads x {x}, y {y} um; check the stage and its cable")
        return x, y

    def why_not(self, position: StagePosition, plan: StackPlan | None = None) -> str | None:
        """Say why a stack (or a move) there is refused; None when it is allowed."""
        limits = self.config.limits
        if plan is None:
            return limits.why_not(position) or self._why_too_deep(position.z_um)
        half = plan.plane_offsets_um[-1]
        too_far = self.why_not(position.moved(z_um=-half)) or self.why_not(position.moved(z_um=half))
        if too_far or self.config.power is None:
            return too_far
        ends_mw = plan.plane_power_mw(0), plan.plane_power_mw(plan.planes - 1)
        return self._why_not_power(min(ends_mw), max(ends_mw))

    @property
    def z_range_um(self) -> tuple[float, float]:
        """Where the z drive may go, um: within its limits, and no deeper than the objective reaches below the brain."""
        low, high = self.config.limits.z_um
        reach_um = self.config.objective.working_distance_um
        if self.surface_z_um is None or reach_um is None:
            return low, high
        deepest = self.surface_z_um + self.config.orientation.deeper_is * reach_um
        return (low, min(high, deepest)) if self.config.orientation.deeper_is > 0 else (max(low, deepest), high)

    def _why_too_deep(self, z_um: float) -> str | None:
        low, high = self.z_range_um
        if low <= z_um <= high:
            return None
        return (
            f"z = {z_um:.1f} um is farther below the brain surface (z {self.surface_z_um:.1f} um) than the objective "
            f"reaches, {self.config.objective.working_distance_um:.1f} um: it would touch; lower the stack"
        )

    def move_to(self, position: StagePosition) -> None:
        """Go to a position: z is retracted before a long lateral move; refused beyond the limits."""
        if refusal := self.why_not(position):
            raise RigError(refusal)
        here, limits = self.position(), self.config.limits
        if here.lateral_distance_um(position) > limits.retract_beyond_um:
            self._retract(here.z_um)
        self._move_xy(position.x_um, position.y_um)
        self.move_z(position.z_um)
        self.tell("move", stage=self.position_at(position).model_dump())

    def _retract(self, z_um: float) -> None:
        """Take the objective away from the tissue, as far as the limits go; never towards it."""
        up = -self.config.orientation.deeper_is
        away_um = float(np.clip(z_um + up * self.config.limits.retract_um, *self.z_range_um))
        if up * (away_um - z_um) > 0:
            self.move_z(away_um)

    def _move_xy(self, x_um: float, y_um: float) -> None:
        stage = self.config.roles.xy_stage
        if stage is None:
            if (x_um, y_um) != (0.0, 0.0):
                raise RigError(f"rig {self.config.name} has no xy stage; move there by hand")
            return
        with self._light.asking(f"moving {stage} to x {x_um:.1f}, y {y_um:.1f} um"), self._halting(stage):
            self.core.setXYPosition(stage, x_um, y_um)
            self.core.waitForDevice(stage)
        time.sleep(self.config.settle.xy_s)
        x, y = self._read_xy(stage)
        off_um = float(np.hypot(x - x_um, y - y_um))
        if off_um > STAGE_TOLERANCE_UM:
            raise RigError(
                f"{stage} stopped at x {x:.1f}, y {y:.1f} um, {off_um:.1f} um from where it was sent "
                f"(tolerance {STAGE_TOLERANCE_UM} um); check the stage"
            )

    @contextlib.contextmanager
    def _halting(self, motor: str) -> Iterator[None]:
        """Let :meth:`stop` halt a motor while the block moves it."""
        self._moving = motor
        try:
            yield
        finally:
            self._moving = None

    def refuse_z(self, z_um: float) -> None:
        """Raise RigError when a position of the z drive is beyond the limits, or deeper than the objective reaches."""
        low, high = self.config.limits.z_um
        if not low <= z_um <= high:
            raise RigError(f"z = {z_um:.1f} um is outside the limits {low:.1f} to {high:.1f} um; lower the stack")
        if refusal := self._why_too_deep(z_um):
            raise RigError(refusal)

    def settled_z_um(self) -> float:
        """Return where the z drive says it is when it has come to rest, um."""
        drive = self.config.roles.z_drive
        with self.asking(f"waiting for {drive}"):
            self.core.waitForDevice(drive)
        time.sleep(self.config.settle.z_s)
        return self._read_z()

    def _read_z(self) -> float:
        drive = self.config.roles.z_drive
        return self._read(f"the position of {drive}", lambda: self.core.getPosition(drive))

    def move_z(self, z_um: float) -> None:
        """Move the z drive; refused beyond the limits."""
        self.refuse_z(z_um)
        drive = self.config.roles.z_drive
        with self._light.asking(f"moving {drive} to z {z_um:.1f} um"), self._halting(drive):
            self.core.setPosition(drive, z_um)
            self.core.waitForDevice(drive)
        time.sleep(self.config.settle.z_s)
        z = self._read_z()
        if abs(z - z_um) > STAGE_TOLERANCE_UM:
            raise RigError(
                f"{drive} stopped at z {z:.1f} um instead of {z_um:.1f} um (tolerance {STAGE_TOLERANCE_UM} um); "
                "check the z drive"
            )
        if self._here is not None:
            self._here = self._here.model_copy(update={"z_um": z})

    # ---- images ------------------------------------------------------------------------------------------------

    def set_scan(self, plan: StackPlan) -> StackPlan:
        """Set zoom, resolution, region, dwell, gain and channel; return the plan as this rig will take it.

        A rig without zoom has one pixel size: the plan that comes back says which.
        """
        roles, scan = self.config.roles, self.config.scan
        exposures = self.exposures(plan)  # asked first: a channel that the rig does not have changes nothing
        self._choose_camera(roles.scanner)
        if scan.field_um_at_zoom_1 is not None and roles.zoom and roles.resolution:
            self._set_number(roles.zoom, scan.field_um_at_zoom_1 / plan.field_of_view_um)
            self._set_number(roles.resolution, plan.pixels)
        if roles.pixel_dwell:
            self._set_number(roles.pixel_dwell, plan.dwell_us)
        if roles.pmt_gain and plan.pmt_gain is not None:
            self._set_number(roles.pmt_gain, plan.pmt_gain)
        self.choose(exposures[0])
        self._readout.clear_region(plan.pixels)
        with self._light.asking(f"asking {roles.scanner} for its image size"):
            height, width = self.core.getImageHeight(), self.core.getImageWidth()
            self._pixel_bytes = int(self.core.getBytesPerPixel())
        if height != width:
            raise RigError(f"{roles.scanner} gives images of {height} x {width} pixels; set it to a square region")
        if scan.pixel_um is None:
            if width != plan.pixels:
                raise RigError(f"{roles.scanner} gives {width} pixels, not {plan.pixels}; choose a size it offers")
            return self._readout.set_region(plan, width)
        fixed = {"pixels": width, "field_of_view_um": width * scan.pixel_um}
        return self._readout.set_region(plan.model_copy(update=fixed), width)

    def exposures(self, plan: StackPlan) -> tuple[Exposure, ...]:
        """Return the exposures that a frame of a plan takes; RigError when the rig lacks a channel."""
        return exposures_of(plan, self.config.channels)

    def choose(self, exposure: Exposure) -> None:
        """Choose what :meth:`snap` takes: set its preset, in the dark, and read it back."""
        if self._readout.needs_preset(exposure):
            self.close_light()
        self._readout.choose(exposure)

    def confirm(self, exposure: Exposure) -> None:
        """Raise RigError when the preset of an exposure is not set any more: its images show something else."""
        self._readout.confirm(exposure)

    def lit_ms(self, plan: StackPlan) -> float:
        """Return how long the light is on the tissue for a frame of all channels of a plan that was set, ms."""
        exposures = self.exposures(plan)
        if len(exposures) == 1:
            return self.exposure_ms()
        lit_ms = 0.0
        for exposure in reversed(exposures):  # the first one last: it stays
            self.choose(exposure)
            lit_ms += self.exposure_ms()
        return lit_ms

    def why_not_in_bursts(self, plan: StackPlan) -> str | None:
        """Say why the scanner cannot take the channels of a plan by itself; None when it can."""
        if len(plan.channels) > 1:
            return f"{len(plan.channels)} channels are taken"
        return self._readout.why_not_in_bursts(self.exposures(plan)[0])

    def snap(self, camera: str | None = None) -> NDArray[np.uint16]:
        """Return one frame of a camera, shape (y, x), or (c, y, x); refused when it is not chosen.

        Without a name it is the scanner, whose channels are those of the exposure that was chosen.
        """
        scanner = self.config.roles.scanner
        camera = camera or scanner
        self._refuse_other_than(camera)
        frame_s = self.exposure_ms(camera) / 1000
        self.beat(frame_s)
        with self._light.asking(f"taking an image with {camera}", longer_s=frame_s):
            self.core.snapImage()
            images = self._readout.images() if camera == scanner else [np.asarray(self.core.getImage())]
        self.beat()
        self.images_taken += 1
        frames = [self.grey(camera, image) for image in images]
        frame = frames[0] if len(frames) == 1 else np.stack(frames)
        if camera == scanner:
            self.show(frame)
        return frame

    def show(self, frame: NDArray[np.uint16]) -> None:
        """Let a frame of the scanner be seen by whoever looks at :attr:`sight`; nothing is kept or queued."""
        self._newest = frame, self._newest[1] + 1, self._light.meter.power_mw

    def grey(self, camera: str, frame: NDArray[Any]) -> NDArray[np.uint16]:
        """Return a frame as this program keeps it; RigError when it is no grey image of 8 or 16 bits as set up."""
        if frame.ndim != 2:
            raise RigError(f"{camera} gives {frame.ndim}-D images; choose a grey pixel type")
        if frame.dtype not in (np.uint8, np.uint16):
            raise RigError(f"{camera} gives {frame.dtype} pixels; choose a pixel type of 8 or 16 bits")
        asked = self._pixel_bytes if camera == self.config.roles.scanner else None
        if asked not in (None, frame.itemsize):
            raise RigError(f"{camera} gives {frame.dtype} pixels, not {asked} bytes each; somebody changed that")
        return frame.astype(np.uint16, copy=False)

    def snap_surface(self) -> NDArray[np.uint16]:
        """Return one image of the low-magnification camera, shape (y, x), laser closed."""
        camera = self.config.roles.surface_camera
        if camera is None:
            raise RigError(f"rig {self.config.name} has no surface camera (roles.surface_camera)")
        self.close_light()
        self._choose_camera(camera)
        try:
            return self.snap(camera)
        finally:
            self._choose_camera(self.config.roles.scanner)

    def _choose_camera(self, camera: str) -> None:
        with self._light.asking(f"choosing the camera {camera}"):
            self.core.setCameraDevice(camera)
        self._refuse_other_than(camera)

    def _refuse_other_than(self, camera: str) -> None:
        with self._light.asking(f"asking whether the camera is {camera}"):
            chosen = self.core.getCameraDevice()
        if chosen != camera:
            raise RigError(f"the camera is {chosen!r} instead of {camera!r}; somebody chose it, or the adapter did")

    # ---- properties --------------------------------------------------------------------------------------------

    def scan_settings(self) -> ScanSettings:
        """Read what must stay as it is while a stack is taken."""
        roles = self.config.roles
        return ScanSettings(
            exposure_ms=self.exposure_ms(),
            pmt_gain=self.property_value(roles.pmt_gain),
            zoom=self.property_value(roles.zoom),
            pixel_dwell_us=self.property_value(roles.pixel_dwell),
        )

    def exposure_ms(self, camera: str | None = None) -> float:
        """Return the frame time of a camera, of the scanner when none is named, ms."""
        camera = camera or self.config.roles.scanner
        return self._read(f"the exposure of {camera}", lambda: self.core.getExposure(camera))

    def property_value(self, role: PropertyRole | None) -> float | None:
        """Return a property as a number; None when the rig lacks that role."""
        if role is None:
            return None
        return self._read(str(role), lambda: self.core.getProperty(role.device, role.property))

    def _read(self, what: str, ask: Callable[[], Any]) -> float:
        with self._light.asking(f"reading {what}"):
            value = float(ask())
        if not np.isfinite(value):
            raise RigError(f"{what} reads {value}; check the device and its cable")
        return value

    def _set_number(self, role: PropertyRole, value: float) -> None:
        with self._light.asking(f"setting {role} to {value:g}"):
            self.core.setProperty(role.device, role.property, value)
            self.core.waitForDevice(role.device)
        self._read_back(role, value)

    def _read_back(self, role: PropertyRole, value: float) -> float:
        """Return what a property reads; RigError when that is not what it was set to."""
        read = self._read(str(role), lambda: self.core.getProperty(role.device, role.property))
        if abs(read - value) > READ_BACK_TOLERANCE * max(1.0, abs(value)):
            raise RigError(f"{role} reads {read:g} after it was set to {value:g}; check the device and its limits")
        return read
