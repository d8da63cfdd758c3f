"""Starts the window: the look, the desk, the pages; opens the rig when the window is there."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication

from acquire.gui.close_page import ClosePage
from acquire.gui.desk import Desk
from acquire.gui.find_page import FindPage
from acquire.gui.page import Page
from acquire.gui.review_page import ReviewPage
from acquire.gui.rig_page import RigPage
from acquire.gui.session_page import SessionPage
from acquire.gui.study_page import StudyPage
from acquire.gui.surface_page import SurfacePage
from acquire.gui.take_page import TakePage
from acquire.gui.theme import choose_theme
from acquire.gui.window import Bringer, Window

STUCK = 1


def make_window(folder: Path, rig_name: str, who: str = "") -> Window:
    """Return the window, its rig not open yet; there must be an application."""
    bringer = Bringer()
    desk = Desk(folder, rig_name, who, bring=bringer.bring)
    window = Window(desk, pages_of(desk))
    desk.say = window.say
    _open_from_study(window)
    bringer.setParent(window)
    return window


def _open_from_study(window: Window) -> None:
    """Let the page of the study bring an animal to the page where its session is opened."""
    study, session = window.page(StudyPage.title), window.page(SessionPage.title)

    def open_animal(animal: str) -> None:
        window.open_page(SessionPage.title)
        if isinstance(session, SessionPage):
            session.choose(animal)

    if isinstance(study, StudyPage):
        study.on_open = open_animal


def pages_of(desk: Desk) -> list[Page]:
    """Return the pages in the order of the work; after them those of the whole study and of the engineer."""
    work = [SessionPage(desk), SurfacePage(desk), FindPage(desk), TakePage(desk), ReviewPage(desk), ClosePage(desk)]
    return [*work, StudyPage(desk), RigPage(desk)]


@contextlib.contextmanager
def living_on(desk: Desk) -> Iterator[None]:
    """Let the window outlive what goes wrong in a slot, where PyQt would end the program; the desk hears of it."""
    before = sys.excepthook

    def hear(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, Exception):
            desk.hear_fault(error)
        else:  # Ctrl+C in the terminal: leave, dark
            sys.__excepthook__(kind, error, trace)
            QApplication.exit()

    sys.excepthook = hear
    try:
        yield
    finally:
        sys.excepthook = before


def run(folder: Path, rig_name: str, *, bright: bool = False) -> int:
    """Show the window until it is closed; return the exit code."""
    existing = QApplication.instance()
    app = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    app.setApplicationName("samefield")
    choose_theme(app, bright=bright)
    window = make_window(folder, rig_name, getpass.getuser())
    window.show()
    QTimer.singleShot(0, window.desk.open)  # the window first: a rig may take long
    with living_on(window.desk):
        code = app.exec()
    if not (window.has_left and window.desk.close()):
        os._exit(STUCK)  # a device hangs: the watchdog closes the light when this program is gone
    return code
