"""What all pictures share: a dark face for a dark room, contrast, scale bars and the marks of fates.

Figures are built on :class:`matplotlib.figure.Figure` alone, with no global state, so that they can be drawn in any
thread and without a screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Stroke, withStroke
from numpy.typing import NDArray

FACE = "#101114"
TEXT = "#d8dade"
FAINT = "#8b9099"
DOTS_PER_INCH = 160
DENDRITE_COLOURS = ("#4cc9f0", "#f9c74f", "#b388eb", "#f8961e", "#ff99c8", "#7fd1ae", "#a0c4ff")
ROUND_UM = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
OUTLINE: list[Stroke] = [withStroke(linewidth=1.6, foreground="black")]


@dataclass(frozen=True)
class Mark:
    """How one fate is drawn: told apart by shape as well as by colour.

    Parameters
    ----------
    label
        What the legend says.
    colour
        Colour of the line.
    shape
        Matplotlib's name of the marker.
    size
        Area of the marker, points squared.
    """

    label: str
    colour: str
    shape: str
    size: float


MARKS = {
    "stable": Mark("stable", "#f4f1de", "o", 26.0),
    "gained": Mark("gained since the session before", "#3be37a", "^", 62.0),
    "lost": Mark("lost by the next session", "#ff4d5e", "v", 62.0),
    "unscorable": Mark("unscorable", "#8b9099", "s", 26.0),
}


def dark_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure with the face of a dark room, sizes in inches."""
    return Figure(figsize=(width_in, height_in), dpi=DOTS_PER_INCH, facecolor=FACE)


def show_image(axes: Axes, image: NDArray[Any], pixel_yx_um: tuple[float, float]) -> None:
    """Draw an image so that data coordinates are um from the centre of its first pixel, y down."""
    height, width = image.shape[:2]
    dy, dx = pixel_yx_um
    extent = (-dx / 2, (width - 0.5) * dx, (height - 0.5) * dy, -dy / 2)
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="antialiased", extent=extent)
    axes.set_xlim(extent[0], extent[1])
    axes.set_ylim(extent[2], extent[3])
    axes.set_axis_off()


def draw_scale_bar(axes: Axes, *, share: float = 0.18, corner: str = "lower right") -> float:
    """Draw a bar of a round length, at most ``share`` of the picture's width; return the length, um."""
    left, right = sorted(axes.get_xlim())
    y0, y1 = axes.get_ylim()
    bottom, top = y0, y1  # y grows downwards in pictures: bottom is the larger number
    width = right - left
    length = max((um for um in ROUND_UM if um <= share * width), default=ROUND_UM[0])
    pad_x, pad_y = 0.03 * width, 0.03 * width * np.sign(bottom - top)
    x = right - pad_x - length if corner.endswith("right") else left + pad_x
    y = bottom - pad_y if corner.startswith("lower") else top + 2 * pad_y
    thickness = 0.006 * width
    axes.add_patch(Rectangle((x, y - thickness / 2), length, thickness, facecolor="white", edgecolor="black", lw=0.4))
    text = f"{length / 1000:g} mm" if length >= 1000 else f"{length} µm"
    axes.text(
        x + length / 2, y - 1.2 * thickness, text, color="white", fontsize=8, ha="center", va="bottom",
        path_effects=list(OUTLINE),
    )  # fmt: skip
    return float(length)


def draw_marks(axes: Axes, x: NDArray[Any], y: NDArray[Any], mark: Mark, scale: float = 1.0) -> None:
    """Draw hollow marks that leave the spine inside visible."""
    axes.scatter(
        x, y, s=mark.size * scale, marker=mark.shape, facecolors="none", edgecolors=mark.colour,
        linewidths=0.8 if mark.size < 50 else 1.3, path_effects=[withStroke(linewidth=2.2, foreground="#00000080")],
    )  # fmt: skip


def legend_handle(mark: Mark, label: str, *, filled: bool = False) -> Line2D:
    """Return the legend's sample of a mark."""
    return Line2D(
        [], [], linestyle="none", marker=mark.shape, markerfacecolor=mark.colour if filled else "none",
        markeredgecolor=mark.colour, markersize=mark.size**0.5, markeredgewidth=1.2, label=label,
    )  # fmt: skip


def draw_legend(figure: Figure, handles: list[Line2D], y: float = 0.008) -> None:
    """Draw a legend in one line below everything, at the height ``y`` of the figure."""
    legend = figure.legend(
        handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8, bbox_to_anchor=(0.5, y),
        handletextpad=0.3, columnspacing=1.6,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_color(TEXT)


def dendrite_colour(name: int) -> str:
    """Return the colour that a dendrite has in every picture."""
    return DENDRITE_COLOURS[name % len(DENDRITE_COLOURS)]
