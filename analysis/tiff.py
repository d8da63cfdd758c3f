"""Read an image from TIFF as OME, ImageJ and ScanImage write it. It knows nothing of stacks."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from analysis.errors import StackError
from analysis.jobs import own_threads
from analysis.rawimage import RawImage, integer_saturation, known_sizes, length_um, said
from analysis.scanimage import ScanImageHeader

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    ElementTree.ParseError,
    struct.error,
    zlib.error,
)
BEYOND_END = re.compile(r"invalid ((page|value) offset|offset to)")  # what tifffile logs before it goes on
LSM_EPOCH = datetime(1899, 12, 30)
UNNAMED_AXES = str.maketrans("IQR", "ZZZ")  # pages in a row, when nothing says what they are


def read_tiff(path: Path) -> RawImage:
    """Read the first image of a TIFF file.

    Raises
    ------
    StackError
        The file is no TIFF, is truncated, or holds several images.
    """
    with _tifffile_log() as log:
        try:
            with tifffile.TiffFile(path) as tiff:
                image = _read(tiff, path)
        except UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StackError(f"{path.name} cannot be read as TIFF: {reason}; copy it again from its source") from error
    if any(BEYOND_END.search(message) for message in log):
        raise StackError(
            f"{path.name} is truncated: it refers to data beyond its {path.stat().st_size} bytes; copy it again"
        )
    return image


def _read(tiff: tifffile.TiffFile, path: Path) -> RawImage:
    if not len(tiff.pages):
        raise StackError(f"{path.name} holds 0 images: it is empty or truncated; copy it again from its source")
    header = ScanImageHeader.parse(_text(tiff, "Software"), _text(tiff, "ImageDescription"))
    if header is not None:
        _check_complete(tiff, path, [*tiff.pages])
        return header.arrange(np.asarray(tiff.asarray(key=slice(None))), path.name)
    series = tiff.series[0]
    _check_complete(tiff, path, list(series.pages))
    alike = [other for other in tiff.series if other.shape == series.shape]
    if len(alike) > 1:
        raise StackError(f"{path.name} holds {len(alike)} images of the same size; save each field as its own file")
    image = RawImage(np.asarray(series.asarray(maxworkers=own_threads())), series.axes.translate(UNNAMED_AXES))
    image = replace(image, saturation=integer_saturation(image.pixels.dtype))
    if tiff.is_lsm:
        return _with_lsm(image, tiff)
    if tiff.is_ome:
        return _with_ome(image, str(tiff.ome_metadata))
    if tiff.is_imagej:
        return _with_imagej(image, tiff)
    return image


def _check_complete(tiff: tifffile.TiffFile, path: Path, pages: list[Any]) -> None:
    """Refuse a file whose planes are announced but not there: tifffile would fill them with zeros."""
    size = path.stat().st_size
    missing = sum(page is None or _end(page) > size for page in pages)
    announced = len(pages)
    if tiff.is_imagej and not tiff.is_ome:
        announced = int((tiff.imagej_metadata or {}).get("images", announced))
        page = tiff.pages.first
        if announced > len(tiff.pages) == 1:  # ImageJ writes all planes behind one page
            missing = sum(page.dataoffsets[0] + (k + 1) * page.nbytes > size for k in range(announced))
        else:
            missing = max(missing, announced - len(tiff.pages))
    if missing:
        raise StackError(f"{path.name} is truncated: {missing} of {announced} planes missing; copy it again")


def _end(page: Any) -> int:
    return max((int(o) + int(n) for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)


def _text(tiff: tifffile.TiffFile, tag: str) -> str:
    value = tiff.pages.first.tags.valueof(tag, default="")
    return value if isinstance(value, str) else ""


def _with_ome(image: RawImage, xml: str) -> RawImage:
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return image

    def size_um(axis: str) -> float | None:
        value = pixels.get(f"PhysicalSize{axis}")
        return None if value is None else length_um(float(value), pixels.get(f"PhysicalSize{axis}Unit", "µm"))

    bits = pixels.get("SignificantBits")
    return replace(
        image,
        provenance=_making_of_ome(xml),
        size_um=known_sizes(size_um("Z"), size_um("Y"), size_um("X")),
        saturation=integer_saturation(image.pixels.dtype, int(bits) if bits else None),
    )


def _making_of_ome(xml: str) -> dict[str, Any]:
    """Return when, with which program and where the image was taken, of its first image's middle plane."""
    root = ElementTree.fromstring(xml)
    date = root.findtext(".//{*}Image/{*}AcquisitionDate")
    try:
        acquired = datetime.fromisoformat(date) if date else None
    except ValueError:
        acquired = None
    planes = root.findall(".//{*}Pixels/{*}Plane")
    plane = planes[len(planes) // 2] if planes else ElementTree.Element("Plane")
    places = [(plane.get(f"Position{axis}"), plane.get(f"Position{axis}Unit", "reference frame")) for axis in "XYZ"]
    xyz_um = [None if value is None else length_um(float(value), unit) for value, unit in places]
    return said(root.get("Creator", "unknown, OME-TIFF"), acquired, xyz_um)


def _with_lsm(image: RawImage, tiff: tifffile.TiffFile) -> RawImage:
    """Add what Zeiss LSM files tell: sizes in metres, the start as days since the end of 1899."""
    about = tiff.lsm_metadata or {}
    z, y, x = (float(about.get(f"VoxelSize{axis}") or 0.0) * 1e6 or None for axis in "ZYX")
    days = (about.get("ScanInformation") or {}).get("Sample0time")
    acquired = LSM_EPOCH + timedelta(days=float(days)) if isinstance(days, int | float) and days > 0 else None
    return replace(image, size_um=known_sizes(z, y, x), provenance=said("Zeiss LSM", acquired))


def _with_imagej(image: RawImage, tiff: tifffile.TiffFile) -> RawImage:
    metadata = tiff.imagej_metadata or {}
    unit = metadata.get("unit")
    tags = tiff.pages.first.tags
    step = metadata.get("spacing")
    # ImageJ allows a negative spacing: the planes then go the other way.
    z = length_um(abs(step), metadata.get("zunit", unit)) if isinstance(step, int | float) else None
    y = _pixel_um(tags.valueof("YResolution", default=None), metadata.get("yunit", unit))
    x = _pixel_um(tags.valueof("XResolution", default=None), unit)
    return replace(image, size_um=known_sizes(z, y, x))


def _pixel_um(pixels_per_unit: Any, unit: object) -> float | None:
    if pixels_per_unit is None or not pixels_per_unit[0]:
        return None
    return length_um(pixels_per_unit[1] / pixels_per_unit[0], unit)


class _Messages(logging.Handler):
    """Keep what is logged, as text."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())


@contextmanager
def _tifffile_log() -> Iterator[list[str]]:
    """Collect tifffile's log instead of letting it reach the screen."""
    logger, messages = logging.getLogger("tifffile"), list[str]()
    handler = _Messages(messages)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
