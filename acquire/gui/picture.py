"""A grey picture: the newest frame, a stack's plane, a map; what is saturated stands out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import QEvent, QObject, QRectF, Qt
from PyQt6.QtGui import QImage, QPainter, QWheelEvent
from PyQt6.QtWidgets import QVBoxLayout, QWidget

from acquire.gui.theme import theme
from acquire.gui.tinted import TABLED, WHITE, Colours, Tint, look_up, packed

Image = NDArray[Any]  # grey, of 8 or 16 bits or broken numbers; or red, green, blue of 8 bits
DARKEST, BRIGHTEST = 1.0, 99.7  # percentiles of a thinned image that are drawn black and white
THINNED = 64  # along each side: enough to know how bright a frame is
FOLLOWED_EVERY_S = 0.15  # meanwhile the brightness hardly changes
RGB = QImage.Format.Format_RGB32
STEADY = 0.7  # of the last levels that stays: the picture does not flicker


class ShownImage(pg.GraphicsObject):  # type: ignore[misc]
    """An image in a view. Its colours are looked up when it is painted: frames that nobody sees cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.image: Image | None = None
        self._rect = QRectF()
        self._tint = Tint(0.0, float(WHITE))
        self._tabled: tuple[Tint, np.dtype[Any]] | None = None
        self._table: Colours = np.zeros(0, np.uint32)
        self._paper: Colours = np.zeros((0, 0), np.uint32)
        self._colours: Colours | None = None

    def show_image(self, image: Image, tint: Tint) -> None:
        """Show an image, shape (y, x) or, in colours already, (y, x, 3)."""
        self.image, self._tint, self._colours = image, tint, None
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.image = self._colours = None
        self.update()

    def lay(self, height: float, width: float) -> None:
        """Say where it lies in the view: from the origin as far as this."""
        self.prepareGeometryChange()
        self._rect = QRectF(0.0, 0.0, width, height)

    def boundingRect(self) -> QRectF:  # noqa: N802 - Qt's name
        """Return where it lies."""
        return self._rect

    def paint(self, painter: QPainter | None, *_: object) -> None:
        """Draw it."""
        if painter is None or self.image is None:
            return
        if self._colours is None:
            self._colours = self._looked_up(self.image)
        height, width = self._colours.shape
        pixels = QImage(self._colours.data, width, height, 4 * width, RGB)  # type: ignore[call-overload]
        painter.drawImage(self._rect, pixels)

    def _looked_up(self, image: Image) -> Colours:
        if image.ndim == 3:
            return packed(image)
        if image.dtype not in TABLED:
            return self._tint.colours(image)
        if self._tabled != (self._tint, image.dtype):
            self._tabled, self._table = (self._tint, image.dtype), self._tint.table(image.dtype)
        if self._paper.shape != image.shape:
            self._paper = np.empty(image.shape, np.uint32)
        look_up(self._table, image, self._paper)
        return self._paper


class Picture(QWidget):
    """One image at its true shape, y downwards; the mouse zooms and moves it.

    ``view`` is pyqtgraph's view box, for marks that lie on the image in its own coordinates.
    """

    def __init__(self, name: str = "picture") -> None:
        super().__init__()
        self.setObjectName(name)
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.setBackground(theme().background)
        self.view = self._graphics.addViewBox(lockAspect=True, invertY=True)
        self.item = ShownImage()
        self.view.addItem(self.item)
        self._warning = int(theme().light_on.removeprefix("#"), 16)
        self._levels: tuple[float, float] | None = None
        self._followed_s = 0.0
        self._extent: tuple[float, float, int, int] | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._graphics)

    def show_image(
        self,
        image: Image,
        *,
        saturation: float | None = None,
        levels: tuple[float, float] | None = None,
        um: tuple[float, float] | None = None,
    ) -> None:
        """Show an image, shape (y, x), or (y, x, 3) in colours.

        Parameters
        ----------
        image
            What is shown; of a live view the newest frame.
        saturation
            From here on pixels are drawn in the warning colour.
        levels
            What is black and what is white; followed slowly when not given.
        um
            Its height and width, um, so that the coordinates of the view are um; pixels when not given.
        """
        black, white = (0.0, float(WHITE)) if image.ndim == 3 else levels or self._followed(image)
        self.item.show_image(image, Tint(black, white, saturation, self._warning))
        self._fit((*(um or image.shape[:2]), *image.shape[:2]))

    def _followed(self, image: Image) -> tuple[float, float]:
        now_s = time.monotonic()
        if self._levels is not None and now_s - self._followed_s < FOLLOWED_EVERY_S:
            return self._levels
        self._followed_s = now_s
        rows, columns = (max(1, size // THINNED) for size in image.shape)
        black, white = (float(value) for value in np.percentile(image[::rows, ::columns], (DARKEST, BRIGHTEST)))
        if self._levels is not None:
            black, white = (
                STEADY * before + (1.0 - STEADY) * now for before, now in zip(self._levels, (black, white), strict=True)
            )
        self._levels = black, max(white, black + 1e-6)
        return self._levels

    def forget_levels(self) -> None:
        """Follow the brightness anew: another thing is shown."""
        self._levels = None

    def _fit(self, extent: tuple[float, float, int, int]) -> None:
        """Lay the image where its coordinates say, and show all of it when it is another size."""
        if extent == self._extent:
            return
        self._extent, (height, width, _, _) = extent, extent
        self.item.lay(float(height), float(width))
        self.view.setRange(xRange=(0, width), yRange=(0, height), padding=0.01)


class TurnedPicture(Picture):
    """A picture whose mouse wheel turns something else, 1 or -1; with Ctrl it zooms."""

    def __init__(self, name: str, turn: Callable[[int], object]) -> None:
        super().__init__(name)
        self._turn = turn
        self._port = self._graphics.viewport()
        if self._port is not None:
            self._port.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Take the wheel for what it turns."""
        if isinstance(event, QWheelEvent) and not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            way = 1 if event.angleDelta().y() < 0 else -1
            self._turn(way)
            return True
        return super().eventFilter(watched, event)
