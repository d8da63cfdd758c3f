"""What the commands do with a session, with the stacks of a study, and with any lab's pictures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acquire.aligning import LEAST_PAIRS
from acquire.analysing import Progress
from acquire.cluster import do_fields
from acquire.config import RigConfig
from acquire.errors import RelocationError, StudyError
from acquire.finding import RELOCATION_FILE, search_picture
from acquire.landmarks import AlignmentRecord
from acquire.marking import NO_SESSION, LandmarkBook
from acquire.model import Light, RelocationRecord
from acquire.planning import StudyAnalysis, plan_analysis
from acquire.quality import bad_planes, name_planes
from acquire.relocate import searched
from acquire.session import Session, can_be_stopped
from acquire.store import Study, read_record
from acquire.studywork import refuse_failed
from acquire.surface import check_photograph
from analysis.errors import StackError
from analysis.model import Stack, Verdict
from analysis.register import StackRegistration
from analysis.stack import read_image
from analysis.vessels import FOUND_SCORE, SurfaceRegistration, register_surface

LISTEN_S = 0.1
Places = Mapping[str, tuple[float, float]]  # names of landmarks and their stage positions (x, y) today, um
ONE_TILE = (1, 1)
TWO_ONLY = "  two landmarks cannot check each other; give a third"
WHAT_TO_DO = {
    Verdict.UNSURE: (
        "compare reference and today in relocation.png: is it the same place, take it with acquire --accept-unsure; "
        "else say where landmarks are today (--landmark NAME X Y, two or more) and relocate again"
    ),
    Verdict.NOT_FOUND: (
        "check focus, immersion and the window; was the head re-mounted, begin a new session (--new-session); "
        "else say where landmarks are today (--landmark NAME X Y, two or more) and relocate again"
    ),
}


@dataclass(frozen=True)
class Taking:
    """How the fields of a session are taken.

    Parameters
    ----------
    resume
        Go on with what was cut short in this session: the last stack of a field, and what it lacks of its repeats.
    repeats
        Stacks of each field, one after the other: same-day repeats measure false turnover. With ``resume``, so many
        in the session.
    interval_s
        Time from the start of one repeat to the start of the next, s.
    accept_unsure
        Take fields whose verdict is unsure.
    retake
        Take the bad planes of each stack again, once, as soon as it was judged.
    match_power
        Take them with the power that gives the brightness of the day they were kept.
    """

    resume: bool = False
    repeats: int = 1
    interval_s: float = 0.0
    accept_unsure: bool = False
    retake: bool = False
    match_power: bool = False


@dataclass(frozen=True)
class SurfaceMapping:
    """How the surface is mapped.

    Parameters
    ----------
    tiles
        Rows and columns of camera images.
    photograph
        A picture from another microscope that becomes the map instead.
    pixel_um
        Its pixel size, um.
    landmarks
        Where landmarks lie today; of the photograph when there is one.
    """

    tiles: tuple[int, int] = ONE_TILE
    photograph: Path | None = None
    pixel_um: float | None = None
    landmarks: Places = field(default_factory=dict)


@can_be_stopped
def take_fields(session: Session, fields: Sequence[str] | None, taking: Taking, say: Callable[[str], None]) -> int:
    """Find fields and take their stacks; return how many were not found."""
    animal = session.record.animal
    kept = [field.name for field in session.study.animal(animal).fields]
    if not (fields or kept):
        raise StudyError(f"animal {animal} has no field yet; keep one with new-field")
    missed = 0
    for name in one_by_one(session, fields, kept):
        repeats = taking.repeats
        if taking.resume:
            repeats = session.study.stacks_left(session.record, name, repeats)
        if not repeats:
            say(f"{name}: whole already")
            if taking.retake:
                _retake(session, name, taking, say)
            continue
        try:
            verdict = session.find(name)
        except RelocationError as error:  # one field out of reach does not keep the others from being taken
            say(f"{name}: {error}")
            missed += 1
            continue
        if verdict is not Verdict.FOUND and not (taking.accept_unsure and verdict is Verdict.UNSURE):
            say(_last_search(session, name))
            say(f"{name}: {verdict}; no stack taken")
            missed += 1
            continue
        for store in session.cut_short_before(name) if taking.resume else ():
            say(f"{name}: {store} was cut short in another session and is not gone on with; a new stack is taken")
        _take_repeats(session, name, taking, repeats, say)
    return missed


def _last_search(session: Session, name: str) -> str:
    record = session.record
    file = session.study.session_folder(record.animal, record.name) / name / RELOCATION_FILE
    return tell_relocation(read_record(file, RelocationRecord), session.study)


def _take_repeats(session: Session, name: str, taking: Taking, repeats: int, say: Callable[[str], None]) -> None:
    power_mw = None
    if session.study.field(session.record.animal, name).reference_session != session.record.name:
        proposal = session.propose_power(name)
        power_mw = proposal.power_mw if taking.match_power else None
        say(f"{name}: {proposal.says}")
    for repeat in range(repeats):
        started = time.monotonic()
        session.take_stack(name, accept_unsure=taking.accept_unsure, resume=taking.resume, power_mw=power_mw)
        _say_quality(session, name, say)
        if taking.retake:
            _retake(session, name, taking, say)
        if repeat + 1 < repeats:
            _wait_until(started + taking.interval_s, session)


def _wait_until(then_s: float, session: Session) -> None:
    while time.monotonic() < then_s and not session.rig.stop_requested:
        time.sleep(LISTEN_S)


def one_by_one(session: Session, named: Sequence[str] | None, others: Sequence[str]) -> Iterator[str]:
    """Yield the fields that were named, each once; without any the others, so that the head pose is known soonest.

    Find each before the next is asked for: what was found tells which one is best looked for then.
    """
    left = list(dict.fromkeys(named or others))
    while left:
        name = (left if named else session.order(left))[0]
        left.remove(name)
        yield name


@can_be_stopped
def find_fields(
    session: Session,
    fields: Sequence[str] | None,
    *,
    only_missing: bool = False,
    found: Callable[[RelocationRecord], object] = lambda _: None,
) -> tuple[list[RelocationRecord], list[str]]:
    """Find fields again; those not named in the order in which the head pose is known soonest.

    Parameters
    ----------
    session
        The open session.
    fields
        Which; None takes all that were kept in an earlier session.
    only_missing
        Leave out those that were found in this session.
    found
        Is told of each search as it ends.

    Returns
    -------
    tuple
        The searches, and why others could not be begun, a line each.

    Raises
    ------
    StudyError
        When there is nothing to find again.
    RelocationError
        When no search could be begun.
    """
    kept = session.study.animal(session.record.animal).fields
    earlier = [field.name for field in kept if field.reference_session != session.record.name]
    if not (fields or earlier):
        raise StudyError(
            f"animal {session.record.animal} has {len(kept)} fields, none of them from an earlier session; "
            "there is nothing to find again (keep one with new-field, or give --new-session)"
        )
    if only_missing:
        known = {name: session.last_relocation(name) for name in earlier}
        earlier = [name for name, last in known.items() if last is None or last.verdict is not Verdict.FOUND]
        if not earlier:
            raise RelocationError("every field was found in this session; choose one to look for it again")
    records, refused = [], []
    for name in one_by_one(session, fields, earlier):
        try:
            records.append(session.relocate(name))
        except RelocationError as error:  # one field out of reach does not keep the others from being found
            refused.append(f"{name}: {error}")
        else:
            found(records[-1])
    if not records:
        raise RelocationError("; ".join(refused))
    return records, refused


def check_fields(study: Study, animal: str, fields: Sequence[str]) -> None:
    """Refuse fields that the animal does not have, before a session is begun for them."""
    for name in fields:
        study.field(animal, name)


def check_landmarks(study: Study, animal: str, config: RigConfig, landmarks: Places) -> None:
    """Refuse landmarks that cannot align the head, before a session is begun for them."""
    if landmarks:
        LandmarkBook(study, animal, NO_SESSION, config).alignment(landmarks)


def check_mapping(study: Study, animal: str, config: RigConfig, mapping: SurfaceMapping) -> None:
    """Refuse what cannot become a map, before a session is begun for it."""
    if mapping.photograph is None:
        if mapping.pixel_um is not None:
            raise StudyError("--pixel-um is of a photograph; give --photo too (the camera's is in the rig config)")
        check_landmarks(study, animal, config, mapping.landmarks)
        return
    if mapping.tiles != ONE_TILE:
        raise StudyError(f"--tiles is of camera images, and {mapping.photograph.name} is one photograph; leave it out")
    if mapping.pixel_um is None:
        raise StudyError(f"{mapping.photograph} does not say how large its pixels are on the brain; give --pixel-um")
    mapped = [session.name for session in study.sessions(animal) if session.surface is not None]
    if mapped:
        raise StudyError(f"animal {animal} has its map since session {mapped[0]}; leave --photo out to find it again")
    check_photograph(animal, config, mapping.photograph, mapping.pixel_um, mapping.landmarks)


def map_surface(session: Session, mapping: SurfaceMapping) -> tuple[Verdict, list[str]]:
    """Map the surface, or make a photograph the map; return the verdict and what is to be told, a line each.

    Landmarks place the photograph; without one they align the head, and today's image is taken when it was not yet.
    """
    if mapping.photograph is not None and mapping.pixel_um is not None:
        verdict, line = _tell_map(
            session, session.map_photograph(mapping.photograph, mapping.pixel_um, mapping.landmarks)
        )
        return verdict, [line, TWO_ONLY] if len(mapping.landmarks) == LEAST_PAIRS else [line]
    told = tell_alignment(session.align_by_landmarks(mapping.landmarks)) if mapping.landmarks else []
    if told and not _lacks_map(session):
        return Verdict.FOUND, told
    verdict, line = _tell_map(session, session.map_surface(mapping.tiles))
    return verdict, [line, *told]


def _lacks_map(session: Session) -> bool:
    has_camera = session.rig.config.roles.surface_camera is not None
    return session.record.surface is None if has_camera else session.needs_wide_stack()


def _tell_map(session: Session, found: SurfaceRegistration | StackRegistration | None) -> tuple[Verdict, str]:
    count = sum(not mark.refused for mark in session.landmarks())
    if found is None:
        return Verdict.FOUND, f"this is the map of {session.record.animal}; landmarks: {count}"
    told = f"{found.verdict}, score {found.score:.2f}"
    if isinstance(found, StackRegistration):
        pose = found.reference_from_today
        return found.verdict, f"{told}, yaw {pose.yaw_deg:.2f} deg, tilt {pose.tilt_deg:.2f} deg"
    recognised = f"landmarks recognised: {len(found.landmarks)} of {count}"
    return found.verdict, f"{told}, yaw {found.map_from_today.yaw_deg:.2f} deg, {recognised}"


def tell_alignment(alignment: AlignmentRecord) -> list[str]:
    """Return what landmarks told of the head, a line each."""
    told = [
        f"head turned by {alignment.yaw_deg:.2f} deg against {alignment.reference_session}, landmarks known to "
        f"{alignment.sigma_um:.0f} um, stretched by {alignment.stretch * 100:.1f} %"
    ]
    if len(alignment.pairs) == LEAST_PAIRS:
        told.append(TWO_ONLY)
    for pair in alignment.pairs:
        left_out = "" if pair.used else ": left out, it is another place"
        told.append(f"  {pair.name}: {pair.residual_um:.0f} um off{left_out}")
    return told


def tell_relocation(record: RelocationRecord, study: Study | None = None) -> str:
    """Return a line about a search, with its picture in the study; and one what to do when the field was not found."""
    at = "around" if record.verdict is Verdict.NOT_FOUND else "at"
    told = f"{record.field}: {record.verdict} {at} {record.position}, overviews taken: {len(record.steps)}"
    if record.dose_mj:
        told += f" ({record.dose_mj:.1f} mJ)"
    told += f", {record.evidence}"
    if record.note:
        told += f"; {record.note}"
    if study is not None and (picture := search_picture(study, record)) is not None:
        told += f"; {picture}"
    return told if record.verdict is Verdict.FOUND else f"{told}\n  {searched(record)}; {WHAT_TO_DO[record.verdict]}"


def _retake(session: Session, name: str, taking: Taking, say: Callable[[str], None]) -> None:
    bad = bad_planes(session.quality(name))
    if bad:
        say(f"{name}: taking {name_planes(bad)} again")
        session.retake(name, bad, accept_unsure=taking.accept_unsure)
        _say_quality(session, name, say)


def _say_quality(session: Session, name: str, say: Callable[[str], None]) -> None:
    quality = session.quality(name)
    say(f"{name}: {quality.light}, {quality.advice}; {session.study.last_store(session.record, name, 'stack')}")
    for item in quality.items:
        if item.light is not Light.GREEN:
            say(f"  {item.light}: {item.name} {item.value:.3g} {item.unit}: {item.advice}")


def analyse_study(
    folder: str, asked: StudyAnalysis, progress: Progress, say: Callable[[str], None] = lambda _line: None
) -> None:
    """Analyse the fields of a study that have stacks; say what came of each as soon as it is known.

    Raises
    ------
    StudyError
        At the end, with names and reasons, when fields could not be analysed.
    """
    with plan_analysis(folder, asked) as plan:
        for line in plan.told:
            say(line)
        failed = list(plan.failed)
        for outcome in do_fields(plan.works, progress, scheduler=asked.scheduler, workers=asked.workers):
            say(f"{outcome.name}: {outcome.fault or outcome.told}")
            if outcome.fault is not None:
                failed.append((outcome.name, outcome.fault))
    refuse_failed(failed, plan.total)


def tell_registration(found: StackRegistration, stacks: Sequence[Stack], channel: int) -> str:
    """Return a line about two stacks of one field: how they lie, or what to do when that is not known."""
    pose = found.reference_from_today
    z, y, x = pose.matrix[:3, 3]
    told = f"{found.verdict}, right with probability {found.probability:.3f}, score {found.score:.2f}"
    shift = f"shift z {z:.2f}, y {y:.2f}, x {x:.2f} um, yaw {pose.yaw_deg:.2f} deg, tilt {pose.tilt_deg:.2f} deg"
    told += {
        Verdict.FOUND: f": {shift}",
        Verdict.UNSURE: f": {shift}; look at both stacks before you use it",
        Verdict.NOT_FOUND: f", margin {found.margin:.2f} over the next best; best guess, not to be used: {shift}; "
        "check that both show one field and share half of it, and their voxel sizes (--voxel-um)",
    }[found.verdict]
    if found.is_reversed:
        told += f"; {stacks[1].name} fits better with its planes in reverse order: was it scanned from below?"
    several = [f"{channel} of {stack.channels} in {stack.name}" for stack in stacks if stack.channels > 1]
    return f"{told}; channel {', '.join(several)} (--channel takes another)" if several else told


def register_pictures(map_path: Path, today_path: Path, pixel_um: tuple[float, float] | None) -> SurfaceRegistration:
    """Register two pictures of the surface vessels; pixel sizes from the files when not given."""
    given = pixel_um or (None, None)
    pictures = [read_image(path, pixel_um=um) for path, um in zip((map_path, today_path), given, strict=True)]
    sizes = []
    for picture in pictures:
        if picture.pixel_um is None:
            raise StackError(f"{picture.name} has no pixel size; give both with --pixel-um MAP TODAY")
        sizes.append(picture.pixel_um)
    return register_surface(pictures[0].pixels, pictures[1].pixels, map_pixel_um=sizes[0], today_pixel_um=sizes[1])


def tell_surface(found: SurfaceRegistration) -> list[str]:
    """Return how two pictures of the vessels lie on each other, a line each."""
    told = f"{found.verdict}, score {found.score:.2f} (found from {FOUND_SCORE})"
    if found.verdict is Verdict.NOT_FOUND:
        return [
            f"{told}: give the pixel sizes to 5 % (--pixel-um MAP TODAY), and pictures that share half their view, are "
            "turned by at most 20 deg and not mirrored"
        ]
    y_um, x_um = found.middle_shift_um
    sigma_um = found.uncertainty_um(found.middles_um[0])[0]
    lines = [
        f"{told}: middle shifted by y {y_um:.1f}, x {x_um:.1f} um, yaw {found.map_from_today.yaw_deg:.2f} deg, scale "
        f"{found.scale:.3f}, known to {sigma_um:.1f} um in the middle of the map"
    ]
    lines += [f"warning: {why}"] if (why := found.why_scaled()) else []
    return lines + [f"  {mark.name}: {mark.residual_um:.1f} um off the fit" for mark in found.landmarks]


def surface_numbers(found: SurfaceRegistration) -> dict[str, Any]:
    """Return the numbers of a registration of two pictures, under the names that scripts read.

    ``shift_yx_um`` is the last column of the matrix, ``middle_shift_yx_um`` where the middle of today's picture lies
    from the map's; ``uncertainty_um`` one sigma in the middle of the map, None when nothing is known.
    """
    sigma_um = float(found.uncertainty_um(found.middles_um[0])[0])
    marks = [
        {
            "name": mark.name,
            "map_yx_um": [float(v) for v in mark.map_yx_um],
            "today_yx_um": [float(v) for v in mark.today_yx_um],
            "residual_um": float(mark.residual_um),
            "uncertainty_um": float(found.uncertainty_um(mark.map_yx_um)[0]),
        }
        for mark in found.landmarks
    ]
    return {
        "shift_yx_um": [float(v) for v in found.map_from_today.matrix[:2, 2]],
        "middle_shift_yx_um": [float(v) for v in found.middle_shift_um],
        "yaw_deg": found.map_from_today.yaw_deg,
        "scale": found.scale,
        "uncertainty_um": sigma_um if math.isfinite(sigma_um) else None,
        "landmarks": marks,
        "score": found.score,
        "found_from_score": FOUND_SCORE,
        "verdict": str(found.verdict),
        "warning": found.why_scaled(),
    }
