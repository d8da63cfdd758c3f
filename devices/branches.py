"""Random curves in space: the branches of apical tufts, and axons.

Curves are (n, 3), (z, y, x) in um, with points ``STEP_UM`` apart along the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

STEP_UM = 0.25
"""Distance between the points of a curve, um."""


@dataclass(frozen=True, eq=False)
class Branch:
    """One unbranched piece of a dendrite.

    Parameters
    ----------
    points_zyx_um
        Centreline, shape (n, 3), um in the tissue.
    radius_um
        Shaft radius at each point, shape (n,), um.
    """

    points_zyx_um: Floats
    radius_um: Floats

    @property
    def length_um(self) -> float:
        """Length, um."""
        return (len(self.points_zyx_um) - 1) * STEP_UM


@dataclass(frozen=True)
class TuftPlan:
    """What the spiny dendrites of the sample are like.

    Parameters
    ----------
    half_width_um
        The dendrites fill -half_width_um .. half_width_um along x and y, um.
    depth_um
        Least and greatest depth, um.
    length_per_volume
        Length of spiny dendrite in a volume, um per um^3; the default is that of a mouse's tuft in vivo,
        400 um in 120 x 120 x 60 um.
    diameter_um
        Least and greatest diameter of shafts, um.
    """

    half_width_um: float = 680.0
    depth_um: tuple[float, float] = (10.0, 100.0)
    length_per_volume: float = 400.0 / (120.0 * 120.0 * 60.0)
    diameter_um: tuple[float, float] = (0.7, 1.5)


def wander(
    rng: np.random.Generator,
    start_zyx_um: Floats,
    heading_rad: float,
    length_um: float,
    *,
    bend_rad: float,
    turn_um: float,
    slope: float,
) -> Floats:
    """Draw a gently curving, mostly horizontal curve.

    Parameters
    ----------
    rng
        Source of randomness.
    start_zyx_um
        First point, um.
    heading_rad
        Direction of the curve in the plane, radian from +x towards +y.
    length_um
        Length, um.
    bend_rad
        Root mean square of the heading about its mean, radian.
    turn_um
        Distance over which the heading changes, um.
    slope
        Root mean square of the change of depth per length.

    Returns
    -------
    points_zyx_um
        Curve, shape (n, 3), um.
    """
    count = max(int(length_um / STEP_UM), 8)
    bends = _smooth_noise(rng, count, turn_um)
    heading = heading_rad + bend_rad * (bends - bends[0] + 0.25 * _smooth_noise(rng, count, 0.2 * turn_um))
    rise = slope * _smooth_noise(rng, count, 1.5 * turn_um)
    flat = np.sqrt(1.0 - np.clip(rise, -0.9, 0.9) ** 2)
    steps = STEP_UM * np.column_stack([rise, flat * np.sin(heading), flat * np.cos(heading)])
    return np.asarray(start_zyx_um, dtype=float) + np.cumsum(steps, axis=0)


def grow_tufts(rng: np.random.Generator, plan: TuftPlan) -> list[Branch]:
    """Fill the sample with branching dendrites: one tree in each cell of a jittered grid, so that no place is empty."""
    volume_um3 = (2.0 * plan.half_width_um) ** 2 * (plan.depth_um[1] - plan.depth_um[0])
    wanted_um = plan.length_per_volume * volume_um3
    mean_tree_um = 420.0
    side = max(round(np.sqrt(wanted_um / mean_tree_um)), 1)
    branches: list[Branch] = []
    cells = rng.permutation(side * side)
    depths_um = np.linspace(plan.depth_um[0] + 4.0, plan.depth_um[1] - 8.0, side * side)[rng.permutation(side * side)]
    for cell, depth_um in zip(cells, depths_um, strict=True):
        corner = np.array(divmod(cell, side), dtype=float)
        middle = ((corner + rng.uniform(0.0, 1.0, 2)) / side * 2.0 - 1.0) * plan.half_width_um
        branches += _grow_tree(rng, np.array([depth_um, *middle]), plan)
    return branches


@dataclass(frozen=True, eq=False)
class Sprout:
    """Where a branch begins and what it will be: heading in radian from +x towards +y, lengths in um."""

    start_zyx_um: Floats
    heading_rad: float
    length_um: float
    diameter_um: float


def _grow_tree(rng: np.random.Generator, middle_zyx_um: Floats, plan: TuftPlan) -> list[Branch]:
    """Grow one main branch through ``middle_zyx_um`` with one to three side branches."""
    heading, length_um = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(160.0, 260.0)
    back = np.array([0.0, np.sin(heading), np.cos(heading)]) * 0.5 * length_um
    low, high = plan.diameter_um
    diameter_um = rng.triangular(low, 0.65 * low + 0.35 * high, high)
    tree = [_grow(rng, Sprout(middle_zyx_um - back, heading, length_um, diameter_um), plan)]
    for _ in range(int(rng.integers(1, 4))):
        tree.append(_grow(rng, _sprout_from(rng, tree[int(rng.integers(len(tree)))], plan), plan))
    return tree


def _sprout_from(rng: np.random.Generator, parent: Branch, plan: TuftPlan) -> Sprout:
    """Choose where a side branch leaves its parent; it is never much thicker."""
    at = int(rng.uniform(0.15, 0.8) * len(parent.points_zyx_um))
    ahead = parent.points_zyx_um[min(at + 8, len(parent.points_zyx_um) - 1)] - parent.points_zyx_um[at]
    heading = float(np.arctan2(ahead[1], ahead[2])) + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.1)
    low, high = plan.diameter_um
    diameter_um = rng.uniform(low, np.clip(1.9 * parent.radius_um[at], low, 0.5 * (low + high)))
    return Sprout(parent.points_zyx_um[at], heading, rng.uniform(60.0, 170.0), diameter_um)


def _grow(rng: np.random.Generator, sprout: Sprout, plan: TuftPlan) -> Branch:
    points = wander(
        rng, sprout.start_zyx_um, sprout.heading_rad, sprout.length_um, bend_rad=0.35, turn_um=22.0, slope=0.09
    )
    points[:, 0] = _fold(points[:, 0], *plan.depth_um)
    swelling = 1.0 + 0.10 * _smooth_noise(rng, len(points), 2.0)
    taper = np.linspace(1.06, 0.9, len(points))
    # Dendrites do not stop blunt: the last 10 um narrow to a third.
    tip = np.clip(np.arange(len(points))[::-1] * STEP_UM / 10.0, 0.35, 1.0)
    return Branch(points, np.clip(0.5 * sprout.diameter_um * swelling * taper, 0.35, 0.8) * tip)


def _fold(depth_um: Floats, least_um: float, most_um: float) -> Floats:
    """Reflect depths that leave the range."""
    span = most_um - least_um
    folded: Floats = least_um + span - np.abs((depth_um - least_um) % (2.0 * span) - span)
    return folded


def _smooth_noise(rng: np.random.Generator, count: int, scale_um: float) -> Floats:
    """Return noise of variance 1 that changes over ``scale_um`` along a curve, shape (count,)."""
    # Drawn on a coarse grid, then interpolated: a long filter over every point would take most of the loading time.
    spacing = max(int(0.5 * scale_um / STEP_UM), 1)
    knots = count // spacing + 8
    coarse = ndimage.gaussian_filter1d(rng.standard_normal(knots), 2.0, mode="wrap")
    coarse *= np.sqrt(4.0 * np.sqrt(np.pi))  # a Gaussian filter of 2 leaves this much less variance
    fine: Floats = ndimage.zoom(coarse, spacing, order=3, mode="nearest", grid_mode=True)
    return fine[2 * spacing : 2 * spacing + count]
