"""The light: opened for images, closed on every way out, and at once when somebody wants to stop.

Opening and closing are read back. A shutter that does not obey is tried again, then by the watchdog's own way, and the
power goes down.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from pymmcore_plus.experimental.unicore import UniMMCore

from acquire.config import RigConfig
from acquire.errors import DEVICE_FAULTS, RigError, asking
from acquire.guard import Guard
from acquire.meter import LightMeter, Lit
from acquire.watchdog import Watchdog

CLOSE_ATTEMPTS = 3
PAUSE_POLL_S = 0.05


class LightPath:
    """The shutter with its guards, and who wants it closed.

    ``alarms`` says what the guards had to do; ``meter`` how much light there was.

    Parameters
    ----------
    core
        Micro-Manager's core with the devices of ``config`` loaded.
    config
        The rig config: the roles of shutter and power, and how long silence may last.
    watchdog
        The process that closes the shutter when this program cannot.
    went_off
        Is told how much light there was, when it has gone off; called from any thread.
    """

    def __init__(
        self, core: UniMMCore, config: RigConfig, watchdog: Watchdog | None, went_off: Callable[[Lit], object]
    ) -> None:
        self._core = core
        self._config = config
        self._went_off = went_off
        self.alarms: list[str] = []
        self.meter = LightMeter()
        self._guard = Guard(self._shut_by_guard, config.stall_s, watchdog, self.alarms.append)
        self._stop = self._paused = False
        self._works = 0

    def dismiss_guards(self) -> None:
        """End the guards, thread and process; call it when the light is off for good."""
        self._guard.stop()

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Keep the light on for the block; off on every way out of it."""
        try:
            self.open()
            yield
        finally:
            self.close()

    @contextlib.contextmanager
    def asking(self, action: str, longer_s: float = 0.0) -> Iterator[None]:
        """Ask something of a device: the guards know what, and what goes wrong is a RigError that names it.

        Parameters
        ----------
        action
            What is asked, with device and value.
        longer_s
            How much longer than the rig's time-out it may take.

        Raises
        ------
        RigError
            When the device refuses, or answers too late to be believed.
        """
        self._guard.doing = action
        limit_s = self._config.timeout_s + longer_s
        asked_s = time.monotonic()
        try:
            with asking(action):
                yield
        finally:
            self._guard.doing = ""
        took_s = time.monotonic() - asked_s
        if took_s > limit_s:
            raise RigError(f"{action} took {took_s:.1f} s (time-out {limit_s:.1f} s); see what hung, then try again")

    def open(self) -> None:
        """Open the shutter and read it back; after :meth:`stop` it stays closed until other :meth:`work` begins.

        Raises
        ------
        RigError
            When it does not open, when the watchdog does not answer, or when a guard has closed it since it was opened.
        """
        if self.is_lit:
            self.beat()
            return
        shutter = self._config.roles.shutter
        if shutter is not None:
            self._guard.light_on()
        self.meter.switch_on()
        if shutter is not None:
            with self.asking(f"opening the shutter {shutter}"):
                self._core.setShutterOpen(shutter, True)
                self._core.waitForDevice(shutter)
        # Somebody may have asked to stop in this very moment, found the light off, and gone.
        if self._stop:
            self.close()
        self.check()

    def check(self) -> None:
        """Raise RigError when the light should be on and is not: what was imaged is dark."""
        self.beat()
        shutter = self._config.roles.shutter
        if shutter is None or not self.is_lit:
            return
        with self.asking(f"reading the shutter {shutter}"):
            is_open = self._core.getShutterOpen(shutter)
        # Read first, asked later: whoever stops in between has closed it rightly.
        if not is_open and self.is_lit:
            raise RigError(f"shutter {shutter} reads closed after it was opened; check the interlock and its key")

    @property
    def is_lit(self) -> bool:
        """Whether the light was switched on and not off since."""
        return self.meter.is_on

    def check_guards(self) -> None:
        """Call the guards up and dismiss them, the shutter closed all the while; RigError when one does not answer."""
        self._guard.light_on()
        self._guard.light_off()

    def beat(self, frame_s: float = 0.0) -> None:
        """Give a sign of life: needed every ``stall_s`` while the light is on; taking a frame does it.

        Parameters
        ----------
        frame_s
            How much longer than ``stall_s`` the next sign may take.

        Raises
        ------
        RigError
            When a guard had to close the light since it was opened: what was imaged since the last sign is dark.
        """
        self._guard.beat(frame_s)

    def close(self) -> None:
        """Close the shutter; if it does not obey, set the power to its least; raises when neither works."""
        lit = self.meter.switch_off()  # first: whoever checks the light meanwhile must not take it for a fault
        try:
            self._shut()
        except RigError:
            self.meter.leak()
            raise
        finally:
            self._guard.light_off()
        if lit is not None:
            self._went_off(lit)

    def _shut_by_guard(self) -> None:
        self._shut()
        self.meter.go_dark()

    def _shut(self) -> None:
        shutter = self._config.roles.shutter
        if shutter is None:
            return
        fault: Exception | None = None
        for _ in range(CLOSE_ATTEMPTS):
            try:
                self._core.setShutterOpen(shutter, False)
                if not self._core.getShutterOpen(shutter):
                    return
            except DEVICE_FAULTS as error:
                fault = error
        self._guard.shutter_does_not_close()
        self._power_down()
        raise RigError(f"shutter {shutter} does not close ({fault or 'it reads open'}); close the laser by hand now")

    def _power_down(self) -> None:
        role, table = self._config.roles.power, self._config.power
        if role is not None and table is not None:
            with contextlib.suppress(*DEVICE_FAULTS):
                self._core.setProperty(role.device, role.property, table.value[0])
                self.meter.set_power(table.power_mw[0])

    def stop(self) -> None:
        """End the work that is going on: light off at once. May be called from any thread, as may ``pause``."""
        self._stop = True
        self._paused = False
        self.close()

    def pause(self, paused: bool = True) -> None:
        """Hold the stack that is being taken after the frame it is at, dark; ``pause(False)`` goes on."""
        self._paused = paused

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """Do something that can be stopped: an earlier wish to stop is forgotten when it begins, none of its own.

        Work inside other work goes on with the other's wishes.
        """
        if self._works == 0:
            self._stop = self._paused = False
        self._works += 1
        try:
            yield
        finally:
            self._works -= 1

    def wait_while_paused(self) -> None:
        """Return when nobody wants a pause, light off until then."""
        if self._paused:
            self.close()
        while self._paused:
            time.sleep(PAUSE_POLL_S)

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked to stop or to pause."""
        return self._stop or self._paused
