"""How the head sits under the objective in one session: a rigid placement and a smooth deformation of the tissue.

All points are (n, 3), (z, y, x) in um. ``tissue`` is the frame of the sample itself: z = 0 is the brain's surface and
grows with depth. ``stage`` is the frame of the motors: the tissue that is in focus at the image centre has the
coordinates that the stages read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

WAVES = 24
"""Plane waves in a deformation; more give a closer approach to a Gaussian random field."""

POINTS_AT_ONCE = 200_000
"""Points deformed in one go: keeps the temporary arrays under 20 MB."""


@dataclass(frozen=True)
class MountRanges:
    """How differently the head is mounted from session to session: each value is drawn uniformly within +- its range.

    Parameters
    ----------
    mount_shift_um
        Lateral shift of the head along each of x and y, um.
    mount_depth_um
        Shift of the head along z, um.
    mount_yaw_deg
        Rotation of the head about the optical axis, degrees.
    mount_tilt_deg
        Tilt of the head about each lateral axis, degrees.
    deformation_um
        Root mean square of the smooth deformation of the tissue, each axis, um.
    deformation_scale_um
        Distance over which the deformation changes, um.
    clarity
        Least and greatest brightness of a session beside that of the first.
    """

    mount_shift_um: float = 200.0
    mount_depth_um: float = 30.0
    mount_yaw_deg: float = 5.0
    mount_tilt_deg: float = 2.0
    deformation_um: float = 1.0
    deformation_scale_um: float = 50.0
    clarity: tuple[float, float] = (0.7, 1.2)


@dataclass(frozen=True, eq=False)
class Deformation:
    """A smooth random displacement of the tissue: a sum of plane waves.

    Parameters
    ----------
    wave_vectors
        Wave vectors, radian per um, shape (waves, 3).
    phases
        Phases, radian, shape (waves,).
    amplitudes_um
        Displacement of each wave, um, shape (waves, 3).
    """

    wave_vectors: Floats
    phases: Floats
    amplitudes_um: Floats

    def at(self, points_zyx_um: ArrayLike) -> Floats:
        """Return the displacement at tissue points, um, shape (n, 3)."""
        points = np.asarray(points_zyx_um)
        waves = np.cos(points @ self.wave_vectors.T.astype(points.dtype) + self.phases.astype(points.dtype))
        displacement: Floats = waves @ self.amplitudes_um.astype(points.dtype)
        return displacement


@dataclass(frozen=True, eq=False)
class Pose:
    """Where each point of the tissue lies on the stage in one session.

    Parameters
    ----------
    rotation
        Rotation of the head about the point at ``pivot_zyx_um``, shape (3, 3), on (z, y, x).
    shift_zyx_um
        Shift after the rotation, um.
    pivot_zyx_um
        Tissue point that the rotation leaves in place, um.
    deformation
        Smooth displacement of the tissue before it is rotated; None for none.
    clarity
        Brightness of this session beside that of a clear window.
    """

    rotation: Floats
    shift_zyx_um: Floats
    pivot_zyx_um: Floats
    deformation: Deformation | None
    clarity: float

    def to_stage(self, tissue_zyx_um: ArrayLike) -> Floats:
        """Map tissue points to the stage, um; keeps the precision of floating point input."""
        points = np.asarray(tissue_zyx_um)
        mapped = np.empty(points.shape, points.dtype if points.dtype == np.float32 else np.float64)
        for start in range(0, len(points), POINTS_AT_ONCE):
            part = points[start : start + POINTS_AT_ONCE].astype(mapped.dtype)
            if self.deformation is not None:
                part = part + self.deformation.at(part)
            mapped[start : start + POINTS_AT_ONCE] = self._place(part)
        return mapped

    def to_tissue(self, stage_zyx_um: ArrayLike) -> Floats:
        """Map stage points back to the tissue, um."""
        stage = np.atleast_2d(np.asarray(stage_zyx_um, dtype=float))
        undeformed = (stage - self.shift_zyx_um - self.pivot_zyx_um) @ self.rotation + self.pivot_zyx_um
        if self.deformation is None:
            return undeformed
        tissue = undeformed
        # The deformation changes by a few percent per um, so each round gains more than one digit.
        for _ in range(12):
            tissue = undeformed - self.deformation.at(tissue)
        return tissue

    def _place(self, points: Floats) -> Floats:
        rotation = self.rotation.astype(points.dtype)
        offset = (self.pivot_zyx_um + self.shift_zyx_um - self.rotation @ self.pivot_zyx_um).astype(points.dtype)
        placed: Floats = points @ rotation.T + offset
        return placed


def draw_pose(seed: int, session: int, ranges: MountRanges, pivot_zyx_um: ArrayLike = (50.0, 0.0, 0.0)) -> Pose:
    """Draw how the head is mounted in ``session``; session 0 is the one that later ones are compared with, unmoved.

    Parameters
    ----------
    seed
        Seed of the sample.
    session
        Number of the session, from 0.
    ranges
        How far mountings differ.
    pivot_zyx_um
        Tissue point about which the head is turned, um.
    """
    pivot = np.asarray(pivot_zyx_um, dtype=float)
    if session == 0:
        return Pose(np.eye(3), np.zeros(3), pivot, None, 1.0)
    rng = np.random.default_rng([seed, session, 1])
    reach_um = (ranges.mount_depth_um, ranges.mount_shift_um, ranges.mount_shift_um)
    shift = rng.uniform(-1.0, 1.0, 3) * reach_um
    yaw_deg = rng.uniform(-1.0, 1.0) * ranges.mount_yaw_deg
    tilts_deg = rng.uniform(-1.0, 1.0, 2) * ranges.mount_tilt_deg
    clarity = float(rng.uniform(*ranges.clarity))
    return Pose(_rotation(yaw_deg, *tilts_deg), shift, pivot, _draw_deformation(rng, ranges), clarity)


def _rotation(yaw_deg: float, tilt_y_deg: float, tilt_x_deg: float) -> Floats:
    """Return the rotation on (z, y, x): first about z, then about the lateral axes."""
    c, s = np.cos, np.sin
    yaw, tilt_y, tilt_x = np.deg2rad([yaw_deg, tilt_y_deg, tilt_x_deg])
    about_z = np.array([[1, 0, 0], [0, c(yaw), s(yaw)], [0, -s(yaw), c(yaw)]])
    about_x = np.array([[c(tilt_y), s(tilt_y), 0], [-s(tilt_y), c(tilt_y), 0], [0, 0, 1]])
    about_y = np.array([[c(tilt_x), 0, s(tilt_x)], [0, 1, 0], [-s(tilt_x), 0, c(tilt_x)]])
    rotation: Floats = about_x @ about_y @ about_z
    return rotation


def _draw_deformation(rng: np.random.Generator, ranges: MountRanges) -> Deformation | None:
    if ranges.deformation_um == 0.0:
        return None
    wave_vectors = rng.normal(0.0, 1.0 / ranges.deformation_scale_um, (WAVES, 3))
    phases = rng.uniform(0.0, 2.0 * np.pi, WAVES)
    # A wave of amplitude 1 has a mean square of 1/2.
    amplitudes_um = rng.normal(0.0, ranges.deformation_um * np.sqrt(2.0 / WAVES), (WAVES, 3))
    return Deformation(wave_vectors, phases, amplitudes_um)
