"""A grey picture: the newest frame, a stack's plane, a map; what is saturated stands out."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtWidgets import QVBoxLayout, QWidget

from acquire.gui.theme import theme

Image = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]
DARKEST, BRIGHTEST = 1.0, 99.7  # percentiles of a thinned image that are drawn black and white
THINNED = 64  # along each side: enough to know how bright a frame is
FOLLOWED_EVERY = 5  # images: from one to the next the brightness hardly changes
STEADY = 0.7  # of the last levels that stays: the picture does not flicker
SATURATED = 255  # the last of the colours


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
        self.view.addItem(self.item)
        self._colours = _colours(theme().light_on)
        self._levels: tuple[float, float] | None = None
        self._images = 0
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
        if image.ndim == 3:
            self.item.setImage(image, levels=(0, 255), lut=None)
        elif saturation is not None and image.max() >= saturation:
            black, white = levels or self._followed(image)
            greys = pg.rescaleData(image, (SATURATED - 1) / (white - black), black, np.uint8, (0, SATURATED - 1))
            np.copyto(greys, np.uint8(SATURATED), where=image >= image.dtype.type(np.ceil(saturation)))
            self.item.setImage(greys, levels=(0, SATURATED), lut=self._colours)
        else:
            self.item.setImage(image, levels=levels or self._followed(image), lut=None)
        self._fit((*(um or image.shape[:2]), *image.shape[:2]))
        self._images += 1

    def _followed(self, image: Image) -> tuple[float, float]:
        if self._levels is not None and self._images % FOLLOWED_EVERY:
            return self._levels
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
        self.item.setRect(0.0, 0.0, float(width), float(height))
        self.view.setRange(xRange=(0, width), yRange=(0, height), padding=0.01)


def _colours(warning: str) -> NDArray[np.uint8]:
    """Return greys, the last colour the warning's."""
    table = np.repeat(np.linspace(0, 255, SATURATED).astype(np.uint8)[:, None], 3, axis=1)
    return np.vstack([table, [[int(warning[first : first + 2], 16) for first in (1, 3, 5)]]]).astype(np.uint8)
