"""The study on disk: what is written is read back, a second program is refused, bad files are named."""

import json
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from acquire import files
from acquire.errors import StudyError
from acquire.images import (
    ImageProvenance,
    StackWriter,
    frames_path,
    is_complete,
    journal_path,
    said_of_making,
    write_image,
)
from acquire.model import (
    AnimalRecord,
    FieldRecord,
    PlaneRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
    TakenPlane,
    utc_now,
)
from acquire.store import Study
from analysis.stack import read_image, read_stack

ORIGIN = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
PLAN = StackPlan(field_of_view_um=8.0, pixels=16, depth_um=4.0, step_um=1.0)
PROVENANCE = ImageProvenance(
    kind="stack",
    animal="M1",
    session="2026-01-01T0900",
    day=0.0,
    rig={},
    stage=ORIGIN,
    field="F01",
    plan=PLAN,
    saturation=4095,
)


def plane(index):
    return np.full((16, 16), 100 + index, np.uint16)


def taken(index):
    return TakenPlane(plane(index), (plane(index),), record(index))


def record(index):
    return PlaneRecord(
        plane=index, time=utc_now(), stage=ORIGIN, power_mw=1.0, power_setting=0.1, exposure_ms=1.0, pmt_gain=1.0,
        zoom=2.0, frames=1, crc32=zlib.crc32(plane(index).tobytes()),
    )  # fmt: skip


@pytest.fixture
def study(tmp_path):
    with Study.create(tmp_path / "study", StudyRecord(name="test", groups=("trained", "control"))) as opened:
        opened.new_animal(AnimalRecord(id="M1", group="trained"))
        yield opened


def test_a_study_is_read_back(study):
    study.save_field("M1", FieldRecord(name="F01", position=ORIGIN, reference_session="s", plan=PLAN))
    first = study.new_session("M1", rig="simulated")
    second = study.new_session("M1", rig="simulated")
    assert study.animals() == ["M1"]
    assert study.field("M1", "F01").plan == PLAN
    assert [session.number for session in study.sessions("M1")] == [0, 1]
    assert first.name != second.name


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(1e-2, 1e3))
def test_records_survive_the_round_trip(x, z, step):
    position = StagePosition(x_um=x, y_um=-x, z_um=z)
    plan = StackPlan(step_um=step, depth_um=5 * step)
    field = FieldRecord(name="F01", position=position, reference_session="s", plan=plan)
    assert FieldRecord.model_validate_json(field.model_dump_json()) == field


@given(depth=st.floats(0, 200), step=st.floats(0.1, 20))
def test_a_plan_says_the_depth_that_its_planes_cover(depth, step):
    plan = StackPlan(depth_um=depth, step_um=step)
    offsets_um = plan.plane_offsets_um
    assert len(offsets_um) == plan.planes
    assert plan.extent_zyx_um[0] == pytest.approx(offsets_um[-1] - offsets_um[0])
    assert abs(plan.extent_zyx_um[0] - depth) <= step / 2 + 1e-6


def test_what_is_no_study_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"is no study: it has no study\.json"):
        Study(tmp_path)


def test_a_broken_record_is_named(study):
    path = study.animal_folder("M1") / "animal.json"
    path.write_text('{"id": "M1", "sex": "f"}', encoding="utf-8")
    with pytest.raises(StudyError, match=r"animal\.json cannot be understood: sex"):
        study.animal("M1")


def test_unknown_names_say_which_are_known(study):
    with pytest.raises(StudyError, match=r"no animal 'M2' \(known: M1\)"):
        study.animal("M2")
    with pytest.raises(StudyError, match=r"no field 'F09' \(known: none yet\)"):
        study.field("M1", "F09")
    with pytest.raises(StudyError, match=r"group 'lazy' is none of the study's: trained, control"):
        study.new_animal(AnimalRecord(id="M3", group="lazy"))


def test_a_second_program_is_refused_with_the_name_of_the_first(study):
    code = "import sys; from pathlib import Path; from acquire.store import Study; Study(Path(sys.argv[1]))"
    second = subprocess.run(
        [sys.executable, "-c", code, str(study.folder)], capture_output=True, text=True, check=False
    )
    assert second.returncode != 0
    assert "is in use by" in second.stderr
    assert "process" in second.stderr


def test_the_lock_of_a_dead_program_is_no_hindrance(tmp_path):
    code = (
        "import os, sys; from pathlib import Path;"
        "from acquire.store import Study; from acquire.model import StudyRecord;"
        "Study.create(Path(sys.argv[1]), StudyRecord(name='x')); os._exit(9)"
    )
    folder = tmp_path / "study"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    with Study(folder) as study:
        assert study.record.name == "x"


