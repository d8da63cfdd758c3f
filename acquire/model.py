"""The records of a study: what is written to disk, read back, and handed between rooms.

X is the live thing, XRecord what is written. Everything here is frozen, says its units in its names and refuses
unknown keys, so that a file that was edited by hand fails loudly and early.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from analysis.model import FOUND_AGREEMENT_UM, Transform, Verdict

if TYPE_CHECKING:
    from analysis.register import StackRegistration

FORMAT_VERSION: Literal[1] = 1
MOST_PLANES = 5000
LEAST_PIXELS = 16
LEAST_PLANES = 2
LARGEST_EXPONENT = 700.0  # of exp in a float
MOST_POWER_MW = 10_000.0  # of any laser for this
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
"""Names of which Windows makes no folder."""


def _no_device(name: str) -> str:
    if name.upper() in DEVICES:
        raise ValueError(f"Windows makes no folder of the name {name}; choose another, {name}_1 for instance")
    return name


def _power_limit(power_mw: float) -> float:
    if not 0 < power_mw <= MOST_POWER_MW:
        most = f"{MOST_POWER_MW:g} mW"
        raise ValueError(f"a limit of {power_mw:g} mW is none; give more than 0 and at most {most}")
    return power_mw


Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"), AfterValidator(_no_device)]
PowerLimit = Annotated[float, AfterValidator(_power_limit)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class Record(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StagePosition(Record):
    """Where the motors are, um. The one place where x comes first, as on the controller's display."""

    x_um: Finite
    y_um: Finite
    z_um: Finite

    @property
    def xyz_um(self) -> tuple[float, float, float]:
        """The three coordinates, um."""
        return self.x_um, self.y_um, self.z_um

    def lateral_distance_um(self, other: StagePosition) -> float:
        """Distance to another position in the plane of the stage, um."""
        return float(np.hypot(self.x_um - other.x_um, self.y_um - other.y_um))

    def moved(self, x_um: float = 0.0, y_um: float = 0.0, z_um: float = 0.0) -> StagePosition:
        """Return the position that lies this much further, um."""
        return StagePosition(x_um=self.x_um + x_um, y_um=self.y_um + y_um, z_um=self.z_um + z_um)

    def __str__(self) -> str:
        return f"x {self.x_um:.1f}, y {self.y_um:.1f}, z {self.z_um:.1f} um"


