"""The window, driven as an experimenter drives it: buttons and keys, on a simulated rig; then the study on disk."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from importlib import resources

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import Qt  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication, QLineEdit, QMessageBox, QPushButton  # noqa: E402

from acquire.gui.app import living_on, make_window  # noqa: E402
from acquire.gui.desk import LOG_FILE  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402
from acquire.images import is_complete  # noqa: E402
from acquire.model import StackPlan, StagePosition  # noqa: E402
from acquire.store import Study  # noqa: E402

SMALL = StackPlan(field_of_view_um=60.0, pixels=256, depth_um=20.0, step_um=1.0, frames_per_plane=1, keep_frames=False)
HEAVY = {"pymmcore_plus", "matplotlib", "zarr", "analysis.field", "scipy.ndimage"}


def waiting_for(window, asked, limit_s=120.0):
    began = time.monotonic()
    while not asked():
        QApplication.processEvents()
        assert time.monotonic() - began < limit_s, window.message.text()
        time.sleep(0.005)
    QApplication.processEvents()
    window.refresh()


def waiting_for_message(window, text):
    began = time.monotonic()
    while text not in window.message.text():
        QApplication.processEvents()
        assert time.monotonic() - began < 30.0, window.message.text()
        time.sleep(0.005)


def settle(window):
    QApplication.processEvents()
    waiting_for(window, lambda: not window.desk.is_busy)
    for _ in range(3):
        QApplication.processEvents()
        time.sleep(0.02)
    window.refresh()


def press(window, name):
    window.refresh()
    button = window.stack.currentWidget().findChild(QPushButton, name)
    assert button is not None, name
    assert button.isEnabled(), button.toolTip()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def key(window, code, modifier=Qt.KeyboardModifier.NoModifier):
    QTest.keyClick(window.stack.currentWidget(), code, modifier)
    QApplication.processEvents()


def small_rig(folder):
    """A rig over a small cortex, which is there sooner."""
    written = (resources.files("configs") / "simulated.toml").read_text(encoding="utf-8")
    file = folder / "small.toml"
    file.write_text(written.replace("[load_settings]", "[load_settings]\nhalf_width_um = 250.0"), encoding="utf-8")
    return str(file)


def opened(folder, qtbot, rig="simulated"):
    choose_theme(QApplication.instance())
    window = make_window(folder, rig, "tester")
    window.resize(1366, 768)
    window.show()
    window.desk.open()
    settle(window)
    return window


@pytest.fixture
def window(tmp_path, qtbot):
    made = opened(tmp_path / "study", qtbot, small_rig(tmp_path))
    yield made
    made._leaving = True
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("rig", "light guard"))]


def begin(window, day=None):
    """Make study and animal where they lack, and open a session."""
    window.open_page("Session")
    page = window.page("Session")
    if window.desk.study is None:
        page.study_name.setText("memory")
        press(window, "make-study")
        settle(window)
    if not window.desk.status.known.animals:
        page.new_animal.setText("M1")
        press(window, "add-animal")
        settle(window)
    page.animal.setCurrentText("M1")
    page.is_new.setChecked(day is not None)
    page.day.setText("" if day is None else str(day))
    window.refresh()
    press(window, "open-session")
    settle(window)
    assert window.desk.session is not None, window.message.text()


def keep_field(window, number):
    desk = window.desk
    x, y, z = desk.rig.loaded.good_places(number + 1)[number]

    def keep():
        desk.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
        desk.session.new_field(plan=SMALL)

    desk.do("keeping a field", keep)
    settle(window)


def take(window, row):
    window.open_page("Take")
    page = window.page("Take")
    window.refresh()
    page.fields.setCurrentRow(row)
    window.refresh()
    key(window, Qt.Key.Key_T)
    settle(window)
    waiting_for(window, lambda: not window.desk.status.analysing)


@pytest.mark.slow
def test_a_whole_study_by_buttons_and_keys(tmp_path, qtbot):
    folder = tmp_path / "study"
    window = opened(folder, qtbot)
    begin(window)
    window.open_page("Surface")
    press(window, "map-surface")
    settle(window)
    assert window.desk.status.is_done("Surface"), window.message.text()
    for number in range(2):
        keep_field(window, number)
    for row in range(2):
        take(window, row)
    assert window.desk.status.is_done("Take")
    window.open_page("Close")
    assert "Nothing." in window.page("Close").left.text()
    press(window, "close-session")
    settle(window)
    assert window.desk.session is None

    begin(window, day=4.0)
    window.open_page("Find")
    for name in ("F01", "F02"):
        window.desk.choose(name)
        window.refresh()
        key(window, Qt.Key.Key_F)
        settle(window)
        assert window.desk.status.known.field(name).verdict == "found", window.message.text()
    for row in range(2):
        take(window, row)
    window.open_page("Close")
    press(window, "close-session")
    settle(window)
    assert "error" not in window.message.text()
    window.close()

    with Study(folder) as study:
        assert [session.day for session in study.sessions("M1")] == [0.0, 4.0]
        assert all(session.closed is not None for session in study.sessions("M1"))
        assert all(session.experimenter == "tester" for session in study.sessions("M1"))
        for name in ("F01", "F02"):
            stores = study.stacks("M1", name)
            assert len(stores) == 2
            assert all(is_complete(store) for _, store in stores)
            assert (study.analysis_folder("M1", name) / "fates.csv").is_file()


def test_the_window_is_there_before_the_rig_and_imports_little():
    code = f"import sys; import acquire.gui.app;heavy = {HEAVY!r} & set(sys.modules); assert not heavy, sorted(heavy)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_escape_stops_a_stack_from_any_page_and_from_a_dialog(window):
    begin(window)
    keep_field(window, 0)
    window.open_page("Take")
    window.refresh()
    window.page("Take").fields.setCurrentRow(0)
    window.refresh()
    key(window, Qt.Key.Key_L)
    waiting_for(window, lambda: window.desk.status.sight.is_lit)
    assert window.strip.light.text() == "● LIGHT ON"
    window.open_page("Find")
    key(window, Qt.Key.Key_Escape)
    settle(window)
    assert not window.desk.status.sight.is_lit
    assert not window.desk.rig.core.getShutterOpen("Shutter")
    assert window.strip.light.text() == "○ light off"

    window.open_page("Take")
    key(window, Qt.Key.Key_L)
    waiting_for(window, lambda: window.desk.status.sight.is_lit)
    window.close()  # asks, for the light is on
    dialog = window.findChild(QMessageBox, "leaving")
    assert dialog is not None
    assert dialog.isVisible()
    QTest.keyClick(dialog, Qt.Key.Key_Escape)
    settle(window)
    assert not window.desk.status.sight.is_lit
    assert window.isVisible()


def test_leaving_while_a_stack_is_taken_asks_and_keeps_what_was_taken(tmp_path, qtbot):
    window = opened(tmp_path / "study", qtbot, small_rig(tmp_path))
    begin(window)
    keep_field(window, 0)
    desk = window.desk
    desk.choose("F01")
    desk.do("taking F01", lambda: desk.session.take_stack("F01"))
    waiting_for(window, lambda: desk.status.share > 0.2)
    window.close()
    dialog = window.findChild(QMessageBox, "leaving")
    assert "taking F01" in dialog.text()
    QTest.mouseClick(dialog.button(QMessageBox.StandardButton.Yes), Qt.MouseButton.LeftButton)
    waiting_for(window, lambda: not window.isVisible())
    with Study(tmp_path / "study") as study:
        session = study.sessions("M1")[0]
        assert session.closed is None
        assert study.unfinished_store(session, "F01") is not None or study.last_store(session, "F01", "stack")


FAULTS = {
    "stage": (lambda core, fail: setattr(core, "setXYPosition", fail), "moving XY to"),
    "camera": (lambda core, fail: setattr(core, "snapImage", fail), "taking an image with Scanner failed"),
}


def test_what_nobody_expected_in_a_slot_ends_the_light_and_not_the_window(window, monkeypatch):
    begin(window)
    window.open_page("Take")
    key(window, Qt.Key.Key_L)
    waiting_for(window, lambda: window.desk.status.sight.is_lit)
    before = sys.excepthook
    with living_on(window.desk):
        with monkeypatch.context() as spoilt:
            spoilt.setattr(window.page("Take"), "show_status", lambda _: {}["a fault of ours"])
            waiting_for_message(window, "unexpected KeyError: 'a fault of ours'")
        settle(window)
        log = window.desk.folder / LOG_FILE
        assert window.message.text().startswith("the light is off; ")
        assert str(log) in window.message.text()
        assert log.read_text(encoding="utf-8").count("Traceback") == 1  # ten times a second it would fill the disk
        assert not window.desk.status.sight.is_lit
        assert not window.desk.rig.core.getShutterOpen("Shutter")
        window.open_page("Session")
        window.desk.do("asking", window.desk.rig.position)
        settle(window)
        assert window.message.text() == "asking: done"
    assert sys.excepthook is before


def test_the_program_outlives_a_slot_that_fails_and_is_left_by_ctrl_c(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from PyQt6.QtCore import QTimer\n"
        "from PyQt6.QtWidgets import QApplication\n"
        "from acquire.gui.app import run\n"
        "app = QApplication(sys.argv[:1])\n"
        "def leave(): raise KeyboardInterrupt\n"
        "def fail():\n"
        "    QTimer.singleShot(1000, leave)\n"
        "    1 / 0\n"
        "QTimer.singleShot(200, fail)\n"
        f"code = run(Path({str(tmp_path)!r}), {str(tmp_path / 'none.toml')!r})\n"
        "print('left', code)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "left 0\n", ended.stderr
    assert "ZeroDivisionError" in (tmp_path / LOG_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize("what", FAULTS)
def test_a_device_that_fails_is_one_sentence_and_the_window_lives(window, what):
    begin(window)
    keep_field(window, 0)
    spoil, sentence = FAULTS[what]
    core, before = window.desk.rig.core, dict(vars(window.desk.rig.core))

    def fail(*_):
        raise RuntimeError("the cable is out")

    spoil(core, fail)
    window.desk.choose("F01")
    window.desk.do("taking F01", lambda: window.desk.session.take_stack("F01"))
    settle(window)
    assert sentence in window.message.text()
    assert "the cable is out" in window.message.text()
    assert window.message.property("error") is True
    assert not window.desk.status.sight.is_lit
    for name in set(vars(core)) - set(before):
        delattr(core, name)
    window.desk.do("taking F01", lambda: window.desk.session.take_stack("F01"))
    settle(window)
    assert window.desk.status.known.field("F01").stacks == 1


def test_the_check_of_the_rig_is_that_of_the_page_rig(window):
    core = window.desk.rig.core
    window.open_page("Session")
    press(window, "check-rig")
    settle(window)
    page = window.page("Session")
    assert page.checks.texts()
    assert all(text.startswith("✓") for text in page.checks.texts())

    def fail(*_):
        raise RuntimeError("the cable is out")

    core.setPosition = fail
    press(window, "check-rig")
    settle(window)
    delattr(core, "setPosition")
    assert any(text.startswith("✗") and "the cable is out" in text for text in page.checks.texts())
    assert window.message.property("error") is not True


def test_a_full_disk_is_one_sentence(window, monkeypatch):
    begin(window)
    keep_field(window, 0)

    def full(*_args, **_keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("acquire.images.append_line", full)
    window.desk.do("taking F01", lambda: window.desk.session.take_stack("F01"))
    settle(window)
    assert "No space left on device" in window.message.text()
    assert not window.desk.status.sight.is_lit
    assert window.isVisible()


def test_a_corrupt_study_is_told_and_the_window_lives(tmp_path, qtbot):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.json").write_text("{not json", encoding="utf-8")
    window = opened(folder, qtbot)
    assert "study.json" in window.message.text()
    assert window.isVisible()
    window.close()


def test_a_damaged_animal_is_told_and_the_window_lives(window):
    begin(window)
    animal = window.desk.study.animal_folder("M1") / "animal.json"
    whole = animal.read_text(encoding="utf-8")
    animal.write_text(whole[: len(whole) // 2], encoding="utf-8")
    keep_field(window, 0)
    assert "animal.json" in window.message.text()
    assert window.isVisible()
    animal.write_text(json.dumps(json.loads(whole)), encoding="utf-8")
    keep_field(window, 0)
    assert "F01" in [field.name for field in window.desk.status.known.fields]


def test_every_page_has_its_key_and_every_icon_is_there(window):
    for number, page in enumerate(window.pages):
        QTest.keyClick(window, getattr(Qt.Key, f"Key_{number + 1}"), Qt.KeyboardModifier.ControlModifier)
        QApplication.processEvents()
        assert window.stack.currentWidget() is page
        assert not window._buttons.button(number).icon().isNull()
        for button in page.findChildren(QPushButton):
            assert not button.text() or button.sizeHint().width() > 0


def test_a_key_whose_button_is_grey_says_why(window):
    window.open_page("Take")
    key(window, Qt.Key.Key_T)
    assert window.message.text() == "open a session first"


@pytest.mark.skipif(
    sys.platform != "linux" or not (shutil.which("Xvfb") and shutil.which("xdotool")),
    reason="real key presses need Xvfb and xdotool: install xvfb xdotool",
)
def test_real_key_presses_on_a_real_screen(tmp_path):
    """Keys come from another program through the X server."""
    number = 90 + os.getpid() % 900
    screen = subprocess.Popen(["Xvfb", f":{number}", "-screen", "0", "1400x900x24"], stderr=subprocess.DEVNULL)
    environment = {**os.environ, "DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
    log = (tmp_path / "told").open("w", encoding="utf-8")
    try:
        time.sleep(1.0)
        command = [sys.executable, "-m", "acquire", "gui", "--rig", "simulated", "--study", str(tmp_path / "study")]
        program = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        find = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "samefield"]
        found = subprocess.run(find, env=environment, capture_output=True, text=True, timeout=120, check=True)
        subprocess.run(["xdotool", "windowfocus", found.stdout.split()[0]], env=environment, check=False)

        def type_keys(*keys):
            for each in keys:
                subprocess.run(["xdotool", "key", "--clearmodifiers", each], env=environment, check=True)
                time.sleep(0.3)

        began = time.monotonic()
        while not (tmp_path / "study" / "study.json").is_file():  # the rig is opened first
            assert time.monotonic() - began < 90.0
            type_keys("ctrl+1", "ctrl+m")
        type_keys("ctrl+2", "Escape", "ctrl+q", "alt+y")
        assert program.wait(60) == 0, (tmp_path / "told").read_text(encoding="utf-8")
    finally:
        log.close()
        screen.terminate()
        screen.wait(10)


def test_a_blind_study_is_made_and_shows_no_group(window):
    window.open_page("Session")
    page = window.page("Session")
    page.hides_groups.setChecked(True)
    assert not page.new_animal.isVisible()
    press(window, "make-study")
    settle(window)
    assert window.desk.study.record.blind
    assert page.new_animal.isVisible()
    assert not page.group.isVisible()
    key(window, Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    assert "is open; begin the window in another folder" in window.message.text()
    page.group.setCurrentText("learning")
    page.new_animal.setText("M1")
    press(window, "add-animal")
    settle(window)
    assert window.desk.study.animal("M1").group == ""
    page.animal.setCurrentText("M1")
    page.day.setText("1e9")
    window.refresh()
    press(window, "open-session")
    settle(window)
    assert (
        "day 1e+09 is no day of a study; give the days since the first session, at most 36500" in window.message.text()
    )


def test_who_reviews_blind_sees_animal_and_study_nowhere(window):
    begin(window)
    keep_field(window, 0)
    window.desk.choose("F01")
    window.refresh()
    assert "M1" in window.strip.value("animal")
    window.desk.is_blind = True
    window.refresh()
    assert (window.strip.value("animal"), window.strip.value("field")) == ("blind", "blind")
    assert "study" not in window.windowTitle()
    window.open_page("Session")
    assert window.page("Session").state.text() == "Open: blind, rig simulated"
    window.desk.is_blind = False


def test_what_is_typed_moves_no_stage_and_takes_no_stack(window):
    begin(window)
    window.open_page("Session")
    page = window.page("Session")
    page.new_animal.setFocus()
    QApplication.processEvents()
    before = window.desk.rig.position()
    QTest.keyClicks(page.new_animal, "M7tlk")
    window.open_page("Find")
    name = next(iter(window.page("Find").findChildren(QLineEdit)))
    name.setFocus()
    QApplication.processEvents()
    for code in (Qt.Key.Key_PageDown, Qt.Key.Key_Up, Qt.Key.Key_L, Qt.Key.Key_K):
        QTest.keyClick(name, code)
    settle(window)
    assert page.new_animal.text() == "M7tlk"
    assert window.desk.rig.position().z_um == pytest.approx(before.z_um, abs=0.5)
    assert not window.desk.status.sight.is_lit
    assert name.text() == "lk"


def test_leaving_with_a_calibration_that_is_in_no_file_asks(window, monkeypatch):
    monkeypatch.setattr(
        type(window.page("Rig")), "unsaved", property(lambda _: "1 changed and not saved on the page Rig")
    )
    window.close()
    dialog = window.findChild(QMessageBox, "leaving")
    assert "1 changed and not saved" in dialog.text()
    QTest.mouseClick(dialog.button(QMessageBox.StandardButton.No), Qt.MouseButton.LeftButton)
    assert window.isVisible()