def test_a_stack_is_read_back_with_its_voxel_size(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    with StackWriter(path, PLAN, PROVENANCE) as writer:
        for index in range(PLAN.planes):
            writer.append(taken(index))
    stack = read_stack(path)
    assert stack.voxel_um == PLAN.voxel_um
    assert stack.saturation == 4095
    assert stack.provenance["complete"] is True
    assert [p["plane"] for p in stack.provenance["planes"]] == list(range(5))
    np.testing.assert_array_equal(stack.pixels[:, 0, 0], 100 + np.arange(5))
    assert len(journal_path(path).read_text().splitlines()) == 5


def test_an_interrupted_stack_is_readable_and_says_so(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    with pytest.raises(RuntimeError, match="cable"), StackWriter(path, PLAN, PROVENANCE) as writer:
        writer.append(taken(0))
        raise RuntimeError("cable pulled")
    assert not is_complete(path)
    stack = read_stack(path)
    assert stack.provenance["complete"] is False
    assert len(stack.provenance["planes"]) == 1
    assert stack.pixels[0, 0, 0] == 100


def test_a_stack_without_all_planes_is_not_called_whole(tmp_path):
    with (
        pytest.raises(StudyError, match="lacks 4 of 5 planes"),
        StackWriter(tmp_path / "s", PLAN, PROVENANCE) as writer,
    ):
        writer.append(taken(0))
    assert not is_complete(tmp_path / "s")


def test_raw_data_is_never_rewritten(tmp_path):
    write_image(tmp_path / "surface.ome.zarr", plane(0), 2.0, PROVENANCE)
    with pytest.raises(StudyError, match="never rewritten"):
        write_image(tmp_path / "surface.ome.zarr", plane(1), 2.0, PROVENANCE)
    assert read_image(tmp_path / "surface.ome.zarr").pixel_um == 2.0


def test_a_disk_without_room_is_refused_before_the_first_plane(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda _path: 60_000_000)
    plan = PLAN.model_copy(update={"pixels": 4096})
    with pytest.raises(StudyError, match=r"needs 503 MB .* only 60 MB are free"):
        StackWriter(tmp_path / "stack.ome.zarr", plan, PROVENANCE)
    assert not (tmp_path / "stack.ome.zarr").exists()


def test_a_disk_that_fills_up_stops_the_stack_and_marks_it(tmp_path, monkeypatch):
    path = tmp_path / "stack.ome.zarr"
    real = zarr.Array.__setitem__

    def full(self, key, value):
        if key == 2:  # frames have the key (frame, plane)
            raise OSError(28, "No space left on device")
        real(self, key, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(StudyError, match="No space left on device"), StackWriter(path, PLAN, PROVENANCE) as writer:
        for index in range(PLAN.planes):
            writer.append(taken(index))
    assert not is_complete(path)
    assert len(read_stack(path).provenance["planes"]) == 2


def test_small_files_leave_no_half(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_text(path, "whole")
    monkeypatch.setattr(files.os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StudyError, match="No space left"):
        files.write_text(path, "half")
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_log_is_one_json_object_a_line(study):
    session = study.new_session("M1", rig="simulated")
    study.log(session, "move", x_um=3.0)
    line = (study.session_folder("M1", session.name) / "log.jsonl").read_text()
    assert json.loads(line)["x_um"] == 3.0


def test_a_stack_that_was_cut_short_is_gone_on_with(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    with pytest.raises(RuntimeError, match="cable"), StackWriter(path, PLAN, PROVENANCE) as writer:
        for index in (0, 1):
            writer.append(taken(index))
        raise RuntimeError("cable pulled")
    with StackWriter.reopen(path) as again:
        assert again.missing == [2, 3, 4]
        assert again.stage == ORIGIN
        np.testing.assert_array_equal(again.planes([1])[0], plane(1))
        for index in again.missing:
            again.append(taken(index))
    assert is_complete(path)
    assert len(read_stack(path).provenance["planes"]) == 5


def test_a_torn_last_line_of_the_journal_is_no_plane(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    writer = StackWriter(path, PLAN, PROVENANCE)
    writer.append(taken(0))
    writer.abandon()
    with journal_path(path).open("a") as file:
        file.write('{"plane": 1, "time": "2026-')
    assert StackWriter.reopen(path).missing == [1, 2, 3, 4]


def test_a_saved_plane_that_changed_is_noticed(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    writer = StackWriter(path, PLAN, PROVENANCE)
    writer.append(taken(0))
    writer.abandon()
    zarr.open_array(path / "0", mode="r+")[0] = plane(9)
    with pytest.raises(StudyError, match=r"plane 0 of .* is not what was saved"):
        StackWriter.reopen(path)


def rewritten(file, change):
    """Change what a JSON file of a store says."""

    def damage(store):
        said = json.loads((store / file).read_text())
        (store / file).write_text(json.dumps(change(said) or said))

    return damage


def of_samefield(**changes):
    return rewritten("zarr.json", lambda said: said["attributes"]["samefield"].update(changes))


def bytes_in(file, data):
    return lambda store: (store / file).write_bytes(data)


def line_of(**changes):
    return record(0).model_copy(update=changes).model_dump_json()


FIRST_CHUNK = "0/c/0/0/0"
DAMAGE = {
    "no attributes": (lambda store: (store / "zarr.json").unlink(), "cannot be read"),
    "attributes cut short": (bytes_in("zarr.json", b'{"attributes": {"ome"'), "cannot be read"),
    "attributes no text": (bytes_in("zarr.json", b"\xff\xfe\x00"), "cannot be read"),
    "attributes a list": (bytes_in("zarr.json", b"[]"), "cannot be read"),
    "attributes null": (bytes_in("zarr.json", b"null"), "cannot be read"),
    "attributes of another": (rewritten("zarr.json", lambda said: {**said, "attributes": {}}), "cannot be read"),
    "samefield a number": (
        rewritten("zarr.json", lambda said: said["attributes"].update(samefield=3)),
        "cannot be read",
    ),
    "no stage": (of_samefield(stage=None), r"cannot be read \(stage: "),
    "a stage of two": (of_samefield(stage=[1, 2]), r"cannot be read \(stage: "),
    "no plan": (of_samefield(plan=None), "does not say how it was taken"),
    "a plan without sense": (of_samefield(plan={"step_um": -1}), r"cannot be read \(plan.step_um: "),
    "another plan": (of_samefield(plan=PLAN.model_copy(update={"pixels": 32}).model_dump()), "not its plan's"),
    "no array": (lambda store: (store / "0" / "zarr.json").unlink(), "cannot be read"),
    "array a list": (bytes_in("0/zarr.json", b"[]"), "cannot be read"),
    "array without planes": (rewritten("0/zarr.json", lambda said: said.update(shape=[0, 16, 16])), "not its plan's"),
    "array of bytes": (rewritten("0/zarr.json", lambda said: said.update(data_type="uint8")), "not its plan's"),
    "no chunk": (lambda store: (store / FIRST_CHUNK).unlink(), "plane 0 of .* is not what was saved"),
    "chunk empty": (bytes_in(FIRST_CHUNK, b""), "plane 0 of .* cannot be read"),
    "chunk zeros": (bytes_in(FIRST_CHUNK, bytes(300)), "plane 0 of .* cannot be read"),
    "chunk garbage": (bytes_in(FIRST_CHUNK, bytes(range(256)) * 2), "plane 0 of .* cannot be read"),
    "no journal": (lambda store: journal_path(store).unlink(), r"planes\.jsonl lacks [25] planes that were saved"),
    "journal garbage": (
        lambda store: journal_path(store).write_bytes(b"\xff\x00{[]\n3\n"),
        r"planes\.jsonl lacks [25] planes that were saved",
    ),
    "journal of another": (
        lambda store: journal_path(store).write_text(line_of(plane=99)),
        r"planes\.jsonl lacks [25] planes that were saved",
    ),
    "a plane too many": (
        lambda store: files.append_line(journal_path(store), line_of(plane=9)),
        "plane 9 of .* cannot be read",
    ),
    "no attributes of frames": (lambda store: (frames_path(store) / "zarr.json").unlink(), "cannot be read"),
    "no array of frames": (lambda store: shutil.rmtree(frames_path(store) / "0"), "cannot be read"),
    "frames cut short": (lambda store: (frames_path(store) / "0" / "zarr.json").write_text("{"), "cannot be read"),
}


@pytest.mark.parametrize("planes", [2, 5], ids=["cut short", "whole"])
@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_stack_is_refused_in_a_sentence(tmp_path, planes, damage, told):
    path = tmp_path / "stack.ome.zarr"
    writer = StackWriter(path, PLAN, PROVENANCE)
    for index in range(planes):
        writer.append(taken(index))
    writer.abandon()
    StackWriter.reopen(path)
    damage(path)
    with pytest.raises(StudyError, match=f"{told}.*; take a new stack$") as refusal:
        StackWriter.reopen(path)
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def test_every_frame_is_kept_as_it_came(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    with StackWriter(path, PLAN, PROVENANCE) as writer:
        for index in range(PLAN.planes):
            frames = (plane(index), plane(index + 50))
            writer.append(TakenPlane(plane(index + 25), frames, record(index)))
    raw = zarr.open_array(tmp_path / "frames.ome.zarr" / "0", mode="r")
    assert raw.shape == (4, 5, 16, 16)
    assert raw[0, 3, 0, 0] == 103
    assert raw[1, 3, 0, 0] == 153


def test_the_light_of_a_field_is_summed_over_its_stacks(study):
    session = study.new_session("M1", rig="simulated")
    for kind in ("overview", "stack", "stack"):
        with StackWriter(study.new_store(session, "F01", kind), PLAN, PROVENANCE) as writer:
            for index in range(PLAN.planes):
                writer.append(taken(index))
    one = taken(0).record.dose_mj
    assert one == pytest.approx(1.0 * 1e-3)
    assert study.dose_mj(session, "F01") == pytest.approx(15 * one)


def test_the_frames_of_a_stack_that_was_cut_short_are_not_called_whole(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    with pytest.raises(RuntimeError, match="cable"), StackWriter(path, PLAN, PROVENANCE) as writer:
        writer.append(taken(0))
        raise RuntimeError("cable pulled")
    assert not is_complete(tmp_path / "frames.ome.zarr")
    with StackWriter.reopen(path) as again:
        for index in again.missing:
            again.append(taken(index))
    assert is_complete(tmp_path / "frames.ome.zarr")


def test_frames_that_were_taken_away_are_kept_again_from_there_on(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    writer = StackWriter(path, PLAN, PROVENANCE)
    for index in (0, 1):
        writer.append(taken(index))
    writer.abandon()
    shutil.rmtree(frames_path(path))
    with StackWriter.reopen(path) as again:
        for index in again.missing:
            again.append(taken(index))
    raw = zarr.open_array(frames_path(path) / "0", mode="r")
    assert raw[0, :, 0, 0].tolist() == [0, 0, 102, 103, 104]
    told = said_of_making(frames_path(path))
    assert [each["plane"] for each in told["planes"]] == [2, 3, 4]
    assert [each["plane"] for each in said_of_making(path)["planes"]] == [0, 1, 2, 3, 4]
    shutil.rmtree(frames_path(path))
    assert StackWriter.reopen(path).missing == []  # nothing is to come: nothing is made
    assert not frames_path(path).exists()


def test_a_session_folder_that_went_leaves_the_others_in_order(study):
    first, second = (study.new_session("M1", rig="simulated") for _ in range(2))
    shutil.rmtree(study.session_folder("M1", first.name))
    third = study.new_session("M1", rig="simulated")
    assert [record.name for record in study.sessions("M1")] == [second.name, third.name]


def test_repeats_that_are_missing_are_counted(study):
    session = study.new_session("M1", rig="simulated")

    def add(planes, retake_of=None):
        store = study.new_store(session, "F01", "stack")
        writer = StackWriter(store, PLAN, PROVENANCE.model_copy(update={"retake_of": retake_of}))
        for index in range(planes):
            writer.append(taken(index))
        if planes == PLAN.planes:
            writer.finish()
        else:
            writer.abandon()

    def left():
        return [study.stacks_left(session, "F01", repeats) for repeats in (1, 2, 3)]

    assert left() == [1, 2, 3]
    add(5)
    assert left() == [0, 1, 2]
    add(2, retake_of="stack.ome.zarr")
    assert left() == [1, 2, 3]  # the planes that were to be taken again, then the repeats
    add(5, retake_of="stack.ome.zarr")
    assert left() == [0, 1, 2]
    add(3)
    assert left() == [1, 1, 2]
    add(5)
    assert left() == [0, 0, 1]


def test_an_overview_that_does_not_say_where_it_was_taken_is_none(study):
    session = study.new_session("M1", rig="simulated")
    store = study.new_store(session, "F01", "overview")
    with StackWriter(store, PLAN, PROVENANCE) as writer:
        for index in range(PLAN.planes):
            writer.append(taken(index))
    assert study.store_at(session, "F01", "overview", ORIGIN) == store  # not its raw frames
    assert study.last_store(session, "F01", "overview") == store
    of_samefield(stage=None)(store)
    assert study.store_at(session, "F01", "overview", ORIGIN) is None


def test_stacks_that_cannot_be_compared_are_named(study):
    session = study.new_session("M1", rig="simulated")
    store = study.new_store(session, "F01", "stack")
    StackWriter(store, PLAN, PROVENANCE).abandon()
    assert study.stacks("M1", "F01") == []
    assert study.left_out("M1", "F01") == [store]
    for text in ("{}", "[]", "null", '{"attributes": {"samefield": 3}}'):
        (store / "zarr.json").write_text(text)
        assert study.left_out("M1", "F01") == [store]


@pytest.mark.parametrize("day", [1e9, float("nan"), float("-inf")])
def test_a_day_beyond_a_century_is_refused(tmp_path, day):
    with Study.create(tmp_path / "study", StudyRecord(name="memory")) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with pytest.raises(StudyError, match=r"day .* is no day of a study; .* at most 36500"):
            study.new_session("M1", rig="simulated", day=day)
        assert study.sessions("M1") == []
