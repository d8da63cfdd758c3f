"""Planes of 1024 x 1024 from Micro-Manager's demo camera: our engine and writer beside pymmcore-plus's own.

Both take the same number of planes in turn, several times, in one run; the ratio of their medians must not exceed 1.10.
Memory is read at a tenth of a long run and at its end. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from useq import MDASequence, ZAbsolutePositions

from acquire.config import read_rig_config
from acquire.engine import take_stack
from acquire.images import ImageProvenance, StackWriter
from acquire.model import StackPlan, StagePosition
from acquire.opening import open_rig
from acquire.rig import Rig

MOST_RATIO = 1.10
PIXELS = 1024
MOST_GROWTH_MB = 100.0
ORIGIN = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)


def resident_mb() -> float:
    """Return the memory of this process, MB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return float(line.split()[1]) / 1024


def ours(rig: Rig, folder: Path, planes: int) -> float:
    """Take planes with our engine into our store; return the time, s."""
    plan = rig.set_scan(StackPlan(depth_um=0.1 * (planes - 1), step_um=0.1, frames_per_plane=1))
    rig_dump = rig.config.model_dump(mode="json")
    about = ImageProvenance(kind="stack", animal="M1", session="s", day=0.0, rig=rig_dump, stage=ORIGIN, plan=plan)
    before = time.perf_counter()
    with StackWriter(folder / "ours" / "stack.ome.zarr", plan, about) as writer:
        take_stack(rig, plan, ORIGIN, [writer])
    return time.perf_counter() - before


def theirs(rig: Rig, folder: Path, planes: int) -> float:
    """Take the same planes with pymmcore-plus's engine into its own OME-Zarr; return the time, s."""
    start = -0.05 * (planes - 1)
    sequence = MDASequence(z_plan=ZAbsolutePositions(absolute=[start + 0.1 * plane for plane in range(planes)]))
    before = time.perf_counter()
    rig.core.mda.run(sequence, output=folder / "theirs.ome.zarr")
    return time.perf_counter() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", type=int, default=2000, help="planes of the run in which memory is watched")
    parser.add_argument("--seed", type=int, default=0, help="not used: nothing here is drawn by chance")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    config = read_rig_config("demo")
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    with open_rig(config) as rig:
        rig.core.setProperty("Camera", "PixelType", "16bit")
        rig.core.setProperty("Camera", "OnCameraCCDXSize", PIXELS)
        rig.core.setProperty("Camera", "OnCameraCCDYSize", PIXELS)
        rig.core.setPixelSizeUm("Res40x", 0.2)
        for _ in range(given.rounds):
            for name, take in (("theirs", theirs), ("ours", ours)):
                with tempfile.TemporaryDirectory() as folder:
                    times[name].append(take(rig, Path(folder), given.planes))
        with tempfile.TemporaryDirectory() as folder:
            ours(rig, Path(folder), max(2, given.long // 10))
        early_mb = resident_mb()
        with tempfile.TemporaryDirectory() as folder:
            ours(rig, Path(folder), given.long)
        growth_mb = resident_mb() - early_mb
        exposure_s = rig.exposure_ms() / 1000
    medians = {name: float(np.median(values)) for name, values in times.items()}
    figures = {
        "planes": given.planes,
        "ours_s": round(medians["ours"], 3),
        "theirs_s": round(medians["theirs"], 3),
        "ratio": round(medians["ours"] / medians["theirs"], 3),
        "dead_time_per_plane_ms": round(1000 * (medians["ours"] / given.planes - exposure_s), 2),
        "memory_growth_mb": round(growth_mb, 1),
    }
    print(json.dumps(figures))
    return 0 if figures["ratio"] <= MOST_RATIO and growth_mb <= MOST_GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
