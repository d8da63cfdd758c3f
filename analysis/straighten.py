"""The dendrite's own frame: along, across, depth.

A stack is resampled along a centreline into a straight volume that all later steps share. The frame follows the
dendrite in the image plane only: ``across`` lies in the plane, perpendicular to the centreline, and ``depth`` is the
optical axis, so that the wide axial blur of the microscope stays one axis. This room knows nothing of spines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.spatial import cKDTree

from analysis.errors import StackError
from analysis.model import Dendrite, Floats, Stack

CENTRELINE_SMOOTHING_UM = 0.5  # removes the voxel staircase of a traced path, keeps bends of a few um
TANGENT_SMOOTHING_UM = 1.0
STEP_UM, DEPTH_STEP_UM = 0.12, 0.5  # samples of a straightened dendrite, in the image plane and in depth
AXIAL_TO_LATERAL = 3.0  # how many um of depth count as one um sideways: the microscope's blur is that much longer


@dataclass(frozen=True, eq=False)
class DendriteFrame:
    """The map between a stack and the frame of one dendrite in it.

    Points of the frame are (n, 3): ``along`` (arc length of the dendrite's given points, um), ``across`` (um, positive
    to the left when one looks along the dendrite at the displayed image, y pointing down) and ``depth`` (um below the
    centreline).

    Parameters
    ----------
    along_um
        Arc length of the samples below, shape (n,), equally spaced.
    centre_zyx_um
        Smoothed centreline, shape (n, 3), um in the stack frame.
    left_yx
        Unit vector to the left in the image plane, shape (n, 2).
    """

    along_um: Floats
    centre_zyx_um: Floats
    left_yx: Floats

    @classmethod
    def of(cls, dendrite: Dendrite, step_um: float) -> Self:
        """Lay the frame along a dendrite, one sample every ``step_um``.

        Raises
        ------
        StackError
            When the dendrite has no length.
        """
        given_um = dendrite.along_um
        if not given_um[-1] > 0:
            raise StackError(f"dendrite {dendrite.name} has no length: its {len(given_um)} points lie at one place")
        count = max(2, round(given_um[-1] / step_um) + 1)
        along = np.linspace(0.0, given_um[-1], count)
        spacing = along[1] - along[0]
        points = _interpolate(along, given_um, dendrite.points_zyx_um)
        centre = _smooth(points, CENTRELINE_SMOOTHING_UM / spacing)
        forward = np.gradient(_smooth(points, TANGENT_SMOOTHING_UM / spacing)[:, 1:], axis=0)
        return cls(along, centre, _unit(np.stack([-forward[:, 1], forward[:, 0]], axis=1)))

    def stack_from_dendrite(self, points_um: ArrayLike) -> Floats:
        """Map (along, across, depth) to (z, y, x) of the stack, both um, shape (n, 3)."""
        points = np.atleast_2d(np.asarray(points_um, dtype=float))
        centre, left = self._at(points[:, 0])
        mapped = centre
        mapped[:, 1:] += points[:, 1:2] * left
        mapped[:, 0] += points[:, 2]
        return mapped

    def dendrite_from_stack(self, points_zyx_um: ArrayLike) -> Floats:
        """Map (z, y, x) of the stack to (along, across, depth), both um, shape (n, 3).

        A point beyond an end of the dendrite is given the ``along`` of that end. Farther from the centreline than its
        radius of curvature several answers exist; the one on the nearest part of the dendrite is given.
        """
        points = np.atleast_2d(np.asarray(points_zyx_um, dtype=float))
        along = self._nearest_along(points)
        for _ in range(8):
            along = np.clip(along + self._ahead(points, along), self.along_um[0], self.along_um[-1])
        centre, left = self._at(along)
        across = np.sum((points[:, 1:] - centre[:, 1:]) * left, axis=1)
        return np.stack([along, across, points[:, 0] - centre[:, 0]], axis=1)

    def _nearest_along(self, points: Floats) -> Floats:
        scale = np.array([1.0 / AXIAL_TO_LATERAL, 1.0, 1.0])
        _, index = cKDTree(self.centre_zyx_um * scale).query(points * scale)
        nearest: Floats = self.along_um[index]
        return nearest

    def _ahead(self, points: Floats, along: Floats) -> Floats:
        """How far ahead of ``along`` the foot of each point's perpendicular lies, um (one Newton step)."""
        step = self.along_um[1] - self.along_um[0]
        miss = self._miss(points, along)
        slope = (self._miss(points, along + 0.5 * step) - self._miss(points, along - 0.5 * step)) / step
        step_um: Floats = np.clip(-miss / np.minimum(slope, -0.2), -0.5, 0.5)
        return step_um

    def _miss(self, points: Floats, along: Floats) -> Floats:
        centre, left = self._at(along)
        away = points[:, 1:] - centre[:, 1:]
        missed: Floats = away[:, 1] * -left[:, 0] + away[:, 0] * left[:, 1]
        return missed

    def _at(self, along: Floats) -> tuple[Floats, Floats]:
        centre = _interpolate(along, self.along_um, self.centre_zyx_um)
        return centre, _unit(_interpolate(along, self.along_um, self.left_yx))


