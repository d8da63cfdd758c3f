"""Stacks in the files of Zeiss (CZI) and Olympus (OIF, OIB), by the readers that are kept for them.

The readers are an extra: ``samefield[readers]``. Without them a file is refused with the line that installs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from analysis.errors import StackError
from analysis.rawimage import RawImage, integer_saturation, known_sizes, length_um, parse_date, said
from analysis.tiff import UNREADABLE

CZI_SUFFIXES = (".czi",)
OLYMPUS_SUFFIXES = (".oif", ".oib")
INSTALL = "python -m pip install 'samefield[readers]'"
DIGITS = re.compile(r"(\.\d{6})\d+")
UM_PER_M = 1e6


def read_czi(path: Path) -> RawImage:
    """Read one scene of a Zeiss CZI file.

    Raises
    ------
    StackError
        The reader is not installed, or the file cannot be read or holds several scenes or tiles.
    """
    try:
        from pylibCZIrw import czi
    except ImportError as error:
        raise StackError(f"{path.name} needs Zeiss' reader pylibCZIrw; install it with: {INSTALL}") from error
    try:
        with czi.open_czi(str(path)) as opened:
            scenes, box, xml = len(opened.scenes_bounding_rectangle), opened.total_bounding_box, opened.raw_metadata
            axes = [axis for axis in "TZC" if axis in box]
            places = list(product(*(range(*box[axis]) for axis in axes))) if scenes < 2 else []
            planes = [opened.read(plane=dict(zip(axes, place, strict=True))) for place in places]
    except UNREADABLE as error:
        raise StackError(f"{path.name} cannot be read as CZI: {_line(error)}; copy it again from its source") from error
    if scenes > 1:
        raise StackError(f"{path.name} has {scenes} scenes; save each field as its own file")
    stacked = np.array(planes).reshape(*(box[axis][1] - box[axis][0] for axis in axes), *planes[0].shape)
    pixels, letters = (stacked[..., 0], "YX") if stacked.shape[-1] == 1 else (stacked, "YXS")
    return _with_czi(RawImage(pixels, "".join(axes) + letters), xml)


def _with_czi(image: RawImage, xml: str) -> RawImage:
    """Add what the metadata tell: distances in metres."""
    root = ElementTree.fromstring(xml)
    sizes = {
        str(item.get("Id")): float(text) * UM_PER_M
        for item in root.findall(".//Scaling/Items/Distance")
        if (text := item.findtext("Value"))
    }
    date = root.findtext(".//Image/AcquisitionDateAndTime") or root.findtext(".//Document/CreationDate")
    acquired = _iso(date)
    bits = root.findtext(".//Image/ComponentBitCount")
    names = (root.findtext(f".//Application/{name}") for name in ("Name", "Version"))
    return RawImage(
        image.pixels,
        image.axes,
        known_sizes(*(sizes.get(axis) for axis in "ZYX")),
        integer_saturation(image.pixels.dtype, int(bits) if bits else None),
        said(" ".join(name for name in names if name) or "Zeiss CZI", acquired),
    )


def read_olympus(path: Path) -> RawImage:
    """Read the stack of an Olympus FluoView file.

    Raises
    ------
    StackError
        The reader is not installed, or the file cannot be read.
    """
    try:
        from oiffile import OifFile
    except ImportError as error:
        raise StackError(f"{path.name} needs the reader oiffile; install it with: {INSTALL}") from error
    try:
        with OifFile(str(path)) as opened:
            series = opened.series[0]
            axes = f"{series.axes}YX"
            pixels = np.asarray(opened.asarray())
            about: Mapping[str, Any] = dict(opened.mainfile)
    except UNREADABLE as error:
        raise StackError(
            f"{path.name} cannot be read as an Olympus file: {_line(error)}; copy it with its folder {path.name}.files"
        ) from error
    return _with_olympus(pixels, axes.upper(), about)


def _with_olympus(pixels: Any, axes: str, about: Mapping[str, Any]) -> RawImage:
    reference = about.get("Reference Image Parameter", {})
    x, y = (
        length_um(reference.get(f"{side}ConvertValue"), reference.get(f"{side}Unit")) for side in ("Width", "Height")
    )
    date = str(about.get("Acquisition Parameters Common", {}).get("ImageCaputreDate", "")).strip("'\"")
    version = about.get("Version Info", {}).get("SystemVersion", "")
    bits = reference.get("ValidBitCounts")
    return RawImage(
        pixels,
        axes,
        known_sizes(_olympus_step_um(about), y, x),
        integer_saturation(pixels.dtype, int(bits) if bits else None),
        said(f"Olympus FluoView {version}", parse_date(date, "%Y-%m-%d %H:%M:%S")),
    )


def _olympus_step_um(about: Mapping[str, Any]) -> float | None:
    """Return the distance of the planes: of the axis Z from its first to its last."""
    for number in range(8):
        axis = about.get(f"Axis {number} Parameters Common", {})
        if str(axis.get("AxisCode", "")).strip("'\"") == "Z" and float(axis.get("MaxSize", 0)) > 1:
            first, last = (float(axis.get(name, 0.0)) for name in ("StartPosition", "EndPosition"))
            step = abs(last - first) / (float(axis["MaxSize"]) - 1)
            return length_um(step, str(axis.get("UnitName", "")).strip("'\"")) if step else None
    return None


def _iso(text: str | None) -> datetime | None:
    """Return a date; Zeiss writes seven digits of a second, one more than Python reads."""
    try:
        return datetime.fromisoformat(DIGITS.sub(r"\1", text)) if text else None
    except ValueError:
        return None


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
