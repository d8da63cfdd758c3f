"""Stacks of ThorImageLS: a folder with ``Experiment.xml`` and TIFF files, a plane and channel each, or one raw file.

The XML says how the program was set, not all of which was used: with streaming on and fast z off there is one plane,
whatever its number of steps. Which plane a TIFF is says its name, ``ChanA_WELL_TILE_Z_T.tif``. Lengths are um, places
of the stage mm. It knows nothing of stacks.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import tifffile
from numpy.typing import NDArray

from analysis.errors import StackError
from analysis.rawimage import RawImage, known_sizes, parse_date, said
from analysis.tiff import UNREADABLE

FILE, ROOT = "Experiment.xml", "ThorImageExperiment"
PLANE = re.compile(r"(?P<channel>\w+?)_(?P<well>\d+)_(?P<tile>\d+)_(?P<z>\d+)_(?P<t>\d+)\.tiff?", re.IGNORECASE)
RAW = ("Image_*.raw", "*.raw")
DATES = ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S")
UM_PER_MM = 1000.0
RAW_TYPE = np.dtype("<u2")


def find_thorimage(path: Path) -> Path | None:
    """Return the XML of a ThorImage recording, given the file or its folder; None when it is none."""
    file = path / FILE if path.is_dir() else path
    if not (file.is_file() and file.suffix.lower() == ".xml"):
        return None
    with file.open("rb") as opened:
        return file if ROOT.encode() in opened.read(2000) else None


def read_thorimage(file: Path) -> RawImage:
    """Read a stack.

    Raises
    ------
    StackError
        The XML cannot be read, the recording is no single stack, or planes are missing.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except UNREADABLE as error:
        raise StackError(f"{file.name} cannot be read as XML: {error}; copy the whole folder again") from error
    steps = _steps(root, file)
    planes = _plane_files(file)
    pixels = _from_tiffs(planes, file, steps) if planes else _from_raw(root, file, steps)
    x, y = (_pixel_um(root, *names) for names in (("widthUM", "pixelX"), ("heightUM", "pixelY")))
    z = _number(root, "ZStage", "stepSizeUM")
    version = _text(root, "Software", "version") or ""
    return RawImage(
        pixels,
        "ZCYX",
        known_sizes(abs(z) if z else None, y, x),
        None,
        said(f"ThorImageLS {version}", _acquired(root), _stage_um(root, steps)),
    )


def thorimage_files(file: Path) -> list[Path]:
    """Return the files in which the planes of a recording lie."""
    raw = _raw_file(file)
    return _plane_files(file) or ([] if raw is None else [raw])


def _plane_files(file: Path) -> list[Path]:
    return [path for path in sorted(file.parent.iterdir()) if PLANE.fullmatch(path.name)]


def _raw_file(file: Path) -> Path | None:
    return next((hit for pattern in RAW for hit in sorted(file.parent.glob(pattern))), None)


def _steps(root: Element, file: Path) -> int:
    """Return how many planes the stack was to have."""
    streams = _number(root, "Streaming", "enable") == 1
    if streams and _number(root, "Streaming", "zFastEnable") != 1:
        frames = _number(root, "Streaming", "frames") or 0
        raise StackError(f"{file.parent.name} is a stream of {frames:g} frames of one plane, no stack; give a Z-series")
    steps = int(_number(root, "ZStage", "steps") or 1)
    if _number(root, "ZStage", "enable") == 0 or steps < 2:
        raise StackError(f"{file.parent.name} was taken without z steps: it is one plane; give a Z-series")
    times = int(_number(root, "Timelapse", "timepoints") or 1)
    if times > 1 and not streams:
        raise StackError(f"{file.parent.name} has {times} time points; save one as a stack of its own")
    return steps


