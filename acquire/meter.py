"""The light meter: how long the light was on, and how much energy reached the sample meanwhile.

It knows times and powers; it deliberately does not know what opens the light or sets the power: it is told.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lit:
    """Light that was on: for how long (s), and its energy at the sample (mJ)."""

    seconds: float = 0.0
    mj: float = 0.0

    def __add__(self, other: Lit) -> Lit:
        return Lit(self.seconds + other.seconds, self.mj + other.mj)

    def __sub__(self, other: Lit) -> Lit:
        return Lit(self.seconds - other.seconds, self.mj - other.mj)


class LightMeter:
    """Adds up time and energy while the light is on; may be told from any thread.

    On a rig that does not know its power the energy stays 0.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._before = Lit()  # light-ons that have ended
        self._now = Lit()  # the present one, up to the last change of power
        self.power_mw = 0.0
        self._since_s: float | None = None
        self._is_dark = self._leaks = False

    def switch_on(self) -> None:
        """Count from now on; a second call changes nothing."""
        with self._changing:
            self._count()
            self._since_s = self._since_s or time.monotonic()
            self._is_dark = self._leaks = False

    def go_dark(self) -> None:
        """Count no more, although nobody has switched off: a guard closed the light."""
        with self._changing:
            self._count()
            self._is_dark = True

    def leak(self) -> None:
        """Count on although the light was switched off: its shutter does not close."""
        with self._changing:
            self._since_s = self._since_s or time.monotonic()
            self._is_dark, self._leaks = False, True

    def switch_off(self) -> Lit | None:
        """Return what the light-on that ends now came to; None when the light was off."""
        with self._changing:
            if self._since_s is None:
                return None
            self._count()
            ended, self._now, self._since_s, self._leaks = self._now, Lit(), None, False
            self._before += ended
            return ended

    def set_power(self, power_mw: float) -> None:
        """Say which power reaches the sample from now on while the light is on, mW."""
        with self._changing:
            self._count()
            self.power_mw = power_mw

    @property
    def is_on(self) -> bool:
        """Whether the light was switched on and not off since; a shutter that leaks makes it not on."""
        return self._since_s is not None and not self._leaks

    @property
    def reaches_sample(self) -> bool:
        """Whether light may reach the sample: switched on, or by a shutter that does not close."""
        return self._since_s is not None and not self._is_dark

    @property
    def total(self) -> Lit:
        """All light so far, the present one included."""
        with self._changing:
            self._count()
            return self._before + self._now

    def _count(self) -> None:
        if self._since_s is not None:
            now_s = time.monotonic()
            seconds, self._since_s = now_s - self._since_s, now_s
            if self._is_dark:
                return
            self._now += Lit(seconds, seconds * self.power_mw)


class LightBudget:
    """The energy that one stack may bring into the tissue, and what it has brought.

    What counts is the larger of two sums: power times frame time of every frame, and what the meter says, which has
    also the time around the frames.

    Parameters
    ----------
    limit_mj
        No more than this, mJ.
    lit
        Reads the meter.
    """

    def __init__(self, lit: Callable[[], Lit], limit_mj: float = math.inf) -> None:
        self.limit_mj = limit_mj
        self._lit = lit
        self._began_mj = lit().mj
        self._exposed_mj = 0.0

    def expose(self, mj: float) -> None:
        """Count the frames that are taken now."""
        self._exposed_mj += mj

    @property
    def spent_mj(self) -> float:
        """Energy so far, mJ."""
        return max(self._exposed_mj, self._lit().mj - self._began_mj)

    def affords(self, mj: float) -> bool:
        """Tell whether frames of so much energy are within the limit, with as much light around them as until now."""
        around = self.spent_mj / self._exposed_mj if self._exposed_mj else 1.0
        return self.spent_mj + mj * around <= self.limit_mj
