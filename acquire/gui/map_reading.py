"""Reads the vessel map for the page Surface: its picture, marks, fields, and how today's image lies in it, in words.

For what reads beside the window: it takes long to import, and to run. Knows no Qt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from acquire.gui.map_view import CANDIDATE, DRAWN_SIGMAS, FieldOnMap, MapView, MarkOnMap
from acquire.gui.tinted import both_tinted, stretched_bytes
from acquire.landmarks import LandmarkRecord
from acquire.model import FieldRecord, SessionRecord, StagePosition
from acquire.relocate import ImageOnStage, position_of, stage_zyx_um
from acquire.session import Session
from acquire.surface import read_photograph
from analysis.model import Floats, Transform, Verdict
from analysis.register import StackRegistration
from analysis.vessels import FOUND_SCORE, SurfaceRegistration


def read_map(session: Session) -> MapView | None:
    """Return the animal's map with everything that is known of it; None before there is one."""
    mapped = session.map_session()
    seen = None if mapped is None else session.map_image(mapped)
    if mapped is None or seen is None:
        return None
    image, on_stage = seen
    found = session.map_registration()
    marks = tuple(_marks(session.landmarks(), on_stage, found))
    view = MapView(
        session=mapped.name,
        on_stage=on_stage,
        image=stretched_bytes(image),
        marks=marks,
        fields=tuple(_fields(session, mapped, on_stage)),
        by_stage=mapped.surface is None,
    )
    view = replace(view, told=(f"this is the map of {session.record.animal}; landmarks: {len(marks)}",))
    if mapped.name == session.record.name:
        return view
    view = replace(view, told=("the vessels were not imaged in this session yet",))
    return view if found is None else _with_today(view, session, found)


def read_candidate(file: Path, pixel_um: float, session: Session) -> MapView:
    """Return a photograph from another microscope, with its clearest branch points, before it becomes the map."""
    image, points_yx_um = read_photograph(file, pixel_um)
    middle = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    shape = int(image.shape[0]), int(image.shape[1])
    return MapView(
        session=CANDIDATE,
        on_stage=ImageOnStage(middle, pixel_um, shape, session.rig.config.orientation),
        image=stretched_bytes(image),
        marks=tuple(MarkOnMap(f"V{n}", (float(y), float(x))) for n, (y, x) in enumerate(points_yx_um, start=1)),
        told=(
            "not the map yet: use it as it is and the camera's image is looked for in it, or give the stage position "
            "of two and more of its landmarks",
        ),
    )


# ---- how -----------------------------------------------------------------------------------------------------------


def _marks(
    landmarks: Sequence[LandmarkRecord],
    on_stage: ImageOnStage,
    found: SurfaceRegistration | StackRegistration | None,
) -> list[MarkOnMap]:
    matches = found.landmarks if isinstance(found, SurfaceRegistration) else ()
    off_um = {match.name: (match.residual_um, match.map_yx_um) for match in matches}
    marks = []
    for mark in landmarks:
        yx_um = mark.map_yx_um
        if mark.stage_xy_um is not None:
            y_um, x_um = on_stage.image_from_stage(mark.stage_xy_um)
            yx_um = float(y_um), float(x_um)
        if mark.refused or yx_um is None:
            continue
        residual_um, matched_um = off_um.get(mark.name, (None, yx_um))
        is_same = math.dist(matched_um, yx_um) < 0.1  # else it was moved since today's image was registered
        marks.append(MarkOnMap(mark.name, yx_um, residual_um if is_same else None))
    return marks


def _fields(session: Session, mapped: SessionRecord, on_stage: ImageOnStage) -> list[FieldOnMap]:
    fields = session.study.animal(session.record.animal).fields
    own = next((field for field in fields if field.reference_session == mapped.name), None)
    back = _from_today(session, mapped, own)
    placed = []
    for field in fields:
        stage, sigma_um = _today(session, field)
        if field.reference_session == mapped.name:
            on_map = field.position
        elif back is None or stage is None:
            continue
        else:
            on_map = position_of(back.apply(stage_zyx_um(stage)))
        placed.append(_field_on_map(session, field, on_stage, on_map, sigma_um))
    return placed


