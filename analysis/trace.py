"""Find the dendrites of a stack and draw their centrelines.

Voxels that look like the middle of a tube become a graph; its cheapest tree is cut into pieces at the branch points;
pieces that go on straight are joined to dendrites; each is then centred on the full resolution pixels. The room knows
shafts and deliberately nothing of spines: what is shorter than a twig is left to detection.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.sparse import csgraph, csr_array
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from analysis.centreline import recentre, resampled, smoothed
from analysis.model import Dendrite, Floats, Stack
from analysis.ridge import AXIAL_STRETCH, Ridge, find_ridges

__all__ = ["recentre", "trace_between", "trace_dendrites"]

POINT_STEP_UM = 0.2
TWIG_UM = 5.0
"""Side chains shorter than this are spines or roughness of the shaft, um (spines: 0.5-4 um)."""
GAP_UM = 6.0
"""Longest dark stretch that a dendrite is followed through, um."""
TUBE_UM = 1.5
"""Chains that run closer together than this are one shaft, um."""
JUNCTION_UM = 2.5
"""Forks closer together than this are one branch point, um."""
_LOW_NOISES = 8.0
_MAX_TURN_DEG = 65.0
_MAX_UNLIKE = 2.0
_WINDOW_UM = 4.0
_FAINT_END = 0.3
_OFF_AXIS = 0.8
_HAIRPIN_DEG = 100.0
_SQUASH = np.array([1.0 / AXIAL_STRETCH, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a dendrite between two branch points or ends.

    Parameters
    ----------
    points_zyx_um
        Voxel positions in order, shape (n, 3), um.
    strength
        Tube response at each, in noises, shape (n,).
    nodes
        Branch point at the first and at the last point; -1 for a free end.
    """

    points_zyx_um: Floats
    strength: Floats
    nodes: tuple[int, int]

    @property
    def length_um(self) -> float:
        """Length with the axial direction counted by the focus' elongation, um."""
        return _length(self.points_zyx_um * _SQUASH)

    @property
    def level(self) -> float:
        """Tube response that most of the piece exceeds, in noises."""
        return float(np.percentile(self.strength, 30))

    def level_near(self, end: int) -> float:
        """Tube response that most of the 5 um at an end exceed (0 first, 1 last), in noises."""
        away = np.linalg.norm((self.points_zyx_um - self.points_zyx_um[-end]) * _SQUASH, axis=1)
        return float(np.percentile(self.strength[away <= 5.0], 30))

    def outward(self, end: int) -> Floats:
        """Return the unit direction in which the piece would go on at an end (0 first, 1 last), axially squashed."""
        points = self.points_zyx_um if end else self.points_zyx_um[::-1]
        away = np.linalg.norm((points - points[-1]) * _SQUASH, axis=1)
        body = points[(away > 1.0) & (away < 6.0)]
        base = body.mean(axis=0) if len(body) else points[0]
        direction: Floats = (points[-1] - base) * _SQUASH
        return direction / max(float(np.linalg.norm(direction)), 1e-9)


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
    pieces = _pieces(find_ridges(stack))
    paths = [part for course in _courses(pieces) for part in _without_hairpins(_trimmed(_joined(course)))]
    paths = [p for p in paths if p.length_um >= 0.8 * min_length_um and p.level >= 1.5 * _LOW_NOISES]
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
    points = path.points_zyx_um * _SQUASH
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
    line = smoothed(resampled(points_zyx_um * _SQUASH, POINT_STEP_UM), 1.0)
    line = resampled(line, POINT_STEP_UM)
    stride = min(len(line) - 1, round(8.0 / POINT_STEP_UM))
    chords = np.linalg.norm(line[stride:] - line[:-stride], axis=1)
    return 1.0 - float(chords.mean() / (stride * _length(line) / (len(line) - 1)))


def _graph(ridge: Ridge, keep: NDArray[np.intp]) -> csr_array:
    """Join neighbouring voxels by edges that are cheap where the tube response is high."""
    number = np.full(int(np.prod(ridge.shape)), -1, np.int32)
    number[ridge.index[keep]] = np.arange(len(keep))
    zyx, strength = ridge.voxels(keep), ridge.strength[keep]
    step = np.array(ridge.voxel_um) * _SQUASH
    first, second, cost = [], [], []
    for offset in product((-1, 0, 1), repeat=3):
        if offset <= (0, 0, 0):
            continue
        there = zyx + np.array(offset)
        i = np.flatnonzero(((there >= 0) & (there < np.array(ridge.shape))).all(axis=1))
        j = number[np.ravel_multi_index(tuple(there[i].T), ridge.shape)]
        i, j = i[j >= 0], j[j >= 0]
        first.append(i)
        second.append(j)
        cost.append(np.linalg.norm(offset * step) / np.minimum(strength[i], strength[j]).astype(float) ** 2)
    edges = (np.concatenate(first), np.concatenate(second))
    return csr_array((np.concatenate(cost), edges), shape=(len(keep), len(keep)))