@dataclass(frozen=True, eq=False)
class StraightenedDendrite:
    """One dendrite's surroundings, resampled straight.

    Parameters
    ----------
    dendrite
        What was straightened.
    frame
        The map between this volume's axes and the stack.
    volume
        Intensities, float32, shape (along, across, depth).
    inside
        Where the volume lies in the stack; outside, the nearest voxel is repeated.
    across_um, depth_um
        Axes of the volume; ``frame.along_um`` is the first.
    """

    dendrite: Dendrite
    frame: DendriteFrame
    volume: NDArray[np.float32]
    inside: NDArray[np.bool_]
    across_um: Floats
    depth_um: Floats

    @property
    def along_um(self) -> Floats:
        """Arc length of the volume's first axis, um."""
        return self.frame.along_um

    @cached_property
    def steps_um(self) -> tuple[float, float, float]:
        """Sample distance along, across and in depth, um."""
        along, across, depth = (float(a[1] - a[0]) for a in (self.along_um, self.across_um, self.depth_um))
        return along, across, depth

    def stack_from_dendrite(self, points_um: ArrayLike) -> Floats:
        """Map (along, across, depth) to (z, y, x) of the stack, both um, shape (n, 3)."""
        return self.frame.stack_from_dendrite(points_um)

    def dendrite_from_stack(self, points_zyx_um: ArrayLike) -> Floats:
        """Map (z, y, x) of the stack to (along, across, depth), both um, shape (n, 3)."""
        return self.frame.dendrite_from_stack(points_zyx_um)

    def index_of(self, points_um: ArrayLike) -> Floats:
        """Return fractional volume indices of (along, across, depth) points in um, shape (n, 3)."""
        first = np.array([self.along_um[0], self.across_um[0], self.depth_um[0]])
        index: Floats = (np.atleast_2d(np.asarray(points_um, dtype=float)) - first) / np.array(self.steps_um)
        return index

    def point_at(self, indices: ArrayLike) -> Floats:
        """Return the (along, across, depth) points, um, of fractional volume indices, shape (n, 3)."""
        first = np.array([self.along_um[0], self.across_um[0], self.depth_um[0]])
        point: Floats = first + np.atleast_2d(np.asarray(indices, dtype=float)) * np.array(self.steps_um)
        return point


def straighten(
    stack: Stack,
    dendrite: Dendrite,
    *,
    half_width_um: float = 4.0,
    half_depth_um: float = 3.0,
    step_um: float = STEP_UM,
    depth_step_um: float = DEPTH_STEP_UM,
) -> StraightenedDendrite:
    """Resample a stack along one dendrite, by linear interpolation.

    Parameters
    ----------
    half_width_um, half_depth_um
        How far the volume reaches to each side of the centreline, and above and below it, um.
    step_um, depth_step_um
        Sample distance in the image plane and in depth, um.
    """
    frame = DendriteFrame.of(dendrite, step_um)
    across = _symmetric_axis(half_width_um, step_um)
    depth = _symmetric_axis(half_depth_um, depth_step_um)
    shape = (len(frame.along_um), len(across), len(depth))
    voxel = np.array(stack.voxel_um)
    points = np.empty((3, *shape), dtype=np.float32)
    points[0] = ((frame.centre_zyx_um[:, None, None, 0] + depth) / voxel[0]).astype(np.float32)
    for axis in (1, 2):
        line = frame.centre_zyx_um[:, axis, None] + frame.left_yx[:, axis - 1, None] * across
        points[axis] = (line / voxel[axis]).astype(np.float32)[:, :, None]
    last = np.array(stack.pixels.shape).reshape(3, 1, 1, 1) - 1
    inside = np.all((points >= 0) & (points <= last), axis=0)
    volume = map_coordinates(stack.pixels, points, output=np.float32, order=1, mode="nearest")
    return StraightenedDendrite(dendrite, frame, volume, inside, across, depth)


def _symmetric_axis(half_um: float, step_um: float) -> Floats:
    count = round(half_um / step_um)
    return np.arange(-count, count + 1, dtype=float) * step_um


def _interpolate(at: Floats, known: Floats, values: Floats) -> Floats:
    return np.stack([np.interp(at, known, column) for column in values.T], axis=1)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def _smooth(points: Floats, sigma_samples: float) -> Floats:
    """Smooth a line without pulling in its ends: the line is mirrored through its end points before the filter."""
    sigma_samples = min(sigma_samples, float(len(points) - 1))
    reach = min(len(points) - 1, int(np.ceil(4 * sigma_samples)))
    head = 2 * points[0] - points[reach:0:-1]
    tail = 2 * points[-1] - points[-2 : -reach - 2 : -1]
    smooth: Floats = gaussian_filter1d(np.concatenate([head, points, tail]), sigma_samples, axis=0)
    return smooth[reach : reach + len(points)]
