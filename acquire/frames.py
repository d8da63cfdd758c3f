"""Frames of one plane: registered to each other, bad ones left out, averaged; and how far tissue moved since.

All registration here is rigid, small and quick, because the animal waits: band-passed images are correlated through
their Fourier transforms, and a shift is believed only when its correlation peak stands out of the rest of the
correlation. It knows pixels and um; it deliberately does not know rigs, plans or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from acquire.errors import RigError
from analysis.correlate import block_mean, crop_shifts

Frame = NDArray[np.uint16]
Image = NDArray[np.float32]
Floats = NDArray[np.float64]

FINE_UM = 0.25  # sigma of the finest detail compared: about the two-photon point spread function and a thin shaft
COARSE_UM = 1.5  # sigma of the background that is taken away: wider than any shaft
FINEST_PIXEL_UM = 0.17  # smaller pixels are binned first: the point spread function holds no finer detail
MOST_SHIFT_UM = 4.0  # frames that moved further (a gasp) also moved in depth and are of another plane
LEAST_SIGNIFICANCE = 7.0  # peak over the spread of the correlation; noise alone reaches 4.5 within the search
LEAST_AGREEMENT = 0.6  # of the structure in common: heartbeats of 0.3 um leave 0.8, 1.5 um out of the plane leave 0.6
MOST_AGREEMENT = 1.5  # images that share more than their structure share a noise, which tells nothing of the tissue
MOST_ANCHORS = 8  # frames compared pair by pair; more are compared with the mean of these
LEAST_MOVE_PX = 0.05  # smaller moves are not worth an interpolation
LEAST_STRUCTURE = 20.0  # over the same spread, that the images themselves hold before their agreement is judged
LARGEST_ERROR_PX = 0.5  # expected error, binned pixels, beyond which a shift is not believed: it would blur more
LARGEST_TILE_ERROR_PX = 1.0  # the same for one of several tiles, of which the median is taken
TILES = 3  # a side, for the drift from plane to plane
LEAST_TILES = 3  # that must show a shift: one or two may be one oblique shaft
LEAST_TILE_UM = 10.0  # smaller tiles hold no structure; the plane is compared as a whole then
MOST_STEP_UM = 2.0  # largest drift looked for from plane to plane
USUAL_SHIFT_UM = 1.0  # sigma of what is expected before looking; decides only where the images hardly do
NEWTON_STEPS = 3
TAPER = 0.06  # of the width, at each edge


@dataclass(frozen=True, eq=False)
class AlignedPlane:
    """The frames of one plane as one image.

    Parameters
    ----------
    pixels
        Mean of the kept frames after registration, shape (y, x).
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


@dataclass(frozen=True)
class StackShift:
    """How far tissue lies from where it lay before.

    Parameters
    ----------
    shift_zyx_um
        Today's place of what was at 0 before, um; 0 when it could not be measured.
    score
        Share of the structure found again, about 0 to 1; 0 when no shift stands out.
    """

    shift_zyx_um: tuple[float, float, float]
    score: float


@dataclass(frozen=True, eq=False)
class _Spectrum:
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
class _Match:
    """A correlation peak: the shift and its expected error in binned pixels, how far it stands out, what is shared."""

    shift_yx: Floats
    significance: float
    agreement: float
    error_px: float

    @property
    def is_significant(self) -> bool:
        return self.stands_out and self.error_px <= LARGEST_ERROR_PX

    @property
    def stands_out(self) -> bool:
        return self.significance >= LEAST_SIGNIFICANCE and not self.agreement > MOST_AGREEMENT


