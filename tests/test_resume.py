"""A stack that was cut short is gone on with, after the tissue was looked at; the light of a field is limited."""

import threading
import time

import numpy as np
import pytest

from acquire.commands import Taking, take_fields
from acquire.config import read_rig_config
from acquire.drift import align_stack
from acquire.engine import StackCancelledError
from acquire.errors import RelocationError, StudyError
from acquire.images import ImageProvenance, StackWriter, is_complete, journal_path, read_journal, read_plane_lines
from acquire.model import AnimalRecord, Light, QualityRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study, read_record
from acquire.taking import richest_planes
from analysis.stack import read_stack

PLAN = StackPlan(field_of_view_um=60.0, pixels=256, depth_um=12.0, frames_per_plane=1)


@pytest.fixture(scope="module")
def rig():
    with open_rig(read_rig_config("simulated")) as opened:
        yield opened


@pytest.fixture
def session(rig, tmp_path):
    with Study.create(tmp_path / "study", StudyRecord(name="resume", plan=PLAN)) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0, new=True) as opened:
            x, y, z = rig.loaded.good_places(1)[0]
            rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            opened.new_field()
            yield opened


def cut_short(session, after):
    """Take the field's stack and stop it after some planes."""

    def progress(what, share):
        if "stack" in what and share * PLAN.planes >= after - 0.5:
            session.stop()

    session._progress = progress
    with pytest.raises(StackCancelledError):
        session.take_stack("F01")
    session._progress = lambda *_: None
    return session.study.unfinished_store(session.record, "F01")


def test_a_cancelled_stack_is_readable_and_resumes_where_it_ended(session):
    store = cut_short(session, after=5)
    saved = [record.plane for record in read_journal(store)]
    assert saved == [0, 1, 2, 3, 4]
    assert read_stack(store).provenance["complete"] is False
    before = read_stack(store).pixels[:5].copy()
    assert session.take_stack("F01", resume=True) == store
    assert is_complete(store)
    np.testing.assert_array_equal(read_stack(store).pixels[:5], before)
    assert [record.plane for record in read_journal(store)] == list(range(13))


def plan_anew(session, **changes):
    """Have the field taken otherwise from now on."""
    field = session.study.field("M1", "F01")
    session.study.save_field("M1", field.model_copy(update={"plan": field.plan.model_copy(update=changes)}))


def test_a_stack_is_gone_on_with_by_the_plan_it_was_begun_with(session):
    store = cut_short(session, after=5)
    begun_with = session.study.field("M1", "F01").plan
    plan_anew(session, depth_um=24.0, step_um=2.0, power_mw=30.0)  # as many planes, of the same size
    session.take_stack("F01", resume=True)
    z_um = np.array([record.stage.z_um for record in read_journal(store)])
    np.testing.assert_allclose(np.abs(np.diff(z_um)), 1.0, atol=0.5)  # the drive is not exact, nor does tissue rest
    again = read_journal(session.retake("F01", [8]))
    assert again[8].stage.z_um == pytest.approx(z_um[8], abs=0.7)
    looks = read_plane_lines(store.with_name("looks.planes.jsonl"))
    for record in [*read_journal(store), *again, *looks]:
        assert record.power_mw == pytest.approx(begun_with.plane_power_mw(record.plane), rel=0.02)


def let_slip(monkeypatch, rig, x_um, y_um=0.0):
    """Let the stage slip under the head: what the drive calls x now shows tissue so much further on."""
    core, go, read = rig.core, rig.core.setXYPosition, rig.core.getXYPosition
    monkeypatch.setattr(core, "setXYPosition", lambda stage, x, y: go(stage, x + x_um, y + y_um))
    monkeypatch.setattr(core, "getXYPosition", lambda stage: tuple(np.subtract(read(stage), (x_um, y_um))))


def test_resume_follows_tissue_that_moved(session, monkeypatch):
    store = cut_short(session, after=7)
    let_slip(monkeypatch, session.rig, 1.5, -1.0)
    session.take_stack("F01", resume=True)
    monkeypatch.undo()
    records = {record.plane: record for record in read_journal(store)}
    shift = np.subtract(records[12].stage.xyz_um, records[0].stage.xyz_um)[:2]
    assert shift == pytest.approx((-1.5, 1.0), abs=0.4)
    assert is_complete(store)


