"""How long `samefield analyse` takes: a field's first stack, the same again, a second session added, a tenth.

The stacks are those of a folder, else of one field of a simulated mouse. Where there are fewer than sessions, they come
again with a little more noise, as other stacks. Every analysis is a process of its own, as a user starts it. The last
line is one JSON object: seconds on the clock, seconds of the processors, and the most memory that one analysis held.
Exit code 1 when one takes longer or more memory than is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from restudied import restudy

from analysis.model import Stack
from analysis.stack import read_stack

MOST_S = 15.0  # on a quiet computer with two cores, of stacks of 1024 x 1024 x 70 voxels
MOST_MB = 3072.0
AXES = "ZYX"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="stacks of one field in the order of their names (.tif)")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=900_000)
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    given = parser.parse_args()
    if given.folder is not None and not any(given.folder.glob("*.tif")):
        parser.error(f"{given.folder} holds no .tif")
    with tempfile.TemporaryDirectory() as work:
        paths = list(write_sessions(Path(work), given.folder, given.sessions, given.seed))
        plan = {"first": 1, "again": 1, "added": 2, "filled": given.sessions - 1, "last": given.sessions}
        figures: dict[str, dict[str, float]] = {}
        for name, count in plan.items():
            figures[name] = analyse(paths[:count], Path(work) / "out")
            if not given.json:
                print(name, count, figures[name], flush=True)
    del figures["filled"]  # several sessions at once
    told: dict[str, Any] = {"sessions": given.sessions}
    told |= {f"{name}_{unit}": value for name, each in figures.items() for unit, value in each.items() if unit != "mb"}
    told["peak_mb"] = max(each["mb"] for each in figures.values())
    print(json.dumps(told))
    return 0 if all(each["s"] <= MOST_S for each in figures.values()) and told["peak_mb"] <= MOST_MB else 1


def write_sessions(work: Path, folder: Path | None, count: int, seed: int) -> Iterator[Path]:
    """Write as many sessions as are asked, each other than all before, and yield their files."""
    stacks = next(restudy(seed, 1)).stacks if folder is None else [read_stack(p) for p in sorted(folder.glob("*.tif"))]
    rng = np.random.default_rng(seed)
    for number in range(count):
        stack = stacks[number % len(stacks)]
        pixels = stack.pixels if number < len(stacks) else noisier(stack, rng)
        size_um = dict(zip(AXES, stack.voxel_um, strict=True))
        about = {f"PhysicalSize{axis}": um for axis, um in size_um.items()}
        about |= {f"PhysicalSize{axis}Unit": "µm" for axis in AXES}
        file = work / f"session{number}.ome.tif"
        tifffile.imwrite(file, pixels, ome=True, compression="zlib", metadata={"axes": AXES, **about})
        yield file


def noisier(stack: Stack, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the pixels of a stack with as much as 2 units added or taken."""
    pixels = stack.pixels.astype(np.int32) + rng.integers(-2, 3, stack.pixels.shape)
    return pixels.clip(0, np.iinfo(stack.pixels.dtype).max).astype(stack.pixels.dtype)


def analyse(paths: Sequence[Path], out: Path) -> dict[str, float]:
    """Run one analysis; return its seconds, those of the processors, and its memory, MB."""
    before = time.perf_counter()
    command = [sys.executable, "-m", "acquire", "analyse", *map(str, paths), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the analysis of {len(paths)} stacks ended with exit code {process.returncode}")
    per_mb = 1024**2 if sys.platform == "darwin" else 1024
    cpu_s = used.ru_utime + used.ru_stime
    return {"s": round(seconds, 1), "cpu_s": round(cpu_s, 1), "mb": round(used.ru_maxrss / per_mb)}


if __name__ == "__main__":
    sys.exit(main())
