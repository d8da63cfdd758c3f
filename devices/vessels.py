"""The vessels on the brain's surface: branching trees drawn into a map of how much light they absorb.

The map is in the tissue frame at z = 0 and much larger than the camera's field, so that the camera always sees tissue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from devices.branches import wander

Floats = NDArray[np.float64]
Image = NDArray[np.float32]

MAP_PIXEL_UM = 2.0
"""Pixel of the vessel map, um."""

HALF_WIDTH_UM = 2200.0
"""The map covers -HALF_WIDTH_UM .. HALF_WIDTH_UM along x and y, um."""


@dataclass(frozen=True, eq=False)
class VesselMap:
    """Brightness of the brain's surface under the camera's lamp.

    Parameters
    ----------
    brightness
        Reflected light beside that of bare tissue, shape (n, n), on (y, x), its centre at tissue (0, 0).
    """

    brightness: Image

    @property
    def centre_px(self) -> float:
        """Index of the tissue point (0, 0) along each axis."""
        return (len(self.brightness) - 1) / 2.0


def generate_vessels(seed: int) -> VesselMap:
    """Draw arteries and veins 10-80 um wide; the same seed gives the same map."""
    rng = np.random.default_rng([seed, 3])
    side = int(2.0 * HALF_WIDTH_UM / MAP_PIXEL_UM) + 1
    thickness_um = np.zeros((side, side), dtype=np.float32)
    for _ in range(8):
        _draw_tree(rng, thickness_um)
    thickness_um = ndimage.gaussian_filter(thickness_um, 1.0)
    # Absorption grows with the blood in the way; 40 um is about the 1/e length of green light in blood.
    brightness = 0.35 + 0.65 * np.exp(-thickness_um / 40.0)
    brightness *= 1.0 + 0.05 * _texture(rng, side, 16) + 0.03 * _texture(rng, side, 3)
    return VesselMap(brightness.astype(np.float32))


def _draw_tree(rng: np.random.Generator, thickness_um: Image) -> None:
    """Draw one tree that enters at an edge and branches; children are thinner."""
    heading = rng.uniform(0.0, 2.0 * np.pi)
    reach = 1.3 * HALF_WIDTH_UM
    lateral = rng.uniform(-0.75, 0.75) * HALF_WIDTH_UM
    start = -reach * np.array([np.sin(heading), np.cos(heading)]) + lateral * np.array(
        [np.cos(heading), -np.sin(heading)]
    )
    pending = [(start, heading, rng.uniform(45.0, 80.0), 2.0 * reach)]
    while pending:
        origin, direction, width_um, length_um = pending.pop()
        path = wander(
            rng, np.array([0.0, *origin]), direction, length_um, bend_rad=0.45, turn_um=40.0 + 1.5 * width_um, slope=0.0
        )[::16, 1:]
        widths_um = np.linspace(width_um, 0.6 * width_um, len(path))
        every = max(int(width_um / 20.0), 1)  # a wide tube needs fewer stamps to be smooth
        _stamp(thickness_um, path[::every], widths_um[::every])
        pending += _children(rng, path, widths_um, length_um)


def _children(
    rng: np.random.Generator, path: Floats, widths_um: Floats, length_um: float
) -> list[tuple[Floats, float, float, float]]:
    """Choose where a vessel branches."""
    children = []
    for _ in range(int(rng.poisson(length_um / 260.0))):
        at = int(rng.uniform(0.03, 0.97) * len(path))
        width_um = float(widths_um[at]) * rng.uniform(0.4, 0.8)
        if width_um < 10.0:
            continue
        ahead = path[min(at + 4, len(path) - 1)] - path[max(at - 4, 0)]
        heading = float(np.arctan2(ahead[0], ahead[1])) + rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.2)
        children.append((path[at], heading, width_um, rng.uniform(8.0, 22.0) * width_um + 100.0))
    return children


def _stamp(thickness_um: Image, path_yx_um: Floats, widths_um: Floats) -> None:
    """Draw a tube: the map holds the thickest blood over each place, um."""
    side = len(thickness_um)
    for (y_um, x_um), width_um in zip(path_yx_um, widths_um, strict=True):
        radius_px = 0.5 * width_um / MAP_PIXEL_UM
        row, col = y_um / MAP_PIXEL_UM + (side - 1) / 2, x_um / MAP_PIXEL_UM + (side - 1) / 2
        top, left = int(row - radius_px), int(col - radius_px)
        size = int(2 * radius_px) + 3
        if top < 0 or left < 0 or top + size > side or left + size > side:
            continue
        rows, cols = np.arange(top, top + size) - row, np.arange(left, left + size) - col
        inside = radius_px**2 - rows[:, None] ** 2 - cols[None, :] ** 2
        chord_um = 2.0 * MAP_PIXEL_UM * np.sqrt(np.maximum(inside, 0.0))
        window = thickness_um[top : top + size, left : left + size]
        np.maximum(window, chord_um, out=window)


def _texture(rng: np.random.Generator, side: int, spacing: int) -> Image:
    """Return smooth noise of standard deviation about 1, shape (side, side)."""
    knots = rng.standard_normal((side // spacing + 4,) * 2).astype(np.float32)
    grown = ndimage.zoom(knots, spacing, order=1)[:side, :side]
    return np.asarray(grown / grown.std(), dtype=np.float32)
