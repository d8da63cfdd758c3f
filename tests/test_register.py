"""Registration of stacks: against known poses of a made-up dendritic field, and against the marks of the real one."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from analysis.errors import StackError
from analysis.model import Stack, Transform, Verdict
from analysis.motion import fit_motion, fit_motion_robustly
from analysis.register import estimate_probability, judge, register_stacks
from tests.phantom import dendrites

REAL = os.environ.get("SAMEFIELD_REAL_FIELD")
needs_real_field = pytest.mark.skipif(REAL is None, reason="SAMEFIELD_REAL_FIELD does not point to the recorded field")
CENTRE_UM = (25.0, 40.0, 40.0)
SHARE = st.floats(0, 1)


def grow_field(seed: int) -> NDArray[np.float64]:
    """Return bright points of curved, spiny dendrites in a block of 50 x 80 x 80 um and around it, (z, y, x) um."""
    rng = np.random.default_rng(seed)
    points = []
    for _ in range(7):
        heading, place = rng.uniform(0, 2 * np.pi), rng.uniform((5, -10, -10), (45, 90, 90))
        for _ in range(500):
            heading += rng.normal(0, 0.03)
            place = place + 0.25 * np.array([rng.normal(0, 0.1), np.sin(heading), np.cos(heading)])
            points.append(np.array([*place, 1.0]))
            if rng.uniform() < 0.12:
                points.append(np.array([*(place + rng.normal(0, (0.4, 0.9, 0.9))), 0.8]))
        points += [np.array([*rng.uniform((0, 0, 0), (50, 80, 80)), 1.5]) for _ in range(15)]
    return np.array(points)


def image_field(
    field: NDArray[np.float64],
    today_from_field: Transform,
    rng: np.random.Generator,
    *,
    voxel_um: tuple[float, float, float] = (2.0, 0.4, 0.4),
    gain: float = 1.0,
) -> Stack:
    shape = tuple(int(v) for v in np.array([50.0, 80.0, 80.0]) / voxel_um)
    index = np.round(today_from_field.apply(field[:, :3]) / voxel_um).astype(int)
    inside = np.all((index >= 0) & (index < shape), axis=1)
    clean = np.zeros(shape)
    np.add.at(clean, tuple(index[inside].T), field[inside, 3])
    clean = ndimage.gaussian_filter(clean, np.array([1.2, 0.3, 0.3]) / voxel_um)
    pixels = rng.poisson(gain * (2.0 + 60.0 * clean / np.percentile(clean, 99.5)))
    return Stack(pixels.astype(np.uint16), voxel_um)


def error_um(found: Transform, truth: Transform) -> tuple[float, float]:
    """Return the largest lateral and axial error over the corners of the inner field, um."""
    corners = np.array(np.meshgrid((10, 40), (15, 65), (15, 65))).reshape(3, -1).T
    apart = found.apply(truth.apply(corners)) - corners
    return float(np.hypot(apart[:, 1], apart[:, 2]).max()), float(np.abs(apart[:, 0]).max())


@pytest.mark.parametrize(
    ("shift", "yaw", "tilt"),
    [((0, 0, 0), 0, (0, 0)), ((8, -20, 15), 5, (2, -1)), ((-6, 18, 20), -7, (-2, 3)), ((4, 3, -25), 9, (0, -3))],
)
def test_known_pose_is_found(shift: tuple[float, ...], yaw: float, tilt: tuple[float, float]) -> None:
    rng, field = np.random.default_rng(1), grow_field(3)
    pose = Transform.rigid(shift, yaw_deg=yaw, tilt_y_deg=tilt[0], tilt_x_deg=tilt[1], centre_zyx_um=CENTRE_UM)
    reference = image_field(field, Transform.identity(), rng)
    found = register_stacks(reference, image_field(field, pose, rng, gain=0.4))
    assert found.verdict is Verdict.FOUND
    lateral, axial = error_um(found.reference_from_today, pose)
    assert lateral < 0.7
    assert axial < 1.0
    assert found.reference_from_today.yaw_deg == pytest.approx(-yaw, abs=0.4)


def test_voxel_sizes_may_differ() -> None:
    rng, field = np.random.default_rng(2), grow_field(4)
    pose = Transform.rigid((3.0, 6.0, -9.0), yaw_deg=3.0, centre_zyx_um=CENTRE_UM)
    reference = image_field(field, Transform.identity(), rng)
    found = register_stacks(reference, image_field(field, pose, rng, voxel_um=(1.0, 0.25, 0.25)))
    assert found.verdict is Verdict.FOUND
    assert max(error_um(found.reference_from_today, pose)) < 1.0


def test_a_part_of_the_field_is_found_in_the_whole() -> None:
    rng, field = np.random.default_rng(5), grow_field(5)
    reference, today = (image_field(field, Transform.identity(), rng) for _ in range(2))
    part = Stack(today.pixels[4:21, 40:170, 60:190], today.voxel_um)
    found = register_stacks(reference, part)
    truth = Transform.translation(-np.array([4, 40, 60]) * today.voxel_um)
    assert found.verdict is Verdict.FOUND
    assert np.allclose(found.reference_from_today.apply(truth.apply(CENTRE_UM)), CENTRE_UM, atol=0.5)


def test_prior_widens_the_reach() -> None:
    rng, field = np.random.default_rng(6), grow_field(6)
    pose = Transform.rigid(yaw_deg=25.0, centre_zyx_um=CENTRE_UM)
    reference, today = image_field(field, Transform.identity(), rng), image_field(field, pose, rng)
    assert register_stacks(reference, today, max_yaw_deg=5.0).verdict is not Verdict.FOUND
    prior = Transform.rigid(yaw_deg=-22.0, centre_zyx_um=CENTRE_UM)
    assert register_stacks(reference, today, max_yaw_deg=5.0, prior=prior).verdict is Verdict.FOUND


@pytest.mark.parametrize("seed", range(4))
def test_another_field_is_never_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = image_field(grow_field(10 + seed), Transform.identity(), rng)
    other = image_field(grow_field(20 + seed), Transform.identity(), rng)
    mirrored = Stack(reference.pixels[:, :, ::-1], reference.voxel_um)
    assert register_stacks(reference, other).verdict is Verdict.NOT_FOUND
    assert register_stacks(reference, mirrored).verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((20, 128, 128), np.uint8),
        np.full((20, 128, 128), 77, np.uint16),
        np.full((20, 128, 128), np.nan, np.float32),
        np.random.default_rng(0).poisson(4, (20, 128, 128)),
    ],
    ids=["zero", "constant", "nan", "noise"],
)
def test_nothing_to_see_is_not_found(pixels: NDArray[np.generic]) -> None:
    reference = image_field(grow_field(1), Transform.identity(), np.random.default_rng(0))
    empty = Stack(pixels, (2.0, 0.4, 0.4))
    assert register_stacks(reference, empty).verdict is Verdict.NOT_FOUND
    assert register_stacks(empty, reference).verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize("shape", [(0, 64, 64), (1, 128, 128), (20, 4, 128)])
def test_a_stack_too_small_is_refused_with_its_size(shape: tuple[int, ...]) -> None:
    reference = image_field(grow_field(1), Transform.identity(), np.random.default_rng(0))
    with pytest.raises(StackError, match=f"{shape[0]}x|in {shape[0]} planes"):
        register_stacks(reference, Stack(np.ones(shape), (2.0, 0.4, 0.4), "tiny"))


@pytest.mark.parametrize("case", [(0.1, 0.6, 0.5), (0.9, 0.05, 0.5), (0.9, 0.6, 9.0)])
def test_one_bad_sign_is_enough_to_withhold_found(case: tuple[float, float, float]) -> None:
    assert judge(estimate_probability(0.9, 0.6, 0.5, 0.9), 0.5) is Verdict.FOUND
    assert judge(estimate_probability(*case, 0.9), case[2]) is not Verdict.FOUND


def test_halves_far_apart_are_never_found() -> None:
    assert judge(1.0, 5.0) is Verdict.FOUND
    assert judge(1.0, 7.0) is Verdict.UNSURE


@given(
    score=st.floats(0, 1), margin=st.floats(0, 1), agreement_um=st.floats(0, allow_infinity=True), by=st.floats(0, 1)
)
def test_probability_grows_with_every_sign(score: float, margin: float, agreement_um: float, by: float) -> None:
    less = estimate_probability(score, margin, agreement_um, 0.7)
    assert 0.0 <= less <= 1.0
    assert estimate_probability(min(1.0, score + by), margin, agreement_um, 0.7) >= less
    assert estimate_probability(score, min(1.0, margin + by), agreement_um, 0.7) >= less
    assert estimate_probability(score, margin, min(agreement_um, 1e9) * by, 0.7) >= less


def grow_parallel_field(seed: int, apart_um: float) -> NDArray[np.float64]:
    """Return nearly equal straight dendrites side by side; only their spines tell them apart."""
    rng = np.random.default_rng(seed)
    along = np.arange(-30.0, 110.0, 0.25)
    points = []
    for y in np.arange(-30.0, 110.0, apart_um):
        wave = np.column_stack([np.full(len(along), 25.0), y + 0.5 * np.sin(along / 15.0), along])
        points.append(np.column_stack([wave, np.ones(len(along))]))
        bases = wave[rng.uniform(size=len(along)) < 0.1]
        side = rng.choice((-1.0, 1.0), len(bases)) * rng.uniform(0.6, 1.4, len(bases))
        heads = bases + np.column_stack([rng.normal(0, 0.3, len(bases)), side, np.zeros(len(bases))])
        points.append(np.column_stack([heads, np.full(len(bases), 0.8)]))
    return np.concatenate(points)


@pytest.mark.parametrize("apart_um", [4.0, 6.0, 9.0])
@pytest.mark.parametrize("shift", [(0.0, 1.0, 2.0), (3.0, -7.0, 5.0), (-2.0, 13.0, -11.0)])
def test_dendrites_that_look_alike_are_not_confused_silently(apart_um: float, shift: tuple[float, ...]) -> None:
    rng, field = np.random.default_rng(11), grow_parallel_field(7, apart_um)
    pose = Transform.rigid(shift, yaw_deg=1.0, centre_zyx_um=CENTRE_UM)
    reference, today = (image_field(field, each, rng) for each in (Transform.identity(), pose))
    found = register_stacks(reference, today)
    off_um = np.linalg.norm(found.reference_from_today.apply(pose.apply(CENTRE_UM)) - CENTRE_UM)
    assert found.verdict is not Verdict.FOUND or off_um < 2.0
    other = image_field(grow_parallel_field(8, apart_um), Transform.identity(), rng)
    assert register_stacks(reference, other).verdict is not Verdict.FOUND


def test_motion_fit_ignores_a_third_of_wrong_pairs() -> None:
    rng = np.random.default_rng(8)
    source, motion = rng.uniform(0, 100, (60, 3)), Transform.rigid((1, 2, -1), yaw_deg=1.5, tilt_x_deg=2.0)
    target = motion.apply(source)
    target[:20] += rng.uniform(-8, 8, (20, 3))
    fitted, rest = fit_motion_robustly(source, target, np.ones(60), axis_weight=np.ones(3))
    assert np.allclose(fitted.apply(source), motion.apply(source), atol=0.3)
    assert rest[20:].max() < 0.3


def test_similarity_fit_is_exact_on_clean_pairs() -> None:
    motion = Transform.similarity((5.0, -3.0), yaw_deg=12.0, scale=1.04)
    source = np.random.default_rng(9).uniform(0, 500, (10, 2))
    fitted = fit_motion(source, motion.apply(source), np.ones(10), with_scale=True)
    assert np.allclose(fitted.matrix, motion.matrix)


def real_stack(session: int) -> Stack:
    import tifffile

    return Stack(tifffile.imread(Path(str(REAL)) / f"session{session}.ome.tif"), (1.0, 0.12, 0.12))


def shared_tips(first: int, second: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the tips of the spines marked in both sessions, (n, 3) um each."""
    tips = []
    for session in (first, second):
        with (Path(str(REAL)) / f"session{session}_spines.csv").open() as file:
            rows = list(csv.DictReader(file))
        tips.append({r["spine_id"]: [float(r[f"tip_{a}_um"]) for a in "zyx"] for r in rows})
    shared = sorted(tips[0].keys() & tips[1].keys())
    return np.array([tips[0][i] for i in shared]), np.array([tips[1][i] for i in shared])


