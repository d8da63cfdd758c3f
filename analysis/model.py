"""The values that the analysis rooms hand to each other: stacks, transforms, dendrites, spines.

Arrays are (z, y, x). Points are (n, 3) arrays named ``_zyx_um``: micrometres from the centre of the first voxel of
their stack. The ``reference`` frame is the stack frame of the first stack of a field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
P = ParamSpec("P")
T = TypeVar("T")


FOUND_AGREEMENT_UM = 6.0
"""Halves of a stack that disagree by more about where it lies are never called found."""


class Verdict(StrEnum):
    """What a registration says about the place it was asked for."""

    FOUND = "found"
    UNSURE = "unsure"
    NOT_FOUND = "not found"


class SpineState(StrEnum):
    """Whether a spine is there in one session."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSCORABLE = "unscorable"


class Fate(StrEnum):
    """What became of a spine between two sessions."""

    STABLE = "stable"
    GAINED = "gained"
    LOST = "lost"
    UNSCORABLE = "unscorable"


class SpineKind(StrEnum):
    """Shape class of a protrusion."""

    SPINE = "spine"
    FILOPODIUM = "filopodium"
    STUBBY = "stubby"


@dataclass(frozen=True, eq=False)
class Transform:
    """An affine map of points in um; named as it maps: ``reference_from_today.apply(points_zyx_um)``.

    Parameters
    ----------
    matrix
        Homogeneous matrix, (4, 4) on (z, y, x, 1) or (3, 3) on (y, x, 1), um.

    Examples
    --------
    >>> t = Transform.rigid((1.0, 2.0, 3.0), yaw_deg=10.0)
    >>> np.allclose((t.inverse() @ t).matrix, np.eye(4))
    True
    """

    matrix: Floats

    @classmethod
    def identity(cls, dimensions: int = 3) -> Transform:
        """Return the map that changes nothing."""
        return cls(np.eye(dimensions + 1))

    @classmethod
    def translation(cls, shift_um: ArrayLike) -> Transform:
        """Return the map that adds ``shift_um`` (z, y, x or y, x)."""
        shift = np.asarray(shift_um, dtype=float)
        matrix = np.eye(len(shift) + 1)
        matrix[:-1, -1] = shift
        return cls(matrix)

    @classmethod
    def rigid(
        cls,
        shift_zyx_um: ArrayLike = (0.0, 0.0, 0.0),
        *,
        yaw_deg: float = 0.0,
        tilt_y_deg: float = 0.0,
        tilt_x_deg: float = 0.0,
        centre_zyx_um: ArrayLike = (0.0, 0.0, 0.0),
    ) -> Transform:
        """Rotate about ``centre_zyx_um``, then shift.

        Parameters
        ----------
        shift_zyx_um
            Shift added after the rotation, um.
        yaw_deg
            Rotation in the image plane, about z: positive turns +x towards +y.
        tilt_y_deg
            Tilt that lowers +y: z grows with y for a positive angle (rotation about the x axis).
        tilt_x_deg
            Tilt that lowers +x: z grows with x for a positive angle (rotation about the y axis).
        centre_zyx_um
            The point that the rotation leaves in place, um.
        """
        yaw, tilt_y, tilt_x = np.deg2rad([yaw_deg, tilt_y_deg, tilt_x_deg])
        c, s = np.cos, np.sin
        about_z = np.array([[1, 0, 0], [0, c(yaw), s(yaw)], [0, -s(yaw), c(yaw)]])
        about_x = np.array([[c(tilt_y), s(tilt_y), 0], [-s(tilt_y), c(tilt_y), 0], [0, 0, 1]])
        about_y = np.array([[c(tilt_x), 0, s(tilt_x)], [0, 1, 0], [-s(tilt_x), 0, c(tilt_x)]])
        matrix = np.eye(4)
        matrix[:3, :3] = about_x @ about_y @ about_z
        centre = np.asarray(centre_zyx_um, dtype=float)
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.asarray(shift_zyx_um, dtype=float)
        return cls(matrix)

    @property
    def dimensions(self) -> int:
        """Number of axes of the points that it maps: 2 or 3."""
        return len(self.matrix) - 1

    @classmethod
    def similarity(
        cls,
        shift_yx_um: ArrayLike = (0.0, 0.0),
        *,
        yaw_deg: float = 0.0,
        scale: float = 1.0,
        centre_yx_um: ArrayLike = (0.0, 0.0),
    ) -> Transform:
        """Rotate and scale an image about ``centre_yx_um``, then shift: a map in two dimensions, (y, x) in um."""
        yaw = np.deg2rad(yaw_deg)
        matrix = np.eye(3)
        matrix[:2, :2] = scale * np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        centre = np.asarray(centre_yx_um, dtype=float)
        matrix[:2, 2] = centre - matrix[:2, :2] @ centre + np.asarray(shift_yx_um, dtype=float)
        return cls(matrix)

    @property
    def yaw_deg(self) -> float:
        """Rotation in the image plane, the ``yaw_deg`` of :meth:`rigid` or :meth:`similarity`, degrees."""
        return float(np.rad2deg(np.arctan2(-self.matrix[-2, -3], self.matrix[-2, -2])))

    @property
    def tilt_yx_deg(self) -> tuple[float, float]:
        """The ``tilt_y_deg`` and ``tilt_x_deg`` of :meth:`rigid`, degrees."""
        m = self.matrix
        tilt_y, tilt_x = np.arctan2(-m[1, 0], m[0, 0]), np.arctan2(-m[2, 0], np.hypot(m[2, 1], m[2, 2]))
        return float(np.rad2deg(tilt_y)), float(np.rad2deg(tilt_x))

    @property
    def tilt_deg(self) -> float:
        """Angle between the two optical axes, degrees; 0 for a transform in two dimensions."""
        if self.dimensions == 2:
            return 0.0
        axis = self.matrix[:3, 0] / np.linalg.norm(self.matrix[:3, 0])
        return float(np.rad2deg(np.arccos(np.clip(axis[0], -1.0, 1.0))))

    def apply(self, points_um: ArrayLike) -> Floats:
        """Map points, shape (n, dimensions) or (dimensions,), um."""
        points = np.asarray(points_um, dtype=float)
        mapped: Floats = points @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1]
        return mapped

    def inverse(self) -> Transform:
        """Return the map back."""
        return Transform(np.asarray(np.linalg.inv(self.matrix), dtype=np.float64))

    def __matmul__(self, other: Transform) -> Transform:
        return Transform(self.matrix @ other.matrix)


