"""The pictures of a field: overlay, gallery, counts of fates; and of finding it again: red/green, vessel map.

Each function returns a matplotlib figure and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from analysis.centreline import is_within
from analysis.contrast import stretched
from analysis.drawing import (
    FAINT,
    MARKS,
    OUTLINE,
    TEXT,
    dark_figure,
    dendrite_colour,
    draw_legend,
    draw_marks,
    draw_scale_bar,
    legend_handle,
    show_image,
)
from analysis.fieldtables import POINT, interval_counts
from analysis.gallery import draw_gallery
from analysis.model import Fate, Stack

__all__ = ["draw_fate_counts", "draw_gallery", "draw_overlay", "draw_red_green", "draw_vessel_map"]

FIELD_UM = 120.0
"""Side of the square that shows a field on the vessel map, um: 1024 pixels of 0.12 um."""
STABLE_COLOUR = "#a9a698"
LANDMARK_COLOUR = "#f9c74f"
MOST_BRIGHTER = 6.0  # one of two views than the other: what is darker is drawn dark
MAGENTA_GREEN = np.array([[1.0, 0.15, 1.0], [0.0, 1.0, 0.15]])  # red/green that colour-blind eyes can tell apart


def draw_overlay(stack: Stack, spines: pd.DataFrame, dendrites: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw the maximum projection of a stack with its dendrites and spines.

    Parameters
    ----------
    stack
        The stack.
    spines
        ``head_y_um, head_x_um`` and, when it is there, ``fate``; without it ``state`` (present or unscorable).
    dendrites
        ``dendrite, z_um, y_um, x_um``, points in order.
    title
        Line above the picture; None takes the stack's name.
    """
    height_um, width_um = (float(n * v) for n, v in zip(stack.shape[1:], stack.voxel_um[1:], strict=True))
    side = 9.0
    picture = side * height_um / width_um
    figure = dark_figure(side, picture + 0.75)
    total = picture + 0.75
    axes = figure.add_axes((0.0, 0.4 / total, 1.0, picture / total))
    show_image(axes, stretched(stack.recall(_brightest), low=2.0, high=99.8, gamma=0.6), stack.voxel_um[1:])
    for name in sorted({int(name) for name in dendrites["dendrite"]}):
        points = dendrites.loc[dendrites["dendrite"] == name, POINT].to_numpy(dtype=float)
        _draw_dendrite(axes, name, points, is_within(stack, points))
    fates = _fates_to_draw(spines)
    handles = []
    for fate, mark in MARKS.items():
        rows = spines[fates == fate]
        if len(rows):
            draw_marks(axes, rows["head_x_um"].to_numpy(), rows["head_y_um"].to_numpy(), mark)
            handles.append(legend_handle(mark, f"{len(rows)} {mark.label}"))
    draw_scale_bar(axes)
    depth = stack.shape[0]
    line = f"{title or stack.name}: brightest of {depth} planes, {width_um:.0f} x {height_um:.0f} µm"
    figure.text(0.012, 1 - 0.2 / total, line, color=TEXT, fontsize=9, va="center")
    draw_legend(figure, handles, y=0.04 / total)
    return figure


def _brightest(stack: Stack) -> NDArray[Any]:
    brightest: NDArray[Any] = stack.pixels.max(axis=0)
    return brightest


