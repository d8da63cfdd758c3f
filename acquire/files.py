"""Small files, written so that a reader never meets half of one, and read so that what is wrong is a sentence."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from pydantic import ValidationError

from acquire.errors import StudyError, validation_summary
from analysis import journal
from analysis.errors import ExperimentError

SPARE_BYTES = 50_000_000


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full, read-only or missing disk into a StudyError that says what is free and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise StudyError(
            f"cannot write {path}: its folder is gone; was its disk taken out, or the folder moved? "
            "Bring it back and do it again"
        ) from error
    except OSError as error:
        free = free_bytes(path)
        raise StudyError(
            f"cannot write {path}: {error.strerror or error} ({free / 1e6:.0f} MB free); "
            "free space or choose a folder that can be written"
        ) from error


def free_bytes(path: Path) -> int:
    """Return the free space of the disk that holds a path (existing or not), bytes."""
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return shutil.disk_usage(existing).free


def check_space(path: Path, needed_bytes: int) -> None:
    """Refuse to start what will not fit.

    Raises
    ------
    StudyError
        When less than ``needed_bytes`` and a reserve of 50 MB are free.
    """
    free = free_bytes(path)
    if free < needed_bytes + SPARE_BYTES:
        raise StudyError(
            f"{path.name} needs {needed_bytes / 1e6:.0f} MB and a reserve of {SPARE_BYTES / 1e6:.0f} MB, "
            f"but only {free / 1e6:.0f} MB are free; free space or use another disk"
        )


def write_text(path: Path, text: str) -> None:
    """Write a small file: to a temporary name, synced, then renamed."""
    temporary = path.with_name(f".{path.name}.writing")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Have a file that another library wrote reach the disk; nothing when there is none."""
    if path.is_file():
        with writing(path), FileIO(path, "r+") as file:
            os.fsync(file.fileno())


def append_line(path: Path, line: str) -> None:
    """Append one line to a journal, synced before it counts: the whole line or nothing of it."""
    with writing(path):
        journal.append_line(path, line)


@contextmanager
def reading_toml(path: Path, fault: type[ExperimentError]) -> Iterator[None]:
    """Turn what is wrong with a TOML file, or with what it says, into one sentence of the given kind."""
    try:
        yield
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fault(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        raise fault(f"{path}: {validation_summary(error)}") from error
    except OSError as error:
        raise fault(f"{path} cannot be read: {error.strerror}") from error
