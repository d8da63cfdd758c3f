"""Where each place along a dendrite lies in today's stack, when the tissue has changed its shape by a little.

A rigid motion leaves spines as far from their prediction as they stand from each other. So the surroundings of every
few micrometres of the dendrite are matched one by one around the rigid prediction, and the displacements are joined
to one smooth course along the dendrite. Nothing is known here of spines, nor of how the rigid motion was found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, ndimage
from scipy.spatial import cKDTree

from analysis.correlate import Image, flatten, match_windows, peak_position
from analysis.errors import StackError
from analysis.model import Floats, Stack, Transform

STEP_UM = (0.4, 0.4, 1.0)
EVERY_UM = 4.0
BAND_UM = ((0.4, 0.4, 0.7), (4.0, 4.0, 6.0))
CURVE_SMOOTHING_UM = 1.5
DRAWN_OUT_UM = 17.0  # half the longest window and its reach
BEND_STIFFNESS, SLOPE_STIFFNESS, ANCHOR = 1.0, 0.05, 0.002
LEAST_CORRELATION = 0.45


@dataclass(frozen=True)
class Window:
    """What is matched around a place, and how far: along, across and in depth, um."""

    size_um: tuple[float, float, float]
    reach_um: tuple[float, float, float]

    @property
    def size(self) -> list[int]:
        """Its size in steps."""
        return [round(um / step) for um, step in zip(self.size_um, STEP_UM, strict=True)]

    @property
    def span(self) -> list[int]:
        """How far it is moved each way, steps."""
        return [round(um / step) for um, step in zip(self.reach_um, STEP_UM, strict=True)]


WINDOWS = (Window((24.0, 12.0, 8.0), (4.0, 4.0, 6.0)), Window((20.0, 12.0, 8.0), (1.6, 1.6, 2.0)))


@dataclass(frozen=True, eq=False)
class DendriteRegistration:
    """Where the places of a dendrite lie in today's stack.

    Parameters
    ----------
    reference_points_zyx_um
        Centreline in the reference stack's frame, shape (n, 3), um.
    today_points_zyx_um
        The same places in today's stack's frame, shape (n, 3), um.
    correlation
        How well the surroundings of each place were recognised, shape (n,), -1 to 1; about 0 where today's stack ends.
    today_from_reference
        The rigid motion that the displacements refine.
    """

    reference_points_zyx_um: Floats
    today_points_zyx_um: Floats
    correlation: Floats
    today_from_reference: Transform

    @classmethod
    def unchanged(cls, points_zyx_um: Floats) -> DendriteRegistration:
        """Return that of a stack with itself."""
        return cls(points_zyx_um, points_zyx_um, np.ones(len(points_zyx_um)), Transform.identity())

    @property
    def displacement_zyx_um(self) -> Floats:
        """What the rigid prediction lacks at each place, shape (n, 3), um."""
        rest: Floats = self.today_points_zyx_um - self.today_from_reference.apply(self.reference_points_zyx_um)
        return rest

    def apply(self, points_zyx_um: ArrayLike) -> Floats:
        """Map points near the dendrite from the reference stack into today's, shape (n, 3) or (3,), um."""
        points = np.asarray(points_zyx_um, dtype=float)
        near = _displacement_near(points, self.reference_points_zyx_um, self.displacement_zyx_um)
        moved: Floats = self.today_from_reference.apply(points) + near
        return moved

    def inverse_apply(self, points_zyx_um: ArrayLike) -> Floats:
        """Map points near the dendrite from today's stack into the reference stack, shape (n, 3) or (3,), um."""
        points = np.asarray(points_zyx_um, dtype=float)
        near = _displacement_near(points, self.today_points_zyx_um, self.displacement_zyx_um)
        return self.today_from_reference.inverse().apply(points - near)


