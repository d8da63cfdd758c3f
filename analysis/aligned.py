"""One dendrite in all sessions, straight, on the length scale of the first session that has it.

A place is (along, across, depth) in um: along the dendrite as it is in that first session, and across and below its
centreline as it is in the session asked. So a spine has nearly the same place in every session, and where it is absent
its place can be shown all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from analysis.contrast import stretched
from analysis.errors import StackError
from analysis.fieldtables import FieldTables, session_dendrites
from analysis.model import Dendrite, Floats, Stack
from analysis.straighten import DendriteFrame, straighten

STEP_UM = 0.1
HALF_WIDTH_UM = 3.4
HALF_DEPTH_UM = 2.5


@dataclass(frozen=True, eq=False)
class AlignedDendrite:
    """The map between the stacks of all sessions and the places along one dendrite.

    Parameters
    ----------
    name
        Number of the dendrite.
    lines
        Its centreline in every session that has it.
    frames
        The frame of each of these lines.
    """

    name: int
    lines: Mapping[int, Dendrite]
    frames: Mapping[int, DendriteFrame]

    @classmethod
    def of(cls, tables: FieldTables, name: int) -> AlignedDendrite:
        """Take one dendrite out of the tables of a field.

        Raises
        ------
        StackError
            When no session has it.
        """
        sessions = sorted({int(session) for session in tables.dendrites["session"]})
        found = {session: session_dendrites(tables, session).get(name) for session in sessions}
        lines = {session: line for session, line in found.items() if line is not None}
        if not lines:
            raise StackError(f"The tables have no dendrite {name}; analyse the field again.")
        return cls(name, lines, {session: DendriteFrame.of(line, STEP_UM) for session, line in lines.items()})

    @property
    def reference(self) -> Dendrite:
        """The dendrite in the first session that has it."""
        return self.lines[min(self.lines)]

    def places(self, session: int, heads_zyx_um: ArrayLike) -> Floats:
        """Return where points of one session's stack lie, shape (n, 3), um."""
        places = self.frames[session].dendrite_from_stack(heads_zyx_um)
        reference_um, own_um = self._matched_lengths(session)
        places[:, 0] = np.interp(places[:, 0], own_um, reference_um)
        return places

    def points(self, session: int, places_um: ArrayLike) -> Floats:
        """Return where places lie in one session's stack, (z, y, x), shape (n, 3), um."""
        places = np.atleast_2d(np.array(places_um, dtype=float))
        reference_um, own_um = self._matched_lengths(session)
        places[:, 0] = np.interp(places[:, 0], reference_um, own_um)
        return self.frames[session].stack_from_dendrite(places)

    def draw(
        self,
        stack: Stack,
        session: int,
        *,
        half_width_um: float = HALF_WIDTH_UM,
        half_depth_um: float = HALF_DEPTH_UM,
    ) -> NDArray[np.float64]:
        """Return the brightest values over the depth, stretched to 0-1, 0 where the stack shows nothing.

        Returns
        -------
        Shape (across, along), ``STEP_UM`` a pixel; left of the dendrite is up, as in the stack.
        """
        light, inside = stack.recall(_flattened, self.lines[session], half_width_um, half_depth_um)
        reference_um, own_um = self._matched_lengths(session)
        grid_um = np.arange(0.0, reference_um[-1], STEP_UM)
        step_um = self.frames[session].along_um[1] - self.frames[session].along_um[0]
        columns = np.interp(grid_um, reference_um, own_um) / float(step_um)
        image = stretched(_resampled(light, columns), low=15.0, high=99.8)
        image[_resampled(inside, columns) < 0.99] = 0.0
        return image

    def _matched_lengths(self, session: int) -> tuple[Floats, Floats]:
        """Return arc lengths of the same places on both: point i of one is point i of the other."""
        reference, own = self.reference, self.lines[session]
        if len(reference.points_zyx_um) == len(own.points_zyx_um):
            return reference.along_um, own.along_um
        return np.array([0.0, reference.length_um]), np.array([0.0, own.length_um])


def _flattened(
    stack: Stack, line: Dendrite, half_width_um: float, half_depth_um: float
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the brightest values over the depth along a line, and 1 where the stack has any."""
    straight = straighten(stack, line, half_width_um=half_width_um, half_depth_um=half_depth_um, step_um=STEP_UM)
    return np.max(straight.volume, axis=2), straight.inside.any(axis=2).astype(float)


def _resampled(flat: NDArray[Any], columns: Floats) -> Floats:
    """Return (across, along) at fractional places along; left of the dendrite is up, as in the stack."""
    turned = flat[:, ::-1].T
    rows, columns = np.meshgrid(np.arange(len(turned)), columns, indexing="ij")
    picture: Floats = map_coordinates(turned, [rows, columns], output=np.float64, order=1, mode="nearest")
    return picture
