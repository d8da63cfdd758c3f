"""Numbers as people say them."""

from __future__ import annotations

from acquire.model import Light, StagePosition
from analysis.model import Verdict

MARKS: dict[Light | Verdict | None, str] = {
    Light.GREEN: "✓",
    Light.AMBER: "!",
    Light.RED: "✗",
    Verdict.FOUND: "✓",
    Verdict.UNSURE: "?",
    Verdict.NOT_FOUND: "✗",
    None: "·",
}
"""The mark of a light or a verdict, for eyes that do not tell its colour."""


def spoken_time(seconds: float) -> str:
    """Return a time as it is read at a glance.

    Examples
    --------
    >>> spoken_time(42.4), spoken_time(95), spoken_time(3720)
    ('42 s', '1:35 min', '1:02 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


def spoken_place(position: StagePosition | None) -> str:
    """Return a stage position, um."""
    return "-" if position is None else f"{position.x_um:.1f}  {position.y_um:.1f}  {position.z_um:.1f}"


def spoken(value: float | None, unit: str, digits: int = 1) -> str:
    """Return a number with its unit, or a dash.

    Examples
    --------
    >>> spoken(12.345, "mW"), spoken(None, "um")
    ('12.3 mW', '-')
    """
    return "-" if value is None else f"{value:.{digits}f} {unit}"
