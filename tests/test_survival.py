"""Lifetimes of spines: hand-made words, plain loops, statsmodels and scipy as oracles, planted rates, coverage."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from analysis.study.charts import paper_style
from analysis.study.finding import NotComputable, Statistic
from analysis.study.lifetimes import (
    AnimalDraws,
    censored,
    drawn_p,
    drawn_survival,
    followed_spines,
    interval_censored,
    kaplan_meier,
    lifetimes,
    limits,
    loss_rates,
    still_there,
    weibull_shape,
)
from analysis.study.settings import StudySettings
from analysis.study.survival import (
    CLUSTERED,
    LONE,
    correct_by_kind,
    new_spine_classes,
    old_spines,
    persistence_of_new_spines,
    survival_of_old_spines,
)
from tests.letters import animal, drawn_study, renamed, shuffled, study_of
from tests.toy_study import toy_study

FEW = StudySettings(runs=300)
DAYS = (0, 4, 8, 12, 30)


def lives_of(*words, days=DAYS):
    """Lifetimes of spines from the first session, one word a spine, by track."""
    tables = study_of({"m1": animal("", days, " ".join(words))})
    found = lifetimes(followed_spines(tables, old_spines(tables, StudySettings(with_filopodia=True))))
    return found.set_index("track")[["kept_days", "gone_days"]]


def test_unscorable_is_bridged_or_censored_and_never_lost():
    found = lives_of("PPPPP", "PPAAA", "P?PPA", "PP???", "PP?A?", "P????", "PAPPP", "P??AA")
    expected = {
        0: (30, np.nan), 1: (4, 8), 2: (12, 30), 3: (4, np.nan), 4: (4, 12), 6: (0, 4), 7: (0, 12)
    }  # fmt: skip
    assert 5 not in found.index  # never judged again
    for track, (kept, gone) in expected.items():
        assert found.loc[track].tolist() == pytest.approx([kept, gone], nan_ok=True)


def test_the_share_still_there_is_of_what_the_session_could_judge():
    tables = study_of({"m1": animal("", DAYS, "PPPPP PPAAA P?PPA PAPPP P????")})
    shares = still_there(followed_spines(tables, old_spines(tables, FEW)), ["animal"]).set_index("days_after")
    assert shares["judged"].to_dict() == {4: 3, 8: 4, 12: 4, 30: 4}
    assert shares["there"].to_dict() == {4: 2, 8: 2, 12: 2, 30: 1}  # once lost is lost: PAPPP counts no more
    assert shares.loc[8, "percent"] == 50.0


def test_repeats_of_a_day_are_left_out():
    tables = study_of({"m1": animal("", (0, 0.1, 8, 8.1), "PAPA PPPA")})
    found = lifetimes(followed_spines(tables, old_spines(tables, FEW)))
    assert found["kept_days"].tolist() == [8.0, 8.0]
    assert found["gone_days"].isna().all()


def test_filopodia_of_the_first_view_are_left_out_unless_asked_for():
    tables = study_of({"m1": animal("", DAYS, "FPPPP PPPPP APPPP")})
    assert old_spines(tables, FEW)["track"].tolist() == [1]
    assert old_spines(tables, StudySettings(with_filopodia=True))["track"].tolist() == [0, 1]


def test_a_field_that_came_later_is_followed_from_its_own_first_view():
    tables = study_of({"m1": animal("", DAYS, "PPPAA")})
    tables = dataclasses.replace(tables, spines=tables.spines[tables.spines["session"] >= 2])
    found = lifetimes(followed_spines(tables, old_spines(tables, FEW)))
    assert found[["from_session", "kept_days", "gone_days"]].to_numpy().tolist() == [[2, 0, 4]]


CLASSES_STUDY = {
    # two neighbours between stable ones are clustered, one alone is not; the unscorable one leaves two undecided
    "m1": animal("early", DAYS, "PPPPP AAAAA APPPP APPAA PPPPP APAAA PPPPP", "PPPPP APPPP ?PPPP APPPP PPPPP"),
}


def test_new_spines_are_clustered_by_definition_one():
    tables = study_of(CLASSES_STUDY, [("early", "", 0, 4, "reaching")])
    start = new_spine_classes(tables, FEW)
    told = {(row.dendrite, row.track): row.spine_class for row in start.itertuples()}
    assert told == {
        (0, 2): CLUSTERED, (0, 3): CLUSTERED, (0, 5): LONE, (1, 1): "undecided", (1, 3): "undecided"
    }  # fmt: skip
    assert set(start["from_session"]) == {1}
    finding = persistence_of_new_spines(tables, FEW)
    shares = finding.tables[""].set_index(["spine_class", "days_after"])
    assert shares.loc[CLUSTERED, "percent"].to_dict() == {4: 100, 8: 50, 26: 50}
    assert shares.loc[LONE, "percent"].to_dict() == {4: 0, 8: 0, 26: 0}
    assert "2 new spines were left out" in finding.legend


def test_what_cannot_be_told_is_said():
    alone = study_of({"m1": animal("", (0, 4), "PP AP")})
    with pytest.raises(NotComputable, match="session after a phase ends"):
        persistence_of_new_spines(alone, FEW)
    with pytest.raises(NotComputable, match="no spine was new"):
        persistence_of_new_spines(study_of({"m1": animal("", (0, 4, 8), "PPP")}), FEW)
    with pytest.raises(NotComputable, match="two days"):
        survival_of_old_spines(study_of({"m1": animal("", (0,), "P")}), FEW)


# ---- oracles ---------------------------------------------------------------------------------------------------------

WORDS = st.lists(st.text("PPPA?", min_size=4, max_size=4), min_size=2, max_size=25)


def plain_kaplan_meier(lives, time):
    """The product-limit estimate by a plain loop."""
    survival = 1.0
    for step in sorted({float(day) for day in lives["gone_days"].dropna() if day <= time}):
        ends = [row.kept_days if np.isnan(row.gone_days) else row.gone_days for row in lives.itertuples()]
        at_risk = sum(end >= step for end in ends)
        lost = sum(row.gone_days == step for row in lives.itertuples())
        survival *= 1 - lost / at_risk
    return survival


@given(WORDS)
@hypothesis_settings(deadline=None, max_examples=20)
def test_the_curve_is_that_of_a_plain_loop_of_scipy_and_of_statsmodels(words):
    from statsmodels.duration.survfunc import SurvfuncRight

    lives = lives_of(*(f"P{word}" for word in words))
    if lives.empty:
        return
    lives = lives.assign(animal="m1")
    curve = kaplan_meier(lives, AnimalDraws.each_once(["m1"]))
    drawn = drawn_survival(lives, AnimalDraws.each_once(["m1"]), curve["days_after"].to_numpy())[0]
    assert curve["survival"].tolist() == pytest.approx(drawn.tolist())
    for row in curve.itertuples():
        assert row.survival == pytest.approx(plain_kaplan_meier(lives, row.days_after))
    if lives["gone_days"].notna().any():
        end = lives["gone_days"].fillna(lives["kept_days"])
        oracle = SurvfuncRight(end, lives["gone_days"].notna().astype(int))
        known = curve.set_index("days_after")["survival"]
        for time, value in zip(oracle.surv_times, oracle.surv_prob, strict=True):
            assert known[time] == pytest.approx(value)


@given(WORDS, st.integers(0, 24), st.integers(0, 3))
@hypothesis_settings(deadline=None, max_examples=20)
def test_hiding_a_view_never_makes_a_loss(words, which, session):
    which %= len(words)
    hidden = [*words]
    hidden[which] = words[which][:session] + "?" + words[which][session + 1 :]
    before, after = (lives_of(*(f"P{word}" for word in some)) for some in (words, hidden))
    lost = set(before.index[before["gone_days"].notna()])
    assert set(after.index[after["gone_days"].notna()]) - lost <= set()
    all_hidden = lives_of(*(f"P{word.replace('A', '?')}" for word in words))
    assert all_hidden["gone_days"].isna().all()


def planted(seed, *, rate=0.05, animals=6, per_animal=40, spread=0.0, days=(4.0, 8.0, 12.0, 26.0, 60.0)):
    """Lifetimes with a known rate of loss, seen on some days only, followed to the last or to an earlier one."""
    rng = np.random.default_rng(seed)
    grid = np.array([0.0, *days])
    animal = np.repeat(np.arange(animals), per_animal)
    rates = rate * np.exp(rng.normal(0, spread, animals))[animal]
    true = rng.exponential(1 / rates)
    last = rng.choice(grid[3:], len(true))
    gone = np.array([next((day for day in grid if day > t), np.inf) for t in true])
    kept = np.array([grid[grid <= t].max() for t in true])
    is_seen = gone <= last
    table = pd.DataFrame(
        {"animal": [f"m{k}" for k in animal], "kept_days": np.where(is_seen, kept, np.minimum(kept, last)),
         "gone_days": np.where(is_seen, gone, np.nan)}
    )  # fmt: skip
    return table[(table["kept_days"] > 0) | table["gone_days"].notna()], AnimalDraws.of(
        [f"m{k}" for k in range(animals)], 500, seed
    )


def test_the_rate_is_that_of_scipy():
    lives, draws = planted(0)
    rate = loss_rates(lives, AnimalDraws.each_once(draws.animals))[0]
    oracle = stats.weibull_min.fit(interval_censored(lives), floc=0, f0=1)[2]
    assert rate == pytest.approx(1 / oracle, rel=1e-3)
    many = [loss_rates(one, AnimalDraws.each_once(drawn.animals))[0] for one, drawn in map(planted, range(20))]
    assert np.mean(many) == pytest.approx(0.05, rel=0.05)
    assert weibull_shape(lives) == pytest.approx(1.0, abs=0.15)
    naive = float(censored(lives)._uncensored.size / lives["gone_days"].fillna(lives["kept_days"]).sum())
    assert naive < rate  # taking the day on which it was found gone for the day of the loss makes spines older


def test_rates_at_the_edges():
    once = AnimalDraws.each_once(["m"])
    none_lost = pd.DataFrame({"animal": ["m"], "kept_days": [8.0], "gone_days": [np.nan]})
    all_lost = pd.DataFrame({"animal": ["m"], "kept_days": [0.0], "gone_days": [4.0]})
    assert loss_rates(none_lost, once).tolist() == [0.0]
    assert loss_rates(all_lost, once).tolist() == [np.inf]
    assert np.isnan(loss_rates(none_lost, AnimalDraws(("m",), np.zeros((1, 1))))[0])
    assert kaplan_meier(none_lost, once)["survival"].tolist() == [1.0, 1.0]
    assert weibull_shape(all_lost) is None


@pytest.mark.parametrize(("animals", "spread"), [(5, 0.5), (8, 0.5), (6, 0.0)])
def test_intervals_over_animals_cover_what_was_planted(animals, spread):
    """Rates of animals differ: the interval must be of animals, not of spines."""
    covered, curves = [], []
    truth = np.mean(np.exp(-0.05 * np.exp(np.random.default_rng(0).normal(0, spread, 20_000)) * 12))
    for seed in range(100):
        lives, draws = planted(seed, animals=animals, spread=spread, per_animal=30)
        low, high = limits(drawn_survival(lives, draws, np.array([12.0])), animals)
        curves.append(low[0] <= truth <= high[0])
        few = limits(loss_rates(lives, AnimalDraws(draws.animals, draws.weights[:200]))[:, None], animals)
        covered.append(few[0][0] <= 0.05 * np.exp(spread**2 / 2) <= few[1][0])
    assert 0.87 <= np.mean(curves) <= 1.0
    assert np.mean(covered) >= 0.8


def test_p_of_draws_agrees_with_their_interval():
    drawn = np.random.default_rng(0).normal(1.0, 0.5, 20_000)
    for n in (3, 5, 8, 40):
        low, high = limits(drawn[:, None], n)
        assert (drawn_p(drawn, 0.0, n) < 0.05) == (not low[0] <= 0 <= high[0])
        # of a normal estimate: t with n - 1 degrees of freedom, draws being too narrow by the root of (n - 1) / n
        reach = 2.0 / np.sqrt(n / (n - 1))
        assert drawn_p(drawn, 0.0, n) == pytest.approx(2 * stats.t.sf(reach, n - 1), rel=0.1)
    assert drawn_p(drawn, 0.0, 2) is None
    assert np.isnan(limits(drawn[:, None], 2)[0][0])
    assert drawn_p(np.full(10, np.nan), 0.0, 5) is None


# ---- findings --------------------------------------------------------------------------------------------------------


def test_planted_persistence_is_found():
    tables = drawn_study(3, animals=10, dendrites=14, groups=("early",))
    finding = persistence_of_new_spines(tables, FEW)
    rates = {line.measure: line for line in finding.statistics if line.measure.startswith("rate of loss")}
    early = {name.split()[3]: line for name, line in rates.items() if "phase early" in name}
    assert early["clustered"].low <= 0.03 <= early["clustered"].high
    assert early["non-clustered"].low <= 0.1 <= early["non-clustered"].high
    ratio = next(line for line in finding.statistics if line.measure.startswith("ratio"))
    assert ratio.value == pytest.approx(0.3, abs=0.15)
    assert ratio.high < 1
    paired = [line for line in finding.statistics if line.test == "paired t"]
    assert all(line.p_corrected >= line.p and line.value > 0 for line in paired)
    assert any(line.test.startswith("log-rank") and line.p < 0.05 for line in finding.statistics)
    with paper_style():
        assert len(finding.draw().axes) == 2


def test_old_spines_by_group():
    tables = drawn_study(4, animals=4, groups=("control", "early"))
    finding = survival_of_old_spines(tables, FEW)
    rates = [line for line in finding.statistics if line.measure.startswith("rate of loss")]
    assert [line.value for line in rates] == pytest.approx([0.004, 0.004], abs=0.0015)
    assert all(line.low < 0.004 < line.high for line in rates)
    assert finding.tables[""]["days_after"].max() == 30
    with paper_style():
        finding.draw()


@pytest.mark.parametrize("analysis", [persistence_of_new_spines, survival_of_old_spines])
def test_the_order_of_rows_and_the_names_of_animals_say_nothing(analysis):
    tables = drawn_study(1, animals=3, groups=("early", "late"))
    names = {name: f"x{place:02d}" for place, name in enumerate(tables.animals["animal"])}
    plain, mixed, other = (analysis(one, FEW) for one in (tables, shuffled(tables, 3), renamed(tables, names)))
    assert plain.statistics == mixed.statistics == other.statistics
    for name, table in plain.tables.items():
        pd.testing.assert_frame_equal(table, mixed.tables[name])


def test_p_of_every_kind_is_corrected_over_all_its_lines():
    def line(test, p):
        return Statistic("share", "a against b", test, 4, 40, 1.0, p=p)

    told = [line("log-rank of spines", 0.02), line("difference of curves", 0.03), line("log-rank of spines", 0.5)]
    corrected = correct_by_kind([*told, line("exponential model", None)])
    assert [one.p_corrected for one in corrected] == [0.04, 0.03, 0.5, None]


def test_no_p_of_survival_stands_uncorrected():
    tables = toy_study(animals=3, dendrites=3, share_new=0.2, share_lost=0.2, days=(0.0, 1.0, 4.0, 8.0, 16.0), phases=[
        ("early", "", 0.0, 1.0, ""), ("late", "", 4.0, 8.0, ""),
    ])  # fmt: skip
    for analysis in (survival_of_old_spines, persistence_of_new_spines):
        lines = [line for line in analysis(tables, StudySettings(runs=100)).statistics if line.p is not None]
        assert lines
        assert all(line.p_corrected is not None for line in lines)
    lines = survival_of_old_spines(tables, StudySettings(runs=100)).statistics
    ranked = [line.correction for line in lines if line.test.startswith("log-rank")]
    assert set(ranked) == {"Holm, 3 comparisons"}
