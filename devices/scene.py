"""What all simulated devices share: the sample as it is mounted now, where the stages stand, and the light.

One scene belongs to one core. Devices change their own part of it; the cameras look at the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from devices.detector import Detector
from devices.optics import FocalView, Image, Optics
from devices.pose import Pose
from devices.shutterfile import is_shutter_open
from devices.vessels import VesselMap, generate_vessels

Floats = NDArray[np.float64]

HEARTBEAT_HZ = 9.0
"""Heart rate of an anaesthetised mouse, Hz."""

DRIFT_PERIOD_S = 1500.0
"""Period of the slow wandering of the tissue, s."""


class Mounted(Protocol):
    """A sample under the objective."""

    @property
    def pose(self) -> Pose:
        """Where it lies."""
        ...

    def photons(self, view: FocalView, optics: Optics) -> Image:
        """Return the expected photons of a view at reference power, 1 us dwell and the surface."""
        ...

    def plasma_photons(self, view: FocalView) -> Image:
        """Return the expected photons that a red dye in the blood gives, as those of :meth:`photons`."""
        ...

    def depth_um(self, stage_zyx_um: Floats) -> float:
        """Return the depth in the tissue of a stage position, um."""
        ...


@dataclass(frozen=True)
class Motion:
    """How living tissue moves in the image.

    Parameters
    ----------
    pulsation_um
        Amplitude of the movement with the heartbeat, lateral, um.
    drift_um
        Amplitude of the slow wandering, each axis, um.
    """

    pulsation_um: float = 0.15
    drift_um: float = 0.3

    def pulsation_at(self, times_s: NDArray[np.floating]) -> Floats:
        """Return the lateral displacement (y, x) at each time, um, shape (n, 2)."""
        beat = np.sin(2.0 * np.pi * HEARTBEAT_HZ * times_s)
        return np.asarray(self.pulsation_um * beat[:, None] * np.array([0.6, 0.8]), dtype=np.float64)

    def drift_at(self, time_s: float) -> Floats:
        """Return the wandering (z, y, x), um; none at time 0."""
        angle = 2.0 * np.pi * time_s / DRIFT_PERIOD_S
        return self.drift_um * np.array([np.sin(0.7 * angle), np.sin(angle), np.sin(1.3 * angle)])


@dataclass(frozen=True)
class Scan:
    """The square image of a scanner, and which part of it is scanned.

    Parameters
    ----------
    pixels
        Width and height of the whole image.
    pixel_um
        Pixel size, um.
    dwell_us
        Time on each pixel, us.
    roi
        First column, first row, columns and rows that are scanned.
    """

    pixels: int
    pixel_um: float
    dwell_us: float
    roi: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns that are scanned."""
        _, _, columns, rows = self.roi
        return rows, columns

    @property
    def line_s(self) -> float:
        """Time of a row, s."""
        return self.shape[1] * self.dwell_us * 1e-6

    @property
    def side(self) -> int:
        """Width and height of the least square that holds what is scanned, from its first row and column on."""
        return max(self.shape)

    @property
    def off_centre_yx_um(self) -> Floats:
        """Where the middle of that square lies beside the middle of the whole image (down, right), um."""
        column, row, _, _ = self.roi
        return (np.array([row, column]) + (self.side - self.pixels) / 2) * self.pixel_um


@dataclass(frozen=True, eq=False)
class Seen:
    """What the last frame looked at.

    Parameters
    ----------
    scan
        What was scanned.
    mounted
        The sample; None in the dark.
    view
        Where its focal plane lay; None in the dark.
    light
        Light beside that at reference power, 1 us dwell and the surface.
    """

    scan: Scan
    mounted: Mounted | None = None
    view: FocalView | None = None
    light: float = 0.0


