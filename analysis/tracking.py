"""The spines of a field followed through its sessions.

Candidates of every session are mapped to the reference frame and joined to tracks, surest first. Every session is then
asked about every track at its predicted place, and all answers are weighed together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.carry import CarriedDendrite
from analysis.detect import (
    Spine,
    best_apart,
    detect_spines,
    find_peaks,
    measure_spine,
)
from analysis.evidence import Evidence, Levels
from analysis.jobs import two_at_a_time
from analysis.learned import SpineMap, find_heads, version_of
from analysis.match import match_sessions
from analysis.model import Dendrite, Floats, Stack
from analysis.presence import (
    MINIMUM_BRIGHTNESS,
    NOTHING_THERE,
    SEARCH_UM,
    TAKEN_UM,
    Answer,
    AskedScore,
    Presence,
    PresenceRules,
    compare_brightness,
    is_in_view,
    is_scorable,
    look_again,
    weigh_sessions,
)
from analysis.protrusion import ProtrusionRules
from analysis.straighten import StraightenedDendrite, straighten

TAKEN_NEAR_UM = SEARCH_UM + TAKEN_UM  # along: spines farther away take nothing of what is looked for
ASKED_SCORE = AskedScore()
DOUBTFUL_PROBABILITY = 0.2  # below this a candidate starts no track, whatever the other sessions say


@dataclass(frozen=True, eq=False)
class Survey:
    """What one session shows.

    Parameters
    ----------
    evidence
        The maps of every dendrite, by name.
    peaks_um
        Every spot beside each dendrite, however faint: (along, across, depth), shape (n, 3), um.
    log_odds
        That each of these spots is a spine, shape (n,).
    candidates
        What may be a spine, the doubtful ones included.
    is_marked
        Whether a person marked the candidates: then there are no others.
    """

    evidence: Mapping[int, Evidence]
    peaks_um: Mapping[int, Floats]
    log_odds: Mapping[int, Floats]
    candidates: Sequence[Spine]
    is_marked: bool = False


@dataclass(frozen=True, eq=False)
class TrackedSpine:
    """One spine over all sessions.

    Parameters
    ----------
    dendrite
        Number of its dendrite.
    place_um
        Mean (along, across, depth) on the reference dendrite, shape (3,), um.
    sights
        Its measures in each session, taken at the predicted place where nothing was seen.
    log_odds
        What each session alone says, shape (sessions,).
    scorable
        Whether each session can say anything, shape (sessions,).
    answers
        What each session said when it was asked; None where it saw the spine by itself.
    """

    dendrite: int
    place_um: Floats
    sights: tuple[Spine, ...]
    log_odds: Floats
    scorable: NDArray[np.bool_]
    answers: tuple[Answer | None, ...] = ()


def see_heads(_stack: Stack, straightened: StraightenedDendrite, weights: str | None, version: str) -> SpineMap | None:
    """Return what the network sees of a straightened dendrite; its version tells answers of others apart."""
    return find_heads(straightened, None if weights is None else Path(weights), version)


def survey_session(stack: Stack, dendrites: Sequence[Dendrite], weights: Path | None = None) -> Survey:
    """Straighten and search every dendrite of one stack, with a network's own weights when they are given."""
    network = None if weights is None else str(weights), version_of(weights)

    def look_at(dendrite: Dendrite) -> Evidence:
        straightened = stack.recall(straighten, dendrite)
        seen = stack.recall(see_heads, straightened, *network)

        def recall(measure: Callable[[], Levels]) -> Levels:
            def levels(_stack: Stack, _dendrite: Dendrite) -> Levels:
                return measure()

            return stack.recall(levels, dendrite)

        return Evidence.of(straightened, seen, recall)

    looked = two_at_a_time([partial(look_at, dendrite) for dendrite in dendrites])
    evidence = {dendrite.name: maps for dendrite, maps in zip(dendrites, looked, strict=True)}

    def spots(_stack: Stack, _dendrites: Sequence[Dendrite], _weights: str | None, _version: str) -> Spots:
        return find_spots(evidence, dendrites)

    found = stack.recall(spots, list(dendrites), *network)
    return Survey(evidence, found.peaks_um, found.log_odds, found.candidates)


