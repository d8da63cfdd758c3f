"""The window without a mouse: Tab goes through each page, reaches every button, and is caught by no table."""

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import Qt  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import (  # noqa: E402
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
)

from acquire.gui.app import make_window  # noqa: E402
from acquire.gui.page import CommandButton, OneOf  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402

PAGES = ("Session", "Surface", "Find", "Take", "Review", "Close", "Study", "Rig")
MOST_STEPS = 120


@pytest.fixture
def window(tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr(CommandButton, "refresh", lambda button: button.setEnabled(True))
    choose_theme(QApplication.instance())
    made = make_window(tmp_path / "study", "simulated", "me")
    made.resize(1366, 768)
    made.show()
    made.activateWindow()
    made._refreshing.stop()
    yield made
    made._leaving = True
    made.close()


def enable_all(page):
    for button in page.findChildren(QAbstractButton):
        button.setEnabled(True)
    for table in page.findChildren(QTableWidget):
        if table.rowCount() == 0 and table.columnCount():
            table.blockSignals(True)
            table.setRowCount(3)
            for row in range(3):
                for column in range(table.columnCount()):
                    table.setItem(row, column, QTableWidgetItem("1"))
            table.blockSignals(False)
    QApplication.processEvents()


def walk(page):
    """Press Tab until it comes round; return what had the focus, in order."""
    page.setFocus()
    seen = []
    for _ in range(MOST_STEPS):
        before = QApplication.focusWidget()
        QTest.keyClick(page if before is None else before, Qt.Key.Key_Tab)  # an empty list of Qt is no truth
        focus = QApplication.focusWidget()
        assert focus is not before, f"Tab does not leave {focus.objectName()}"
        if seen and focus is seen[0]:
            return seen
        seen.append(focus)
    raise AssertionError(f"Tab does not come round: {[one.objectName() for one in seen[-8:]]}")


def missed(page, seen):
    buttons = [one for one in page.findChildren(QAbstractButton) if one.isVisible() and one.isEnabled()]
    ours = [one for one in buttons if one.objectName() and not isinstance(one.parent(), QAbstractItemView)]
    assert ours
    return [one.objectName() for one in ours if one not in seen and not one.objectName().startswith("qt_")]


@pytest.mark.parametrize("title", PAGES)
def test_tab_reaches_every_button(window, title):
    window.open_page(title)
    page = window.page(title)
    tabs = page.findChild(QTabWidget)
    for number in range(1 if tabs is None else tabs.count()):
        if tabs is not None:
            tabs.setCurrentIndex(number)
        enable_all(page)
        assert missed(page, walk(page)) == []


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Find", ["find", "find-all", "accept", "search-here"]),
        ("Find", ["nudge-left", "nudge-right", "step-1", "step-5", "step-20", "step-100", "new-field-name"]),
        ("Find", ["show-sides", "show-both", "show-flicker"]),
        ("Surface", ["show-map", "show-both", "show-flicker"]),
        ("Study", ["study-table", "open-animal", "read-study", "study-new-id", "study-new-limit", "add-to-study"]),
    ],
)
def test_the_order_is_that_of_the_eye(window, title, names):
    window.open_page(title)
    page = window.page(title)
    enable_all(page)
    order = [one.objectName() for one in walk(page)]
    places = [order.index(name) for name in names]
    start = places[0]  # Tab goes round: it may begin anywhere
    turned = [(place - start) % len(order) for place in places]
    assert turned == sorted(turned), order


def test_the_editor_of_a_property_comes_before_its_button(window):
    window.open_page("Rig")
    page = window.page("Rig")
    page.tabs.setCurrentWidget(page.devices_tab)
    enable_all(page)
    order = [one.objectName() for one in walk(page)]
    assert order.index("property-table") < order.index("set-property")


def test_one_of_them_is_checked_whatever_is_pressed(qtbot):
    first, second = QPushButton("one"), QPushButton("two")
    group = OneOf(first)
    for button in (first, second):
        qtbot.addWidget(button)
        group.addButton(button)
    first.setChecked(True)
    second.click()
    assert (first.isChecked(), second.isChecked()) == (False, True)
    second.click()
    assert (first.isChecked(), second.isChecked()) == (False, True)
