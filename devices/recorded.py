"""Recorded stacks, one a session, placed under the objective as if they were tissue.

The pixels are those of the files; outside them there is darkness. Nothing is known here about which place of one stack
is which of another.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from devices.optics import FocalView, Image, Optics
from devices.pose import Pose

Floats = NDArray[np.float64]

BRIGHTEST_PHOTONS = 60.0
"""Photons of the brightest recorded voxel at reference power and 1 us dwell at the surface: at 2 us and 30 um depth it
fills three quarters of the detector's range."""

CENTRE_DEPTH_UM = 50.0
"""Depth at which the middle of a recorded stack is put, um."""

UM_PER_UNIT = {
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "micrometer": 1.0,
    "micron": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
}


@dataclass(frozen=True, eq=False)
class RecordedStack:
    """One stack read from a file.

    Parameters
    ----------
    path
        The file.
    pixels
        Intensities, shape (z, y, x).
    voxel_um
        Voxel size (z, y, x), um.
    """

    path: Path
    pixels: NDArray[Any]
    voxel_um: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class MountedRecording:
    """A recorded stack under the objective.

    Parameters
    ----------
    stack
        What is seen.
    pose
        Where it lies.
    dark
        Grey value without light.
    photons_per_grey
        Photons at reference power and 1 us dwell of one grey value.
    yx_from_image
        Map of image offsets (down, right) to stage offsets (y, x), shape (2, 2): unturned, it looks as it was recorded.
    """

    stack: RecordedStack
    pose: Pose
    dark: float
    photons_per_grey: float
    yx_from_image: Floats

    def plasma_photons(self, view: FocalView) -> Image:
        """Return no photons: nobody recorded the blood."""
        return np.zeros((view.pixels, view.pixels), dtype=np.float32)

    def photons(self, view: FocalView, optics: Optics) -> Image:
        """Return the expected photons of a view at reference power, 1 us dwell and the surface.

        The recording was taken through its own tissue: it looks as recorded when the power makes up for the depth.
        """
        matrix, offset = self._voxels_from_pixels(view)
        shape = (1, view.pixels, view.pixels)
        plane = ndimage.affine_transform(
            self.stack.pixels, matrix, offset, shape, output=np.float32, order=1, cval=self.dark
        )[0]
        photons = (plane - np.float32(self.dark)) * np.float32(self.photons_per_grey * self.pose.clarity)
        return np.asarray(np.maximum(photons, 0.0), dtype=np.float32)

    def depth_um(self, stage_zyx_um: Floats) -> float:
        """Return the depth of a stage position in the tissue, um."""
        return float(self.pose.to_tissue(stage_zyx_um)[0, 0])

    def _voxels_from_pixels(self, view: FocalView) -> tuple[Floats, Floats]:
        """Return matrix and offset that map (0, row, column) of the view to voxel indices of the stack."""
        stage_from_pixels = np.zeros((3, 3))
        stage_from_pixels[0, 0] = 1.0
        stage_from_pixels[1:, 1:] = np.linalg.inv(view.rows_cols_from_stage)
        middle = np.array([0.0, (view.pixels - 1) / 2.0, (view.pixels - 1) / 2.0])
        sway_px = np.array([0.0, *view.sway_yx_um.mean(axis=0)]) / view.pixel_um
        first_um = view.centre_zyx_um - stage_from_pixels @ (middle + sway_px)
        voxel = np.array(self.stack.voxel_um)
        centre = (np.array(self.stack.pixels.shape) - 1) / 2.0
        tissue_centre = np.array([CENTRE_DEPTH_UM, 0.0, 0.0])
        stack_from_tissue = np.eye(3)
        stack_from_tissue[1:, 1:] = np.linalg.inv(self.yx_from_image)
        offset = stack_from_tissue @ (self.pose.to_tissue(first_um)[0] - tissue_centre) / voxel + centre
        matrix = (stack_from_tissue @ self.pose.rotation.T @ stage_from_pixels) / voxel[:, None]
        return matrix, offset


@dataclass(frozen=True, eq=False)
class Recording:
    """The stacks of one field, in session order.

    Parameters
    ----------
    stacks
        One a session.
    days
        Day of each.
    """

    stacks: tuple[RecordedStack, ...]
    days: tuple[float, ...]

    def mount(self, pose: Pose, session: int, yx_from_image: Floats) -> MountedRecording:
        """Put the stack of ``session`` under the objective; ``yx_from_image`` is that of :class:`MountedRecording`."""
        if not 0 <= session < len(self.stacks):
            raise ValueError(
                f"There is no recorded stack for session {session}: the folder holds {len(self.stacks)}, sessions 0 to "
                f"{len(self.stacks) - 1}. Ask for fewer days."
            )
        stack = self.stacks[session]
        dark, brightest = np.percentile(stack.pixels[::2, ::4, ::4], [1.0, 100.0])
        return MountedRecording(
            stack, pose, float(dark), BRIGHTEST_PHOTONS / max(float(brightest - dark), 1e-6), yx_from_image
        )


