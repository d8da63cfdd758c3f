import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.grouping import group_observations
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


@given(seed=st.integers(0, 2**32 - 1), sessions=st.integers(2, 5))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_sessions_does_not_matter(seed, sessions):
    rng = np.random.default_rng(seed)
    first = spines(rng, 12)
    seen = [(first + rng.normal(0, [1.0, 0.4, 0.4], first.shape))[rng.random(12) < 0.8] for _ in range(sessions)]
    beside = [np.stack([s[:, 2], s[:, 1] - 20], axis=1) for s in seen]
    order = rng.permutation(sessions)
    plain = match_sessions(seen, along_across_um=beside)
    shuffled = match_sessions([seen[i] for i in order], along_across_um=[beside[i] for i in order])
    assert {tuple(row) for row in plain.observation[:, order].tolist()} == partners(shuffled)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_every_observation_is_in_one_group_of_one_observation_a_session(seed):
    rng = np.random.default_rng(seed)
    session = rng.integers(0, 4, 30)
    gain = rng.normal(0, 1, (30, 30))
    gain += gain.T
    group = group_observations(lambda some: gain[np.ix_(some, some)], np.argwhere(gain > 0), session)
    assert len({*zip(group.tolist(), session.tolist(), strict=True)}) == 30


@pytest.mark.parametrize("bridged", [1, 2])
def test_what_several_sessions_missed_is_the_same_spine_again(bridged):
    rng = np.random.default_rng(3)
    all_seen = spines(rng)
    gap = [np.delete(all_seen, 7, axis=0) for _ in range(bridged)]
    tracks = match_sessions([all_seen, *gap, all_seen + 0.1])
    assert len(tracks) == len(all_seen)
    assert [7, *[-1] * bridged, 7] in tracks.observation.tolist()


@pytest.mark.parametrize("shift_um", [1.3, 2.0, -1.6])
def test_a_dendrite_that_moved_over_half_the_spacing_is_brought_back(shift_um):
    rng = np.random.default_rng(5)
    along = np.cumsum(rng.uniform(1.4, 2.6, 20))
    first = np.stack([np.full(20, 5.0), rng.choice([18.8, 21.2], 20), along], axis=1)
    later = first + np.array([0.0, 0.0, shift_um]) + rng.normal(0, 0.15, first.shape)
    gained = np.delete(later, [4, 11], axis=0)
    tracks = match_sessions([first, gained, first + rng.normal(0, 0.15, first.shape)])
    rows = [[i, -1 if i in (4, 11) else i - (i > 4) - (i > 11), i] for i in range(20)]
    assert sorted(tracks.observation.tolist()) == rows
    drift = tracks.drift_um[:, 1] - tracks.drift_um[:, 0]
    assert np.allclose(drift[:, 2], shift_um, atol=0.3)


def test_other_dendrites_do_not_move_with_one():
    rng = np.random.default_rng(6)
    still, moved = spines(rng, 12), spines(rng, 12) + np.array([0.0, 30.0, 0.0])
    names = [0] * 12 + [1] * 12
    later = np.concatenate([still, moved + np.array([0.0, 0.0, 1.5])])
    tracks = match_sessions([np.concatenate([still, moved]), later], [names, names])
    assert sorted(tracks.observation.tolist()) == [[i, i] for i in range(24)]
    assert np.abs(tracks.drift_um[tracks.observation[:, 0] < 12]).max() < 0.1


def test_what_neighbours_share_is_no_motion_of_theirs():
    rng = np.random.default_rng(7)
    first = spines(rng, 25)
    bend = np.stack([0 * first[:, 2], 0 * first[:, 2], 0.6 * np.sin(first[:, 2] / 12)], axis=1)
    tracks = match_sessions([first, first + bend + rng.normal(0, 0.1, first.shape)])
    rest = tracks.drift_um[:, 1] - tracks.drift_um[:, 0] - bend[tracks.observation[:, 0]]
    assert np.abs(rest[:, 2]).mean() < 0.5 * np.abs(bend[:, 2]).mean()


def test_neighbours_on_one_side_keep_their_order():
    first = np.array([[5.0, 21.4, 10.0], [5.0, 20.7, 10.6]])
    later = np.array([[5.0, 20.6, 10.1], [5.0, 21.5, 10.9]])
    beside = [np.stack([s[:, 2], s[:, 1] - 20], axis=1) for s in (first, later)]
    assert sorted(match_sessions([first, later]).observation.tolist()) == [[0, 1], [1, 0]]
    assert sorted(match_sessions([first, later], along_across_um=beside).observation.tolist()) == [[0, 0], [1, 1]]
