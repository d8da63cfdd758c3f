"""An image as a file holds it: any axes, any of the sizes missing. It knows no file format and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLANNED_PLANES = "planned_planes"
"""Key of the provenance: how many planes a recording was to have that was stopped before."""
ACQUIRED, SOFTWARE, STAGE_UM = "acquired", "software", "stage_um"
"""Keys of the provenance: when it was taken (ISO 8601), with which program, and where its middle was (x, y, z, um)."""
UM_PER_UNIT = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "micrometer": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "um": 1.0,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "\\u00b5m": 1.0,  # as ImageJ escapes the micro sign
    "millimeter": 1e3,
    "mm": 1e3,
    "centimeter": 1e4,
    "cm": 1e4,
    "meter": 1e6,
    "m": 1e6,
    "inch": 25400.0,
}


def length_um(value: object, unit: object) -> float | None:
    """Convert a length to um; None where the value or its unit is not known.

    Examples
    --------
    >>> length_um(120, "nanometer")
    0.12
    >>> length_um(1.0, "pixel") is None
    True
    """
    scale = UM_PER_UNIT.get(str(unit).strip().lower().replace("metre", "meter"))
    if scale is None or not isinstance(value, int | float):
        return None
    return float(value) * scale


@dataclass(frozen=True, eq=False)
class RawImage:
    """Pixels with the names of their axes and what the file says of them.

    Parameters
    ----------
    pixels
        Intensities, one axis a letter of ``axes``.
    axes
        Letters of T (time), C (channel), Z, Y, X and S (colour samples of an RGB picture), each at most once.
    size_um
        Voxel size by axis letter, um; an axis is left out where the file does not say.
    saturation
        Intensity at which the detector clips; None when not known.
    provenance
        What the file says of its making.
    """

    pixels: NDArray[Any]
    axes: str
    size_um: Mapping[str, float] = field(default_factory=dict)
    saturation: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def count(self, axis: str) -> int:
        """Return the length of an axis; 1 where the image does not have it."""
        return int(self.pixels.shape[self.axes.index(axis)]) if axis in self.axes else 1


def known_sizes(z: float | None, y: float | None, x: float | None) -> dict[str, float]:
    """Return the sizes that are known by axis letter, um."""
    return {axis: size for axis, size in zip("ZYX", (z, y, x), strict=True) if size is not None}


def said(
    software: str, acquired: datetime | None = None, xyz_um: Sequence[float | None] | None = None
) -> dict[str, Any]:
    """Return the provenance that a file of another program tells; what it does not tell is left out."""
    told: dict[str, Any] = {SOFTWARE: " ".join(software.split())}
    if acquired is not None:
        told[ACQUIRED] = acquired.isoformat()
    if xyz_um is not None and None not in xyz_um:
        told[STAGE_UM] = dict(zip("xyz", (float(um) for um in xyz_um if um is not None), strict=True))
    return told


def parse_date(text: str | None, *formats: str) -> datetime | None:
    """Return a date that reads alike in every format that fits; None when none fits, or two say different days.

    Examples
    --------
    >>> parse_date("12/20/2018 18:33:52", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S").day
    20
    >>> parse_date("3/4/2018 18:33:52", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S") is None
    True
    """
    found = set()
    for known in formats:
        with suppress(ValueError):
            found.add(datetime.strptime((text or "").strip(), known))
    return found.pop() if len(found) == 1 else None


def integer_saturation(dtype: np.dtype[Any], bits: int | None = None) -> float | None:
    """Return the largest intensity that ``bits`` (all bits of the type when None) can hold; None for floating point."""
    if not np.issubdtype(dtype, np.integer):
        return None
    top = int(np.iinfo(dtype).max)
    return float(min(top, 2**bits - 1) if bits else top)
