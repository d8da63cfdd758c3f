"""The stacks of one field compared, tables and pictures written: by a command, at the rig, in a process beside it.

It knows no rig and no study, so it is at work at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from acquire.errors import StudyError
from acquire.files import writing
from acquire.uptodate import AnalysedStack, fingerprint_of_weights, write_analysis_record
from analysis.errors import ExperimentError, StackError
from analysis.field import FieldAnalysis, analyse_field
from analysis.fieldtables import scorable_stretches, session_table, write_sessions
from analysis.jobs import two_at_a_time
from analysis.marks import read_marks
from analysis.memory import MEMORY_FOLDER, Memory, SavedStack
from analysis.model import Fate, Stack
from analysis.remote import RemotePath
from analysis.report import write_field_outputs
from analysis.reviewtables import REVIEWED_FOLDER, write_reviewed
from analysis.stack import read_dendrites
from analysis.tables import IMPORT_FILE, STATES_FILE, STRETCHES_FILE, write_table

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
    stores: Sequence[Path | RemotePath],
    folder: Path,
    *,
    weights: Path | None = None,
    progress: Progress | None = None,
) -> Analysed:
    """Compare the stacks of a field of a study, one a session; write tables, pictures, and of what they were made.

    Raises
    ------
    StudyError
        The field's spines were imported: a person marked them, and they are kept.
    """
    if (folder / IMPORT_FILE).is_file():
        raise StudyError(f"{folder} keeps spines that were imported; take or import the stacks as another field")
    own = fingerprint_of_weights(weights)
    with Memory(folder / MEMORY_FOLDER) as memory:
        stacks = two_at_a_time([partial(SavedStack, store, memory) for store in stores])
        analysis = analyse_field(stacks, weights=weights, progress=progress)
        told = write_outputs(folder, stacks, analysis, parquet=True)
        with writing(folder):
            sessions = _sessions_of(stacks, stores, folder.parent.parent)
            write_sessions(folder, sessions)
            write_table(scorable_stretches(analysis, stacks), folder / STRETCHES_FILE)
            write_table(analysis.states, folder / STATES_FILE)
            _write_record(folder, stacks, list(sessions["name"]), own, told.replace(f"; {folder}", "", 1))
    return Analysed(analysis, "\n".join([told, *review_again(folder)]), memory.trouble)


def review_again(folder: Path) -> list[str]:
    """Write the reviewed tables of a field anew; return what is to be told of them, a line each."""
    try:
        note = write_reviewed(folder)
    except ExperimentError as error:  # the machine's tables are whole, whatever the decisions are
        return [f"warning: {error}"]
    if note is None:
        return []
    told = f"{note.decisions} decisions of {', '.join(note.who) or 'nobody'} are in {folder / REVIEWED_FOLDER}"
    return [told, *(f"warning: {sentence}" for sentence in note.unplaced)]


def analyse_stacks(
    paths: Sequence[Path],
    folder: Path,
    dendrites: Path | None,
    voxel_um: tuple[float, float, float] | None,
    progress: Progress,
    *,
    spines: Path | None = None,
    weights: Path | None = None,
) -> str:
    """Analyse stacks of one field, in session order; write tables, pictures and report; return a line of counts.

    ``spines`` names a table of spines that a person marked: then these are linked, and none is detected. ``weights``
    are a laboratory's own for the network that sees spines.
    """
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file; --out needs a folder")
    traced = read_dendrites(dendrites) if dendrites is not None else None
    marks = read_marks(spines) if spines is not None else None
    with Memory(folder / MEMORY_FOLDER) as memory:
        stacks = two_at_a_time([partial(SavedStack, path, memory, voxel_um) for path in paths])
        check_one_field(stacks)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        analysis = analyse_field(stacks, dendrites=traced, marks=marks, weights=weights, progress=progress)
        told = write_outputs(folder, stacks, analysis)
    return with_trouble(told, memory.trouble)


def write_outputs(folder: Path, stacks: Sequence[Stack], analysis: FieldAnalysis, *, parquet: bool = False) -> str:
    """Write tables, pictures and report; return a line of counts."""
    with writing(folder):
        analysis.write_tables(folder, parquet=parquet)
        write_field_outputs(folder, stacks, analysis)
    fates = analysis.fates["fate"].value_counts()
    counts = ", ".join(f"{fates.get(fate, 0)} {fate}" for fate in Fate)
    dendrites = analysis.dendrites["dendrite"].nunique()
    told = f"{len(stacks)} sessions, {dendrites} dendrites, {len(analysis.spines)} spines seen; {counts}; {folder}"
    return "\n".join([told, *(f"warning: {warning}" for warning in analysis.warnings)])


def _sessions_of(stacks: Sequence[Stack], stores: Sequence[Path | RemotePath], animal: Path) -> pd.DataFrame:
    """Return which session each number is: what a person decides is kept by the sessions' names."""
    days = [stack.provenance.get("day") for stack in stacks]
    return session_table(
        [str(stack.provenance.get("session", stack.name)) for stack in stacks],
        [float(day) if isinstance(day, int | float) else float("nan") for day in days],
        [_seen_from(animal, store) for store in stores],
    )


def _seen_from(animal: Path, store: Path | RemotePath) -> str:
    if isinstance(store, Path) and store.is_relative_to(animal):
        return store.relative_to(animal).as_posix()
    return str(store)


def _write_record(
    folder: Path, stacks: Sequence[SavedStack], sessions: Sequence[str], weights: str | None, told: str
) -> None:
    analysed = [
        AnalysedStack(session=session, store=stack.name, fingerprint=stack.fingerprint)
        for session, stack in zip(sessions, stacks, strict=True)
    ]
    animal, field = (str(stacks[0].provenance.get(owner, "")) for owner in ("animal", "field"))
    write_analysis_record(folder, analysed, weights, of=(animal, field), told=told)


def check_one_field(stacks: Sequence[Stack]) -> None:
    """Refuse stacks that say they are of different animals or fields, or that were never finished."""
    for stack in stacks:
        if stack.provenance.get("complete") is False:
            from acquire.images import read_journal

            taken = len(read_journal(stack.source)) if stack.source else 0
            raise StackError(
                f"{stack.name} was cut short: {taken} of {len(stack.pixels)} planes were taken; take it again"
            )
    owners = {(s.provenance.get("animal"), s.provenance.get("field")) for s in stacks if s.provenance.get("field")}
    if len(owners) > 1:
        names = ", ".join(sorted(f"{field} of {animal}" for animal, field in owners))
        raise StackError(f"the stacks are of {len(owners)} different fields: {names}; give stacks of one field")


def with_trouble(told: str, trouble: str | None) -> str:
    """Add why nothing could be remembered."""
    return told if trouble is None else f"{told}\nwarning: {trouble}"
