"""Is the spine there? Asked of every session, at the place where any session saw one.

Each session answers with the log-odds of what it shows at that place. The answers are weighed together: a spine mostly
stays from one session to the next, so a doubtful sight between two clear ones is believed, and a doubtful one alone is
not. Where a session cannot answer (the edge of the stack, too dim, not the same place) it says unscorable, and such a
spine is never counted as lost or gained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.evidence import Evidence
from analysis.model import Fate, Floats, SpineState

SEARCH_UM = 0.8  # how far from its predicted place a spine may be found
SEARCH_DEPTH_UM = 3.0
PLACE_SIGMA_UM = 0.25  # how far a head lies from where two other sessions have it (real field: 0.21 um in each)
TAKEN_UM = 0.6  # a spot that close to another spine is its light
SAME_HEAD_UM = 0.3  # a place that close to another spine is its head
NOTHING_THERE = -4.0  # log-odds where not even a faint spot is seen
BRIGHTNESS_RANGE = (0.05, 3.0)  # of the expected: what is beyond is nothing, or something else
MINIMUM_BRIGHTNESS = 0.01  # of the shaft
LEAST_CORRELATION = 0.35
LEAST_SIGMA = 2.0
EDGE_DEPTH_UM = 1.0


@dataclass(frozen=True)
class PresenceRules:
    """How the sessions' answers are weighed.

    Parameters
    ----------
    base_rate
        Share of the places looked at that bear a spine, as the log-odds of one session take it.
    persistence
        Probability that a spine is still there in the next session; spines appear as often as they go. Of 5-15 % a few
        days apart, the middle.
    trust
        How much the other sessions' evidence counts beside a session's own: below 1, because what misleads one (a
        crossing axon, a bend of the shaft) misleads the others as well.
    least_probability
        From here on a spine is called present.
    """

    base_rate: float = 0.4
    persistence: float = 0.9
    trust: float = 0.3
    least_probability: float = 0.4


@dataclass(frozen=True)
class AskedScore:
    """Weights of what a session tells of a spine that it did not see by itself, but others did.

    Fitted by ``tests/bench/asking.py`` on 18 fields of simulated mice and on the recorded field rr30a (sessions 0, 1
    and 3, each seen by a network trained without it), both alike. On the mice alone it is 0.99, 0.48 and 1.27.

    Parameters
    ----------
    offset
        Log-odds where the place looks like any spine, as bright as in the other sessions.
    log_odds
        Of the place's own log-odds.
    log_brightness
        Of the logarithm of its brightness over that in the sessions that saw the spine.
    """

    offset: float = 0.53
    log_odds: float = 0.32
    log_brightness: float = 0.55

    def __call__(self, answer: Answer) -> float:
        """Return the log-odds that the spine is there."""
        return self.offset + self.log_odds * answer.log_odds + self.log_brightness * answer.log_brightness


@dataclass(frozen=True)
class Answer:
    """What a session shows at the place of a spine that others saw.

    Parameters
    ----------
    log_odds
        That a spine stands there, by the looks of it.
    log_brightness
        Logarithm of its brightness over that in the sessions that saw it.
    """

    log_odds: float
    log_brightness: float


@dataclass(frozen=True, eq=False)
class Presence:
    """The joint verdict on every track in every session.

    Parameters
    ----------
    probability
        That the spine is there, shape (tracks, sessions).
    state
        Present, absent or unscorable, shape (tracks, sessions).
    """

    probability: Floats
    state: NDArray[np.object_]

    def of(self, tracks: NDArray[np.intp]) -> Presence:
        """Return the verdict on some of the tracks."""
        return Presence(self.probability[tracks], self.state[tracks])

    def fate(self, track: int, session: int) -> tuple[Fate, float] | None:
        """Tell what became of a track until the next session, with its probability; None when it is in neither."""
        before, after = self.state[track, session], self.state[track, session + 1]
        if before == after == SpineState.ABSENT:
            return None
        if SpineState.UNSCORABLE in (before, after):
            return Fate.UNSCORABLE, 1.0
        p, q = (float(self.probability[track, s]) for s in (session, session + 1))
        if before == after:
            return Fate.STABLE, p * q
        if before == SpineState.PRESENT:
            return Fate.LOST, p * (1.0 - q)
        return Fate.GAINED, (1.0 - p) * q


def weigh_sessions(log_odds: Floats, scorable: NDArray[np.bool_], rules: PresenceRules | None = None) -> Presence:
    """Weigh the answers of all sessions together (a chain of two states, heard from both ends).

    Parameters
    ----------
    log_odds
        What each session alone says, shape (tracks, sessions).
    scorable
        Whether it can say anything, shape (tracks, sessions).
    rules
        The weights.
    """
    rules = rules or PresenceRules()
    prior = logit(rules.base_rate)
    own = np.where(scorable, log_odds, prior)
    others = _message(own - prior, rules) + _message((own - prior)[:, ::-1], rules)[:, ::-1]
    probability: Floats = expit(own + rules.trust * others)
    states = np.array([SpineState.ABSENT, SpineState.PRESENT, SpineState.UNSCORABLE], dtype=object)  # stay states
    state = states[np.where(scorable, probability >= rules.least_probability, 2)]
    return Presence(probability, state)


def _message(ratio: Floats, rules: PresenceRules) -> Floats:
    """Return what all earlier sessions say of each session, as a log-odds on top of the base rate."""
    prior = logit(rules.base_rate)
    appear = rules.base_rate * (1.0 - rules.persistence) / (1.0 - rules.base_rate)
    message = np.zeros_like(ratio)
    for session in range(1, ratio.shape[1]):
        before = expit(prior + message[:, session - 1] + ratio[:, session - 1])
        message[:, session] = logit(before * rules.persistence + (1.0 - before) * appear) - prior
    return message


def look_again(
    evidence: Evidence,
    peaks_um: Floats,
    log_odds: Floats,
    place_um: Floats,
    taken_um: Floats,
    *,
    search_um: float = SEARCH_UM,
) -> tuple[Floats, float]:
    """Look for a spine around its predicted place: return where it is most likely, and its log-odds.

    Asked is the place itself, because a head beside a brighter one is no spot of its own; and every spot near it that
    is no other spine's light.

    Parameters
    ----------
    evidence
        The dendrite's maps in the session asked.
    peaks_um
        Every spot of the dendrite there, however faint: (along, across, depth), shape (n, 3), um.
    log_odds
        Of each of these, shape (n,).
    place_um
        Where the spine should be, shape (3,), um.
    taken_um
        Places of this session's other spines, shape (n, 3), um.
    search_um
        Farthest from its place that it may be, sideways, um.
    """
    away = _apart(peaks_um, place_um[None])
    free = (away <= search_um) & (_apart(peaks_um, taken_um) >= TAKEN_UM)
    places = np.concatenate([place_um[None], peaks_um[free]])
    odds = np.concatenate([evidence.log_odds(place_um), log_odds[free] - 0.5 * (away[free] / PLACE_SIGMA_UM) ** 2])
    if _apart(place_um[None], taken_um)[0] < SAME_HEAD_UM:
        odds[0] = NOTHING_THERE
    best = int(np.argmax(odds))
    return places[best], max(float(odds[best]), NOTHING_THERE)


def compare_brightness(brightness: float, expected: float) -> float:
    """Return the logarithm of a head's brightness over that in other sessions, within what can be told from nothing."""
    faintest, brightest = BRIGHTNESS_RANGE
    return float(np.log(np.clip(brightness / max(expected, MINIMUM_BRIGHTNESS), faintest, brightest)))