def register_dendrite(
    reference: Stack, today: Stack, points_zyx_um: ArrayLike, today_from_reference: Transform
) -> DendriteRegistration:
    """Follow a dendrite of the reference stack through today's stack.

    Parameters
    ----------
    reference, today
        The two stacks.
    points_zyx_um
        Centreline in the reference stack's frame, shape (n, 3), um.
    today_from_reference
        Where today's stack shows the reference stack's points, right to about 4 um sideways and 6 um in depth.

    Raises
    ------
    StackError
        When the points are no line.
    """
    points = np.asarray(points_zyx_um, dtype=float)
    curve, given_um = _lay_curve(points)
    rigid = curve.moved(today_from_reference)
    followed = rigid
    for window in WINDOWS:
        fixed = reference.recall(flat_beside, points, window)  # every later session asks for the same
        centres_um, shifts_um, height = _match_along(fixed, (followed, today), given_um[-1], window)
        weight = np.clip((height - LEAST_CORRELATION) / (1 - LEAST_CORRELATION), 0, 1)
        known_um = _interpolate(centres_um, curve.along_um, followed.places_zyx_um - rigid.places_zyx_um)
        course = _smooth_course(known_um + shifts_um, weight)
        followed = rigid.displaced(centres_um, course)
    displacement = _interpolate(given_um, centres_um, course)
    places = today_from_reference.apply(points) + displacement
    return DendriteRegistration(points, places, np.interp(given_um, centres_um, height), today_from_reference)


@dataclass(frozen=True, eq=False)
class _Curve:
    """A centreline with its direction to the side, sampled evenly and drawn out straight at both ends."""

    along_um: Floats
    places_zyx_um: Floats
    sideways_yx: Floats

    def sample(self, stack: Stack, across_um: Floats, depth_um: Floats) -> tuple[Image, Image]:
        """Return the straightened stack (along, across, depth), and 1 where it has values."""
        grid = np.empty((3, len(self.places_zyx_um), len(across_um), len(depth_um)), np.float32)
        side = self.sideways_yx[:, :, None, None] * across_um[None, None, :, None]
        grid[0] = self.places_zyx_um[:, 0, None, None] + depth_um
        grid[1] = self.places_zyx_um[:, 1, None, None] + side[:, 0]
        grid[2] = self.places_zyx_um[:, 2, None, None] + side[:, 1]
        grid /= np.array(stack.voxel_um, np.float32)[:, None, None, None]
        values = ndimage.map_coordinates(stack.pixels, grid, output=np.float32, order=1, mode="nearest")
        last = np.array(stack.pixels.shape)[:, None, None, None] - 0.5
        inside = np.all((grid >= -0.5) & (grid <= last), axis=0)
        return values, inside.astype(np.float32)

    def moved(self, motion: Transform) -> _Curve:
        """Return the curve as a motion carries it."""
        turned = self.sideways_yx @ motion.matrix[1:3, 1:3].T
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return _Curve(self.along_um, motion.apply(self.places_zyx_um), turned)

    def displaced(self, at_um: Floats, course_zyx_um: Floats) -> _Curve:
        """Return the curve moved by displacements known at the arc lengths ``at_um``."""
        return _Curve(
            self.along_um, self.places_zyx_um + _interpolate(self.along_um, at_um, course_zyx_um), self.sideways_yx
        )

    def displacement(self, at_um: Floats, shift_um: Floats) -> Floats:
        """Turn shifts (along, across, depth) of the places ``at_um`` into displacements (z, y, x), um."""
        there = _interpolate(at_um + shift_um[:, 0], self.along_um, self.places_zyx_um)
        there[:, 1:] += shift_um[:, 1:2] * _interpolate(at_um + shift_um[:, 0], self.along_um, self.sideways_yx)
        there[:, 0] += shift_um[:, 2]
        return there - _interpolate(at_um, self.along_um, self.places_zyx_um)


def _lay_curve(points: Floats) -> tuple[_Curve, Floats]:
    """Return the smoothed curve with its drawn-out ends, and the arc length of each given point."""
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
        raise StackError(f"A dendrite needs at least 2 points (z, y, x), not an array of shape {points.shape}.")
    given_um = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if not given_um[-1] > 0:
        raise StackError("A dendrite needs a length: all its points lie at one place.")
    step = STEP_UM[0]
    inner = np.minimum(np.arange(0.0, given_um[-1] + step, step), given_um[-1])
    smooth = ndimage.gaussian_filter1d(
        _interpolate(inner, given_um, points), CURVE_SMOOTHING_UM / step, axis=0, mode="nearest"
    )
    many = int(np.ceil(DRAWN_OUT_UM / step))
    places = _draw_out(smooth, many, min(len(smooth) - 1, round(3.0 / step)))
    forward = ndimage.gaussian_filter1d(np.gradient(places[:, 1:], axis=0), CURVE_SMOOTHING_UM / step, axis=0)
    length = np.linalg.norm(forward, axis=1, keepdims=True)
    forward = np.where(length > 1e-6, forward / np.maximum(length, 1e-6), [0.0, 1.0])
    along = (np.arange(len(places), dtype=np.float64) - many) * step
    return _Curve(along, places, np.stack([forward[:, 1], -forward[:, 0]], axis=1)), given_um


