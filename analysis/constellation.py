"""What the spines of a dendrite tell together of where it lies: neighbours move together.

The elastic registration may have caught on the wrong spine, and leaves a few tenths of a um elsewhere. The spines'
places themselves say so: one shift that brings many of a dendrite's spines onto those of the other sessions is likelier
than a loss and a gain of each; and what partners lie apart, smoothed along the dendrite, is no motion of theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.spatial import cKDTree

from analysis.model import Floats

Numbers = NDArray[np.intp]
Gain = Callable[[Floats], Floats]  # log-likelihood that places apart by (z, y, x) um, shape (..., 3), are one spine
SHIFT_REACH_UM = 4.0  # as far as the elastic registration looks
SHIFT_SIGMA_UM = 0.6  # how far it is off as a whole (real field: under 0.4 um on each of 5 dendrites)
GAIN_REACH_UM = 2.0  # sideways: places farther apart gain nothing by being one spine
SHIFTS_TRIED = 30  # those that most pairs of spines have in common
LEAST_SHIFT_UM = 0.8  # a smaller one is left to the course
SHIFT_EVIDENCE = 6.0  # log-likelihood by which it must be better than none: some dozens are tried
COURSE_LENGTH_UM = 10.0  # over which neighbours move together: half a window of the elastic registration
COURSE_SIGMA_UM = (1.0, 0.3, 0.3)  # what the elastic registration leaves: z, y, x
PLACE_SIGMA_UM = (0.9, 0.3, 0.3)  # how well the place of one spine is known in one session
TAIL = 4.0  # degrees of freedom: who lies far from its track tells less


@dataclass(frozen=True, eq=False)
class Sightings:
    """Where spines were seen.

    Parameters
    ----------
    places_um
        In the common frame (z, y, x), shape (n, 3).
    session, dendrite
        Of each place, shape (n,).
    """

    places_um: Floats
    session: Numbers
    dendrite: Numbers

    def of(self, some: NDArray[np.bool_]) -> Sightings:
        """Return some of them."""
        return Sightings(self.places_um[some], self.session[some], self.dendrite[some])


@dataclass(frozen=True, eq=False)
class Course:
    """How far the surroundings of a place lie off the common frame in each session.

    Parameters
    ----------
    shift_um
        What each dendrite is off as a whole, shape (dendrites, sessions, 3).
    known
        Spines that were seen in several sessions.
    rest_um
        What each of them lies off its track beside the shift, shape (n, 3).
    """

    shift_um: Floats
    known: Sightings
    rest_um: Floats

    def drift_at(self, asked: Sightings) -> Floats:
        """Return how far each place lies off, shape (n, 3), um."""
        drift = self.shift_um[asked.dendrite, asked.session]
        for dendrite, session in np.unique(np.stack([asked.dendrite, asked.session], axis=1), axis=0):
            ours = (asked.dendrite == dendrite) & (asked.session == session)
            theirs = (self.known.dendrite == dendrite) & (self.known.session == session)
            drift[ours] += smooth_rest(self.known.places_um[theirs], self.rest_um[theirs], asked.places_um[ours])
        return drift

    def told_by(self, seen: Sightings, still: Floats, group: Numbers) -> Course:
        """Return the course that the members of each group tell, the same spine in several sessions.

        Parameters
        ----------
        seen
            The spines of all sessions.
        still
            Their places without this course's drift, shape (n, 3), um.
        group
            The group of each, shape (n,).
        """
        count = np.bincount(group)
        mean = np.stack([np.bincount(group, column) for column in still.T], axis=1) / count[:, None]
        rest = seen.places_um - self.shift_um[seen.dendrite, seen.session] - mean[group]
        shared = count[group] > 1
        return Course(self.shift_um, seen.of(shared), rest[shared])


def find_shifts(seen: Sightings, sessions: int, gain: Gain) -> Course:
    """Find one shift a dendrite and session that brings its spines together; none without better evidence.

    Parameters
    ----------
    seen
        The spines of all sessions; dendrites are numbered from 0.
    sessions
        How many there are.
    gain
        What two of them gain by being one spine.
    """
    dendrites = int(seen.dendrite.max(initial=-1)) + 1
    shift = np.zeros((dendrites, sessions, 3))
    for dendrite in range(dendrites):
        ours = seen.of(seen.dendrite == dendrite)
        shift[dendrite] = _shifts([ours.places_um[ours.session == one] for one in range(sessions)], gain)
    nobody = np.zeros(len(seen.session), dtype=bool)
    return Course(shift, seen.of(nobody), np.zeros((0, 3)))


def smooth_rest(known_um: Floats, rest_um: Floats, wanted_um: Floats) -> Floats:
    """Return what neighbours lie off together (a Gaussian process), shape (m, 3), um.

    Parameters
    ----------
    known_um
        Places of a dendrite's spines in one session, shape (n, 3).
    rest_um
        How far each lies off its track, shape (n, 3).
    wanted_um
        Where it is asked, shape (m, 3).
    """
    course = np.zeros((len(wanted_um), 3))
    if not len(known_um):
        return course
    sigma = np.array(PLACE_SIGMA_UM)
    doubt = 1.0 + np.sum((rest_um / sigma) ** 2, axis=1) / TAIL
    together, asked = _nearness(known_um, known_um), _nearness(wanted_um, known_um)
    noises = (sigma / COURSE_SIGMA_UM) ** 2
    for noise in np.unique(noises):
        alike = noises == noise
        course[:, alike] = asked @ linalg.solve(together + np.diag(noise * doubt), rest_um[:, alike], assume_a="pos")
    return course


def _nearness(some_um: Floats, others_um: Floats) -> Floats:
    apart = some_um[:, None, 1:] - others_um[None, :, 1:]
    near: Floats = np.exp(-0.5 * np.sum(apart**2, axis=2) / COURSE_LENGTH_UM**2)
    return near


def _shifts(places_um: list[Floats], gain: Gain) -> Floats:
    """Bring every session of a dendrite to the one that all fit best, the mean shift zero, shape (sessions, 3), um."""
    count = len(places_um)
    shift, fit = np.zeros((count, count, 3)), np.zeros((count, count))
    for a in range(count):
        for b in range(a):
            shift[a, b], fit[a, b] = _find_shift(places_um[b], places_um[a], gain)
            shift[b, a], fit[b, a] = -shift[a, b], fit[a, b]
    if not shift.any():
        return np.zeros((count, 3))
    shifts: Floats = shift[:, int(fit.sum(axis=1).argmax())]
    filled = np.array([len(one) > 0 for one in places_um])
    return np.where(filled[:, None], shifts - shifts[filled].mean(axis=0), 0.0)


def _find_shift(there_um: Floats, here_um: Floats, gain: Gain) -> tuple[Floats, float]:
    """Return the shift from there to here that most spines support, and how well they fit then."""
    if not len(there_um) or not len(here_um):
        return np.zeros(3), 0.0
    apart = here_um[None] - there_um[:, None]
    tried = apart[np.hypot(apart[..., 1], apart[..., 2]) <= SHIFT_REACH_UM] * [0.0, 1.0, 1.0]
    if not len(tried):
        return np.zeros(3), 0.0
    alike = cKDTree(tried).query_ball_point(tried, SHIFT_SIGMA_UM, return_length=True)
    tried = np.concatenate([np.zeros((1, 3)), tried[np.argsort(-alike, kind="stable")[:SHIFTS_TRIED]]])
    near = np.nonzero(np.hypot(apart[..., 1], apart[..., 2]) <= SHIFT_REACH_UM + GAIN_REACH_UM)
    fits = np.array([_fit(near, gain(apart[near] - shift)) for shift in tried])
    fits -= 0.5 * np.sum((tried / SHIFT_SIGMA_UM) ** 2, axis=1)
    best = int(fits.argmax())
    if np.linalg.norm(tried[best]) < LEAST_SHIFT_UM or fits[best] < fits[0] + SHIFT_EVIDENCE:
        return np.zeros(3), float(fits[0])
    return tried[best], float(fits[best])


def _fit(pairs: tuple[Numbers, ...], gains: Floats) -> float:
    """Return what all places gain together, each by the partner that it gains most with."""
    best = [np.zeros(int(side.max()) + 1) for side in pairs]
    for side, most in zip(pairs, best, strict=True):
        np.maximum.at(most, side, gains)
    return 0.5 * float(sum(most.sum() for most in best))