def test_a_wish_to_stop_while_a_resumed_stack_is_looked_at_is_heard(session, monkeypatch):
    store = cut_short(session, after=5)

    def stopped_meanwhile(*args, **keywords):
        session.stop()
        return align_stack(*args, **keywords)

    monkeypatch.setattr("acquire.taking.align_stack", stopped_meanwhile)
    before = session.study.dose_mj(session.record, "F01")
    with pytest.raises(StackCancelledError, match="stopped after 0 of"):
        session.take_stack("F01", resume=True)
    looked_at = sum(record.dose_mj for record in read_plane_lines(store.with_name("looks.planes.jsonl")))
    assert session.study.dose_mj(session.record, "F01") - before == pytest.approx(looked_at, rel=1e-3)
    monkeypatch.undo()
    session.take_stack("F01", resume=True)  # another verb: the wish was for the one before
    assert is_complete(store)


def test_a_line_lost_from_the_middle_of_the_journal_rewrites_no_plane(session):
    store = cut_short(session, after=5)
    lines = journal_path(store).read_text().splitlines(keepends=True)
    journal_path(store).write_text("".join(lines[:1] + lines[2:]))
    with pytest.raises(StudyError, match=r"lacks 1 planes that were saved \(first 1\)"):
        session.take_stack("F01", resume=True)


def test_resume_refuses_tissue_that_it_does_not_know(session, monkeypatch):
    store = cut_short(session, after=5)
    let_slip(monkeypatch, session.rig, 150.0)
    with pytest.raises(RelocationError, match="is not recognised"):
        session.take_stack("F01", resume=True)
    monkeypatch.undo()
    assert len(read_journal(store)) == 5


def test_resuming_a_session_leaves_whole_stacks_alone(session):
    said = []
    assert take_fields(session, None, Taking(), said.append) == 0
    assert take_fields(session, None, Taking(resume=True), said.append) == 0
    assert said[-1] == "F01: whole already"


def stacks_of(session):
    folder = session.study.session_folder("M1", session.record.name) / "F01"
    return sorted(path.name for path in folder.glob("stack*.ome.zarr"))


def test_resuming_takes_what_is_missing_of_the_repeats(session):
    session.take_stack("F01")
    take_fields(session, None, Taking(resume=True, repeats=2), lambda _line: None)
    assert stacks_of(session) == ["stack-2.ome.zarr", "stack.ome.zarr"]
    said = []
    take_fields(session, None, Taking(resume=True, repeats=2), said.append)
    assert said == ["F01: whole already"]


def test_a_field_that_is_named_twice_is_taken_once(session):
    take_fields(session, ["F01", "F01"], Taking(), lambda _line: None)
    assert stacks_of(session) == ["stack.ome.zarr"]


def test_repeats_are_stacks_of_their_own(session):
    take_fields(session, None, Taking(repeats=3), lambda _line: None)
    folder = session.study.session_folder("M1", session.record.name) / "F01"
    assert sorted(path.name for path in folder.glob("stack*")) == [
        "stack-2.ome.zarr",
        "stack-2.planes.jsonl",
        "stack-3.ome.zarr",
        "stack-3.planes.jsonl",
        "stack.ome.zarr",
        "stack.planes.jsonl",
    ]


def test_pause_is_dark_and_goes_on(session):
    rig, seen = session.rig, []

    def progress(what, share):
        if "stack" in what and not seen:
            rig.pause()
            threading.Thread(target=watch).start()

    def watch():
        time.sleep(0.3)
        seen.append(rig.core.getShutterOpen("Shutter"))
        rig.pause(False)

    session._progress = progress
    store = session.take_stack("F01")
    assert seen == [False]
    assert is_complete(store)


def test_stop_closes_the_light_at_once_in_a_long_average(session, rig):
    session.study.save_field(
        "M1",
        session.study.field("M1", "F01").model_copy(update={"plan": PLAN.model_copy(update={"frames_per_plane": 500})}),
    )
    after = []

    def cancel():
        time.sleep(0.5)
        started = time.perf_counter()
        session.stop()
        while rig.core.getShutterOpen("Shutter"):
            time.sleep(0.001)
        after.append(time.perf_counter() - started)

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(StackCancelledError):
        session.take_stack("F01")
    thread.join()
    assert after[0] < 0.1


def test_more_light_than_the_plan_allows_is_refused_before_the_shutter_opens(session):
    field = session.study.field("M1", "F01")
    plan = field.plan.model_copy(update={"dose_limit_mj": 1e-3})
    session.study.save_field("M1", field.model_copy(update={"plan": plan}))
    before = session.rig.images_taken
    with pytest.raises(RelocationError, match=r"above the limit of 0\.0 mJ"):
        session.take_stack("F01")
    assert session.rig.images_taken == before


