"""Close: what was done, what is left, and the end of the sitting."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtWidgets import QLabel, QVBoxLayout

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.page import CommandButton, Page, titled, wrapped
from acquire.gui.status import DeskStatus, FieldStatus
from acquire.gui.words import MARKS


class ClosePage(Page):
    """Ends the sitting."""

    title = "Close"
    icon = "mdi6.flag-checkered"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        title = QLabel("Close")
        title.setObjectName("title")
        self.report = wrapped("", "report")
        self.left = wrapped("", "left")
        self.reports = wrapped("", "reports")
        self.reports.setOpenExternalLinks(True)
        self._buttons = [CommandButton(command, primary=True, show_key=True) for command in self.commands()]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.addWidget(title)
        layout.addWidget(titled("This session", self.report))
        layout.addWidget(titled("Left to do", self.left))
        layout.addWidget(titled("Reports of the fields", self.reports))
        for button in self._buttons:
            layout.addWidget(button)
        layout.addStretch()

    def commands(self) -> Sequence[Command]:
        """Close the session."""
        return (
            Command(
                "close-session", "Close session", "Ctrl+Return", "mdi6.check",
                self.desk.close_session, lambda: self.desk.why_not(session=True),
            ),
        )  # fmt: skip

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        fields = status.known.fields
        if status.known.record is None:
            self.report.setText("No session is open.")
            self.left.setText("-")
        else:
            self.report.setText("\n".join(_line(field) for field in fields) or "No field yet.")
            self.left.setText("\n".join(_left(field) for field in fields if _left(field)) or "Nothing.")
        shown = () if status.is_blind else fields  # a report names animal and days
        links = [f'<a href="{field.report.as_uri()}">{field.name}</a>' for field in shown if field.report is not None]
        self.reports.setText("&nbsp;&nbsp; ".join(links) or "None yet.")
        for button in self._buttons:
            button.refresh()


def _line(field: FieldStatus) -> str:
    stack = "no stack" if not field.stacks else f"stack {MARKS[field.quality]} {field.advice}"
    return f"{field.name}: {MARKS[field.verdict]} {field.verdict or 'not looked for'}; {stack}; {field.dose_mj:.1f} mJ"


def _left(field: FieldStatus) -> str:
    if field.is_cut_short:
        return f"{field.name}: its stack was cut short; go on with it"
    if not field.stacks:
        return f"{field.name}: no stack in this session"
    return "" if field.is_analysed or field.sessions < 2 else f"{field.name}: not analysed yet"