def align_frames(frames: Sequence[Frame], pixel_um: float, *, limit_um: float = MOST_SHIFT_UM) -> AlignedPlane:
    """Register the frames of one plane to each other, leave bad ones out, average.

    Parameters
    ----------
    frames
        Frames of the same plane, each (y, x), one shape.
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
    spectra = [_spectrum(frame, pixel_um) for frame in frames]
    shifts, kept = _solve(spectra, limit_um)
    shifts -= shifts[kept].mean(axis=0)
    shifts_um = shifts * spectra[0].pixel_um
    pixels = _mean([frame for frame, good in zip(frames, kept, strict=True) if good], shifts_um[kept] / pixel_um)
    motion_um = float(np.sqrt(np.mean(np.sum(shifts_um[kept] ** 2, axis=1))))
    return AlignedPlane(pixels, shifts_um, kept, motion_um)


def follow_drift(previous: Frame, current: Frame, pixel_um: float) -> tuple[float, float] | None:
    """Return how far the tissue moved sideways (y, x) from one plane to the next, um.

    Planes no further apart than the point spread function is long share their structure. A shaft that runs obliquely
    moves sideways by itself; the median over tiles of the image keeps one bright shaft from deciding. None when no
    shift stands out: too little structure, or a jump.
    """
    step_yx_um = _step_between(_tile_spectra(previous, pixel_um), _tile_spectra(current, pixel_um))
    return None if step_yx_um is None else (float(step_yx_um[0]), float(step_yx_um[1]))


def drift_along(planes: NDArray[np.uint16], pixel_um: float) -> Floats:
    """Return where the tissue of each plane of a stack lies beside that of the first (y, x), um, shape (z, 2).

    Steps from plane to plane (:func:`follow_drift`) are added up; drift is slow, so a step that cannot be measured is
    taken from the measured ones beside it. All zero when none can.
    """
    measured: dict[int, Floats] = {}
    previous = _tile_spectra(planes[0], pixel_um)
    for number in range(1, len(planes)):
        current = _tile_spectra(planes[number], pixel_um)
        step_yx_um = _step_between(previous, current)
        if step_yx_um is not None:
            measured[number] = step_yx_um
        previous = current
    if not measured:
        return np.zeros((len(planes), 2))
    known = np.array(list(measured.values()))
    steps_um = [np.interp(np.arange(len(planes)), list(measured), known[:, axis]) for axis in (0, 1)]
    drift_yx_um = np.cumsum(steps_um, axis=1).T
    return np.asarray(drift_yx_um - drift_yx_um[0], dtype=np.float64)


def align_stack(
    reference_planes: NDArray[np.uint16],
    todays_planes: NDArray[np.uint16],
    voxel_um: tuple[float, float, float],
    max_shift_um: float,
    *,
    first_plane: int = 0,
) -> StackShift:
    """Return how far the tissue moved between planes taken before and some of them taken again.

    Parameters
    ----------
    reference_planes
        The planes taken before, shape (z, y, x).
    todays_planes
        Some neighbouring ones taken again, shape (k, y, x).
    voxel_um
        Voxel size (z, y, x), um.
    max_shift_um
        Largest shift looked for along each axis, um.
    first_plane
        Plane of ``reference_planes`` that ``todays_planes[0]`` was taken at.

    Raises
    ------
    RigError
        When the planes taken again are not among those taken before.
    """
    step_um, pixel_um, _ = voxel_um
    before = [_spectrum(plane, pixel_um) for plane in reference_planes]
    now = [_spectrum(plane, pixel_um) for plane in todays_planes]
    reach = int(max_shift_um / step_um)
    matches: dict[int, _Match] = {}
    for dz in range(-reach, reach + 1):
        # Today's plane i shows what lay at plane i + first_plane - dz.
        pairs = [(i + first_plane - dz, i) for i in range(len(now)) if 0 <= i + first_plane - dz < len(before)]
        if 2 * len(pairs) >= len(now):
            matches[dz] = _match_all([(now[i], before[j]) for j, i in pairs], max_shift_um)
    if not matches:
        raise RigError(f"{len(now)} planes from plane {first_plane} on are not among the {len(before)} taken before")
    best = max(matches, key=lambda dz: float(np.nan_to_num(matches[dz].agreement)))
    if not matches[best].is_significant or np.isnan(matches[best].agreement):
        return StackShift((0.0, 0.0, 0.0), 0.0)
    sides = [matches[dz].agreement if dz in matches else np.nan for dz in (best - 1, best, best + 1)]
    dy_um, dx_um = matches[best].shift_yx * now[0].pixel_um
    dz_um = (best + _parabola_top(*sides)) * step_um
    return StackShift((float(dz_um), float(dy_um), float(dx_um)), float(np.clip(matches[best].agreement, 0, 1)))


def _parabola_top(before: float, at: float, after: float) -> float:
    """Return where a parabola through three neighbouring values is highest, from the middle one, -0.5 to 0.5."""
    bend = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


# ---- correlation -----------------------------------------------------------------------------------------------------


def _spectrum(frame: Frame, pixel_um: float) -> _Spectrum:
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
    return _Spectrum(values, structure, white, _energy(values * band, columns), (rows, columns), factor * pixel_um)


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


def _match(one: _Spectrum, other: _Spectrum, limit_um: float, *, stay_along: bool = False) -> _Match:
    """Return the shift of ``one`` from ``other``: one(y) looks like other(y - shift)."""
    return _match_all([(one, other)], limit_um, stay_along=stay_along)


def _match_all(pairs: Sequence[tuple[_Spectrum, _Spectrum]], limit_um: float, *, stay_along: bool = False) -> _Match:
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
            return _Match(across_yx, peak / spread, agreement, float(errors_px[0]))
    return _Match(shift_yx, peak / spread, agreement, float(errors_px[1]))


def _top_across(near: Image, direction: Floats, pull: float) -> tuple[Floats, float]:
    """Return the shift along one direction where the correlation is highest, and its height.

    An even, straight shaft tells how far it moved across itself, not along.
    """
    middle = np.array(near.shape) // 2
    along_px = np.arange(-4 * min(middle), 4 * min(middle) + 1) / 4.0
    points = middle[:, None] + direction[:, None] * along_px
    line = ndimage.map_coordinates(near, points, order=3, mode="nearest") - 0.5 * pull * along_px**2
    top = int(np.clip(np.argmax(line), 1, len(line) - 2))
    part = _parabola_top(*(float(v) for v in line[top - 1 : top + 2]))
    return direction * (along_px[top] + part / 4.0), float(line[top])


def _photon_spread(pairs: Sequence[tuple[_Spectrum, _Spectrum]]) -> float:
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


# ---- from plane to plane ---------------------------------------------------------------------------------------------


def _tile_spectra(plane: Frame, pixel_um: float) -> list[_Spectrum]:
    rows, columns = (n // TILES for n in plane.shape)
    if min(rows, columns) * pixel_um < LEAST_TILE_UM:
        return [_spectrum(plane, pixel_um)]
    corners = [(rows * i, columns * j) for i in range(TILES) for j in range(TILES)]
    return [_spectrum(plane[y : y + rows, x : x + columns], pixel_um) for y, x in corners]


def _step_between(previous: list[_Spectrum], current: list[_Spectrum]) -> Floats | None:
    """Return the weighted median shift of the tiles that have one (y, x), um; None when too few have."""
    matches = [_match(after, before, MOST_STEP_UM) for before, after in zip(previous, current, strict=True)]
    limit_px = LARGEST_TILE_ERROR_PX if len(matches) > 1 else LARGEST_ERROR_PX
    sharp = [match for match in matches if match.stands_out and match.error_px <= limit_px]
    if len(sharp) < min(LEAST_TILES, len(matches)):
        return None
    weight = np.array([1 / (0.1 + match.error_px) for match in sharp])
    step_px = [_weighted_median(np.array([match.shift_yx[axis] for match in sharp]), weight) for axis in (0, 1)]
    return np.array(step_px) * current[0].pixel_um


def _weighted_median(values: Floats, weight: Floats) -> float:
    """Return the value with half of the weight on each side."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    return float(np.interp(0.5 * weight.sum(), below, values[order]))


