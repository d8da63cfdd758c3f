"""Time the simulated scanner's frames at every zoom, in places not seen before, beside a plain rendering.

``python tests/bench/frame_rate.py --seed 0 --json``: the last line is one JSON object; exit 1 when the median 512 x 512
frame takes more than 30 ms.
"""

import argparse
import json
import sys
import time

import numpy as np
from pymmcore_plus.experimental.unicore import UniMMCore
from scipy import ndimage

from devices.cloud import Slices
from devices.optics import FocalView, Optics
from devices.simulated import load

LIMIT_MS = 30.0
FIRST_FRAME_LIMIT_MS = 100.0
ZOOMS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)


def plain_ms(slices: Slices, view: FocalView, optics: Optics) -> float:
    """Time the textbook way: every point into a volume about the focus, a 3-D Gaussian, the middle plane."""
    started = time.perf_counter()
    step_um = optics.sigma_axial_um / 2.0
    pixels = view.pixels
    offsets = [slices.y_um - view.centre_zyx_um[1], slices.x_um - view.centre_zyx_um[2]]
    rows, cols = (np.rint(o / view.pixel_um + pixels / 2).astype(int) for o in offsets)
    planes = np.rint((slices.z_um - view.centre_zyx_um[0]) / step_um).astype(int) + 6
    inside = (rows >= 0) & (rows < pixels) & (cols >= 0) & (cols < pixels) & (planes >= 0) & (planes < 13)
    index = np.ravel_multi_index((planes[inside], rows[inside], cols[inside]), (13, pixels, pixels))
    volume = np.bincount(index, slices.weights[inside], 13 * pixels * pixels).reshape(13, pixels, pixels)
    sigma_px = optics.sigma_lateral_um / view.pixel_um
    ndimage.gaussian_filter(volume, (2.0, sigma_px, sigma_px))[6]
    return 1e3 * (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--frames", type=int, default=15)
    options = parser.parse_args()
    core = UniMMCore()
    started = time.perf_counter()
    rig = load(core, seed=options.seed)
    result = {"seed": options.seed, "load_s": round(time.perf_counter() - started, 2), "zooms": {}}
    core.setProperty("Scanner", "Resolution", 512)
    core.setShutterOpen(True)
    rng = np.random.default_rng(options.seed)
    for zoom in ZOOMS:
        core.setProperty("Scanner", "Zoom", zoom)
        frames_ms = []
        for _ in range(options.frames):
            core.setXYPosition(*rng.uniform(-350.0, 350.0, 2))
            core.setPosition(rng.uniform(20.0, 80.0))
            started = time.perf_counter()
            core.snapImage()
            frames_ms.append(1e3 * (time.perf_counter() - started))
        centre = np.array([core.getPosition(), *core.getXYPosition()[::-1]])
        view = FocalView(centre, np.eye(2), 600.0 / zoom / 512, 512, np.zeros((512, 2)))
        median_ms, plain = float(np.median(frames_ms)), plain_ms(rig.scene.mounted.fine, view, rig.scene.optics)
        result["zooms"][f"{zoom:g}"] = {
            "median_ms": round(median_ms, 1),
            "slowest_ms": round(max(frames_ms), 1),
            "times_faster_than_plain": round(plain / median_ms, 1),
        }
        if not options.json:
            print(f"zoom {zoom:4g}: {median_ms:5.1f} ms, slowest {max(frames_ms):5.1f} ms, plain {plain:6.0f} ms")
    ok = all(
        zoom["median_ms"] <= LIMIT_MS and zoom["slowest_ms"] <= FIRST_FRAME_LIMIT_MS
        for zoom in result["zooms"].values()
    )
    print(json.dumps(result | {"limit_ms": LIMIT_MS, "ok": ok}))
    core.unloadAllDevices()
    time.sleep(0.3)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
