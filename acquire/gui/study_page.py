"""Study: animals by sessions, what is taken, analysed and reviewed, what is due next; opens an animal, adds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QAbstractTableModel, QModelIndex, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QFocusEvent, QKeyEvent
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QTableView, QVBoxLayout

from acquire.glance import StudyOverview
from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.page import CommandButton, Page, in_tab_order, quiet, wrapped
from acquire.gui.status import DeskStatus, Known
from acquire.gui.study_view import Cell, StudyTable, limit_of, table_of, why_not_animal
from acquire.gui.theme import colour_of

if TYPE_CHECKING:
    from acquire.store import Study

NO_STUDY = "make the study first, on the page Session"
NOTHING_CHOSEN = "choose an animal in the table first"
BLIND = "hidden while somebody reviews blind (Review, Ctrl+B ends it)"
LEGEND = "✓ whole and comparable    ! something is lacking    ✗ cannot be read    Point at a cell for each field"
LINE_PX = 130
NEXT_PX, DAY_PX = 260, 212


class StudyModel(QAbstractTableModel):
    """Hands the cells of a study to the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = StudyTable()

    def show_table(self, table: StudyTable) -> None:
        """Show another table."""
        self.beginResetModel()
        self.table = table
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's
        """Return how many animals there are."""
        return 0 if parent.isValid() else len(self.table.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(self.table.columns)

    def cell(self, index: QModelIndex) -> Cell:
        """Return what a cell says."""
        return self.table.rows[index.row()][index.column()]

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return text, colour or tool tip of a cell."""
        if not index.isValid():
            return None
        cell = self.cell(index)
        return {
            Qt.ItemDataRole.DisplayRole: cell.text,
            Qt.ItemDataRole.AccessibleTextRole: cell.text,
            Qt.ItemDataRole.ToolTipRole: cell.tip,
            Qt.ItemDataRole.ForegroundRole: QColor(colour_of(cell.light)) if cell.light else None,
            Qt.ItemDataRole.TextAlignmentRole: Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop,
        }.get(Qt.ItemDataRole(role))

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return days and animals."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        names = self.table.columns if orientation == Qt.Orientation.Horizontal else self.table.labels
        return names[section] if section < len(names) else None


class StudyTableView(QTableView):
    """The table; Enter and a double click open the animal of the row."""

    opened = pyqtSignal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("study-table")
        self.setWordWrap(True)
        self.setAlternatingRowColors(False)
        self.setTabKeyNavigation(False)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.doubleClicked.connect(lambda index: self.opened.emit(index.row()))
        for header in (self.horizontalHeader(), self.verticalHeader()):
            if header is not None:
                header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                header.setHighlightSections(False)

    def keyPressEvent(self, e: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Open the animal of the row with Enter."""
        if e is not None and e.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.opened.emit(self.currentIndex().row())
            return
        super().keyPressEvent(e)


class StudyPage(Page):
    """The whole study.

    Parameters
    ----------
    desk
        Study, rig and session.
    on_open
        Is called with the animal that shall be opened.
    """

    title = "Study"
    icon = "mdi6.table-large"

    def __init__(self, desk: Desk, on_open: Callable[[str], object] = lambda _animal: None) -> None:
        super().__init__(desk)
        self.on_open = on_open
        self.model = StudyModel()
        self.table = StudyTableView()
        self.table.setModel(self.model)
        self.table.opened.connect(self._open_row)
        self.summary = wrapped("", "study-summary")
        self.animal = _line("study-new-id", "M042")
        self.group = QComboBox()
        self.group.setObjectName("study-new-group")
        self.group.setEditable(True)
        self.limit = _line("study-new-limit", "none")
        self.refusal = wrapped()
        self.refusal.setObjectName("study-new-refusal")
        self._overview = StudyOverview("")
        self._known: Known | None = None
        self._is_reading = False
        self._buttons = {one.name: CommandButton(one, primary=one.name == "open-animal") for one in self.commands()}
        self._build()

    def _build(self) -> None:
        title = QLabel("Study")
        title.setObjectName("title")
        head = QHBoxLayout()
        head.addWidget(title)
        head.addWidget(self.summary, 1)
        for name in ("open-animal", "read-study"):
            head.addWidget(self._buttons[name])
        self._group_label = quiet("Group")
        newcomer = QHBoxLayout()
        for widget in (quiet("New animal"), self.animal, self._group_label, self.group, quiet("Power limit (mW)")):
            newcomer.addWidget(widget)
        newcomer.addWidget(self.limit)
        newcomer.addWidget(self._buttons["add-to-study"])
        newcomer.addWidget(self.refusal, 1)
        for widget in (self.animal, self.group, self.limit):
            widget.setFixedWidth(LINE_PX)
        for line in (self.animal, self.limit):
            line.textChanged.connect(self._refresh_buttons)
            line.returnPressed.connect(self._add_typed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(14)
        layout.addLayout(head)
        layout.addWidget(self.table, 1)
        layout.addWidget(quiet(LEGEND))
        layout.addLayout(newcomer)
        in_tab_order(self.table, *(self._buttons[name] for name in ("open-animal", "read-study")), self.animal)
        in_tab_order(self.animal, self.group, self.limit, self._buttons["add-to-study"])

    def focusInEvent(self, event: QFocusEvent | None) -> None:  # noqa: N802 - Qt's name
        """Begin in the table."""
        super().focusInEvent(event)
        self.table.setFocus()

    def commands(self) -> Sequence[Command]:
        """Open an animal, add one, read the study again."""
        return (
            Command("open-animal", "Open animal", "Ctrl+O", "mdi6.arrow-right-bold", self._open, self._why_not_open),
            Command("read-study", "Read again", "F5", "mdi6.refresh", self.read, self._why_not_read),
            Command("add-to-study", "Add animal", "", "mdi6.plus", self._add, self._why_not_add),
        )

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot; what is on disk is read anew after every verb."""
        if status.is_blind:
            self._hide()
        elif status.known is not self._known and not self._is_reading and self.desk.study is not None:
            self._known = status.known
            self.read()
        self._refresh_buttons()

    def _hide(self) -> None:
        """Show nothing of the study to one who is blind; afterwards it is read again."""
        if self.model.table.rows:
            self.show_overview(StudyOverview(""))
        self._known = None
        self.summary.setText(BLIND)

    def read(self) -> None:
        """Read the study, beside the rig."""
        study = self.desk.study
        if study is None or self._is_reading:
            return
        self._is_reading = True
        self.desk.read("the study", lambda: self._read_once(study), self._show_read)

    def _read_once(self, study: Study) -> StudyOverview:
        from acquire.overview import study_overview

        try:
            return study_overview(study)
        finally:
            self._is_reading = False

    def _show_read(self, overview: StudyOverview) -> None:
        if not self.desk.is_blind:
            self.show_overview(overview)

    def show_overview(self, overview: StudyOverview) -> None:
        """Show what was read; the choice stays where it was."""
        chosen, column = self._chosen(), max(self.table.currentIndex().column(), 0)
        self._overview, table = overview, table_of(overview)
        self.model.show_table(table)
        self.summary.setText(table.summary)
        for number in range(len(table.columns)):
            self.table.setColumnWidth(number, NEXT_PX if number == 0 else DAY_PX)
        self.table.resizeRowsToContents()
        self._choose(chosen if chosen in table.animals else next(iter(table.animals), ""), column)
        for widget in (self._group_label, self.group):
            widget.setVisible(not overview.is_blind)
        typed = self.group.currentText()
        self.group.clear()
        self.group.addItems(["", *overview.groups])
        self.group.setCurrentText(typed)
        self._refresh_buttons()

    # ---- what the buttons do -----------------------------------------------------------------------------------

    def _refresh_buttons(self) -> None:
        for button in self._buttons.values():
            button.refresh()
        typed = bool(self.animal.text().strip() or self.limit.text().strip())
        self.refusal.setText((self._why_not_add() or "") if typed else "")

    def _chosen(self) -> str:
        row = self.table.currentIndex().row()
        animals = self.model.table.animals
        return animals[row] if 0 <= row < len(animals) else ""

    def _choose(self, animal: str, column: int) -> None:
        animals, columns = self.model.table.animals, len(self.model.table.columns)
        if animal in animals and columns:
            self.table.setCurrentIndex(self.model.index(animals.index(animal), min(column, columns - 1)))

    def _why_not_open(self) -> str | None:
        return None if self._chosen() else NOTHING_CHOSEN

    def _open(self) -> None:
        self.on_open(self._chosen())

    def _open_row(self, row: int) -> None:
        self.on_open(self.model.table.animals[row])

    def _why_not_read(self) -> str | None:
        if self.desk.is_blind:
            return BLIND
        return NO_STUDY if self.desk.study is None else None

    def _why_not_add(self) -> str | None:
        if self.desk.study is None:
            return NO_STUDY
        return self.desk.why_not_study() or why_not_animal(self.animal.text(), self.limit.text(), self._overview)

    def _add_typed(self) -> None:
        if (refusal := self._why_not_add()) is None:
            self._add()
        else:
            self.desk.refuse(refusal)

    def _add(self) -> None:
        group = "" if self._overview.is_blind else self.group.currentText().strip()
        self.desk.new_animal(self.animal.text().strip(), group, limit_of(self.limit.text()))
        self.animal.clear()
        self.limit.clear()


def _line(name: str, hint: str) -> QLineEdit:
    line = QLineEdit()
    line.setObjectName(name)
    line.setPlaceholderText(hint)
    return line
