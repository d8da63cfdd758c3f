"""Dendrites that tests image: expected photons, moved by known amounts, counted as the rig counts them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analysis.model import Dendrite, Stack

PIXEL_UM = 90 / 512
VOXEL_UM = (1.0, 0.12, 0.12)
BLUR_UM = (0.8, 0.18, 0.18)
SHAFT_UM = np.array([8.0, 7.0, 0.0])  # z, y of a straight dendrite that runs along x
HEADS = ((4.0, 1.3, 1.0), (8.0, -1.2, 0.8), (12.5, 2.0, 1.0), (16.0, -1.8, 1.2), (22.0, 1.1, 0.8))  # along, left, light
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


def draw_spiny(heads=HEADS, *, photons=400.0, gain=1.0, seed=0, slope=0.15, crossing=False) -> tuple[Stack, Dendrite]:
    """A shaft 0.8 um thick with spines, blurred, with photon noise; brighter by ``gain`` without more photons."""
    z, y, x = np.meshgrid(*(np.arange(n) * v for n, v in zip((16, 120, 220), VOXEL_UM, strict=True)), indexing="ij")
    level = SHAFT_UM[1] + slope * x
    light = 1.0 * (np.hypot(z - SHAFT_UM[0], (y - level)) <= 0.5).astype(float)
    along = np.array([slope, 1.0]) / np.hypot(slope, 1.0)  # y, x
    left = np.array([-along[1], along[0]])
    for place, out, strength in heads:
        foot = np.array([SHAFT_UM[1], 0.0]) + place * along
        for share in np.linspace(0.3, 1.0, 30):
            at = foot + share * out * left
            radius, weight = (0.35, strength) if share == 1.0 else (0.1, 0.6)
            spot = np.hypot(y - at[0], x - at[1]) <= radius
            light = np.maximum(light, weight * (spot & (np.abs(z - SHAFT_UM[0]) < 0.6)))
    if crossing:
        light = np.maximum(light, (np.hypot(z - SHAFT_UM[0] - 1.5, x - 14.0) <= 0.4).astype(float))
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(light, np.array(BLUR_UM) / VOXEL_UM) + 0.01
    line = np.stack(
        [np.full(100, SHAFT_UM[0]), np.linspace(7.0, 7.0 + slope * 26, 100), np.linspace(0, 26, 100)], axis=1
    )
    stack = Stack((gain * rng.poisson(photons * blurred)).astype(np.float32), VOXEL_UM)
    return stack, Dendrite(4, line, np.full(100, 0.5))
