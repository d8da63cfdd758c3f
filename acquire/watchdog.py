"""The watchdog: a small separate process that closes the shutter when the program dies or says nothing any more.

It has its own way to the shutter, a function that the rig config names. Both ends of the pipe are in this module:
:class:`Watchdog` in the program, :func:`main` in the process. What the program says, a line each:

=========== ==========================================================================
``lit S``   the light is on; the next line comes within S seconds (answered ``lit``)
``dark``    the light is off
``close``   close the shutter now
``bye``     the program ends properly, dark
=========== ==========================================================================

The end of the pipe without ``bye`` is the program's death. Only the standard library is imported, so that it stands
ready in a moment; signals play no part, so it is the same on every system.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

LAST_WORDS_S = 1.0
LOOK_S = 0.25
CLOSE_ATTEMPTS = 5
BETWEEN_ATTEMPTS_S = 0.2
END_OF_PIPE = ""

ANSWER_S = 5.0
"""Time in which the process must answer; it takes 0.1 s when it has to start, 0.0002 s later."""

END_S = 2.0
"""Time that the process gets to end by itself."""

Close = Callable[[], object]
Say = Callable[[str], None]


class WatchdogError(RuntimeError):
    """The watchdog cannot be started, or does not answer."""


class Watchdog:
    """The program's end: starts the process, talks to it, notices when it dies.

    Parameters
    ----------
    close
        The function that closes the shutter in the other process, ``"module:function"``.
    settings
        Its keyword arguments; they must be JSON.
    timeout_s
        Silence after which the other process closes the shutter, beside the time of a frame.

    Raises
    ------
    WatchdogError
        When no process can be started.
    """

    def __init__(self, close: str, settings: Mapping[str, Any], timeout_s: float) -> None:
        self._command = [sys.executable, "-P", "-m", "acquire.watchdog", close, json.dumps(dict(settings), default=str)]
        self.timeout_s = timeout_s
        self.starts = 0
        self.has_closed = False
        self._start()

    def _start(self) -> None:
        """Start the process; does not wait until it answers."""
        # What this program can import, the watchdog can import. Its own group: Ctrl-C is for this program alone.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                start_new_session=True,
                creationflags=flags,
            )
        except OSError as error:
            raise WatchdogError(f"the watchdog process cannot be started: {error}") from error
        self.starts += 1
        self._said = ""
        self._asked_s = 0.0
        self._has_ever_answered = False
        self._answered = threading.Event()
        self._reader = threading.Thread(target=self._listen, name="watchdog answers", daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said = line.decode().strip()
            if self._said == "lit":
                self._answered.set()
            else:
                self.has_closed = True

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        # A process that is gone is noticed by its missing answer; ValueError: its pipe is being closed right now.
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{line}\n".encode())

    def _ask(self, seconds: float) -> None:
        self._answered.clear()
        self._asked_s = time.monotonic()
        self._send(f"lit {max(seconds, 0.0):.3f}")

    def light_on(self, seconds: float) -> None:
        """Say that the light comes on, and wait for the answer; a dead watchdog is replaced once.

        Raises
        ------
        WatchdogError
            When there is no answer: the light must stay off.
        """
        for replaced in (False, True):
            self._ask(seconds)
            while not self._answered.wait(0.02) and self._may_answer():
                pass
            if self._answered.is_set():
                self._has_ever_answered = True
                self.has_closed = False
                return
            if not replaced:
                self._replace()
        raise WatchdogError(f"the watchdog process does not answer: {self._state()}")

    def forward(self, seconds: float) -> bool:
        """Say that work goes on; never waits for the answer, which is looked for at the next call.

        Returns
        -------
        heard
            False when the watchdog was replaced and does not answer for all that.
        """
        if not self._answered.is_set():
            if self._may_answer():
                return True
            if not self._has_ever_answered:
                return False
            self._replace()
        elif not self.is_alive:
            self._replace()
        else:
            self._has_ever_answered = True
        self._ask(seconds)
        return True

    def _may_answer(self) -> bool:
        return self.is_alive and time.monotonic() - self._asked_s < ANSWER_S

    def light_off(self) -> None:
        """Say that the light is off."""
        self._send("dark")

    def close_shutter(self) -> None:
        """Have the process close the shutter now; does not wait."""
        self._send("close")

    def stop(self) -> None:
        """End the process: the program ends properly, and dark."""
        self._send("bye")
        self._let_go(END_S)

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def _state(self) -> str:
        code = self._process.poll()
        state = "it runs" if code is None else f"it ended with code {code}"
        if code is not None:
            self._reader.join(LAST_WORDS_S)  # it may have said why
        return f"{state} and said {self._said!r}" if self._said else state

    def _replace(self) -> None:
        # Killed before its pipe closes: it would take the end of the pipe for this program's death, and close.
        self._process.kill()
        self._let_go(END_S)
        self._start()

    def _let_go(self, patience_s: float) -> None:
        process = self._process
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(patience_s)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def find_close(name: str, settings: str) -> Close:
    """Return the function that closes the shutter, with its settings (JSON) bound to it."""
    module, _, function = name.partition(":")
    close = getattr(importlib.import_module(module), function)
    keywords = json.loads(settings)
    return lambda: close(**keywords)


def close_surely(close: Close, say: Say) -> None:
    """Close the shutter, try again when that fails, and say how it went."""
    fault = ""
    for _ in range(CLOSE_ATTEMPTS):
        try:
            close()
        except Exception as error:  # noqa: BLE001 - the last guard of the light outlives whatever a driver raises
            fault = f"{type(error).__name__}: {error}"
            time.sleep(BETWEEN_ATTEMPTS_S)
        else:
            say("closed")
            return
    say(f"failed to close the shutter: {fault}")


def watch(lines: queue.SimpleQueue[str], close: Close, say: Say, parent: int) -> bool:
    """Obey the lines until the program ends; return whether it ended properly.

    Parameters
    ----------
    lines
        What the program says; an empty line is the end of the pipe.
    close
        Closes the shutter.
    say
        Answers the program.
    parent
        Process number of the program. A fork of it can keep the pipe open after its death.
    """
    deadline_s = math.inf
    while True:
        try:
            word, _, seconds = lines.get(timeout=LOOK_S).partition(" ")
        except queue.Empty:
            word, seconds = "nothing", ""
        if word == "bye":
            return True
        if word == END_OF_PIPE or os.getppid() != parent:
            return False
        if word == "lit":
            deadline_s = time.monotonic() + float(seconds)
            say("lit")
        elif word == "dark":
            deadline_s = math.inf
        if word == "close" or time.monotonic() > deadline_s:
            deadline_s = math.inf
            close_surely(close, say)


def _read(pipe: BinaryIO, lines: queue.SimpleQueue[str]) -> None:
    with contextlib.suppress(OSError):
        for line in pipe:
            lines.put(line.decode().strip())
    lines.put(END_OF_PIPE)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, f"{text}\n".encode())


def main() -> int:
    """Be the process: ``python -m acquire.watchdog module:function JSON`` with a pipe as standard input."""
    parent = os.getppid()
    try:
        close = find_close(*sys.argv[1:])
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        _say(f"failed to start: {error}")
        return 2
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, lines), daemon=True).start()
    properly = False
    try:
        properly = watch(lines, close, _say, parent)
    finally:
        if not properly:
            close_surely(close, _say)
    # The reader may still be blocked in the pipe; the interpreter would wait for its lock at the end.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
