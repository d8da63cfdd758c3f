"""Frames of one plane against known shifts: measured to a tenth of a pixel, and never where there is nothing."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from acquire.errors import RigError
from acquire.frames import align_frames
from analysis.stack import read_stack
from tests.phantom import BRIGHTEST, PIXEL_UM, counts, dendrites, moved


def taken(seed: int, shifts: NDArray[np.float64], light: float = 1.0) -> list[NDArray[np.uint16]]:
    rng = np.random.default_rng(seed + 1000)
    image = dendrites(seed)[0]
    return [counts(light * moved(image, shift), rng) for shift in shifts]


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_shifts_are_measured_to_a_tenth_of_a_pixel(count: int) -> None:
    errors = []
    for seed in range(6):
        shifts = np.random.default_rng(seed).uniform(-4, 4, (count, 2))
        plane = align_frames(taken(seed, shifts), PIXEL_UM)
        assert plane.kept.all()
        errors.append(plane.shifts_yx_um / PIXEL_UM - (shifts - shifts.mean(axis=0)))
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < 0.06
    assert np.abs(np.concatenate(errors)).max() < 0.2


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.floats(-8, 8)] * 2), st.integers(0, 50))
def test_any_shift_of_two_frames_is_undone(shift: tuple[float, float], seed: int) -> None:
    plane = align_frames(taken(seed, np.array([[0.0, 0.0], shift])), PIXEL_UM)
    np.testing.assert_allclose(
        plane.shifts_yx_um / PIXEL_UM, [np.multiply(shift, -0.5), np.multiply(shift, 0.5)], atol=0.2
    )
    assert plane.motion_um == pytest.approx(0.5 * np.hypot(*shift) * PIXEL_UM, abs=0.04)


def test_real_dendrites_are_registered_to_a_tenth_of_a_pixel(real_field: Path) -> None:
    stack = read_stack(real_field / "session0.ome.tif")
    rng, errors = np.random.default_rng(0), []
    for plane in range(10, 60, 10):
        image = ndimage.gaussian_filter(stack.pixels[plane, :512, :512].astype(float), 1.0)
        image = BRIGHTEST * image / np.percentile(image, 99.7)
        shifts = rng.uniform(-5, 5, (3, 2))
        found = align_frames([counts(moved(image, shift), rng) for shift in shifts], stack.voxel_um[1])
        assert found.kept.all()
        errors.append(found.shifts_yx_um / stack.voxel_um[1] - (shifts - shifts.mean(axis=0)))
    assert np.sqrt(np.mean(np.square(errors))) < 0.05
    assert np.abs(errors).max() < 0.1


def test_one_frame_is_itself() -> None:
    frame = taken(0, np.zeros((1, 2)))[0]
    plane = align_frames([frame], PIXEL_UM)
    assert plane.pixels is frame
    assert (plane.motion_um, plane.left_out, plane.kept.tolist()) == (0.0, 0, [True])


def test_the_mean_is_sharper_than_without_registration_and_has_no_empty_edge() -> None:
    shifts = np.array([[0.0, 0.0], [5.3, -3.6], [-4.4, 2.7], [1.5, 4.5]])
    frames = taken(3, shifts)
    plane = align_frames(frames, PIXEL_UM)
    truth = moved(dendrites(3)[0], tuple(shifts.mean(axis=0)))
    inside = (slice(12, -12), slice(12, -12))
    aligned, plain = (
        np.corrcoef(image[inside].ravel(), truth[inside].ravel())[0, 1] for image in (plane.pixels, np.mean(frames, 0))
    )
    assert aligned > 0.96
    assert aligned > plain + 0.1
    assert plane.pixels.dtype == np.uint16
    rim = np.concatenate([plane.pixels[:6].ravel(), plane.pixels[:, -6:].ravel()])
    assert np.median(rim) == pytest.approx(np.median(plane.pixels[inside]), abs=5)
    assert rim.min() > 50


def test_frames_that_do_not_move_are_averaged_as_they_are() -> None:
    image = counts(dendrites(2)[0], np.random.default_rng(2))
    plane = align_frames([image, image.copy(), image.copy()], PIXEL_UM)
    np.testing.assert_array_equal(plane.pixels, image)
    assert plane.motion_um < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.sampled_from([0.0, 0.3, 30.0]))
def test_without_structure_nothing_jumps(seed: int, count: int, photons: float) -> None:
    rng = np.random.default_rng(seed)
    frames = [counts(np.full((128, 128), photons), rng) for _ in range(count)]
    plane = align_frames(frames, PIXEL_UM)
    assert plane.kept.all()
    assert plane.motion_um == 0.0
    np.testing.assert_array_equal(plane.pixels, np.rint(np.mean(frames, axis=0, dtype=np.float32)).astype(np.uint16))


def test_a_constant_plane_is_averaged() -> None:
    plane = align_frames([np.full((64, 64), value, np.uint16) for value in (100, 200)], PIXEL_UM)
    assert (plane.pixels == 150).all()
    assert plane.motion_um == 0.0


def torn(frame_of: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return a frame in the middle of a breath: every row displaced by up to 3 um, and out of the plane."""
    rows = len(frame_of)
    sway = 17 * np.sin(np.linspace(0, 3 * np.pi, rows))
    swayed = np.stack([np.roll(row, round(by)) for row, by in zip(frame_of, sway, strict=True)])
    return counts(0.6 * ndimage.gaussian_filter(swayed, 3.0), rng)


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_breath_is_left_out(count: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        frames = taken(seed, rng.uniform(-1, 1, (count, 2)))
        bad = int(rng.integers(count))
        frames[bad] = torn(dendrites(seed)[0], rng)
        plane = align_frames(frames, PIXEL_UM)
        assert np.flatnonzero(~plane.kept).tolist() == [bad]
        assert plane.left_out == 1


@pytest.mark.parametrize("count", [3, 5, 12])
def test_a_frame_beyond_the_limit_or_a_dark_one_is_left_out(count: int) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        for bad in (taken(seed, np.array([[60.0, 45.0]]))[0], counts(np.zeros((256, 256)), rng)):
            frames = taken(seed, rng.uniform(-1, 1, (count, 2)))
            frames[1] = bad
            plane = align_frames(frames, PIXEL_UM)
            assert np.flatnonzero(~plane.kept).tolist() == [1]
            assert plane.motion_um < 0.3


def test_a_dark_frame_of_two_is_the_one_that_is_left_out() -> None:
    dark = counts(np.zeros((256, 256)), np.random.default_rng(0))
    light = taken(1, np.zeros((1, 2)))[0]
    assert align_frames([dark, light], PIXEL_UM).kept.tolist() == [False, True]
    assert align_frames([light, dark], PIXEL_UM).kept.tolist() == [True, False]


@pytest.mark.parametrize("angle_deg", [0.0, 25.0, 90.0, 130.0])
def test_a_single_straight_shaft_is_moved_across_and_never_slid_along_itself(angle_deg: float) -> None:
    # Nothing tells how far an even, straight shaft moved along itself.
    across = np.array([np.cos(np.deg2rad(angle_deg)), -np.sin(np.deg2rad(angle_deg))])
    grid = np.stack(np.meshgrid(*[np.arange(256) - 128.0] * 2, indexing="ij"))
    rng = np.random.default_rng(0)
    for moved_px in (-5.0, 0.3, 3.0):
        frames = [
            counts(0.4 + 12.0 * np.exp(-0.5 * ((np.tensordot(across, grid, 1) - by) / 2.0) ** 2), rng)
            for by in (0.0, moved_px)
        ]
        step_px = np.diff(align_frames(frames, PIXEL_UM).shifts_yx_um, axis=0)[0] / PIXEL_UM
        np.testing.assert_allclose(step_px, moved_px * across, atol=0.25)


def test_frames_of_different_shapes_and_no_frames_are_refused() -> None:
    with pytest.raises(RigError, match="2 shapes"):
        align_frames([np.zeros((8, 8), np.uint16), np.zeros((8, 9), np.uint16)], PIXEL_UM)
    with pytest.raises(RigError, match="0 shapes"):
        align_frames([], PIXEL_UM)


@pytest.mark.parametrize(("size", "limit_s"), [(512, 0.1), (1024, 0.4)])  # of 0.5 us a pixel, less than one frame
def test_a_plane_is_ready_before_the_next_frame(size: int, limit_s: float) -> None:
    rng = np.random.default_rng(0)
    image = dendrites(1, size)[0]
    frames = [counts(image, rng), counts(moved(image, (2.3, -1.4)), rng)]
    times_s = []
    for _ in range(7):
        started_s = time.perf_counter()
        align_frames(frames, PIXEL_UM)
        times_s.append(time.perf_counter() - started_s)
    assert min(times_s) < limit_s
