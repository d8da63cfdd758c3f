"""The spines of a field followed through its sessions.

Candidates of every session are mapped to the reference frame and joined to tracks, surest first. Every session is then
asked about every track at its predicted place, and all answers are weighed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.carry import CarriedDendrite
from analysis.detect import (
    LEAST_PROBABILITY,
    SEPARATION_UM,
    Spine,
    best_apart,
    detect_spines,
    find_peaks,
    measure_spine,
)
from analysis.evidence import Evidence
from analysis.match import match_sessions
from analysis.model import Dendrite, Floats, Stack
from analysis.presence import Presence, PresenceRules, is_scorable, look_again, weigh_sessions
from analysis.protrusion import ProtrusionRules
from analysis.straighten import DendriteFrame, straighten

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
    """

    evidence: Mapping[int, Evidence]
    peaks_um: Mapping[int, Floats]
    log_odds: Mapping[int, Floats]
    candidates: Sequence[Spine]


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
    """

    dendrite: int
    place_um: Floats
    sights: tuple[Spine, ...]
    log_odds: Floats
    scorable: NDArray[np.bool_]


def survey_session(stack: Stack, dendrites: Sequence[Dendrite]) -> Survey:
    """Straighten and search every dendrite of one stack."""
    evidence = {d.name: Evidence.of(stack.recall(straighten, d)) for d in dendrites}
    candidates: list[Spine] = []
    for name, maps in evidence.items():
        others = [d for d in dendrites if d.name != name]
        candidates += detect_spines(maps, others=others, least_probability=DOUBTFUL_PROBABILITY)
    if candidates:
        heads = np.stack([spine.head_zyx_um for spine in candidates])
        candidates = [candidates[i] for i in best_apart(heads, np.array([s.probability for s in candidates]))]
    peaks = {name: find_peaks(maps) for name, maps in evidence.items()}
    return Survey(
        evidence, peaks, {name: evidence[name].log_odds(places) for name, places in peaks.items()}, candidates
    )


def track_spines(surveys: Sequence[Survey], carried: Sequence[CarriedDendrite]) -> list[TrackedSpine]:
    """Follow every candidate of every session through all sessions, sorted by dendrite and along."""
    tracker = _Tracker(surveys, {c.name: c for c in carried})
    sure = [[s for s in survey.candidates if s.probability >= LEAST_PROBABILITY] for survey in surveys]
    tracks = tracker.follow(sure)
    doubtful = [[s for s in survey.candidates if s.probability < LEAST_PROBABILITY] for survey in surveys]
    tracks += tracker.follow([tracker.unclaimed(session, some) for session, some in enumerate(doubtful)])
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
        matched = match_sessions([self._common(session, some) for session, some in enumerate(candidates)])
        joined = []
        for row, place in zip(matched.observation.tolist(), matched.place_um, strict=True):
            seen = {session: candidates[session][i] for session, i in enumerate(row) if i >= 0}
            joined.append((seen, place))
            for session, spine in seen.items():
                self._claimed[session].append(spine)
        surest_first = sorted(joined, key=lambda track: -max(spine.probability for spine in track[0].values()))
        return [self._complete(seen, place) for seen, place in surest_first]

    def unclaimed(self, session: int, candidates: Sequence[Spine]) -> list[Spine]:
        """Leave out the candidates that stand where a track already does."""
        if not self._claimed[session]:
            return list(candidates)
        taken = np.stack([spine.head_zyx_um for spine in self._claimed[session]])
        nearest = [np.hypot(*(taken - spine.head_zyx_um)[:, 1:].T).min() for spine in candidates]
        return [spine for spine, distance in zip(candidates, nearest, strict=True) if distance >= SEPARATION_UM]

    def _common(self, session: int, candidates: Sequence[Spine]) -> Floats:
        """Map candidates of one session to the reference stack frame, shape (n, 3)."""
        heads = [
            self._frame(spine.dendrite).stack_from_dendrite(
                self._carried[spine.dendrite].to_reference(session, spine.place_um)
            )
            for spine in candidates
        ]
        return np.concatenate(heads) if heads else np.zeros((0, 3))

    def _frame(self, dendrite: int) -> DendriteFrame:
        return self._surveys[0].evidence[dendrite].straightened.frame

    def _complete(self, seen: Mapping[int, Spine], head_zyx_um: Floats) -> TrackedSpine:
        """Ask every session that did not see the spine by itself."""
        surest = max(seen.values(), key=lambda spine: spine.probability)
        name, carried = surest.dendrite, self._carried[surest.dendrite]
        place = self._frame(name).dendrite_from_stack(head_zyx_um)
        expected = max(
            float(self._surveys[session].evidence[spine.dendrite].contrast_at(spine.place_um)[0])
            for session, spine in seen.items()
        )
        known = max(carried.correlation_at(session, float(place[0, 0])) for session in seen)
        answers = [
            (seen[session], _log_odds(seen[session]), True)
            if session in seen
            else self._ask(session, carried, place, expected, known)
            for session in range(len(self._surveys))
        ]
        sights, odds, scorable = zip(*answers, strict=True)
        return TrackedSpine(name, place[0], sights, np.array(odds), np.array(scorable))

    def _ask(
        self, session: int, carried: CarriedDendrite, place_um: Floats, expected_contrast: float, known: float
    ) -> tuple[Spine, float, bool]:
        """Look for a spine in a session that did not see it by itself: sight, log-odds, and whether it can tell."""
        survey, name = self._surveys[session], carried.name
        maps, predicted = survey.evidence[name], carried.from_reference(session, place_um)[0]
        fits = min(known, carried.correlation_at(session, float(place_um[0, 0])))
        taken = np.array([s.place_um for s in self._claimed[session] if s.dendrite == name]).reshape(-1, 3)
        found, says = look_again(survey.peaks_um[name], survey.log_odds[name], predicted, taken)
        sight = measure_spine(maps, found, float(expit(says)), ProtrusionRules())
        if sight.probability >= DOUBTFUL_PROBABILITY:
            self._claimed[session].append(sight)
        return sight, says, is_scorable(maps, predicted, expected_contrast, fits)


def _log_odds(spine: Spine) -> float:
    return float(logit(np.clip(spine.probability, 1e-6, 1.0 - 1e-6)))