# ---- the frames of a plane -------------------------------------------------------------------------------------------


def _solve(spectra: list[_Spectrum], limit_um: float) -> tuple[Floats, NDArray[np.bool_]]:
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
        match = _match(spectra[i], reference, limit_um, stay_along=True)
        kept[i] = match.is_significant and match.agreement >= LEAST_AGREEMENT
        shifts[i] = match.shift_yx if kept[i] else 0.0
    return _refine(spectra, shifts, kept), kept


def _solve_pairs(spectra: list[_Spectrum], limit_um: float) -> tuple[Floats, NDArray[np.bool_], bool]:
    """Return shifts and goodness of a few frames from all their pairs, and whether there was anything to measure."""
    count = len(spectra)
    shift, agreement = np.zeros((count, count, 2)), np.full((count, count), np.nan)
    significant = np.zeros((count, count), dtype=bool)
    for i, j in combinations(range(count), 2):
        match = _match(spectra[i], spectra[j], limit_um, stay_along=True)
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


def _good_frames(spectra: list[_Spectrum], agreement: Floats) -> NDArray[np.bool_]:
    """Return which frames agree with the others; of two that do not, the one with less structure goes."""
    count = len(spectra)
    if count == 2:
        weaker = int(np.argmin([s.structure for s in spectra]))
        return np.array([i != weaker or agreement[0, 1] >= LEAST_AGREEMENT for i in range(2)])
    off_diagonal = ~np.eye(count, dtype=bool)
    usual = np.array([np.median(agreement[i, off_diagonal[i]]) for i in range(count)])
    return np.asarray(usual >= LEAST_AGREEMENT * np.median(usual), dtype=np.bool_)


