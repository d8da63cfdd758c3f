"""Save: what was changed and not saved yet, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PyQt6.QtWidgets import QHBoxLayout, QListWidget, QVBoxLayout

from acquire.gui.commands import Command
from acquire.gui.page import quiet, wrapped
from acquire.gui.rig_tab import NO_DRAFT, RigTab, line
from acquire.gui.rig_view import Draft
from acquire.rigfile import why_not_name

EXPLAINED = (
    "Only pixel sizes, power, limits and orientation are written; comments, order and everything else of the file "
    "stay. The file as it was is kept beside it, dated. A config that travels with the program is never overwritten."
)
RUNNING = "The rig runs with what the file says."
WAITING = "! The rig still runs with what the file said when it was opened: Reopen closes the light and opens it anew."
CLOSED = "The rig is not open."
NOTHING = "nothing was changed"
NO_PATH = "say where: the config that is open travels with the program and is never overwritten"


class SaveTab(RigTab):
    """Saves the draft."""

    title = "Save"
    icon = "mdi6.content-save-outline"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.source = wrapped("", "save-source")
        self.force = wrapped("", "save-force")
        self.path = line("save-path", "my-rig.toml")
        self.path.textChanged.connect(self.refresh)
        self.changes = QListWidget()
        self.changes.setObjectName("save-changes")
        self.changes.setWordWrap(True)
        self.saved: Callable[[Draft], object] = lambda _draft: None

    def lay_out(self) -> None:
        """Put it in its place."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 12, 0, 0)
        target = QHBoxLayout()
        target.addWidget(quiet("File"))
        target.addWidget(self.path, 1)
        target.addWidget(self.buttons["save-rig"])
        layout.addWidget(self.source)
        layout.addWidget(self.changes, 1)
        layout.addLayout(target)
        running = QHBoxLayout()
        running.addWidget(self.force, 1)
        running.addWidget(self.buttons["reopen-rig"])
        layout.addLayout(running)
        layout.addWidget(quiet(EXPLAINED))

    def commands(self) -> Sequence[Command]:
        """Save, and have the rig run with it."""
        why_not = self.desk.why_not_reopen
        return (
            Command("save-rig", "Save", "Ctrl+S", self.icon, self._save, self._why_not),
            Command("reopen-rig", "Reopen the rig", "Ctrl+R", "mdi6.restart", self._reopen, why_not),
        )

    def primary(self) -> Sequence[str]:
        """Return the button that stands out."""
        return ("save-rig",)

    def show_draft(self, draft: Draft) -> None:
        """Show what is not saved yet."""
        if self.draft is None or self.draft.source != draft.source:
            self.path.setText(draft.own_path)
        super().show_draft(draft)
        self.source.setText(f"Read from {draft.source}")
        self.changes.clear()
        self.changes.addItems(draft.changes or (NOTHING,))

    def refresh(self) -> None:
        """Ask every button whether it can be pressed; say whether the rig runs with what the file says."""
        super().refresh()
        rig, draft = self.desk.rig, self.draft
        if rig is None:
            self.force.setText(CLOSED)
        elif draft is not None:
            self.force.setText(RUNNING if draft.is_in_force(rig.config) else WAITING)

    def _why_not(self) -> str | None:
        if self.draft is None:
            return NO_DRAFT
        if not self.draft.changes:
            return NOTHING
        path = self.path.text().strip()
        return why_not_name(Path(path).expanduser()) if path else NO_PATH

    def _save(self) -> None:
        draft, path = self.draft, Path(self.path.text().strip()).expanduser()
        if draft is not None:
            self.desk.read(f"saving {path.name}", lambda: draft.save(path), self._was_saved)

    def _reopen(self) -> None:
        own = "" if self.draft is None else self.draft.own_path
        self.desk.reopen(own or self.desk.rig_name, self._read_again)

    def _read_again(self) -> None:
        if self.draft is not None:
            self.desk.read("the rig config", self.draft.read_again, self.saved)

    def _was_saved(self, done: tuple[Draft, str]) -> None:
        draft, told = done
        self.saved(draft)
        self.desk.tell(told)
