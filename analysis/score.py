"""How right the tables of a field are, where the truth is known: a simulated sample, or a person's marks.

A prediction and a true spine are the same when they are a one-to-one pair within the tolerances, the summed distance
the least possible. What nobody can judge counts neither for nor against: spines that the truth calls unscorable, and
predictions far from every dendrite that was annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from analysis.model import Fate, Floats

HEAD = ["head_z_um", "head_y_um", "head_x_um"]
POINT = ["z_um", "y_um", "x_um"]


@dataclass(frozen=True)
class Tolerance:
    """How far apart two marks of the same spine may be, and how far from a dendrite a spine may be.

    Parameters
    ----------
    lateral_um, axial_um
        Largest distance of a pair in the image plane and in depth, um. Spines stand 2 um apart (median), so that more
        than 1 um would take neighbours for each other.
    near_lateral_um, near_axial_um
        Farther than this from every annotated dendrite nothing is judged, um.
    """

    lateral_um: float = 1.0
    axial_um: float = 3.0
    near_lateral_um: float = 4.0
    near_axial_um: float = 6.0


@dataclass(frozen=True)
class DetectionScore:
    """How many spines were found in one session; a share is None where there is nothing to divide by.

    Parameters
    ----------
    precision, recall, f1
        Shares, 0-1.
    hits
        Predictions that are a true spine.
    predicted, truth
        Predictions and true spines that can be judged.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    hits: int
    predicted: int
    truth: int


@dataclass(frozen=True)
class FateScore:
    """How right gains, losses and identities are over all consecutive sessions; None where there is nothing to judge.

    Parameters
    ----------
    gained_f1, lost_f1
        F1 of the spines called gained and lost.
    identity_accuracy
        Share of the true spines found in both sessions that carry the same track in both.
    """

    gained_f1: float | None
    lost_f1: float | None
    identity_accuracy: float | None


def score_detection(
    predicted: pd.DataFrame,
    truth: pd.DataFrame,
    dendrites: pd.DataFrame | None = None,
    tolerance: Tolerance = Tolerance(),
) -> DetectionScore:
    """Compare the spines found in one session with the truth.

    Parameters
    ----------
    predicted
        ``head_z_um, head_y_um, head_x_um``; with ``state``, only the rows that are present.
    truth
        The same columns; rows whose ``scorable`` is False count neither way.
    dendrites
        Annotated centrelines ``z_um, y_um, x_um``: predictions far from all of them count neither way.
    tolerance
        What is near enough.
    """
    if "state" in predicted:
        predicted = predicted[predicted["state"] == "present"]
    scorable = _scorable(truth)
    pairs = pair_heads(_points(predicted, HEAD), _points(truth, HEAD), tolerance)
    hits = int(scorable[pairs[:, 1]].sum())
    judged = np.ones(len(predicted), dtype=bool)
    if dendrites is not None:
        judged = _is_near(_points(predicted, HEAD), _points(dendrites, POINT), tolerance)
    judged[pairs[:, 0]] = scorable[pairs[:, 1]]
    return _detection(hits, int(judged.sum()), int(scorable.sum()))


def score_fates(
    tracks: pd.DataFrame,
    truth_by_session: Sequence[pd.DataFrame],
    fates: pd.DataFrame,
    tolerance: Tolerance = Tolerance(),
) -> FateScore:
    """Compare tracks and fates with the truth over all consecutive sessions.

    Parameters
    ----------
    tracks
        ``session, track_id, head_z_um, head_y_um, head_x_um``: one row an observation.
    truth_by_session
        For each session ``spine_id`` (the same spine has the same in all), ``head_z_um, head_y_um, head_x_um`` and,
        when it is there, ``scorable``. A spine is judged where it is scorable in every one of the two sessions that
        lists it.
    fates
        ``from_session, to_session, track_id, fate``; unscorable ones count neither way.
    tolerance
        What is near enough.
    """
    spine_of = [_spine_by_track(tracks, session, truth, tolerance) for session, truth in enumerate(truth_by_session)]
    gained, lost = np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    same = both = 0
    for first, (before, after) in enumerate(pairwise(truth_by_session)):
        interval = fates[(fates["from_session"] == first) & (fates["to_session"] == first + 1)]
        unjudged = _unscorable_ids(before) | _unscorable_ids(after)
        ids = set(before["spine_id"]), set(after["spine_id"])
        gained += _count(interval, Fate.GAINED, ids[1] - ids[0], spine_of[first + 1], unjudged)
        lost += _count(interval, Fate.LOST, ids[0] - ids[1], spine_of[first], unjudged)
        same_here, both_here = _identities(spine_of[first], spine_of[first + 1], unjudged)
        same, both = same + same_here, both + both_here
    gained_f1, lost_f1 = (_detection(*map(int, counts)).f1 for counts in (gained, lost))
    return FateScore(gained_f1, lost_f1, same / both if both else None)


