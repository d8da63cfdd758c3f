"""Which conditions are compared with which, and how often the P of one question are corrected."""

import numpy as np
import pandas as pd
import pytest

from analysis.study.conditions import compare_conditions, conditions_of
from analysis.study.intervals import Phase, phases_of
from tests.toy_study import told_study


def lines_of(*plan, animals=4):
    """Compare made-up values; the plan is (group, phase, day), and every group keeps its animals."""
    phases = [
        Phase(phase, "", f"{group}-{number}", group, (0, 1), (day, day + 4.0), (day, day + 4.0))
        for group, phase, day in plan
        for number in range(animals)
    ]
    table = conditions_of(phases)
    table["value"] = np.random.default_rng(0).normal(size=len(table))
    return compare_conditions(table, "value", "value", runs=50)


def pairs_of(lines, test="Welch"):
    return [line.comparison for line in lines if line.test.startswith(test)]


def test_a_control_of_one_phase_is_compared_with_a_group_of_two():
    lines = lines_of(("control", "early", 0.0), ("trained", "early", 0.0), ("trained", "late", 12.0))
    assert pairs_of(lines) == ["control against trained, early"]
    assert pairs_of(lines, "paired") == ["trained, early against trained, late"]


def test_a_group_whose_phase_no_other_has_is_compared_with_all():
    lines = lines_of(("control", "rest", 0.0), ("trained", "early", 0.0), ("trained", "late", 12.0))
    assert pairs_of(lines) == ["control against trained, early", "control against trained, late"]


def test_every_pair_is_compared_once_and_corrected_over_all_phases():
    groups = ("control", "trained")
    plan = [(group, phase, day) for group in groups for phase, day in (("early", 0.0), ("late", 12.0))]
    lines = lines_of(*plan, ("enriched", "early", 0.0), ("caged", "late", 12.0))
    pairs = pairs_of(lines)
    assert len(pairs) == len(set(pairs)) == 3 + 3 + 1  # within early, within late, and both groups of one phase
    assert "enriched against caged" in pairs
    welch = [line for line in lines if line.test.startswith("Welch")]
    assert {line.correction for line in welch} == {"Holm, 7 comparisons"}


def test_groups_of_one_phase_are_compared_with_all():
    lines = lines_of(("control", "early", 0.0), ("early", "early", 0.0), ("late", "late", 12.0))
    assert pairs_of(lines) == ["control against early", "control against late", "early against late"]


def test_conditions_with_one_value_are_not_compared():
    table = pd.DataFrame(
        {"animal": ["a", "b", "c"], "group": ["g", "g", "h"], "phase": "p", "condition": ["g", "g", "h"],
         "value": [1.0, 2.0, 3.0]}
    )  # fmt: skip
    assert compare_conditions(table, "value", "value", runs=50) == []


@pytest.mark.parametrize("turn", [1, -1])
def test_a_phase_of_a_group_takes_the_place_of_the_phase_of_all(turn):
    phases = [("training", "", 0.0, 4.0, "none"), ("training", "trained", 0.0, 2.0, "reaching")][::turn]
    tables = told_study(
        {("m1", 0): [(1.0, "+++")], ("m2", 0): [(1.0, "+++")]},
        (0.0, 2.0, 4.0), phases=phases, groups={"m1": "control", "m2": "trained"},
    )  # fmt: skip
    told = [(phase.animal, phase.task, phase.sessions) for phase in phases_of(tables)]
    assert told == [("m1", "none", (0, 1, 2)), ("m2", "reaching", (0, 1))]
