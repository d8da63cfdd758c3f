"""A rig config beside what was measured: the difference in words, and the config changed to it.

Pure values: no device and no file. Every change goes through the config's own checks, so that what comes back can be
saved as it is. What a person must decide is left to a person: which way is deeper is never guessed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from acquire.config import Limits, PowerCalibration, RigConfig
from acquire.errors import RigError, validation_summary
from acquire.model import Finding, Light
from acquire.orientation import Camera, MeasuredOrientation
from analysis.model import Floats

SAME_DEG, SAME_SHARE = 0.5, 0.01  # what stage and image agree to
CONTRARY_DEG = 45.0
WRONG_SHARE = 0.1
STRAIGHT_DEG = 0.2  # nearer to the axes of the stage than this counts as on them
MOST_UNEVEN, MOST_SKEW_DEG = 0.05, 3.0  # the config holds one pixel size and a right angle
ROUGH_SHARE = 0.05  # of the highest power: readings farther off the curve of their neighbours are told
DARK_SHARE = 0.02
COARSE_SHARE = 0.35
NAMES: dict[Camera, str] = {"scanner": "the scanner", "surface_camera": "the surface camera"}
SIDES = ("right", "down", "left", "up")

Reading = tuple[float, float]
"""A property value, and the power that a meter read at the sample, mW."""


def changed_config(config: RigConfig, **changes: Any) -> RigConfig:
    """Return a config with other values, checked as if it were read.

    Raises
    ------
    RigError
        When they are not allowed, or contradict what else the config says.
    """
    try:
        return RigConfig.model_validate({**config.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        raise RigError(validation_summary(error)) from error


# ---- orientation ---------------------------------------------------------------------------------------------------


def compare_orientation(config: RigConfig, measured: MeasuredOrientation) -> list[Finding]:
    """Say how far the config is from what was measured: each axis of the stage, the size and shape of a pixel."""
    told = np.array(config.orientation.stage_from_image)
    axes = [_compare_axis(name, told[row], measured.stage_from_image[row]) for row, name in enumerate("xy")]
    return [*axes, _compare_pixel(measured.told_pixel_um, measured.pixel_um), *_compare_shape(measured)]


def direction_in_image(right_down: Floats) -> str:
    """Return where a direction (right, down) points in the image, in words."""
    angle_deg = float(np.degrees(np.arctan2(right_down[1], right_down[0])))
    side = round(angle_deg / 90.0)
    off_deg = angle_deg - 90.0 * side
    word = SIDES[side % 4]
    if abs(off_deg) < STRAIGHT_DEG:
        return word
    return f"{word}, turned {abs(off_deg):.1f} deg {'clockwise' if off_deg > 0 else 'counter-clockwise'}"


def _compare_axis(name: str, told: Floats, seen: Floats) -> Finding:
    """Compare where a stage axis points in the image; rows of an orthogonal matrix are its axes (right, down)."""
    off_deg = float(np.degrees(np.arccos(np.clip(told @ seen / np.linalg.norm(told), -1.0, 1.0))))
    says, is_seen = direction_in_image(told), direction_in_image(seen)
    if off_deg > CONTRARY_DEG:
        return Finding(
            Light.RED,
            f"the config says stage +{name} is {says} in the image, measured {is_seen}: images would be corrected the "
            "wrong way",
        )
    if off_deg > SAME_DEG:
        miss_um = 200 * np.sin(np.radians(off_deg) / 2)
        return Finding(
            Light.AMBER,
            f"stage +{name} is {off_deg:.1f} deg from where the config has it ({is_seen} instead of {says}): a "
            f"correction of 100 um would miss by {miss_um:.1f} um",
        )
    return Finding(Light.GREEN, f"stage +{name} is {is_seen} in the image, as the config says (to {off_deg:.1f} deg)")


def _compare_pixel(told_um: float, measured_um: float) -> Finding:
    off = measured_um / told_um - 1
    if abs(off) <= SAME_SHARE:
        text = f"pixels are {measured_um:.4g} um, {told_um:.4g} um in the config ({off:+.1%})"
        return Finding(Light.GREEN, text)
    return Finding(
        Light.RED if abs(off) > WRONG_SHARE else Light.AMBER,
        f"pixels are {measured_um:.4g} um, but {told_um:.4g} um in the config ({off:+.1%}): a correction of 100 um "
        f"would go {100 / (1 + off):.0f} um",
    )


def _compare_shape(measured: MeasuredOrientation) -> list[Finding]:
    across_um, down_um = measured.pixels_um
    uneven = max(across_um, down_um) / min(across_um, down_um) - 1
    found = []
    if uneven > 2 * SAME_SHARE:
        found.append(
            Finding(
                Light.RED if uneven > MOST_UNEVEN else Light.AMBER,
                f"pixels are {across_um:.4g} um wide and {down_um:.4g} um high ({uneven:.1%} apart), and the config "
                "holds one size; adjust the amplitude of one scan axis",
            )
        )
    if abs(measured.skew_deg) > 2 * SAME_DEG:
        found.append(
            Finding(
                Light.RED if abs(measured.skew_deg) > MOST_SKEW_DEG else Light.AMBER,
                f"the image is skewed by {measured.skew_deg:.1f} deg; check that the axes of the stage, and of the "
                "scan, are at right angles",
            )
        )
    return found


def straight(matrix: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return a rotation or mirror as it is written down: along the axes when it is so but for measuring errors."""
    nearest = np.rint(matrix)
    off_deg = np.degrees(np.abs(np.sin(np.arccos(np.clip(np.abs(matrix).max(axis=1), 0.0, 1.0))))).max()
    rounded = nearest if off_deg < STRAIGHT_DEG else np.round(matrix, 5)
    (a, b), (c, d) = (rounded + 0.0).tolist()
    return (a, b), (c, d)


