"""Two pictures one after the other in one place, so that the eye sees what moved: the clock of it."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import QObject, QTimer

FLICKER = "flicker"
FLICKER_MS = 450


class Flicker(QObject):
    """How two pictures are shown, and which of them is in front while they take turns.

    Parameters
    ----------
    mode
        How they are shown at first.
    show
        Shows them anew.
    parent
        Ends the clock with it.

    Attributes
    ----------
    mode
        How they are shown now.
    shows_second
        Whether the second is in front.
    """

    def __init__(self, mode: str, show: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self.mode, self.shows_second = mode, False
        self._show = show
        self._clock = QTimer(self)
        self._clock.setInterval(FLICKER_MS)
        self._clock.timeout.connect(self._turn)

    def show_as(self, mode: str) -> None:
        """Show them another way."""
        self.mode, self.shows_second = mode, False
        if mode == FLICKER:
            self._clock.start()
        else:
            self._clock.stop()
        self._show()

    def _turn(self) -> None:
        self.shows_second = not self.shows_second
        self._show()
