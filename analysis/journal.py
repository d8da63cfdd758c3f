"""Lines added to a file so that none is half written: the whole line or nothing of it, on the disk before it counts.

The journals of the rig and of the review are kept so. Nothing is known here of what a line says.
"""

from __future__ import annotations

import os
import threading
from io import FileIO
from pathlib import Path

_APPENDING = threading.Lock()  # the light may go off, and be logged, in another thread


def append_line(path: Path, line: str) -> None:
    """Append one line, synced before it counts.

    What a program that died left of a line is ended first: it shall not swallow this one.

    Raises
    ------
    OSError
        When the disk does not take the whole line; nothing of it is left then.
    """
    with _APPENDING, FileIO(path, "a+") as file:
        whole_bytes = file.seek(0, os.SEEK_END)
        try:
            _write_all(file, ("" if _ends_a_line(file) else "\n") + line + "\n")
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(whole_bytes)
            raise


def _ends_a_line(file: FileIO) -> bool:
    if file.tell() == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _write_all(file: FileIO, text: str) -> None:
    # A disk that fills up takes the beginning without a word, and refuses the rest.
    rest = memoryview(text.encode("utf-8"))
    while rest:
        rest = rest[file.write(rest) :]
