"""Tracing against curves that the test draws itself, and against the real field when it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from analysis.centreline import normals, smoothed
from analysis.model import Dendrite, Floats, Stack
from analysis.trace import recentre, trace_between, trace_dendrites

VOXEL_UM = (1.0, 0.2, 0.2)
SHAPE = (30, 256, 256)
BLUR_UM = (1.0, 0.35, 0.35)


def curve(*knots: tuple[float, float, float]) -> Floats:
    """A smooth curve through (z, y, x) knots in um, points 0.05 um apart."""
    at = np.array(knots, dtype=float)
    spline = CubicSpline(np.linspace(0.0, 1.0, len(at)), at)
    fine = spline(np.linspace(0.0, 1.0, 4000))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    stations = np.arange(0.0, along[-1], 0.05)
    return np.stack([np.interp(stations, along, c) for c in fine.T], axis=1)


def wavy(seed: int) -> Floats:
    """A random dendrite across the whole stack."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-2.0, 53.0, 7)
    y = rng.uniform(15.0, 36.0) + np.cumsum(rng.normal(0.0, 2.0, 7))
    z = rng.uniform(10.0, 19.0) + np.cumsum(rng.normal(0.0, 1.0, 7))
    return curve(*zip(z, y.clip(5.0, 46.0), x, strict=True))


def drawn(*parts: tuple[Floats, float], background: float = 4.0, seed: int = 0, noise: bool = True) -> Stack:
    """A photon-counting stack of point clouds (um) with a brightness a point each."""
    photons = np.zeros(SHAPE)
    for points, brightness in parts:
        at = np.rint(points / VOXEL_UM).astype(int)
        at = at[((at >= 0) & (at < SHAPE)).all(axis=1)]
        np.add.at(photons, tuple(at.T), brightness)
    photons = ndimage.gaussian_filter(photons, np.array(BLUR_UM) / VOXEL_UM, mode="constant") + background
    rng = np.random.default_rng(seed)
    return Stack((rng.poisson(photons) if noise else photons).astype(np.uint16), VOXEL_UM)


