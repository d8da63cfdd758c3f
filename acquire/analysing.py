"""The stacks of one field compared, tables and pictures written: at the rig, by a command, or in a process beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from acquire.files import writing
from analysis.field import FieldAnalysis, analyse_field
from analysis.memory import MEMORY_FOLDER, Memory, SavedStack
from analysis.model import Fate, Stack
from analysis.report import write_field_outputs

Progress = Callable[[str, float], None]


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


def with_trouble(told: str, trouble: str | None) -> str:
    """Add why nothing could be remembered."""
    return told if trouble is None else f"{told}\nwarning: {trouble}"
