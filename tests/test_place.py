"""A stack is compared with the field's first day before it counts: the head may have been moved since it was found."""

from datetime import timedelta

import pytest

from acquire.commands import Taking, take_fields
from acquire.config import read_rig_config
from acquire.errors import RelocationError
from acquire.images import is_comparable, is_complete, say_shows_field
from acquire.model import AnimalRecord, Light, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.place import judge_left_stacks
from acquire.quality import PLACE, judge_place
from acquire.session import Session
from acquire.store import Study
from analysis.model import Verdict

PLAN = StackPlan(field_of_view_um=80.0, pixels=256, depth_um=24.0, frames_per_plane=1)


@pytest.fixture(scope="module")
def rig():
    with open_rig(read_rig_config("simulated")) as opened:
        yield opened


def items(quality):
    return {item.name: item for item in quality.items}


@pytest.mark.slow
def test_a_stack_of_another_place_is_kept_but_never_compared(rig, tmp_path, monkeypatch):
    with Study.create(tmp_path / "study", StudyRecord(name="place", plan=PLAN)) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0) as session:
            session.map_surface()
            x, y, z = rig.loaded.good_places(1)[0]
            rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            session.new_field()
            assert PLACE not in items(session._judge(study.field("M1", "F01"), session.take_stack("F01")))
        session = Session.open(study, "M1", rig, day=4.0, new=True)
        assert session.find("F01") is Verdict.FOUND
        found = session._finder.last_relocation(study.field("M1", "F01"))
        assert take_fields(session, ["F01"], Taking(), lambda _: None) == 0
        assert session._finder.last_relocation(study.field("M1", "F01")) == found  # not looked for twice
        assert items(session.quality("F01"))[PLACE].light is Light.GREEN
        rig.loaded.mount(7, 4.0)  # somebody turns the goniometer
        with pytest.raises(RelocationError, match=r"stack-2.ome.zarr is kept, but not compared: .* new session"):
            session.take_stack("F01")
        store = study.session_folder("M1", session.record.name) / "F01" / "stack-2.ome.zarr"
        assert is_complete(store)
        assert not is_comparable(store)
        assert study.stacks("M1", "F01")[-1][1].name == "stack.ome.zarr"
        with pytest.raises(RelocationError, match=r"stack-3.ome.zarr is kept, but not compared"):
            session.take_stack("F01", accept_unsure=True)  # it was found: nobody can have compared this stack
        unsure = found.model_copy(update={"verdict": Verdict.UNSURE})
        with monkeypatch.context() as patch:
            patch.setattr(session._finder, "last_relocation", lambda _: unsure)
            assert is_comparable(session.take_stack("F01", accept_unsure=True))  # somebody looked, and knows better
        judge = Session._judge
        monkeypatch.setattr(Session, "_judge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # between the last plane and the comparison with the first day
            session.take_stack("F01")
        store = study.session_folder("M1", session.record.name) / "F01" / "stack-5.ome.zarr"
        assert is_complete(store)
        assert not is_comparable(store)
        assert study.unfinished_store(session.record, "F01") == store
        assert [left for _, left in study.unjudged("M1", "F01")] == [store]
        monkeypatch.setattr(Session, "_judge", judge)
        with pytest.raises(RelocationError, match=r"stack-5.ome.zarr is kept, but not compared"):
            session.take_stack("F01", resume=True)  # takes nothing more, but judges
        assert study.unfinished_store(session.record, "F01") is None
        with pytest.raises(RelocationError, match=r"stack-6.ome.zarr is kept, but not compared"):
            session.retake("F01", [3])
        say_shows_field(study.stacks("M1", "F01")[-1][1], None)  # as if the program had been killed there
        judge_left_stacks(study, "M1", study.field("M1", "F01"))  # without a rig
        assert study.unjudged("M1", "F01") == []
        monkeypatch.setattr("acquire.session.FOUND_LASTS", timedelta(0))
        session.find("F01")
        assert session._finder.last_relocation(study.field("M1", "F01")) != found  # long ago: looked for anew


@pytest.mark.parametrize(
    ("verdict", "off_um", "light"),
    [
        (Verdict.FOUND, 1.0, Light.GREEN),
        (Verdict.FOUND, 4.0, Light.AMBER),
        (Verdict.FOUND, 14.0, Light.RED),
        (Verdict.UNSURE, 1.0, Light.AMBER),
        (Verdict.NOT_FOUND, 1.0, Light.RED),
    ],
)
def test_the_place_has_a_light(verdict, off_um, light):
    judged = judge_place(verdict, off_um)
    assert judged.light is light
    assert bool(judged.advice) is (light is not Light.GREEN)
