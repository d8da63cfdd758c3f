"""The header of ScanImage files (5 and later): how the pages are ordered, and how large a voxel is."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from analysis.errors import StackError
from analysis.rawimage import PLANNED_PLANES, RawImage, known_sizes, said

SETTING = re.compile(r"^\s*(?:scanimage\.)?SI\d?\.(\S+) = (.+?)\s*$", re.MULTILINE)

EPOCH = re.compile(r"^epoch = \[(.+?)\]", re.MULTILINE)


@dataclass(frozen=True)
class ScanImageHeader:
    """The settings of one acquisition by name, without the leading ``SI.``, as MATLAB wrote them."""

    settings: dict[str, str]
    description: str = ""

    @classmethod
    def parse(cls, software: str, description: str) -> ScanImageHeader | None:
        """Read the tags of the first page; None when ScanImage did not write them.

        Since 2016 the settings are in the Software tag, before that in the ImageDescription.
        """
        if not (software.startswith("SI.") or "scanimage.SI" in description):
            return None
        return cls(dict(SETTING.findall(f"{software}\n{description}")), description)

    def arrange(self, pages: NDArray[Any], name: str) -> RawImage:
        """Order the pages, shape (pages, y, x), by plane and channel; average the frames of a plane.

        Raises
        ------
        StackError
            The pages do not make whole planes, or the planes are unevenly spaced.
        """
        if self._flag("hRoiManager.mroiEnable"):
            raise StackError(f"{name} is a ScanImage recording of several regions (mROI); save one region as a stack")
        pages = pages.reshape(-1, *pages.shape[-2:])
        channels = len(self._numbers("hChannels.channelSave")) or 1
        planes = self._planes(pages, channels, name)
        provenance = self._making()
        if len(planes) < self._slices():
            provenance[PLANNED_PLANES] = self._slices()
        height, width = pages.shape[-2:]
        return RawImage(
            planes,
            "ZCYX",
            known_sizes(self._step_um(name), *self._pixel_um(height, width)),
            self._saturation(),
            provenance,
        )

    def _making(self) -> dict[str, Any]:
        """Return when, with which version and where the stack was taken, as far as the header tells."""
        year_to_second = EPOCH.search(self.description)
        acquired = None
        if year_to_second:
            values = [float(word) for word in re.split(r"[\s,]+", year_to_second[1].strip())]
            with suppress(ValueError, OverflowError, TypeError):
                acquired = datetime(*map(int, values[:6]))  # type: ignore[arg-type]
        version = "".join(f" {word}" for word in (self.settings.get("VERSION_MAJOR", "").strip("'"),) if word)
        motors = self._numbers("hMotors.samplePosition")
        motors = motors if len(motors) == 3 else self._numbers("hMotors.motorPosition")[:3]
        whole = len(motors) == 3 and bool(np.all(np.isfinite(motors)))
        return said(f"ScanImage{version}", acquired, motors.tolist() if whole else None)

    def _planes(self, pages: NDArray[Any], channels: int, name: str) -> NDArray[Any]:
        """Return the planes, shape (z, channel, y, x): frames of a plane averaged."""
        slices, frames = self._slices(), self._frames_per_slice()
        if self._is_fast() and slices > 1:
            flyback = self._flyback_frames()
            blocks = _whole_blocks(pages, (slices * frames + flyback) * channels, "volumes", name)
            blocks = blocks.reshape(len(blocks), -1, channels, *pages.shape[-2:])[:, : slices * frames]
            return _mean(blocks.reshape(len(blocks), slices, frames, *blocks.shape[2:]), (0, 2))
        blocks = _whole_blocks(pages, frames * channels, "planes", name)
        return _mean(blocks.reshape(len(blocks), frames, channels, *pages.shape[-2:]), (1,))

    def _slices(self) -> int:
        number = self._number("hStackManager.actualNumSlices") or self._number("hStackManager.numSlices")
        return int(number) if number else 1

    def _frames_per_slice(self) -> int:
        """Frames of each plane in the file: fewer than were taken where ScanImage averaged before it wrote."""
        taken = self._number("hStackManager.framesPerSlice") or 1.0
        averaged = self._number("hScan2D.logAverageFactor") or 1.0
        return max(int(taken // averaged), 1) if np.isfinite(taken) else 1

    def _is_fast(self) -> bool:
        mode = self.settings.get("hStackManager.stackMode", "").strip("'")
        return mode == "fast" if mode else self._flag("hFastZ.enable")

    def _flyback_frames(self) -> int:
        written = self._number("hStackManager.numFramesPerVolumeWithFlyback")
        useful = self._number("hStackManager.numFramesPerVolume")
        if written is not None and useful is not None:
            return int(written - useful)
        return int(self._number("hFastZ.numDiscardFlybackFrames") or 0)

    def _step_um(self, name: str) -> float | None:
        if "arbitrary" in self.settings.get("hStackManager.stackDefinition", ""):
            steps = np.diff(self._numbers("hStackManager.arbitraryZs"))
            if len(steps) and np.ptp(np.abs(steps)) > 1e-3:
                raise StackError(f"{name} has unevenly spaced planes; take the stack with one z step")
            return float(abs(steps[0])) if len(steps) else None
        step = self._number("hStackManager.actualStackZStepSize") or self._number("hStackManager.stackZStepSize")
        return None if step is None else abs(step)

    def _pixel_um(self, height: int, width: int) -> tuple[float | None, float | None]:
        """Return the pixel size (y, x) from the corners of the field of view."""
        corners = self._numbers("hRoiManager.imagingFovUm")
        if len(corners) < 4:
            corners = self._numbers("hRoiManager.imagingFovDeg") * (self._number("objectiveResolution") or np.nan)
        if len(corners) < 4 or not np.all(np.isfinite(corners)):
            return None, None
        extent_x, extent_y = np.ptp(corners.reshape(-1, 2), axis=0)
        return float(extent_y) / height, float(extent_x) / width

    def _saturation(self) -> float | None:
        """Intensity at which the signed digitizer clips; None when the header does not tell its bits."""
        bits = self._numbers("hChannels.channelAdcResolution")
        return float(2 ** (bits[0] - 1) - 1) if len(bits) else None

    def _numbers(self, name: str) -> NDArray[np.float64]:
        try:
            value = tifffile.matlabstr2py(self.settings.get(name, "[]"))
            return np.ravel(np.asarray(value, dtype=float))
        except (ValueError, TypeError):
            return np.empty(0)

    def _number(self, name: str) -> float | None:
        numbers = self._numbers(name)
        return float(numbers[0]) if len(numbers) else None

    def _flag(self, name: str) -> bool:
        return self.settings.get(name, "false") in ("true", "1")


def _whole_blocks(pages: NDArray[Any], size: int, word: str, name: str) -> NDArray[Any]:
    """Cut the pages into blocks of ``size``; refuse a part of one."""
    if not len(pages) or len(pages) % size:
        raise StackError(
            f"{name} has {len(pages)} pages, not a multiple of the {size} that make whole {word}: the recording was "
            "aborted or split into several files; join them in ScanImage or save the whole planes as an ImageJ TIFF"
        )
    return pages.reshape(-1, size, *pages.shape[1:])


def _mean(frames: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    if all(frames.shape[axis] == 1 for axis in axes):
        return np.squeeze(frames, axes)
    averaged: NDArray[Any] = frames.mean(axis=axes, dtype=np.float32)
    return averaged
