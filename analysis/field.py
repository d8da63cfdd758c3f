"""One field over all its sessions: the conductor of the analysis.

Registers the stacks, finds the dendrites in all of them, detects the spines of each session, joins them to tracks, asks
every session about every track, and tells what became of each. The session at the rig, the command line and the
re-analysis all call :func:`analyse_field`, so they give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from analysis.carry import CarriedDendrite, carry_dendrites, find_field_dendrites, refuse_outside
from analysis.centreline import is_within
from analysis.detect import Spine
from analysis.errors import StackError
from analysis.jobs import small_sums_in_one_thread, two_at_a_time
from analysis.marks import Marks, refuse_misplaced, track_marks
from analysis.model import Dendrite, Floats, SpineState, Stack, Transform, Verdict
from analysis.noise import Noise, estimate_noise
from analysis.presence import Presence
from analysis.register import UNSURE_PROBABILITY, StackRegistration, register_stacks
from analysis.size import measure_head_sizes
from analysis.tables import (
    DENDRITE_COLUMNS,
    FATE_COLUMNS,
    SPINE_COLUMNS,
    TRACK_COLUMNS,
    clear_outputs,
    make_table,
    states_table,
    write_table,
)
from analysis.trace import trace_dendrites
from analysis.tracking import Survey, TrackedSpine, survey_session, track_spines, weigh_tracks
from analysis.visibility import (
    LEAST_CONTRAST_LEFT,
    LEAST_HEAD_SIGMA,
    MOST_CLIPPED,
    Visibility,
    hide_unseen,
    judge_sessions,
)

LEAST_VOXELS = (3, 16, 16)
LEAST_EXTENT_UM = (2.0, 10.0, 10.0)  # of a dendrite at least 15 um are traced
LARGEST_LATERAL_UM = 1.0  # the thickness of a dendrite
LEAST_SHOWN = 0.8  # of the dendrites, not to be warned of
CLIPPED_TOLD = 0.05  # of the shafts
CLIPPED_EVERY = 5  # points of a line, which lie 0.2 um apart
MOST_EMPTY = 0.2
COARSE_VOXEL_UM = 0.3  # the head of a spine is 0.3-0.8 um wide
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class FieldAnalysis:
    """Everything that is known of a field, as tables; coordinates in um in each session's own stack frame.

    Parameters
    ----------
    spines
        One row a spine that is present in a session; ``spine_id`` is its track.
    dendrites
        Centreline points of every dendrite in every session; the same number of points in each.
    tracks
        One row an observed spine; equal ``track_id`` = the same spine.
    fates
        What became of every track between consecutive sessions.
    reference_from_session
        Rigid map from each session's stack frame to that of the first.
    presence
        The verdict on every track in every session, also where it is absent: row ``track_id``, column session.
    warnings
        What must be known before the numbers are believed, one sentence each.
    followed
        What each row of ``presence`` was told from.
    """

    spines: pd.DataFrame
    dendrites: pd.DataFrame
    tracks: pd.DataFrame
    fates: pd.DataFrame
    reference_from_session: tuple[Transform, ...]
    presence: Presence
    warnings: tuple[str, ...] = ()
    followed: tuple[TrackedSpine, ...] = ()

    @property
    def states(self) -> pd.DataFrame:
        """State of every track in every session."""
        known = self.presence
        return states_table(range(len(known.state)), known.state.tolist(), known.probability.tolist())

    def write_tables(self, folder: Path, *, parquet: bool = False) -> list[Path]:
        """Write the four tables as CSV (and parquet) and return the CSV files.

        Report and pictures of an earlier analysis are removed before, so that they never stand beside other tables.

        Raises
        ------
        StackError
            A file of an earlier analysis cannot be removed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"spines": self.spines, "dendrites": self.dendrites, "tracks": self.tracks, "fates": self.fates}
        clear_outputs(folder, list(tables))
        files = []
        for name, table in tables.items():
            files.append(folder / f"{name}.csv")
            write_table(table, files[-1], parquet=parquet)
        return files


