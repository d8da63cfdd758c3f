"""Where today's stack lies in the reference stack: shift, yaw and tilt, and whether to believe it.

Coarse to fine: the yaw is searched, each with one correlation in three dimensions, then the stack is matched block by
block and a rigid motion is fitted that ignores the blocks that disagree. Found is said only when the correlation stands
out, most blocks agree, and the two halves of the stack, each searched anew over the whole range, end at the same place.
It knows nothing of dendrites or spines, and works in the frames of the two stacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from analysis.correlate import (
    THREADS,
    Image,
    block_mean,
    correlation_shape,
    crop_shifts,
    flatten,
    match_windows,
    peak_position,
    shifted_overlap,
)
from analysis.errors import StackError
from analysis.model import Floats, Stack, Transform, Verdict
from analysis.motion import fit_motion_robustly

COARSE_UM = (3.0, 1.0, 1.0)
FINE_UM = (1.0, 0.5, 0.5)
COARSE_BAND_UM = ((1.5, 0.8, 0.8), (8.0, 5.0, 5.0))
FINE_BAND_UM = ((0.8, 0.5, 0.5), (6.0, 4.0, 4.0))
AXIAL_SEARCH_UM = 25.0
YAW_STEP_DEG = 1.5
NEAR_PEAK_UM = (12.0, 6.0, 6.0)
BLOCKS = (((20.0, 24.0, 24.0), (8.0, 4.0, 4.0)), ((14.0, 16.0, 16.0), (4.0, 2.5, 2.5)))
MOST_BLOCKS = 60
AXIS_WEIGHT = np.array([0.5, 1.0, 1.0])
AGREE_WITHIN_UM = 2.5
LEAST_EXTENT_UM = (3.0, 10.0, 10.0)

FOUND_SCORE, UNSURE_SCORE = 0.55, 0.35
FOUND_MARGIN, UNSURE_MARGIN = 0.25, 0.12
FOUND_AGREEMENT_UM, UNSURE_AGREEMENT_UM = 3.0, 6.0


@dataclass(frozen=True, eq=False)
class StackRegistration:
    """Where today's stack lies in the reference stack.

    Parameters
    ----------
    reference_from_today
        Rigid map from today's stack frame to the reference stack frame, um.
    score
        Mean correlation of the matched blocks, 0 to 1; a block that disagrees with the common motion counts 0.
    margin
        How far the best place stands out in the coarse search: 1 - second / best, 0 to 1.
    agreement_um
        How far apart the two halves of the stack, searched one by one over the whole range, put today's stack, um
        (a depth counts half).
    overlap
        Share of the reference stack that today's stack covers.
    verdict
        Found only when score, margin and agreement all say so.
    """

    reference_from_today: Transform
    score: float
    margin: float
    agreement_um: float
    overlap: float
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class _Volume:
    """Flattened values on a coarse grid; ``origin_um`` is the centre of its first voxel in its stack's frame."""

    values: Image
    voxel_um: Floats
    origin_um: Floats

    @property
    def centre_um(self) -> Floats:
        centre: Floats = self.origin_um + self.voxel_um * (np.array(self.values.shape) - 1) / 2
        return centre

    def span(self, reach_um: Floats) -> list[int]:
        """Return the voxels that a search over ``reach_um`` each way takes, less than the volume's own size."""
        wanted = np.ceil(reach_um / self.voxel_um).astype(int)
        return [int(v) for v in np.clip(wanted, 1, np.maximum(1, np.array(self.values.shape) - 1))]


def register_stacks(
    reference: Stack,
    today: Stack,
    *,
    max_yaw_deg: float = 10.0,
    max_shift_um: float | None = None,
    prior: Transform | None = None,
) -> StackRegistration:
    """Find the rigid motion between two stacks of one field, and say whether it is believed.

    Parameters
    ----------
    reference, today
        The stacks; voxel sizes and shapes may differ.
    max_yaw_deg
        Largest rotation in the image plane that is searched each way around the prior, degrees.
    max_shift_um
        Largest lateral shift of the stacks' centres that is searched each way, um; half the reference's width when not
        given. The depth is searched 25 um each way.
    prior
        Where to search around, ``reference_from_today``; without it the stacks' centres are laid on each other.

    Raises
    ------
    StackError
        When a stack is no three-dimensional image, or too small to be recognised.
    """
    for stack in (reference, today):
        _refuse_unusable(stack)
    start = prior or Transform.translation((reference.extent_zyx_um - today.extent_zyx_um) / 2)
    voxel_um = np.maximum(reference.voxel_um, today.voxel_um)
    fine, coarse = zip(*(_prepare(stack, voxel_um) for stack in (reference, today)), strict=True)
    lateral = np.array(reference.extent_zyx_um[1:]) / 2 if max_shift_um is None else np.full(2, max_shift_um)
    reach_um = np.array([AXIAL_SEARCH_UM, *lateral])
    if not all(np.any(v.values) for v in coarse):
        return StackRegistration(start, 0.0, 0.0, float("inf"), 0.0, Verdict.NOT_FOUND)
    found, margin = _search(coarse[0], coarse[1], start, max_yaw_deg, reach_um)
    score = 0.0
    for block_um, block_reach_um in BLOCKS:
        found, score = _refine(fine[0], fine[1], found, np.array(block_um), np.array(block_reach_um))
    agreement_um, overlap = _halves_agree(coarse[0], coarse[1], found, reach_um)
    verdict = judge(score, margin, agreement_um)
    return StackRegistration(found, score, margin, agreement_um, overlap, verdict)


