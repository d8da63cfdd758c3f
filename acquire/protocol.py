"""The protocol: how the fields of a study are taken, as a laboratory writes it down."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from acquire.errors import StudyError, validation_summary
from acquire.model import OVERVIEW_PLAN, Record, StackPlan


class Protocol(Record):
    """Plans that new fields get: the stack that is compared, and the overview that finds the field again."""

    stack: StackPlan = StackPlan()
    overview: StackPlan = OVERVIEW_PLAN


def read_protocol(path: Path) -> Protocol:
    """Read a protocol (TOML).

    Raises
    ------
    StudyError
        When the file is missing, is no TOML, or has unknown or impossible entries: each is named.
    """
    try:
        return Protocol.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is no valid TOML: {error}") from error
    except ValidationError as error:
        raise StudyError(f"{path}: {validation_summary(error)}") from error
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror}") from error