@dataclass(eq=False)
class Scene:
    """The state of the simulated rig.

    Parameters
    ----------
    optics
        Optical path and detector.
    detector, red_detector
        Turn green and red photons into counts.
    motion
        Movement of the tissue.
    seed
        Seed of the vessels on the surface.
    image_orientation
        Map of image offsets (right, down) to stage offsets (x, y), shape (2, 2).
    realtime
        Whether frames and moves take as long as on a rig.
    shutter_file
        File through which another process may close the shutter (:mod:`devices.shutterfile`).
    triggered
        What the scanner's frame clock leads to: each is called at the start of a frame.
    """

    optics: Optics
    detector: Detector
    red_detector: Detector
    motion: Motion
    seed: int
    image_orientation: Floats
    realtime: bool
    shutter_file: str | None = None
    mounted: Mounted | None = None
    x_um: float = 0.0
    y_um: float = 0.0
    z_um: float = 0.0
    shutter_open: bool = False
    power_mw: float = 0.0
    gain: float = 1.0
    session: int = 0
    clock_s: float = 0.0
    triggered: list[Callable[[], None]] = field(default_factory=list)
    seen: Seen | None = None

    @cached_property
    def vessels(self) -> VesselMap:
        """Surface of the brain; drawn when a camera first looks at it."""
        return generate_vessels(self.seed)

    @property
    def is_lit(self) -> bool:
        """Whether light passes the shutter: it was opened here, and no other process has closed it since."""
        return self.shutter_open and (self.shutter_file is None or is_shutter_open(self.shutter_file))

    @property
    def yx_from_image(self) -> Floats:
        """Map of image offsets (down, right) to stage offsets (y, x), shape (2, 2)."""
        return self.image_orientation[::-1, ::-1]

    @property
    def focus_zyx_um(self) -> Floats:
        """Stage position of the middle of the focal plane, um."""
        return np.array([self.z_um, self.y_um, self.x_um])

    def begin(self, session: int) -> None:
        """Begin a session: its own clock, its own noise."""
        self.session, self.clock_s = session, 0.0
        for detector in (self.detector, self.red_detector):
            detector.begin(session)

    def scan(self, scan: Scan) -> NDArray[np.uint16]:
        """Scan one frame where the stages stand, with the light there is; the clock goes on by the frame time."""
        for step in tuple(self.triggered):
            step()
        row_times_s = self.clock_s + np.arange(scan.side) * scan.line_s
        drift = self.motion.drift_at(self.clock_s)
        self.clock_s += scan.shape[0] * scan.line_s
        self.seen = self._look(scan, drift, row_times_s)
        return self._expose(self.detector, lambda mounted, view: mounted.photons(view, self.optics))

    def red(self) -> NDArray[np.uint16]:
        """Return what the red detector saw of the frame that was scanned last."""
        return self._expose(self.red_detector, lambda mounted, view: mounted.plasma_photons(view))

    def _look(self, scan: Scan, drift: Floats, row_times_s: NDArray[np.floating]) -> Seen:
        mounted = self.mounted
        if mounted is None or not self.is_lit or self.power_mw <= 0.0:
            return Seen(scan)
        middle = self.focus_zyx_um - drift
        centre = middle + np.array([0.0, *(self.yx_from_image @ scan.off_centre_yx_um)])
        sway = self.motion.pulsation_at(row_times_s)
        view = FocalView(centre, self.image_orientation, scan.pixel_um, scan.side, sway)
        light = self.optics.excitation(self.power_mw, scan.dwell_us, mounted.depth_um(middle))
        return Seen(scan, mounted, view, light)

    def _expose(self, detector: Detector, look: Callable[[Mounted, FocalView], Image]) -> NDArray[np.uint16]:
        seen = self.seen
        if seen is None:
            raise ValueError("Nothing was scanned yet. Take an image first.")
        rows, columns = seen.scan.shape
        if seen.mounted is None or seen.view is None:
            return detector.expose(None, (rows, columns), self.gain)
        photons = look(seen.mounted, seen.view)[:rows, :columns] * np.float32(seen.light)
        return detector.expose(photons, (rows, columns), self.gain)
