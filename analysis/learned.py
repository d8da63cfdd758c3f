"""The learned score: where a small network sees the heads of spines on a straightened dendrite.

The network looks at the light over the brightness of the shaft, so that laser power, detector gain and bit depth drop
out. Its weights travel with the program (``analysis/weights``); a seeded script among the tests trains them on the
simulation and on annotated stacks. Nothing is restored or drawn: it only says how sure it is of each place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter

from analysis.errors import StackError
from analysis.jobs import own_share
from analysis.straighten import DEPTH_STEP_UM, STEP_UM, StraightenedDendrite

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Image = NDArray[np.float32]

WEIGHTS = "spines.onnx"
BRIGHTNESS_OVER_UM = 2.0  # along: the shaft's brightness is followed that closely
LEAST_SHAFT = 0.05  # of the dendrite's typical brightness: a dark gap is not blown up to a shaft
DARKEST, BRIGHTEST = -0.2, 2.0  # of the shaft's brightness
DIMMEST = 0.03
PLANES_UM = 1.0
MIRRORS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))
HEAD_APART_UM = 0.55  # the surest place within this distance is the head


@dataclass(frozen=True, eq=False)
class SpineMap:
    """Where the network sees heads beside one dendrite.

    Parameters
    ----------
    log_odds
        That the head of a spine is seen there, whatever its depth, shape (along, across).
    depth_um
        At which depth below the centreline it then lies, shape (along, across), um.
    """

    log_odds: Image
    depth_um: Image

    def peaks(self, steps_um: tuple[float, float]) -> NDArray[np.intp]:
        """Return the (along, across) indices of the surest places, each alone within ``HEAD_APART_UM``, shape (n, 2).

        Parameters
        ----------
        steps_um
            Sample distance along and across, um.
        """
        reach = [int(HEAD_APART_UM / step) for step in steps_um]
        along, across = (np.arange(-r, r + 1) * step for r, step in zip(reach, steps_um, strict=True))
        around = np.hypot(along[:, None], across) <= HEAD_APART_UM
        top = maximum_filter(self.log_odds, footprint=around, mode="nearest") == self.log_odds
        return np.argwhere(top)


def find_heads(
    straightened: StraightenedDendrite, weights: Path | None = None, version: str | None = None
) -> SpineMap | None:
    """Ask the network about a straightened dendrite.

    Parameters
    ----------
    straightened
        With the usual steps and widths of :func:`analysis.straighten.straighten`.
    weights
        Weights of a laboratory's own; those that travel with the program when not given.
    version
        That the network must have, as :func:`version_of` told it; any when not given.

    Returns
    -------
    SpineMap | None
        None where no weights travel with the program, or onnxruntime is not installed.

    Raises
    ------
    StackError
        When the file holds no weights of such a network, or they are no longer of that version.
    """
    network = _network(weights)
    if version not in (None, _version_of(network)):
        raise StackError(f"{weights or WEIGHTS} was changed during the analysis; analyse again")
    if network is None:
        return None

    def see(images: Image) -> Image:
        (seen,) = network.session.run(None, {"light": images})
        return np.asarray(seen, dtype=np.float32)

    seen = look_all_ways(see, network_input(straightened.volume))
    return SpineMap(np.float32(network.scale) * seen.log_odds + np.float32(network.offset), seen.depth_um)


def version_of(weights: Path | None = None) -> str:
    """Return what stands for the network that :func:`find_heads` asks: its weights, and what runs them."""
    return _version_of(_network(weights))


def _version_of(network: _Network | None) -> str:
    return "none" if network is None else network.version


def look_all_ways(see: Callable[[Image], Image], image: Image) -> SpineMap:
    """Return what a network sees of an image and of its mirror images, in the mean.

    Parameters
    ----------
    see
        From images (n, channels, along, across) of even size to log-odds and depth (n, 2, along, across).
    image
        Channels, along, across.
    """
    even = np.pad(image, ((0, 0), (0, image.shape[1] % 2), (0, image.shape[2] % 2)), mode="edge")
    seen = see(np.stack([np.flip(even, axes) for axes in MIRRORS]))
    mean = np.mean([np.flip(one, axes) for one, axes in zip(seen, MIRRORS, strict=True)], axis=0)
    odds, depth_um = mean[:, : image.shape[1], : image.shape[2]]
    return SpineMap(odds, depth_um)


def network_input(volume: Image) -> Image:
    """Return what the network looks at.

    Parameters
    ----------
    volume
        A straightened dendrite as :func:`analysis.straighten.straighten` gives it with its usual steps: (along, across,
        depth).

    Returns
    -------
    ndarray
        Channels, along, across: light over the brightness of the shaft in 7 planes 1 um apart, its logarithm, and the
        distance from the shaft.
    """
    return channels(over_shaft(volume))


def over_shaft(volume: Image) -> Image:
    """Return the light of a straightened dendrite over the brightness of its shaft, its background 0."""
    across, depth = (np.arange(size) - size // 2 for size in volume.shape[1:])
    background = float(np.percentile(volume[:, np.abs(across) > 0.6 * across[-1]], 30))
    core = volume[:, np.abs(across) <= 2][:, :, np.abs(depth) <= 2]
    shaft = np.median(core.reshape(len(core), -1), axis=1).astype(float) - background
    shaft = gaussian_filter1d(shaft, BRIGHTNESS_OVER_UM / STEP_UM, mode="nearest")
    least = max(1e-6, LEAST_SHAFT * float(np.median(shaft)))
    ratio: Image = (volume - np.float32(background)) / np.maximum(shaft, least).astype(np.float32)[:, None, None]
    return ratio


def channels(ratio: Image) -> Image:
    """Return the channels of light over the brightness of the shaft, shape (channels, along, across)."""
    planes = gaussian_filter1d(ratio, 1.0, axis=2, mode="nearest")[:, :, :: round(PLANES_UM / DEPTH_STEP_UM)]
    middle = ratio.shape[1] // 2
    away = np.abs(np.arange(ratio.shape[1], dtype=np.float32) - middle) / middle
    distance = np.broadcast_to(away[None, :, None], (*planes.shape[:2], 1))
    dim = 0.5 * np.log(DIMMEST + np.clip(planes, 0.0, None)) + 1.0
    every = np.concatenate([np.clip(planes, DARKEST, BRIGHTEST), dim, distance], axis=2)
    return np.ascontiguousarray(every.transpose(2, 0, 1), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class _Network:
    session: InferenceSession
    scale: float
    offset: float
    version: str


def _network(weights: Path | None) -> _Network | None:
    """Return the network of a file as it is now: who trains anew writes the same path."""
    file = resources.files("analysis") / "weights" / WEIGHTS if weights is None else weights
    if weights is None and not file.is_file():
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise StackError(_no_weights(str(file), error)) from error
    return _load(str(file), content)


@lru_cache(maxsize=2)
def _load(file: str, content: bytes) -> _Network | None:
    """Load a network, once a process as long as its weights are the same."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as faults
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = own_share()
    options.enable_cpu_mem_arena = False  # it would keep what the longest dendrite took
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a rig computes other things meanwhile
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        said = session.get_modelmeta().custom_metadata_map
        version = f"{blake2b(content, digest_size=10).hexdigest()} {onnxruntime.__version__}"
        return _Network(session, float(said["log_odds_scale"]), float(said["log_odds_offset"]), version)
    except (OSError, ValueError, KeyError, faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph) as error:
        raise StackError(_no_weights(file, error)) from error


def _no_weights(file: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{file} holds no weights of the spine network ({reason}); train them anew"
