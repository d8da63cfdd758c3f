"""Head size relative to the shaft: what stands for the strength of the synapse.

(sum over the head - background) / (mean of the spine-free shaft nearby - background), in the same planes. Both are of
the same stack and the same place, so that power, gain and depth drop out. The head's background is the light of the
bare dendrite at that distance from its centre: the shaft's glow is no part of the head.

The standard deviation of a ratio is that between two views of one spine on one day: the stack's noise in the head, in
its background and in the shaft, and what the head's light changes when its place is mistaken by as much as it may be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.evidence import DEPTH_SIGMA_UM, Evidence
from analysis.model import Floats
from analysis.noise import Noise

HEAD_RADIUS_UM = 0.45
HALF_DEPTH_UM = 1.0
SHAFT_WITHIN_UM = 4.0  # the study asks for 3-5 um
SPINE_HALF_WIDTH_UM = 0.5
CLIPPED_SHARE = 0.02
PLACE_SD_UM = (0.1, 0.1, 0.3)  # along, across, depth
BACKGROUND_NOISE = 1.2  # the background is read off the dendrite nearby, a stretch five times as long as the head
LIGHT_DEPTH_UM = float(np.sqrt(4 * HALF_DEPTH_UM**2 + 4 * np.pi * DEPTH_SIGMA_UM**2))  # the light was smoothed before


@dataclass(frozen=True, eq=False)
class HeadSizes:
    """Sizes of the heads of one dendrite in one stack.

    Parameters
    ----------
    ratio
        Head size ratio, um2 (the head's light summed over the area, per unit of shaft brightness), shape (n,).
    sd
        Its standard deviation, um2, shape (n,).
    is_saturated
        Whether the detector clipped in the head or in the shaft it is compared with, shape (n,): the ratio is then
        too small or too large.
    """

    ratio: Floats
    sd: Floats
    is_saturated: NDArray[np.bool_]


def measure_head_sizes(
    evidence: Evidence,
    places_um: ArrayLike,
    *,
    saturation: float | None = None,
    noise: Noise | None = None,
    shaft_within_um: float = SHAFT_WITHIN_UM,
) -> HeadSizes:
    """Measure every head of one dendrite.

    Parameters
    ----------
    evidence
        The dendrite's maps.
    places_um
        Heads of all its spines, (along, across, depth), shape (n, 3), um: the shaft is measured away from them.
    saturation
        Intensity at which the detector clips.
    noise
        Noise of the stack; without it only the places are uncertain.
    shaft_within_um
        How far along the dendrite the shaft that a head is compared with may lie, um.
    """
    places = np.asarray(places_um, dtype=float).reshape(-1, 3)
    ratio, sd, clipped = np.zeros(len(places)), np.zeros(len(places)), np.zeros(len(places), dtype=bool)
    bare = _is_bare(evidence.straightened.along_um, places)
    for i, place in enumerate(places):
        reach_um = max(shaft_within_um, HEAD_RADIUS_UM)
        ends = np.searchsorted(evidence.straightened.along_um, (place[0] - reach_um, place[0] + reach_um))
        near = slice(int(ends[0]), int(ends[1]) + 1)
        volume = evidence.straightened.volume[near]
        shaft = _shaft(evidence, place, bare, near)
        of_head, of_shaft = volume[_head(evidence, place, near)], volume[shaft]
        mean = float(of_shaft.mean())
        brightness = max(mean - evidence.background, 1e-6)
        light = _light(evidence, place)
        ratio[i] = max(0.0, light) / brightness
        variance = _variance_of_place(evidence, place, light)
        if noise is not None and of_head.size:
            variance += _variance_of_light(float(of_head.mean()), noise)
            variance += ratio[i] ** 2 * _variance_of_shaft(evidence, mean, shaft, noise)
        sd[i] = np.sqrt(variance) / brightness
        if saturation is not None:
            clipped[i] = max((part >= saturation).mean() for part in (of_head, of_shaft)) > CLIPPED_SHARE
    return HeadSizes(ratio, sd, clipped)


def _light(evidence: Evidence, place: Floats) -> float:
    """Return the light of the head at a place, summed over its area, the mean of its planes."""
    s = evidence.straightened
    first, beyond = np.searchsorted(s.along_um, (place[0] - HEAD_RADIUS_UM, place[0] + HEAD_RADIUS_UM))
    near = slice(max(0, int(first) - 1), int(beyond) + 1)
    planes = _planes(evidence, place)
    light = evidence.left[near][_area(evidence, place, near)][:, planes]
    return float(light.sum()) * s.steps_um[0] * s.steps_um[1] / max(1, int(planes.sum()))


def _variance_of_place(evidence: Evidence, place: Floats, light: float) -> float:
    """Return how much the head's light varies when its place is mistaken, each way along each axis."""
    steps = np.diag(PLACE_SD_UM)
    return sum(0.5 * (_light(evidence, place + way * step) - light) ** 2 for step in steps for way in (-1.0, 1.0))


def _variance_of_light(intensity: float, noise: Noise) -> float:
    """Return what the noise in the head and in its background adds to the head's light."""
    area_um2 = np.pi * HEAD_RADIUS_UM**2
    return BACKGROUND_NOISE * area_um2**2 * noise.variance_of_mean(intensity, area_um2, LIGHT_DEPTH_UM)


def _variance_of_shaft(evidence: Evidence, mean: float, shaft: NDArray[np.bool_], noise: Noise) -> float:
    """Return what the noise adds to the brightness of the shaft."""
    if not shaft.any():
        return 0.0
    step, across_step, _ = evidence.straightened.steps_um
    area_um2 = float(shaft.any(axis=2).sum()) * step * across_step
    return noise.variance_of_mean(mean, area_um2, 2 * HALF_DEPTH_UM)


def _is_bare(along_um: Floats, places: Floats) -> NDArray[np.bool_]:
    if not len(places):
        return np.ones(len(along_um), dtype=bool)
    bare: NDArray[np.bool_] = np.abs(along_um[:, None] - places[:, 0]).min(axis=1) > SPINE_HALF_WIDTH_UM
    return bare


def _head(evidence: Evidence, place: Floats, near: slice) -> NDArray[np.bool_]:
    """Mark the cylinder around the head in a stretch of the dendrite."""
    head: NDArray[np.bool_] = _area(evidence, place, near)[:, :, None] & _planes(evidence, place)
    return head


def _area(evidence: Evidence, place: Floats, near: slice) -> NDArray[np.bool_]:
    """Mark the area of the head, along and across, in a stretch of the dendrite."""
    s = evidence.straightened
    area: NDArray[np.bool_] = np.hypot(s.along_um[near, None] - place[0], s.across_um - place[1]) <= HEAD_RADIUS_UM
    return area


def _shaft(evidence: Evidence, place: Floats, bare: NDArray[np.bool_], near: slice) -> NDArray[np.bool_]:
    """Mark the shaft's core nearby, away from spines; all of it where spines leave nothing bare."""
    s = evidence.straightened
    along = bare[near] if bare[near].any() else np.ones_like(bare[near])
    radius = float(np.interp(place[0], s.dendrite.along_um, s.dendrite.radius_um))
    core = np.abs(s.across_um) <= max(0.5 * radius, s.steps_um[1])
    shaft: NDArray[np.bool_] = along[:, None, None] & core[None, :, None] & _planes(evidence, place)
    return shaft


def _planes(evidence: Evidence, place: Floats) -> NDArray[np.bool_]:
    """Mark the planes of the head, the same for head and shaft."""
    depth = evidence.straightened.depth_um
    centre = np.clip(place[2], depth[0], depth[-1])
    planes: NDArray[np.bool_] = np.abs(depth - centre) <= HALF_DEPTH_UM
    return planes
