"""One dendrite in every session of its field: the same point is the same place in each.

Lines found in any session are carried to all others elastically and centred there. Places beside the dendrite are
carried by the elastic registration itself: what the centring changes is no motion of the tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

from analysis.centreline import is_within, recentre
from analysis.elastic import DendriteRegistration, register_dendrite
from analysis.errors import StackError
from analysis.jobs import two_at_a_time
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
    session_from_home
        How each session's stack shows the surroundings of the line where it was traced.
    """

    dendrites: tuple[Dendrite, ...]
    session_from_home: tuple[DendriteRegistration, ...]

    @property
    def name(self) -> int:
        """Its number."""
        return self.dendrites[0].name

    @property
    def reference(self) -> Dendrite:
        """Its line in the reference stack, which gives the common ``along``."""
        return self.dendrites[0]

    def to_reference(self, session: int, points_zyx_um: Floats) -> Floats:
        """Map points near the dendrite from one session's stack to the reference stack, shape (n, 3), um."""
        return self.session_from_home[0].apply(self.session_from_home[session].inverse_apply(points_zyx_um))

    def from_reference(self, session: int, points_zyx_um: Floats) -> Floats:
        """Map points near the dendrite from the reference stack to one session's stack, shape (n, 3), um."""
        return self.session_from_home[session].apply(self.session_from_home[0].inverse_apply(points_zyx_um))

    def correlation_at(self, session: int, along_um: float) -> float:
        """Return how well the session fits at a place of the reference line."""
        return float(np.interp(along_um, self.reference.along_um, self.session_from_home[session].correlation))


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
            seen.append([(one, DendriteRegistration.unchanged(one.points_zyx_um)) for one in dendrites])
            continue
        today_from_home = reference_from_session[session].inverse() @ reference_from_session[home]
        seen.append(
            two_at_a_time([partial(stack.recall, find_again, stacks[home], one, today_from_home) for one in dendrites])
        )
    return [
        CarriedDendrite(tuple(line for line, _ in one), tuple(shown for _, shown in one))
        for one in zip(*seen, strict=True)
    ]


def find_again(
    today: Stack, home: Stack, dendrite: Dendrite, today_from_home: Transform
) -> tuple[Dendrite, DendriteRegistration]:
    """Return where a dendrite of another stack lies in today's, and how its surroundings were recognised."""
    found = register_dendrite(home, today, dendrite.points_zyx_um, today_from_home)
    line = Dendrite(dendrite.name, found.today_points_zyx_um, dendrite.radius_um)
    line = recentre(today, line, reach_um=RECENTRE_UM, depth_reach_um=RECENTRE_DEPTH_UM)
    return line, found


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
