"""Pictures of a session, for the rig and for its report: the vessel map, each field beside its reference."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from acquire import relocate
from acquire.config import Orientation
from acquire.files import writing
from acquire.landmarks import SURFACE_FILE
from acquire.model import FieldRecord, RelocationRecord, SessionRecord
from acquire.store import Study
from analysis.figures import draw_red_green, draw_vessel_map
from analysis.model import Stack, Transform
from analysis.page import Picture, Section
from analysis.stack import read_image, read_stack

TITLE_LETTERS = 135


def on_reference_grid(today: Stack, reference: Stack, reference_from_today: Transform) -> NDArray[np.float32]:
    """Return today's stack as the reference would show it: same shape and voxels, dark where today has nothing."""
    today_from_reference = reference_from_today.inverse().matrix
    to_um, to_voxel = np.array(reference.voxel_um), 1 / np.array(today.voxel_um)
    matrix = today_from_reference[:3, :3] * to_um * to_voxel[:, None]
    offset = today_from_reference[:3, 3] * to_voxel
    dark = float(np.median(today.pixels[:, ::4, ::4]))
    moved: NDArray[np.float32] = affine_transform(
        today.pixels.astype(np.float32), matrix, offset, output_shape=reference.pixels.shape, order=1, cval=dark
    )
    return moved


def pose_to_draw(record: RelocationRecord, reference: Stack, today: Stack) -> Transform:
    """Return how an overview of a search is drawn on the reference: as found, or middle on middle when it was not."""
    if record.reference_from_today is None:
        return Transform.translation((reference.extent_zyx_um - today.extent_zyx_um) / 2)
    return record.reference_from_today.transform()


def map_section(
    study: Study, session: SessionRecord, fields: Sequence[FieldRecord], orientation: Orientation
) -> Section:
    """Return the vessel map of a session with the fields that were kept in it."""
    image = read_image(study.session_folder(session.animal, session.name) / SURFACE_FILE)
    assert session.surface is not None and session.surface_pixel_um is not None, "the session has a surface image"
    shape = (int(image.pixels.shape[0]), int(image.pixels.shape[1]))
    on_stage = relocate.ImageOnStage(session.surface, session.surface_pixel_um, shape, orientation)
    to_image = on_stage.stage_from_image().inverse()
    places = []
    for field in fields:
        y_um, x_um = to_image.apply((field.position.y_um, field.position.x_um))
        places.append((field.name, float(y_um), float(x_um)))
    figure = draw_vessel_map(image.pixels, session.surface_pixel_um, places, [])
    return Section(
        heading="Vessel map",
        text=f"Surface vessels of session {session.name}, with the fields that were kept in it.",
        figures=[Picture.of(figure, "Surface vessels, dark, and the fields.")],
    )


def draw_search(record: RelocationRecord, reference: Stack, today: Stack) -> Figure:
    """Draw the reference beside an overview of a search: brought onto it, or as it was taken when nothing was found.

    Parameters
    ----------
    record
        The search.
    reference
        The overview that was looked for.
    today
        The overview that tells most of the search.
    """
    pose = pose_to_draw(record, reference, today)
    if record.reference_from_today is None:
        where = "today is the overview most like it, as it was taken"
    else:
        found_um, predicted_um = (relocate.stage_zyx_um(place) for place in (record.position, record.predicted))
        z_um, y_um, x_um = np.subtract(found_um, predicted_um)
        where = f"z {z_um:+.1f}, y {y_um:+.1f}, x {x_um:+.1f} um from where it was predicted; "
        where += relocate.tilt_advice(pose)
    first = f"{record.field} {str(record.verdict).upper()}: {record.evidence}"
    title = "\n".join(row for line in (first, where, record.note) for row in textwrap.wrap(line, TITLE_LETTERS))
    pixels = on_reference_grid(today, reference, pose)
    return draw_red_green(reference.pixels, pixels, reference.voxel_um, title=title)


def write_search(path: Path, record: RelocationRecord, reference: Stack, today: Stack) -> None:
    """Write the picture of a search as PNG: the whole of it or nothing."""
    png = Picture.of(draw_search(record, reference, today)).png
    with writing(path):
        try:
            path.write_bytes(png)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def relocation_section(
    study: Study,
    field: FieldRecord,
    reference_session: SessionRecord,
    found: Sequence[tuple[SessionRecord, RelocationRecord]],
) -> Section:
    """Return a field's reference beside what was found on later days, as projections of the overviews."""
    reference_store = study.store_at(reference_session, field.name, "overview", field.position)
    assert reference_store is not None, "a kept field has an overview"
    reference = read_stack(reference_store)
    figures, lines = [], []
    for session, record in found:
        store = study.last_store(session, field.name, "overview")
        if store is None:
            continue
        day = f"day {session.day:g}"
        lines.append(f"{day}: {record.verdict}, overviews taken: {len(record.steps)}, {record.steps[-1].evidence}")
        today = read_stack(store)
        pose = record.reference_from_today
        if pose:
            lines[-1] += f"; {relocate.tilt_advice(pose.transform())}"
        caption = f"{day}: projections of the overviews, today's turned and shifted onto the reference."
        figures.append(Picture.of(draw_search(record, reference, today), caption))
    return Section(heading=f"Field {field.name} found again", text=". ".join(lines) + ".", figures=figures)
