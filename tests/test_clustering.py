"""The analyses of clusters on drawn studies: hand-made truth, planted effects, the animal as unit."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from analysis.study import charts
from analysis.study.chance import clustering_against_chance
from analysis.study.clustering import clustered_share
from analysis.study.clusterorder import cluster_order
from analysis.study.clustersizes import cluster_sizes, count_sizes
from analysis.study.dendrites import read_dendrites
from analysis.study.distances import clustered_share_by_distance, existing_between
from analysis.study.finding import NotComputable
from analysis.study.inference import against_null
from analysis.study.intervals import phase_fates, phases_of
from analysis.study.missed import NEVER_SEEN, SINGLE_VIEWS
from analysis.study.nulls import observed_spines
from analysis.study.regimes import clustering_by_task, two_one_sided
from analysis.study.settings import StudySettings
from analysis.study.shares import against_chance
from tests.toy_study import dendrite, loop_members, toy_study

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


def fates_of(animal, **kinds):
    fates = phase_fates(study(), phases_of(study()), **kinds)
    return fates[fates["animal"] == animal].reset_index(drop=True)


def test_shares_at_every_distance_are_those_of_a_loop_and_rise_with_it():
    finding = found(clustered_share_by_distance)
    sweep = finding.tables["sweep"]
    for row in sweep[sweep["animal"].isin(["control-2", "early-1"]) & sweep["distance_um"].isin([2, 5])].itertuples():
        _, _, near = loop_members(fates_of(row.animal, with_filopodia=row.with_filopodia), row.distance_um)
        assert row.near_percent == pytest.approx(100 * np.mean([bool(others) for others in near.values()]))
    for _, rows in sweep.groupby(["animal", "with_filopodia"]):
        assert (rows.sort_values("distance_um")[["near_percent", "chance_percent"]].diff().dropna() >= 0).all(axis=None)
    assert sweep["new_spines"][sweep["with_filopodia"]].sum() > sweep["new_spines"][~sweep["with_filopodia"]].sum()
    main = finding.tables[""]
    between = finding.tables["between"].groupby("animal")["near_percent"].sum()
    assert between.to_dict() == pytest.approx(
        main[~main["with_filopodia"]].set_index("animal")["near_percent"].to_dict()
    )
    assert drawn_well(finding)


def test_stable_spines_between_near_new_ones_are_counted_on_the_better_side():
    rows = [("s", 0), ("N", 1), ("s", 2), ("N", 3), ("s", 4), ("s", 4.5), ("N", 5), ("s", 20), ("N", 30)]
    fates = dendrite("".join(letter for letter, _ in rows), places=[place for _, place in rows])
    (block,) = observed_spines(read_dendrites(fates))
    assert [int(count[0, 0]) for count in existing_between(5.0)(block)] == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("links", "sizes"),
    [([1, 0, 1, 1, 0, 1, 1, 1, 1], [1, 1, 1]), ([0, 0], [0, 0, 0]), ([1], [1, 0, 0]), ([], [0, 0, 0])],
)
def test_chains_are_counted_by_their_length(links, sizes):
    counted = count_sizes(lambda block: np.array(links, dtype=bool)[None, None])(None)
    assert [int(count[0, 0]) for count in counted] == sizes


def test_sizes_of_clusters_add_up_to_the_clustered_spines():
    finding = found(cluster_sizes)
    clusters = finding.tables[""]
    table = found(clustered_share).tables[""]
    by_animal = clusters[clusters["definition"] == "1"].groupby("animal")["size"].sum()
    assert by_animal.to_dict() == {k: v for k, v in table.set_index("animal")["clustered_spines"].items() if v}
    counts = finding.tables["counts"].groupby("definition")["clusters"].sum()
    assert counts.to_dict() == clusters.groupby("definition").size().to_dict()
    assert drawn_well(finding)


def test_the_order_of_a_cluster_is_that_of_the_sessions_in_which_its_spines_are_first_seen():
    finding = found(cluster_order)
    days = study().sessions.set_index(["animal", "session"])["day"]
    fates = fates_of("early-1")
    partner, _, _ = loop_members(fates, 5.0)
    clusters = {tuple(sorted({number, *others})) for number, others in partner.items() if others}
    assert all(len(partner[number]) == len(members) - 1 for members in clusters for number in members)
    expected = sorted(sorted(days["early-1", fates["formed"][number]] for number in members) for members in clusters)
    rows = finding.tables[""].query("animal == 'early-1'").sort_values(["first_day", "second_day"])
    assert [days_[0] for days_ in expected] == rows["first_day"].tolist()
    assert sorted(days_[1] for days_ in expected) == sorted(rows["second_day"])
    by_day = finding.tables["by_day"]
    assert by_day.groupby("condition")["second_day_percent"].max().tolist() == [100.0] * 2  # none in controls
    assert (by_day["first_day_percent"] >= by_day["second_day_percent"]).all()
    assert drawn_well(finding)


def test_the_order_needs_a_session_between():
    with pytest.raises(NotComputable, match="two views only"):
        cluster_order(toy_study(days=(0.0, 4.0), share_new=0.1, animals=2), SETTINGS)


def test_both_nulls_and_both_definitions_are_asked():
    finding = found(clustering_against_chance)
    chance = finding.tables[""].set_index(["null", "definition", "condition"])
    assert len(chance) == 12
    assert (chance.xs("early", level="condition")["p"] < 0.01).all()
    assert (chance.xs("control", level="condition")["p"] > 0.01).all()
    beyond = [line for line in finding.statistics if line.comparison == "control against early"]
    assert {line.measure.split("(")[-1] for line in beyond} == {"permuted)", "uniform)"}
    assert drawn_well(finding)


def test_without_stretches_the_uniform_null_is_left_out_with_the_reason():
    tables = study()
    finding = clustering_against_chance(replace(tables, stretches=tables.stretches.iloc[:0]), SETTINGS)
    assert set(finding.tables[""]["null"]) == {"permuted"}
    assert "Uniform placement is left out: no stretch" in finding.legend
    assert drawn_well(finding)


def test_the_same_seed_gives_the_same_finding():
    again = clustering_against_chance(toy_study(share_new=0.06, dendrites=5, animals=4), SETTINGS)
    assert again.statistics == found(clustering_against_chance).statistics


TASKS = [("early", "control", 0, 4, "none"), ("early", "early", 0, 4, "reaching"), ("early", "late", 0, 4, "two tasks")]


def test_clustering_by_task_says_whether_formation_is_equal():
    tables = toy_study(share_new=0.06, dendrites=5, animals=4, phases=TASKS)
    wide = clustering_by_task(tables, StudySettings(runs=400, equal_formation_percent=40.0))
    narrow = clustering_by_task(tables, StudySettings(runs=400, equal_formation_percent=0.01))
    table = wide.tables[""].set_index("animal")
    fates = fates_of("early-0")
    before = fates["fate"].isin(["stable", "lost"]).sum()
    assert table.loc["early-0", "formed_percent"] == pytest.approx(100 * (fates["fate"] == "gained").sum() / before)
    for finding, is_equal in ((wide, True), (narrow, False)):
        lines = [line for line in finding.statistics if " equal to " in line.comparison]
        assert [line.p_corrected < 0.05 for line in lines] == [is_equal] * 3
        assert ("Not shown to be equal: none." in finding.legend) == is_equal
        assert drawn_well(finding)
    with pytest.raises(NotComputable, match="one task only"):
        clustering_by_task(study(), SETTINGS)


def test_a_task_stays_one_when_an_animal_lacks_its_last_session():
    tables = toy_study(share_new=0.06, dendrites=5, animals=3, phases=TASKS)
    left = {
        part: (table := getattr(tables, part))[table["animal"].ne("early-0") | table["session"].lt(3)]
        for part in ("sessions", "spines", "stretches")
    }
    table = clustering_by_task(replace(tables, **left), SETTINGS).tables[""]
    assert dict.fromkeys(table["condition"]) == dict.fromkeys(["none", "reaching", "two tasks"])


def test_equivalence_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    x, y = rng.normal(10, 2, 8), rng.normal(10.5, 3, 8)
    assert two_one_sided(x, y, 2.5)[2] == pytest.approx(ttost_ind(x, y, -2.5, 2.5, usevar="unequal")[0])
    assert two_one_sided(x, y, 2.5, paired=True)[2] == pytest.approx(ttost_paired(x, y, -2.5, 2.5)[0])
    low, high, p = two_one_sided(x, y, 2.5)
    assert (p < 0.05) == (low > -2.5 and high < 2.5)


def test_rates_without_spread_are_given_no_p():
    flat = np.full(4, 0.1)
    assert two_one_sided(flat, flat * 3, 3.0) == (None, None, None)
    assert two_one_sided(flat, flat + 0.2, 3.0, paired=True) == (None, None, None)


def test_runs_that_differ_from_the_observed_by_rounding_are_as_far_out():
    observed = 0.1 + 0.2
    line = against_null(observed, np.array([0.3] * 50 + [0.1] * 49), "share", "null", n_animals=1, n_spines=1)
    assert line.p == 1.0
    assert against_null(1e-3, np.full(99, 0.0), "share", "null", n_animals=1, n_spines=1).p == pytest.approx(0.02)


def test_animals_without_an_observed_value_are_left_out_of_the_runs():
    table = pd.DataFrame({"condition": "a", "new_spines": [4, 5, 0], "percent": [10.0, 20.0, np.nan]})
    drawn = np.column_stack([np.full(200, 10.0), np.full(200, 20.0), np.full(200, 90.0)])
    chance, _ = against_chance(table, "percent", drawn, "share", "null")
    assert chance["chance_percent"].item() == pytest.approx(15.0)


@pytest.mark.parametrize("analysis", [clustered_share, cluster_order, cluster_sizes, clustering_against_chance])
def test_p_against_chance_is_corrected_over_the_groups(analysis):
    lines = [line for line in found(analysis).statistics if line.comparison == "observed against chance"]
    assert lines
    assert all(line.p_corrected >= line.p and "Holm" in line.correction for line in lines)
