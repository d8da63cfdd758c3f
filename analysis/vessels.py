"""Where today's picture of the surface vessels lies in the vessel map of an earlier day, and whether to believe it.

Dark and bright lines are drawn out of the picture, so that brightness, focus and uneven light count little; rotation,
scale and shift are searched over the whole picture, refined block by block, and checked by its two halves. Branch
points of the map are landmarks a person can check and move. Coordinates are um from the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from analysis.alignment import BlockMatching, FlatImage, RefinedMotion, refine_motion, search_halves, search_motion
from analysis.correlate import Image, block_mean, flatten, match_windows, peak_position
from analysis.errors import StackError
from analysis.model import Floats, Transform, Verdict

# Shares of the map's longer side: pictures of 2 mm through a thinned skull, of a retina, of an angiogram hold vessels
# of a half to four per cent of their width.
VESSEL_SIGMAS = (0.003, 0.006, 0.012)
LIGHT = 0.073  # the illumination changes over more than this
BAND = (0.0015, 0.03)  # detail kept of the drawn vessels
UNLIT = 0.15  # of the light where the picture is bright; vessels keep more
FINE_PIXELS, COARSE_PIXELS = 512, 160  # longest side of the grids
YAW_STEP_DEG = 2.0
SCALES = (1.0, 0.975, 1.025, 0.95, 1.05)
MOST_SCALE = 0.06  # measured to 0.002; farther from 1, a pixel size is wrong
BOTH = np.ones(2)
LANDMARK_WINDOW, LANDMARK_REACH = 0.08, 0.012
LANDMARKS_APART, MOST_LANDMARKS = 0.06, 12
LEAST_VESSEL_AREA = 5e-4  # of the map's longer side squared: smaller pieces are no vessel
ARM = 0.04  # length of vessel that a branch point is judged by
LEAST_LANDMARK_CORRELATION = 0.5
LEAST_PIXELS = 32

# Other, mirrored and turned pictures, simulated and of a retina, score 0.12 at most; right ones 0.5 and more.
FOUND_SCORE, UNSURE_SCORE = 0.35, 0.2
FOUND_MARGIN, UNSURE_MARGIN = 0.1, 0.05
FOUND_AGREEMENT, UNSURE_AGREEMENT = 0.02, 0.05  # of the map's width


@dataclass(frozen=True, eq=False)
class LandmarkMatch:
    """A branch point of the map, found again in today's picture.

    Parameters
    ----------
    name
        As it was given; else V1, V2...: numbered from the clearest branch point of the map.
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
        Found only when score, margin and agreement all say so, and the scale is within 6 % of 1.
    landmarks
        Branch points of the map that were recognised today; none when not found.
    middles_um
        Middles of the map and of today's picture, each in its own frame, shape (2, 2), um.
    refined
        The blocks that the transform rests on; None when there was nothing to see.
    """

    map_from_today: Transform
    score: float
    margin: float
    agreement_um: float
    overlap: float
    verdict: Verdict
    landmarks: tuple[LandmarkMatch, ...]
    middles_um: Floats
    refined: RefinedMotion | None = None

    @property
    def scale(self) -> float:
        """How much longer a distance is in the map than in today's picture, by the pixel sizes given."""
        return float(np.sqrt(abs(np.linalg.det(self.map_from_today.matrix[:2, :2]))))

    @property
    def middle_shift_um(self) -> Floats:
        """Where the middle of today's picture lies from the map's, in the map (y, x), um."""
        map_middle, today_middle = self.middles_um
        return np.asarray(self.map_from_today.apply(today_middle) - map_middle)

    def why_scaled(self) -> str | None:
        """Say that a pixel size is wrong, as the scale shows; None when it is not."""
        if self.verdict is Verdict.NOT_FOUND or abs(self.scale - 1) <= MOST_SCALE:
            return None
        return (
            f"today's pixels seem to be {self.scale:.2f} times as large as given (limit {MOST_SCALE * 100:.0f} %); "
            "check both pixel sizes"
        )

    def uncertainty_um(self, map_yx_um: ArrayLike) -> Floats:
        """Return one sigma of the registration along each axis at points of the map, shape (n,), um."""
        points = np.atleast_2d(np.asarray(map_yx_um, dtype=float))
        return np.full(len(points), np.inf) if self.refined is None else self.refined.uncertainty_um(points)


