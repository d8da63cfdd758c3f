"""How much sooner two workers analyse the fields of a simulated study than one, and whether the tables are the same.

Every worker has one thread, as a node of a cluster has the same however many there are. One and two workers take turns,
so that other programs on the computer disturb both; ``cpu_s`` says what the work itself took, and ``share`` which part
of a core each worker got. ``alone`` is the speed-up that the processor times give: all of one worker over the busier of
two. What one process with all threads takes stands beside them.

    python tests/bench/scale.py --json --seed 0
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psutil

from acquire.cluster import do_on, local_cluster
from acquire.demo import DemoPlan, run_demo
from acquire.planning import StudyAnalysis, plan_analysis
from acquire.studywork import FieldOutcome, do_field, do_here

ASKED = 1.7
TABLES = ("spines.csv", "dendrites.csv", "tracks.csv", "fates.csv")


def main() -> int:
    """Measure, print, and tell by the exit code whether two workers are as much faster as asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--study", type=Path, help="a study to analyse instead of a simulated one")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="samefield-scale-") as made:
        study = asked.study or Path(made) / "study"
        if asked.study is None:
            run_demo(study, DemoPlan(asked.seed, (0.0, 4.0), asked.fields), lambda *_: None)
        told = measure(study, Path(made) / "out", asked.rounds)
    told = {"seed": asked.seed, "asked": ASKED, **told}
    if not asked.json:
        for name, value in told.items():
            print(f"{name}: {value}")
    print(json.dumps(told))
    return 0 if told["speed_up"] >= ASKED and told["identical"] else 1


def measure(study: Path, out: Path, rounds: int) -> dict[str, Any]:
    """Analyse a study with one worker and with two in turns, and in one process."""
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    tables: list[str] = []
    for number in range(rounds):
        for workers in (1, 2) if number % 2 == 0 else (2, 1):
            runs[workers].append(on_workers(study, out, workers))
            tables.append(digest(out))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    with fresh(study, out) as plan:
        fields = len(refuse_faults(list(do_here(plan.works, lambda *_: None))))
    here = {"wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - began_cpu_s}
    tables.append(digest(out))
    one, two = (
        {name: statistics.median(run[name] for run in runs[workers]) for name in runs[workers][0]} for workers in (1, 2)
    )
    return {
        "fields": fields,
        "rounds": rounds,
        "speed_up": round(one["wall_s"] / two["wall_s"], 2),
        "alone": round(one["cpu_s"] / two["busiest_cpu_s"], 2),
        "identical": len(set(tables)) == 1,
        "one_worker": rounded(one),
        "two_workers": rounded(two),
        "one_process_all_threads": rounded(here),
        "every_wall_s": {workers: [round(run["wall_s"], 1) for run in runs[workers]] for workers in runs},
    }


def fresh(study: Path, out: Path) -> Any:
    """Return the plan of a study whose tables go to an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    return plan_analysis(str(study), StudyAnalysis(out=out))


def on_workers(study: Path, out: Path, workers: int) -> dict[str, float]:
    """Analyse a study on workers that run already; what they load is not counted, as on a cluster."""
    with fresh(study, out) as plan, local_cluster(workers, threads=1) as client:
        client.run(load)
        processes = [psutil.Process(pid) for pid in client.run(own_pid).values()]
        before = [cpu_s(process) for process in processes]
        began_s = time.perf_counter()
        refuse_faults(list(do_on(client, plan.works, lambda *_: None, do_field)))
        wall_s = time.perf_counter() - began_s
        used_s = [cpu_s(process) - at for process, at in zip(processes, before, strict=True)]
    return {
        "wall_s": wall_s,
        "cpu_s": sum(used_s),
        "busiest_cpu_s": max(used_s),
        "share": sum(used_s) / wall_s / workers,
    }


def load() -> None:
    """Load what analyses."""
    import acquire.analysing  # noqa: F401


def own_pid() -> int:
    """Return the process of a worker."""
    import os

    return os.getpid()


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process, s."""
    times = process.cpu_times()
    return float(times.user + times.system)


def refuse_faults(outcomes: Sequence[FieldOutcome]) -> Sequence[FieldOutcome]:
    """Return outcomes without a fault."""
    faults = [f"{outcome.name}: {outcome.fault}" for outcome in outcomes if outcome.fault is not None]
    if faults:
        raise SystemExit("; ".join(faults))
    return outcomes


def digest(out: Path) -> str:
    """Return what stands for all tables in a folder."""
    files = sorted(file for file in out.rglob("*.csv") if file.name in TABLES)
    return blake2b(b"".join(file.read_bytes() for file in files)).hexdigest()


def rounded(run: dict[str, float]) -> dict[str, float]:
    """Return a run with figures as they are told."""
    return {name: round(value, 2) for name, value in run.items()}


if __name__ == "__main__":
    sys.exit(main())
