"""Find the dendrites of a stack and draw their centrelines.

Pieces of tube that go on straight are joined to dendrites, through forks and over gaps; the faint and the crooked are
left out; each is then centred on the full resolution pixels. The room knows shafts and deliberately nothing of spines:
what is shorter than a twig is left to detection.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from analysis.centreline import recentre, resampled, smoothed
from analysis.model import Dendrite, Floats, Stack
from analysis.ridge import find_ridges
from analysis.skeleton import LOW_NOISES, SQUASH, Piece, find_pieces, length_of

__all__ = ["recentre", "trace_between", "trace_dendrites"]

POINT_STEP_UM = 0.2
"""Distance of the points of a centreline, um."""
GAP_UM = 6.0
"""Longest dark stretch that a dendrite is followed through, um."""
_MAX_TURN_DEG = 65.0  # between two pieces of one dendrite
_MAX_UNLIKE = 2.0  # octaves of tube response between them
_WINDOW_UM = 4.0
_FAINT_END = 0.3  # of the path's response
_OFF_AXIS = 0.8  # of the response near the end
_HAIRPIN_DEG = 100.0


def trace_dendrites(
    stack: Stack, *, min_length_um: float = 15.0, min_level: float = 0.22, max_bend: float = 0.12
) -> list[Dendrite]:
    """Find every dendrite of a stack.

    Parameters
    ----------
    stack
        Any stack; one without tubes gives an empty list.
    min_length_um
        Shorter dendrites and branches are left out, um.
    min_level
        A dendrite's tube response over the mean of the stack's, the clear ones counting more. Dim axons and vessels lie
        below 0.2.
    max_bend
        How crooked a dendrite of the mean response may be: 1 - distance / path length over 8 um. A fainter one must be
        straighter in proportion: what is strung together from specks and blobs is faint and crooked.

    Returns
    -------
    list of Dendrite
        Longest first, named 0, 1, 2...; a branch is a dendrite of its own that starts at the branch point.
    """
    pieces = find_pieces(find_ridges(stack))
    paths = [part for course in _courses(pieces) for part in _without_hairpins(_trimmed(_joined(course)))]
    paths = [p for p in paths if p.length_um >= 0.8 * min_length_um and p.level >= 1.5 * LOW_NOISES]
    weight = np.array([p.length_um * p.level for p in paths])
    usual = float(weight @ [p.level for p in paths] / weight.sum()) if paths else 0.0
    clear = [(p.level / usual, _centred(stack, p.points_zyx_um)) for p in paths if p.level >= min_level * usual]
    found = [d for level, d in clear if d.length_um >= min_length_um and _bend(d.points_zyx_um) <= max_bend * level]
    found.sort(key=lambda d: -d.length_um)
    return [Dendrite(name, d.points_zyx_um, d.radius_um) for name, d in enumerate(found)]


def _centred(stack: Stack, points_zyx_um: Floats) -> Dendrite:
    """Smooth the steps of the voxels away and centre the line on the full resolution pixels."""
    line = smoothed(resampled(points_zyx_um, POINT_STEP_UM), 1.0)
    line = resampled(line, POINT_STEP_UM)
    return recentre(stack, Dendrite(0, line, np.ones(len(line))), reach_um=1.0, depth_reach_um=2.0)


def _trimmed(path: Piece) -> Piece:
    """Cut the faint ends, where the tree ran on from the dendrite into what lies beside it or off its axis."""
    window = max(1, round(_WINDOW_UM * len(path.points_zyx_um) / max(path.length_um, 1e-9)))
    usual = ndimage.percentile_filter(path.strength, 50, size=min(window, len(path.strength)), mode="nearest")
    bright = np.flatnonzero(usual >= _FAINT_END * path.level)
    path = _stretch(path, int(bright[0]), int(bright[-1]) + 1, path.nodes)
    on_axis = path.strength >= _OFF_AXIS * np.array([path.level_near(0), path.level_near(1)])[:, None]
    return _stretch(path, int(on_axis[0].argmax()), len(path.strength) - int(on_axis[1, ::-1].argmax()), path.nodes)


def _stretch(path: Piece, first: int, beyond: int, nodes: tuple[int, int]) -> Piece:
    return Piece(path.points_zyx_um[first:beyond], path.strength[first:beyond], nodes)


def _without_hairpins(path: Piece) -> list[Piece]:
    """Cut a path where it turns back within a few um: two dendrites that leave one place."""
    points = path.points_zyx_um * SQUASH
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    before = np.searchsorted(along, along - _WINDOW_UM)
    after = np.searchsorted(along, along + _WINDOW_UM).clip(max=len(points) - 1)
    back, on = points - points[before], points[after] - points
    cosine = (back * on).sum(axis=1) / np.maximum(np.linalg.norm(back, axis=1) * np.linalg.norm(on, axis=1), 1e-9)
    cosine[(along < _WINDOW_UM) | (along > along[-1] - _WINDOW_UM)] = 1.0
    sharpest = int(cosine.argmin())
    if cosine[sharpest] > np.cos(np.deg2rad(_HAIRPIN_DEG)):
        return [path]
    halves = (
        _stretch(path, 0, sharpest + 1, (path.nodes[0], -1)),
        _stretch(path, sharpest, len(points), (-1, path.nodes[1])),
    )
    return [part for half in halves for part in _without_hairpins(half)]


def _bend(points_zyx_um: Floats) -> float:
    """Return 1 - distance / path length, the mean of all stretches of 8 um, axially squashed."""
    line = smoothed(resampled(points_zyx_um * SQUASH, POINT_STEP_UM), 1.0)
    line = resampled(line, POINT_STEP_UM)
    stride = min(len(line) - 1, round(8.0 / POINT_STEP_UM))
    chords = np.linalg.norm(line[stride:] - line[:-stride], axis=1)
    return 1.0 - float(chords.mean() / (stride * length_of(line) / (len(line) - 1)))


def _courses(pieces: list[Piece]) -> list[list[tuple[Piece, int]]]:
    """Join pieces end to end; a course is a list of pieces and the end (0 or 1) at which each is entered."""
    link: dict[tuple[int, int], tuple[int, int]] = {}
    for _, a, b in sorted(_joints(pieces)):
        if a not in link and b not in link:
            link[a], link[b] = b, a
    courses: list[list[tuple[Piece, int]]] = []
    used: set[int] = set()
    ends = [(i, e) for i in range(len(pieces)) for e in (0, 1)]
    for i, e in [*(x for x in ends if x not in link), *ends]:
        course: list[tuple[Piece, int]] = []
        at: tuple[int, int] | None = (i, e)
        while at is not None and at[0] not in used:
            used.add(at[0])
            course.append((pieces[at[0]], at[1]))
            at = link.get((at[0], 1 - at[1]))
        if course:
            courses.append(course)
    return courses


def _joints(pieces: list[Piece]) -> list[tuple[float, tuple[int, int], tuple[int, int]]]:
    """Return the pairs of ends that may go on into each other, with the price of doing so."""
    ends = [(i, e) for i in range(len(pieces)) for e in (0, 1)]
    if not ends:
        return []
    tip = np.array([pieces[i].points_zyx_um[-e] for i, e in ends]) * SQUASH
    out = np.array([pieces[i].outward(e) for i, e in ends])
    joints = []
    for m, n in cKDTree(tip).query_pairs(GAP_UM):
        (i, e), (j, f) = ends[m], ends[n]
        fork = pieces[i].nodes[e]
        if i == j or fork != pieces[j].nodes[f]:
            continue
        across = tip[n] - tip[m]
        gap = float(np.linalg.norm(across))
        turn = _angle_deg(out[m], -out[n])
        if fork < 0 and gap > 1.0:
            turn = max(turn, _angle_deg(out[m], across), _angle_deg(out[n], -across))
        unlike = abs(np.log2(pieces[i].level_near(e) / pieces[j].level_near(f)))
        if turn <= _MAX_TURN_DEG and unlike <= _MAX_UNLIKE:
            joints.append((turn + 15.0 * unlike + 5.0 * gap, ends[m], ends[n]))
    return joints


def _angle_deg(a: Floats, b: Floats) -> float:
    cosine = float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _joined(course: list[tuple[Piece, int]]) -> Piece:
    """Make one piece of a course; one that hangs on a fork starts there."""
    if course[0][0].nodes[course[0][1]] < 0 <= course[-1][0].nodes[1 - course[-1][1]]:
        course = [(piece, 1 - end) for piece, end in reversed(course)]
    points = np.concatenate([p.points_zyx_um[:: 1 - 2 * e] for p, e in course])
    strength = np.concatenate([p.strength[:: 1 - 2 * e] for p, e in course])
    (first, e), (last, f) = course[0], course[-1]
    return Piece(points, strength, (first.nodes[e], last.nodes[1 - f]))


def trace_between(stack: Stack, waypoints_zyx_um: ArrayLike, *, margin_um: float = 12.0) -> Dendrite:
    """Follow the shaft from the first waypoint through the others to the last.

    Parameters
    ----------
    stack
        The stack that shows the dendrite.
    waypoints_zyx_um
        Two or more points on the shaft, in order, shape (n, 3), um.
    margin_um
        How far outside the box of the waypoints the shaft may run, um.

    Returns
    -------
    Dendrite
        Named 0, centred on the pixels.

    Raises
    ------
    ValueError
        With fewer than two waypoints, a waypoint outside the stack, or all of them at one place.
    """
    waypoints = _checked(stack, waypoints_zyx_um)
    ridge = find_ridges(stack)
    voxel, origin = np.array(ridge.voxel_um), np.array(ridge.origin_um)
    at = np.rint((waypoints - origin) / voxel).astype(int).clip(0, np.array(ridge.shape) - 1)
    if (at == at[0]).all():
        raise ValueError(f"all {len(at)} waypoints lie within {voxel.max():.2g} um of each other: move the ends apart")
    low = (at.min(axis=0) - np.ceil(margin_um / voxel).astype(int)).clip(0)
    high = at.max(axis=0) + np.ceil(margin_um / voxel).astype(int) + 1
    strength = np.zeros(ridge.shape, np.float32)
    strength.ravel()[ridge.index] = ridge.strength
    box = strength[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    roads = MCP_Geometric(1.0 / (1.0 + box), sampling=tuple(voxel * SQUASH))
    legs = [at[:1]]
    for here, there in pairwise(at):
        roads.find_costs([here - low], [there - low])
        legs.append(np.array(roads.traceback(there - low))[1:] + low)
    return _centred(stack, np.concatenate(legs) * voxel + origin)


def _checked(stack: Stack, waypoints_zyx_um: ArrayLike) -> Floats:
    """Return the waypoints as an array, or refuse them."""
    waypoints = np.asarray(waypoints_zyx_um, dtype=float)
    if waypoints.ndim != 2 or waypoints.shape[1] != 3 or len(waypoints) < 2:
        raise ValueError(
            f"a trace needs two or more (z, y, x) waypoints in um, not shape {waypoints.shape}: add the ends"
        )
    outside = (waypoints < -0.5 * np.array(stack.voxel_um)) | (waypoints > stack.extent_zyx_um + stack.voxel_um)
    if outside.any():
        far = waypoints[outside.any(axis=1)][0]
        raise ValueError(
            f"waypoint {far.round(1)} um lies outside the stack of {stack.extent_zyx_um.round(1)} um: move it in"
        )
    return waypoints
