import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.likeness import LEAST_PAIRS, LEAST_SPREAD, Likeness
from analysis.match import match_sessions


def looks(rng: np.random.Generator, count: int, spread) -> tuple[np.ndarray, np.ndarray]:
    """Across, depth and log brightness of spines in two sessions, (2n, 3), and which is which."""
    one = np.stack([rng.choice([-1, 1], count) * rng.uniform(0.6, 2.0, count), *rng.normal(0, 1, (2, count))], axis=1)
    return np.concatenate([one, one + rng.normal(0, spread, one.shape)]), np.tile(np.arange(count), 2)


def test_what_stays_alike_is_one_spine_and_what_does_not_is_two():
    likeness = Likeness.told_by(*looks(np.random.default_rng(0), 60, 0.1))
    assert likeness.gain(np.zeros(3)) > 3.0
    assert likeness.gain(np.array([0.0, 1.2, 1.0])) < 0.0
    assert np.all(likeness.of_one >= LEAST_SPREAD)


def test_where_a_spine_differs_as_much_as_two_nothing_is_told():
    rng = np.random.default_rng(1)
    traits, group = looks(rng, 400, 0.1)
    traits[400:] = rng.permutation(traits[400:])
    likeness = Likeness.told_by(traits, group)
    assert np.abs(likeness.gain(np.array([[0.0, 0.0, 0.0], [0.2, 0.5, 0.5]]))).max() < 1.0


def test_too_few_pairs_tell_nothing():
    assert Likeness.told_by(*looks(np.random.default_rng(2), LEAST_PAIRS - 1, 0.1)) is None
    assert Likeness.told_by(np.zeros((0, 3)), np.zeros(0, dtype=np.intp)) is None


@given(apart=st.tuples(*[st.floats(-5, 5)] * 3))
@settings(deadline=None, max_examples=30)
def test_it_does_not_matter_which_session_comes_first(apart):
    likeness = Likeness.told_by(*looks(np.random.default_rng(3), 60, 0.1))
    assert likeness.gain(np.array(apart)) == pytest.approx(likeness.gain(-np.array(apart)))


def test_a_lost_spine_is_not_joined_to_another_beside_it():
    """At 0.8 um in the same place by eye, but in another depth and half as bright."""
    rng = np.random.default_rng(4)
    along = np.arange(60) * 2.5
    first = np.stack([np.full(60, 5.0), np.full(60, 21.2), along], axis=1)
    later = first + rng.normal(0, 0.05, first.shape)
    traits = np.stack([np.full(60, 1.2), *rng.normal(0, 1, (2, 60))], axis=1)
    changed = traits + rng.normal(0, 0.05, traits.shape)
    later[30] += [0.0, 0.0, 0.8]
    changed[30] = traits[30] + [0.4, 1.5, -1.2]
    assert len(match_sessions([first, later])) == 60
    tracks = match_sessions([first, later], traits=[traits, changed]).observation.tolist()
    assert [30, -1] in tracks
    assert [-1, 30] in tracks
    assert len(tracks) == 61
