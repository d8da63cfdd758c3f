"""Scores against truths small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.score import HEAD, DetectionScore, FateScore, Tolerance, pair_heads, score_detection, score_fates


def spines(*rows, **columns) -> pd.DataFrame:
    return pd.DataFrame(np.array(rows, dtype=float).reshape(-1, 3), columns=HEAD).assign(**columns)


TRUTH = spines((10, 10, 10), (10, 10, 14), (10, 10, 18), spine_id=["a", "b", "c"])
LINE = pd.DataFrame({"z_um": 10.0, "y_um": 12.0, "x_um": np.arange(0, 30, 0.25)})

DETECTIONS = {
    "all found": (TRUTH, TRUTH, (3, 3, 3)),
    "just inside": (TRUTH[HEAD] + [2.9, 0.7, 0.7], TRUTH, (3, 3, 3)),
    "beside": (TRUTH[HEAD] + [0, 0, 1.1], TRUTH, (0, 3, 3)),
    "too deep": (TRUTH[HEAD] + [3.1, 0, 0], TRUTH, (0, 3, 3)),
    "one for two": (spines((10, 10, 10.5)), spines((10, 10, 10), (10, 10, 11)), (1, 1, 2)),
    "two for one": (spines((10, 10, 10), (10, 10, 10.2)), spines((10, 10, 10)), (1, 2, 1)),
    "nothing found": (spines(), TRUTH, (0, 0, 3)),
    "nothing there": (TRUTH, spines(), (0, 3, 0)),
    "neither": (spines(), spines(), (0, 0, 0)),
    "unscorable found": (TRUTH, TRUTH.assign(scorable=[True, False, True]), (2, 2, 2)),
    "unscorable missed": (TRUTH.iloc[[0, 2]], TRUTH.assign(scorable=[True, False, True]), (2, 2, 2)),
    "far from the dendrites": (spines((10, 10, 10), (10, 40, 10), (17, 12, 14)), TRUTH, (1, 1, 3)),
    "absent rows are no predictions": (TRUTH.assign(state=["present", "absent", "unscorable"]), TRUTH, (1, 1, 3)),
}


@pytest.mark.parametrize("case", DETECTIONS)
def test_detection(case):
    predicted, truth, (hits, count, true_count) = DETECTIONS[case]
    score = score_detection(predicted, truth, LINE)
    assert (score.hits, score.predicted, score.truth) == (hits, count, true_count)


def test_shares_and_their_absence():
    found = score_detection(spines((10, 10, 10), (10, 10, 12)), TRUTH)
    assert found == DetectionScore(0.5, 1 / 3, 0.4, 1, 2, 3)
    assert score_detection(spines(), TRUTH) == DetectionScore(None, 0.0, 0.0, 0, 0, 3)
    assert score_detection(spines(), spines()) == DetectionScore(None, None, None, 0, 0, 0)


def test_without_dendrites_every_prediction_counts():
    assert score_detection(spines((10, 40, 10)), TRUTH).predicted == 1


def test_pairs_as_many_as_possible():
    # The nearest pair (b, A) alone would leave a and B without partners.
    first, second = np.array([[0, 0, 0.0], [0, 0, 0.9]]), np.array([[0, 0, 0.8], [0, 0, 1.7]])
    assert pair_heads(first, second, Tolerance()).tolist() == [[0, 0], [1, 1]]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_order_does_not_matter_and_pairs_are_one_to_one(count, seed):
    random = np.random.default_rng(seed)
    first, second = random.uniform(0, 6, (count, 3)), random.uniform(0, 6, (20, 3))
    pairs = pair_heads(first, second, Tolerance())
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    apart = np.abs(first[pairs[:, 0]] - second[pairs[:, 1]])
    assert (np.hypot(apart[:, 1], apart[:, 2]) <= 1.0).all()
    assert (apart[:, 0] <= 3.0).all()
    shuffled = pair_heads(first[random.permutation(count)], second, Tolerance())
    assert len(shuffled) == len(pairs)


PLACES = {"a": (10, 10, 10), "b": (10, 10, 14), "c": (10, 10, 18), "d": (10, 10, 22), "x": (10, 30, 30)}
TRUE = [["a", "b", "c"], ["a", "b", "d"]]  # c went, d came


def truth_frames(names=TRUE, unscorable=()):
    return [
        spines(*(PLACES[n] for n in session), spine_id=session, scorable=[n not in unscorable for n in session])
        for session in names
    ]


def observed(*sessions) -> pd.DataFrame:
    """Each session as {track: place}."""
    parts = [
        spines(*(PLACES[place] for place in session.values()), session=number, track_id=list(session))
        for number, session in enumerate(sessions)
    ]
    return pd.concat(parts, ignore_index=True)


def called(**fates) -> pd.DataFrame:
    return pd.DataFrame(
        [(0, 1, int(t[1:]), f) for t, f in fates.items()], columns=["from_session", "to_session", "track_id", "fate"]
    )


RIGHT = observed({1: "a", 2: "b", 3: "c"}, {1: "a", 2: "b", 4: "d"})
FATES = {
    "all right": (RIGHT, called(t1="stable", t2="stable", t3="lost", t4="gained"), (), (1, 1, 1)),
    "loss not called": (RIGHT, called(t1="stable", t2="stable", t3="stable", t4="gained"), (), (1, 0, 1)),
    "false gain of a missed spine": (
        observed({1: "a", 3: "c"}, {1: "a", 2: "b", 4: "d"}),
        called(t1="stable", t2="gained", t3="lost", t4="gained"),
        (),
        (2 / 3, 1, 1),
    ),
    "false detection called lost": (
        observed({1: "a", 2: "b", 3: "c", 5: "x"}, {1: "a", 2: "b", 4: "d"}),
        called(t1="stable", t2="stable", t3="lost", t4="gained", t5="lost"),
        (),
        (1, 2 / 3, 1),
    ),
    "identity broken": (
        observed({1: "a", 2: "b", 3: "c"}, {1: "a", 6: "b", 4: "d"}),
        called(t1="stable", t2="lost", t6="gained", t3="lost", t4="gained"),
        (),
        (2 / 3, 2 / 3, 0.5),
    ),
    "identities swapped": (
        observed({1: "a", 2: "b", 3: "c"}, {2: "a", 1: "b", 4: "d"}),
        called(t1="stable", t2="stable", t3="lost", t4="gained"),
        (),
        (1, 1, 0),
    ),
    "unscorable in the truth": (RIGHT, called(t1="stable", t2="stable", t3="lost", t4="gained"), "cd", (None, None, 1)),
    "called unscorable": (
        RIGHT,
        called(t1="stable", t2="stable", t3="unscorable", t4="unscorable"),
        (),
        (None, None, 1),
    ),
    "nothing found": (observed({}, {}), called(), (), (0, 0, None)),
}


@pytest.mark.parametrize("case", FATES)
def test_fates(case):
    tracks, fates, unscorable, expected = FATES[case]
    score = score_fates(tracks, truth_frames(unscorable=unscorable), fates)
    assert (score.gained_f1, score.lost_f1, score.identity_accuracy) == pytest.approx(expected)


def test_one_session_has_no_fates():
    assert score_fates(observed({1: "a"}), truth_frames([["a"]]), called()) == FateScore(None, None, None)


def test_intervals_are_pooled():
    tracks = observed({1: "a", 2: "b"}, {1: "a"}, {1: "a", 3: "c"})
    rows = [(0, 1, 2, "lost"), (1, 2, 3, "gained")]
    fates = pd.DataFrame(rows, columns=["from_session", "to_session", "track_id", "fate"])
    score = score_fates(tracks, truth_frames([["a", "b"], ["a"], ["a", "d"]]), fates)
    assert (score.gained_f1, score.lost_f1, score.identity_accuracy) == (0.0, 1.0, 1.0)


def test_a_hand_marked_field_against_itself(real_field):
    """The annotations, scored against themselves, are right; a day against another is not."""
    days = []
    for number in (0, 1):
        table = pd.read_csv(real_field / f"session{number}_spines.csv")
        heads = table[["tip_z_um", "tip_y_um", "tip_x_um"]].to_numpy()
        days.append(spines(*heads, spine_id=table["spine_id"]))
    assert score_detection(days[0], days[0]).f1 == 1.0
    assert score_detection(days[0], days[1]).f1 < 0.7
    tracks = pd.concat([d.assign(session=n, track_id=d["spine_id"]) for n, d in enumerate(days)])
    ids = [set(d["spine_id"]) for d in days]
    fate = {**dict.fromkeys(ids[1] - ids[0], "gained"), **dict.fromkeys(ids[0] - ids[1], "lost")}
    fates = pd.DataFrame(
        [(0, 1, k, v) for k, v in fate.items()], columns=["from_session", "to_session", "track_id", "fate"]
    )
    assert score_fates(tracks, days, fates) == FateScore(1.0, 1.0, 1.0)
    assert (len(ids[1] - ids[0]), len(ids[0] - ids[1])) == (16, 22)
