"""The analyses of clusters on drawn studies: hand-made truth, planted effects, the animal as unit."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from analysis.study import charts
from analysis.study.clustering import clustered_share
from analysis.study.finding import NotComputable
from analysis.study.intervals import phase_fates, phases_of
from analysis.study.missed import NEVER_SEEN, SINGLE_VIEWS
from analysis.study.settings import StudySettings
from tests.toy_study import loop_members, toy_study

SETTINGS = StudySettings(runs=400)


@cache
def study():
    return toy_study(share_new=0.06, dendrites=5, animals=4)


@cache
def found(analysis):
    return analysis(study(), SETTINGS)


def drawn_well(finding):
    """Draw, and check that nothing warns and the legend is sentences."""
    with charts.paper_style():
        finding.draw().canvas.draw()
    assert finding.legend.endswith(".")
    assert "nan" not in finding.legend
    return True


def test_the_share_is_that_counted_by_a_loop_for_every_animal():
    finding = found(clustered_share)
    fates = phase_fates(study(), phases_of(study()))
    for row in finding.tables[""].itertuples():
        partner, doubt, _ = loop_members(fates[fates["animal"] == row.animal].reset_index(drop=True), 5.0)
        clustered = sum(map(bool, partner.values()))
        undecided = sum(bool(doubt[number]) and not partner[number] for number in partner)
        assert (row.new_spines, row.clustered_spines, row.undecided_spines) == (len(partner), clustered, undecided)
        assert row.clustered_percent == pytest.approx(100 * clustered / (len(partner) - undecided))
        low, high = row.all_undecided_alone_percent, row.all_undecided_clustered_percent
        assert low - 1e-9 <= row.clustered_percent <= high + 1e-9
    assert drawn_well(finding)


def test_planted_clusters_are_found_beyond_chance_and_nothing_else_is():
    chance = found(clustered_share).tables["chance"].set_index("condition")
    assert chance.loc["early", "p"] < 0.01
    assert chance.loc["early", "observed_percent"] > chance.loc["early", "high_percent"]
    assert (chance.loc[["control", "late"], "p"] > 0.05).all()
    compared = [line for line in found(clustered_share).statistics if line.comparison == "control against early"]
    assert {line.p_corrected is not None and line.n_animals == 8 for line in compared} == {True}


def test_missed_spines_make_false_clusters():
    """Where nothing is planted, spines that are missed raise the share; how far is printed beside it."""
    missed = found(clustered_share).tables["missed"].set_index(["missed", "missed_share", "condition"])
    share = missed["clustered_percent"]
    for way in (NEVER_SEEN, SINGLE_VIEWS):
        assert share[way, 0.0, "control"] == pytest.approx(
            found(clustered_share).tables["chance"].set_index("condition").loc["control", "observed_percent"]
        )
    assert (
        share[SINGLE_VIEWS, 0.2, "control"] > share[SINGLE_VIEWS, 0.05, "control"] > share[SINGLE_VIEWS, 0, "control"]
    )
    assert missed.loc[(NEVER_SEEN, 0.2, "early"), "new_spines"] < missed.loc[(NEVER_SEEN, 0, "early"), "new_spines"]


def test_an_animal_without_a_new_spine_has_no_value_and_is_named():
    tables = study()
    quiet = tables.spines["animal"].eq("control-1") & tables.spines["state"].eq("absent")
    finding = clustered_share(replace(tables, spines=tables.spines[~quiet]), SETTINGS)
    row = finding.tables[""].set_index("animal").loc["control-1"]
    assert (row["new_spines"], np.isnan(row["clustered_percent"])) == (0, True)
    assert "No value (no new spines to count): control-1 (training)." in finding.legend
    assert drawn_well(finding)


def test_it_says_why_it_cannot_be_computed():
    tables = study()
    with pytest.raises(NotComputable, match="two views"):
        clustered_share(replace(tables, sessions=tables.sessions[tables.sessions["session"] == 0]), SETTINGS)
    with pytest.raises(NotComputable, match="no new spine"):
        clustered_share(replace(tables, spines=tables.spines[tables.spines["state"] == "present"]), SETTINGS)


def test_animals_seen_in_several_phases_are_compared_with_themselves():
    phases = [("early", "", 0, 1, "reaching"), ("late", "", 2, 4, "reaching")]
    finding = clustered_share(toy_study(share_new=0.1, phases=phases), SETTINGS)
    told = {(line.comparison, line.test.split(" (")[0]) for line in finding.statistics}
    assert ("control, early against early, early", "exact permutation of animals") in told
    assert ("early, early against early, late", "paired t") in told
    assert not any(line.comparison == "control, early against early, late" for line in finding.statistics)
    assert drawn_well(finding)
