"""Make more of each sample: what differs between microscopes, animals and days, so that the network looks past it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from samples import Sample
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates

from analysis.learned import channels

Image = NDArray[np.float32]
Chance = np.random.Generator


def draw_crop(sample: Sample, length: int, chance: Chance, clutter: Sequence[Sample] = ()) -> tuple[Image, ...]:
    """Cut a stretch out of a sample and change it by chance: channels, truth, weight, depth.

    Parameters
    ----------
    clutter
        Other dendrites, whose surroundings are laid beside this one; given for simulated samples only, which are made
        less perfect in every way. Recorded ones are as they are.
    """
    short = max(0, length - len(sample.ratio))
    ratio, truth, weight, depth_um = (
        np.pad(image, ((0, short), *((0, 0),) * (image.ndim - 1)))
        for image in (sample.ratio, sample.truth, sample.weight, sample.depth_um)
    )
    first = int(chance.integers(0, len(ratio) - length + 1))
    part = slice(first, first + length)
    ratio = ratio[part].copy()
    if clutter:
        ratio = _live_tissue(ratio, chance, clutter[int(chance.integers(len(clutter)))])
    ratio = _detect(ratio, chance, 0.12 if clutter else 0.06)
    flips = [axis for axis in range(3) if chance.uniform() < 0.5]
    sideways = [axis for axis in flips if axis < 2]
    turned = (np.flip(image[part], sideways) for image in (truth, weight, depth_um * (-1 if 2 in flips else 1)))
    return channels(np.flip(ratio, flips)), *(np.ascontiguousarray(image) for image in turned)


def _live_tissue(ratio: Image, chance: Chance, other: Sample) -> Image:
    """Give a simulated dendrite what real ones have: an uneven shaft, neighbours, neuropil, motion, blur."""
    if chance.uniform() < 0.7:
        ratio *= np.exp(_texture(ratio.shape, (chance.uniform(2, 6), chance.uniform(2, 4), 2), chance) * _dose(chance))
    if chance.uniform() < 0.6:
        ratio += _surroundings(other, ratio.shape, chance) * np.float32(chance.uniform(0.1, 0.8))
    if chance.uniform() < 0.5:
        ratio += np.clip(_texture(ratio.shape, (3, 3, 1.5), chance), 0, None) * np.float32(chance.uniform(0.005, 0.04))
    if chance.uniform() < 0.5:
        across = np.arange(ratio.shape[1]) - ratio.shape[1] // 2
        shaft = np.exp(-0.5 * (across / chance.uniform(3, 5)) ** 2)[None, :, None]
        ratio *= (1 + shaft * chance.uniform(-0.5, 1.2)).astype(np.float32)
    ratio = _sway(ratio, chance)
    if chance.uniform() < 0.4:
        sideways = chance.uniform(0.3, 0.9)
        ratio = gaussian_filter(ratio, (sideways, sideways, chance.uniform(0, 1)))
    return ratio


def _dose(chance: Chance) -> np.float32:
    return np.float32(chance.uniform(0.05, 0.35))


def _texture(shape: tuple[int, ...], sigma: tuple[float, ...], chance: Chance) -> Image:
    texture: Image = gaussian_filter(chance.normal(size=shape).astype(np.float32), sigma)
    return texture / (texture.std() + 1e-6)


def _surroundings(other: Sample, shape: tuple[int, ...], chance: Chance) -> Image:
    """Return the far side of another dendrite's surroundings, moved over to this one: specks and axons."""
    laid = np.zeros(shape, np.float32)
    if len(other.ratio) <= shape[0]:
        return laid
    first, moved = int(chance.integers(0, len(other.ratio) - shape[0] + 1)), int(chance.integers(14, 34))
    part = other.ratio[first : first + shape[0]]
    far = (np.arange(shape[1]) >= 45)[None, :, None]
    if chance.uniform() < 0.5:
        laid[:, : shape[1] - moved] = (part * far)[:, moved:]
    else:
        laid[:, moved:] = (part * far[:, ::-1])[:, : shape[1] - moved]
    return np.clip(laid, 0.0, 1.0)


def _sway(ratio: Image, chance: Chance) -> Image:
    """Shift every cross-section a little: the tissue moves while its lines are scanned."""
    most = chance.choice((0.0, 0.4, 0.9, 1.4))
    if most == 0.0:
        return ratio
    smooth = chance.choice((0.6, 1.5, 4.0))
    size = np.sqrt(2 * np.sqrt(np.pi) * smooth) * most
    across, along = (gaussian_filter1d(chance.normal(size=len(ratio)), smooth) * size * part for part in (1.0, 0.5))
    rows = np.clip(np.arange(len(ratio)) + along, 0, len(ratio) - 1)[:, None] + np.zeros(ratio.shape[1])
    columns = np.arange(ratio.shape[1]) + across[:, None]
    planes = [map_coordinates(plane, [rows, columns], order=1, mode="nearest") for plane in np.moveaxis(ratio, 2, 0)]
    return np.stack(planes, axis=2)


def _detect(ratio: Image, chance: Chance, noise: float) -> Image:
    """Add photon noise, change the gain, clip what is bright."""
    if chance.uniform() < 0.7:
        spread = np.sqrt(np.clip(ratio, 0.01, None)) * chance.uniform(0.0, noise)
        ratio = ratio + (chance.normal(size=ratio.shape) * spread).astype(np.float32)
    ratio = ratio * np.float32(np.exp(0.12 * chance.normal()))
    return np.minimum(ratio, np.float32(chance.uniform(0.6, 1.2))) if chance.uniform() < 0.35 else ratio
