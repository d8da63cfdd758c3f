"""Micro-Manager's core, in which a Python camera may have several channels as one of C++ may.

``UniMMCore`` gives the same image of a Python camera for every channel. It deliberately knows no rig and no config.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pymmcore_plus.experimental.unicore import UniMMCore


@runtime_checkable
class ManyChannelCamera(Protocol):
    """A Python camera that reads several detectors at once; the first is the image of ``snap``."""

    def channel_names(self) -> Sequence[str]:
        """Return the names of its channels."""

    def channel_image(self, channel: int) -> NDArray[Any]:
        """Return the image of another channel, from 1, of the frame that was taken last."""


class ChannelCore(UniMMCore):
    """Micro-Manager's core for cameras of several channels."""

    def _channel_camera(self) -> ManyChannelCamera | None:
        camera: object = self._py_camera()
        return camera if isinstance(camera, ManyChannelCamera) else None

    def getNumberOfCameraChannels(self) -> int:  # noqa: N802 - the name is Micro-Manager's
        """Return how many images :meth:`getImage` has of one exposure of the chosen camera."""
        camera = self._channel_camera()
        return super().getNumberOfCameraChannels() if camera is None else len(camera.channel_names())

    def getCameraChannelName(self, channelNr: int) -> str:  # noqa: N802, N803 - the names are Micro-Manager's
        """Return the name that the chosen camera gives to a channel."""
        camera = self._channel_camera()
        return super().getCameraChannelName(channelNr) if camera is None else camera.channel_names()[channelNr]

    def images_per_burst_frame(self) -> int:
        """Return how many images a frame of a sequence brings: Python cameras bring the first channel alone."""
        return 1 if self._py_camera() is not None else int(super().getNumberOfCameraChannels())

    def getImage(  # noqa: N802 - the name is Micro-Manager's
        self,
        numChannel: int | None = None,  # noqa: N803
        *,
        fix: bool = True,
    ) -> np.ndarray[Any, Any]:
        """Return the image of a channel of the last exposure; of the first when none is named."""
        camera = self._channel_camera() if numChannel else None
        if camera is not None and numChannel is not None:
            return camera.channel_image(numChannel)
        return super().getImage(fix=fix) if numChannel is None else super().getImage(numChannel, fix=fix)
