"""The window: the pages in the order of the work on a rail, what is always in sight above, what happens below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PyQt6.QtCore import QEvent, QObject, QSize, Qt, QTimer, QUrl, pyqtSignal
from PyQt6.QtGui import QCloseEvent, QDesktopServices, QKeyEvent, QKeySequence, QShortcut
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QAbstractSpinBox,
    QApplication,
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QMessageBox,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QTextEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.page import Page, icon, polish
from acquire.gui.status import DeskStatus
from acquire.gui.strip import Strip
from acquire.gui.words import spoken_time

REFRESH_MS = 100
LOOK_MS = 1000
RAIL_PX = 168
SMALLEST = QSize(1180, 680)


class Bringer(QObject):
    """Calls functions in the thread of the window."""

    brought = pyqtSignal(object)

    def __init__(self) -> None:
        super().__init__()
        self.brought.connect(self._call, type=Qt.ConnectionType.QueuedConnection)  # type: ignore[call-arg]

    def bring(self, function: object) -> None:
        """Have a function called, later; from any thread."""
        self.brought.emit(function)

    def _call(self, function: object) -> None:
        if callable(function):
            function()


TYPED_INTO = (QLineEdit, QPlainTextEdit, QTextEdit, QAbstractSpinBox, QComboBox)
STEPS = {
    Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown,
    Qt.Key.Key_Home, Qt.Key.Key_End,
}  # fmt: skip


def is_typed(event: QKeyEvent, focus: QWidget | None) -> bool:
    """Tell whether a key belongs to the widget that has the focus: text that is typed, or steps through a list."""
    commanding = (
        Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier
    )
    if event.modifiers() & commanding or event.key() == Qt.Key.Key_Escape:
        return False
    if isinstance(focus, TYPED_INTO):
        return True
    return isinstance(focus, QAbstractItemView) and event.key() in STEPS


class Window(QMainWindow):
    """The experimenter's window.

    Parameters
    ----------
    desk
        Study, rig and session.
    pages
        In the order of the work.

    Attributes
    ----------
    has_left
        False when it was closed while a device hung.
    """

    def __init__(self, desk: Desk, pages: Sequence[Page]) -> None:
        super().__init__()
        self.desk = desk
        self.pages = list(pages)
        self.has_left = True
        self._leaving = False
        self._question: QMessageBox | None = None
        self.setMinimumSize(SMALLEST)
        self.strip = Strip()
        self.stack = QStackedWidget()
        self.rail = QWidget()
        self.rail.setObjectName("rail")
        self._build()
        for page in self.pages:
            self._give_keys(page)
        app = QApplication.instance()
        if app is not None:
            app.installEventFilter(self)
        QShortcut(QKeySequence("Ctrl+Q"), self).activated.connect(self.close)
        self._refreshing = self._timer(REFRESH_MS, self.refresh)
        self._looking = self._timer(LOOK_MS, desk.look)
        self.show_page(0)

    def _timer(self, interval_ms: int, act: Callable[[], object]) -> QTimer:
        timer = QTimer(self)
        timer.setInterval(interval_ms)
        timer.timeout.connect(act)
        timer.start()
        return timer

    # ---- layout ------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        rail = QVBoxLayout(self.rail)
        rail.setContentsMargins(0, 8, 0, 8)
        rail.setSpacing(2)
        self._buttons = QButtonGroup(self)
        for number, page in enumerate(self.pages):
            button = QToolButton()
            button.setObjectName(f"rail-{page.title.lower()}")
            button.setText(f"{number + 1}  {page.title}")
            button.setIcon(icon(page.icon))
            button.setIconSize(QSize(24, 24))
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setCheckable(True)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.setMinimumWidth(RAIL_PX)
            button.setToolTip(f"{page.title}  [Ctrl+{number + 1}]")
            button.clicked.connect(partial(self.show_page, number))
            key = QShortcut(QKeySequence(f"Ctrl+{number + 1}"), self)
            key.activated.connect(partial(self.show_page, number))
            self._buttons.addButton(button, number)
            rail.addWidget(button)
            self.stack.addWidget(page)
        rail.addStretch()
        middle = QHBoxLayout()
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(0)
        middle.addWidget(self.rail)
        middle.addWidget(self.stack, 1)
        whole = QWidget()
        layout = QVBoxLayout(whole)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.strip)
        layout.addLayout(middle, 1)
        layout.addWidget(self._foot())
        self.setCentralWidget(whole)

    def _foot(self) -> QWidget:
        foot = QWidget()
        foot.setObjectName("foot")
        self.message = QLabel()
        self.message.setObjectName("message")
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar()
        self.progress.setObjectName("progress")
        self.progress.setRange(0, 1000)
        self.progress.setFixedWidth(300)
        self.progress.setMinimumHeight(26)
        self.pause = QPushButton("Pause")
        self.pause.setObjectName("pause")
        self.pause.setToolTip("Hold the stack, dark, or go on  [Ctrl+Space]")
        self.pause.clicked.connect(self.desk.pause)
        QShortcut(QKeySequence("Ctrl+Space"), self).activated.connect(self.desk.pause)
        self.stop = QPushButton("STOP  Esc")
        self.stop.setObjectName("stop")
        self.stop.setToolTip("Stop everything and close the shutter  [Esc, from anywhere]")
        self.stop.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.stop.clicked.connect(self.desk.stop)
        row = QHBoxLayout(foot)
        row.setContentsMargins(10, 6, 10, 6)
        self.log = QPushButton("Log")
        self.log.setObjectName("log")
        self.log.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.desk.log_file))))
        self.log.hide()
        pieces = ((self.message, 1), (self.log, 0), (self.progress, 0), (self.pause, 0), (self.stop, 0))
        for widget, stretch in pieces:
            row.addWidget(widget, stretch)
        return foot

    def _give_keys(self, page: Page) -> None:
        for command in page.commands():
            if not command.key:
                continue
            key = QShortcut(QKeySequence(command.key), page)
            key.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)

            key.activated.connect(partial(self._press, command))

    def _press(self, command: Command) -> None:
        why_not = command.why_not()
        if why_not is None:
            command.act()
        else:
            self.say(why_not, False)

    # ---- what is shown -----------------------------------------------------------------------------------------

    def show_page(self, number: int, _checked: bool = False) -> None:
        """Bring a page to the front; a live view that it does not show ends, dark."""
        self.stack.setCurrentIndex(number)
        button = self._buttons.button(number)
        if button is not None:
            button.setChecked(True)
        self.pages[number].setFocus()
        if self.desk.live_name and not self._is_live_in_sight:
            self.desk.leave_live()
        self.refresh()

    @property
    def _is_live_in_sight(self) -> bool:
        return self.desk.live_name in self.pages[self.stack.currentIndex()].shows_live

    def page(self, title: str) -> Page:
        """Return the page of a title."""
        return next(page for page in self.pages if page.title == title)

    def open_page(self, title: str) -> None:
        """Bring the page of a title to the front."""
        self.show_page(self.pages.index(self.page(title)))

    def say(self, text: str, is_error: bool) -> None:
        """Show a sentence; nothing steals the focus."""
        self.message.setText(text)
        self.message.setProperty("error", is_error)
        self.log.setToolTip(f"Open {self.desk.log_file}, where what nobody expected is written down")
        self.log.setVisible(is_error and not self.desk.is_blind and str(self.desk.log_file) in text)
        polish(self.message)

    def refresh(self) -> None:
        """Show what is so now."""
        status = self.desk.status
        self.strip.show_status(status)
        self.setWindowTitle("samefield" if status.is_blind else f"samefield: {self.desk.folder}")
        self._show_work(status)
        current = self.stack.currentWidget()
        if isinstance(current, Page):
            current.show_status(status)
        for number, page in enumerate(self.pages):
            button = self._buttons.button(number)
            if button is not None:
                done = status.is_done(page.title)
                button.setText(f"{number + 1}  {page.title}{'  ✓' if done else ''}")

    def _show_work(self, status: DeskStatus) -> None:
        left = "" if status.left_s is None else f", {spoken_time(status.left_s)} left"
        paused = f"paused{'' if status.sight.is_lit else ', dark'}: " if status.is_paused else ""
        background = f"analysing {status.analysing}" if status.analysing else ""
        told = status.told or status.doing
        self.progress.setValue(round(1000 * status.share) if status.doing else 0)
        self.progress.setFormat(f"{paused}{told}{left}" if status.doing else background)
        self.pause.setText("Go on" if status.is_paused else "Pause")
        self.pause.setEnabled(bool(status.doing))

    # ---- keys, leaving -----------------------------------------------------------------------------------------

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Let Esc stop everything, wherever the focus is; a dialog still hears it.

        Plain keys belong to whoever has the focus before they are commands: a name that is typed moves no stage.
        """
        if not isinstance(event, QKeyEvent):  # asked of every event of the program, so first
            return False
        kind = event.type()
        if kind == QEvent.Type.ShortcutOverride and is_typed(event, QApplication.focusWidget()):
            event.accept()
            return True
        if kind == QEvent.Type.KeyPress:
            live = self.desk.live
            if event.key() == Qt.Key.Key_Escape:
                self.desk.stop()
            elif live is not None and self._is_live_in_sight:
                live.touch()
        return False

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Ask when something is going on; leave dark."""
        if event is None:
            return
        status = self.desk.status
        reasons = [status.doing or ("the light is on" if status.sight.is_lit else "")]
        reasons += [page.unsaved or "" for page in self.pages]
        if self._leaving or not any(reasons):
            self._leave()
            event.accept()
            return
        event.ignore()
        self._ask("; ".join(filter(None, reasons)))

    def _ask(self, what: str) -> None:
        question = QMessageBox(self)
        question.setObjectName("leaving")
        question.setWindowTitle("Leave?")
        question.setText(
            f"{what}.\n\nStop, close the shutter and leave? What was taken is kept and can be gone on with."
        )
        question.setStandardButtons(QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No)
        question.setDefaultButton(QMessageBox.StandardButton.No)
        question.finished.connect(self._answered)
        self._question = question
        question.open()

    def _answered(self, answer: int) -> None:
        self._question = None
        if answer == QMessageBox.StandardButton.Yes.value:
            self._leaving = True
            self.close()

    def _leave(self) -> None:
        self._refreshing.stop()
        self._looking.stop()
        app = QApplication.instance()
        if app is not None:
            app.removeEventFilter(self)
        self.hide()
        self.has_left = self.desk.close()