def _moved(spectrum: _Spectrum, shift_yx: Floats) -> NDArray[np.complex64]:
    """Return the transform of the image moved back by a shift in binned pixels."""
    rows, columns = spectrum.shape
    along_y = np.exp(2j * np.pi * fft.fftfreq(rows) * shift_yx[0]).astype(np.complex64)
    along_x = np.exp(2j * np.pi * fft.rfftfreq(columns) * shift_yx[1]).astype(np.complex64)
    moved: NDArray[np.complex64] = spectrum.values * along_y[:, None] * along_x
    return moved


def _sum_aligned(spectra: list[_Spectrum], shifts: Floats) -> _Spectrum:
    values = [_moved(spectrum, shift) for spectrum, shift in zip(spectra, shifts, strict=True)]
    return _mean_of(spectra[0], np.sum(values, axis=0), len(values))


def _mean_of(like: _Spectrum, total: NDArray[np.complex64], count: int) -> _Spectrum:
    """Return the mean of ``count`` aligned spectra of the kind of ``like`` from their sum."""
    return replace(like, values=total / np.float32(count), white=like.white / count)


def _refine(spectra: list[_Spectrum], shifts: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Measure each kept frame once more, against the mean of the other kept ones, which has less noise than any."""
    good = np.flatnonzero(kept)
    if len(good) < 3:
        return shifts
    moved = {i: _moved(spectra[i], shifts[i]) for i in good}
    total = np.sum(list(moved.values()), axis=0)
    refined = shifts.copy()
    for i in good:
        others = _mean_of(spectra[i], total - moved[i], len(good) - 1)
        match = _match(replace(spectra[i], values=moved[i]), others, spectra[i].pixel_um)
        # The others' mean lies off the common mean by this frame's share.
        if match.is_significant and np.abs(match.shift_yx).max() < 1.0:
            refined[i] += match.shift_yx * (len(good) - 1) / len(good)
    return refined


# ---- averaging -------------------------------------------------------------------------------------------------------


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
