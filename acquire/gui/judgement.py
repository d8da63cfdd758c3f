"""What all decisions about a field come to: the tables, the numbers, and how far two raters agree. Knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acquire.gui.numbers import Numbers
from analysis.agreement import Agreement, compare_raters
from analysis.blind import BlindOrder
from analysis.edits import Edit, EditBook, History
from analysis.fieldtables import interval_counts
from analysis.followed import AnalysedField, FieldReview
from analysis.model import Fate, SpineState
from analysis.reviewed import apply_edits


@dataclass(frozen=True, eq=False)
class Judgement:
    """All decisions, and what they come to for the rater that is shown.

    Parameters
    ----------
    edits
        All lines of the file.
    review
        The tables after the decisions that are shown.
    second
        Whether these are a second rater's alone.
    fates
        How many spines came, stayed and went.
    agreement
        With the other rater; None while there is none.
    trouble
        What must be told of the file of decisions.
    refused
        Why the last decision was not kept.
    """

    edits: tuple[Edit, ...]
    review: FieldReview
    second: bool
    fates: Numbers
    agreement: Agreement | None
    trouble: tuple[str, ...]
    refused: str = ""


def judge(
    analysed: AnalysedField, days: Sequence[str], book: EditBook, who: str, *, second: bool, refused: str = ""
) -> Judgement:
    """Tell what the decisions come to: of the review, or of a second rater alone; ``days`` name the sessions."""
    history = History(book.edits)
    first_edits = history.of_review
    raters = list(dict.fromkeys(edit.who for edit in reversed(history.in_force) if edit.second))
    rater = who if second or who in raters or not raters else raters[0]
    second_edits = [edit for edit in history.in_force if edit.second and edit.who == rater]
    first = apply_edits(analysed, first_edits) if first_edits or not second else None
    other = apply_edits(analysed, second_edits) if second_edits or second else None
    review = other if second else first
    assert review is not None
    agreement = compare_raters(first, other) if first is not None and other is not None else None
    astray = tuple(f"{edit.kind} by {edit.who} is about a step that is not in force" for edit in history.astray)
    fates = count_fates(review, days)
    return Judgement(book.edits, review, second, fates, agreement, (*book.trouble, *astray), refused)


def count_fates(review: FieldReview, days: Sequence[str]) -> Numbers:
    """Count what became of the spines of a field, interval by interval."""
    rows = tuple(_interval_row(values, days) for values in interval_counts(review.fates).to_dict("records"))
    return Numbers(("days", *(fate.value for fate in Fate), "turnover"), rows)


def _interval_row(counts: dict[object, object], days: Sequence[str]) -> tuple[str, ...]:
    first, second = (days[int(str(counts[name]))].removeprefix("day ") for name in ("from_session", "to_session"))
    turnover = float(str(counts["turnover_percent"]))
    said = "-" if np.isnan(turnover) else f"{turnover:.0f} %"
    return (f"{first}-{second}", *(str(counts[fate.value]) for fate in Fate), said)


def count_states(review: FieldReview, order: BlindOrder) -> Numbers:
    """Count the spines that are there, session by session, as one who is blind may see it."""
    rows = tuple(
        (order.label(s), *(str(sum(spine.states[s] is state for spine in review.shown)) for state in SpineState))
        for s in order.order
    )
    return Numbers(("session", *(state.value for state in SpineState)), rows)


def tell_agreement(found: Agreement | None) -> Numbers | None:
    """Return the table of agreement between two raters, None while there is none."""
    if found is None:
        return None
    rows = tuple(
        (one.name, str(one.n), f"{one.first} / {one.second}", _figure(one.kappa), _figure(one.f1))
        for one in found.classes
    )
    return Numbers(("class", "n", "1st / 2nd", "kappa", "F1"), rows)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
