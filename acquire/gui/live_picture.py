"""The newest frame of scanner or surface camera with its histogram, as fast as it comes; polled: nothing piles up."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import QEvent, QObject, QTimer
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from acquire.gui.desk import Desk
from acquire.gui.levels import BINS, levels_of
from acquire.gui.page import quiet
from acquire.gui.picture import TurnedPicture
from acquire.gui.status import DARK
from acquire.gui.theme import theme

POLL_MS = 15
COUNT_EVERY_S = 0.2  # from one histogram to the next
HISTOGRAM_PX = 64
Seen = tuple[NDArray[np.uint16], int]


class Poller(QTimer):
    """Looks whether there is something new, again and again while a widget can be seen."""

    def __init__(self, widget: QWidget, look: Callable[[], object]) -> None:
        super().__init__(widget)
        self.setInterval(POLL_MS)
        self.timeout.connect(look)
        widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Begin and end with what can be seen."""
        if isinstance(event, QShowEvent):
            self.start()
        elif isinstance(event, QHideEvent):
            self.stop()
        return False


class LivePicture(QWidget):
    """What the scanner sees now, or the surface camera.

    Parameters
    ----------
    desk
        Where the frames come from.
    turn
        Moves the focus by a click of the wheel: 1 deeper, -1 higher.
    look
        Returns the newest frame, shape (y, x), and its number; the scanner's when it is not given.
    has_limit
        Whether the saturation of the frames is that of the scanner's detector.
    """

    def __init__(
        self,
        desk: Desk,
        turn: Callable[[int], object] = lambda _way: None,
        *,
        look: Callable[[], Seen | None] | None = None,
        has_limit: bool = True,
    ) -> None:
        super().__init__()
        self.desk = desk
        self._look, self._has_limit = look or self._look_at_scanner, has_limit
        self.picture = TurnedPicture("live", turn)
        self.levels = QLabel("no frame yet")
        self.levels.setObjectName("levels")
        self._bars = pg.PlotWidget()
        self._bars.setBackground(theme().panel)
        self._bars.setFixedHeight(HISTOGRAM_PX)
        self._bars.hideAxis("left")
        self._bars.hideAxis("bottom")
        self._bars.setMouseEnabled(x=False, y=False)
        self._bars.hideButtons()
        self._curve = self._bars.plot(
            stepMode="center",
            fillLevel=0.0,
            brush=theme().quiet,
            pen=theme().text,
            x=np.arange(BINS + 1),
            y=np.zeros(BINS),
        )
        self._shown = 0
        self._counted_s = 0.0
        self._poller = Poller(self, self.poll)
        told = QVBoxLayout()
        told.addWidget(self.levels)
        told.addWidget(quiet("brightness; red: saturated" if has_limit else "brightness"))
        below = QHBoxLayout()
        below.addWidget(self._bars, 1)
        below.addLayout(told)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.picture, 1)
        layout.addLayout(below)

    def poll(self) -> None:
        """Show the newest frame when there is a new one."""
        seen, rig = self._look(), self.desk.rig
        if seen is None or rig is None or seen[1] == self._shown:
            return
        frame, self._shown = seen
        self.show_frame(frame, rig.config.scan.saturation if self._has_limit else None)

    def _look_at_scanner(self) -> Seen | None:
        rig = self.desk.rig
        sight = DARK if rig is None else rig.sight
        if sight.frame is None:
            return None
        return sight.frame if sight.frame.ndim == 2 else sight.frame[0], sight.frames

    def show_frame(self, frame: NDArray[np.uint16], saturation: float | None) -> None:
        """Show a frame, shape (y, x)."""
        self.picture.show_image(frame, saturation=saturation)
        now_s = time.monotonic()
        if now_s - self._counted_s >= COUNT_EVERY_S:
            self._counted_s = now_s
            levels = levels_of(frame, saturation)
            self._curve.setData(x=np.arange(BINS + 1), y=np.sqrt(levels.counts))
            self.levels.setText(levels.says if self._has_limit else levels.says_brightest)
