"""Landmarks of an animal's vessel map, and the head pose that follows when a person says where they lie today.

They are written beside the map. A landmark has a place in the map, or where there is no map the stage position of the
session in which it was named. Names stay: nothing is renumbered, and what a person refuses is kept as refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import model_validator

from acquire.errors import RelocationError, StudyError
from acquire.headpose import FROM_VESSELS, PosePrior
from acquire.model import FORMAT_VERSION, Finite, Identifier, Record, TransformRecord
from acquire.relocate import lateral_pose
from acquire.store import made_record, read_record, write_record
from analysis.model import Floats, Transform
from analysis.motion import fit_motion

SURFACE_FILE, LANDMARKS_FILE, ALIGNMENT_FILE = "surface.ome.zarr", "landmarks.json", "alignment.json"
LEAST_SIGMA_UM = 10.0  # a vessel's fork is centred by eye no better
MOST_STRETCH = 0.05  # more is no living brain, but a wrong landmark
ODD_UM, ODD_TIMES = 40.0, 4.0  # farther than both from where the others put it, a landmark is another one
LEAST_PAIRS = 2


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
            When its name is used.
        """
        if any(other.name == mark.name for other in self.landmarks):
            raise StudyError(f"animal {self.animal} has a landmark {mark.name} already; move it, or use another name")
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


def align(
    animal: str,
    session: str,
    reference_session: str,
    then_xy_um: Mapping[str, tuple[float, float]],
    today_xy_um: Mapping[str, tuple[float, float]],
) -> AlignmentRecord:
    """Return the head pose that landmarks tell: turned and shifted in the plane of the stage.

    Parameters
    ----------
    animal, session, reference_session
        Whose pose, today and then.
    then_xy_um, today_xy_um
        Stage positions (x, y) of the same landmarks then and today, um.

    Raises
    ------
    RelocationError
        When they are fewer than two, do not fit each other, or are stretched by more than 5 %.
    """
    names = list(today_xy_um)
    if len(names) < LEAST_PAIRS:
        raise RelocationError(f"{len(names)} landmark was given; the head's turn needs {LEAST_PAIRS}, far apart")
    then, today = (np.array([places[name][::-1] for name in names]) for places in (then_xy_um, today_xy_um))
    odd = _odd_one(then, today)
    used = np.array([number != odd for number in range(len(names))])
    pose = fit_motion(then[used], today[used], np.ones(int(used.sum())))
    rest_um = np.linalg.norm(pose.apply(then) - today, axis=1)
    _refuse_contradictions(names, then, today, used, rest_um)
    freedom = max(2 * int(used.sum()) - 3, 1)
    sigma_um = max(LEAST_SIGMA_UM, float(np.sqrt(np.sum(rest_um[used] ** 2) / freedom)))
    pairs = tuple(
        LandmarkPair(
            name=name,
            then_xy_um=then_xy_um[name],
            today_xy_um=today_xy_um[name],
            residual_um=round(float(rest_um[n]), 2),
            used=bool(used[n]),
        )
        for n, name in enumerate(names)
    )
    return AlignmentRecord(
        animal=animal,
        session=session,
        reference_session=reference_session,
        today_from_then=TransformRecord.of(lateral_pose(pose)),
        sigma_um=round(sigma_um, 2),
        stretch=round(stretch_of(then[used], today[used]), 5),
        pairs=pairs,
    )


def stretch_of(then_yx_um: Floats, today_yx_um: Floats) -> float:
    """Return by how much points lie farther apart today, a share: -0.05 is 5 % closer."""
    scaled = fit_motion(then_yx_um, today_yx_um, np.ones(len(then_yx_um)), with_scale=True)
    return float(np.sqrt(abs(np.linalg.det(scaled.matrix[:2, :2])))) - 1.0


def _odd_one(then: Floats, today: Floats) -> int | None:
    """Return the landmark without which the others fit far better, None when there is none."""
    if len(then) <= LEAST_PAIRS:
        return None
    rest, missed = np.zeros(len(then)), np.zeros(len(then))
    for each in range(len(then)):
        others = np.arange(len(then)) != each
        motion = fit_motion(then[others], today[others], np.ones(int(others.sum())))
        off_um = np.linalg.norm(motion.apply(then) - today, axis=1)
        rest[each], missed[each] = float(np.sqrt(np.mean(off_um[others] ** 2))), off_um[each]
    odd = int(np.argmin(rest))
    return odd if missed[odd] > max(ODD_UM, ODD_TIMES * rest[odd]) else None


def _refuse_contradictions(names: list[str], then: Floats, today: Floats, used: Floats, rest_um: Floats) -> None:
    """Raise when what is left is too little to outvote the odd one, or is stretched more than tissue is."""
    told = ", ".join(f"{name} {rest:.0f} um off" for name, rest in zip(names, rest_um, strict=True))
    if used.sum() == LEAST_PAIRS and len(names) > LEAST_PAIRS:
        raise RelocationError(
            f"the landmarks contradict each other ({told}); {names[int(np.argmin(used))]} seems to be another place: "
            "centre it again, or leave it out"
        )
    apart_um = float(np.linalg.norm(then[used] - then[used].mean(axis=0), axis=1).max())
    if apart_um < LEAST_SIGMA_UM:
        raise RelocationError(f"the landmarks lie {2 * apart_um:.0f} um apart; give two that are far from each other")
    stretch = stretch_of(then[used], today[used])
    if abs(stretch) > MOST_STRETCH:
        raise RelocationError(
            f"today the landmarks lie {abs(stretch) * 100:.0f} % {'farther apart' if stretch > 0 else 'closer'} than "
            f"then (limit {MOST_STRETCH * 100:.0f} %; {told}); one of them is another place: centre them again"
        )
    if float(np.sqrt(np.mean(rest_um[used] ** 2))) > 2 * ODD_UM:
        raise RelocationError(f"the landmarks do not fit the map ({told}); centre them again")


def photograph_on_image(
    photograph_yx_um: Mapping[str, tuple[float, float]], image_yx_um: Mapping[str, Floats]
) -> Transform:
    """Return the map from a photograph to an image as the camera would show it, told by landmarks, (y, x, 1), um.

    Raises
    ------
    RelocationError
        When they are fewer than two, or the photograph's pixel size is wrong by more than 5 %.
    """
    names = list(image_yx_um)
    if len(names) < LEAST_PAIRS:
        raise RelocationError(f"{len(names)} landmark was given; a photograph needs {LEAST_PAIRS}, far apart")
    photograph, image = (np.array([places[name] for name in names]) for places in (photograph_yx_um, image_yx_um))
    stretch = stretch_of(photograph, image)
    if abs(stretch) > MOST_STRETCH:
        raise RelocationError(
            f"the landmarks lie {abs(stretch) * 100:.0f} % {'farther apart' if stretch > 0 else 'closer'} on the stage "
            f"than in the photograph (limit {MOST_STRETCH * 100:.0f} %); check --pixel-um and the landmarks"
        )
    return fit_motion(photograph, image, np.ones(len(names)), with_scale=True)
