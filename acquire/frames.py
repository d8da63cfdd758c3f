"""Frames of one plane: registered to each other, bad ones left out, averaged.

It knows that frames of a plane show the same tissue, moved rigidly by heartbeat and breath, and that a frame unlike the
others was taken elsewhere. It does not know the planes above and below, nor rigs, plans or files; whether a frame that
was left out is taken again is for the caller to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from acquire.errors import RigError
from acquire.shift import LEAST_AGREEMENT, Floats, Frame, Image, Spectrum, find_shift, spectrum_of

MOST_SHIFT_UM = 4.0  # frames that moved further (a gasp) also moved in depth and are of another plane
MOST_ANCHORS = 8  # frames compared pair by pair; more are compared with the mean of these
LEAST_MOVE_PX = 0.05  # smaller moves are not worth an interpolation


@dataclass(frozen=True, eq=False)
class AlignedPlane:
    """The frames of one plane as one image.

    Parameters
    ----------
    pixels
        Mean of the kept frames after registration, shape (y, x), or (c, y, x) of several channels.
    shifts_yx_um
        Where each frame's tissue lay beside its mean position, shape (n, 2), um; 0 where it could not be measured.
    kept
        Which frames went into the mean, shape (n,).
    motion_um
        Root mean square shift of the kept frames, um.
    """

    pixels: Frame
    shifts_yx_um: Floats
    kept: NDArray[np.bool_]
    motion_um: float

    @property
    def left_out(self) -> int:
        """Number of frames that were left out, which the caller may take again."""
        return int(np.count_nonzero(~self.kept))


def align_frames(frames: Sequence[Frame], pixel_um: float, *, limit_um: float = MOST_SHIFT_UM) -> AlignedPlane:
    """Register the frames of one plane to each other, leave bad ones out, average.

    Parameters
    ----------
    frames
        Frames of the same plane, each (y, x), one shape; or (c, y, x), channels that were read at once: then the first
        shows how the tissue moved, and all are moved alike.
    pixel_um
        Pixel size, um.
    limit_um
        Largest shift between two frames that is still corrected, um.

    Raises
    ------
    RigError
        Without frames, or when their shapes differ.
    """
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        raise RigError(f"frames of one plane have {len(shapes)} shapes {sorted(shapes)}; take at least one, all alike")
    count = len(frames)
    if count == 1:
        return AlignedPlane(frames[0], np.zeros((1, 2)), np.ones(1, dtype=bool), 0.0)
    spectra = [spectrum_of(frame if frame.ndim == 2 else frame[0], pixel_um) for frame in frames]
    shifts, kept = _solve(spectra, limit_um)
    shifts -= shifts[kept].mean(axis=0)
    shifts_um = shifts * spectra[0].pixel_um
    pixels = _mean_of_channels(
        [frame for frame, good in zip(frames, kept, strict=True) if good], shifts_um[kept] / pixel_um
    )
    motion_um = float(np.sqrt(np.mean(np.sum(shifts_um[kept] ** 2, axis=1))))
    return AlignedPlane(pixels, shifts_um, kept, motion_um)


def _solve(spectra: list[Spectrum], limit_um: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the shift of each frame, binned pixels, shape (n, 2), and which frames are good."""
    count = len(spectra)
    anchors = np.unique(np.linspace(0, count - 1, min(count, MOST_ANCHORS)).round().astype(int))
    shifts, kept = np.zeros((count, 2)), np.ones(count, dtype=bool)
    shifts[anchors], kept[anchors], measured = _solve_pairs([spectra[i] for i in anchors], limit_um)
    if not measured:
        return np.zeros((count, 2)), kept
    good = anchors[kept[anchors]]
    reference = _sum_aligned([spectra[i] for i in good], shifts[good])
    for i in np.setdiff1d(np.arange(count), anchors):
        match = find_shift(spectra[i], reference, limit_um, stay_along=True)
        kept[i] = match.is_significant and match.agreement >= LEAST_AGREEMENT
        shifts[i] = match.shift_yx if kept[i] else 0.0
    return _refine(spectra, shifts, kept), kept


def _solve_pairs(spectra: list[Spectrum], limit_um: float) -> tuple[Floats, NDArray[np.bool_], bool]:
    """Return shifts and goodness of a few frames from all their pairs, and whether there was anything to measure."""
    count = len(spectra)
    shift, agreement = np.zeros((count, count, 2)), np.full((count, count), np.nan)
    significant = np.zeros((count, count), dtype=bool)
    for i, j in combinations(range(count), 2):
        match = find_shift(spectra[i], spectra[j], limit_um, stay_along=True)
        shift[i, j], shift[j, i] = match.shift_yx, -match.shift_yx
        agreement[i, j] = agreement[j, i] = match.agreement
        significant[i, j] = significant[j, i] = match.is_significant
    kept = np.ones(count, dtype=bool)
    if count == 2 or significant.any():
        kept = _good_frames(spectra, np.nan_to_num(agreement, nan=1.0))
    among = significant[np.ix_(kept, kept)]
    measured = bool(among.sum() >= 0.5 * len(among) * (len(among) - 1)) and len(among) > 1
    others = ~np.eye(count, dtype=bool) & kept[None, :] & significant
    solved = np.zeros((count, 2))
    for i in range(count):
        if others[i].any():
            solved[i] = np.median(np.vstack([shift[i, others[i]], np.zeros((int(kept[i]), 2))]), axis=0)
    return solved, kept, measured


