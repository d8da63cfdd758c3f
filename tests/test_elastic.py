"""The elastic course along a dendrite: against a known deformation, and against marked spines of the real field."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from analysis.elastic import register_dendrite
from analysis.errors import StackError
from analysis.model import Stack, Transform

REAL = os.environ.get("SAMEFIELD_REAL_FIELD")
needs_real_field = pytest.mark.skipif(REAL is None, reason="SAMEFIELD_REAL_FIELD does not point to the recorded field")
VOXEL_UM = (1.0, 0.2, 0.2)
SIZE_UM = np.array([24.0, 40.0, 100.0])


def grow_dendrite(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a winding centreline and the heads of its spines, (n, 3) and (m, 3), um."""
    x = np.arange(4.0, 96.0, 0.2)
    line = np.stack([12 + 2 * np.sin(x / 18), 20 + 5 * np.sin(x / 12), x], axis=1)
    heads = line[rng.choice(len(line), 55, replace=False)]
    angle = rng.uniform(0, 2 * np.pi, len(heads))
    out = rng.uniform(1.0, 2.0, len(heads))
    return line, heads + np.stack(
        [0.5 * out * np.sin(angle), out * np.cos(angle), rng.normal(0, 0.3, len(heads))], axis=1
    )


def deform(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move points as living tissue does between days: up to 1.5 um sideways and 2 um in depth, over tens of um."""
    phase = points[..., 2] / 100 * 2 * np.pi
    moved = [2.0 * np.sin(phase), 1.3 * np.cos(phase + 0.5), 1.2 * np.sin(phase * 0.8 + 1)]
    return points + np.stack(moved, axis=-1)


def image_points(
    line: NDArray[np.float64], heads: NDArray[np.float64], rng: np.random.Generator, gain: float = 1.0
) -> Stack:
    shape = tuple(int(v) for v in SIZE_UM / VOXEL_UM)
    clean = np.zeros(shape)
    for points, weight in ((line, 1.0), (heads, 1.6)):
        index = np.round(points / VOXEL_UM).astype(int)
        index = index[np.all((index >= 0) & (index < shape), axis=1)]
        np.add.at(clean, tuple(index.T), weight)
    clean = ndimage.gaussian_filter(clean, np.array([1.3, 0.3, 0.3]) / VOXEL_UM)
    return Stack(rng.poisson(gain * (1 + 80 * clean / clean.max())).astype(np.uint16), VOXEL_UM)


@pytest.mark.parametrize("turn_deg", [0.0, 6.0])
def test_known_deformation_is_followed(turn_deg: float) -> None:
    rng = np.random.default_rng(0)
    line, heads = grow_dendrite(rng)
    turn = Transform.rigid((1.0, 0.5, -0.8), yaw_deg=turn_deg, centre_zyx_um=SIZE_UM / 2)
    reference = image_points(line, heads, rng)
    today = image_points(turn.apply(deform(line)), turn.apply(deform(heads)), rng, gain=0.4)
    found = register_dendrite(reference, today, line, turn)
    truth = turn.apply(deform(heads))
    before, after = turn.apply(heads) - truth, found.apply(heads) - truth
    assert np.median(np.hypot(before[:, 1], before[:, 2])) > 0.9
    assert np.percentile(np.hypot(after[:, 1], after[:, 2]), 90) < 0.3
    assert np.percentile(np.abs(after[:, 0]), 90) < 0.6
    assert np.median(found.correlation) > 0.7
    assert np.allclose(found.inverse_apply(found.apply(heads)), heads, atol=0.15)


def test_the_places_are_those_asked_for() -> None:
    rng = np.random.default_rng(1)
    line, heads = grow_dendrite(rng)
    stack = image_points(line, heads, rng)
    found = register_dendrite(stack, image_points(line, heads, rng), line[::40], Transform.identity())
    assert np.array_equal(found.reference_points_zyx_um, line[::40])
    assert found.today_points_zyx_um.shape == line[::40].shape
    assert found.correlation.shape == (len(line[::40]),)
    assert np.abs(found.displacement_zyx_um).max() < 0.3
    assert np.allclose(found.apply(line[80]), found.apply(line[80:81])[0])


def test_where_todays_stack_ends_the_neighbours_are_followed() -> None:
    rng = np.random.default_rng(2)
    line, heads = grow_dendrite(rng)
    whole = image_points(deform(line), deform(heads), rng)
    cut = Stack(whole.pixels[:, :, : int(60 / VOXEL_UM[2])], VOXEL_UM)
    found = register_dendrite(image_points(line, heads, rng), cut, line, Transform.identity())
    seen, lost = line[:, 2] < 50, line[:, 2] > 80
    apart = found.today_points_zyx_um - deform(line)
    assert np.percentile(np.hypot(apart[seen, 1], apart[seen, 2]), 90) < 0.4
    assert found.correlation[lost].max() < 0.4
    assert np.median(found.correlation[seen]) > 0.7
    assert np.abs(found.displacement_zyx_um[lost]).max() < 4.0


def test_another_dendrite_is_not_recognised() -> None:
    rng = np.random.default_rng(3)
    line, heads = grow_dendrite(rng)
    noise = Stack(rng.poisson(3, tuple(int(v) for v in SIZE_UM / VOXEL_UM)), VOXEL_UM)
    found = register_dendrite(image_points(line, heads, rng), noise, line, Transform.identity())
    assert np.median(found.correlation) < 0.35
    assert np.abs(found.displacement_zyx_um).max() < 1.0


@pytest.mark.parametrize("points", [np.zeros((5, 3)), np.zeros((1, 3)), np.zeros((4, 2))])
def test_what_is_no_line_is_refused(points: NDArray[np.float64]) -> None:
    stack = Stack(np.zeros((5, 50, 50)), VOXEL_UM)
    with pytest.raises(StackError, match="dendrite needs"):
        register_dendrite(stack, stack, points, Transform.identity())


def test_short_dendrite_in_an_empty_stack_stays_where_the_rigid_motion_puts_it() -> None:
    stack = Stack(np.zeros((10, 60, 60), np.uint8), VOXEL_UM)
    points = np.array([[5.0, 5.0, 5.0], [5.0, 6.0, 6.0]])
    found = register_dendrite(stack, stack, points, Transform.translation((1, 2, 3)))
    assert np.allclose(found.today_points_zyx_um, points + np.array([1.0, 2.0, 3.0]))


def read_points(name: str, axis_columns: str, key: str) -> dict[str, NDArray[np.float64]]:
    with (Path(str(REAL)) / name).open() as file:
        rows = list(csv.DictReader(file))
    groups: dict[str, list[list[float]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append([float(row[axis_columns.format(a)]) for a in "zyx"])
    return {name: np.array(points) for name, points in groups.items()}


def without_stretch(motion: Transform, middle_um: NDArray[np.float64]) -> Transform:
    """Return the rigid motion that does the same in the middle."""
    u, _, vt = np.linalg.svd(motion.matrix[:3, :3])
    rigid = motion.matrix.copy()
    rigid[:3, :3] = u @ vt
    rigid[:3, 3] = motion.apply(middle_um) - rigid[:3, :3] @ middle_um
    return Transform(rigid)


@needs_real_field
@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 3)])
def test_marked_spines_come_closer_than_the_rigid_motion_brings_them(first: int, second: int) -> None:
    import tifffile

    from analysis.register import register_stacks

    stacks = [
        Stack(tifffile.imread(Path(str(REAL)) / f"session{s}.ome.tif"), (1.0, 0.12, 0.12)) for s in (first, second)
    ]
    motion = register_stacks(*stacks).reference_from_today.inverse()
    unstretched = without_stretch(motion, stacks[0].extent_zyx_um / 2)
    tips, tips_later = (read_points(f"session{s}_spines.csv", "tip_{}_um", "spine_id") for s in (first, second))
    owner = {}
    with (Path(str(REAL)) / f"session{first}_spines.csv").open() as file:
        owner = {row["spine_id"]: row["dendrite"] for row in csv.DictReader(file)}
    rigid, elastic = [], []
    for dendrite, line in read_points(f"session{first}_dendrites.csv", "{}_um", "dendrite").items():
        course = register_dendrite(*stacks, line, motion)
        for spine in (s for s in tips if owner[s] == dendrite and s in tips_later):
            rigid.append((unstretched.apply(tips[spine]) - tips_later[spine])[0, 1:])
            elastic.append((course.apply(tips[spine]) - tips_later[spine])[0, 1:])
    before, after = (np.linalg.norm(v, axis=1) for v in (rigid, elastic))
    assert np.median(after) < 0.6
    assert np.median(after) < np.median(before) - 0.15
    assert np.percentile(after, 90) < np.percentile(before, 90)