def pair_heads(first: Floats, second: Floats, tolerance: Tolerance) -> NDArray[np.intp]:
    """Pair two sets of points one to one, inside the tolerance; as many pairs as possible, then the nearest.

    Parameters
    ----------
    first, second
        Points (n, 3) and (m, 3), um.

    Returns
    -------
    Index into ``first`` and into ``second`` of each pair, shape (k, 2).
    """
    if not len(first) or not len(second):
        return np.empty((0, 2), dtype=np.intp)
    scale = np.array([tolerance.axial_um, tolerance.lateral_um, tolerance.lateral_um])
    offset = (first[:, None] - second[None]) / scale
    lateral, axial = np.hypot(offset[..., 1], offset[..., 2]), np.abs(offset[..., 0])
    inside = (lateral <= 1.0) & (axial <= 1.0)
    # A pair outside costs more than all pairs inside together, so that none inside is given up for being near.
    cost = np.where(inside, np.hypot(lateral, axial), 2.0 * min(inside.shape) + 1.0)
    rows, columns = linear_sum_assignment(cost)
    pairs: NDArray[np.intp] = np.stack([rows, columns], axis=1)[inside[rows, columns]]
    return pairs


def _spine_by_track(
    tracks: pd.DataFrame, session: int, truth: pd.DataFrame, tolerance: Tolerance
) -> dict[object, object]:
    """Return the true spine that each track of a session is; tracks that are none are left out."""
    seen = tracks[tracks["session"] == session]
    if "state" in seen:
        seen = seen[seen["state"] == "present"]
    pairs = pair_heads(_points(seen, HEAD), _points(truth, HEAD), tolerance)
    names, ids = seen["track_id"].to_numpy(), truth["spine_id"].to_numpy()
    return {names[track]: ids[spine] for track, spine in pairs}


def _count(
    fates: pd.DataFrame, fate: Fate, true_ids: set[object], spine_of: dict[object, object], unjudged: set[object]
) -> NDArray[np.int_]:
    """Return the number of right calls, of calls, and of true spines of one fate."""
    scored = fates[fates["fate"].astype(str) != Fate.UNSCORABLE.value]
    excused = {spine_of.get(track) for track in set(fates["track_id"]) - set(scored["track_id"])} - {None}
    called = [spine_of.get(track) for track in scored.loc[scored["fate"].astype(str) == fate.value, "track_id"]]
    called = [spine for spine in called if spine not in unjudged]
    wanted = true_ids - unjudged - excused
    hits = len(wanted & set(called))
    return np.array([hits, len(called), len(wanted)])


def _identities(first: dict[object, object], second: dict[object, object], unjudged: set[object]) -> tuple[int, int]:
    """Return how many true spines found in both sessions carry one track, and how many were found in both."""
    track_of = {spine: track for track, spine in second.items()}
    both = {spine: track for track, spine in first.items() if spine in track_of and spine not in unjudged}
    return sum(track_of[spine] == track for spine, track in both.items()), len(both)


def _detection(hits: int, predicted: int, truth: int) -> DetectionScore:
    precision = hits / predicted if predicted else None
    recall = hits / truth if truth else None
    f1 = 2 * hits / (predicted + truth) if predicted + truth else None
    return DetectionScore(precision, recall, f1, hits, predicted, truth)


def _scorable(truth: pd.DataFrame) -> NDArray[np.bool_]:
    if "scorable" not in truth:
        return np.ones(len(truth), dtype=bool)
    return truth["scorable"].to_numpy(dtype=bool)


def _unscorable_ids(truth: pd.DataFrame) -> set[object]:
    return set(truth.loc[~_scorable(truth), "spine_id"])


def _points(table: pd.DataFrame, columns: list[str]) -> Floats:
    points: Floats = table[columns].to_numpy(dtype=float).reshape(-1, 3)
    return points


def _is_near(points: Floats, line: Floats, tolerance: Tolerance) -> NDArray[np.bool_]:
    """Tell which points lie within an ellipsoid about any point of the dendrites."""
    if not len(line):
        return np.zeros(len(points), dtype=bool)
    scale = np.array([tolerance.near_axial_um, tolerance.near_lateral_um, tolerance.near_lateral_um])
    distance, _ = cKDTree(line / scale).query(points / scale)
    return np.asarray(distance <= 1.0)
