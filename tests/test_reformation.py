"""Forming again where a spine was eliminated: studies told sign by sign, planted ones, and chance."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.study import charts
from analysis.study.finding import NotComputable
from analysis.study.reformation import AGAIN, ELSEWHERE, LOST_LATER, OLDER, reformation
from analysis.study.settings import StudySettings
from tests.toy_study import told_study, toy_study

SETTINGS = StudySettings(runs=2000)
PHASES = [("conditioning", "", 0, 2, "fear"), ("extinction", "", 2, 4, "no fear"), ("again", "", 4, 6, "fear")]
ONE = [
    (10.0, "++++"),
    (20.0, "+---"),  # eliminated in the first phase
    (21.5, "--+-"),  # formed again in the second, eliminated in the third
    (23.0, "--++"),  # 3 um off: elsewhere
    (40.0, "++--"),  # eliminated in the second: not earlier than it
    (41.0, "--++"),
    (41.5, "---+"),  # formed in the third: again, 1.5 um from 40
    (50.0, "+-+-"),  # back where it was: again at distance 0
    (55.0, "+-++"),
    (58.0, "+?-+"),  # eliminated between, not in a phase
]


def test_distances_are_to_what_was_eliminated_in_an_earlier_phase():
    finding = reformation(
        told_study({("a", 0): ONE, ("a", 1): [(5.0, "--++"), (9.0, "++++")]}, phases=PHASES), SETTINGS
    )
    spines = finding.tables["spines"].set_index(["phase", "dendrite", "track"])["distance_um"]
    assert spines["extinction", 0, 2] == pytest.approx(1.5)
    assert spines["extinction", 0, 3] == pytest.approx(3.0)
    assert spines["extinction", 0, 5] == pytest.approx(9.0)  # from 50, which had gone; 40 had not
    assert spines["extinction", 0, 7] == 0
    assert np.isnan(spines["extinction", 1, 0])
    assert spines["again", 0, 6] == pytest.approx(1.5)
    assert ("again", 0, 9) in spines.index
    table = finding.tables[""].set_index("phase")
    assert table.loc["extinction", "again_percent"] == pytest.approx(100 * 3 / 6)
    assert table.loc["extinction", "eliminated_spines"] == 3
    assert table.loc["again", "eliminated_spines"] == 2  # 20 and 40: the others are back


def test_a_later_phase_is_asked_what_became_of_what_an_earlier_one_formed():
    finding = reformation(told_study({("a", 0): ONE}, phases=PHASES), SETTINGS)
    fates = finding.tables["later_fate"].set_index(["phase", "kind"])
    again = fates.xs("again")
    assert again["spines"].to_dict() == {AGAIN: 3, ELSEWHERE: 2, OLDER: 1}
    assert again["eliminated"].to_dict() == {AGAIN: 2, ELSEWHERE: 0, OLDER: 0}
    assert again.loc[AGAIN, "eliminated_percent"] == pytest.approx(200 / 3)
    assert np.isnan(fates.loc[("extinction", AGAIN), "eliminated_percent"])


def planted(animals=6, dendrites=6, seed=0, near=0.9):
    rng = np.random.default_rng(seed)
    told = {}
    for animal in range(animals):
        for dendrite in range(dendrites):
            rows = [(place, "++++") for place in np.arange(2.0, 58, 3.0) + rng.uniform(-1, 1, 19)]
            for place in rng.choice(np.arange(4.0, 56, 6.0), 2, replace=False):
                rows.append((place, "+---"))
                if rng.random() < near:
                    rows.append((place + rng.uniform(-1.5, 1.5), "--+-" if rng.random() < 0.7 else "--++"))
                else:
                    rows.append((rng.uniform(0, 60), "--++"))
            told[f"m{animal}", dendrite] = rows
    return told_study(told, phases=PHASES)


def test_planted_forming_again_is_beyond_both_nulls_and_it_goes_again():
    finding = reformation(planted(), SETTINGS)
    for null in ("permuted", "uniform"):
        chance = finding.tables[f"chance_{null}"].set_index("condition").loc["g, extinction"]
        assert chance["observed_percent"] > 70 > chance["high_percent"]
        assert chance["p"] < 0.01
    (line,) = [
        line for line in finding.statistics
        if line.measure == LOST_LATER and line.comparison.startswith(f"{AGAIN} against {OLDER}: g, again")
        and line.test.startswith("signs")
    ]  # fmt: skip
    assert line.value > 40
    assert line.p == pytest.approx(2 / 2**6)
    with charts.paper_style():
        finding.draw().canvas.draw()
    assert "nan" not in finding.legend


def test_without_planting_forming_again_is_as_by_chance():
    chance = reformation(planted(near=0.0, seed=3), SETTINGS).tables["chance_uniform"].set_index("condition")
    assert chance.loc["g, extinction", "p"] > 0.05


def place_apart(rng, count, others, gap_um):
    placed = []
    while len(placed) < count:
        place = rng.uniform(0, 60)
        if all(abs(place - other) >= gap_um for other in [*others, *placed]):
            placed.append(place)
    return placed


def without_formation_again(seed, gap_um=0.8):
    """New spines anywhere that there is room beside the stable ones: also where others were eliminated."""
    rng, told = np.random.default_rng(seed), {}
    for number in range(64):
        old = place_apart(rng, 20, [], gap_um)
        new = place_apart(rng, 2, old[2:], gap_um)
        signs = ["+---"] * 2 + ["++++"] * 18 + ["--++"] * 2
        told[f"m{number // 8}", number % 8] = list(zip(old + new, signs, strict=True))
    return told_study(told, phases=PHASES[:2])


def test_chance_with_a_gap_is_that_of_spines_which_take_room():
    means, ps = {"permuted": [], "uniform_gap": []}, {"permuted": [], "uniform_gap": []}
    for seed in range(8):
        finding = reformation(without_formation_again(seed), StudySettings(runs=200, least_gap_um=0.8))
        for null, beyond in means.items():
            row = finding.tables[f"chance_{null}"].set_index("condition").loc["g, extinction"]
            beyond.append(row["observed_percent"] - row["chance_percent"])
            ps[null].append(row["p"])
    assert np.mean(means["uniform_gap"]) == pytest.approx(0, abs=2)
    assert np.mean(means["permuted"]) > 2
    assert np.sum(np.array(ps["uniform_gap"]) < 0.05) <= 1
    assert np.sum(np.array(ps["permuted"]) < 0.05) >= 2
    assert "too low" in finding.legend


def test_a_dendrite_without_a_judged_stretch_is_left_out_of_chance_and_told():
    tables = planted(animals=2, dendrites=2)
    is_one = (tables.stretches["animal"] == "m1") & (tables.stretches["dendrite"] == 1)
    finding = reformation(replace(tables, stretches=tables.stretches[~is_one]), SETTINGS)
    assert "1 dendrite is left out" in finding.legend  # nothing is new on it in the last phase
    assert np.isfinite(finding.tables[""]["chance_uniform_gap_percent"]).any()
    kept = finding.tables[""].query("animal == 'm1' and phase == 'extinction'")["new_spines"].item()
    assert kept < len(finding.tables["spines"].query("animal == 'm1' and phase == 'extinction'"))
    alone = reformation(replace(tables, stretches=tables.stretches.iloc[:0]), SETTINGS)
    assert set(alone.tables) >= {"chance_permuted"}
    assert "chance_uniform_gap" not in alone.tables


def test_uniform_chance_is_the_share_of_the_dendrite_that_lies_within_the_distance():
    rows = [(30.0, "+---"), (10.0, "--++"), (50.0, "--++"), (5.0, "++++")]
    finding = reformation(told_study({("a", 0): rows, ("b", 0): rows}, phases=PHASES), SETTINGS)
    table = finding.tables[""].set_index("phase").loc["extinction"]
    assert table["chance_uniform_percent"].to_numpy() == pytest.approx([100 * 4 / 60] * 2, abs=1.5)
    curve = finding.tables["curves"].query("kind == 'uniform' and phase == 'extinction' and animal == 'a'")
    assert curve["percent"].to_numpy() == pytest.approx(100 * 2 * curve["distance_um"].to_numpy() / 60, abs=4)


def test_it_says_why_it_cannot_be_computed():
    with pytest.raises(NotComputable, match="no animal has two phases"):
        reformation(toy_study(animals=2), SETTINGS)
    with pytest.raises(NotComputable, match="no spine was eliminated"):
        reformation(told_study({("a", 0): [(1.0, "++++"), (2.0, "--++")]}, phases=PHASES), SETTINGS)
