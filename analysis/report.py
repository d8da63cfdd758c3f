"""What the report of a field holds: counts of fates, densities, the gallery, every spine."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.field import count_empty_planes
from analysis.fieldtables import (
    HEAD,
    POINT,
    FieldTables,
    fates_seen_from,
    interval_counts,
    session_densities,
    session_labels,
)
from analysis.figures import draw_fate_counts, draw_gallery, draw_overlay
from analysis.jobs import two_at_a_time
from analysis.model import Stack
from analysis.page import Picture, Report, Section, write_report, write_whole
from analysis.rawimage import PLANNED_PLANES
from analysis.tables import clear_outputs

__all__ = ["FieldPictures", "Picture", "Report", "Section", "field_report", "write_field_outputs", "write_report"]

GALLERY_CAPTION = (
    "Every session straightened along the same dendrite, the same place above itself. Marks stand beside the heads: "
    "gained since the session before, lost by the next one, a cross where a lost spine was; f: filopodium."
)
FATES_TEXT = (
    "A spine is gained when it is absent in the earlier view and present in the later, lost when the reverse. What is "
    "out of view, hidden or too noisy in one of the two is unscorable and counts as neither. Percentages are of the "
    "spines present in the earlier view (stable + lost); turnover is (gained + lost) / (2 x present)."
)
DENSITY_TEXT = "Spines that were found, by length of traced dendrite in view."
SATURATION_TEXT = "Where voxels are saturated, head sizes are too small."
Columns = dict[Hashable, Any]


@dataclass(frozen=True, eq=False)
class FieldPictures:
    """The pictures of one field: an overlay a session, the gallery, the counts of fates."""

    overlays: Sequence[Picture]
    gallery: Picture
    fates: Picture | None

    @classmethod
    def of(cls, stacks: Sequence[Stack], tables: FieldTables) -> FieldPictures:
        """Draw them all."""
        labels = session_labels(stacks)
        jobs = [partial(_gallery, stacks, tables, labels)]
        jobs += [partial(_overlay, stack, tables, session, labels[session]) for session, stack in enumerate(stacks)]
        gallery, *overlays = two_at_a_time(jobs)
        counts = Picture.of(draw_fate_counts(tables.fates, labels=labels)) if len(tables.fates) else None
        return cls(overlays, gallery, counts)


def _gallery(stacks: Sequence[Stack], tables: FieldTables, labels: Sequence[str]) -> Picture:
    return Picture.of(draw_gallery(stacks, tables, labels=labels), GALLERY_CAPTION)


def _overlay(stack: Stack, tables: FieldTables, session: int, label: str) -> Picture:
    spines = fates_seen_from(tables, session)[[*HEAD[1:], "fate"]]
    dendrites = tables.dendrites.loc[tables.dendrites["session"] == session, ["dendrite", *POINT]]
    return stack.recall(_drawn_overlay, spines.to_dict("list"), dendrites.to_dict("list"), label, stack.name)


def _drawn_overlay(stack: Stack, spines: Columns, dendrites: Columns, label: str, name: str) -> Picture:
    """Draw the overlay of a session; its label and name are given, since they may change while the stack does not."""
    figure = draw_overlay(stack, pd.DataFrame(spines), pd.DataFrame(dendrites), title=f"{label}, {name}")
    return Picture.of(figure, f"{label}: dendrites with their numbers and the spines that were found.")


def field_report(stacks: Sequence[Stack], tables: FieldTables, pictures: FieldPictures | None = None) -> Report:
    """Put together the report of one field.

    Parameters
    ----------
    stacks
        One a session, in order.
    tables
        The tables of the field.
    pictures
        Its pictures when they are drawn already.
    """
    drawn = pictures or FieldPictures.of(stacks, tables)
    labels = session_labels(stacks)
    sections = [] if drawn.fates is None else [_fates_section(tables, labels, drawn.fates)]
    sections += [
        Section("One dendrite over the sessions", figures=[drawn.gallery]),
        _density_section(stacks, tables, labels),
        Section("All spines", figures=drawn.overlays),
        _stacks_section(stacks, labels),
    ]
    return Report("A field over its sessions", sections, _subtitle(stacks), [*tables.warnings, *_warnings(stacks)])


def write_field_outputs(folder: Path | str, stacks: Sequence[Stack], tables: FieldTables) -> list[Path]:
    """Write overlay_sessionN.png, gallery.png and report.html of a field into a folder; return their paths.

    Those of an earlier analysis are removed before. The report is written last: where it stands, all is whole.

    Raises
    ------
    StackError
        A file cannot be written, or one of an earlier analysis cannot be removed.
    """
    folder, pictures = Path(folder), FieldPictures.of(stacks, tables)
    clear_outputs(folder)
    written = [
        write_whole(folder / f"overlay_session{session}.png", picture.png)
        for session, picture in enumerate(pictures.overlays)
    ]
    written.append(write_whole(folder / "gallery.png", pictures.gallery.png))
    written.append(write_report(folder / "report.html", field_report(stacks, tables, pictures)))
    return written


def _subtitle(stacks: Sequence[Stack]) -> str:
    """Say whose field it is, where the stacks say so."""
    first = stacks[0].provenance
    known = [f"{word} {first[word]}" for word in ("animal", "field") if first.get(word)]
    return ", ".join([*known, f"{len(stacks)} session{'s' if len(stacks) > 1 else ''}"])


def _warnings(stacks: Sequence[Stack]) -> list[str]:
    """Say what is wrong with the stacks, one line each."""
    lines = []
    for stack in stacks:
        flat = stack.recall(count_empty_planes)
        planned = stack.provenance.get(PLANNED_PLANES)
        if planned is not None:
            lines.append(f"{stack.name}: the recording was stopped after {stack.shape[0]} of {planned} planes.")
        if stack.provenance.get("complete") is False:
            lines.append(f"{stack.name} is marked as not complete.")
        if flat:
            lines.append(f"{stack.name}: {flat} of {stack.shape[0]} planes are empty. Nothing can be found there.")
    return lines


def _stacks_section(stacks: Sequence[Stack], labels: Sequence[str]) -> Section:
    rows = [
        (
            label,
            stack.name,
            " x ".join(map(str, stack.shape)),
            " x ".join(f"{size:.4g}" for size in stack.voxel_um),
            stack.recall(_saturated_percent),
        )
        for label, stack in zip(labels, stacks, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["session", "file", "voxels", "voxel_size_um", "saturated_percent"])
    return Section("Stacks", SATURATION_TEXT, table)


def _saturated_percent(stack: Stack) -> float:
    if stack.saturation is None:
        return float("nan")
    return 100 * float(np.mean(stack.pixels >= stack.saturation))


def _fates_section(tables: FieldTables, labels: Sequence[str], picture: Picture) -> Section:
    counts = interval_counts(tables.fates)
    ends = zip(counts["from_session"], counts["to_session"], strict=True)
    intervals = [f"{labels[first]} → {labels[second]}" for first, second in ends]
    table = counts.drop(columns=["from_session", "to_session"]).round(1)
    table.insert(0, "interval", intervals)
    return Section("Spines gained and lost", FATES_TEXT, table, [picture])


def _density_section(stacks: Sequence[Stack], tables: FieldTables, labels: Sequence[str]) -> Section:
    rows = session_densities(tables, len(labels), stacks)
    table = rows.groupby("session", as_index=False)[["length_um", "spines"]].sum()
    table.insert(1, "dendrites", rows.groupby("session")["dendrite"].nunique().to_numpy())
    table["density_per_um"] = (table["spines"] / table["length_um"]).round(3)
    table["length_um"] = table["length_um"].round(1)
    table["session"] = table["session"].map(dict(enumerate(labels)))
    return Section("Spine density", DENSITY_TEXT, table)
