"""The live view: frame after frame of what is under the objective, while a joystick moves the stage.

The light ends with it on every way out, and by itself when nobody touches anything for a while. What it shows is
looked at through :attr:`acquire.rig.Rig.sight`; nothing is kept. It deliberately does not know who looks.
"""

from __future__ import annotations

import threading
import time

from acquire.errors import RigError
from acquire.model import StackPlan, StagePosition
from acquire.rig import Rig

UNTOUCHED_S = 120.0
LONGEST_LIT_MOVE_UM = 50.0  # farther, and the light is off on the way


class LiveView:
    """Images that come until somebody stops the rig. :meth:`nudge`, :meth:`set_power` are for any thread.

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
    """

    def __init__(self, rig: Rig, plan: StackPlan, power_mw: float, untouched_s: float = UNTOUCHED_S) -> None:
        self._rig = rig
        self._plan = plan
        self._power_mw = power_mw
        self._untouched_s = untouched_s
        self._changing = threading.Lock()
        self._wanted_um = [0.0, 0.0, 0.0]
        self._touched_s = time.monotonic()

    @property
    def power_mw(self) -> float:
        """Power that was asked for, mW."""
        return self._power_mw

    def touch(self) -> None:
        """Say that somebody is looking."""
        self._touched_s = time.monotonic()

    def nudge(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> None:
        """Move the stage so much further before the next frame, um; several wishes add up."""
        with self._changing:
            self._wanted_um = [old + more for old, more in zip(self._wanted_um, (x_um, y_um, z_um), strict=True)]
        self.touch()

    def set_power(self, power_mw: float) -> None:
        """Have the next frame taken with another power, mW; RigError when the rig does not allow it."""
        if self._rig.config.roles.power is not None:
            self._rig.power_setting(power_mw)
        self._power_mw = power_mw
        self.touch()

    def run(self) -> str:
        """Show frames until :meth:`Rig.stop`; return why it ended. The light is off then.

        Raises
        ------
        RigError
            When a device does not obey, or a move is refused.
        """
        rig = self._rig
        with rig.work():
            self._plan = rig.set_scan(self._plan.of_first_channel())
            self.touch()
            try:
                while not rig.stop_requested:
                    if time.monotonic() - self._touched_s > self._untouched_s:
                        return f"the light went off: nobody touched anything for {self._untouched_s:.0f} s"
                    self._move()
                    self._show()
            except RigError:
                if not rig.stop_requested:  # else the light was closed in the middle of the frame, as somebody wished
                    raise
            finally:
                rig.close_light()
                rig.dim()
        return "stopped"

    def _show(self) -> None:
        self._rig.set_power_mw(self._power_mw)
        self._rig.open_light()
        self._rig.snap()

    def _move(self) -> None:
        with self._changing:
            wanted_um, self._wanted_um = self._wanted_um, [0.0, 0.0, 0.0]
        if not any(wanted_um):
            return
        here = self._rig.position()
        there = here.moved(*wanted_um)
        if _farthest_um(here, there) > LONGEST_LIT_MOVE_UM:
            self._rig.close_light()
        self._rig.move_to(there)


def _farthest_um(here: StagePosition, there: StagePosition) -> float:
    return max(here.lateral_distance_um(there), abs(here.z_um - there.z_um))
