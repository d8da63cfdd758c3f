"""Fluorescent tissue as a cloud of weighted points, and how a cloud becomes an image.

A frame touches only the points near its focal plane: they are found in an index by depth, so that rendering costs the
same at every place and zoom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devices.optics import FocalView, Image, blur, splat

Singles = NDArray[np.float32]

BIN_UM = 0.25
"""Thickness of the slices of the depth index, um."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points that fluoresce.

    Parameters
    ----------
    points_zyx_um
        Places, shape (n, 3), um.
    weights
        Fluorescence of each point: its volume in um^3 times its brightness beside that of a filled dendrite.
    owner
        Number of the spine that a point belongs to, -1 for none.
    """

    points_zyx_um: Singles
    weights: Singles
    owner: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Cloud:
        """Return some of the points."""
        return Cloud(self.points_zyx_um[rows], self.weights[rows], self.owner[rows])


def gather(clouds: list[Cloud]) -> Cloud:
    """Join clouds into one."""
    return Cloud(
        np.concatenate([c.points_zyx_um for c in clouds]),
        np.concatenate([c.weights for c in clouds]),
        np.concatenate([c.owner for c in clouds]),
    )


@dataclass(frozen=True, eq=False)
class Slices:
    """A cloud in stage coordinates, sorted by depth.

    Parameters
    ----------
    z_um, y_um, x_um
        Stage coordinates, um, each contiguous, sorted by slice.
    weights
        Fluorescence of each point.
    edges
        Index of the first point of each slice of ``BIN_UM``.
    top_um
        Depth of the first slice, um.
    """

    z_um: Singles
    y_um: Singles
    x_um: Singles
    weights: Singles
    edges: NDArray[np.int64]
    top_um: float

    def between(self, from_um: float, to_um: float) -> slice:
        """Return which points lie between two depths, at the resolution of the index."""
        last = len(self.edges) - 1
        first, end = (int(np.floor((z - self.top_um) / BIN_UM)) for z in (from_um, to_um))
        return slice(int(self.edges[np.clip(first, 0, last)]), int(self.edges[np.clip(end + 1, 0, last)]))


def index_by_depth(points_zyx_um: Singles, weights: Singles) -> Slices:
    """Sort points into slices."""
    top_um = float(points_zyx_um[:, 0].min()) if len(points_zyx_um) else 0.0
    bins = ((points_zyx_um[:, 0] - top_um) / BIN_UM).astype(np.int16)
    order = np.argsort(bins, kind="stable")
    counts = np.bincount(bins, minlength=1)
    edges = np.concatenate([[0], np.cumsum(counts)])
    z, y, x = (np.ascontiguousarray(points_zyx_um[order, axis]) for axis in range(3))
    return Slices(z, y, x, weights[order], edges, top_um)


def project(slices: Slices, view: FocalView, sigma_lateral_um: float, sigma_axial_um: float) -> Image:
    """Render points as seen through a Gaussian point spread function of peak 1.

    Parameters
    ----------
    slices
        Points in stage coordinates.
    view
        Where to look.
    sigma_lateral_um, sigma_axial_um
        Standard deviations of the point spread function, um.

    Returns
    -------
    image
        Sum over the points of weight times point spread function, um^3, shape (pixels, pixels).
    """
    focus_um, y_um, x_um = view.centre_zyx_um
    slab = slices.between(focus_um - 2.8 * sigma_axial_um, focus_um + 2.8 * sigma_axial_um)
    down_um, right_um = slices.y_um[slab] - np.float32(y_um), slices.x_um[slab] - np.float32(x_um)
    reach_um = view.reach_um + 1.0 + 3.0 * sigma_lateral_um
    near = np.flatnonzero((np.abs(down_um) < reach_um) & (np.abs(right_um) < reach_um))
    (a, b), (c, d) = view.rows_cols_from_stage.astype(np.float32)
    centre = np.float32((view.pixels - 1) / 2.0)
    down_um, right_um = down_um[near], right_um[near]
    rows, cols = a * down_um + b * right_um + centre, c * down_um + d * right_um + centre
    rows, cols = _sway(rows, cols, view)
    depth = (slices.z_um[slab][near] - np.float32(focus_um)) / np.float32(sigma_axial_um)
    weights = slices.weights[slab][near] * np.exp(np.float32(-0.5) * depth * depth)
    return _spread(rows, cols, weights, view.pixels, sigma_lateral_um / view.pixel_um)


def _spread(rows: Singles, cols: Singles, weights: Singles, pixels: int, sigma_px: float) -> Image:
    """Draw each point as a Gaussian of peak ``weights``; wide ones on a coarser grid first, which is faster."""
    step = max(int(0.5 * sigma_px), 1)
    border = int(np.ceil(3.0 * sigma_px / step)) + 1
    side = -(-pixels // step) + 2 * border
    rows, cols = rows / np.float32(step) + np.float32(border), cols / np.float32(step) + np.float32(border)
    inside = np.flatnonzero((rows > -1) & (rows < side) & (cols > -1) & (cols < side))
    image = splat(rows[inside], cols[inside], weights[inside], side)
    if step == 1:
        peak = np.float32(2.0 * np.pi * sigma_px**2)
        return blur(image, sigma_px)[border : border + pixels, border : border + pixels] * peak
    # Sharing a point among grid points has widened it by step^2 / 6.
    variance_px = sigma_px**2 - step**2 / 6.0
    offsets_px = np.arange(pixels)[:, None] - step * (np.arange(side) - border)[None, :]
    spread = (np.exp(-(offsets_px**2) / (2.0 * variance_px)) * np.sqrt(sigma_px**2 / variance_px)).astype(np.float32)
    drawn: Image = spread @ image @ spread.T
    return drawn


def _sway(rows: Singles, cols: Singles, view: FocalView) -> tuple[Singles, Singles]:
    """Displace points by the movement of the tissue while their row is scanned."""
    if not np.any(view.sway_yx_um):
        return rows, cols
    row = np.clip(rows.astype(np.int32), 0, view.pixels - 1)
    sway_px = (view.sway_yx_um / view.pixel_um).astype(np.float32)
    return rows + sway_px[row, 0], cols + sway_px[row, 1]
