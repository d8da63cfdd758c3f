"""What the page Surface shows of the vessel map: pictures, marks, fields, and what was typed. Knows no Qt.

Places in the map are um from the centre of its first pixel, (y, x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acquire.errors import StudyError
from analysis.model import Verdict

if TYPE_CHECKING:
    from acquire.relocate import ImageOnStage

Bytes = NDArray[np.uint8]
YX = tuple[float, float]
XY = tuple[float, float]
DRAWN_SIGMAS = 2.0
NEAR_MARK = 0.02  # of the map's longer side: a click so near chooses a landmark
STEP = 0.005  # of the same: what an arrow key moves the cross
CANDIDATE = "photograph"


@dataclass(frozen=True)
class MarkOnMap:
    """A landmark in the map; ``off_um`` is how far today's image puts it off, None when it was not recognised."""

    name: str
    yx_um: YX
    off_um: float | None = None


@dataclass(frozen=True)
class FieldOnMap:
    """A field in the map.

    Parameters
    ----------
    name
        The field.
    yx_um
        Its middle in the map.
    side_um
        How wide it is.
    radii_yx_um
        Of the ellipse in which it is predicted, two sigma; None when it is not predicted today.
    depth_sigma_um
        One sigma of its predicted depth.
    verdict
        Of its last search in this session; found when it was kept in it.
    """

    name: str
    yx_um: YX
    side_um: float
    radii_yx_um: YX | None = None
    depth_sigma_um: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, eq=False)
class MapView:
    """The map as it is drawn.

    Parameters
    ----------
    session
        Which session made it; ``CANDIDATE`` for a photograph that is not the map yet.
    on_stage
        How it lay on the stage then.
    image
        The map, shape (y, x).
    today
        Today's image on the map's grid, shape (y, x); None without one.
    both
        Map magenta, today green, shape (y, x, 3).
    marks, fields
        What lies on it.
    by_stage
        Whether landmarks are kept by their stage positions: the map is no image of a camera.
    verdict
        Of today's registration; None without one.
    told
        The registration in words and numbers, a line each.
    """

    session: str
    on_stage: ImageOnStage
    image: Bytes
    today: Bytes | None = None
    both: Bytes | None = None
    marks: tuple[MarkOnMap, ...] = ()
    fields: tuple[FieldOnMap, ...] = ()
    by_stage: bool = False
    verdict: Verdict | None = None
    told: tuple[str, ...] = ()

    @property
    def size_um(self) -> YX:
        """Height and width of the map, um."""
        height, width = (count * self.on_stage.pixel_um for count in self.on_stage.shape)
        return height, width

    @property
    def middle_um(self) -> YX:
        """Middle of the map."""
        height, width = self.size_um
        return height / 2, width / 2

    @property
    def step_um(self) -> float:
        """What an arrow key moves the cross, um."""
        return max(1.0, round(STEP * max(self.size_um)))

    def on_screen(self, yx_um: YX) -> XY:
        """Return a place of the map in the picture's coordinates (x, y): um from the corner of the first pixel."""
        half = self.on_stage.pixel_um / 2
        return yx_um[1] + half, yx_um[0] + half

    def in_map(self, x_um: float, y_um: float) -> YX:
        """Return the place in the map of a point of the picture."""
        half = self.on_stage.pixel_um / 2
        return y_um - half, x_um - half

    def near(self, yx_um: YX) -> str:
        """Return the landmark next to a place; empty when none is near."""
        apart = {mark.name: math.dist(mark.yx_um, yx_um) for mark in self.marks}
        name = min(apart, key=apart.__getitem__, default="")
        return name if name and apart[name] <= NEAR_MARK * max(self.size_um) else ""

    def place_of(self, yx_um: YX) -> tuple[YX | None, XY | None]:
        """Return how a session is told a landmark: by its place in the map (y, x), or by its stage position (x, y)."""
        if not self.by_stage:
            return (round(yx_um[0], 2), round(yx_um[1], 2)), None
        stage = self.on_stage.stage_at(np.array(yx_um))
        return None, (round(stage.x_um, 2), round(stage.y_um, 2))


def read_places(rows: Sequence[tuple[str, str, str]]) -> dict[str, XY]:
    """Return the landmarks whose stage position (x, y) was typed, um; a row is name, x and y.

    Raises
    ------
    StudyError
        When one is no number, or half a position.
    """
    places: dict[str, XY] = {}
    for name, *typed in rows:
        if not any(text.strip() for text in typed):
            continue
        try:
            x_um, y_um = (float(text.replace(",", ".")) for text in typed)
        except ValueError as error:
            told = " and ".join(repr(text) for text in typed)
            raise StudyError(f"landmark {name}: {told} are no stage position x and y; give two numbers, um") from error
        places[name] = x_um, y_um
    return places


def read_pixel_um(typed: str) -> float:
    """Return a pixel size that was typed, um.

    Raises
    ------
    StudyError
        When it is no positive number.
    """
    try:
        pixel_um = float(typed.replace(",", "."))
    except ValueError:
        pixel_um = math.nan
    if not 0 < pixel_um < math.inf:
        raise StudyError(f"pixel size {typed!r} is no positive number; give the size of its pixels on the brain, um")
    return pixel_um


def tell_fields(fields: Sequence[FieldOnMap]) -> list[str]:
    """Return how well each field's place is known today, a line each: one sigma, um."""
    told = []
    for field in fields:
        if field.radii_yx_um is None:
            why = "kept in this session" if field.verdict is Verdict.FOUND else "not predicted yet"
            told.append(f"{field.name}: {why}")
        else:
            lateral_um = max(field.radii_yx_um) / DRAWN_SIGMAS
            told.append(f"{field.name}: {lateral_um:.0f} um sideways, {field.depth_sigma_um or 0.0:.0f} um in depth")
    return told
