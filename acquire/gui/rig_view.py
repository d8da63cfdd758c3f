"""The rig config while it is calibrated: what was changed and not saved yet, and tables of words about it; no Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from acquire.calibrated import Reading, direction_in_image, made_limits
from acquire.config import Limits, RigConfig, find_config, read_rig_config
from acquire.errors import RigError
from acquire.model import StagePosition
from acquire.orientation import CalibrationPlan, MeasuredOrientation
from acquire.rigfile import CALIBRATED, save_rig_config, travels_with_program

if TYPE_CHECKING:
    from acquire.properties import DeviceProperty

REOPEN = "it holds when the rig is reopened: press Reopen"
LIMIT_FIELDS = ("x_low", "x_high", "y_low", "y_high", "z_low", "z_high", "power_mw", "retract_um", "retract_beyond_um")
LIMIT_NAMES = {
    "x_low": "x from (um)",
    "x_high": "x to (um)",
    "y_low": "y from (um)",
    "y_high": "y to (um)",
    "z_low": "z from (um)",
    "z_high": "z to (um)",
    "power_mw": "power at the sample (mW)",
    "retract_um": "retract z by (um)",
    "retract_beyond_um": "before moves beyond (um)",
}


@dataclass(frozen=True)
class Draft:
    """A rig config file, and the config that it shall become.

    Parameters
    ----------
    source
        The file that was read.
    saved
        What it says.
    config
        What it shall say.
    """

    source: Path
    saved: RigConfig
    config: RigConfig

    @classmethod
    def read(cls, rig_name: str) -> Draft:
        """Read the config of a rig."""
        config = read_rig_config(rig_name)
        return cls(find_config(rig_name), config, config)

    def changed(self, config: RigConfig) -> Draft:
        """Return the draft with another config."""
        return replace(self, config=config)

    def save(self, path: Path) -> tuple[Draft, str]:
        """Write the file; return what is so now, and what to tell.

        Raises
        ------
        RigError
            When the file is gone, or says something else than when it was read, or cannot be written.
        """
        if read_rig_config(self.source) != self.saved:
            raise RigError(
                f"{self.source} was changed by somebody since it was read; nothing was saved: reopen the rig, "
                "see what both changed, and save again"
            )
        kept = save_rig_config(self.config, path, template=self.source)
        beside = f"; as it was: {kept.name}" if kept is not None else ""
        return replace(self, source=path, saved=self.config), f"saved {path}{beside}; {REOPEN}"

    def read_again(self) -> Draft:
        """Return the draft over what its file says now; the parts that were changed here stay changed."""
        saved = read_rig_config(self.source)
        mine = {
            name: getattr(self.config, name)
            for name in CALIBRATED
            if getattr(self.config, name) != getattr(self.saved, name)
        }
        return replace(self, saved=saved, config=saved.model_copy(update=mine))

    def is_in_force(self, running: RigConfig) -> bool:
        """Tell whether an open rig runs with what the file says."""
        return all(getattr(self.saved, name) == getattr(running, name) for name in CALIBRATED)

    @property
    def changes(self) -> tuple[str, ...]:
        """What is not saved yet, a line each."""
        told = []
        for name in CALIBRATED:
            old, new = getattr(self.saved, name), getattr(self.config, name)
            if old == new:
                continue
            if isinstance(new, float) or old is None:
                told.append(f"{name}: {_short(old)} → {_short(new)}")
            else:
                keys = [key for key in type(new).model_fields if getattr(old, key) != getattr(new, key)]
                told += [f"{name}.{key}: {_short(getattr(old, key))} → {_short(getattr(new, key))}" for key in keys]
        return tuple(told)

    @property
    def own_path(self) -> str:
        """Where it is saved unless somebody says otherwise; empty for a config of the program's own."""
        return "" if travels_with_program(self.source) else str(self.source)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        shown = ", ".join(_short(each) for each in value[:6])
        return f"[{shown}{f', … {len(value)} values' if len(value) > 6 else ''}]"
    return "none" if value is None else str(value)


# ---- orientation ---------------------------------------------------------------------------------------------------


def orientation_rows(config: RigConfig, measured: MeasuredOrientation) -> list[tuple[str, str, str]]:
    """Return what the config says beside what was measured: name, config, measured."""
    told_um = measured.told_pixel_um
    told = replace(
        measured,
        stage_from_pixels_um=tuple(
            tuple(told_um * value for value in row) for row in config.orientation.stage_from_image
        ),  # type: ignore[arg-type]
    )
    across_um, down_um = measured.pixels_um
    rows = [
        (
            f"stage +{name} in the image",
            direction_in_image(told.stage_from_image[row]),
            direction_in_image(measured.stage_from_image[row]),
        )
        for row, name in enumerate("xy")
    ]
    return [
        *rows,
        ("pixel across (um)", f"{told_um:.4f}", f"{across_um:.4f}"),
        ("pixel down (um)", f"{told_um:.4f}", f"{down_um:.4f}"),
        ("mirrored", _yes(told.is_mirrored), _yes(measured.is_mirrored)),
        ("turned (deg)", f"{told.rotation_deg:.2f}", f"{measured.rotation_deg:.2f} ± {measured.sigma_deg:.2f}"),
        ("left over (um)", "", f"{measured.residual_um:.2f}"),
    ]


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


