"""Distances to stable spines, spacing and pairs: by loops, by what is known of random points, by planted effects."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.study import charts
from analysis.study.dendrites import Pieces, Places, common, free_of, read_dendrites
from analysis.study.finding import NotComputable
from analysis.study.nulls import observed_spines
from analysis.study.pairs import EDGES_UM, pair_shares, spine_spacing, tally
from analysis.study.settings import StudySettings
from analysis.study.spacing import distance_to_stable, kolmogorov_smirnov
from analysis.study.spineclasses import ALL, CLASSES, CLUSTERED, LONE, classes_of, deal_formed, formed_of, with_classes
from analysis.study.tables import PHASE_COLUMNS
from tests.toy_study import dendrite, told_study, toy_study

SETTINGS = StudySettings(runs=1000)
points = st.lists(st.integers(0, 60).map(float), max_size=8)


@given(st.lists(points, min_size=1, max_size=4), st.lists(points, min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_nearest_place_and_places_before_are_those_of_a_loop(stand, ask):
    ask = ask[: len(stand)]
    places = Places(
        np.array([x for part in stand for x in sorted(part)]),
        np.concatenate([[0], np.cumsum([len(part) for part in stand])]).astype(np.int64),
    )
    for number, asked in enumerate(ask):
        if not asked:
            continue
        dendrite = np.full(len(asked), number)
        nearest = [min((abs(x - y) for y in stand[number]), default=np.inf) for x in asked]
        assert places.nearest_um(dendrite, np.array(asked)).tolist() == nearest
        assert places.before(dendrite, np.array(asked)).tolist() == [sum(y < x for y in stand[number]) for x in asked]


@given(points, st.floats(0.1, 3))
def test_what_is_free_of_a_gap_is_free_of_it(places, gap_um):
    pieces = common([(0.0, 60.0)], free_of(np.sort(places), gap_um))
    for place in np.linspace(0, 60, 241):
        inside = any(low < place < high for low, high in pieces)
        distance = min((abs(place - other) for other in places), default=np.inf)
        assert not inside or distance >= gap_um - 1e-9
        assert inside or distance <= gap_um + 1e-9 or place in (0, 60)


def evenly(rng, near_um, animals=5, dendrites=6, first="--++"):
    """Stable spines 6 um apart, a new one ``near_um`` from one of them on every dendrite, or anywhere for None."""
    told = {}
    for animal in range(animals):
        for number in range(dendrites):
            rows = [(place, "++++") for place in np.arange(3.0, 58, 6.0)]
            place = rng.uniform(0, 60) if near_um is None else rng.choice(np.arange(9.0, 50, 6.0)) + near_um
            told[f"m{animal}", number] = [*rows, (place, first)]
    return told_study(told)


PHASE = pd.DataFrame([("training", "", 0.0, 6.0, "")], columns=list(PHASE_COLUMNS))


def with_phase(tables):
    return replace(tables, phases=PHASE)


@pytest.mark.parametrize(("near_um", "sign"), [(2.9, 1), (0.6, -1)])
def test_planted_distances_are_told_from_chance(near_um, sign):
    finding = distance_to_stable(with_phase(evenly(np.random.default_rng(0), near_um)), SETTINGS)
    assert finding.tables["spines"]["distance_um"].to_numpy() == pytest.approx(near_um)
    (mean,) = (line for line in finding.statistics if line.test.startswith("uniform placement,") and "mean" in line.test
               and "nearer" not in line.test and line.measure.endswith(ALL))  # fmt: skip
    assert np.sign(mean.value - (mean.low + mean.high) / 2) == sign
    assert mean.p < 0.01
    ks = [line for line in finding.statistics if line.test.startswith("K-S")]
    assert all(line.p < 0.01 for line in ks)
    with charts.paper_style():
        finding.draw().canvas.draw()
    assert finding.legend.endswith(".")
    assert "nan" not in finding.legend


def test_chance_is_that_known_of_even_stable_spines():
    """Anywhere among stable spines 6 um apart, the distance is even from 0 to 3 um: 1.5 um in the mean."""
    finding = distance_to_stable(with_phase(evenly(np.random.default_rng(1), None)), SETTINGS)
    curves = finding.tables["curves"].query("gap_um == 0 and kind == @ALL").set_index("distance_um")
    assert curves["chance_mean_um"].iloc[0] == pytest.approx(1.5, abs=0.02)
    for distance in (0.5, 1.0, 2.0, 3.0):
        assert curves.loc[distance, "chance_percent"] == pytest.approx(100 * distance / 3, abs=1.5)
    kept = finding.tables["curves"].query("gap_um == 0.5 and kind == @ALL").set_index("distance_um")
    assert kept.loc[0.5, "chance_percent"] == pytest.approx(0, abs=1e-9)
    assert kept["chance_mean_um"].iloc[0] == pytest.approx(1.75, abs=0.02)
    ks = [line for line in finding.statistics if line.test.startswith("K-S") and "nearer" not in line.test]
    assert [line.p > 0.05 for line in ks] == [True, True]


def test_classes_hold_the_spines_that_they_name():
    rows = [(5.0, "++++"), (8.0, "-+++"), (9.0, "---+"), (12.0, "++++"), (20.0, "-+++"), (24.0, "++++")]
    finding = distance_to_stable(with_phase(told_study({("a", 0): rows, ("a", 1): [(3.0, "---+")]})), SETTINGS)
    spines = finding.tables["spines"].set_index("track")
    assert spines["distance_um"].to_dict() == {1: 3.0, 2: 3.0, 4: 4.0}
    named = {kind: spines.index[spines[kind]].tolist() for kind in (ALL, LONE, CLUSTERED, "first", "succedent")}
    assert named == {ALL: [1, 2, 4], LONE: [4], CLUSTERED: [1, 2], "first": [1], "succedent": [2]}


def random_new_spines(seed, animals=6, dendrites=10):
    """Stable and new spines anywhere: no class of them has an effect; new ones are first seen at any session."""
    rng = np.random.default_rng(seed)
    told = {}
    for animal in range(animals):
        for number in range(dendrites):
            stable = [(place, "++++") for place in rng.uniform(0, 60, 18)]
            new = [(place, rng.choice(["-+++", "--++", "---+"])) for place in rng.uniform(0, 60, 4)]
            told[f"m{animal}", number] = stable + new
    return with_phase(told_study(told))


def test_spines_placed_anywhere_differ_from_chance_in_no_class():
    quick, found = StudySettings(runs=200), {}
    for seed in range(12):
        for line in distance_to_stable(random_new_spines(seed), quick).statistics:
            chance, free = line.comparison == "observed against chance", "nearer" not in line.test
            if (chance and free) or "signs" in line.test:
                kind = line.measure.split(", ")[-1] if chance else line.comparison
                found.setdefault((kind, line.test[:3]), []).append(line.p)
    assert len(found) == 2 * len(CLASSES) + 3
    for key, ps in found.items():
        assert np.sum(np.array(ps) < 0.05) <= 3, key
        assert np.mean(ps) > 0.25, key


@given(st.lists(st.tuples(st.sampled_from("NNs?"), st.integers(1, 3)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_spines_are_classed_alike_in_the_tables_and_in_runs(spines):
    letters = "".join(letter for letter, _ in spines) + "s"
    formed = [session if letter == "N" else -1 for letter, session in spines] + [-1]
    fates = dendrite(letters, formed=formed).assign(phase="p")
    table, dendrites = with_classes(fates, 5.0), read_dendrites(fates)
    for block in observed_spines(dendrites):
        classes = classes_of(block, formed_of(fates)[None, None])
        for kind in CLASSES:
            assert classes[kind][0, 0].tolist() == table.loc[table[ALL], kind].tolist(), kind


def test_sessions_are_dealt_within_an_animal():
    dealt = deal_formed(np.array([1, 2, 2, 3, 3]), np.array([0, 0, 0, 1, 1]), runs=300, seed=0)
    assert np.sort(dealt[:, :3], axis=1).tolist() == [[1, 2, 2]] * 300
    assert (dealt[:, 3:] == 3).all()
    assert (dealt[:, :3] == 1).mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.1)


def test_it_says_why_it_cannot_be_computed():
    with pytest.raises(NotComputable, match="that also has a stable one"):
        distance_to_stable(with_phase(told_study({("a", 0): [(1.0, "---+")]})), SETTINGS)


@pytest.mark.parametrize("analysis", [distance_to_stable, spine_spacing])
def test_a_dendrite_without_a_judged_stretch_is_left_out_and_told(analysis):
    tables = with_phase(evenly(np.random.default_rng(1), None, animals=3))
    is_last = (tables.stretches["animal"] == "m1") & (tables.stretches["dendrite"] == 2)
    partly = replace(tables, stretches=tables.stretches[~is_last])
    finding = analysis(partly, SETTINGS)
    assert "1 dendrite is left out" in finding.legend
    assert "left out" not in analysis(tables, SETTINGS).legend
    gone = (tables.spines["animal"] == "m1") & (tables.spines["dendrite"] == 2)
    without = analysis(replace(partly, spines=tables.spines[~gone].reset_index(drop=True)), SETTINGS)
    pd.testing.assert_frame_equal(finding.tables[""], without.tables[""])
    with pytest.raises(NotComputable, match="needs the stretches"):
        analysis(replace(tables, stretches=tables.stretches.iloc[:0]), SETTINGS)


def test_a_dendrite_full_of_stable_spines_is_left_out_of_their_distances():
    crowded = [*((place, "++++") for place in np.arange(0.0, 60.5, 0.9)), (20.3, "--++")]
    rows = [(20.0, "++++"), (30.0, "--++"), (40.0, "++++")]
    tables = with_phase(told_study({("a", 0): rows, ("a", 1): rows, ("b", 0): rows, ("b", 1): crowded}))
    finding = distance_to_stable(tables, SETTINGS)
    assert finding.tables[""].query("kind == @ALL")["new_spines"].tolist() == [2, 1]
    assert "1 dendrite is left out" in finding.legend


def test_monte_carlo_ks_is_right_one_time_in_twenty():
    rng = np.random.default_rng(0)
    shares = np.sort(rng.random((20, 2200)), axis=0)
    cumulative = np.stack([(shares <= place).mean(axis=0) for place in np.linspace(0.02, 1, 50)])
    ps = [kolmogorov_smirnov(cumulative[:, number], cumulative[:, 200:])[1] for number in range(200)]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(ps) == pytest.approx(0.5, abs=0.1)


def test_pairs_of_even_points_on_pieces_are_expected_as_a_simulation_has_them():
    rng = np.random.default_rng(0)
    low, high = np.array([0.0, 12.0, 20.0]), np.array([8.0, 15.0, 24.0])
    piece = rng.choice(3, size=(400_000, 2), p=(high - low) / (high - low).sum())
    apart = np.abs(np.diff(rng.uniform(low[piece], high[piece]), axis=1))
    counted = np.histogram(apart, EDGES_UM)[0] / len(apart)
    assert pair_shares(low, high) == pytest.approx(counted, abs=0.0015)
    middle = (EDGES_UM[:-1] + EDGES_UM[1:]) / 2
    assert pair_shares(np.array([5.0]), np.array([55.0])) == pytest.approx(2 * (50 - middle) / 50**2 * 0.5)


@given(st.lists(st.integers(0, 119).map(lambda x: x / 2 + 0.1), min_size=2, max_size=12, unique=True))
@settings(deadline=None, max_examples=40)
def test_pairs_and_spacings_are_those_of_a_loop(places):
    fates = dendrite("N" * len(places), places=sorted(places))
    dendrites = read_dendrites(fates)
    pieces = Pieces(np.array([0.0, 33.0]), np.array([30.0, 60.0]), np.array([0, 2]))
    found = tally(pieces, np.array([0]), 1, observed_spines(dendrites), 1)
    apart = [abs(a - b) for a, b in combinations(places, 2)]
    assert found.pairs[0, 0] == pytest.approx(np.histogram([one for one in apart if one < 10], EDGES_UM)[0])
    ordered = sorted(places)
    steps = [b - a for a, b in pairwise(ordered) if (a < 33) == (b < 33)]
    assert found.sums[:, 0, 0] == pytest.approx([len(steps), sum(steps), sum(step**2 for step in steps)])


def random_points(seed, regular=False, animals=5, dendrites=8):
    rng = np.random.default_rng(seed)
    told = {}
    for animal in range(animals):
        for number in range(dendrites):
            places = np.arange(1.0, 60, 3.0) if regular else np.sort(rng.uniform(0, 60, 20))
            told[f"m{animal}", number] = [(place, "++++") for place in places]
    return with_phase(told_study(told))


def test_random_points_have_a_pair_correlation_of_one_up_to_the_edges():
    finding = spine_spacing(random_points(0), SETTINGS)
    table = finding.tables["pair_correlation"]
    assert set(table["kind"]) == {"all spines"}
    assert table["correlation"].mean() == pytest.approx(1, abs=0.03)
    assert ((table["low"] <= table["correlation"]) & (table["correlation"] <= table["high"])).mean() > 0.8
    assert ((table["low"] + table["high"]) / 2).to_numpy() == pytest.approx(np.ones(len(table)), abs=0.05)
    (line,) = (line for line in finding.statistics if line.comparison == "observed against chance")
    assert line.p > 0.05
    assert "No dendrite has two new spines" in finding.legend


def test_regular_spines_are_told_from_random_ones():
    finding = spine_spacing(random_points(0, regular=True), SETTINGS)
    assert finding.tables[""]["spacing_um"].to_numpy() == pytest.approx(3.0)
    assert finding.tables[""]["regularity"].to_numpy() == pytest.approx(0.0, abs=1e-6)
    (line,) = (line for line in finding.statistics if line.comparison == "observed against chance")
    assert line.p < 0.01
    with charts.paper_style():
        finding.draw().canvas.draw()


def test_p_of_regularity_is_corrected_over_the_groups():
    lines = spine_spacing(toy_study(animals=2, dendrites=3), StudySettings(runs=100)).statistics
    assert {line.correction for line in lines if line.comparison == "observed against chance"} == {
        "Holm, 3 comparisons"
    }


def test_new_spines_in_clusters_are_seen_in_their_pair_correlation():
    finding = spine_spacing(toy_study(animals=3, share_new=0.1), SETTINGS)
    table = finding.tables["pair_correlation"].query("kind == 'new spines' and distance_um == 0.75")
    assert table.set_index("condition").loc["early", "correlation"] > 8
    with charts.paper_style():
        finding.draw().canvas.draw()
    assert "nan" not in finding.legend


def test_distances_do_not_hang_on_direction_origin_or_order_of_rows():
    tables = toy_study(animals=2, dendrites=4, share_new=0.1)
    plain = distance_to_stable(tables, SETTINGS).tables[""]
    moved = {}
    for name, table, columns in (
        ("spines", tables.spines, ["along_um"]), ("stretches", tables.stretches, ["from_um", "to_um"]),
    ):  # fmt: skip
        moved[name] = table.assign(**{column: 100 - table[column] for column in columns}).sample(frac=1, random_state=1)
    moved["stretches"] = moved["stretches"].rename(columns={"from_um": "to_um", "to_um": "from_um"})
    mirrored = distance_to_stable(replace(tables, **moved), SETTINGS).tables[""]
    assert mirrored["distance_um"].to_numpy() == pytest.approx(plain["distance_um"].to_numpy(), nan_ok=True)
    assert mirrored["new_spines"].tolist() == plain["new_spines"].tolist()
    both = [spine_spacing(study, SETTINGS).tables["pair_correlation"] for study in (tables, replace(tables, **moved))]
    for column in ("pairs", "expected", "correlation"):
        assert both[0][column].to_numpy() == pytest.approx(both[1][column].to_numpy())
