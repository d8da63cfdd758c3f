"""How the fields of one session are found again: the vessels tell where to begin, every found field where to go on.

It stands between the session, which says what is looked for, and the pure arithmetic of head pose and search.
Whatever was tried is written down: where, with which overview, what the registration said.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from acquire import relocate
from acquire.errors import RelocationError, StudyError
from acquire.files import writing
from acquire.headpose import (
    FROM_STAGE,
    FROM_VESSELS,
    FROM_WIDE,
    FoundField,
    HeadPose,
    PosePrior,
    is_odd,
    learn_pose,
    left_out_residuals_um,
    propose_order,
)
from acquire.landmarks import SURFACE_FILE, read_alignment, read_landmarks
from acquire.model import FieldRecord, RelocationRecord, SessionRecord, StackPlan, StagePosition, utc_now
from acquire.relocate import Look
from acquire.rig import Rig
from acquire.store import Study, read_record, write_record
from acquire.surface import SESSION_ITSELF, WIDE
from acquire.taking import StackTaker
from analysis.model import Floats, Stack, Transform, Verdict
from analysis.register import StackRegistration, register_stacks
from analysis.stack import read_image, read_stack
from analysis.vessels import SurfaceRegistration, register_surface

RELOCATION_FILE, PICTURE_FILE = "relocation.json", "relocation.png"
CUT_SHORT = "the search was cut short"
NEAR_ZYX_UM = np.array([5.0, 5.0, 5.0])  # one sigma of where somebody moved by eye


def search_picture(study: Study, record: RelocationRecord) -> Path | None:
    """Return the picture of the last search for a field in a session, None when there is none."""
    file = study.session_folder(record.animal, record.session) / record.field / PICTURE_FILE
    return file if file.is_file() else None


class FieldFinder:
    """Finds the fields of one animal again in one session.

    Parameters
    ----------
    study, record
        The opened study and the session.
    rig
        The opened rig.
    taker
        Takes the overviews.
    progress
        Called with what is being done and its share done (0 to 1).
    """

    def __init__(
        self, study: Study, record: SessionRecord, rig: Rig, taker: StackTaker, progress: Callable[[str, float], None]
    ) -> None:
        self.record = record
        self._study, self._rig, self._taker, self._progress = study, rig, taker, progress
        self._guesses: dict[str, tuple[Transform, PosePrior]] = {}
        self._maps: dict[str, SurfaceRegistration | StackRegistration] = {}

    # ---- the head ----------------------------------------------------------------------------------------------

    def pose(self, reference_session: str) -> HeadPose:
        """Return how the head sits today against a session in which fields were kept, from all that is known now."""
        guess, prior = self._guess(reference_session)
        found = [self._found_field(*each) for each in self._found_today(reference_session)]
        return learn_pose(guess, prior, found, self._centre(reference_session))

    def knows_pose(self, reference_session: str) -> bool:
        """Tell whether anything of today was compared with a session yet, so that :meth:`pose` costs nothing."""
        then = self._study.session(self.record.animal, reference_session)
        return reference_session in self._guesses or self.is_aligned(then)

    def order(self, fields: Sequence[FieldRecord]) -> list[FieldRecord]:
        """Return fields in the order in which they are best looked for: so that the head pose is known soonest."""
        ordered: list[FieldRecord] = []
        for session in dict.fromkeys(field.reference_session for field in fields):
            own = [field for field in fields if field.reference_session == session]
            if session == self.record.name:
                ordered += own
                continue
            places = [relocate.stage_zyx_um(field.position) for field in own]
            ordered += [own[index] for index in propose_order(self.pose(session), places)]
        return ordered

    def register_surface(self, then: SessionRecord) -> SurfaceRegistration:
        """Register today's surface image to the map of an earlier session; the guess of the head pose follows.

        Raises
        ------
        RelocationError
            When the vessels do not fit the map.
        """
        image, map_image = (read_image(self._folder(each) / SURFACE_FILE) for each in (self.record, then))
        then_um, today_um = then.surface_pixel_um, self.record.surface_pixel_um
        assert then_um is not None and today_um is not None, "both sessions have a surface image"
        assert then.surface is not None and self.record.surface is not None, "both sessions have a surface image"
        landmarks = read_landmarks(self._folder(then), then.animal, then.name).on_map()
        registration = register_surface(
            map_image.pixels, image.pixels, map_pixel_um=then_um, today_pixel_um=today_um, landmarks=landmarks
        )
        self._maps[then.name] = registration
        self._log("register surface", to=then.name, verdict=registration.verdict, score=round(registration.score, 3))
        if registration.verdict is not Verdict.FOUND:
            raise RelocationError(
                f"today's vessels do not fit the map of {then.name} (score {registration.score:.2f}, "
                f"{registration.verdict}); {registration.why_scaled() or 'focus on the vessels'}, centre the "
                "window, and open a new session, or say where landmarks are today (--landmark NAME X Y)"
            )
        orientation = self._rig.config.orientation
        on_map = relocate.ImageOnStage(then.surface, then_um, _shape_2d(map_image.pixels), orientation)
        on_stage = relocate.ImageOnStage(self.record.surface, today_um, _shape_2d(image.pixels), orientation)
        pose = relocate.pose_from_surface(on_map, on_stage, registration.map_from_today)
        self._guesses[then.name] = self._aligned(then) or (pose, self._prior(then, registration, on_map))
        return registration

    def map_registration(self, then: SessionRecord) -> SurfaceRegistration | StackRegistration | None:
        """Return how today's map was last registered to that of a session, whatever it said; None before."""
        return self._maps.get(then.name)

    def register_wide(self, then: SessionRecord) -> StackRegistration:
        """Register today's wide stack to that of an earlier session; the guess of the head pose follows.

        When it is not recognised the stage coordinates alone tell where to look, as without one.
        """
        before, now = (self.wide_stack(each) for each in (then, self.record))
        registration = register_stacks(before, now)
        shift_um = [round(float(value), 1) for value in registration.reference_from_today.matrix[:3, 3]]
        said = {"verdict": registration.verdict, "score": round(registration.score, 3), "shift_zyx_um": shift_um}
        self._maps[then.name] = registration
        self._log("register wide stack", to=then.name, **said)
        guess = Transform.identity(), FROM_STAGE
        if registration.verdict is not Verdict.NOT_FOUND:
            on_stage, on_stage_now = (self._stack_on_stage(each) for each in (before, now))
            pose = relocate.pose_from_stacks(on_stage, on_stage_now, registration.reference_from_today)
            guess = pose, FROM_WIDE.or_else(registration.probability, FROM_STAGE)
        self._guesses[then.name] = self._aligned(then) or guess
        return registration

    def has_wide_stack(self, session: SessionRecord) -> bool:
        """Tell whether a session has a wide stack of the scanner."""
        return self._study.last_store(session, SESSION_ITSELF, WIDE) is not None

    def wide_stack_stage(self, session: SessionRecord) -> StagePosition:
        """Return where the middle of a session's wide stack lay on its stage."""
        return self._stack_on_stage(self.wide_stack(session)).stage

    def wide_stack(self, session: SessionRecord) -> Stack:
        """Return the wide stack of a session."""
        store = self._study.last_store(session, SESSION_ITSELF, WIDE)
        if store is None:
            raise RelocationError(f"session {session.name} has no whole wide stack; map the surface")
        return read_stack(store)

    def _stack_on_stage(self, stack: Stack) -> relocate.StackOnStage:
        stage, plan = (stack.provenance[name] for name in ("stage", "plan"))
        return relocate.StackOnStage(
            StagePosition.model_validate(stage), StackPlan.model_validate(plan), self._rig.config.orientation
        )

    def is_aligned(self, then: SessionRecord) -> bool:
        """Tell whether a person said today where landmarks are, so that the fields of a session follow."""
        return self._aligned(then) is not None

    def forget_guesses(self) -> None:
        """Guess the head pose anew: a person said where landmarks are."""
        self._guesses.clear()

    def _aligned(self, then: SessionRecord) -> tuple[Transform, PosePrior] | None:
        """Return the pose that landmarks tell, by way of the session they belong to; None when they tell nothing."""
        today, between = (read_alignment(self._folder(each)) for each in (self.record, then))
        if today is None:
            return None
        back = Transform.identity()
        if today.reference_session != then.name:
            if between is None or between.reference_session != today.reference_session:
                return None
            back = between.today_from_then.transform().inverse()
        fields = self._study.animal(self.record.animal).fields
        places = [relocate.stage_zyx_um(each.position) for each in fields if each.reference_session == then.name]
        prior = today.prior(back.apply(places)[:, 1:]) if places else FROM_VESSELS
        if today.reference_session != then.name and between is not None:
            prior = replace(prior, lateral_um=float(np.hypot(prior.lateral_um, between.sigma_um)))
        return today.today_from_then.transform() @ back, prior

    def _prior(
        self, then: SessionRecord, registration: SurfaceRegistration, on_map: relocate.ImageOnStage
    ) -> PosePrior:
        """Return how well the vessels tell where fields are: the registration, and what lies below the surface."""
        fields = self._study.animal(self.record.animal).fields
        places = [(each.position.y_um, each.position.x_um) for each in fields if each.reference_session == then.name]
        if not places:
            return FROM_VESSELS
        most_um = float(registration.uncertainty_um(on_map.stage_from_image().inverse().apply(places)).max())
        return replace(FROM_VESSELS, lateral_um=float(np.hypot(FROM_VESSELS.lateral_um, most_um)))

    def _guess(self, reference_session: str) -> tuple[Transform, PosePrior]:
        if reference_session not in self._guesses:
            then = self._study.session(self.record.animal, reference_session)
            if (aligned := self._aligned(then)) is not None:
                self._guesses[reference_session] = aligned
            elif self.record.surface is not None and then.surface is not None:
                self.register_surface(then)
            elif self.has_wide_stack(self.record) and self.has_wide_stack(then):
                self.register_wide(then)
            else:
                self._guesses[reference_session] = Transform.identity(), FROM_STAGE
        return self._guesses[reference_session]

    def _centre(self, reference_session: str) -> Floats:
        """Return the middle of all fields of a session, on today's stage, um."""
        guess, _ = self._guess(reference_session)
        fields = self._study.animal(self.record.animal).fields
        places = [
            relocate.stage_zyx_um(each.position) for each in fields if each.reference_session == reference_session
        ]
        centre: Floats = guess.apply(places).mean(axis=0)
        return centre

    # ---- a field -----------------------------------------------------------------------------------------------

    def relocate(self, field: FieldRecord, near: StagePosition | None = None) -> RelocationRecord:
        """Find a field again: predict, take an overview, register, correct until it is close; write it all down.

        ``near`` is where somebody sees it, and stands for the prediction.
        """
        started = time.perf_counter()
        predicted, sigma_um = self._predict(field) if near is None else (near, NEAR_ZYX_UM)
        if refusal := self._rig.why_not(predicted, field.overview_plan):
            raise RelocationError(f"field {field.name} is predicted at {predicted}, but there {refusal}")
        stores: list[Path] = []
        before_mj = self._study.dose_mj(self.record, field.name)

        def written(seen: relocate.SearchResult) -> RelocationRecord:
            record = seen.record(
                animal=self.record.animal,
                field=field.name,
                session=self.record.name,
                predicted=predicted,
                seconds=time.perf_counter() - started,
            )
            dose_mj = round(self._study.dose_mj(self.record, field.name) - before_mj, 4)
            more = {"sigma_zyx_um": tuple(sigma_um.tolist()), "dose_mj": dose_mj, "ended": utc_now()}
            return self._with_images(record.model_copy(update=more), field, stores)

        def keep(record: RelocationRecord) -> None:
            self._keep_earlier(field)
            write_record(self._folder(self.record) / field.name / RELOCATION_FILE, record)

        result = relocate.search(
            predicted,
            sigma_um,
            self._look(field, stores),
            field.overview_plan,
            orientation=self._rig.config.orientation,
            why_not=self._rig.why_not,
            cut_short=lambda seen: keep(written(seen).model_copy(update={"note": CUT_SHORT})),
        )
        record = self._compared_with_others(field, written(result))
        keep(record)
        self._draw(field, record)
        self._log("relocate", field=field.name, verdict=record.verdict, stage=record.position.model_dump())
        return record

    def _predict(self, field: FieldRecord) -> tuple[StagePosition, Floats]:
        """Return where a field must be today, and one sigma of it (z, y, x), um."""
        pose, then_um = self.pose(field.reference_session), relocate.stage_zyx_um(field.position)
        sigma_um = np.round(pose.uncertainty_um(then_um), 2)  # as it is written down: a replay begins with the same
        return relocate.position_of(pose.predict(then_um)), sigma_um

    def _draw(self, field: FieldRecord, record: RelocationRecord) -> None:
        """Draw a search beside its record; a picture that cannot be drawn is a warning, and fails no search."""
        folder = self._folder(self.record) / field.name
        try:
            from acquire.pictures import write_search  # brings matplotlib along

            today = read_stack(folder / str(record.telling_step.store))
            write_search(folder / PICTURE_FILE, record, self._taker.reference_overview(field), today)
        except Exception as error:  # noqa: BLE001 - whatever it is, the field was looked for and the record is written
            self._warn_once(f"there is no picture of the search for {field.name}: {' '.join(str(error).split())}")

    def last_relocation(self, field: FieldRecord) -> RelocationRecord | None:
        """Return how a field was found in this session; None when it was not looked for, or the record is damaged."""
        path = self._folder(self.record) / field.name / RELOCATION_FILE
        try:
            return read_record(path, RelocationRecord) if path.is_file() else None
        except StudyError as error:
            self._warn_once(f"what was found of {field.name} is left out, relocate it again: {error}")
            return None

    def _warn_once(self, what: str) -> None:
        if what not in self._rig.alarms:
            self._rig.alarms.append(what)
            with contextlib.suppress(StudyError):  # a full disk: what is warned of is no worse for it
                self._log("warning", what=what)

    def _look(self, field: FieldRecord, stores: list[Path]) -> Look:
        reference = self._taker.reference_overview(field)

        def look(position: StagePosition, plan: StackPlan) -> relocate.Seen:
            stores.append(self._taker.take(field, "overview", position, plan))
            today = read_stack(stores[-1])
            before = time.perf_counter()
            registration = register_stacks(reference, today)
            self._progress(f"{field.name} {registration.verdict}, score {registration.score:.2f}", 1.0)
            return relocate.Seen(position, registration, time.perf_counter() - before)

        return look

    def _with_images(self, record: RelocationRecord, field: FieldRecord, stores: list[Path]) -> RelocationRecord:
        """Add which images were compared, so that the search can be replayed."""
        folder = self._folder(self.record) / field.name
        steps = [
            step.model_copy(update={"store": store.name})
            for step, store in zip(record.steps, stores[: len(record.steps)], strict=True)  # the last may be cut short
        ]
        reference = Path(os.path.relpath(self._taker.reference_store(field), folder)).as_posix()
        return record.model_copy(update={"steps": tuple(steps), "reference_store": reference})

    def _keep_earlier(self, field: FieldRecord) -> None:
        """Keep what an earlier search of this session left under another name: nothing is overwritten."""
        folder = self._folder(self.record) / field.name
        number = next(n for n in itertools.count(1) if not list(folder.glob(f"relocation-{n}.*")))
        for name in (RELOCATION_FILE, PICTURE_FILE):
            file = folder / name
            if file.is_file():
                with writing(file):
                    file.replace(file.with_stem(f"{file.stem}-{number}"))

    def _compared_with_others(self, field: FieldRecord, record: RelocationRecord) -> RelocationRecord:
        """Add how far the field lies from where the others put it; what is far off is unsure."""
        others = [each for each in self._found_today(field.reference_session) if each[0].name != field.name]
        if record.verdict is not Verdict.FOUND or not others:
            return record
        found = [self._found_field(*each) for each in [*others, (field, record)]]
        try:
            guess, prior = self._guess(field.reference_session)
        except RelocationError as error:  # it was looked for by eye, where the vessels do not fit
            return record.model_copy(update={"note": f"not compared with other fields: {error}"})
        missed, sigmas = left_out_residuals_um(guess, prior, found, self._centre(field.reference_session))
        z_um, y_um, x_um = (round(float(value), 2) for value in missed[-1])
        changes: dict[str, Any] = {"missed_zyx_um": (z_um, y_um, x_um)}
        if is_odd(missed[-1], sigmas[-1]):
            changes["verdict"] = Verdict.UNSURE
            changes["note"] = (
                f"it looks like {field.name}, but lies {np.linalg.norm(missed[-1]):.0f} um from where "
                f"{', '.join(other.name for other, _ in others)} put it; compare the pictures of both"
            )
        return record.model_copy(update=changes)

    def _found_today(self, reference_session: str) -> list[tuple[FieldRecord, RelocationRecord]]:
        pairs = []
        for field in self._study.animal(self.record.animal).fields:
            record = self.last_relocation(field) if field.reference_session == reference_session else None
            if record is not None and record.verdict is Verdict.FOUND:
                pairs.append((field, record))
        return pairs

    def _found_field(self, field: FieldRecord, record: RelocationRecord) -> FoundField:
        turn_deg = None
        if record.reference_from_today is not None:
            pose = record.reference_from_today.transform()
            turn_deg = relocate.turn_on_stage_deg(pose, self._rig.config.orientation)
        then_um, today_um = (np.array(relocate.stage_zyx_um(place)) for place in (field.position, record.position))
        return FoundField(then_um, today_um, turn_deg)

    def _folder(self, session: SessionRecord) -> Path:
        return self._study.session_folder(session.animal, session.name)

    def _log(self, event: str, **details: Any) -> None:
        self._study.log(self.record, event, **details)


def _shape_2d(pixels: np.ndarray[Any, Any]) -> tuple[int, int]:
    return int(pixels.shape[0]), int(pixels.shape[1])
