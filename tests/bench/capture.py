"""How far a registration reaches: one quantity at a time on the simulated cortex, beside two common alternatives.

Success is: called found, and the middle of the field less than 3 um off. The alternatives, on the same stacks, have no
verdict: for them it is the error alone. Wrong pairs (another place, a mirrored stack, another animal) are looked at
too: none may be called found, and with them the probability of every registration is compared with what came true.
With ``--fit`` the rows are used to fit that probability; seeds used so must not be used to judge it. The last line is
one JSON object; exit code 1 when a figure asked for is not reached.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from baselines import HAS_ITK, alternatives
from calibration import fit_probability, reliability
from lookalikes import draw_lookalikes
from posed import draw_cases, look_at_wrong, look_for, read_sessions, signs_of, wrong_views
from remounted import Pair, Remounter, remounter, usual_mount

from acquire.model import OVERVIEW_PLAN
from acquire.relocate import offset_zyx_um
from analysis.model import Stack, Transform, Verdict
from analysis.register import register_stacks

CURVES: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "lateral_um": ("Lateral shift", "um", (0, 15, 30, 40, 50, 60, 70)),
    "axial_um": ("Axial shift", "um", (0, 10, 20, 25, 30, 36, 45)),
    "yaw_deg": ("Yaw", "deg", (0, 4, 6, 8, 10, 12, 14)),
    "tilt_deg": ("Tilt", "deg", (0, 2, 4, 5, 6, 7, 8)),
    "clarity": ("Brightness", "of the first", (0.1, 0.2, 0.33, 0.5, 0.8, 1.2, 1.5)),
    "overlap": ("Share of the area seen", "", (0.04, 0.08, 0.15, 0.25, 0.4, 0.7, 1.0)),
}
RIGHT_UM = 3.0
PLACES = 2  # of each cortex
LOOKALIKES = 60  # pairs of stacks of nearly equal dendrites
RECORDED = 20  # pairs of recorded sessions, and as many wrong ones
OTHER_ANIMAL = 500  # added to the seed of a cortex
# Asked of one quantity, the others as usual: success at least this, up to there.
ASKED_SUCCESS = 0.9
ASKED_REACH = {"lateral_um": 60.0, "axial_um": 25.0, "yaw_deg": 10.0, "tilt_deg": 4.0, "clarity": 0.33}
Rows = list[dict[str, Any]]


def run_cortex(seed: int, places: int, with_alternatives: bool) -> Rows:
    """Register every case of one cortex, and its wrong pairs."""
    with remounter(seed + OTHER_ANIMAL) as other:
        strangers = [other.reference(place) for place in other.places(2)]
    with remounter(seed) as cortex:
        rows = []
        for quantity, value, pair in draw_pairs(cortex, places, seed):
            row = {"seed": seed, "quantity": quantity, "value": value, **look(pair)}
            if with_alternatives:
                row |= {name: beside(find, pair) for name, find in alternatives().items()}
            rows.append(row)
        wrong = draw_wrong_pairs(cortex, strangers, places, seed)
        return rows + [{"seed": seed, "quantity": kind, "value": None, **look(pair)} for kind, pair in wrong]


def draw_pairs(cortex: Remounter, places: int, seed: int) -> Iterator[tuple[str, float, Pair]]:
    chance = np.random.default_rng([seed, 31])
    for place in cortex.places(places):
        reference = cortex.reference(place)
        for quantity, (_, _, values) in CURVES.items():
            for value in values:
                yield quantity, value, cortex.pair(reference, place, usual_mount(chance, **{quantity: value}), chance)


def draw_wrong_pairs(cortex: Remounter, strangers: list[Stack], places: int, seed: int) -> Iterator[tuple[str, Pair]]:
    """Return stacks that do not show the reference's field: other places, the mirror image, other animals."""
    chance = np.random.default_rng([seed, 32])
    spots = cortex.places(places + 4)
    for place in spots[:places]:
        reference = cortex.reference(place)
        for spot in spots:
            today, _ = cortex.today(spot, usual_mount(chance), chance)
            if spot is place:
                today = Stack(today.pixels[:, :, ::-1], today.voxel_um)
            yield ("mirrored" if spot is place else "other place"), Pair(reference, today, None)
        for stranger in strangers:
            yield "other animal", Pair(reference, stranger, None)


def look(pair: Pair) -> dict[str, Any]:
    started = time.perf_counter()
    found = register_stacks(pair.reference, pair.today)
    seconds = time.perf_counter() - started
    off = None if pair.truth_zyx_um is None else off_um(pair, found.reference_from_today)
    return {**signs_of(found), "off_um": off, "seconds": seconds}


def look_alike(seed: int) -> Rows:
    """Register nearly equal dendrites side by side; the third that are others have no right place."""
    rows = []
    for reference, today, today_from_reference in draw_lookalikes(LOOKALIKES, seed):
        started = time.perf_counter()
        found = register_stacks(reference, today)
        seconds, off = time.perf_counter() - started, None
        if today_from_reference is not None:
            middle = np.array(reference.extent_zyx_um) / 2
            landed = found.reference_from_today.apply(today_from_reference.apply(middle))
            off = float(np.linalg.norm(landed - middle))
        rows.append({"quantity": "look-alike", **signs_of(found), "off_um": off, "seconds": seconds})
    return rows


def beside(find: Callable[[Stack, Stack], Transform], pair: Pair) -> dict[str, float]:
    started = time.perf_counter()
    reference_from_today = find(pair.reference, pair.today)
    return {"seconds": time.perf_counter() - started, "off_um": off_um(pair, reference_from_today)}


