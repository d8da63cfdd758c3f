"""The newest frame of the scanner, as fast as it comes, with its histogram; polled, so that nothing can pile up."""

from __future__ import annotations

import time

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import QTimer
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from acquire.gui.desk import Desk
from acquire.gui.levels import BINS, levels_of
from acquire.gui.page import quiet
from acquire.gui.picture import Picture
from acquire.gui.theme import theme

POLL_MS = 15
COUNT_EVERY_S = 0.2  # from one histogram to the next
HISTOGRAM_PX = 64


class LivePicture(QWidget):
    """What the scanner sees now."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.picture = Picture("live")
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
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)
        below = QHBoxLayout()
        below.addWidget(self._bars, 1)
        below.addWidget(self.levels)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.picture, 1)
        layout.addWidget(quiet("brightness; saturated pixels are red"))
        layout.addLayout(below)

    def poll(self) -> None:
        """Show the newest frame when there is a new one."""
        rig = self.desk.rig
        if rig is None:
            return
        sight = rig.sight
        if sight.frame is None or sight.frames == self._shown:
            return
        self._shown = sight.frames
        self.show_frame(sight.frame if sight.frame.ndim == 2 else sight.frame[0], rig.config.scan.saturation)

    def show_frame(self, frame: NDArray[np.uint16], saturation: float | None) -> None:
        """Show a frame, shape (y, x)."""
        self.picture.show_image(frame, saturation=saturation)
        now_s = time.monotonic()
        if now_s - self._counted_s >= COUNT_EVERY_S:
            self._counted_s = now_s
            levels = levels_of(frame, saturation)
            self._curve.setData(x=np.arange(BINS + 1), y=np.sqrt(levels.counts))
            self.levels.setText(levels.says)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Look while somebody can see it."""
        self._timer.start()
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802 - Qt's name
        """Look no more."""
        self._timer.stop()
        super().hideEvent(event)
