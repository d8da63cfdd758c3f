"""Reference and today, plane by plane: side by side, on top of each other in two colours, or one after the other."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from acquire.gui.finding_view import ALL_PLANES, SearchPictures
from acquire.gui.flicker import FLICKER, Flicker
from acquire.gui.page import quiet
from acquire.gui.picture import Image, TurnedPicture

SIDE_BY_SIDE, BOTH = "side by side", "both"
NO_PICTURE, NOT_YET = "reference", "today: not looked for yet"


class Planes(QWidget):
    """The two pictures and the slider that goes through their planes; the first place of the slider is all planes.

    Parameters
    ----------
    focus
        Moves the focus by a click of the wheel while the live view is on: 1 deeper, -1 higher.
    """

    def __init__(self, focus: Callable[[int], object]) -> None:
        super().__init__()
        self._focus = focus
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setObjectName("plane")
        self.slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slider.valueChanged.connect(self._show)
        self.reference, self.today = (TurnedPicture(name, self._turn) for name in ("reference", "today"))
        self.names = QLabel(NO_PICTURE), QLabel(NOT_YET)
        self.plane = quiet()
        self._pictures: SearchPictures | None = None
        self._is_live = False
        self._flicker = Flicker(SIDE_BY_SIDE, self._show, self)
        self._halves: list[QWidget] = []
        sides = QHBoxLayout()
        for name, picture in zip(self.names, (self.reference, self.today), strict=True):
            half = QWidget()
            side = QVBoxLayout(half)
            side.setContentsMargins(0, 0, 0, 0)
            side.addWidget(name)
            side.addWidget(picture, 1)
            sides.addWidget(half, 1)
            self._halves.append(half)
        below = QHBoxLayout()
        below.addWidget(self.slider, 1)
        below.addWidget(self.plane)
        self.plane.setFixedWidth(290)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(sides, 1)
        layout.addLayout(below)
        self.show_pictures(None)

    @property
    def pictures(self) -> SearchPictures | None:
        """What is on the screen."""
        return self._pictures

    def show_pictures(self, pictures: SearchPictures | None) -> None:
        """Show a field's reference and today."""
        self._pictures = pictures
        self.slider.blockSignals(True)
        self.slider.setRange(0, 0 if pictures is None else pictures.planes)
        self.slider.setValue(0)
        self.slider.blockSignals(False)
        self._show()

    def show_as(self, mode: str) -> None:
        """Show them side by side, both on top of each other, or one after the other."""
        self._flicker.show_as(mode)

    def move_plane(self, way: int) -> None:
        """Go some planes deeper."""
        self.slider.setValue(self.slider.value() + way)

    def _turn(self, way: int) -> None:
        if self._is_live:
            self._focus(way)
        else:
            self.move_plane(way)

    def show_live(self, frame: Image, saturation: float | None) -> None:
        """Show what is under the objective at today's side."""
        if not self._is_live:
            self._is_live = True
            self.today.forget_levels()
            self._lay_out()
        self.today.show_image(frame, saturation=saturation)
        self.today.item.show()

    def end_live(self) -> None:
        """Show the pictures again."""
        if self._is_live:
            self._is_live = False
            self._show()

    # ---- how ---------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        one = self._flicker.mode != SIDE_BY_SIDE and not self._is_live
        self._halves[1].setVisible(not one)
        first, second = NO_PICTURE, "● LIVE" if self._is_live else "today"
        pictures = self._pictures
        if not self._is_live and (pictures is None or pictures.today is None):
            second = NOT_YET
        if pictures is not None and pictures.today is not None and one:
            flicker = "today" if self._flicker.shows_second else "reference"
            first = (
                "reference magenta, today green, both white" if self._flicker.mode == BOTH else f"flicker: {flicker}"
            )
        self.names[0].setText(first)
        self.names[1].setText(second)

    def _show(self, _value: int = 0) -> None:
        self._lay_out()
        pictures, plane = self._pictures, self.slider.value() + ALL_PLANES
        self.plane.setText("" if pictures is None else pictures.tell_plane(plane))
        self.reference.item.setVisible(pictures is not None)
        if not self._is_live:
            self.today.item.setVisible(pictures is not None and pictures.today is not None)
        if pictures is None:
            return
        reference, today = pictures.pair(plane)
        first = reference
        if self._is_live:
            first = reference
        elif self._flicker.mode == BOTH and today is not None:
            first = pictures.both(plane)  # type: ignore[assignment]
        elif self._flicker.mode == FLICKER and self._flicker.shows_second and today is not None:
            first = today
        self.reference.show_image(first, levels=(0.0, 255.0), um=pictures.size_um)
        if today is not None and not self._is_live:
            self.today.show_image(today, levels=(0.0, 255.0), um=pictures.size_um)
