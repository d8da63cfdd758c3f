"""The stacks of one field compared, tables and pictures written: at the rig, by a command, or in a process beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from acquire.errors import StudyError
from acquire.files import writing
from analysis.field import FieldAnalysis, analyse_field
from analysis.memory import MEMORY_FOLDER, Memory, SavedStack
from analysis.model import Fate, Stack
from analysis.report import write_field_outputs
from analysis.tables import make_table, write_table

Progress = Callable[[str, float], None]
SESSIONS_FILE = "sessions.csv"
SESSION_COLUMNS = ("session", "name")


@dataclass(frozen=True, eq=False)
class Analysed:
    """An analysis that lies on disk, and what is to be told of it.

    Parameters
    ----------
    analysis
        Its tables.
    told
        A line of counts, then a line a warning.
    trouble
        Why what was computed could not be remembered for the next time; None when it was.
    """

    analysis: FieldAnalysis
    told: str
    trouble: str | None


def analyse_stores(
    stores: Sequence[Path], folder: Path, *, weights: Path | None = None, progress: Progress | None = None
) -> Analysed:
    """Compare the stacks of a field of a study, one a session; write tables and pictures."""
    with Memory(folder / MEMORY_FOLDER) as memory:
        stacks = [SavedStack(store, memory) for store in stores]
        analysis = analyse_field(stacks, weights=weights, progress=progress)
        told = write_outputs(folder, stacks, analysis, parquet=True)
        write_sessions(folder, [str(stack.provenance.get("session", stack.name)) for stack in stacks])
    return Analysed(analysis, told, memory.trouble)


def write_outputs(folder: Path, stacks: Sequence[Stack], analysis: FieldAnalysis, *, parquet: bool = False) -> str:
    """Write tables, pictures and report; return a line of counts, and a line a warning."""
    with writing(folder):
        analysis.write_tables(folder, parquet=parquet)
        write_field_outputs(folder, stacks, analysis)
    fates = analysis.fates["fate"].value_counts()
    counts = ", ".join(f"{fates.get(fate, 0)} {fate}" for fate in Fate)
    dendrites = analysis.dendrites["dendrite"].nunique()
    told = f"{len(stacks)} sessions, {dendrites} dendrites, {len(analysis.spines)} spines seen; {counts}; {folder}"
    return "\n".join([told, *(f"warning: {warning}" for warning in analysis.warnings)])


def write_sessions(folder: Path, names: Sequence[str]) -> None:
    """Write which session each number of the tables is: what a person decides is kept by the sessions' names."""
    with writing(folder):
        write_table(make_table(list(enumerate(names)), SESSION_COLUMNS), folder / SESSIONS_FILE)


def read_sessions(folder: Path) -> list[str]:
    """Return the names of the sessions of the tables in a folder, in their order; none when they were not written."""
    file = folder / SESSIONS_FILE
    try:
        return pd.read_csv(file, dtype={"name": str})["name"].to_list() if file.is_file() else []
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(f"{file} cannot be read: {error}; analyse the field again") from error


def with_trouble(told: str, trouble: str | None) -> str:
    """Add why nothing could be remembered."""
    return told if trouble is None else f"{told}\nwarning: {trouble}"
