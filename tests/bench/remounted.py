"""Overviews of the simulated cortex before and after a re-mount that is known to the micrometre."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquire.config import read_rig_config
from acquire.engine import PlanesInMemory, take_stack
from acquire.model import OVERVIEW_PLAN, StagePosition
from acquire.opening import open_rig
from acquire.relocate import position_of
from acquire.rig import Rig
from analysis.model import Stack, Transform
from devices.pose import MountRanges, Pose, draw_pose

# What a careful experimenter still leaves between two sessions; the quantity under study is set instead.
USUAL = {"lateral_um": 3.0, "axial_um": 2.0, "yaw_deg": 1.0, "tilt_deg": 1.0}
USUAL_CLARITY = (0.7, 1.2)
LAST_DAY = 10.0
PIVOT_ZYX_UM = (50.0, 0.0, 0.0)


@dataclass(frozen=True)
class Mount:
    """How today's stack differs from the reference; shifts go in a direction drawn by chance."""

    lateral_um: float
    axial_um: float
    yaw_deg: float
    tilt_deg: float
    clarity: float
    overlap: float = 1.0


@dataclass(frozen=True, eq=False)
class Pair:
    """Two stacks and where the reference's middle truly lies in today's, from the middle of today's (z, y, x), um."""

    reference: Stack
    today: Stack
    truth_zyx_um: NDArray[np.float64] | None


class Remounter:
    """A rig with one cortex, whose head poses are chosen, not drawn."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.seed = rig, seed
        self.poses: list[Pose] = [draw_pose(seed, 0, MountRanges(), PIVOT_ZYX_UM)]
        object.__setattr__(rig.loaded, "pose", self.poses.__getitem__)
        rig.loaded.mount(0, 0.0)

    def places(self, count: int) -> list[StagePosition]:
        return [StagePosition(x_um=x, y_um=y, z_um=z) for x, y, z in self.rig.loaded.good_places(count)]

    def reference(self, place: StagePosition) -> Stack:
        self.rig.loaded.mount(0, 0.0)
        return self._take(place)

    def today(self, place: StagePosition, mount: Mount, chance: np.random.Generator) -> tuple[Stack, StagePosition]:
        """Mount the head anew, find the place by the truth, go past it as far as asked, take an overview."""
        session = len(self.poses)
        self.poses.append(self._pose(session, mount, chance))
        tissue = self.poses[0].to_tissue([place.xyz_um[::-1]])
        heading, sign = chance.uniform(0, 2 * np.pi), chance.choice((-1.0, 1.0))
        past = (sign * mount.axial_um, mount.lateral_um * np.sin(heading), mount.lateral_um * np.cos(heading))
        there = position_of(self.poses[session].to_stage(tissue)[0] + past)
        self.rig.loaded.mount(session, float(chance.uniform(1.0, LAST_DAY)))
        return _middle_part(self._take(there), mount.overlap), there

    def pair(self, reference: Stack, place: StagePosition, mount: Mount, chance: np.random.Generator) -> Pair:
        today, there = self.today(place, mount, chance)
        plan = OVERVIEW_PLAN
        extent_um = (plan.depth_um, plan.field_of_view_um, plan.field_of_view_um)
        truth = self.rig.loaded.displacement_um(0, place.xyz_um, len(self.poses) - 1, there.xyz_um, extent_um)
        return Pair(reference, today, np.array(truth))

    def _pose(self, session: int, mount: Mount, chance: np.random.Generator) -> Pose:
        direction = chance.uniform(0, 2 * np.pi)
        tilts = mount.tilt_deg * np.array([np.cos(direction), np.sin(direction)])
        drawn = draw_pose(self.seed, session, MountRanges(), PIVOT_ZYX_UM)
        rotation = _rotation(chance.choice((-1.0, 1.0)) * mount.yaw_deg, *tilts)
        return Pose(rotation, drawn.shift_zyx_um, drawn.pivot_zyx_um, drawn.deformation, mount.clarity)

    def _take(self, centre: StagePosition) -> Stack:
        plan = self.rig.set_scan(OVERVIEW_PLAN)
        self.rig.move_to(centre)
        sink = PlanesInMemory()
        take_stack(self.rig, plan, centre, [sink])
        return Stack(np.stack(sink.planes), plan.voxel_um)


@contextmanager
def remounter(seed: int) -> Iterator[Remounter]:
    config = read_rig_config("simulated")
    settings = {**config.load_settings, "seed": seed, "shutter_file": None, "realtime": False}
    with open_rig(config.model_copy(update={"load_settings": settings, "watchdog": None})) as rig:
        yield Remounter(rig, seed)


def usual_mount(chance: np.random.Generator, **given: float) -> Mount:
    """Return a mount that differs as little as it usually does, but in what is given."""
    drawn = {name: float(chance.uniform(0, most)) for name, most in USUAL.items()}
    return Mount(**{**drawn, "clarity": float(chance.uniform(*USUAL_CLARITY)), **given})


def _middle_part(stack: Stack, share: float) -> Stack:
    """Return the middle of a stack, so wide that it shows ``share`` of the area."""
    rows = round(stack.pixels.shape[1] * np.sqrt(share) / 2) * 2
    first = (stack.pixels.shape[1] - rows) // 2
    return Stack(stack.pixels[:, first : first + rows, first : first + rows], stack.voxel_um)


def _rotation(yaw_deg: float, tilt_y_deg: float, tilt_x_deg: float) -> NDArray[np.float64]:
    turned = Transform.rigid(yaw_deg=yaw_deg, tilt_y_deg=tilt_y_deg, tilt_x_deg=tilt_x_deg)
    return np.asarray(turned.matrix[:3, :3])
