"""Where today's picture of the surface vessels lies in the vessel map of an earlier day, and whether to believe it.

Vessels are dark on bright. Their ridges are drawn out of the picture, so that brightness, focus and uneven light count
little; rotation, scale and shift are searched over the whole picture, refined block by block, and checked by its two
halves. Branch points of the map are landmarks a person can check and move. Coordinates are um from the centre of the
first pixel, (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from analysis.alignment import BlockMatching, FlatImage, refine_motion, search_halves, search_motion
from analysis.correlate import Image, block_mean, flatten, match_windows, peak_position
from analysis.errors import StackError
from analysis.model import Floats, Transform, Verdict

VESSEL_SIGMAS_UM = (6.0, 12.0, 24.0)  # vessels of 10-80 um across
LIGHT_UM = 150.0  # the illumination changes over more than this
FINEST_UM = 2.0
FINE_PIXELS, COARSE_PIXELS = 512, 160  # longest side of the grids
YAW_STEP_DEG = 2.0
SCALES = (1.0, 0.975, 1.025, 0.95, 1.05)
BOTH = np.ones(2)
LANDMARK_WINDOW_UM, LANDMARK_REACH_UM = 160.0, 24.0
LANDMARKS_APART_UM, MOST_LANDMARKS = 120.0, 12
LEAST_LANDMARK_CORRELATION = 0.5
LEAST_EXTENT_UM = 100.0

FOUND_SCORE, UNSURE_SCORE = 0.5, 0.3
FOUND_MARGIN, UNSURE_MARGIN = 0.25, 0.12
FOUND_AGREEMENT, UNSURE_AGREEMENT = 0.02, 0.05  # of the map's width


@dataclass(frozen=True, eq=False)
class LandmarkMatch:
    """A branch point of the map, found again in today's picture.

    Parameters
    ----------
    name
        V1, V2...: numbered from the clearest branch point of the map.
    map_yx_um, today_yx_um
        Its place in the map's and in today's frame, shape (2,), um.
    residual_um
        How far the registration carries today's place from the map's, um.
    """

    name: str
    map_yx_um: Floats
    today_yx_um: Floats
    residual_um: float


@dataclass(frozen=True, eq=False)
class SurfaceRegistration:
    """Where today's picture lies in the vessel map.

    Parameters
    ----------
    map_from_today
        Similarity (rotation, one scale, shift) from today's frame to the map's, (3, 3) on (y, x, 1), um.
    score
        Mean correlation of the matched blocks, 0 to 1; a block that disagrees with the common motion counts 0.
    margin
        How far the best place stands out in the search: 1 - second / best, 0 to 1.
    agreement_um
        How far apart the two halves of the map, searched one by one, put today's picture, um.
    overlap
        Share of the map that today's picture covers.
    verdict
        Found only when score, margin and agreement all say so.
    landmarks
        Branch points of the map that were recognised today; none when not found.
    """

    map_from_today: Transform
    score: float
    margin: float
    agreement_um: float
    overlap: float
    verdict: Verdict
    landmarks: tuple[LandmarkMatch, ...]


def register_surface(
    map_image: NDArray[np.generic],
    today_image: NDArray[np.generic],
    *,
    map_pixel_um: float,
    today_pixel_um: float,
    max_yaw_deg: float = 20.0,
) -> SurfaceRegistration:
    """Find today's picture of the vessels in the map, and say whether it is believed.

    Parameters
    ----------
    map_image, today_image
        Pictures in which vessels are dark, shape (y, x); shapes and pixel sizes may differ.
    map_pixel_um, today_pixel_um
        Pixel sizes, um.
    max_yaw_deg
        Largest rotation searched each way, degrees. The scale is searched 5 % each way, the shift of the centres over
        half the larger picture.

    Raises
    ------
    StackError
        When a picture is not two-dimensional, or too small to be recognised.
    """
    pictures = ((map_image, map_pixel_um, "the vessel map"), (today_image, today_pixel_um, "today's vessel picture"))
    for image, pixel_um, name in pictures:
        _refuse_unusable(image, pixel_um, name)
    grid_um = max(FINEST_UM, map_pixel_um, today_pixel_um, _longest_um(map_image, map_pixel_um) / FINE_PIXELS)
    fine, fine_today = (draw_vessels(image, pixel_um, grid_um) for image, pixel_um, _ in pictures)
    coarse, coarse_today = (_coarsen(flat) for flat in (fine, fine_today))
    start = Transform.translation(fine.centre_um - fine_today.centre_um)
    if not (np.any(fine.values) and np.any(fine_today.values)):
        return SurfaceRegistration(start, 0.0, 0.0, float("inf"), 0.0, Verdict.NOT_FOUND, ())
    width_um = fine.pixel_um * fine.values.shape
    reach_um = np.maximum(width_um, fine_today.pixel_um * fine_today.values.shape) / 2
    turns = _turns(fine.centre_um, max_yaw_deg)
    found, margin = search_motion(coarse, coarse_today, start, turns, reach_um=reach_um, near_um=0.06 * width_um)
    score = 0.0
    for plan in _block_plans(width_um, float(coarse.pixel_um[0]), float(fine.pixel_um[0])):
        found, score = refine_motion(fine, fine_today, found, plan)
    agreement_um, overlap = search_halves(coarse, coarse_today, found, reach_um=reach_um, axis_weight=BOTH)
    verdict = judge(score, margin, agreement_um / float(width_um.max()))
    landmarks = () if verdict is Verdict.NOT_FOUND else match_landmarks(fine, fine_today, found)
    return SurfaceRegistration(found, score, margin, agreement_um, overlap, verdict, landmarks)


def judge(score: float, margin: float, disagreement: float) -> Verdict:
    """Combine the three signs into a verdict; ``disagreement`` of the halves is a share of the map's width."""
    if score >= FOUND_SCORE and margin >= FOUND_MARGIN and disagreement <= FOUND_AGREEMENT:
        return Verdict.FOUND
    if score >= UNSURE_SCORE and margin >= UNSURE_MARGIN and disagreement <= UNSURE_AGREEMENT:
        return Verdict.UNSURE
    return Verdict.NOT_FOUND


