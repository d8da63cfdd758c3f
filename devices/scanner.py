"""The simulated laser-scanning microscope, as Micro-Manager sees it: a camera with zoom, resolution and pixel dwell."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SimpleCameraDevice, pymm_property

from devices.scene import Scan, Scene

DETECTORS = ("green", "red")
"""Names of the scanner's channels."""


class SimulatedScanner(SimpleCameraDevice):
    """A square scan of ``Resolution`` pixels; the pixel is ``field_um_at_zoom_1 / Zoom / Resolution``.

    A region of interest is scanned alone: with fewer lines, and shorter ones, a frame takes less time. Two detectors
    look at every frame, a green and a red one.

    Parameters
    ----------
    scene
        What the devices look at.
    field_um_at_zoom_1
        Width of the image at zoom 1, um.
    """

    def __init__(self, scene: Scene, field_um_at_zoom_1: float) -> None:
        super().__init__()
        self._scene = scene
        self._field_um_at_zoom_1 = field_um_at_zoom_1
        self._zoom = 5.0
        self._resolution = 512
        self._dwell_us = 2.0

    @pymm_property(limits=(1.0, 40.0), name="Zoom")
    def zoom(self) -> float:
        """Return the zoom."""
        return self._zoom

    @zoom.setter
    def _set_zoom(self, zoom: float) -> None:
        self._zoom = float(zoom)

    @pymm_property(limits=(64, 2048), name="Resolution")
    def resolution(self) -> int:
        """Return the width and height of the image, pixels."""
        return self._resolution

    @resolution.setter
    def _set_resolution(self, resolution: float) -> None:
        if int(resolution) != resolution:
            raise ValueError(f"Resolution is {resolution:g} pixels; it must be a whole number from 64 to 2048.")
        self._resolution = int(resolution)
        self.clear_roi()

    @pymm_property(limits=(0.05, 100.0), name="PixelDwell_us")
    def pixel_dwell_us(self) -> float:
        """Return the time a pixel is lit, us."""
        return self._dwell_us

    @pixel_dwell_us.setter
    def _set_pixel_dwell_us(self, dwell_us: float) -> None:
        self._dwell_us = float(dwell_us)

    @pymm_property(is_read_only=True, name="BitDepth")
    def bit_depth(self) -> int:
        """Return the bits of the digitiser: the core reports those of the pixel type."""
        return 12

    @property
    def pixel_um(self) -> float:
        """Pixel size, um."""
        return self._field_um_at_zoom_1 / self._zoom / self._resolution

    def get_exposure(self) -> float:
        """Return the frame time, ms."""
        return self._dwell_us * self._pixels_lit / 1000.0

    @property
    def _pixels_lit(self) -> int:
        _, _, columns, rows = self.get_roi()
        return columns * rows

    def set_exposure(self, exposure: float) -> None:
        """Set the pixel dwell so that a frame takes ``exposure`` ms."""
        self.set_property_value("PixelDwell_us", exposure * 1000.0 / self._pixels_lit)

    def channel_names(self) -> tuple[str, ...]:
        """Return the names of the detectors."""
        return DETECTORS

    def channel_image(self, channel: int) -> NDArray[np.uint16]:
        """Return what another detector than the first saw of the frame that was scanned last."""
        if DETECTORS[channel] != "red":
            raise ValueError(f"Detector {channel} is the first, whose image is the camera's own.")
        return self._scene.red()

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], DTypeLike], NDArray[Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """Scan frames one after another: of the region alone, where the camera's own way crops whole ones."""
        shape = self.shape()
        for _ in itertools.repeat(None) if n is None else range(n):
            yield self.snap(get_buffer(shape, self.dtype()))

    def sensor_shape(self) -> tuple[int, int]:
        """Return the shape of a frame."""
        return self._resolution, self._resolution

    def dtype(self) -> DTypeLike:
        """Return the pixel type."""
        return np.uint16

    def snap(self, buffer: NDArray[Any]) -> Mapping[str, Any]:
        """Scan one frame."""
        started_s = time.monotonic()
        buffer[:] = self._scene.scan(Scan(self._resolution, self.pixel_um, self._dwell_us, self.get_roi()))
        if self._scene.realtime:
            time.sleep(max(self.get_exposure() / 1000.0 - (time.monotonic() - started_s), 0.0))
        return {"Zoom": self._zoom, "PixelDwell_us": self._dwell_us, "PixelSize_um": self.pixel_um}