def _from_today(session: Session, mapped: SessionRecord, own: FieldRecord | None) -> Transform | None:
    """Return the map from today's stage to that of the session that made the map; None when it is not known."""
    if mapped.name == session.record.name:
        return Transform.identity()
    pose = None if own is None else session.head_pose(own.name)
    return None if pose is None else pose.today_from_then.inverse()


def _today(session: Session, field: FieldRecord) -> tuple[StagePosition | None, Floats | None]:
    """Return where a field is predicted today, and one sigma of that (z, y, x), um."""
    if field.reference_session == session.record.name:
        return field.position, None
    pose = session.head_pose(field.name)
    if pose is None:
        return None, None
    place = stage_zyx_um(field.position)
    return position_of(pose.predict(place)), pose.uncertainty_um(place)


def _field_on_map(
    session: Session, field: FieldRecord, on_stage: ImageOnStage, place: StagePosition, sigma_um: Floats | None
) -> FieldOnMap:
    y_um, x_um = on_stage.image_from_stage((place.x_um, place.y_um))
    radii = None
    if sigma_um is not None:
        turn = on_stage.stage_from_image().inverse().matrix[:2, :2]
        radii = DRAWN_SIGMAS * np.sqrt(turn**2 @ sigma_um[1:] ** 2)
    last = session.last_relocation(field.name)
    is_new = field.reference_session == session.record.name
    return FieldOnMap(
        name=field.name,
        yx_um=(float(y_um), float(x_um)),
        side_um=field.plan.field_of_view_um,
        radii_yx_um=None if radii is None else (float(radii[0]), float(radii[1])),
        depth_sigma_um=None if sigma_um is None else float(sigma_um[0]),
        verdict=Verdict.FOUND if is_new else None if last is None else last.verdict,
    )


def _with_today(view: MapView, session: Session, found: SurfaceRegistration | StackRegistration) -> MapView:
    seen = session.map_image(session.record)
    if seen is None:
        return view
    image, on_stage = seen
    flat = found.map_from_today if isinstance(found, SurfaceRegistration) else _from_above(found)
    today = stretched_bytes(_on_map_grid(image, on_stage.pixel_um, flat, view.on_stage))
    told = tuple(_tell(found, view))
    return replace(view, today=today, both=both_tinted(view.image, today), verdict=found.verdict, told=told)


def _from_above(found: StackRegistration) -> Transform:
    """Return the motion of a stack as a picture of it from above shows it, on (y, x, 1)."""
    return Transform(found.reference_from_today.matrix[1:, 1:])


def _on_map_grid(
    image: NDArray[np.generic], pixel_um: float, map_from_today: Transform, on_map: ImageOnStage
) -> NDArray[np.float32]:
    back = map_from_today.inverse()
    grey = np.asarray(image, dtype=np.float32)
    moved: NDArray[np.float32] = affine_transform(
        grey,
        back.matrix[:2, :2] * on_map.pixel_um / pixel_um,
        back.matrix[:2, 2] / pixel_um,
        output_shape=on_map.shape,
        order=1,
        cval=float(grey.min()),
    )
    return moved


def _tell(found: SurfaceRegistration | StackRegistration, view: MapView) -> list[str]:
    if isinstance(found, StackRegistration):
        pose = found.reference_from_today
        z_um, y_um, x_um = pose.matrix[:3, 3]
        return [
            f"score {found.score:.2f}, right with probability {found.probability:.2f}",
            f"shifted by z {z_um:.1f}, y {y_um:.1f}, x {x_um:.1f} um; turned {pose.yaw_deg:.2f} deg, tilted "
            f"{pose.tilt_deg:.2f} deg",
        ]
    y_um, x_um = found.middle_shift_um
    told = [f"score {found.score:.2f} (found from {FOUND_SCORE}), halves agree to {found.agreement_um:.1f} um"]
    if found.verdict is Verdict.NOT_FOUND:
        return [*told, "focus on the vessels, centre the window and begin a new session, or align by landmarks"]
    told += [
        f"turned {found.map_from_today.yaw_deg:.2f} deg, scale {found.scale:.3f}, shifted by y {y_um:.1f}, "
        f"x {x_um:.1f} um",
        f"landmarks recognised: {len(found.landmarks)} of {len(view.marks)}; known to "
        f"{float(found.uncertainty_um(view.middle_um)[0]):.1f} um in the middle of the map",
    ]
    warning = found.why_scaled()
    return told if warning is None else [*told, f"warning: {warning}"]
