"""One plane of the raw stack around the selected spine; the mouse wheel moves through the planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QObject
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QLabel, QVBoxLayout, QWidget

from acquire.gui.picture import Picture
from acquire.gui.theme import theme

if TYPE_CHECKING:
    from acquire.gui.material import RawStack

AROUND_UM = 9.0
RING_PX = 34
LEAST_UM = 0.5  # of depth that is told


def _away(away_um: float) -> str:
    if abs(away_um) < LEAST_UM:
        return "the head"
    return f"{abs(away_um):.1f} um {'below' if away_um > 0 else 'above'} it"


class RawPicture(QWidget):
    """The raw stack beside the straightened dendrite.

    Attributes
    ----------
    moved
        Is called when the wheel has moved the plane.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("raw")
        self.picture = Picture("raw-plane")
        self.picture.view.setMouseEnabled(x=False, y=False)
        self.picture.view.setMenuEnabled(False)
        self.caption = QLabel("")
        self.caption.setObjectName("raw-caption")
        self.moved: Callable[[], object] = lambda: None
        self._ring = pg.ScatterPlotItem(pxMode=True)
        self.picture.view.addItem(self._ring)
        for child in self.picture.findChildren(QWidget):
            child.installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.picture, 1)
        layout.addWidget(self.caption)
        self._stack: RawStack | None = None
        self._label = ""
        self._head: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._levels = (0.0, 1.0)
        self.plane = 0

    def clear(self, why: str) -> None:
        """Show nothing, and say why."""
        self._stack = None
        self.picture.item.clear()
        self._ring.clear()
        self.caption.setText(why)

    def show_head(self, stack: RawStack, label: str, head_zyx_um: Sequence[float]) -> None:
        """Show the plane of a head, the head in the middle."""
        z, y, x = head_zyx_um
        self._stack, self._label, self._head = stack, label, (z, y, x)
        self._levels = stack.levels(head_zyx_um)
        self.show_plane(stack.plane(z))
        self.picture.view.setRange(
            xRange=(x - AROUND_UM, x + AROUND_UM), yRange=(y - AROUND_UM, y + AROUND_UM), padding=0
        )

    def show_plane(self, plane: int) -> None:
        """Show another plane of the same stack."""
        stack = self._stack
        if stack is None:
            return
        self.plane = max(0, min(plane, len(stack.pixels) - 1))
        image = stack.pixels[self.plane]
        dz, dy, dx = stack.voxel_um
        self.picture.show_image(
            image, levels=self._levels, um=(image.shape[0] * dy, image.shape[1] * dx), saturation=stack.saturation
        )
        away_um = self.plane * dz - self._head[0]
        faint = abs(away_um) > dz
        pen = pg.mkPen(theme().quiet if faint else theme().accent, width=1 if faint else 2)
        place = {"pos": (self._head[2] + dx / 2, self._head[1] + dy / 2), "size": RING_PX, "symbol": "o"}
        self._ring.setData([{**place, "pen": pen, "brush": None}])
        where = f"plane {self.plane + 1} of {len(stack.pixels)}, z {self.plane * dz:.1f} um"
        self.caption.setText(f"{self._label}, {where}: {_away(away_um)}")

    def step(self, by: int) -> None:
        """Go deeper or higher."""
        self.show_plane(self.plane + by)
        self.moved()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Let the wheel move through the planes."""
        if isinstance(event, QWheelEvent):
            self.step(-1 if event.angleDelta().y() > 0 else 1)
            return True
        return super().eventFilter(watched, event)
