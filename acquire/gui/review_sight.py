"""What the page Review shows of a field: rows, one raw plane, numbers; what is missing is read beside the window.

It decides nothing: which spine is selected, and what becomes of it, is the page's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acquire.gui.numbers_table import NumbersTable
from acquire.gui.page import wrapped
from acquire.gui.raw_picture import RawPicture
from acquire.gui.review_rows import AlignedRows, RowLook

if TYPE_CHECKING:
    from acquire.gui.material import RawStack
    from acquire.gui.review import Review

RAWS_KEPT = 2
Image = NDArray[np.uint8]
Read = Callable[[str, Callable[[], Any], Callable[[Any], object]], None]


class ReviewSight:
    """The widgets that show a review; the page puts them in their places.

    Parameters
    ----------
    read
        Reads something beside the window: what, how, who gets it.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self.rows = AlignedRows()
        self.raw = RawPicture()
        self.numbers = NumbersTable("numbers")
        self.agreement = NumbersTable("agreement")
        self.progress = wrapped("", "reviewed")
        self.trouble = wrapped("", "trouble")
        self._review: Review | None = None
        self.drawn: dict[tuple[int, int], Image | None] = {}
        self._asked: set[tuple[int, int]] = set()
        self.raws: dict[int, RawStack] = {}

    def begin(self, review: Review) -> None:
        """Forget the pictures of the field before."""
        self._review = review
        self.drawn.clear()
        self._asked.clear()
        self.raws.clear()

    def show_nothing(self) -> None:
        """Show that no field is open."""
        self.raw.clear("")
        self.agreement.hide()

    def show(self, review: Review) -> None:
        """Show what is selected now, and how many are decided."""
        self._show_rows(review)
        self._show_raw(review)
        self._show_numbers(review)

    def _show_rows(self, review: Review) -> None:
        from acquire.gui.material import HALF_WIDTH_UM
        from analysis.aligned import STEP_UM

        self.rows.lay_out(review.order, HALF_WIDTH_UM)
        for session in review.order:
            key = (review.dendrite, session)
            self.rows.show_image(session, self.drawn.get(key), STEP_UM)
            if key not in self._asked:
                self._asked.add(key)
                self._read("drawing the dendrite", partial(self._draw, review, *key), partial(self._has, review, key))
        self.rows.show_rows([self._look(review, session) for session in review.order])

    def _look(self, review: Review, session: int) -> RowLook:
        marks, is_chosen = tuple(review.marks(session)), session == review.session
        return RowLook(session, review.label(session), marks, is_chosen, review.centre_um(session))

    def _draw(self, review: Review, dendrite: int, session: int) -> Image | None:
        """Draw one row, unless somebody went on meanwhile; runs in the thread that reads."""
        if review is not self._review or review.dendrite != dendrite:
            self._asked.discard((dendrite, session))
            return None
        return review.material.draw(dendrite, session)

    def _has(self, review: Review, key: tuple[int, int], image: Image | None) -> None:
        from analysis.aligned import STEP_UM

        if review is not self._review or key not in self._asked:
            return
        self.drawn[key] = image
        if key[0] == review.dendrite:
            self.rows.show_image(key[1], image, STEP_UM)

    def _show_raw(self, review: Review) -> None:
        session = review.session
        stack = self.raws.get(session)
        if stack is None:
            self.raw.clear(f"{review.label(session)}: reading the stack")
            self._read("reading a stack", partial(self._read_raw, review, session), partial(self._has_raw, review))
        elif review.selected is not None:
            self.raw.show_head(stack, review.label(session), review.head(review.selected, session))
        else:
            self.raw.clear(f"{review.label(session)}: no spine selected")

    def _read_raw(self, review: Review, session: int) -> RawStack | None:
        """Read the stack, unless somebody went on meanwhile; runs in the thread that reads."""
        if review is not self._review or review.session != session:
            return None
        return self.raws.get(session) or review.material.raw(session)

    def _has_raw(self, review: Review, stack: RawStack | None) -> None:
        if stack is None or review is not self._review:
            return
        self.raws.pop(stack.session, None)
        self.raws[stack.session] = stack
        while len(self.raws) > RAWS_KEPT:
            self.raws.pop(next(iter(self.raws)))
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
