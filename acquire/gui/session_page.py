"""Session: which study, which animal, is the rig well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QGridLayout,
    QLabel,
    QLineEdit,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.findings import FindingList
from acquire.gui.page import CommandButton, Page, quiet, titled, wrapped
from acquire.gui.status import DeskStatus

if TYPE_CHECKING:
    from acquire.model import SessionRecord

NO_STUDY = "make the study first"
NO_ANIMAL = "choose an animal first"
NO_NAME = "give it a name first"
BLIND = "hidden: somebody reviews blind"
END_BLIND = "somebody reviews blind, and no animal is named; end blind first (Review, Ctrl+B)"


class SessionPage(Page):
    """Begins the sitting."""

    title = "Session"
    icon = "mdi6.clipboard-play-outline"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.animal = QComboBox()
        self.animal.setObjectName("animal")
        self.day = _line("day", "from the clock")
        self.who = _line("who", "your name")
        self.who.setText(desk.who)
        self.who.textChanged.connect(self._name_oneself)
        self.is_new = QCheckBox("the head was mounted anew: begin a new session")
        self.is_new.setObjectName("is-new")
        self.study_name = _line("study-name", desk.folder.name)
        self.hides_groups = QCheckBox("hide the groups")
        self.hides_groups.setObjectName("hide-groups")
        self.new_animal = _line("new-animal-id", "M042")
        self.group = QComboBox()
        self.group.setObjectName("group")
        self.group.setEditable(True)
        self.limit = _line("power-limit", "none")
        self.checks = FindingList("checks")
        self.cannot = quiet()
        self.state = wrapped("", "session-state")
        self._known_animals: tuple[str, ...] | None = None
        self._was_chosen = ""
        self._buttons = {
            command.name: CommandButton(command, show_key=bool(command.key)) for command in self.commands()
        }
        self._buttons["open-session"].setProperty("primary", True)
        self._build()

    def _build(self) -> None:
        title = QLabel("Session")
        title.setObjectName("title")
        sitting = QFormLayout()
        sitting.addRow("Animal", self.animal)
        sitting.addRow("Day", self.day)
        sitting.addRow("Who", self.who)
        sitting.addRow("", self.is_new)
        sitting.addRow("", self._buttons["open-session"])
        sitting.addRow("", self.state)
        self._newcomer = newcomer = QFormLayout()
        newcomer.addRow("Id", self.new_animal)
        newcomer.addRow("Group", self.group)
        newcomer.addRow("Power limit (mW)", self.limit)
        newcomer.addRow("", self._buttons["add-animal"])
        made = [("Name", self.study_name), ("", self.hides_groups), ("", self._buttons["make-study"])]
        self._study_panel = _panel("New study", _form(made))
        rig = titled("Rig", self._buttons["check-rig"], self.checks, self.cannot)
        grid = QGridLayout(self)
        grid.setContentsMargins(20, 16, 20, 16)
        grid.setSpacing(14)
        grid.addWidget(title, 0, 0, 1, 2)
        grid.addWidget(self._study_panel, 1, 0)
        grid.addWidget(_panel("Sitting", sitting), 2, 0)
        self._animal_panel = _panel("New animal", newcomer)
        grid.addWidget(self._animal_panel, 3, 0)
        grid.addWidget(rig, 1, 1, 3, 1)
        grid.setRowStretch(4, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)

    def commands(self) -> Sequence[Command]:
        """Open a session, add an animal, make the study, check the rig."""
        return (
            Command("open-session", "Open session", "Ctrl+Return", "mdi6.play", self._open, self._why_not_open),
            Command("add-animal", "Add animal", "Ctrl+N", "mdi6.plus", self._add, self._why_not_add),
            Command("make-study", "Make study", "Ctrl+M", "mdi6.folder-plus", self._make, self._why_not_make),
            Command(
                "check-rig",
                "Check the rig",
                "",
                "mdi6.stethoscope",
                self._check,
                self.desk.why_not,
            ),
        )

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        known = status.known
        animals = () if status.is_blind else known.animals
        if animals != self._known_animals:
            self._show_animals(animals, () if status.is_blind else known.groups)
        self.animal.setEnabled(not status.is_blind)
        self.animal.setPlaceholderText(BLIND if status.is_blind else "")
        self._newcomer.setRowVisible(self.group, not known.hides_groups)
        self._study_panel.setVisible(not known.study)
        self._animal_panel.setVisible(bool(known.study))  # both at once are higher than 768 pixels
        self.cannot.setText("\n".join(known.cannot))
        self.state.setText("" if known.record is None else _tell_session(known.record, is_blind=status.is_blind))
        for button in self._buttons.values():
            button.refresh()

    def _show_animals(self, animals: tuple[str, ...], groups: Sequence[str]) -> None:
        self._known_animals, self._was_chosen = animals, self.animal.currentText() or self._was_chosen
        self.animal.clear()
        self.animal.addItems(animals)
        if self._was_chosen in animals:
            self.animal.setCurrentText(self._was_chosen)
        self.group.clear()
        self.group.addItems(["", *groups])

    def choose(self, animal: str) -> None:
        """Choose an animal of the list."""
        self.animal.setCurrentText(animal)

    # ---- what the buttons do -----------------------------------------------------------------------------------

    def _name_oneself(self, who: str) -> None:
        self.desk.who = who

    def _why_not_open(self) -> str | None:
        if self.desk.is_blind:
            return END_BLIND
        if self.desk.session is not None:
            return f"session {self.desk.session.record.name} is open; close it first"
        return self.desk.why_not() or (None if self.animal.currentText() else NO_ANIMAL)

    def _open(self) -> None:
        day = _number(self.day.text())
        if isinstance(day, str):
            self.desk.refuse(f"day {day!r} is no number; leave it empty to take it from the clock")
            return
        self.desk.open_session(self.animal.currentText(), day=day, new=self.is_new.isChecked())

    def _why_not_add(self) -> str | None:
        if self.desk.study is None:
            return NO_STUDY
        return self.desk.why_not_study() or (None if self.new_animal.text().strip() else NO_NAME)

    def _add(self) -> None:
        limit_mw = _number(self.limit.text())
        if isinstance(limit_mw, str):
            self.desk.refuse(f"power limit {limit_mw!r} is no number; leave it empty for none")
            return
        animal = self.new_animal.text().strip()
        group = "" if self.desk.status.known.hides_groups else self.group.currentText().strip()
        self.desk.new_animal(animal, group, limit_mw)
        self.new_animal.clear()

    def _why_not_make(self) -> str | None:
        study = self.desk.study
        if study is not None:
            return f"the study {study.record.name} is open; begin the window in another folder to make another"
        return self.desk.why_not_study()

    def _make(self) -> None:
        name = self.study_name.text().strip() or self.desk.folder.name
        self.desk.new_study(name, blind=self.hides_groups.isChecked())

    def _check(self) -> None:
        self.checks.clear()
        self.desk.check_rig(self.checks.show_findings)


def _tell_session(record: SessionRecord, *, is_blind: bool) -> str:
    sitting = "blind" if is_blind else f"{record.name}, {record.animal}, day {record.day:g}"
    return f"Open: {sitting}, rig {record.rig}"


def _line(name: str, hint: str) -> QLineEdit:
    line = QLineEdit()
    line.setObjectName(name)
    line.setPlaceholderText(hint)
    return line


def _form(rows: Sequence[tuple[str, QWidget]]) -> QFormLayout:
    form = QFormLayout()
    for label, widget in rows:
        form.addRow(label, widget)
    return form


def _panel(title: str, form: QFormLayout) -> QFrame:
    inside = QWidget()
    inside.setLayout(form)
    return titled(title, inside)


def _number(text: str) -> float | str | None:
    """Return a typed number; None when nothing was typed, the text when it is none."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text
