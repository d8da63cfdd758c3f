"""The rig page, driven by its buttons on a simulated rig whose config is wrong; it works without a network."""

import socket
import time
from importlib import resources
from pathlib import Path

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtWidgets import QApplication  # noqa: E402

from acquire.config import read_rig_config  # noqa: E402
from acquire.errors import RigError  # noqa: E402
from acquire.gui.desk import Desk  # noqa: E402
from acquire.gui.rig_page import RigPage  # noqa: E402
from acquire.gui.rig_save import RUNNING, WAITING  # noqa: E402
from acquire.gui.rig_view import Draft, limit_texts, limits_of, matching, plan_of, readings_of  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402
from acquire.gui.window import Bringer  # noqa: E402
from acquire.model import StagePosition  # noqa: E402
from acquire.properties import DeviceProperty  # noqa: E402
from tests import test_faults as faulty  # noqa: E402

LONGEST_S = 2.0  # of one turn of the loop, on a busy computer; without it icons would stall for half a minute


def wrong_config(folder):
    """A rig whose camera is turned upside down against its config, over a small cortex."""
    text = (resources.files("configs") / "simulated.toml").read_text(encoding="utf-8")
    text = text.replace(
        "image_orientation = [[-1.0, 0.0], [0.0, 1.0]]",
        "image_orientation = [[-1.0, 0.0], [0.0, -1.0]]\nhalf_width_um = 250.0\nsurface_pixels = 384",
    )
    file = folder / "upside-down.toml"
    file.write_text(text.replace("surface_pixel_um = 2.0\nshutter", "surface_pixel_um = 2.1\nshutter"))
    return file


class Sitting:
    """A rig page at a desk."""

    def __init__(self, file):
        self.file, self.said = file, []
        self.bringer = Bringer()
        self.desk = Desk(file.parent / "study", str(file), "engineer", bring=self.bringer.bring)
        self.desk.say = lambda text, is_error: self.said.append((text, is_error))
        self.page = RigPage(self.desk)
        self.page.resize(1198, 648)
        self.page.show()
        self.longest_s = 0.0

    def settle(self, limit_s=120.0):
        began_s = time.monotonic()
        quiet = 0
        while quiet < 10:
            turn_s = time.perf_counter()
            QApplication.processEvents()
            self.page.show_status(self.desk.status)
            self.longest_s = max(self.longest_s, time.perf_counter() - turn_s)
            assert time.monotonic() - began_s < limit_s
            time.sleep(0.01)
            quiet = 0 if self.desk.is_busy or self.page.draft is None else quiet + 1

    def wait(self, is_so, limit_s=60.0):
        began_s = time.monotonic()
        while not is_so():
            assert time.monotonic() - began_s < limit_s, self.said
            self.settle()

    def turn_to(self, tab):
        self.page.tabs.setCurrentWidget(tab)
        self.settle()

    def press(self, tab, name):
        button = tab.buttons[name]
        button.refresh()
        assert button.isEnabled(), button.toolTip()
        button.click()
        self.settle()

    def why_not(self, tab, name):
        tab.refresh()
        return None if tab.buttons[name].isEnabled() else tab.buttons[name].toolTip()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    app = QApplication.instance() or QApplication([])
    choose_theme(app)
    sitting = Sitting(wrong_config(tmp_path_factory.mktemp("rig")))
    sitting.desk.open()
    sitting.settle()
    x, y, z = sitting.desk.rig.loaded.good_places(1)[0]
    sitting.desk.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
    yield sitting
    sitting.desk.close()
    sitting.page.deleteLater()
    QApplication.processEvents()


@pytest.fixture
def sitting(opened):
    opened.said.clear()
    opened.longest_s = 0.0
    opened.page.show_draft(Draft.read(str(opened.file)))
    return opened


@pytest.fixture
def no_network(monkeypatch):
    """Whoever asks for an address or connects has failed."""
    asked = []

    def refuse(*given, **_named):
        asked.append(given)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def test_devices_are_listed_without_a_network_and_without_stalling(sitting, no_network):
    tab = sitting.page.devices_tab
    began_s = time.monotonic()
    sitting.turn_to(tab)
    sitting.press(tab, "read-properties")
    assert time.monotonic() - began_s < 30.0
    assert sitting.longest_s < LONGEST_S
    assert no_network == []
    names = [tab.table.item(row, 1).text() for row in range(tab.table.rowCount())]
    assert {"Zoom", "Voltage", "Gain"} <= set(names)


