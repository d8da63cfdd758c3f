"""Pairs of stacks that are easily laid on each other wrongly: nearly equal dendrites side by side."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analysis.model import Stack, Transform

SIZE_UM = np.array([50.0, 80.0, 80.0])
VOXEL_UM = np.array([2.0, 0.4, 0.4])
POINT_STEP_UM = 0.25


def grow_dendrites(chance: np.random.Generator, apart_um: float, spines_per_um: float) -> NDArray[np.float64]:
    """Return bright points (z, y, x, brightness), um: equal dendrites in parallel, told apart by their spines alone."""
    along = np.arange(-30.0, 110.0, POINT_STEP_UM)
    points = []
    for y in np.arange(-30.0, 110.0, apart_um):
        shaft = np.column_stack([np.full(len(along), 25.0), y + 0.5 * np.sin(along / 15.0), along])
        bases = shaft[chance.uniform(size=len(along)) < spines_per_um * POINT_STEP_UM]
        side = chance.choice((-1.0, 1.0), len(bases)) * chance.uniform(0.6, 1.4, len(bases))
        heads = bases + np.column_stack([chance.normal(0, 0.3, len(bases)), side, np.zeros(len(bases))])
        points += [np.column_stack([shaft, np.ones(len(shaft))]), np.column_stack([heads, np.full(len(heads), 0.8)])]
    return np.concatenate(points)


def image(points: NDArray[np.float64], today_from_field: Transform, chance: np.random.Generator) -> Stack:
    shape = np.round(SIZE_UM / VOXEL_UM).astype(int)
    index = np.round(today_from_field.apply(points[:, :3]) / VOXEL_UM).astype(int)
    inside = np.all((index >= 0) & (index < shape), axis=1)
    clean = np.zeros(shape)
    np.add.at(clean, tuple(index[inside].T), points[inside, 3])
    clean = ndimage.gaussian_filter(clean, np.array([1.2, 0.3, 0.3]) / VOXEL_UM)
    pixels = chance.poisson(2.0 + 60.0 * clean / np.percentile(clean, 99.5))
    return Stack(pixels.astype(np.uint16), (2.0, 0.4, 0.4))


def draw_lookalikes(count: int, seed: int) -> Iterator[tuple[Stack, Stack, Transform | None]]:
    """Return reference, today and today_from_reference; a third of the pairs are other dendrites, which have none."""
    chance = np.random.default_rng([seed, 33])
    for number in range(count):
        apart_um, spines_per_um = chance.uniform(3.0, 12.0), chance.choice((0.0, 0.1, 0.2, 0.4))
        field = grow_dendrites(chance, apart_um, spines_per_um)
        shift = chance.uniform(-1, 1, 3) * (5.0, 20.0, 20.0)
        pose = Transform.rigid(shift, yaw_deg=chance.uniform(-2, 2), centre_zyx_um=SIZE_UM / 2)
        seen = grow_dendrites(chance, apart_um, spines_per_um) if number % 3 == 0 else field
        reference = image(field, Transform.identity(), chance)
        yield reference, image(seen, pose, chance), pose if number % 3 else None
