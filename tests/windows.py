"""Drives the window in tests: opened on a copy of a study, waited for, its keys pressed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import Qt  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication, QPushButton, QWidget  # noqa: E402

from acquire.gui.app import make_window  # noqa: E402
from acquire.gui.page import Page  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402
from acquire.gui.window import Window  # noqa: E402

PATIENCE_S = 60.0
SHOWN_S = 0.15  # longer than the window waits before it shows what is new


@contextlib.contextmanager
def opened(study: Path, folder: Path, app: QApplication) -> Iterator[Window]:
    """Open the window on a copy of a study, with the simulated rig."""
    choose_theme(app)
    shutil.copytree(study, folder)
    window = make_window(folder, "simulated", "me")
    try:
        window.show()
        window.desk.open()
        wait_for(window)
        yield window
    finally:
        window.desk.stop()
        wait_until(lambda: not window.desk.is_busy)
        window.close()
        window.deleteLater()
        show(0.05)


def show(seconds: float = SHOWN_S) -> None:
    """Let the window do what it does for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Let the window work until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, "it took too long"
        show(0.02)


def wait_for(window: Window) -> None:
    """Let the worker end, and the window show what came of it."""
    wait_until(lambda: not window.desk.is_busy)
    window.refresh()
    show()


def new_session(window: Window, animal: str = "M1", day: float = 4.0) -> None:
    """Begin a session on a re-mounted head."""
    window.desk.open_session(animal, day=day, new=True)
    wait_for(window)
    assert window.desk.session is not None, window.message.text()


def end_session(window: Window) -> None:
    """Stop what is going on and close the session."""
    window.desk.stop()
    wait_for(window)
    window.desk.close_session()
    wait_for(window)


def go_to(window: Window, title: str) -> Page:
    """Bring a page to the front."""
    window.open_page(title)
    window.activateWindow()
    page = window.page(title)
    page.setFocus()
    show()
    return page


def press(window: Window, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key where the focus is."""
    focus = QApplication.focusWidget() or window
    QTest.keyClick(focus, key, modifier)
    show(0.05)


def click(page: QWidget, name: str) -> None:
    """Click a button."""
    button = page.findChild(QPushButton, name)
    assert button is not None and button.isEnabled(), f"{name}: {button.toolTip() if button else 'there is none'}"
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    show(0.05)


def why_not(page: QWidget, name: str) -> str:
    """Return why a button is grey; empty when it is not."""
    button = page.findChild(QPushButton, name)
    assert button is not None
    button.refresh()
    return "" if button.isEnabled() else button.toolTip()
