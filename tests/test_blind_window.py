"""While somebody reviews blind, no widget of the window names animal, group, day or session."""

import re
import threading
import time

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtWidgets import QApplication, QComboBox, QLabel, QProgressBar, QPushButton  # noqa: E402

from acquire.gui.app import make_window  # noqa: E402
from acquire.gui.knowing import know  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402
from acquire.model import AnimalRecord, StudyRecord  # noqa: E402
from acquire.store import Study  # noqa: E402

NAMES = re.compile(r"Mickey|Minnie|trained|\bday \d|\d{4}-\d\d-\d\dT\d{4}")


@pytest.fixture
def window(tmp_path, qtbot):
    choose_theme(QApplication.instance())
    study = Study.create(tmp_path / "memory", StudyRecord(name="memory", groups=("trained", "home")))
    for name, group in (("Mickey", "trained"), ("Minnie", "home")):
        study.new_animal(AnimalRecord(id=name, group=group))
    study.new_session("Mickey", rig="drawn", day=4.0)
    made = make_window(tmp_path / "memory", "simulated", "ann")
    made.desk.study = study
    made.desk._known = know(study, None, None)
    made.show()
    for number in range(len(made.pages)):
        made.show_page(number)
        settle(made)
    yield made
    made._leaving = True
    made.close()
    study.close()


def settle(window):
    done = threading.Event()
    window.desk.read("waiting", lambda: None, lambda _none: done.set())
    began = time.monotonic()
    while not done.is_set():
        QApplication.processEvents()
        assert time.monotonic() - began < 20.0
        time.sleep(0.005)
    QApplication.processEvents()
    window.refresh()


def texts(window):
    """Return every text that can be read in the window now, or pointed at."""

    def seen(kind):
        return [one for one in window.findChildren(kind) if one.isVisible()]

    told = [window.windowTitle()]
    told += [text for kind in (QLabel, QPushButton) for one in seen(kind) for text in (one.text(), one.toolTip())]
    told += [one.format() for one in seen(QProgressBar)]
    told += [one.itemText(row) for one in seen(QComboBox) for row in range(one.count())]
    if window.page("Study").isVisible():
        table = window.page("Study").model.table
        told += [*table.labels, *table.columns, *(cell.text for row in table.rows for cell in row)]
    return told


def named(window):
    return [text for text in texts(window) if NAMES.search(text)]


def on_every_page(window):
    found = []
    for number in range(len(window.pages)):
        window.show_page(number)
        settle(window)
        found += named(window)
    return found


def test_names_are_seen_as_long_as_nobody_is_blind(window):
    assert on_every_page(window)


def test_no_page_names_anything(window):
    window.desk.is_blind = True
    assert on_every_page(window) == []
    window.desk.is_blind = False
    window.open_page("Session")
    settle(window)
    assert [window.page("Session").animal.itemText(row) for row in range(2)] == ["Mickey", "Minnie"]
    window.open_page("Study")
    settle(window)
    assert window.page("Study").model.table.animals == ("Mickey", "Minnie")


def test_what_was_said_before_is_gone(window):
    window.say("session 2026-03-01T0900 of Mickey, day 4", False)
    window.desk.is_blind = True
    assert window.message.text() == ""


def test_neither_progress_nor_message_names_anything(window):
    desk = window.desk
    desk.is_blind = True
    gate = threading.Event()

    def fail():
        gate.wait()
        raise KeyError("Mickey of trained, day 4, in 2026-03-01T0900/F01")

    desk.do("adding Minnie", fail)
    desk.hear("Mickey: plane 3 of 9, day 4", 0.3)
    window.refresh()
    assert "plane 3 of 9" in window.progress.format()
    assert named(window) == []
    assert not desk.do("another", print)  # tells what it waits for
    settle(window)
    assert named(window) == []
    desk._analysing = "Mickey F01"
    window.refresh()
    gate.set()
    while desk.is_busy:
        settle(window)
    settle(window)
    assert "unexpected KeyError" in window.message.text()
    assert named(window) == []
    assert not window.log.isVisible()  # the log names them
    desk._analysing = ""


def test_a_session_cannot_be_opened_by_who_is_blind(window):
    window.desk.is_blind = True
    window.open_page("Session")
    settle(window)
    button = window.page("Session").findChild(QPushButton, "open-session")
    assert not button.isEnabled()
    assert "end blind first" in button.toolTip()
