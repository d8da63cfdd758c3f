"""How an image is made bright enough to be looked at, alike in every picture and in the window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def stretched(
    image: NDArray[Any], *, low: float = 1.0, high: float = 99.7, gamma: float = 0.7, least: float = 1e-9
) -> NDArray[np.float64]:
    """Stretch intensities between two percentiles to 0-1 and lift the dim ones by ``gamma``.

    The darkest value is left out of the percentiles: it fills what lies outside a shifted or turned image. An image
    whose percentiles are less than ``least`` apart stays dark: noise alone is no picture.
    """
    inside = image[image > image.min()]
    bottom, top = np.percentile(inside if inside.size and np.ptp(inside) else image, (low, high))
    scaled = (image.astype(float) - bottom) / max(float(top - bottom), least)
    bright: NDArray[np.float64] = np.clip(scaled, 0.0, 1.0) ** gamma
    return bright
