"""Pictures as the screen shows them: the colour of every pixel, grey levels in bytes, and two on top of each other.

The colours are magenta and green, both together white: red and green that nearly all people can tell apart. Knows no
Qt; what makes bytes is slow, for what reads beside the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
DARKEST, BRIGHTEST = 0.5, 99.7
MAGENTA_GREEN = np.array([[255, 38, 255], [0, 255, 38]], dtype=np.uint32)  # of a level of 255 in the first, the second
THINNED = 7  # along each side: enough to know how bright a stack is
OPAQUE, GREY, WHITE = 0xFF000000, 0x010101, 255
Colours = NDArray[np.uint32]  # 0xffrrggbb, as the screen keeps them
ROWS_AT_ONCE = 128  # their indices stay in the processor's cache: a quarter faster than all at once
TABLED = (np.uint8, np.uint16)  # few enough values for a colour each


@dataclass(frozen=True)
class Tint:
    """How grey levels become colours.

    Parameters
    ----------
    black, white
        Levels that are drawn black and white.
    saturation
        From here on pixels have the warning's colour; None when the detector's limit is not known.
    warning
        The warning's colour, 0xrrggbb.
    """

    black: float
    white: float
    saturation: float | None = None
    warning: int = 0

    def colours(self, levels: NDArray[Any]) -> Colours:
        """Return the colour of each level."""
        span = max(self.white - self.black, 1e-9)
        greys = np.nan_to_num(np.clip((levels - self.black) / span * WHITE, 0, WHITE)).astype(np.uint32)
        colours = np.asarray(OPAQUE + greys * GREY, dtype=np.uint32)
        if self.saturation is not None:
            colours[levels >= self.saturation] = OPAQUE + self.warning
        return colours

    def table(self, dtype: np.dtype[Any]) -> Colours:
        """Return the colour of each value of 8 or 16 bits."""
        return self.colours(np.arange(np.iinfo(dtype).max + 1))


def look_up(table: Colours, image: NDArray[Any], colours: Colours) -> None:
    """Write the colour of every pixel of an image of whole numbers, shape (y, x), into ``colours``."""
    for first in range(0, len(image), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        np.take(table, image[rows].astype(np.intp), out=colours[rows], mode="wrap")


def packed(image: Bytes) -> Colours:
    """Return red, green and blue, shape (y, x, 3), as one colour a pixel."""
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    return np.asarray(OPAQUE + (red << 16) + (green << 8) + blue, dtype=np.uint32)


def stretched_bytes(image: NDArray[Any], gamma: float = 1.0) -> Bytes:
    """Return an image or stack between its dark and its bright percentile as 0 to 255.

    The darkest value is left out of the percentiles: it fills what lies outside a shifted or turned image.
    """
    thinned = image[..., ::THINNED, ::THINNED].astype(np.float32)
    inside = thinned[thinned > thinned.min()]
    black, white = np.percentile(inside if inside.size else thinned, (DARKEST, BRIGHTEST))
    scaled = np.clip((image.astype(np.float32) - black) / max(float(white - black), 1e-9), 0.0, 1.0)
    return np.asarray(255.0 * scaled**gamma, dtype=np.uint8)


def both_tinted(one: Bytes, other: Bytes) -> Bytes:
    """Return two images on top of each other, the first magenta, the second green, shape (y, x, 3)."""
    tinted = one[..., None] * MAGENTA_GREEN[0] + other[..., None] * MAGENTA_GREEN[1]
    return np.asarray(np.minimum(tinted // 255, 255), dtype=np.uint8)
