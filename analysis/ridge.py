"""How much each voxel of a stack looks like the middle of a tube, in units of the stack's own noise.

The room below tracing: it knows voxels and scales, and deliberately nothing of paths or dendrites.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analysis.model import Floats, Stack

RIDGE_VOXEL_UM = 0.25
"""Lateral voxel of the ridge search, um: half the width of a thin dendrite (0.5-0.6 um at the 920 nm resolution)."""
AXIAL_STRETCH = 2.4
"""Axial over lateral scale of the filters: the elongation of a two-photon focus at NA 0.8-1.0."""
SCALES_UM = (0.45, 0.9)
"""Lateral widths (Gaussian sigma) of the tubes looked for, um: oblique and tuft dendrites; apical trunks."""
_CANDIDATE_NOISES = 3.0
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])
_VOXELS_AT_ONCE = 1 << 16  # what is known of so many stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Ridge:
    """The voxels of a stack that may lie in a tube.

    Parameters
    ----------
    shape
        Shape (z, y, x) of the pooled volume.
    voxel_um
        Its voxel size (z, y, x), um.
    origin_um
        Position of the centre of its first voxel in the stack frame, um.
    index
        Flat indices of the candidate voxels, ascending, shape (n,).
    strength
        Tube response of each, in noises of the background, shape (n,).
    """

    shape: tuple[int, int, int]
    voxel_um: tuple[float, float, float]
    origin_um: tuple[float, float, float]
    index: NDArray[np.intp]
    strength: NDArray[np.float32]

    def voxels(self, which: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the (z, y, x) voxel indices of some candidates, shape (n, 3)."""
        return np.stack(np.unravel_index(self.index[which], self.shape), axis=1)

    def points_zyx_um(self, which: NDArray[np.intp]) -> Floats:
        """Return the positions of some candidates in the stack frame, um, shape (n, 3)."""
        points: Floats = self.voxels(which) * np.array(self.voxel_um) + np.array(self.origin_um)
        return points


def find_ridges(stack: Stack) -> Ridge:
    """Filter a stack for bright tubes at several widths.

    The response is the geometric mean of the two strongest negative curvatures of the smoothed stack (Sato et al.
    1998). The axial curvature is scaled by the elongation of the focus: a tube answers alike in every direction.

    Parameters
    ----------
    stack
        Any size; a stack without structure gives a ridge without candidates.
    """
    pooled, factor = _pool(stack)
    voxel_um = (stack.voxel_um[0], stack.voxel_um[1] * factor[0], stack.voxel_um[2] * factor[1])
    origin_um = (0.0, *((f - 1) / 2 * v for f, v in zip(factor, stack.voxel_um[1:], strict=True)))
    response = np.zeros(pooled.size, np.float32)
    if pooled.size and min(pooled.shape[1:]) >= 5:
        with ThreadPoolExecutor(len(SCALES_UM)) as pool:
            for where, strength in pool.map(partial(_tubes, pooled, np.array(voxel_um)), SCALES_UM):
                response[where] = np.maximum(response[where], strength)
    index = np.flatnonzero(response)
    return Ridge(pooled.shape, voxel_um, origin_um, index, response[index])  # type: ignore[arg-type]


