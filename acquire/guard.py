"""The guard of the light: closes the shutter when whoever works under it falls silent.

Two guards stand behind each other. A thread of this program (:class:`Guard`) notices that nobody has given a sign for
too long, for example because a device hangs. A separate process (:mod:`acquire.watchdog`) notices that this whole
program is stuck or dead. This module deliberately does not know what a shutter is: it is handed functions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from acquire.errors import RigError
from acquire.watchdog import Watchdog, WatchdogError

FORWARD_S = 0.5
"""How often the watchdog process hears that all is well, and is itself looked at."""

END_S = 2.0
"""Time that the thread gets to end by itself; it needs longer only when a device hangs."""


class Guard:
    """Watches the time between signs of life while the light is on.

    ``doing`` is what is asked of a device at present, in words, for the alarm; empty when nothing is.

    Parameters
    ----------
    close_shutter
        Closes the shutter; called from the guard's thread.
    stall_s
        Silence after which the light is closed, beside the time of a frame.
    watchdog
        The watchdog process, if the rig has one.
    alarm
        Is told in words what the guard had to do; called from any thread.
    """

    def __init__(
        self,
        close_shutter: Callable[[], object],
        stall_s: float,
        watchdog: Watchdog | None,
        alarm: Callable[[str], object],
    ) -> None:
        self._close_shutter = close_shutter
        self._stall_s = stall_s
        self._watchdog = watchdog
        self._alarm = alarm
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._off = threading.Event()
        self._last_s = 0.0
        self._frame_s = 0.0
        self._fault: str | None = None
        self.doing = ""

    def light_on(self) -> None:
        """Stand guard from now on; call it before the shutter opens.

        Raises
        ------
        RigError
            When the watchdog process does not answer: the light must stay off.
        """
        if self._thread is not None:
            return
        self._fault = None
        self._frame_s = 0.0
        if self._watchdog is not None:
            try:
                self._watchdog.light_on(self._watchdog.timeout_s)
            except WatchdogError as error:
                raise RigError(f"{error}; the light stays off; check [watchdog] in the rig config") from error
        self._last_s = time.monotonic()
        with self._changing:
            self._off = threading.Event()
            self._thread = threading.Thread(target=self._stand, args=(self._off,), name="light guard", daemon=True)
            self._thread.start()

    def beat(self, frame_s: float = 0.0) -> None:
        """Give a sign of life.

        Parameters
        ----------
        frame_s
            How much longer than usual the next sign may take: the time of a frame.

        Raises
        ------
        RigError
            When a guard had to close the light since it was opened.
        """
        now_s = time.monotonic()
        silent_s = now_s - self._last_s
        if self._thread is not None and self._watchdog is not None and self._watchdog.has_closed:
            self._fault = self._fault or "the watchdog closed the light after {silent_s:.1f} s; take the stack again"
        if self._fault is not None:
            raise RigError(self._fault.format(silent_s=silent_s))
        self._frame_s = frame_s
        self._last_s = now_s

    def light_off(self) -> None:
        """Stand down; call it after the shutter was closed, from any thread but the guard's."""
        # Another thread that stops the work may be here, or in light_on, at the same time.
        with self._changing:
            thread, self._thread = self._thread, None
            self._off.set()
        if thread is not None:
            thread.join(END_S)
        if self._watchdog is not None:
            self._watchdog.light_off()
        self._fault = None

    def shutter_does_not_close(self) -> None:
        """Have the watchdog try its own way to the shutter."""
        if self._watchdog is not None:
            self._watchdog.close_shutter()

    def stop(self) -> None:
        """End the thread and the process."""
        self.light_off()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None

    def _stand(self, off: threading.Event) -> None:
        try:
            self._watch(off)
        except Exception as error:  # noqa: BLE001 - a guard that fails, however, closes the light
            self._fire(f"the guard of the light failed ({type(error).__name__}: {error}); the light was closed")

    def _watch(self, off: threading.Event) -> None:
        while not off.wait(self._nap_s()):
            silent_s = time.monotonic() - self._last_s
            limit_s = self._stall_s + self._frame_s
            if silent_s >= limit_s:
                self._fire(
                    f"the program stalled for {{silent_s:.1f}} s (limit {limit_s:.1f} s){self._while_doing()}; "
                    "the light was closed; see what hung, then take the stack again"
                )
                return
            if not self._forward(silent_s):
                self._fire("the watchdog died and cannot be replaced; the light was closed; see [watchdog]")
                return

    def _while_doing(self) -> str:
        """Return what hangs, as a text that ``str.format`` leaves as it is."""
        doing = self.doing.replace("{", "{{").replace("}", "}}")
        return f" while {doing}" if doing else ""

    def _nap_s(self) -> float:
        left_s = self._last_s + self._stall_s + self._frame_s - time.monotonic()
        return max(min(left_s, FORWARD_S), 0.0)

    def _forward(self, silent_s: float) -> bool:
        watchdog = self._watchdog
        if watchdog is None:
            return True
        starts = watchdog.starts
        try:
            heard = watchdog.forward(watchdog.timeout_s + self._frame_s - silent_s)
        except WatchdogError as error:
            self._alarm(str(error))
            return False
        if watchdog.starts > starts:
            self._alarm(f"the watchdog process died or hung and was replaced (process {watchdog.pid})")
        return heard

    def _fire(self, fault: str) -> None:
        """Close the light by both ways; a frame that was taken until now had light, later ones are refused."""
        self._fault = fault
        self._alarm(fault.format(silent_s=time.monotonic() - self._last_s))
        # The other process first: this one's way to the shutter may be what hangs.
        self.shutter_does_not_close()
        try:
            self._close_shutter()
        except RigError as error:
            self._alarm(str(error))