@dataclass(frozen=True, eq=False)
class Spots:
    """What a search of all dendrites of a session ends with; the parameters as of :class:`Survey`."""

    peaks_um: Mapping[int, Floats]
    log_odds: Mapping[int, Floats]
    candidates: Sequence[Spine]


def find_spots(evidence: Mapping[int, Evidence], dendrites: Sequence[Dendrite]) -> Spots:
    """Search every dendrite of one session; of candidates too close together the best stays."""
    candidates: list[Spine] = []
    for name, maps in evidence.items():
        others = [d for d in dendrites if d.name != name]
        candidates += detect_spines(maps, others=others, least_probability=DOUBTFUL_PROBABILITY)
    if candidates:
        heads = np.stack([spine.head_zyx_um for spine in candidates])
        candidates = [candidates[i] for i in best_apart(heads, np.array([s.probability for s in candidates]))]
    peaks = {name: find_peaks(maps) for name, maps in evidence.items()}
    log_odds = {name: evidence[name].log_odds(places) for name, places in peaks.items()}
    return Spots(peaks, log_odds, candidates)


def track_spines(surveys: Sequence[Survey], carried: Sequence[CarriedDendrite]) -> list[TrackedSpine]:
    """Follow every candidate of every session through all sessions, sorted by dendrite and along."""
    tracks = _Tracker(surveys, {c.name: c for c in carried}).follow([survey.candidates for survey in surveys])
    return sorted(tracks, key=lambda track: (track.dendrite, float(track.place_um[0])))


def weigh_tracks(tracks: Sequence[TrackedSpine], sessions: int, rules: PresenceRules | None = None) -> Presence:
    """Decide for every track in which sessions it is there."""
    log_odds = np.array([track.log_odds for track in tracks]).reshape(-1, sessions)
    scorable = np.array([track.scorable for track in tracks], dtype=bool).reshape(-1, sessions)
    return weigh_sessions(log_odds, scorable, rules)


