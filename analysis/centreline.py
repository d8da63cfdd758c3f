"""Move a line that lies about right onto the middle of the shaft beside it.

The room below tracing: it knows one line and the pixels around it, and deliberately nothing of where the line
came from.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.linalg import solveh_banded

from analysis.model import Dendrite, Floats, Stack
from analysis.ranking import running_percentile

STEP_UM = 0.25
"""Distance along the line at which the shaft is looked for, um."""
ACROSS_STEP_UM, DEPTH_STEP_UM = 0.12, 0.5
_TANGENT_SIGMA_UM = 1.5
_SPINE_WINDOW_UM = 3.0
_SPINE_PERCENTILE = 35.0
_MOVE_PENALTY = 0.03
_STRAY_PENALTY = 0.15
_RADIUS_REACH_UM = 2.5
_UNSEEN = 0.35
_CALM_SIGMA_UM = (0.75, 1.5)


def recentre(stack: Stack, dendrite: Dendrite, *, reach_um: float = 2.0, depth_reach_um: float = 3.0) -> Dendrite:
    """Move each point of a centreline onto the shaft, sideways and in depth, and measure the radius there.

    The shaft is followed jointly along the whole line (Viterbi), so a spine, a neighbour or a dark stretch does not
    pull single points away; where no shaft is seen, points move as their neighbours do.

    Parameters
    ----------
    stack
        The stack that shows the dendrite today.
    dendrite
        A centreline at most ``reach_um`` off.
    reach_um, depth_reach_um
        How far from the line the shaft is looked for, across and along the optical axis, um.

    Returns
    -------
    Dendrite
        Same name, same number of points: point i is the same place of the dendrite as before. Points outside the stack
        stay outside and move as their neighbours do.
    """
    points, along = dendrite.points_zyx_um, dendrite.along_um
    if len(points) < 2 or along[-1] <= 0 or min(stack.pixels.shape) == 0:
        return dendrite
    within = is_within(stack, points)
    if not within.any():
        return dendrite
    for reach, depth in ((reach_um, depth_reach_um), (0.5 * reach_um, 0.5 * depth_reach_um)):
        points = _shifted_onto_shaft(stack, points, reach, depth)
        points = np.where(within[:, None], points.clip(0.0, stack.extent_zyx_um), points)
    return Dendrite(dendrite.name, points, _radius(stack, points))


def is_within(stack: Stack, points_zyx_um: Floats) -> NDArray[np.bool_]:
    """Whether points lie in a stack, shape (n,)."""
    within: NDArray[np.bool_] = np.all((points_zyx_um >= 0.0) & (points_zyx_um <= stack.extent_zyx_um), axis=1)
    return within


def resampled(points_zyx_um: Floats, step_um: float) -> Floats:
    """Return points of a line at equal distances, both ends kept, shape (n, 3), um."""
    along = _along(points_zyx_um)
    stations = np.linspace(0.0, along[-1], max(2, round(along[-1] / step_um) + 1))
    return np.stack([np.interp(stations, along, c) for c in points_zyx_um.T], axis=1)


def smoothed(points_zyx_um: Floats, sigma_um: float) -> Floats:
    """Smooth a line along itself; its ends stay. One that is shorter than ``sigma_um`` becomes about straight."""
    last = len(points_zyx_um) - 1
    length_um = _along(points_zyx_um)[-1]
    if last < 1 or length_um <= 0:
        return points_zyx_um.copy()
    sigma = min(sigma_um * last / length_um, float(last))
    n = min(last, int(np.ceil(4 * sigma)))
    before, after = (
        2 * points_zyx_um[0] - points_zyx_um[n:0:-1],
        2 * points_zyx_um[-1] - points_zyx_um[-2 : -n - 2 : -1],
    )
    padded = np.concatenate([before, points_zyx_um, after])
    calm: Floats = ndimage.gaussian_filter1d(padded, sigma, axis=0)[n : n + last + 1]
    return calm


def normals(points_zyx_um: Floats) -> tuple[Floats, Floats]:
    """Return the two unit directions across a line: sideways (in the image plane) and in depth, shape (n, 3) each.

    Where the line has no direction, because its points lie at one place, they are y and z.
    """
    tangent = np.gradient(smoothed(points_zyx_um, _TANGENT_SIGMA_UM), axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    side = np.stack([np.zeros(len(tangent)), tangent[:, 2], -tangent[:, 1]], axis=1)
    lateral = np.linalg.norm(side, axis=1)
    flat = lateral > 0.1
    if not flat.any():
        side[:] = (0.0, 1.0, 0.0)
    elif not flat.all():
        nearest = np.searchsorted(np.flatnonzero(flat), np.arange(len(side))).clip(max=int(flat.sum()) - 1)
        side = np.where(flat[:, None], side, side[np.flatnonzero(flat)[nearest]])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    depth = np.cross(tangent, side)
    depth *= np.where(depth[:, :1] < 0, -1.0, 1.0)
    depth[~depth.any(axis=1)] = (1.0, 0.0, 0.0)
    return side, depth / np.maximum(np.linalg.norm(depth, axis=1, keepdims=True), 1e-9)


def _along(points_zyx_um: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points_zyx_um, axis=0), axis=1))])


def _shifted_onto_shaft(stack: Stack, points: Floats, reach_um: float, depth_reach_um: float) -> Floats:
    """Return the points moved across the line by one joint search."""
    line = resampled(points, STEP_UM)
    across = _offsets(reach_um, ACROSS_STEP_UM)
    down = _offsets(depth_reach_um, DEPTH_STEP_UM)
    view = _without_spines(_sampled(stack, line, normals(line), across, down))
    weight = _visibility(view) * is_within(stack, line)
    steps = _followed(view, weight, across, down)
    shift = _calmed(_refined(view, steps, across, down), weight)
    places = np.arange(len(line), dtype=float)
    station = np.interp(_along(points), np.linspace(0.0, _along(points)[-1], len(line)), places)
    a, b = (np.interp(station, places, s) for s in shift.T)
    side, depth = normals(points)
    moved: Floats = points + a[:, None] * side + b[:, None] * depth
    return moved


def _offsets(reach_um: float, step_um: float) -> Floats:
    n = max(1, round(reach_um / step_um))
    offsets: Floats = np.arange(-n, n + 1, dtype=float) * step_um
    return offsets


def _sampled(
    stack: Stack, line: Floats, axes: tuple[Floats, Floats], across: Floats, down: Floats
) -> NDArray[np.float32]:
    """Return the pixels beside a line, shape (points, across, down)."""
    side, depth = (axis[:, None, None] for axis in axes)
    at = line[:, None, None] + across[:, None, None] * side + down[:, None] * depth
    at = (at / np.array(stack.voxel_um)).reshape(-1, 3).T
    values = ndimage.map_coordinates(stack.pixels, at, output=np.float32, order=1, mode="nearest")
    view: NDArray[np.float32] = values.reshape(len(line), len(across), len(down))
    return view


def _without_spines(view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep what goes on along the line: spines and specks are shorter than the window."""
    window = min(len(view), max(1, round(_SPINE_WINDOW_UM / STEP_UM)))
    calm = ndimage.gaussian_filter(view, (1.0, 0.2 / ACROSS_STEP_UM, 0.6 / DEPTH_STEP_UM), mode="nearest")
    calm = running_percentile(calm, _SPINE_PERCENTILE, window)
    kept: NDArray[np.float32] = ndimage.gaussian_filter1d(calm, 2.0, axis=0, mode="nearest")
    return kept


