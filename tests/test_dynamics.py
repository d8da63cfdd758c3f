"""Formation and elimination: hand-counted studies, another way of counting, and what must not change the answer."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analysis.study.charts import paper_style
from analysis.study.dynamics import count_rates, formation_and_elimination, interval_rates, spine_density
from analysis.study.finding import NotComputable
from analysis.study.inference import compare_nested, compare_paired, welch_interval
from analysis.study.intervals import consecutive_intervals, phase_fates, phases_of, session_days
from analysis.study.settings import StudySettings
from tests.letters import animal, drawn_study, renamed, shuffled, study_of
from tests.toy_study import told_study

FEW = StudySettings(runs=200)
SMALL = study_of(
    {
        "m1": animal("early", (0, 4, 8), "PPP PPP PAA APP ?PP PFP", "PAP APA"),
        "m2": animal("early", (0, 4, 8), "PPP PPA"),
        "m3": animal("control", (0, 4), "PP P? ?A AA"),
    }
)


def test_rates_are_of_the_spines_of_the_first_view_that_both_views_show():
    animals, dendrites = interval_rates(SMALL, FEW)
    first = animals[animals["phase"] == "day 0-4"].set_index("animal")
    m1 = first.loc["m1"]  # stable 2, lost 2, gained 2, hidden 1; the last of dendrite 0 is a filopodium on day 4
    assert m1[["stable", "lost", "gained", "unscorable", "present"]].tolist() == [2, 2, 2, 1, 4]
    assert m1[["formation_percent", "elimination_percent", "turnover_percent"]].tolist() == [50.0, 50.0, 50.0]
    assert first.loc["m3", ["present", "unscorable", "gained", "lost"]].tolist() == [1, 1, 0, 0]
    assert first.loc["m2", "elimination_percent"] == 0.0
    second = animals[animals["phase"] == "day 4-8"].set_index("animal")
    assert second.loc["m2", "elimination_percent"] == 50.0
    assert "m3" not in second.index
    own = dendrites[(dendrites["animal"] == "m1") & (dendrites["phase"] == "day 0-4")].set_index("dendrite")
    assert own["elimination_percent"].tolist() == [pytest.approx(100 / 3), 100.0]


def test_filopodia_count_when_they_are_asked_for():
    animals, _ = interval_rates(SMALL, StudySettings(with_filopodia=True))
    assert animals.set_index(["animal", "phase"]).loc[("m1", "day 0-4"), "stable"] == 3


def test_density_is_of_the_judged_stretch():
    animals, dendrites = spine_density(SMALL, FEW)
    row = animals[(animals["animal"] == "m1") & (animals["day"] == 0)].iloc[0]
    assert (row["spines"], row["length_um"], row["density_per_um"]) == (5, 200.0, 0.025)
    bare = dendrites[(dendrites["animal"] == "m3") & (dendrites["day"] == 4)].iloc[0]
    assert bare["density_per_um"] == 0.01
    halved = dataclasses.replace(SMALL, stretches=SMALL.stretches.assign(to_um=50.0))
    assert spine_density(halved, FEW)[0]["density_per_um"].iloc[0] == 2 * animals["density_per_um"].iloc[0]


def test_a_dendrite_without_spines_has_density_zero():
    tables = study_of({"m1": animal("", (0, 4), "PP", "AA")})
    dendrites = spine_density(tables, FEW)[1].set_index(["dendrite", "day"])
    assert dendrites.loc[(1, 4.0), "density_per_um"] == 0.0


def test_repeats_of_a_day_are_no_interval():
    tables = study_of({"m1": animal("", (0, 0.1, 4.02, 4.1, 8), "PAPPP AAPAP")})
    intervals = consecutive_intervals(tables)
    assert [(one.name, one.sessions) for one in intervals] == [("day 0-4", (0, 2)), ("day 4-8", (2, 4))]
    days = session_days(tables.sessions)
    assert days["is_repeat"].tolist() == [False, True, False, True, False]
    assert days["nominal_day"].tolist() == [0, 0, 4, 4, 8]
    assert spine_density(tables, FEW)[0]["day"].tolist() == [0, 4, 8]


def test_sessions_of_one_whole_day_are_told_apart():
    tables = study_of({"m1": animal("", (0, 0.4, 2), "PPP")})
    assert [one.name for one in consecutive_intervals(tables)] == ["day 0-0.4", "day 0.4-2"]


def test_one_session_is_not_enough():
    with pytest.raises(NotComputable, match="two"):
        formation_and_elimination(study_of({"m1": animal("", (0,), "P P")}), FEW)


WORDS = st.lists(st.text("PA?F", min_size=3, max_size=3), min_size=1, max_size=8).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=4))
@hypothesis_settings(deadline=None, max_examples=40)
def test_counts_are_those_of_a_plain_loop(dendrites):
    tables = study_of({"m1": animal("", (0, 4, 8), *dendrites)})
    settings = StudySettings(with_filopodia=True)
    counts = interval_rates(tables, settings)[0].set_index("phase")
    for first, phase in enumerate(("day 0-4", "day 4-8")):
        expected = {"stable": 0, "lost": 0, "gained": 0, "unscorable": 0}
        for word in " ".join(dendrites).replace("F", "P").split():
            pair = word[first : first + 2]
            name = {"PP": "stable", "PA": "lost", "AP": "gained", "P?": "unscorable", "?P": "unscorable"}.get(pair)
            if name:
                expected[name] += 1
        if sum(expected.values()):
            assert counts.loc[phase, list(expected)].to_dict() == expected


@given(WORDS, st.integers(0, 2), st.integers(0, 7))
@hypothesis_settings(deadline=None, max_examples=40)
def test_hiding_a_spine_adds_neither_a_gain_nor_a_loss(words, session, which):
    listed = words.split()
    hidden = listed[which % len(listed)]
    listed[which % len(listed)] = hidden[:session] + "?" + hidden[session + 1 :]
    before, after = (count_of(study_of({"m1": animal("", (0, 4, 8), one, "PPP")})) for one in (words, " ".join(listed)))
    assert (after[["gained", "lost", "stable"]] <= before[["gained", "lost", "stable"]]).all(axis=None)


def count_of(tables):
    return interval_rates(tables, StudySettings(with_filopodia=True))[0].set_index("phase")


def test_the_order_of_rows_and_the_names_of_animals_say_nothing():
    tables = drawn_study(1, animals=3)
    names = {name: f"x{place:02d}" for place, name in enumerate(sorted(tables.animals["animal"], reverse=True))}
    plain, mixed, other = (
        formation_and_elimination(one, FEW) for one in (tables, shuffled(tables, 3), renamed(tables, names))
    )
    for name, table in plain.tables.items():
        pd.testing.assert_frame_equal(table, mixed.tables[name])
        pd.testing.assert_frame_equal(
            table.drop(columns="animal"), other.tables[name].drop(columns="animal"), check_exact=False
        )
    assert plain.statistics == mixed.statistics


def test_a_planted_rate_is_found():
    tables = drawn_study(2, animals=8, groups=("control",), formation={"control": 0.1}, hidden=0.2, dendrites=8)
    rates = interval_rates(tables, FEW)[0]
    first = rates[rates["phase"] == "day 0-4"]
    assert first["formation_percent"].mean() == pytest.approx(10.0, abs=2.0)
    assert first["unscorable"].sum() > 100


def test_the_finding_tells_all():
    finding = formation_and_elimination(drawn_study(0, animals=3), FEW)
    assert set(finding.tables) == {
        "", "intervals_by_dendrite", "phases", "phases_by_dendrite", "density", "density_by_dendrite"
    }  # fmt: skip
    tested = [line for line in finding.statistics if line.p is not None]
    pairs = {"control against early", "control against late", "early against late"}
    assert {line.comparison for line in tested if "in a phase" not in line.measure} == pairs
    phases = {line.comparison for line in tested if "in a phase" in line.measure}
    assert {"control, early against early, early", "early, early against early, late"} <= phases
    assert all(line.p_corrected >= line.p for line in tested)
    assert "n = 9 animals" in finding.legend
    with paper_style():
        assert len(finding.draw().axes) == 6


def test_groups_with_a_phase_each_are_compared_with_each_other():
    phases = [("early", "early", 0, 4, "reaching"), ("late", "late", 12, 16, "reaching")]
    finding = formation_and_elimination(drawn_study(0, animals=3, groups=("early", "late"), phases=phases), FEW)
    lines = [line for line in finding.statistics if "in a phase" in line.measure and line.comparison]
    assert {line.comparison for line in lines if line.p is not None} == {"early against late"}
    assert len(finding.tables["phases"]) == 6


def test_without_phases_there_are_four_panels():
    finding = formation_and_elimination(drawn_study(0, animals=2, phases=()), FEW)
    assert "phases" not in finding.tables
    with paper_style():
        assert len(finding.draw().axes) == 4


def test_a_group_without_spread_is_compared():
    from scipy import stats

    x, y = np.array([100.0, 100.0, 100.0]), np.array([80.0, 90.0, 95.0])
    low, high, p = welch_interval(x, y)
    oracle = stats.ttest_1samp(y, 100.0)
    assert p == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval()
    assert (low, high) == (pytest.approx(100 - interval.high), pytest.approx(100 - interval.low))
    assert welch_interval(x, x + 1e-12) == (None, None, None)
    z = np.array([1.0, 2.5, 7.0, 3.0])
    other = stats.ttest_ind(y, z, equal_var=False)
    assert welch_interval(y, z) == pytest.approx((*other.confidence_interval(), other.pvalue))


def nested(seed, *, apart=0.0, animals=5, per_animal=12, between=1.0):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"animal": np.repeat(np.arange(2 * animals), per_animal)})
    table["group"] = np.where(table["animal"] < animals, "a", "b")
    table["value"] = rng.normal(0, between, 2 * animals)[table["animal"]] + rng.normal(0, 1, len(table))
    table["value"] += np.where(table["group"] == "a", apart, 0.0)
    return table


def test_balanced_nested_values_give_the_t_of_animals():
    """With as many dendrites in every animal the mixed model is the t test of the means of animals."""
    from scipy import stats

    table = nested(4, apart=1.0)
    (line,) = compare_nested(table, "value", "value")
    means = table.groupby(["group", "animal"])["value"].mean()
    oracle = stats.ttest_ind(means.loc["a"], means.loc["b"])
    assert line.value == pytest.approx(means.loc["a"].mean() - means.loc["b"].mean(), abs=1e-6)
    assert line.p == pytest.approx(oracle.pvalue, rel=0.01)
    assert line.low == pytest.approx(oracle.confidence_interval().low, abs=0.02)


def test_the_mixed_model_does_not_take_dendrites_for_animals():
    ps = [line.p for seed in range(60) for line in compare_nested(nested(seed), "value", "value") if line.p is not None]
    assert len(ps) > 50
    assert np.mean(np.array(ps) < 0.05) < 0.13


def test_no_spread_between_animals_is_said():
    lines = [compare_nested(nested(seed, between=0.0), "value", "value")[0] for seed in range(6)]
    silent = [line for line in lines if line.value is None]
    assert silent
    assert all("tests of animals stand alone" in line.test for line in silent)
    equal = nested(0).assign(value=1.0)
    assert "all values are equal" in compare_nested(equal, "value", "value")[0].test
    one_each = nested(0, per_animal=1)
    assert compare_nested(one_each, "value", "value") == []


def test_paired_values_of_animals():
    from scipy import stats

    first, second = np.array([5.0, 7.0, 9.0, 4.0, np.nan]), np.array([3.0, 6.0, 5.0, 3.5, 1.0])
    signs, rank, t = compare_paired(first, second, "value", "a against b")
    assert signs.p == pytest.approx(2 / 16)
    assert "16 ways" in signs.test
    assert t.p == pytest.approx(stats.ttest_rel(first[:4], second[:4]).pvalue)
    assert rank.p == pytest.approx(stats.wilcoxon(first[:4], second[:4]).pvalue)
    assert (signs.n_animals, signs.value) == (4, 1.875)
    assert compare_paired(first[:1], second[:1], "value", "a against b") == []
    equal = compare_paired(first[:3], first[:3] - 1, "value", "a against b")
    assert (equal[0].value, equal[2].p) == (1.0, None)


def test_rates_of_nothing_present_are_none():
    fates = pd.DataFrame({"phase": ["p"], "fate": ["gained"]})
    assert np.isnan(count_rates(fates, ["phase"])["formation_percent"].iloc[0])


@pytest.mark.parametrize("phases", [(), [("p", "", 0.0, 4.0, "")]])
def test_a_repeat_of_one_field_ends_no_phase(phases):
    tables = told_study({("m1", 0): [(1.0, "+++")], ("m1", 1): [(1.0, "-+?")]}, (0.0, 4.0, 4.05), phases=phases)
    field = tables.spines["dendrite"].map({0: "F01", 1: "F02"})
    spines = tables.spines.assign(field=field)[~(field.eq("F02") & tables.spines["session"].eq(2))]
    tables = dataclasses.replace(tables, spines=spines)
    (phase,) = phases_of(tables)
    assert phase.sessions == (0, 1)
    assert phase_fates(tables, [phase])["fate"].tolist() == ["stable", "gained"]


def test_phases_meet_in_a_session_that_was_repeated():
    phases = [("one", "", 0.0, 2.0, ""), ("two", "", 2.0, 4.0, "")]
    tables = told_study({("m1", 0): [(1.0, "++++")]}, (0.0, 2.0, 2.05, 4.0), phases=phases)
    assert [(one.name, one.sessions) for one in phases_of(tables)] == [("one", (0, 1)), ("two", (1, 3))]


def fields_seen(*sessions):
    """One animal whose fields F0, F1 ... were each seen in some of four sessions."""
    days = (0.0, 1.0, 4.0, 5.0)
    tables = told_study({("m1", field): [(1.0, "++++")] for field in range(len(sessions))}, days)
    spines = tables.spines.assign(field="F" + tables.spines["dendrite"].astype(str))
    kept = [session in sessions[field] for field, session in zip(spines["dendrite"], spines["session"], strict=True)]
    return dataclasses.replace(tables, spines=spines[kept], phases=tables.phases)


def test_fields_seen_on_other_days_are_the_reason_why_nothing_is_found():
    with pytest.raises(NotComputable, match=r"first and the last session of a phase: F0 of m1 \(day 0-1\), F1 of m1"):
        formation_and_elimination(fields_seen((0, 2), (1, 3)), FEW)


def test_a_field_that_an_interval_leaves_out_is_named():
    legend = formation_and_elimination(fields_seen((0, 1, 2, 3), (0, 1, 3)), FEW).legend
    assert legend.endswith("the first and the last session: F1 of m1 (day 1-4), F1 of m1 (day 4-5).")
    assert "Left out" not in formation_and_elimination(fields_seen((0, 1, 2, 3)), FEW).legend
