"""A recorded search run again from its images, off the rig: the same decisions about the same overviews.

A search goes where its registrations lead. Where it asks for an overview that was not taken, it ends as it does at the
limits of the stage.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from acquire import relocate
from acquire.config import Orientation
from acquire.errors import StudyError
from acquire.headpose import ODD_UM
from acquire.model import RelocationRecord, RelocationStep, StackPlan, StagePosition
from acquire.store import read_record
from analysis.model import Floats, Stack, Verdict
from analysis.register import register_stacks
from analysis.stack import read_stack

SAME_PLACE_UM = 1.0
WANTED = "give the relocation.json of a field: STUDY/animals/ANIMAL/sessions/SESSION/FIELD/relocation.json"


@dataclass(frozen=True)
class Replay:
    """A search as it was recorded, and as its images tell it now."""

    recorded: RelocationRecord
    replayed: RelocationRecord

    @property
    def told(self) -> str:
        """Whether the two agree, in a line."""
        both = f"recorded: {self.recorded.verdict}; replayed: {self.replayed.verdict}"
        apart_um = float(np.linalg.norm(np.subtract(self.replayed.position.xyz_um, self.recorded.position.xyz_um)))
        where = "the same place" if apart_um <= SAME_PLACE_UM else f"{apart_um:.1f} um from the recorded place"
        agree = self.recorded.verdict is self.replayed.verdict and apart_um <= SAME_PLACE_UM
        return f"{both}, {where}: {'they agree' if agree else 'they differ'}"


def replay_relocation(file: Path) -> Replay:
    """Run a recorded search anew from its overviews, off the rig.

    Raises
    ------
    StudyError
        When the file is no relocation, or says not which images were compared.
    """
    record = _read_relocation(file)
    if record.sigma_zyx_um is None or record.reference_store is None or any(not step.store for step in record.steps):
        raise StudyError(f"{file} does not say which overviews were compared, and where; it cannot be replayed")
    reference = read_stack(file.parent / record.reference_store)
    overviews = _Overviews(reference, record.steps, file.parent)
    result = relocate.search(
        record.predicted,
        np.array(record.sigma_zyx_um),
        overviews.look,
        _plan(reference),
        orientation=_orientation(overviews.stacks[-1]),
        why_not=overviews.why_not,
    )
    if not result.steps:
        raise StudyError(f"{file}: none of its overviews lies at {record.predicted}, where the search begins")
    again = result.record(
        animal=record.animal, field=record.field, session=record.session, predicted=record.predicted, seconds=0.0
    )
    steps = [step.model_copy(update={"store": store}) for step, store in zip(again.steps, overviews.used, strict=True)]
    known = ("reference_store", "sigma_zyx_um", "dose_mj", "rig_s", "ended")
    kept = {"steps": tuple(steps), **{name: getattr(record, name) for name in known}}
    return Replay(record, _compared_with_others(record, again.model_copy(update=kept)))


class _Overviews:
    """The overviews of a search, each looked at once, where the search asks for it."""

    def __init__(self, reference: Stack, steps: tuple[RelocationStep, ...], folder: Path) -> None:
        self.stacks = [read_stack(folder / str(step.store)) for step in steps]
        self.used: list[str] = []
        self._reference, self._steps = reference, steps
        self._left = dict(enumerate(_plan(stack).depth_um for stack in self.stacks))

    def why_not(self, position: StagePosition, plan: StackPlan) -> str | None:
        """Say why there is nothing to look at; None when there is."""
        return None if self._near(position, plan) else f"no overview was taken at {position}"

    def look(self, position: StagePosition, plan: StackPlan) -> relocate.Seen:
        """Register the overview that was taken there."""
        index = min(self._near(position, plan), key=lambda each: float(np.linalg.norm(self._away_um(each, position))))
        del self._left[index]
        self.used.append(str(self._steps[index].store))
        started = time.perf_counter()
        registration = register_stacks(self._reference, self.stacks[index])
        return relocate.Seen(self._steps[index].stage, registration, time.perf_counter() - started)

    def _near(self, position: StagePosition, plan: StackPlan) -> list[int]:
        """Return those not yet looked at that are as deep as the plan, and show what lies at the position."""
        deep = [index for index, depth_um in self._left.items() if np.isclose(depth_um, plan.depth_um)]
        return [index for index in deep if np.all(np.abs(self._away_um(index, position)) <= relocate.CAPTURE_UM)]

    def _away_um(self, index: int, position: StagePosition) -> Floats:
        return np.subtract(relocate.stage_zyx_um(self._steps[index].stage), relocate.stage_zyx_um(position))


def _compared_with_others(recorded: RelocationRecord, again: RelocationRecord) -> RelocationRecord:
    """Keep to what the fields found that day said of the recorded place, and apply it to the replayed one."""
    if again.verdict is not Verdict.FOUND:
        return again
    if recorded.missed_zyx_um is None:
        changes = {"verdict": Verdict.UNSURE, "note": recorded.note} if recorded.note else {}
        return again.model_copy(update=changes)
    moved_um = np.subtract(relocate.stage_zyx_um(again.position), relocate.stage_zyx_um(recorded.position))
    missed_um = np.round(np.add(recorded.missed_zyx_um, moved_um), 2)
    again = again.model_copy(update={"missed_zyx_um": tuple(missed_um.tolist())})
    away_um = float(np.linalg.norm(missed_um))
    if away_um <= ODD_UM or not (recorded.note or np.linalg.norm(moved_um) > ODD_UM):
        return again
    note = recorded.note or f"it lies {away_um:.0f} um from where the other fields found that day put it"
    return again.model_copy(update={"verdict": Verdict.UNSURE, "note": note})


def _read_relocation(file: Path) -> RelocationRecord:
    if not file.is_file():
        raise StudyError(f"{file} is {'a folder' if file.is_dir() else 'missing'}; {WANTED}")
    with contextlib.suppress(ValueError, OSError):
        said = json.loads(file.read_text(encoding="utf-8"))
        if not (isinstance(said, dict) and {"predicted", "steps"} <= said.keys()):
            raise StudyError(f"{file} is no record of a search for a field; {WANTED}")
    return read_record(file, RelocationRecord)


def _plan(stack: Stack) -> StackPlan:
    with _said_by(stack):
        return StackPlan.model_validate(stack.provenance["plan"])


def _orientation(stack: Stack) -> Orientation:
    with _said_by(stack):
        return Orientation.model_validate(stack.provenance["rig"]["orientation"])


@contextlib.contextmanager
def _said_by(stack: Stack) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValidationError) as error:
        raise StudyError(
            f"{stack.source} does not say with which plan and rig it was taken; only overviews that samefield took "
            "can be replayed"
        ) from error
