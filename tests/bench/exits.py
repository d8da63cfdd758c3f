"""Run the command that takes stacks again and again, and count how it ends: an abort at exit is a fault too.

Half of the runs drive the simulated rig, half Micro-Manager's C++ demo devices; the studies are made before. The last
line is one JSON object; exit code 1 unless every run ended with 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from acquire.model import AnimalRecord, StackPlan, StudyRecord
from acquire.store import Study

PLAN = StackPlan(field_of_view_um=60.0, pixels=128, depth_um=4.0, frames_per_plane=1)
RIGS = {"simulated": [], "demo": ["--at", "100", "50", "20"]}


def samefield(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does: the whole program, from its start to its end."""
    command = [sys.executable, "-m", "acquire", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def at(folder: Path, rig: str) -> list[object]:
    return ["--rig", rig, "--study", folder / rig, "--animal", "M1"]


def make_study(folder: Path, rig: str) -> None:
    """Make a study with one animal and one field."""
    with Study.create(folder / rig, StudyRecord(name="exits", plan=PLAN, overview_plan=PLAN)) as study:
        study.new_animal(AnimalRecord(id="M1"))
    done = samefield("new-field", *at(folder, rig), *RIGS[rig])
    if done.returncode:
        sys.exit(f"new-field on {rig}: exit code {done.returncode}: {done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="Of no meaning here: nothing is drawn by chance.")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    codes, seconds = Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rig in RIGS:
            make_study(folder, rig)
        for run in range(given.runs):
            rig = list(RIGS)[run % len(RIGS)]
            started = time.monotonic()
            done = samefield("acquire", *at(folder, rig))
            seconds.append(time.monotonic() - started)
            codes[str(done.returncode)] += 1
            print(f"run {run + 1}, {rig}: exit code {done.returncode} {done.stderr.strip()[-300:]}", flush=True)
    figures = {
        "runs": given.runs,
        "clean": codes["0"],
        "codes": dict(codes),
        "seconds_median": round(float(np.median(seconds)), 2),
    }
    print(json.dumps(figures))
    return 0 if codes["0"] == given.runs else 1


if __name__ == "__main__":
    sys.exit(main())