@small_sums_in_one_thread()
def analyse_field(
    stacks: Sequence[Stack],
    *,
    dendrites: Sequence[Dendrite] | None = None,
    weights: Path | Sequence[Path] | None = None,
    marks: Marks | None = None,
    progress: Progress | None = None,
) -> FieldAnalysis:
    """Analyse the stacks of one field, in the order of the sessions.

    Parameters
    ----------
    stacks
        One stack a session; the first is the reference.
    dendrites
        Centrelines in the first stack; traced when not given.
    weights
        Weights of the spine network, trained by a laboratory on its own stacks, for all stacks or one file for each;
        the program's when not given.
    marks
        The spines of every session, when a person marked them; detected when not given.
    progress
        Is told what is being done, and the share done, 0 to 1.

    Raises
    ------
    StackError
        When there is no stack, a stack is too small, too coarse or shows another field than the first, or the given
        dendrites lie outside the first, or a mark outside its stack.
    """
    tell = progress or (lambda _text, _share: None)
    if not stacks:
        raise StackError("No stack to analyse: give at least one stack of the field.")
    for stack in stacks:
        _refuse_unusable(stack)
    if dendrites is not None:
        refuse_outside(stacks[0], dendrites)
    if marks is not None:
        refuse_misplaced(marks, stacks)
    traced, found, noises = _look(stacks, tell, trace=dendrites is None)
    transforms = [Transform.identity() if one is None else one for one in found]
    carried = _find_dendrites(stacks, traced, transforms, dendrites, tell)
    lines = [[one.dendrites[session] for one in carried] for session in range(len(stacks))]
    if marks is not None:
        tell("linking the marks over the sessions", 0.7)
        surveys, tracks, presence = track_marks(
            stacks, carried, marks if dendrites is not None else marks.without_dendrites()
        )
        visibility = _judge_visibility(stacks, lines, found, surveys, [], noises=noises)
    else:
        surveys = _survey(stacks, lines, weights, tell)
        tell("matching spines over the sessions", 0.9)
        tracks = track_spines(surveys, carried)
        visibility = _judge_visibility(stacks, lines, found, surveys, tracks, noises=noises)
        tracks = hide_unseen(tracks, visibility)
        presence = weigh_tracks(tracks, len(stacks))
    ever = np.flatnonzero((presence.state == SpineState.PRESENT).any(axis=1))
    tracks, presence = [tracks[i] for i in ever], presence.of(ever)
    tell("done", 1.0)
    return FieldAnalysis(
        make_table(_spine_rows(stacks, noises, surveys, tracks, presence), SPINE_COLUMNS),
        make_table(_dendrite_rows(carried), DENDRITE_COLUMNS),
        make_table(_track_rows(tracks, presence), TRACK_COLUMNS),
        make_table(_fate_rows(presence), FATE_COLUMNS),
        tuple(transforms),
        presence,
        (*_warnings(stacks, carried, ever.size), *_warnings_of_sessions(stacks, lines, visibility)),
        tuple(tracks),
    )


def link_marks(
    stacks: Sequence[Stack], heads_zyx_um: Sequence[ArrayLike], *, dendrites: Sequence[Dendrite] | None = None
) -> list[NDArray[np.int64]]:
    """Tell which marks of a person are the same spine: for each session the track of each of its marks, shape (n,).

    Parameters
    ----------
    stacks
        One stack a session.
    heads_zyx_um
        For each session the marked heads in its own stack frame, shape (n, 3), um.
    dendrites
        Centrelines in the first stack; traced when not given.
    """
    marks = Marks.of(heads_zyx_um)
    tracks = analyse_field(stacks, dendrites=dendrites, marks=marks).tracks
    told = []
    for session in range(len(stacks)):
        rows = tracks[tracks["session"] == session]
        places = rows[["head_z_um", "head_y_um", "head_x_um"]].to_numpy(dtype=float)
        _, row = cKDTree(places).query(marks.head_zyx_um[marks.session == session])
        told.append(rows["track_id"].to_numpy(dtype=np.int64)[np.asarray(row, dtype=np.intp)])
    return told


