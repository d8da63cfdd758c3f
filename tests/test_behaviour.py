"""Behaviour against spines: hand-made animals, scipy as the oracle, planted correlation, what cannot be told."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.study.behaviour import (
    behaviour_and_spines,
    behaviour_by_day,
    behaviour_gained,
    correlate,
    rank_correlation,
    spine_measures,
)
from analysis.study.charts import paper_style
from analysis.study.finding import NotComputable
from analysis.study.intervals import phases_of
from analysis.study.settings import StudySettings
from tests.letters import animal, drawn_study, renamed, shuffled, study_of

FEW = StudySettings(runs=300)
EARLY = [("early", "", 0, 4, "reaching")]


def rows_of(name, days, values, measure="success rate (%)"):
    return [(name, float(day), measure, float(value)) for day, value in zip(days, values, strict=True)]


def test_what_is_gained_is_the_last_value_less_the_first_within_the_phase():
    behaviour = [
        *rows_of("m1", (0.3, 1, 2, 4.4, 9), (10, 20, 30, 45, 90)),
        *rows_of("m2", (1, 1, 3), (10, 20, 25)),
        *rows_of("m3", (2,), (50,)),
        *rows_of("m2", (1, 3), (5, 2), "falls"),
    ]
    tables = study_of({name: animal("a", (0, 4), "PP AP") for name in ("m1", "m2", "m3")}, EARLY, behaviour)
    gains = behaviour_gained(tables, phases_of(tables)).set_index(["animal", "measure"])
    assert gains.loc[("m1", "success rate (%)"), ["first", "last", "gained"]].tolist() == [10, 45, 35]
    assert gains.loc[("m2", "success rate (%)"), "gained"] == 10  # two values of one day are one
    assert gains.loc[("m2", "falls"), "gained"] == -3
    assert "m3" not in gains.index.get_level_values("animal")
    course = behaviour_by_day(tables)
    assert course[(course["animal"] == "m2") & (course["measure"] == "success rate (%)")]["value"].tolist() == [15, 25]


def test_spine_measures_of_an_animal():
    words = "PPPP APPA APPP PPPP APAA PPPP PAAA"
    tables = study_of({"m1": animal("a", (0, 4, 8, 12), words), "m2": animal("a", (0, 4, 8), "PPP APP PPP")}, EARLY)
    found = spine_measures(tables, FEW).set_index("animal")
    m1 = found.loc["m1"]
    assert m1["clustered_percent"] == pytest.approx(200 / 3)
    assert m1["formation_percent"] == pytest.approx(75.0)
    assert m1["elimination_percent"] == pytest.approx(25.0)
    # day 4 after the phase is the latest that both animals were seen on
    assert m1[["persistence_percent", "clustered_persistence_percent", "lone_persistence_percent"]].tolist() == [
        pytest.approx(200 / 3), 100.0, 0.0
    ]  # fmt: skip
    assert found.loc["m2", "lone_persistence_percent"] == 100.0
    assert np.isnan(found.loc["m2", "clustered_persistence_percent"])


def pairs(n, seed=0, slope=1.0, groups=1):
    rng = np.random.default_rng(seed)
    gained = rng.normal(0, 1, n)
    return pd.DataFrame(
        {"animal": [f"m{k}" for k in range(n)], "group": [f"g{k % groups}" for k in range(n)],
         "gained": gained, "spines": slope * gained + rng.normal(0, 1, n)}
    )  # fmt: skip


def test_correlations_are_those_of_scipy():
    rows = pairs(7)
    pearson, spearman = correlate(rows, "spines", ("gained", "spines"), FEW)
    oracle = stats.pearsonr(rows["gained"], rows["spines"])
    assert (pearson.value, pearson.p) == pytest.approx((oracle.statistic, oracle.pvalue))
    ranked = stats.spearmanr(rows["gained"], rows["spines"])
    assert spearman.value == pytest.approx(ranked.statistic)
    assert "5040 ways" in spearman.test
    assert spearman.p == pytest.approx(ranked.pvalue, abs=0.03)
    assert spearman.low <= spearman.value <= spearman.high
    assert list(correlate(rows.head(3), "spines", ("gained", "spines"), FEW)) == []
    assert list(correlate(rows.assign(spines=1.0), "spines", ("gained", "spines"), FEW)) == []


def test_many_animals_are_permuted_at_random():
    rows = pairs(30, slope=0.0)
    x, y = rows["gained"].to_numpy(), rows["spines"].to_numpy()
    rho, _, p, told = rank_correlation(x, y, 2000, 0)
    assert "2000 drawn" in told
    assert p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.05)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_a_difference_of_groups_alone_is_no_correlation_within_them():
    rng = np.random.default_rng(1)
    group = np.repeat([0, 1], 10)
    rows = pd.DataFrame({"animal": [f"m{k}" for k in range(20)], "group": [f"g{k}" for k in group]})
    rows["gained"], rows["spines"] = (10.0 * group + rng.normal(0, 1, 20) for _ in range(2))
    every, _, within = correlate(rows, "spines", ("gained", "spines"), FEW)
    assert every.p < 1e-6
    assert within.p > 0.05
    assert within.test.startswith("Within groups")
    # the oracle: the regression with a group term
    import statsmodels.api as sm

    design = np.column_stack([rows["gained"], group == 0, group == 1]).astype(float)
    assert within.p == pytest.approx(sm.OLS(rows["spines"].to_numpy(), design).fit().pvalues[0])


def test_the_rank_interval_covers_what_was_planted():
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)  # Spearman's of a normal pair with correlation sqrt(1/2)
    within = [
        (found := rank_correlation(*pairs(12, seed)[["gained", "spines"]].to_numpy().T, 300, seed)[1])[0]
        <= truth
        <= found[1]
        for seed in range(60)
    ]
    assert np.mean(within) > 0.85


def test_without_behaviour_the_reason_is_told():
    tables = study_of({"m1": animal("a", (0, 4), "PP AP")})
    with pytest.raises(NotComputable, match="no behaviour; add a table"):
        behaviour_and_spines(tables, FEW)


@pytest.mark.parametrize(("name", "values"), [("mouse 1", (10, 20)), ("m1", (np.nan, np.nan))])
def test_behaviour_of_no_animal_of_the_study_is_told(name, values):
    tables = study_of({"m1": animal("a", (0, 4), "PP AP")}, EARLY, rows_of(name, (0, 4), values))
    with pytest.raises(NotComputable, match=f"it names {name}, the study has m1"):
        behaviour_and_spines(tables, FEW)


def test_behaviour_alone_is_drawn_when_there_are_too_few_animals():
    tables = study_of({"m1": animal("a", (0, 4), "PP AP")}, EARLY, rows_of("m1", (0, 4), (10, 20)))
    finding = behaviour_and_spines(tables, FEW)
    with paper_style():
        assert len(finding.draw().axes) == 1
    none_seen = dataclasses.replace(tables, sessions=tables.sessions[tables.sessions["session"] == 0])
    assert behaviour_and_spines(none_seen, FEW).tables[""].empty


def test_the_finding_tells_all_and_the_order_of_rows_says_nothing():
    tables = drawn_study(0, animals=3)
    names = {name: f"x{place:02d}" for place, name in enumerate(tables.animals["animal"])}
    plain, mixed, other = (
        behaviour_and_spines(one, FEW) for one in (tables, shuffled(tables, 5), renamed(tables, names))
    )
    for one in (mixed, other):
        assert [line.measure for line in plain.statistics] == [line.measure for line in one.statistics]
        for a, b in zip(plain.statistics, one.statistics, strict=True):
            assert (a.value, a.p) == pytest.approx((b.value, b.p), nan_ok=True)
    tested = [line for line in plain.statistics if line.test.startswith("Spearman")]
    assert {line.comparison for line in tested} >= {"with formation (%)", "with new spines in clusters (%)"}
    assert all(line.correction for line in tested)
    with paper_style():
        assert len(plain.draw().axes) == 10
