"""A small table of numbers that is only looked at."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from acquire.gui.numbers import Numbers

ROW_PX = 26
TIGHT = "QHeaderView::section { padding: 4px 1px; }"


class NumbersTable(QTableWidget):
    """Shows :class:`~acquire.gui.numbers.Numbers`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._shown: Numbers | None = None
        self.setObjectName(name)
        self.setStyleSheet(TIGHT)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        if (rows := self.verticalHeader()) is not None:
            rows.hide()
            rows.setMinimumSectionSize(ROW_PX)
            rows.setDefaultSectionSize(ROW_PX)
        if (columns := self.horizontalHeader()) is not None:
            columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            columns.setStretchLastSection(True)

    def show_numbers(self, numbers: Numbers) -> None:
        """Show a table; nothing is done when it is shown already."""
        if numbers == self._shown:
            return
        self._shown = numbers
        self.setColumnCount(len(numbers.columns))
        self.setRowCount(len(numbers.rows))
        self.setHorizontalHeaderLabels(list(numbers.columns))
        for row, values in enumerate(numbers.rows):
            for column, value in enumerate(values):
                item = QTableWidgetItem(value)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.setItem(row, column, item)
        if (columns := self.horizontalHeader()) is not None and numbers.columns:
            self.setMaximumHeight(columns.sizeHint().height() + ROW_PX * len(numbers.rows) + 4)

    @property
    def words(self) -> list[list[str]]:
        """What stands in it, row by row."""
        cells = [[self.item(row, column) for column in range(self.columnCount())] for row in range(self.rowCount())]
        return [["" if cell is None else cell.text() for cell in row] for row in cells]
