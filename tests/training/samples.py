"""Straightened dendrites with every head known: of the simulated cortex, or of stacks that a person marked.

What the network learns from. A place that nobody can judge (an edge, a hidden spine, another dendrite) has no weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from acquire.config import read_rig_config
from acquire.opening import open_rig
from analysis.learned import over_shaft
from analysis.model import Dendrite, Stack
from analysis.stack import read_stack
from analysis.straighten import AXIAL_TO_LATERAL, STEP_UM, StraightenedDendrite, straighten
from analysis.trace import trace_dendrites
from devices.scene import Scan

Image = NDArray[np.float32]
Points = NDArray[np.float64]

HEAD = ["head_z_um", "head_y_um", "head_x_um"]
SQUASH = np.array([1.0 / AXIAL_TO_LATERAL, 1.0, 1.0])
HEAD_UM, RIM_UM = 0.3, 0.55  # within the first it is the head, beyond the second it is not
UNJUDGED_UM = 0.7
FARTHEST_UM = 3.7
ENDS = 4  # samples at either end that are not looked at
NEAR_ANNOTATED_UM = 1.5
HEAD_INSET_UM = 0.55  # a person marks the tip; the middle of the head lies that much nearer to the foot


@dataclass(frozen=True, eq=False)
class Sample:
    """One dendrite.

    Parameters
    ----------
    group
        What it must not be split from: seed, session and dendrite.
    ratio
        Light over the brightness of the shaft, shape (along, across, depth).
    heads
        (along, across, depth) of its spines, shape (n, 3), um.
    others
        The same of what cannot be judged, or stands on other dendrites.
    truth, weight, depth_um
        What the network should say, how much it counts, and the depth of the head, shape (along, across).
    """

    group: dict[str, int]
    ratio: Image
    heads: Points
    others: Points
    truth: Image
    weight: Image
    depth_um: Image

    @classmethod
    def of(
        cls,
        group: dict[str, int],
        straightened: StraightenedDendrite,
        heads_zyx_um: Points,
        others_zyx_um: Points,
        judged: NDArray[np.bool_] | None = None,
    ) -> Sample:
        heads, others = (straightened.dendrite_from_stack(points) for points in (heads_zyx_um, others_zyx_um))
        others = others[(np.abs(others[:, 1:]) < 5.0).all(axis=1)]
        inside = straightened.inside.all(axis=2)
        if judged is not None:
            inside = inside & judged[:, None]
        return cls(group, over_shaft(straightened.volume), heads, others, *_say(straightened, heads, others, inside))


def _say(
    straightened: StraightenedDendrite, heads: Points, others: Points, inside: NDArray[np.bool_]
) -> tuple[Image, Image, Image]:
    along, across = straightened.along_um, straightened.across_um
    truth, depth_um = np.zeros(inside.shape, np.float32), np.zeros(inside.shape, np.float32)
    weight = (inside & (np.abs(across) <= FARTHEST_UM)).astype(np.float32)
    weight[:ENDS], weight[-ENDS:] = 0.0, 0.0
    for place in others:
        weight[np.hypot(along[:, None] - place[0], across - place[1]) < UNJUDGED_UM] = 0.0
    nearest = np.full(inside.shape, np.inf)
    for place in heads:
        away = np.hypot(along[:, None] - place[0], across - place[1])
        weight[(away < RIM_UM) & (away >= HEAD_UM) & (truth < 1)] = 0.0
        truth[away < HEAD_UM] = weight[away < HEAD_UM] = 1.0
        depth_um[(away < RIM_UM) & (away < nearest)] = place[2]
        nearest = np.minimum(nearest, away)
    return truth, weight, depth_um


def simulated(seed: int, places: int = 12) -> Iterator[Sample]:
    """Look at places of one simulated cortex through microscopes that are drawn by chance."""
    chance = np.random.default_rng([77, seed])
    config = read_rig_config("simulated")
    settings = {**config.load_settings, "seed": seed, "shutter_file": None, "realtime": False}
    settings |= {"pulsation_um": 0.03, "drift_um": 0.0}
    with open_rig(config.model_copy(update={"load_settings": settings, "watchdog": None})) as rig:
        loaded = rig.loaded
        for number in range(places):
            loaded.mount(number, 0.0)
            centre = np.array(loaded.good_places(places)[number]) + chance.uniform(-6.0, 6.0, 3)
            stack = _take(loaded.scene, centre, chance)
            spines = loaded.true_spines(number, centre, stack.pixels.shape, stack.voxel_um)
            lines = loaded.true_dendrites(number, centre, stack.pixels.shape, stack.voxel_um)
            for name, line in _pieces(lines):
                straightened = straighten(stack, _traced(name, line, chance))
                ours = ((spines["dendrite"] == name) & spines["scorable"]).to_numpy(bool)
                places_um = spines[HEAD].to_numpy(float)
                group = {"seed": seed, "place": number, "dendrite": name}
                yield Sample.of(group, straightened, places_um[ours], places_um[~ours])


def _take(scene, centre_xyz_um: Points, chance: np.random.Generator) -> Stack:
    """Scan a stack of 512 x 512 x 44 voxels with other optics, brightness, averaging and digitiser every time."""
    pixels, voxel_um, planes = 512, (1.0, 0.12, 0.12), 44
    scene.optics = replace(
        scene.optics, psf_lateral_um=chance.uniform(0.34, 0.55), psf_axial_um=chance.uniform(1.5, 2.8)
    )
    frames, scene.power_mw = int(chance.integers(1, 5)), float(chance.uniform(14.0, 34.0))
    scene.x_um, scene.y_um, scene.shutter_open = float(centre_xyz_um[0]), float(centre_xyz_um[1]), True
    scan, light = Scan(pixels, voxel_um[1], 1.0, (0, 0, pixels, pixels)), []
    for plane in range(planes):
        scene.z_um = float(centre_xyz_um[2]) + (plane - (planes - 1) / 2) * voxel_um[0]
        light.append(np.mean([scene.scan(scan) for _ in range(frames)], axis=0) - scene.optics.offset)
    counts = np.clip(np.stack(light), 0.0, None)
    if chance.uniform() < 0.4:  # eight bits, the brightest clipped
        top = np.percentile(counts, chance.uniform(99.7, 99.97))
        return Stack(np.clip(np.rint(counts / top * 255), 0, 255).astype(np.uint8), voxel_um)
    return Stack(counts.astype(np.uint16), voxel_um)


def _pieces(lines: pd.DataFrame) -> Iterator[tuple[int, Points]]:
    """Yield the stretches of dendrites that do not leave the stack, at least 15 um long."""
    for name, line in lines.groupby("dendrite"):
        points = line[["z_um", "y_um", "x_um"]].to_numpy(float)
        gaps = np.flatnonzero(np.linalg.norm(np.diff(points, axis=0), axis=1) > 1.0) + 1
        for piece in np.split(points, gaps):
            if len(piece) >= 60:
                yield int(name), piece[::2]


def _traced(name: int, line: Points, chance: np.random.Generator) -> Dendrite:
    """Return a line as our tracing gives it: off by a tenth of a um sideways, more in depth."""
    noise = gaussian_filter1d(chance.normal(size=line.shape), 8, axis=0) * np.sqrt(16 * np.sqrt(np.pi))
    return Dendrite(name, line + noise * np.array([0.5, 0.12, 0.12]), np.full(len(line), 0.5))


def marked(folder: Path) -> Iterator[Sample]:
    """Trace the stacks of a folder (``sessionN.ome.tif``), whose spines and dendrites a person marked (``.csv``)."""
    for file in sorted(folder.glob("session*.ome.tif")):
        number = int(file.name.removeprefix("session").removesuffix(".ome.tif"))
        stack = read_stack(file)
        spines, lines = (pd.read_csv(folder / f"session{number}_{what}.csv") for what in ("spines", "dendrites"))
        heads, good = heads_of(spines), ~spines["is_bad"].to_numpy(bool)
        annotated = cKDTree(lines[["z_um", "y_um", "x_um"]].to_numpy(float) * SQUASH)
        traced = trace_dendrites(stack)
        away = np.stack([cKDTree(d.points_zyx_um * SQUASH).query(heads * SQUASH)[0] for d in traced])
        for row, dendrite in enumerate(traced):
            straightened = straighten(stack, dendrite)
            distance, nearest = annotated.query(straightened.frame.centre_zyx_um * SQUASH)
            judged = distance < NEAR_ANNOTATED_UM
            if judged.sum() * STEP_UM < 8.0:
                continue
            name = int(np.bincount(lines["dendrite"].to_numpy()[nearest[judged]]).argmax())
            ours = (away.argmin(axis=0) == row) & (away[row] < 5.0) & good
            group = {"session": number, "dendrite": name}
            yield Sample.of(group, straightened, heads[ours], heads[~ours], judged)


def heads_of(spines: pd.DataFrame) -> Points:
    """Return the middles of the heads of marked spines, from tip and anchor, shape (n, 3), um."""
    tip, anchor = (spines[[f"{end}_{axis}_um" for axis in "zyx"]].to_numpy(float) for end in ("tip", "anchor"))
    inward = (anchor - tip) * np.array([0.0, 1.0, 1.0])
    length = np.linalg.norm(inward, axis=1, keepdims=True)
    return tip + inward / np.maximum(length, 1e-9) * np.minimum(HEAD_INSET_UM, 0.5 * length)
