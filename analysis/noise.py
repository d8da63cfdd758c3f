"""The noise of a stack, told from the stack itself: how the variance of a voxel grows with its intensity.

Photons come by chance, so their variance is as large as their number, times what the detector makes of one; the
electronics add a floor. Both are read off differences of neighbouring pixels in which the blurred tissue cancels.
Where frames were moved by parts of a pixel, neighbours share noise: a region is then noisier than its pixels tell, by
as much as the spectrum of the noise rises from the finest detail, which no tissue has, to the coarse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from analysis.jobs import two_at_a_time
from analysis.model import Floats, Stack

FOURTH_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0])  # of a spot as wide as the focus 4 % are left, of noise all
LEVELS = 24
LEAST_PIXELS = 200
MOST_PLANES = 8
FINEST = 0.55 * np.pi  # per pixel: with pixels of 0.12 um no tissue is seen at this frequency and above
MOST_SHARED = 20.0
UNCLIPPED = 0.9  # of the detector's range: beyond, noise is cut off


@dataclass(frozen=True)
class Noise:
    """Variance of the voxels of a stack: ``floor + per_unit * intensity``.

    Parameters
    ----------
    floor
        Variance at intensity 0; may be below 0, where the detector adds an offset.
    per_unit
        What each unit of intensity adds.
    voxel_um
        Voxel size of the stack (z, y, x), um.
    """

    floor: float
    per_unit: float
    voxel_um: tuple[float, float, float]

    def variance(self, intensity: float) -> float:
        """Return the variance of a voxel."""
        return max(0.0, self.floor + self.per_unit * intensity)

    def variance_of_mean(self, intensity: float, area_um2: float, depth_um: float) -> float:
        """Return the variance of the mean over a region, as large as so many voxels."""
        dz, dy, dx = self.voxel_um
        return self.variance(intensity) / (max(1.0, area_um2 / (dy * dx)) * max(1.0, depth_um / dz))


def estimate_noise(stack: Stack) -> Noise:
    """Estimate the noise from fourth differences along the rows, by intensity (photon transfer).

    Parameters
    ----------
    stack
        Any stack; one without contrast has no noise.
    """
    planes = stack.pixels[:: max(1, len(stack.pixels) // MOST_PLANES)]
    seen = [plane for plane in planes if plane.shape[1] > 5]
    parts = two_at_a_time([partial(_spread_by_level, plane.astype(np.float32), stack.saturation) for plane in seen])
    level, variance = np.concatenate([np.zeros((0, 2)), *parts]).T
    if not variance.any():
        return Noise(0.0, 0.0, stack.voxel_um)
    lowest = float(level.min())
    above = np.stack([np.ones_like(level), level - lowest], axis=1) / variance[:, None]
    (base, per_unit), _ = nnls(above, np.ones_like(level))
    ways = ((2, FOURTH_DIFFERENCE), (1, np.ones(1)))
    shared = float(np.prod(two_at_a_time([partial(_shared, planes, *way) for way in ways])))
    return Noise(shared * float(base - per_unit * lowest), shared * float(per_unit), stack.voxel_um)


def _shared(planes: NDArray[Any], axis: int, difference: Floats) -> float:
    """Return by how much coarse noise is stronger along an axis than what a difference shows, 1 for none shared.

    Noise shared with the next neighbours only has a spectrum c0 + 2 c1 cos(w): its end tells all of it.
    """
    length = planes.shape[axis]
    if length < 16:
        return 1.0
    lines = np.moveaxis(planes, axis, -1).astype(np.float32) * np.hanning(length).astype(np.float32)
    power = np.mean(np.abs(np.fft.rfft(lines)) ** 2, axis=(0, 1))
    frequency = np.linspace(0.0, np.pi, len(power))
    fine = frequency >= FINEST
    slope, base = np.polyfit(np.cos(frequency[fine]), power[fine], 1)
    passed = np.abs(np.exp(-1j * np.outer(frequency, np.arange(len(difference)))) @ difference) ** 2
    seen = float(np.sum(passed * (base + slope * np.cos(frequency))) / np.sum(passed))
    return float(np.clip((base + slope) / max(seen, 1e-12), 1.0, MOST_SHARED))


def _spread_by_level(plane: Floats, saturation: float | None) -> Floats:
    """Return mean and variance of pixels of like brightness, shape (levels, 2)."""
    width = plane.shape[1] - 4
    rows = [plane[:, k : k + width] for k in range(5)]
    mean = np.sum(rows, axis=0).ravel() / 5
    rest = sum(w * row for w, row in zip(FOURTH_DIFFERENCE, rows, strict=True)).ravel()
    if saturation is not None:
        within = mean < UNCLIPPED * saturation
        mean, rest = mean[within], rest[within]
    if not len(mean):
        return np.zeros((0, 2))
    low, high = np.percentile(mean, (1.0, 99.9))
    level = np.floor((mean - low) / max(high - low, 1e-9) * LEVELS).astype(int)
    inside = (level >= 0) & (level < LEVELS)
    level, mean, square = level[inside], mean[inside], rest[inside] ** 2 / (FOURTH_DIFFERENCE @ FOURTH_DIFFERENCE)
    count, sums, squares = (np.bincount(level, weights, minlength=LEVELS) for weights in (None, mean, square))
    told = (count >= LEAST_PIXELS) & (squares > 0)
    return np.stack([sums[told] / count[told], squares[told] / count[told]], axis=1)