def test_a_property_is_set_when_it_may_be(sitting):
    tab = sitting.page.devices_tab
    sitting.turn_to(tab)
    tab.filter.setText("scanner zoom")
    assert tab.table.rowCount() == 1
    tab._editor.setValue(8.0)
    assert sitting.desk.rig.core.getProperty("Scanner", "Zoom") != 8.0  # nothing is sent before Set
    sitting.press(tab, "set-property")
    assert sitting.desk.rig.core.getProperty("Scanner", "Zoom") == 8.0
    assert ("Scanner.Zoom reads 8", False) in sitting.said
    tab.filter.setText("BitDepth")
    assert sitting.why_not(tab, "set-property") == "Scanner does not let it be set"
    tab.filter.setText("power")
    tab._editor.setValue(1.0)
    sitting.press(tab, "set-property")
    assert "power 60.0 mW is outside 0 to 50.0 mW" in sitting.said[-1][0]
    assert sitting.said[-1][1]
    tab.filter.setText("")


def test_a_wrong_orientation_is_found_told_applied_and_saved(sitting):
    page, tab = sitting.page, sitting.page.orientation_tab
    sitting.turn_to(tab)
    before = sitting.file.read_text(encoding="utf-8")
    assert "see what will move" in sitting.why_not(tab, "measure-orientation")
    sitting.press(tab, "plan-moves")
    assert tab.told.text() == (
        "6 images; the stage goes 100 um along x and y, to each side and back; the laser stays off."
    )
    sitting.press(tab, "measure-orientation")
    assert "✗  the config says stage +y is down in the image, measured up: images" in "\n".join(tab.findings.texts())
    assert [tab.numbers.item(1, column).text() for column in range(3)] == ["stage +y in the image", "down", "up"]
    assert float(tab.numbers.item(2, 2).text()) == pytest.approx(2.1, rel=0.01)
    sitting.press(tab, "apply-orientation")
    assert "2 changed and not saved" in page.state.text()
    sitting.turn_to(page.save_tab)
    assert page.save_tab.changes.count() == 2
    sitting.press(page.save_tab, "save-rig")
    assert "it holds when the rig is reopened: press Reopen" in sitting.said[-1][0]
    assert page.draft.changes == ()
    saved = read_rig_config(sitting.file)
    assert saved.orientation.stage_from_image == ((-1.0, 0.0), (0.0, -1.0))
    assert saved.surface_pixel_um == pytest.approx(2.1, rel=0.01)
    assert sitting.why_not(page.save_tab, "save-rig") == "nothing was changed"
    assert sitting.longest_s < LONGEST_S
    sitting.file.write_text(before, encoding="utf-8")


def test_the_scanner_asks_for_its_power_and_is_dark_after_a_fault(sitting):
    tab, rig = sitting.page.orientation_tab, sitting.desk.rig
    sitting.turn_to(tab)
    tab.asked.camera.setCurrentText("scanner")
    assert sitting.why_not(tab, "plan-moves") == "the power is empty; type a number"
    tab.asked.power.setText("70")
    sitting.press(tab, "plan-moves")
    assert "power 70.0 mW is outside 0 to 50.0 mW" in sitting.said[-1][0]
    tab.asked.power.setText("20")
    assert "see what will move" in sitting.why_not(tab, "measure-orientation")
    sitting.press(tab, "plan-moves")
    assert tab.told.text().endswith("with 20 mW.")
    faults, start = faulty.Faults(rig.core), rig.position()
    faults.spoil("snapImage", 2, faulty.fail)
    sitting.press(tab, "measure-orientation")
    faults.heal()
    assert "taking an image with Scanner failed: the cable is out" in sitting.said[-1][0]
    assert not rig.core.getShutterOpen("Shutter")
    assert rig.position().lateral_distance_um(start) < 1.0
    tab.asked.camera.setCurrentText("surface camera")


