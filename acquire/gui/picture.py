"""A grey picture: the newest frame, a stack's plane, a map; what is saturated stands out."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtWidgets import QVBoxLayout, QWidget

from acquire.gui.theme import theme

DARKEST, BRIGHTEST = 1.0, 99.7  # percentiles of a thinned image that are drawn black and white
Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
THINNED = 64  # along each side: enough to know how bright a frame is
STEADY = 0.85  # of the last levels that stays: the picture does not flicker


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
        self.item = pg.ImageItem(axisOrder="row-major")
        self._warning = pg.ImageItem(axisOrder="row-major")
        self._warning.setLookupTable(np.array([[0, 0, 0, 0], _rgba(theme().light_on)], dtype=np.uint8))
        for item in (self.item, self._warning):
            self.view.addItem(item)
        self._warning.hide()
        self._levels: tuple[float, float] | None = None
        self._shape: tuple[int, ...] = ()
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
        if image.ndim == 3:
            self.item.setImage(image, levels=(0, 255))
        else:
            self.item.setImage(image, levels=levels or self._followed(image))
        is_saturated = None if saturation is None or image.ndim == 3 else image >= saturation
        if is_saturated is not None and is_saturated.any():
            self._warning.setImage(is_saturated.view(np.uint8), levels=(0, 1))
            self._warning.show()
        else:
            self._warning.hide()
        height, width = um or image.shape[:2]
        for item in (self.item, self._warning):
            item.setRect(0.0, 0.0, float(width), float(height))
        if (height, width) != self._shape:
            self._shape = (height, width)
            self.view.setRange(xRange=(0, width), yRange=(0, height), padding=0.01)

    def _followed(self, image: Image) -> tuple[float, float]:
        rows, columns = (max(1, size // THINNED) for size in image.shape)
        black, white = (float(value) for value in np.percentile(image[::rows, ::columns], (DARKEST, BRIGHTEST)))
        if self._levels is not None:
            black, white = (
                STEADY * before + (1.0 - STEADY) * now for before, now in zip(self._levels, (black, white), strict=True)
            )
        self._levels = black, max(white, black + 1.0)
        return self._levels

    def forget_levels(self) -> None:
        """Follow the brightness anew: another thing is shown."""
        self._levels = None


def _rgba(colour: str) -> list[int]:
    return [*(int(colour[first : first + 2], 16) for first in (1, 3, 5)), 255]