def _followed(view: NDArray[np.float32], weight: Floats, across: Floats, down: Floats) -> NDArray[np.intp]:
    """Return the brightest smooth course (across, down indices) through the views, shape (points, 2)."""
    floor = np.median(view, axis=(1, 2), keepdims=True)
    top = view.max(axis=(1, 2), keepdims=True)
    gain = weight[:, None, None] * (view - floor) / np.maximum(top - floor, 1e-9)
    stray = (across[:, None] / across[-1]) ** 2 + (down / down[-1]) ** 2
    gain = gain - _STRAY_PENALTY * stray
    moves = sorted(product((-1, 0, 1), repeat=2), key=lambda m: abs(m[0]) + abs(m[1]))
    best, came = gain[0], np.zeros(gain.shape, np.int8)
    high, wide = best.shape
    around, options = np.full((high + 2, wide + 2), -np.inf), np.empty((len(moves), high, wide))
    for i in range(1, len(gain)):
        around[1:-1, 1:-1] = best
        for option, (a, b) in zip(options, moves, strict=True):
            np.subtract(around[1 + a : 1 + a + high, 1 + b : 1 + b + wide], _MOVE_PENALTY * (a * a + b * b), out=option)
        came[i] = options.argmax(axis=0)
        best = options.max(axis=0) + gain[i]
    course = np.empty((len(gain), 2), np.intp)
    course[-1] = np.unravel_index(int(best.argmax()), best.shape)
    for i in range(len(gain) - 1, 0, -1):
        course[i - 1] = course[i] + moves[came[i][tuple(course[i])]]
    return course


