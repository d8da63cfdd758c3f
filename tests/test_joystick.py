"""The live views of the pages Take and Surface: keys, wheel and buttons move the stage and change the power."""

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import QPoint, QPointF, Qt  # noqa: E402
from PyQt6.QtGui import QWheelEvent  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication  # noqa: E402

from acquire.errors import RigError  # noqa: E402
from acquire.gui.desk import LEFT, LIVE, LIVE_SURFACE  # noqa: E402
from acquire.gui.finding_view import read_power_mw  # noqa: E402
from tests.windows import click, end_session, go_to, new_session, opened, press, show, wait_for, wait_until, why_not  # noqa: E402

Key = Qt.Key


@pytest.fixture(scope="module")
def opened_window(mapped_study, tmp_path_factory, qapp):
    with opened(mapped_study, tmp_path_factory.mktemp("joystick") / "study", qapp) as window:
        yield window


@pytest.fixture
def window(opened_window):
    """The window in a session on a head that was mounted anew."""
    new_session(opened_window)
    yield opened_window
    end_session(opened_window)


def wheel(widget):
    middle = QPointF(widget.rect().center())
    turned = QWheelEvent(
        middle, middle, QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(widget, turned)


def test_on_the_page_take_the_stage_moves_and_the_power_changes(window):
    desk, page = window.desk, go_to(window, "Take")
    here = desk.rig.position()
    press(window, Key.Key_Right)
    assert window.message.text() == "begin the live view first (L)"
    page.fields.setFocus()  # its arrow keys are the stage's as soon as there is a live picture
    press(window, Key.Key_L)
    wait_until(lambda: desk.status.doing == LIVE and desk.status.live_power is not None and desk.status.sight.is_lit)
    press(window, Key.Key_Right)
    wait_until(lambda: desk.rig.sight.position.lateral_distance_um(here) > 4.5)
    z_um = desk.rig.sight.position.z_um
    wheel(page.live.picture._graphics.viewport())
    wait_until(lambda: abs(desk.rig.sight.position.z_um - z_um) > 0.5)
    before_mw = desk.status.live_power.asked_mw
    press(window, Key.Key_Plus)
    press(window, Key.Key_Plus)
    press(window, Key.Key_Minus)
    wait_until(lambda: desk.status.sight.power_mw == pytest.approx(before_mw + 1.0, abs=0.1))
    page.joystick.typed.setFocus()
    QTest.keyClicks(page.joystick.typed, "7.5")
    press(window, Key.Key_Return)
    wait_until(lambda: desk.status.sight.power_mw == pytest.approx(7.5, abs=0.1))
    show()
    assert page.joystick.power.text().startswith("7.5 of ")
    press(window, Key.Key_L)
    wait_for(window)
    assert not desk.rig.sight.is_lit
    assert why_not(page, "more-power") == "begin the live view first (L)"


def test_never_more_power_than_the_animal_may_have(window):
    desk, page = window.desk, go_to(window, "Take")
    press(window, Key.Key_L)
    wait_until(lambda: desk.live is not None and desk.status.sight.is_lit and page.joystick.typed.isEnabled())
    desk.live.limit_power(8.0)
    for typed, told in (("30", "above the animal's limit of 8.0 mW"), ("much", "'much' is no positive number")):
        page.joystick.typed.setFocus()
        QTest.keyClicks(page.joystick.typed, typed)
        press(window, Key.Key_Return)
        assert told in window.message.text()
        assert desk.status.live_power.asked_mw <= 8.0
    press(window, Key.Key_Plus)
    press(window, Key.Key_Plus)
    assert "8.0 mW is the most that rig and animal allow" in window.message.text()
    press(window, Key.Key_Escape)
    wait_for(window)


@pytest.mark.parametrize("typed", ["", "0", "-3", "nan", "inf", "5 mW"])
def test_what_is_no_power_is_refused(typed):
    with pytest.raises(RigError, match="no positive number; give mW"):
        read_power_mw(typed)


def test_the_surface_camera_is_live_until_the_map_is_taken(window):
    desk, page = window.desk, go_to(window, "Surface")
    press(window, Key.Key_L)
    wait_until(lambda: desk.status.doing == LIVE_SURFACE and page.live.live.picture.item.image is not None)
    assert page.live.live.isVisible() and not page.map.isVisible()
    assert not desk.status.sight.is_lit
    assert page.live.live.levels.text().startswith("brightest")
    here = desk.rig.position()
    press(window, Key.Key_Left)
    wait_until(lambda: desk.rig.sight.position.lateral_distance_um(here) > 4.5)
    click(page, "map-surface")
    wait_until(lambda: desk.status.known.has_surface)
    wait_for(window)
    assert page.map.isVisible()
    wait_until(lambda: page._view is not None)
    press(window, Key.Key_A)
    show()
    x = page.map._cross.pos().x()
    press(window, Key.Key_Left)  # the cross has the arrows, not the stage
    assert page.map._cross.pos().x() < x
    page.map.end_cross()


def test_a_rig_without_a_surface_camera_says_why_there_is_no_live_picture(window, monkeypatch):
    page, rig = go_to(window, "Surface"), window.desk.rig
    roles = rig.config.roles.model_copy(update={"surface_camera": None})
    with monkeypatch.context() as patched:
        patched.setattr(rig, "config", rig.config.model_copy(update={"roles": roles}))
        assert why_not(page, "live-surface").startswith("rig simulated has no surface camera")
    assert why_not(page, "live-surface") == ""


@pytest.mark.parametrize("title", ["Session", "Surface", "Review"])
def test_the_laser_goes_off_when_the_page_of_its_live_view_is_left(window, title):
    desk = window.desk
    go_to(window, "Take")
    press(window, Key.Key_L)
    wait_until(lambda: desk.status.sight.is_lit)
    go_to(window, "Find")  # which shows it, too
    assert desk.live_name == LIVE
    assert desk.status.sight.is_lit
    go_to(window, title)
    wait_for(window)
    assert not desk.status.sight.is_lit
    assert not desk.live_name
    assert window.message.text() == LEFT


def test_the_live_view_of_the_surface_ends_when_its_page_is_left(window):
    desk = window.desk
    go_to(window, "Surface")
    press(window, Key.Key_L)
    wait_until(lambda: desk.live is not None)
    go_to(window, "Find")
    wait_for(window)
    assert not desk.live_name


def test_what_waits_for_the_end_of_the_live_view_is_done_although_the_page_is_left(window):
    desk, done = window.desk, []
    go_to(window, "Find")
    press(window, Key.Key_L)
    wait_until(lambda: desk.status.sight.is_lit)
    desk.after_live(lambda: done.append(desk.status.sight.is_lit))
    go_to(window, "Session")
    wait_for(window)
    assert done == [False]


def test_who_types_where_the_live_view_is_not_seen_does_not_keep_it(window):
    desk = window.desk
    go_to(window, "Take")
    press(window, Key.Key_L)
    wait_until(lambda: desk.live is not None and desk.status.sight.is_lit)
    live = desk.live
    before_s = live._touched_s
    press(window, Key.Key_Shift)
    touched_s = live._touched_s
    assert touched_s > before_s
    window.stack.setCurrentIndex(0)
    press(window, Key.Key_Shift)
    assert live._touched_s == touched_s
