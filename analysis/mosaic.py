"""Lay overlapping pictures of one surface on each other, even their light, and blend them into one picture.

Where a picture was taken is only nearly known; neighbours are registered in what they share, and all places are then
solved together. It knows pixels only: the room that moves the stage knows where each picture was taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from analysis.correlate import Image, flatten, match_windows, peak_position
from analysis.errors import StackError
from analysis.model import Floats

BAND = (0.0015, 0.03)  # detail that is registered, shares of a picture's longer side
REACH = 0.04  # of a picture's longer side: a pixel size known to 2 % and a camera turned by 1 degree stay within it
LEAST_SHARED = 0.08  # of a picture: less is not registered
LEAST_CORRELATION = 0.5
# A registered neighbour says where a picture lies a hundred times more surely than the stage does.
STAGE_WEIGHT = 0.01
LEAST_LIGHT = 0.2  # of the brightest place: a camera that is darker at its rim is not evened out further


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Several pictures as one.

    Parameters
    ----------
    pixels
        The picture, shape (y, x); 0 where no picture lies. Its middle is the origin of the places.
    places_px
        Middle of each picture from the middle of the mosaic (y, x), shape (n, 2), pixels.
    is_registered
        Which pictures were laid on a neighbour, shape (n,); the others lie where the stage said.
    """

    pixels: NDArray[np.uint16]
    places_px: Floats
    is_registered: NDArray[np.bool_]


def lay_mosaic(tiles: Sequence[NDArray[np.generic]], places_px: ArrayLike) -> Mosaic:
    """Lay pictures on each other and blend them.

    Parameters
    ----------
    tiles
        Pictures of one shape (y, x).
    places_px
        Middle of each as the stage tells (y, x), shape (n, 2), pixels from the middle of the mosaic.

    Raises
    ------
    StackError
        When the pictures differ in shape.
    """
    if len({tile.shape for tile in tiles}) != 1 or tiles[0].ndim != 2:
        shapes = ", ".join("x".join(map(str, tile.shape)) for tile in tiles)
        raise StackError(f"the pictures of a mosaic have the shapes {shapes}; take them all with one camera setting")
    told = np.asarray(places_px, dtype=float)
    pictures = [np.asarray(tile, dtype=np.float32) for tile in tiles]
    side = max(pictures[0].shape)
    small, large = ((max(1.0, share * side),) * 2 for share in BAND)
    flat = [flatten(picture, small, large) for picture in pictures]
    steps: dict[tuple[int, int], Floats] = {}
    for one, other in _neighbours(told, pictures[0].shape):
        step = register_neighbours(flat[one], flat[other], told[other] - told[one])
        if step is not None:
            steps[one, other] = step
    places = _solve_places(told, steps)
    registered = np.array([any(number in pair for pair in steps) for number in range(len(tiles))])
    return Mosaic(_blend(_even(pictures, places), places), places, registered)


def register_neighbours(flat: Image, other: Image, step_px: ArrayLike) -> Floats | None:
    """Return how far the middle of one flattened picture lies from that of another, None when it cannot be told.

    Parameters
    ----------
    flat, other
        The two pictures.
    step_px
        From the first to the other as the stage tells (y, x), pixels; a place farther off than ``REACH`` is not found.
    """
    told = np.round(np.asarray(step_px, dtype=float)).astype(int)
    shape = np.array(flat.shape)
    low, high = np.maximum(0, told), np.minimum(shape, shape + told)
    span = np.full(2, max(2, round(REACH * float(shape.max()))))
    size = high - low - 2 * span
    if np.any(size < span):
        return None
    here = flat[low[0] : high[0], low[1] : high[1]]
    there = other[low[0] - told[0] : high[0] - told[0], low[1] - told[1] : high[1] - told[1]]
    maps = match_windows(here, there, span[None], [int(v) for v in size], [int(v) for v in span])
    position, height = peak_position(maps[0])
    at_the_edge = bool(np.any((position < 1) | (position > 2 * span - 1)))
    return None if height < LEAST_CORRELATION or at_the_edge else told - (position - span)