def _draw_out(places: Floats, many: int, look: int) -> Floats:
    """Add ``many`` places at both ends, straight on in the direction of the last ``look``."""
    ahead = np.arange(1, many + 1)[:, None] / look
    head = places[0] + ahead[::-1] * (places[0] - places[look])
    tail = places[-1] + ahead * (places[-1] - places[-1 - look])
    return np.concatenate([head, places, tail])


def flat_beside(stack: Stack, points_zyx_um: Floats, window: Window) -> Image:
    """Return the contrast beside a line, wide enough for a window and its reach, shape (along, across, depth)."""
    curve, _ = _lay_curve(points_zyx_um)
    return _flat(*curve.sample(stack, *_axes(window)))


def _match_along(
    fixed: Image, here: tuple[_Curve, Stack], length_um: float, window: Window
) -> tuple[Floats, Floats, Floats]:
    """Return the places matched, how far each lies from today's curve in today's stack, and the correlations."""
    span, size = window.span, window.size
    values, shown = here[0].sample(here[1], *_axes(window))
    moving = _flat(values, shown)
    fixed = fixed * shown  # what today's stack cannot show must not draw the windows into it
    centres_um = np.linspace(0.0, length_um, max(2, round(length_um / EVERY_UM) + 1))
    first = np.round((centres_um - here[0].along_um[0]) / STEP_UM[0] - (size[0] - 1) / 2).astype(int)
    starts = np.stack([first, np.full_like(first, span[1]), np.full_like(first, span[2])], axis=1)
    peaks = [peak_position(m) for m in match_windows(fixed, moving, starts, size, span)]
    shifts = (np.array([p for p, _ in peaks]) - span) * STEP_UM
    return centres_um, here[0].displacement(centres_um, shifts), np.array([h for _, h in peaks])


def _axes(window: Window) -> tuple[Floats, Floats]:
    """Return where the surroundings are sampled across and in depth, um."""
    across, depth = (_centred_axis(window.size[a] + 2 * window.span[a], STEP_UM[a]) for a in (1, 2))
    return across, depth


def _centred_axis(count: int, step_um: float) -> Floats:
    axis: Floats = (np.arange(count, dtype=np.float64) - (count - 1) / 2) * step_um
    return axis


def _flat(values: Image, inside: Image) -> Image:
    """Return the contrast, zero where the stack has no values."""
    small, large = (np.divide(b, STEP_UM) for b in BAND_UM)
    return flatten(values, small, large) * inside


def _smooth_course(shifts_um: Floats, weight: Floats) -> Floats:
    """Return the smooth course near the trusted displacements, shape (n, 3), um; zero where there are none near.

    Minimises the distance to the displacements, the bends, and a little the slopes and the displacement itself.
    """
    unity = np.eye(len(weight))
    slopes = np.diff(unity, axis=0)
    bends = np.diff(unity, n=2, axis=0)
    stiff = BEND_STIFFNESS * bends.T @ bends + SLOPE_STIFFNESS * slopes.T @ slopes + ANCHOR * unity
    trust = np.ones(len(weight))
    course = np.zeros_like(shifts_um)
    for _ in range(10):
        w = weight * trust
        course = linalg.solve(np.diag(w) + stiff, w[:, None] * shifts_um, assume_a="pos")
        rest = np.linalg.norm((shifts_um - course) * [0.5, 1.0, 1.0], axis=1)
        scale = 3 * max(0.4, float(np.median(rest)))
        trust = np.maximum(0.0, 1 - (rest / scale) ** 2) ** 2
    return course


def _interpolate(at: Floats, known: Floats, values: Floats) -> Floats:
    return np.stack([np.interp(at, known, values[:, a]) for a in range(values.shape[1])], axis=1)


def _displacement_near(points: Floats, places: Floats, displacement: Floats) -> Floats:
    _, nearest = cKDTree(places * [0.5, 1.0, 1.0]).query(points * [0.5, 1.0, 1.0])
    near: NDArray[np.float64] = displacement[nearest]
    return near
