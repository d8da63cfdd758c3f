"""How far tissue moved: from plane to plane along a stack, and since planes were taken before.

It knows that neighbouring planes share their structure, that drift is slow, and that an oblique shaft moves sideways by
itself. It does not know the frames that a plane was averaged from, nor rigs, plans or files; what is done about a drift
is for the caller to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acquire.errors import RigError
from acquire.shift import (
    LARGEST_ERROR_PX,
    Floats,
    Frame,
    Match,
    Spectrum,
    find_common_shift,
    find_shift,
    parabola_top,
    spectrum_of,
)

TILES = 3  # a side, for the drift from plane to plane
LEAST_TILES = 3  # that must show a shift: one or two may be one oblique shaft
LEAST_TILE_UM = 10.0  # smaller tiles hold no structure; the plane is compared as a whole then
LARGEST_TILE_ERROR_PX = 1.0  # the same for one of several tiles, of which the median is taken
MOST_STEP_UM = 2.0  # largest drift looked for from plane to plane


@dataclass(frozen=True)
class StackShift:
    """How far tissue lies from where it lay before.

    Parameters
    ----------
    shift_zyx_um
        Today's place of what was at 0 before, um; 0 when it could not be measured.
    score
        Share of the structure found again, about 0 to 1; 0 when no shift stands out.
    """

    shift_zyx_um: tuple[float, float, float]
    score: float


def follow_drift(previous: Frame, current: Frame, pixel_um: float) -> tuple[float, float] | None:
    """Return how far the tissue moved sideways (y, x) from one plane to the next, um.

    Planes no further apart than the point spread function is long share their structure. A shaft that runs obliquely
    moves sideways by itself; the median over tiles of the image keeps one bright shaft from deciding. None when no
    shift stands out: too little structure, or a jump.
    """
    step_yx_um = _step_between(_tile_spectra(previous, pixel_um), _tile_spectra(current, pixel_um))
    return None if step_yx_um is None else (float(step_yx_um[0]), float(step_yx_um[1]))


def drift_along(planes: NDArray[np.uint16], pixel_um: float) -> Floats:
    """Return where the tissue of each plane of a stack lies beside that of the first (y, x), um, shape (z, 2).

    Steps from plane to plane (:func:`follow_drift`) are added up; drift is slow, so a step that cannot be measured is
    taken from the measured ones beside it. All zero when none can.
    """
    measured: dict[int, Floats] = {}
    previous = _tile_spectra(planes[0], pixel_um)
    for number in range(1, len(planes)):
        current = _tile_spectra(planes[number], pixel_um)
        step_yx_um = _step_between(previous, current)
        if step_yx_um is not None:
            measured[number] = step_yx_um
        previous = current
    if not measured:
        return np.zeros((len(planes), 2))
    known = np.array(list(measured.values()))
    steps_um = [np.interp(np.arange(len(planes)), list(measured), known[:, axis]) for axis in (0, 1)]
    drift_yx_um = np.cumsum(steps_um, axis=1).T
    return np.asarray(drift_yx_um - drift_yx_um[0], dtype=np.float64)


def align_stack(
    reference_planes: NDArray[np.uint16],
    todays_planes: NDArray[np.uint16],
    voxel_um: tuple[float, float, float],
    max_shift_um: float,
    *,
    first_plane: int = 0,
) -> StackShift:
    """Return how far the tissue moved between planes taken before and some of them taken again.

    Parameters
    ----------
    reference_planes
        The planes taken before, shape (z, y, x).
    todays_planes
        Some neighbouring ones taken again, shape (k, y, x).
    voxel_um
        Voxel size (z, y, x), um.
    max_shift_um
        Largest shift looked for along each axis, um.
    first_plane
        Plane of ``reference_planes`` that ``todays_planes[0]`` was taken at.

    Raises
    ------
    RigError
        When the planes taken again are not among those taken before.
    """
    step_um, pixel_um, _ = voxel_um
    before = [spectrum_of(plane, pixel_um) for plane in reference_planes]
    now = [spectrum_of(plane, pixel_um) for plane in todays_planes]
    reach = int(max_shift_um / step_um)
    matches: dict[int, Match] = {}
    for dz in range(-reach, reach + 1):
        # Today's plane i shows what lay at plane i + first_plane - dz.
        pairs = [(i + first_plane - dz, i) for i in range(len(now)) if 0 <= i + first_plane - dz < len(before)]
        if 2 * len(pairs) >= len(now):
            matches[dz] = find_common_shift([(now[i], before[j]) for j, i in pairs], max_shift_um)
    if not matches:
        raise RigError(f"{len(now)} planes from plane {first_plane} on are not among the {len(before)} taken before")
    best = max(matches, key=lambda dz: float(np.nan_to_num(matches[dz].agreement)))
    if not matches[best].is_significant or np.isnan(matches[best].agreement):
        return StackShift((0.0, 0.0, 0.0), 0.0)
    sides = [matches[dz].agreement if dz in matches else np.nan for dz in (best - 1, best, best + 1)]
    dy_um, dx_um = matches[best].shift_yx * now[0].pixel_um
    dz_um = (best + parabola_top(*sides)) * step_um
    return StackShift((float(dz_um), float(dy_um), float(dx_um)), float(np.clip(matches[best].agreement, 0, 1)))


def _tile_spectra(plane: Frame, pixel_um: float) -> list[Spectrum]:
    rows, columns = (n // TILES for n in plane.shape)
    if min(rows, columns) * pixel_um < LEAST_TILE_UM:
        return [spectrum_of(plane, pixel_um)]
    corners = [(rows * i, columns * j) for i in range(TILES) for j in range(TILES)]
    return [spectrum_of(plane[y : y + rows, x : x + columns], pixel_um) for y, x in corners]


def _step_between(previous: list[Spectrum], current: list[Spectrum]) -> Floats | None:
    """Return the weighted median shift of the tiles that have one (y, x), um; None when too few have."""
    matches = [find_shift(after, before, MOST_STEP_UM) for before, after in zip(previous, current, strict=True)]
    limit_px = LARGEST_TILE_ERROR_PX if len(matches) > 1 else LARGEST_ERROR_PX
    sharp = [match for match in matches if match.stands_out and match.error_px <= limit_px]
    if len(sharp) < min(LEAST_TILES, len(matches)):
        return None
    weight = np.array([1 / (0.1 + match.error_px) for match in sharp])
    step_px = [_weighted_median(np.array([match.shift_yx[axis] for match in sharp]), weight) for axis in (0, 1)]
    return np.array(step_px) * current[0].pixel_um


def _weighted_median(values: Floats, weight: Floats) -> float:
    """Return the value with half of the weight on each side."""
    order = np.argsort(values)
    below = np.cumsum(weight[order]) - 0.5 * weight[order]
    return float(np.interp(0.5 * weight.sum(), below, values[order]))
