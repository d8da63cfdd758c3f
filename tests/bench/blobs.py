"""What is commonly done instead: blobs beside the trace, the nearest neighbour after one translation, fates one by one.

Blobs are scikit-image's differences of Gaussians, as bright as a share of the shaft; which share, is chosen elsewhere.
Sessions know nothing of each other but where the nearest blob lies: what has no neighbour came or went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from baselines import correlate_projections
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from skimage.feature import blob_dog

from analysis.detect import FARTHEST_HEAD_UM, NEAREST_HEAD_UM, best_apart
from analysis.match import MATCH_GATE_UM
from analysis.model import Dendrite, Floats, SpineState, Stack
from analysis.presence import Presence
from analysis.tables import TRACK_COLUMNS, make_table

SIGMA_UM = np.array([0.6, 0.2, 0.2])  # a head of 0.5 um, blurred by the microscope
SIGMA_RATIO = 1.6
DEPTH_UM = 3.0  # a blob deeper above or below the trace than this is not beside it
DEPTH_TO_SIDEWAYS = 3.0
TRANSLATED_WITHIN_UM = 3.0
THRESHOLDS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22, 0.27)
"""Differences of Gaussians over the brightness of the shaft, of which the best is chosen."""


@dataclass(frozen=True, eq=False)
class Independent:
    """What the sessions of a field show when each is looked at alone; the shape of :class:`FieldAnalysis`.

    Parameters
    ----------
    tracks
        One row an observed spine.
    dendrites
        The lines beside which it was looked.
    presence
        One where a track was seen, zero elsewhere; row ``track_id``, column session.
    """

    tracks: pd.DataFrame
    dendrites: pd.DataFrame
    presence: Presence


def find_blobs(stack: Stack, dendrites: Sequence[Dendrite]) -> tuple[Floats, Floats]:
    """Return the heads, shape (n, 3), um, of all blobs beside the dendrites, and their strengths, strongest first."""
    if not dendrites:
        return np.zeros((0, 3)), np.zeros(0)
    line = np.concatenate([dendrite.points_zyx_um for dendrite in dendrites])
    voxel = np.array(stack.voxel_um)
    reach = (np.array([DEPTH_UM, FARTHEST_HEAD_UM, FARTHEST_HEAD_UM]) + 3 * SIGMA_UM * SIGMA_RATIO) / voxel
    low = np.maximum(np.floor(line.min(axis=0) / voxel - reach), 0).astype(int)
    high = np.ceil(line.max(axis=0) / voxel + reach).astype(int) + 1
    pixels = stack.pixels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    background = np.median(pixels)
    shaft = np.median(map_coordinates(pixels, (line / voxel - low).T, order=1, mode="nearest")) - background
    scaled = (pixels - background) / np.float32(max(shaft, 1e-6))
    sigma = SIGMA_UM / voxel
    options = {"threshold": THRESHOLDS[0], "overlap": 1.0, "sigma_ratio": SIGMA_RATIO}
    found = blob_dog(scaled, min_sigma=sigma, max_sigma=SIGMA_RATIO * sigma, **options)
    heads = (found[:, :3] + low) * voxel
    beside = _is_beside(heads, line)
    heads, strength = heads[beside], _strength(scaled, found[beside])
    kept = best_apart(heads, strength)
    return heads[kept], strength[kept]


def link_nearest(stacks: Sequence[Stack], heads_um: Sequence[Floats], dendrites: pd.DataFrame) -> Independent:
    """Join the heads of consecutive sessions that are nearest to each other after the best translation."""
    tracks, rows, count = [np.arange(len(heads_um[0]))], [], len(heads_um[0])
    for before, after in zip(range(len(stacks)), range(1, len(stacks)), strict=False):
        start = correlate_projections(stacks[before], stacks[after]).apply(np.zeros(3))
        pairs = _nearest_pairs(heads_um[before], heads_um[after] + _translation(heads_um, before, after, start))
        names = np.full(len(heads_um[after]), -1)
        names[pairs[:, 1]] = tracks[before][pairs[:, 0]]
        fresh = np.flatnonzero(names < 0)
        names[fresh] = count + np.arange(len(fresh))
        count += len(fresh)
        tracks.append(names)
    seen = np.zeros((count, len(stacks)))
    for session, (names, heads) in enumerate(zip(tracks, heads_um, strict=True)):
        seen[names, session] = 1.0
        rows += [
            (session, int(name), *head, SpineState.PRESENT, 1.0)
            for name, head in zip(names, heads.tolist(), strict=True)
        ]
    state = np.where(seen > 0, SpineState.PRESENT, SpineState.ABSENT).astype(object)
    return Independent(make_table(rows, TRACK_COLUMNS), dendrites, Presence(seen, state))


def as_strong(found: Sequence[tuple[Floats, Floats]], threshold: float) -> list[Floats]:
    """Return the heads of every session's blobs that are at least so strong."""
    return [heads[strength >= threshold] for heads, strength in found]


