"""Label images of spines and dendrites: an OME-Zarr 0.5 ``labels`` group that napari and ome-zarr open.

The heads are drawn as balls and the dendrites as tubes of a fixed size around the marked points: they show which spine
is where, and measure nothing. The exact points are in the properties of each label.
"""

from __future__ import annotations

import colorsys
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from yaozarrs import v05
from zarr.codecs import BloscCodec

from analysis.centreline import resampled
from analysis.errors import StackError
from analysis.fieldtables import SHAFT_RADIUS_UM
from analysis.marked import MarkedSession, MarkedSpine
from analysis.model import Floats
from analysis.omezarr import UNREADABLE

HEAD_RADIUS_UM = (1.0, 0.35, 0.35)  # of what is drawn; in depth the focus blurs a head over 2 um
TUBE_RADIUS_UM = (1.0, SHAFT_RADIUS_UM, SHAFT_RADIUS_UM)
STEP_UM = 0.25
SPINES, DENDRITES = "spines", "dendrites"
UNLINKED_LABEL = 1_000_000
PLANES_AT_ONCE = 16  # a whole stack and its distances would take four times its own memory
Labels = NDArray[np.uint32]


def spine_label(spine: MarkedSpine, place: int) -> int:
    """Return the value of a spine's voxels: its track and 1, the same in every session; 0 is the background."""
    return UNLINKED_LABEL + place if spine.track_id is None else spine.track_id + 1


@dataclass(frozen=True, eq=False)
class Drawing:
    """Balls about points, each with the value of its voxels.

    Parameters
    ----------
    places
        Points of each label, shape (n, 3), um.
    values
        Of the labels.
    radius_um
        Of the balls, (z, y, x).
    """

    places: Sequence[Floats]
    values: Sequence[int]
    radius_um: tuple[float, float, float]

    def planes(self, first: int, last: int, shape: Sequence[int], voxel_um: Sequence[float]) -> Labels:
        """Draw the planes from ``first`` to before ``last`` of a stack; where two meet, a voxel is of the nearer."""
        voxel, radius = np.asarray(voxel_um, dtype=float), np.asarray(self.radius_um)
        labels = np.zeros((last - first, *shape[1:]), dtype=np.uint32)
        nearest = np.full(labels.shape, np.inf, dtype=np.float32)
        for points, value in zip(self.places, self.values, strict=True):
            for point in points:
                middle = np.rint(point / voxel).astype(int)
                reach = np.floor(radius / voxel).astype(int) + 1
                low, high = np.maximum(middle - reach, (first, 0, 0)), middle + reach + 1
                high = np.minimum(high, (last, *shape[1:]))
                if np.any(middle < 0) or np.any(middle >= shape) or np.any(low >= high):
                    continue
                box = tuple(slice(a, b) for a, b in zip(low - (first, 0, 0), high - (first, 0, 0), strict=True))
                distance = _distance(low, high, point, voxel, radius)
                inside = distance <= 1.0
                if low[0] <= middle[0] < high[0]:
                    inside[tuple(middle - low)] = True  # thin planes far apart may all miss the ball
                inside &= distance < nearest[box]
                nearest[box][inside], labels[box][inside] = distance[inside], value
        return labels


def spine_drawing(session: MarkedSession) -> Drawing:
    """Return the heads of a session. Those outside of the stack are not drawn."""
    heads = [np.array([spine.head_zyx_um]) for spine in session.spines]
    return Drawing(heads, [spine_label(spine, place) for place, spine in enumerate(session.spines)], HEAD_RADIUS_UM)


def dendrite_drawing(session: MarkedSession) -> Drawing:
    """Return the shafts of a session; the value is the dendrite's number and 1."""
    lines = [resampled(line, STEP_UM) for line in session.dendrites.values()]
    return Drawing(lines, [name + 1 for name in session.dendrites], TUBE_RADIUS_UM)


def _distance(
    low: NDArray[np.int_], high: NDArray[np.int_], point: Floats, voxel_um: Floats, radius_um: Floats
) -> NDArray[np.float32]:
    """Return the squared distance of the voxels of a box from a point, in radii."""
    total = np.zeros(tuple(high - low), dtype=np.float32)
    for axis in range(3):
        away = (np.arange(low[axis], high[axis]) * voxel_um[axis] - point[axis]) / radius_um[axis]
        total += (away**2).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
    return total