# ---- what was typed ------------------------------------------------------------------------------------------------


def number_of(typed: str, what: str) -> float:
    """Return a typed number.

    Raises
    ------
    RigError
        When it is none.
    """
    try:
        number = float(typed.strip().replace(",", "."))
    except ValueError as error:
        raise RigError(f"{what} is {typed.strip() or 'empty'}; type a number") from error
    if not math.isfinite(number):
        raise RigError(f"{what} is {number:g}; type a number that ends")
    return number


def plan_of(camera: str, power_mw: str, step_um: str) -> CalibrationPlan:
    """Return what was asked for.

    Raises
    ------
    RigError
        When something is no number.
    """
    step = number_of(step_um, "the move") if step_um.strip() else None
    if step is not None and step <= 0:
        raise RigError(f"the move is {step:g} um; type how far to go, or leave it empty")
    if camera == "surface_camera":
        return CalibrationPlan(camera="surface_camera", step_um=step)
    power = number_of(power_mw, "the power")
    if power < 0:
        raise RigError(f"the power is {power:g} mW; type a power that is not negative")
    return CalibrationPlan(camera="scanner", power_mw=power, step_um=step)


def readings_of(rows: Sequence[tuple[str, str]]) -> tuple[Reading, ...]:
    """Return typed readings; empty rows are left out.

    Raises
    ------
    RigError
        When one is no number: its row is named.
    """
    readings = []
    for number, (value, power_mw) in enumerate(rows, start=1):
        if value.strip() or power_mw.strip():
            readings.append((number_of(value, f"row {number}: the value"), number_of(power_mw, f"row {number}: mW")))
    return tuple(readings)


def limit_texts(limits: Limits) -> dict[str, str]:
    """Return limits as they are typed."""
    numbers = {f"{axis}_{end}": getattr(limits, f"{axis}_um")[place] for axis in "xyz" for place, end in ENDS}
    rest = {name: getattr(limits, name) for name in ("power_mw", "retract_um", "retract_beyond_um")}
    return {name: f"{number:g}" for name, number in {**numbers, **rest}.items()}


ENDS = ((0, "low"), (1, "high"))


def limits_of(typed: dict[str, str]) -> Limits:
    """Return typed limits.

    Raises
    ------
    RigError
        When one is no number, or they are not allowed.
    """
    numbers = {name: number_of(typed[name], LIMIT_NAMES[name]) for name in LIMIT_FIELDS}
    ranges = {f"{axis}_um": (numbers.pop(f"{axis}_low"), numbers.pop(f"{axis}_high")) for axis in "xyz"}
    return made_limits(**ranges, **numbers)


def tell_place(limits: Limits, position: StagePosition | None) -> str:
    """Say whether the stage stands within limits."""
    if position is None:
        return ""
    refusal = limits.why_not(position)
    return f"The stage stands at {position}" + (f": {refusal}" if refusal else ", within these limits")


# ---- properties ----------------------------------------------------------------------------------------------------


def property_cells(one: DeviceProperty) -> tuple[str, str, str, str]:
    """Return device, property, value and what is to be known of it."""
    limits = f"{one.limits[0]:g} to {one.limits[1]:g}" if one.limits else ""
    notes = [f"role {one.role}" if one.role else "", limits, "read only" if one.why_not else ""]
    return one.device, one.name, f"✗ {one.trouble}" if one.trouble else one.value, ", ".join(filter(None, notes))


def matching(found: Sequence[DeviceProperty], words: str) -> list[DeviceProperty]:
    """Return the properties whose device, name or role hold all words."""
    wanted = words.lower().split()
    return [one for one in found if all(word in f"{one} {one.role}".lower() for word in wanted)]


def tell_property(one: DeviceProperty) -> str:
    """Return what is to be known of one property before it is set."""
    told = [f"{one}: {one.trouble or one.value}"]
    if one.role:
        told.append(f"plays the role {one.role}")
    if one.limits:
        told.append(f"its device allows {one.limits[0]:g} to {one.limits[1]:g}")
    if one.why_not:
        told.append(f"cannot be set here: {one.why_not}")
    return "\n".join(told)
