"""Which channels of a plan are taken together, and which one after another: arithmetic on plan and config alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from acquire.config import ChannelRole
from acquire.errors import RigError
from acquire.model import StackPlan


@dataclass(frozen=True)
class Exposure:
    """Channels of a plan that one exposure of the scanner gives.

    Parameters
    ----------
    places
        Where its channels stand in the plan.
    camera_channels
        Which images of the camera they are, in the same order; None where the config says nothing of channels.
    group, preset
        Micro-Manager's preset that is set before; empty for none.
    """

    places: tuple[int, ...] = (0,)
    camera_channels: tuple[int, ...] | None = None
    group: str = ""
    preset: str = ""


def exposures_of(plan: StackPlan, channels: Mapping[str, ChannelRole]) -> tuple[Exposure, ...]:
    """Return the exposures that give the channels of a plan; the first has the plan's first channel.

    Parameters
    ----------
    plan
        Names the channels; the config's first when it names none.
    channels
        Those of the rig, by name.

    Raises
    ------
    RigError
        When the rig does not have a channel.
    """
    if unknown := [name for name in plan.channels if name not in channels]:
        raise RigError(
            f"the plan asks for the channel {', '.join(unknown)}; this rig has "
            f"{', '.join(channels) or 'one channel without name'}: change channels in the plan, or [channels] in the "
            "rig config"
        )
    if not channels:
        return (Exposure(),)
    together: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for place, name in enumerate(plan.channels or tuple(channels)[:1]):
        role = channels[name]
        together.setdefault((role.group or "", role.preset or ""), []).append((place, role.camera_channel))
    return tuple(
        Exposure(tuple(place for place, _ in taken), tuple(number for _, number in taken), group, preset)
        for (group, preset), taken in together.items()
    )