class StackPlan(Record):
    """How a stack is taken: geometry, averaging, light.

    Parameters
    ----------
    field_of_view_um
        Width of the square image, um.
    pixels
        Pixels along each side.
    depth_um
        Distance from the first to the last plane, um, to the nearest whole number of steps: ``planes`` are taken, and
        cover ``extent_zyx_um``. The stack is centred on the field's position.
    step_um
        Distance between planes, um.
    frames_per_plane
        Frames averaged in every plane.
    power_mw
        Power at the sample in the first plane, mW.
    attenuation_length_um
        Power grows as exp(z / L) with depth z below the first plane (L, um); None keeps it constant.
    power_limit_mw
        Never more than this at the sample, mW.
    dwell_us
        Time on each pixel in one frame, us.
    pmt_gain
        Detector gain as the rig's property takes it; None leaves it as it is.
    dose_limit_mj
        No more light than this on the field in one session, all its stacks together, mJ; None sets no limit.
    replacement_frames
        Frames that moved too far are left out and taken again, at most so many in a plane.
    keep_frames
        Keep every frame as it came, beside the averaged stack.
    follow_drift
        Move the stage after the tissue when it drifts sideways along the stack.
    hardware_timing
        Let the devices step from plane to plane by themselves, when they can; where they cannot it changes nothing.
    channels
        Names of the rig config's channels to take; none takes the rig's first. The first shows the dendrites: frames
        are registered, judged and analysed by it.
    region_um
        Height and width of what is scanned, in the middle of the field of view, um; None scans all of it. It is
        rounded so that whole pixels are left out on each side.
    """

    field_of_view_um: Positive = 90.0
    pixels: Annotated[int, Field(ge=LEAST_PIXELS, le=8192)] = 512
    depth_um: NonNegative = 40.0
    step_um: Positive = 1.0
    frames_per_plane: Annotated[int, Field(ge=1, le=1000)] = 2
    power_mw: NonNegative = 15.0
    attenuation_length_um: Positive | None = 150.0
    power_limit_mw: Positive = 50.0
    dwell_us: Positive = 2.0
    pmt_gain: Positive | None = None
    dose_limit_mj: Positive | None = None
    replacement_frames: Annotated[int, Field(ge=0, le=100)] = 2
    keep_frames: bool = True
    follow_drift: bool = False
    hardware_timing: bool = True
    channels: tuple[Identifier, ...] = ()
    region_um: tuple[Positive, Positive] | None = None

    @model_validator(mode="after")
    def _few_enough_planes(self) -> StackPlan:
        if self.depth_um / self.step_um > MOST_PLANES:
            raise ValueError(
                f"depth_um {self.depth_um:g} in steps of {self.step_um:g} um are more than {MOST_PLANES} planes; "
                "raise step_um"
            )
        return self

    @model_validator(mode="after")
    def _power_below_limit(self) -> StackPlan:
        if self.power_mw > self.power_limit_mw:
            raise ValueError(f"power_mw {self.power_mw} is above power_limit_mw {self.power_limit_mw}; lower it")
        return self

    @model_validator(mode="after")
    def _channels_once(self) -> StackPlan:
        if repeated := sorted({name for name in self.channels if self.channels.count(name) > 1}):
            raise ValueError(f"channels names {', '.join(repeated)} more than once; name each channel once")
        return self

    @model_validator(mode="after")
    def _region_in_field(self) -> StackPlan:
        if self.region_um is None:
            return self
        if max(self.region_um) > self.field_of_view_um:
            raise ValueError(
                f"region_um {self.region_um[0]:g} x {self.region_um[1]:g} um is larger than field_of_view_um "
                f"{self.field_of_view_um:g} um; make it smaller"
            )
        _, rows, columns = self.shape
        if min(rows, columns) < LEAST_PIXELS:
            raise ValueError(
                f"region_um {self.region_um[0]:g} x {self.region_um[1]:g} um is {rows} x {columns} pixels, fewer than "
                f"{LEAST_PIXELS} along a side; make it larger"
            )
        return self

    @property
    def planes(self) -> int:
        """Number of planes."""
        return round(self.depth_um / self.step_um) + 1

    @property
    def voxel_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x), um."""
        pixel_um = self.field_of_view_um / self.pixels
        return self.step_um, pixel_um, pixel_um

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one channel of the stack (z, y, x)."""
        if self.region_um is None:
            return self.planes, self.pixels, self.pixels
        rows, columns = (self._centred_pixels(length_um) for length_um in self.region_um)
        return self.planes, rows, columns

    def _centred_pixels(self, length_um: float) -> int:
        """Return the pixels of a length in the middle of the field, with as many left out on each side."""
        left_out = (self.pixels - length_um / self.voxel_um[1]) / 2
        return self.pixels - 2 * max(0, round(left_out))

    @property
    def extent_zyx_um(self) -> tuple[float, float, float]:
        """Size of the stack, um: from the first to the last plane, and of the planes."""
        _, rows, columns = self.shape
        return (self.planes - 1) * self.step_um, rows * self.voxel_um[1], columns * self.voxel_um[2]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of the stack with its channels: (c, z, y, x), or (z, y, x) of a single one."""
        return (len(self.channels), *self.shape) if len(self.channels) > 1 else self.shape

    def of_first_channel(self) -> StackPlan:
        """Return the plan for the channel alone that shows the dendrites."""
        return self.model_copy(update={"channels": self.channels[:1]})

    @property
    def plane_offsets_um(self) -> list[float]:
        """Depth of each plane from the middle of the stack, um, shallowest first."""
        middle = (self.planes - 1) / 2
        return [(plane - middle) * self.step_um for plane in range(self.planes)]

    def plane_power_mw(self, plane: int) -> float:
        """Power at the sample for a plane, mW: P0 exp(z / L), capped by the limit."""
        if self.attenuation_length_um is None:
            return self.power_mw
        lengths = min(plane * self.step_um / self.attenuation_length_um, LARGEST_EXPONENT)
        grown = self.power_mw * float(np.exp(lengths))
        return min(grown, self.power_limit_mw)


def _several_planes(plan: StackPlan) -> StackPlan:
    if plan.planes < LEAST_PLANES:
        raise ValueError(
            f"depth_um {plan.depth_um:g} in steps of {plan.step_um:g} um is one plane, which cannot be compared; "
            "raise depth_um or lower step_um"
        )
    return plan


FieldPlan = Annotated[StackPlan, AfterValidator(_several_planes)]
"""How the stacks of a field are taken: more than one plane."""

OVERVIEW_PLAN = StackPlan(
    field_of_view_um=120.0, pixels=256, depth_um=68.0, step_um=2.0, frames_per_plane=1, keep_frames=False
)


class PlaneRecord(Record):
    """One plane as it was taken, everything read back from the devices.

    ``crc32`` is the checksum of its pixels on disk; None until they are written. ``copied_from`` names the store of the
    same session that the plane was taken into, when it was taken over from there. With ``timing`` hardware the devices
    stepped by themselves: ``stage`` z and power are then those commanded, and were read back at the end of the burst.
    """

    plane: int
    time: datetime
    stage: StagePosition
    power_mw: float | None
    power_setting: float | None
    exposure_ms: float
    pmt_gain: float | None
    zoom: float | None
    frames: int
    crc32: int | None = None
    frames_taken: int = 1
    further_lit_ms: NonNegative = 0.0
    copied_from: str | None = None
    motion_um: float = 0.0
    drift_yx_um: tuple[float, float] = (0.0, 0.0)
    timing: Literal["software", "hardware"] = "software"

    @property
    def dose_mj(self) -> float:
        """Energy put into the tissue for this plane, all frames together, mJ; 0 when copied or of unknown power."""
        if self.copied_from is not None:
            return 0.0
        return (self.power_mw or 0.0) * (self.exposure_ms * self.frames_taken + self.further_lit_ms) / 1000


@dataclass(frozen=True, eq=False)
class TakenPlane:
    """One plane as it leaves the rig.

    Parameters
    ----------
    pixels
        Mean of the kept frames, shape (y, x); (c, y, x) of several channels.
    frames
        Every frame as it came, each of that shape; zeros where a channel was taken less often than another.
    record
        What is known of it.
    """

    pixels: NDArray[np.uint16]
    frames: tuple[NDArray[np.uint16], ...]
    record: PlaneRecord

    @property
    def shown(self) -> NDArray[np.uint16]:
        """The channel that shows the dendrites, shape (y, x)."""
        return self.pixels if self.pixels.ndim == 2 else self.pixels[0]


class FieldRecord(Record):
    """A place imaged again and again.

    ``position`` is the stage position of the centre of its stacks in the session ``reference_session``.
    """

    name: Identifier
    position: StagePosition
    reference_session: str
    plan: FieldPlan = StackPlan()
    overview_plan: FieldPlan = OVERVIEW_PLAN
    note: str = ""


class AnimalRecord(Record):
    """An animal: its group, the power it may get, and where and how each of its fields is taken."""

    format_version: Literal[1] = FORMAT_VERSION
    id: Identifier
    group: str = ""
    power_limit_mw: PowerLimit | None = None
    fields: tuple[FieldRecord, ...] = ()

    def field(self, name: str) -> FieldRecord:
        """Return the field of that name; KeyError when there is none."""
        return {field.name: field for field in self.fields}[name]


def _rising_days(days: tuple[float, ...]) -> tuple[float, ...]:
    if any(later <= day for day, later in pairwise(days)):
        raise ValueError(f"days {' '.join(f'{day:g}' for day in days)} do not rise; sort them, each once")
    return days


PlannedDays = Annotated[tuple[NonNegative, ...], AfterValidator(_rising_days)]
"""Days on which an animal is to be imaged, from its first session."""


class StudyRecord(Record):
    """The study: its name, its groups, the plans that new fields get, the days planned; ``blind`` hides the groups."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    groups: tuple[str, ...] = ()
    blind: bool = False
    days: PlannedDays = ()
    plan: FieldPlan = StackPlan()
    overview_plan: FieldPlan = OVERVIEW_PLAN
    created: datetime = Field(default_factory=utc_now)


