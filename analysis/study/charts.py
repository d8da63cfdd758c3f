"""How the figures of a study are drawn: for paper, on white, for colour-blind eyes, one mark an animal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.study.inference import mean_sem

INK = "#222222"
QUIET = "#7a7a7a"
NULL = "#c9c9c9"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito: told apart by all common kinds of colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.0,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "samefield",
    "savefig.dpi": 200,
}
"""Fonts travel in the files: as type 42 in PDF, as outlines in SVG."""
PANEL_IN = (3.3, 2.6)
MOST_LETTERS = 28
"""Names under one panel with more letters than this are turned."""


def paper_style() -> AbstractContextManager[None]:
    """Return a ``with`` block in which figures are drawn and written in the style of all figures of a study."""
    return matplotlib.rc_context(STYLE)


def panels(
    columns: int = 1, rows: int = 1, *, width_in: float | None = None, height_in: float | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes, row by row; sizes of one panel in inches."""
    width, height = width_in or PANEL_IN[0], height_in or PANEL_IN[1]
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def group_colour(group: str, groups: Sequence[str]) -> str:
    """Return the colour of a group, the same in every figure."""
    return COLOURS[list(groups).index(group) % len(COLOURS)]


def group_marker(group: str, groups: Sequence[str]) -> str:
    """Return the marker of a group: colour never tells alone, and groups of one colour have different ones."""
    place = list(groups).index(group)
    return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


def draw_animals(axes: Axes, table: pd.DataFrame, value: str, *, groups: Sequence[str], label: str) -> None:
    """Draw one mark an animal by group, with mean and standard error beside them.

    Parameters
    ----------
    axes
        Where.
    table
        One row an animal: ``group`` and the value.
    value
        Column of the value.
    groups
        The groups in their order.
    label
        Of the vertical axis, with the unit.
    """
    for place, group in enumerate(groups):
        values = table.loc[(table["group"] == group) & table[value].notna(), value].to_numpy(dtype=float)
        colour, marker = group_colour(group, groups), group_marker(group, groups)
        axes.plot(
            place - 0.12 + spread(values), values, marker, color=colour, markersize=4.0, alpha=0.7, markeredgewidth=0
        )
        mean, sem = mean_sem(values)
        axes.errorbar(
            place + 0.22, mean, yerr=0.0 if np.isnan(sem) else sem, fmt="_", color=INK, markersize=12, capsize=2.5
        )
    axes.set_xticks(range(len(groups)), [wrapped(group or "all animals") for group in groups])
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylabel(label)


def draw_course(
    axes: Axes, table: pd.DataFrame, value: str, *, x: str, groups: Sequence[str], label: str, is_joined: bool = True
) -> None:
    """Draw mean and standard error by group at every place of x, each animal as a faint mark behind its mean.

    Parameters
    ----------
    axes
        Where.
    table
        One row an animal and place: ``group``, x and the value.
    value
        Column of the value.
    x
        Column of the place: a number (days), or names, which are put side by side in the order of the table.
    groups
        The groups in their order.
    label
        Of the vertical axis, with the unit.
    is_joined
        Whether the means of a group are joined by a line.
    """
    rows = table[table[value].notna()]
    is_named = not pd.api.types.is_numeric_dtype(table[x])
    names = list(dict.fromkeys(table[x])) if is_named else sorted(set(rows[x]))
    at = dict(zip(names, range(len(names)) if is_named else names, strict=True))
    least, whole = (
        min(np.diff(sorted(at.values())), default=1.0),
        max(at.values(), default=0) - min(at.values(), default=0),
    )
    step = min(0.16, 0.7 / max(len(groups), 1)) * (least if is_named else min(least, 0.2 * (whole or 1.0)))
    for number, group in enumerate(groups):
        own = rows[rows["group"] == group]
        shift = step * (number - (len(groups) - 1) / 2)
        colour, marker = group_colour(group, groups), group_marker(group, groups)
        axes.plot(
            own[x].map(at) + shift - 0.35 * step,
            own[value],
            marker,
            color=colour,
            markersize=2.6,
            alpha=0.35,
            markeredgewidth=0,
        )
        if own.empty:
            continue
        told = sorted((at[name] + shift, *mean_sem(part.to_numpy(dtype=float))) for name, part in own.groupby(x)[value])
        places, means, sems = (np.array(column) for column in zip(*told, strict=True))
        axes.errorbar(
            places, means, yerr=np.nan_to_num(sems), fmt=f"{marker}-" if is_joined else marker, color=colour,
            markersize=4.5, capsize=2.0, linewidth=1.0, label=group or "all animals",
        )  # fmt: skip
    if is_named:
        is_long = sum(len(str(name)) for name in names) > MOST_LETTERS
        axes.set_xticks(range(len(names)), [str(name) if is_long else wrapped(str(name)) for name in names])
        if is_long:
            axes.tick_params(axis="x", rotation=35)
        axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(label)


def key_above(figure: Figure, *axes: Axes) -> None:
    """Put one key of all that these panels name above all of them, where it hides no mark."""
    named = {label: handle for one in axes for handle, label in zip(*one.get_legend_handles_labels(), strict=True)}
    if len(named) > 1:
        figure.legend(list(named.values()), list(named), loc="outside upper center", ncols=min(len(named), 6))


def from_zero(axes: Axes) -> None:
    """Let the vertical axis begin at 0, with room for marks that lie on it."""
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])


def spread(values: NDArray[np.float64], width: float = 0.16) -> NDArray[np.float64]:
    """Return sideways places that keep equal marks apart, in the order of the values; the same every time."""
    places = np.zeros(len(values))
    if len(values) > 1:
        order = np.argsort(values, kind="stable")
        places[order] = width * (np.arange(len(values)) % 3 - 1) / 2
    return places


def wrapped(name: str, most: int = 12) -> str:
    """Return a name broken at spaces and hyphens so that it fits under its place."""
    lines = [""]
    for word in name.replace("-", "- ").split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > most:
            lines.append("")
        lines[-1] += ("" if not lines[-1] or lines[-1].endswith("-") else " ") + word
    return "\n".join(lines)