def write_labels(
    store: Path,
    session: MarkedSession,
    shape: Sequence[int],
    voxel_um: Sequence[float],
    *,
    source: str | None = None,
    image: NDArray[Any] | None = None,
) -> Path:
    """Write the label images of a session into a store of their own.

    Parameters
    ----------
    store
        Its folder; replaced when it is there and was written by this function.
    shape, voxel_um
        Of the stack: voxels (z, y, x) and their size, um.
    source
        Path of the stack, kept as a note.
    image
        Its pixels, shape (z, y, x): a copy is put beside the labels, so that a viewer shows both; None leaves it out.

    Raises
    ------
    StackError
        The folder holds something else.
    """
    _make_room(store)
    part = store.with_name(f".{store.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    about: dict[str, Any] = {"kind": "labels", "of": source}
    root: dict[str, Any] = {"samefield": about}
    if image is not None:
        root["ome"] = _described(v05.Image(multiscales=[_multiscale(store.name, voxel_um)]))
    zarr.create_group(part, zarr_format=3, attributes=root)
    if image is not None:
        _make_array(part / "0", image.shape, image.dtype)[...] = image
    names = v05.LabelsGroup(labels=[SPINES, DENDRITES])
    zarr.create_group(part / "labels", zarr_format=3, attributes={"ome": _described(names)})
    drawn = {
        SPINES: (spine_drawing(session), _spine_properties(session)),
        DENDRITES: (dendrite_drawing(session), _dendrite_properties(session)),
    }
    for name, (drawing, properties) in drawn.items():
        about_label = _label_image(name, voxel_um, properties, has_image=image is not None)
        zarr.create_group(part / "labels" / name, zarr_format=3, attributes={"ome": about_label})
        array = _make_array(part / "labels" / name / "0", shape, np.uint32)
        for first in range(0, shape[0], PLANES_AT_ONCE):
            last = min(first + PLANES_AT_ONCE, shape[0])
            array[first:last] = drawing.planes(first, last, shape, voxel_um)
    shutil.rmtree(store, ignore_errors=True)
    part.rename(store)
    return store


def _make_room(store: Path) -> None:
    if not store.exists():
        return
    try:
        kind = zarr.open_group(store, mode="r").attrs["samefield"]["kind"]  # type: ignore[index, call-overload]
    except UNREADABLE:
        kind = None
    if kind != "labels":
        raise StackError(f"{store} exists and holds no labels of this program; choose another folder")


def _described(model: Any) -> dict[str, Any]:
    described: dict[str, Any] = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    return described


def _multiscale(name: str, voxel_um: Sequence[float]) -> v05.Multiscale:
    level = v05.Dataset(path="0", coordinateTransformations=[v05.ScaleTransformation(scale=[*map(float, voxel_um)])])
    return v05.Multiscale(name=name, axes=[v05.SpaceAxis(name=a, unit="micrometer") for a in "zyx"], datasets=[level])


def _label_image(
    name: str, voxel_um: Sequence[float], properties: Mapping[int, Mapping[str, Any]], *, has_image: bool
) -> dict[str, Any]:
    label = {
        "colors": [{"label-value": value, "rgba": _colour(value)} for value in properties] or None,
        "properties": [{"label-value": value, **about} for value, about in properties.items()] or None,
        "source": {"image": "../../"} if has_image else None,
    }
    image = v05.LabelImage.model_validate(
        {"multiscales": [_multiscale(name, voxel_um)], "image-label": {k: v for k, v in label.items() if v}}
    )
    described = _described(image)
    if properties:  # the model checks the values and drops what a property says beside them
        described["image-label"]["properties"] = label["properties"]
    return described


def _colour(value: int) -> list[int]:
    """Return a colour that lies far from its neighbours': steps of the golden angle around the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(value * 0.618034 % 1.0, 0.65, 1.0)
    return [round(255 * red), round(255 * green), round(255 * blue), 255]


def _spine_properties(session: MarkedSession) -> dict[int, dict[str, Any]]:
    return {
        spine_label(spine, place): {
            "track_id": spine.track_id,
            "dendrite": spine.dendrite,
            "fate": spine.fate,
            **dict(zip(("head_z_um", "head_y_um", "head_x_um"), spine.head_zyx_um, strict=True)),
        }
        for place, spine in enumerate(session.spines)
    }


def _dendrite_properties(session: MarkedSession) -> dict[int, dict[str, Any]]:
    return {name + 1: {"dendrite": name, "points": len(line)} for name, line in session.dendrites.items()}


def _make_array(path: Path, shape: Sequence[int], dtype: Any) -> Any:
    return zarr.create_array(
        path,
        shape=tuple(shape),
        chunks=(1, *shape[1:]),
        dtype=dtype,
        dimension_names=[*"zyx"],
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=np.dtype(dtype).itemsize),
    )
