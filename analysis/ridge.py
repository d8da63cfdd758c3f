"""How much each voxel of a stack looks like the middle of a tube, in units of the stack's own noise.

The room below tracing: it knows voxels and scales, and deliberately nothing of paths or dendrites.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        for scale_um in SCALES_UM:
            _add_scale(response, pooled, np.array(voxel_um), scale_um)
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


def _add_scale(response: NDArray[np.float32], pooled: NDArray[np.float32], voxel_um: Floats, scale_um: float) -> None:
    """Raise the response to that of one width."""
    sigma = scale_um * np.array([AXIAL_STRETCH, 1.0, 1.0]) / voxel_um
    sigma[0] = min(max(sigma[0], 0.7), AXIAL_STRETCH * SCALES_UM[0] / voxel_um[0] + 0.5)
    smooth = ndimage.gaussian_filter(pooled, sigma, mode="nearest", truncate=3.0)
    smooth = np.pad(smooth, 1, mode="edge")
    inner = smooth[1:-1, 1:-1, 1:-1]
    bend = sigma[1] ** 2 * (smooth[1:-1, 2:, 1:-1] + smooth[1:-1, :-2, 1:-1] - 2 * inner)
    bend += sigma[2] ** 2 * (smooth[1:-1, 1:-1, 2:] + smooth[1:-1, 1:-1, :-2] - 2 * inner)
    noise = _spread(bend)
    if noise <= 0:
        return
    where = np.flatnonzero(bend < -_CANDIDATE_NOISES * noise)
    strength = _tubeness(smooth, np.unravel_index(where, inner.shape), sigma) / noise
    response[where] = np.maximum(response[where], strength)


def _spread(values: NDArray[np.float32]) -> float:
    """Return the robust standard deviation of a volume that is mostly background."""
    sample = values.ravel()[:: max(1, values.size // 1_000_000)]
    low, middle = np.percentile(sample, [15.87, 50.0])
    return float(middle - low) if middle - low > 1e-6 * max(1.0, float(np.abs(sample).max())) else 0.0


def _tubeness(smooth: NDArray[np.float32], at: tuple[NDArray[np.intp], ...], sigma: Floats) -> NDArray[np.float32]:
    """Return the geometric mean of the two strongest negative curvatures at some voxels of a padded volume."""
    strides = np.array([smooth.shape[1] * smooth.shape[2], smooth.shape[2], 1])
    flat, here = smooth.ravel(), sum((a + 1) * s for a, s in zip(at, strides, strict=True))
    hessian = np.empty((len(here), 3, 3), np.float32)
    for i in range(3):
        a = strides[i]
        hessian[:, i, i] = sigma[i] ** 2 * (flat[here + a] + flat[here - a] - 2 * flat[here])
        for j in range(i):
            b = strides[j]
            mixed = flat[here + a + b] + flat[here - a - b] - flat[here + a - b] - flat[here - a + b]
            hessian[:, i, j] = hessian[:, j, i] = sigma[i] * sigma[j] / 4 * mixed
    curvature = np.linalg.eigvalsh(hessian)
    strength: NDArray[np.float32] = np.sqrt(np.maximum(-curvature[:, 0], 0) * np.maximum(-curvature[:, 1], 0))
    return strength
