"""The properties of all devices, read and set for the engineer: under the same limits as everything else.

What would go around a limit is refused: the shutter is opened by the light alone, motors are moved by moves, and the
power is set in mW that the limit allows. Knows no window; every call here speaks to devices and may take long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pymmcore_plus import DeviceType, Keyword, PropertyType

from acquire.config import RigConfig, Roles
from acquire.errors import RigError
from acquire.rig import READ_BACK_TOLERANCE, Rig

Kind = Literal["text", "whole", "number"]
CORE = "Core"
MOTORS = (DeviceType.Stage, DeviceType.XYStage)


@dataclass(frozen=True)
class DeviceProperty:
    """One property as it was read.

    Parameters
    ----------
    device, name
        Whose it is, and what it is called.
    value
        As the device says it; empty when it could not be read, which ``trouble`` tells.
    kind
        What it holds.
    allowed
        Its values, when there are only some.
    limits
        Least and greatest number, when the device says so.
    role
        What it is for in the rig config; empty when nothing.
    why_not
        Why it cannot be set here; empty when it can be tried.
    trouble
        What the device said instead of a value.
    """

    device: str
    name: str
    value: str
    kind: Kind = "text"
    allowed: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    role: str = ""
    why_not: str = ""
    trouble: str = ""

    def __str__(self) -> str:
        return f"{self.device}.{self.name}"


def read_properties(rig: Rig) -> tuple[DeviceProperty, ...]:
    """Read every property of every loaded device; what cannot be read says why."""
    found = []
    for device in rig.core.getLoadedDevices():
        if device == CORE:
            continue
        with rig.asking(f"asking {device} for its properties"):
            names = [str(name) for name in rig.core.getDevicePropertyNames(device)]
        found += [read_property(rig, device, name) for name in names]
    return tuple(found)


def read_property(rig: Rig, device: str, name: str) -> DeviceProperty:
    """Read one property; it says so when its value cannot be read."""
    core = rig.core
    with rig.asking(f"asking what {device}.{name} is"):
        kind = core.getPropertyType(device, name)
        allowed = tuple(str(value) for value in core.getAllowedPropertyValues(device, name))
        limits = None
        if core.hasPropertyLimits(device, name):
            limits = (float(core.getPropertyLowerLimit(device, name)), float(core.getPropertyUpperLimit(device, name)))
    value = trouble = ""
    try:
        with rig.asking(f"reading {device}.{name}"):
            value = _plain(core.getProperty(device, name))
    except RigError as error:
        trouble = str(error)
    return DeviceProperty(
        device,
        name,
        value,
        kind={PropertyType.Integer: "whole", PropertyType.Float: "number"}.get(kind, "text"),  # type: ignore[arg-type]
        allowed=allowed,
        limits=limits,
        role=_role(rig.config.roles, device, name),
        why_not=_why_not(rig, device, name),
        trouble=trouble,
    )


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _role(roles: Roles, device: str, name: str) -> str:
    for role, player in roles:
        if player is not None and str(player) == f"{device}.{name}":
            return role
    return ""


def _why_not(rig: Rig, device: str, name: str) -> str:
    core, roles = rig.core, rig.config.roles
    if device == roles.shutter:
        return "the shutter is opened by the light alone, which closes it again"
    with rig.asking(f"asking whether {device}.{name} can be set"):
        if core.isPropertyReadOnly(device, name):
            return f"{device} does not let it be set"
        if core.isPropertyPreInit(device, name):
            return "it is set before the device is loaded: in the Micro-Manager configuration"
        if name == Keyword.Position.value and core.getDeviceType(device) in MOTORS:
            return "motors are moved by moves, which are checked against the limits"
    return ""


def set_property(rig: Rig, device: str, name: str, value: str) -> DeviceProperty:
    """Set a property, wait for its device, and return what it reads.

    Raises
    ------
    RigError
        When it may not be set here, the value is beyond a limit, or the device does not take it.
    """
    before = read_property(rig, device, name)
    if before.why_not:
        raise RigError(f"{before} was not set: {before.why_not}")
    number = _number(before, value) if before.kind != "text" else None
    if before.role == "power" and number is not None:
        _set_power(rig, rig.config, number)
    else:
        with rig.asking(f"setting {before} to {value}"):
            rig.core.setProperty(device, name, value if number is None else number)
            rig.core.waitForDevice(device)
    after = read_property(rig, device, name)
    if after.trouble:
        raise RigError(after.trouble)
    if not _is_same(after.value, value, number):
        raise RigError(f"{after} reads {after.value} after it was set to {value}; check the device and its limits")
    return after


def _number(known: DeviceProperty, value: str) -> float | int:
    try:
        number = float(value)
    except ValueError as error:
        raise RigError(f"{known} needs a number, not {value!r}") from error
    low, high = known.limits or (-float("inf"), float("inf"))
    if not low <= number <= high:
        raise RigError(f"{known} = {number:g} is outside {low:g} to {high:g}, which {known.device} allows")
    if known.kind == "whole" and number == int(number):
        return int(number)
    return number


def _set_power(rig: Rig, config: RigConfig, value: float) -> None:
    table = config.power
    if table is None:
        raise RigError(f"rig {config.name} has no power table; add [power] to its config")
    low, high = table.value[0], table.value[-1]
    if not low <= value <= high:
        raise RigError(f"{config.roles.power} = {value:g} is outside its table [power], {low:g} to {high:g}")
    rig.set_power_mw(table.power_at(value))


def _is_same(read: str, value: str, number: float | None) -> bool:
    if number is None:
        return read == value
    try:
        return abs(float(read) - number) <= READ_BACK_TOLERANCE * max(1.0, abs(number))
    except ValueError:
        return False
