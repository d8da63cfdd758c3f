"""Read an image from OME-Zarr, versions 0.4 and 0.5. It reads the finest level and knows nothing of stacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from analysis.errors import StackError
from analysis.rawimage import RawImage, integer_saturation, length_um

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, NotImplementedError)
LAYOUT = "bioformats2raw.layout"  # a folder of images, the first of them named 0


def is_zarr(path: Path) -> bool:
    """Tell whether a path is a Zarr store: a folder with Zarr's own description in it."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def read_zarr(path: Path) -> RawImage:
    """Read the finest level of the image of a store.

    Raises
    ------
    StackError
        The store cannot be read, or is no OME-Zarr image.
    """
    group = _open_image(path)
    attributes = dict(group.attrs)
    multiscale = _multiscale(path, attributes)
    dataset = multiscale["datasets"][0]
    try:
        array = group[dataset["path"]]
        if not isinstance(array, zarr.Array):
            raise StackError(f"{path.name}: {dataset['path']} is no array; the store is incomplete, copy it again")
        pixels = np.asarray(array[...])
        axes = _axes(multiscale.get("axes"), pixels.ndim)
        size_um = _sizes_um(multiscale, dataset, axes)
    except UNREADABLE as error:
        raise StackError(f"{path.name} cannot be read: {_line(error)}; copy it again from its source") from error
    ours = attributes.get("samefield")
    provenance = dict(ours) if isinstance(ours, Mapping) else {}
    saturation = provenance.get("saturation")
    if not isinstance(saturation, int | float):
        saturation = integer_saturation(pixels.dtype)
    return RawImage(pixels, axes, size_um, saturation, provenance)


def _open_image(path: Path) -> zarr.Group:
    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        described = attributes.get("ome", attributes)
        if isinstance(described, Mapping) and "multiscales" not in described and LAYOUT in described:
            group = zarr.open_group(path / "0", mode="r")
    except UNREADABLE as error:
        raise StackError(f"{path.name} is no readable OME-Zarr image: {_line(error)}") from error
    return group


def _multiscale(path: Path, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
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
    return (str(error).splitlines() or [type(error).__name__])[0]
