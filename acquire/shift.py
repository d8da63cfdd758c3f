"""How far one small image is shifted from another, and whether that can be believed.

Rigid and quick, because the animal waits: band-passed images are correlated through their Fourier transforms, and a
shift is believed only when its correlation peak stands out of the rest of the correlation. It knows pixels, um, photon
noise and how fine the detail of dendrites is. It does not know whether two images are frames of one plane, tiles or
planes of different days, which of them are good, or what is done with a shift; nor turns and stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from analysis.correlate import block_mean, crop_shifts

Frame = NDArray[np.uint16]
Image = NDArray[np.float32]
Floats = NDArray[np.float64]

FINE_UM = 0.25  # sigma of the finest detail compared: about the two-photon point spread function and a thin shaft
COARSE_UM = 1.5  # sigma of the background that is taken away: wider than any shaft
FINEST_PIXEL_UM = 0.17  # smaller pixels are binned first: the point spread function holds no finer detail
LEAST_SIGNIFICANCE = 7.0  # peak over the spread of the correlation; noise alone reaches 4.5 within the search
LEAST_AGREEMENT = 0.6  # of the structure in common: heartbeats of 0.3 um leave 0.8, 1.5 um out of the plane leave 0.6
MOST_AGREEMENT = 1.5  # images that share more than their structure share a noise, which tells nothing of the tissue
LEAST_STRUCTURE = 20.0  # over the same spread, that the images themselves hold before their agreement is judged
LARGEST_ERROR_PX = 0.5  # expected error, binned pixels, beyond which a shift is not believed: it would blur more
USUAL_SHIFT_UM = 1.0  # sigma of what is expected before looking; decides only where the images hardly do
NEWTON_STEPS = 3
TAPER = 0.06  # of the width, at each edge


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Fourier transform of a band-passed image.

    ``structure`` is its energy without that of the noise, ``white`` the power of the noise before the band-pass,
    ``passed`` the energy that a second band-pass would leave.
    """

    values: NDArray[np.complex64]
    structure: float
    white: float
    passed: float
    shape: tuple[int, int]
    pixel_um: float


@dataclass(frozen=True, eq=False)
class Match:
    """A correlation peak: the shift and its expected error in binned pixels, how far it stands out, what is shared."""

    shift_yx: Floats
    significance: float
    agreement: float
    error_px: float

    @property
    def is_significant(self) -> bool:
        """Whether the shift may be believed: its peak stands out and places it well."""
        return self.stands_out and self.error_px <= LARGEST_ERROR_PX

    @property
    def stands_out(self) -> bool:
        """Whether the peak is neither chance nor a noise that both images share."""
        return self.significance >= LEAST_SIGNIFICANCE and not self.agreement > MOST_AGREEMENT


def spectrum_of(frame: Frame, pixel_um: float) -> Spectrum:
    """Bin, even out the photon noise by the square root (Anscombe 1948), taper, transform, band-pass."""
    factor = max(1, round(FINEST_PIXEL_UM / pixel_um))
    image = block_mean(frame, (factor, factor))
    dark = np.percentile(image[::4, ::4], 1)
    image = np.sqrt(np.maximum(image - np.float32(dark), 0))
    image -= image.mean()
    rows, columns = image.shape
    image *= _taper(rows)[:, None] * _taper(columns)
    values = fft.rfft2(image)
    white = float(np.mean(np.abs(values[int(0.4 * rows) : int(0.6 * rows), int(0.4 * columns) :]) ** 2))
    band = _band(rows, columns, factor * pixel_um)
    values *= band
    total = _energy(values, columns)
    structure = max(total - white * _energy(band, columns), 0.0) / image.size
    return Spectrum(values, structure, white, _energy(values * band, columns), (rows, columns), factor * pixel_um)


def _taper(length: int) -> Image:
    """Return a window that falls to 0 at both ends, shape (length,)."""
    edge = max(1, round(TAPER * length))
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    window: Image = np.sin(0.5 * np.pi * np.minimum(distance / edge, 1.0)).astype(np.float32) ** 2
    return window


def _band(rows: int, columns: int, pixel_um: float) -> Image:
    """Return the response of the band-pass, a difference of Gaussians, over the half spectrum."""
    along = fft.fftfreq(rows, pixel_um)[:, None], fft.rfftfreq(columns, pixel_um)[None, :]
    fine, coarse = (
        np.exp(-2 * (np.pi * sigma * along[0]) ** 2) * np.exp(-2 * (np.pi * sigma * along[1]) ** 2)
        for sigma in (FINE_UM, COARSE_UM)
    )
    return np.asarray(fine - coarse, dtype=np.float32)


