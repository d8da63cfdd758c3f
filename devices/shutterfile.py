"""The simulated shutter's state in a file of one byte, so that another process can close it too.

A real shutter has a second way in (a relay, a serial port, a safety interlock); this file is the simulated one's.
One byte in place is read whole or not at all, on every system, and an open reader is no hindrance to a writer.
Nothing heavy is imported: a watchdog process must be there at once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

OPEN, CLOSED = b"1", b"0"


def shutter_path(shutter_file: str) -> Path:
    """Return where a shutter's file lies: a plain name lies in the folder for temporary files."""
    return Path(tempfile.gettempdir()) / shutter_file


def write_shutter(shutter_file: str, is_open: bool) -> None:
    """Write that the shutter is open or closed; raises OSError when the file cannot be written."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
    handle = os.open(shutter_path(shutter_file), flags, 0o600)
    try:
        os.write(handle, OPEN if is_open else CLOSED)
    finally:
        os.close(handle)


def is_shutter_open(shutter_file: str) -> bool:
    """Return whether the shutter is open; a missing file is a shutter that nobody opened.

    Examples
    --------
    >>> is_shutter_open("no such shutter")
    False
    """
    try:
        return shutter_path(shutter_file).read_bytes() == OPEN
    except FileNotFoundError:
        return False


def close_shutter(*, shutter_file: str) -> None:
    """Close the shutter from any process: what the watchdog of the simulated rig calls."""
    write_shutter(shutter_file, is_open=False)
