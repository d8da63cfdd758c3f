"""The gallery: one dendrite, all sessions straightened, one below the other, every spine marked with its fate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.aligned import HALF_WIDTH_UM, STEP_UM, AlignedDendrite
from analysis.drawing import FAINT, MARKS, OUTLINE, TEXT, Mark, dark_figure, draw_legend, legend_handle
from analysis.fieldtables import HEAD, FieldTables, fates_seen_from, observed_spines, session_dendrites, session_labels
from analysis.model import Fate, SpineKind, Stack

EMPTY = "empty"
ROW_UM = 40.0
"""Stretch of dendrite in one row, um, about: spines 2 um apart then stay apart on a printed page."""
LONGEST_UM = 120.0  # of a longer dendrite only the best followed stretch is shown; a little more still fits the page
SHORTEST_ROW_UM = 25.0  # a shorter dendrite is not blown up further
MARK_GAP_UM = {Fate.LOST: 1.5, EMPTY: 0.0}  # between the middle of a head and its mark
USUAL_GAP_UM = 0.85

PAGE_IN, LABEL_IN, MARGIN_IN, TITLE_IN, LEGEND_IN, GAP_IN, BLOCK_GAP_IN = 11.0, 0.8, 0.15, 0.4, 0.4, 0.04, 0.32

FILOPODIUM_COLOUR = "#7fd7ff"
FILLED = (Fate.STABLE, Fate.GAINED)
GALLERY_MARKS: dict[str, Mark] = {
    Fate.STABLE: replace(MARKS["stable"], size=7.0),
    Fate.UNSCORABLE: replace(MARKS["unscorable"], size=16.0),
    Fate.GAINED: replace(MARKS["gained"], size=38.0),
    Fate.LOST: replace(MARKS["lost"], size=38.0),
    EMPTY: Mark("where a lost spine was", "#ff4d5e", "x", 30.0),
}


@dataclass(frozen=True, eq=False)
class Strip:
    """One session of one dendrite, straight, on the length scale of the first session.

    Parameters
    ----------
    session
        Which session.
    image
        Brightest value over the depth, stretched to 0-1, shape (across, along), ``STEP_UM`` a pixel.
    marks
        What to draw: ``track_id, along_um, across_um, fate, kind``.
    """

    session: int
    image: NDArray[np.float64]
    marks: pd.DataFrame

    @property
    def length_um(self) -> float:
        """Length of the dendrite in the first session, um."""
        return float(self.image.shape[1] * STEP_UM)


def draw_gallery(
    stacks: Sequence[Stack],
    tables: FieldTables,
    dendrite: int | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draw one dendrite over all sessions.

    Parameters
    ----------
    stacks
        One a session, in the order of the tables' sessions.
    tables
        The tables of the field.
    dendrite
        Which one; None takes the one with most tracks.
    labels
        Name of each session; None names them by day or by number.
    """
    name = _richest(tables) if dendrite is None else dendrite
    strips = [] if name is None else made_strips(stacks, tables, name)
    if not strips:
        return _empty("No dendrite to show: the first session has none with spines.")
    names = list(labels or session_labels(stacks))
    shown = [names[strip.session] for strip in strips]
    return _page(strips, shown, f"Dendrite {name}")


def made_strips(stacks: Sequence[Stack], tables: FieldTables, dendrite: int) -> list[Strip]:
    """Straighten one dendrite in every session that has it; none when the first session does not have it."""
    if dendrite not in session_dendrites(tables, 0):
        return []
    aligned = AlignedDendrite.of(tables, dendrite)
    strips = [
        _strip(stacks[session], aligned, fates_seen_from(tables, session), session)
        for session in aligned.lines
        if session < len(stacks)
    ]
    return _with_empty_places(strips)


def _richest(tables: FieldTables) -> int | None:
    """Return the dendrite with most tracks over all sessions."""
    sessions = sorted(set(tables.tracks["session"]))
    if not sessions:
        return None
    every = pd.concat([observed_spines(tables, int(session)) for session in sessions], ignore_index=True)
    counts = every.groupby("dendrite")["track_id"].nunique()
    return None if counts.empty else int(counts.index[int(np.argmax(counts.to_numpy()))])


def _strip(stack: Stack, aligned: AlignedDendrite, seen: pd.DataFrame, session: int) -> Strip:
    """Straighten one session and put the marks of its spines in place."""
    mine = seen[seen["dendrite"] == aligned.name]
    heads = mine[HEAD].to_numpy(dtype=float)
    places = aligned.places(session, heads) if len(mine) else np.empty((0, 3))
    marks = mine[["track_id", "fate", "kind"]].assign(along_um=places[:, 0], across_um=places[:, 1])
    return Strip(session, aligned.draw(stack, session), marks)


def _with_empty_places(strips: Sequence[Strip]) -> list[Strip]:
    """Add to each session the places that its predecessor's lost spines have left."""
    filled = [strips[0]]
    for before, now in pairwise(strips):
        lost = before.marks[before.marks["fate"] == Fate.LOST].assign(fate=EMPTY)
        filled.append(Strip(now.session, now.image, pd.concat([now.marks, lost], ignore_index=True)))
    return filled


def best_stretch_um(strips: Sequence[Strip]) -> tuple[float, float]:
    """Return the ends of the stretch to show: where most spines are seen in most sessions, um."""
    length_um = strips[0].length_um
    if length_um <= 1.2 * LONGEST_UM:
        return 0.0, length_um
    seen = pd.concat([strip.marks[strip.marks["fate"] != EMPTY].drop_duplicates("track_id") for strip in strips])
    along = seen.loc[seen.duplicated("track_id"), "along_um"].to_numpy(dtype=float)
    starts = np.arange(0.0, length_um - LONGEST_UM, 5.0)
    inside = (along >= starts[:, None]) & (along < starts[:, None] + LONGEST_UM)
    first_um = float(starts[int(np.argmax(inside.sum(axis=1)))])
    return first_um, first_um + LONGEST_UM


