"""The page Surface, by clicks and keys on the simulated rig: mapped, registered, marked, aligned."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import QPoint, QPointF, Qt  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402

from acquire import finding  # noqa: E402
from acquire.gui.map_view import CANDIDATE  # noqa: E402
from acquire.landmarks import SURFACE_FILE  # noqa: E402
from analysis.model import Verdict  # noqa: E402
from analysis.stack import read_image  # noqa: E402
from tests.windows import (  # noqa: E402
    click,
    end_session,
    go_to,
    new_session,
    opened,
    press,
    show,
    wait_for,
    wait_until,
    why_not,
)

Key = Qt.Key
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module")
def opened_window(mapped_study, tmp_path_factory, qapp):
    with opened(mapped_study, tmp_path_factory.mktemp("surface") / "study", qapp) as window:
        window.resize(1366, 768)
        yield window


@pytest.fixture
def window(opened_window):
    """The window in a session on a head that was mounted anew, with the page in front."""
    new_session(opened_window)
    page = go_to(opened_window, "Surface")
    wait_until(lambda: page._view is not None)
    yield opened_window
    end_session(opened_window)


def changed(window):
    """Let the worker end and the map be read again; return it."""
    page = window.page("Surface")
    wait_for(window)
    wait_until(lambda: page._seen is not None)
    before = page._view
    page._seen = None
    wait_until(lambda: page._view is not before)
    show()
    return page._view


def on_port(page, yx_um):
    """Return where a place of the map is on the screen."""
    x, y = page._view.on_screen(yx_um)
    scene = page.map.view.mapViewToScene(QPointF(x, y))
    return page.map._graphics.mapFromScene(scene)


def place_of(page, name):
    return {mark.name: mark.yx_um for mark in page._view.marks}[name]


def test_todays_vessels_are_mapped_and_shown_in_the_map(window):
    page = window.page("Surface")
    assert page.told.text() == "the vessels were not imaged in this session yet"
    assert why_not(page, "show-both") == "today's image is not in the map yet"
    click(page, "map-surface")
    view = changed(window)
    assert view.verdict is Verdict.FOUND and "✓" in page.verdict.text()
    assert "turned" in page.told.text() and "landmarks recognised" in page.told.text()
    assert "um sideways" in page.expected.text()
    radii = [field.radii_yx_um for field in view.fields]
    assert len(radii) == 2 and all(0 < value < 60 for pair in radii for value in pair)
    assert page.table.item(0, 1).text() != "-"
    covered = view.today > 0
    assert np.corrcoef(view.image[covered], view.today[covered])[0, 1] > 0.8
    press(window, Key.Key_2)
    assert page.map.item.image.ndim == 3
    press(window, Key.Key_3)
    wait_until(lambda: np.shares_memory(page.map.item.image, page._view.today))
    press(window, Key.Key_1)
    assert np.shares_memory(page.map.item.image, page._view.image)
    assert "begin a new one" in page._buttons["map-surface"].toolTip()


def test_landmarks_are_added_moved_and_refused_by_mouse_and_keys(window):
    page, session = window.page("Surface"), window.desk.session
    middle = page._view.middle_um
    press(window, Key.Key_A)
    assert page.map.has_cross and "press Enter" in page.hint.text()
    for key in (Key.Key_Right, Key.Key_Down):
        press(window, key)
    press(window, Key.Key_Return)
    changed(window)
    added = session.landmarks()[-1]
    step_um = page._view.step_um
    assert added.map_yx_um == pytest.approx((middle[0] + step_um, middle[1] + step_um), abs=0.1)
    press(window, Key.Key_A)
    QTest.mouseClick(page.map._graphics.viewport(), LEFT, pos=on_port(page, (60.0, 90.0)))
    show(0.6)  # until it is known that it was no double click
    changed(window)
    clicked = session.landmarks()[-1]
    assert clicked.map_yx_um == pytest.approx((60.0, 90.0), abs=4.0)
    page._choose(added.name)
    press(window, Key.Key_Delete)
    changed(window)
    assert session.landmarks()[-2].refused and added.name not in page.map.marks
    start, port = on_port(page, place_of(page, clicked.name)), page.map._graphics.viewport()
    QTest.mouseMove(port, start)
    QTest.mousePress(port, LEFT, pos=start)
    for share in (10, 25, 40):
        QTest.mouseMove(port, start + QPoint(share, share))
        show(0.05)
    QTest.mouseRelease(port, LEFT, pos=start + QPoint(40, 40))
    changed(window)
    moved = session.landmarks()[-1]
    assert moved.name == clicked.name
    assert moved.map_yx_um[0] > clicked.map_yx_um[0] + 20 and moved.map_yx_um[1] > clicked.map_yx_um[1] + 20
    page._choose(clicked.name)
    press(window, Key.Key_Delete)
    changed(window)


def test_the_head_is_aligned_by_where_landmarks_are_today(window):
    page, session = window.page("Surface"), window.desk.session
    click(page, "map-surface")
    changed(window)
    found = session.map_registration()
    _, today = session.map_image(session.record)
    places = {mark.name: today.stage_at(mark.today_yx_um) for mark in found.landmarks[:3]}
    for name, place in places.items():
        page._choose(name)
        window.desk.rig.move_to(place.model_copy(update={"z_um": 0.0}))
        page.table.setFocus()
        press(window, Key.Key_H)
        wait_for(window)
    page._choose(next(iter(places)))
    click(page, "align")
    wait_for(window)
    assert "aligned by landmarks" in page.alignment.text() and window.desk.status.known.is_aligned
    turned_deg = float(page.alignment.text().split("turned by ")[1].split(" deg")[0])
    assert abs(turned_deg) == pytest.approx(abs(found.map_from_today.yaw_deg), abs=0.5)
    row = page.table.currentRow()
    page.table.item(row, 2).setText("far")
    click(page, "align")
    assert "'far'" in window.message.text() and "give two numbers, um" in window.message.text()


def test_vessels_that_do_not_fit_are_told_and_shown(window, monkeypatch):
    page, register = window.page("Surface"), finding.register_surface
    monkeypatch.setattr(
        finding, "register_surface", lambda *a, **k: replace(register(*a, **k), verdict=Verdict.NOT_FOUND, score=0.1)
    )
    click(page, "map-surface")
    view = changed(window)
    assert "today's vessels do not fit the map" in window.message.text()
    assert window.message.property("error") is True
    assert view.verdict is Verdict.NOT_FOUND and "✗" in page.verdict.text()
    assert view.today is not None and why_not(page, "show-both") == ""


def test_a_photograph_becomes_the_map(window, tmp_path):
    first = window.desk.study.sessions("M1")[0]
    image = read_image(window.desk.study.session_folder("M1", first.name) / SURFACE_FILE)
    Image.fromarray((image.pixels / image.pixels.max() * 255).astype(np.uint8)).save(tmp_path / "brain.png")
    end_session(window)
    new_session(window, "M2", 0.0)
    page = go_to(window, "Surface")
    wait_until(lambda: page._view is None)
    assert page.told.text() == "no map yet"
    page.photograph.setText(str(tmp_path / "brain.png"))
    page.pixel.setText("two")
    show()
    click(page, "show-photograph")
    assert "pixel size 'two' is no positive number" in window.message.text()
    page.pixel.setText("2.0")
    click(page, "show-photograph")
    wait_until(lambda: page._view is not None and page._view.session == CANDIDATE)
    show()
    assert page.table.rowCount() > 3
    click(page, "use-photograph")
    view = changed(window)
    assert view.session == window.desk.session.record.name, window.message.text()
    assert page.photograph.isHidden() or not page.photograph.isVisible()