def _pool(stack: Stack) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Average neighbouring pixels until they are about RIDGE_VOXEL_UM wide."""
    fy, fx = (max(1, round(RIDGE_VOXEL_UM / v)) for v in stack.voxel_um[1:])
    z, y, x = stack.pixels.shape
    ny, nx = y // fy, x // fx
    pooled = np.empty((z, ny, nx), np.float32)
    for plane, out in zip(stack.pixels, pooled, strict=True):
        parts = [plane[i : ny * fy : fy, j : nx * fx : fx] for i in range(fy) for j in range(fx)]
        out[:] = sum(part.astype(np.float32) for part in parts) / np.float32(fy * fx)
    return pooled, (fy, fx)


def _tubes(
    pooled: NDArray[np.float32], voxel_um: Floats, scale_um: float
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the flat indices of the voxels that may lie in a tube of one width, and their response."""
    sigma = scale_um * np.array([AXIAL_STRETCH, 1.0, 1.0]) / voxel_um
    sigma[0] = min(max(sigma[0], 0.7), AXIAL_STRETCH * SCALES_UM[0] / voxel_um[0] + 0.5)
    smooth = _smooth_with_rim(pooled, sigma)
    inner = smooth[1:-1, 1:-1, 1:-1]
    bend, across = np.empty((2, *pooled.shape), np.float32)
    for axis, out in ((1, bend), (2, across)):
        ndimage.correlate1d(inner, sigma[axis] ** 2 * _SECOND_DIFFERENCE, axis, output=out, mode="nearest")
    bend += across
    noise = _spread(bend)
    where = np.flatnonzero(bend < -_CANDIDATE_NOISES * noise) if noise > 0 else np.zeros(0, np.intp)
    parts = np.array_split(where, len(where) // _VOXELS_AT_ONCE + 1)
    return where, np.concatenate([_tubeness(smooth, part, sigma) / np.float32(noise or 1.0) for part in parts])


def _smooth_with_rim(pooled: NDArray[np.float32], sigma: Floats) -> NDArray[np.float32]:
    """Return the smoothed volume in a rim of one voxel, which repeats its faces."""
    smooth = np.empty(np.array(pooled.shape) + 2, np.float32)
    ndimage.gaussian_filter(pooled, sigma, output=smooth[1:-1, 1:-1, 1:-1], mode="nearest", truncate=3.0)
    for axis in range(3):
        faces = np.moveaxis(smooth, axis, 0)
        faces[0], faces[-1] = faces[1], faces[-2]
    return smooth


def _spread(values: NDArray[np.float32]) -> float:
    """Return the robust standard deviation of a volume that is mostly background."""
    sample = values.ravel()[:: max(1, values.size // 1_000_000)]
    low, middle = np.percentile(sample, [15.87, 50.0])
    return float(middle - low) if middle - low > 1e-6 * max(1.0, float(np.abs(sample).max())) else 0.0


def _tubeness(smooth: NDArray[np.float32], where: NDArray[np.intp], sigma: Floats) -> NDArray[np.float32]:
    """Return the geometric mean of the two strongest negative curvatures at some voxels inside a rim."""
    strides = np.array([smooth.shape[1] * smooth.shape[2], smooth.shape[2], 1])
    inside = np.unravel_index(where, tuple(size - 2 for size in smooth.shape))
    flat, here = smooth.ravel(), sum((a + 1) * s for a, s in zip(inside, strides, strict=True))
    same, mixed = [], []
    for i, a in enumerate(strides):
        same.append(sigma[i] ** 2 * (flat[here + a] + flat[here - a] - 2 * flat[here]))
        for j, b in enumerate(strides[:i]):
            twisted = flat[here + a + b] + flat[here - a - b] - flat[here + a - b] - flat[here - a + b]
            mixed.append(sigma[i] * sigma[j] / 4 * twisted)
    strongest, second = _two_lowest_eigenvalues(np.stack(same), np.stack(mixed))
    strength: NDArray[np.float32] = np.sqrt(np.maximum(-strongest, 0) * np.maximum(-second, 0)).astype(np.float32)
    return strength


def _two_lowest_eigenvalues(same: Floats, mixed: Floats) -> tuple[Floats, Floats]:
    """Return the two lowest eigenvalues of symmetric 3 x 3 matrices in closed form (Smith 1961), ascending.

    Parameters
    ----------
    same
        Diagonals, shape (3, n).
    mixed
        The elements (1, 0), (2, 0), (2, 1), shape (3, n).
    """
    middle = same.mean(axis=0)
    a, b, c = same - middle
    d, e, f = mixed
    wide = np.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6)
    half_determinant = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / 2
    angle = np.arccos(np.clip(half_determinant / np.maximum(wide, 1e-12) ** 3, -1.0, 1.0)) / 3
    lowest, highest = (middle + 2 * wide * np.cos(angle + turn) for turn in (2 * np.pi / 3, 0.0))
    return lowest, 3 * middle - lowest - highest
