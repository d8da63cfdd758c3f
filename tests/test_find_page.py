"""The page Find, by clicks and keys on the simulated rig: found, compared, accepted, nudged, kept."""

from dataclasses import replace

import numpy as np
import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import QPoint, QPointF, Qt  # noqa: E402
from PyQt6.QtGui import QWheelEvent  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication  # noqa: E402

from acquire import finding  # noqa: E402
from acquire.gui.desk import LIVE  # noqa: E402
from analysis.model import Verdict  # noqa: E402
from tests.windows import click, end_session, go_to, new_session, opened, press, show, wait_for, wait_until, why_not  # noqa: E402

Key = Qt.Key


@pytest.fixture(scope="module")
def opened_window(mapped_study, tmp_path_factory, qapp):
    with opened(mapped_study, tmp_path_factory.mktemp("find") / "study", qapp) as window:
        yield window


@pytest.fixture
def window(opened_window):
    """The window in a session on a head that was mounted anew."""
    new_session(opened_window)
    yield opened_window
    end_session(opened_window)


@pytest.fixture
def unsure(monkeypatch):
    """Let every registration be unsure."""
    register = finding.register_stacks
    monkeypatch.setattr(finding, "register_stacks", lambda *stacks: replace(register(*stacks), verdict=Verdict.UNSURE))


def looked(window, key=Key.Key_F):
    """Look for the chosen field, and have its pictures on the screen."""
    page = window.page("Find")
    press(window, key)
    assert window.desk.is_busy, window.message.text()
    wait_for(window)
    wait_until(lambda: page.planes.pictures is not None)
    show()
    return window.desk.status.chosen.relocation


def wheel(widget):
    middle = QPointF(widget.rect().center())
    turned = QWheelEvent(
        middle, middle, QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, turned)


def test_a_field_is_found_and_compared(window):
    page = go_to(window, "Find")
    assert window.desk.field == "F01"
    wait_until(lambda: page.planes.pictures is not None)
    assert page.planes.pictures.today is None  # the reference is there before anything was looked for
    assert why_not(page, "accept") == "only a field that was looked for can be accepted"
    record = looked(window)
    assert record.verdict is Verdict.FOUND
    assert "F01 found" in page.headline.text() and "✓" in page.headline.text()
    assert "right with probability" in page.told.text()
    assert "um off" in page.steps.text()
    assert "goniometer" in page.advice.text() or "level" in page.advice.text()
    assert why_not(page, "accept") == "F01 is found; only what is unsure can be accepted"
    pictures = page.planes.pictures
    pair = [image.astype(float) for image in pictures.pair(-1)]
    assert np.corrcoef(*(image[20:-20, 20:-20].ravel() for image in pair))[0, 1] > 0.4
    wheel(page.planes.reference._graphics.viewport())
    assert page.planes.slider.value() == 1
    press(window, Key.Key_Period)
    assert "plane 2 of" in page.planes.plane.text()
    press(window, Key.Key_2)
    assert page.planes.reference.item.image.ndim == 3
    press(window, Key.Key_3)
    assert "flicker" in page.planes.names[0].text()
    press(window, Key.Key_1)
    assert page.planes.reference.item.image.ndim == 2 and page.planes.today.isVisible()


def test_what_is_unsure_is_accepted_by_who_saw_it_and_forgotten_when_searched_again(window, unsure, monkeypatch):
    page = go_to(window, "Find")
    record = looked(window)
    assert record.verdict is Verdict.UNSURE
    monkeypatch.undo()
    shown = page.planes.pictures
    page.planes.show_pictures(None)
    assert why_not(page, "accept") == "look at reference and today first"
    page.planes.show_pictures(shown)
    press(window, Key.Key_Y)
    wait_for(window)
    assert window.desk.is_accepted("F01") and "F01" in window.desk.status.accepted
    assert "accepted" in page.table.item(page.table.currentRow(), 2).text()
    session = window.desk.session
    assert session.study.log_lines(session.record, "accept unsure")[0]["field"] == "F01"
    before = window.desk.rig.position()
    for key in (Key.Key_Right, Key.Key_Right, Key.Key_PageDown):
        press(window, key)
    wait_for(window)
    moved = window.desk.rig.position()
    orientation = window.desk.rig.config.orientation
    step = orientation.stage_offset_um((5.0, 0.0, 10.0))
    assert moved.xyz_um == pytest.approx(before.moved(*step).xyz_um, abs=0.5)
    again = looked(window, Key.Key_S)
    assert again.predicted == moved
    assert again.verdict is Verdict.FOUND
    assert not window.desk.is_accepted("F01")


def test_a_search_that_fails_leaves_the_window_alive_and_says_why(window):
    page = go_to(window, "Find")
    session = window.desk.session
    then = session.study.field("M1", "F01").reference_session
    overview = session.study.session_folder("M1", then) / "F01" / "overview.ome.zarr"
    overview.rename(overview.with_name("gone"))
    click(page, "find")
    wait_for(window)
    assert "field F01 has no complete overview" in window.message.text()
    assert window.message.property("error") is True
    assert not window.desk.rig.sight.is_lit
    overview.with_name("gone").rename(overview)
    press(window, Key.Key_N)  # the other field is found all the same
    assert looked(window).verdict is Verdict.FOUND


def test_all_fields_are_found_in_the_proposed_order(window):
    page = go_to(window, "Find")
    press(window, Key.Key_F, Qt.KeyboardModifier.ShiftModifier)
    wait_for(window)
    assert "F01 found" in window.message.text() and "F02 found" in window.message.text()
    assert window.desk.status.is_done("Find")
    click(page, "find-all")
    wait_for(window)
    assert "every field was found in this session" in window.message.text()


def test_a_new_field_is_kept_from_the_live_view(window):
    page = go_to(window, "Find")
    desk = window.desk
    press(window, Key.Key_L)
    wait_until(lambda: desk.status.doing == LIVE and desk.status.sight.frames > 0)
    show()
    assert "LIVE" in page.planes.names[1].text()
    before = desk.rig.sight.position
    power_mw = desk.status.live_power.asked_mw
    press(window, Key.Key_Plus)
    assert desk.status.live_power.asked_mw == power_mw + 1.0
    assert f"{power_mw + 1.0:.1f} of " in page.joystick.power.text()
    press(window, Key.Key_Up, Qt.KeyboardModifier.ControlModifier)
    assert page.joystick._step_um == 20.0
    press(window, Key.Key_Down)
    wait_until(lambda: desk.rig.sight.position != before)
    page.name.setFocus()
    QTest.keyClicks(page.name, "KLF9")  # letters are no commands while a name is typed
    assert page.name.text() == "KLF9" and desk.status.doing == LIVE
    click(page, "keep-field")
    wait_until(lambda: desk.field == "KLF9")
    wait_for(window)
    assert not desk.rig.sight.is_lit
    assert page.headline.text().endswith("kept in this session: there is nothing to find")
    assert why_not(page, "find") == "KLF9 was kept in this session; there is nothing to find"