def test_a_person_says_which_way_is_deeper(sitting):
    tab = sitting.page.depth_tab
    sitting.turn_to(tab)
    assert sitting.why_not(tab, "it-is-deeper").startswith("look first")
    sitting.press(tab, "see-depth")
    sitting.press(tab, "it-is-higher")
    assert "you saw that it is higher" in tab.findings.texts()[0]
    assert sitting.page.draft.config.orientation.deeper_is == -1
    sitting.press(tab, "it-is-deeper")
    assert sitting.page.draft.changes == ()


def test_readings_are_drawn_judged_and_applied(sitting):
    tab = sitting.page.power_tab
    sitting.turn_to(tab)
    assert tab.table.rowCount() == 11 + 3
    tab.table.item(4, 1).setText("25,5")
    assert "25.5 mW at 0.4 is off the curve" in tab.findings.texts()[0]
    tab.table.item(4, 1).setText("twenty")
    assert sitting.why_not(tab, "apply-power") == "row 5: mW is twenty; type a number"
    tab.table.item(4, 1).setText("21")
    sitting.press(tab, "apply-power")
    assert sitting.page.draft.config.power.power_mw[4] == 21.0
    assert list(tab._new.getData()[1])[4] == 21.0
    assert tab._limit.value() == 50.0
    tab.table.setCurrentCell(10, 0)
    sitting.press(tab, "power-remove-row")
    sitting.press(tab, "apply-power")
    assert len(sitting.page.draft.config.power.value) == 10


def test_limits_are_compared_while_they_are_typed(sitting):
    tab = sitting.page.limits_tab
    sitting.turn_to(tab)
    assert tab.findings.texts() == ["✓  as in the rig config"]
    tab.lines["x_high"].setText("10")
    assert any(text.startswith("✓  x_um is narrower") for text in tab.findings.texts())
    assert "is outside the limits" in tab.place.text()
    tab.lines["x_high"].setText("-9999")
    assert "lower limit -3000.0 um is not below" in sitting.why_not(tab, "apply-limits")
    tab.lines["x_high"].setText("2500")
    tab.lines["power_mw"].setText("500")
    assert any(
        text.startswith("!  the power limit is 500 mW, but the power table ends at 60 mW")
        for text in tab.findings.texts()
    )
    assert "ends at 60 mW" in sitting.why_not(tab, "apply-limits")
    tab.lines["power_mw"].setText("50")
    sitting.press(tab, "apply-limits")
    assert sitting.page.draft.changes == ("limits.x_um: [-3000, 3000] → [-3000, 2500]",)


def test_what_is_typed_stays_when_something_else_is_applied(sitting):
    page = sitting.page
    page.power_tab.table.item(3, 1).setText("12.9")
    page.limits_tab.lines["z_low"].setText("-400")
    sitting.turn_to(page.limits_tab)
    sitting.press(page.limits_tab, "apply-limits")
    assert page.power_tab.table.item(3, 1).text() == "12.9"
    assert page.limits_tab.lines["z_low"].text() == "-400"
    sitting.turn_to(page.power_tab)
    sitting.press(page.power_tab, "apply-power")
    assert len(page.draft.changes) == 2


def test_a_check_says_what_works_and_what_does_not(sitting):
    tab, faults = sitting.page.check_tab, faulty.Faults(sitting.desk.rig.core)
    sitting.turn_to(tab)
    sitting.press(tab, "rig-check")
    assert all(text.startswith("✓") for text in tab.findings.texts())
    faults.spoil("setPosition Z", 0, faulty.fail)
    sitting.press(tab, "rig-check")
    faults.heal()
    assert any(text.startswith("✗  moving Z") and "the cable is out" in text for text in tab.findings.texts())


def test_a_config_of_the_program_asks_for_a_path(sitting, tmp_path, monkeypatch):
    page = sitting.page
    page.show_draft(Draft.read("simulated"))
    sitting.turn_to(page.limits_tab)
    page.limits_tab.lines["power_mw"].setText("40")
    sitting.press(page.limits_tab, "apply-limits")
    sitting.turn_to(page.save_tab)
    assert sitting.why_not(page.save_tab, "save-rig").startswith("say where")
    page.save_tab.path.setText(str(page.draft.source))
    assert "never overwritten" in sitting.why_not(page.save_tab, "save-rig")
    page.save_tab.path.setText(str(tmp_path / "mine.toml"))
    with monkeypatch.context() as spoilt:  # a share that hangs
        spoilt.setattr(Path, "is_dir", lambda path: pytest.fail(f"asked for {path}"))
        assert sitting.why_not(page.save_tab, "save-rig") is None
    sitting.press(page.save_tab, "save-rig")
    assert read_rig_config(tmp_path / "mine.toml").limits.power_mw == 40.0
    assert page.draft.source == tmp_path / "mine.toml"


