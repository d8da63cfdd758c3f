"""Lay one flattened image onto another, in two or three dimensions: trial motions, blocks, halves; all in um.

The rooms that know what the pictures show (a stack of dendrites, a surface of vessels) flatten them, choose the trial
motions and the limits, and judge the signs that come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from analysis.correlate import (
    THREADS,
    Image,
    correlation_shape,
    crop_shifts,
    match_windows,
    peak_position,
    shifted_overlap,
)
from analysis.model import Floats, Transform
from analysis.motion import fit_motion_robustly

BLOCK_SPACING = 0.6  # of a block's size, so that neighbours overlap
LEAST_CORRELATION = 0.3  # of a block that has a say in how tissue is stretched
LEAST_BLOCKS_STRETCHED = 30  # twelve numbers are fitted
MOST_STRETCH = 0.08  # recorded fields stretch and shear by 0.04 at most
LEAST_SHARED_ENERGY = 0.25  # of the largest overlap: below it a correlation is held down, small overlaps fit by chance


@dataclass(frozen=True, eq=False)
class FlatImage:
    """Flattened values (zero on average) on a grid of their own.

    Parameters
    ----------
    values
        Contrast, shape (z, y, x) or (y, x).
    pixel_um
        Size of a voxel or pixel, one an axis, um.
    origin_um
        Centre of the first voxel in the frame of the image it was made from, um.
    """

    values: Image
    pixel_um: Floats
    origin_um: Floats

    @property
    def centre_um(self) -> Floats:
        """Middle of the image, um."""
        centre: Floats = self.origin_um + self.pixel_um * (np.array(self.values.shape) - 1) / 2
        return centre

    def span(self, reach_um: Floats, other_shape: Sequence[int] = ()) -> list[int]:
        """Return the pixels that a search over ``reach_um`` each way takes, less than the larger of both images."""
        shape = np.maximum(self.values.shape, other_shape or self.values.shape)
        wanted = np.ceil(reach_um / self.pixel_um).astype(int)
        return [int(v) for v in np.clip(wanted, 1, np.maximum(1, shape - 1))]

    def sampled_on(self, grid: FlatImage, grid_from_image: Transform) -> tuple[Image, Image]:
        """Return the values at the pixels of ``grid``, zero outside, and 1 where there are values."""
        inverse = grid_from_image.inverse()
        linear = inverse.matrix[:-1, :-1] * grid.pixel_um / self.pixel_um[:, None]
        offset = (inverse.apply(grid.origin_um) - self.origin_um) / self.pixel_um
        sampled = ndimage.affine_transform(
            self.values, linear, offset, grid.values.shape, output=np.float32, order=1, cval=np.nan
        )
        inside = np.isfinite(sampled)
        return np.where(inside, sampled, np.float32(0)), inside.astype(np.float32)


@dataclass(frozen=True, eq=False)
class BlockMatching:
    """How an image is matched block by block.

    Parameters
    ----------
    block_um, reach_um
        Size of a block and how far it is searched each way, one an axis, um.
    axis_weight
        How much a distance along each axis counts: less than 1 for a blurred depth.
    agree_within_um
        A block farther than this from the common motion disagrees, um.
    most
        Number of blocks, those with the most contrast.
    with_scale
        Whether the common motion may scale.
    """

    block_um: Floats
    reach_um: Floats
    axis_weight: Floats
    agree_within_um: float
    most: int = 60
    with_scale: bool = False


@dataclass(frozen=True, eq=False)
class MatchedBlocks:
    """Where blocks of the fixed image were found in the moving one.

    Parameters
    ----------
    places_um
        Centre of each block's contrast in the fixed image, shape (n, dimensions), um.
    shifts_um
        How far from there it was found in the moving image under the guessed motion, um.
    correlation
        How well, 0 to 1, shape (n,).
    """

    places_um: Floats
    shifts_um: Floats
    correlation: Floats


class Searched(NamedTuple):
    """What a search ended with: the motion, how far it stands out (1 - second / best), and its correlation."""

    motion: Transform
    margin: float
    height: float


def search_motion(
    fixed: FlatImage,
    moving: FlatImage,
    start: Transform,
    turns: Sequence[Transform],
    *,
    reach_um: Floats,
    near_um: Floats,
) -> Searched:
    """Try each turn with every shift.

    Parameters
    ----------
    fixed, moving
        The two images.
    start
        First guess of the motion from ``moving`` to ``fixed``.
    turns
        Motions tried after ``start``, about the centre that the moving image then has; the first changes nothing.
    reach_um
        Largest shift searched each way, one an axis, um.
    near_um
        Within this of the best place no other place counts as second, um.

    """
    shape = np.maximum(1, np.round(np.array(moving.values.shape) * moving.pixel_um / fixed.pixel_um)).astype(int)
    corner = start.apply(moving.centre_um) - fixed.pixel_um * (shape - 1) / 2
    canvas = FlatImage(np.empty(shape, np.float32), fixed.pixel_um, corner)
    span = fixed.span(reach_um + np.abs(fixed.origin_um - corner), canvas.values.shape)
    limit = _limit(fixed.values, moving.sampled_on(canvas, start)[0], span)
    padded = correlation_shape(fixed.values.shape, canvas.values.shape, span)
    spectrum = fft.rfftn(fixed.values, padded, workers=THREADS)
    best, best_turn = np.full(limit.shape, -1.0, np.float32), np.zeros(limit.shape, np.int16)
    for number, turn in enumerate(turns):
        turned, _ = moving.sampled_on(canvas, turn @ start)
        product = spectrum * np.conj(fft.rfftn(turned, padded, workers=THREADS))
        correlation = crop_shifts(fft.irfftn(product, padded, workers=THREADS), span) / limit
        better = correlation > best
        best[better], best_turn[better] = correlation[better], number
    position, top = peak_position(best)
    place = tuple(int(v) for v in np.round(position))
    shift = (position - span) * fixed.pixel_um + fixed.origin_um - corner
    found = Transform.translation(shift) @ turns[int(best_turn[place])] @ start
    return Searched(found, _margin(best, place, top, np.ceil(near_um / fixed.pixel_um).astype(int)), top)


def match_blocks(fixed: FlatImage, moving: FlatImage, guess: Transform, plan: BlockMatching) -> MatchedBlocks:
    """Find the blocks of ``fixed`` that hold the most contrast in ``moving``, each around its guessed place."""
    carried, inside = moving.sampled_on(fixed, guess)
    shared = fixed.values * inside
    size = np.maximum(3, np.round(plan.block_um / fixed.pixel_um)).astype(int)
    size = np.minimum(size, np.array(shared.shape))
    span = [int(v) for v in np.maximum(1, np.round(plan.reach_um / fixed.pixel_um))]
    starts, places = _richest_blocks(shared, size, plan.most)
    peaks = [peak_position(m) for m in match_windows(shared, carried, starts, [int(v) for v in size], span)]
    shifts = (np.array([p for p, _ in peaks]) - span) * fixed.pixel_um
    height = np.clip([h for _, h in peaks], 0.0, 1.0)
    return MatchedBlocks(places * fixed.pixel_um + fixed.origin_um, shifts, height)


@dataclass(frozen=True, eq=False)
class RefinedMotion:
    """The motion that most blocks share.

    Parameters
    ----------
    motion
        From the moving to the fixed image.
    score
        Mean correlation of the blocks, 0 to 1, in which a block that disagrees counts 0.
    places_um
        Centres of the blocks that agree, in the fixed image, shape (n, dimensions), um.
    residual_um
        Root mean square of what they are off along each axis, um.
    """

    motion: Transform
    score: float
    places_um: Floats
    residual_um: float

    def uncertainty_um(self, points_um: ArrayLike) -> Floats:
        """Return one sigma of the motion along each axis at points of the fixed image, shape (n,), um.

        As for a straight line through points: least in their middle, growing outwards; infinite when nothing agrees.
        """
        points = np.atleast_2d(np.asarray(points_um, dtype=float))
        count = len(self.places_um)
        if count < 3:
            return np.full(len(points), np.inf)
        middle = self.places_um.mean(axis=0)
        spread = float(np.sum((self.places_um - middle) ** 2)) / (points.shape[1] - 1)
        lever = np.sum((points - middle) ** 2, axis=1) / max(spread, 1e-9)
        return np.asarray(self.residual_um * np.sqrt(1 / count + lever))


def refine_motion(fixed: FlatImage, moving: FlatImage, guess: Transform, plan: BlockMatching) -> RefinedMotion:
    """Match block by block around a guess and return the motion that most blocks share."""
    blocks = match_blocks(fixed, moving, guess, plan)
    correction, rest_um = fit_motion_robustly(
        blocks.places_um + blocks.shifts_um,
        blocks.places_um,
        blocks.correlation**2,
        axis_weight=plan.axis_weight,
        with_scale=plan.with_scale,
        tightest_um=0.2 * plan.agree_within_um,
    )
    agree = rest_um < plan.agree_within_um
    axes = np.sqrt(np.sum(np.square(plan.axis_weight)))
    residual_um = float(np.sqrt(np.mean(rest_um[agree] ** 2)) / axes) if agree.any() else float("inf")
    score = float(np.mean(blocks.correlation * agree))
    return RefinedMotion(correction @ guess, score, blocks.places_um[agree], residual_um)


def stretch_motion(fixed: FlatImage, moving: FlatImage, motion: Transform, plan: BlockMatching) -> Transform:
    """Return a rigid motion with a little stretch and shear, as the blocks show it: tissue is soft.

    The motion itself where too few blocks agree, or they ask for more than tissue does.
    """
    blocks = match_blocks(fixed, moving, motion, plan)
    near = np.linalg.norm(blocks.shifts_um * plan.axis_weight, axis=1) < plan.agree_within_um
    agree = near & (blocks.correlation >= LEAST_CORRELATION)
    if np.count_nonzero(agree) < LEAST_BLOCKS_STRETCHED:
        return motion
    places, middle = blocks.places_um[agree], fixed.centre_um
    weight = blocks.correlation[agree, None]
    levers = np.column_stack([np.ones(len(places)), places - middle])
    slopes, *_ = np.linalg.lstsq(levers * weight, blocks.shifts_um[agree] * weight, rcond=None)
    if np.abs(slopes[1:]).max() > MOST_STRETCH:
        return motion
    correction = np.eye(len(middle) + 1)
    correction[:-1, :-1] -= slopes[1:].T
    correction[:-1, -1] = slopes[1:].T @ middle - slopes[0]
    return Transform(correction) @ motion


def search_halves(
    fixed: FlatImage, moving: FlatImage, found: Transform, *, reach_um: Floats, axis_weight: Floats
) -> tuple[float, float]:
    """Search each half of ``fixed`` again, over the whole range, in all of ``moving``.

    The halves lie side by side along x, then along y, and hold equal contrast.

    Returns
    -------
    tuple
        The farthest that a half lies from the found motion or from the other half, um; and the share of ``fixed`` that
        ``moving`` covers.
    """
    carried, inside = moving.sampled_on(fixed, found)
    shared, span = fixed.values * inside, fixed.span(reach_um)
    apart_um = 0.0
    for axis in (-2, -1):
        places = []
        for half in _halves(shared, axis):
            position, _ = peak_position(_correlation(half, carried, span))
            places.append((position - span) * fixed.pixel_um * axis_weight)
        distances = (places[0], places[1], places[0] - places[1])
        apart_um = max(apart_um, *(float(np.linalg.norm(d)) for d in distances))
    return apart_um, float(inside.mean())


def _correlation(fixed: Image, moving: Image, span: list[int]) -> Image:
    shape = correlation_shape(fixed.shape, moving.shape, span)
    product = fft.rfftn(fixed, shape, workers=THREADS) * np.conj(fft.rfftn(moving, shape, workers=THREADS))
    return crop_shifts(fft.irfftn(product, shape, workers=THREADS), span) / _limit(fixed, moving, span)


def _limit(fixed: Image, moving: Image, span: list[int]) -> Image:
    energy = shifted_overlap(fixed, moving, span)
    return energy + np.float32(max(LEAST_SHARED_ENERGY * float(energy.max()), 1e-6))


def _margin(best: Image, place: tuple[int, ...], top: float, around: NDArray[np.intp]) -> float:
    others = best.copy()
    others[tuple(slice(max(0, p - n), p + n + 1) for p, n in zip(place, around, strict=True))] = 0
    return float(np.clip(1 - others.max() / max(top, 1e-6), 0, 1))


def _richest_blocks(image: Image, size: NDArray[np.intp], most: int) -> tuple[NDArray[np.intp], Floats]:
    """Return first pixel and centre of contrast of the overlapping blocks that hold the most contrast."""
    shape = np.array(image.shape)
    counts = np.ceil((shape - size) / (BLOCK_SPACING * size)).astype(int) + 1
    axes = [np.unique(np.linspace(0, n - s, c).astype(int)) for n, s, c in zip(shape, size, counts, strict=True)]
    starts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(shape))
    index = np.indices(tuple(size), dtype=np.float32).reshape(len(shape), -1)
    energy, centre = [], []
    for start in starts:
        block = image[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))].ravel() ** 2
        energy.append(float(block.sum()))
        centre.append(start + (index @ block) / max(energy[-1], 1e-9))
    order = np.argsort(energy)[::-1][:most]
    return starts[order], np.array(centre, dtype=float)[order]


def _halves(image: Image, axis: int) -> tuple[Image, Image]:
    rows = np.moveaxis(image, axis, 0)
    profile = np.cumsum(np.sum(rows**2, axis=tuple(range(1, image.ndim))))
    middle = int(np.searchsorted(profile, profile[-1] / 2))
    first, second = rows.copy(), rows.copy()
    first[middle:], second[:middle] = 0, 0
    return np.moveaxis(first, 0, axis), np.moveaxis(second, 0, axis)