def _draw_dendrite(axes: Axes, name: int, line: NDArray[np.float64], within: NDArray[np.bool_]) -> None:
    """Draw the part of a line that lies in the stack; its number stands at the middle of that."""
    if not within.any():
        return
    colour = dendrite_colour(name)
    shown = np.where(within[:, None], line, np.nan)
    axes.plot(shown[:, 2], shown[:, 1], color=colour, linewidth=0.9, alpha=0.75)
    middle = line[within][int(within.sum()) // 2]
    axes.annotate(
        str(name), (middle[2], middle[1]), (10, -10), textcoords="offset points", color=colour, fontsize=11,
        fontweight="bold", path_effects=list(OUTLINE),
    )  # fmt: skip


def _fates_to_draw(spines: pd.DataFrame) -> pd.Series:
    if "fate" in spines:
        return spines["fate"].astype(str)
    unscorable = spines["state"].astype(str) == Fate.UNSCORABLE.value
    return unscorable.map({True: Fate.UNSCORABLE.value, False: Fate.STABLE.value})


def draw_fate_counts(fates: pd.DataFrame, *, labels: Sequence[str] | None = None) -> Figure:
    """Draw how many spines stayed and came (up) and went (down) in each interval between consecutive sessions.

    Parameters
    ----------
    fates
        ``from_session, to_session, fate``.
    labels
        Name of each session.
    """
    counts = interval_counts(fates)
    figure = dark_figure(1.4 + 1.7 * max(len(counts), 2), 3.4)
    axes = figure.add_axes((0.8 / figure.get_figwidth(), 0.17, 1 - 0.9 / figure.get_figwidth(), 0.71))
    x, stable, nothing = np.arange(len(counts)), counts["stable"].to_numpy(), np.zeros(len(counts))
    _draw_bars(axes, "stable", STABLE_COLOUR, nothing, stable)
    _draw_bars(axes, "gained", MARKS["gained"].colour, stable, counts["gained"].to_numpy())
    _draw_bars(axes, "lost", MARKS["lost"].colour, nothing, -counts["lost"].to_numpy())
    names = list(labels) if labels else [f"session {n}" for n in range(1 + max(counts["to_session"], default=0))]
    axes.set_xticks(x, [_interval_label(names, row) for row in counts.itertuples()])
    axes.set_xlim(-0.5, max(len(counts), 1) - 0.2)
    _dress(axes)
    figure.text(
        0.14 / figure.get_figwidth(), 0.95, "Spines that stayed, came and went", color=TEXT, fontsize=10, va="center"
    )
    return figure


def _draw_bars(axes: Axes, word: str, colour: str, start: NDArray[Any], size: NDArray[Any]) -> None:
    x = np.arange(len(size))
    axes.bar(x, size, 0.4, bottom=start, color=colour, linewidth=0)
    for place, first, height in zip(x, start, size, strict=True):
        axes.text(place + 0.24, first + height / 2, f"{abs(height)} {word}", color=colour, fontsize=8, va="center")


def _interval_label(names: Sequence[str], row: Any) -> str:
    return f"{names[row.from_session]} → {names[row.to_session]}\n{row.unscorable} unscorable"


def _dress(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_ylabel("spines", color=TEXT, fontsize=9)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.tick_params(colors=TEXT, labelsize=8, length=3)
    axes.tick_params(axis="x", length=0)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(FAINT)


def draw_red_green(
    reference: NDArray[Any],
    today: NDArray[Any],
    voxel_um: tuple[float, float, float],
    *,
    title: str = "",
    names: tuple[str, str] = ("reference", "today"),
) -> Figure:
    """Draw the reference, today's view and both on top of each other, from above and from the side.

    Parameters
    ----------
    reference, today
        Stacks with the same voxels, shape (z, y, x); the larger is cut to the other's size. Their maximum projections
        are drawn; of a single plane only the view from above.
    voxel_um
        Voxel size of both (z, y, x), um.
    title
        Lines above the pictures.
    names
        What the two are called.
    """
    depth, height, width = np.minimum(reference.shape, today.shape)
    pair = [stack[:depth, :height, :width] for stack in (reference, today)]
    views = {"from above": 0, "from the side": 1} if depth > 1 else {"from above": 0}
    rows = [(view, _with_overlay(*(stack.max(axis=axis) for stack in pair)), 1 - axis) for view, axis in views.items()]
    panel_in, gap_in, caption_in, title_in = 3.6, 0.06, 0.3, 0.18 + 0.2 * len(title.splitlines())
    rows_in = [panel_in * len(images[0]) * voxel_um[down] / (width * voxel_um[2]) for _, images, down in rows]
    wide_in = 3 * panel_in + 2 * gap_in
    high_in = title_in + caption_in + sum(rows_in) + gap_in * (len(rows) - 1)
    figure = dark_figure(wide_in, high_in)
    bottom_in = high_in - title_in + gap_in
    for (view, images, down), row_in in zip(rows, rows_in, strict=True):
        bottom_in -= row_in + gap_in
        for column, image in enumerate(images):
            left = column * (panel_in + gap_in) / wide_in
            axes = figure.add_axes((left, bottom_in / high_in, panel_in / wide_in, row_in / high_in))
            show_image(axes, image, (voxel_um[down], voxel_um[2]))
            draw_scale_bar(axes)
            text = axes.text(0.02, 0.98, view, transform=axes.transAxes, color=TEXT, fontsize=8, va="top")
            text.set_path_effects(list(OUTLINE))
    for column, caption in enumerate((*names, f"{names[0]} magenta, {names[1]} green, both white")):
        middle_in = column * (panel_in + gap_in) + panel_in / 2
        figure.text(middle_in / wide_in, 0.15 / high_in, caption, color=TEXT, fontsize=9, ha="center", va="center")
    figure.text(0.012, 1 - 0.1 / high_in, title, color=TEXT, fontsize=10, va="top", linespacing=1.3)
    return figure


def _with_overlay(reference: NDArray[Any], today: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return two images and both on top of each other, each stretched to what can be seen."""
    spans = [float(np.ptp(np.percentile(image, (2.0, 99.6)))) for image in (reference, today)]
    least = max(*spans, 1e-9) / MOST_BRIGHTER
    pair = [stretched(image, low=2.0, high=99.6, least=least) for image in (reference, today)]
    return (*pair, np.clip(np.einsum("kyx,kc->yxc", np.array(pair), MAGENTA_GREEN), 0, 1))


def draw_vessel_map(
    image: NDArray[Any],
    pixel_um: float,
    fields: Sequence[tuple[str, float, float]],
    landmarks: Sequence[tuple[float, float]] | NDArray[Any] = (),
    *,
    field_um: float = FIELD_UM,
    title: str = "Surface vessels",
) -> Figure:
    """Draw the map of the surface vessels with the fields and the landmarks on it.

    Parameters
    ----------
    image
        The map, shape (y, x); vessels dark.
    pixel_um
        Its pixel size, um.
    fields
        Name and centre (y, x) of each field, um from the centre of the first pixel.
    landmarks
        Places (y, x) of the vessel branches, um.
    field_um
        Side of a field, um.
    title
        Line above the picture.
    """
    side = 7.0
    picture = side * image.shape[0] / image.shape[1]
    total = picture + 0.4
    figure = dark_figure(side, total)
    axes = figure.add_axes((0.0, 0.0, 1.0, picture / total))
    show_image(axes, stretched(image, low=0.5, high=99.5, gamma=1.0), (pixel_um, pixel_um))
    places = np.asarray(landmarks, dtype=float).reshape(-1, 2)
    axes.scatter(places[:, 1], places[:, 0], s=34, marker="+", c=LANDMARK_COLOUR, linewidths=1.1)
    for name, y_um, x_um in fields:
        corner = (x_um - field_um / 2, y_um - field_um / 2)
        axes.add_patch(Rectangle(corner, field_um, field_um, facecolor="none", edgecolor="#4cc9f0", linewidth=1.5))
        axes.annotate(
            name, (x_um + field_um / 2, y_um), (4, 0), textcoords="offset points", color="#4cc9f0", fontsize=9,
            fontweight="bold", va="center", path_effects=list(OUTLINE),
        )  # fmt: skip
    draw_scale_bar(axes)
    note = f"{title}: {len(fields)} fields" + (f", {len(places)} landmarks (+)" if len(places) else "")
    figure.text(0.012, 1 - 0.2 / total, note, color=TEXT, fontsize=10, va="center")
    return figure
