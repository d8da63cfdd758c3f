"""Whether a stack shows its field: it is compared with the field's first overview before it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from acquire.images import say_shows_field
from acquire.model import FieldRecord, Light, QualityItem, SessionRecord
from acquire.quality import judge_place
from acquire.store import Study
from analysis.errors import ExperimentError
from analysis.model import Stack
from analysis.register import register_stacks
from analysis.stack import read_stack

LEAST_RECOGNISED_UM = (15.0, 45.0, 45.0)  # smaller stacks of the right place are too often called another
CHECK_YAW_DEG, CHECK_SHIFT_UM = 3.0, 15.0


def compare_with_first_day(reference: Stack, stack: Stack) -> QualityItem | None:
    """Say how surely a stack shows the place of the field's first overview; None when it is too small for that."""
    if np.any(stack.extent_zyx_um < LEAST_RECOGNISED_UM):
        return None
    found = register_stacks(reference, stack, max_yaw_deg=CHECK_YAW_DEG, max_shift_um=CHECK_SHIFT_UM)
    middle = found.reference_from_today.apply(0.5 * stack.extent_zyx_um)
    return judge_place(found.verdict, float(np.linalg.norm(middle - 0.5 * reference.extent_zyx_um)))


def judge_left_stacks(study: Study, animal: str, field: FieldRecord) -> list[str]:
    """Judge the whole stacks of a field whose program ended before it could: no rig is needed for it.

    Returns
    -------
    list
        Why stacks cannot be judged, a line each: they are damaged, and are not compared.
    """
    faults = []
    for session, store in study.unjudged(animal, field.name):
        try:
            _judge_left_stack(study, animal, field, session, store)
        except ExperimentError as error:
            faults.append(f"{store.name} of {session.name} cannot be judged and is not compared: {error}")
    return faults


def _judge_left_stack(study: Study, animal: str, field: FieldRecord, session: SessionRecord, store: Path) -> None:
    first = study.session(animal, field.reference_session)
    if session.name == first.name:
        say_shows_field(store, True)
    elif (overview := study.store_at(first, field.name, "overview", field.position)) is not None:
        place = compare_with_first_day(read_stack(overview), read_stack(store))
        say_shows_field(store, place is None or place.light is not Light.RED)