def _chains(graph: csr_array, points: Floats) -> list[NDArray[np.intp]]:
    """Cut the cheapest tree of each component into chains, the longest first; short side chains are dropped."""
    roots = _far_ends(graph)
    cost, parent, _ = csgraph.dijkstra(graph, directed=False, indices=roots, return_predecessors=True, min_only=True)
    step = np.linalg.norm((points - points[np.maximum(parent, 0)]) * _SQUASH, axis=1)
    step[parent < 0] = 0.0
    height, heir = np.zeros(len(points)), np.full(len(points), -1)
    for i in np.argsort(-cost, kind="stable"):
        p = parent[i]
        if p >= 0 and height[i] + step[i] > height[p]:
            height[p], heir[p] = height[i] + step[i], i
    heads = (parent < 0) | (heir[np.maximum(parent, 0)] != np.arange(len(points)))
    starts = np.flatnonzero(heads & (height + step >= TWIG_UM))
    chains = []
    for start in starts[np.argsort(-(height + step)[starts], kind="stable")]:
        chain, i = [], start
        while i >= 0:
            chain.append(i)
            i = heir[i]
        chains.append(np.array(chain, dtype=np.intp))
    return _distinct(chains, points)


def _distinct(chains: list[NDArray[np.intp]], points: Floats) -> list[NDArray[np.intp]]:
    """Drop what runs inside the tube of a longer chain; what leaves or reaches a tube is tied to the middle of it."""
    squashed = points * _SQUASH
    everywhere = cKDTree(squashed)
    owner = np.full(len(points), -1)
    kept: list[NDArray[np.intp]] = []
    for chain in chains:
        runs = [run for run in _free_runs(owner[chain]) if _length(squashed[chain[slice(*run)]]) >= TWIG_UM]
        for a, b in runs:
            before, after = owner[chain[max(a - 1, 0) : a]], owner[chain[b : b + 1]]
            kept.append(np.concatenate([before, chain[a:b], after]))
        for a, b in runs:
            balls = everywhere.query_ball_point(squashed[chain[a:b]], TUBE_UM, return_sorted=False)
            near = np.unique(np.concatenate(balls).astype(np.intp))
            near = near[owner[near] < 0]
            _, nearest = cKDTree(squashed[chain[a:b]]).query(squashed[near])
            owner[near] = chain[a:b][nearest]
    return kept


def _free_runs(owner: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the stretches (first, beyond last) of a chain that no chain owns."""
    edge = np.flatnonzero(np.diff(np.concatenate([[False], owner < 0, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edge.reshape(-1, 2)]


def _length(points: Floats) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _far_ends(graph: csr_array) -> NDArray[np.intp]:
    """Return one node a component that lies at one of its ends."""
    count, label = csgraph.connected_components(graph, directed=False)
    _, some = np.unique(label, return_index=True)
    cost = csgraph.dijkstra(graph, directed=False, indices=some, min_only=True)
    order = np.lexsort((cost, label))
    last = np.searchsorted(label[order], np.arange(count), side="right") - 1
    ends: NDArray[np.intp] = order[last]
    return ends


def _pieces(ridge: Ridge) -> list[Piece]:
    """Cut the tree of the ridge voxels at its forks."""
    keep = np.flatnonzero(ridge.strength >= _LOW_NOISES)
    if len(keep) < 2:
        return []
    points, strength = ridge.points_zyx_um(keep), ridge.strength[keep].astype(float)
    chains = _chains(_graph(ridge, keep), points)
    fork_of = _forks(chains, points)
    pieces = []
    for chain in chains:
        at = [0, *(k for k in range(1, len(chain) - 1) if chain[k] in fork_of), len(chain) - 1]
        for a, b in pairwise(at):
            nodes = (fork_of.get(int(chain[a]), -1), fork_of.get(int(chain[b]), -1))
            piece = Piece(points[chain[a : b + 1]], strength[chain[a : b + 1]], nodes)
            if nodes[0] != nodes[1] or piece.length_um > 2 * JUNCTION_UM:
                pieces.append(piece)
    return pieces


def _forks(chains: list[NDArray[np.intp]], points: Floats) -> dict[int, int]:
    """Give a number to each place where chains start on others; places closer than JUNCTION_UM are one."""
    inner = {int(i) for chain in chains for i in chain[1:-1]}
    tips = [int(i) for chain in chains for i in chain[[0, -1]]]
    at = sorted({i for i in tips if i in inner or tips.count(i) > 1})
    if not at:
        return {}
    pairs = cKDTree(points[at] * _SQUASH).query_pairs(JUNCTION_UM, output_type="ndarray")
    near = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(at), len(at)))
    _, label = csgraph.connected_components(near, directed=False)
    return dict(zip(at, label.tolist(), strict=True))


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
    tip = np.array([pieces[i].points_zyx_um[-e] for i, e in ends]) * _SQUASH
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
        With fewer than two waypoints, or a waypoint outside the stack.
    """
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
    ridge = find_ridges(stack)
    voxel, origin = np.array(ridge.voxel_um), np.array(ridge.origin_um)
    at = np.rint((waypoints - origin) / voxel).astype(int).clip(0, np.array(ridge.shape) - 1)
    low = (at.min(axis=0) - np.ceil(margin_um / voxel).astype(int)).clip(0)
    high = at.max(axis=0) + np.ceil(margin_um / voxel).astype(int) + 1
    strength = np.zeros(ridge.shape, np.float32)
    strength.ravel()[ridge.index] = ridge.strength
    box = strength[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    roads = MCP_Geometric(1.0 / (1.0 + box), sampling=tuple(voxel * _SQUASH))
    legs = [at[:1]]
    for here, there in pairwise(at):
        roads.find_costs([here - low], [there - low])
        legs.append(np.array(roads.traceback(there - low))[1:] + low)
    return _centred(stack, np.concatenate(legs) * voxel + origin)
