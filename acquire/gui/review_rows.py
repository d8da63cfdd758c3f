"""The sessions of one dendrite under each other, straight: the same place stands in the middle of every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PyQt6.QtCore import QEvent, QObject, QPoint, QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFont, QMouseEvent, QPainter, QPen, QPolygonF, QResizeEvent, QWheelEvent
from PyQt6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from acquire.gui.marks import GAINED_AND_LOST, PRESENT, SpineMark
from acquire.gui.theme import theme
from analysis.model import Fate

ROW_PX = 84  # a row is not lower
LABEL_PX = 84
GAP_UM = 1.0  # from the middle of a head to its mark
LETTER_PT = 10
LETTER_BOX = QRectF(-30.0, -9.0, 60.0, 18.0)  # pixels about the middle of a letter
MARGIN_UM = 5.0
EDGE_UM = 2.0  # a mark stays so far inside its row, with its letter
RING_PX = 30
CROSS_PX = 4.0
LETTER_GAP_PX = 3.0
HIT_PX = 20  # gloves
STABLE_PX = 7  # most are stable: what came and went stands out
PLAIN = (Fate.STABLE.value, PRESENT)
ZOOMS = (1.0, 1.5, 2.2, 3.3)
LONGEST_UM = 45.0  # of a row at the first zoom: spines 2 um apart stay apart
SHAPES = {
    Fate.GAINED.value: QPolygonF([QPointF(-6.0, 5.0), QPointF(6.0, 5.0), QPointF(0.0, -6.0)]),
    Fate.LOST.value: QPolygonF([QPointF(-6.0, -5.0), QPointF(6.0, -5.0), QPointF(0.0, 6.0)]),
    Fate.UNSCORABLE.value: QPolygonF(QRectF(-5.0, -5.0, 10.0, 10.0)),
    GAINED_AND_LOST: QPolygonF([QPointF(-6.0, 0.0), QPointF(0.0, -6.0), QPointF(6.0, 0.0), QPointF(0.0, 6.0)]),
}
FILLED = (Fate.GAINED.value, GAINED_AND_LOST)


def colour_of_fate(word: str) -> str:
    """Return the colour of a fate's mark; its shape and letter say the same."""
    look = theme()
    return {
        Fate.GAINED.value: look.good,
        Fate.LOST.value: look.bad,
        GAINED_AND_LOST: look.warn,
        Fate.UNSCORABLE.value: look.quiet,
    }.get(word, look.text)


@dataclass(frozen=True)
class RowLook:
    """What one row shows.

    Parameters
    ----------
    session
        Which session.
    label
        What it is called.
    marks
        The spines.
    is_chosen
        Whether keys are about this session.
    centre_um
        The place along the dendrite that stands in the middle.
    """

    session: int
    label: str
    marks: tuple[SpineMark, ...]
    is_chosen: bool
    centre_um: float