def with_orientation(config: RigConfig, measured: MeasuredOrientation) -> RigConfig:
    """Return the config with the measured orientation and pixel size.

    Raises
    ------
    RigError
        When the image is so uneven or skewed that no rotation and no single pixel size describes it.
    """
    if refusal := next((each.text for each in _compare_shape(measured) if each.light is Light.RED), None):
        raise RigError(f"the measurement cannot become the config's: {refusal}")
    orientation = {**config.orientation.model_dump(), "stage_from_image": straight(measured.stage_from_image)}
    if measured.camera == "surface_camera":
        return changed_config(config, orientation=orientation, surface_pixel_um=_rounded(measured.pixel_um))
    if measured.told_field_um is None:
        key, value_um = "pixel_um", measured.pixel_um
    else:
        key, value_um = "field_um_at_zoom_1", measured.told_field_um * measured.pixel_um / measured.told_pixel_um
    scan = config.scan.model_dump(exclude_unset=True)
    return changed_config(config, orientation=orientation, scan={**scan, key: _rounded(value_um)})


def _rounded(value_um: float) -> float:
    return float(f"{value_um:.5g}")


def compare_cameras(one: MeasuredOrientation, other: MeasuredOrientation) -> Finding:
    """Say whether two images lie alike on the stage: the config holds one orientation for both."""
    matrix = one.stage_from_image.T @ other.stage_from_image
    if one.is_mirrored != other.is_mirrored:
        text = f"{NAMES[one.camera]} is mirrored against {NAMES[other.camera]}"
        return Finding(Light.RED, f"{text}, and the config holds one orientation; mirror one image in its adapter")
    turn_deg = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    both = f"{NAMES[one.camera]} and {NAMES[other.camera]}"
    if abs(turn_deg) <= 2 * SAME_DEG:
        return Finding(Light.GREEN, f"{both} lie alike on the stage (to {abs(turn_deg):.1f} deg)")
    text = f"{both} are turned by {abs(turn_deg):.1f} deg against each other, and the config holds one orientation"
    return Finding(Light.RED if abs(turn_deg) > CONTRARY_DEG else Light.AMBER, f"{text}; turn the camera")


# ---- depth ---------------------------------------------------------------------------------------------------------

LargerZ = Literal["deeper", "higher"]


def compare_depth(config: RigConfig, larger_z_is: LargerZ) -> Finding:
    """Say whether the config agrees with what a person saw: what a larger z of the drive means."""
    told: LargerZ = "deeper" if config.orientation.deeper_is > 0 else "higher"
    if told == larger_z_is:
        return Finding(Light.GREEN, f"a larger z is {told} in the tissue, as the config says")
    return Finding(
        Light.RED,
        f"the config says a larger z is {told} in the tissue, you saw that it is {larger_z_is}: stacks would be upside "
        "down, and z would be retracted into the tissue",
    )


def with_depth(config: RigConfig, larger_z_is: LargerZ) -> RigConfig:
    """Return the config with what a person saw."""
    deeper_is = 1 if larger_z_is == "deeper" else -1
    return changed_config(config, orientation={**config.orientation.model_dump(), "deeper_is": deeper_is})


# ---- power ---------------------------------------------------------------------------------------------------------


def power_table(readings: Sequence[Reading]) -> PowerCalibration:
    """Return the table that readings of a meter make, in the order of the property value.

    Raises
    ------
    RigError
        When there are fewer than two, or they do not rise.
    """
    ordered = sorted(readings)
    if len(ordered) < 2:
        raise RigError(f"the power table needs at least two readings, here are {len(ordered)}; read the meter again")
    for (value, mw), (next_value, next_mw) in itertools.pairwise(ordered):
        if next_value == value:
            raise RigError(f"the value {value:g} was read twice ({mw:g} and {next_mw:g} mW); keep one of them")
        if next_mw <= mw:
            raise RigError(
                f"the power falls from {mw:g} mW at {value:g} to {next_mw:g} mW at {next_value:g}; read these again, "
                "and end the table where the power is highest"
            )
    values, powers_mw = zip(*ordered, strict=True)
    try:
        return PowerCalibration(value=values, power_mw=powers_mw)
    except ValidationError as error:
        raise RigError(validation_summary(error)) from error