# ---- words ---------------------------------------------------------------------------------------------------------


def test_what_is_typed_is_read_or_refused():
    assert readings_of([("0", "0"), ("", ""), ("0,5", "30")]) == ((0.0, 0.0), (0.5, 30.0))
    assert plan_of("surface_camera", "", "25").step_um == 25.0
    with pytest.raises(RigError, match="the move is -3 um"):
        plan_of("surface_camera", "", "-3")
    with pytest.raises(RigError, match="the power is nan; type a number that ends"):
        plan_of("scanner", "nan", "")
    with pytest.raises(RigError, match="power_mw: a limit of -1 mW is none; give more than 0 and at most 10000 mW"):
        limits_of({**limit_texts(read_rig_config("simulated").limits), "power_mw": "-1"})
    with pytest.raises(RigError, match="the power is -1 mW"):
        plan_of("scanner", "-1", "")
    limits = read_rig_config("simulated").limits
    assert limits_of(limit_texts(limits)) == limits
    zoom, gain = DeviceProperty("Scanner", "Zoom", "1", role="zoom"), DeviceProperty("PMT", "Gain", "1")
    assert matching([zoom, gain], "scan ZOOM") == [zoom]
    assert matching([zoom, gain], "") == [zoom, gain]


# ---- what was saved comes into force -------------------------------------------------------------------------------


@pytest.fixture
def saved(sitting):
    """A rig page whose power limit was saved as 41 mW."""
    before = sitting.file.read_text(encoding="utf-8")
    page = sitting.page
    sitting.turn_to(page.limits_tab)
    page.limits_tab.lines["power_mw"].setText("41")
    sitting.press(page.limits_tab, "apply-limits")
    sitting.turn_to(page.save_tab)
    sitting.press(page.save_tab, "save-rig")
    sitting.wait(lambda: page.draft.changes == ())
    yield sitting
    sitting.file.write_text(before, encoding="utf-8")


def test_what_was_saved_comes_into_force_by_one_button(saved):
    desk, tab = saved.desk, saved.page.save_tab
    assert tab.force.text() == WAITING
    assert desk.rig.config.limits.power_mw != 41.0
    desk.rig.open_light()
    old = desk.rig
    saved.press(tab, "reopen-rig")
    saved.wait(lambda: "is open, dark" in saved.said[-1][0])
    assert not old.sight.is_lit
    assert desk.rig is not old
    assert desk.rig.config.limits.power_mw == 41.0
    assert not desk.status.sight.is_lit
    saved.wait(lambda: tab.force.text() == RUNNING)


def test_a_config_that_is_damaged_leaves_the_rig_open(saved):
    desk, tab = saved.desk, saved.page.save_tab
    old, text = desk.rig, saved.file.read_text(encoding="utf-8")
    saved.file.write_text("[limits", encoding="utf-8")
    saved.press(tab, "reopen-rig")
    assert "is no valid TOML" in saved.said[-1][0]
    assert desk.rig is old
    saved.file.write_text(text, encoding="utf-8")


def test_a_rig_is_not_reopened_under_a_session(saved):
    saved.desk.session = object()
    assert saved.why_not(saved.page.save_tab, "reopen-rig").startswith("close the session first")
    saved.desk.session = None


def test_what_two_people_changed_is_brought_together(sitting):
    draft = sitting.page.draft
    ours = draft.changed(draft.config.model_copy(update={"surface_pixel_um": 3.0}))
    before = sitting.file.read_text(encoding="utf-8")
    sitting.file.write_text(before.replace("power_mw = 50.0", "power_mw = 44.0"), encoding="utf-8")
    again = ours.read_again()
    assert again.saved.limits.power_mw == 44.0
    assert (again.config.limits.power_mw, again.config.surface_pixel_um) == (44.0, 3.0)
    assert len(again.changes) == 1
    again.save(sitting.file)
    sitting.file.write_text(before, encoding="utf-8")
