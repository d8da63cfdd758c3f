"""Head sizes of first spines against counting spine by spine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.study.finding import NotComputable
from analysis.study.plan import PlantedPhase, PlantedPlan, Regimen
from analysis.study.planted import plant_study
from analysis.study.settings import StudySettings
from analysis.study.sizes import head_size_of_first_spines
from analysis.study.tables import StudyTables

QUICK = StudySettings(runs=200)
PHASE = PlantedPhase(name="training", formation_share=0.1, clustered_share=0.5)


def planted(animals: int = 6, seed: int = 0, **changed: object) -> StudyTables:
    regimen = Regimen(group="early", phases=(PHASE,), strengthening=0.4)
    plan = PlantedPlan(
        regimens=(regimen,),
        days=(0.0, 1.0, 2.0, 4.0),
        head_size_sd=0.02,
        unscorable_share=0.0,
        filopodium_share=0.0,
        dendrites=6,
    )
    return plant_study(plan.model_copy(update=changed), animals, seed)


def changes_by_hand(study: StudyTables) -> dict[str, list[float]]:
    """Log change of every first spine, by animal, walking along each dendrite; no uncertainty is weighed."""
    found: dict[str, list[float]] = {}
    for (animal, _, _), rows in study.spines.groupby(["animal", "field", "dendrite"], sort=False):
        run: list[pd.DataFrame] = []
        spines = [spine.sort_values("session") for _, spine in rows.groupby("track")]
        for spine in [*sorted(spines, key=lambda one: float(one["along_um"].iloc[0])), None]:
            states = ["present", "present"] if spine is None else list(spine["state"].iloc[[0, -1]])
            if states == ["absent", "present"]:
                run.append(spine)
            elif states == ["present", "present"]:
                seen = [int(one.loc[one["state"] == "present", "session"].min()) for one in run]
                for one, first in zip(run, seen, strict=True):
                    later = [other for other in seen if other > first]
                    if len(run) > 1 and first == min(seen) and later:
                        kept = one[(one["state"] == "present") & ~one["saturated"]]
                        log, session = np.log(kept["head_size"].to_numpy(float)), kept["session"].to_numpy()
                        if (session < min(later)).any() and (session >= min(later)).any():
                            after = log[session >= min(later)].mean()
                            found.setdefault(str(animal), []).append(after - log[session < min(later)].mean())
                run = []
    return found


def test_every_first_spine_is_found_with_its_change() -> None:
    study = planted()
    study = replace(study, spines=study.spines.assign(head_size_sd=np.nan))
    table = head_size_of_first_spines(study, QUICK).tables[""]
    firsts = table[table["class"] == "first"]
    by_hand = changes_by_hand(study)
    assert sorted(firsts["animal"].unique()) == sorted(by_hand)
    for animal, rows in firsts.groupby("animal"):
        assert sorted(rows["log_change"]) == pytest.approx(sorted(by_hand[str(animal)]))


def test_growth_is_found_as_planted_and_the_others_do_not_grow() -> None:
    animals = head_size_of_first_spines(planted(20), QUICK).tables["animals"]
    assert animals["first_percent"].mean() == pytest.approx(40.0, abs=2.0)
    assert animals["alone_percent"].mean() == pytest.approx(0.0, abs=1.0)
    assert animals["stable_percent"].mean() == pytest.approx(0.0, abs=0.3)


def test_alone_are_of_the_same_age_and_animal() -> None:
    table = head_size_of_first_spines(planted(), QUICK).tables[""]
    keys = ["animal", "first_seen", "joined"]
    firsts = set(table.loc[table["class"] == "first", keys].itertuples(index=False, name=None))
    others = set(table.loc[table["class"] != "first", keys].itertuples(index=False, name=None))
    assert others <= firsts


def test_statistics_tell_the_growth_with_its_interval() -> None:
    finding = head_size_of_first_spines(planted(), QUICK)
    line = next(
        line for line in finding.statistics if "before (no change)" in line.comparison and line.test == "paired t"
    )
    assert line.low is not None and line.high is not None and line.p is not None
    assert line.low < np.log(1.4) < line.high
    assert line.p < 0.001 and line.n_animals == 6


def test_saturated_measurements_are_left_out_and_counted() -> None:
    study = planted(saturated_share=0.3)
    finding = head_size_of_first_spines(study, QUICK)
    counted = finding.tables["saturated"].set_index("class")["measurements"]
    assert counted["first"] > 0
    assert f"{counted['first']} of first spines" in finding.legend
    assert finding.tables["animals"]["first_percent"].mean() == pytest.approx(40.0, abs=6.0)
    every = replace(study, spines=study.spines.assign(saturated=True))
    with pytest.raises(NotComputable, match="none has a first spine with a measured, unsaturated head"):
        head_size_of_first_spines(every, QUICK)


def test_a_measurement_counts_by_its_uncertainty() -> None:
    study = planted()
    spines = study.spines.copy()
    last = spines["session"] == spines["session"].max()
    spines.loc[last, "head_size"] *= 3.0
    spines.loc[last, "head_size_sd"] *= 1e6
    sure = head_size_of_first_spines(replace(study, spines=spines), QUICK).tables[""]
    sure = sure[(sure["class"] == "first") & (sure["joined"] == 2)]
    assert sure["change_percent"].mean() == pytest.approx(40.0, abs=6.0)


def test_without_a_session_in_between_it_cannot_be_told() -> None:
    regimen = Regimen(group="early", phases=(PHASE,))
    study = plant_study(PlantedPlan(regimens=(regimen,), days=(0.0, 4.0)), 3, 0)
    with pytest.raises(NotComputable, match="a session within a phase"):
        head_size_of_first_spines(study, QUICK)


def test_the_picture_is_drawn() -> None:
    figure = head_size_of_first_spines(planted(), QUICK).draw()
    assert [axes.get_ylabel() for axes in figure.axes] == ["head size over the shaft", "change of head size, %"]
