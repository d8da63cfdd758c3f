"""The rig config: which devices play which role, what they may do, and how the image lies on the stage.

TOML in, one frozen :class:`RigConfig` out. Roles name devices or (device, property) pairs, so that any Micro-Manager
adapter fits without code. Nothing here touches a device.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from acquire.errors import RigError
from acquire.files import reading_toml
from acquire.model import Finite, Identifier, NonNegative, Positive, PowerLimit, Record, StagePosition

Range = tuple[Finite, Finite]


class PropertyRole(Record):
    """A device property that plays a role."""

    device: str
    property: str

    def __str__(self) -> str:
        return f"{self.device}.{self.property}"


class Roles(Record):
    """Who plays what. Everything but the scanner and the z drive may be missing; what is then not possible is said."""

    scanner: str
    z_drive: str
    xy_stage: str | None = None
    shutter: str | None = None
    surface_camera: str | None = None
    power: PropertyRole | None = None
    pmt_gain: PropertyRole | None = None
    zoom: PropertyRole | None = None
    resolution: PropertyRole | None = None
    pixel_dwell: PropertyRole | None = None


class ScanGeometry(Record):
    """Size of the scanned image: by zoom (``field_um_at_zoom_1``) or fixed (``pixel_um``)."""

    field_um_at_zoom_1: Positive | None = None
    pixel_um: Positive | None = None
    saturation: Positive | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ScanGeometry:
        if (self.field_um_at_zoom_1 is None) == (self.pixel_um is None):
            raise ValueError("give either field_um_at_zoom_1 (a scanner with zoom) or pixel_um (a fixed magnification)")
        return self


class ChannelRole(Record):
    """A channel: one of the images that the scanner gives at once, a preset that is set before the image, or both."""

    camera_channel: Annotated[int, Field(ge=0, le=63)] = 0
    group: str | None = None
    preset: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> ChannelRole:
        if (self.group is None) != (self.preset is None):
            raise ValueError("give both group and preset, as in Micro-Manager's configuration, or none of them")
        if not self.model_fields_set:
            raise ValueError("give camera_channel (detectors that are read at once) or group and preset")
        return self

    def __str__(self) -> str:
        camera_channel = f"camera channel {self.camera_channel}"
        return f"{camera_channel} of {self.group} {self.preset}" if self.group else camera_channel


class PowerCalibration(Record):
    """Property value against power at the sample, mW: measured with a meter, both rising."""

    value: Annotated[tuple[Finite, ...], Field(min_length=2)]
    power_mw: Annotated[tuple[NonNegative, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _rising(self) -> PowerCalibration:
        if len(self.value) != len(self.power_mw):
            raise ValueError(f"{len(self.value)} values but {len(self.power_mw)} powers; give one power for each value")
        if np.any(np.diff(self.value) <= 0) or np.any(np.diff(self.power_mw) <= 0):
            raise ValueError("value and power_mw must both rise from entry to entry")
        return self

    def value_at(self, power_mw: float) -> float:
        """Return the property value that gives a power, interpolated linearly between the readings."""
        return float(np.interp(power_mw, self.power_mw, self.value))

    def power_at(self, value: float) -> float:
        """Return the power that a property value gives, mW."""
        return float(np.interp(value, self.value, self.power_mw))


class Limits(Record):
    """What may be asked of the rig. Moves and powers beyond are refused before anything is sent."""

    x_um: Range
    y_um: Range
    z_um: Range
    power_mw: PowerLimit
    retract_um: NonNegative = 200.0
    retract_beyond_um: Positive = 2000.0

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        for name in ("x_um", "y_um", "z_um"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name}: the lower limit {low} um is not below the upper limit {high} um")
        return self

    def why_not(self, position: StagePosition) -> str | None:
        """Say why a position is refused, with numbers; None when it is allowed."""
        for axis, value in zip("xyz", position.xyz_um, strict=True):
            low, high = getattr(self, f"{axis}_um")
            if not low <= value <= high:
                return (
                    f"{axis} = {value:.1f} um is outside the limits {low:.1f} to {high:.1f} um; "
                    f"move the head closer to the centre of the stage, or widen limits.{axis}_um in the rig config"
                )
        return None


class Orientation(Record):
    """How the image lies on the stage: ``stage_from_image`` maps (right, down) in the image to stage (x, y).

    ``deeper_is`` is +1 when a larger z of the drive lies deeper in the tissue, -1 when it lies higher. ``nose`` says to
    which side of the image the animal's nose points, for advice in words.
    """

    stage_from_image: tuple[tuple[Finite, Finite], tuple[Finite, Finite]] = ((1.0, 0.0), (0.0, 1.0))
    deeper_is: Annotated[int, Field(ge=-1, le=1)] = 1
    nose: Literal["up", "down", "left", "right"] | None = None

    @model_validator(mode="after")
    def _orthogonal(self) -> Orientation:
        m = np.array(self.stage_from_image)
        if not np.allclose(m @ m.T, np.eye(2), atol=0.02) or self.deeper_is == 0:
            raise ValueError("stage_from_image must be a rotation or a mirror (orthogonal rows), deeper_is +1 or -1")
        return self

    def stage_offset_um(self, offset_zyx_um: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the stage offset (x, y, z) of an offset in the stack (z, y, x), um."""
        dz, dy, dx = offset_zyx_um
        x, y = np.array(self.stage_from_image) @ (dx, dy)
        return float(x), float(y), self.deeper_is * dz


