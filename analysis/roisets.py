"""ImageJ ROI sets: a point for every spine, a polyline for every dendrite, and back.

ImageJ counts in pixels. Coordinates of points and of open lines are those of pixel centres, as ours: the middle of the
first pixel is 0 (``Roi.useLineSubpixelConvention``). Those of areas (polygons, ovals, rectangles) are those of pixel
corners: the middle of the first pixel is 0.5. A ROI lies in one slice; the exact depth is kept in its properties.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi, roiwrite

from analysis.errors import StackError
from analysis.marked import NO_DENDRITE, MarkedSession, MarkedSpine, Point, as_point
from analysis.model import Floats

SPINE_COLOUR, DENDRITE_COLOUR = b"\xff\xff\xd1\x66", b"\xff\x4c\xc9\xf0"  # alpha, red, green, blue
POINTS_AND_LINES = (ROI_TYPE.POINT, ROI_TYPE.LINE, ROI_TYPE.POLYLINE, ROI_TYPE.FREELINE, ROI_TYPE.ANGLE)
LINES = (ROI_TYPE.POLYLINE, ROI_TYPE.FREELINE)
AREA_OFFSET_PX = 0.5
UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, struct.error, zipfile.BadZipFile)


def write_roi_set(file: Path, session: MarkedSession, voxel_um: Sequence[float], *, channels: int = 1) -> None:
    """Write the spines and dendrites of a session as a ZIP of ROIs, as ImageJ's ROI Manager opens it.

    Parameters
    ----------
    voxel_um
        Voxel size (z, y, x) of the stack, um.
    channels
        Of the stack: ImageJ says where a ROI lies in another way in a stack of several.

    Raises
    ------
    StackError
        The session has neither a spine nor a dendrite: ImageJ opens no empty set.
    """
    rois = [_spine_roi(spine, voxel_um) for spine in session.spines]
    rois += [_dendrite_roi(name, line, voxel_um) for name, line in session.dendrites.items()]
    if not rois:
        raise StackError(f"{file.name} would hold 0 ROIs: the session has neither spines nor dendrites")
    for roi in rois:
        if channels > 1:
            roi.z_position, roi.position = roi.position, 0
    file.unlink(missing_ok=True)
    roiwrite(file, rois, mode="w")


def _spine_roi(spine: MarkedSpine, voxel_um: Sequence[float]) -> ImagejRoi:
    track = "unlinked" if spine.track_id is None else f"{spine.track_id:04d}"
    about: dict[str, object] = {
        "fate": spine.fate,
        "dendrite": spine.dendrite,
        "z_um": _numbers([spine.head_zyx_um[0]]),
    }
    if spine.track_id is not None:
        about["track_id"] = spine.track_id
    if spine.base_zyx_um is not None:
        about["base_zyx_um"] = _numbers(spine.base_zyx_um)
    head = np.array([spine.head_zyx_um])
    return _roi(ROI_TYPE.POINT, f"spine {track} {spine.fate}".strip(), head, voxel_um, about=about, colour=SPINE_COLOUR)


def _dendrite_roi(name: int, line: Floats, voxel_um: Sequence[float]) -> ImagejRoi:
    about = {"dendrite": name, "z_um": _numbers(line[:, 0])}
    return _roi(ROI_TYPE.POLYLINE, f"dendrite {name}", line, voxel_um, about=about, colour=DENDRITE_COLOUR)


def _roi(
    kind: ROI_TYPE, name: str, points: Floats, voxel_um: Sequence[float], *, about: dict[str, Any], colour: bytes
) -> ImagejRoi:
    """Return a ROI; it lies in the slice of its middle point."""
    roi = ImagejRoi.frompoints(points[:, :0:-1] / np.array([voxel_um[2], voxel_um[1]]), name=name)
    roi.roitype, roi.options, roi.stroke_color = kind, ROI_OPTIONS.SUB_PIXEL_RESOLUTION, colour
    roi.position = 1 + max(0, round(float(points[len(points) // 2, 0]) / voxel_um[0]))
    roi.props = "".join(f"{key}: {value}\n" for key, value in about.items())
    return roi


def _numbers(values: Sequence[float] | Floats) -> str:
    return " ".join(f"{float(value):.6g}" for value in values)


def read_roi_set(file: Path, voxel_um: Sequence[float]) -> MarkedSession:
    """Read points, areas (their middle) and lines of a ROI set as spines and dendrites of one session.

    Every point of a multi-point is a spine. Only ROIs that :func:`write_roi_set` wrote say their track.

    Raises
    ------
    StackError
        The file is no ROI set, or a ROI does not say in which slice it lies.
    """
    spines: list[MarkedSpine] = []
    dendrites: dict[int, Floats] = {}
    for roi in _rois(file):
        about = _properties(roi)
        if roi.roitype in LINES:
            name = int(about.get("dendrite", max(dendrites, default=-1) + 1))
            dendrites[name] = _points(file, roi, about, voxel_um)
            continue
        points = _points(file, roi, about, voxel_um)
        if roi.roitype not in POINTS_AND_LINES:
            points = points.mean(axis=0, keepdims=True)
        spines += [_spine(point, about) for point in points]
    return MarkedSession(tuple(spines), dendrites, voxel_um=as_point(np.asarray(voxel_um)))


def _rois(file: Path) -> list[ImagejRoi]:
    try:
        found = ImagejRoi.fromfile(file)
        return found if isinstance(found, list) else [found]
    except UNREADABLE as error:
        raise StackError(
            f"{file} is no readable ImageJ ROI set ({error}); save it again from the ROI Manager"
        ) from error


def _properties(roi: ImagejRoi) -> dict[str, str]:
    pairs = (line.partition(": ") for line in (roi.props or "").splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value}


def _points(file: Path, roi: ImagejRoi, about: dict[str, str], voxel_um: Sequence[float]) -> Floats:
    """Return the points of a ROI, shape (n, 3), um."""
    found = roi.coordinates()
    if isinstance(found, list) or not len(found):
        raise StackError(f"{file.name}: ROI {roi.name!r} has no points; leave it out of the set")
    pixels = np.array(found, dtype=float)
    if roi.roitype not in POINTS_AND_LINES:
        pixels -= AREA_OFFSET_PX
    z_um = np.array([float(value) for value in about.get("z_um", "").split()])
    if len(z_um) != len(pixels):
        z_um = np.array(list(_slices(file, roi, len(pixels)))) * voxel_um[0]
    return np.column_stack([z_um, pixels[:, 1] * voxel_um[1], pixels[:, 0] * voxel_um[2]])


def _slices(file: Path, roi: ImagejRoi, count: int) -> Iterator[int]:
    """Yield the slice of each point, from 0: a multi-point keeps one a point."""
    of_points = roi.counter_positions
    for number in range(count):
        own = int(of_points[number]) if of_points is not None and len(of_points) == count else 0
        position = own or roi.z_position or roi.position
        if not position:
            raise StackError(
                f"{file.name}: ROI {roi.name!r} does not say in which slice it lies; in ImageJ, associate ROIs with "
                "slices (ROI Manager > More > Options) and save the set again"
            )
        yield position - 1


def _spine(point: Floats, about: dict[str, str]) -> MarkedSpine:
    track, base = about.get("track_id"), about.get("base_zyx_um", "").split()
    foot: Point | None = as_point(np.array([float(value) for value in base])) if len(base) == 3 else None
    return MarkedSpine(
        int(track) if track is not None else None,
        int(about.get("dendrite", NO_DENDRITE)),
        as_point(point),
        foot,
        tuple(about.get("fate", "").split()),
    )
