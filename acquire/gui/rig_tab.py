"""A tab of the rig page: what it shows of the draft, and how it changes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PyQt6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from acquire.config import RigConfig
from acquire.errors import RigError
from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.page import CommandButton
from acquire.gui.rig_view import Draft
from acquire.gui.status import DeskStatus

NO_DRAFT = "the rig config is not read yet"
SIDE_PX = 400


class RigTab(QWidget):
    """One tab.

    Parameters
    ----------
    desk
        Study, rig and session.
    change
        Takes a changed config into the draft.
    """

    title = ""
    icon = ""

    def __init__(self, desk: Desk, change: Callable[[RigConfig], object]) -> None:
        super().__init__()
        self.setObjectName(f"rig-{self.title.lower()}")
        self.desk = desk
        self.draft: Draft | None = None
        self._change = change
        self.make()
        self.buttons = {one.name: CommandButton(one, primary=one.name in self.primary()) for one in self.commands()}
        self.lay_out()

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""

    def lay_out(self) -> None:
        """Put it in its place."""

    def commands(self) -> Sequence[Command]:
        """Return what its buttons do."""
        return ()

    def primary(self) -> Sequence[str]:
        """Return the names of the buttons that stand out."""
        return ()

    def show_draft(self, draft: Draft) -> None:
        """Show another draft."""
        self.draft = draft
        self.refresh()

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        self.refresh()

    def refresh(self) -> None:
        """Ask every button whether it can be pressed."""
        for button in self.buttons.values():
            button.refresh()

    def apply(self, make: Callable[[RigConfig], RigConfig]) -> bool:
        """Change the draft; what is refused is told."""
        if self.draft is None:
            self.desk.refuse(NO_DRAFT)
            return False
        try:
            self._change(make(self.draft.config))
        except RigError as error:
            self.desk.refuse(str(error))
            return False
        return True


def refusal_of(make: Callable[[], object]) -> str | None:
    """Return why something that was typed cannot be used; None when it can."""
    try:
        make()
    except RigError as error:
        return str(error)
    return None


def line(name: str, hint: str = "", text: str = "") -> QLineEdit:
    """Return a line to type into."""
    typed = QLineEdit(text)
    typed.setObjectName(name)
    typed.setPlaceholderText(hint)
    return typed


def two_columns(
    tab: QWidget,
    left: Sequence[QWidget],
    right: Sequence[QWidget],
    *,
    stretches: Sequence[int] = (1,),
) -> None:
    """Lay out a tab: what is asked on the left, what is shown on the right."""
    side = QWidget()
    side.setFixedWidth(SIDE_PX)
    row = QHBoxLayout(tab)
    row.setContentsMargins(0, 12, 0, 0)
    row.setSpacing(14)
    column = QVBoxLayout(side)
    column.setContentsMargins(0, 0, 0, 0)
    for widget in left:
        column.addWidget(widget)
    column.addStretch()
    row.addWidget(side)
    wide = QVBoxLayout()
    for widget, stretch in zip(right, stretches, strict=True):
        wide.addWidget(widget, stretch)
    row.addLayout(wide, 1)
