"""What each key of the review does to a review: a table, without buttons and without a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from acquire.gui.judgement import Judgement
    from acquire.gui.review import Review
    from analysis.edits import Edit

Done = TypeVar("Done")


@dataclass(frozen=True)
class Deed(Generic[Done]):
    """One key.

    Parameters
    ----------
    name, text, key
        As of a command.
    do
        What it does.
    why_not
        The question that a review answers with why not; empty when it always can.
    """

    name: str
    text: str
    key: str
    do: Callable[[Review], Done]
    why_not: str = ""


STEPS: tuple[Deed[object], ...] = (
    Deed("previous-spine", "◀ spine", "Ctrl+Left", lambda review: review.step_spine(-1)),
    Deed("next-spine", "spine ▶", "Ctrl+Right", lambda review: review.step_spine(1)),
    Deed("previous-dendrite", "▲ dendrite", "Ctrl+Up", lambda review: review.step_dendrite(-1)),
    Deed("next-dendrite", "dendrite ▼", "Ctrl+Down", lambda review: review.step_dendrite(1)),
    Deed("doubtful", "n doubtful", "N", lambda review: review.step_doubtful(), "why_not_doubtful"),
    Deed("session-up", "session above", "Up", lambda review: review.step_session(-1)),
    Deed("session-down", "session below", "Down", lambda review: review.step_session(1)),
)
"""They select another spine or session."""

DECISIONS: tuple[Deed[list[Edit]], ...] = (
    Deed("added", "a added", "A", lambda review: review.say_added(), "why_not"),
    Deed("lost", "s lost", "S", lambda review: review.say_lost(), "why_not"),
    Deed("persistent", "p persistent", "P", lambda review: review.say_persistent(), "why_not"),
    Deed("bad", "b bad", "B", lambda review: review.reject(), "why_not"),
    Deed("unscorable", "u unscorable", "U", lambda review: review.say_unscorable(), "why_not"),
    Deed("filopodium", "f filopodium", "F", lambda review: review.turn_filopodium(), "why_not"),
    Deed("accept", "↵ accept", "Return", lambda review: review.accept(), "why_not"),
    Deed("join", "j join", "J", lambda review: review.join(), "why_not_join"),
    Deed("split", "k split", "K", lambda review: review.split(), "why_not_split"),
)
"""They are made of what is shown, and kept."""

TURNS: tuple[Deed[Judgement], ...] = (
    Deed("undo", "undo", "Ctrl+Z", lambda review: review.take_back(), "why_not_undo"),
    Deed("redo", "redo", "Ctrl+Shift+Z", lambda review: review.bring_back(), "why_not_redo"),
    Deed("blind", "blind", "Ctrl+B", lambda review: review.turn_blind()),
    Deed("second", "second rater", "Ctrl+R", lambda review: review.turn_second()),
)
"""They read and write the file of decisions, beside the window."""
