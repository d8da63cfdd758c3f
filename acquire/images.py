"""Images on disk: OME-Zarr 0.5, plane by plane, with a synced journal beside each stack.

A plane counts when its line stands in the journal: pixels first, then the line with the checksum. A stack counts when
its attribute ``complete`` is true. Raw data is never rewritten: an existing name is refused.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from yaozarrs import v05

from acquire.errors import StudyError
from acquire.files import append_line, check_space, writing
from acquire.model import PlaneRecord, Record, StackPlan, StagePosition, TransformRecord, utc_now


def software_version() -> str:
    """Return the version of the program."""
    return f"samefield {importlib.metadata.version('samefield')}"


class ImageProvenance(Record):
    """What an image says of its making; the attribute ``samefield`` of every store."""

    kind: str
    animal: str
    session: str
    day: float
    rig: dict[str, Any]
    stage: StagePosition
    field: str | None = None
    plan: StackPlan | None = None
    reference_from_today: TransformRecord | None = None
    saturation: float | None = None


def _ome(name: str, voxel_um: tuple[float, ...]) -> dict[str, Any]:
    axes: list[Any] = [v05.SpaceAxis(name=axis, unit="micrometer") for axis in "zyx"[-len(voxel_um) :]]
    scale = v05.ScaleTransformation(scale=list(voxel_um))
    level = v05.Dataset(path="0", coordinateTransformations=[scale])
    image = v05.Image(multiscales=[v05.Multiscale(name=name, axes=axes, datasets=[level])])
    return image.model_dump(mode="json", exclude_none=True)


def _create(
    path: Path, shape: tuple[int, ...], voxel_um: tuple[float, ...], attributes: dict[str, Any]
) -> tuple[zarr.Group, zarr.Array[Any]]:
    if path.exists():
        raise StudyError(f"{path} exists and raw data is never rewritten; choose another name")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(path, zarr_format=3, attributes={"ome": _ome(path.name, voxel_um), **attributes})
        chunks = (1, *shape[1:]) if len(shape) == 3 else shape
        axes = "zyx"[-len(shape) :]
        array = group.create_array("0", shape=shape, chunks=chunks, dtype="uint16", dimension_names=list(axes))
    return group, array


def journal_path(store: Path) -> Path:
    """Return the journal that stands beside a stack."""
    return store.with_name(store.name.removesuffix(".ome.zarr") + ".planes.jsonl")


def is_complete(store: Path) -> bool:
    """Tell whether a store of ours says that it is whole."""
    try:
        attributes = json.loads((store / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        return bool(attributes["samefield"]["complete"])
    except (OSError, ValueError, KeyError):
        return False


class StackWriter:
    """A stack that grows on disk plane by plane; a sink for the rig.

    Parameters
    ----------
    path
        Where the store is made; must not exist.
    plan
        Shape and voxel size of the stack.
    provenance
        What the stack says of its making.
    """

    def __init__(self, path: Path, plan: StackPlan, provenance: ImageProvenance) -> None:
        check_space(path, 2 * int(np.prod(plan.shape)))
        self.path = path
        self._provenance = provenance
        self._records: list[PlaneRecord] = []
        self._planes = plan.planes
        self._group, self._array = _create(path, plan.shape, plan.voxel_um, {"samefield": self._attributes(False)})

    def _attributes(self, complete: bool) -> dict[str, Any]:
        return {
            **self._provenance.model_dump(mode="json"),
            "software_version": software_version(),
            "written": utc_now().isoformat(),
            "complete": complete,
            "planes": [record.model_dump(mode="json") for record in self._records],
        }

    def append(self, pixels: NDArray[np.uint16], record: PlaneRecord) -> None:
        """Keep one plane: pixels, then its line in the journal."""
        with writing(self.path):
            self._array[record.plane] = pixels
        append_line(journal_path(self.path), record.model_dump_json())
        self._records.append(record)

    def finish(self) -> Path:
        """Say that the stack is whole; refuses when planes are missing."""
        missing = sorted(set(range(self._planes)) - {record.plane for record in self._records})
        if missing:
            raise StudyError(f"{self.path} lacks {len(missing)} of {self._planes} planes (first {missing[0]})")
        self._update(complete=True)
        return self.path

    def abandon(self) -> None:
        """Leave the stack readable, marked incomplete, with the planes it has."""
        self._update(complete=False)

    def _update(self, *, complete: bool) -> None:
        with writing(self.path):
            self._group.attrs.update({"samefield": self._attributes(complete)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


def write_image(path: Path, image: NDArray[np.uint16], pixel_um: float, provenance: ImageProvenance) -> Path:
    """Write a single image, shape (y, x), as OME-Zarr; it is marked complete when its pixels are down."""
    check_space(path, image.nbytes)
    attributes = {
        **provenance.model_dump(mode="json"),
        "software_version": software_version(),
        "written": utc_now().isoformat(),
    }
    group, array = _create(path, image.shape, (pixel_um, pixel_um), {"samefield": {**attributes, "complete": False}})
    with writing(path):
        array[:] = image
        group.attrs.update({"samefield": {**attributes, "complete": True}})
    return path