def register_surface(
    map_image: NDArray[np.generic],
    today_image: NDArray[np.generic],
    *,
    map_pixel_um: float,
    today_pixel_um: float,
    max_yaw_deg: float = 20.0,
    landmarks: Mapping[str, ArrayLike] | None = None,
) -> SurfaceRegistration:
    """Find today's picture of the vessels in the map, and say whether it is believed.

    Parameters
    ----------
    map_image, today_image
        Pictures in which vessels are dark or bright, shape (y, x); shapes and pixel sizes may differ.
    map_pixel_um, today_pixel_um
        Pixel sizes, um.
    max_yaw_deg
        Largest rotation searched each way, degrees. The scale is searched 5 % each way, the shift of the centres over
        half the larger picture.
    landmarks
        Names and places (y, x) of the map's landmarks, um; its clearest branch points when None.

    Raises
    ------
    StackError
        When a picture is not two-dimensional, or too small to be recognised.
    """
    pictures = ((map_image, map_pixel_um, "the vessel map"), (today_image, today_pixel_um, "today's vessel picture"))
    for image, pixel_um, name in pictures:
        _refuse_unusable(image, pixel_um, name)
    span_um = _longest_um(map_image, map_pixel_um)
    grid_um = max(map_pixel_um, today_pixel_um, span_um / FINE_PIXELS)
    fine, fine_today = (draw_vessels(image, pixel_um, grid_um, span_um) for image, pixel_um, _ in pictures)
    if not (np.any(fine.values) and np.any(fine_today.values)):
        start = Transform.translation(fine.centre_um - fine_today.centre_um)
        middles_um = np.stack([fine.centre_um, fine_today.centre_um])
        return SurfaceRegistration(start, 0.0, 0.0, float("inf"), 0.0, Verdict.NOT_FOUND, (), middles_um)
    registration = _register_drawn(fine, fine_today, max_yaw_deg, span_um, landmarks)
    if registration.verdict is Verdict.NOT_FOUND:  # dark in one picture, bright with dye in the other?
        reversed_today = replace(fine_today, values=-fine_today.values)
        reverse = _register_drawn(fine, reversed_today, max_yaw_deg, span_um, landmarks)
        registration = max(registration, reverse, key=lambda each: each.score)
    return registration


def _register_drawn(
    fine: FlatImage,
    fine_today: FlatImage,
    max_yaw_deg: float,
    span_um: float,
    landmarks: Mapping[str, ArrayLike] | None,
) -> SurfaceRegistration:
    coarse, coarse_today = (_coarsen(flat) for flat in (fine, fine_today))
    start = Transform.translation(fine.centre_um - fine_today.centre_um)
    width_um = fine.pixel_um * fine.values.shape
    reach_um = np.maximum(width_um, fine_today.pixel_um * fine_today.values.shape) / 2
    turns = _turns(fine.centre_um, max_yaw_deg)
    found, margin, _ = search_motion(coarse, coarse_today, start, turns, reach_um=reach_um, near_um=0.06 * width_um)
    for plan in _block_plans(width_um, float(coarse.pixel_um[0]), float(fine.pixel_um[0])):
        refined = refine_motion(fine, fine_today, found, plan)
        found = refined.motion
    agreement_um, overlap = search_halves(coarse, coarse_today, found, reach_um=reach_um, axis_weight=BOTH)
    verdict = judge(refined.score, margin, agreement_um / float(width_um.max()))
    marks = () if verdict is Verdict.NOT_FOUND else match_landmarks(fine, fine_today, found, span_um, landmarks)
    middles_um = np.stack([fine.centre_um, fine_today.centre_um])
    told = SurfaceRegistration(found, refined.score, margin, agreement_um, overlap, verdict, marks, middles_um, refined)
    return replace(told, verdict=Verdict.UNSURE) if told.why_scaled() else told


