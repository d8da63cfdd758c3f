"""Fields found again by commands and scripts: in a good order, written down, replayed off the rig."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from acquire import pictures
from acquire.__main__ import main
from acquire.commands import Taking, find_fields, take_fields, tell_relocation
from acquire.config import read_rig_config
from acquire.errors import RelocationError, StudyError
from acquire.finding import FieldFinder
from acquire.model import AnimalRecord, RelocationRecord, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.replay import replay_relocation
from acquire.session import Session
from acquire.store import Study
from analysis.model import Verdict

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rig():
    with open_rig(read_rig_config("simulated")) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(rig, tmp_path_factory):
    """A study with three fields, and a second session in which they were found again."""
    with Study.create(tmp_path_factory.mktemp("finding") / "study", StudyRecord(name="finding")) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0) as session:
            session.map_surface()
            for x, y, z in rig.loaded.good_places(3):
                rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
                session.new_field()
        with Session.open(study, "M1", rig, day=3.0, new=True) as session:
            yield session, find_fields(session, None)[0]


def file_of(session: Session, record: RelocationRecord) -> Path:
    return session.study.session_folder("M1", session.record.name) / record.field / "relocation.json"


def test_every_field_is_found_and_later_ones_are_known_better_beforehand(found):
    _, records = found
    assert {record.field for record in records} == {"F01", "F02", "F03"}
    assert all(record.verdict is Verdict.FOUND for record in records)
    depths_um = [record.sigma_zyx_um[0] for record in records]
    assert depths_um[0] > 20 and depths_um[1] < 8 and depths_um[2] < depths_um[1]
    for record in records[1:]:
        missed = record.predicted.z_um - record.position.z_um
        assert abs(missed) < 3 * record.sigma_zyx_um[0]
    assert records[2].missed_zyx_um is not None


def test_the_light_of_a_search_is_counted(found):
    session, records = found
    for record in records:
        assert record.dose_mj == pytest.approx(session.study.dose_mj(session.record, record.field), abs=0.01)


def test_a_search_is_replayed_from_its_images(found):
    session, records = found
    replay = replay_relocation(file_of(session, records[0]))
    assert replay.told == "recorded: found; replayed: found, the same place: they agree"
    ignored = {"compute_s": 0.0, "rig_s": 0.0}
    again, before = (each.model_copy(update=ignored) for each in (replay.replayed, records[0]))
    assert [step.model_copy(update=ignored) for step in again.steps] == [
        step.model_copy(update=ignored) for step in before.steps
    ]
    assert again.model_copy(update={"steps": ()}) == before.model_copy(update={"steps": ()})


def test_what_cannot_be_replayed_is_refused_in_a_sentence(found, edited, capsys, tmp_path):
    session, records = found
    stranger = tmp_path / "stranger.tif"
    sizes = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ"), 1.0)
    tifffile.imwrite(stranger, np.ones((3, 16, 16), np.uint16), ome=True, metadata={"axes": "ZYX", **sizes})
    for file, reason in (
        (session.study.folder, "is a folder; give the relocation.json of a field"),
        (tmp_path / "relocation.json", "is missing; give the relocation.json"),
        (session.study.folder / "study.json", "is no record of a search for a field; give the relocation.json"),
        (edited(steps=()), "a search has at least one overview, here are 0; mend it, or put it back from your backup"),
        (edited(reference_store=str(stranger)), "does not say with which plan and rig it was taken"),
    ):
        assert main(["relocate", "--replay", str(file)]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert reason in told and "unexpected" not in told
    file = str(file_of(session, records[0]))
    assert main(["relocate", "--replay", file, "--rig", "simulated", "--field", "F99"]) == 1
    assert "--replay needs the file alone; leave out --rig, --field" in capsys.readouterr().err


@pytest.fixture
def edited(found):
    """Write a record anew beside its images, changed; return its file."""
    session, records = found
    made = []

    def edit(record: RelocationRecord = records[0], **changes: Any) -> Path:
        made.append(file_of(session, record).with_name(f"edited-{len(made)}.json"))
        made[-1].write_text(record.model_copy(update=changes).model_dump_json())
        return made[-1]

    yield edit
    for file in made:
        file.unlink()


def test_two_fields_that_contradict_each_other_are_not_both_found(found, monkeypatch):
    session, records = found
    finder, (one, other) = session._finder, records[:2]
    fields = {field.name: field for field in session.study.animal("M1").fields}
    for shift_um, verdict in ((0.0, Verdict.FOUND), (60.0, Verdict.UNSURE)):
        moved = one.model_copy(update={"position": one.position.moved(x_um=shift_um)})
        monkeypatch.setattr(finder, "_found_today", lambda _, moved=moved: [(fields[one.field], moved)])
        judged = finder._compared_with_others(fields[other.field], other)
        assert judged.verdict is verdict
        assert bool(judged.note) is (verdict is Verdict.UNSURE)
    assert f"um from where {one.field} put it; compare the pictures of both" in judged.note


def test_a_search_that_is_cut_short_leaves_its_record(found, monkeypatch):
    session, _ = found
    field = session.study.field("M1", "F01")
    folder = session.study.session_folder("M1", session.record.name) / "F01"
    before = {path: path.read_bytes() for path in folder.glob("relocation*")}
    looks, take = [], session._taker.take

    def second_fails(*args, **keywords):
        looks.append(args)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return take(*args, **keywords)

    monkeypatch.setattr(session._taker, "take", second_fails)
    monkeypatch.setattr("acquire.relocate.is_close", lambda _: False)
    with pytest.raises(KeyboardInterrupt):
        session._finder.relocate(field)
    record = session._finder.last_relocation(field)
    assert (record.verdict, record.note, len(record.steps)) == (Verdict.NOT_FOUND, "the search was cut short", 1)
    assert replay_relocation(folder / "relocation.json").recorded == record
    monkeypatch.undo()
    for path in folder.glob("relocation*"):  # as it was, for the other tests
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def test_a_replay_keeps_to_what_the_other_fields_said(found, edited, capsys):
    _, records = found
    odd = {"verdict": Verdict.UNSURE, "note": "it looks like F01, but lies 31 um from where the others put it"}
    for record, missed in ((records[0], None), (records[2], (0.0, 31.0, 0.0))):
        file = edited(record, missed_zyx_um=missed, **odd)
        assert main(["relocate", "--replay", str(file)]) == 3
        told = capsys.readouterr().out
        assert f"{record.field}: unsure at" in told and "lies 31 um" in told
        assert "recorded: unsure; replayed: unsure, the same place: they agree" in told


def test_a_replay_finds_the_place_anew_and_says_that_the_record_differs(found, edited):
    _, records = found
    away = records[0].position.model_copy(update={"x_um": 99999.0})
    file = edited(position=away, verdict=Verdict.NOT_FOUND, remaining_zyx_um=None, reference_from_today=None)
    replay = replay_relocation(file)
    assert replay.replayed.position == records[0].position
    assert replay.replayed.remaining_zyx_um == records[0].remaining_zyx_um
    assert replay.replayed.reference_from_today == records[0].reference_from_today
    assert replay.told.startswith("recorded: not found; replayed: found, ")
    assert replay.told.endswith("um from the recorded place: they differ")


def test_a_replay_is_no_surer_than_the_search(found, edited):
    """A field that was found, but not close, where the overviews ended, is unsure."""
    _, records = found
    first = records[0].steps[:1]
    assert len(records[0].steps) == 2 and first[0].verdict is Verdict.FOUND
    replay = replay_relocation(edited(steps=first, verdict=Verdict.UNSURE))
    assert replay.replayed.verdict is Verdict.UNSURE
    assert replay.replayed.steps[0].offset_zyx_um == first[0].offset_zyx_um


def test_a_replay_needs_an_overview_where_the_search_begins(edited):
    with pytest.raises(StudyError, match=r"none of its overviews lies at x 1000\.0"):
        replay_relocation(edited(predicted=StagePosition(x_um=1000.0, y_um=0.0, z_um=0.0)))


def test_the_command_replays_without_a_rig(found, capsys):
    session, records = found
    file = file_of(session, records[1])
    assert main(["relocate", "--replay", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["relocations"][0]["verdict"] == told["recorded"]["verdict"] == "found"
    assert main(["relocate", "--study", "nowhere"]) == 1
    assert "or --replay FILE" in capsys.readouterr().err


def test_a_search_without_images_is_not_replayed(found, tmp_path):
    _, records = found
    file = tmp_path / "relocation.json"
    file.write_text(records[0].model_copy(update={"reference_store": None}).model_dump_json())
    with pytest.raises(StudyError, match="does not say which overviews were compared"):
        replay_relocation(file)


def test_every_search_leaves_a_picture_and_says_where(found):
    session, records = found
    for record in records:
        picture = file_of(session, record).with_suffix(".png")
        with Image.open(picture) as opened:
            assert opened.format == "PNG" and opened.width > 1000
        told = tell_relocation(record, session.study)
        assert told.endswith(f"; {picture}") and "\n" not in told


def test_an_earlier_search_is_not_overwritten(found):
    session, records = found
    first = file_of(session, records[0])
    before, picture_before = first.read_text(), first.with_suffix(".png").read_bytes()
    again = session.relocate(records[0].field)
    assert again.verdict is Verdict.FOUND
    assert first.with_name("relocation-1.json").read_text() == before
    assert first.with_name("relocation-1.png").read_bytes() == picture_before
    assert first.with_suffix(".png").read_bytes() != picture_before


def test_a_picture_that_cannot_be_drawn_fails_no_search(found, monkeypatch):
    session, records = found

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures, "write_search", full)
    record = session.relocate(records[1].field)
    assert record.verdict is Verdict.FOUND
    assert any("no picture of the search" in alarm and "No space left" in alarm for alarm in session.rig.alarms)
    session.rig.alarms.clear()
    assert not file_of(session, record).with_suffix(".png").exists()  # that of the search before has its number


def test_what_was_not_found_says_how_far_was_searched_and_what_to_do(found):
    _, records = found
    lost = records[0].model_copy(update={"verdict": Verdict.NOT_FOUND, "steps": records[0].steps[:1]})
    line, remedy = tell_relocation(lost).splitlines()
    assert line.startswith("F0") and f"not found around {lost.position}" in line
    assert "searched about z -55 to +55, y -50 to +50, x -50 to +50 um from the prediction, yaw to 10 deg" in remedy
    assert "focus" in remedy and "--new-session" in remedy and "--landmark NAME X Y" in remedy
    unsure = tell_relocation(records[0].model_copy(update={"verdict": Verdict.UNSURE}))
    assert "compare reference and today in relocation.png" in unsure and "--accept-unsure" in unsure


def test_a_damaged_record_stops_no_other_search_and_is_kept(found):
    session, records = found
    damaged, other = file_of(session, records[0]), records[1].field
    whole = damaged.read_text()
    damaged.write_text(whole[:200])
    try:
        assert session.relocate(other).verdict is Verdict.FOUND
        (warning,) = (alarm for alarm in session.rig.alarms if "is left out" in alarm)
        assert f"{records[0].field} is left out, relocate it again" in warning and str(damaged) in warning
        assert warning in [line["what"] for line in session.study.log_lines(session.record, "warning")]
        assert session.relocate(records[0].field).verdict is Verdict.FOUND
        assert whole[:200] in [file.read_text() for file in damaged.parent.glob("relocation-*.json")]
    finally:
        session.rig.alarms.clear()


def test_a_field_that_the_others_contradict_is_unsure(found, monkeypatch):
    session, _ = found
    real = FieldFinder._found_field

    def displaced(self, field, record):
        seen = real(self, field, record)
        return type(seen)(
            seen.then_zyx_um, seen.today_zyx_um + ((0, 40, 0) if field.name == "F02" else 0), seen.turn_deg
        )

    monkeypatch.setattr(FieldFinder, "_found_field", displaced)
    record = session.relocate("F02")
    assert record.verdict is Verdict.UNSURE
    assert "lies 4" in record.note and "from where F01, F03 put it" in record.note
    said: list[str] = []
    assert take_fields(session, ["F02"], Taking(), said.append) == 1
    assert "compare reference and today in relocation.png" in said[0] and said[1] == "F02: unsure; no stack taken"
    assert str(file_of(session, record).with_suffix(".png")) in said[0]


def test_the_head_is_said_how_to_turn(found):
    session, _ = found
    advice = session.head_advice("F01")
    assert advice.startswith(("turn the goniometer: ", "the head is level"))


@pytest.mark.slow
def test_the_example_script_relocates_a_list_of_fields(tmp_path):
    study = tmp_path / "study"
    at = ["--rig", "simulated", "--study", str(study), "--animal", "M1"]
    assert main(["new-study", str(study)]) == main(["new-animal", str(study), "M1"]) == 0
    assert main(["new-field", *at]) == 0
    script = [sys.executable, ROOT / "docs" / "relocate_fields.py", "simulated", study, "M1", "F01"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "F01: found at" in done.stdout
    assert "stack.ome.zarr" in done.stdout
    again = subprocess.run([*script, "--day", "-3"], capture_output=True, text=True, timeout=300, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "error: day -3 lies before" in again.stderr


def test_a_search_begins_where_somebody_sees_the_field(found):
    """With no prediction, no vessels: some um beside where it was found, as moved by eye."""
    session, records = found
    before = next(record for record in records if record.field == "F03")
    near = before.position.moved(x_um=12.0, y_um=-9.0, z_um=6.0)
    again = session.relocate("F03", near=near)
    assert again.verdict is Verdict.FOUND and again.predicted == near
    assert again.sigma_zyx_um == (5.0, 5.0, 5.0)
    assert again.position.lateral_distance_um(before.position) < 2.0
    assert replay_relocation(file_of(session, again)).told.endswith("they agree")


def test_only_what_is_unsure_is_accepted_and_it_is_written_down(found, monkeypatch):
    session, records = found
    with pytest.raises(RelocationError, match=r"field F01 is found in this session; only what is unsure"):
        session.accept_unsure("F01")
    unsure = records[0].model_copy(update={"verdict": Verdict.UNSURE})
    monkeypatch.setattr(session._finder, "last_relocation", lambda _: unsure)
    assert session.accept_unsure(unsure.field) is unsure
    assert session.study.log_lines(session.record, "accept unsure")[-1]["field"] == unsure.field


def test_only_fields_that_were_not_found_are_looked_for_when_that_is_asked(found, monkeypatch):
    session, records = found
    last = {record.field: record for record in records}
    last["F02"] = last["F02"].model_copy(update={"verdict": Verdict.UNSURE})
    monkeypatch.setattr(session, "last_relocation", last.__getitem__)
    monkeypatch.setattr(session, "relocate", last.__getitem__)
    assert sorted(session.order_so_far(["F01", "F02", "F03"])) == ["F01", "F02", "F03"]
    seen = []
    assert find_fields(session, None, only_missing=True, found=seen.append)[0] == seen == [last["F02"]]
    last["F02"] = records[0]
    with pytest.raises(RelocationError, match="every field was found in this session"):
        find_fields(session, None, only_missing=True)
