"""Clusters: by hand-counted dendrites, by a loop written differently, and what must not change the answer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.study.clusterorder import cluster_order
from analysis.study.clusters import ALONE, cluster_members, cluster_roles
from analysis.study.dynamics import interval_rates
from analysis.study.intervals import phase_fates, phases_of
from analysis.study.settings import StudySettings
from tests.toy_study import dendrite, drawn, loop_members, told_study


@pytest.mark.parametrize(
    ("letters", "clusters", "undecided"),
    [
        ("sNNs", ".AA.", ""),
        ("NsN", "...", ""),
        ("NNsNNN", "AA.BBB", ""),
        ("NxN", "A.A", ""),
        ("N?N", "...", "02"),
        ("NN?N", "AA..", "3"),
        ("N?sN", "....", ""),
        ("NN?NN", "AA.BB", ""),
        ("N", ".", ""),
        ("", "", ""),
        ("sxs?", "....", ""),
    ],
)
def test_clusters_are_neighbouring_new_spines_with_no_stable_one_between(letters, clusters, undecided):
    found = cluster_members(dendrite(letters))
    told = "".join("." if number == ALONE else "ABC"[number] for number in found["cluster"])
    assert told == clusters
    assert "".join(str(place) for place in np.flatnonzero(found["undecided"])) == undecided


def test_definition_two_asks_for_the_distance_alone():
    fates = dendrite("NsN?NsN", places=[0, 2, 5, 7, 10.1, 11, 40])
    assert cluster_members(fates)["near_cluster"].tolist() == [0, -1, 0, -1, -1, -1, -1]
    assert cluster_members(fates, 5.2)["near_cluster"].tolist() == [0, -1, 0, -1, 0, -1, -1]
    assert (cluster_members(fates)["cluster"] == ALONE).all()


def test_clusters_stay_within_a_dendrite_and_a_phase():
    ends = [dendrite("sN", name=0), dendrite("Ns", name=1), dendrite("Ns", animal="m2")]
    assert (cluster_members(pd.concat(ends))[["cluster", "near_cluster"]] == ALONE).all(axis=None)
    phases = [dendrite("sN", gap_um=1).assign(phase="early"), dendrite("Ns", gap_um=1).assign(phase="late")]
    assert (cluster_members(pd.concat(phases))[["cluster", "near_cluster"]] == ALONE).all(axis=None)


letters = st.text(alphabet="NNsssx?", max_size=14)
many = st.lists(letters, min_size=1, max_size=4)


def groups_of(fates, column):
    """Who is with whom, free of the numbers of clusters."""
    names = list(zip(fates["animal"], fates["dendrite"], fates["track"], strict=True))
    found = {}
    for name, number in zip(names, column, strict=True):
        if number != ALONE:
            found.setdefault(number, set()).add(name)
    return {frozenset(group) for group in found.values()}


@given(many, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_clusters_agree_with_a_loop_over_pairs(words, seed):
    fates = drawn(words, seed)
    partner, doubt, near = loop_members(fates, 5.0)
    found = cluster_members(fates, 5.0)
    new = fates["fate"].to_numpy() == "gained"
    for number in range(len(fates)):
        assert (found["cluster"][number] != ALONE) == (new[number] and bool(partner[number]))
        assert (found["near_cluster"][number] != ALONE) == (new[number] and bool(near[number]))
        assert found["undecided"][number] == (new[number] and bool(doubt[number]) and not partner[number])
        for other in partner.get(number, ()):
            assert found["cluster"][number] == found["cluster"][other]


@given(many, st.integers(0, 99), st.floats(-50, 50).map(lambda x: round(x * 2) / 2))
@settings(deadline=None, max_examples=40)
def test_clusters_do_not_hang_on_order_of_rows_direction_or_origin(words, seed, shift_um):
    fates = drawn(words, seed)
    plain = cluster_members(fates)
    for changed in (
        fates.sample(frac=1, random_state=seed),
        fates.assign(along_um=shift_um - fates["along_um"]),
        fates.assign(along_um=shift_um + fates["along_um"]),
    ):
        found = cluster_members(changed)
        for name in ("cluster", "near_cluster"):
            assert groups_of(changed, found[name]) == groups_of(fates, plain[name])
        assert found["undecided"].sort_index().tolist() == plain["undecided"].tolist()


def test_who_came_first_in_a_cluster():
    fates = dendrite("NNsNNsNNNsN", formed=[1, 4, -1, 2, 2, -1, 3, 1, 1, -1, 1])
    roles = cluster_roles(fates, cluster_members(fates)["cluster"])
    assert roles.tolist() == [
        "first", "succedent", "", "together", "together", "", "succedent", "first", "first", "", "",
    ]  # fmt: skip


def hidden_between(signs, days=(0.0, 1.0, 2.0, 16.0)):
    """Two new spines of a phase from day 0 to 2, another spine between them, and a stable one at either side."""
    rows = [(1.0, "++++"), (5.0, "-+++"), (5.5, signs), (6.0, "-+++"), (9.0, "++++")]
    return told_study({("m1", 0): rows}, days, phases=[("p", "", 0.0, 2.0, "")])


@pytest.mark.parametrize("signs", ["???+", "?+?-", "?+??"])
def test_a_spine_hidden_at_both_ends_and_seen_elsewhere_leaves_a_cluster_open(signs):
    tables = hidden_between(signs)
    fates = phase_fates(tables, phases_of(tables))
    assert fates["fate"].tolist() == ["stable", "gained", "unscorable", "gained", "stable"]
    members = cluster_members(fates)
    assert (members["cluster"] == ALONE).all()
    assert members["undecided"].tolist() == [False, True, False, True, False]
    rates = interval_rates(tables, StudySettings(), phases=True)[0]
    assert rates["unscorable"].tolist() == [0]


@pytest.mark.parametrize("signs", ["????", "?--+", "--?+"])
def test_what_was_never_seen_or_is_absent_at_an_end_stands_not_between(signs):
    tables = hidden_between(signs)
    assert cluster_members(phase_fates(tables, phases_of(tables)))["cluster"].tolist() == [-1, 0, 0, -1]


def test_a_hidden_filopodium_stands_not_between():
    tables = hidden_between("???+")
    is_between = tables.spines["track"].eq(2) & tables.spines["session"].eq(3)
    tables.spines.loc[is_between, "kind"] = "filopodium"
    assert len(phase_fates(tables, phases_of(tables))) == 4
    assert len(phase_fates(tables, phases_of(tables), with_filopodia=True)) == 5


@pytest.mark.parametrize(
    ("signs", "formed", "roles"),
    [
        ("--?+", -1, ["together", "together"]),
        ("-?-+", 3, ["first", "succedent"]),
        ("-??+", -1, ["together", "together"]),
        ("--+?", None, []),
    ],
)
def test_a_spine_hidden_before_it_was_first_seen_has_no_date(signs, formed, roles):
    rows = [(1.0, "++++"), (5.0, "-+++"), (6.0, signs), (9.0, "++++")]
    tables = told_study({("m1", 0): rows}, (0.0, 1.0, 2.0, 4.0), phases=[("p", "", 0.0, 4.0, "")])
    fates = phase_fates(tables, phases_of(tables))
    told = cluster_roles(fates, cluster_members(fates)["cluster"])
    assert [role for role in told if role] == roles
    if formed is not None:
        assert fates["formed"].tolist() == [-1, 1, formed, -1]


def test_clusters_without_a_date_are_left_out_of_their_order():
    dated = [(1.0, "++++"), (5.0, "-+++"), (6.0, "--++"), (9.0, "++++")]
    open_one = [(1.0, "++++"), (5.0, "-+++"), (6.0, "--?+"), (9.0, "++++"), (12.0, "-?++")]
    tables = told_study({("m1", 0): dated, ("m1", 1): open_one}, (0.0, 1.0, 2.0, 4.0), phases=[("p", "", 0.0, 4.0, "")])
    table = cluster_order(tables, StudySettings(runs=100)).tables[""]
    assert table[["dendrite", "first_day", "second_day"]].to_numpy().tolist() == [[0, 1.0, 2.0]]