def judge(score: float, margin: float, agreement_um: float) -> Verdict:
    """Combine the three signs into a verdict; each of them alone is fooled now and then."""
    if score >= FOUND_SCORE and margin >= FOUND_MARGIN and agreement_um <= FOUND_AGREEMENT_UM:
        return Verdict.FOUND
    if score >= UNSURE_SCORE and margin >= UNSURE_MARGIN and agreement_um <= UNSURE_AGREEMENT_UM:
        return Verdict.UNSURE
    return Verdict.NOT_FOUND


def _refuse_unusable(stack: Stack) -> None:
    if stack.pixels.ndim != 3 or stack.pixels.size == 0 or not all(v > 0 for v in stack.voxel_um):
        shape, voxel = "x".join(map(str, stack.pixels.shape)), "x".join(f"{v:g}" for v in stack.voxel_um)
        raise StackError(
            f"{stack.name} cannot be registered: shape {shape}, voxels {voxel} um. Give a (z, y, x) stack."
        )
    size = np.array(stack.pixels.shape) * stack.voxel_um
    if np.any(size < LEAST_EXTENT_UM) or min(stack.pixels.shape) < 3:
        told = " x ".join(f"{v:.1f}" for v in size)
        least = " x ".join(f"{v:g}" for v in LEAST_EXTENT_UM)
        raise StackError(
            f"{stack.name} is too small to be recognised: {told} um in {stack.pixels.shape[0]} planes. "
            f"Take at least 3 planes and {least} um (z, y, x)."
        )


