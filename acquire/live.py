"""The live view: frame after frame of what is under the objective, while a joystick moves the stage.

The light ends with it on every way out, and by itself when nobody touches anything for a while. What the scanner shows
is looked at through :attr:`acquire.rig.Rig.sight`, what the surface camera shows through the view itself; nothing is
kept. It deliberately does not know who looks.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acquire.errors import RigError
from acquire.model import StackPlan, StagePosition
from acquire.rig import Rig
from acquire.sight import LivePower

UNTOUCHED_S = 120.0
POWER_STEP_MW = 1.0
Wish = tuple[float, float, float]
NOWHERE_UM: Wish = (0.0, 0.0, 0.0)
LONGEST_LIT_MOVE_UM = 50.0  # farther, and the light is off on the way


class View:
    """Images that come until somebody stops the rig. :meth:`nudge` and :meth:`touch` are for any thread.

    Parameters
    ----------
    rig
        The opened rig.
    untouched_s
        It ends when nobody has touched anything for so long, s.
    tell
        Hears why a wish is not granted; called from the thread that runs it.
    """

    _what_ends = "the live view ended"

    def __init__(
        self, rig: Rig, untouched_s: float = UNTOUCHED_S, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        self._rig = rig
        self._tell = tell
        self._untouched_s = untouched_s
        self._changing = threading.Lock()
        self._wanted_um = NOWHERE_UM
        self._touched_s = time.monotonic()

    @property
    def power(self) -> LivePower | None:
        """Power of the laser; None when there is none to change."""
        return None

    @property
    def camera_frame(self) -> tuple[NDArray[np.uint16], int] | None:
        """Newest frame of the surface camera, shape (y, x), and how many there were; None in a view of the scanner."""
        return None

    def touch(self) -> None:
        """Say that somebody is looking."""
        self._touched_s = time.monotonic()

    def nudge(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> None:
        """Move the stage so much further before the next frame, um; two wishes add up, a third is one too many."""
        with self._changing:
            self._wanted_um = add_wish(self._wanted_um, (x_um, y_um, z_um))
        self.touch()

    def set_power(self, power_mw: float) -> None:
        """Have the next frame taken with another power, mW; RigError when it cannot be."""
        raise RigError(f"there is no power to set to {power_mw:.1f} mW: the laser is off in this view")

    def step_power(self, way: int) -> None:
        """Change the power by one step, 1 up or -1 down, as far as it is allowed; RigError when it stands there."""
        power = self.power
        if power is None:
            self.set_power(0.0)
            return
        stepped_mw = min(max(power.asked_mw + way * POWER_STEP_MW, power.least_mw), power.most_mw)
        if stepped_mw == power.asked_mw:
            end = "most" if way > 0 else "least"
            raise RigError(f"power {power.asked_mw:.1f} mW is the {end} that rig and animal allow")
        self.set_power(stepped_mw)

    def run(self) -> str:
        """Show frames until :meth:`Rig.stop`; return why it ended. The light is off then.

        Raises
        ------
        RigError
            When a device does not obey.
        """
        rig = self._rig
        with rig.work():
            self._prepare()
            self.touch()
            try:
                while not rig.stop_requested:
                    if rig.interrupted:
                        rig.wait_while_paused()
                        self.touch()
                        continue
                    if time.monotonic() - self._touched_s > self._untouched_s:
                        return f"{self._what_ends}: nobody touched anything for {self._untouched_s:.0f} s"
                    self._move()
                    self._show()
            except RigError:
                if not rig.stop_requested:  # else the light was closed in the middle of the frame, as somebody wished
                    raise
            finally:
                rig.close_light()
                rig.dim()
        return "stopped"

    def _prepare(self) -> None:
        """Set up what the frames are taken with."""

    def _show(self) -> None:
        raise NotImplementedError

    def _move(self) -> None:
        with self._changing:
            wanted_um, self._wanted_um = self._wanted_um, NOWHERE_UM
        if not any(wanted_um):
            return
        here = self._rig.position()
        there = here.moved(*wanted_um)
        if refusal := self._rig.why_not(there):
            self._tell(refusal)
            return
        if _farthest_um(here, there) > LONGEST_LIT_MOVE_UM:
            self._rig.close_light()
        self._rig.move_to(there)


class LiveView(View):
    """What the scanner sees. :meth:`set_power` and :meth:`step_power` are for any thread, too.

    Parameters
    ----------
    rig
        The opened rig.
    plan
        Size, dwell time and gain of a frame.
    power_mw
        Power at the sample, mW.
    untouched_s
        The light goes off when nobody has touched anything for so long, s.
    tell
        Hears why a wish is not granted; called from the thread that runs it.
    """

    _what_ends = "the light went off"

    def __init__(
        self,
        rig: Rig,
        plan: StackPlan,
        power_mw: float,
        untouched_s: float = UNTOUCHED_S,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        super().__init__(rig, untouched_s, tell)
        self._limit_mw = math.inf
        self._plan = plan
        self._power_mw = power_mw

    @property
    def power_mw(self) -> float:
        """Power that was asked for, mW."""
        return self._power_mw

    @property
    def power(self) -> LivePower | None:
        """Power that was asked for, and what rig and animal allow; None on a rig whose power is set by hand."""
        if self._rig.config.roles.power is None:
            return None
        least_mw, most_mw = self._rig.power_range_mw
        return LivePower(self._power_mw, least_mw, min(most_mw, self._limit_mw))

    def limit_power(self, limit_mw: float) -> None:
        """Allow no more power than that, mW: the animal's own limit."""
        self._limit_mw = limit_mw
        self._power_mw = min(self._power_mw, limit_mw)

    def set_power(self, power_mw: float) -> None:
        """Have the next frame taken with another power, mW; RigError when rig or animal does not allow it."""
        if power_mw > self._limit_mw:
            raise RigError(
                f"power {power_mw:.1f} mW is above the animal's limit of {self._limit_mw:.1f} mW; ask for less"
            )
        if self._rig.config.roles.power is not None:
            self._rig.power_setting(power_mw)
        self._power_mw = power_mw
        self.touch()

    def _prepare(self) -> None:
        self._plan = self._rig.set_scan(self._plan.of_first_channel())

    def _show(self) -> None:
        self._rig.set_power_mw(min(self._power_mw, self._limit_mw))
        self._rig.open_light()
        self._rig.snap()


