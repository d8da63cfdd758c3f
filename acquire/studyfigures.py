"""The figures of a study as a command asks for them: settings read, figures written, what became of them told."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from acquire.errors import StudyError, tell_unexpected, validation_summary
from acquire.files import writing
from analysis.study.figures import PAGE, write_figures
from analysis.study.opening import field_painter, open_study
from analysis.study.settings import StudySettings

Progress = Callable[[str, float], None]


def read_settings(file: Path | None, **given: Any) -> StudySettings:
    """Return the choices of a file, and of the command line over them.

    Raises
    ------
    StudyError
        The file cannot be read, or a value is not allowed.
    """
    chosen: dict[str, Any] = {}
    try:
        if file is not None:
            chosen = tomllib.loads(file.read_text(encoding="utf-8"))
        chosen |= {name: value for name, value in given.items() if value is not None}
        return StudySettings.model_validate(chosen)
    except ValidationError as error:
        where = f"{file}: " if file is not None else ""
        raise StudyError(f"{where}{validation_summary(error)}") from error
    except (OSError, ValueError) as error:
        raise StudyError(f"{file} cannot be read: {error}; it is a TOML file of settings of the figures") from error


def draw_study(study: Path, folder: Path, settings: StudySettings, progress: Progress) -> list[str]:
    """Draw the figures of a study into a folder; return what is to be told."""
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file; --out needs a folder")
    progress("reading the study", 0.0)
    tables = open_study(study)
    with writing(folder):
        answers = write_figures(
            tables, folder, settings, draw_field=field_painter(study), progress=progress, unexpected=tell_unexpected
        )
    told = [f"{len(answers.findings)} figures of {len(tables.animals)} animals; {folder / PAGE}"]
    told += [f"not computed: {each.number}. {each.question}: {why}" for each, why in answers.open]
    return told + [f"warning: {sentence}" for sentence in tables.dropped]
