"""Find a list of fields again and take their stacks, unattended: plain blocking calls, no window.

    python docs/relocate_fields.py RIG STUDY ANIMAL [FIELD ...] [--day DAY]

RIG is a rig config or the name of one that comes with the program, for example ``simulated``.
"""

import argparse
import sys
from pathlib import Path

from acquire.commands import one_by_one, tell_relocation
from acquire.config import read_rig_config
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study
from analysis.errors import ExperimentError
from analysis.model import Verdict


def relocate_fields(rig_name: str, folder: Path, animal: str, wanted: list[str], day: float | None = None) -> list[str]:
    """Return the fields that somebody has to look at: not found for sure, or not taken."""
    trouble = []
    # Every way out of these three closes the light, puts the rig down and lets other programs have the study.
    with (
        open_rig(read_rig_config(rig_name)) as rig,
        Study(folder) as study,
        Session.open(study, animal, rig, day=day, new=True) as session,
    ):
        kept = [field.name for field in study.animal(animal).fields]
        for name in one_by_one(session, wanted, kept):  # what is found now tells where the others are
            try:
                record = session.relocate(name)
                print(tell_relocation(record, study))
                if record.verdict is not Verdict.FOUND:
                    trouble.append(name)
                    continue
                store = session.take_stack(name)
                quality = session.quality(name)
                print(f"{name}: {quality.light}, {quality.advice}; {store}")
            except ExperimentError as error:  # one field's trouble does not keep the others from being taken
                print(f"{name}: {error}")
                trouble.append(name)
        session.close()
    return trouble


def main() -> int:
    """Return 0 when all was found and taken, 3 when somebody has to look at a field, 1 when nothing could be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rig")
    parser.add_argument("study", type=Path)
    parser.add_argument("animal")
    parser.add_argument("fields", nargs="*")
    parser.add_argument("--day", type=float, help="days since the first session; else from the clock")
    asked = parser.parse_args()
    try:
        trouble = relocate_fields(asked.rig, asked.study, asked.animal, asked.fields, asked.day)
    except ExperimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 3 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
