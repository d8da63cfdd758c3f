"""Review: every spine of a field looked at in all its sessions, and judged by one key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
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
from acquire.gui.numbers_table import NumbersTable
from acquire.gui.page import CommandButton, Page, quiet, wrapped
from acquire.gui.raw_picture import RawPicture
from acquire.gui.review_rows import AlignedRows, RowLook
from acquire.gui.status import DeskStatus

if TYPE_CHECKING:
    from acquire.gui.judgement import Judgement
    from acquire.gui.material import RawStack, Reviewable
    from acquire.gui.review import Review
    from analysis.edits import Edit

T = TypeVar("T")
SIDE_PX = 400
NO_FIELD = "choose a field that was analysed"
NO_MOUSE = "put the mouse on the place in a row first"
RAWS_KEPT = 2
STEP = ("previous-spine", "next-spine", "previous-dendrite", "next-dendrite", "doubtful", "undo", "redo")
DECIDE = ("added", "lost", "persistent", "unscorable", "bad", "filopodium", "accept")
MEND = ("insert", "move", "join", "split", "write-note", "blind", "second")
SWITCHES = ("blind", "second")
LEGEND = "S stable   G gained   L lost   U unscorable   x absent   + present   f filopodium   ✓ decided"
TIGHT = "QPushButton { padding: 4px 2px; }"  # seven in a row at 1366 pixels
Why = Callable[[], str | None]
Image = NDArray[np.uint8]


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
        self.rows = AlignedRows()
        self.rows.clicked = self._click
        self.raw = RawPicture()
        self.numbers = NumbersTable("numbers")
        self.agreement = NumbersTable("agreement")
        self.progress = wrapped("", "reviewed")
        self.trouble = wrapped("", "trouble")
        self.note = QLineEdit()
        self.note.setObjectName("note")
        self.note.setPlaceholderText("t: a note about this spine, then Enter")
        self.note.textEdited.connect(self._begin_note)
        self.note.returnPressed.connect(self._write_note)
        self._note_of: tuple[Review, int] | None = None
        self._listed: list[Reviewable] = []
        self._drawn: dict[tuple[int, int], Image | None] = {}
        self._asked: set[tuple[int, int]] = set()
        self._raws: dict[int, RawStack] = {}
        self._was_analysing = ""
        self._had_session = False
        self._is_listed = False
        self._commands = [*self._steps(), *self._decisions(), *self._mending(), *self._looking()]
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
        right.addWidget(self.raw, 1)
        right.addWidget(self.progress)
        right.addWidget(self.numbers)
        right.addWidget(self.agreement)
        right.addWidget(self.trouble)
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
        """Step, decide, mend, look."""
        return self._commands

    def _steps(self) -> list[Command]:
        return [
            self._step("previous-spine", "◀ spine", "Ctrl+Left", lambda review: review.step_spine(-1)),
            self._step("next-spine", "spine ▶", "Ctrl+Right", lambda review: review.step_spine(1)),
            self._step("previous-dendrite", "▲ dendrite", "Ctrl+Up", lambda review: review.step_dendrite(-1)),
            self._step("next-dendrite", "dendrite ▼", "Ctrl+Down", lambda review: review.step_dendrite(1)),
            self._step("doubtful", "n doubtful", "N", lambda review: review.step_doubtful(), "why_not_doubtful"),
            self._step("session-up", "session above", "Up", lambda review: review.step_session(-1)),
            self._step("session-down", "session below", "Down", lambda review: review.step_session(1)),
        ]

    def _step(self, name: str, text: str, key: str, go: Callable[[Review], object], why_not: str = "") -> Command:
        def act() -> None:
            if self.review is not None:
                go(self.review)
                self._show()

        return Command(name, text, key, "", act, self._asking(why_not))

    def _decisions(self) -> list[Command]:
        return [
            self._decision("added", "a added", "A", lambda review: review.say_added()),
            self._decision("lost", "s lost", "S", lambda review: review.say_lost()),
            self._decision("persistent", "p persistent", "P", lambda review: review.say_persistent()),
            self._decision("bad", "b bad", "B", lambda review: review.reject()),
            self._decision("unscorable", "u unscorable", "U", lambda review: review.say_unscorable()),
            self._decision("filopodium", "f filopodium", "F", lambda review: review.turn_filopodium()),
            self._decision("accept", "↵ accept", "Return", lambda review: review.accept()),
            Command("write-note", "t note", "T", "", self.note.setFocus, self._asking("why_not")),
        ]

    def _decision(
        self, name: str, text: str, key: str, decide: Callable[[Review], list[Edit]], why_not: str = "why_not"
    ) -> Command:
        return Command(name, text, key, "", lambda: self._decide(decide), self._asking(why_not))

    def _mending(self) -> list[Command]:
        return [
            Command("insert", "i insert", "I", "", self._insert, self._asking("")),
            Command("move", "m move", "M", "", self._move, self._asking("why_not")),
            self._decision("join", "j join", "J", lambda review: review.join(), "why_not_join"),
            self._decision("split", "k split", "K", lambda review: review.split(), "why_not_split"),
            self._turn("undo", "undo", "Ctrl+Z", lambda review: review.take_back(), "why_not_undo"),
            self._turn("redo", "redo", "Ctrl+Shift+Z", lambda review: review.bring_back(), "why_not_redo"),
            self._turn("blind", "blind", "Ctrl+B", lambda review: review.turn_blind()),
            self._turn("second", "second rater", "Ctrl+R", lambda review: review.turn_second()),
        ]

    def _turn(self, name: str, text: str, key: str, turn: Callable[[Review], Judgement], why_not: str = "") -> Command:
        def act() -> None:
            review = self.review
            if review is not None:
                self._change_who()
                self._keep(lambda: turn(review))

        return Command(name, text, key, "", act, self._asking(why_not))

    def _looking(self) -> list[Command]:
        return [
            Command("zoom-in", "larger", "+", "", partial(self.rows.zoom, 1)),
            Command("zoom-out", "smaller", "-", "", partial(self.rows.zoom, -1)),
            Command("deeper", "deeper", "PgDown", "", partial(self.raw.step, 1)),
            Command("higher", "higher", "PgUp", "", partial(self.raw.step, -1)),
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
        self._drawn.clear()
        self._asked.clear()
        self._raws.clear()
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

    def _begin_note(self) -> None:
        """Remember at which spine a note is begun: it is about no other."""
        if self._note_of is None and self.review is not None and self.review.selected is not None:
            self._note_of = self.review, self.review.selected.track_id

    def _write_note(self) -> None:
        text, is_begun = self.note.text().strip(), self._note_of is not None
        self._end_note()
        self._leave()
        if text and is_begun:
            self._decide(lambda review: review.note(text))

    def _end_note(self) -> None:
        self.note.clear()
        self._note_of = None

    def _drop_note(self) -> None:
        """Drop a note that was begun at another spine, and say so."""
        review = self.review
        here = None if review is None or review.selected is None else (review, review.selected.track_id)
        if self._note_of in (None, here):
            return
        if self.note.text().strip():
            self.desk.tell(f"the note {self.note.text().strip()!r} was not written: Enter writes it, at its spine")
        if self.note.hasFocus():
            self._leave()
        self._end_note()

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

    def _show(self) -> None:
        self._drop_note()
        for button in self._buttons.values():
            button.refresh()
        review = self.review
        self.desk.is_blind = self._is_blind
        if review is None:
            self.position.setText(NO_FIELD)
            self.raw.clear("")
            self.agreement.hide()
            return
        self._buttons["blind"].setChecked(review.blind is not None)
        self._buttons["second"].setChecked(review.second)
        self.heading.setText(review.title)
        self.fields.setVisible(review.blind is None)
        self.position.setText(review.position if review.joining is None else review.joining_says)
        self._show_rows(review)
        self._show_raw(review)
        self._show_numbers(review)

    def _show_rows(self, review: Review) -> None:
        from acquire.gui.material import HALF_WIDTH_UM
        from analysis.aligned import STEP_UM

        self.rows.lay_out(review.order, HALF_WIDTH_UM)
        for session in review.order:
            key = (review.dendrite, session)
            self.rows.show_image(session, self._drawn.get(key), STEP_UM)
            if key not in self._asked:
                self._asked.add(key)
                self._read("drawing the dendrite", partial(self._draw, review, *key), partial(self._has, review, key))
        self.rows.show_rows([self._look(review, session) for session in review.order])

    def _look(self, review: Review, session: int) -> RowLook:
        marks, is_chosen = tuple(review.marks(session)), session == review.session
        return RowLook(session, review.label(session), marks, is_chosen, review.centre_um(session))

    def _draw(self, review: Review, dendrite: int, session: int) -> Image | None:
        """Draw one row, unless somebody went on meanwhile; runs in the thread that reads."""
        if review is not self.review or review.dendrite != dendrite:
            self._asked.discard((dendrite, session))
            return None
        return review.material.draw(dendrite, session)

    def _has(self, review: Review, key: tuple[int, int], image: Image | None) -> None:
        from analysis.aligned import STEP_UM

        if review is not self.review or key not in self._asked:
            return
        self._drawn[key] = image
        if key[0] == review.dendrite:
            self.rows.show_image(key[1], image, STEP_UM)

    def _show_raw(self, review: Review) -> None:
        session = review.session
        stack = self._raws.get(session)
        if stack is None:
            self.raw.clear(f"{review.label(session)}: reading the stack")
            self._read("reading a stack", partial(self._read_raw, review, session), partial(self._has_raw, review))
        elif review.selected is not None:
            self.raw.show_head(stack, review.label(session), review.head(review.selected, session))
        else:
            self.raw.clear(f"{review.label(session)}: no spine selected")

    def _read_raw(self, review: Review, session: int) -> RawStack | None:
        """Read the stack, unless somebody went on meanwhile; runs in the thread that reads."""
        if review is not self.review or review.session != session:
            return None
        return self._raws.get(session) or review.material.raw(session)

    def _has_raw(self, review: Review, stack: RawStack | None) -> None:
        if stack is None or review is not self.review:
            return
        self._raws.pop(stack.session, None)
        self._raws[stack.session] = stack
        while len(self._raws) > RAWS_KEPT:
            self._raws.pop(next(iter(self._raws)))
        if stack.session == review.session:
            self._show_raw(review)

    def _show_numbers(self, review: Review) -> None:
        decided, of = review.progress
        by = f" by {review.who}" if review.second else ""
        self.progress.setText(f"{decided} of {of} spines decided{by}")
        self.numbers.show_numbers(review.numbers)
        agreement = review.agreement
        self.agreement.setVisible(agreement is not None)
        if agreement is not None:
            self.agreement.show_numbers(agreement)
        self.trouble.setVisible(bool(review.trouble))
        self.trouble.setText("\n".join(review.trouble))
