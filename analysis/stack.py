"""Read what the analysis starts from: stacks of any microscope software, surface images, traced dendrites.

Every way in which a file can be unusable ends in one :class:`~analysis.errors.StackError` that names the file, the
numbers and the remedy. What a file does not say is asked for, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture

from analysis.errors import StackError
from analysis.model import Dendrite, Stack
from analysis.omezarr import is_zarr, read_zarr
from analysis.prairie import find_prairie, read_prairie
from analysis.rawimage import RawImage
from analysis.remote import RemotePath, as_place, reaching
from analysis.thorimage import find_thorimage, read_thorimage
from analysis.tiff import read_tiff
from analysis.vendors import CZI_SUFFIXES, OLYMPUS_SUFFIXES, read_czi, read_olympus

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".lsm")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
LATERAL_UM = (0.01, 5.0)  # finer than any light microscope needs; coarser, five dendrites lie beside each other in one
AXIAL_UM = (0.05, 20.0)  # the two-photon focus is 1-4 um deep: closer planes show the same, farther ones miss most
LARGEST_PIXEL_UM = 100.0  # of a picture of the surface; its vessels are 10-100 um wide
LARGEST_INTENSITY = 1e15  # filters square it in float32 (up to 3e38); no detector counts that far
SHAFT_RADIUS_UM = 0.5  # apical tuft dendrites of layer 5 are about 1 um thick
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # of red, green and blue, ITU-R BT.709
LARGEST_NAME = 1_000_000
DENDRITE_COLUMNS = ("dendrite", "z_um", "y_um", "x_um")


@dataclass(frozen=True, eq=False)
class Image:
    """One grey picture of the brain's surface.

    Parameters
    ----------
    pixels
        Intensities, shape (y, x), floating point.
    pixel_um
        Pixel size, um; None when neither the file nor the caller says.
    name
        How to call it in messages, mostly the file's name.
    provenance
        What the file says of its making.
    """

    pixels: NDArray[np.float64]
    pixel_um: float | None
    name: str = "image"
    provenance: dict[str, Any] = field(default_factory=dict)


def read_stack(
    path: Path | RemotePath | str, *, voxel_um: tuple[float, float, float] | None = None, channel: int = 0
) -> Stack:
    """Read one channel of a stack from OME-Zarr, TIFF (OME, ImageJ, ScanImage, LSM) or a microscope's own files.

    Parameters
    ----------
    path
        File, or folder of an OME-Zarr image or of a recording of Prairie View or ThorImage, or the URL of an OME-Zarr.
    voxel_um
        Voxel size (z, y, x), um; None takes what the file says.
    channel
        Which channel, from 0.

    Raises
    ------
    StackError
        The file is missing, unreadable or not what was recorded, is no stack of planes, or its voxel size is not known
        or cannot be right.
    """
    path = as_place(path)
    with reading(path):
        raw = _read_known(path) if isinstance(path, Path) else read_zarr(path)
    pixels = _pick(raw, path.name, "ZYX", channel)
    if len(pixels) < 2:
        raise StackError(f"{path.name} is one plane of {pixels.shape[1]} x {pixels.shape[2]} pixels; give a stack")
    _check_numbers(pixels, path.name)
    voxel = _voxel_um(raw, path.name, voxel_um)
    source = path if isinstance(path, Path) else None
    return Stack(pixels, voxel, path.name, source, raw.saturation, raw.provenance, raw.count("C"))


def read_image(path: Path | str, *, pixel_um: float | None = None, channel: int = 0) -> Image:
    """Read a grey picture (y, x) from PNG, JPEG, TIFF or a flat OME-Zarr; colours are turned to grey.

    Parameters
    ----------
    path
        File, or folder of an OME-Zarr image.
    pixel_um
        Pixel size, um; None takes what the file says.
    channel
        Which channel, from 0; of no meaning for colour pictures.

    Raises
    ------
    StackError
        The file is missing or unreadable, or holds more than one plane.
    """
    path = Path(path)
    with reading(path):
        raw = _read_known(path)
    if raw.count("Z") > 1:
        raise StackError(f"{path.name} has {raw.count('Z')} planes; give one picture, e.g. its maximum projection")
    pixels = _pick(raw, path.name, "YX", channel).astype(float)
    _check_numbers(pixels, path.name)
    size_um = pixel_um if pixel_um is not None else raw.size_um.get("Y")
    if size_um is not None and not 0 < size_um <= LARGEST_PIXEL_UM:
        raise StackError(f"{path.name}: pixel size {size_um:g} um is not between 0 and {LARGEST_PIXEL_UM:g} um")
    return Image(pixels, size_um, path.name, raw.provenance)


def read_dendrites(path: Path | str) -> list[Dendrite]:
    """Read traced dendrites from a table with the columns dendrite, z_um, y_um, x_um, the points in order.

    Raises
    ------
    StackError
        The table is missing or unreadable, lacks a column, or a dendrite has fewer than two points or no whole number.
    """
    path = Path(path)
    if not path.is_file():
        raise StackError(f"{path} does not exist; give a CSV with the columns {', '.join(DENDRITE_COLUMNS)}")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise StackError(f"{path.name} is no readable CSV: {str(error).splitlines()[0]}") from error
    missing = [column for column in DENDRITE_COLUMNS if column not in table]
    if missing:
        raise StackError(f"{path.name} lacks {', '.join(missing)}; it needs {', '.join(DENDRITE_COLUMNS)}")
    numbers = table[list(DENDRITE_COLUMNS)].apply(pd.to_numeric, errors="coerce")
    broken = ~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    if broken.any():
        raise StackError(f"{path.name}, line {int(np.argmax(broken)) + 2}: not a number in {broken.sum()} rows")
    names = numbers["dendrite"].to_numpy(dtype=float)
    unnamed = (names != np.round(names)) | (np.abs(names) > LARGEST_NAME)
    if unnamed.any():
        raise StackError(
            f"{path.name}, line {int(np.argmax(unnamed)) + 2}: dendrite {names[unnamed][0]:g} is no name; "
            f"number the dendrites 0, 1, 2, ... up to {LARGEST_NAME}"
        )
    dendrites = [_dendrite(name, points, path.name) for name, points in numbers.groupby("dendrite", sort=True)]
    if not dendrites:
        raise StackError(f"{path.name} holds 0 dendrites; give at least one with two points")
    return dendrites


def _dendrite(name: Any, rows: pd.DataFrame, file: str) -> Dendrite:
    points = rows[["z_um", "y_um", "x_um"]].to_numpy(dtype=float)
    moved = np.r_[True, np.any(np.diff(points, axis=0) != 0, axis=1)]
    points = points[moved]
    if len(points) < 2:
        raise StackError(f"{file}: dendrite {name:g} has {len(points)} point; give at least two different ones")
    return Dendrite(int(name), points, np.full(len(points), SHAFT_RADIUS_UM))


@contextmanager
def reading(path: Path | RemotePath) -> Iterator[None]:
    """Turn what the system refuses into a StackError."""
    if isinstance(path, RemotePath):
        with reaching(path.url):
            yield
        return
    try:
        yield
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror or error}; check the path and its rights") from error


def _read_known(path: Path) -> RawImage:
    if not path.exists():
        raise StackError(f"{path} does not exist; check the path")
    if (recording := _read_recording(path)) is not None:
        return recording
    if path.is_dir():
        if not is_zarr(path):
            raise StackError(
                f"{path} is a folder but no OME-Zarr image, nor a recording of Prairie View or ThorImage; "
                "give one stack, not the folder of several"
            )
        return read_zarr(path)
    if path.stat().st_size == 0:
        raise StackError(f"{path.name} is empty (0 bytes); copy it again from its source")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _read_picture(path)
    if path.suffix.lower() in TIFF_SUFFIXES:
        return read_tiff(path)
    if path.suffix.lower() in CZI_SUFFIXES:
        return read_czi(path)
    if path.suffix.lower() in OLYMPUS_SUFFIXES:
        return read_olympus(path)
    raise StackError(
        f"{path.name} is of no known kind; give OME-Zarr, TIFF from OME, ImageJ or ScanImage, a recording of Prairie "
        "View or ThorImage (its folder or XML), Zeiss LSM or CZI, Olympus OIF or OIB, or for a picture PNG or JPEG"
    )


def _read_recording(path: Path) -> RawImage | None:
    """Read a recording whose planes are files of their own beside an XML; None when it is none."""
    if (prairie := find_prairie(path)) is not None:
        return read_prairie(prairie)
    thorimage = find_thorimage(path)
    return None if thorimage is None else read_thorimage(thorimage)


def _read_picture(path: Path) -> RawImage:
    try:
        with Picture.open(path) as picture:
            grey = picture.mode in ("L", "I", "F") or picture.mode.startswith("I;16")
            pixels = np.asarray(picture if grey else picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
        raise StackError(
            f"{path.name} cannot be read as a picture: {str(error).splitlines()[0]}; save it again as PNG or TIFF"
        ) from error
    return RawImage(pixels, "YXS"[: pixels.ndim])


def _pick(raw: RawImage, name: str, wanted: str, channel: int) -> NDArray[Any]:
    """Return one channel with the axes ``wanted``; refuse what is no such image."""
    if raw.pixels.size == 0:
        raise StackError(f"{name} is empty: its shape is {raw.pixels.shape}; copy it again from its source")
    if raw.pixels.dtype.kind not in "uif":
        raise StackError(f"{name} holds {raw.pixels.dtype} values; save it as integers or floating point numbers")
    if raw.count("S") > 1:
        if "Z" in wanted:
            raise StackError(f"{name} is an RGB picture ({raw.count('S')} samples a pixel); save one channel as grey")
        raw = _grey(raw)
    if not set("YX") <= set(raw.axes) or ("Z" in wanted and "Z" not in raw.axes and raw.count("T") > 1):
        raise StackError(
            f"{name} has the axes {raw.axes or 'none'} of lengths {raw.pixels.shape}, but a stack needs z, y and x; "
            "name its axes in Fiji with Image > Properties"
        )
    if raw.count("T") > 1:
        raise StackError(f"{name} has {raw.count('T')} time points; save one as a stack of its own")
    if not 0 <= channel < raw.count("C"):
        raise StackError(f"{name} has {raw.count('C')} channels; channel {channel} is not among 0-{raw.count('C') - 1}")
    return _reduce(raw, name, wanted, channel)


def _reduce(raw: RawImage, name: str, wanted: str, channel: int) -> NDArray[Any]:
    pixels, axes = raw.pixels, raw.axes
    for axis in [letter for letter in axes if letter not in wanted]:
        if axis != "C" and raw.count(axis) > 1:
            raise StackError(f"{name} has an axis {axis} of length {raw.count(axis)}; a stack has z, y and x only")
        pixels = pixels.take(channel if axis == "C" else 0, axis=axes.index(axis))
        axes = axes.replace(axis, "")
    if "Z" in wanted and "Z" not in axes:
        pixels, axes = pixels[np.newaxis], "Z" + axes
    pixels = pixels.transpose([axes.index(axis) for axis in wanted])
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _grey(raw: RawImage) -> RawImage:
    pixels = np.moveaxis(raw.pixels, raw.axes.index("S"), -1)
    grey = pixels[..., :3] @ LUMINANCE if pixels.shape[-1] >= 3 else pixels[..., 0]
    return RawImage(grey, raw.axes.replace("S", ""), raw.size_um, None, raw.provenance)


def _check_numbers(pixels: NDArray[Any], name: str) -> None:
    low, high = pixels.min(), pixels.max()
    if not np.isfinite([low, high]).all():
        count = int((~np.isfinite(pixels)).sum())
        raise StackError(f"{name}: {count} of {pixels.size} voxels are not numbers (NaN or infinite); fill them first")
    if max(-float(low), float(high)) > LARGEST_INTENSITY:
        raise StackError(
            f"{name} has intensities from {low:.3g} to {high:.3g}; divide them so that none is beyond "
            f"{LARGEST_INTENSITY:g}"
        )


def _voxel_um(raw: RawImage, name: str, given: tuple[float, float, float] | None) -> tuple[float, float, float]:
    remedy = "give it with --voxel-um Z Y X, e.g. --voxel-um 1.0 0.12 0.12"
    sizes = [raw.size_um.get(axis) for axis in "ZYX"] if given is None else list(given)
    unknown = [axis for axis, size in zip("zyx", sizes, strict=True) if size is None]
    if unknown:
        which = "no voxel size" if len(unknown) == 3 else f"no voxel size along {', '.join(unknown)}"
        raise StackError(f"{name} has {which}; {remedy}")
    z, y, x = (float(size) for size in sizes if size is not None)
    for axis, size_um, (least_um, most_um) in zip("zyx", (z, y, x), (AXIAL_UM, LATERAL_UM, LATERAL_UM), strict=True):
        if not least_um <= size_um <= most_um:
            raise StackError(
                f"{name}: voxel size {z:g} x {y:g} x {x:g} um cannot be right: along {axis} it must be {least_um:g} to "
                f"{most_um:g} um{_likely_slip(size_um, least_um, most_um)}; {remedy}"
            )
    return z, y, x


def _likely_slip(size_um: float, least_um: float, most_um: float) -> str:
    """Say in which unit the size would make sense, if in any."""
    for factor, unit in ((1e-3, "nm"), (1e3, "mm")):
        if least_um <= factor * size_um <= most_um:
            return f" ({size_um:g} {unit} would be {factor * size_um:g} um: was it meant in {unit}?)"
    return ""
