"""What goes wrong under the window's hands: it lives on, says it in a sentence with a remedy, and the light is off."""

import shutil
import threading
import time
from importlib import resources

import pytest

from acquire.errors import RigError, StudyError
from acquire.gui.rig_view import Draft
from acquire.model import StackPlan, StagePosition
from acquire.store import Study
from analysis.edits import EDITS_FILE, EditBook
from tests.drawn import drawn, make_drawn_study
from tests.test_desk import Sitting

SMALL = StackPlan(field_of_view_um=60.0, pixels=128, depth_um=16.0, step_um=2.0, frames_per_plane=1, keep_frames=False)


def small_rig(folder):
    """A rig over a small cortex, which is there sooner."""
    written = (resources.files("configs") / "simulated.toml").read_text(encoding="utf-8")
    file = folder / "small.toml"
    file.write_text(written.replace("[load_settings]", "[load_settings]\nhalf_width_um = 250.0"), encoding="utf-8")
    return file


def do(sitting, what, verb):
    sitting.desk.do(what, verb)
    sitting.settle()


@pytest.fixture
def sitting(tmp_path):
    """Somebody with an open session and a field."""
    made = Sitting(tmp_path / "study", str(small_rig(tmp_path)))
    desk = made.desk
    desk.open()
    made.settle()
    desk.new_study("memory")
    made.settle()
    desk.new_animal("M1")
    made.settle()
    desk.open_session("M1")
    made.settle()
    x, y, z = desk.rig.loaded.good_places(1)[0]

    def keep():
        desk.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
        desk.session.new_field(plan=SMALL)

    do(made, "keeping a field", keep)
    desk.choose("F01")
    yield made
    assert desk.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rig")]


def is_well(sitting):
    """The worker is free, the light is off, and what was said is one line in red."""
    text, is_error = sitting.last
    assert is_error
    assert "\n" not in text
    assert "unexpected" not in text
    assert not sitting.desk.status.sight.is_lit
    assert not sitting.desk.is_busy
    return text


def gone(sitting):
    """Take the study away, as a share that is unmounted."""
    folder = sitting.desk.folder
    return folder.rename(folder.with_name("elsewhere"))


# ---- files that were cut short ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["study.json", "animal.json", "session.json"])
def test_a_record_that_is_no_json_says_file_line_and_remedy(tmp_path, name):
    with make_drawn_study(tmp_path / "study", drawn()) as study:
        file = next((tmp_path / "study").rglob(name))
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:2], '  "cut": "of']), encoding="utf-8")
    with (
        pytest.raises(
            StudyError, match=rf"{name} cannot be understood: line 3, character \d+: no JSON .*; mend it, or"
        ),
        Study(tmp_path / "study") as study,
    ):
        study.animal("M1")
        study.sessions("M1")


def test_a_decision_that_was_cut_short_says_file_line_and_remedy(tmp_path):
    (tmp_path / EDITS_FILE).write_text('{"version":1,"kind":"rej\n')
    (told,) = EditBook(tmp_path / EDITS_FILE).trouble
    assert told.startswith("edits.jsonl, line 1 is torn")
    assert told.endswith("make the one that was lost again.")


def test_a_session_file_that_was_damaged_under_the_window(sitting):
    file = next(sitting.desk.folder.rglob("session.json"))
    file.write_text("{", encoding="utf-8")
    do(sitting, "reading the sessions", lambda: sitting.desk.study.stacks("M1", "F01"))
    assert "session.json cannot be understood: line 1" in is_well(sitting)


# ---- a study that vanishes ----------------------------------------------------------------------------------------


def test_a_study_that_vanishes_is_told_and_the_session_is_left(sitting):
    desk = sitting.desk
    name = desk.session.record.name
    elsewhere = gone(sitting)
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    assert "is gone: was its disk taken out" in is_well(sitting)
    assert not desk.folder.exists()  # nothing is written to where it was
    desk.close_session()
    sitting.settle()
    assert "the session was left, dark, but its end is not written down" in is_well(sitting)
    assert desk.session is None
    assert desk.status.known.record is None
    elsewhere.rename(desk.folder)
    desk.open_session("M1")
    sitting.settle()
    assert desk.session.record.name == name
    desk.close_session()
    sitting.settle()
    assert desk.study.sessions("M1")[0].closed is not None