def spines_on(line: Floats, seed: int) -> Floats:
    """Heads 1.2 um beside the line, 2.5 um apart, five points each."""
    rng = np.random.default_rng(seed)
    feet = line[rng.choice(len(line), len(line) // 50, replace=False)]
    angle = rng.uniform(0.0, 2 * np.pi, len(feet))
    heads = feet + 1.2 * np.stack([np.zeros(len(feet)), np.sin(angle), np.cos(angle)], axis=1)
    return np.repeat(heads, 5, axis=0)


def inside(points: Floats) -> Floats:
    extent = (np.array(SHAPE) - 1) * VOXEL_UM
    return points[((points >= 0.0) & (points <= extent)).all(axis=1)]


def errors_um(points: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Lateral and axial distance of each point to the nearest of the truth, um."""
    squash = np.array([0.4, 1.0, 1.0])
    _, nearest = cKDTree(truth * squash).query(points * squash)
    off = points - truth[nearest]
    return np.hypot(off[:, 1], off[:, 2]), np.abs(off[:, 0])


def covered(truth: Floats, points: Floats) -> float:
    lateral, axial = errors_um(inside(truth), points)
    return float(((lateral < 0.5) & (axial < 1.5)).mean())


@pytest.mark.parametrize("seed", range(4))
def test_a_spiny_dendrite_is_traced_once_and_centred(seed: int) -> None:
    line = wavy(seed)
    found = trace_dendrites(drawn((line, 60.0), (spines_on(line, seed), 125.0), seed=seed))
    assert [d.name for d in found] == [0]
    lateral, axial = errors_um(found[0].points_zyx_um, line)
    assert np.median(lateral) < 0.1
    assert np.percentile(lateral, 95) < 0.3
    assert np.median(axial) < 0.3
    assert covered(line, found[0].points_zyx_um) > 0.95


def test_points_are_ordered_evenly_and_carry_a_plausible_radius() -> None:
    (dendrite,) = trace_dendrites(drawn((wavy(1), 60.0)))
    steps = np.diff(dendrite.along_um)
    assert steps.min() > 0.1
    assert steps.max() < 0.26
    assert dendrite.radius_um.shape == (len(dendrite.points_zyx_um),)
    half_width_um = 0.35 * np.sqrt(2 * np.log(2))
    assert np.median(dendrite.radius_um) == pytest.approx(half_width_um, abs=0.12)


def test_dendrites_that_cross_6_um_apart_in_depth_stay_two() -> None:
    upper = curve((10, 5, 2), (10, 20, 18), (11, 46, 48))
    lower = curve((17, 46, 3), (17, 28, 24), (16, 4, 49))
    found = trace_dendrites(drawn((upper, 60.0), (lower, 60.0)))
    assert len(found) == 2
    for truth in (upper, lower):
        best = min(found, key=lambda d: float(errors_um(d.points_zyx_um, truth)[0].mean()))
        lateral, axial = errors_um(best.points_zyx_um, truth)
        assert lateral.max() < 1.0
        assert axial.max() < 2.0
        assert covered(truth, best.points_zyx_um) > 0.95


def test_a_branch_starts_on_the_dendrite_that_goes_straight_on() -> None:
    trunk = curve((12, 26, -2), (13, 25, 25), (14, 27, 53))
    fork = trunk[len(trunk) // 2]
    branch = curve(tuple(fork), (13, 33, 32), (15, 49, 38))
    found = trace_dendrites(drawn((trunk, 60.0), (branch, 50.0)))
    assert len(found) == 2
    assert covered(trunk, found[0].points_zyx_um) > 0.95
    assert errors_um(found[0].points_zyx_um, trunk)[0].max() < 0.7
    start = found[1].points_zyx_um[:1]
    assert errors_um(start, trunk)[0] < 1.5
    assert np.linalg.norm(start - fork) < 3.0
    assert covered(branch[60:-60], found[1].points_zyx_um) > 0.9


def test_a_gap_of_4_um_is_bridged() -> None:
    line = wavy(2)
    gap = slice(len(line) // 2 - 40, len(line) // 2 + 40)
    found = trace_dendrites(drawn((np.delete(line, gap, axis=0), 60.0)))
    assert len(found) == 1
    assert covered(line, found[0].points_zyx_um) > 0.95


def test_a_dim_axon_and_scattered_specks_are_left_out() -> None:
    rng = np.random.default_rng(5)
    specks = np.repeat(rng.uniform(0, 1, (150, 3)) * (np.array(SHAPE) - 1) * VOXEL_UM, 10, axis=0)
    axon = curve((22, 2, 30), (22, 25, 33), (23, 49, 28))
    line = wavy(0)
    found = trace_dendrites(drawn((line, 60.0), (specks, 60.0), (axon, 4.0)))
    assert len(found) == 1
    assert errors_um(found[0].points_zyx_um, line)[0].max() < 1.5


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((20, 64, 64), np.uint8),
        np.full((20, 64, 64), 7.5, np.float32),
        np.zeros((0, 64, 64), np.uint16),
        np.zeros((1, 1, 1), np.uint16),
        np.zeros((3, 4, 200), np.uint16),
        np.random.default_rng(0).poisson(3.0, (30, 256, 256)).astype(np.uint16),
        np.random.default_rng(1).normal(100.0, 10.0, (30, 256, 256)).astype(np.float32),
        np.random.default_rng(2).poisson(3.0, (1, 256, 256)).astype(np.uint8),
    ],
    ids=["dark", "constant", "no planes", "one voxel", "sliver", "photon noise", "camera noise", "one plane"],
)
def test_where_nothing_is_nothing_is_traced(pixels: np.ndarray) -> None:
    assert trace_dendrites(Stack(pixels, VOXEL_UM)) == []


@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    seed=st.integers(0, 10_000),
    quarter_turns=st.integers(1, 3),
    gain=st.floats(0.5, 50.0),
    offset=st.floats(0.0, 500.0),
)
def test_turning_or_rescaling_the_image_leaves_the_traces(
    seed: int, quarter_turns: int, gain: float, offset: float
) -> None:
    stack = drawn((wavy(seed), 60.0), seed=seed)
    turned = np.rot90(stack.pixels, quarter_turns, axes=(1, 2)) * gain + offset
    (before,) = trace_dendrites(stack)
    (after,) = trace_dendrites(Stack(turned, VOXEL_UM))
    centre = (SHAPE[1] - 1) / 2 * VOXEL_UM[1]
    points = after.points_zyx_um.copy()
    for _ in range(quarter_turns):
        y, x = points[:, 1].copy(), points[:, 2].copy()
        points[:, 1], points[:, 2] = x, 2 * centre - y
    lateral, axial = errors_um(points, before.points_zyx_um)
    assert np.percentile(lateral, 95) < 0.3
    assert np.percentile(axial, 95) < 0.4
    assert after.length_um == pytest.approx(before.length_um, abs=3.0)


def shifted(line: Floats, shift_zyx_um: tuple[float, float, float]) -> Dendrite:
    points = inside(line)[::4] + np.array(shift_zyx_um)
    return Dendrite(7, points, np.ones(len(points)))


@pytest.mark.parametrize("shift_zyx_um", [(0, 0, 0), (1.5, 1.0, 0), (-1.5, -1.4, 0.3), (0.5, 1.5, -0.5)])
def test_recentring_brings_a_carried_line_back(shift_zyx_um: tuple[float, float, float]) -> None:
    line = wavy(3)
    carried = shifted(line, shift_zyx_um)
    moved = recentre(drawn((line, 60.0), (spines_on(line, 3), 125.0)), carried)
    assert moved.name == 7
    assert moved.points_zyx_um.shape == carried.points_zyx_um.shape
    lateral, axial = errors_um(moved.points_zyx_um, line)
    assert np.median(lateral) < 0.12
    assert np.percentile(lateral, 95) < 0.35
    assert np.median(axial) < 0.35
    assert (np.diff(moved.points_zyx_um[:, 2]) > 0).mean() > 0.99


def test_recentring_moves_an_unseen_stretch_with_its_neighbours() -> None:
    line = wavy(3)
    seen = np.delete(line, slice(400, 560), axis=0)
    moved = recentre(drawn((seen, 60.0)), shifted(line, (0.0, 1.0, 0.0)))
    lateral, _ = errors_um(moved.points_zyx_um, line)
    assert lateral.max() < 0.8


@pytest.mark.parametrize("count", [1, 2, 5])
def test_recentring_short_lines_and_dark_stacks_changes_nothing_much(count: int) -> None:
    line = Dendrite(0, np.linspace((10.0, 20.0, 20.0), (10.0, 20.0, 21.0), count), np.ones(count))
    moved = recentre(Stack(np.zeros(SHAPE, np.uint8), VOXEL_UM), line)
    assert np.abs(moved.points_zyx_um - line.points_zyx_um).max() < 0.1
    assert np.isfinite(moved.radius_um).all()


def test_a_trace_between_ends_follows_the_shaft() -> None:
    line = inside(wavy(1))
    other = curve((21, 3, 2), (21, 25, 25), (21, 47, 48))
    found = trace_between(drawn((line, 60.0), (other, 60.0)), line[[20, -20]])
    lateral, axial = errors_um(found.points_zyx_um, line)
    assert np.percentile(lateral, 95) < 0.25
    assert np.median(axial) < 0.3
    assert covered(line[40:-40], found.points_zyx_um) > 0.97


def test_a_trace_refuses_what_it_cannot_follow() -> None:
    stack = Stack(np.zeros(SHAPE, np.uint8), VOXEL_UM)
    with pytest.raises(ValueError, match="two or more"):
        trace_between(stack, [(1.0, 2.0, 3.0)])
    with pytest.raises(ValueError, match="outside the stack of"):
        trace_between(stack, [(1.0, 2.0, 3.0), (1.0, 2.0, 300.0)])


@pytest.mark.slow
@pytest.mark.parametrize("session", [0, 1, 3])
def test_the_real_field_is_traced(session: int) -> None:
    folder = os.environ.get("SAMEFIELD_REAL_FIELD")
    if not folder:
        pytest.skip("SAMEFIELD_REAL_FIELD is not set: no recorded field to trace")
    import pandas as pd
    import tifffile

    pixels = tifffile.imread(Path(folder) / f"session{session}.ome.tif")
    table = pd.read_csv(Path(folder) / f"session{session}_dendrites.csv")
    truth = table[["z_um", "y_um", "x_um"]].to_numpy(float)
    found = trace_dendrites(Stack(pixels, (1.0, 0.12, 0.12)))
    points = np.concatenate([d.points_zyx_um for d in found])
    lateral, axial = errors_um(truth, points)
    assert ((lateral <= 1.0) & (axial <= 3.0)).mean() > 0.97
    assert np.median(lateral) < 0.15
    assert sum(d.length_um for d in found) < 750


def test_a_line_outside_the_stack_stays_where_it_is():
    stack = drawn((wavy(1), 40.0))
    away = Dendrite(0, wavy(1) + np.array([60.0, 0.0, 0.0]), np.ones(len(wavy(1))))
    np.testing.assert_array_equal(recentre(stack, away).points_zyx_um, away.points_zyx_um)


def test_a_line_that_leaves_the_stack_goes_on_outside():
    line = curve((15.0, 25.0, 20.0), (15.0, 25.0, 45.0), (15.0, 25.0, 80.0))
    stack = drawn((line, 40.0))
    off = Dendrite(0, line[::4] + np.array([0.0, 0.6, 0.0]), np.ones(len(line[::4])))
    found = recentre(stack, off).points_zyx_um
    lateral, _ = errors_um(found, line)
    assert lateral[found[:, 2] < 50.0].max() < 0.3
    assert found[-1, 2] == pytest.approx(80.0, abs=1.0)
    steps = np.linalg.norm(np.diff(found, axis=0), axis=1)
    assert steps.min() > 0.1


@pytest.mark.parametrize("length_um", [0.0, 1e-12, 0.01])
def test_lines_of_no_length_cost_neither_memory_nor_sense(length_um):
    line = np.linspace([5.0, 5.0, 5.0], [5.0, 5.0, 5.0 + length_um], 50)
    np.testing.assert_allclose(smoothed(line, 1.0), line, atol=0.01)
    side, depth = normals(line)
    for axis in (side, depth):
        np.testing.assert_allclose(np.linalg.norm(axis, axis=1), 1.0)


def test_waypoints_at_one_place_are_refused():
    stack = drawn((wavy(1), 40.0))
    with pytest.raises(ValueError, match="move the ends apart"):
        trace_between(stack, [[10.0, 20.0, 20.0], [10.0, 20.0, 20.01]])