@needs_real_field
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 3), (0, 3)])
def test_sessions_of_the_real_field_are_found(first: int, second: int) -> None:
    found = register_stacks(real_stack(first), real_stack(second))
    tips, tips_later = shared_tips(first, second)
    apart = found.reference_from_today.apply(tips_later) - tips
    assert found.verdict is Verdict.FOUND
    assert np.median(np.hypot(apart[:, 1], apart[:, 2])) < 0.9
    assert np.median(np.abs(apart[:, 0])) < 1.2


@needs_real_field
def test_wrong_views_of_the_real_field_are_not_found() -> None:
    reference, today = real_stack(0), real_stack(1)
    coarse = Stack(reference.pixels[:, ::2, ::2], (1.0, 0.24, 0.24))
    left, right = (
        Stack(s.pixels[:, ::2, a : a + 512 : 2], (1.0, 0.24, 0.24)) for s, a in ((reference, 0), (today, 512))
    )
    assert register_stacks(coarse, Stack(today.pixels[:, ::2, ::-2], (1.0, 0.24, 0.24))).verdict is Verdict.NOT_FOUND
    assert register_stacks(coarse, Stack(today.pixels[::-1, ::2, ::2], (1.0, 0.24, 0.24))).verdict is Verdict.NOT_FOUND
    assert register_stacks(left, right).verdict is not Verdict.FOUND


def test_planes_in_reverse_order_are_never_found():
    """One dendrite in one plane looks nearly the same from below."""
    volume = np.random.default_rng(5).poisson(6 * dendrites(5, 200, 30, 1.0)).astype(np.uint16)
    stack = Stack(volume, (1.0, 0.3, 0.3))
    today = Stack(np.ascontiguousarray(volume[::-1]), stack.voxel_um)
    found = register_stacks(stack, today)
    assert found.is_reversed
    assert found.verdict is Verdict.NOT_FOUND
    assert not register_stacks(stack, stack).is_reversed
