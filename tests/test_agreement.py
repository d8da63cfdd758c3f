"""Two raters compared: by hand-counted cases, and what is missing stays missing."""

import pytest

from analysis.agreement import ANY_FATE, SPINE, cohens_kappa, compare_raters
from analysis.followed import FieldReview, FollowedSpine
from analysis.model import SpineState

P, A, U = SpineState.PRESENT, SpineState.ABSENT, SpineState.UNSCORABLE


def spine(track, *states, dendrite=0, by="ann", added=False, rejected=False, x_um=None):
    heads = {s: (5.0, 5.0, 3.0 * track if x_um is None else x_um) for s, state in enumerate(states) if state is P}
    return FollowedSpine(
        track, dendrite, heads, states, tuple(float(state is P) for state in states),
        reviewed_by=frozenset([by] if by else []), is_added=added, is_rejected=rejected,
    )  # fmt: skip


def review(*spines):
    return FieldReview(None, None, None, None, (), spines)


def test_kappa_and_f1_of_each_class_are_those_counted_by_hand():
    """Of ten spines both see five stable and one lost; two are lost for one and stable for the other, two gained."""
    ours = [
        *(spine(n, P, P) for n in range(5)),
        *(spine(n, P, A) for n in (5, 6, 7)),
        *(spine(n, A, P) for n in (8, 9)),
    ]
    theirs = [
        *(spine(n, P, P) for n in range(5)),
        spine(5, P, A),
        *(spine(n, P, P) for n in (6, 7)),
        *(spine(n, A, P) for n in (8, 9)),
    ]
    agreement = compare_raters(review(*ours), review(*theirs))
    assert (agreement.spines, agreement.missing) == (10, 0)
    lost = agreement.of("lost")
    assert (lost.n, lost.first, lost.second, lost.both) == (10, 3, 1, 1)
    assert lost.f1 == pytest.approx(2 / 4)
    assert lost.kappa == pytest.approx((0.8 - (0.3 * 0.1 + 0.7 * 0.9)) / (1 - (0.3 * 0.1 + 0.7 * 0.9)))
    assert (agreement.of("gained").f1, agreement.of("gained").kappa) == (1.0, 1.0)
    assert agreement.of("stable").f1 == pytest.approx(2 * 5 / 12)
    assert agreement.of(ANY_FATE).kappa == pytest.approx((0.8 - 0.42) / (1 - 0.42))
    assert (agreement.of(SPINE).n, agreement.of(SPINE).first, agreement.of(SPINE).second) == (20, 15, 17)


def test_what_nobody_names_has_no_figure():
    agreement = compare_raters(review(spine(0, P, P)), review(spine(0, P, P)))
    for name in ("gained", "lost", "unscorable"):
        assert (agreement.of(name).f1, agreement.of(name).kappa, agreement.of(name).n) == (None, None, 1)
    assert agreement.of("stable").f1 == 1.0
    assert agreement.of("stable").kappa is None


def test_a_spine_that_one_has_not_judged_is_missing():
    agreement = compare_raters(review(spine(0, P, P), spine(1, P, A)), review(spine(0, P, P), spine(1, P, P, by="")))
    assert (agreement.spines, agreement.missing) == (1, 1)
    assert agreement.of("lost").first == 0
    nothing = compare_raters(review(spine(0, P, P, by="")), review(spine(0, P, P)))
    assert nothing.spines == 0
    assert all(one.f1 is None and one.kappa is None for one in nothing.classes)


def test_a_spine_that_only_one_added_counts_once_the_other_has_seen_the_whole_dendrite():
    ours = review(spine(0, P, P), spine(7, P, P, added=True, x_um=20.0))
    assert compare_raters(ours, review(spine(0, P, P))).of(SPINE).first == 4
    partly = review(spine(0, P, P), spine(1, P, P, by=""))
    agreement = compare_raters(ours, partly)
    assert (agreement.spines, agreement.missing) == (1, 2)


def test_two_added_spines_are_one_when_they_lie_together():
    ours = review(spine(3, P, P, added=True, x_um=20.0))
    near = review(spine(9, P, A, added=True, x_um=20.6))
    assert compare_raters(ours, near).of(SPINE).both == 1
    far = review(spine(9, P, A, added=True, x_um=22.0))
    assert compare_raters(ours, far).of(SPINE).both == 0


def test_a_rejected_spine_is_no_spine():
    agreement = compare_raters(review(spine(0, P, P, rejected=True)), review(spine(0, P, P)))
    assert (agreement.of(SPINE).first, agreement.of(SPINE).second, agreement.of(SPINE).both) == (0, 2, 0)
    assert (agreement.of("stable").n, agreement.of("stable").f1) == (1, 0.0)


def test_unscorable_is_a_fate_and_no_answer_about_the_spine():
    agreement = compare_raters(review(spine(0, P, U)), review(spine(0, P, P)))
    assert (agreement.of("unscorable").first, agreement.of("unscorable").f1) == (1, 0.0)
    assert agreement.of(SPINE).n == 1


@pytest.mark.parametrize("swap", [False, True])
def test_it_does_not_matter_who_is_first(swap):
    sides = [
        review(spine(0, P, P), spine(1, P, A), spine(2, U, P)),
        review(spine(0, P, A), spine(1, P, A), spine(2, A, P)),
    ]
    agreement, other = compare_raters(*sides), compare_raters(*sides[::-1])
    for one, two in zip(agreement.classes, other.classes, strict=True):
        assert (one.kappa, one.f1, one.first) == (two.kappa, two.f1, two.second)


def test_kappa_of_no_cases_is_missing():
    assert cohens_kappa([]) is None
    assert cohens_kappa([("a", "a")] * 4) is None
    assert cohens_kappa([("a", "b"), ("b", "a")]) == pytest.approx(-1.0)
