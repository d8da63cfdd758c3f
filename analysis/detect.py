"""Spines of one dendrite in one stack.

Candidates are the places beside the shaft where a head-sized spot stands out (:mod:`analysis.evidence`); each is
given a probability, the best of those too close together stays, and its head, foot, length and kind are measured.
Whether a doubtful one is believed may also depend on the other sessions: that is not decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from analysis.evidence import Evidence
from analysis.learned import SpineMap
from analysis.model import Dendrite, Floats, SpineKind
from analysis.protrusion import ProtrusionRules, measure_protrusion
from analysis.straighten import AXIAL_TO_LATERAL, StraightenedDendrite

NEAREST_HEAD_UM = 0.5  # from the centreline: closer, a spine cannot be told from the shaft
FARTHEST_HEAD_UM = 3.6
SEPARATION_UM = 0.6  # two heads closer than this sideways are one (spines stand 0.85 um apart at the 5th percentile)
SEPARATION_DEPTH_UM = 3.0
NECK_UM = 0.5  # a spot this much closer to the shaft than a head, on its way to the foot, is its neck
NECK_HALF_WIDTH_UM = 0.4
LEAST_PROBABILITY = 0.4  # half of the F1 that is reached: there F1 is largest, when probabilities mean what they say
FAINTEST = -5.0  # log-odds: less is no spine whatever the other sessions say
PEAK_REACH_UM = (0.24, 0.24, 1.5)


class Side(StrEnum):
    """On which side of the dendrite a spine stands, looking along it at the displayed image."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, eq=False)
class Spine:
    """One protrusion seen in one stack.

    Parameters
    ----------
    dendrite
        Name of the dendrite that it stands on.
    head_zyx_um, base_zyx_um
        Centre of the head, and the foot on the shaft's centreline, shape (3,), um in the stack frame.
    place_um
        The head in the dendrite frame: along, across, depth, shape (3,), um.
    foot_along_um
        Where the foot stands on the dendrite, um.
    length_um
        From the shaft's edge to the tip, um.
    side
        Left or right of the dendrite.
    kind
        Shape class.
    counts
        Whether it is long enough to be counted as a protrusion.
    probability
        That it is a spine, by this stack alone.
    """

    dendrite: int
    head_zyx_um: Floats
    base_zyx_um: Floats
    place_um: Floats
    foot_along_um: float
    length_um: float
    side: Side
    kind: SpineKind
    counts: bool
    probability: float


def detect_spines(
    evidence: Evidence,
    *,
    others: Sequence[Dendrite] = (),
    least_probability: float = LEAST_PROBABILITY,
    rules: ProtrusionRules | None = None,
) -> list[Spine]:
    """Find the spines of one straightened dendrite, in the order in which they stand along it.

    Parameters
    ----------
    evidence
        The dendrite's maps.
    others
        The other dendrites of the stack: what is nearer to one of them is left to it.
    least_probability
        Candidates below this are not returned.
    rules
        What counts as a protrusion and how kinds are told apart.
    """
    places = find_peaks(evidence)
    places = places[_is_ours(evidence.straightened, places, others)]
    probability = 1.0 / (1.0 + np.exp(-evidence.log_odds(places)))
    likely = probability >= least_probability
    places, probability = places[likely], probability[likely]
    kept = best_apart(evidence.straightened.stack_from_dendrite(places), probability)
    rules = rules or ProtrusionRules()
    spines = [measure_spine(evidence, places[i], float(probability[i]), rules) for i in kept]
    counted = [spine for spine in spines if spine.counts]
    heads = [spine for spine in counted if not any(_is_neck_of(spine, other) for other in counted)]
    return sorted(heads, key=lambda spine: float(spine.place_um[0]))


def best_apart(heads_zyx_um: Floats, probability: Floats) -> list[int]:
    """Return the indices of the candidates that stay when each outdoes the weaker ones that stand too close to it."""
    kept: list[int] = []
    for i in np.argsort(-probability, kind="stable"):
        away = np.abs(heads_zyx_um[kept] - heads_zyx_um[i])
        if not np.any((np.hypot(away[:, 1], away[:, 2]) < SEPARATION_UM) & (away[:, 0] < SEPARATION_DEPTH_UM)):
            kept.append(int(i))
    return kept


