"""What fluoresces in the cortex, as clouds of points: shafts, heads, necks, axons, specks, cell bodies.

Weights are volumes in um^3, times the brightness beside that of a filled dendrite.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.branches import STEP_UM, Branch, wander
from devices.cloud import Cloud, gather
from devices.spines import FILOPODIUM, Spines

Floats = NDArray[np.float64]

COARSE_LATERAL_UM = 0.55
"""Blur (standard deviation) of what is dim and wide, across the axis, um."""

COARSE_AXIAL_UM = 2.2
"""The same along the axis, um."""

COARSE_VOLUME = 30.0
"""Volume of that blur beside the volume of the point spread function: what is blurred more is not brighter for it."""

HEAD_BRIGHTNESS = 1.6
"""Brightness of a spine's head beside that of the same volume of shaft: makes heads as bright beside their shaft (0.3
to 0.5) as in recorded stacks of layer 1."""


@dataclass(frozen=True)
class LitterPlan:
    """How much there is beside the spiny dendrites.

    Parameters
    ----------
    puncta_per_um3
        Number of bright specks (boutons, cut axons, autofluorescent grains) in a volume.
    axons_per_mm2
        Number of axons that start under a square millimetre.
    bodies_per_um3
        Number of dim cell bodies in a volume.
    """

    puncta_per_um3: float = 1.6e-3
    axons_per_mm2: float = 260.0
    bodies_per_um3: float = 1.2e-5


@dataclass(frozen=True)
class Box:
    """Where tissue is generated.

    Parameters
    ----------
    half_width_um
        It spans -half_width_um .. half_width_um along x and y, um.
    depth_um
        Least and greatest depth, um.
    """

    half_width_um: float
    depth_um: tuple[float, float]

    @property
    def volume_um3(self) -> float:
        """Volume, um^3."""
        return (2.0 * self.half_width_um) ** 2 * (self.depth_um[1] - self.depth_um[0])

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw points evenly, (n, 3), um."""
        half = self.half_width_um
        return np.column_stack([rng.uniform(*self.depth_um, count), rng.uniform(-half, half, (count, 2))])


def fill_shafts(branches: list[Branch], per_step: int = 8) -> Cloud:
    """Fill the shafts evenly: with a quasi-random sequence, because random points would make them look grainy."""
    return gather([_fill_shaft(branch, per_step) for branch in branches])


def _fill_shaft(branch: Branch, per_step: int) -> Cloud:
    count = len(branch.points_zyx_um) * per_step
    nearest = np.repeat(np.arange(len(branch.points_zyx_um)), per_step)
    tangent, level, upright = _axes_along(branch)
    # The steps of the plastic number's sequence fill the disc most evenly (Roberts 2018).
    number = np.arange(count, dtype=np.float64)
    spread, turn = (number * 0.7548776662466927) % 1.0, 2.0 * np.pi * ((number * 0.5698402909980532) % 1.0)
    radius = branch.radius_um[nearest] * np.sqrt(spread)
    ahead = np.tile(np.arange(per_step) / per_step * STEP_UM, len(branch.points_zyx_um))
    points = branch.points_zyx_um[nearest] + ahead[:, None] * tangent[nearest]
    points += (radius * np.cos(turn))[:, None] * level[nearest] + (radius * np.sin(turn))[:, None] * upright[nearest]
    return _cloud(points, np.pi * branch.radius_um[nearest] ** 2 * STEP_UM / per_step)


def _axes_along(branch: Branch) -> tuple[Floats, Floats, Floats]:
    """Return unit vectors along a branch, level across it, and upright across it, each (n, 3)."""
    tangent = np.gradient(branch.points_zyx_um, axis=0) / STEP_UM
    level = np.column_stack([np.zeros(len(tangent)), tangent[:, 2], -tangent[:, 1]])
    level /= np.linalg.norm(level, axis=1, keepdims=True)
    return tangent, level, np.cross(tangent, level)


def fill_heads(rng: np.random.Generator, spines: Spines, per_head: int = 14) -> Cloud:
    """Fill the heads; filopodia have only a trace of one."""
    radius = np.repeat(spines.head_radius_um, per_head)
    points = np.repeat(spines.head_zyx_um, per_head, axis=0) + radius[:, None] * _in_ball(rng, len(radius))
    weights = HEAD_BRIGHTNESS * 4.0 / 3.0 * np.pi * radius**3 / per_head
    return _cloud(points, weights, np.repeat(np.arange(len(spines)), per_head))