@dataclass(frozen=True, eq=False)
class Stack:
    """One channel of a stack, with what is needed to measure in it.

    Parameters
    ----------
    pixels
        Intensities, shape (z, y, x), any real dtype.
    voxel_um
        Voxel size (z, y, x), um.
    name
        How to call it in messages and reports, mostly the file's name.
    source
        File it was read from.
    saturation
        Intensity at which the detector clips; None when not known (floating point data).
    provenance
        What the file says of its making: ``animal``, ``field``, ``session``... when written by samefield.
    channels
        Number of channels of the file; this is one of them.
    """

    pixels: NDArray[Any]
    voxel_um: tuple[float, float, float]
    name: str = "stack"
    source: Path | None = None
    saturation: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    channels: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels (z, y, x)."""
        return self.pixels.shape

    @property
    def extent_zyx_um(self) -> Floats:
        """Position of the centre of the last voxel, um."""
        extent: Floats = (np.array(self.shape) - 1) * np.array(self.voxel_um)
        return extent

    def recall(self, function: Callable[Concatenate[Stack, P], T], *inputs: P.args, **options: P.kwargs) -> T:
        """Return ``function(self, *inputs, **options)``; a stack with a memory need not compute it again."""
        return function(self, *inputs, **options)

    def voxels(self, points_zyx_um: ArrayLike) -> Floats:
        """Return fractional voxel indices of points, shape (n, 3)."""
        indices: Floats = np.asarray(points_zyx_um, dtype=float) / np.array(self.voxel_um)
        return indices


@dataclass(frozen=True, eq=False)
class Dendrite:
    """The centreline of one dendrite.

    Parameters
    ----------
    name
        Number that stays with the dendrite over all sessions of a field.
    points_zyx_um
        Ordered centreline points about 0.1-0.25 um apart, shape (n, 3), um in the stack frame.
    radius_um
        Shaft radius at each point, shape (n,), um.
    """

    name: int
    points_zyx_um: Floats
    radius_um: Floats

    @cached_property
    def along_um(self) -> Floats:
        """Arc length from the first point to each point, shape (n,), um."""
        steps = np.linalg.norm(np.diff(self.points_zyx_um, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length_um(self) -> float:
        """Arc length of the whole centreline, um."""
        return float(self.along_um[-1])