def _from_tiffs(paths: list[Path], file: Path, steps: int) -> NDArray[Any]:
    names = [found for path in paths if (found := PLANE.fullmatch(path.name))]
    for what, word in (("well", "wells"), ("tile", "tiles"), ("t", "time points")):
        if (count := len({name[what] for name in names})) > 1:
            raise StackError(f"{file.parent.name} has {count} {word}; save one as a stack of its own")
    channels = sorted({name["channel"] for name in names})
    places = {(name["channel"], int(name["z"])): path for name, path in zip(names, paths, strict=True)}
    missing = [(c, z) for c in channels for z in range(1, steps + 1) if (c, z) not in places]
    if missing or len(places) != steps * len(channels):
        raise StackError(
            f"{file.parent.name} has {len(places)} files of planes, {steps} planes of {len(channels)} channels need "
            f"{steps * len(channels)}: the recording was aborted or is not copied whole; copy it again"
        )
    try:
        planes = [[tifffile.imread(places[c, z], is_ome=False) for c in channels] for z in range(1, steps + 1)]
        return np.array(planes)
    except UNREADABLE as error:
        raise StackError(f"{file.parent.name}: a plane cannot be read as TIFF: {error}; copy it again") from error


def _from_raw(root: Element, file: Path, steps: int) -> NDArray[Any]:
    """Read planes that lie one after the other: channels of a plane together, fly-back planes at the end left out."""
    if (found := _raw_file(file)) is None:
        raise StackError(f"{file.parent} has neither planes (ChanA_001_001_001_001.tif) nor a raw file; copy it again")
    channels = _enabled_channels(root)
    width, height = (int(_number(root, "LSM", name) or 0) for name in ("pixelX", "pixelY"))
    fast = _number(root, "Streaming", "enable") == 1
    flyback = int(_number(root, "Streaming", "flybackFrames") or 0) if fast else 0
    needed = (steps + flyback) * channels * height * width * RAW_TYPE.itemsize
    size = found.stat().st_size
    if not needed or size != needed:
        raise StackError(
            f"{found.name} has {size} bytes; {steps} planes{f' and {flyback} of fly-back' if flyback else ''} of "
            f"{channels} channels of {height} x {width} pixels need {needed}: it is cut short or holds several volumes"
        )
    pixels = np.fromfile(found, RAW_TYPE).reshape(steps + flyback, channels, height, width)
    return pixels[:steps]


def _enabled_channels(root: Element) -> int:
    named = len(root.findall(".//Wavelengths/Wavelength")) or 1
    bits = _number(root, ".//Wavelengths/ChannelEnable", "Set")
    return int(bits).bit_count() if bits else named


def _pixel_um(root: Element, extent: str, count: str) -> float | None:
    """Return the pixel size by the extent of the image; the attribute ``pixelSizeUM`` is that of something else."""
    extent_um, pixels = _number(root, "LSM", extent), _number(root, "LSM", count)
    return extent_um / pixels if extent_um and pixels else None


def _acquired(root: Element) -> datetime | None:
    seconds = _number(root, "Date", "uTime")
    if seconds:
        return datetime.fromtimestamp(seconds, UTC)
    return parse_date(_text(root, "Date", "date"), *DATES)


def _stage_um(root: Element, steps: int) -> list[float | None]:
    """Return where the middle of the stack was, x, y, z."""
    x, y = (_number(root, "Sample", f"initialStageLocation{axis}") for axis in "XY")
    first, step = _number(root, "ZStage", "startPos"), _number(root, "ZStage", "stepSizeUM")
    z_um = None if first is None or step is None else first * UM_PER_MM + step * (steps - 1) / 2
    return [None if x is None else x * UM_PER_MM, None if y is None else y * UM_PER_MM, z_um]


def _text(root: Element, element: str, attribute: str) -> str | None:
    found = root.find(element)
    return None if found is None else found.get(attribute)


def _number(root: Element, element: str, attribute: str) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(str(_text(root, element, attribute)))
        return value if np.isfinite(value) else None
    return None