def _strength(scaled: np.ndarray, blobs: Floats) -> Floats:
    """Return the difference of Gaussians at the middle of each blob, at its own size, from the pixels around it."""
    strengths = np.zeros(len(blobs))
    for i, (z, y, x, *sigma) in enumerate(blobs):
        inner, outer = (_mean_around(scaled, (z, y, x), np.array(sigma) * ratio) for ratio in (1.0, SIGMA_RATIO))
        strengths[i] = (inner - outer) / (SIGMA_RATIO - 1)
    return strengths


def _mean_around(image: np.ndarray, centre: tuple[float, float, float], sigma: Floats) -> float:
    """Return the Gaussian mean of the pixels about a voxel."""
    reach = np.ceil(3 * sigma).astype(int)
    axes = [np.arange(int(c) - r, int(c) + r + 1) for c, r in zip(centre, reach, strict=True)]
    weights = [np.exp(-0.5 * ((axis - c) / s) ** 2) for axis, c, s in zip(axes, centre, sigma, strict=True)]
    inside = [np.clip(axis, 0, n - 1) for axis, n in zip(axes, image.shape, strict=True)]
    part = image[np.ix_(*inside)]
    total = np.einsum("zyx,z,y,x->", part, *weights)
    return float(total / np.prod([w.sum() for w in weights]))


def _is_beside(heads_um: Floats, line_um: Floats) -> np.ndarray:
    scale = np.array([1.0 / DEPTH_TO_SIDEWAYS, 1.0, 1.0])
    _, nearest = cKDTree(line_um * scale).query(heads_um * scale)
    away = np.abs(heads_um - line_um[nearest])
    sideways = np.hypot(away[:, 1], away[:, 2])
    return (sideways > NEAREST_HEAD_UM) & (sideways < FARTHEST_HEAD_UM) & (away[:, 0] <= DEPTH_UM)


def _translation(heads_um: Sequence[Floats], before: int, after: int, start_um: Floats) -> Floats:
    """Return the shift of ``after`` that lays it best on ``before``: from a first guess to the median of the pairs."""
    shift = np.asarray(start_um, dtype=float)
    for _ in range(5):
        pairs = _nearest_pairs(heads_um[before], heads_um[after] + shift, TRANSLATED_WITHIN_UM)
        if len(pairs):
            shift = shift + np.median(heads_um[before][pairs[:, 0]] - heads_um[after][pairs[:, 1]] - shift, axis=0)
    return shift


def _nearest_pairs(first_um: Floats, second_um: Floats, gate_um: float = MATCH_GATE_UM) -> np.ndarray:
    """Return the pairs of points that are nearest to each other, shape (k, 2)."""
    if not len(first_um) or not len(second_um):
        return np.zeros((0, 2), dtype=int)
    scale = np.array([1.0 / DEPTH_TO_SIDEWAYS, 1.0, 1.0])
    away, there = cKDTree(second_um * scale).query(first_um * scale)
    _, back = cKDTree(first_um * scale).query(second_um * scale)
    ours = np.arange(len(first_um))
    mutual = (back[there] == ours) & (away <= gate_um)
    return np.stack([ours[mutual], there[mutual]], axis=1)
