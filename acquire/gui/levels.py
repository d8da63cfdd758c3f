"""How bright a frame is: the counts that the histogram shows, and how much of it is saturated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 64
EVERY_ROWS = 256  # rows and columns that are looked at: enough for a histogram ten times a second
TOO_MUCH = 0.001  # of the pixels: heads of spines begin to be cut off


@dataclass(frozen=True, eq=False)
class Levels:
    """The brightness of one frame.

    Parameters
    ----------
    counts
        Pixels in each of 64 equal steps from 0 to ``top``.
    top
        Brightness at the right end.
    saturated
        Share of the pixels that are saturated; None when the detector's limit is not known.
    """

    counts: NDArray[np.intp]
    top: float
    saturated: float | None

    @property
    def says(self) -> str:
        """The saturation in words."""
        if self.saturated is None:
            return "saturation unknown: the rig config has no scan.saturation"
        if self.saturated > TOO_MUCH:
            return f"✗ {self.saturated:.1%} saturated: less power or gain"
        return f"✓ {self.saturated:.2%} saturated"

    @property
    def says_brightest(self) -> str:
        """The brightest pixel in words, for a camera whose limit is not known."""
        return f"brightest {self.top:.0f}"


def levels_of(frame: NDArray[np.uint16], saturation: float | None) -> Levels:
    """Count the brightness of a frame, shape (y, x)."""
    rows, columns = (max(1, size // EVERY_ROWS) for size in frame.shape)
    thinned = frame[::rows, ::columns]
    top = saturation or float(max(thinned.max(), 1))
    counts, _ = np.histogram(thinned, bins=BINS, range=(0.0, top))
    saturated = None if saturation is None else float(np.mean(thinned >= saturation))
    return Levels(counts, top, saturated)
