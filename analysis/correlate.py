"""Normalised correlation of images of two or three dimensions: the arithmetic under every registration.

It knows voxels only: no micrometres, no stacks, no verdicts. All images handed in are expected to be flattened, which
means about zero on average everywhere (:func:`flatten`), so that no local mean has to be subtracted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from analysis.jobs import own_threads, two_at_a_time

Image = NDArray[np.float32]
THREADS = own_threads()
WINDOWS_AT_ONCE = 16  # bounds the memory
LEAST_ENERGY = 0.05  # of an average window: emptier windows correlate less


def block_mean(pixels: NDArray[np.generic], factors: Sequence[int]) -> Image:
    """Average whole blocks of ``factors`` voxels; what is left at the far edges is dropped."""
    kept = pixels[tuple(slice(0, n // f * f) for n, f in zip(pixels.shape, factors, strict=True))]
    sums = kept
    for axis in reversed(range(kept.ndim)):
        if factors[axis] > 1:
            parts = [sums[(slice(None),) * axis + (slice(i, None, factors[axis]),)] for i in range(factors[axis])]
            total = parts[0].astype(np.float32)
            for part in parts[1:]:
                total += part.astype(np.float32)
            sums = total
    return np.asarray(sums, dtype=np.float32) / np.float32(np.prod(factors))


def flatten(image: Image, small: ArrayLike, large: ArrayLike) -> Image:
    """Make an image comparable with another of the same place: log, band-pass, divided by the local contrast.

    Parameters
    ----------
    image
        Intensities, any shape.
    small, large
        Sigma of the finest detail kept and of the background, voxels, one an axis.

    Returns
    -------
    NDArray
        Zero on average; one where there is about as much contrast as in the whole image. Zero for a constant image.
    """
    low, middle = (float(v) for v in np.percentile(image[..., ::4], (1, 50)))
    noise = max(middle - low, 0.02 * float(image.max() - low), 1e-12)
    logged = np.log1p(np.maximum(image - low, 0) / np.float32(noise))
    fine, coarse = (np.asarray(sigma, dtype=float) for sigma in (small, large))
    blurs = [partial(ndimage.gaussian_filter, logged, fine, truncate=3.0)]
    blurs.append(partial(ndimage.gaussian_filter, logged, coarse, truncate=2.5))
    smooth, wide = two_at_a_time(blurs)
    smooth -= wide
    overall = float(np.std(smooth))
    if not np.isfinite(overall) or overall < 1e-6:
        return np.zeros_like(smooth)
    local = ndimage.gaussian_filter(smooth**2, 1.5 * coarse, truncate=2.5)
    flat: Image = (smooth / np.sqrt(local + np.float32(overall**2))).astype(np.float32, copy=False)
    return np.clip(flat, -1.0, 4.0)


def fast_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the next larger shape that transforms fast."""
    return tuple(fft.next_fast_len(int(n), real=True) for n in shape)


def shifted_overlap(fixed: Image, moving: Image, span: Sequence[int]) -> Image:
    """Return ``sqrt(sum fixed**2 * sum moving**2)`` over the overlap at each shift from -span to span.

    It is the largest correlation that the overlap allows.
    """
    shape = correlation_shape(fixed.shape, moving.shape, span)

    def energy(a: Image, b: Image) -> Image:
        product = fft.rfftn(a, shape, workers=THREADS) * np.conj(fft.rfftn(b, shape, workers=THREADS))
        shared: Image = fft.irfftn(product, shape, workers=THREADS)
        return np.maximum(shared, 0)

    ours, theirs = energy(fixed**2, np.ones_like(moving)), energy(np.ones_like(fixed), moving**2)
    return crop_shifts(np.sqrt(ours * theirs), span)


def correlation_shape(fixed: Sequence[int], moving: Sequence[int], span: Sequence[int]) -> tuple[int, ...]:
    """Return the padded shape in which shifts up to ``span`` voxels do not wrap."""
    return fast_shape([max(a, b) + s + 1 for a, b, s in zip(fixed, moving, span, strict=True)])


