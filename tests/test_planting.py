"""A simulated study on disk opens as the tables that were drawn."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from acquire.__main__ import main
from acquire.errors import StudyError
from acquire.planting import plant_on_disk
from acquire.store import Study
from analysis.study.opening import open_study
from analysis.study.plan import PlantedPlan, null_plan
from analysis.study.planted import plant_study

KEYS = {
    "animals": ["animal"],
    "sessions": ["animal", "session"],
    "spines": ["animal", "field", "dendrite", "track", "session"],
    "stretches": ["animal", "field", "dendrite", "session"],
    "phases": ["group", "first_day"],
    "behaviour": ["animal", "day"],
}


def test_it_opens_as_it_was_drawn(tmp_path: Path) -> None:
    plan = PlantedPlan(unscorable_share=0.03, missed_share=0.02, dendrites=4)
    drawn = plant_on_disk(tmp_path / "study", plan, animals=1, seed=2)
    opened = open_study(tmp_path / "study")
    assert opened.name == plan.name
    assert opened.groups == drawn.groups
    assert not opened.dropped
    for name, keys in KEYS.items():
        one, other = (getattr(study, name).sort_values(keys, ignore_index=True) for study in (drawn, opened))
        pd.testing.assert_frame_equal(one, other[one.columns], check_dtype=False)


def test_the_command_makes_a_study_that_the_program_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert main(["simulate-study", str(folder), "--animals", "1", "--seed", "3", "--null"]) == 0
    assert "6 simulated animals in 6 groups" in capsys.readouterr().out.replace("\n", "")
    with Study(folder) as study:
        assert study.record.groups == tuple(each.group for each in PlantedPlan().regimens)
        assert [session.day for session in study.sessions("S001")] == list(PlantedPlan().days)
        assert [field.name for field in study.animal("S001").fields] == ["F01", "F02"]
    spines = open_study(folder).spines
    assert len(spines) == len(plant_study(null_plan(), 1, 3).spines)


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match="is not an empty folder"):
        plant_on_disk(tmp_path, PlantedPlan(), animals=1, seed=0)
