"""What a person changes in the dendrites that were traced: add one, cut one in two, join two.

Each change makes new lines and leaves the old ones as they are; :func:`analysis.field.analyse_field` takes what comes
out. Names stay: of two parts, and of two that are joined, the longer gives its name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from analysis.errors import StackError
from analysis.model import Dendrite, Floats, Stack
from analysis.trace import POINT_STEP_UM, trace_between

SHORTEST_UM = 1.0  # of a part: a spine's width
FARTHEST_APART_UM = 20.0  # two ends that are joined; a person who means more adds a dendrite


def add_dendrite(stack: Stack, clicked_zyx_um: ArrayLike, name: int) -> Dendrite:
    """Follow the shaft through places that a person clicked, in their order.

    Parameters
    ----------
    stack
        The stack that shows the dendrite.
    clicked_zyx_um
        Two or more places about on the shaft, shape (n, 3), um.
    name
        Its number, which no other dendrite has.

    Raises
    ------
    StackError
        With fewer than two places, one outside the stack, or all at one place.
    """
    try:
        line = trace_between(stack, clicked_zyx_um)
    except ValueError as error:
        raise StackError(f"No dendrite can be added to {stack.name}: {error}.") from error
    return Dendrite(name, line.points_zyx_um, line.radius_um)


def cut_dendrite(dendrite: Dendrite, at_um: float, new_name: int) -> tuple[Dendrite, Dendrite]:
    """Cut a dendrite in two: the part before and the part after; the shorter is given the new name.

    Parameters
    ----------
    dendrite
        What is cut.
    at_um
        Where, along it from its first point, um.
    new_name
        A number that no other dendrite has.

    Raises
    ------
    StackError
        When a part would be shorter than 1 um.
    """
    along, length = dendrite.along_um, dendrite.length_um
    if not SHORTEST_UM <= at_um <= length - SHORTEST_UM:
        raise StackError(
            f"Dendrite {dendrite.name} of {length:.1f} um cannot be cut at {at_um:.1f} um: each part needs "
            f"{SHORTEST_UM:g} um. Cut between {SHORTEST_UM:g} and {length - SHORTEST_UM:.1f} um."
        )
    place = np.array([np.interp(at_um, along, column) for column in dendrite.points_zyx_um.T])
    radius = float(np.interp(at_um, along, dendrite.radius_um))
    before, after = along < at_um, along > at_um
    names = (dendrite.name, new_name) if at_um >= length / 2 else (new_name, dendrite.name)
    points, radii = dendrite.points_zyx_um, dendrite.radius_um
    first = Dendrite(names[0], np.vstack([points[before], place]), np.r_[radii[before], radius])
    return first, Dendrite(names[1], np.vstack([place, points[after]]), np.r_[radius, radii[after]])


def join_dendrites(one: Dendrite, other: Dendrite, stack: Stack) -> Dendrite:
    """Join two dendrites at their nearest ends, along the shaft between these; it runs as the longer one does.

    Raises
    ------
    StackError
        When they are one and the same, or their ends lie more than 20 um apart.
    """
    first, second = sorted((one, other), key=lambda dendrite: -dendrite.length_um)
    if first.name == second.name:
        raise StackError(f"Dendrite {first.name} cannot be joined with itself; choose two.")
    apart = cdist(first.points_zyx_um[[0, -1]], second.points_zyx_um[[0, -1]])
    own, its = np.unravel_index(int(apart.argmin()), apart.shape)
    if apart.min() > FARTHEST_APART_UM:
        raise StackError(
            f"Dendrites {first.name} and {second.name} cannot be joined: their nearest ends lie {apart.min():.1f} um "
            f"apart (at most {FARTHEST_APART_UM:g} um). Add the dendrite between them first."
        )
    begins, ends = (-1 if own == 0 else 1), (1 if its == 0 else -1)
    (points, radii), (more, its_radii) = _read(first, begins), _read(second, ends)
    between, its_radius = _bridge(stack, points[-1], more[0], float(radii[-1]))
    line = np.vstack([points, between, more])[::begins]
    return Dendrite(first.name, line, np.concatenate([radii, its_radius, its_radii])[::begins])


def _read(dendrite: Dendrite, way: int) -> tuple[Floats, Floats]:
    return dendrite.points_zyx_um[::way], dendrite.radius_um[::way]


def _bridge(stack: Stack, start: Floats, stop: Floats, radius_um: float) -> tuple[Floats, Floats]:
    """Return the points between two ends, none where they touch."""
    gap = float(np.linalg.norm(stop - start))
    if gap <= 2 * POINT_STEP_UM:
        return np.zeros((0, 3)), np.zeros(0)
    try:
        line = trace_between(stack, [start, stop])
    except ValueError:  # too close to find a way: straight on
        count = round(gap / POINT_STEP_UM)
        return np.linspace(start, stop, count + 1)[1:-1], np.full(count - 1, radius_um)
    inside = _between(line.points_zyx_um, start, stop)
    return line.points_zyx_um[inside], line.radius_um[inside]


def _between(points: Floats, start: Floats, stop: Floats) -> slice:
    """Leave out what lies before the start and beyond the stop, as recentring moves the ends along the shaft."""
    first = int(np.linalg.norm(points - start, axis=1).argmin())
    last = int(np.linalg.norm(points - stop, axis=1).argmin())
    return slice(first + 1, max(first + 1, last))