def judge(score: float, margin: float, disagreement: float) -> Verdict:
    """Combine the three signs into a verdict; ``disagreement`` of the halves is a share of the map's width."""
    if score >= FOUND_SCORE and margin >= FOUND_MARGIN and disagreement <= FOUND_AGREEMENT:
        return Verdict.FOUND
    if score >= UNSURE_SCORE and margin >= UNSURE_MARGIN and disagreement <= UNSURE_AGREEMENT:
        return Verdict.UNSURE
    return Verdict.NOT_FOUND


def draw_vessels(image: NDArray[np.generic], pixel_um: float, grid_um: float, span_um: float) -> FlatImage:
    """Return how much each place looks like a dark line (positive) or a bright one (negative), flattened.

    The largest second derivative of the brightness over three widths, after the light was evened out, on pixels of
    about ``grid_um``. Vessels are dark under green light and bright when they are filled with dye; the tissue between
    them is the reverse, and tells as much.

    Parameters
    ----------
    image
        Picture, shape (y, x).
    pixel_um, grid_um
        Pixel size of the picture and about that of what is drawn, um.
    span_um
        Longer side of the map, which sets how wide vessels are, um.
    """
    factor = max(1, int(grid_um / pixel_um + 0.3))
    pixels = image if image.dtype.kind != "f" else np.nan_to_num(image)
    grey = block_mean(pixels, (factor, factor))
    pixel = pixel_um * factor
    light = ndimage.gaussian_filter(grey, LIGHT * span_um / pixel, truncate=2.5)
    even = np.asarray(grey / np.maximum(light, 1e-3 * max(float(light.max()), 1e-12)), dtype=np.float32)
    sigmas = [max(sigma * span_um / pixel, 0.8) for sigma in VESSEL_SIGMAS]
    small, large = ((share * span_um / pixel,) * 2 for share in BAND)
    dark, bright = (flatten(_valleys(sign * even, sigmas), small, large) for sign in (1, -1))
    values = np.where(_unlit(grey, sigmas[-1]), np.float32(0), dark - bright)
    return FlatImage(values, np.full(2, pixel), np.full(2, pixel_um * (factor - 1) / 2))


def _unlit(grey: Image, sigma: float) -> NDArray[np.bool_]:
    """Return what lies outside the lit field or under something black, and its rim: it tells nothing of vessels."""
    black = ndimage.gaussian_filter(grey, sigma) < UNLIT * float(np.percentile(grey, 90))
    near: NDArray[np.bool_] = ndimage.uniform_filter(black.astype(np.float32), 2 * round(2 * sigma) + 1) > 1e-6
    return near


def _valleys(even: Image, sigmas: Sequence[float]) -> Image:
    strongest: Image = np.zeros_like(even)
    for sigma in sigmas:
        strongest = np.maximum(strongest, _valley(even, sigma))
    return strongest