def _survey(
    stacks: Sequence[Stack],
    lines: Sequence[Sequence[Dendrite]],
    weights: Path | Sequence[Path] | None,
    tell: Progress,
) -> list[Survey]:
    each = [weights] * len(stacks) if weights is None or isinstance(weights, Path) else weights
    surveys = []
    for session, (stack, own, its) in enumerate(zip(stacks, lines, each, strict=True)):
        tell(f"detecting spines in {stack.name}", 0.7 + 0.2 * session / len(stacks))
        surveys.append(survey_session(stack, own, its))
    return surveys


def _judge_visibility(
    stacks: Sequence[Stack],
    lines: Sequence[Sequence[Dendrite]],
    found: Sequence[Transform | None],
    surveys: Sequence[Survey],
    tracks: Sequence[TrackedSpine],
    *,
    noises: Sequence[Noise],
) -> list[Visibility]:
    judged = judge_sessions(tracks, surveys, noises, [one is not None for one in found])
    return [replace(seen, clipped=_clipped(stack, own)) for seen, stack, own in zip(judged, stacks, lines, strict=True)]


def _refuse_unusable(stack: Stack) -> None:
    lateral_um = max(stack.voxel_um[1:])
    if lateral_um > LARGEST_LATERAL_UM:
        raise StackError(
            f"{stack.name} has pixels of {lateral_um:.3g} um, in which no dendrite of 1 um can be followed (at most "
            f"{LARGEST_LATERAL_UM:g} um). Check the voxel size; take it finer, or give it with --voxel-um Z Y X."
        )
    size_um = np.array(stack.shape) * stack.voxel_um
    if np.any(np.less(stack.shape, LEAST_VOXELS)) or np.any(size_um < LEAST_EXTENT_UM):
        told, least, voxels, least_voxels = (
            " x ".join(f"{value:.3g}" for value in values)
            for values in (size_um, LEAST_EXTENT_UM, stack.shape, LEAST_VOXELS)
        )
        raise StackError(
            f"{stack.name} is too small to show a dendrite: {voxels} voxels, {told} um (z, y, x). "
            f"Give at least {least_voxels} voxels and {least} um, and check the voxel size."
        )


def _warnings(stacks: Sequence[Stack], carried: Sequence[CarriedDendrite], tracks: int) -> list[str]:
    """Say what makes the numbers doubtful."""
    names = ", ".join(stack.name for stack in stacks)
    sizes = " x ".join(f"{size:.3g}" for size in stacks[0].voxel_um)
    told = []
    if not carried:
        told.append(f"No dendrite was found in {names}. Is the voxel size of {sizes} um (z, y, x) right?")
    elif not tracks:
        told.append(
            f"No spine was found on {len(carried)} dendrites of {names}. Is the voxel size of {sizes} um right?"
        )
    for stack in stacks:
        if max(stack.voxel_um[1:]) > COARSE_VOXEL_UM:
            told.append(
                f"{stack.name} has pixels of {max(stack.voxel_um[1:]):.2g} um: small spines cannot be seen in it and "
                f"may be counted as lost or gained (at most {COARSE_VOXEL_UM:g} um is advised)."
            )
    return told