class SurfaceView(View):
    """What the surface camera sees, as the map is taken: the laser is closed for every frame."""

    _frame: tuple[NDArray[np.uint16], int] | None = None

    @property
    def camera_frame(self) -> tuple[NDArray[np.uint16], int] | None:
        """Newest frame, shape (y, x), and how many there were; None before there is one."""
        return self._frame

    def _show(self) -> None:
        before = 0 if self._frame is None else self._frame[1]
        self._frame = self._rig.snap_surface(), before + 1


def add_wish(waiting_um: Wish, more_um: Wish) -> Wish:
    """Return what is waited for when somebody wants to go further (x, y, z), um.

    No more than two steps wait at a time: what a held key asks for must not be driven after it is let go.

    Examples
    --------
    >>> add_wish((0.0, 0.0, 1.0), (0.0, 0.0, 1.0)), add_wish((0.0, 0.0, 2.0), (0.0, 0.0, 1.0))
    ((0.0, 0.0, 2.0), (0.0, 0.0, 2.0))
    """
    x_um, y_um, z_um = (
        max(-2 * abs(more), min(2 * abs(more), old + more)) if more else old
        for old, more in zip(waiting_um, more_um, strict=True)
    )
    return x_um, y_um, z_um


def _farthest_um(here: StagePosition, there: StagePosition) -> float:
    return max(here.lateral_distance_um(there), abs(here.z_um - there.z_um))