class _Tracker:
    """Joins candidates to tracks and remembers which places of each session are taken."""

    def __init__(self, surveys: Sequence[Survey], carried: Mapping[int, CarriedDendrite]) -> None:
        self._surveys = surveys
        self._carried = carried
        self._claimed: list[list[Spine]] = [[] for _ in surveys]

    def follow(self, candidates: Sequence[Sequence[Spine]]) -> list[TrackedSpine]:
        """Join the candidates of all sessions and ask the sessions that have none."""
        names = [_dendrites(some) for some in candidates]
        heads = [self._common(session, some) for session, some in enumerate(candidates)]
        beside = [self._places(0, theirs, some)[:, :2] for some, theirs in zip(heads, names, strict=True)]
        traits = [self._traits(session, some) for session, some in enumerate(candidates)]
        by_hand = any(survey.is_marked for survey in self._surveys)  # nobody marks depth as finely as it is measured
        matched = match_sessions(heads, names, beside, None if by_hand else traits)
        joined = []
        for row in matched.observation.tolist():
            joined.append({session: candidates[session][i] for session, i in enumerate(row) if i >= 0})
            for session, spine in joined[-1].items():
                self._claimed[session].append(spine)
        surest = [max(seen.values(), key=lambda spine: spine.probability) for seen in joined]
        name = _dendrites(surest)
        place = self._places(0, name, matched.place_um)
        expected = [self._predict(s, name, matched.place_um + matched.drift_um[:, s]) for s in range(len(candidates))]
        surest_first = sorted(range(len(joined)), key=lambda track: -surest[track].probability)
        return [
            self._complete(int(name[i]), place[i], joined[i], [places[i] for places in expected]) for i in surest_first
        ]

    def _common(self, session: int, spines: Sequence[Spine]) -> Floats:
        """Map the heads of spines of one session to the reference stack, shape (n, 3)."""
        heads = np.array([spine.head_zyx_um for spine in spines]).reshape(-1, 3)
        return _by_dendrite(
            lambda name, points: self._carried[name].to_reference(session, points), _dendrites(spines), heads
        )

    def _traits(self, session: int, spines: Sequence[Spine]) -> Floats:
        """Return what stays with each spine: across and depth (um) and log brightness, shape (n, 3)."""
        maps = [self._surveys[session].evidence[spine.dendrite] for spine in spines]
        bright = [float(one.brightness_at(spine.place_um)[0]) for one, spine in zip(maps, spines, strict=True)]
        places = np.array([spine.place_um for spine in spines]).reshape(-1, 3)
        return np.column_stack([places[:, 1:], np.log(np.maximum(bright, MINIMUM_BRIGHTNESS))])

    def _places(self, session: int, dendrite: NDArray[np.intp], points_zyx_um: Floats) -> Floats:
        """Return where points of one session lie in the frame of their dendrite, shape (n, 3)."""
        evidence = self._surveys[session].evidence
        return _by_dendrite(
            lambda name, points: evidence[name].straightened.dendrite_from_stack(points), dendrite, points_zyx_um
        )

    def _predict(self, session: int, dendrite: NDArray[np.intp], points_zyx_um: Floats) -> Floats:
        """Return where points of the reference stack lie beside their dendrite in one session, shape (n, 3)."""
        heads = _by_dendrite(
            lambda name, points: self._carried[name].from_reference(session, points), dendrite, points_zyx_um
        )
        return self._places(session, dendrite, heads)

    def _complete(
        self, name: int, place: Floats, seen: Mapping[int, Spine], predicted: Sequence[Floats]
    ) -> TrackedSpine:
        """Ask every session that did not see the spine by itself."""
        carried = self._carried[name]
        maps = {session: self._surveys[session].evidence[spine.dendrite] for session, spine in seen.items()}
        contrast = max(float(maps[session].contrast_at(spine.place_um)[0]) for session, spine in seen.items())
        bright = [float(maps[session].brightness_at(spine.place_um)[0]) for session, spine in seen.items()]
        known = max(carried.correlation_at(session, float(place[0])) for session in seen)
        sights, odds, scorable, answers = [], [], [], []
        for session, where in enumerate(predicted):
            if session in seen:
                sight, answer, can_tell = seen[session], None, True
            else:
                fits = min(known, carried.correlation_at(session, float(place[0])))
                sight, answer = self._ask(session, name, where, float(np.median(bright)))
                can_tell = self._can_tell(session, name, where, contrast, fits)
            sights.append(sight)
            odds.append(_log_odds(sight))
            answers.append(answer)
            scorable.append(can_tell)
        return TrackedSpine(name, place, tuple(sights), np.array(odds), np.array(scorable), tuple(answers))

    def _ask(self, session: int, name: int, predicted: Floats, brightness: float) -> tuple[Spine, Answer]:
        """Look for a spine in a session that did not see it by itself."""
        survey = self._surveys[session]
        maps = survey.evidence[name]
        if survey.is_marked:
            return measure_spine(maps, predicted, 0.0, ProtrusionRules()), Answer(NOTHING_THERE, 0.0)
        ours = [s.place_um for s in self._claimed[session] if s.dendrite == name]
        taken = np.array([at for at in ours if abs(at[0] - predicted[0]) < TAKEN_NEAR_UM]).reshape(-1, 3)
        found, looks = look_again(maps, survey.peaks_um[name], survey.log_odds[name], predicted, taken)
        answer = Answer(looks, compare_brightness(float(maps.brightness_at(found)[0]), brightness))
        sight = measure_spine(maps, found, float(expit(ASKED_SCORE(answer))), ProtrusionRules())
        if sight.probability >= DOUBTFUL_PROBABILITY:
            self._claimed[session].append(sight)
        return sight, answer

    def _can_tell(self, session: int, name: int, predicted: Floats, contrast: float, fits: float) -> bool:
        """Whether a spine of such contrast would be seen there."""
        survey = self._surveys[session]
        maps = survey.evidence[name]
        return is_in_view(maps, predicted) if survey.is_marked else is_scorable(maps, predicted, contrast, fits)


def _dendrites(spines: Sequence[Spine]) -> NDArray[np.intp]:
    return np.array([spine.dendrite for spine in spines], dtype=np.intp)


def _by_dendrite(mapped: Callable[[int, Floats], Floats], dendrite: NDArray[np.intp], points: Floats) -> Floats:
    """Map the points of each dendrite by its own map, all of one dendrite together, shape (n, 3)."""
    places = np.zeros_like(points)
    for name in np.unique(dendrite).tolist():
        ours = dendrite == name
        places[ours] = mapped(name, points[ours])
    return places


def _log_odds(spine: Spine) -> float:
    return float(logit(np.clip(spine.probability, 1e-6, 1.0 - 1e-6)))
