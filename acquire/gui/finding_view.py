"""What the page Find shows of fields and searches: rows, words, pictures of reference and today, steps of the stage.

Pictures are read beside the worker; knows no Qt. What takes long to import is imported where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquire.errors import RelocationError, RigError
from acquire.gui.status import DeskStatus, FieldStatus
from acquire.gui.tinted import both_tinted, stretched_bytes
from acquire.gui.words import in_window
from analysis.model import Stack, Verdict

if TYPE_CHECKING:
    from acquire.config import Orientation
    from acquire.model import RelocationRecord
    from acquire.session import Session

Bytes = NDArray[np.uint8]
ALL_PLANES = -1
STEPS_UM = (1.0, 5.0, 20.0, 100.0)
GAMMA = 0.7  # lifts dim dendrites
# What an arrow does, as the image shows it: further down, further right, deeper (z, y, x).
WAYS = {
    "Left": (0, 0, -1),
    "Right": (0, 0, 1),
    "Up": (0, -1, 0),
    "Down": (0, 1, 0),
    "PgUp": (-1, 0, 0),
    "PgDown": (1, 0, 0),
}
WHAT_TO_DO = {
    Verdict.FOUND: "",
    Verdict.UNSURE: (
        "Compare reference and today. Is it the same place, accept it; else nudge the stage and search from here, or "
        "align by landmarks on the page Surface."
    ),
    Verdict.NOT_FOUND: (
        "Check focus, immersion and the window. Nudge the stage to where you see it and search again from here, or "
        "align by landmarks on the page Surface; was the head re-mounted, begin a new session."
    ),
}
KEPT_TODAY = "kept in this session: there is nothing to find"
NOTHING_KNOWN = "How the head is turned is told when a field was found."


# ---- rows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FieldRow:
    """One field of the list: its turn in the proposed order, verdict in a word, prediction and uncertainty."""

    name: str
    turn: str
    verdict: Verdict | None
    word: str
    place: str
    known: str


def field_rows(status: DeskStatus) -> list[FieldRow]:
    """Return the fields, those to find first and in the order in which they are best looked for."""
    order = list(status.known.order)
    fields = sorted(status.known.fields, key=lambda one: order.index(one.name) if one.name in order else len(order))
    return [_row(status, one, str(order.index(one.name) + 1) if one.name in order else "") for one in fields]


def _row(status: DeskStatus, field: FieldStatus, turn: str) -> FieldRow:
    word = "to find" if field.verdict is None else str(field.verdict)
    if field.is_new:
        word = "new"
    elif field.name in status.accepted:
        word = "accepted"
    place = field.predicted or (field.position if field.is_new else None)
    known = ""
    if field.sigma_um is not None:
        x_um, y_um, z_um = field.sigma_um
        known = f"{max(x_um, y_um):.0f}, {z_um:.0f}"
    told = "-" if place is None else f"{place.x_um:.0f}  {place.y_um:.0f}  {place.z_um:.0f}"
    return FieldRow(field.name, turn, field.verdict, word, told, known)


# ---- words ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchTold:
    """A search in words: a headline, what it rests on, and what to do; its steps, a line each."""

    headline: str
    lines: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def tell_search(field: FieldStatus | None, *, is_accepted: bool = False) -> SearchTold:
    """Say what is known of a field today."""
    from acquire.finding import CUT_SHORT
    from acquire.relocate import searched

    if field is None:
        return SearchTold("choose a field")
    if field.is_new:
        return SearchTold(f"{field.name}: {KEPT_TODAY}")
    record = field.relocation
    if record is None:
        return SearchTold(f"{field.name} was not looked for in this session")
    was_stopped = record.note == CUT_SHORT
    headline = f"{field.name}: the search was stopped" if was_stopped else f"{field.name} {record.verdict}"
    lines = [record.telling_step.evidence, record.note]
    lines.append("Accepted: it is taken all the same." if is_accepted else WHAT_TO_DO[record.verdict])
    lines += [searched(record)] if record.verdict is Verdict.NOT_FOUND else []
    lines.append(_moved(record))
    return SearchTold(headline, tuple(line for line in lines if line), tuple(_steps(record)))


def _moved(record: RelocationRecord) -> str:
    from acquire.relocate import stage_zyx_um

    light = "" if record.dose_mj is None else f", {record.dose_mj:.1f} mJ"
    took = f"overviews: {len(record.steps)}, {record.rig_s + record.compute_s:.0f} s{light}"
    if record.verdict is Verdict.NOT_FOUND:
        return took
    z_um, y_um, x_um = np.subtract(stage_zyx_um(record.position), stage_zyx_um(record.predicted))
    return f"x {x_um:+.1f}, y {y_um:+.1f}, z {z_um:+.1f} um from where it was predicted; {took}"


def _steps(record: RelocationRecord) -> list[str]:
    told = []
    for number, step in enumerate(record.steps, start=1):
        z_um, y_um, x_um = step.offset_zyx_um
        off = f"z {z_um:+.1f}, y {y_um:+.1f}, x {x_um:+.1f} um off"
        is_lost = step.verdict is Verdict.NOT_FOUND
        told.append(f"{number}  {step.verdict}, score {step.score:.2f}{'' if is_lost else f': {off}'}")
    return told


# ---- pictures ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SearchPictures:
    """The reference of a field, and today's overview as the reference would show it.

    Parameters
    ----------
    field
        The field.
    ended
        When the search ended; None of a field that was not looked for: then only the reference is there.
    reference, today
        Grey levels, shape (z, y, x), on the reference's voxels.
    voxel_um
        Their size (z, y, x), um.
    advice
        How the head is turned, in words that turn a goniometer.
    """

    field: str
    ended: datetime | None
    reference: Bytes
    today: Bytes | None
    voxel_um: tuple[float, float, float]
    advice: str = ""

    @property
    def planes(self) -> int:
        """How many planes the reference has."""
        return len(self.reference)

    @property
    def size_um(self) -> tuple[float, float]:
        """Height and width, um."""
        _, rows, columns = self.reference.shape
        return rows * self.voxel_um[1], columns * self.voxel_um[2]

    def pair(self, plane: int) -> tuple[Bytes, Bytes | None]:
        """Return a plane of both, or of all planes the brightest."""
        return _seen(self.reference, plane), None if self.today is None else _seen(self.today, plane)

    def both(self, plane: int) -> Bytes | None:
        """Return both on top of each other: reference magenta, today green; None without today."""
        reference, today = self.pair(plane)
        return None if today is None else both_tinted(reference, today)

    def tell_plane(self, plane: int) -> str:
        """Say which plane is shown."""
        if plane == ALL_PLANES:
            return f"all {self.planes} planes at once"
        return f"plane {plane + 1} of {self.planes}, {plane * self.voxel_um[0]:.0f} um below the first"


def read_pictures(session: Session, field_name: str) -> SearchPictures:
    """Return what there is to compare of a field: today's overview is the one that tells most of the last search.

    Raises
    ------
    RelocationError
        When the field's overview is missing.
    """
    from acquire.pictures import on_reference_grid, pose_to_draw
    from analysis.stack import read_stack

    study, record = session.study, session.last_relocation(field_name)
    field = study.field(session.record.animal, field_name)
    then = study.session(session.record.animal, field.reference_session)
    kept = study.store_at(then, field.name, "overview", field.position)
    if kept is None:
        raise RelocationError(f"field {field_name} has no complete overview in {field.reference_session}; keep it anew")
    reference, today = read_stack(kept), None
    folder = study.session_folder(session.record.animal, session.record.name) / field_name
    if record is not None and record.telling_step.store is not None:
        seen = read_stack(folder / record.telling_step.store)
        today = on_reference_grid(seen, reference, pose_to_draw(record, reference, seen))
    return SearchPictures(
        field=field_name,
        ended=None if record is None else record.ended,
        reference=_grey(reference),
        today=None if today is None else stretched_bytes(today, GAMMA),
        voxel_um=reference.voxel_um,
        advice=_advice(session, field_name) if field.reference_session != session.record.name else "",
    )


def _grey(stack: Stack) -> Bytes:
    return stretched_bytes(np.asarray(stack.pixels), GAMMA)


def _seen(pixels: Bytes, plane: int) -> Bytes:
    seen: Bytes = pixels.max(axis=0) if plane == ALL_PLANES else pixels[min(plane, len(pixels) - 1)]
    return seen


def _advice(session: Session, field_name: str) -> str:
    if session.head_pose(field_name) is None:
        return NOTHING_KNOWN
    return in_window(session.head_advice(field_name))


# ---- the stage -----------------------------------------------------------------------------------------------------


def stage_step_um(orientation: Orientation, key: str, step_um: float) -> tuple[float, float, float]:
    """Return the stage's step (x, y, z) that moves what is seen the way of an arrow key, um."""
    z, y, x = (way * step_um for way in WAYS[key])
    return orientation.stage_offset_um((z, y, x))


