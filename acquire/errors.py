"""The ways an experiment can go wrong at the rig, told in one line with numbers and a remedy."""

from __future__ import annotations

import contextlib
import re
import tempfile
import traceback
from collections.abc import Iterator

from pydantic import ValidationError

from analysis.errors import ExperimentError

# What a device, its adapter or its Python class may raise when it cannot do what it is asked.
DEVICE_FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    OSError,
    NotImplementedError,
)


class RigError(ExperimentError):
    """A device or a rig config that does not do what was asked."""


class RelocationError(ExperimentError):
    """A field that was not found again."""


class HeadMovedError(RelocationError):
    """A stack that does not show the field that was found a moment ago: no other field is where it was either."""


class StudyError(ExperimentError):
    """A study folder, or a disk, that cannot be used."""


@contextlib.contextmanager
def asking(action: str) -> Iterator[None]:
    """Turn whatever a device says into a RigError that names the action."""
    try:
        yield
    except DEVICE_FAULTS as error:
        raise RigError(f"{action} failed: {' '.join(str(error).split())}") from error


def tell_unexpected(error: Exception) -> str:
    """Return one line about an error that nobody foresaw; the rest goes to a log that the line names."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="samefield-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write("".join(traceback.format_exception(error)))
        where = f"details in {log.name}"
    except OSError as unwritten:
        where = f"details cannot be written: {unwritten.strerror}"
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())} ({where})"


NAME_RULE = "a name has letters, digits, - and _, begins with a letter or digit, and has at most 64 of them"


JSON_PLACE = re.compile(r"(.*) at line (\d+) column (\d+)")


def _no_json(said: str) -> str:
    """Return where a text stops being JSON.

    Examples
    --------
    >>> _no_json("EOF while parsing a string at line 3 column 7")
    'line 3, character 7: no JSON (EOF while parsing a string)'
    """
    place = JSON_PLACE.fullmatch(said)
    return f"no JSON ({said})" if place is None else f"line {place[2]}, character {place[3]}: no JSON ({place[1]})"


def validation_summary(error: ValidationError) -> str:
    """Return all faults of a pydantic validation in one line: where, what."""
    faults = []
    for fault in error.errors():
        if fault["type"] == "json_invalid":
            return _no_json(str(fault.get("ctx", {}).get("error", "")))
        where = ".".join(str(part) for part in fault["loc"]) or "file"
        pattern = str(fault.get("ctx", {}).get("pattern", ""))
        said = NAME_RULE if pattern.startswith("^[A-Za-z0-9]") else fault["msg"].removeprefix("Value error, ")
        faults.append(f"{where}: {said}")
    return "; ".join(faults)
