"""A page of the window, and the pieces that pages are made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import qtawesome
from PyQt6.QtCore import QObject, Qt
from PyQt6.QtGui import QIcon
from PyQt6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.status import DeskStatus
from acquire.gui.theme import theme

MARGIN_PX = 12


class Page(QWidget):
    """One page: shows what a status says, and offers commands.

    Attributes
    ----------
    shows_live
        Live views that can be seen on it, by what the desk calls them.
    """

    title = ""
    icon = ""
    shows_live: tuple[str, ...] = ()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.setObjectName(f"page-{self.title.lower()}")

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot; called often, so it must be cheap."""

    @property
    def unsaved(self) -> str | None:
        """What would be lost if the window were closed, in words; None when nothing would."""
        return None

    def commands(self) -> Sequence[Command]:
        """Return what can be done on this page; the window makes their keys work while it is in front."""
        return ()


class CommandButton(QPushButton):
    """The button of a command: grey with a reason when it cannot be done."""

    def __init__(self, command: Command, *, primary: bool = False, show_key: bool = False) -> None:
        super().__init__(f"{command.text}  {command.key}" if show_key else command.text)
        self.command = command
        self.setObjectName(command.name)
        self.setProperty("primary", primary)
        if command.icon:
            self.setIcon(icon(command.icon, dark=primary))
        self.clicked.connect(self._act)
        self.refresh()

    def _act(self) -> None:
        self.command.act()

    def refresh(self) -> None:
        """Ask whether it can be done now."""
        why_not = self.command.why_not()
        self.setEnabled(why_not is None)
        key = f"  [{self.command.key}]" if self.command.key else ""
        self.setToolTip(f"{self.command.text}{key}" if why_not is None else why_not)


class OneOf(QObject):
    """Keeps exactly one of some buttons checked; Tab reaches them all, of a QButtonGroup it reaches one."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._buttons: list[QAbstractButton] = []

    def addButton(self, button: QAbstractButton) -> None:  # noqa: N802 - as of a QButtonGroup
        """Add a button, which becomes checkable."""
        button.setCheckable(True)
        button.toggled.connect(partial(self._turned, button))
        self._buttons.append(button)

    def _turned(self, button: QAbstractButton, is_on: bool) -> None:
        others = [one for one in self._buttons if one is not button]
        if is_on:
            for other in others:
                other.setChecked(False)
        elif not any(other.isChecked() for other in others):
            button.setChecked(True)


def in_tab_order(*widgets: QWidget) -> None:
    """Have Tab go through widgets in this order."""
    for one, other in pairwise(widgets):
        QWidget.setTabOrder(one, other)


def icon(name: str, *, dark: bool = False) -> QIcon:
    """Return an icon of the font that travels with the program."""
    look = theme()
    made: QIcon = qtawesome.icon(name, color=look.background if dark else look.text, color_disabled=look.quiet)
    return made


def titled(title: str, *inside: QWidget, row: bool = False) -> QFrame:
    """Return a panel with a heading."""
    panel = QFrame()
    panel.setObjectName("panel")
    outer = QVBoxLayout(panel)
    outer.setContentsMargins(MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
    if title:
        outer.addWidget(quiet(title))
    inner = QHBoxLayout() if row else outer
    for widget in inside:
        inner.addWidget(widget)
    if row:
        outer.addLayout(inner)
    else:
        outer.addStretch()
    return panel


def quiet(text: str = "") -> QLabel:
    """Return a label that stands back."""
    label = QLabel(text)
    label.setProperty("quiet", True)
    label.setWordWrap(True)
    return label


def wrapped(text: str = "", name: str = "") -> QLabel:
    """Return a label whose text can be long and copied."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setObjectName(name)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def row_table(name: str, columns: Sequence[str]) -> QTableWidget:
    """Return a table whose rows are chosen one at a time; Tab leaves it."""
    table = QTableWidget(0, len(columns))
    table.setObjectName(name)
    table.setHorizontalHeaderLabels(columns)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTabKeyNavigation(False)
    rows = table.verticalHeader()
    if rows is not None:
        rows.hide()
    return table


def polish(widget: QWidget) -> None:
    """Let the style sheet look at a widget's changed properties."""
    style = widget.style()
    if style is not None:
        style.unpolish(widget)
        style.polish(widget)
