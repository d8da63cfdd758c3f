"""Pictures of a session for its report: the vessel map with its fields, each field beside its reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from acquire import relocate
from acquire.config import Orientation
from acquire.landmarks import SURFACE_FILE
from acquire.model import FieldRecord, RelocationRecord, SessionRecord
from acquire.store import Study
from analysis.figures import draw_red_green, draw_vessel_map
from analysis.model import Stack, Transform
from analysis.page import Picture, Section
from analysis.stack import read_image, read_stack


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
        pixels = on_reference_grid(today, reference, pose.transform()) if pose else today.pixels
        if pose:
            lines[-1] += f"; {relocate.tilt_advice(pose.transform())}"
        figure = draw_red_green(reference.pixels.max(axis=0), pixels.max(axis=0), reference.voxel_um[1])
        caption = f"{day}: projections of the overviews, today's turned and shifted onto the reference."
        figures.append(Picture.of(figure, caption))
    return Section(heading=f"Field {field.name} found again", text=". ".join(lines) + ".", figures=figures)
