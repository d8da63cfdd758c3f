"""Landmarks of an animal's vessel map, and what a person said of where they lie today, as they are written down.

They are written beside the map. A landmark has a place in the map, or where there is no map the stage position of the
session in which it was named. Names stay: nothing is renumbered, and what a person refuses is kept as refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import model_validator

from acquire.errors import StudyError
from acquire.headpose import FROM_VESSELS, PosePrior
from acquire.model import FORMAT_VERSION, Finite, Identifier, Record, TransformRecord
from acquire.store import made_record, read_record, write_record
from analysis.model import Floats

SURFACE_FILE, LANDMARKS_FILE, ALIGNMENT_FILE = "surface.ome.zarr", "landmarks.json", "alignment.json"
LEAST_SIGMA_UM = 10.0  # a vessel's fork is centred by eye no better


class LandmarkRecord(Record):
    """A place that a person finds again: a fork of vessels, by its place in the map's image or on the stage."""

    name: Identifier
    map_yx_um: tuple[Finite, Finite] | None = None
    stage_xy_um: tuple[Finite, Finite] | None = None
    made_by: Literal["program", "person"] = "person"
    refused: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> LandmarkRecord:
        if (self.map_yx_um is None) == (self.stage_xy_um is None):
            raise ValueError(f"landmark {self.name}: give either its place in the map or its stage position")
        return self


class LandmarkList(Record):
    """The landmarks of the map that one session made."""

    format_version: Literal[1] = FORMAT_VERSION
    animal: Identifier
    session: str
    landmarks: tuple[LandmarkRecord, ...] = ()

    def named(self, name: str) -> LandmarkRecord:
        """Return the landmark of that name.

        Raises
        ------
        StudyError
            When there is none.
        """
        for mark in self.landmarks:
            if mark.name == name:
                return mark
        known = ", ".join(mark.name for mark in self.landmarks) or "none yet"
        raise StudyError(f"animal {self.animal} has no landmark {name} (known: {known}); add it first")

    def free_name(self) -> str:
        """Return the next of V1, V2... that was never used."""
        numbers = [int(mark.name[1:]) for mark in self.landmarks if mark.name[0] == "V" and mark.name[1:].isdigit()]
        return f"V{max(numbers, default=0) + 1}"

    def added(self, mark: LandmarkRecord) -> LandmarkList:
        """Return the list with one landmark more.

        Raises
        ------
        StudyError
            When its name, or one that is easily taken for it (V01 for V1), is used.
        """
        for other in self.landmarks:
            if _spoken(other.name) == _spoken(mark.name):
                like = "" if other.name == mark.name else f", which is easily taken for {mark.name}"
                raise StudyError(
                    f"animal {self.animal} has a landmark {other.name} already{like}; move it, or use another name"
                )
        return self.model_copy(update={"landmarks": (*self.landmarks, mark)})

    def changed(self, mark: LandmarkRecord) -> LandmarkList:
        """Return the list with the landmark of that name replaced, in its place."""
        marks = tuple(mark if other.name == mark.name else other for other in self.landmarks)
        return self.model_copy(update={"landmarks": marks})

    def on_map(self) -> dict[str, tuple[float, float]]:
        """Return names and places in the map (y, x), um, of those that are not refused."""
        return {m.name: m.map_yx_um for m in self.landmarks if m.map_yx_um is not None and not m.refused}


class LandmarkPair(Record):
    """A landmark and where its stage positions were, then and today; ``used`` is False for one that was left out."""

    name: Identifier
    then_xy_um: tuple[Finite, Finite]
    today_xy_um: tuple[Finite, Finite]
    residual_um: Finite
    used: bool = True


class AlignmentRecord(Record):
    """How the head sits in a session against ``reference_session``, told by landmarks; one sigma of each in um."""

    format_version: Literal[1] = FORMAT_VERSION
    animal: Identifier
    session: str
    reference_session: str
    today_from_then: TransformRecord
    sigma_um: Finite
    stretch: Finite
    pairs: tuple[LandmarkPair, ...]

    @property
    def yaw_deg(self) -> float:
        """How the head is turned about the optical axis, degrees."""
        return self.today_from_then.transform().yaw_deg

    @property
    def left_out(self) -> tuple[str, ...]:
        """Landmarks that the others contradict."""
        return tuple(pair.name for pair in self.pairs if not pair.used)

    def prior(self, then_yx_um: Floats) -> PosePrior:
        """Return how far the pose is to be trusted at points of then, shape (n, 2), um.

        As for a line through points: least in the middle of the landmarks, growing outwards.
        """
        marks = np.array([pair.then_xy_um[::-1] for pair in self.pairs if pair.used])
        middle = marks.mean(axis=0)
        turn_rad = self.sigma_um / float(np.sqrt(np.sum((marks - middle) ** 2)))
        lever_um = float(np.linalg.norm(np.atleast_2d(then_yx_um) - middle, axis=1).max())
        yaw_deg = max(FROM_VESSELS.yaw_deg, float(np.rad2deg(turn_rad)))
        lateral_um = max(LEAST_SIGMA_UM, float(np.hypot(self.sigma_um / np.sqrt(len(marks)), turn_rad * lever_um)))
        return PosePrior(lateral_um, FROM_VESSELS.depth_um, yaw_deg, FROM_VESSELS.tilt_deg)


def read_landmarks(folder: Path, animal: str, session: str) -> LandmarkList:
    """Return the landmarks of a session's folder; an empty list when none were written."""
    path = folder / LANDMARKS_FILE
    return read_record(path, LandmarkList) if path.is_file() else LandmarkList(animal=animal, session=session)


def write_landmarks(folder: Path, landmarks: LandmarkList) -> None:
    """Write the landmarks of a session."""
    write_record(folder / LANDMARKS_FILE, landmarks)


def read_alignment(folder: Path) -> AlignmentRecord | None:
    """Return how a person aligned a session; None when nobody did."""
    path = folder / ALIGNMENT_FILE
    return read_record(path, AlignmentRecord) if path.is_file() else None


def landmarks_found(animal: str, session: str, points_yx_um: Floats) -> LandmarkList:
    """Return a list of what the program found in a map, V1, V2..., the clearest first."""
    marks = tuple(
        made_record(LandmarkRecord, name=f"V{n}", map_yx_um=(round(float(y), 2), round(float(x), 2)), made_by="program")
        for n, (y, x) in enumerate(points_yx_um, start=1)
    )
    return LandmarkList(animal=animal, session=session, landmarks=marks)


def _spoken(name: str) -> str:
    """Return a name as it is said: V01 and v1 are V1.

    >>> _spoken("V001") == _spoken("v1"), _spoken("V100")
    (True, 'v100')
    """
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.casefold())
