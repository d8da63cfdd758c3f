"""What a calibration asks for and what it tells: values, without a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from acquire.model import LEAST_PIXELS, NonNegative, Positive, Record, StagePosition
from analysis.model import Floats

Camera = Literal["scanner", "surface_camera"]
Matrix = tuple[tuple[float, float], tuple[float, float]]
Image = NDArray[np.float32]


class CalibrationPlan(Record):
    """What is to be looked at, and with how much light.

    Parameters
    ----------
    camera
        Which of the rig's two images.
    power_mw
        Power at the sample, mW: needed for the scanner of a rig that sets it, unused by the surface camera.
    frames
        Frames averaged for each image of the scanner.
    field_of_view_um, pixels, dwell_us
        How the scanner scans, where it can be chosen.
    step_um
        How far each move goes, um; None takes a share of the image.
    """

    camera: Camera = "surface_camera"
    power_mw: NonNegative | None = None
    frames: int = 4
    field_of_view_um: Positive = 200.0
    pixels: int = 512
    dwell_us: Positive = 2.0
    step_um: Positive | None = None

    @model_validator(mode="after")
    def _possible(self) -> CalibrationPlan:
        if not 1 <= self.frames <= 100:
            raise ValueError(f"frames is {self.frames}; give 1 to 100")
        if self.pixels < 4 * LEAST_PIXELS:
            raise ValueError(f"pixels is {self.pixels}; give at least {4 * LEAST_PIXELS}")
        return self


@dataclass(frozen=True)
class Moves:
    """Where the stage goes for a calibration, in order; the first and the last place are where it stands.

    Parameters
    ----------
    places
        Stage positions.
    step_um
        How far each is from the first, um.
    light
        What light there will be, in words.
    """

    places: tuple[StagePosition, ...]
    step_um: float
    light: str

    def __str__(self) -> str:
        count = len(self.places)
        return (
            f"{count} images; the stage goes {self.step_um:.0f} um along x and y, to each side and back; {self.light}"
        )


@dataclass(frozen=True)
class MeasuredOrientation:
    """What moving and registering told.

    Parameters
    ----------
    camera
        Whose image.
    stage_from_pixels_um
        Map from image offsets (right, down), pixels, to stage offsets (x, y), um.
    residual_um
        What the map leaves of the shifts, root of the mean square, um.
    step_um
        How far the stage was moved, um.
    sigma_deg
        One sigma of the rotation, degrees.
    told_pixel_um
        Pixel size that the image has by the rig config it was taken with, um.
    told_field_um
        Width of the scanner's image at zoom 1 by that config, um; None where the pixel size is fixed.
    """

    camera: Camera
    stage_from_pixels_um: Matrix
    residual_um: float
    step_um: float
    sigma_deg: float
    told_pixel_um: float
    told_field_um: float | None = None

    @property
    def pixels_um(self) -> tuple[float, float]:
        """Pixel size to the right and down, um."""
        across, down = np.linalg.norm(np.array(self.stage_from_pixels_um), axis=0)
        return float(across), float(down)

    @property
    def pixel_um(self) -> float:
        """The one pixel size of the same area, um."""
        return float(np.sqrt(abs(np.linalg.det(np.array(self.stage_from_pixels_um)))))

    @property
    def is_mirrored(self) -> bool:
        """Whether the image shows the stage as a mirror does."""
        return bool(np.linalg.det(np.array(self.stage_from_pixels_um)) < 0)

    @property
    def stage_from_image(self) -> Floats:
        """The nearest rotation or mirror, as the config has it; shape (2, 2)."""
        left, _, right = np.linalg.svd(np.array(self.stage_from_pixels_um))
        return np.asarray(left @ right, dtype=np.float64)

    @property
    def rotation_deg(self) -> float:
        """How far the image is turned on the stage, degrees; a mirrored one after left and right were exchanged."""
        matrix = self.stage_from_image @ np.diag([-1.0 if self.is_mirrored else 1.0, 1.0])
        return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))

    @property
    def skew_deg(self) -> float:
        """How far the image's right angle is from one on the stage, degrees."""
        right, down = np.array(self.stage_from_pixels_um).T
        cosine = float(right @ down / (np.linalg.norm(right) * np.linalg.norm(down)))
        return float(np.degrees(np.arcsin(np.clip(cosine, -1.0, 1.0))))


@dataclass(frozen=True, eq=False)
class DepthViews:
    """The same place at two positions of the z drive, for a person to say which one lies deeper.

    Parameters
    ----------
    here, at_larger_z
        Images, shape (y, x).
    z_um, larger_z_um
        Where the drive stood, um.
    """

    here: Image
    at_larger_z: Image
    z_um: float
    larger_z_um: float
