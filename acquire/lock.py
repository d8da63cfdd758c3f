"""One program at a time: a lock that the system lets go of when its program dies, and beside it who holds it.

Used for a study (two writers would mix their records) and for a rig (two programs would move one stage).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from acquire.errors import RigError, StudyError
from acquire.files import write_text
from acquire.model import utc_now
from analysis.errors import ExperimentError


class ProgramLock:
    """A lock on something that only one program may use.

    Parameters
    ----------
    lock_file
        The file that is locked; it stays when the lock is let go.
    holder_file
        Says who holds it; gone after a proper end.
    what
        What is locked, for the message.
    kind
        The error that is raised.
    """

    def __init__(self, lock_file: Path, holder_file: Path, what: str, kind: type[ExperimentError]) -> None:
        self._lock = FileLock(lock_file, mode=0o666)
        self._holder_file = holder_file
        self._what = what
        self._kind = kind
        self.left_by: str | None = None

    def take(self) -> None:
        """Take the lock, or raise the name of who has it.

        A program that died left its name, but not the lock: ``left_by`` then says who it was.
        """
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            who = self._read_holder() or "another program"
            raise self._kind(f"{self._what} is in use by {who}; close that program first") from error
        except OSError as error:
            raise self._kind(f"{self._what} cannot be locked: {error}") from error
        self.left_by = self._read_holder()
        try:
            write_text(self._holder_file, json.dumps(_myself()))
        except StudyError as error:
            self._lock.release()
            raise self._kind(str(error)) from error

    def release(self) -> None:
        """Let other programs have it; nothing happens when it was not taken."""
        if self._lock.is_locked:
            self._holder_file.unlink(missing_ok=True)
            self._lock.release()

    def _read_holder(self) -> str | None:
        try:
            who = json.loads(self._holder_file.read_text(encoding="utf-8"))
            return f"{who['user']} on {who['host']} (process {who['pid']}, since {who['since']})"
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _myself() -> dict[str, str | int]:
    return {"pid": os.getpid(), "user": getpass.getuser(), "host": platform.node(), "since": utc_now().isoformat()}


def study_lock(folder: Path) -> ProgramLock:
    """Return the lock of a study, not yet taken."""
    return ProgramLock(folder / ".lock", folder / ".holder.json", str(folder), StudyError)


def rig_lock(name: str) -> ProgramLock:
    """Return the lock of a rig on this computer, for all its users, not yet taken."""
    folder = Path(os.environ.get("PROGRAMDATA") or tempfile.gettempdir()) / "samefield-locks"
    folder.mkdir(parents=True, exist_ok=True)
    # Another user's folder cannot be changed, and need not.
    with contextlib.suppress(OSError):
        folder.chmod(0o777)
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    return ProgramLock(folder / f"{safe}.lock", folder / f"{safe}.holder.json", f"rig {name}", RigError)
