import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.detect import find_peaks
from analysis.evidence import Evidence
from analysis.model import Fate, SpineState
from analysis.presence import (
    NOTHING_THERE,
    Answer,
    AskedScore,
    Presence,
    PresenceRules,
    compare_brightness,
    look_again,
    weigh_sessions,
)
from analysis.straighten import straighten
from tests.phantom import draw_spiny

PRESENT, ABSENT, UNSCORABLE = SpineState.PRESENT, SpineState.ABSENT, SpineState.UNSCORABLE
NOBODY = np.zeros((0, 3))


def weigh(odds, scorable=None, rules=None) -> Presence:
    odds = np.atleast_2d(np.array(odds, dtype=float))
    return weigh_sessions(odds, np.ones(odds.shape, bool) if scorable is None else np.array([scorable]), rules)


def test_one_session_keeps_its_own_probability():
    presence = weigh([1.2])
    assert presence.probability[0, 0] == pytest.approx(1 / (1 + np.exp(-1.2)))


@pytest.mark.parametrize(
    ("odds", "states"),
    [
        ([3.0, -0.9, 3.0], [PRESENT, PRESENT, PRESENT]),  # doubtful between two clear ones: believed
        ([-5.0, -0.9, -5.0], [ABSENT, ABSENT, ABSENT]),  # the same alone: not believed
        ([3.0, -5.0, -5.0], [PRESENT, ABSENT, ABSENT]),  # clearly gone
        ([-5.0, -5.0, 3.0], [ABSENT, ABSENT, PRESENT]),  # clearly new
    ],
)
def test_the_other_sessions_decide_only_the_doubtful(odds, states):
    told = weigh(odds).state[0].tolist()
    assert told == states
    assert all(isinstance(state, SpineState) for state in told)


@given(odds=st.lists(st.floats(-6, 6), min_size=1, max_size=6))
@settings(deadline=None)
def test_time_may_run_backwards(odds):
    assert weigh(odds).probability[0] == pytest.approx(weigh(odds[::-1]).probability[0, ::-1])


@given(odds=st.lists(st.floats(-6, 6), min_size=2, max_size=5), session=st.integers(0, 4), more=st.floats(0.1, 3))
@settings(deadline=None)
def test_more_evidence_in_one_session_never_lowers_any(odds, session, more):
    raised = list(odds)
    raised[session % len(odds)] += more
    assert np.all(weigh(raised).probability >= weigh(odds).probability - 1e-12)


def test_chain_agrees_with_summing_over_all_histories():
    """Independent oracle: enumerate every history of a spine over three sessions."""
    rules, odds = PresenceRules(trust=1.0), np.array([0.5, -1.0, 2.0])
    prior = rules.base_rate
    appear = prior * (1 - rules.persistence) / (1 - prior)
    step = {(1, 1): rules.persistence, (1, 0): 1 - rules.persistence, (0, 1): appear, (0, 0): 1 - appear}
    ratio = np.exp(odds) * (1 - prior) / prior
    weight = {}
    for a, b, c in np.ndindex(2, 2, 2):
        start = prior if a else 1 - prior
        weight[a, b, c] = start * step[a, b] * step[b, c] * np.prod(np.where([a, b, c], ratio, 1.0))
    total = sum(weight.values())
    expected = [sum(w for history, w in weight.items() if history[s]) / total for s in range(3)]
    assert weigh(odds, rules=rules).probability[0] == pytest.approx(expected)


def test_unscorable_is_neither_lost_nor_gained():
    presence = weigh([4.0, -6.0, 4.0], scorable=[True, False, True])
    assert presence.state[0].tolist() == [PRESENT, UNSCORABLE, PRESENT]
    assert [presence.fate(0, s)[0] for s in (0, 1)] == [Fate.UNSCORABLE, Fate.UNSCORABLE]
    assert presence.probability[0, 1] > 0.5


@pytest.mark.parametrize(
    ("odds", "fate"), [([4, 4], Fate.STABLE), ([4, -6], Fate.LOST), ([-6, 4], Fate.GAINED), ([-6, -6], None)]
)
def test_fates_follow_the_states(odds, fate):
    told = weigh(odds).fate(0, 0)
    assert (told and told[0]) == fate
    if told:
        assert 0.5 < told[1] <= 1.0


def maps_of(**options) -> Evidence:
    return Evidence.of(straighten(*draw_spiny(**options)))


def test_looking_again_takes_the_likeliest_spot_near_the_place():
    peaks = np.array([[10.0, 1.2, 0.0], [10.3, 1.2, 0.0], [14.0, 1.2, 0.0]])
    place = np.array([10.1, 1.2, 0.0])
    found, odds = look_again(maps_of(heads=()), peaks, np.array([-2.0, 1.0, 5.0]), place, NOBODY)
    assert found.tolist() == [10.3, 1.2, 0.0]
    assert odds < 1.0


def test_a_spot_that_is_another_spine_is_not_taken_twice():
    place, other = np.array([10.0, 1.2, 0.0]), np.array([[10.2, 1.2, 0.0]])
    found, odds = look_again(maps_of(heads=()), other, np.array([3.0]), place, other)
    assert (found.tolist(), odds) == (place.tolist(), NOTHING_THERE)


def test_a_head_that_is_no_spot_of_its_own_is_seen_at_its_place():
    maps = maps_of()
    places = find_peaks(maps)
    head = places[int(np.argmax(maps.log_odds(places)))]
    beside = head + np.array([[0.5, 0.0, 0.0]])
    found, odds = look_again(maps, beside, np.array([9.0]), head, beside)
    assert found.tolist() == head.tolist()
    assert odds == pytest.approx(float(maps.log_odds(head)[0]))


@given(odds=st.floats(-4, 5), bright=st.floats(0.01, 3), more=st.floats(1.05, 3))
@settings(deadline=None)
def test_the_brighter_and_the_likelier_is_the_surer_there(odds, bright, more):
    score = AskedScore()

    def ask(log_odds: float, brightness: float) -> float:
        return score(Answer(log_odds, compare_brightness(brightness, 0.5)))

    assert ask(odds, more * bright) >= ask(odds, bright)
    assert ask(odds + more, bright) > ask(odds, bright)


def test_a_place_as_bright_as_expected_is_likelier_there_than_a_dark_one():
    as_expected, dark = (AskedScore()(Answer(-1.0, compare_brightness(b, 0.4))) for b in (0.4, 0.0))
    assert as_expected > 0.0 > dark
