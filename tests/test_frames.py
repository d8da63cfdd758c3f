"""Frames of one plane against known shifts: measured to a tenth of a pixel, and never where there is nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from acquire.frames import align_frames

PIXEL_UM = 90 / 512
BRIGHTEST = 15.0  # photons a pixel on the shafts in a frame of 2 us dwell, as on the simulated rig


def dendrites(seed: int, size: int = 256, planes: int = 1, step_um: float = 1.0) -> NDArray[np.float64]:
    """Return smooth random dendrites with spines as expected photons, shape (planes, size, size)."""
    rng = np.random.default_rng(seed)
    volume = np.zeros((planes, size, size))
    middle = (planes - 1) / 2
    for _ in range(10):
        along = np.linspace(-1.5 * size, 1.5 * size, 12 * size)
        angle, bend = rng.uniform(0, np.pi), rng.normal(0, 6.0)
        centre = rng.uniform(0.1 * size, 0.9 * size, 2)
        wave = bend * np.sin(along / rng.uniform(20, 60))
        y = centre[0] + along * np.sin(angle) + wave * np.cos(angle)
        x = centre[1] + along * np.cos(angle) - wave * np.sin(angle)
        z_um = rng.normal(0, 1.5) + rng.normal(0, 0.02) * along * PIXEL_UM
        bright = np.ones_like(along)
        for _ in range(60):
            bright += np.exp(-0.5 * ((along - rng.choice(along)) / 2.0) ** 2)
        inside = (y > 1) & (y < size - 2) & (x > 1) & (x < size - 2)
        for plane in range(planes):
            weight = bright * np.exp(-0.5 * (((plane - middle) * step_um - z_um) / 0.76) ** 2)
            np.add.at(volume[plane], (y[inside].astype(int), x[inside].astype(int)), weight[inside])
    volume = ndimage.gaussian_filter(volume, (0, 1.3, 1.3))
    return BRIGHTEST * volume / np.percentile(volume, 99.7) + 0.4


def moved(image: NDArray[np.float64], shift_yx: NDArray[np.float64] | tuple[float, float]) -> NDArray[np.float64]:
    """Move an image by a part of a pixel, exactly: through its Fourier transform, whose far edges stay unused."""
    return np.maximum(np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), shift_yx)).real, 0)


def counts(expected: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return what a photomultiplier and a 12-bit digitiser make of expected photons."""
    signal = 40.0 * rng.poisson(expected) + rng.normal(100, 5, expected.shape)
    return np.clip(np.rint(signal), 0, 4095).astype(np.uint16)


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


def test_one_frame_is_itself() -> None:
    frame = taken(0, np.zeros((1, 2)))[0]
    plane = align_frames([frame], PIXEL_UM)
    assert plane.pixels is frame
    assert (plane.motion_um, plane.left_out, plane.kept.tolist()) == (0.0, 0, [True])
