"""The shape of one protrusion whose head is known: its foot, length, widths and kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.evidence import Evidence
from analysis.model import Floats, SpineKind

FOOT_REACH_UM = 1.2  # how far along the shaft a slanting neck's foot is looked for
FOOT_STEP_UM = 0.15
WIDTH_REACH_UM = 1.0
WIDTH_STEP_UM = 0.06


@dataclass(frozen=True)
class ProtrusionRules:
    """When a protrusion counts and what it is called (Fu et al. 2012; a laboratory may differ).

    Parameters
    ----------
    minimum_length_to_shaft_diameter
        A protrusion counts when it is longer than this share of the shaft's diameter.
    filopodium_head_to_neck, filopodium_length_to_neck
        A filopodium has a head narrower than this many neck widths and is longer than that many.
    stubby_length_to_head
        A stubby spine is shorter than this many head widths: it has no neck.
    """

    minimum_length_to_shaft_diameter: float = 1.0 / 3.0
    filopodium_head_to_neck: float = 1.2
    filopodium_length_to_neck: float = 3.0
    stubby_length_to_head: float = 1.0


@dataclass(frozen=True, eq=False)
class Protrusion:
    """Measures of one protrusion.

    Parameters
    ----------
    foot_um
        Where its axis meets the centreline: along, across (0) and depth (0), shape (3,), um.
    length_um
        From the shaft's edge to the tip, um; not below 0.
    head_width_um, neck_width_um
        Full widths at half maximum across the protrusion's axis, um, the microscope's blur included.
    shaft_diameter_um
        Of the dendrite there, um.
    """

    foot_um: Floats
    length_um: float
    head_width_um: float
    neck_width_um: float
    shaft_diameter_um: float

    def counts(self, rules: ProtrusionRules) -> bool:
        """Whether it is long enough to be counted."""
        return self.length_um > rules.minimum_length_to_shaft_diameter * self.shaft_diameter_um

    def kind(self, rules: ProtrusionRules) -> SpineKind:
        """Name its shape."""
        long_and_thin = self.length_um > rules.filopodium_length_to_neck * self.neck_width_um
        if long_and_thin and self.head_width_um < rules.filopodium_head_to_neck * self.neck_width_um:
            return SpineKind.FILOPODIUM
        if self.length_um < rules.stubby_length_to_head * self.head_width_um:
            return SpineKind.STUBBY
        return SpineKind.SPINE


def measure_protrusion(evidence: Evidence, place_um: Floats) -> Protrusion:
    """Measure the protrusion whose head stands at ``place_um`` (along, across, depth), shape (3,)."""
    dendrite = evidence.straightened.dendrite
    radius = float(np.interp(place_um[0], dendrite.along_um, dendrite.radius_um))
    foot = _foot(evidence, place_um, radius)
    reach = float(np.hypot(place_um[0] - foot[0], place_um[1]))
    head_width = _width(evidence, place_um, place_um - foot)
    gap = float(np.clip(0.5 * (radius + reach - 0.5 * head_width) / max(reach, 1e-6), 0.0, 1.0))
    neck_width = _width(evidence, foot + gap * (place_um - foot), place_um - foot)
    length = max(0.0, reach + 0.5 * head_width - radius)
    return Protrusion(foot, length, head_width, neck_width, 2.0 * radius)


def _foot(evidence: Evidence, place_um: Floats, radius_um: float) -> Floats:
    """Find the straight neck that keeps most light on its way from the head to the shaft's edge."""
    count = round(FOOT_REACH_UM / FOOT_STEP_UM)
    along = place_um[0] + np.arange(-count, count + 1) * FOOT_STEP_UM
    feet = np.stack([along, np.zeros_like(along), np.zeros_like(along)], axis=1)
    edge = min(1.0, radius_um / max(abs(place_um[1]), 1e-6))
    shares = np.linspace(edge, 1.0, 7)[:, None, None]
    ways = feet + shares * (place_um - feet)
    light = evidence.at(evidence.head, ways.reshape(-1, 3)).reshape(7, -1).mean(axis=0)
    slant = np.hypot(along - place_um[0], place_um[1]) / max(abs(place_um[1]), 1e-6) + 1e-6
    foot: Floats = feet[int(np.argmax(light / slant))]
    inside = evidence.straightened.along_um
    foot[0] = np.clip(foot[0], inside[0], inside[-1])
    return foot


def _width(evidence: Evidence, place_um: Floats, axis_um: Floats) -> float:
    """Full width at half maximum through a place, across an axis in the image plane, um."""
    across = np.array([-axis_um[1], axis_um[0], 0.0]) / max(float(np.hypot(axis_um[0], axis_um[1])), 1e-6)
    count = round(WIDTH_REACH_UM / WIDTH_STEP_UM)
    offsets = np.arange(-count, count + 1) * WIDTH_STEP_UM
    line = evidence.at(evidence.left, place_um + offsets[:, None] * across)
    middle = slice(count - 4, count + 5)
    peak = count - 4 + int(np.argmax(line[middle]))
    below = line < 0.5 * line[peak]
    after, before = np.flatnonzero(below[peak:]), np.flatnonzero(below[peak::-1])
    steps = (after[0] if len(after) else count) + (before[0] if len(before) else count)
    return float(max(1, steps - 1) * WIDTH_STEP_UM)