def _energy(half: NDArray[np.complex64] | Image, columns: int) -> float:
    """Return the sum of squares over the whole spectrum of which one half is given."""
    squares: Floats = np.add.reduce(np.abs(half) ** 2, axis=0, dtype=np.float64)
    mirrored = slice(1, (columns + 1) // 2)
    return float(squares.sum() + squares[mirrored].sum())


def find_shift(one: Spectrum, other: Spectrum, limit_um: float, *, stay_along: bool = False) -> Match:
    """Return the shift of ``one`` from ``other``: one(y) looks like other(y - shift)."""
    return find_common_shift([(one, other)], limit_um, stay_along=stay_along)


def find_common_shift(
    pairs: Sequence[tuple[Spectrum, Spectrum]], limit_um: float, *, stay_along: bool = False
) -> Match:
    """Return the one shift that suits all pairs best.

    With ``stay_along`` a shift that only one direction tells, across the shafts, is taken to be 0 along the other.
    """
    (one, other), *rest = pairs
    product = one.values * np.conj(other.values)
    for a, b in rest:
        product += a.values * np.conj(b.values)
    correlation: Image = fft.irfft2(product, one.shape)
    spread = 1.4826 * float(np.median(np.abs(correlation[::3, ::3]))) or 1e-30
    span = [min(int(np.ceil(limit_um / one.pixel_um)) + 1, n // 2 - 1) for n in one.shape]
    near = crop_shifts(correlation, span)
    # The log-likelihood of a shift is its correlation times peak / spread**2; a Gaussian prior is added to it.
    pull = spread**2 / max(float(near.max()), spread) * (one.pixel_um / USUAL_SHIFT_UM) ** 2
    y, x = (np.arange(-s, s + 1, dtype=np.float32) for s in span)
    top = np.unravel_index(int(np.argmax(near - np.float32(0.5 * pull) * (y[:, None] ** 2 + x**2))), near.shape)
    shift_yx, peak, bends, directions = _climb(product, one.shape, np.subtract(top, span).astype(float), pull)
    structure = sum(max(a.structure, b.structure) for a, b in pairs)
    known = structure / spread >= LEAST_STRUCTURE
    agreement = peak / structure if known else np.nan
    # What the images do not share disturbs like the rest of the correlation, as photon noise does everywhere.
    noise = np.hypot(_photon_spread(pairs), spread * float(np.clip(1 - np.nan_to_num(agreement), 0, 1)))
    # Noise that went through the fine filter twice has slopes of 1 / (2 FINE_UM) of its spread.
    slope = noise * one.pixel_um / (2 * FINE_UM)
    errors_px = slope / np.maximum(bends, 1e-30)
    if errors_px[0] <= LARGEST_ERROR_PX < errors_px[1] and stay_along:
        across_yx, height = _top_across(near, directions[:, 0], pull)
        if height >= LEAST_AGREEMENT * peak:
            return Match(across_yx, peak / spread, agreement, float(errors_px[0]))
    return Match(shift_yx, peak / spread, agreement, float(errors_px[1]))


def _top_across(near: Image, direction: Floats, pull: float) -> tuple[Floats, float]:
    """Return the shift along one direction where the correlation is highest, and its height.

    An even, straight shaft tells how far it moved across itself, not along.
    """
    middle = np.array(near.shape) // 2
    along_px = np.arange(-4 * min(middle), 4 * min(middle) + 1) / 4.0
    points = middle[:, None] + direction[:, None] * along_px
    line = ndimage.map_coordinates(near, points, order=3, mode="nearest") - 0.5 * pull * along_px**2
    top = int(np.clip(np.argmax(line), 1, len(line) - 2))
    part = parabola_top(*(float(v) for v in line[top - 1 : top + 2]))
    return direction * (along_px[top] + part / 4.0), float(line[top])


def parabola_top(before: float, at: float, after: float) -> float:
    """Return where a parabola through three neighbouring values is highest, from the middle one, -0.5 to 0.5."""
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def _photon_spread(pairs: Sequence[tuple[Spectrum, Spectrum]]) -> float:
    """Return the standard deviation that the photon noise of both images gives their correlation."""
    variance = sum(a.passed * b.white + a.white * b.passed for a, b in pairs)
    pixels = pairs[0][0].shape[0] * pairs[0][0].shape[1]
    return float(np.sqrt(variance)) / pixels


def _climb(
    product: NDArray[np.complex64], shape: tuple[int, int], start: Floats, pull: float
) -> tuple[Floats, float, Floats, Floats]:
    """Return the top of the correlation near a whole shift, its height, its two bends and their directions.

    The peak of a few oblique shafts is a slanting ridge, which parabolas along the axes would misplace by a tenth of a
    pixel: the full second derivatives are used (Newton's method).
    """
    ky = 2 * np.pi * fft.fftfreq(shape[0])
    kx = 2 * np.pi * fft.rfftfreq(shape[1])
    doubled = np.where((kx > 0) & (kx < np.pi), 2.0, 1.0) / (shape[0] * shape[1])
    shift, height, curvature, directions = start.copy(), 0.0, np.zeros(2), np.eye(2)
    for _ in range(NEWTON_STEPS):
        wave_y, wave_x = np.exp(1j * ky * shift[0]), doubled * np.exp(1j * kx * shift[1])
        sums = product @ np.stack([wave_x, kx * wave_x, kx**2 * wave_x], axis=1).astype(np.complex64)
        plain, once, twice = (wave_y @ sums, (ky * wave_y) @ sums, (ky**2 * wave_y) @ sums)
        height = float(plain[0].real)
        slope = -np.array([once[0].imag, plain[1].imag]) - pull * shift
        bend = -np.array([[twice[0].real, once[1].real], [once[1].real, plain[2].real]]) - pull * np.eye(2)
        curvature, directions = np.linalg.eigh(bend)
        if curvature[1] >= 0:
            return start, height, -curvature, directions
        shift = start + np.clip(shift - np.linalg.solve(bend, slope) - start, -1.0, 1.0)
    return shift, height, -curvature, directions
