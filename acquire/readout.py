"""What is read of the scanner: which part of its field, and which channels, some of them under a preset of their own.

It is a part of the rig, and talks to Micro-Manager for it; it does not know light, stage or files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acquire.channels import Exposure
from acquire.config import RigConfig
from acquire.core import ChannelCore
from acquire.errors import RigError
from acquire.model import StackPlan


class Readout:
    """The region and the channels of the scanner.

    Parameters
    ----------
    core
        Micro-Manager's core with the devices of ``config`` loaded.
    config
        The rig config.
    asking
        Turns what a device says into a RigError that names the action.
    """

    def __init__(
        self, core: ChannelCore, config: RigConfig, asking: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._core = core
        self._config = config
        self._asking = asking
        self._exposure = Exposure()
        self._whole: list[int] | None = None

    # ---- channels ----------------------------------------------------------------------------------------------

    def needs_preset(self, exposure: Exposure) -> bool:
        """Tell whether the devices stand otherwise than the preset of an exposure says."""
        return bool(exposure.group) and not self._is_set(exposure)

    def choose(self, exposure: Exposure) -> None:
        """Set the preset of an exposure, wait for its devices and read them back; then read its channels.

        Raises
        ------
        RigError
            When a device refuses, or reads otherwise than the preset says.
        """
        self._exposure = exposure
        if not self.needs_preset(exposure):
            return
        with self._asking(f"setting {exposure.group} to {exposure.preset}"):
            self._core.setConfig(exposure.group, exposure.preset)
            self._core.waitForConfig(exposure.group, exposure.preset)
        self.confirm(exposure)

    def confirm(self, exposure: Exposure) -> None:
        """Raise RigError when the devices do not stand as the preset of an exposure says."""
        if self.needs_preset(exposure):
            state = self._core.getCurrentConfig(exposure.group) or "no preset of that group"
            raise RigError(
                f"{exposure.group} reads {state} after it was set to {exposure.preset}; somebody changed it, or its "
                "devices do not obey"
            )

    def _is_set(self, exposure: Exposure) -> bool:
        with self._asking(f"reading the state of {exposure.group}"):
            wanted = self._core.getConfigData(exposure.group, exposure.preset, native=True)
            state = self._core.getConfigGroupState(exposure.group, native=True)
            return bool(state.isConfigurationIncluded(wanted))

    def images(self) -> list[NDArray[Any]]:
        """Return the images of the channels that were chosen, of the exposure that was just taken."""
        channels = self._exposure.camera_channels
        if channels is None:
            return [np.asarray(self._core.getImage())]
        return [np.asarray(self._core.getImage(channel)) for channel in channels]

    def why_not_in_bursts(self, exposure: Exposure) -> str | None:
        """Say why frames of a burst do not show the channel of an exposure; None when they do."""
        scanner = self._config.roles.scanner
        with self._asking(f"asking {scanner} for its channels"):
            images = self._core.images_per_burst_frame()
        if exposure.camera_channels not in (None, (0,)):
            return f"frames that {scanner} takes by itself show its first channel, and another is asked for"
        return f"{scanner} gives {images} images of each frame that it takes by itself" if images > 1 else None

    # ---- region ------------------------------------------------------------------------------------------------

    def set_region(self, plan: StackPlan, whole: int) -> StackPlan:
        """Scan the region of a plan alone, in the middle of the field; return the plan with the size it has in pixels.

        Parameters
        ----------
        plan
            With the pixels and the field of view that the rig has set.
        whole
            Width and height of the whole image, pixels.

        Raises
        ------
        RigError
            When the region is larger than the field, or the scanner takes another one.
        """
        if plan.region_um is None:
            return plan
        scanner, limit_um = self._config.roles.scanner, plan.field_of_view_um
        if max(plan.region_um) > limit_um * (1 + 1e-6):
            raise RigError(
                f"the region of {plan.region_um[0]:g} x {plan.region_um[1]:g} um is larger than the field of view of "
                f"{limit_um:g} um; make region_um smaller"
            )
        _, rows, columns = plan.shape
        wanted = [(whole - columns) // 2, (whole - rows) // 2, columns, rows]
        if self._whole is not None:
            wanted = [wanted[0] + self._whole[0], wanted[1] + self._whole[1], columns, rows]
        with self._asking(f"setting the region of {scanner} to {columns} x {rows} pixels from {wanted[:2]}"):
            self._core.setROI(scanner, *wanted)
            self._core.waitForDevice(scanner)
            taken = [int(value) for value in self._core.getROI(scanner)]
            shape = self._core.getImageHeight(), self._core.getImageWidth()
        if taken != wanted or shape != (rows, columns):
            raise RigError(
                f"{scanner} scans {shape[0]} x {shape[1]} pixels from x {taken[0]}, y {taken[1]} after it was set to "
                f"{rows} x {columns} pixels from x {wanted[0]}, y {wanted[1]}; choose a region_um that it offers"
            )
        pixel_um = plan.voxel_um[1]
        taken_um = tuple(min(count * pixel_um, limit_um) for count in (rows, columns))
        return plan.model_copy(update={"region_um": taken_um})

    def clear_region(self, pixels: int) -> None:
        """Scan the whole field again: all ``pixels`` of a scanner with zoom, else what the scanner had at first."""
        scanner, zooms = self._config.roles.scanner, self._config.scan.field_um_at_zoom_1 is not None
        with self._asking(f"clearing the region of {scanner}"):
            if zooms:
                # Asked first: adapters without regions refuse to clear them.
                if (self._core.getImageHeight(), self._core.getImageWidth()) != (pixels, pixels):
                    self._core.clearROI()
                return
            now = [int(value) for value in self._core.getROI(scanner)]
            self._whole = self._whole or now
            if now != self._whole:
                self._core.setROI(scanner, *self._whole)
