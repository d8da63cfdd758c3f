import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.match import MATCH_GATE_UM, match_sessions
from analysis.model import Transform


def spines(rng: np.random.Generator, count: int = 20) -> np.ndarray:
    """Heads 2.5 um apart or more, (n, 3), um."""
    along = np.cumsum(rng.uniform(2.5, 4.0, count))
    return np.stack([rng.uniform(5, 8, count), 20 + rng.choice([-1.2, 1.2], count), along], axis=1)


def partners(tracks) -> set[tuple[int, ...]]:
    """The tracks as sets of observations, whatever their order."""
    return {tuple(row) for row in tracks.observation.tolist()}


@given(seed=st.integers(0, 2**32 - 1), jitter_um=st.floats(0.0, 0.3))
@settings(deadline=None)
def test_what_moved_a_little_is_the_same_spine(seed, jitter_um):
    rng = np.random.default_rng(seed)
    first = spines(rng)
    later = [first + rng.uniform(-jitter_um, jitter_um, first.shape) for _ in range(2)]
    tracks = match_sessions([first, *later])
    assert tracks.observation.tolist() == [[i] * 3 for i in range(len(first))]


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_order_of_the_spines_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    sessions = [spines(rng)[rng.random(20) < 0.8] for _ in range(3)]
    orders = [rng.permutation(len(s)) for s in sessions]
    plain = match_sessions(sessions)
    shuffled = match_sessions([s[o] for s, o in zip(sessions, orders, strict=True)])
    back = [[int(o[i]) if i >= 0 else -1 for i, o in zip(row, orders, strict=True)] for row in shuffled.observation]
    assert {tuple(row) for row in back} == partners(plain)


@given(
    seed=st.integers(0, 2**32 - 1), yaw_deg=st.floats(-180, 180), shift=st.tuples(*[st.floats(-50, 50)] * 3)
)  # fmt: skip
@settings(deadline=None)
def test_where_the_frame_lies_does_not_matter(seed, yaw_deg, shift):
    rng = np.random.default_rng(seed)
    sessions = [spines(rng)[rng.random(20) < 0.8] for _ in range(3)]
    move = Transform.rigid(shift, yaw_deg=yaw_deg)
    assert partners(match_sessions([move.apply(s) for s in sessions])) == partners(match_sessions(sessions))


def test_a_track_bridges_the_session_that_missed_it():
    spine = np.array([[5.0, 10.0, 10.0]])
    tracks = match_sessions([spine, np.zeros((0, 3)), spine + 0.2])
    assert tracks.observation.tolist() == [[0, -1, 0]]


def test_each_spine_has_one_partner_and_the_nearest_pairs_win():
    tracks = match_sessions([[[5.0, 10.0, 10.0], [5.0, 10.0, 11.0]], [[5.0, 10.0, 10.9]]])
    assert sorted(tracks.observation.tolist()) == [[0, -1], [1, 0]]


@pytest.mark.parametrize(("apart_um", "tracks"), [(0.95 * MATCH_GATE_UM, 1), (1.05 * MATCH_GATE_UM, 2)])
def test_beyond_the_gate_it_is_another_spine(apart_um, tracks):
    assert len(match_sessions([[[5.0, 10.0, 10.0]], [[5.0, 10.0, 10.0 + apart_um]]])) == tracks


def test_depth_counts_less_than_place():
    assert len(match_sessions([[[5.0, 10.0, 10.0]], [[8.0, 10.0, 10.0]]])) == 1


def test_no_spine_at_all_gives_no_track():
    assert match_sessions([np.zeros((0, 3)), np.zeros((0, 3))]).observation.shape == (0, 2)
