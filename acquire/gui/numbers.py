"""A table of words and numbers, ready to be shown; nothing is imported for it that takes time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Numbers:
    """A table of numbers: header and rows of words."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
