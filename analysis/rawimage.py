"""An image as a file holds it: any axes, any of the sizes missing. It knows no file format and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLANNED_PLANES = "planned_planes"
"""Key of the provenance: how many planes a recording was to have that was stopped before."""
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


def integer_saturation(dtype: np.dtype[Any], bits: int | None = None) -> float | None:
    """Return the largest intensity that ``bits`` (all bits of the type when None) can hold; None for floating point."""
    if not np.issubdtype(dtype, np.integer):
        return None
    top = int(np.iinfo(dtype).max)
    return float(min(top, 2**bits - 1) if bits else top)
