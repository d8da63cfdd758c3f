"""A generated mouse cortex whose truth is known: spiny tuft dendrites, axons, neuropil, dim cell bodies.

It looks like layer 1 of a mouse with sparsely labelled layer-5 neurons. It knows nothing of microscopes beyond the view
that it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from devices.branches import STEP_UM, Branch, TuftPlan, grow_tufts, wander
from devices.cloud import Cloud, Slices, gather, index_by_depth, project
from devices.optics import FocalView, Image, Optics
from devices.pose import Pose
from devices.spines import FILOPODIUM, SpinePlan, Spines, grow_spines

Floats = NDArray[np.float64]

PHOTONS_PER_UM3 = 170.0
"""Photons of 1 um^3 of filled dendrite at the peak of the point spread function, at reference power and 1 us dwell."""

COARSE_LATERAL_UM = 0.55
"""Blur (standard deviation) of what is dim and wide, across the axis, um."""

COARSE_AXIAL_UM = 2.2
"""The same along the axis, um."""

COARSE_VOLUME = 30.0
"""Volume of that blur beside the volume of the point spread function: what is blurred more is not brighter for it."""

HEAD_BRIGHTNESS = 1.6
"""Brightness of a spine's head beside that of the same volume of shaft: heads on the real field are 0.3-0.5 of it."""

NEUROPIL_PHOTONS = 0.3
"""Photons of the even background at reference power and 1 us dwell."""


@dataclass(frozen=True)
class CortexPlan:
    """What is generated.

    Parameters
    ----------
    tufts
        The spiny dendrites.
    spines
        Their spines.
    puncta_per_um3
        Number of bright specks (boutons, cut axons, autofluorescent grains) in a volume.
    axons_per_mm2
        Number of axons that start under a square millimetre.
    bodies_per_um3
        Number of dim cell bodies in a volume.
    """

    tufts: TuftPlan = field(default_factory=TuftPlan)
    spines: SpinePlan = field(default_factory=SpinePlan)
    puncta_per_um3: float = 1.2e-3
    axons_per_mm2: float = 260.0
    bodies_per_um3: float = 1.0e-5


@dataclass(frozen=True, eq=False)
class MountedCortex:
    """The cortex under the objective on one day.

    Parameters
    ----------
    cortex
        What is mounted.
    pose
        How it is mounted.
    day
        Day of the session.
    """

    cortex: Cortex
    pose: Pose
    day: float
    fine: Slices
    coarse: Slices

    def photons(self, view: FocalView, optics: Optics) -> Image:
        """Return the expected photons of a view at reference power, 1 us dwell and the surface."""
        sharp = project(self.fine, view, optics.sigma_lateral_um, optics.sigma_axial_um)
        dim = project(self.coarse, view, COARSE_LATERAL_UM, COARSE_AXIAL_UM)
        image = sharp + dim
        image *= np.float32(PHOTONS_PER_UM3 * self.pose.clarity)
        depth_um = self.depth_um(view.centre_zyx_um)
        image += np.float32(NEUROPIL_PHOTONS * self.pose.clarity / (1.0 + np.exp(-np.clip(depth_um / 2.0, -30, 30))))
        return image

    def depth_um(self, stage_zyx_um: Floats) -> float:
        """Return the depth in the tissue of a stage position, um."""
        return float(self.pose.to_tissue(stage_zyx_um)[0, 0])


@dataclass(frozen=True, eq=False)
class Cortex:
    """Everything that was generated.

    Parameters
    ----------
    branches
        Spiny dendrites; the index is the name.
    spines
        All spines that are ever there; the row is the id.
    fine
        Points that are blurred by the optics alone.
    coarse
        Points of what is dim and wide: cell bodies and the haze of bright shafts.
    half_width_um
        The dendrites fill -half_width_um .. half_width_um, um.
    """

    branches: tuple[Branch, ...]
    spines: Spines
    fine: Cloud
    coarse: Cloud
    half_width_um: float

    def mount(self, pose: Pose, day: float) -> MountedCortex:
        """Put the cortex under the objective as it is on ``day``."""
        there = np.append(self.spines.present(day), True)
        alive = np.flatnonzero(there[self.fine.owner])
        fine = index_by_depth(pose.to_stage(self.fine.points_zyx_um[alive]), self.fine.weights[alive])
        coarse = index_by_depth(pose.to_stage(self.coarse.points_zyx_um), self.coarse.weights)
        return MountedCortex(self, pose, day, fine, coarse)

    @cached_property
    def shaft_zyx_um(self) -> Floats:
        """All centreline points of spiny dendrites, um, shape (n, 3)."""
        return np.concatenate([branch.points_zyx_um for branch in self.branches])

    @cached_property
    def shaft_branch(self) -> NDArray[np.int64]:
        """Number of the branch of each of ``shaft_zyx_um``, shape (n,)."""
        return np.repeat(np.arange(len(self.branches)), [len(b.points_zyx_um) for b in self.branches])