def _warnings_of_sessions(
    stacks: Sequence[Stack], lines: Sequence[Sequence[Dendrite]], visibility: Sequence[Visibility]
) -> list[str]:
    """Say what is wrong with single sessions: blind, blurred, dim, cut off, saturated."""
    told = []
    for stack, own, seen in zip(stacks, lines, visibility, strict=True):
        points = np.concatenate([np.zeros((0, 3)), *(line.points_zyx_um for line in own)])
        within = is_within(stack, points)
        if not seen.is_recognised:
            empty = stack.recall(count_empty_planes)
            why = f"{empty} of {stack.shape[0]} planes are empty" if empty else "it shows no dendrite"
            told.append(f"{stack.name} was not recognised, {why}; all its spines are unscorable. Leave it out.")
        elif len(points) and not within.any():
            told.append(f"{stack.name} shows none of the dendrites; all its spines are unscorable.")
        elif seen.head_sigma < LEAST_HEAD_SIGMA:
            told.append(
                f"{stack.name} is too dim: a usual head stands only {seen.head_sigma:.1f} standard deviations out of "
                f"its surroundings (at least {LEAST_HEAD_SIGMA:g}); all its spines are unscorable."
            )
        elif seen.hides_small and not seen.clipped > MOST_CLIPPED:
            which = "all its spines" if seen.hides_all else "spines that are not seen in it"
            told.append(
                f"{stack.name} is blurred: heads have {max(0.0, seen.contrast_left):.0%} of the contrast that they "
                f"have in other sessions (at least {LEAST_CONTRAST_LEFT:.0%}); {which} are unscorable. Check the focus."
            )
        if seen.is_recognised and len(points) and 0.0 < within.mean() < LEAST_SHOWN:
            told.append(
                f"{stack.name} shows {within.mean():.0%} of the dendrites; spines on the others are unscorable in it."
            )
        if seen.clipped > CLIPPED_TOLD:
            unseen = ", and all its spines are unscorable" if seen.clipped > MOST_CLIPPED else ""
            told.append(
                f"{stack.name} is saturated in {seen.clipped:.0%} of the shafts: head sizes there are not to be "
                f"believed{unseen}. Take less power or gain."
            )
    return told


def _clipped(stack: Stack, lines: Sequence[Dendrite]) -> float:
    points = np.concatenate([np.zeros((0, 3)), *(line.points_zyx_um for line in lines)])
    points = points[is_within(stack, points)][::CLIPPED_EVERY]
    return stack.recall(_clipped_share, points) if len(points) and stack.saturation is not None else 0.0


def _clipped_share(stack: Stack, points_zyx_um: Floats) -> float:
    z, y, x = np.rint(stack.voxels(points_zyx_um)).astype(int).T
    return float(np.mean(stack.pixels[z, y, x] >= stack.saturation))


def count_empty_planes(stack: Stack) -> int:
    """Count the planes without any contrast: all voxels alike."""
    return sum(bool(plane.min() == plane.max()) for plane in stack.pixels)


def _look(
    stacks: Sequence[Stack], tell: Progress, *, trace: bool
) -> tuple[list[list[Dendrite]], list[Transform | None], list[Noise]]:
    """Trace the dendrites of every stack, if asked, and register it to the first: ``reference_from_session``.

    Returns
    -------
    tuple
        The lines; the transforms, None for a stack in which there is nothing to recognise; and the noise.

    Raises
    ------
    StackError
        When a stack shows another field than the first.
    """

    def look(session: int, what: str) -> list[Dendrite] | Transform | Noise | None:
        stack = stacks[session]
        if what == "registering":
            return _register(stack, stacks[0])
        return stack.recall(trace_dendrites) if what == "tracing dendrites in" else stack.recall(estimate_noise)

    jobs = [(session, "registering") for session in range(1, len(stacks))]
    jobs += [(session, "tracing dendrites in") for session in range(len(stacks)) if trace]
    jobs += [(session, "weighing the noise of") for session in range(len(stacks))]
    jobs.sort()
    answers = two_at_a_time(
        [partial(look, *job) for job in jobs],
        lambda n: tell(f"{jobs[n][1]} {stacks[jobs[n][0]].name}", 0.4 * n / len(jobs)),
    )
    lines = [answer for answer in answers if isinstance(answer, list)]
    found = [Transform.identity(), *(one for one in answers if one is None or isinstance(one, Transform))]
    for session in np.flatnonzero([one is None for one in found]).tolist() if trace else []:
        lines[session] = []
    return lines, found, [answer for answer in answers if isinstance(answer, Noise)]


def _register(today: Stack, reference: Stack) -> Transform | None:
    found = today.recall(_registered, reference)
    if found.verdict == Verdict.NOT_FOUND:
        if _shows_nothing(today):
            return None
        if _shows_nothing(reference):
            raise StackError(f"{reference.name} shows no dendrite to compare {today.name} with; leave it out.")
        raise StackError(
            f"{today.name} does not show the field of {reference.name}: their best match is right with probability "
            f"{found.probability:.2f} (at least {UNSURE_PROBABILITY:g} is asked); it scores {found.score:.2f}, "
            f"stands out by {found.margin:.2f}, and its halves agree to {found.agreement_um:.1f} um. "
            "Give stacks of one field in the order of the sessions."
        )
    return found.reference_from_today


