"""Chance: against all ways there are, against plain loops, and what it must not hang on."""

import time
from itertools import combinations, product
from math import comb

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.study.dendrites import judged_pieces, read_dendrites, read_pieces
from analysis.study.finding import NotComputable
from analysis.study.intervals import phase_fates, phases_of
from analysis.study.nulls import choose, observed_spines, permuted_spines, uniform_spines
from analysis.study.shares import clustered_counts, count_near, count_neighbours, percent_clustered
from tests.toy_study import dendrite, drawn, loop_members, toy_study

ONE = pd.DataFrame({"animal": ["m1"], "phase": [""], "condition": ["all"]})


def pieces_of(fates, low_um, high_um):
    names = fates[["animal", "field", "dendrite"]].drop_duplicates()
    return names.assign(phase="", from_um=low_um, to_um=high_um)


def counted(fates, count=count_neighbours, **kinds):
    dendrites = read_dendrites(fates)
    spines = permuted_spines(dendrites, **kinds) if kinds else observed_spines(dendrites)
    return clustered_counts(spines, count, dendrites, ONE, runs=kinds.get("runs", 1))[:, :, 0]


@given(st.lists(st.text(alphabet="NNsssx?", max_size=14), min_size=1, max_size=4), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_counts_of_what_is_observed_agree_with_the_loop_over_pairs(words, seed):
    fates = drawn(words, seed)
    partner, doubt, near = loop_members(fates, 5.0)
    new, clustered, undecided = counted(fates)[:, 0]
    assert new == len(partner)
    assert clustered == sum(map(bool, partner.values()))
    assert undecided == sum(bool(doubt[n]) and not partner[n] for n in partner)
    assert counted(fates, count_near(5.0))[1, 0] == sum(map(bool, near.values()))


@pytest.mark.parametrize("letters", ["NNss", "NNNsssss", "sN?sNss", "N?N", "NxNsss", "Nsss", "NNNN"])
def test_permuting_agrees_with_all_the_ways_there_are(letters):
    """Every choice of the new among those that stand at the end is drawn equally often."""
    standing = [place for place, letter in enumerate(letters) if letter in "Ns"]
    number, exact = letters.count("N"), []
    for chosen in combinations(standing, number):
        word = [letter if letter not in "Ns" else "s" for letter in letters]
        for place in chosen:
            word[place] = "N"
        partner, doubt, _ = loop_members(dendrite("".join(word)), 5.0)
        exact.append((sum(map(bool, partner.values())), sum(bool(doubt[n]) and not partner[n] for n in partner)))
    runs = 20_000
    _, clustered, undecided = counted(dendrite(letters), runs=runs, seed=4)
    for column, found in enumerate((clustered, undecided)):
        for value in {ways[column] for ways in exact} | set(np.unique(found)):
            share = np.mean([ways[column] == value for ways in exact])
            assert np.mean(found == value) == pytest.approx(share, abs=4.5 * np.sqrt(share * (1 - share) / runs) + 1e-9)


@pytest.mark.parametrize("share", [0.035, 0.1])
def test_chance_is_near_to_what_is_known_of_it(share):
    """With a share f of spines new, 1 - (1 - f)^2 of them are next to another: 7 % at 3.5 %, 19 % at 10 %."""
    number, new = 1000, round(share * 1000)
    found = percent_clustered(counted(dendrite("N" * new + "s" * (number - new)), runs=2000, seed=1)[:, :, None])[:, 0]
    inner, end = 1 - comb(number - 3, new - 1) / comb(number - 1, new - 1), (new - 1) / (number - 1)
    exact = 100 * ((number - 2) * inner + 2 * end) / number
    assert exact == pytest.approx(100 * (1 - (1 - share) ** 2), rel=0.04)
    assert found.mean() == pytest.approx(exact, abs=4 * found.std() / np.sqrt(len(found)))


def test_choices_are_different_rising_and_equally_likely():
    shares = np.random.default_rng(0).random((30_000, 2, 3))
    chosen = choose(shares, np.array([5, 3]))
    assert (np.diff(chosen, axis=-1) > 0).all()
    assert (chosen[:, 1] == [0, 1, 2]).all()
    ways, counts = np.unique(chosen[:, 0], axis=0, return_counts=True)
    assert len(ways) == 10
    assert counts == pytest.approx(3000, abs=250)


def test_uniform_places_are_even_over_the_judged_pieces_and_count_what_lies_between():
    fates = dendrite("sNNs?s", places=[1, 2, 3, 10, 12, 29])
    pieces = pieces_of(fates, 0.0, 10.0)
    pieces = pd.concat([pieces, pieces.assign(from_um=20.0, to_um=30.0)])
    dendrites = read_dendrites(fates)
    blocks = list(uniform_spines(dendrites, read_pieces(pieces, dendrites), runs=20_000, seed=3))
    (block,) = blocks
    places = block.along_um[:, 0]
    assert (((places >= 0) & (places <= 10)) | ((places >= 20) & (places <= 30))).all()
    assert np.mean(places < 10) == pytest.approx(0.5, abs=0.01)
    assert np.quantile(places, [0.25, 0.75]) == pytest.approx([5, 25], abs=0.3)
    for run in range(500):
        low, high = places[run]
        assert block.stable_between[run, 0, 0] == sum(low < place < high for place in (1, 10, 29))
        assert block.hidden_between[run, 0, 0] == (low < 12 < high)


def test_a_gap_keeps_drawn_spines_away_from_stable_ones():
    fates = dendrite("sNsNs", places=[1, 2, 3, 10, 12])
    dendrites = read_dendrites(fates)
    pieces = read_pieces(pieces_of(fates, 0.0, 14.0), dendrites, gap_um=0.8)
    assert pieces.lengths_um == pytest.approx([14 - 3 * 1.6])
    (block,) = uniform_spines(dendrites, pieces, runs=2000, seed=3)
    nearest = np.abs(block.along_um[..., None] - np.array([1.0, 3.0, 12.0])).min(axis=-1)
    assert nearest.min() >= 0.8 - 1e-9
    assert dendrites.stable.nearest_um(block.dendrite[:, None], block.along_um) == pytest.approx(nearest)


def test_uniform_placement_needs_the_stretches():
    dendrites = read_dendrites(dendrite("sNNs"))
    with pytest.raises(NotComputable, match="1 dendrites with new spines"):
        list(uniform_spines(dendrites, read_pieces(pieces_of(dendrite("s", name=7), 0, 9), dendrites), runs=9, seed=0))


def toy_fates(study):
    return phase_fates(study, phases_of(study))


def test_the_same_seed_gives_the_same_whatever_the_order_of_rows_and_the_size_of_the_pieces():
    study = toy_study(animals=2, dendrites=5, share_new=0.1)
    phases = phases_of(study)
    fates = toy_fates(study)
    drawings = []
    for rows, most in product((fates, fates.sample(frac=1, random_state=5)), (1_000_000, 100)):
        dendrites = read_dendrites(rows)
        pieces = read_pieces(judged_pieces(study, phases), dendrites)
        permuted, uniform = (
            np.concatenate([block.along_um.ravel() for block in blocks])
            for blocks in (
                permuted_spines(dendrites, runs=30, seed=7, most=most),
                uniform_spines(dendrites, pieces, runs=30, seed=7, most=most),
            )
        )
        drawings.append((np.sort(permuted), np.sort(uniform)))
    for permuted, uniform in drawings[1:]:
        assert np.array_equal(permuted, drawings[0][0])
        assert np.array_equal(uniform, drawings[0][1])
    other = next(permuted_spines(read_dendrites(fates), runs=30, seed=8))
    assert not np.array_equal(other.along_um, next(permuted_spines(read_dendrites(fates), runs=30, seed=7)).along_um)


def test_all_dendrites_at_once_are_much_faster_than_a_loop():
    fates = toy_fates(toy_study(animals=3, dendrites=6, share_new=0.1)).assign(animal="m1", phase="")
    fates["dendrite"] = np.arange(len(fates)) // 15
    runs, rng = 20, np.random.default_rng(0)
    start = time.perf_counter()
    loop = []
    for _ in range(runs):
        total = 0
        for _, rows in fates[fates["fate"].isin(["gained", "stable"])].groupby("dendrite"):
            labels = rng.permutation(rows.sort_values("along_um")["fate"].to_numpy() == "gained")
            total += sum(
                here and (before or after)
                for here, before, after in zip(labels, [False, *labels[:-1]], [*labels[1:], False], strict=True)
            )
        loop.append(total)
    slow = (time.perf_counter() - start) / runs
    start = time.perf_counter()
    fast_runs = 2000
    found = counted(fates[fates["fate"].isin(["gained", "stable"])], runs=fast_runs, seed=0)[1]
    fast = (time.perf_counter() - start) / fast_runs
    assert np.mean(found) == pytest.approx(np.mean(loop), abs=5 * np.std(loop) / np.sqrt(runs))
    assert slow > 20 * fast
