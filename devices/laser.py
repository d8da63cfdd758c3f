"""Simulated light: the shutter, the Pockels cell that sets the power, and the photomultiplier's gain."""

from __future__ import annotations

import numpy as np
from pymmcore_plus.experimental.unicore import GenericDevice, ShutterDevice, pymm_property

from devices.scene import Scene
from devices.shutterfile import shutter_path, write_shutter

MOST_POWER_MW = 60.0
"""Power at the sample with the Pockels cell fully open, mW."""


def power_mw(voltage: float) -> float:
    """Return the power at the sample: a Pockels cell between crossed polarisers, 1 V its half wave.

    Examples
    --------
    >>> round(power_mw(0.5), 6), round(power_mw(1.0), 6)
    (30.0, 60.0)
    """
    return float(MOST_POWER_MW * np.sin(0.5 * np.pi * voltage) ** 2)


class SimulatedShutter(ShutterDevice):
    """A shutter in the laser's way; closed when loaded.

    With a ``shutter_file`` in the scene, another process can close it, and it then reads closed here.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self._scene = scene

    def initialize(self) -> None:
        """Begin closed; a file that cannot be written is noticed now, not when the light is on."""
        self.set_open(False)

    def get_open(self) -> bool:
        """Return whether light can reach the sample."""
        return self._scene.is_lit

    def set_open(self, open: bool) -> None:  # noqa: A002 - the name is Micro-Manager's
        """Open or close."""
        self._scene.shutter_open = bool(open)
        if self._scene.shutter_file is not None:
            write_shutter(self._scene.shutter_file, is_open=bool(open))

    def shutdown(self) -> None:
        """Close, and take the file away."""
        self._scene.shutter_open = False
        if self._scene.shutter_file is not None:
            shutter_path(self._scene.shutter_file).unlink(missing_ok=True)


class SimulatedPockels(GenericDevice):
    """A Pockels cell: ``Voltage`` 0 to 1 V gives 60 mW sin^2(pi/2 V) at the sample."""

    def __init__(self, scene: Scene, voltage: float) -> None:
        super().__init__()
        self._scene = scene
        self._voltage = voltage
        scene.power_mw = power_mw(voltage)

    @pymm_property(limits=(0.0, 1.0), name="Voltage")
    def voltage(self) -> float:
        """Return the voltage."""
        return self._voltage

    @voltage.setter
    def _set_voltage(self, voltage: float) -> None:
        self._apply(voltage)

    def _apply(self, voltage: float) -> None:
        self._voltage = float(voltage)
        self._scene.power_mw = power_mw(self._voltage)


class SimulatedPMT(GenericDevice):
    """A photomultiplier: ``Gain`` multiplies the counts of a photon."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self._scene = scene

    @pymm_property(limits=(0.0, 10.0), name="Gain")
    def gain(self) -> float:
        """Return the gain."""
        return self._scene.gain

    @gain.setter
    def _set_gain(self, gain: float) -> None:
        self._scene.gain = float(gain)
