"""The same spine in all sessions.

The spines of all sessions, mapped into one frame, are joined to tracks, one to one, all sessions together: neither the
order of the sessions nor that of the spines matters, and a track that sessions miss goes on. Two observations are one
spine by how far they lie apart, beside what their neighbours moved (:mod:`analysis.constellation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from analysis.constellation import Course, Sightings, find_shifts
from analysis.grouping import Gains, Numbers, Row, group_observations, keep_order
from analysis.likeness import Likeness
from analysis.model import Floats

APART_SIGMA_UM = (2.0, 0.45, 0.45)  # of one spine's places in two sessions, z, y, x; real field: 1.3-2, 0.37-0.48
TAIL = 3.0  # degrees of freedom: heads turn about their foot, a few of them by more than 1 um
MATCH_GATE_UM = 1.8  # sideways; farther apart, a loss and a gain are likelier; neighbours stand 2 um apart (median)
ORDER_ODDS = 3.0  # heads of neighbours on one side keep their order: 38 of 38 pairs under 2 um (real field)
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Tracks:
    """Which observation belongs to which track.

    Parameters
    ----------
    observation
        Index of the track's observation in each session, -1 where it has none, shape (tracks, sessions).
    place_um
        Mean place of each track's observations, beside what their surroundings drifted, shape (tracks, 3).
    drift_um
        How far the surroundings of each track lie off the common frame in each session, shape (tracks, sessions, 3).
    """

    observation: NDArray[np.intp]
    place_um: Floats
    drift_um: Floats

    def __len__(self) -> int:
        return len(self.place_um)


def match_sessions(
    places_um: Sequence[ArrayLike],
    dendrites: Sequence[ArrayLike] | None = None,
    along_across_um: Sequence[ArrayLike] | None = None,
    traits: Sequence[ArrayLike] | None = None,
) -> Tracks:
    """Join the observations of all sessions to tracks.

    Parameters
    ----------
    places_um
        For each session the observed places in one common frame, depth first (z, y, x), shape (n, 3), um.
    dendrites
        For each session the number of the dendrite that each place belongs to, shape (n,): what lies on one dendrite
        moves together. All on one when not given.
    along_across_um
        For each session where each place lies along and across its dendrite, shape (n, 2), um: spines of one side
        mostly keep their order. When not given, nothing is known of the order.
    traits
        For each session what stays with a spine wherever its dendrite lies (:mod:`analysis.likeness`), shape (n, 3).
    """
    sets = [np.asarray(places, dtype=float).reshape(-1, 3) for places in places_um]
    names = [np.zeros(len(one)) for one in sets] if dendrites is None else [np.asarray(one) for one in dendrites]
    session = np.repeat(np.arange(len(sets), dtype=np.intp), [len(one) for one in sets])
    number = np.unique(np.concatenate([np.zeros(0), *names]), return_inverse=True)[1].astype(np.intp)
    seen = Sightings(np.concatenate([np.zeros((0, 3)), *sets]), session, number)
    course, group = find_shifts(seen, len(sets), same_spine_gain), np.zeros(0, dtype=np.intp)
    row = None if along_across_um is None else _rows(number, along_across_um)
    looks = None if traits is None else np.concatenate([np.asarray(one, dtype=float) for one in traits])
    likeness = None
    for _ in range(ROUNDS):
        still = seen.places_um - course.drift_at(seen)
        gains, near = _weigh_pairs(still, looks, likeness)
        before, group = group, group_observations(gains, near, session)
        group = group if row is None else keep_order(group, gains, session, row, ORDER_ODDS)
        if np.array_equal(before, group):
            break
        course = course.told_by(seen, still, group)
        likeness = None if looks is None else Likeness.told_by(looks, group)
    return _as_tracks(seen, group, course, [len(one) for one in sets])


def same_spine_gain(apart_um: Floats) -> Floats:
    """Return the log-likelihood that two observations are one spine rather than two, zero at the gate.

    Parameters
    ----------
    apart_um
        Their differences (z, y, x), shape (..., 3), um.
    """
    gate = (MATCH_GATE_UM / APART_SIGMA_UM[1]) ** 2
    squared = np.sum((apart_um / np.array(APART_SIGMA_UM)) ** 2, axis=-1)
    gain: Floats = 0.5 * (TAIL + 3.0) * (np.log1p(gate / TAIL) - np.log1p(squared / TAIL))
    return gain


def _weigh_pairs(places_um: Floats, looks: Floats | None, likeness: Likeness | None) -> tuple[Gains, Numbers]:
    """Return what pairs of places gain by being one spine, and the pairs within the gate, shape (pairs, 2)."""
    tree = cKDTree(places_um / APART_SIGMA_UM)
    near = tree.query_pairs(MATCH_GATE_UM / APART_SIGMA_UM[1], output_type="ndarray")

    def gains(some: Numbers) -> Floats:
        by_place = same_spine_gain(places_um[some][:, None] - places_um[some])
        if looks is None or likeness is None:
            return by_place
        return by_place + likeness.gain(looks[some][:, None] - looks[some])

    return gains, near.astype(np.intp)


def _rows(dendrite: Numbers, along_across_um: Sequence[ArrayLike]) -> Row:
    given = np.concatenate([np.asarray(one, dtype=float).reshape(-1, 2) for one in along_across_um])
    return Row(2 * dendrite + (given[:, 1] > 0), given[:, 0])


def _as_tracks(seen: Sightings, group: Numbers, course: Course, counts: Sequence[int]) -> Tracks:
    groups, first = np.unique(group, return_index=True)
    observation = np.full((len(groups), len(counts)), -1, dtype=np.intp)
    observation[group, seen.session] = np.concatenate([np.zeros(0, dtype=np.intp), *(np.arange(n) for n in counts)])
    still = seen.places_um - course.drift_at(seen)
    total = np.stack([np.bincount(group, column, len(groups)) for column in still.T], axis=1)
    place = total / np.bincount(group, minlength=len(groups))[:, None]
    drift = [
        course.drift_at(Sightings(place, np.full_like(first, s), seen.dendrite[first])) for s in range(len(counts))
    ]
    return Tracks(observation, place, np.stack(drift, axis=1) if drift else np.zeros((0, 0, 3)))