def generate_cortex(seed: int, plan: CortexPlan | None = None) -> Cortex:
    """Generate a mouse; the same seed and plan give the same mouse."""
    plan = plan or CortexPlan()
    rng = np.random.default_rng([seed, 0])
    branches = grow_tufts(rng, plan.tufts)
    spines = grow_spines(rng, branches, plan.spines)
    fine = gather([_shafts(branches), _heads(rng, spines), _necks(rng, spines), _axons(rng, plan), _puncta(rng, plan)])
    coarse = gather([_bodies(rng, plan), _haze(rng, branches)])
    return Cortex(tuple(branches), spines, fine, coarse, plan.tufts.half_width_um)


def _cloud(points: Floats, weights: Floats, owner: NDArray[np.int64] | None = None) -> Cloud:
    owners = np.full(len(points), -1) if owner is None else owner
    return Cloud(points.astype(np.float32), weights.astype(np.float32), owners.astype(np.int32))


def _in_ball(rng: np.random.Generator, count: int) -> Floats:
    """Draw points evenly in the unit ball, (n, 3)."""
    points = rng.standard_normal((count, 3))
    points *= (rng.random((count, 1)) ** (1.0 / 3.0)) / np.linalg.norm(points, axis=1, keepdims=True)
    return points


def _shafts(branches: list[Branch], per_step: int = 8) -> Cloud:
    """Fill the shafts evenly: a quasi-random sequence, because random points would make them look grainy."""
    return gather([_shaft(branch, per_step) for branch in branches])


def _shaft(branch: Branch, per_step: int) -> Cloud:
    count = len(branch.points_zyx_um) * per_step
    at = np.arange(count) / per_step
    nearest = np.minimum(at.astype(int), len(branch.points_zyx_um) - 1)
    tangent = np.gradient(branch.points_zyx_um, axis=0) / STEP_UM
    level = np.column_stack([np.zeros(len(tangent)), tangent[:, 2], -tangent[:, 1]])
    level /= np.linalg.norm(level, axis=1, keepdims=True)
    upright = np.cross(tangent, level)
    # The steps of the plastic number's sequence fill the disc most evenly (Roberts 2018).
    spread, turn = (np.arange(count) * 0.7548776662466927) % 1.0, (np.arange(count) * 0.5698402909980532) % 1.0
    radius = branch.radius_um[nearest] * np.sqrt(spread)
    aside, above = radius * np.cos(2.0 * np.pi * turn), radius * np.sin(2.0 * np.pi * turn)
    points = branch.points_zyx_um[nearest] + (at - nearest)[:, None] * STEP_UM * tangent[nearest]
    points += aside[:, None] * level[nearest] + above[:, None] * upright[nearest]
    return _cloud(points, np.pi * branch.radius_um[nearest] ** 2 * STEP_UM / per_step)


def _heads(rng: np.random.Generator, spines: Spines, per_head: int = 14) -> Cloud:
    radius = np.repeat(spines.head_radius_um, per_head)
    points = np.repeat(spines.head_zyx_um, per_head, axis=0) + radius[:, None] * _in_ball(rng, len(radius))
    weights = HEAD_BRIGHTNESS * 4.0 / 3.0 * np.pi * radius**3 / per_head
    return _cloud(points, weights, np.repeat(np.arange(len(spines)), per_head))


def _necks(rng: np.random.Generator, spines: Spines, per_neck: int = 10) -> Cloud:
    part = (np.arange(per_neck) + 0.5) / per_neck
    span = spines.head_zyx_um - spines.base_zyx_um
    points = spines.base_zyx_um[:, None, :] + part[None, :, None] * span[:, None, :]
    radius = np.where(spines.kind == FILOPODIUM, 0.15, spines.neck_radius_um)
    weights = np.pi * radius**2 * np.linalg.norm(span, axis=1) / per_neck
    points = points.reshape(-1, 3) + 0.03 * rng.standard_normal((len(spines) * per_neck, 3))
    return _cloud(points, np.repeat(weights, per_neck), np.repeat(np.arange(len(spines)), per_neck))


