"""One dendrite in every session of its field: the same point is the same place in each.

Lines found in any session are carried to all others elastically and centred there. Places beside the dendrite are
carried by its frame: along by the point's number, across and in depth as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from analysis.centreline import is_within, recentre
from analysis.elastic import register_dendrite
from analysis.errors import StackError
from analysis.model import Dendrite, Floats, Stack, Transform
from analysis.straighten import AXIAL_TO_LATERAL

KNOWN_WITHIN_UM = 3.0  # a line this close to a known dendrite is that dendrite
LEAST_NEW_UM = 15.0
RECENTRE_UM = 0.8  # the elastic step leaves less than this
RECENTRE_DEPTH_UM = 1.5


@dataclass(frozen=True, eq=False)
class CarriedDendrite:
    """A dendrite and where it lies in every session.

    Parameters
    ----------
    dendrites
        Its centreline in each session's own stack frame, with the same number n of points.
    correlation
        How well its surroundings in each session fit those where it was traced, shape (sessions, n), -1 to 1.
    """

    dendrites: tuple[Dendrite, ...]
    correlation: Floats

    @property
    def name(self) -> int:
        """Its number."""
        return self.dendrites[0].name

    @property
    def reference(self) -> Dendrite:
        """Its line in the reference stack, which gives the common ``along``."""
        return self.dendrites[0]

    def to_reference(self, session: int, places_um: Floats) -> Floats:
        """Map (along, across, depth) of one session to the same of the reference, shape (n, 3), um."""
        return _with_along(places_um, self.dendrites[session].along_um, self.reference.along_um)

    def from_reference(self, session: int, places_um: Floats) -> Floats:
        """Map (along, across, depth) of the reference to the same of one session, shape (n, 3), um."""
        return _with_along(places_um, self.reference.along_um, self.dendrites[session].along_um)

    def correlation_at(self, session: int, along_um: float) -> float:
        """Return how well the session fits at a place of the reference line."""
        return float(np.interp(along_um, self.reference.along_um, self.correlation[session]))


def refuse_outside(stack: Stack, dendrites: Sequence[Dendrite]) -> None:
    """Raise StackError when no point of any dendrite lies in the stack."""
    if not any(is_within(stack, dendrite.points_zyx_um).any() for dendrite in dendrites):
        points = np.concatenate([np.empty((0, 3)), *(dendrite.points_zyx_um for dendrite in dendrites)])
        low, high, extent = (
            " x ".join(f"{value:.4g}" for value in values)
            for values in (points.min(axis=0), points.max(axis=0), stack.extent_zyx_um)
        )
        raise StackError(
            f"All given dendrites lie outside {stack.name}: points from {low} to {high} um, the stack ends at "
            f"{extent} um (z, y, x). Give them in um from the centre of the first voxel, not in pixels."
        )


def carry_dendrite(
    stacks: Sequence[Stack], home: int, dendrite: Dendrite, reference_from_session: Sequence[Transform]
) -> CarriedDendrite:
    """Find a dendrite of session ``home`` in all sessions."""
    (carried,) = carry_dendrites(stacks, home, [dendrite], reference_from_session)
    return carried


def carry_dendrites(
    stacks: Sequence[Stack], home: int, dendrites: Sequence[Dendrite], reference_from_session: Sequence[Transform]
) -> list[CarriedDendrite]:
    """Find dendrites of session ``home`` in all sessions, session by session: few stacks are open at a time."""
    seen = []
    for session, stack in enumerate(stacks):
        if session == home:
            seen.append([(dendrite, np.ones(len(dendrite.points_zyx_um))) for dendrite in dendrites])
            continue
        today_from_home = reference_from_session[session].inverse() @ reference_from_session[home]
        seen.append([stack.recall(find_again, stacks[home], dendrite, today_from_home) for dendrite in dendrites])
    return [
        CarriedDendrite(tuple(line for line, _ in one), np.stack([correlation for _, correlation in one]))
        for one in zip(*seen, strict=True)
    ]


def find_again(today: Stack, home: Stack, dendrite: Dendrite, today_from_home: Transform) -> tuple[Dendrite, Floats]:
    """Return where a dendrite of another stack lies in today's, and how well its surroundings fit, shape (n,)."""
    found = register_dendrite(home, today, dendrite.points_zyx_um, today_from_home)
    line = Dendrite(dendrite.name, found.today_points_zyx_um, dendrite.radius_um)
    line = recentre(today, line, reach_um=RECENTRE_UM, depth_reach_um=RECENTRE_DEPTH_UM)
    return line, found.correlation


def find_field_dendrites(
    stacks: Sequence[Stack],
    traced: Sequence[Sequence[Dendrite]],
    reference_from_session: Sequence[Transform],
    tell: Callable[[int], None] = lambda _session: None,
) -> list[CarriedDendrite]:
    """Take the lines traced in the first session, add what only later ones show, carry each to every session."""
    found: list[CarriedDendrite] = []
    for session, lines in enumerate(traced):
        tell(session)
        known = [carried.dendrites[session] for carried in found]
        parts = [part for line in lines for part in (_unknown_parts(line, known) if known else [line])]
        named = [Dendrite(len(found) + i, part.points_zyx_um, part.radius_um) for i, part in enumerate(parts)]
        found += carry_dendrites(stacks, session, named, reference_from_session)
    return found


def _unknown_parts(line: Dendrite, known: Sequence[Dendrite]) -> list[Dendrite]:
    """Cut out the long stretches of a line that no known dendrite covers."""
    scale = np.array([1.0 / AXIAL_TO_LATERAL, 1.0, 1.0])
    tree = cKDTree(np.concatenate([d.points_zyx_um for d in known]) * scale)
    away, _ = tree.query(line.points_zyx_um * scale)
    new = np.concatenate([[False], away > KNOWN_WITHIN_UM, [False]])
    starts, ends = np.flatnonzero(new[1:] & ~new[:-1]), np.flatnonzero(new[:-1] & ~new[1:])
    parts = [
        Dendrite(line.name, line.points_zyx_um[a:b], line.radius_um[a:b]) for a, b in zip(starts, ends, strict=True)
    ]
    return [part for part in parts if part.length_um >= LEAST_NEW_UM]


def _with_along(places_um: Floats, known_um: Floats, wanted_um: Floats) -> Floats:
    places = np.array(places_um, dtype=float).reshape(-1, 3)
    number = np.interp(places[:, 0], known_um, np.arange(len(known_um)))
    places[:, 0] = np.interp(number, np.arange(len(wanted_um)), wanted_um)
    return places
