"""What was last known of a rig, for whoever only looks; nothing is imported for it that takes time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from acquire.model import StagePosition


@dataclass(frozen=True, eq=False)
class RigSight:
    """What was last known of a rig. Nothing is asked of a device for it, so that any thread may look at any time.

    Parameters
    ----------
    is_lit
        Whether light may reach the sample: it is on, or the shutter does not close.
    power_mw
        Power at the sample in the newest frame while the light is on, else as it was last set, mW.
    position
        Where the motors last said they are; None before they were asked.
    frame
        Newest frame of the scanner, shape (y, x) or (c, y, x); None before there is one.
    frames
        How many frames there were, by which a new one is known.
    """

    is_lit: bool
    power_mw: float
    position: StagePosition | None
    frame: NDArray[np.uint16] | None
    frames: int


@dataclass(frozen=True)
class LivePower:
    """The power of a live view, and how far it may be changed.

    Parameters
    ----------
    asked_mw
        Power at the sample that was asked for, mW.
    least_mw, most_mw
        What rig and animal allow, mW.
    """

    asked_mw: float
    least_mw: float
    most_mw: float

    @property
    def says(self) -> str:
        """The power, and the most that it may be, in words."""
        return f"{self.asked_mw:.1f} of {self.most_mw:g} mW"