def judge_power(table: PowerCalibration, limit_mw: float) -> list[Finding]:
    """Say what is remarkable of a power table: readings off the curve of the others, gaps, light at the least value."""
    value, mw = np.array(table.value), np.array(table.power_mw)
    found = [*_off_the_curve(value, mw)]
    if mw[0] > DARK_SHARE * mw[-1]:
        text = f"the least value still lets {mw[0]:.2g} mW through; add a reading nearer to extinction if there is one"
        found.append(Finding(Light.AMBER, text))
    widest = int(np.argmax(np.diff(mw)))
    if np.diff(mw)[widest] > COARSE_SHARE * mw[-1]:
        text = (
            f"between {mw[widest]:g} and {mw[widest + 1]:g} mW there is no reading, and the line between may be wrong"
        )
        found.append(Finding(Light.AMBER, f"{text}; add one at about {value[widest : widest + 2].mean():.3g}"))
    if mw[-1] < limit_mw:
        text = f"the table ends at {mw[-1]:g} mW, below the limit of {limit_mw:g} mW: more cannot be asked for"
        found.append(Finding(Light.AMBER, text))
    good = Finding(Light.GREEN, f"{len(mw)} readings rise evenly from {mw[0]:g} to {mw[-1]:g} mW")
    return found or [good]


def _off_the_curve(value: Floats, mw: Floats) -> list[Finding]:
    """Name the reading that lies farthest off a cubic through the two on each side of it, when it is far."""
    off = [(abs(mw[i] - (told := _by_neighbours(value, mw, i))), i, told) for i in range(2, len(mw) - 2)]
    far, place, told = max(off, default=(0.0, 0, 0.0))
    if far <= ROUGH_SHARE * mw[-1]:
        return []
    text = f"{mw[place]:g} mW at {value[place]:g} is off the curve of its neighbours ({told:.3g} mW)"
    return [Finding(Light.AMBER, f"{text}; read it again")]


def _by_neighbours(value: Floats, mw: Floats, place: int) -> float:
    """Return what the two readings on each side of one tell of it: the cubic through them (Lagrange)."""
    others = [place - 2, place - 1, place + 1, place + 2]
    weights = [np.prod([(value[place] - value[o]) / (value[i] - value[o]) for o in others if o != i]) for i in others]
    return float(np.dot(weights, mw[others]))


def with_power(config: RigConfig, table: PowerCalibration) -> RigConfig:
    """Return the config with another power table."""
    if config.roles.power is None:
        raise RigError(f"rig {config.name} has no power control; name its property in roles.power first")
    return changed_config(config, power=table.model_dump())


# ---- limits --------------------------------------------------------------------------------------------------------


def with_limits(config: RigConfig, limits: Limits) -> RigConfig:
    """Return the config with other limits.

    Raises
    ------
    RigError
        When more power is to be allowed than the power table reaches.
    """
    if limits.power_mw > config.limits.power_mw and (beyond := beyond_table(config.power, limits)):
        raise RigError(beyond)
    return changed_config(config, limits=limits.model_dump())


def beyond_table(table: PowerCalibration | None, limits: Limits) -> str | None:
    """Say that a power limit lies beyond what was measured; None when it does not."""
    if table is None or limits.power_mw <= table.power_mw[-1]:
        return None
    return (
        f"the power limit is {limits.power_mw:g} mW, but the power table ends at {table.power_mw[-1]:g} mW: more "
        "cannot be asked for; lower the limit, or read the meter at more power first"
    )


def made_limits(**values: Any) -> Limits:
    """Make limits of what a person typed.

    Raises
    ------
    RigError
        When they are not allowed.
    """
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        raise RigError(validation_summary(error)) from error


def compare_limits(old: Limits, new: Limits, table: PowerCalibration | None = None) -> list[Finding]:
    """Say which limits were widened, which lets more happen than before, and which were narrowed."""
    beyond = beyond_table(table, new)
    found = [] if beyond is None else [Finding(Light.AMBER, beyond)]
    for axis in ("x_um", "y_um", "z_um"):
        (low, high), (new_low, new_high) = getattr(old, axis), getattr(new, axis)
        if new_low < low or new_high > high:
            text = f"{axis} is wider: {new_low:g} to {new_high:g} um, was {low:g} to {high:g} um; is all of it free?"
            found.append(Finding(Light.AMBER, text))
        elif (new_low, new_high) != (low, high):
            found.append(Finding(Light.GREEN, f"{axis} is narrower: {new_low:g} to {new_high:g} um"))
    if new.power_mw > old.power_mw:
        text = f"more power is allowed: {new.power_mw:g} mW, was {old.power_mw:g} mW"
        found.append(Finding(Light.AMBER, text))
    elif new.power_mw < old.power_mw:
        found.append(Finding(Light.GREEN, f"less power is allowed: {new.power_mw:g} mW, was {old.power_mw:g} mW"))
    if (new.retract_um, new.retract_beyond_um) != (old.retract_um, old.retract_beyond_um):
        text = f"z retracts by {new.retract_um:g} um before moves beyond {new.retract_beyond_um:g} um"
        found.append(Finding(Light.GREEN if new.retract_um >= old.retract_um else Light.AMBER, text))
    return found