def fill_necks(rng: np.random.Generator, spines: Spines, per_neck: int = 10) -> Cloud:
    """Fill the necks, and the whole of filopodia."""
    part = (np.arange(per_neck) + 0.5) / per_neck
    span = spines.head_zyx_um - spines.base_zyx_um
    points = spines.base_zyx_um[:, None, :] + part[None, :, None] * span[:, None, :]
    radius = np.where(spines.kind == FILOPODIUM, 0.17, spines.neck_radius_um)
    weights = np.pi * radius**2 * np.linalg.norm(span, axis=1) / per_neck
    points = points.reshape(-1, 3) + 0.03 * rng.standard_normal((len(spines) * per_neck, 3))
    return _cloud(points, np.repeat(weights, per_neck), np.repeat(np.arange(len(spines)), per_neck))


def fill_axons(rng: np.random.Generator, plan: LitterPlan, box: Box) -> Cloud:
    """Fill axons: thin, long, without spines, with a bouton every few um."""
    count = int(plan.axons_per_mm2 * (2.0 * box.half_width_um / 1000.0) ** 2)
    return gather([_fill_axon(rng, start) for start in box.draw(rng, max(count, 1))])


def _fill_axon(rng: np.random.Generator, start: Floats) -> Cloud:
    heading, length_um = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(80.0, 300.0)
    path = wander(rng, start, heading, length_um, bend_rad=0.6, turn_um=18.0, slope=0.15)
    brightness = rng.uniform(0.3, 1.0)
    thin = _cloud(path, np.full(len(path), brightness * np.pi * 0.14**2 * STEP_UM))
    boutons = path[rng.random(len(path)) < STEP_UM / 7.0]
    swelling = np.repeat(boutons, 8, axis=0) + 0.25 * _in_ball(rng, 8 * len(boutons))
    volume = brightness * 0.08 * rng.lognormal(0.0, 0.4, len(boutons))
    return gather([thin, _cloud(swelling, np.repeat(volume / 8.0, 8))])


def fill_puncta(rng: np.random.Generator, plan: LitterPlan, box: Box, per_speck: int = 4) -> Cloud:
    """Fill specks, half of them in clusters as around bundled axons."""
    count = int(plan.puncta_per_um3 * box.volume_um3)
    places = box.draw(rng, count)
    clusters = box.draw(rng, max(count // 40, 1))
    clustered = np.flatnonzero(rng.random(count) < 0.5)
    home = clusters[rng.integers(0, len(clusters), len(clustered))]
    places[clustered] = home + rng.normal(0.0, 1.0, (len(clustered), 3)) * np.array([2.0, 3.0, 3.0])
    volume = 0.024 * rng.lognormal(0.0, 1.1, count)
    radius = np.repeat(rng.uniform(0.1, 0.4, count), per_speck)
    points = np.repeat(places, per_speck, axis=0) + radius[:, None] * _in_ball(rng, per_speck * count)
    return _cloud(points, np.repeat(volume / per_speck, per_speck))


def fill_bodies(rng: np.random.Generator, plan: LitterPlan, box: Box, lumps: int = 7, per_lump: int = 90) -> Cloud:
    """Fill dim cell bodies 8-16 um wide: soft lumps, so that they have no sharp border."""
    count = int(plan.bodies_per_um3 * box.volume_um3)
    middles = np.repeat(box.draw(rng, count), lumps, axis=0) + rng.normal(0.0, 3.2, (count * lumps, 3))
    spread = np.repeat(rng.uniform(1.2, 2.4, count * lumps), per_lump)[:, None]
    points = np.repeat(middles, per_lump, axis=0) + spread * rng.standard_normal((count * lumps * per_lump, 3))
    total_um3 = rng.uniform(8.0, 45.0, count)
    return _cloud(points, np.repeat(total_um3 / (lumps * per_lump) / COARSE_VOLUME, lumps * per_lump))


def fill_haze(rng: np.random.Generator, branches: list[Branch]) -> Cloud:
    """Fill the wide, weak skirt that bright shafts show above and below the focus."""
    centres = np.concatenate([b.points_zyx_um[::2] for b in branches])
    radius = np.concatenate([b.radius_um[::2] for b in branches])
    weights = 0.35 / COARSE_VOLUME * np.pi * radius**2 * 2.0 * STEP_UM
    return _cloud(centres + 0.2 * rng.standard_normal(centres.shape), weights)


def _cloud(points: Floats, weights: Floats, owner: NDArray[np.int64] | None = None) -> Cloud:
    owners = np.full(len(points), -1) if owner is None else owner
    return Cloud(points.astype(np.float32), weights.astype(np.float32), owners.astype(np.int32))


def _in_ball(rng: np.random.Generator, count: int) -> Floats:
    """Draw points evenly in the unit ball, (n, 3)."""
    points = rng.standard_normal((count, 3))
    points *= (rng.random((count, 1)) ** (1.0 / 3.0)) / np.linalg.norm(points, axis=1, keepdims=True)
    return points
