"""What a key or a button does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing_against() -> str | None:
    return None


@dataclass(frozen=True)
class Command:
    """One thing that can be done now.

    Parameters
    ----------
    name
        By which tests and the style sheet find its button.
    text
        On the button.
    key
        Key sequence as Qt writes it (``Ctrl+Z``); empty for none.
    icon
        Name in the icon font (``mdi6.camera``).
    act
        Does it.
    why_not
        Says why it cannot be done now, which greys the button; None when it can.
    """

    name: str
    text: str
    key: str
    icon: str
    act: Callable[[], object]
    why_not: Callable[[], str | None] = _nothing_against
