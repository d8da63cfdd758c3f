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
PLACE_SIGMA_UM = 0.4  # how well its place is predicted (elastic registration, measured)
TAKEN_UM = 0.6
NOTHING_THERE = -4.0  # log-odds where not even a faint spot is seen
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
        Probability that a spine is still there in the next session; spines appear as often as they go.
    trust
        How much the other sessions' evidence counts beside a session's own: below 1, because what misleads one (a
        crossing axon, a bend of the shaft) misleads the others as well.
    least_probability
        From here on a spine is called present.
    """

    base_rate: float = 0.4
    persistence: float = 0.8
    trust: float = 0.3
    least_probability: float = 0.4


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
    state = np.where(probability >= rules.least_probability, SpineState.PRESENT, SpineState.ABSENT).astype(object)
    state[~scorable] = SpineState.UNSCORABLE
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
    peaks_um: Floats, log_odds: Floats, place_um: Floats, taken_um: Floats, *, search_um: float = SEARCH_UM
) -> tuple[Floats, float]:
    """Look for a spine around its predicted place: return where it is most likely, and its log-odds.

    Parameters
    ----------
    peaks_um
        Every spot of the dendrite in the session asked, however faint: (along, across, depth), shape (n, 3), um.
    log_odds
        Of each of these, shape (n,).
    place_um
        Where the spine should be, shape (3,), um.
    taken_um
        Places of this session's other spines, shape (n, 3), um: a spot next to one of them is its light.
    search_um
        Farthest from its place that it may be, sideways, um.

    Returns
    -------
    tuple
        The place itself and small odds when there is no spot left near it.
    """
    away = _apart(peaks_um, place_um[None])
    near = (away <= search_um) & (_apart(peaks_um, taken_um) >= TAKEN_UM)
    if not near.any():
        return place_um, NOTHING_THERE
    odds = np.where(near, log_odds - 0.5 * (away / PLACE_SIGMA_UM) ** 2, -np.inf)
    best = int(np.argmax(odds))
    return peaks_um[best], float(odds[best])


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
