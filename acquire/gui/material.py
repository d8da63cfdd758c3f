"""What a review needs of a field: its tables, its decisions, its stacks, and pictures of its dendrites.

Read in a thread beside the window; nothing here is changed afterwards but the file of decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquire.errors import StudyError
from acquire.store import Study
from analysis.edits import EDITS_FILE, EditBook
from analysis.fieldtables import read_sessions, read_tables
from analysis.followed import AnalysedField
from analysis.memory import MEMORY_FOLDER, Memory, SavedStack
from analysis.model import Floats, Stack
from analysis.reviewtables import write_reviewed

HALF_WIDTH_UM = 5.0
HALF_DEPTH_UM = 2.5
HEAD_RADIUS_UM = 0.25  # around a click, over which the brightness in depth is averaged
LEVELS = (5.0, 99.6)  # percentiles that are drawn black and white
AROUND_UM = np.array([2.0, 9.0, 9.0])  # of a head: z, y, x of which these are taken


@dataclass(frozen=True)
class Reviewable:
    """A field that was analysed."""

    animal: str
    field: str

    def __str__(self) -> str:
        return f"{self.animal} {self.field}"


@dataclass(frozen=True, eq=False)
class RawStack:
    """The voxels of one session, and how they are shown."""

    session: int
    pixels: NDArray[Any]
    voxel_um: tuple[float, float, float]
    saturation: float | None

    def plane(self, z_um: float) -> int:
        """Return the number of the plane nearest to a depth."""
        return int(np.clip(round(z_um / self.voxel_um[0]), 0, len(self.pixels) - 1))

    def levels(self, head_zyx_um: Sequence[float]) -> tuple[float, float]:
        """Return what is drawn black and white around a head."""
        middle, reach = np.asarray(head_zyx_um) / self.voxel_um, AROUND_UM / self.voxel_um
        first = np.clip(middle - reach, 0, np.array(self.pixels.shape) - 2).astype(int)
        last = np.maximum(np.ceil(middle + reach).astype(int), first + 1)
        around = self.pixels[first[0] : last[0], first[1] : last[1], first[2] : last[2]]
        black, white = (float(value) for value in np.percentile(around, LEVELS))
        return black, max(white, black + 1.0)


@dataclass(frozen=True, eq=False)
class Material:
    """One field, ready to be reviewed.

    Parameters
    ----------
    of
        Which field.
    analysed
        The tables as the machine made them.
    days
        What each session is called, in the order of the tables.
    stacks
        One a session; pixels are read when they are asked for.
    book
        The file of decisions.
    """

    of: Reviewable
    analysed: AnalysedField
    days: tuple[str, ...]
    stacks: tuple[Stack, ...]
    book: EditBook

    @cached_property
    def lengths_um(self) -> dict[int, float]:
        """Length of every dendrite, um."""
        return {name: self.analysed.aligned(name).reference.length_um for name in self.analysed.dendrites}

    def write_reviewed(self) -> None:
        """Write the tables as they are after the decisions, for other programs."""
        write_reviewed(self.book.file.parent)

    def draw(self, dendrite: int, session: int) -> NDArray[np.uint8] | None:
        """Return one session of a dendrite, straight, shape (across, along); None where the session lacks it."""
        aligned = self.analysed.aligned(dendrite)
        if session not in aligned.lines:
            return None
        image = aligned.draw(self.stacks[session], session, half_width_um=HALF_WIDTH_UM, half_depth_um=HALF_DEPTH_UM)
        return (255 * image).astype(np.uint8)

    def raw(self, session: int) -> RawStack:
        """Read the voxels of one session."""
        stack = self.stacks[session]
        return RawStack(session, stack.pixels, stack.voxel_um, stack.saturation)

    def head_at(self, dendrite: int, session: int, along_um: float, across_um: float) -> tuple[float, float, float]:
        """Return the brightest point in depth below a place beside a dendrite, (z, y, x), um in the stack."""
        stack = self.stacks[session]
        point = self.analysed.aligned(dendrite).points(session, [(along_um, across_um, 0.0)])[0]
        return _brightest_in_depth(stack, point)


def _brightest_in_depth(stack: Stack, point_zyx_um: Floats) -> tuple[float, float, float]:
    pixels, voxel = stack.pixels, np.array(stack.voxel_um)
    z, y, x = np.clip(np.rint(point_zyx_um / voxel).astype(int), 0, np.array(pixels.shape) - 1)
    reach = max(1, round(HALF_DEPTH_UM / voxel[0]))
    radius = max(1, round(HEAD_RADIUS_UM / voxel[1]))
    first = max(0, z - reach)
    column = pixels[first : z + reach + 1, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
    brightest = first + int(np.argmax(column.mean(axis=(1, 2))))
    return float(brightest * voxel[0]), float(point_zyx_um[1]), float(point_zyx_um[2])


def list_reviewable(study: Study) -> list[Reviewable]:
    """Return the fields that were analysed."""
    return [
        Reviewable(animal, field.name)
        for animal in study.animals()
        for field in study.animal(animal).fields
        if (study.animal_folder(animal) / "analysis" / field.name / "fates.csv").is_file()
    ]


def open_material(study: Study, of: Reviewable) -> Material:
    """Read what a review needs.

    Raises
    ------
    StudyError
        When the field was not analysed, or its stacks are not those that were analysed.
    EditError
        When the file of decisions cannot be understood.
    """
    folder = study.analysis_folder(of.animal, of.field)
    tables = read_tables(folder)
    stores = {session.name: (session.day, store) for session, store in study.stacks(of.animal, of.field)}
    count = 1 + max((int(session) for session in tables.dendrites["session"]), default=-1)
    names = _names(folder, list(stores), count, of)
    memory = Memory(folder / MEMORY_FOLDER)
    stacks = tuple(SavedStack(stores[name][1], memory) for name in names)
    days = tuple(f"day {stores[name][0]:g}" for name in names)
    return Material(of, AnalysedField(tables, names), days, stacks, EditBook(folder / EDITS_FILE))


def _names(folder: Path, stored: Sequence[str], count: int, of: Reviewable) -> list[str]:
    """Return the names of the sessions of the tables."""
    names = read_sessions(folder) or list(stored)
    missing = [name for name in names if name not in stored]
    if missing:
        raise StudyError(f"{of}: the stack of session {', '.join(missing)} was analysed but is gone; analyse again")
    if len(names) != count:
        raise StudyError(f"{of}: the tables are of {count} sessions, the study has {len(names)}; analyse again")
    return names
