"""A generated mouse cortex whose truth is known: spiny tuft dendrites, axons, neuropil, dim cell bodies.

It looks like layer 1 of a mouse with sparsely labelled layer-5 neurons. It knows nothing of microscopes beyond the view
that it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from devices.blood import CAPILLARY_AXIAL_UM, CAPILLARY_SIGMA_UM, PLASMA_PHOTONS, generate_capillaries
from devices.branches import Branch, TuftPlan, grow_tufts
from devices.cloud import Cloud, Singles, Slices, gather, index_by_depth, project
from devices.optics import FocalView, Image, Optics
from devices.pose import Pose
from devices.spines import SpinePlan, Spines, grow_spines
from devices.tissue import (
    COARSE_AXIAL_UM,
    COARSE_LATERAL_UM,
    Box,
    LitterPlan,
    fill_axons,
    fill_bodies,
    fill_haze,
    fill_heads,
    fill_necks,
    fill_puncta,
    fill_shafts,
)

Floats = NDArray[np.float64]

PHOTONS_PER_UM3 = 140.0
"""Photons of 1 um^3 of filled dendrite at the peak of the point spread function, at reference power and 1 us dwell."""

NEUROPIL_PHOTONS = 0.4
"""Photons of the even background at reference power and 1 us dwell."""


@dataclass(frozen=True)
class CortexPlan:
    """What is generated: the spiny dendrites, their spines, and what lies between."""

    tufts: TuftPlan = field(default_factory=TuftPlan)
    spines: SpinePlan = field(default_factory=SpinePlan)
    litter: LitterPlan = field(default_factory=LitterPlan)


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
    fine, coarse
        What is there on that day, in stage coordinates: sharp, and dim and wide.
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

    def plasma_photons(self, view: FocalView) -> Image:
        """Return the expected red photons of a view, from the dye in the blood, as those of :meth:`photons`."""
        image = project(self._plasma, view, CAPILLARY_SIGMA_UM, CAPILLARY_AXIAL_UM)
        image *= np.float32(PLASMA_PHOTONS * self.pose.clarity)
        return image

    @cached_property
    def _plasma(self) -> Slices:
        """The capillaries in stage coordinates; put there when somebody first looks at them."""
        cloud = self.cortex.capillaries
        return index_by_depth(_on_stage(self.pose, cloud.points_zyx_um), cloud.weights)

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
    depth_um
        Least and greatest depth of the tissue, um.
    seed
        Seed of all this.
    """

    branches: tuple[Branch, ...]
    spines: Spines
    fine: Cloud
    coarse: Cloud
    half_width_um: float
    depth_um: tuple[float, float]
    seed: int

    def mount(self, pose: Pose, day: float) -> MountedCortex:
        """Put the cortex under the objective as it is on ``day``."""
        there = np.append(self.spines.present(day), True)
        alive = np.flatnonzero(there[self.fine.owner])
        fine = index_by_depth(_on_stage(pose, self.fine.points_zyx_um[alive]), self.fine.weights[alive])
        coarse = index_by_depth(_on_stage(pose, self.coarse.points_zyx_um), self.coarse.weights)
        return MountedCortex(self, pose, day, fine, coarse)

    @cached_property
    def capillaries(self) -> Cloud:
        """Capillaries among the dendrites; drawn when a detector first looks at them."""
        return generate_capillaries(self.seed, self.half_width_um, self.depth_um)

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
    (top_um, bottom_um), litter = plan.tufts.depth_um, plan.litter
    box = Box(plan.tufts.half_width_um, (top_um - 6.0, bottom_um + 12.0))
    spiny = [fill_shafts(branches), fill_heads(rng, spines), fill_necks(rng, spines)]
    fine = gather([*spiny, fill_axons(rng, litter, box), fill_puncta(rng, litter, box)])
    coarse = gather([fill_bodies(rng, litter, box), fill_haze(rng, branches)])
    return Cortex(tuple(branches), spines, fine, coarse, plan.tufts.half_width_um, box.depth_um, seed)


def _on_stage(pose: Pose, points_zyx_um: Singles) -> Singles:
    """Map points to the stage in single precision."""
    return pose.to_stage(points_zyx_um).astype(np.float32, copy=False)
