"""The simulated low-magnification camera that sees the vessels on the brain's surface under its own lamp."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pymmcore_plus.experimental.unicore import SimpleCameraDevice
from scipy import ndimage

from devices.detector import FULL_SCALE
from devices.optics import Image
from devices.pose import Pose
from devices.scene import Scene
from devices.vessels import MAP_PIXEL_UM

TISSUE_COUNTS_PER_MS = 110.0
"""Counts of bare tissue for each ms of exposure."""

COUNTS_PER_ELECTRON = 0.4
"""Counts of one photoelectron."""

DARK_COUNTS = 100.0
"""Counts without light."""

DEFOCUS_PX_PER_UM = 0.008
"""Growth of the blur with the distance of the focus from the surface, pixels (standard deviation) per um."""


class SimulatedSurfaceCamera(SimpleCameraDevice):
    """A camera centred on the stage's position; the laser's shutter does not matter to it.

    Parameters
    ----------
    scene
        What the devices look at.
    pixel_um
        Pixel size, um.
    pixels
        Width and height of the sensor.
    seed
        Seed of the camera's noise.
    """

    def __init__(self, scene: Scene, pixel_um: float, pixels: int, seed: int) -> None:
        super().__init__()
        self._scene = scene
        self._pixel_um = pixel_um
        self._pixels = pixels
        self._seed, self._images = seed, itertools.count()
        self._exposure_ms = 20.0

    def get_exposure(self) -> float:
        """Return the exposure, ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure, ms."""
        if not 0.1 <= exposure <= 10_000.0:
            raise ValueError(
                f"The surface camera cannot expose {exposure:g} ms: 0.1 to 10000 ms. Ask for a time inside."
            )
        self._exposure_ms = float(exposure)

    def sensor_shape(self) -> tuple[int, int]:
        """Return the shape of an image."""
        return self._pixels, self._pixels

    def dtype(self) -> DTypeLike:
        """Return the pixel type."""
        return np.uint16

    def snap(self, buffer: NDArray[Any]) -> Mapping[str, Any]:
        """Take one image."""
        if self._scene.realtime:
            time.sleep(self._exposure_ms / 1000.0)
        mounted = self._scene.mounted
        electrons = np.zeros((self._pixels, self._pixels), dtype=np.float32)
        if mounted is not None:
            lamp = self._exposure_ms * TISSUE_COUNTS_PER_MS / COUNTS_PER_ELECTRON * mounted.pose.clarity
            electrons = self._surface(mounted.pose) * self._vignette * np.float32(lamp)
        rng = np.random.default_rng([self._seed, 6, self._scene.session, next(self._images)])
        noise = rng.standard_normal(electrons.shape, dtype=np.float32) * np.sqrt(electrons + 25.0)
        counts = DARK_COUNTS + COUNTS_PER_ELECTRON * (electrons + noise)
        buffer[:] = np.clip(np.rint(counts), 0, FULL_SCALE).astype(np.uint16)
        return {"PixelSize_um": self._pixel_um}

    def _surface(self, pose: Pose) -> Image:
        """Look at the vessel map through the pose of the head."""
        corners = np.array([[0.0, 0.0], [self._pixels - 1.0, 0.0], [0.0, self._pixels - 1.0]])
        offsets = (corners - (self._pixels - 1) / 2.0) * self._pixel_um @ self._scene.yx_from_image.T
        stage = np.column_stack([np.zeros(3), offsets + np.array([self._scene.y_um, self._scene.x_um])])
        stage[:, 0] = pose.shift_zyx_um[0]
        seen = pose.to_tissue(stage)[:, 1:] / MAP_PIXEL_UM + self._scene.vessels.centre_px
        matrix = np.column_stack([seen[1] - seen[0], seen[2] - seen[0]]) / (self._pixels - 1)
        shape = (self._pixels, self._pixels)
        image = ndimage.affine_transform(
            self._scene.vessels.brightness, matrix, seen[0], shape, output=np.float32, order=1, mode="reflect"
        )
        away_um = abs(self._scene.z_um - float(pose.shift_zyx_um[0]))
        blur_px = min(0.5 + DEFOCUS_PX_PER_UM * away_um, 8.0)
        return np.asarray(ndimage.gaussian_filter(image, blur_px, truncate=3.0), dtype=np.float32)

    @cached_property
    def _vignette(self) -> Image:
        """Return the fall of the lamp's light towards the corners."""
        along = np.linspace(-1.0, 1.0, self._pixels, dtype=np.float32) ** 2
        return np.float32(1.0) - np.float32(0.15) * (along[:, None] + along[None, :])
