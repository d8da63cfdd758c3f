"""The spines of a field followed through its sessions.

Candidates of every session are mapped to the reference frame and joined to tracks, surest first. Every session is then
asked about every track at its predicted place, and all answers are weighed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from analysis.evidence import Evidence
from analysis.learned import SpineMap, find_heads, version_of
from analysis.match import match_sessions
from analysis.model import Dendrite, Floats, Stack
from analysis.presence import (
    NOTHING_THERE,
    Presence,
    PresenceRules,
    is_in_view,
    is_scorable,
    look_again,
    weigh_sessions,
)
from analysis.protrusion import ProtrusionRules
from analysis.straighten import DendriteFrame, StraightenedDendrite, straighten

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
    """

    dendrite: int
    place_um: Floats
    sights: tuple[Spine, ...]
    log_odds: Floats
    scorable: NDArray[np.bool_]


def see_heads(_stack: Stack, straightened: StraightenedDendrite, weights: str | None, _version: str) -> SpineMap | None:
    """Return what the network sees of a straightened dendrite; its version tells answers of others apart."""
    return find_heads(straightened, None if weights is None else Path(weights))


def survey_session(stack: Stack, dendrites: Sequence[Dendrite], weights: Path | None = None) -> Survey:
    """Straighten and search every dendrite of one stack, with a network's own weights when they are given."""
    evidence = {}
    for dendrite in dendrites:
        straightened = stack.recall(straighten, dendrite)
        seen = stack.recall(see_heads, straightened, None if weights is None else str(weights), version_of(weights))
        evidence[dendrite.name] = Evidence.of(straightened, seen)
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
        heads = [[self._common(session, spine) for spine in some] for session, some in enumerate(candidates)]
        names = [[spine.dendrite for spine in some] for some in candidates]
        beside = [
            [self._frame(0, name).dendrite_from_stack(head)[0, :2] for head, name in zip(some, theirs, strict=True)]
            for some, theirs in zip(heads, names, strict=True)
        ]
        matched = match_sessions(heads, names, beside)
        joined = []
        for row, place, drift in zip(matched.observation.tolist(), matched.place_um, matched.drift_um, strict=True):
            seen = {session: candidates[session][i] for session, i in enumerate(row) if i >= 0}
            joined.append((seen, place, drift))
            for session, spine in seen.items():
                self._claimed[session].append(spine)
        surest_first = sorted(joined, key=lambda track: -max(spine.probability for spine in track[0].values()))
        return [self._complete(*track) for track in surest_first]

    def _common(self, session: int, spine: Spine) -> Floats:
        """Map the head of a spine of one session to the reference stack, shape (3,)."""
        return self._carried[spine.dendrite].to_reference(session, spine.head_zyx_um)

    def _frame(self, session: int, dendrite: int) -> DendriteFrame:
        return self._surveys[session].evidence[dendrite].straightened.frame

    def _complete(self, seen: Mapping[int, Spine], head_zyx_um: Floats, drift_zyx_um: Floats) -> TrackedSpine:
        """Ask every session that did not see the spine by itself."""
        surest = max(seen.values(), key=lambda spine: spine.probability)
        name, carried = surest.dendrite, self._carried[surest.dendrite]
        place = self._frame(0, name).dendrite_from_stack(head_zyx_um)[0]
        expected = max(
            float(self._surveys[session].evidence[spine.dendrite].contrast_at(spine.place_um)[0])
            for session, spine in seen.items()
        )
        known = max(carried.correlation_at(session, float(place[0])) for session in seen)
        predicted = [carried.from_reference(s, head_zyx_um + drift) for s, drift in enumerate(drift_zyx_um)]
        places = [self._frame(s, name).dendrite_from_stack(head)[0] for s, head in enumerate(predicted)]
        fits = [min(known, carried.correlation_at(s, float(place[0]))) for s in range(len(places))]
        answers = [
            (seen[session], _log_odds(seen[session]), True)
            if session in seen
            else self._ask(session, name, places[session], expected, fits[session])
            for session in range(len(self._surveys))
        ]
        sights, odds, scorable = zip(*answers, strict=True)
        return TrackedSpine(name, place, sights, np.array(odds), np.array(scorable))

    def _ask(
        self, session: int, name: int, predicted: Floats, expected_contrast: float, fits: float
    ) -> tuple[Spine, float, bool]:
        """Look for a spine in a session that did not see it by itself: sight, log-odds, and whether it can tell."""
        survey = self._surveys[session]
        maps = survey.evidence[name]
        if survey.is_marked:
            return measure_spine(maps, predicted, 0.0, ProtrusionRules()), NOTHING_THERE, is_in_view(maps, predicted)
        taken = np.array([s.place_um for s in self._claimed[session] if s.dendrite == name]).reshape(-1, 3)
        found, says = look_again(survey.peaks_um[name], survey.log_odds[name], predicted, taken)
        sight = measure_spine(maps, found, float(expit(says)), ProtrusionRules())
        if sight.probability >= DOUBTFUL_PROBABILITY:
            self._claimed[session].append(sight)
        return sight, says, is_scorable(maps, predicted, expected_contrast, fits)


def _log_odds(spine: Spine) -> float:
    return float(logit(np.clip(spine.probability, 1e-6, 1.0 - 1e-6)))
