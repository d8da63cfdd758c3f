"""The vessel map as a picture to work in: landmarks to choose and drag, fields, a cross to put a landmark with."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QRectF, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QPen
from PyQt6.QtWidgets import QGraphicsEllipseItem, QGraphicsItem, QGraphicsRectItem

from acquire.gui.flicker import FLICKER, Flicker
from acquire.gui.map_view import FieldOnMap, MapView, MarkOnMap
from acquire.gui.picture import Picture
from acquire.gui.theme import colour_of, theme
from acquire.gui.words import MARKS

MAP, BOTH = "map", "both"
MARK_PX, CROSS_PX = 15, 26
FASTER = 10  # times the step, with Shift
ARROWS = {Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0)}


def _is_same_map(one: MapView | None, other: MapView | None) -> bool:
    if one is None or other is None:
        return False
    return one.size_um == other.size_um and np.array_equal(one.image, other.image)


class MapPicture(Picture):
    """The map.

    Signals: ``chosen`` a landmark was clicked (its name); ``placed`` the cross was kept (y, x); ``dragged`` a landmark
    was dragged (name, y, x). Places are um in the map.
    """

    chosen = pyqtSignal(str)
    placed = pyqtSignal(float, float)
    dragged = pyqtSignal(str, float, float)

    def __init__(self) -> None:
        super().__init__("map")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._view: MapView | None = None
        self._items: list[QGraphicsItem] = []
        self.marks: dict[str, pg.TargetItem] = {}
        self._selected = ""
        self._cross: pg.TargetItem | None = None
        self._flicker = Flicker(MAP, self._show_pixels, self)
        self.view.scene().sigMouseClicked.connect(self._clicked)

    # ---- what is shown -----------------------------------------------------------------------------------------

    def show_map(self, view: MapView | None) -> None:
        """Show a map with its marks and fields; a place that is being chosen stays, unless it is another map."""
        if not _is_same_map(self._view, view):
            self.end_cross()
        self._view = view
        self._draw()
        self._show_pixels()

    def show_as(self, mode: str) -> None:
        """Show the map alone, both on top of each other, or one after the other."""
        self._flicker.show_as(mode)

    def _show_pixels(self) -> None:
        view = self._view
        self.item.setVisible(view is not None)
        if view is None:
            return
        image = view.image
        if self._flicker.mode == BOTH and view.both is not None:
            image = view.both
        elif self._flicker.mode == FLICKER and self._flicker.shows_second and view.today is not None:
            image = view.today
        self.show_image(image, levels=(0.0, 255.0), um=view.size_um)

    def _draw(self) -> None:
        for item in self._items:
            self.view.removeItem(item)
        self._items, self.marks = [], {}
        if self._view is None:
            return
        for field in self._view.fields:
            self._draw_field(self._view, field)
        for mark in self._view.marks:
            self._draw_mark(self._view, mark)
        self.select(self._selected)

    def _add(self, item: QGraphicsItem) -> None:
        self._items.append(item)
        self.view.addItem(item, ignoreBounds=True)

    def _draw_field(self, view: MapView, field: FieldOnMap) -> None:
        x, y = view.on_screen(field.yx_um)
        colour = colour_of(field.verdict) if field.verdict else theme().accent
        square = QGraphicsRectItem(_around(x, y, field.side_um / 2, field.side_um / 2))
        square.setPen(_pen(colour))
        self._add(square)
        if field.radii_yx_um is not None:
            height, width = field.radii_yx_um
            ellipse = QGraphicsEllipseItem(_around(x, y, width, height))
            ellipse.setPen(_pen(colour, Qt.PenStyle.DashLine))
            self._add(ellipse)
        text = f"{MARKS[field.verdict]} {field.name}" if field.verdict else field.name
        label = pg.TextItem(text, color=colour, anchor=(0, 1), fill=pg.mkBrush(theme().background + "b0"))
        label.setPos(x - field.side_um / 2, y - field.side_um / 2)
        self._add(label)

    def _draw_mark(self, view: MapView, mark: MarkOnMap) -> None:
        item = pg.TargetItem(
            pos=view.on_screen(mark.yx_um),
            size=MARK_PX,
            symbol="crosshair",
            pen=_pen(theme().warn),
            hoverPen=_pen(theme().text),
            brush=None,
            hoverBrush=None,
            label=mark.name,
            labelOpts={"color": theme().warn, "offset": (8, -8), "fill": pg.mkBrush(theme().background + "90")},
        )
        item.sigPositionChangeFinished.connect(partial(self._dragged, mark.name))
        self.marks[mark.name] = item
        self._add(item)

    def select(self, name: str) -> None:
        """Let a landmark stand out."""
        self._selected = name
        for other, item in self.marks.items():
            item.setPen(_pen(theme().text if other == name else theme().warn, width=3 if other == name else 2))

    # ---- the cross ---------------------------------------------------------------------------------------------

    @property
    def has_cross(self) -> bool:
        """Whether a place is being chosen."""
        return self._cross is not None

    def begin_cross(self, name: str = "") -> None:
        """Show a cross in the middle of the map, or at a landmark; arrow keys move it, Enter or a click keeps it."""
        view = self._view
        if view is None:
            return
        self.end_cross()
        places = {mark.name: mark.yx_um for mark in view.marks}
        start = view.on_screen(places.get(name, view.middle_um))
        pen = _pen(theme().accent)
        self._cross = pg.TargetItem(pos=start, size=CROSS_PX, symbol="+", pen=pen, brush=pen.color(), hoverPen=pen)
        self.view.addItem(self._cross, ignoreBounds=True)
        self.setFocus()

    def end_cross(self) -> None:
        """Choose no place."""
        if self._cross is not None:
            self.view.removeItem(self._cross)
            self._cross = None

    def event(self, event: QEvent | None) -> bool:
        """Keep the arrow keys for the cross while there is one; else they are the joystick's."""
        is_asked = event is not None and event.type() == QEvent.Type.ShortcutOverride and self._cross is not None
        if is_asked and isinstance(event, QKeyEvent) and event.key() in ARROWS:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Move the cross, keep it."""
        if event is None:
            return
        key = Qt.Key(event.key())
        if self._cross is None or self._view is None:
            super().keyPressEvent(event)
        elif key in ARROWS:
            faster = FASTER if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            down, right = (way * faster * self._view.step_um for way in ARROWS[key])
            here = self._cross.pos()
            self._cross.setPos(here.x() + right, here.y() + down)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._keep(self._cross.pos().x(), self._cross.pos().y())
        else:
            super().keyPressEvent(event)

    def _keep(self, x: float, y: float) -> None:
        if self._view is not None:
            y_um, x_um = self._view.in_map(x, y)
            self.end_cross()
            self.placed.emit(y_um, x_um)

    # ---- the mouse ---------------------------------------------------------------------------------------------

    def _clicked(self, event: pg.GraphicsScene.mouseEvents.MouseClickEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton or self._view is None:
            return
        point = self.view.mapSceneToView(event.scenePos())
        if self._cross is not None:
            self._keep(point.x(), point.y())
            return
        name = self._view.near(self._view.in_map(point.x(), point.y()))
        if name:
            self.chosen.emit(name)

    def _dragged(self, name: str, item: pg.TargetItem) -> None:
        if self._view is not None:
            y_um, x_um = self._view.in_map(item.pos().x(), item.pos().y())
            self.dragged.emit(name, y_um, x_um)


def _pen(colour: str, style: Qt.PenStyle = Qt.PenStyle.SolidLine, width: int = 2) -> QPen:
    pen: QPen = pg.mkPen(colour, width=width, style=style)
    return pen


def _around(x: float, y: float, half_width: float, half_height: float) -> QRectF:
    return QRectF(x - half_width, y - half_height, 2 * half_width, 2 * half_height)
