"""Pictures as the screen shows them: grey levels in bytes, and two on top of each other in two colours.

The colours are magenta and green, both together white: red and green that nearly all people can tell apart. Knows no
Qt; slow, for what reads beside the window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
DARKEST, BRIGHTEST = 0.5, 99.7
MAGENTA_GREEN = np.array([[255, 38, 255], [0, 255, 38]], dtype=np.uint32)  # of a level of 255 in the first, the second
THINNED = 7  # along each side: enough to know how bright a stack is


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