def _shows_nothing(stack: Stack) -> bool:
    """Whether there is nothing to recognise in a stack: many planes are empty, or none shows a dendrite."""
    return stack.recall(count_empty_planes) > MOST_EMPTY * stack.shape[0] or not stack.recall(trace_dendrites)


def _registered(today: Stack, reference: Stack) -> StackRegistration:
    return register_stacks(reference, today)


def _find_dendrites(
    stacks: Sequence[Stack],
    traced: Sequence[Sequence[Dendrite]],
    transforms: Sequence[Transform],
    given: Sequence[Dendrite] | None,
    tell: Progress,
) -> list[CarriedDendrite]:
    if given is not None:
        tell("following the dendrites", 0.4)
        return carry_dendrites(stacks, 0, given, transforms)
    return find_field_dendrites(
        stacks,
        traced,
        transforms,
        lambda s: tell(f"following the dendrites of {stacks[s].name}", 0.4 + 0.3 * s / len(stacks)),
    )


def _spine_rows(
    stacks: Sequence[Stack],
    noises: Sequence[Noise],
    surveys: Sequence[Survey],
    tracks: Sequence[TrackedSpine],
    presence: Presence,
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for session, (stack, noise, survey) in enumerate(zip(stacks, noises, surveys, strict=True)):
        there: list[int] = np.flatnonzero(presence.state[:, session] == SpineState.PRESENT).tolist()
        sizes = _head_sizes(stack, noise, survey, [tracks[i].sights[session] for i in there])
        for track, (ratio, sd, clipped) in zip(there, sizes, strict=True):
            spine, probability = tracks[track].sights[session], float(presence.probability[track, session])
            place = (float(tracks[track].place_um[0]), spine.length_um, spine.side, ratio, spine.kind)
            ends = (*spine.head_zyx_um.tolist(), *spine.base_zyx_um.tolist())
            state = (probability, SpineState.PRESENT, sd, clipped)
            rows.append((session, track, tracks[track].dendrite, *ends, *place, *state))
    return rows


def _head_sizes(stack: Stack, noise: Noise, survey: Survey, spines: Sequence[Spine]) -> list[tuple[float, float, bool]]:
    """Return the head size ratio of each spine, its standard deviation, and whether the detector clipped there."""
    sizes = [(0.0, 0.0, False)] * len(spines)
    for name, evidence in survey.evidence.items():
        ours = [i for i, spine in enumerate(spines) if spine.dendrite == name]
        places = np.array([spines[i].place_um for i in ours]).reshape(-1, 3)
        found = measure_head_sizes(evidence, places, saturation=stack.saturation, noise=noise)
        for i, *size in zip(ours, found.ratio, found.sd, found.is_saturated, strict=True):
            sizes[i] = (float(size[0]), float(size[1]), bool(size[2]))
    return sizes


def _dendrite_rows(carried: Sequence[CarriedDendrite]) -> list[tuple[object, ...]]:
    sessions = len(carried[0].dendrites) if carried else 0
    return [
        (session, one.name, *point)
        for session in range(sessions)
        for one in carried
        for point in one.dendrites[session].points_zyx_um.tolist()
    ]


def _track_rows(tracks: Sequence[TrackedSpine], presence: Presence) -> list[tuple[object, ...]]:
    return [
        (session, number, *track.sights[session].head_zyx_um.tolist(), SpineState.PRESENT, float(probability))
        for number, track in enumerate(tracks)
        for session, probability in enumerate(presence.probability[number])
        if presence.state[number, session] == SpineState.PRESENT
    ]


def _fate_rows(presence: Presence) -> list[tuple[object, ...]]:
    tracks, sessions = presence.probability.shape
    told = ((s, s + 1, track, presence.fate(track, s)) for s in range(sessions - 1) for track in range(tracks))
    return [(before, after, track, *fate) for before, after, track, fate in told if fate is not None]
