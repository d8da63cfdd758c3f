"""Reads from study and session what the window shows of them; runs in the worker, after every verb."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace

from acquire.errors import StudyError
from acquire.gui.status import FieldStatus, Known
from acquire.gui.words import in_window
from acquire.model import FieldRecord, StackPlan, StagePosition
from acquire.overview import is_written_after
from acquire.quality import bad_planes
from acquire.relocate import position_of, stage_zyx_um
from acquire.rig import Rig
from acquire.session import Session
from acquire.store import Study

TABLE, REPORT = "fates.csv", "report.html"
BYTES_PER_VOXEL = 2


def know(study: Study | None, session: Session | None, rig: Rig | None) -> Known:
    """Return what is known now; a field whose files are damaged says so in its advice."""
    cannot = () if rig is None else tuple(rig.config.missing())
    if study is None:
        return Known(cannot=cannot)
    is_blind = study.record.blind
    groups = () if is_blind else study.record.groups
    known = Known(study.record.name, tuple(study.animals()), groups, hides_groups=is_blind, cannot=cannot)
    if session is None:
        return known
    animal = study.animal(session.record.animal)
    sessions = study.sessions(animal.id)
    return replace(
        known,
        group="" if is_blind else animal.group,
        record=session.record,
        fields=tuple(_field_status(session, field) for field in animal.fields),
        has_map=any(each.surface is not None for each in sessions),
        has_surface=session.record.surface is not None,
        landmarks=tuple(mark.name for mark in session.landmarks() if not mark.refused),
        order=_order(session, animal.fields),
        is_aligned=session.is_aligned,
        stacks_left=_stacks_left(study, (field.plan for field in animal.fields)),
    )


def _order(session: Session, fields: Iterable[FieldRecord]) -> tuple[str, ...]:
    """Return the fields that there are to find, as they are best looked for."""
    return tuple(session.order_so_far([each.name for each in fields if each.reference_session != session.record.name]))


def _field_status(session: Session, field: FieldRecord) -> FieldStatus:
    study, record = session.study, session.record
    is_new = field.reference_session == record.name
    try:
        last = study.last_store(record, field.name, "stack")
        compared = study.stacks(record.animal, field.name)
        outputs = study.animal_folder(record.animal) / "analysis" / field.name
        table, report = outputs / TABLE, outputs / REPORT
        predicted, sigma_um = (None, None) if is_new else _prediction(session, field)
        quality = None if last is None else session.quality(field.name)
        return FieldStatus(
            name=field.name,
            position=field.position,
            is_new=is_new,
            predicted=predicted,
            sigma_um=sigma_um,
            relocation=session.last_relocation(field.name),
            stacks=0 if last is None else 1,
            is_cut_short=study.unfinished_store(record, field.name) is not None,
            quality=None if quality is None else quality.light,
            advice="" if quality is None else quality.advice,
            items=() if quality is None else quality.items,
            plan=field.plan,
            bad_planes=() if quality is None else tuple(bad_planes(quality)),
            sessions=len(compared),
            is_analysed=bool(compared) and all(is_written_after(table, store) for _, store in compared),
            report=report.resolve() if report.is_file() else None,
            dose_mj=study.dose_mj(record, field.name),
            dose_limit_mj=field.plan.dose_limit_mj,
        )
    except (StudyError, OSError) as error:
        return FieldStatus(name=field.name, position=field.position, is_new=is_new, advice=in_window(str(error)))


def _prediction(session: Session, field: FieldRecord) -> tuple[StagePosition | None, tuple[float, float, float] | None]:
    pose = session.head_pose(field.name)
    if pose is None:
        return None, None
    place = stage_zyx_um(field.position)
    z_um, y_um, x_um = (float(sigma) for sigma in pose.uncertainty_um(place))
    return position_of(pose.predict(place)), (x_um, y_um, z_um)


def _stacks_left(study: Study, plans: Iterable[StackPlan]) -> int | None:
    """Return for how many more stacks of the largest plan the disk has room; None when nobody can tell."""
    plans = list(plans) or [study.record.plan]
    try:
        free = shutil.disk_usage(study.folder).free
    except OSError:
        return None
    return int(free // max(_bytes(plan) for plan in plans))


def _bytes(plan: StackPlan) -> int:
    planes, rows, columns = plan.shape
    images = 1 + (plan.frames_per_plane if plan.keep_frames else 0)
    return planes * rows * columns * max(1, len(plan.channels)) * images * BYTES_PER_VOXEL
