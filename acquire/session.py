"""One sitting with one animal, as blocking verbs: open, map, find, take, analyse, close.

The session is the conductor at the rig: it moves, images and registers in the right order, writes everything down, and
never images a field that it has not found. What the words mean is decided elsewhere: where a field must be in
``relocate``, what spines do in ``analysis.field``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from acquire import relocate
from acquire.analysing import analyse_stores
from acquire.brightness import PowerProposal, match_power
from acquire.errors import HeadMovedError, RelocationError, RigError, StudyError
from acquire.finding import FieldFinder
from acquire.headpose import HeadPose, goniometer_advice
from acquire.images import say_shows_field
from acquire.landmarks import (
    SURFACE_FILE,
    AlignmentRecord,
    LandmarkList,
    LandmarkRecord,
    landmarks_found,
    read_alignment,
    write_landmarks,
)
from acquire.live import LiveView
from acquire.marking import LandmarkBook
from acquire.model import (
    FieldRecord,
    Light,
    QualityItem,
    QualityRecord,
    RelocationRecord,
    SessionRecord,
    StackPlan,
    StagePosition,
    TransformRecord,
    utc_now,
)
from acquire.place import compare_with_first_day
from acquire.quality import PLACE, bad_planes, judge_stack
from acquire.relocate import ImageOnStage
from acquire.rig import Remountable, Rig
from acquire.store import LIGHT_IN_NO_PLANE, Study, made_record, read_record, write_record
from acquire.surface import XY, SurfaceMapper, Tiles
from acquire.taking import StackTaker
from analysis.field import FieldAnalysis
from analysis.model import Stack, Verdict
from analysis.register import StackRegistration
from analysis.stack import read_image, read_stack
from analysis.vessels import SurfaceRegistration, find_landmarks

Progress = Callable[[str, float], None]
P = ParamSpec("P")
R = TypeVar("R")
SESSION_LASTS = timedelta(hours=12)
FOUND_LASTS = timedelta(minutes=15)  # later somebody may have moved the head: the field is looked for again


def _silent(_what: str, _share: float) -> None:
    """Show nothing."""


def can_be_stopped(verb: Callable[Concatenate[Session, P], R]) -> Callable[Concatenate[Session, P], R]:
    """Make a verb a work of its own: a wish to stop that came before is forgotten, one that comes meanwhile holds."""

    @functools.wraps(verb)
    def stoppable(session: Session, /, *args: P.args, **keywords: P.kwargs) -> R:
        with session.rig.work():
            return verb(session, *args, **keywords)

    return stoppable


class Session:
    """A sitting with one animal at one rig.

    Parameters
    ----------
    study
        The opened study.
    record
        The session's record; :meth:`open` makes or continues it.
    rig
        The opened rig.
    progress
        Called with what is being done and its share done (0 to 1).

    Attributes
    ----------
    goes_on
        Whether it was begun before and is gone on with: the head must not have been mounted anew since.
    """

    def __init__(self, study: Study, record: SessionRecord, rig: Rig, progress: Progress = _silent) -> None:
        self.study = study
        self.record = record
        self.rig = rig
        self.goes_on = False
        self._progress = progress
        self._taker = StackTaker(study, record, rig, self._tell)
        self._finder = FieldFinder(study, record, rig, self._taker, self._tell)
        self._mapper = SurfaceMapper(study, record, rig, self._taker, self._tell)
        self._book = LandmarkBook(study, record.animal, record.name, rig.config)

    @classmethod
    def open(
        cls,
        study: Study,
        animal: str,
        rig: Rig,
        *,
        experimenter: str = "",
        day: float | None = None,
        started: datetime | None = None,
        new: bool = False,
        progress: Progress = _silent,
    ) -> Session:
        """Begin a session, or go on with one of the last 12 hours that was not closed.

        Parameters
        ----------
        study, animal, rig
            Where, who, with what.
        experimenter
            Who sits at the rig, for the record.
        day
            Days since the first session; None takes it from the clock.
        started
            When the session began; None is now.
        new
            Begin a new session even when the last is still open.
        progress
            Called with what is being done and its share done (0 to 1).
        """
        earlier = study.sessions(animal)
        now = started or utc_now()
        if not new and earlier and earlier[-1].closed is None and now - earlier[-1].started < SESSION_LASTS:
            record = earlier[-1]
            if record.rig != rig.config.name:
                raise StudyError(
                    f"session {record.name} was begun with rig {record.rig}, this is {rig.config.name}; "
                    "begin a new session (--new-session)"
                )
            if day is not None and day != record.day:
                raise StudyError(
                    f"session {record.name} goes on and is of day {record.day:g}, not {day:g}; "
                    "begin a new session (--new-session)"
                )
        else:
            record = study.new_session(animal, rig=rig.config.name, experimenter=experimenter, day=day, started=started)
        if isinstance(rig.loaded, Remountable):
            rig.loaded.mount(record.number, record.day)
        session = cls(study, record, rig, progress)
        session.goes_on = bool(earlier) and record.name == earlier[-1].name
        rig.tell = session._log
        rig.surface_z_um = None if record.surface is None else record.surface.z_um
        session._log("open", rig=rig.config.name, cannot=rig.config.missing())
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the rig dark; the session can be gone on with until it is closed."""
        self.rig.close_light()
        if self.record.closed is None:
            with contextlib.suppress(StudyError):  # a full disk: what ended the block, if anything, matters more
                self._leave("leave")

    def close(self) -> None:
        """End the sitting: light off, time written down; what comes later is another session."""
        self.rig.close_light()
        self._leave("close")
        self._save(closed=utc_now())

    def stop(self) -> None:
        """Stop what the rig is doing and close the light; may be called from any thread."""
        self.rig.stop()

    # ---- verbs -------------------------------------------------------------------------------------------------

    @can_be_stopped
    def map_surface(self, tiles: Tiles = (1, 1)) -> SurfaceRegistration | StackRegistration | None:
        """Image the surface vessels where the stage stands; register them to the map of the first session.

        A rig without a surface camera takes a wide stack of its scanner's whole field instead: in the first session
        where the stage stands, later at the same stage position. What is then not recognised is told by the verdict.

        Parameters
        ----------
        tiles
            Rows and columns of camera images that make the map, around where the stage stands; neighbours share a
            fifth.

        Returns
        -------
        SurfaceRegistration | StackRegistration | None
            How today's vessels, or today's wide stack, lie in the first; None in the session that makes the map.

        Raises
        ------
        RelocationError
            When the vessels do not fit the map.
        RigError
            When an image lies beyond the limits, before anything is moved; or the rig has nothing to map with.
        """
        self._progress("surface", 0.0)
        self._refuse_second_map()
        if self.rig.config.roles.surface_camera is None:
            return self._map_wide(tiles)
        stage, pixel_um = self._mapper.keep_image(tiles), self.rig.config.surface_pixel_um
        first = next((s for s in self.study.sessions(self.record.animal) if s.surface is not None), None)
        if first is None:
            points = find_landmarks(read_image(self._folder() / SURFACE_FILE).pixels, pixel_um or 1.0)
            self._keep_landmarks(landmarks_found(self.record.animal, self.record.name, points))
        self._keep_map(stage, pixel_um)
        if first is None:
            return None
        registration = self._finder.register_surface(first)
        self._progress("surface", 1.0)
        return registration

    def map_photograph(
        self, file: Path, pixel_um: float, today_xy_um: Mapping[str, XY] | None = None
    ) -> SurfaceRegistration | None:
        """Make a photograph from another microscope the map of an animal that has none.

        Parameters
        ----------
        file
            PNG or TIFF.
        pixel_um
            Its pixel size, um.
        today_xy_um
            Stage positions (x, y) of landmarks of the photograph, um; without them the camera's image is registered
            to it.

        Raises
        ------
        RelocationError
            When the camera's image is not found in it; the message says how to turn it and names its landmarks.
        """
        self._refuse_second_map()
        owner = self._book.owner()
        if owner.name != self.record.name:
            raise StudyError(f"animal {self.record.animal} has its map since session {owner.name}")
        found = self._mapper.keep_photograph(file, pixel_um, today_xy_um or {})
        self._keep_landmarks(found.landmarks)
        self._keep_map(found.middle, found.pixel_um)
        return found.registration

    def _refuse_second_map(self) -> None:
        if self.record.surface is not None:
            raise StudyError(f"session {self.record.name} has its surface image; open a new session for another")

    def _keep_map(self, stage: StagePosition, pixel_um: float | None) -> None:
        self._save(surface=stage, surface_pixel_um=pixel_um)
        self.rig.surface_z_um = stage.z_um
        self._log("surface", stage=stage.model_dump())

    def _keep_landmarks(self, marks: LandmarkList) -> None:
        if not self._book.read().landmarks:
            write_landmarks(self._folder(), marks)

    def _map_wide(self, tiles: Tiles) -> StackRegistration | None:
        plan = self._mapper.wide_plan(self.study.record.overview_plan)
        if plan is None or tiles != (1, 1):
            raise RigError(
                f"rig {self.rig.config.name} has no surface camera (roles.surface_camera)"
                + (", and its scanner shows no more than an overview does" if plan is None else f" for tiles {tiles}")
            )
        if self._finder.has_wide_stack(self.record):
            raise StudyError(f"session {self.record.name} has its wide stack; open a new session for another")
        first = next((s for s in self.study.sessions(self.record.animal) if self._finder.has_wide_stack(s)), None)
        here = self.rig.position()
        self._mapper.keep_wide(plan, here if first is None else self._finder.wide_stack_stage(first))
        self.rig.move_to(here)
        return None if first is None else self._finder.register_wide(first)

    def needs_wide_stack(self) -> bool:
        """Tell whether the scanner's whole field is this session's map, and was not taken yet."""
        by_scanner = self.rig.config.roles.surface_camera is None
        can = by_scanner and self._mapper.wide_plan(self.study.record.overview_plan) is not None
        return can and not self._finder.has_wide_stack(self.record)

    def landmarks(self) -> tuple[LandmarkRecord, ...]:
        """Return the landmarks of the animal's map, in the order in which they were made."""
        return self._book.read().landmarks

    def add_landmark(
        self, yx_um: XY | None = None, name: str | None = None, *, stage_xy_um: XY | None = None
    ) -> LandmarkRecord:
        """Add a landmark by its place in the map (y, x), or its stage position (x, y) in the session that maps, um."""
        mark = self._book.add(yx_um, stage_xy_um, name)
        self._log("add landmark", **mark.model_dump(mode="json"))
        return mark

    def move_landmark(self, name: str, yx_um: XY | None = None, *, stage_xy_um: XY | None = None) -> LandmarkRecord:
        """Put a landmark elsewhere; it keeps its name."""
        mark = self._book.move(name, yx_um, stage_xy_um)
        self._log("move landmark", **mark.model_dump(mode="json"))
        return mark

    def refuse_landmark(self, name: str) -> LandmarkRecord:
        """Use a landmark no more; its name is not given again."""
        mark = self._book.refuse(name)
        self._log("refuse landmark", name=name)
        return mark

    def align_by_landmarks(self, today_xy_um: Mapping[str, XY]) -> AlignmentRecord:
        """Tell how the head sits today by where landmarks are; fields are looked for accordingly from now on.

        Parameters
        ----------
        today_xy_um
            Stage position (x, y) of each landmark today, um: read off when it is centred under the objective, or
            clicked in today's image. At least two, far apart; with four and more one that is wrong is left out.

        Raises
        ------
        RelocationError
            When they contradict each other, or are stretched against the map by more than 5 %.
        """
        alignment = self._book.align(today_xy_um)
        self._finder.forget_guesses()
        self._log("align", **alignment.model_dump(mode="json", exclude={"animal", "session", "format_version"}))
        return alignment

    @can_be_stopped
    def new_field(
        self,
        name: str | None = None,
        *,
        plan: StackPlan | None = None,
        overview_plan: StackPlan | None = None,
        note: str = "",
    ) -> FieldRecord:
        """Keep the place where the stage stands as a field, with an overview stack to find it again by."""
        animal = self.study.animal(self.record.animal)
        name = name or f"F{len(animal.fields) + 1:02d}"
        if any(field.name == name for field in animal.fields):
            raise StudyError(f"animal {animal.id} has a field {name} already; choose another name")
        position = self.rig.position()
        field = made_record(
            FieldRecord,
            name=name,
            position=position,
            reference_session=self.record.name,
            plan=self.rig.set_scan(plan or self.study.record.plan),
            overview_plan=self.rig.set_scan(overview_plan or self.study.record.overview_plan),
            note=note,
        )
        self._taker.take(field, "overview", position, field.overview_plan)
        self.study.save_field(animal.id, field)
        self._log("new field", field=name, stage=position.model_dump())
        return field

    @can_be_stopped
    def relocate(self, field_name: str, *, near: StagePosition | None = None) -> RelocationRecord:
        """Find a field again: predict, take an overview, register, correct, until it is close; write down every step.

        The record's verdict says whether the field was found; nothing is imaged in its place when it was not.

        Parameters
        ----------
        field_name
            The field.
        near
            Where somebody sees it: the search begins there, known to a few um, and needs no vessels.
        """
        field = self.study.field(self.record.animal, field_name)
        if field.reference_session == self.record.name:
            raise RelocationError(f"field {field_name} was kept in this session; there is nothing to find again")
        if near is None:
            self._map_surface_once(field)
        return self._finder.relocate(field, near)

    def order(self, field_names: Sequence[str]) -> list[str]:
        """Return fields in the order in which they are best looked for: so that the head pose is known soonest."""
        fields = [self.study.field(self.record.animal, name) for name in field_names]
        for field in fields:
            self._map_surface_once(field)
        return [field.name for field in self._finder.order(fields)]

    def order_so_far(self, field_names: Sequence[str]) -> list[str]:
        """Return fields in the order that :meth:`order` proposes, from what is known now; nothing is imaged for it."""
        fields = [self.study.field(self.record.animal, name) for name in field_names]
        if not all(self._finder.knows_pose(field.reference_session) for field in fields):
            return list(field_names)
        return [field.name for field in self._finder.order(fields)]

    def map_session(self) -> SessionRecord | None:
        """Return the session whose image of the vessels, or wide stack, is the animal's map; None before one is."""
        sessions = self.study.sessions(self.record.animal)
        return next((s for s in sessions if s.surface is not None or self._finder.has_wide_stack(s)), None)

    def map_registration(self) -> SurfaceRegistration | StackRegistration | None:
        """Return how today's vessels were registered to the animal's map, whatever it said; None before."""
        mapped = self.map_session()
        return None if mapped is None else self._finder.map_registration(mapped)

    def map_image(self, session: SessionRecord) -> tuple[NDArray[np.generic], ImageOnStage] | None:
        """Return a session's image of the vessels, or its wide stack from above, and how it lies on the stage."""
        orientation = self.rig.config.orientation
        if session.surface is not None and session.surface_pixel_um is not None:
            image = read_image(self.study.session_folder(session.animal, session.name) / SURFACE_FILE).pixels
            shape = int(image.shape[0]), int(image.shape[1])
            return image, ImageOnStage(session.surface, session.surface_pixel_um, shape, orientation)
        if not self._finder.has_wide_stack(session):
            return None
        stack, stage = self._finder.wide_stack(session), self._finder.wide_stack_stage(session)
        shape = int(stack.pixels.shape[1]), int(stack.pixels.shape[2])
        return stack.pixels.max(axis=0), ImageOnStage(stage, stack.voxel_um[1], shape, orientation)

    def accept_unsure(self, field_name: str) -> RelocationRecord:
        """Write down that somebody compared the pictures of a field that is unsure, and that it is this place.

        Raises
        ------
        RelocationError
            When the last search in this session did not end unsure.
        """
        found = self._finder.last_relocation(self.study.field(self.record.animal, field_name))
        if found is None or found.verdict is not Verdict.UNSURE:
            told = "was not looked for" if found is None else f"is {found.verdict}"
            raise RelocationError(f"field {field_name} {told} in this session; only what is unsure can be accepted")
        self._log("accept unsure", field=field_name, stage=found.position.model_dump(), evidence=found.evidence)
        return found

    def head_pose(self, field_name: str) -> HeadPose | None:
        """Return how the head sits today against the session in which a field was kept; None before anything tells."""
        then = self.study.field(self.record.animal, field_name).reference_session
        return self._finder.pose(then) if self._finder.knows_pose(then) else None

    @property
    def is_aligned(self) -> bool:
        """Whether a person said today where landmarks are."""
        return read_alignment(self._folder()) is not None

    def last_relocation(self, field_name: str) -> RelocationRecord | None:
        """Return the last search for a field in this session; None when it was not looked for."""
        return self._finder.last_relocation(self.study.field(self.record.animal, field_name))

    @can_be_stopped
    def watch(self, view: LiveView, field_name: str | None = None) -> str:
        """Show what is under the objective until somebody stops it; return why it ended.

        Never with more than the animal's own power limit. The light counts as that of a field when one is named.
        """
        limit_mw = self.study.animal(self.record.animal).power_limit_mw
        if limit_mw is not None:
            view.limit_power(limit_mw)
        before = self.rig.lit
        try:
            return view.run()
        finally:
            lit = self.rig.lit - before
            self._log("live", field=field_name, lit_s=round(lit.seconds, 2), mj=round(lit.mj, 2))
            if field_name is not None:
                self._log(LIGHT_IN_NO_PLANE, field=field_name, mj=round(lit.mj, 4))

    def head_advice(self, field_name: str) -> str:
        """Say how the head is turned today against when a field was kept, in words that turn a goniometer."""
        field = self.study.field(self.record.animal, field_name)
        return goniometer_advice(self._finder.pose(field.reference_session), self.rig.config.orientation)

    def _map_surface_once(self, field: FieldRecord) -> None:
        """Take today's surface image, or wide stack, when there is one to compare it with and none was taken yet."""
        then = self.study.session(self.record.animal, field.reference_session)
        if self._finder.is_aligned(then):
            return
        has_camera = self.rig.config.roles.surface_camera is not None
        lacks_image = has_camera and then.surface is not None and self.record.surface is None
        if lacks_image or (self.needs_wide_stack() and self._finder.has_wide_stack(then)):
            self.map_surface()

    def find(self, field_name: str) -> Verdict:
        """Return how surely a field is known to be where: found a moment ago, kept in this session, or found now."""
        field = self.study.field(self.record.animal, field_name)
        if field.reference_session == self.record.name:
            return Verdict.FOUND
        known = self._finder.last_relocation(field)
        if known is not None and known.verdict is Verdict.FOUND and known.is_recent(FOUND_LASTS):
            return Verdict.FOUND
        return self.relocate(field_name).verdict

    def has_whole_stack(self, field_name: str) -> bool:
        """Tell whether this session has a stack of a field, and the last one is whole."""
        last = self.study.last_store(self.record, field_name, "stack")
        return last is not None and self.study.unfinished_store(self.record, field_name) is None

    def cut_short_before(self, field_name: str) -> list[Path]:
        """Return the stacks of a field that were cut short in earlier sessions: the head has been moved since."""
        own = self.study.session_folder(self.record.animal, self.record.name)
        stores = self.study.left_out(self.record.animal, field_name)
        return [store for store in stores if own not in store.parents]

    @can_be_stopped
    def take_stack(
        self, field_name: str, *, accept_unsure: bool = False, resume: bool = False, power_mw: float | None = None
    ) -> Path:
        """Take the field's stack where it was found today, and judge it.

        Parameters
        ----------
        field_name
            The field.
        accept_unsure
            Take the stack although the verdict is ``unsure``: somebody compared the pictures.
        resume
            Go on with the stack that was cut short in this session, at its first missing plane; a new one when there
            is none.
        power_mw
            Power in the first plane of a new stack instead of the plan's, mW; what :meth:`propose_power` says.

        Raises
        ------
        RelocationError
            When the field was not found in this session, or the tissue of a stack to resume is not recognised.
        HeadMovedError
            When the stack that was taken does not show the field.
        """
        field = self.study.field(self.record.animal, field_name)
        unfinished = self.study.unfinished_store(self.record, field.name) if resume else None
        if unfinished is None:
            position, reference_from_today = self._place_today(field, accept_unsure)
            plan = field.plan if power_mw is None else field.plan.model_copy(update={"power_mw": power_mw})
            store = self._taker.take(field, "stack", position, plan, reference_from_today)
        else:
            store = self._taker.resume(field, unfinished)
        return self._judged(field, store, accept_unsure)

    @can_be_stopped
    def retake(
        self, field_name: str, planes: Sequence[int] | None = None, *, accept_unsure: bool = False
    ) -> Path | None:
        """Take planes of this session's last whole stack again, into a new stack that has its other planes.

        Parameters
        ----------
        field_name
            The field.
        planes
            Which planes; those with a red light when not given.
        accept_unsure
            Compare the new stack of a field that was unsure although it seems to show another place.

        Returns
        -------
        Path | None
            The new stack; None when no plane needs it.

        Raises
        ------
        RelocationError
            When there is no whole stack, or its tissue is not recognised any more.
        HeadMovedError
            When the new stack does not show the field; the one before is compared.
        """
        field = self.study.field(self.record.animal, field_name)
        store = self.study.last_store(self.record, field_name, "stack")
        if store is None:
            raise RelocationError(f"field {field_name} has no whole stack in this session; take one first")
        wanted = bad_planes(self.quality(field_name)) if planes is None else planes
        if not wanted:
            return None
        self._log("retake", field=field.name, store=store.name, planes=list(wanted))
        again = self._taker.retake(field, store, wanted)
        return self._judged(field, again, accept_unsure)

    def _judged(self, field: FieldRecord, store: Path, accept_unsure: bool) -> Path:
        """Judge a stack that was just taken; until it says that it shows its field, it is not compared."""
        quality = self._judge(field, store)
        place = next((item for item in quality.items if item.name == PLACE), None)
        shows_field = place is None or place.light is not Light.RED or (accept_unsure and self._was_unsure(field))
        say_shows_field(store, shows_field)
        if place is not None and not shows_field:
            raise HeadMovedError(f"{store} is kept, but not compared: {place.advice} ({place.value:.1f} um off)")
        return store

    def _judge(self, field: FieldRecord, store: Path) -> QualityRecord:
        """Write down and log how good a stack is."""
        stack, whole_depth_um, place = read_stack(store), None, None
        if field.reference_session != self.record.name:
            whole_depth_um, place = (0.0, field.plan.extent_zyx_um[0]), self._judge_place(field, stack)
        quality = judge_stack(stack, field, self.record, reference_depth_um=whole_depth_um, place=place)
        write_record(store.parent / "quality.json", quality)
        self._log("stack", field=field.name, store=store.name, quality=quality.light, advice=quality.advice)
        return quality

    def _judge_place(self, field: FieldRecord, stack: Stack) -> QualityItem | None:
        """Compare a stack with the field's first overview; None when it is too small to be recognised."""
        self._progress(f"{field.name} compare with the first day", 1.0)
        return compare_with_first_day(self._taker.reference_overview(field), stack)

    def _was_unsure(self, field: FieldRecord) -> bool:
        """Whether somebody compared the pictures of a field, because its search had ended unsure."""
        found = self._finder.last_relocation(field)
        return found is not None and found.verdict is Verdict.UNSURE

    def propose_power(self, field_name: str) -> PowerProposal:
        """Return the power that would give today's overview the brightness of the field's first one.

        Raises
        ------
        RelocationError
            When one of the two overviews is missing.
        """
        field = self.study.field(self.record.animal, field_name)
        store = self.study.last_store(self.record, field_name, "overview")
        if store is None:
            raise RelocationError(f"field {field_name} has no overview in this session; relocate it first")
        plan = self._taker.limited(field.plan)
        limit_mw = min(plan.power_limit_mw, self.rig.config.limits.power_mw)
        reference, today = self._taker.reference_overview(field), read_stack(store)
        return match_power(reference, today, plan.power_mw, limit_mw=limit_mw)

    def quality(self, field_name: str) -> QualityRecord:
        """Return what was judged of the last stack of a field in this session; judge it when that cannot be read."""
        store = self.study.last_store(self.record, field_name, "stack")
        if store is None:
            raise StudyError(f"field {field_name} has no whole stack in this session; take one first")
        written = store.parent / "quality.json"
        try:
            if written.is_file() and (quality := read_record(written, QualityRecord)).stack == store.name:
                return quality
        except StudyError as error:
            self._tell(f"{field_name} is judged anew: {error}", 0.0)
            self._log("judge anew", field=field_name, because=str(error))
        return self._judge(self.study.field(self.record.animal, field_name), store)

    def analyse(self, field_name: str) -> FieldAnalysis:
        """Compare the field's stacks over all sessions; write tables and pictures into the study."""
        stores = self.study.stacks(self.record.animal, field_name)
        if not stores:
            raise StudyError(f"field {field_name} has no complete stack yet; take one first")
        folder = self.study.analysis_folder(self.record.animal, field_name)
        done = analyse_stores([store for _, store in stores], folder, progress=self._progress)
        if done.trouble is not None:
            self._tell(done.trouble, 1.0)
        self._log("analyse", field=field_name, sessions=[session.name for session, _ in stores])
        return done.analysis

    # ---- how ---------------------------------------------------------------------------------------------------

    def _leave(self, event: str) -> None:
        lit = self.rig.lit
        self._log(event, lit_s=round(lit.seconds, 2), mj=round(lit.mj, 2), alarms=list(self.rig.alarms))

    def _place_today(self, field: FieldRecord, accept_unsure: bool) -> tuple[StagePosition, TransformRecord | None]:
        if field.reference_session == self.record.name:
            return field.position, None
        found = self._finder.last_relocation(field)
        if found is None:
            raise RelocationError(f"field {field.name} was not looked for in this session; relocate it first")
        allowed = {Verdict.FOUND, Verdict.UNSURE} if accept_unsure else {Verdict.FOUND}
        if found.verdict not in allowed:
            raise RelocationError(
                f"field {field.name} is {found.verdict} in this session ({found.steps[-1].evidence}); "
                "compare the pictures, move closer and relocate again"
            )
        pose = found.reference_from_today
        about_middle = None if pose is None else relocate.about_middle(pose.transform(), field.plan)
        return found.position, None if about_middle is None else TransformRecord.of(about_middle)

    def _folder(self) -> Path:
        return self.study.session_folder(self.record.animal, self.record.name)

    def _tell(self, what: str, share: float) -> None:
        self._progress(what, share)

    def _save(self, **changes: Any) -> None:
        self.record = self._finder.record = self.record.model_copy(update=changes)
        self.study.save_session(self.record)

    def _log(self, event: str, **details: Any) -> None:
        self.study.log(self.record, event, **details)