def _good_frames(spectra: list[Spectrum], agreement: Floats) -> NDArray[np.bool_]:
    """Return which frames agree with the others; of two that do not, the one with less structure goes."""
    count = len(spectra)
    if count == 2:
        weaker = int(np.argmin([s.structure for s in spectra]))
        return np.array([i != weaker or agreement[0, 1] >= LEAST_AGREEMENT for i in range(2)])
    off_diagonal = ~np.eye(count, dtype=bool)
    usual = np.array([np.median(agreement[i, off_diagonal[i]]) for i in range(count)])
    return np.asarray(usual >= LEAST_AGREEMENT * np.median(usual), dtype=np.bool_)


def _moved(spectrum: Spectrum, shift_yx: Floats) -> NDArray[np.complex64]:
    """Return the transform of the image moved back by a shift in binned pixels."""
    rows, columns = spectrum.shape
    along_y = np.exp(2j * np.pi * fft.fftfreq(rows) * shift_yx[0]).astype(np.complex64)
    along_x = np.exp(2j * np.pi * fft.rfftfreq(columns) * shift_yx[1]).astype(np.complex64)
    moved: NDArray[np.complex64] = spectrum.values * along_y[:, None] * along_x
    return moved


def _sum_aligned(spectra: list[Spectrum], shifts: Floats) -> Spectrum:
    values = [_moved(spectrum, shift) for spectrum, shift in zip(spectra, shifts, strict=True)]
    return _mean_of(spectra[0], np.sum(values, axis=0), len(values))


def _mean_of(like: Spectrum, total: NDArray[np.complex64], count: int) -> Spectrum:
    """Return the mean of ``count`` aligned spectra of the kind of ``like`` from their sum."""
    return replace(like, values=total / np.float32(count), white=like.white / count)


def _refine(spectra: list[Spectrum], shifts: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Measure each kept frame once more, against the mean of the other kept ones, which has less noise than any."""
    good = np.flatnonzero(kept)
    if len(good) < 3:
        return shifts
    moved = {i: _moved(spectra[i], shifts[i]) for i in good}
    total = np.sum(list(moved.values()), axis=0)
    refined = shifts.copy()
    for i in good:
        others = _mean_of(spectra[i], total - moved[i], len(good) - 1)
        match = find_shift(replace(spectra[i], values=moved[i]), others, spectra[i].pixel_um)
        # The others' mean lies off the common mean by this frame's share.
        if match.is_significant and np.abs(match.shift_yx).max() < 1.0:
            refined[i] += match.shift_yx * (len(good) - 1) / len(good)
    return refined


def _mean_of_channels(frames: list[Frame], shifts_px: Floats) -> Frame:
    if frames[0].ndim == 2:
        return _mean(frames, shifts_px)
    return np.stack([_mean([frame[channel] for frame in frames], shifts_px) for channel in range(len(frames[0]))])


def _mean(frames: list[Frame], shifts_px: Floats) -> Frame:
    """Average frames, each moved back by its shift; where no moved frame reaches, the frames as they are."""
    total = np.zeros(frames[0].shape, np.float32)
    reached = np.zeros(frames[0].shape, np.float32)
    for frame, shift in zip(frames, shifts_px, strict=True):
        target, values = _move_back(frame, shift)
        total[target] += values
        reached[target] += 1
    empty = reached == 0
    if empty.any():
        total[empty] = np.mean([frame[empty] for frame in frames], axis=0)
        reached[empty] = 1
    highest = max(int(frame.max()) for frame in frames)
    mean: Frame = np.clip(np.rint(total / reached), 0, highest).astype(frames[0].dtype)
    return mean


def _move_back(frame: Frame, shift_px: Floats) -> tuple[tuple[slice, slice], Image]:
    """Return where a moved frame reaches, and its values there, by cubic convolution (Keys 1981)."""
    values: Image = frame.astype(np.float32)
    targets = []
    for axis, shift in enumerate(shift_px.tolist()):
        whole = int(np.floor(shift))
        taps = _keys_taps(shift - whole)
        if min(shift - whole, whole + 1 - shift) < LEAST_MOVE_PX:
            whole, taps = round(shift), {0: 1.0}
        length = frame.shape[axis]
        first = max(0, -(whole + min(taps)))
        last = min(length, length - (whole + max(taps)))
        pieces = [
            np.float32(weight) * np.take(values, np.arange(first + whole + tap, last + whole + tap), axis=axis)
            for tap, weight in taps.items()
        ]
        values = sum(pieces[1:], pieces[0])
        targets.append(slice(first, last))
    return (targets[0], targets[1]), values


def _keys_taps(part: float) -> dict[int, float]:
    """Return the weights of the pixels -1, 0, 1, 2 for the value at ``part`` (0 to 1) of the way from 0 to 1."""
    t = part
    return {
        -1: -0.5 * t + t**2 - 0.5 * t**3,
        0: 1 - 2.5 * t**2 + 1.5 * t**3,
        1: 0.5 * t + 2 * t**2 - 1.5 * t**3,
        2: -0.5 * t**2 + 0.5 * t**3,
    }