class Settle(Record):
    """Time to wait after a move has ended, s."""

    xy_s: NonNegative = 0.0
    z_s: NonNegative = 0.0


class Objective(Record):
    """The objective. Below the brain surface, where it was imaged, the focus never goes farther than it reaches."""

    name: str = ""
    numerical_aperture: Positive | None = None
    working_distance_um: Positive | None = None


OPENING = "{opening}"
"""Stands in settings for a name that each opening of the rig gets anew."""


class WatchdogPlan(Record):
    """How a separate process closes the shutter when this program dies, or says nothing for ``timeout_s``.

    ``close`` names a function of a light module: it is imported and called in that process with ``settings``, where
    none of this program's devices exist.
    """

    close: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    settings: dict[str, Any] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(ge=0.5, le=600)] = 15.0


class RigConfig(Record):
    """Everything that is known of a rig before it is switched on.

    ``stall_s`` is the silence, beside the time of a frame, after which the light is closed. An ``exclusive`` rig is
    used by one program at a time; configs of the same hardware name the same ``lock``. ``channels`` are in the order
    in which they are shown; a plan that names none is taken in the first.
    """

    name: str
    mm_config: str | None = None
    load: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    load_settings: dict[str, Any] = Field(default_factory=dict)
    roles: Roles
    scan: ScanGeometry
    surface_pixel_um: Positive | None = None
    channels: dict[Identifier, ChannelRole] = Field(default_factory=dict)
    power: PowerCalibration | None = None
    limits: Limits
    orientation: Orientation = Orientation()
    settle: Settle = Settle()
    objective: Objective = Objective()
    wavelength_nm: Positive | None = None
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    stall_s: Annotated[float, Field(ge=0.1, le=600)] = 5.0
    watchdog: WatchdogPlan | None = None
    exclusive: bool = True
    lock: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> RigConfig:
        if self.mm_config is None and self.load is None:
            raise ValueError("nothing to load: give mm_config (a Micro-Manager .cfg) or load (module:function)")
        if self.roles.power and self.power is None:
            raise ValueError("roles.power needs the table [power] of property value against mW at the sample")
        if self.power and self.power.power_mw[0] > self.limits.power_mw:
            raise ValueError(
                f"the least power in [power], {self.power.power_mw[0]} mW, is above limits.power_mw, "
                f"{self.limits.power_mw} mW; measure the table again"
            )
        if self.roles.surface_camera and self.surface_pixel_um is None:
            raise ValueError("roles.surface_camera needs surface_pixel_um, its pixel size on the brain")
        if self.scan.field_um_at_zoom_1 and not (self.roles.zoom and self.roles.resolution):
            raise ValueError("scan.field_um_at_zoom_1 needs roles.zoom and roles.resolution")
        return self

    @model_validator(mode="after")
    def _channels_apart(self) -> RigConfig:
        if len({role.group is None for role in self.channels.values()}) > 1:
            raise ValueError(
                "channels: some name a preset and some do not, so nobody knows under which preset these are taken; "
                "name group and preset for each, or for none"
            )
        named: dict[ChannelRole, str] = {}
        for name, role in self.channels.items():
            if (other := named.setdefault(role, name)) != name:
                raise ValueError(f"channels.{other} and channels.{name} are the same ({role}); keep one of them")
        return self

    def missing(self) -> list[str]:
        """Say what this rig cannot do for lack of a role, a line each."""
        by_scanner = " and the scanner's whole field" if self.scan.field_um_at_zoom_1 else ""
        says = {
            "xy_stage": "no xy stage: fields cannot be approached",
            "shutter": "no shutter: the light is on whenever the laser is; close it by hand",
            "surface_camera": f"no surface camera: no vessel map; landmarks{by_scanner} tell how the head sits",
            "power": "no power control: the power at the sample is neither set nor known",
            "zoom": f"no zoom: every image has pixels of {self.scan.pixel_um} um",
        }
        lacks = [text for role, text in says.items() if getattr(self.roles, role) is None]
        if self.roles.shutter and self.watchdog is None:
            lacks.append("no watchdog: when this program is killed the light stays as it is; close it by hand then")
        return lacks

    def for_opening(self, name: str) -> RigConfig:
        """Return the config with ``{opening}`` in its settings replaced by a name."""
        load_settings = _with_opening(self.load_settings, name)
        watchdog = self.watchdog
        if watchdog is not None:
            watchdog = watchdog.model_copy(update={"settings": _with_opening(watchdog.settings, name)})
        return self.model_copy(update={"load_settings": load_settings, "watchdog": watchdog})


def _with_opening(settings: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value.replace(OPENING, name) if isinstance(value, str) else value for key, value in settings.items()}


def find_config(name_or_path: str | Path) -> Path:
    """Return the path of a rig config, given as a file or as the name of one that travels with the program."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    packaged = resources.files("configs") / f"{name_or_path}.toml"
    with resources.as_file(packaged) as file:
        if path.suffix == "" and file.is_file():
            return file
    raise RigError(
        f"no rig config {name_or_path}: there is no such file, and the program brings only 'simulated' and 'demo'; "
        "put it back, or give another"
    )


def read_rig_config(name_or_path: str | Path) -> RigConfig:
    """Read a rig config.

    Raises
    ------
    RigError
        When the file is missing, is no TOML, or has unknown, missing or impossible entries: each is named.
    """
    path = find_config(name_or_path)
    with reading_toml(path, RigError):
        return RigConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