def _axons(rng: np.random.Generator, plan: CortexPlan) -> Cloud:
    """Thin, long, without spines, with a bouton every few um."""
    half, (top, bottom) = plan.tufts.half_width_um, plan.tufts.depth_um
    clouds = []
    for _ in range(int(plan.axons_per_mm2 * (2.0 * half / 1000.0) ** 2)):
        start = np.array([rng.uniform(top, bottom), *rng.uniform(-half, half, 2)])
        path = wander(
            rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(80, 300), bend_rad=0.6, turn_um=18.0, slope=0.15
        )
        brightness = rng.uniform(0.3, 1.0)
        thin = _cloud(path, np.full(len(path), brightness * np.pi * 0.14**2 * STEP_UM))
        boutons = path[rng.random(len(path)) < STEP_UM / 7.0]
        swelling = np.repeat(boutons, 8, axis=0) + 0.25 * _in_ball(rng, 8 * len(boutons))
        volume = brightness * 0.08 * rng.lognormal(0.0, 0.4, len(boutons))
        clouds += [thin, _cloud(swelling, np.repeat(volume / 8.0, 8))]
    return gather(clouds)


def _box(rng: np.random.Generator, count: int, plan: CortexPlan) -> Floats:
    """Draw points evenly in the sample, (n, 3), um."""
    half, (top, bottom) = plan.tufts.half_width_um, plan.tufts.depth_um
    return np.column_stack([rng.uniform(top - 6.0, bottom + 12.0, count), rng.uniform(-half, half, (count, 2))])


def _volume_um3(plan: CortexPlan) -> float:
    return (2.0 * plan.tufts.half_width_um) ** 2 * (plan.tufts.depth_um[1] - plan.tufts.depth_um[0] + 18.0)


def _puncta(rng: np.random.Generator, plan: CortexPlan) -> Cloud:
    """Specks, half of them in loose clusters as around cut or bundled axons."""
    count = int(plan.puncta_per_um3 * _volume_um3(plan))
    places = _box(rng, count, plan)
    clusters = _box(rng, max(count // 40, 1), plan)
    clustered = np.flatnonzero(rng.random(count) < 0.5)
    home = clusters[rng.integers(0, len(clusters), len(clustered))]
    places[clustered] = home + rng.normal(0.0, 1.0, (len(clustered), 3)) * [2.0, 3.0, 3.0]
    volume = 0.022 * rng.lognormal(0.0, 1.0, count)
    radius = np.repeat(rng.uniform(0.1, 0.4, count), 5)
    points = np.repeat(places, 5, axis=0) + radius[:, None] * _in_ball(rng, 5 * count)
    return _cloud(points, np.repeat(volume / 5.0, 5))


def _bodies(rng: np.random.Generator, plan: CortexPlan, lumps: int = 7, per_lump: int = 90) -> Cloud:
    """Dim cell bodies 8-16 um wide: soft lumps, so that they have no sharp border."""
    count = int(plan.bodies_per_um3 * _volume_um3(plan))
    middles = np.repeat(_box(rng, count, plan), lumps, axis=0) + rng.normal(0.0, 2.8, (count * lumps, 3))
    spread = np.repeat(rng.uniform(1.2, 2.4, count * lumps), per_lump)[:, None]
    points = np.repeat(middles, per_lump, axis=0) + spread * rng.standard_normal((count * lumps * per_lump, 3))
    total_um3 = rng.uniform(3.0, 14.0, count)
    return _cloud(points, np.repeat(total_um3 / (lumps * per_lump) / COARSE_VOLUME, lumps * per_lump))


def _haze(rng: np.random.Generator, branches: list[Branch]) -> Cloud:
    """The wide, weak skirt that bright shafts show above and below the focus."""
    centres = np.concatenate([b.points_zyx_um[::2] for b in branches])
    radius = np.concatenate([b.radius_um[::2] for b in branches])
    weights = 0.35 / COARSE_VOLUME * np.pi * radius**2 * 2.0 * STEP_UM
    return _cloud(centres + 0.2 * rng.standard_normal(centres.shape), weights)