def _page(strips: Sequence[Strip], labels: Sequence[str], title: str) -> Figure:
    first_um, last_um = best_stretch_um(strips)
    if last_um - first_um < strips[0].length_um:
        title += f": {last_um - first_um:.0f} of {strips[0].length_um:.0f} µm, where most spines were followed"
    rows = max(1, round((last_um - first_um) / ROW_UM))
    row_um = (last_um - first_um) / rows
    strip_in = 2 * HALF_WIDTH_UM / _um_per_in(row_um)
    block_in = len(strips) * (strip_in + GAP_IN) + BLOCK_GAP_IN
    height_in = TITLE_IN + rows * block_in + LEGEND_IN
    figure = dark_figure(PAGE_IN, height_in)
    figure.text(LABEL_IN / PAGE_IN, 1 - 0.55 * TITLE_IN / height_in, title, color=TEXT, fontsize=11, va="center")
    for row in range(rows):
        start_um, stop_um = first_um + row * row_um, first_um + (row + 1) * row_um
        for number, (strip, label) in enumerate(zip(strips, labels, strict=True)):
            bottom_in = height_in - TITLE_IN - row * block_in - number * (strip_in + GAP_IN) - strip_in
            box_in = (LABEL_IN, bottom_in, row_um / _um_per_in(row_um), strip_in)
            axes = figure.add_axes(_share_of(box_in, height_in))
            _draw_strip(axes, strip, start_um, stop_um)
            _draw_label(axes, label, box_in[2])
        _draw_ruler(axes, start_um, stop_um)
    filopodium = legend_handle(Mark("", FILOPODIUM_COLOUR, "$f$", 40.0), "filopodium", filled=True)
    draw_legend(figure, [*map(_handle, GALLERY_MARKS), filopodium], y=0.06 / height_in)
    return figure


def _um_per_in(row_um: float) -> float:
    return max(row_um, SHORTEST_ROW_UM) / (PAGE_IN - LABEL_IN - MARGIN_IN)


def _draw_label(axes: Axes, label: str, width_in: float) -> None:
    axes.text(-0.09 / width_in, 0.5, label, transform=axes.transAxes, color=TEXT, fontsize=8, ha="right", va="center")


def _share_of(box_in: tuple[float, float, float, float], height_in: float) -> tuple[float, float, float, float]:
    left, bottom, width, height = box_in
    return left / PAGE_IN, bottom / height_in, width / PAGE_IN, height / height_in


def _draw_strip(axes: Axes, strip: Strip, first_um: float, last_um: float) -> None:
    """Draw the stretch between two places of one session; y is um below the centreline on the page."""
    start, stop = round(first_um / STEP_UM), round(last_um / STEP_UM)
    axes.imshow(
        strip.image[:, start:stop], cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="antialiased",
        extent=(first_um, last_um, HALF_WIDTH_UM, -HALF_WIDTH_UM),
    )  # fmt: skip
    axes.set_xlim(first_um, last_um)
    axes.set_ylim(HALF_WIDTH_UM, -HALF_WIDTH_UM)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    marks = strip.marks[strip.marks["along_um"].between(first_um, last_um)]
    for fate, mark in GALLERY_MARKS.items():
        rows = marks[marks["fate"] == fate]
        x, head_y = rows["along_um"].to_numpy(dtype=float), -rows["across_um"].to_numpy(dtype=float)
        gap_um = MARK_GAP_UM.get(fate, USUAL_GAP_UM)
        y = head_y + np.where(head_y < 0, -gap_um, gap_um)
        y = np.clip(y, -HALF_WIDTH_UM + 0.3, HALF_WIDTH_UM - 0.3)
        colour = mark.colour if fate in FILLED else "none"
        axes.scatter(x, y, s=mark.size, marker=mark.shape, **_paint(mark, colour))
    for _, row in marks[marks["kind"] == SpineKind.FILOPODIUM].iterrows():
        y_um = -float(row["across_um"])
        axes.text(
            float(row["along_um"]) + 0.35,
            y_um,
            "f",
            color=FILOPODIUM_COLOUR,
            fontsize=10,
            fontweight="bold",
            va="center",
            path_effects=list(OUTLINE),
        )


def _paint(mark: Mark, face: str) -> dict[str, Any]:
    if mark.shape == "x":
        return {"c": mark.colour, "linewidths": 1.3}
    return {"facecolors": face, "edgecolors": mark.colour, "linewidths": 1.2}


def _draw_ruler(axes: Axes, first_um: float, last_um: float) -> None:
    """Write the distance along the dendrite below the last session of a row."""
    ticks = np.arange(np.ceil(first_um / 5.0) * 5.0, last_um + 1e-6, 5.0)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.tick_params(axis="x", colors=FAINT, labelsize=7, length=3, pad=1.5)
    axes.annotate(
        "µm", (0, 0), (-10, -4), xycoords="axes fraction", textcoords="offset points", color=FAINT, fontsize=7,
        ha="right", va="top",
    )  # fmt: skip


def _handle(fate: str) -> Line2D:
    mark = GALLERY_MARKS[fate]
    return legend_handle(mark, mark.label, filled=fate in FILLED)


def _empty(reason: str) -> Figure:
    figure = dark_figure(PAGE_IN, 1.0)
    figure.text(0.5, 0.5, reason, color=TEXT, ha="center", va="center", fontsize=10)
    return figure