def _is_neck_of(inner: Spine, outer: Spine) -> bool:
    """Whether one spine is only the neck of another, whose head stands farther out."""
    farther = abs(outer.place_um[1]) - abs(inner.place_um[1]) >= NECK_UM
    believed = outer.probability >= min(inner.probability, LEAST_PROBABILITY)
    if inner.side != outer.side or not (farther and believed):
        return False
    share = inner.place_um[1] / outer.place_um[1]
    neck = outer.foot_along_um + share * (outer.place_um[0] - outer.foot_along_um)
    return bool(abs(inner.place_um[0] - neck) < NECK_HALF_WIDTH_UM)


def find_peaks(evidence: Evidence) -> Floats:
    """Return where heads may be beside the shaft, however doubtful: (along, across, depth), um, shape (n, 3)."""
    straightened = evidence.straightened
    if evidence.learned is not None:
        return _learned_peaks(straightened, evidence.learned)
    size = [2 * round(reach / step) + 1 for reach, step in zip(PEAK_REACH_UM, straightened.steps_um, strict=True)]
    top = (maximum_filter(evidence.contrast, size=size) == evidence.contrast) & (evidence.contrast > 0)
    places = straightened.point_at(np.argwhere(top & straightened.inside))
    distance, depth = np.abs(places[:, 1]), np.abs(places[:, 2])
    deepest = straightened.depth_um[-1] - straightened.steps_um[2]
    chosen: Floats = places[(distance > NEAREST_HEAD_UM) & (distance < FARTHEST_HEAD_UM) & (depth < deepest)]
    return chosen


def _learned_peaks(straightened: StraightenedDendrite, learned: SpineMap) -> Floats:
    """Return the places of which the network is surer than of their surroundings."""
    index = learned.peaks(straightened.steps_um[:2])
    deepest = straightened.depth_um[-1] - straightened.steps_um[2]
    depth_um = np.clip(learned.depth_um[tuple(index.T)], -deepest, deepest)
    level = np.rint((depth_um - straightened.depth_um[0]) / straightened.steps_um[2]).astype(int)
    places = np.column_stack([straightened.along_um[index[:, 0]], straightened.across_um[index[:, 1]], depth_um])
    seen = straightened.inside[index[:, 0], index[:, 1], level] & (np.abs(places[:, 1]) < FARTHEST_HEAD_UM)
    chosen: Floats = places[seen & (learned.log_odds[tuple(index.T)] > FAINTEST)]
    return chosen


def _is_ours(straightened: StraightenedDendrite, places: Floats, others: Sequence[Dendrite]) -> NDArray[np.bool_]:
    """Whether no other dendrite is nearer to each place than this one."""
    if not others or not len(places):
        return np.ones(len(places), dtype=bool)
    scale = np.array([1.0 / AXIAL_TO_LATERAL, 1.0, 1.0])
    rivals = np.concatenate([other.points_zyx_um for other in others]) * scale
    away, _ = cKDTree(rivals).query(straightened.stack_from_dendrite(places) * scale)
    ours: NDArray[np.bool_] = away > np.hypot(places[:, 1], places[:, 2] / AXIAL_TO_LATERAL)
    return ours


def measure_spine(evidence: Evidence, place_um: Floats, probability: float, rules: ProtrusionRules) -> Spine:
    """Describe the spine whose head stands at a place (along, across, depth), shape (3,), um."""
    shape = measure_protrusion(evidence, place_um)
    head, base = evidence.straightened.stack_from_dendrite(np.stack([place_um, shape.foot_um]))
    return Spine(
        dendrite=evidence.straightened.dendrite.name,
        head_zyx_um=head,
        base_zyx_um=base,
        place_um=place_um,
        foot_along_um=float(shape.foot_um[0]),
        length_um=shape.length_um,
        side=Side.LEFT if place_um[1] > 0 else Side.RIGHT,
        kind=shape.kind(rules),
        counts=shape.counts(rules),
        probability=probability,
    )
