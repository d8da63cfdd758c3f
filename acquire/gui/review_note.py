"""The line for a note about a spine: a note that was begun at one spine is written to no other."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtWidgets import QLineEdit


class NoteLine(QLineEdit):
    """Where a note is typed; Enter writes it.

    Parameters
    ----------
    write
        Is called with the note.
    leave
        Is called when there is nothing more to type.
    """

    def __init__(self, write: Callable[[str], object], leave: Callable[[], object]) -> None:
        super().__init__()
        self.setObjectName("note")
        self.setPlaceholderText("t: a note about this spine, then Enter")
        self._write, self._leave = write, leave
        self._here: object = None
        self._of: object = None
        self.textEdited.connect(self._begin)
        self.returnPressed.connect(self._end)

    def come_to(self, spine: object) -> str:
        """Be about another spine, None when there is none; return the note that was begun elsewhere and is dropped."""
        self._here = spine
        if self._of in (None, spine):
            return ""
        dropped = self.text().strip()
        if self.hasFocus():
            self._leave()
        self._forget()
        return dropped

    def _begin(self) -> None:
        self._of = self._of or self._here

    def _end(self) -> None:
        text, is_begun = self.text().strip(), self._of is not None
        self._forget()
        self._leave()
        if text and is_begun:
            self._write(text)

    def _forget(self) -> None:
        self.clear()
        self._of = None
