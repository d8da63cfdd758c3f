"""What is true of the generated cortex in the frame of a stack: its spines, its dendrites, good places to image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from devices.cortex import Cortex
from devices.pose import Pose
from devices.spines import KIND_NAMES, Spines

Floats = NDArray[np.float64]

SPINE_COLUMNS = [
    "spine_id", "dendrite", "head_z_um", "head_y_um", "head_x_um", "base_z_um", "base_y_um", "base_x_um",
    "length_um", "kind", "scorable",
]  # fmt: skip
DENDRITE_COLUMNS = ["dendrite", "z_um", "y_um", "x_um"]

BORDER_ZYX_UM = np.array([3.0, 2.0, 2.0])
"""A head nearer to the stack's border than this cannot be scored, um."""

HIDDEN_UM = 0.15
"""A spine whose tip does not stand out sideways from the shaft by this much is hidden above or below it, um."""

APART_UM = 120.0
"""Least distance between two good places, um."""


@dataclass(frozen=True, eq=False)
class StackFrame:
    """Where a stack lies on the stage.

    Parameters
    ----------
    centre_zyx_um
        Stage coordinates of the middle of the stack, um.
    yx_from_image
        Map of image offsets (down, right) to stage offsets (y, x), shape (2, 2).
    middle_zyx_um
        The middle of the stack in its own frame, um from the centre of the first voxel.
    """

    centre_zyx_um: Floats
    yx_from_image: Floats
    middle_zyx_um: Floats

    @classmethod
    def at(
        cls,
        centre_xyz_um: Sequence[float],
        image_orientation: Floats,
        shape: Sequence[int] = (1, 1, 1),
        voxel_um: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> StackFrame:
        """Return the frame of a stack of ``shape`` and ``voxel_um`` (z, y, x) centred at a stage position (x, y, z)."""
        middle = (np.asarray(shape) - 1) / 2.0 * np.asarray(voxel_um, dtype=float)
        return cls(np.asarray(centre_xyz_um, dtype=float)[::-1], image_orientation[::-1, ::-1], middle)

    def to_stage(self, stack_zyx_um: ArrayLike) -> Floats:
        """Map points of the stack to the stage, um."""
        offset = np.asarray(stack_zyx_um, dtype=float) - self.middle_zyx_um
        return self.centre_zyx_um + np.column_stack([offset[:, 0], offset[:, 1:] @ self.yx_from_image.T])

    def from_stage(self, stage_zyx_um: ArrayLike) -> Floats:
        """Map points of the stage to the stack, um."""
        offset = np.asarray(stage_zyx_um, dtype=float) - self.centre_zyx_um
        turned = offset[:, 1:] @ np.linalg.inv(self.yx_from_image).T
        return np.column_stack([offset[:, 0], turned]) + self.middle_zyx_um

    def inside(self, stack_zyx_um: Floats, border_zyx_um: ArrayLike = 0.0) -> NDArray[np.bool_]:
        """Return which points lie in the stack, at least ``border_zyx_um`` from its border."""
        border = np.asarray(border_zyx_um, dtype=float)
        low, high = border, 2.0 * self.middle_zyx_um - border
        within: NDArray[np.bool_] = np.all((stack_zyx_um >= low) & (stack_zyx_um <= high), axis=1)
        return within


def grid_um(extent_zyx_um: Sequence[float]) -> Floats:
    """Return points that fill a box about (0, 0, 0) evenly, shape (n, 3), um."""
    axes = [np.linspace(-0.5, 0.5, 9) * extent for extent in extent_zyx_um]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def spines_in(cortex: Cortex, pose: Pose, day: float, frame: StackFrame) -> pd.DataFrame:
    """Return the spines that a stack shows on ``day``; columns ``SPINE_COLUMNS``, um in the frame of the stack."""
    spines = cortex.spines
    heads = frame.from_stage(pose.to_stage(spines.head_zyx_um))
    rows = np.flatnonzero(frame.inside(heads) & spines.present(day))
    heads = heads[rows]
    bases = frame.from_stage(pose.to_stage(spines.base_zyx_um[rows]))
    scorable = frame.inside(heads, BORDER_ZYX_UM) & ~_hidden(cortex, spines, rows)
    columns = [
        rows,
        spines.branch[rows],
        *heads.T,
        *bases.T,
        spines.length_um[rows],
        KIND_NAMES[spines.kind[rows]],
        scorable,
    ]
    return pd.DataFrame(dict(zip(SPINE_COLUMNS, columns, strict=True)))


def _hidden(cortex: Cortex, spines: Spines, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which spines stay within the shaft's outline as seen along the axis."""
    hidden = np.zeros(len(rows), dtype=bool)
    for i, row in enumerate(rows):
        branch = cortex.branches[spines.branch[row]]
        start = max(int(spines.along[row]) - 16, 0)
        near = branch.points_zyx_um[start : start + 33]
        beside_um = np.min(np.hypot(*(near[:, 1:] - spines.head_zyx_um[row, 1:]).T))
        tip_um = beside_um + spines.head_radius_um[row]
        hidden[i] = tip_um < branch.radius_um[spines.along[row]] + HIDDEN_UM
    return hidden


def dendrites_in(cortex: Cortex, pose: Pose, frame: StackFrame) -> pd.DataFrame:
    """Return the centrelines of spiny dendrites in a stack, points 0.25 um apart; columns ``DENDRITE_COLUMNS``."""
    points = frame.from_stage(pose.to_stage(cortex.shaft_zyx_um))
    inside = frame.inside(points)
    columns = [cortex.shaft_branch[inside], *points[inside].T]
    return pd.DataFrame(dict(zip(DENDRITE_COLUMNS, columns, strict=True)))


def choose_places(cortex: Cortex, count: int) -> Floats:
    """Choose well-separated places with a thick spiny dendrite in focus and others around it.

    Returns
    -------
    places
        Tissue coordinates, shape (count, 3), um, best first.
    """
    shaft = cortex.shaft_zyx_um[::20]
    names = cortex.shaft_branch[::20]
    reach_um = min(cortex.half_width_um - 180.0, 400.0)
    fit = (np.abs(shaft[:, 1:]).max(axis=1) < reach_um) & (shaft[:, 0] > 22.0) & (shaft[:, 0] < 65.0)
    candidates = np.flatnonzero(fit)[:: max(int(fit.sum()) // 600, 1)]
    scores = np.array([_score(shaft, names, i) for i in candidates])
    chosen: list[int] = []
    for i in candidates[np.argsort(-scores, kind="stable")]:
        if all(np.hypot(*(shaft[i, 1:] - shaft[j, 1:])) >= APART_UM for j in chosen):
            chosen.append(int(i))
        if len(chosen) == count:
            return np.asarray(shaft[chosen])
    raise ValueError(
        f"The sample has {len(chosen)} good places {APART_UM:g} um apart; {count} were asked for. "
        "Ask for fewer or widen half_width_um."
    )


def _score(shaft: Floats, names: NDArray[np.int64], i: int) -> float:
    """Score a place as an experimenter would: several dendrites about a long one, but no thicket."""
    apart = np.abs(shaft - shaft[i])
    near = (apart[:, 0] < 12.0) & (apart[:, 1] < 35.0) & (apart[:, 2] < 35.0)
    own = near & (names == names[i])
    crowd = max(int(near.sum()) - 26, 0)
    return float(2 * min(int(own.sum()), 14) + 6 * min(len(np.unique(names[near])), 3) - crowd)