class SessionRecord(Record):
    """One sitting with one animal."""

    format_version: Literal[1] = FORMAT_VERSION
    animal: Identifier
    name: str
    number: Annotated[int, Field(ge=0)]
    day: Finite
    started: datetime
    closed: datetime | None = None
    experimenter: str = ""
    rig: str
    software_version: str
    surface: StagePosition | None = None
    surface_pixel_um: Positive | None = None


class TransformRecord(Record):
    """An affine map on disk: the matrix on (z, y, x, 1) or (y, x, 1), um."""

    matrix: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, transform: Transform) -> TransformRecord:
        """Write a transform down."""
        return cls(matrix=tuple(tuple(float(v) for v in row) for row in transform.matrix))

    def transform(self) -> Transform:
        """Return the live transform."""
        return Transform(np.array(self.matrix))


class RelocationStep(Record):
    """One overview stack of a relocation: where it was taken, what the registration said."""

    stage: StagePosition
    score: float
    margin: float
    agreement_um: float | None
    verdict: Verdict
    offset_zyx_um: tuple[float, float, float]
    yaw_deg: float
    tilt_deg: float
    compute_s: float
    store: str | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None

    @classmethod
    def of(
        cls,
        stage: StagePosition,
        registration: StackRegistration,
        offset_zyx_um: tuple[float, float, float],
        compute_s: float,
    ) -> RelocationStep:
        """Write down what the registration of an overview said."""
        pose, agreement_um = registration.reference_from_today, registration.agreement_um
        return cls(
            stage=stage,
            score=registration.score,
            margin=registration.margin,
            agreement_um=agreement_um if np.isfinite(agreement_um) else None,
            verdict=registration.verdict,
            offset_zyx_um=offset_zyx_um,
            yaw_deg=pose.yaw_deg,
            tilt_deg=pose.tilt_deg,
            compute_s=compute_s,
            probability=registration.probability,
        )

    @property
    def evidence(self) -> str:
        """What the registration rests on, in words."""
        halves = "halves disagree"
        if self.agreement_um is not None:
            agree = self.agreement_um <= FOUND_AGREEMENT_UM
            halves = f"halves {'agree to' if agree else 'disagree by'} {self.agreement_um:.1f} um"
        right = "" if self.probability is None else f"right with probability {self.probability:.3f}: "
        return f"{right}score {self.score:.2f}, margin {self.margin:.2f} over the next best place, {halves}"