def read_recording(folder: Path) -> Recording:
    """Read the stacks of a folder, sorted by name.

    Parameters
    ----------
    folder
        Holds ``*.tif`` or ``*.ome.zarr``, one stack a session, and perhaps ``sessions.csv`` with a column ``day``.

    Raises
    ------
    ValueError
        When there is no such folder, no stack in it, or a stack without voxel size.
    """
    if not folder.is_dir():
        raise ValueError(
            f"There is no folder {folder}. Give the folder that holds the recorded stacks, or sample 'cortex'."
        )
    paths = _stack_paths(folder)
    if not paths:
        raise ValueError(
            f"No *.tif and no *.ome.zarr in {folder}. Put one stack a session there, named in session order."
        )
    stacks = tuple(_read_zarr(path) if path.is_dir() else _read_tiff(path) for path in paths)
    return Recording(stacks, _days(folder, paths))


def _stack_paths(folder: Path) -> list[Path]:
    """Return the stacks in session order: numbers in names count as numbers, so session10 follows session9."""
    found = [p for p in folder.iterdir() if p.name.endswith((".tif", ".tiff", ".ome.zarr"))]
    named = [p for p in found if p.name.startswith("session")]
    return sorted(named or found, key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", p.name)])


def _days(folder: Path, paths: list[Path]) -> tuple[float, ...]:
    """Return the day of each stack, from ``sessions.csv`` if it has them, else 0, 1, 2..."""
    table = folder / "sessions.csv"
    counted = tuple(float(i) for i in range(len(paths)))
    if not table.is_file():
        return counted
    with table.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if len(rows) != len(paths) or any("day" not in row for row in rows):
        return counted
    return tuple(float(row["day"]) for row in rows)


def _read_tiff(path: Path) -> RecordedStack:
    try:
        with tifffile.TiffFile(path) as tiff:
            pixels, description = np.squeeze(tiff.asarray()), tiff.ome_metadata
    except (tifffile.TiffFileError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as a TIFF stack ({error}). Export it again.") from error
    return _checked(path, pixels, _voxel_from_ome(path, description))


def _voxel_from_ome(path: Path, description: str | None) -> tuple[float, float, float]:
    """Return the voxel size that the OME-XML gives, um."""
    sizes = []
    element = ElementTree.fromstring(description).find(".//{*}Pixels") if description else None
    for axis in "ZYX":
        size = element.get(f"PhysicalSize{axis}") if element is not None else None
        unit = (element.get(f"PhysicalSize{axis}Unit") if element is not None else None) or "µm"
        if size is None or unit not in UM_PER_UNIT:
            given = "no OME-XML" if element is None else f"PhysicalSize{axis} = {size} {unit}"
            raise ValueError(
                f"{path.name} does not say its voxel size in um ({given}). Save it as OME-TIFF with PhysicalSizeX, "
                "PhysicalSizeY and PhysicalSizeZ."
            )
        sizes.append(float(size) * UM_PER_UNIT[unit])
    return sizes[0], sizes[1], sizes[2]


def _read_zarr(path: Path) -> RecordedStack:
    group = zarr.open_group(path, mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        raise ValueError(f"{path.name} is no OME-Zarr image: it has no multiscales. Export it again.")
    dataset = images[0]["datasets"][0]
    scale = next(t["scale"] for t in dataset["coordinateTransformations"] if t["type"] == "scale")
    pixels = np.squeeze(np.asarray(group[dataset["path"]]))
    return _checked(path, pixels, (float(scale[-3]), float(scale[-2]), float(scale[-1])))


def _checked(path: Path, pixels: NDArray[Any], voxel_um: tuple[float, float, float]) -> RecordedStack:
    if pixels.ndim != 3:
        raise ValueError(f"{path.name} has shape {pixels.shape}; a stack of one channel (z, y, x) is needed.")
    if min(voxel_um) <= 0.0:
        raise ValueError(
            f"{path.name} gives a voxel size of {voxel_um} um; it must be above 0. Save it with its voxel size."
        )
    return RecordedStack(path, pixels, voxel_um)