def _apart(points_um: Floats, others_um: Floats) -> Floats:
    """Distance sideways from each point to the nearest other, infinite when that is in another depth or none."""
    apart = np.full(len(points_um), np.inf)
    for other in others_um:
        away = np.abs(points_um - other)
        apart = np.minimum(apart, np.where(away[:, 2] <= SEARCH_DEPTH_UM, np.hypot(away[:, 0], away[:, 1]), np.inf))
    return apart


def is_scorable(evidence: Evidence, place_um: Floats, expected_contrast: float, correlation: float) -> bool:
    """Whether a spine at this place could be seen in this session.

    Parameters
    ----------
    evidence
        The dendrite's maps in the session asked.
    place_um
        (along, across, depth), shape (3,), um.
    expected_contrast
        Contrast over shaft brightness that the spine has where it is seen.
    correlation
        How well the dendrite there fits the session it was carried from, -1 to 1.
    """
    if correlation < LEAST_CORRELATION or not evidence.shows_shaft(place_um)[0]:
        return False
    return is_in_view(evidence, place_um) and bool(expected_contrast >= LEAST_SIGMA * evidence.spread_at(place_um)[0])


def is_in_view(evidence: Evidence, place_um: Floats) -> bool:
    """Whether the stack reaches around a place (along, across, depth), shape (3,), um."""
    edges = place_um + np.array([[0.0, 0.0, -EDGE_DEPTH_UM], [0.0, 0.0, EDGE_DEPTH_UM]])
    return bool(np.all(evidence.is_inside(edges)))