def off_um(pair: Pair, reference_from_today: Transform) -> float:
    """Return how far from the truth the middle of the field is put, um."""
    plan, pixels = OVERVIEW_PLAN, pair.today.pixels.shape[2]
    part = {"pixels": pixels, "field_of_view_um": plan.field_of_view_um * pixels / plan.pixels}
    offset = offset_zyx_um(reference_from_today, plan, plan.model_copy(update=part))
    return float(np.linalg.norm(np.array(offset) - pair.truth_zyx_um))


def collect(seeds: list[int], places: int, workers: int, with_alternatives: bool) -> Rows:
    rows: Rows = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        many = ([value] * len(seeds) for value in (places, with_alternatives))
        for part in pool.map(run_cortex, seeds, *many):
            rows += part
            print(f"{len(rows)} registered", flush=True)
    return rows


def is_right(row: dict[str, Any]) -> bool:
    return row["off_um"] is not None and row["off_um"] < RIGHT_UM


def outcome(rows: Rows, method: str) -> dict[str, float | None]:
    """Return how often a method succeeds, by how much it misses when it does, and its time a case."""
    ours = method == "samefield"
    tried = rows if ours else [row[method] for row in rows]
    good = [row for row in tried if is_right(row) and (not ours or row["verdict"] == Verdict.FOUND)]
    median = round(float(np.median([row["off_um"] for row in good])), 2) if good else None
    seconds = round(float(np.median([row["seconds"] for row in tried])), 3)
    return {"success": round(len(good) / len(tried), 3), "median_um": median, "seconds": seconds}


def curves_of(rows: Rows) -> dict[str, Any]:
    methods = ["samefield", *(name for name in alternatives() if name in rows[0])]
    curves: dict[str, Any] = {}
    for quantity, (_, _, values) in CURVES.items():
        at = [[row for row in rows if (row["quantity"], row.get("value")) == (quantity, value)] for value in values]
        points = {method: [outcome(part, method) for part in at] for method in methods}
        curves[quantity] = {"values": list(values), **points}
    return curves


def figures_of(rows: Rows) -> dict[str, Any]:
    wrong, there = ([row for row in rows if (row["off_um"] is None) is is_wrong] for is_wrong in (True, False))
    false = [row for row in rows if row["verdict"] == Verdict.FOUND and not is_right(row)]
    return {
        "cases": len(there),
        "wrong_pairs": len(wrong),
        "found": sum(row["verdict"] == Verdict.FOUND for row in there),
        "right": sum(map(is_right, there)),
        "called_found_but_wrong": len(false),
        "wrong_unsure": sum(row["verdict"] == Verdict.UNSURE for row in wrong),
        "seconds": round(float(np.median([row["seconds"] for row in rows])), 2),
        "reliability": reliability(np.array([row["probability"] for row in rows]), np.array([*map(is_right, rows)])),
    }


def missed_of(curves: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    missed = ["called_found_but_wrong"] if figures["called_found_but_wrong"] else []
    for quantity, reach in ASKED_REACH.items():
        points = zip(curves[quantity]["values"], curves[quantity]["samefield"], strict=True)
        within = [p["success"] for value, p in points if (value >= reach if quantity == "clarity" else value <= reach)]
        missed += [quantity] * (min(within) < ASKED_SUCCESS)
    return missed


def draw(curves: dict[str, Any], cases: int, file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    # Okabe and Ito's colours; marks and dashes tell the same.
    looks = {
        "samefield": ("samefield (found and right)", "#0072B2", "o", "-"),
        "projections": ("correlation of projections (scikit-image)", "#E69F00", "s", "--"),
        "itk": ("mutual information (SimpleITK)", "#CC79A7", "^", ":"),
    }
    figure, axes = plt.subplots(2, 3, figsize=(10, 6), sharey=True, layout="constrained")
    for axis, (quantity, (title, unit, _)) in zip(axes.flat, CURVES.items(), strict=True):
        for method, (label, colour, mark, dash) in looks.items():
            if method in curves[quantity]:
                success = [100 * point["success"] for point in curves[quantity][method]]
                values, look = curves[quantity]["values"], {"marker": mark, "color": colour, "label": label}
                axis.plot(values, success, dash, lw=2, clip_on=False, **look)
        axis.set_xlabel(f"{title} ({unit})" if unit else title)
        axis.set_ylim(0, 100)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(f"less than {RIGHT_UM:g} um off, %")
    figure.suptitle(f"How far one overview reaches: {cases} re-mounts of the simulated cortex at every point")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=6, help="re-mounts at every point")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--fit", action="store_true", help="fit the probability of analysis.register to the rows")
    parser.add_argument("--sample", type=Path, help="recorded sessions, fitted or judged as well")
    parser.add_argument("--rows", type=Path, help="where every registration goes, a line each (JSON)")
    parser.add_argument("--out", type=Path, help="folder of capture.png")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cortices = [1000 * given.seed + number for number in range(-(-given.cases // PLACES))]
    rows = collect(cortices, min(PLACES, given.cases), given.workers, not given.fit)
    rows += look_alike(given.seed)
    if given.sample is not None:
        sessions = read_sessions(given.sample)
        rows += [{"quantity": "posed", **look_for(case)} for case in draw_cases(sessions, RECORDED, given.seed)]
        rows += [look_at_wrong(*view) for view in wrong_views(sessions, RECORDED, given.seed)]
    if given.rows is not None:
        given.rows.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    figures = figures_of(rows)
    if given.fit:
        print(json.dumps({"seed": given.seed, **figures, "coefficients": fit_probability(rows, is_right)}))
        return 0
    if not HAS_ITK:
        print("SimpleITK is not installed (pip install -e '.[bench]'): its curve is left out")
    curves = curves_of(rows)
    if given.out is not None:
        draw(curves, given.cases, given.out / "capture.png")
    missed = missed_of(curves, figures)
    print(json.dumps({"seed": given.seed, **figures, "curves": curves, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
