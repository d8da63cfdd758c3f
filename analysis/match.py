"""The same spine in all sessions.

Every session's spines, mapped into one frame, are assigned one to one to the tracks known so far; a track that one
session misses goes on. Only distances count: neither the order of the spines nor where the frame lies matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from analysis.model import Floats

MATCH_GATE_UM = 1.6  # sideways; heads turn about their foot from day to day, neighbours stand 2 um apart (median)
DEPTH_TO_SIDEWAYS = 6.0  # um of depth that count as one um sideways: a head's depth is known to 1-2 um only


@dataclass(frozen=True, eq=False)
class Tracks:
    """Which observation belongs to which track.

    Parameters
    ----------
    observation
        Index of the track's observation in each session, -1 where it has none, shape (tracks, sessions).
    place_um
        Mean place of each track's observations in the common frame, shape (tracks, 3).
    """

    observation: NDArray[np.intp]
    place_um: Floats

    def __len__(self) -> int:
        return len(self.place_um)


def match_sessions(
    places_um: Sequence[ArrayLike], *, gate_um: float = MATCH_GATE_UM, depth_to_sideways: float = DEPTH_TO_SIDEWAYS
) -> Tracks:
    """Join the observations of all sessions to tracks.

    Parameters
    ----------
    places_um
        For each session the observed places in one common frame, depth first (z, y, x), shape (n, 3), um.
    gate_um
        Farther apart than this two observations are never the same spine, um.
    depth_to_sideways
        How many um of depth count as one um sideways.
    """
    scale = np.array([1.0 / depth_to_sideways, 1.0, 1.0])
    sessions = [np.asarray(places, dtype=float).reshape(-1, 3) for places in places_um]
    observation = np.full((0, len(sessions)), -1, dtype=np.intp)
    total, count = np.zeros((0, 3)), np.zeros(0)
    for session, places in enumerate(sessions):
        mean = total / np.maximum(count, 1)[:, None]
        rows, columns = assign(mean * scale, places * scale, gate_um)
        observation[rows, session] = columns
        total[rows] += places[columns]
        count[rows] += 1
        fresh = np.setdiff1d(np.arange(len(places)), columns)
        added = np.full((len(fresh), len(sessions)), -1, dtype=np.intp)
        added[:, session] = fresh
        observation = np.concatenate([observation, added])
        total = np.concatenate([total, places[fresh]])
        count = np.concatenate([count, np.ones(len(fresh))])
    return Tracks(observation, total / np.maximum(count, 1)[:, None])


def assign(known_um: Floats, seen_um: Floats, gate_um: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair two sets of points one to one inside the gate: as many pairs as it gains, their squared distances least.

    A pair is worth making when it costs less than leaving both alone, that is when the two are within the gate.
    """
    if not len(known_um) or not len(seen_um):
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    squared = np.sum((known_um[:, None] - seen_um[None]) ** 2, axis=2)
    gain = np.minimum(squared - gate_um**2, 0.0)
    rows, columns = linear_sum_assignment(gain)
    real = gain[rows, columns] < 0.0
    return rows[real], columns[real]
