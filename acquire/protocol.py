"""The protocol: how the fields of a study are taken, as a laboratory writes it down."""

from __future__ import annotations

import tomllib
from pathlib import Path

from acquire.errors import StudyError
from acquire.files import reading_toml
from acquire.model import OVERVIEW_PLAN, FieldPlan, PlannedDays, Record, StackPlan


class Protocol(Record):
    """Plans that new fields get: the stack that is compared, and the overview that finds the field again.

    ``days`` are those on which each animal is imaged, counted from its first session.
    """

    stack: FieldPlan = StackPlan()
    overview: FieldPlan = OVERVIEW_PLAN
    days: PlannedDays = ()


def read_protocol(path: Path) -> Protocol:
    """Read a protocol (TOML).

    Raises
    ------
    StudyError
        When the file is missing, is no TOML, or has unknown or impossible entries: each is named.
    """
    with reading_toml(path, StudyError):
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        if isinstance(overview := written.get("overview"), dict):  # what it does not say stays quick and coarse
            written["overview"] = {**OVERVIEW_PLAN.model_dump(), **overview}
        return Protocol.model_validate(written)
