"""Z-series of Bruker's Prairie View: a folder with ``NAME.xml`` and a TIFF a plane and channel.

The XML holds the state of the microscope (``PVStateShard``) and one ``Frame`` a plane with what changed: its files and
the position of the stage. Before version 5.2 the state is written as ``Key`` elements. It knows nothing of stacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import tifffile
from numpy.typing import NDArray

from analysis.errors import StackError
from analysis.rawimage import RawImage, integer_saturation, known_sizes, parse_date, said
from analysis.tiff import UNREADABLE

ROOT = "PVScan"
POSITION, PIXEL = "positionCurrent", "micronsPerPixel"
EVEN_UM = 0.02  # steps of a motor are told to 0.01 um
TWELVE_HOURS = ("%m/%d/%Y %I:%M:%S %p",)  # AM and PM are of the American form, month first
DATES = ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S")


def find_prairie(path: Path) -> Path | None:
    """Return the XML of a Prairie View recording, given the file or its folder; None when it is none."""
    if path.is_dir():
        found = [file for file in sorted(path.glob("*.xml")) if _is_prairie(file)]
        return found[0] if found else None
    return path if path.suffix.lower() == ".xml" and _is_prairie(path) else None


def _is_prairie(file: Path) -> bool:
    with file.open("rb") as opened:
        return f"<{ROOT}".encode() in opened.read(2000)


def read_prairie(file: Path) -> RawImage:
    """Read a Z-series.

    Raises
    ------
    StackError
        The XML cannot be read, the recording is no single Z-series, its planes are unevenly spaced, or a file of a
        plane is missing.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except UNREADABLE as error:
        raise StackError(f"{file.name} cannot be read as XML: {error}; copy the whole folder again") from error
    frames = _frames(root, file)
    state = root.find("PVStateShard")
    positions = [_position_um(frame, state) for frame in frames]
    pixels = _pixels(frames, file)
    y, x = (_number(_value(state, PIXEL, f"{axis}Axis") or _value(frames[0], PIXEL, f"{axis}Axis")) for axis in "YX")
    z = _step_um([position[2] for position in positions], file) or _number(_value(state, PIXEL, "ZAxis"))
    bits = _number(_value(state, "bitDepth"))
    date = root.get("date")
    acquired = parse_date(date, *TWELVE_HOURS) or parse_date(date, *DATES)
    middle = [axis[len(axis) // 2] for axis in zip(*positions, strict=True)]
    return RawImage(
        pixels,
        "ZCYX",
        known_sizes(z, y, x),
        integer_saturation(pixels.dtype, int(bits) if bits else None),
        said(f"Prairie View {root.get('version', '')}", acquired, middle),
    )


def prairie_files(file: Path) -> list[Path]:
    """Return the files of the planes that an XML names, those that are there; none when it cannot be read."""
    try:
        named = ElementTree.parse(file).getroot().iter("File")
    except UNREADABLE:
        return []
    return [plane for item in named if (plane := _file_of(file.parent, item)).is_file()]


def _frames(root: Element, file: Path) -> list[Element]:
    sequences = [sequence for sequence in root.iter("Sequence") if sequence.find("Frame") is not None]
    if len(sequences) != 1:
        raise StackError(
            f"{file.name} has {len(sequences)} cycles with images; a stack is one Z-series: record or export one cycle"
        )
    kind = sequences[0].get("type", "")
    if "ZSeries" not in kind:
        raise StackError(f"{file.name} is a recording of the type {kind!r}, no Z-series; give one")
    return sequences[0].findall("Frame")


def _values(shards: Sequence[Element | None], key: str) -> Iterator[Element]:
    for shard in shards:
        if shard is not None:
            yield from (item for item in shard.iter("PVStateValue") if item.get("key") == key)


def _value(within: Element | None, key: str, axis: str | None = None) -> str | None:
    """Return a value of the state, of new files or of old: a single one, or that of an axis."""
    if within is None:
        return None
    for item in _values([within], key):
        if axis is None:
            return item.get("value")
        for indexed in item.iter("IndexedValue"):
            if indexed.get("index") == axis:
                return indexed.get("value")
    old = key if axis is None else f"{key}_{axis}"
    return next((item.get("value") for item in within.iter("Key") if item.get("key") == old), None)


def _position_um(frame: Element, state: Element | None) -> tuple[float | None, float | None, float | None]:
    """Return where the stage was, x, y, z; several z drives (motor, piezo) add up."""
    x, y, z = (_axis_um(frame, axis) for axis in ("XAxis", "YAxis", "ZAxis"))
    rest = [_axis_um(state, axis) if state is not None else None for axis in ("XAxis", "YAxis", "ZAxis")]
    x, y, z = (own if own is not None else other for own, other in zip((x, y, z), rest, strict=True))
    return x, y, z


def _axis_um(within: Element, axis: str) -> float | None:
    for item in _values([within], POSITION):
        for indexed in item.iter("SubindexedValues"):
            if indexed.get("index") == axis:
                drives = [_number(one.get("value")) for one in indexed.iter("SubindexedValue")]
                return sum(drive for drive in drives if drive is not None)
    old = _value(within, POSITION, axis)
    drives = [_number(word) for word in old.split(",")] if old else []
    return sum(drive for drive in drives if drive is not None) if drives else None


def _step_um(depths_um: Sequence[float | None], file: Path) -> float | None:
    """Return the distance of the planes as the stage went; None when it did not tell or did not move."""
    known = np.array([depth for depth in depths_um if depth is not None])
    steps = np.diff(known) if len(known) == len(depths_um) else np.empty(0)
    if not len(steps) or not steps.any():
        return None
    if np.ptp(steps) > EVEN_UM:
        raise StackError(
            f"{file.name} has unevenly spaced planes: steps from {steps.min():g} to {steps.max():g} um; "
            "take the stack with one z step"
        )
    return float(abs(np.median(steps)))


def _pixels(frames: Sequence[Element], file: Path) -> NDArray[Any]:
    """Read the planes, shape (z, channel, y, x)."""
    channels = sorted({_channel(item) for frame in frames for item in frame.findall("File")})
    if not channels:
        raise StackError(f"{file.name} names 0 image files; copy the whole folder again")
    planes = []
    for number, frame in enumerate(frames):
        files = {_channel(item): item for item in frame.findall("File")}
        if sorted(files) != channels:
            raise StackError(
                f"{file.name}: plane {number} has {len(files)} of {len(channels)} channels: the recording was aborted; "
                "copy it again, or save the whole planes as an ImageJ TIFF"
            )
        planes.append([_plane(file.parent, files[channel]) for channel in channels])
    shapes = {plane.shape for each in planes for plane in each}
    if len(shapes) > 1:
        raise StackError(f"{file.name}: its images have {len(shapes)} sizes: {sorted(shapes)}; give one stack")
    return np.array(planes)


def _channel(item: Element) -> int:
    number = _number(item.get("channel"))
    return 0 if number is None else int(number)


def _file_of(folder: Path, item: Element) -> Path:
    return folder / Path(item.get("filename", "")).name


def _plane(folder: Path, item: Element) -> NDArray[Any]:
    file = _file_of(folder, item)
    if not file.is_file():
        raise StackError(f"{file} is missing; copy the whole folder of the recording again")
    page = _number(item.get("page"))
    try:
        with tifffile.TiffFile(file, is_ome=False) as tiff:
            return np.asarray(tiff.pages[int(page) - 1 if page else 0].asarray())
    except UNREADABLE as error:
        raise StackError(f"{file.name} cannot be read as TIFF: {error}; copy it again from its source") from error


def _number(text: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(str(text))
        return value if np.isfinite(value) else None
    return None
