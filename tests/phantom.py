"""Dendrites that tests image: expected photons, moved by known amounts, counted as the rig counts them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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
