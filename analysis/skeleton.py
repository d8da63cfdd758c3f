"""Cut the voxels of a ridge into pieces: stretches of tube between forks and ends.

The voxels become a graph, its cheapest tree becomes chains, chains are cut where others start. The room below tracing:
it knows which voxels hang together, and deliberately nothing of which pieces make one dendrite.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph, csr_array
from scipy.spatial import cKDTree

from analysis.model import Floats
from analysis.ridge import AXIAL_STRETCH, Ridge

TWIG_UM = 5.0
"""Side chains shorter than this are spines or roughness of the shaft, um (spines: 0.5-4 um)."""
TUBE_UM = 1.5
"""Chains that run closer together than this are one shaft, um."""
JUNCTION_UM = 2.5
"""Forks closer together than this are one branch point, um."""
LOW_NOISES = 8.0
"""Tube response of the voxels that are followed, in noises of the background."""
SQUASH = np.array([1.0 / AXIAL_STRETCH, 1.0, 1.0])
"""Points are compared with depth divided by the elongation of the focus: (z, y, x) factors."""


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
        return length_of(self.points_zyx_um * SQUASH)

    @property
    def level(self) -> float:
        """Tube response that most of the piece exceeds, in noises."""
        return float(np.percentile(self.strength, 30))

    def level_near(self, end: int) -> float:
        """Tube response that most of the 5 um at an end exceed (0 first, 1 last), in noises."""
        away = np.linalg.norm((self.points_zyx_um - self.points_zyx_um[-end]) * SQUASH, axis=1)
        return float(np.percentile(self.strength[away <= 5.0], 30))

    def outward(self, end: int) -> Floats:
        """Return the unit direction in which the piece would go on at an end (0 first, 1 last), axially squashed."""
        points = self.points_zyx_um if end else self.points_zyx_um[::-1]
        away = np.linalg.norm((points - points[-1]) * SQUASH, axis=1)
        body = points[(away > 1.0) & (away < 6.0)]
        base = body.mean(axis=0) if len(body) else points[0]
        direction: Floats = (points[-1] - base) * SQUASH
        return direction / max(float(np.linalg.norm(direction)), 1e-9)


def find_pieces(ridge: Ridge) -> list[Piece]:
    """Cut the tree of the ridge voxels at its forks."""
    keep = np.flatnonzero(ridge.strength >= LOW_NOISES)
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


def _graph(ridge: Ridge, keep: NDArray[np.intp]) -> csr_array:
    """Join neighbouring voxels by edges that are cheap where the tube response is high."""
    number = np.full(np.array(ridge.shape) + 2, -1, np.int32)  # with a rim: every voxel has all its neighbours
    strides = np.array(number.strides) // number.itemsize
    here, strength = (ridge.voxels(keep) + 1) @ strides, ridge.strength[keep].astype(float)
    number.ravel()[here] = np.arange(len(keep))
    step = np.array(ridge.voxel_um) * SQUASH
    first, second, cost = [], [], []
    for offset in product((-1, 0, 1), repeat=3):
        if offset <= (0, 0, 0):
            continue
        j = number.ravel()[here + offset @ strides]
        i = np.flatnonzero(j >= 0)
        j = j[i]
        first.append(i)
        second.append(j)
        cost.append(np.linalg.norm(offset * step) / np.minimum(strength[i], strength[j]) ** 2)
    edges = (np.concatenate(first), np.concatenate(second))
    return csr_array((np.concatenate(cost), edges), shape=(len(keep), len(keep)))


def _chains(graph: csr_array, points: Floats) -> list[NDArray[np.intp]]:
    """Cut the cheapest tree of each component into chains, the longest first; short side chains are dropped."""
    roots = _far_ends(graph)
    cost, parent, _ = csgraph.dijkstra(graph, directed=False, indices=roots, return_predecessors=True, min_only=True)
    step = np.linalg.norm((points - points[np.maximum(parent, 0)]) * SQUASH, axis=1)
    step[parent < 0] = 0.0
    height, heir = _heirs(np.argsort(-cost, kind="stable").tolist(), parent.tolist(), step.tolist())
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


def _heirs(farthest_first: list[int], parent: list[int], step: list[float]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the length of the longest way outwards from each point, and the next point on it, -1 at an end."""
    height, heir = [0.0] * len(parent), [-1] * len(parent)
    for i in farthest_first:
        p = parent[i]
        if p >= 0 and height[i] + step[i] > height[p]:
            height[p], heir[p] = height[i] + step[i], i
    return np.array(height), np.array(heir, dtype=np.intp)


def _distinct(chains: list[NDArray[np.intp]], points: Floats) -> list[NDArray[np.intp]]:
    """Drop what runs inside the tube of a longer chain; what leaves or reaches a tube is tied to the middle of it."""
    squashed = points * SQUASH
    everywhere = cKDTree(squashed)
    owner = np.full(len(points), -1)
    kept: list[NDArray[np.intp]] = []
    for chain in chains:
        runs = [run for run in _free_runs(owner[chain]) if length_of(squashed[chain[slice(*run)]]) >= TWIG_UM]
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


def length_of(points: Floats) -> float:
    """Return the length of a line of points, in their unit."""
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


def _forks(chains: list[NDArray[np.intp]], points: Floats) -> dict[int, int]:
    """Give a number to each place where chains start on others; places closer than JUNCTION_UM are one."""
    inner = {int(i) for chain in chains for i in chain[1:-1]}
    tips = [int(i) for chain in chains for i in chain[[0, -1]]]
    at = sorted({i for i in tips if i in inner or tips.count(i) > 1})
    if not at:
        return {}
    pairs = cKDTree(points[at] * SQUASH).query_pairs(JUNCTION_UM, output_type="ndarray")
    near = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(at), len(at)))
    _, label = csgraph.connected_components(near, directed=False)
    return dict(zip(at, label.tolist(), strict=True))