def _refined(view: NDArray[np.float32], course: NDArray[np.intp], across: Floats, down: Floats) -> Floats:
    """Return the centre of brightness beside a course, finer than the steps, shape (points, 2), um."""
    a, b = across[course[:, 0]], down[course[:, 1]]
    for _ in range(2):
        near = (np.abs(across - a[:, None]) <= 0.75)[:, :, None] & (np.abs(down - b[:, None]) <= 1.5)[:, None, :]
        top = np.where(near, view, -np.inf).max(axis=(1, 2), keepdims=True)
        floor = np.median(view, axis=(1, 2), keepdims=True)
        mass = np.where(near, np.maximum(view - floor - 0.5 * (top - floor), 0.0), 0.0)
        total = np.maximum(mass.sum(axis=(1, 2)), 1e-9)
        seen = mass.sum(axis=(1, 2)) > 0
        a = np.where(seen, (mass.sum(axis=2) * across).sum(axis=1) / total, a)
        b = np.where(seen, (mass.sum(axis=1) * down).sum(axis=1) / total, b)
    return np.stack([a, b], axis=1)


def _visibility(view: NDArray[np.float32]) -> Floats:
    """Return how well the shaft is seen at each point against 20 um of its neighbours: 1 as there, 0 not at all."""
    contrast = (view.max(axis=(1, 2)) - np.median(view, axis=(1, 2))).astype(float)
    usual = ndimage.percentile_filter(contrast, 60, size=min(len(view), round(20.0 / STEP_UM)), mode="nearest")
    visibility: Floats = 1.0 / (1.0 + (_UNSEEN * usual / np.maximum(contrast, 1e-6)) ** 6)
    return visibility


def _calmed(shift: Floats, weight: Floats) -> Floats:
    """Smooth displacements along the line; over what is not seen they run on from both sides (Whittaker smoother)."""
    n = len(shift)
    bend = np.diff(np.eye(3), n=2, axis=0)[0]
    calm = shift.copy()
    if n < 4:
        return calm
    for k, sigma_um in enumerate(_CALM_SIGMA_UM):
        stiffness = (sigma_um / STEP_UM) ** 4
        bands = np.zeros((3, n))
        for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
            bands[j - i, i : n - 2 + i] += stiffness * bend[i] * bend[j]
        bands[0] += weight + 1e-4
        calm[:, k] = solveh_banded(bands, (weight + 1e-4) * shift[:, k], lower=True)
    return calm


def _radius(stack: Stack, points: Floats) -> Floats:
    """Return half the width at half height of the shaft without its spines, shape (n,), um."""
    line = resampled(points, STEP_UM)
    across = _offsets(_RADIUS_REACH_UM, 0.06)
    view = _sampled(stack, line, normals(line), across, np.zeros(1))[..., 0]
    window = min(len(view), max(1, round(_SPINE_WINDOW_UM / STEP_UM)))
    view = running_percentile(view, _SPINE_PERCENTILE, window)
    view = ndimage.gaussian_filter(view, (2.0, 2.0), mode="nearest")
    middle = len(across) // 2
    top = view[:, middle - 4 : middle + 5].max(axis=1)
    bright = view > (0.5 * (top + np.percentile(view, 20, axis=1)))[:, None]
    right = np.argmin(bright[:, middle:], axis=1)
    left = np.argmin(bright[:, middle::-1], axis=1)
    reach = np.where([bright[:, middle:].all(axis=1), bright[:, : middle + 1].all(axis=1)], middle, [right, left])
    radius = np.maximum(0.5 * 0.06 * reach.sum(axis=0), 0.15)
    station = np.linspace(0.0, len(line) - 1.0, len(points))
    return np.interp(station, np.arange(len(line)), ndimage.gaussian_filter1d(radius, 4.0, mode="nearest"))
