"""Simulated motors: the XY stage and the focus drive."""

from __future__ import annotations

import time

import numpy as np
from pymmcore_plus.core import FocusDirection
from pymmcore_plus.experimental.unicore import StageDevice, XYStageDevice

from devices.scene import Scene

XY_RANGE_UM = 10_000.0
"""The XY stage travels this far each way from 0, um."""

Z_RANGE_UM = (-3_000.0, 1_000.0)
"""Travel of the focus drive, um; positive is deeper, so it can retract 3 mm from the surface."""

SPEED_UM_PER_S = 2_000.0
"""Speed of both, um/s; moves take time only on a rig in real time."""

SETTLE_S = 0.01
"""Time a motor takes to stop, s."""


def check_z_um(z_um: float) -> None:
    """Refuse a position that the focus drive cannot reach."""
    _check_range("The Z drive", z_um, *Z_RANGE_UM)


def _check_range(name: str, position_um: float, least_um: float, most_um: float) -> None:
    """Refuse a position that the motor cannot reach."""
    if not least_um <= position_um <= most_um:
        raise ValueError(
            f"{name} cannot go to {position_um:g} um: it travels from {least_um:g} to {most_um:g} um. "
            "Ask for a position inside."
        )


class SimulatedXYStage(XYStageDevice):
    """An XY stage that moves the head under the objective.

    Parameters
    ----------
    scene
        What the devices look at.
    repeatability_um
        Standard deviation of where it stops about where it was sent, um.
    seed
        Seed of that error.
    """

    def __init__(self, scene: Scene, repeatability_um: float, seed: int) -> None:
        super().__init__()
        self._scene = scene
        self._repeatability_um = repeatability_um
        self._rng = np.random.default_rng([seed, 4])
        self._arrives_at_s = 0.0

    def set_position_um(self, x: float, y: float) -> None:
        """Move to ``x``, ``y``, um."""
        _check_range("The XY stage's x", x, -XY_RANGE_UM, XY_RANGE_UM)
        _check_range("The XY stage's y", y, -XY_RANGE_UM, XY_RANGE_UM)
        way_um = float(np.hypot(x - self._scene.x_um, y - self._scene.y_um))
        self._scene.x_um, self._scene.y_um = np.array([x, y]) + self._rng.normal(0.0, self._repeatability_um, 2)
        if self._scene.realtime:
            self._arrives_at_s = time.monotonic() + way_um / SPEED_UM_PER_S + SETTLE_S
        self.core.events.XYStagePositionChanged.emit(self.get_label(), *self.get_position_um())

    def get_position_um(self) -> tuple[float, float]:
        """Return where it stands, um."""
        return float(self._scene.x_um), float(self._scene.y_um)

    def busy(self) -> bool:
        """Return whether it still moves."""
        return time.monotonic() < self._arrives_at_s

    def home(self) -> None:
        """Move to 0, 0."""
        self.set_position_um(0.0, 0.0)

    def stop(self) -> None:
        """Stop: it is where it is."""
        self._arrives_at_s = 0.0

    def set_origin_x(self) -> None:
        """Refuse: every stored position would be wrong."""
        raise RuntimeError("The simulated stage keeps its origin: a new one would make every stored position wrong.")

    def set_origin_y(self) -> None:
        """Refuse: every stored position would be wrong."""
        self.set_origin_x()


class SimulatedZDrive(StageDevice):
    """A focus drive; positive is deeper.

    Parameters
    ----------
    scene
        What the devices look at.
    repeatability_um
        Standard deviation of where it stops about where it was sent, um.
    seed
        Seed of that error.
    """

    def __init__(self, scene: Scene, repeatability_um: float, seed: int) -> None:
        super().__init__()
        self._scene = scene
        self._repeatability_um = repeatability_um
        self._rng = np.random.default_rng([seed, 5])
        self._arrives_at_s = 0.0

    def set_position_um(self, val: float) -> None:
        """Focus at ``val``, um."""
        check_z_um(val)
        way_um = abs(val - self._scene.z_um)
        self._stop_at(val)
        if self._scene.realtime:
            self._arrives_at_s = time.monotonic() + way_um / SPEED_UM_PER_S + SETTLE_S
        self.core.events.stagePositionChanged.emit(self.get_label(), self.get_position_um())

    def _stop_at(self, z_um: float) -> None:
        self._scene.z_um = z_um + float(self._rng.normal(0.0, self._repeatability_um))

    def get_position_um(self) -> float:
        """Return the focal plane, um."""
        return float(self._scene.z_um)

    def get_focus_direction(self) -> FocusDirection:
        """Return that a greater position brings the objective nearer to the sample."""
        return FocusDirection.TowardSample

    def busy(self) -> bool:
        """Return whether it still moves."""
        return time.monotonic() < self._arrives_at_s

    def home(self) -> None:
        """Focus at 0."""
        self.set_position_um(0.0)

    def stop(self) -> None:
        """Stop: it is where it is."""
        self._arrives_at_s = 0.0

    def set_origin(self) -> None:
        """Refuse: every stored position would be wrong."""
        raise RuntimeError("The simulated drive keeps its origin: a new one would make every stored position wrong.")
