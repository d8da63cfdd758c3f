"""The quality of the measurement: hand-counted repeats and raters, planted errors, calibrated probabilities."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analysis.agreement import compare_raters
from analysis.edits import Edit, EditKind
from analysis.study.charts import paper_style
from analysis.study.finding import NotComputable
from analysis.study.measurement import measurement_quality, unscorable_share
from analysis.study.raters import RatedField, pool_ratings, rate_field
from analysis.study.repeats import (
    pooled_errors,
    repeat_errors,
    repeated_sessions,
    reported_against_seen,
    seen_again,
    wilson,
)
from analysis.study.settings import StudySettings
from tests.drawn import drawn
from tests.letters import animal, shuffled, study_of
from tests.test_agreement import A, P, review, spine

FEW = StudySettings(runs=200)


def repeated_study(seed=0, *, animals=4, spines=60, missed=0.1, hidden=0.05):
    """Each spine is there; each view of one day misses it, or cannot judge it, at random; later days are whole."""
    rng = np.random.default_rng(seed)
    made = {}
    for k in range(animals):
        words = []
        for _ in range(spines):
            views = np.where(rng.random(2) < hidden, "?", np.where(rng.random(2) < missed, "A", "P"))
            words.append(f"{''.join(views)}P")
        made[f"m{k}"] = animal("control" if k % 2 else "trained", (0, 0.1, 4), " ".join(words))
    return study_of(made)


def depths_of(tables):
    rows = tables.spines[["animal", "field", "dendrite"]].drop_duplicates()
    return rows.assign(depth_um=np.linspace(10, 90, len(rows)))


def test_repeats_are_counted_by_hand():
    tables = study_of(
        {
            "m1": animal("a", (0, 0.1, 4, 4.1, 4.2), "PPPPP PAPPA APPPP P?PPP PPPAP PFAAA"),
            "m2": animal("a", (0, 4), "PA PP"),
        }
    )
    pairs = repeated_sessions(tables, FEW)
    assert pairs[["animal", "first", "repeat"]].to_numpy().tolist() == [["m1", 0, 1], ["m1", 2, 3], ["m1", 2, 4]]
    (row,) = repeat_errors(tables, FEW).to_dict("records")
    # 0-1: stable 2, gained 1, lost 1, unscorable 1 (and a filopodium); 2-3: stable 4, lost 1; 2-4: stable 4, lost 1
    assert [row[name] for name in ("repeats", "stable", "gained", "lost", "unscorable")] == [3, 10, 1, 3, 1]
    assert row["false_gained_percent"] == pytest.approx(100 / 11)
    assert row["false_lost_percent"] == pytest.approx(300 / 13)
    assert row["false_turnover_percent"] == pytest.approx(400 / 24)


def test_planted_errors_are_found():
    pooled = pooled_errors(repeat_errors(repeated_study(0, spines=150), FEW)).set_index("error")
    # of those that a view shows the other misses one in ten
    assert pooled["percent"].to_numpy() == pytest.approx(10, abs=3)


def test_intervals_of_errors_hold_what_was_planted():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        views = rng.random((80, 2)) > 0.1
        counts = {
            "stable": views.all(axis=1).sum(),
            "gained": (~views[:, 0] & views[:, 1]).sum(),
            "lost": (views[:, 0] & ~views[:, 1]).sum(),
        }
        pooled = pooled_errors(pd.DataFrame([counts]))
        held.append(((pooled["low"] <= 10) & (pooled["high"] >= 10)).to_numpy())
    assert (np.mean(held, axis=0) > 0.9).all()


def test_wilson_is_that_of_the_textbook():
    share, low, high = wilson(0, 10)
    assert (share, low) == (0.0, pytest.approx(0.0, abs=1e-12))
    z = 1.959964
    assert high == pytest.approx(z**2 / (10 + z**2), rel=1e-5)
    assert np.isnan(wilson(0, 0)).all()


@given(st.lists(st.text("PA?", min_size=2, max_size=2), min_size=1, max_size=12), st.integers(0, 1), st.integers(0, 11))
@hypothesis_settings(deadline=None, max_examples=15)
def test_what_cannot_be_judged_is_no_error(words, view, which):
    hidden = [*words]
    word = words[which % len(words)]
    hidden[which % len(words)] = word[:view] + "?" + word[view + 1 :]
    before, after = (
        repeat_errors(study_of({"m1": animal("", (0, 0.1), " ".join(some))}), FEW).iloc[0] for some in (words, hidden)
    )
    assert (after[["gained", "lost", "stable"]] <= before[["gained", "lost", "stable"]]).all()


def test_probabilities_are_held_against_the_other_view():
    tables = study_of({"m1": animal("", (0, 0.1), "PP PA AP A? ?P AA")})
    views = seen_again(tables, FEW)
    assert sorted(zip(views["probability"], views["said"], views["other"], strict=True)) == sorted(
        [(0.9, True, True), (0.9, True, True), (0.9, True, False), (0.1, False, True), (0.1, False, True),
         (0.9, True, False), (0.1, False, False), (0.1, False, False)]
    )  # fmt: skip
    told = reported_against_seen(views)
    assert told["views"].tolist() == [4, 4]
    assert told["seen_share"].tolist() == [0.5, 0.5]


def test_a_calibrated_probability_lies_on_the_diagonal():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    views = pd.DataFrame({"probability": probability, "other": rng.random(20_000) < probability})
    told = reported_against_seen(views)
    assert len(told) == 10
    within = (told["low"] <= told["mean_probability"]) & (told["mean_probability"] <= told["high"])
    assert within.sum() >= 8
    assert told["views"].sum() == 20_000
    edge = reported_against_seen(pd.DataFrame({"probability": [0.0, 1.0], "other": [False, True]}))
    assert edge[["from_probability", "to_probability"]].to_numpy().tolist() == [[0.0, 0.1], [0.9, 1.0]]


def test_the_unscorable_share():
    tables = study_of({"m1": animal("a", (0, 4), "P? PP ?P A?"), "m2": animal("b", (0, 4), "PP PP")})
    shares = unscorable_share(tables, FEW).set_index(["animal", "day"])["unscorable_percent"]
    assert shares.to_dict() == {("m1", 0): 25.0, ("m1", 4): 50.0, ("m2", 0): 0.0, ("m2", 4): 0.0}


def rated(first, second, names=("ann", "bob"), field="F01"):
    return RatedField("m1", field, *names, compare_raters(review(*first), review(*second)))


def test_raters_are_pooled_over_fields():
    one = rated([spine(0, P, P), spine(1, P, A), spine(2, A, P)], [spine(0, P, P), spine(1, P, A), spine(2, A, P)])
    two = rated(
        [spine(0, P, A), spine(1, P, P), spine(2, P, P)],
        [spine(0, P, P), spine(1, P, P), spine(2, P, A)],
        field="F02",
    )
    table = pool_ratings([one, two]).set_index("rated")
    lost = table.loc["lost"]
    assert lost[["fields", "n", "said_first", "said_second", "said_both"]].tolist() == [2, 6, 2, 2, 1]
    assert lost["f1"] == 0.5
    chance = (2 / 6) ** 2 + (4 / 6) ** 2
    assert lost["kappa"] == pytest.approx((4 / 6 - chance) / (1 - chance))
    assert np.isnan(table.loc["unscorable", "kappa"])
    assert "all fates" not in table.index


def test_a_field_is_rated_by_review_second_rater_and_software():
    """One rater accepts all spines, the second takes one away in one session; the software is the third."""
    field = drawn()
    accepted = [Edit.now("ann", EditKind.ACCEPT, spine=field.places(k)) for k in range(len(field.states))]
    seconds = [Edit.now("bob", EditKind.ACCEPT, spine=field.places(k), second=True) for k in range(len(field.states))]
    seconds.append(Edit.now("bob", EditKind.ABSENT, spine=field.places(0), sessions=("friday",), second=True))
    found = rate_field("m1", "F01", field.field, [*accepted, *seconds])
    assert [(one.first, one.second) for one in found] == [
        ("software", "review"), ("software", "bob"), ("review", "bob")
    ]  # fmt: skip
    assert [one.agreement.of("spine").f1 == 1.0 for one in found] == [True, False, False]
    assert [one.agreement.spines for one in found] == [len(field.states)] * 3
    assert rate_field("m1", "F01", field.field, []) == []


def test_every_part_says_what_it_lacks():
    finding = measurement_quality(study_of({"m1": animal("", (0, 4), "PP ?A")}), FEW)
    lacking = finding.tables["not_computed"]
    assert lacking["part"].tolist() == [
        "same-day repeats", "reported probability", "unscorable share by depth", "agreement of raters"
    ]  # fmt: skip
    assert "take one field twice on one day" in finding.legend
    assert "second rater" in finding.legend
    with paper_style():
        assert len(finding.draw().axes) == 1
    nothing = study_of({"m1": animal("", (0, 4), "PP")})
    with pytest.raises(NotComputable, match="no spine"):
        measurement_quality(dataclasses.replace(nothing, spines=nothing.spines.iloc[:0]), FEW)


def test_all_parts_together():
    tables = repeated_study()
    ratings = [rated([spine(0, P, P), spine(1, P, A)], [spine(0, P, P), spine(1, P, P)], names=("software", "ann"))]
    plain, mixed = (
        measurement_quality(one, FEW, ratings=ratings, depths=depths_of(tables))
        for one in (tables, shuffled(tables, 2))
    )
    assert plain.statistics == mixed.statistics
    assert plain.tables["not_computed"].empty
    measures = {line.measure for line in plain.statistics}
    assert {
        "false turnover in same-day repeats, %",
        "spines called present that the other view of the day shows, share",
        "agreement about lost, kappa",
        "unscorable, % of spines and sessions",
    } <= measures
    called = next(line for line in plain.statistics if line.measure.startswith("spines called present"))
    assert called.value == pytest.approx(0.9, abs=0.05)
    assert "mean reported probability 0.900" in called.test
    with paper_style():
        assert len(plain.draw().axes) == 6