def read_power_mw(typed: str) -> float:
    """Return a power that was typed, mW.

    Raises
    ------
    RigError
        When it is no number above 0.
    """
    try:
        power_mw = float(typed.replace(",", "."))
    except ValueError:
        power_mw = math.nan
    if not 0 < power_mw < math.inf:
        raise RigError(f"power {typed!r} is no positive number; give mW at the sample")
    return power_mw


def other_step_um(step_um: float, *, larger: bool) -> float:
    """Return the next larger or smaller step, um.

    Examples
    --------
    >>> other_step_um(5.0, larger=True), other_step_um(1.0, larger=False)
    (20.0, 1.0)
    """
    index = STEPS_UM.index(step_um) + (1 if larger else -1)
    return STEPS_UM[min(max(index, 0), len(STEPS_UM) - 1)]


def why_not_accept(field: FieldStatus | None, shown: SearchPictures | None, *, is_accepted: bool) -> str | None:
    """Say why a search cannot be accepted although it is unsure; None when somebody saw its pictures and may."""
    if field is None or field.relocation is None or field.is_new:
        return "only a field that was looked for can be accepted"
    if field.relocation.verdict is not Verdict.UNSURE:
        return f"{field.name} is {field.relocation.verdict}; only what is unsure can be accepted"
    if is_accepted:
        return f"{field.name} is accepted already"
    has_seen = shown is not None and shown.today is not None
    if not has_seen or shown is None or (shown.field, shown.ended) != (field.name, field.relocation.ended):
        return "look at reference and today first"
    return None


def tell_found(records: Sequence[RelocationRecord], refused: Sequence[str]) -> str:
    """Return what came of a search for several fields, in a sentence."""
    told = [f"{record.field} {record.verdict}" for record in records]
    return "; ".join([", ".join(told), *refused])
