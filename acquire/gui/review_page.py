"""Review: every spine of a field looked at in all its sessions, and judged by one key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QHideEvent, QShowEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.kept_keys import KeptKeys
from acquire.gui.page import CommandButton, Page, quiet
from acquire.gui.review_deeds import DECISIONS, STEPS, TURNS, Deed
from acquire.gui.review_note import NoteLine
from acquire.gui.review_sight import ReviewSight
from acquire.gui.status import DeskStatus

if TYPE_CHECKING:
    from acquire.gui.judgement import Judgement
    from acquire.gui.material import Reviewable
    from acquire.gui.review import Review
    from analysis.edits import Edit

T = TypeVar("T")
SIDE_PX = 400
NO_FIELD = "choose a field that was analysed"
NO_MOUSE = "put the mouse on the place in a row first"
STEP = ("previous-spine", "next-spine", "previous-dendrite", "next-dendrite", "doubtful", "undo", "redo")
DECIDE = ("added", "lost", "persistent", "unscorable", "bad", "filopodium", "accept")
MEND = ("insert", "move", "join", "split", "write-note", "blind", "second")
SWITCHES = ("blind", "second")
LEGEND = "S stable   G gained   L lost   U unscorable   x absent   + present   f filopodium   ✓ decided"
TIGHT = "QPushButton { padding: 4px 2px; }"  # seven in a row at 1366 pixels
Why = Callable[[], str | None]


class ReviewPage(Page):
    """Judges spines."""

    title = "Review"
    icon = "mdi6.eye-check-outline"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.review: Review | None = None
        self.fields = QComboBox()
        self.fields.setObjectName("review-field")
        self.fields.setMinimumWidth(150)
        self.fields.activated.connect(self._choose)
        self.who = QLineEdit(desk.who)
        self.who.setObjectName("rater")
        self.who.setFixedWidth(120)
        self.who.setToolTip("Who decides")
        self.who.editingFinished.connect(self._change_who)
        self.who.returnPressed.connect(self._leave)
        self.heading = QLabel("Review")
        self.heading.setObjectName("title")
        self.position = quiet("")
        self.sight = ReviewSight(self._read)
        self.rows = self.sight.rows
        self.rows.clicked = self._click
        self.note = NoteLine(lambda text: self._decide(lambda review: review.note(text)), self._leave)
        self._listed: list[Reviewable] = []
        self._was_analysing = ""
        self._had_session = False
        self._is_listed = False
        self._commands = [*self._steps(), *self._decisions(), *self._turns(), *self._looking()]
        self._buttons = {one.name: CommandButton(one) for one in self._commands if one.name in (*STEP, *DECIDE, *MEND)}
        self._keys = KeptKeys((one.key for one in self._commands), self._leave, self)
        listed = self.fields.view()
        self._keys.watch(self.who, self.note, self.fields, *([] if listed is None else [listed]))
        self._build()
        self._show()

    # ---- layout ------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.heading)
        top.addWidget(self.position, 1)
        top.addWidget(self.fields)
        top.addWidget(self.who)
        left = QVBoxLayout()
        left.addWidget(self.rows, 1)
        left.addWidget(quiet(LEGEND))
        left.addLayout(self._grid(STEP, DECIDE, MEND))
        left.addWidget(self.note)
        side = QWidget()
        side.setFixedWidth(SIDE_PX)
        right = QVBoxLayout(side)
        right.setContentsMargins(0, 0, 0, 0)
        right.addWidget(self.sight.raw, 1)
        for widget in (self.sight.progress, self.sight.numbers, self.sight.agreement, self.sight.trouble):
            right.addWidget(widget)
        middle = QHBoxLayout()
        middle.setSpacing(12)
        middle.addLayout(left, 1)
        middle.addWidget(side)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(16, 10, 16, 10)
        whole.addLayout(top)
        whole.addLayout(middle, 1)

    def _grid(self, *rows: Sequence[str]) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(4)
        for line, names in enumerate(rows):
            for column, name in enumerate(names):
                button = self._buttons[name]
                button.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keys with the rows
                button.setStyleSheet(TIGHT)
                button.setCheckable(name in SWITCHES)
                grid.addWidget(button, line, column)
        for column in range(len(STEP)):
            grid.setColumnStretch(column, 1)
        return grid

    # ---- commands ----------------------------------------------------------------------------------------------

    def commands(self) -> Sequence[Command]:
        """Step, decide, undo, look."""
        return self._commands

    def _steps(self) -> list[Command]:
        def step(deed: Deed[object]) -> None:
            if self.review is not None:
                deed.do(self.review)
                self._show()

        return [self._command(deed, partial(step, deed)) for deed in STEPS]

    def _decisions(self) -> list[Command]:
        return [
            *(self._command(deed, partial(self._decide, deed.do)) for deed in DECISIONS),
            Command("write-note", "t note", "T", "", self.note.setFocus, self._asking("why_not")),
            Command("insert", "i insert", "I", "", self._insert, self._asking("")),
            Command("move", "m move", "M", "", self._move, self._asking("why_not")),
        ]

    def _turns(self) -> list[Command]:
        def turn(deed: Deed[Judgement]) -> None:
            review = self.review
            if review is not None:
                self._change_who()
                self._keep(lambda: deed.do(review))

        return [self._command(deed, partial(turn, deed)) for deed in TURNS]

    def _command(self, deed: Deed[Any], act: Callable[[], object]) -> Command:
        return Command(deed.name, deed.text, deed.key, "", act, self._asking(deed.why_not))

    def _looking(self) -> list[Command]:
        return [
            Command("zoom-in", "larger", "+", "", partial(self.rows.zoom, 1)),
            Command("zoom-out", "smaller", "-", "", partial(self.rows.zoom, -1)),
            Command("deeper", "deeper", "PgDown", "", partial(self.sight.raw.step, 1)),
            Command("higher", "higher", "PgUp", "", partial(self.sight.raw.step, -1)),
        ]

    def _asking(self, question: str) -> Why:
        """Return a function that says why not: no field is open, or what the review says."""

        def why_not() -> str | None:
            if self.review is None:
                return NO_FIELD
            answer: str | None = getattr(self.review, question)() if question else None
            return answer

        return why_not

    # ---- fields ------------------------------------------------------------------------------------------------

    def show_status(self, status: DeskStatus) -> None:
        """List the fields when the study is there, and again after an analysis."""
        is_over = bool(self._was_analysing) and not status.analysing
        self._was_analysing = status.analysing
        had_session, self._had_session = self._had_session, status.known.record is not None
        if had_session and not self._had_session:
            self._write()
        if (is_over or not self._is_listed) and self.desk.study is not None:
            self._list(again=is_over)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """List the fields that were analysed meanwhile."""
        super().showEvent(event)
        self._is_listed = False

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802 - Qt's name
        """Have the reviewed tables on the disk when somebody goes to another page, or leaves."""
        super().hideEvent(event)
        self._write()

    def _write(self) -> None:
        if self.review is not None:
            self._read("writing the reviewed tables", self.review.material.write_reviewed, lambda _none: None)

    def _list(self, *, again: bool = False) -> None:
        study = self.desk.study
        if study is None:
            return
        self._is_listed = True

        def read() -> list[Reviewable]:
            from acquire.gui.material import list_reviewable

            return list_reviewable(study)

        self.desk.read("listing the analysed fields", read, partial(self._offer, again))

    def _offer(self, again: bool, listed: list[Reviewable]) -> None:
        self._listed = listed
        chosen = None if self.review is None else self.review.material.of
        self.fields.clear()
        self.fields.addItems([str(one) for one in listed])
        if chosen in listed:
            self.fields.setCurrentIndex(listed.index(chosen))
            if again:
                self.open(chosen)
        elif listed:
            ours = [one for one in listed if one.field == self.desk.field]
            self.open((ours or listed)[0])

    def _choose(self, number: int) -> None:
        self.open(self._listed[number])
        self.rows.setFocus()

    def open(self, of: Reviewable) -> None:
        """Open a field."""
        study, who, before = self.desk.study, self.who.text().strip(), self.review
        if study is None:
            return
        if of in self._listed:
            self.fields.setCurrentIndex(self._listed.index(of))

        def read() -> Review:
            from acquire.gui.material import open_material
            from acquire.gui.review import Review

            return Review(open_material(study, of), who, after=before)

        self._read("opening the field" if self._is_blind else f"opening {of}", read, self._open)

    @property
    def _is_blind(self) -> bool:
        return self.review is not None and self.review.blind is not None

    def _read(self, what: str, verb: Callable[[], T], then: Callable[[T], object]) -> None:
        """Read something; while blind what goes wrong is told without animal and day."""
        if self._is_blind:
            from acquire.gui.review import without_names

            verb = partial(without_names, verb)
        self.desk.read(what, verb, then)

    def _open(self, review: Review) -> None:
        if self.review is not None and self.review.material.of == review.material.of:
            review.restore(self.review)
        else:
            self._write()  # the field that was open before
        self.review = review
        self.sight.begin(review)
        for trouble in review.trouble[:1]:
            self.desk.tell(trouble)
        self._show()

    def _change_who(self) -> None:
        """Have the rater decide from now on whose name was typed; without a name it stays the one before."""
        review, who = self.review, self.who.text().strip()
        if review is None or who == review.who:
            return
        if who:
            review.who = who
            self._keep(review.judge_anew)
        else:
            self.who.setText(review.who)

    def _leave(self) -> None:
        """Leave what is typed into."""
        self.rows.setFocus()

    # ---- deciding ----------------------------------------------------------------------------------------------

    def _decide(self, decide: Callable[[Review], list[Edit]]) -> None:
        """Make decisions of what is shown; they are shown when they are kept."""
        review = self.review
        if review is None:
            return
        self._change_who()
        edits = decide(review)
        if edits:
            self._keep(lambda: review.keep(edits))
        else:
            self._show()

    def _keep(self, keep: Callable[[], Judgement]) -> None:
        self.desk.read("keeping the decision", keep, partial(self._take, self.review))

    def _take(self, review: Review | None, judgement: Judgement) -> None:
        if review is None or review is not self.review:
            return
        review.take(judgement)
        if judgement.refused:
            self.desk.refuse(judgement.refused)
        self._show()

    def _insert(self) -> None:
        self._at_mouse(lambda review, session, head: review.insert(session, head))

    def _move(self) -> None:
        self._at_mouse(lambda review, session, head: review.move(session, head))

    def _at_mouse(self, decide: Callable[[Review, int, tuple[float, float, float]], list[Edit]]) -> None:
        """Decide about the place under the mouse; its depth is looked up in the stack."""
        review, place = self.review, self.rows.mouse_place()
        if review is None or place is None:
            self.desk.tell(NO_MOUSE)
            return
        self._change_who()
        session, along_um, across_um = place
        review.choose_session(session)
        dendrite = review.dendrite
        self._keep(
            lambda: review.keep(
                decide(review, session, review.material.head_at(dendrite, session, along_um, across_um))
            )
        )

    def _click(self, session: int, track_id: int | None) -> None:
        self.rows.setFocus()
        if self.review is None:
            return
        if track_id is None:
            self.review.choose_session(session)
        else:
            self.review.select(track_id, session)
        self._show()

    # ---- showing -----------------------------------------------------------------------------------------------

    def _tell_dropped(self) -> None:
        review = self.review
        at = None if review is None or review.selected is None else (review, review.selected.track_id)
        if dropped := self.note.come_to(at):
            self.desk.tell(f"the note {dropped!r} was not written: Enter writes it, at its spine")

    def _show(self) -> None:
        self._tell_dropped()
        for button in self._buttons.values():
            button.refresh()
        review = self.review
        self.desk.is_blind = self._is_blind
        if review is None:
            self.position.setText(NO_FIELD)
            self.sight.show_nothing()
            return
        self._buttons["blind"].setChecked(review.blind is not None)
        self._buttons["second"].setChecked(review.second)
        self.heading.setText(review.title)
        self.fields.setVisible(review.blind is None)
        self.position.setText(review.position if review.joining is None else review.joining_says)
        self.sight.show(review)
