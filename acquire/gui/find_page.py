"""Find: each field found again and compared with its reference; the stage nudged; a new field kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import LIVE, NO_FIELD, Desk
from acquire.gui.finding_view import (
    FieldRow,
    SearchPictures,
    field_rows,
    read_pictures,
    tell_found,
    tell_search,
    why_not_accept,
)
from acquire.gui.flicker import FLICKER
from acquire.gui.joystick import HELP, Joystick
from acquire.gui.live_picture import Poller
from acquire.gui.page import CommandButton, OneOf, Page, row_table, titled, wrapped
from acquire.gui.planes import BOTH, SIDE_BY_SIDE, Planes
from acquire.gui.status import DeskStatus, FieldStatus
from acquire.gui.theme import colour_of
from acquire.gui.words import MARKS

if TYPE_CHECKING:
    from acquire.model import FieldRecord, RelocationRecord

SIDE_PX = 404
COLUMNS = ("", "Field", "Verdict", "x  y  z today", "± xy, z")
NO_FIELDS = "the animal has no field yet: go live, move to a good place, keep it"


class FindPage(Page):
    """Leads back to the fields, and to new ones."""

    title = "Find"
    icon = "mdi6.crosshairs-question"
    shows_live = (LIVE,)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.table = self._table()
        self.joystick = Joystick(desk, desk.why_not_nudge)
        self.planes = Planes(self.joystick.turn)
        self.headline = QLabel()
        self.headline.setObjectName("headline")
        self.headline.setWordWrap(True)
        self.told = wrapped("", "evidence")
        self.steps = wrapped("", "steps")
        self.advice = wrapped("", "advice")
        self.name = QLineEdit()
        self.name.setObjectName("new-field-name")
        self.name.setPlaceholderText("next free name")
        self._rows: list[FieldRow] = []
        self._seen: object = None
        self._wanted: tuple[str, object] = ("", None)
        self._frames = 0
        commands = self._own_commands()
        self._buttons = {each.name: CommandButton(each, show_key=_is_letter(each.key)) for each in commands}
        for name in ("find", "keep-field"):
            self._buttons[name].setProperty("primary", True)
        self._groups = [self._exclusive("show-sides", "show-both", "show-flicker")]
        self._build()
        self._poller = Poller(self, self._look)

    def _table(self) -> QTableWidget:
        table = row_table("fields", COLUMNS)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        table.itemSelectionChanged.connect(self._chosen)
        return table

    def _exclusive(self, *names: str) -> OneOf:
        group = OneOf(self)
        for name in names:
            self._buttons[name].setCheckable(True)
            group.addButton(self._buttons[name])
        self._buttons[names[0]].setChecked(True)
        return group

    def _build(self) -> None:
        title = QLabel("Find")
        title.setObjectName("title")
        side = QVBoxLayout()
        side.addWidget(title)
        side.addWidget(self.table, 2)
        side.addLayout(self._button_row("find", "find-all"))
        inside = titled("", self.headline, self.told, self.steps, self.advice)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(inside)
        side.addWidget(scroll, 3)
        side.addLayout(self._button_row("accept", "search-here"))
        left = QWidget()
        left.setLayout(side)
        left.setFixedWidth(SIDE_PX)
        side.setContentsMargins(0, 0, 0, 0)
        below = QHBoxLayout()
        below.addWidget(titled(HELP, self.joystick), 1)
        below.addWidget(titled("New field, live view", self._keeping()), 1)
        right = QVBoxLayout()
        right.addLayout(self._button_row("show-sides", "show-both", "show-flicker", "plane-up", "plane-down"))
        right.addWidget(self.planes, 1)
        right.addLayout(below)
        whole = QHBoxLayout(self)
        whole.setContentsMargins(16, 10, 16, 10)
        whole.setSpacing(12)
        whole.addWidget(left)
        whole.addLayout(right, 1)

    def _button_row(self, *names: str) -> QHBoxLayout:
        row = QHBoxLayout()
        for name in names:
            row.addWidget(self._buttons[name])
        return row

    def _keeping(self) -> QWidget:
        keeping = QWidget()
        layout = QVBoxLayout(keeping)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.name)
        layout.addLayout(self._button_row("live", "keep-field"))
        layout.addWidget(self.joystick.power_row)
        return keeping

    def commands(self) -> Sequence[Command]:
        """Find, compare, accept, move, keep."""
        return (*self._own_commands(), *self.joystick.commands())

    def _own_commands(self) -> Sequence[Command]:
        show, plane = self.planes.show_as, self.planes.move_plane
        return (
            Command("find", "Find", "F", "mdi6.crosshairs", self._find, self._why_not_find),
            Command("find-all", "Find all", "Shift+F", "mdi6.playlist-play", self._find_all, self._why_not_all),
            Command("accept", "Accept unsure", "Y", "mdi6.check", self._accept, self._why_not_accept),
            Command("search-here", "From here", "S", "mdi6.radar", self._from_here, self._why_not_find),
            Command("show-sides", "Side by side", "1", "mdi6.view-split-vertical", partial(show, SIDE_BY_SIDE)),
            Command("show-both", "On top", "2", "mdi6.layers-outline", partial(show, BOTH), self._why_not_both),
            Command("show-flicker", "Flicker", "3", "mdi6.flip-horizontal", partial(show, FLICKER), self._why_not_both),
            Command("plane-up", "Higher", ",", "mdi6.chevron-up", partial(plane, -1), self._why_not_seen),
            Command("plane-down", "Deeper", ".", "mdi6.chevron-down", partial(plane, 1), self._why_not_seen),
            Command("next-field", "Next field", "N", "", partial(self._step_field, 1)),
            Command("previous-field", "Previous field", "P", "", partial(self._step_field, -1)),
            Command("live", "Live", "L", "mdi6.play-circle-outline", self._live, self._why_not_live),
            Command("keep-field", "Keep this field", "K", "mdi6.content-save-outline", self._keep, self._why_not_keep),
        )

    # ---- what is shown -----------------------------------------------------------------------------------------

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        rows = field_rows(status)
        if rows != self._rows:
            self._rows = rows
            self._show_rows(status.field)
        elif status.field != self._current():
            self._choose(status.field)
        field = status.chosen
        self._show_search(status, field)
        self._want_pictures(field)
        self._show_live(status)
        live = self._buttons["live"]
        live.setText("End live  L" if status.doing == LIVE else "Live  L")
        self.joystick.show_status(status)
        for button in self._buttons.values():
            button.refresh()

    def _show_rows(self, chosen: str) -> None:
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._rows))
        for number, row in enumerate(self._rows):
            texts = (row.turn, row.name, f"{MARKS[row.verdict]} {row.word}", row.place, row.known)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                if column == 2:
                    item.setForeground(QColor(colour_of(row.verdict)))
                self.table.setItem(number, column, item)
        self.table.blockSignals(False)
        names = [row.name for row in self._rows]
        self._choose(chosen if chosen in names else next(iter(names), ""))

    def _show_search(self, status: DeskStatus, field: FieldStatus | None) -> None:
        seen = (field, status.accepted)
        if seen == self._seen:
            return
        self._seen = seen
        told = tell_search(field, is_accepted=field is not None and field.name in status.accepted)
        verdict = None if field is None else field.verdict
        self.headline.setText(f"{MARKS[verdict]}  {told.headline}" if self._rows else NO_FIELDS)
        self.headline.setStyleSheet(f"color: {colour_of(verdict)}; font-size: 13pt; font-weight: bold;")
        self.told.setText("\n\n".join(told.lines))
        self.steps.setText("\n".join(told.steps))

    def _want_pictures(self, field: FieldStatus | None) -> None:
        """Have the pictures of a field read when it, or its last search, is another than the one on the screen."""
        session = self.desk.session
        if field is None or session is None:
            if self._wanted != ("", None):
                self._wanted = ("", None)
                self._show_pictures(("", None), None)
            return
        wanted = field.name, None if field.relocation is None else field.relocation.ended
        if wanted != self._wanted:
            self._wanted = wanted
            self.planes.show_pictures(None)
            self.desk.read(
                f"pictures of {field.name}",
                partial(read_pictures, session, field.name),
                partial(self._show_pictures, wanted),
            )

    def _show_pictures(self, wanted: tuple[str, object], pictures: SearchPictures | None) -> None:
        if wanted != self._wanted:  # another field was chosen meanwhile
            return
        self.planes.show_pictures(pictures)
        self.advice.setText("" if pictures is None else pictures.advice)

    def _look(self) -> None:
        if self.desk.live is not None:
            self._show_live(self.desk.status)

    def _show_live(self, status: DeskStatus) -> None:
        if status.doing != LIVE:
            self.planes.end_live()
            return
        frame, rig = status.sight.frame, self.desk.rig
        if frame is None or rig is None or status.sight.frames == self._frames:
            return
        self._frames = status.sight.frames
        self.planes.show_live(frame if frame.ndim == 2 else frame[0], rig.config.scan.saturation)

    # ---- choosing ----------------------------------------------------------------------------------------------

    def _current(self) -> str:
        row = self.table.currentRow()
        return self._rows[row].name if 0 <= row < len(self._rows) and self.table.selectedItems() else ""

    def _choose(self, name: str) -> None:
        names = [row.name for row in self._rows]
        if name in names:
            self.table.selectRow(names.index(name))
        else:
            self.table.clearSelection()

    def _chosen(self) -> None:
        if self._current():
            self.desk.choose(self._current())

    def _step_field(self, way: int) -> None:
        row = self.table.currentRow() + way
        if 0 <= row < len(self._rows):
            self.table.selectRow(row)

    # ---- finding -----------------------------------------------------------------------------------------------

    def _field(self) -> FieldStatus | None:
        return self.desk.status.chosen

    def _why_not_find(self) -> str | None:
        refusal, field = self.desk.why_not(session=True), self._field()
        if refusal or field is None:
            return refusal or NO_FIELD
        return f"{field.name} was kept in this session; there is nothing to find" if field.is_new else None

    def _find(self) -> None:
        session, field = self.desk.session, self.desk.field
        if session is not None:
            self.desk.do(f"looking for {field}", lambda: session.relocate(field), self._found)

    def _from_here(self) -> None:
        session, rig, field = self.desk.session, self.desk.rig, self.desk.field
        if session is not None and rig is not None:
            self.desk.do(
                f"looking for {field} from here", lambda: session.relocate(field, near=rig.position()), self._found
            )

    def _found(self, record: RelocationRecord) -> None:
        self.desk.tell(f"{record.field} {record.verdict}: {record.evidence}")

    def _why_not_all(self) -> str | None:
        refusal = self.desk.why_not(session=True)
        return refusal or (None if any(row.turn for row in self._rows) else "no field was kept in an earlier session")

    def _find_all(self) -> None:
        session = self.desk.session
        if session is None:
            return

        def find() -> str:
            from acquire.commands import find_fields

            return tell_found(*find_fields(session, None, only_missing=True, found=lambda _: self.desk.know_anew()))

        self.desk.do("looking for all fields", find, self.desk.tell)

    def _why_not_accept(self) -> str | None:
        field = self._field()
        is_accepted = field is not None and self.desk.is_accepted(field.name)
        shown = self.planes.pictures if self.isVisible() else None
        return self.desk.why_not(field=True) or why_not_accept(field, shown, is_accepted=is_accepted)

    def _accept(self) -> None:
        self.desk.accept_unsure(self.desk.field)

    # ---- pictures ----------------------------------------------------------------------------------------------

    def _why_not_seen(self) -> str | None:
        return None if self.planes.pictures is not None else "there is no picture yet"

    def _why_not_both(self) -> str | None:
        pictures = self.planes.pictures
        return None if pictures is not None and pictures.today is not None else "there is no picture of today yet"

    # ---- moving, keeping ---------------------------------------------------------------------------------------

    def _is_live(self) -> bool:
        return self.desk.status.doing == LIVE

    def _why_not_live(self) -> str | None:
        return None if self._is_live() else self.desk.why_not(session=True)

    def _live(self) -> None:
        if self._is_live():
            self.desk.stop()
        else:
            self.joystick.setFocus()  # the table would keep the arrow keys
            self.desk.watch()

    def _why_not_keep(self) -> str | None:
        return None if self._is_live() else self.desk.why_not(session=True)

    def _keep(self) -> None:
        self.desk.after_live(self._keep_now)

    def _keep_now(self) -> None:
        session, name = self.desk.session, self.name.text().strip() or None
        if session is not None:
            self.desk.do("keeping this field", lambda: session.new_field(name), self._kept)

    def _kept(self, field: FieldRecord) -> None:
        self.name.clear()
        self.desk.choose(field.name)
        self.desk.tell(f"{field.name} is kept at {field.position}")


def _is_letter(key: str) -> bool:
    return len(key.removeprefix("Shift+")) == 1