def test_a_study_that_vanishes_under_the_light_ends_dark(sitting):
    desk = sitting.desk
    desk.watch()
    began_s = time.monotonic()
    while not desk.status.sight.is_lit:
        assert time.monotonic() - began_s < 30.0
        time.sleep(0.01)
    gone(sitting)
    desk.stop()
    sitting.settle()
    is_well(sitting)
    assert not desk.folder.exists()


def test_a_study_that_vanished_before_the_live_view_is_told(sitting):
    gone(sitting)
    sitting.desk.watch("F01")  # the press of a button: nothing may be raised, and nothing be read, in its thread
    sitting.settle()
    assert "gone" in is_well(sitting)
    assert not sitting.desk.folder.exists()


def test_a_study_that_vanishes_in_a_stack_makes_no_folder_beneath_it(sitting):
    desk = sitting.desk
    desk.rig.core.snaps = 0
    snap = desk.rig.core.snapImage

    def snap_and_lose():
        desk.rig.core.snaps += 1
        if desk.rig.core.snaps == 4:
            time.sleep(0.5)  # a plane whose writing began may end where it began
            gone(sitting)
        snap()

    desk.rig.core.snapImage = snap_and_lose
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    assert "gone" in is_well(sitting)
    assert not desk.folder.exists()


def test_the_window_is_left_when_the_study_is_gone(sitting):
    gone(sitting)
    assert sitting.desk.close()
    assert not sitting.desk.folder.exists()


# ---- a config that vanishes ---------------------------------------------------------------------------------------


def test_a_config_that_is_gone_stops_nothing_and_is_told(sitting, tmp_path):
    desk = sitting.desk
    draft = Draft.read(desk.rig_name)
    limits = draft.config.limits.model_copy(update={"power_mw": 30.0})
    changed = draft.changed(draft.config.model_copy(update={"limits": limits}))
    (tmp_path / "small.toml").unlink()
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    assert desk.status.known.field("F01").stacks == 1
    with pytest.raises(RigError, match=r"small\.toml: there is no such file.*put it back"):
        changed.save(tmp_path / "small.toml")
    desk.read("the rig config", lambda: Draft.read(desk.rig_name))
    time.sleep(0.1)
    sitting.settle()
    assert is_well(sitting).startswith("the rig config: no rig config")


def test_a_config_that_somebody_changed_is_not_overwritten(tmp_path):
    file = small_rig(tmp_path)
    draft = Draft.read(str(file))
    changed = draft.changed(draft.config.model_copy(update={"surface_pixel_um": 3.0}))
    theirs = file.read_text().replace("surface_pixel_um = 2.0", "surface_pixel_um = 2.5")
    file.write_text(theirs)
    with pytest.raises(RigError, match="was changed by somebody since it was read; nothing was saved"):
        changed.save(file)
    assert file.read_text() == theirs


# ---- devices and disk ---------------------------------------------------------------------------------------------


def fails(said):
    def fail(*_):
        raise RuntimeError(said)

    return fail


DEVICES = {
    "a stage that is stuck": ("setXYPosition", "limit switch", "XY"),
    "a camera that gives no frame": ("snapImage", "camera timed out after 5000 ms", "timed out"),
    "a picture that does not come": ("getImage", "camera timed out after 5000 ms", "timed out"),
}


@pytest.mark.parametrize("what", DEVICES)
def test_a_device_that_fails_is_told_and_the_next_stack_is_taken(sitting, what):
    call, said, told = DEVICES[what]
    desk = sitting.desk
    setattr(desk.rig.core, call, fails(said))
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    text = is_well(sitting)
    assert said in text
    assert told in text
    delattr(desk.rig.core, call)
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    assert desk.status.known.field("F01").stacks == 1


def test_a_full_disk_is_told_with_what_is_free(sitting, monkeypatch):
    desk = sitting.desk

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("analysis.journal._write_all", full)
        do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
        assert "No space left on device" in is_well(sitting)
        assert "MB free" in sitting.last[0]
    usage = shutil.disk_usage(desk.folder)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    do(sitting, "taking F01", lambda: desk.session.take_stack("F01"))
    assert "only 1 MB are free" in is_well(sitting)
