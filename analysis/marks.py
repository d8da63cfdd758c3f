"""Spines that a person marked in each session, instead of those that are detected.

The marks are the observations: nothing is added, moved or left out. Which of them are the same spine is told as for
detected ones. A session without a mark of a spine does not have it, unless its stack does not show the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from analysis.carry import CarriedDendrite
from analysis.detect import Spine, measure_spine
from analysis.errors import StackError
from analysis.evidence import Evidence
from analysis.model import Dendrite, Floats, SpineState, Stack
from analysis.presence import Presence
from analysis.protrusion import ProtrusionRules
from analysis.straighten import AXIAL_TO_LATERAL, straighten
from analysis.tracking import Survey, TrackedSpine, track_spines

HEAD = ("head_z_um", "head_y_um", "head_x_um")
COLUMNS = ("session", *HEAD)
SURE = 0.999
NO_DENDRITE = -1
BEYOND_UM = 2.0  # so far outside its stack a mark is taken for a rounded one
NOWHERE = np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class Marks:
    """Heads of spines as a person marked them.

    Parameters
    ----------
    session
        Number of the stack of each mark, from 0, shape (n,).
    head_zyx_um
        In that stack's frame, shape (n, 3), um.
    dendrite
        Number of the given dendrite that each stands on, -1 where it was not said, shape (n,).
    """

    session: NDArray[np.intp]
    head_zyx_um: Floats
    dendrite: NDArray[np.intp]

    @classmethod
    def of(cls, heads_zyx_um: Sequence[ArrayLike]) -> Marks:
        """Return the marks of sessions in order, for each session its heads, shape (n, 3), um."""
        heads = [np.asarray(one, dtype=float).reshape(-1, 3) for one in heads_zyx_um]
        session = np.repeat(np.arange(len(heads), dtype=np.intp), [len(one) for one in heads])
        return cls(session, np.concatenate([NOWHERE, *heads]), np.full(len(session), NO_DENDRITE, dtype=np.intp))

    def without_dendrites(self) -> Marks:
        """Return the marks without their numbers of dendrites, for dendrites that were numbered by nobody."""
        return replace(self, dendrite=np.full_like(self.dendrite, NO_DENDRITE))


def read_marks(path: Path | str) -> Marks:
    """Read marks from a table with the columns session, head_z_um, head_y_um, head_x_um and, if known, dendrite.

    Raises
    ------
    StackError
        The table is missing, unreadable or empty, lacks a column, or holds what is no number.
    """
    path = Path(path)
    if not path.is_file():
        raise StackError(f"{path} does not exist; give a CSV with the columns {', '.join(COLUMNS)}")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise StackError(f"{path.name} is no readable CSV: {str(error).splitlines()[0]}") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise StackError(
            f"{path.name} lacks {', '.join(missing)}; it needs {', '.join(COLUMNS)}, one row a marked spine"
        )
    if table.empty:
        raise StackError(f"{path.name} holds 0 marks; give one row a spine and session")
    numbers = table[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    broken = ~np.isfinite(numbers).all(axis=1) | (numbers[:, 0] != np.round(numbers[:, 0]))
    if broken.any():
        raise StackError(
            f"{path.name}, line {int(np.argmax(broken)) + 2}: not a number in {broken.sum()} rows; "
            "give the session as 0, 1, 2, ... and the head in um"
        )
    named = pd.to_numeric(table["dendrite"], errors="coerce") if "dendrite" in table else pd.Series(-1, table.index)
    return Marks(numbers[:, 0].astype(np.intp), numbers[:, 1:], named.fillna(NO_DENDRITE).to_numpy().astype(np.intp))


def refuse_misplaced(marks: Marks, stacks: Sequence[Stack]) -> None:
    """Raise StackError when a mark is of no given session, or lies outside its stack."""
    for row, (session, head) in enumerate(zip(marks.session.tolist(), marks.head_zyx_um, strict=True)):
        if not 0 <= session < len(stacks):
            raise StackError(
                f"mark {row + 1} is of session {session}, but {len(stacks)} stacks are given; number the sessions "
                f"from 0 to {len(stacks) - 1}, in the order of the stacks"
            )
        extent = stacks[session].extent_zyx_um
        if np.any(head < -BEYOND_UM) or np.any(head > extent + BEYOND_UM):
            place, end = (" x ".join(f"{value:.4g}" for value in values) for values in (head, extent))
            raise StackError(
                f"mark {row + 1} at {place} um lies outside {stacks[session].name}, which ends at {end} um (z, y, x); "
                "give the heads in um from the centre of the first voxel, not in pixels"
            )


def track_marks(
    stacks: Sequence[Stack], carried: Sequence[CarriedDendrite], marks: Marks
) -> tuple[list[Survey], list[TrackedSpine], Presence]:
    """Join the marks of all sessions to tracks.

    Parameters
    ----------
    stacks
        One a session.
    carried
        The dendrites; a mark that names none of them belongs to the nearest.
    marks
        Every marked spine of every session.

    Returns
    -------
    tuple
        What each session shows, the tracks, and in which sessions each is there.

    Raises
    ------
    StackError
        When there is no dendrite.
    """
    if not carried:
        raise StackError("No dendrite was found to link the marks along; give them with --dendrites")
    surveys = []
    for session, stack in enumerate(stacks):
        ours = marks.session == session
        lines = [one.dendrites[session] for one in carried]
        surveys.append(_survey(stack, lines, marks.head_zyx_um[ours], marks.dendrite[ours]))
    tracks = track_spines(surveys, carried)
    marked = np.array([[sight.probability == SURE for sight in t.sights] for t in tracks]).reshape(-1, len(stacks))
    scorable = np.array([t.scorable for t in tracks]).reshape(-1, len(stacks))
    state = np.where(marked, SpineState.PRESENT, np.where(scorable, SpineState.ABSENT, SpineState.UNSCORABLE))
    return surveys, tracks, Presence(marked.astype(float), state.astype(object))


def _survey(stack: Stack, lines: Sequence[Dendrite], heads_zyx_um: Floats, named: NDArray[np.intp]) -> Survey:
    evidence = {line.name: Evidence.of(straighten(stack, line)) for line in lines}
    names = _dendrite_of(lines, heads_zyx_um, named)
    spines = [_measure(evidence[name], head) for name, head in zip(names, heads_zyx_um, strict=True)]
    nothing = {name: np.zeros(0) for name in evidence}
    return Survey(evidence, dict.fromkeys(evidence, NOWHERE), nothing, spines, is_marked=True)


def _measure(evidence: Evidence, head_zyx_um: Floats) -> Spine:
    place = evidence.straightened.dendrite_from_stack(head_zyx_um)[0]
    return replace(measure_spine(evidence, place, SURE, ProtrusionRules()), head_zyx_um=head_zyx_um)


def _dendrite_of(lines: Sequence[Dendrite], heads_zyx_um: Floats, named: NDArray[np.intp]) -> list[int]:
    """Return the dendrite that each head names, else the nearest."""
    scale = np.array([1.0 / AXIAL_TO_LATERAL, 1.0, 1.0])
    away = np.stack([cKDTree(line.points_zyx_um * scale).query(heads_zyx_um * scale)[0] for line in lines])
    known = {line.name for line in lines}
    nearest = [lines[i].name for i in away.argmin(axis=0).tolist()]
    return [name if name in known else other for name, other in zip(named.tolist(), nearest, strict=True)]