def _some_overviews(steps: tuple[RelocationStep, ...]) -> tuple[RelocationStep, ...]:
    if not steps:
        raise ValueError("a search has at least one overview, here are 0")
    return steps


class RelocationRecord(Record):
    """One search for one field: prediction, steps, end position, verdict.

    ``sigma_zyx_um`` is one sigma of the prediction on the stage; ``missed_zyx_um`` how far the field lies from where
    the other fields found today put it, when there are at least two. ``reference_store`` is the overview that was
    looked for, seen from this file; ``dose_mj`` the light that the search brought into the tissue; ``probability`` how
    sure the last registration is that it is less than 3 um off.
    """

    format_version: Literal[1] = FORMAT_VERSION
    animal: Identifier
    field: Identifier
    session: str
    verdict: Verdict
    predicted: StagePosition
    position: StagePosition
    remaining_zyx_um: tuple[float, float, float] | None
    reference_from_today: TransformRecord | None
    steps: Annotated[tuple[RelocationStep, ...], AfterValidator(_some_overviews)]
    rig_s: float
    compute_s: float
    sigma_zyx_um: tuple[float, float, float] | None = None
    missed_zyx_um: tuple[float, float, float] | None = None
    reference_store: str | None = None
    dose_mj: NonNegative | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    ended: datetime | None = None
    note: str = ""

    def is_recent(self, lasts: timedelta) -> bool:
        """Tell whether the search ended no longer ago than that."""
        return self.ended is not None and utc_now() - self.ended < lasts

    @property
    def telling_step(self) -> RelocationStep:
        """The overview that tells most: the last, or where nothing was found the one that is most like the field."""
        if self.verdict is not Verdict.NOT_FOUND:
            return self.steps[-1]
        return max(self.steps, key=lambda step: (step.probability or 0.0, step.score))

    @property
    def evidence(self) -> str:
        """What the verdict rests on, in words."""
        return self.telling_step.evidence


class Light(StrEnum):
    """How good something is: good, usable, to be done again."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked or compared, in words."""

    light: Light
    text: str


class QualityItem(Record):
    """One thing that was judged: its number, and what to do about it; ``advice`` is empty when it is good."""

    name: str
    value: Finite
    unit: str
    light: Light
    advice: str = ""


class PlaneQuality(Record):
    """What was judged of one plane; ``motion_um`` is None where it was not measured."""

    plane: int
    saturated_fraction: float
    signal_to_noise: float
    motion_um: float | None
    light: Light


class QualityRecord(Record):
    """What can be said of ``stack`` from its own pixels; ``light`` and ``advice`` are the worst of its items."""

    format_version: Literal[1] = FORMAT_VERSION
    animal: Identifier
    field: Identifier
    session: str
    stack: str = ""
    planes: int
    saturated_fraction: float
    background: float
    noise: float
    signal: float
    signal_to_noise: float
    light: Light
    advice: str
    items: tuple[QualityItem, ...] = ()
    plane_quality: tuple[PlaneQuality, ...] = ()