def test_a_stack_that_was_cut_short_before_its_first_plane_is_no_way_around_the_limit(session):
    plan_anew(session, dose_limit_mj=0.02)
    store = session.study.new_store(session.record, "F01", "stack")
    provenance = ImageProvenance(kind="stack", animal="M1", session="s", day=0.0, rig={}, stage=session.rig.position())
    StackWriter(store, session.rig.set_scan(PLAN), provenance).abandon()
    with pytest.raises(RelocationError, match=r"above the limit of 0\.0 mJ"):
        session.take_stack("F01", resume=True)
    assert read_journal(store) == []


def test_the_richest_planes_are_those_with_structure():
    planes = np.full((10, 32, 32), 100, np.uint16)
    planes[5:8, 8:16, 8:16] = 900
    assert richest_planes(planes, 3) == 5
    assert richest_planes(planes[:2], 3) == 0


def test_bad_planes_are_taken_again_into_a_stack_of_its_own(session, monkeypatch):
    dim, real = {4, 5}, type(session.rig).snap
    taken = []

    def dimmed(rig):
        taken.append(len(taken))
        frame = real(rig)
        return frame // 4 if taken[-1] in dim else frame

    monkeypatch.setattr(type(session.rig), "snap", dimmed)
    said = []
    take_fields(session, None, Taking(retake=True), said.append)
    monkeypatch.undo()
    folder = session.study.session_folder("M1", session.record.name) / "F01"
    first, again = read_stack(folder / "stack.ome.zarr"), read_stack(folder / "stack-2.ome.zarr")
    assert said[0].startswith("F01: red, repeat planes 4-5")
    assert "F01: taking planes 4-5 again" in said
    assert session.quality("F01").light is not Light.RED
    for plane in range(PLAN.planes):
        same = np.array_equal(first.pixels[plane], again.pixels[plane])
        assert same is (plane not in dim)
    assert again.pixels[4].mean() > 2 * first.pixels[4].mean()
    assert again.provenance["retake_of"] == "stack.ome.zarr"
    assert session.study.last_store(session.record, "F01", "stack") == folder / "stack-2.ome.zarr"
    # Copies bring no light; the three planes that were only looked at do.
    assert {record.plane for record in read_journal(folder / "stack-2.ome.zarr") if record.dose_mj > 0} == dim
    journals = [f"{name}.planes.jsonl" for name in ("overview", "stack", "looks")]
    taken_mj = [sum(record.dose_mj for record in read_plane_lines(folder / name)) for name in journals]
    assert taken_mj[2] == pytest.approx(3 * taken_mj[1] / PLAN.planes, rel=0.1)
    retaken_mj = sum(read_journal(folder / "stack.ome.zarr")[plane].dose_mj for plane in dim)
    assert session.study.dose_mj(session.record, "F01") == pytest.approx(sum(taken_mj) + retaken_mj, rel=1e-6)


def test_a_good_stack_is_not_taken_again_and_wrong_planes_are_refused(session):
    session.take_stack("F01")
    assert session.retake("F01") is None
    with pytest.raises(RelocationError, match=r"has the planes 0 to 12, not \[13\]"):
        session.retake("F01", [13])


def test_a_broken_quality_file_is_told_and_made_anew(session):
    file = session.take_stack("F01").with_name("quality.json")
    whole, told = read_record(file, QualityRecord), []
    session._progress = lambda what, _share: told.append(what)
    for text in ("", "{", '{"light": "blue"}', "\0"):
        file.write_text(text)
        assert session.quality("F01") == read_record(file, QualityRecord) == whole
    assert len(told) == 4
    assert all(what.startswith(f"F01 is judged anew: {file} cannot be understood") for what in told)


def test_no_plane_of_a_damaged_stack_is_taken_again(session):
    journal = journal_path(session.take_stack("F01"))
    lines, before = journal.read_text().splitlines(keepends=True), session.rig.images_taken
    journal.write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(StudyError, match=r"stack\.planes\.jsonl lacks 1 planes that were saved \(first 5\)"):
        session.retake("F01", [3])
    journal.unlink()
    with pytest.raises(StudyError, match=r"stack\.planes\.jsonl lacks 13 planes that were saved \(first 0\)"):
        session.retake("F01", [3])
    assert session.rig.images_taken == before
    assert session.take_stack("F01").name == "stack-2.ome.zarr"


def test_nothing_is_taken_again_when_the_tissue_went_away(session, monkeypatch):
    session.take_stack("F01")
    let_slip(monkeypatch, session.rig, 150.0)
    with pytest.raises(RelocationError, match="is not recognised"):
        session.retake("F01", [3])
    monkeypatch.undo()
    assert session.has_whole_stack("F01")
