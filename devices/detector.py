"""From expected photons to counts: photon noise, gain, dark noise and saturation of the photomultiplier's digitiser.

Photon noise is most of the time a frame takes, so small expected numbers, which nearly all pixels have, are drawn from
a table of quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from devices.optics import Image, Optics

FULL_SCALE = 4095
"""Largest value of the 12-bit digitiser."""

MOST_IN_TABLE = np.float32(16.0)
"""Greatest expected number of photons that is drawn from the table."""

LEVELS_PER_ROOT = np.float32(128.0)
"""Expected numbers in the table for each step of 1 in their square root: it is right within 1/128 of the noise."""

QUANTILES = 4096
"""Quantiles in the table."""


@dataclass(eq=False)
class Detector:
    """A photomultiplier and its digitiser.

    Parameters
    ----------
    optics
        Gain, offset and noise of the detector.
    seed
        Seed of the noise.
    stream
        Number of its stream of noise: detectors of one seed differ in it.
    """

    optics: Optics
    seed: int
    stream: int = 2
    _rng: np.random.Generator = field(init=False, repr=False)
    _dark: Image = field(init=False, repr=False)
    _table: NDArray[np.uint8] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._table = _poisson_table()
        self.begin(0)

    def begin(self, session: int) -> None:
        """Begin a session's own noise: two programs that image two sessions must not see the same."""
        self._rng = np.random.default_rng([self.seed, self.stream, session])
        self._dark = self._rng.normal(self.optics.offset, self.optics.read_noise, 1 << 21).astype(np.float32)

    def expose(self, photons: Image | None, shape: tuple[int, int], gain: float) -> NDArray[np.uint16]:
        """Turn expected photons into counts; None is darkness.

        Parameters
        ----------
        photons
            Expected photons in each pixel, or None without light.
        shape
            Shape of the image.
        gain
            PMT gain.

        Returns
        -------
        counts
            12-bit counts, shape ``shape``.
        """
        counts = self._dark_counts(shape)
        if photons is not None:
            counts += self._count(photons) * np.float32(gain * self.optics.counts_per_photon)
        np.rint(counts, out=counts)
        np.clip(counts, 0, FULL_SCALE, out=counts)
        return counts.astype(np.uint16)

    def _dark_counts(self, shape: tuple[int, int]) -> Image:
        """Cut a fresh place out of a long strip of dark noise: faster than drawing it anew."""
        size = shape[0] * shape[1]
        strip = self._dark if size < len(self._dark) else np.tile(self._dark, size // len(self._dark) + 2)
        start = int(self._rng.integers(0, len(strip) - size))
        return strip[start : start + size].reshape(shape).copy()

    def _count(self, photons: Image) -> Image:
        """Draw photon numbers: from the table where they are few, exactly where they are many."""
        levels = (np.sqrt(np.minimum(photons, MOST_IN_TABLE)) * LEVELS_PER_ROOT + np.float32(0.5)).astype(np.int32)
        chance = self._rng.integers(0, QUANTILES, photons.shape, dtype=np.uint16)
        counted: Image = self._table.take(levels * QUANTILES + chance).astype(np.float32)
        many = np.flatnonzero(photons > MOST_IN_TABLE)
        counted.flat[many] = self._rng.poisson(photons.flat[many])
        return counted


def _poisson_table() -> NDArray[np.uint8]:
    """Return the photon number at each quantile for each expected number, flat, expected numbers first."""
    levels = np.arange(int(np.sqrt(MOST_IN_TABLE) * LEVELS_PER_ROOT) + 2)
    expected = (levels / LEVELS_PER_ROOT) ** 2
    at_most = special.pdtr(np.arange(64)[None, :], expected[:, None])
    quantiles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return np.concatenate([np.searchsorted(row, quantiles) for row in at_most]).astype(np.uint8)
