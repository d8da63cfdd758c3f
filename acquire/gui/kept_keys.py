"""Keys that stay with what is typed into: letters in a name or a list decide nothing on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PyQt6.QtCore import QEvent, QObject, Qt
from PyQt6.QtGui import QKeyEvent, QKeySequence
from PyQt6.QtWidgets import QWidget


class KeptKeys(QObject):
    """Keeps the keys of a page from acting while somebody types.

    Parameters
    ----------
    keys
        Key sequences of the page.
    leave
        Is called when Esc is pressed in one of them; the window hears Esc too, and stops.
    """

    def __init__(self, keys: Iterable[str], leave: Callable[[], object], parent: QObject) -> None:
        super().__init__(parent)
        self._keys = {_plain(QKeySequence(key)) for key in keys if key}
        self._leave = leave

    def watch(self, *widgets: QWidget) -> None:
        """Keep the keys while one of these has the focus."""
        for widget in widgets:
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Keep a key of the page for the widget; leave it with Esc."""
        if not isinstance(event, QKeyEvent):
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.ShortcutOverride and _plain(QKeySequence(event.keyCombination())) in self._keys:
            event.accept()
            return True
        if event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Escape:
            self._leave()
        return super().eventFilter(watched, event)


def _plain(keys: QKeySequence) -> str:
    """Return a key without Shift and the key pad: "B" is "b"."""
    text = keys.toString(QKeySequence.SequenceFormat.PortableText)
    return text.replace("Shift+", "").replace("Num+", "").replace("Enter", "Return")
