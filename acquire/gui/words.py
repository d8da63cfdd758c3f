"""Numbers as people say them, and what to do in the words of the buttons."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


HIDDEN = "…"
SESSION_NAME = r"\d{4}-\d{2}-\d{2}T\d{4}(?:-\d+)?"
DAY = r"\bdays? -?\d+(?:\.\d+)?"


def without_names(text: str, names: Iterable[str]) -> str:
    """Return a sentence for one who is blind: without animals, groups, days and the names of sessions.

    Examples
    --------
    >>> without_names("opening 2026-11-20T0930 of M042, day 4", ["M042"])
    'opening … of …, …'
    """
    told = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in names if name]
    return re.sub("|".join([*told, SESSION_NAME, DAY]), HIDDEN, text)


REMEDIES = (
    ("begin a new session (--new-session)", "open a session with 'the head was mounted anew' (Session)"),
    (
        "keep one with new-field, or give --new-session",
        "keep one with 'Keep this field' (Find), or begin a new session",
    ),
    ("and give their stage positions with --landmark NAME X Y", "and press Here at each (Surface)"),
    ("(--landmark NAME X Y)", "(Surface: centre two, press Here at each, then Align)"),
    ("check --pixel-um of a photograph", "check the pixel size of a photograph (Surface)"),
    ("check --pixel-um to 5 %", "check its pixel size to 5 % (Surface)"),
    ("then go on with --resume", "then press 'Go on with it' (Take)"),
    ("give a later --day", "give a later day (Session)"),
    ("make it with new-animal", "add it (Session)"),
    ("give it with --voxel-um Z Y X, e.g. --voxel-um 1.0 0.12 0.12", "give it to the command 'samefield analyse'"),
    ("import it with --voxel-um", "give it to the command 'samefield import'"),
    ("give it with --voxel-um Z Y X", "give it to the command 'samefield analyse'"),
)
"""What a sentence of the session tells one who types commands, and what it tells at the window: a button, its page."""
MAKE_STUDY = re.compile(r"make one with 'samefield new-study [^']*'")


def in_window(text: str) -> str:
    """Return a sentence of the session with the button to press instead of the option to type.

    Examples
    --------
    >>> in_window("day 3 lies before day 4; give a later --day, or check the clock")
    'day 3 lies before day 4; give a later day (Session), or check the clock'
    """
    for typed, pressed in REMEDIES:
        text = text.replace(typed, pressed)
    return MAKE_STUDY.sub("press 'Make study' (Session)", text)
