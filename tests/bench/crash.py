"""Kill the acquiring program at random moments; nothing that was reported as saved may be lost.

After each kill: every plane that the program had reported as saved is in the store with the same checksum, the store
opens in a reader that did not write it, the shutter is closed within a second, and a resumed program completes the
stack. The last line is one JSON object; exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import tensorstore

from acquire.config import read_rig_config
from acquire.images import is_complete
from acquire.model import AnimalRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.rig import Rig
from acquire.session import Session
from acquire.store import Study
from devices.shutterfile import is_shutter_open

PLAN = StackPlan(field_of_view_um=60.0, pixels=256, depth_um=60.0, frames_per_plane=2)
CLOSED_WITHIN_S = 1.0


class Reporter:
    """Tells on stdout, a line a plane, what the journal says is safely on disk."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told = 0

    def __call__(self, what: str, share: float) -> None:
        folder = self._session.study.session_folder("M1", self._session.record.name) / "F01"
        journal = folder / "stack.planes.jsonl"
        # A plane is written while the next is taken: at the first there is no journal yet.
        if " stack" not in what or not journal.exists():
            return
        whole, _, _ = journal.read_text(encoding="utf-8").rpartition("\n")
        lines = whole.splitlines()
        for line in lines[self._told :]:
            record = json.loads(line)
            print("saved", record["plane"], record["crc32"], f"{share:.3f}", flush=True)
        self._told = len(lines)


def small_rig() -> Rig:
    """Open the simulated rig with a small piece of cortex, so that it is there in a second."""
    config = read_rig_config("simulated")
    settings = {**config.load_settings, "seed": 1, "half_width_um": 250.0}
    return open_rig(config.model_copy(update={"load_settings": settings}))


def acquire(folder: Path) -> None:
    """Be the program that is killed: keep a field and take its stack, or go on with it."""
    with small_rig() as rig, Study(folder) as study:
        print("shutter", rig.config.watchdog.settings["shutter_file"], flush=True)
        with Session.open(study, "M1", rig, day=0.0) as session:
            if not study.animal("M1").fields:
                x, y, z = rig.loaded.good_places(1)[0]
                rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
                session.new_field()
            session._progress = Reporter(session)
            print("taking", flush=True)
            session.take_stack("F01", resume=True)
            print("whole", flush=True)


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder)], stdout=subprocess.PIPE, text=True)


def kill_once(folder: Path, chance: random.Random) -> dict[str, object]:
    """Start the program, kill it at a random moment of its stack, and look at what is left."""
    program = start(folder)
    saved, shutter, after = {}, "", chance.randrange(0, PLAN.planes)
    for line in program.stdout or ():
        word, *rest = line.split()
        if word == "shutter":
            shutter = rest[0]
        if word == "saved":
            saved[int(rest[0])] = int(rest[1])
        if word in {"taking", "saved"} and len(saved) >= after:
            break
    time.sleep(chance.uniform(0.0, 0.05))
    program.kill()
    killed = time.monotonic()
    rest, _ = program.communicate()
    for line in rest.splitlines():
        if line.startswith("saved") and len(line.split()) == 4:
            saved[int(line.split()[1])] = int(line.split()[2])
    while is_shutter_open(shutter) and time.monotonic() - killed < 10:
        time.sleep(0.01)
    closed_s = time.monotonic() - killed
    (store,) = folder.glob("animals/M1/sessions/*/F01/stack.ome.zarr")
    lost = [plane for plane, crc in saved.items() if crc32_on_disk(store, plane) != crc]
    resumed = start(folder)
    told, _ = resumed.communicate(timeout=120)
    whole = resumed.returncode == 0 and "whole" in told and is_complete(store)
    after_resume = [plane for plane, crc in saved.items() if crc32_on_disk(store, plane) != crc]
    return {"saved": len(saved), "lost": len(lost) + len(after_resume), "closed_s": closed_s, "resumed": whole}


def crc32_on_disk(store: Path, plane: int) -> int:
    """Return the checksum of a plane as another reader sees it."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / "0") + "/"}}
    array = tensorstore.open(spec).result()
    return zlib.crc32(np.ascontiguousarray(array[plane].read().result()).tobytes())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path)
    given = parser.parse_args()
    if given.child:
        acquire(given.child)
        return 0
    chance = random.Random(given.seed)
    results = []
    for number in range(given.kills):
        with tempfile.TemporaryDirectory() as folder:
            study = Study.create(Path(folder) / "study", StudyRecord(name="crash", plan=PLAN))
            study.new_animal(AnimalRecord(id="M1"))
            study.close()
            results.append(kill_once(study.folder, chance))
        print(f"kill {number + 1}: {results[-1]}", flush=True)
    figures = {
        "kills": len(results),
        "seed": given.seed,
        "planes_saved": sum(each["saved"] for each in results),
        "planes_lost": sum(each["lost"] for each in results),
        "not_resumed": sum(not each["resumed"] for each in results),
        "shutter_closed_within_s": round(max(each["closed_s"] for each in results), 3),
    }
    print(json.dumps(figures))
    # A run in which nothing had been saved before the kills shows nothing.
    good = figures["planes_saved"] > 0 and not figures["planes_lost"] and not figures["not_resumed"]
    return 0 if good and figures["shutter_closed_within_s"] <= CLOSED_WITHIN_S else 1


if __name__ == "__main__":
    sys.exit(main())
