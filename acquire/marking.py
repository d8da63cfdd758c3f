"""What a person does with the landmarks of an animal: add, move, refuse, and say where they lie today.

They belong to the session that made the map, the first; later sessions see and change the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from acquire.aligning import align, refuse_beyond
from acquire.config import RigConfig
from acquire.errors import RelocationError, StudyError
from acquire.landmarks import (
    ALIGNMENT_FILE,
    LANDMARKS_FILE,
    LEAST_SIGMA_UM,
    SURFACE_FILE,
    AlignmentRecord,
    LandmarkList,
    LandmarkRecord,
    read_landmarks,
    write_landmarks,
)
from acquire.model import SessionRecord
from acquire.relocate import ImageOnStage
from acquire.store import Study, made_record, write_record
from analysis.stack import read_image

XY = tuple[float, float]
YX = tuple[float, float]
NO_SESSION = ""  # none was begun yet


class LandmarkBook:
    """The landmarks of one animal, as one of its sessions sees them.

    Parameters
    ----------
    study
        The opened study.
    animal, session
        Whose landmarks, and in which session they are seen; ``NO_SESSION`` before one is begun.
    config
        The rig: how images lie on its stage, and how far that goes.
    """

    def __init__(self, study: Study, animal: str, session: str, config: RigConfig) -> None:
        self._study, self._animal, self._session, self._config = study, animal, session, config

    def owner(self) -> SessionRecord:
        """Return the session that the landmarks belong to: the first that has any, or a map; else this one."""
        for session in self._study.sessions(self._animal):
            if session.surface is not None or (self._folder(session) / LANDMARKS_FILE).is_file():
                return session
        if self._session == NO_SESSION:
            raise StudyError(f"animal {self._animal} has no landmarks yet; map its surface first (map-surface)")
        return self._study.session(self._animal, self._session)

    def read(self) -> LandmarkList:
        """Return all landmarks."""
        owner = self.owner()
        return read_landmarks(self._folder(owner), self._animal, owner.name)

    def add(self, yx_um: YX | None, stage_xy_um: XY | None, name: str | None) -> LandmarkRecord:
        """Add one by its place in the map, or by its stage position in the session that the landmarks belong to."""
        marks = self.read()
        mark = self._placed(marks.free_name() if name is None else name, yx_um, stage_xy_um)
        self._write(_with_room(marks.added(mark), mark))
        return mark

    def move(self, name: str, yx_um: YX | None, stage_xy_um: XY | None) -> LandmarkRecord:
        """Put one elsewhere; it keeps its name, and counts again when it was refused."""
        marks = self.read()
        mark = self._placed(marks.named(name).name, yx_um, stage_xy_um)
        self._write(_with_room(marks.changed(mark), mark))
        return mark

    def refuse(self, name: str) -> LandmarkRecord:
        """Use one no more; its name is not given again."""
        marks = self.read()
        mark = marks.named(name).model_copy(update={"refused": True})
        self._write(marks.changed(mark))
        return mark

    def align(self, today_xy_um: Mapping[str, XY]) -> AlignmentRecord:
        """Write down how the head sits today, told by where landmarks lie on today's stage.

        Raises
        ------
        RelocationError
            When the landmarks are of this very session, were refused, lie beyond the stage, or contradict each other.
        """
        alignment = self.alignment(today_xy_um)
        write_record(self._study.session_folder(self._animal, self._session) / ALIGNMENT_FILE, alignment)
        return alignment

    def alignment(self, today_xy_um: Mapping[str, XY]) -> AlignmentRecord:
        """Return what :meth:`align` would write, or raise what it would: before a session is begun for it."""
        owner, marks = self.owner(), self.read()
        if owner.name == self._session:
            raise RelocationError(
                f"the landmarks of {self._animal} were named in this session ({owner.name}); there is nothing to align"
            )
        for name in today_xy_um:
            if marks.named(name).refused:
                raise RelocationError(f"landmark {name} was refused; move it to where it is, or give another")
        refuse_beyond(self._config.limits, today_xy_um)
        then_xy_um = {name: self._stage_xy_um(owner, marks.named(name)) for name in today_xy_um}
        return align(self._animal, self._session, owner.name, then_xy_um, today_xy_um)

    def _placed(self, name: str, yx_um: YX | None, stage_xy_um: XY | None) -> LandmarkRecord:
        """Return a landmark of a person, in the map when there is one."""
        owner = self.owner()
        yx_um, stage_xy_um = (None if place is None else _two_numbers(name, place) for place in (yx_um, stage_xy_um))
        if (yx_um is None) == (stage_xy_um is None):
            raise StudyError(f"landmark {name}: give either its place in the map or its stage position, one of the two")
        if stage_xy_um is not None and owner.name != self._session:
            raise StudyError(
                f"the landmarks of {self._animal} belong to session {owner.name}, and the stage stands otherwise "
                "today: give the landmark's place in the map"
            )
        if yx_um is not None and owner.surface is None:
            raise StudyError(f"session {owner.name} has no map; give the landmark's stage position")
        if yx_um is not None:
            self._refuse_off_map(owner, name, yx_um)
        if stage_xy_um is not None:
            refuse_beyond(self._config.limits, {name: stage_xy_um})
        if stage_xy_um is not None and owner.surface is not None:
            y_um, x_um = self._map_on_stage(owner).image_from_stage(stage_xy_um)
            yx_um, stage_xy_um = (round(float(y_um), 2), round(float(x_um), 2)), None
        return made_record(LandmarkRecord, name=name, map_yx_um=yx_um, stage_xy_um=stage_xy_um)

    def _refuse_off_map(self, owner: SessionRecord, name: str, yx_um: YX) -> None:
        on_map = self._map_on_stage(owner)
        height_um, width_um = (count * on_map.pixel_um for count in on_map.shape)
        if not (0 <= yx_um[0] <= height_um and 0 <= yx_um[1] <= width_um):
            raise StudyError(
                f"landmark {name}: y {yx_um[0]:g}, x {yx_um[1]:g} um lies beyond the map of {height_um:.0f} x "
                f"{width_um:.0f} um; give a place in it, from the centre of its first pixel"
            )

    def _stage_xy_um(self, owner: SessionRecord, mark: LandmarkRecord) -> XY:
        """Return the stage position of a landmark in the session that it belongs to (x, y), um."""
        if mark.map_yx_um is None:
            return mark.stage_xy_um or (0.0, 0.0)
        y_um, x_um = self._map_on_stage(owner).stage_from_image().apply(mark.map_yx_um)
        return round(float(x_um), 2), round(float(y_um), 2)

    def _map_on_stage(self, owner: SessionRecord) -> ImageOnStage:
        shape = read_image(self._folder(owner) / SURFACE_FILE).pixels.shape
        if owner.surface is None or owner.surface_pixel_um is None:
            raise StudyError(f"session {owner.name} has no map")
        return ImageOnStage(owner.surface, owner.surface_pixel_um, (shape[0], shape[1]), self._config.orientation)

    def _folder(self, session: SessionRecord) -> Path:
        return self._study.session_folder(session.animal, session.name)

    def _write(self, marks: LandmarkList) -> None:
        write_landmarks(self._study.session_folder(marks.animal, marks.session), marks)


def _two_numbers(name: str, place: XY | YX) -> tuple[float, float]:
    try:
        first, second = (float(value) for value in place)
    except (TypeError, ValueError) as error:
        raise StudyError(f"landmark {name}: {place!r} is no place; give two numbers, um") from error
    return first, second


def _with_room(marks: LandmarkList, mark: LandmarkRecord) -> LandmarkList:
    """Return the landmarks when none of them lies where this one does."""
    for other in marks.landmarks:
        places = [(mark.map_yx_um, other.map_yx_um), (mark.stage_xy_um, other.stage_xy_um)]
        apart_um = min((math.dist(a, b) for a, b in places if a and b), default=math.inf)
        if other.name != mark.name and not other.refused and apart_um < LEAST_SIGMA_UM:
            raise StudyError(
                f"landmark {mark.name} would lie {apart_um:.0f} um from {other.name} (at least {LEAST_SIGMA_UM:.0f} "
                f"um); move {other.name} instead, or refuse it first"
            )
    return marks