def _prepare(stack: Stack, voxel_um: Floats) -> tuple[_Volume, _Volume]:
    """Return the stack on the fine and on the coarse grid, flattened."""
    volumes = []
    image: Image = np.asarray(stack.pixels)
    if image.dtype.kind == "f":
        image = np.nan_to_num(image)
    voxel, origin = np.array(stack.voxel_um), np.zeros(3)
    for target_um, (small_um, large_um) in ((FINE_UM, FINE_BAND_UM), (COARSE_UM, COARSE_BAND_UM)):
        factors = np.floor(np.maximum(target_um, voxel_um) / voxel + 0.3).astype(int)
        factors = np.clip(factors, 1, np.maximum(1, np.array(image.shape) // 4))
        image = block_mean(image, [int(f) for f in factors])
        origin, voxel = origin + voxel * (factors - 1) / 2, voxel * factors
        volumes.append(_Volume(flatten(image, small_um / voxel, large_um / voxel), voxel, origin))
    return volumes[0], volumes[1]


def _resample(volume: _Volume, grid: _Volume, grid_from_volume: Transform) -> tuple[Image, Image]:
    """Return ``volume`` on the voxels of ``grid``, zero outside, and 1 where it has values."""
    back = grid_from_volume.inverse().matrix
    linear = back[:3, :3] * grid.voxel_um / volume.voxel_um[:, None]
    offset = (back[:3, :3] @ grid.origin_um + back[:3, 3] - volume.origin_um) / volume.voxel_um
    sampled = ndimage.affine_transform(
        volume.values, linear, offset, grid.values.shape, output=np.float32, order=1, cval=np.nan
    )
    inside = np.isfinite(sampled)
    return np.where(inside, sampled, np.float32(0)), inside.astype(np.float32)


def _correlate(fixed: Image, moving: Image, span: list[int], limit: Image) -> Image:
    shape = correlation_shape(fixed.shape, moving.shape, span)
    product = fft.rfftn(fixed, shape, workers=THREADS) * np.conj(fft.rfftn(moving, shape, workers=THREADS))
    cross: Image = crop_shifts(fft.irfftn(product, shape, workers=THREADS), span) / limit
    return cross


def _limit(fixed: Image, moving: Image, span: list[int]) -> Image:
    """Return what to divide by: the shared energy, held up where the overlap is small."""
    energy = shifted_overlap(fixed, moving, span)
    return energy + np.float32(max(0.25 * float(energy.max()), 1e-6))


def _search(
    reference: _Volume, today: _Volume, start: Transform, max_yaw_deg: float, reach_um: Floats
) -> tuple[Transform, float]:
    """Return the best yaw and shift, and how far it stands out from the second best place."""
    centre = start.apply(today.centre_um)
    shape = np.maximum(1, np.round(np.array(today.values.shape) * today.voxel_um / reference.voxel_um)).astype(int)
    canvas = _Volume(np.empty(shape, np.float32), reference.voxel_um, centre - reference.voxel_um * (shape - 1) / 2)
    span = reference.span(reach_um + np.abs(reference.origin_um - canvas.origin_um))
    limit = _limit(reference.values, _resample(today, canvas, start)[0], span)
    steps = int(np.ceil(max_yaw_deg / YAW_STEP_DEG))
    best, best_yaw = np.full(limit.shape, -1.0, np.float32), np.zeros(limit.shape, np.float32)
    for yaw in np.linspace(-max_yaw_deg, max_yaw_deg, 2 * steps + 1):
        turned, _ = _resample(today, canvas, Transform.rigid(yaw_deg=yaw, centre_zyx_um=centre) @ start)
        correlation = _correlate(reference.values, turned, span, limit)
        better = correlation > best
        best[better], best_yaw[better] = correlation[better], yaw
    position, top = peak_position(best)
    place = tuple(int(v) for v in np.round(position))
    shift = (position - span) * reference.voxel_um + reference.origin_um - canvas.origin_um
    turn = Transform.rigid(shift, yaw_deg=float(best_yaw[place]), centre_zyx_um=centre)
    return turn @ start, _margin(best, place, top, reference.voxel_um)


def _margin(best: Image, place: tuple[int, ...], top: float, voxel_um: Floats) -> float:
    around = np.ceil(np.array(NEAR_PEAK_UM) / voxel_um).astype(int)
    others = best.copy()
    others[tuple(slice(max(0, p - n), p + n + 1) for p, n in zip(place, around, strict=True))] = 0
    return float(np.clip(1 - others.max() / max(top, 1e-6), 0, 1))


def _refine(
    reference: _Volume, today: _Volume, guess: Transform, block_um: Floats, reach_um: Floats
) -> tuple[Transform, float]:
    """Match blocks one by one and return the corrected motion with the score of the blocks."""
    voxel, shape = reference.voxel_um, np.array(reference.values.shape)
    moving, inside = _resample(today, reference, guess)
    fixed = reference.values * inside
    size = np.minimum(np.maximum(3, np.round(block_um / voxel)).astype(int), shape)
    span = [int(v) for v in np.maximum(1, np.round(reach_um / voxel))]
    starts, places = _richest_blocks(fixed, size)
    peaks = [peak_position(m) for m in match_windows(fixed, moving, starts, [int(v) for v in size], span)]
    shifts = (np.array([p for p, _ in peaks]) - span) * voxel
    height = np.clip([v for _, v in peaks], 0, 1)
    places = places * voxel + reference.origin_um
    correction, rest = fit_motion_robustly(places + shifts, places, height**2, axis_weight=AXIS_WEIGHT)
    return correction @ guess, float(np.mean(height * (rest < AGREE_WITHIN_UM)))


def _richest_blocks(fixed: Image, size: NDArray[np.intp]) -> tuple[NDArray[np.intp], Floats]:
    """Return first voxel and centre of contrast of the overlapping blocks that hold the most contrast."""
    shape = np.array(fixed.shape)
    counts = np.ceil((shape - size) / (0.6 * size)).astype(int) + 1
    axes = [np.unique(np.linspace(0, n - s, c).astype(int)) for n, s, c in zip(shape, size, counts, strict=True)]
    starts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = np.indices(tuple(size)).reshape(3, -1)
    energy, centre = [], []
    for start in starts:
        block = fixed[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))].ravel() ** 2
        energy.append(float(block.sum()))
        centre.append(start + (index @ block) / max(energy[-1], 1e-9))
    order = np.argsort(energy)[::-1][:MOST_BLOCKS]
    return starts[order], np.array(centre)[order]


def _halves_agree(reference: _Volume, today: _Volume, found: Transform, reach_um: Floats) -> tuple[float, float]:
    """Search each half of the reference again in all of today's stack; return the disagreement and the overlap."""
    moving, inside = _resample(today, reference, found)
    fixed = reference.values * inside
    span = reference.span(reach_um)
    apart = 0.0
    for axis in (1, 2):
        profile = np.cumsum(np.sum(fixed**2, axis=tuple(a for a in range(3) if a != axis)))
        middle = int(np.searchsorted(profile, profile[-1] / 2))
        first = np.moveaxis(np.zeros_like(fixed), axis, 0)
        first[:middle] = 1
        first = np.moveaxis(first, 0, axis)
        places = []
        for half in (fixed * first, fixed * (1 - first)):
            position, _ = peak_position(_correlate(half, moving, span, _limit(half, moving, span)))
            places.append((position - span) * reference.voxel_um * AXIS_WEIGHT)
        off = max(float(np.linalg.norm(v)) for v in (places[0], places[1], places[0] - places[1]))
        apart = max(apart, off)
    return apart, float(inside.mean())