class _Marks(pg.GraphicsObject):  # type: ignore[misc] # pyqtgraph has no types
    """The marks of a row and their letters, painted at once and only where they can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: tuple[SpineMark, ...] = ()
        self._half_um = 1.0

    def show_marks(self, marks: Sequence[SpineMark], half_um: float) -> None:
        """Draw these marks."""
        self.prepareGeometryChange()
        self.marks, self._half_um = tuple(marks), half_um
        self.update()

    def boundingRect(self) -> QRectF:  # noqa: N802 - Qt's name
        """Return the whole row."""
        last_um = max((mark.along_um for mark in self.marks), default=0.0)
        return QRectF(-MARGIN_UM, -self._half_um, last_um + 2 * MARGIN_UM, 2 * self._half_um)

    def paint(self, painter: QPainter, *_: object) -> None:
        """Paint shapes and letters in pixels."""
        view = self.getViewBox()
        if view is None:
            return
        first_um, last_um = view.viewRange()[0]
        to_screen = painter.transform()
        painter.resetTransform()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(QFont(painter.font().family(), LETTER_PT, QFont.Weight.DemiBold))
        for mark in self.marks:
            if first_um - MARGIN_UM < mark.along_um < last_um + MARGIN_UM:
                head = to_screen.map(QPointF(mark.along_um, -mark.across_um))
                at = to_screen.map(QPointF(mark.along_um, _mark_um(mark, self._half_um)))
                _paint_mark(painter, mark, head, at)


def _paint_mark(painter: QPainter, mark: SpineMark, head: QPointF, at: QPointF) -> None:
    """Paint a mark and its letter at a place of the screen, and a ring about the head of the selected spine."""
    colour = QColor(colour_of_fate(mark.word))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if mark.is_selected:
        style = Qt.PenStyle.DashLine if mark.is_absent else Qt.PenStyle.SolidLine
        painter.setPen(QPen(QColor(theme().accent), 2.0, style))
        painter.drawEllipse(head, RING_PX / 2, RING_PX / 2)
    painter.setPen(QPen(colour, 1.5))
    if mark.word in PLAIN:
        painter.drawEllipse(at, STABLE_PX / 2, STABLE_PX / 2)
    elif mark.is_absent:
        for end in (QPointF(CROSS_PX, CROSS_PX), QPointF(CROSS_PX, -CROSS_PX)):
            painter.drawLine(at - end, at + end)
    else:
        painter.setBrush(colour if mark.word in FILLED else Qt.BrushStyle.NoBrush)
        painter.drawPolygon(SHAPES[mark.word].translated(at))
    down = LETTER_BOX.height() / 2 + (RING_PX / 2 if mark.is_selected and mark.is_absent else LETTER_GAP_PX)
    painter.setPen(QColor(theme().accent) if mark.is_selected else colour)
    box = LETTER_BOX.translated(at + QPointF(0.0, down if mark.across_um <= 0 else -down))
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, mark.letter)


@dataclass(eq=False)
class _Row:
    session: int
    view: pg.ViewBox
    label: pg.LabelItem
    image: pg.ImageItem
    marks: _Marks
    centre_um: float = 0.0


class AlignedRows(QWidget):
    """Rows of straightened dendrites.

    Attributes
    ----------
    clicked
        Is called with the session of a row that was clicked, and the track of the mark under the mouse or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("rows")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.clicked: Callable[[int, int | None], object] = lambda _session, _track: None
        self._graphics = pg.GraphicsLayoutWidget()
        self._graphics.setBackground(theme().background)
        self._graphics.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._graphics.ci.layout.setSpacing(3)
        self._graphics.ci.layout.setContentsMargins(0, 0, 0, 0)
        self._graphics.viewport().installEventFilter(self)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(self._graphics)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self._rows: list[_Row] = []
        self._half_um = 1.0
        self._zoom = 0
        self._mouse: QPoint | None = None

    def lay_out(self, sessions: Sequence[int], half_um: float) -> None:
        """Make a row for each session, top to bottom; they reach ``half_um`` to each side of the dendrite."""
        self._half_um = half_um
        if [row.session for row in self._rows] == list(sessions):
            return
        self._graphics.clear()
        self._graphics.setMinimumHeight(ROW_PX * len(sessions))
        self._rows = [self._new_row(number, session) for number, session in enumerate(sessions)]

    def _new_row(self, number: int, session: int) -> _Row:
        label = self._graphics.addLabel("", row=number, col=0)
        label.setFixedWidth(LABEL_PX)
        view = self._graphics.addViewBox(row=number, col=1, invertY=True, enableMenu=False)
        view.setMouseEnabled(x=False, y=False)
        image = pg.ImageItem(axisOrder="row-major")
        marks = _Marks()
        for item in (image, marks):
            view.addItem(item, ignoreBounds=True)
        return _Row(session, view, label, image, marks)

    def show_image(self, session: int, image: NDArray[np.uint8] | None, step_um: float) -> None:
        """Show the dendrite in one session, shape (across, along); nothing while it is not drawn yet."""
        for row in self._rows:
            if row.session == session and row.image.image is not image:
                if image is None:
                    row.image.clear()
                    continue
                row.image.setImage(image, levels=(0, 255))
                length_um = image.shape[1] * step_um
                row.image.setRect(-step_um / 2, -self._half_um, length_um, 2 * self._half_um)

    def show_rows(self, looks: Sequence[RowLook]) -> None:
        """Show the marks of all rows, and the same place in the middle of each."""
        by_session = {look.session: look for look in looks}
        for row in self._rows:
            self._show_row(row, by_session[row.session])
        self._centre()

    def _show_row(self, row: _Row, look: RowLook) -> None:
        row.centre_um = look.centre_um
        colour = theme().accent if look.is_chosen else theme().quiet
        weight = "bold" if look.is_chosen else "normal"
        arrow = "▶ " if look.is_chosen else ""
        row.label.setText(f"<span style='color:{colour};font-weight:{weight}'>{arrow}{look.label}</span>", size="11pt")
        row.view.setBorder(pg.mkPen(theme().accent if look.is_chosen else theme().line, width=1))
        row.marks.show_marks(look.marks, self._half_um)

    def zoom(self, by: int) -> None:
        """Show less of the dendrite, larger; or more."""
        self._zoom = int(np.clip(self._zoom + by, 0, len(ZOOMS) - 1))
        self._centre()

    def _centre(self) -> None:
        for row in self._rows:
            width, height = row.view.width(), row.view.height()
            if width < 1 or height < 1:
                continue
            px_per_um = max(height / (2 * self._half_um), width / LONGEST_UM) * ZOOMS[self._zoom]
            half_x_um, half_y_um = width / px_per_um / 2, height / px_per_um / 2
            row.view.setRange(
                xRange=(row.centre_um - half_x_um, row.centre_um + half_x_um),
                yRange=(-half_y_um, half_y_um),
                padding=0,
            )

    def mouse_place(self) -> tuple[int, float, float] | None:
        """Return the session and the place (along, across, um) under the mouse; None outside the rows."""
        return None if self._mouse is None else self._place_at(self._graphics.mapToScene(self._mouse))

    def _place_at(self, point: QPointF) -> tuple[int, float, float] | None:
        for row in self._rows:
            if row.view.sceneBoundingRect().contains(point):
                inside = row.view.mapSceneToView(point)
                return row.session, float(inside.x()), -float(inside.y())
        return None

    def point_of(self, session: int, along_um: float, across_um: float) -> QPointF:
        """Return where a place lies on the screen, in pixels of the drawing: for whoever presses keys by program."""
        row = next(row for row in self._rows if row.session == session)
        inside = row.view.mapViewToScene(QPointF(along_um, -across_um))
        return QPointF(self._graphics.mapFromScene(inside))

    @property
    def canvas(self) -> QWidget | None:
        """What hears the mouse."""
        viewport: QWidget | None = self._graphics.viewport()
        return viewport

    def _press(self, at: QPoint) -> None:
        place = self._place_at(self._graphics.mapToScene(at))
        if place is not None:
            row = next(row for row in self._rows if row.session == place[0])
            self.clicked(row.session, self._nearest(row, QPointF(at)))

    def _nearest(self, row: _Row, at: QPointF) -> int | None:
        """Return the track whose head or mark was hit, None when there is none."""
        away: list[tuple[float, int]] = []
        for mark in row.marks.marks:
            for y_um in (-mark.across_um, _mark_um(mark, self._half_um)):
                hit = QPointF(self._graphics.mapFromScene(row.view.mapViewToScene(QPointF(mark.along_um, y_um)))) - at
                away.append((float(np.hypot(hit.x(), hit.y())), mark.track_id))
        nearest = min(away, default=(np.inf, -1))
        return nearest[1] if nearest[0] <= HIT_PX else None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Let the wheel zoom, and remember where the mouse is."""
        if isinstance(event, QMouseEvent):
            self._mouse = event.position().toPoint()
            if event.type() == QEvent.Type.MouseButtonPress and event.button() is Qt.MouseButton.LeftButton:
                self._press(self._mouse)
        elif event is not None and event.type() == QEvent.Type.Leave:
            self._mouse = None
        if isinstance(event, QWheelEvent) and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom(1 if event.angleDelta().y() > 0 else -1)
            return True
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Keep the place in the middle."""
        super().resizeEvent(event)
        self._centre()


def _mark_um(mark: SpineMark, half_um: float) -> float:
    """Return where the mark lies, um down the screen: beyond the head, in the row; of an absent spine in its place."""
    y_um = -mark.across_um
    if mark.is_absent:
        return y_um
    most_um = half_um - EDGE_UM
    return float(np.clip(y_um + (GAP_UM if y_um >= 0 else -GAP_UM), -most_um, most_um))