def find_branch_points(vessels: FlatImage, span_um: float) -> Floats:
    """Return the branch points of dark lines, the clearest first, shape (n, 2), um (y, x).

    Forks of the skeleton of the vessels, those with the strongest vessels around them first, no two closer than
    ``LANDMARKS_APART`` of the map's longer side ``span_um``.
    """
    smooth = ndimage.gaussian_filter(vessels.values, 0.002 * span_um / vessels.pixel_um)
    drawn = smooth > max(0.5 * float(np.std(smooth)), 1e-6)
    labels, count = ndimage.label(drawn, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * float(np.prod(vessels.pixel_um))
    drawn &= sizes[labels] > LEAST_VESSEL_AREA * span_um**2
    skeleton: NDArray[np.bool_] = skeletonize(drawn)  # type: ignore[no-untyped-call]
    neighbours = ndimage.convolve(skeleton.astype(np.uint8), np.ones((3, 3), np.uint8), mode="constant") - skeleton
    forks = np.argwhere(skeleton & (neighbours >= 3))
    strength = _arm_strength(smooth, skeleton, ARM * span_um / float(vessels.pixel_um[0]))[tuple(forks.T)]
    kept: list[Floats] = []
    for fork in forks[np.argsort(-strength)] * vessels.pixel_um:
        if all(np.linalg.norm(fork - other) >= LANDMARKS_APART * span_um for other in kept):
            kept.append(fork)
    return np.array(kept).reshape(-1, 2) + vessels.origin_um


def find_landmarks(image: NDArray[np.generic], pixel_um: float) -> Floats:
    """Return the clearest branch points of a picture's dark vessels, with enough around them to be recognised.

    Parameters
    ----------
    image
        Picture, shape (y, x).
    pixel_um
        Pixel size, um.

    Returns
    -------
    NDArray
        Shape (n, 2), um (y, x), the clearest first; at most ``MOST_LANDMARKS``.

    Raises
    ------
    StackError
        When the picture is not two-dimensional, or too small.
    """
    _refuse_unusable(image, pixel_um, "the vessel map")
    span_um = _longest_um(image, pixel_um)
    vessels = draw_vessels(image, pixel_um, max(pixel_um, span_um / FINE_PIXELS), span_um)
    points = find_branch_points(vessels, span_um)
    rim_um = LANDMARK_WINDOW * span_um / 2
    last_um = vessels.origin_um + vessels.pixel_um * (np.array(vessels.values.shape) - 1)
    inside = np.all((points >= vessels.origin_um + rim_um) & (points <= last_um - rim_um), axis=1)
    return points[inside][:MOST_LANDMARKS]


def match_landmarks(
    vessels: FlatImage,
    today: FlatImage,
    map_from_today: Transform,
    span_um: float,
    landmarks: Mapping[str, ArrayLike] | None = None,
) -> tuple[LandmarkMatch, ...]:
    """Find landmarks of the map, its clearest branch points when they are None, each by the picture around it."""
    clearest, known = landmarks is None, landmarks
    if known is None:
        known = {str(number): place for number, place in enumerate(find_branch_points(vessels, span_um))}
    names, points = list(known), np.array([*known.values()], dtype=float).reshape(-1, 2)
    carried, inside = today.sampled_on(vessels, map_from_today)
    pixel = vessels.pixel_um
    half, span = round(LANDMARK_WINDOW * span_um / 2 / pixel[0]), round(LANDMARK_REACH * span_um / pixel[0])
    places = np.round((points - vessels.origin_um) / pixel).astype(int)
    fits = np.flatnonzero(np.all((places >= half) & (places < np.array(inside.shape) - half), axis=1))
    seen = [int(each) for each in fits if inside[tuple(places[each])] > 0]
    seen = seen[:MOST_LANDMARKS] if clearest else seen
    if not seen:
        return ()
    maps = match_windows(vessels.values * inside, carried, places[seen] - half, [2 * half] * 2, [span] * 2)
    matches: list[LandmarkMatch] = []
    for each, correlation in zip(seen, maps, strict=True):
        position, height = peak_position(correlation)
        off_um = (position - span) * pixel
        if height >= LEAST_LANDMARK_CORRELATION:
            name = f"V{len(matches) + 1}" if clearest else names[each]
            seen_um = map_from_today.inverse().apply(points[each] + off_um)
            matches.append(LandmarkMatch(name, points[each], seen_um, float(np.linalg.norm(off_um))))
    return tuple(matches)


def _refuse_unusable(image: NDArray[np.generic], pixel_um: float, name: str) -> None:
    shape = "x".join(map(str, image.shape))
    if image.ndim != 2 or image.size == 0 or not pixel_um > 0:
        raise StackError(f"{name} cannot be registered: shape {shape}, pixels {pixel_um:g} um. Give a (y, x) image.")
    if min(image.shape) < LEAST_PIXELS:
        raise StackError(
            f"{name} is too small to be recognised: {shape} pixels. Take at least {LEAST_PIXELS} each way."
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


def _arm_strength(smooth: Image, skeleton: NDArray[np.bool_], arm_px: float) -> Image:
    """Return the mean of vessel strength along the skeleton in a square of ``arm_px`` about each place."""
    return ndimage.uniform_filter(np.where(skeleton, smooth, np.float32(0)), max(1, round(arm_px)))
