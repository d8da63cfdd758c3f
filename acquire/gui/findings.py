"""Findings in a list: a mark, the words, the colour of its light."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QListWidget, QListWidgetItem

from acquire.gui.theme import colour_of
from acquire.gui.words import MARKS
from acquire.model import Finding


class FindingList(QListWidget):
    """What was found, a line each; the worst is not hidden below."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setWordWrap(True)
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSpacing(2)

    def show_findings(self, findings: Sequence[Finding]) -> None:
        """Show findings in place of what was shown."""
        self.clear()
        for one in findings:
            item = QListWidgetItem(f"{MARKS[one.light]}  {one.text}")
            item.setForeground(QColor(colour_of(one.light)))
            self.addItem(item)

    def texts(self) -> list[str]:
        """Return the lines as they are read."""
        return [item.text() for row in range(self.count()) if (item := self.item(row)) is not None]