def draw_vessels(image: NDArray[np.generic], pixel_um: float, grid_um: float = FINEST_UM) -> FlatImage:
    """Return how much each place looks like a dark vessel, flattened, on pixels of about ``grid_um``.

    The largest second derivative of the brightness over three widths, after the light was evened out.
    """
    factor = max(1, int(grid_um / pixel_um + 0.3))
    pixels = image if image.dtype.kind != "f" else np.nan_to_num(image)
    grey = block_mean(pixels, (factor, factor))
    pixel = pixel_um * factor
    light = ndimage.gaussian_filter(grey, LIGHT_UM / pixel, truncate=2.5)
    even = np.asarray(grey / np.maximum(light, 1e-3 * max(float(light.max()), 1e-12)), dtype=np.float32)
    strongest: Image = np.zeros_like(even)
    for sigma_um in VESSEL_SIGMAS_UM:
        strongest = np.maximum(strongest, _valley(even, max(sigma_um / pixel, 0.8)))
    values = flatten(strongest, (3.0 / pixel, 3.0 / pixel), (60.0 / pixel, 60.0 / pixel))
    return FlatImage(values, np.full(2, pixel), np.full(2, pixel_um * (factor - 1) / 2))


def find_branch_points(vessels: FlatImage) -> Floats:
    """Return the branch points of drawn vessels, the clearest first, shape (n, 2), um (y, x).

    Forks of the skeleton of the vessels, those with the strongest vessels around them first, no two closer than
    120 um.
    """
    smooth = ndimage.gaussian_filter(vessels.values, 4.0 / vessels.pixel_um)
    drawn = smooth > max(0.5 * float(np.std(smooth)), 1e-6)
    labels, count = ndimage.label(drawn, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * float(np.prod(vessels.pixel_um))
    drawn &= sizes[labels] > 100.0 * 20.0
    skeleton: NDArray[np.bool_] = skeletonize(drawn)  # type: ignore[no-untyped-call]
    neighbours = ndimage.convolve(skeleton.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant") - skeleton
    forks = np.argwhere(skeleton & (neighbours >= 3))
    strength = _arm_strength(smooth, skeleton, float(vessels.pixel_um[0]))[tuple(forks.T)]
    kept: list[Floats] = []
    for fork in forks[np.argsort(-strength)] * vessels.pixel_um:
        if all(np.linalg.norm(fork - other) >= LANDMARKS_APART_UM for other in kept):
            kept.append(fork)
    return np.array(kept).reshape(-1, 2) + vessels.origin_um


def match_landmarks(vessels: FlatImage, today: FlatImage, map_from_today: Transform) -> tuple[LandmarkMatch, ...]:
    """Find the clearest branch points of the map in today's picture, each by the picture around it."""
    carried, inside = today.sampled_on(vessels, map_from_today)
    pixel = vessels.pixel_um
    half, span = round(LANDMARK_WINDOW_UM / 2 / pixel[0]), round(LANDMARK_REACH_UM / pixel[0])
    places = np.round((find_branch_points(vessels) - vessels.origin_um) / pixel).astype(int)
    fits = np.all((places >= half) & (places < np.array(inside.shape) - half), axis=1)
    places = places[fits]
    places = places[inside[tuple(places.T)] > 0][:MOST_LANDMARKS]
    if len(places) == 0:
        return ()
    maps = match_windows(vessels.values * inside, carried, places - half, [2 * half] * 2, [span] * 2)
    matches: list[LandmarkMatch] = []
    for place, correlation in zip(places, maps, strict=True):
        position, height = peak_position(correlation)
        at_um = place * pixel + vessels.origin_um
        off_um = (position - span) * pixel
        if height >= LEAST_LANDMARK_CORRELATION:
            seen_um = map_from_today.inverse().apply(at_um + off_um)
            matches.append(LandmarkMatch(f"V{len(matches) + 1}", at_um, seen_um, float(np.linalg.norm(off_um))))
    return tuple(matches)


def _refuse_unusable(image: NDArray[np.generic], pixel_um: float, name: str) -> None:
    shape = "x".join(map(str, image.shape))
    if image.ndim != 2 or image.size == 0 or not pixel_um > 0:
        raise StackError(f"{name} cannot be registered: shape {shape}, pixels {pixel_um:g} um. Give a (y, x) image.")
    shortest_um = min(image.shape) * pixel_um
    if shortest_um < LEAST_EXTENT_UM or min(image.shape) < 32:
        raise StackError(
            f"{name} is too small to be recognised: {shape} pixels, {shortest_um:.0f} um. "
            f"Take at least 32 pixels and {LEAST_EXTENT_UM:.0f} um each way."
        )


def _longest_um(image: NDArray[np.generic], pixel_um: float) -> float:
    return float(max(image.shape) * pixel_um)


def _valley(even: Image, sigma: float) -> Image:
    """Return the largest second derivative across, in units of contrast, zero on hills."""
    yy, xx, yx = (ndimage.gaussian_filter(even, sigma, order=o, truncate=3.0) for o in ((2, 0), (0, 2), (1, 1)))
    largest = (yy + xx) / 2 + np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    return np.asarray(np.maximum(largest, 0) * sigma**2, dtype=np.float32)


def _coarsen(flat: FlatImage) -> FlatImage:
    factor = max(1, round(max(flat.values.shape) / COARSE_PIXELS))
    values = block_mean(flat.values, (factor, factor))
    return FlatImage(
        values - np.float32(values.mean()), flat.pixel_um * factor, flat.origin_um + flat.pixel_um * (factor - 1) / 2
    )


def _turns(centre_um: Floats, max_yaw_deg: float) -> list[Transform]:
    """Return the rotations and scales to try; the first changes nothing."""
    steps = int(np.ceil(max_yaw_deg / YAW_STEP_DEG))
    yaws = sorted(np.linspace(-max_yaw_deg, max_yaw_deg, 2 * steps + 1), key=abs)
    return [
        Transform.similarity(yaw_deg=float(yaw), scale=scale, centre_yx_um=centre_um)
        for scale in SCALES
        for yaw in yaws
    ]


def _block_plans(width_um: Floats, coarse_um: float, fine_um: float) -> tuple[BlockMatching, ...]:
    """Return blocks of a quarter, a sixth, a sixth of the picture, searched ever closer."""
    width = float(width_um.min())
    return tuple(
        BlockMatching(
            np.full(2, width / part), np.full(2, reach), BOTH, agree_within_um=agree, most=36, with_scale=True
        )
        for part, reach, agree in (
            (4, 5 * coarse_um, 2 * coarse_um),
            (6, 2 * coarse_um, 4 * fine_um),
            (6, 6 * fine_um, 3 * fine_um),
        )
    )


def _arm_strength(smooth: Image, skeleton: NDArray[np.bool_], pixel_um: float) -> Image:
    """Return the sum of vessel strength along the skeleton within 40 um of each place."""
    return ndimage.uniform_filter(np.where(skeleton, smooth, np.float32(0)), round(80.0 / pixel_um))
