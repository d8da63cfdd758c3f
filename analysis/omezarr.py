"""Read an image from OME-Zarr, versions 0.4 and 0.5. It reads the finest level and knows nothing of stacks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import StackError
from analysis.rawimage import RawImage, integer_saturation, length_um
from analysis.remote import RemotePath

if TYPE_CHECKING:
    import zarr
    from zarr.storage import FsspecStore

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, NotImplementedError)
LAYOUT = "bioformats2raw.layout"  # a folder of images, the first of them named 0


def is_zarr(path: Path) -> bool:
    """Tell whether a path is a Zarr store: a folder with Zarr's own description in it."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def read_zarr(path: Path | RemotePath) -> RawImage:
    """Read the finest level of the image of a store.

    Raises
    ------
    StackError
        The store cannot be read, is no OME-Zarr image, or is one of ours and does not hold what was recorded.
    """
    import zarr

    group = _open_image(path)
    attributes = dict(group.attrs)
    multiscale = _multiscale(path, attributes)
    dataset = multiscale["datasets"][0]
    try:
        if dataset["path"] not in group:
            raise StackError(f"{path.name} lacks its array {dataset['path']!r}; copy it again from its source")
        array = group[dataset["path"]]
        if not isinstance(array, zarr.Array):
            raise StackError(f"{path.name}: {dataset['path']} is no array; the store is incomplete, copy it again")
        pixels = np.asarray(array[...])
        axes = _axes(multiscale.get("axes"), pixels.ndim)
        size_um = _sizes_um(multiscale, dataset, axes)
        ours = attributes.get("samefield")
        provenance = dict(ours) if isinstance(ours, Mapping) else {}
        if "planes" in provenance and axes in ("ZYX", "CZYX"):
            _refuse_changed(path, np.moveaxis(pixels, axes.index("Z"), 0), provenance)
        elif "planes" not in provenance and provenance.get("complete") is True:
            _refuse_lacking(path, array)
    except UNREADABLE as error:
        raise StackError(f"{path.name} cannot be read: {_line(error)}; copy it again from its source") from error
    saturation = provenance.get("saturation")
    if not isinstance(saturation, int | float):
        saturation = integer_saturation(pixels.dtype)
    return RawImage(pixels, axes, size_um, saturation, provenance)


def look_at_zarr(path: Path | RemotePath) -> RawImage:
    """Return what a store says of its image, as :func:`read_zarr`, with zeros that take no memory for its pixels.

    Raises
    ------
    StackError
        The store cannot be read, or does not say its voxel size along z, y and x.
    """
    group = _open_image(path)
    attributes = dict(group.attrs)
    multiscale = _multiscale(path, attributes)
    dataset = multiscale["datasets"][0]
    try:
        shape = group[dataset["path"]].shape  # type: ignore[union-attr]
        axes = _axes(multiscale.get("axes"), len(shape))
        size_um = _sizes_um(multiscale, dataset, axes)
    except UNREADABLE as error:
        raise StackError(f"{path.name} cannot be read: {_line(error)}; copy it again from its source") from error
    if missing := [axis for axis in "ZYX" if axis not in size_um]:
        raise StackError(f"{path.name} has no voxel size along {', '.join(missing).lower()}; import it with --voxel-um")
    return RawImage(np.broadcast_to(np.uint8(0), shape), axes, size_um)


def _refuse_changed(path: Path | RemotePath, pixels: NDArray[Any], provenance: Mapping[str, Any]) -> None:
    """Compare a stack of ours with the checksums that were taken before it went to the disk.

    A plane whose file is gone reads as zeros and would look like lost spines. A dark plane has no file either: only the
    checksum tells the two apart.
    """
    crc32 = {int(record["plane"]): int(record["crc32"]) for record in provenance["planes"]}
    if provenance.get("complete") is True and len(crc32) < len(pixels):
        raise StackError(
            f"{path.name} says that it is complete but that {len(crc32)} of its {len(pixels)} planes were taken; "
            "copy it again from its source"
        )
    changed = [
        n for n, taken in crc32.items() if n >= len(pixels) or zlib.crc32(np.ascontiguousarray(pixels[n]).data) != taken
    ]
    if changed:
        raise StackError(
            f"{path}: {_named(changed)} of {len(pixels)} not as recorded (wrong checksum): files in the store are "
            "damaged or gone; copy it again from its source, or take the stack again"
        )


def _refuse_lacking(path: Path | RemotePath, array: zarr.Array[Any]) -> None:
    lacking = array.nchunks - array.nchunks_initialized
    if lacking:
        raise StackError(f"{path.name} lacks {lacking} of its {array.nchunks} files of pixels; copy it again")


def _named(planes: Sequence[int]) -> str:
    """Name a few planes.

    Examples
    --------
    >>> _named([3]), _named(range(9))
    ('plane 3', 'planes 0, 1, 2, 3, 4 and 4 more')
    """
    more = f" and {len(planes) - 5} more" if len(planes) > 5 else ""
    return f"plane{'s' if len(planes) > 1 else ''} {', '.join(map(str, planes[:5]))}{more}"


def _open_image(path: Path | RemotePath) -> zarr.Group:
    import zarr  # not at the top: an analysis of other files need not wait for it

    try:
        group = zarr.open_group(_store(path), mode="r")
        attributes = dict(group.attrs)
        described = attributes.get("ome", attributes)
        if isinstance(described, Mapping) and "multiscales" not in described and LAYOUT in described:
            group = zarr.open_group(_store(path / "0"), mode="r")
    except UNREADABLE as error:
        raise StackError(f"{path.name} is no readable OME-Zarr image: {_line(error)}") from error
    return group


def _store(path: Path | RemotePath) -> Path | FsspecStore:
    return path.store() if isinstance(path, RemotePath) else path


def _multiscale(path: Path | RemotePath, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    described = attributes.get("ome", attributes)
    try:
        multiscale: Mapping[str, Any] = described["multiscales"][0]
        _ = multiscale["datasets"][0]["path"]
    except (KeyError, IndexError, TypeError) as error:
        raise StackError(
            f"{path.name} is a Zarr group but no OME-Zarr image (no multiscales); give the folder of one image"
        ) from error
    return multiscale


def _axes(axes: Sequence[Any] | None, dimensions: int) -> str:
    """Return one letter an axis; before version 0.3 the axes were always t, c, z, y, x."""
    if axes is None:
        return "TCZYX"[-dimensions:]
    names = [str(axis["name"] if isinstance(axis, Mapping) else axis).upper() for axis in axes]
    if len(names) != dimensions or any(len(name) != 1 for name in names):
        raise ValueError(f"axes {names} do not describe an array of {dimensions} dimensions")
    return "".join(names)


def _sizes_um(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], axes: str) -> dict[str, float]:
    scale = np.ones(len(axes))
    steps = [*dataset.get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])]
    scales = [step["scale"] for step in steps if step.get("type") == "scale" and "scale" in step]
    if not scales:
        return {}
    for factor in scales:
        scale = scale * np.asarray(factor, dtype=float)
    units = [
        axis.get("unit") if isinstance(axis, Mapping) else None for axis in multiscale.get("axes") or [None] * len(axes)
    ]
    sizes = {axis: length_um(float(size), unit) for axis, size, unit in zip(axes, scale, units, strict=True)}
    return {axis: size for axis, size in sizes.items() if size is not None and axis in "ZYX"}


def _line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    if isinstance(error, json.JSONDecodeError):
        return f"its description is no JSON (line {error.lineno})"
    if isinstance(error, KeyError):
        return f"{error} is missing in its description"
    return (str(error).splitlines() or [type(error).__name__])[0]
