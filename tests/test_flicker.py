"""Two pictures that take turns."""

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import QObject  # noqa: E402

from acquire.gui.flicker import FLICKER, Flicker  # noqa: E402


def test_they_take_turns_until_another_way_is_chosen(qtbot):
    parent, shown = QObject(), []
    flicker = Flicker("side by side", lambda: shown.append(flicker.shows_second), parent)
    assert (flicker.mode, flicker.shows_second) == ("side by side", False)
    flicker.show_as(FLICKER)
    qtbot.waitUntil(lambda: len(shown) >= 4, timeout=30_000)
    assert shown[:4] == [False, True, False, True]
    flicker.show_as("both")
    assert (flicker.mode, flicker.shows_second) == ("both", False)
    count = len(shown)
    qtbot.wait(1000)
    assert len(shown) == count