def _neighbours(places: Floats, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the pairs that share enough to be registered."""
    pairs = []
    for one in range(len(places)):
        for other in range(one + 1, len(places)):
            shared = np.maximum(0, 1 - np.abs(places[other] - places[one]) / shape)
            if float(np.prod(shared)) >= LEAST_SHARED:
                pairs.append((one, other))
    return pairs


def _solve_places(told: Floats, steps: dict[tuple[int, int], Floats]) -> Floats:
    """Return the places that the steps between neighbours ask for, by least squares; their middle stays as told."""
    count = len(told)
    rows, wanted = [np.eye(count) * STAGE_WEIGHT], [told * STAGE_WEIGHT]
    for (one, other), step in steps.items():
        row = np.zeros((1, count))
        row[0, other], row[0, one] = 1.0, -1.0
        rows.append(row)
        wanted.append(step[None])
    places: Floats = np.linalg.lstsq(np.vstack(rows), np.vstack(wanted), rcond=None)[0]
    return places


def _even(pictures: Sequence[Image], places: Floats) -> list[Image]:
    """Divide out how the light falls off in every picture alike, then how bright each one is."""
    lit = _common_light(pictures)
    even = [picture / lit for picture in pictures]
    if len(even) == 1:
        return even
    gains = _solve_gains(even, places)
    return [picture * np.float32(gain) for picture, gain in zip(even, gains, strict=True)]


def _common_light(pictures: Sequence[Image]) -> Image:
    """Return the light that all pictures share, 1 where it is brightest: a paraboloid through their logarithms."""
    rows, columns = pictures[0].shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    levers = np.stack([np.ones_like(y), y, x, y * y, x * y, x * x], axis=-1).astype(np.float32)
    logged = sum((np.log(np.maximum(p, 1.0)) for p in pictures), np.zeros_like(pictures[0])) / len(pictures)
    numbers, *_ = np.linalg.lstsq(levers[::8, ::8].reshape(-1, 6), logged[::8, ::8].ravel(), rcond=None)
    light = levers @ numbers
    return np.asarray(np.maximum(np.exp(light - light.max()), LEAST_LIGHT), dtype=np.float32)


def _solve_gains(pictures: Sequence[Image], places: Floats) -> Floats:
    """Return by how much each picture is multiplied so that neighbours are equally bright where they overlap."""
    shape = np.array(pictures[0].shape)
    differences: dict[tuple[int, int], Floats] = {}
    for one, other in _neighbours(places, pictures[0].shape):
        step = np.round(places[other] - places[one]).astype(int)
        low, high = np.maximum(0, step), np.minimum(shape, shape + step)
        here = pictures[one][low[0] : high[0], low[1] : high[1]]
        there = pictures[other][low[0] - step[0] : high[0] - step[0], low[1] - step[1] : high[1] - step[1]]
        ratio = np.log(max(float(here.mean()), 1.0)) - np.log(max(float(there.mean()), 1.0))
        differences[one, other] = np.array([ratio])
    gains: Floats = np.exp(_solve_places(np.zeros((len(pictures), 1)), differences))[:, 0]
    return gains


def _blend(pictures: Sequence[Image], places: Floats) -> NDArray[np.uint16]:
    """Add the pictures up, each with a weight that falls to its rim."""
    shape = np.array(pictures[0].shape)
    half = np.ceil(np.abs(places).max(axis=0) + shape / 2).astype(int)
    total = np.zeros(2 * half + 1, np.float32)
    weights = np.zeros_like(total)
    rows, columns = (np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32) for n in shape)
    tent = rows[:, None] * columns
    for picture, place in zip(pictures, places, strict=True):
        corner = half + place - (shape - 1) / 2
        first = np.floor(corner).astype(int)
        moved = ndimage.shift(picture, corner - first, order=1, mode="nearest")
        box = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
        total[box] += moved * tent
        weights[box] += tent
    blended = np.where(weights > 0, total / np.maximum(weights, np.float32(1)), np.float32(0))
    return np.clip(np.rint(blended), 0, np.iinfo(np.uint16).max).astype(np.uint16)
