"""From stacks of one field to spines, tracks and fates, and from these to the figures of a study.

This room works on files and arrays from any microscope. It deliberately knows nothing of Micro-Manager, of Qt, or of
how a stack was taken. In a notebook, :func:`open_study` gives all tables of a study.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.study.tables import StudyTables

__all__ = ["open_study"]


def open_study(folder: Path | str) -> StudyTables:
    """Read the tables of a study, with the decisions of people in force.

    Parameters
    ----------
    folder
        The study: the folder that holds ``study.json``.

    Raises
    ------
    StudyTablesError
        As :func:`analysis.study.opening.open_study`.
    """
    from analysis.study.opening import open_study as opened

    return opened(folder)