def crop_shifts(wrapped: Image, span: Sequence[int]) -> Image:
    """Return shifts -span..span of a correlation whose zero shift is at the first voxel."""
    cropped = wrapped
    for axis, s in enumerate(span):
        cropped = np.take(cropped, np.arange(-s, s + 1), axis=axis, mode="wrap")
    return cropped


def peak_position(correlation: Image) -> tuple[NDArray[np.float64], float]:
    """Return the place of the highest value to a fraction of a voxel (a parabola an axis), and the value."""
    top = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    position = np.array(top, dtype=float)
    for axis, index in enumerate(top):
        if 0 < index < correlation.shape[axis] - 1:
            line = np.moveaxis(correlation, axis, 0)[(slice(index - 1, index + 2), *np.delete(top, axis))]
            before, at, after = (float(v) for v in line)
            bend = before - 2 * at + after
            if bend < 0:
                position[axis] += float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
    return position, float(correlation[top])


def match_windows(
    fixed: Image, moving: Image, starts: NDArray[np.intp], size: Sequence[int], span: Sequence[int]
) -> Image:
    """Correlate windows of ``fixed`` with ``moving`` around the same place.

    Parameters
    ----------
    fixed, moving
        Flattened images on one grid, same shape.
    starts
        First voxel of each window, shape (n, dimensions).
    size
        Window, voxels.
    span
        Largest shift searched each way, voxels.

    Returns
    -------
    NDArray
        Normalised correlation, shape (n, 2 span + 1, ...): ``moving`` holds at ``x + shift`` what ``fixed`` holds at x.
        What lies outside the images counts as zero contrast.
    """
    margins = [(s, s) for s in span]
    padded = np.pad(moving, margins)
    energy = _window_sums(padded**2, size)
    wide, shifts = [n + 2 * s for n, s in zip(size, span, strict=True)], [2 * s + 1 for s in span]
    floor = np.float32(max(LEAST_ENERGY * float(np.mean(moving**2)) * np.prod(size), 1e-9))
    found = np.empty((len(starts), *shifts), np.float32)
    for first in range(0, len(starts), WINDOWS_AT_ONCE):
        some = starts[first : first + WINDOWS_AT_ONCE]
        here = np.stack([fixed[_box(start, size)] for start in some])
        there = np.stack([padded[_box(start, wide)] for start in some])
        shared = np.sum(here**2, axis=tuple(range(1, here.ndim)), keepdims=True) + floor
        shared = shared * (np.maximum(np.stack([energy[_box(start, shifts)] for start in some]), 0) + floor)
        found[first : first + WINDOWS_AT_ONCE] = _correlate_each(here, there, shifts) / np.sqrt(shared)
    return found


def _correlate_each(small: Image, large: Image, shifts: Sequence[int]) -> Image:
    """Correlate each small image with its large one at the shifts that keep it inside."""
    axes = tuple(range(1, small.ndim))
    shape = fast_shape(large.shape[1:])
    spectra = [fft.rfftn(images, shape, axes, workers=THREADS) for images in (large, small)]
    cross: Image = fft.irfftn(spectra[0] * np.conj(spectra[1]), shape, axes, workers=THREADS)
    return cross[(slice(None), *(slice(0, n) for n in shifts))]


def _box(start: NDArray[np.intp], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(a) + n) for a, n in zip(start, size, strict=True))


def _window_sums(image: Image, size: Sequence[int]) -> Image:
    """Sum over the window that starts at each voxel; shape shrinks by size - 1."""
    sums: NDArray[np.floating] = image.astype(np.float64)
    for axis, n in enumerate(size):
        shape = list(sums.shape)
        shape[axis] += 1
        total = np.empty(shape)
        rows = np.moveaxis(total, axis, 0)
        rows[0] = 0
        np.cumsum(sums, axis=axis, out=np.moveaxis(rows[1:], 0, axis))
        sums = np.moveaxis(rows[n:] - rows[:-n], 0, axis)
    return sums.astype(np.float32)
