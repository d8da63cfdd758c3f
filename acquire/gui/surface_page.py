"""Surface: the map of the vessels, today's image in it, the landmarks, and how the head sits today."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import LIVE_SURFACE, NO_SESSION, Desk
from acquire.gui.flicker import FLICKER
from acquire.gui.map_picture import BOTH, MAP, MapPicture
from acquire.gui.map_view import (
    CANDIDATE,
    MapView,
    read_pixel_um,
    read_places,
    tell_fields,
)
from acquire.gui.page import CommandButton, OneOf, Page, polish, quiet, row_table, titled, wrapped
from acquire.gui.status import DeskStatus
from acquire.gui.surface_live import SurfaceLive
from acquire.gui.theme import colour_of
from acquire.gui.words import MARKS
from analysis.errors import ExperimentError
from analysis.model import Verdict

if TYPE_CHECKING:
    from acquire.landmarks import AlignmentRecord
    from acquire.model import StagePosition
    from acquire.rig import Rig
    from acquire.session import Session

SIDE_PX = 470
NO_MAP = "map the vessels first"
NO_MARK = "choose a landmark in the table or in the map first"
NO_TODAY = "today's image is not in the map yet"
COLUMNS = ("Landmark", "Off (um)", "x today", "y today")
X_COLUMN, Y_COLUMN = 2, 3
PUT = "click in the map, or move the cross with the arrow keys (Shift: faster) and press Enter"


class SurfacePage(Page):
    """Says where the fields must be today."""

    title = "Surface"
    icon = "mdi6.map-search-outline"
    shows_live = (LIVE_SURFACE,)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.map = MapPicture()
        self.map.placed.connect(self._put)
        self.map.dragged.connect(self._drag)
        self.map.chosen.connect(self._choose)
        self.live = SurfaceLive(desk, self.map)
        self.hint = quiet()
        self.verdict = QLabel()
        self.verdict.setObjectName("verdict")
        self.told = wrapped("", "registration")
        self.alignment = wrapped("", "alignment")
        self.expected = wrapped("", "expected")
        self.rows, self.columns = (_tiles(name) for name in ("tile-rows", "tile-columns"))
        self.photograph = _line("photograph", "PNG or TIFF from another microscope")
        self.pixel = _line("photograph-pixel", "um")
        self.table = self._table()
        self._view: MapView | None = None
        self._moving = ""
        self._seen: object = None
        commands = self._own_commands()
        self._buttons = {each.name: CommandButton(each, show_key=len(each.key) == 1) for each in commands}
        self._buttons["map-surface"].setProperty("primary", True)
        self._modes = self._mode_buttons()
        self._build()

    def _table(self) -> QTableWidget:
        table = row_table("landmarks", COLUMNS)
        header = table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        table.itemSelectionChanged.connect(self._selected)
        return table

    def _mode_buttons(self) -> OneOf:
        group = OneOf(self)
        for name in ("show-map", "show-both", "show-flicker"):
            self._buttons[name].setCheckable(True)
            group.addButton(self._buttons[name])
        self._buttons["show-map"].setChecked(True)
        return group

    def _build(self) -> None:
        title = QLabel("Surface")
        title.setObjectName("title")
        above = _row(title, self.live.button, *self._named("show-map", "show-both", "show-flicker"))
        above.insertStretch(1)
        left = QVBoxLayout()
        left.addLayout(above)
        left.addWidget(self.live, 1)
        left.addWidget(self.hint)
        tiles = _row(*self._named("map-surface"), quiet("rows"), self.rows, quiet("columns"), self.columns)
        tiles.setStretch(0, 1)
        self._photo = QWidget()
        photo = QVBoxLayout(self._photo)
        photo.setContentsMargins(0, 0, 0, 0)
        photo.addLayout(_row(self.photograph, *self._named("choose-photograph")))
        photo.addLayout(_row(quiet("Pixel (um)"), self.pixel, *self._named("show-photograph", "use-photograph")))
        self._making = titled("Map: camera images, or a photograph", _widget(tiles), self._photo)
        today = titled("Today", self.verdict, self.told, self.alignment)
        marks = titled(
            "Landmarks, and where they are on the stage today (um): centre one, Here; two and more, Align",
            self.table,
            _widget(_row(*self._named("add-mark", "move-mark", "refuse-mark"))),
            _widget(_row(*self._named("here", "align"))),
        )
        self.table.setMinimumHeight(200)
        inside = QWidget()
        side = QVBoxLayout(inside)
        side.setContentsMargins(0, 0, 6, 0)
        for panel in (self._making, today, marks, titled("Fields: how well their place is known", self.expected)):
            side.addWidget(panel)
        side.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(inside)
        scroll.setFixedWidth(SIDE_PX)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        whole = QHBoxLayout(self)
        whole.setContentsMargins(16, 12, 8, 12)
        whole.addLayout(left, 1)
        whole.addWidget(scroll)

    def _named(self, *names: str) -> list[CommandButton]:
        return [self._buttons[name] for name in names]

    def commands(self) -> Sequence[Command]:
        """Map, show, mark, align, watch."""
        return (*self._own_commands(), *self.live.commands())

    def _own_commands(self) -> Sequence[Command]:
        show = self.map.show_as
        return (
            Command("map-surface", "Map the vessels", "Ctrl+M", "mdi6.camera", self._map, self._why_not_map),
            Command("choose-photograph", "…", "", "", self._browse, self._why_not_map),
            Command("show-photograph", "Show", "", "mdi6.image-outline", self._show_photograph, self._why_not_photo),
            Command("use-photograph", "Use as map", "", "mdi6.check", self._use_photograph, self._why_not_use),
            Command("show-map", "Map", "1", "mdi6.map-outline", partial(show, MAP), self._why_not_seen),
            Command("show-both", "Both", "2", "mdi6.layers-outline", partial(show, BOTH), self._why_not_both),
            Command("show-flicker", "Flicker", "3", "mdi6.flip-horizontal", partial(show, FLICKER), self._why_not_both),
            Command("add-mark", "Add", "A", "mdi6.plus", self._add, self._why_not_add),
            Command("move-mark", "Move", "M", "mdi6.cursor-move", self._move, self._why_not_change),
            Command("refuse-mark", "Refuse", "Del", "mdi6.close", self._refuse, self._why_not_change),
            Command("here", "Here", "H", "mdi6.crosshairs-gps", self._here, self._why_not_here),
            Command("align", "Align", "Ctrl+L", "mdi6.axis-arrow", self._align, self._why_not_align),
        )

    # ---- what is shown -----------------------------------------------------------------------------------------

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot; read the map again when it may be another."""
        known = status.known
        seen = (known.record, known.landmarks, known.is_aligned, known.has_map, known.fields)
        if seen != self._seen and not status.doing:
            self._seen = seen
            self._read()
        self.live.show_status(status)
        self.hint.setVisible(not self.live.is_on)
        self._making.setVisible(not known.has_surface)
        self._photo.setVisible(not known.has_map)
        for button in self._buttons.values():
            button.refresh()

    def _read(self) -> None:
        session = self.desk.session
        if session is None:
            self.show_map(None)
        else:
            self.desk.read("reading the map", partial(_read_map, session), self.show_map)

    def show_map(self, view: MapView | None) -> None:
        """Show a map and what is known of it."""
        self._view, self._moving = view, ""
        self.map.show_map(view)
        verdict = None if view is None else view.verdict
        self.verdict.setText("" if verdict is None else f"{MARKS[verdict]}  vessels {verdict}")
        self.verdict.setStyleSheet(f"color: {colour_of(verdict)}; font-size: 14pt; font-weight: bold;")
        self.verdict.setVisible(verdict is not None)
        self.told.setText("no map yet" if view is None else "\n".join(view.told))
        self.expected.setText(
            "\n".join(tell_fields(view.fields)) if view is not None and view.fields else "no field yet"
        )
        self._tell_hint()
        self._show_marks()
        if (view is None or view.today is None) and not self._buttons["show-map"].isChecked():
            self._buttons["show-map"].setChecked(True)
            self.map.show_as(MAP)

    def _tell_hint(self) -> None:
        view = self._view
        hint = (
            "" if view is None else f"map of {view.session}; squares: fields; dashed: 2 sigma of where they are today"
        )
        if self.map.has_cross:
            hint = f"{self._moving or 'new landmark'}: {PUT}"
        elif view is not None and view.both is not None:
            hint += "; Both: map magenta, today green"
        self.hint.setText(hint)

    def _show_marks(self) -> None:
        typed = {name: (x, y) for name, x, y in self._typed()}
        chosen = self._chosen()
        marks = () if self._view is None else self._view.marks
        self.table.blockSignals(True)
        self.table.setRowCount(len(marks))
        for row, mark in enumerate(marks):
            off = "-" if mark.off_um is None else f"{mark.off_um:.1f}"
            for column, text in enumerate((mark.name, off, *typed.get(mark.name, ("", "")))):
                item = QTableWidgetItem(text)
                if column < X_COLUMN:
                    item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)
        self._choose(chosen)

    def _typed(self) -> list[tuple[str, str, str]]:
        """Return what the table says of where landmarks are today: name, x, y."""
        return [
            (self._cell(row, 0), self._cell(row, X_COLUMN), self._cell(row, Y_COLUMN))
            for row in range(self.table.rowCount())
        ]

    def _cell(self, row: int, column: int) -> str:
        item = self.table.item(row, column)
        return "" if item is None else item.text()

    # ---- choosing a landmark -----------------------------------------------------------------------------------

    def _chosen(self) -> str:
        return self._cell(self.table.currentRow(), 0) if self.table.selectedItems() else ""

    def _choose(self, name: str) -> None:
        names = [typed[0] for typed in self._typed()]
        if name in names:
            self.table.selectRow(names.index(name))
        else:
            self.table.clearSelection()

    def _selected(self) -> None:
        self.map.select(self._chosen())

    # ---- mapping -----------------------------------------------------------------------------------------------

    def _why_not_map(self) -> str | None:
        if not self.live.is_on and (refusal := self.desk.why_not(session=True)):
            return refusal
        is_mapped = self.desk.status.known.has_surface
        return "this session has its image of the vessels; begin a new one for another" if is_mapped else None

    def _map(self) -> None:
        self.desk.after_live(self._map_now)

    def _map_now(self) -> None:
        session, tiles = self.desk.session, (self.rows.value(), self.columns.value())
        if session is not None:
            self.desk.do("mapping the vessels", lambda: session.map_surface(tiles), self._mapped)

    def _mapped(self, _found: object) -> None:
        self._seen = None
        if self._view is None or self._view.session == CANDIDATE:
            self.desk.tell("this is the map; add, drag or refuse landmarks until they are forks that you find again")

    def _browse(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Photograph", "", "Pictures (*.png *.tif *.tiff)")
        if file:
            self.photograph.setText(file)

    def _why_not_photo(self) -> str | None:
        return self._why_not_map() or (None if self.photograph.text().strip() else "give the photograph's file first")

    def _show_photograph(self) -> None:
        self._with_photograph(
            lambda session, file, pixel_um: self.desk.read(
                "reading the photograph", partial(_read_candidate, file, pixel_um, session), self.show_map
            )
        )

    def _why_not_use(self) -> str | None:
        is_shown = self._view is not None and self._view.session == CANDIDATE
        return self._why_not_photo() or (None if is_shown else "show the photograph first")

    def _use_photograph(self) -> None:
        def use(session: Session, file: Path, pixel_um: float) -> None:
            places = read_places(self._typed())
            self.desk.do("keeping the photograph", lambda: session.map_photograph(file, pixel_um, places), self._mapped)

        self._with_photograph(use)

    def _with_photograph(self, act: Callable[[Session, Path, float], object]) -> None:
        session = self.desk.session
        try:
            if session is not None:
                act(session, Path(self.photograph.text().strip()), read_pixel_um(self.pixel.text()))
        except ExperimentError as error:
            self.desk.refuse(str(error))

    # ---- pictures ----------------------------------------------------------------------------------------------

    def _why_not_seen(self) -> str | None:
        return None if self._view is not None else NO_MAP

    def _why_not_both(self) -> str | None:
        return self._why_not_seen() or (None if self._view is not None and self._view.today is not None else NO_TODAY)

    # ---- landmarks ---------------------------------------------------------------------------------------------

    def _why_not_add(self) -> str | None:
        is_map = self._view is not None and self._view.session != CANDIDATE
        return self.desk.why_not(session=True) or (None if is_map else NO_MAP)

    def _why_not_change(self) -> str | None:
        return self._why_not_add() or (None if self._chosen() else NO_MARK)

    def _add(self) -> None:
        self._begin("")

    def _move(self) -> None:
        self._begin(self._chosen())

    def _begin(self, name: str) -> None:
        self._moving = name
        self.map.begin_cross(name)
        self._tell_hint()

    def _put(self, y_um: float, x_um: float) -> None:
        if self._moving:
            self._drag(self._moving, y_um, x_um)
            return
        session, view = self.desk.session, self._view
        if session is not None and view is not None:
            on_map, on_stage = view.place_of((y_um, x_um))
            self._change("adding a landmark", lambda: session.add_landmark(on_map, stage_xy_um=on_stage).name)

    def _drag(self, name: str, y_um: float, x_um: float) -> None:
        session, view = self.desk.session, self._view
        if self._why_not_add() is not None or session is None or view is None:
            self.desk.refuse(f"landmark {name} stays where it was: {self._why_not_add()}")
            self.show_map(view)
            return
        on_map, on_stage = view.place_of((y_um, x_um))
        self._change(f"moving landmark {name}", lambda: session.move_landmark(name, on_map, stage_xy_um=on_stage).name)

    def _refuse(self) -> None:
        session, name = self.desk.session, self._chosen()
        if session is not None:
            self._change(f"refusing landmark {name}", lambda: session.refuse_landmark(name).name)

    def _change(self, what: str, verb: Callable[[], str]) -> None:
        """Change a landmark; whatever came of it, the map is read again."""
        if not self.desk.do(what, verb, self._changed):
            self.show_map(self._view)
        self._seen = None

    def _changed(self, name: str) -> None:
        self.desk.tell(f"landmark {name}: done")

    # ---- aligning ----------------------------------------------------------------------------------------------

    def _why_not_here(self) -> str | None:
        has_row = self.table.selectedItems()
        return self.desk.why_not(session=True) or (None if has_row else NO_MARK)

    def _here(self) -> None:
        rig: Rig | None = self.desk.rig
        if rig is not None:
            self.desk.do("reading the stage", rig.position, partial(self._fill, self.table.currentRow()))

    def _fill(self, row: int, position: StagePosition) -> None:
        for column, value in ((X_COLUMN, position.x_um), (Y_COLUMN, position.y_um)):
            item = self.table.item(row, column)
            if item is not None:
                item.setText(f"{value:.1f}")
        following = min(row + 1, self.table.rowCount() - 1)
        self.table.selectRow(following)

    def _why_not_align(self) -> str | None:
        has_place = any(x.strip() or y.strip() for _, x, y in self._typed())
        return self._why_not_add() or (None if has_place else "say first where landmarks are today: centre one, Here")

    def _align(self) -> None:
        session = self.desk.session
        if session is None:
            self.desk.refuse(NO_SESSION)
            return
        try:
            places = read_places(self._typed())
        except ExperimentError as error:
            self.desk.refuse(str(error))
            return
        self.desk.do("aligning by landmarks", lambda: session.align_by_landmarks(places), self._aligned)

    def _aligned(self, alignment: AlignmentRecord) -> None:
        from acquire.commands import tell_alignment

        lines = tell_alignment(alignment)
        mark = MARKS[Verdict.UNSURE if alignment.left_out else Verdict.FOUND]
        self.alignment.setText("\n".join([f"{mark} aligned by landmarks", *lines]))
        polish(self.alignment)
        self.desk.tell(lines[0])


def _tiles(name: str) -> QSpinBox:
    box = QSpinBox()
    box.setObjectName(name)
    box.setRange(1, 9)
    box.setFixedWidth(56)
    return box


def _line(name: str, hint: str) -> QLineEdit:
    line = QLineEdit()
    line.setObjectName(name)
    line.setPlaceholderText(hint)
    return line


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return row


def _widget(layout: QHBoxLayout) -> QWidget:
    widget = QWidget()
    widget.setLayout(layout)
    return widget


def _read_map(session: Session) -> MapView | None:
    from acquire.gui.map_reading import read_map  # takes long to import

    return read_map(session)


def _read_candidate(file: Path, pixel_um: float, session: Session) -> MapView:
    from acquire.gui.map_reading import read_candidate

    return read_candidate(file, pixel_um, session)
