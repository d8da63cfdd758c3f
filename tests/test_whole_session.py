"""A field revisited, end to end, against the truth: open, map, keep, take; find again, take, detect, match, draw."""

import numpy as np
import pandas as pd
import pytest

from acquire.config import read_rig_config
from acquire.errors import RelocationError
from acquire.model import AnimalRecord, RelocationRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study, read_record
from analysis.model import Verdict
from analysis.score import score_detection, score_fates
from analysis.stack import read_stack

PLAN = StackPlan(field_of_view_um=80.0, pixels=448, depth_um=30.0)
SEED = 5


class Course:
    """Two sessions with one animal, four days apart, and everything that came of them."""

    def __init__(self, folder):
        config = read_rig_config("simulated")
        config = config.model_copy(update={"load_settings": {**config.load_settings, "seed": SEED}})
        self.rig = open_rig(config)
        self.sample = self.rig.loaded
        self.study = Study.create(folder, StudyRecord(name="whole", plan=PLAN))
        self.study.new_animal(AnimalRecord(id="M1"))
        with Session.open(self.study, "M1", self.rig, day=0.0, new=True) as first:
            first.map_surface()
            x, y, z = self.sample.good_places(1)[0]
            self.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            self.field = first.new_field()
            self.stores = [first.take_stack(self.field.name)]
            first.close()
        with Session.open(self.study, "M1", self.rig, day=4.0, new=True) as second:
            self.surface = second.map_surface()
            with pytest.raises(RelocationError) as self.refused:
                second.take_stack(self.field.name)
            self.relocation = second.relocate(self.field.name)
            self.stores.append(second.take_stack(self.field.name))
            self.analysis = second.analyse(self.field.name)
            self.session = second.record
            second.close()

    def truth(self):
        tables = []
        for number, store in enumerate(self.stores):
            stack = read_stack(store)
            centre = StagePosition.model_validate(stack.provenance["stage"])
            tables.append(self.sample.true_spines(number, centre.xyz_um, stack.pixels.shape, stack.voxel_um))
        return tables


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    course = Course(tmp_path_factory.mktemp("whole") / "study")
    yield course
    course.study.close()
    course.rig.close()


def test_the_vessels_lead_back(course):
    assert course.surface.verdict is Verdict.FOUND
    assert len(course.surface.landmarks) >= 3


def test_the_field_is_found_where_the_tissue_is(course):
    assert course.relocation.verdict is Verdict.FOUND
    extent = (PLAN.depth_um, PLAN.field_of_view_um, PLAN.field_of_view_um)
    dz, dy, dx = course.sample.displacement_um(
        0, course.field.position.xyz_um, 1, course.relocation.position.xyz_um, extent
    )
    assert np.hypot(dy, dx) < 2.0
    assert abs(dz) < 3.0


def test_the_head_really_moved(course):
    """Without relocation the field would be missed: the test above would mean nothing otherwise."""
    extent = (PLAN.depth_um, PLAN.field_of_view_um, PLAN.field_of_view_um)
    here = course.field.position.xyz_um
    _, dy, dx = course.sample.displacement_um(0, here, 1, here, extent)
    assert np.hypot(dy, dx) > 10.0


def test_a_field_that_was_not_looked_for_is_not_imaged(course):
    assert "was not looked for in this session" in str(course.refused.value)


def test_spines_are_found(course):
    for number, truth in enumerate(course.truth()):
        spines = course.analysis.spines
        score = score_detection(spines[spines["session"] == number], truth)
        assert score.f1 > 0.65, score


def test_the_same_spines_are_the_same(course):
    score = score_fates(course.analysis.tracks, course.truth(), course.analysis.fates)
    assert score.identity_accuracy > 0.9
    assert score.gained_f1 > 0.2  # a handful of spines came and went: one call more or less moves it by 0.1
    assert score.lost_f1 > 0.2


def test_the_study_is_laid_out_as_promised(course):
    animal = course.study.animal_folder("M1")
    session = course.study.session_folder("M1", course.session.name)
    for path in ("session.json", "log.jsonl", "surface.ome.zarr", "F01/stack.ome.zarr", "F01/quality.json"):
        assert (session / path).exists(), path
    record = read_record(session / "F01" / "relocation.json", RelocationRecord)
    assert record == course.relocation
    assert record.steps[-1].verdict is Verdict.FOUND
    for name in (
        "spines.csv",
        "spines.parquet",
        "tracks.csv",
        "fates.csv",
        "dendrites.csv",
        "sessions.csv",
        "gallery.png",
        "report.html",
    ):
        assert (animal / "analysis" / "F01" / name).stat().st_size > 0
    spines = pd.read_csv(animal / "analysis" / "F01" / "spines.csv")
    assert len(spines) == len(course.analysis.spines)


def test_the_log_tells_the_course(course):
    log = course.study.session_folder("M1", course.session.name) / "log.jsonl"
    events = [line.split('"event": "')[1].split('"')[0] for line in log.read_text().splitlines()]
    assert events.count("move") >= len(course.relocation.steps) + 1
    assert events.count("light on") == len(course.relocation.steps) + 1
    assert events.count("light off") == events.count("light on")
    events = [event for event in events if event not in {"move", "light on", "light off"}]
    assert events == ["open", "surface", "register surface", "relocate", "stack", "analyse", "close"]


def test_the_idle_rig_is_dark(course):
    assert not course.rig.core.getShutterOpen("Shutter")
    assert course.rig.lit.seconds > 0
