"""Whether the tables of a field are those of its stacks: a small file beside them says of what they were made.

Tables are up to date when stacks, weights and program are those that the file names, and no table or picture was
changed or lost since. Nothing is known here of how an analysis is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

from pydantic import ValidationError

from acquire.files import write_text
from acquire.images import software_version
from acquire.model import Record, utc_now
from analysis.memory import fingerprint_of_file, fingerprint_of_package
from analysis.packing import fingerprint
from analysis.remote import RemotePath
from analysis.tables import FIELD_TABLES, OVERLAY, SESSIONS_FILE, STATES_FILE, STRETCHES_FILE

ANALYSIS_FILE = "analysis.json"
OUTPUTS = (
    *(f"{table}.csv" for table in FIELD_TABLES),
    *(f"{table}.parquet" for table in FIELD_TABLES),
    SESSIONS_FILE,
    STRETCHES_FILE,
    STATES_FILE,
    "gallery.png",
    "report.html",
)


class AnalysedStack(Record):
    """A stack that was compared: its session, its name, and what stands for its contents."""

    session: str
    store: str
    fingerprint: str


class AnalysisRecord(Record):
    """Of what the tables of a field were made, and the checksums of the files that came of it."""

    version: int = 1
    animal: str
    field: str
    made: datetime
    software_version: str
    inputs: str
    stacks: tuple[AnalysedStack, ...]
    files: dict[str, str]
    told: str


def inputs_of(stacks: Sequence[tuple[str, str]], weights: str | None) -> str:
    """Return what stands for all that tables depend on.

    Parameters
    ----------
    stacks
        Name and fingerprint of each, in the order of the sessions.
    weights
        Fingerprint of those of a laboratory's own for the spine network; None for the program's.
    """
    return fingerprint(list(stacks), weights, fingerprint_of_package(), software_version())


def fingerprint_of_weights(weights: Path | None) -> str | None:
    """Return what stands for a laboratory's own weights, None for the program's; ask it before these compute."""
    return None if weights is None else fingerprint_of_file(weights)


def fingerprint_of_store(store: Path | RemotePath) -> str:
    """Return what stands for the contents of a stack in a study, as its :class:`SavedStack` says it."""
    return fingerprint(fingerprint_of_file(store), None)


def write_analysis_record(
    folder: Path, stacks: Sequence[AnalysedStack], weights: str | None, *, of: tuple[str, str], told: str
) -> None:
    """Write of what the tables in a folder were made; ``weights`` as of :func:`inputs_of`, ``of`` names the field."""
    record = AnalysisRecord(
        animal=of[0],
        field=of[1],
        made=utc_now(),
        software_version=software_version(),
        inputs=inputs_of([(stack.store, stack.fingerprint) for stack in stacks], weights),
        stacks=tuple(stacks),
        files=_checksums(outputs_in(folder)),
        told=told,
    )
    write_text(folder / ANALYSIS_FILE, record.model_dump_json(indent=2) + "\n")


def outputs_in(folder: Path) -> list[Path]:
    """Return the tables, pictures and report in a folder; what a person decided is none of them."""
    return sorted(
        file for file in folder.glob("*") if file.is_file() and (file.name in OUTPUTS or OVERLAY.fullmatch(file.name))
    )


def read_up_to_date(folder: Path, stores: Sequence[Path | RemotePath], weights: Path | None) -> AnalysisRecord | None:
    """Return what is said of the tables in a folder, None when they must be made again."""
    try:
        record = AnalysisRecord.model_validate_json((folder / ANALYSIS_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    if [store.name for store in stores] != [stack.store for stack in record.stacks]:
        return None
    named = [(store.name, fingerprint_of_store(store)) for store in stores]
    inputs = inputs_of(named, fingerprint_of_weights(weights))
    return record if inputs == record.inputs and _checksums(outputs_in(folder)) == record.files else None


def _checksums(files: Iterable[Path]) -> dict[str, str]:
    return {file.name: blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files}
