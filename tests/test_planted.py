"""A planted study against plain counting: what is planted is there, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import StudyTablesError
from analysis.study.plan import (
    CONTROL_CLUSTERED,
    EARLY_CLUSTERED,
    PlantedPhase,
    PlantedPlan,
    Regimen,
    null_plan,
)
from analysis.study.planted import plant_study
from analysis.study.tables import StudyTables

SAME = ("animals", "sessions", "spines", "stretches", "phases", "behaviour")
Spine = tuple[float, dict[float, str]]


def one_group(**phase: object) -> PlantedPlan:
    regimen = Regimen(group="early", phases=(PlantedPhase(name="training", **phase),), behaviour="success rate")
    return PlantedPlan(regimens=(regimen,), unscorable_share=0.0, days=(0.0, 1.0, 2.0, 4.0, 16.0), dendrites=6)


def dendrites(study: StudyTables, group: str) -> Iterator[tuple[str, list[Spine]]]:
    """Every dendrite of a group: its spines, in order, with their state on every day; filopodia left out."""
    animals = set(study.animals.loc[study.animals["group"] == group, "animal"])
    days = {(row.animal, row.session): row.day for row in study.sessions.itertuples()}
    names = ["animal", "field", "dendrite", "track", "session", "along_um", "state", "kind"]
    told: dict[tuple[str, str, int], dict[int, Spine]] = {}
    filopodia = set()
    for animal, where, dendrite, track, session, along, state, kind in zip(
        *(study.spines[name].tolist() for name in names), strict=True
    ):
        if animal in animals:
            spine = told.setdefault((animal, where, dendrite), {}).setdefault(track, (along, {}))
            spine[1][days[animal, session]] = state
            if kind == "filopodium":
                filopodia.add((animal, where, dendrite, track))
    for key, spines in told.items():
        yield (
            key[0],
            sorted(
                (spine for track, spine in spines.items() if (*key, track) not in filopodia), key=lambda spine: spine[0]
            ),
        )


def fate(spine: Spine, first: float, last: float) -> str:
    told = {("present", "present"): "stable", ("absent", "present"): "gained", ("present", "absent"): "lost"}
    return told.get((spine[1][first], spine[1][last]), "")


def clustered_share(study: StudyTables, group: str, first: float, last: float) -> dict[str, tuple[int, int]]:
    """New spines in clusters and all new spines of every animal, counted along each dendrite."""
    counts: dict[str, tuple[int, int]] = {}
    for animal, spines in dendrites(study, group):
        fates = [fate(spine, first, last) for spine in spines]
        order = "".join({"gained": "N", "stable": "s"}.get(one, "") for one in fates)
        runs = [len(run) for run in order.split("s") if run]
        clustered, new = counts.get(animal, (0, 0))
        counts[animal] = (clustered + sum(run for run in runs if run > 1), new + sum(runs))
    return counts


def test_same_seed_gives_the_same_study_and_another_seed_another() -> None:
    one, same, other = (plant_study(PlantedPlan(), 2, seed) for seed in (3, 3, 4))
    for name in SAME:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(same, name))
    assert not one.spines.equals(other.spines)


def test_a_group_is_drawn_alike_without_those_behind_it() -> None:
    whole, alone = plant_study(PlantedPlan(), 2, 0), plant_study(PlantedPlan(regimens=PlantedPlan().regimens[:2]), 2, 0)
    pd.testing.assert_frame_equal(whole.spines.iloc[: len(alone.spines)], alone.spines)


def test_the_tables_say_what_they_promise() -> None:
    study = plant_study(PlantedPlan(), 2, 0)
    keys = ["animal", "field", "dendrite", "track"]
    assert study.groups == ["control", "early", "late", "cross-trained", "enriched", "conditioned"]
    assert not study.spines.duplicated([*keys, "session"]).any()
    assert study.spines.groupby(keys)["along_um"].nunique().eq(1).all()
    assert study.spines.groupby(keys).size().eq(len(PlantedPlan().days)).all()
    there = study.spines["state"] == "present"
    assert study.spines.groupby(keys)["state"].agg(lambda states: (states == "present").any()).all()
    assert study.spines.loc[~there, ["head_size", "head_size_sd"]].isna().all(axis=None)
    assert study.spines.loc[~there, "kind"].eq("").all()
    assert study.spines.loc[there, "head_size"].gt(0).all()
    assert set(study.phases["group"]) == set(study.groups)


def test_unscorable_is_what_is_out_of_view_and_nothing_else() -> None:
    study = plant_study(PlantedPlan(unscorable_share=0.03), 2, 1)
    keys = ["animal", "field", "dendrite", "session"]
    spines = study.spines.merge(study.stretches, on=keys, validate="many_to_one")
    inside = spines["along_um"].between(spines["from_um"], spines["to_um"])
    assert (spines["state"].eq("unscorable") == ~inside).all()
    hidden = 1 - (study.stretches["to_um"] - study.stretches["from_um"]).mean() / 60.0
    assert hidden == pytest.approx(0.03, abs=0.006)


@pytest.mark.parametrize(("group", "share"), [("control", CONTROL_CLUSTERED), ("early", EARLY_CLUSTERED)])
def test_clustered_share_is_measured_as_planted(group: str, share: float) -> None:
    regimens = tuple(each for each in PlantedPlan().regimens if each.group == group)
    plan = PlantedPlan(regimens=regimens, days=(0.0, 1.0, 2.0, 4.0), dendrites=6)
    counts = clustered_share(plant_study(plan, 60, 1), group, 0.0, 4.0)
    shares = [clustered / new for clustered, new in counts.values()]
    assert np.mean(shares) == pytest.approx(share, abs=3 * np.std(shares) / np.sqrt(len(shares)))


def test_cluster_sizes_and_order_are_those_of_the_paper() -> None:
    study = plant_study(one_group(formation_share=0.08, clustered_share=0.5), 50, 2)
    sizes, begun = Counter[int](), []
    for _, spines in dendrites(study, "early"):
        run: list[Spine] = []
        for spine in [*spines, (np.inf, dict.fromkeys(study.sessions["day"], "present"))]:
            if fate(spine, 0.0, 4.0) == "gained":
                run.append(spine)
            elif fate(spine, 0.0, 4.0) == "stable":
                sizes[len(run)] += 1
                if len(run) > 1:
                    first_day = [one[1][1.0] == "present" for one in run]
                    begun.append(any(first_day) and not all(first_day))
                run = []
    clusters = sizes[2] + sizes[3]
    assert sum(sizes[size] for size in sizes if size > 3) == 0
    assert sizes[3] / clusters == pytest.approx(2 / 63, abs=0.03)
    assert np.mean(begun) == pytest.approx(0.6, abs=0.06) and np.mean(begun) > 0.5


def test_formation_and_elimination_are_as_planted() -> None:
    study = plant_study(one_group(formation_share=0.1, elimination_share=0.06, clustered_share=0.2), 40, 5)
    tallies: dict[str, Counter[str]] = {}
    for animal, spines in dendrites(study, "early"):
        tallies.setdefault(animal, Counter()).update(fate(spine, 0.0, 4.0) for spine in spines)
    for name, share in (("gained", 0.1), ("lost", 0.06)):
        shares = [count[name] / (count["stable"] + count["lost"]) for count in tallies.values()]
        assert np.mean(shares) == pytest.approx(share, abs=3 * np.std(shares) / np.sqrt(40))


def test_persistence_is_that_of_the_class() -> None:
    study = plant_study(one_group(formation_share=0.1, clustered_share=0.5), 50, 6)
    kept: dict[bool, list[bool]] = {True: [], False: []}
    for _, spines in dendrites(study, "early"):
        fates = [fate(spine, 0.0, 4.0) for spine in spines]
        seen = [(spine, one) for spine, one in zip(spines, fates, strict=True) if one in {"gained", "stable"}]
        for number, (spine, one) in enumerate(seen):
            if one == "gained":
                beside = [seen[place][1] for place in (number - 1, number + 1) if 0 <= place < len(seen)]
                kept["gained" in beside].append(spine[1][16.0] == "present")
    for is_clustered, persistence in ((True, 0.995), (False, 0.975)):
        assert np.mean(kept[is_clustered]) == pytest.approx(persistence**12, abs=0.05)


def test_new_spines_avoid_stable_ones_but_succedents_do_not() -> None:
    study = plant_study(one_group(formation_share=0.08, clustered_share=0.4), 20, 7)
    alone, joined = [], []
    for _, spines in dendrites(study, "early"):
        stable = np.array([along for along, states in spines if fate((along, states), 0.0, 4.0) == "stable"])
        for along, states in spines:
            if fate((along, states), 0.0, 4.0) == "gained":
                (joined if states[1.0] == "absent" else alone).append(np.abs(stable - along).min())
    assert min(joined) < 1.0 - 1e-3
    assert np.mean(np.array(alone) < 1.0 - 1e-3) < np.mean(np.array(joined) < 1.0 - 1e-3)


def test_extinction_forms_spines_where_conditioning_took_them() -> None:
    plan = PlantedPlan(regimens=PlantedPlan().regimens[-1:], unscorable_share=0.0, dendrites=6)
    near: dict[str, list[bool]] = {}
    lost: dict[bool, list[bool]] = {True: [], False: []}
    for animal, spines in dendrites(plant_study(plan, 40, 8), "conditioned"):
        gone = np.array([along for along, states in spines if fate((along, states), 0.0, 2.0) == "lost"])
        for along, states in spines:
            is_formed = fate((along, states), 2.0, 4.0) == "gained"
            if is_formed:
                near.setdefault(animal, []).append(bool(len(gone)) and bool((np.abs(gone - along) <= 2.0).any()))
            if states[4.0] == "present" and states[0.0] == states[2.0]:
                lost[is_formed].append(states[8.0] == "absent")
    shares = [np.mean(flags) for flags in near.values()]
    assert np.mean(shares) == pytest.approx(0.5, abs=3 * np.std(shares) / np.sqrt(len(shares)))
    assert np.mean(lost[True]) == pytest.approx(0.6, abs=0.06)
    assert np.mean(lost[False]) == pytest.approx(0.06, abs=0.02)


def test_a_study_without_effects_has_only_the_clusters_of_chance() -> None:
    plan = null_plan(("one",)).model_copy(update={"dendrites": 6})
    measured, shuffled = [], []
    rng = np.random.default_rng(0)
    for _, spines in dendrites(plant_study(plan, 40, 9), "one"):
        fates = [one for spine in spines if (one := fate(spine, 0.0, 4.0)) in {"gained", "stable"}]
        for order, found in ((fates, measured), (list(rng.permutation(fates)), shuffled)):
            runs = "".join("N" if one == "gained" else "s" for one in order).split("s")
            found.append((sum(len(run) for run in runs if len(run) > 1), fates.count("gained")))
    (seen, new), (expected, _) = (np.sum(counts, axis=0) for counts in (measured, shuffled))
    assert seen / new == pytest.approx(expected / new, abs=4 * np.sqrt(2 * 0.12 / new))


def test_overlooked_spines_are_as_many_as_planned() -> None:
    phase = PlantedPhase(name="training", elimination_share=0.0, formation_share=0.0)
    regimen = Regimen(group="one", phases=(phase,))
    plan = PlantedPlan(regimens=(regimen,), missed_share=0.1, unscorable_share=0.0, days=(0.0, 4.0), dendrites=6)
    spines = plant_study(plan, 10, 1).spines
    old = spines[spines["kind"] != "filopodium"].groupby(["animal", "field", "dendrite", "track"])["state"].agg(tuple)
    states = Counter(old)
    seen_first = states["present", "present"] + states["present", "absent"]
    assert states["present", "present"] / seen_first == pytest.approx(0.9, abs=0.04)


def test_behaviour_goes_with_clustering_as_planted() -> None:
    plan = PlantedPlan(regimens=PlantedPlan().regimens[1:2], unscorable_share=0.0, dendrites=6)
    study = plant_study(plan, 100, 3)
    counts = clustered_share(study, "early", 0.0, 4.0)
    last = study.behaviour.groupby("animal")["value"].last()
    share = pd.Series({animal: clustered / new for animal, (clustered, new) in counts.items()})
    assert np.corrcoef(share, last.loc[share.index])[0, 1] == pytest.approx(0.6, abs=0.15)


def test_no_room_is_said() -> None:
    phase = PlantedPhase(name="training", formation_share=0.25, clustered_share=0.7)
    crowded = PlantedPlan(regimens=(Regimen(group="one", phases=(phase,), avoidance_um=4.0),))
    with pytest.raises(StudyTablesError, match=r"have room for \d+ of \d+ clusters"):
        plant_study(crowded, 2, 0)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"days": (0.0, 4.0, 1.0)}, "days do not rise"),
        ({"days": (0.0, 3.0)}, r"phases begin or end on days \[2.0"),
        ({"regimens": PlantedPlan().regimens[:1] * 2}, "two regimens are of one group"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PlantedPlan(**changed)


@settings(max_examples=20, deadline=None)
@given(
    formation=st.floats(0.0, 0.1),
    clustered=st.one_of(st.none(), st.floats(0.0, 0.4)),
    avoidance_um=st.floats(0.0, 1.0),
    least_gap_um=st.sampled_from([0.0, 0.3, 0.5]),
    days=st.sampled_from([(0.0, 4.0), (0.0, 0.04, 4.0), (0.0, 1.0, 4.0, 10.0), (0.0, 0.04, 1.0, 2.0, 4.0, 8.0, 16.0)]),
    seed=st.integers(0, 1000),
)
def test_any_plan_gives_whole_tables(
    formation: float,
    clustered: float | None,
    avoidance_um: float,
    least_gap_um: float,
    days: tuple[float, ...],
    seed: int,
) -> None:
    phase = PlantedPhase(name="training", formation_share=formation, clustered_share=clustered)
    regimen = Regimen(group="one", phases=(phase,), avoidance_um=avoidance_um, behaviour="success rate")
    plan = PlantedPlan(regimens=(regimen,), days=days, least_gap_um=least_gap_um)
    study = plant_study(plan, 2, seed)
    assert study.spines["along_um"].between(0.0, plan.length_um).all()
    assert set(study.spines["state"]) <= {"present", "absent", "unscorable"}
    assert study.behaviour["value"].between(0.0, 100.0).all()
    if clustered == 0.0:
        assert all(found == 0 for found, _ in clustered_share(study, "one", 0.0, 4.0).values())
