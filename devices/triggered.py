"""Simulated devices that step through a sequence by themselves, at the start of each frame of the scanner.

On a rig a cable leads the scanner's frame clock to the z drive and to the Pockels cell; here it is ``Scene.triggered``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devices.laser import SimulatedPockels
from devices.scene import Scene
from devices.stage import SimulatedZDrive, check_z_um

SEQUENCE_LENGTH = 2000
"""Steps that a device can hold, as Micro-Manager's demo drive."""


class StepSequence:
    """Values that a device goes through, one at each frame; at the last one it stays.

    Parameters
    ----------
    scene
        Whose scanner gives the triggers.
    go_to
        Brings the device to a value.
    """

    def __init__(self, scene: Scene, go_to: Callable[[float], None]) -> None:
        self._scene = scene
        self._go_to = go_to
        self._values: tuple[float, ...] = ()
        self._left: list[float] = []

    def load(self, values: Sequence[float]) -> None:
        """Keep the values."""
        self._values = tuple(float(value) for value in values)

    def start(self) -> None:
        """Listen to the triggers, from the first value on."""
        self.stop()
        self._left = list(reversed(self._values))
        self._scene.triggered.append(self._step)

    def stop(self) -> None:
        """Listen no more: the device stays where it is."""
        if self._step in self._scene.triggered:
            self._scene.triggered.remove(self._step)

    def _step(self) -> None:
        if self._left:
            self._go_to(self._left.pop())


class TriggeredZDrive(SimulatedZDrive):
    """A focus drive that can step with the frames. The parameters are those of :class:`SimulatedZDrive`."""

    def __init__(self, scene: Scene, repeatability_um: float, seed: int) -> None:
        super().__init__(scene, repeatability_um, seed)
        self._sequence = StepSequence(scene, self._stop_at)

    def get_sequence_max_length(self) -> int:
        """Return how many positions it holds."""
        return SEQUENCE_LENGTH

    def send_sequence(self, sequence: tuple[float, ...]) -> None:
        """Take the positions, um."""
        for z_um in sequence:
            check_z_um(z_um)
        self._sequence.load(sequence)

    def start_sequence(self) -> None:
        """Step with the frames from now on."""
        self._sequence.start()

    def stop_sequence(self) -> None:
        """Stay where it is."""
        self._sequence.stop()


class TriggeredPockels(SimulatedPockels):
    """A Pockels cell whose ``Voltage`` can step with the frames."""

    def __init__(self, scene: Scene, voltage: float) -> None:
        super().__init__(scene, voltage)
        self._sequence = StepSequence(scene, self._apply)
        # By hand: a property that is declared in a class cannot be declared anew in a class derived from it.
        self.register_property(
            "Voltage",
            property_type=float,
            limits=(0.0, 1.0),
            getter=lambda _cell: self._voltage,
            setter=lambda _cell, voltage: self._apply(voltage),
            sequence_max_length=SEQUENCE_LENGTH,
            sequence_loader=lambda _cell, voltages: self._sequence.load(voltages),
            sequence_starter=lambda _cell: self._sequence.start(),
            sequence_stopper=lambda _cell: self._sequence.stop(),
        )
