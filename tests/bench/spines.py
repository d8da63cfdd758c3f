"""Find, trace, follow and judge spines: on simulated mice that nobody trained on, and on a recorded field.

The recorded field is judged by a person's marks, dendrite by dendrite; with ``--folds FOLDER`` each session, or each
dendrite, is seen by a network that was trained without it (``tests/training/train_spines.py --marked`` writes them).
The simulated mice are judged by their truth, one day being taken twice. In the same run, on the same stacks: each
session alone, joined by the nearest neighbour after one translation; and differences of Gaussians beside the trace,
joined likewise, their threshold chosen on the other dendrites or mice. The last line is one JSON object; exit code 1
when a figure asked for is not reached.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from blobs import THRESHOLDS, as_strong, find_blobs, link_nearest
from pooled import figures_of, share
from restudied import DAYS, REPEATS, restudy, turnover
from tallies import HEAD, Answer, Tally, Truth, count_field, read_marks, recorded_sessions

from analysis.field import FieldAnalysis, analyse_field, link_marks
from analysis.fieldtables import session_dendrites
from analysis.model import Stack
from analysis.stack import read_stack

HELD_OUT_SEED = 900_000
"""No score is trained on simulated mice of this seed or a higher one."""

ASKED_RECORDED = {
    "f1": (0.85, np.greater_equal),
    "f1_alone": (0.85, np.greater_equal),
    "f1_least": (0.80, np.greater_equal),
    "traced": (0.95, np.greater_equal),
    "identity_accuracy": (0.97, np.greater_equal),
    "pairs_found_of_annotated": (0.80, np.greater_equal),
    "linking_f1": (0.95, np.greater_equal),
    "gained_auc_bare": (0.85, np.greater_equal),
    "lost_auc_bare": (0.85, np.greater_equal),
}
ASKED_SIMULATED = {
    "traced": (0.95, np.greater_equal),
    "identity_accuracy": (0.97, np.greater_equal),
    "gained_auc_tracks": (0.95, np.greater_equal),
    "lost_auc_tracks": (0.95, np.greater_equal),
    "false_turnover": (0.03, np.less_equal),
}
Row = dict[str, Any]


# ---- what is counted, in processes of their own --------------------------------------------------------------------


def run_mouse(seed: int, fields: int) -> list[Row]:
    """Take the fields of one simulated mouse over all days; count."""
    rows: list[Row] = []
    about: Row = {"kind": "simulated", "task": f"seed {seed}", "unit": seed}
    for field in restudy(seed, fields):
        started = time.perf_counter()
        joint = analyse_field(field.stacks)
        seconds = round(time.perf_counter() - started, 1)
        lines = [list(session_dendrites(joint, session).values()) for session in range(len(field.stacks))]
        alone = [analyse_field([stack], dendrites=own) for stack, own in zip(field.stacks, lines, strict=True)]
        more = {**about, "field": field.name, "turnover": turnover(field), "seconds": seconds}
        rows += [{**more, **row} for _, row in _count(joint, alone, field.stacks, field.truth)]
    return rows or [{**about, "method": "none"}]


@dataclass(frozen=True)
class Model:
    """What sees the spines of the recorded field.

    Parameters
    ----------
    name
        In the list of counts.
    weights
        One file a session; None: as shipped.
    part
        The dendrite that it is judged on; None: all.
    """

    name: str
    weights: tuple[Path, ...] | None = None
    part: int | None = None


def models_of(folds: Path | None, sessions: Sequence[int]) -> list[Model]:
    """Return the weights as shipped, or those in a folder: one model without each session, or without each dendrite."""
    if folds is None:
        return [Model("recorded, as shipped")]
    without = {kind: _folds(folds, kind) for kind in ("session", "dendrite")}
    if without["session"]:
        return [Model(f"recorded, {folds}", tuple(without["session"][number] for number in sessions))]
    return [
        Model(f"recorded, {file}", (file,) * len(sessions), part) for part, file in sorted(without["dendrite"].items())
    ]


def _folds(folder: Path, kind: str) -> dict[int, Path]:
    return {int(file.stem.rpartition("_")[2]): file for file in folder.glob(f"*_without_{kind}_*.onnx")}


def run_recorded(folder: Path, model: Model) -> list[Row]:
    """Analyse the recorded field, and each of its sessions alone; count one of its dendrites, or all."""
    stacks = [read_stack(folder / f"session{number}.ome.tif") for number in recorded_sessions(folder)]
    truth = read_marks(folder)
    started = time.perf_counter()
    joint = analyse_field(stacks, weights=model.weights)
    seconds = round(time.perf_counter() - started, 1)
    each = model.weights or (None,) * len(stacks)
    alone = [analyse_field([stack], weights=own) for stack, own in zip(stacks, each, strict=True)]
    about = {"kind": "recorded", "task": model.name, "seconds": seconds, "linking": count_links(stacks, truth)}
    counted = _count(joint, alone, stacks, truth)
    return [{**about, "unit": part, **row} for part, row in counted if model.part in (None, part)]


def count_links(stacks: Sequence[Stack], truth: Truth) -> Tally:
    """Let the analysis link a person's own marks: how many pairs it makes, and how many of them are right."""
    tracks = link_marks(stacks, [spines[HEAD].to_numpy(dtype=float) for spines in truth.spines])
    named = [
        dict(zip(spines["spine_id"][spines["scorable"]], track[spines["scorable"]], strict=True))
        for spines, track in zip(truth.spines, tracks, strict=True)
    ]
    made = right = true = 0
    for before, after in pairwise(named):
        made += len(set(before.values()) & set(after.values()))
        kept = before.keys() & after.keys()
        right += sum(bool(before[spine] == after[spine]) for spine in kept)
        true += len(kept)
    return {"made": made, "right": right, "true": true}


def _count(
    joint: FieldAnalysis, alone: Sequence[FieldAnalysis], stacks: Sequence[Stack], truth: Truth
) -> Iterator[tuple[int, Row]]:
    for method, threshold, answer in _answers(joint, alone, stacks):
        for part, tally in count_field(answer, truth).items():
            yield part, {"method": method, "threshold": threshold, "tally": tally}


def _answers(
    joint: FieldAnalysis, alone: Sequence[FieldAnalysis], stacks: Sequence[Stack]
) -> Iterator[tuple[str, float | None, Answer]]:
    """Return what each method makes of the same stacks; blobs once for every threshold."""
    yield "samefield", None, joint
    heads = [one.tracks[HEAD].to_numpy(dtype=float) for one in alone]
    yield "alone", None, link_nearest(stacks, heads, joint.dendrites)
    found = [find_blobs(stack, list(session_dendrites(joint, s).values())) for s, stack in enumerate(stacks)]
    for threshold in THRESHOLDS:
        yield "blobs", threshold, link_nearest(stacks, as_strong(found, threshold), joint.dendrites)


# ---- what is told --------------------------------------------------------------------------------------------------


def held_out(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the blobs, each unit with the threshold that is best on all others."""
    units = sorted({row["unit"] for row in rows})
    if len(units) < 2:
        return []
    chosen = {unit: best_threshold([row for row in rows if row["unit"] != unit]) for unit in units}
    return [row for row in rows if row["threshold"] == chosen[row["unit"]]]


def best_threshold(rows: Sequence[Row]) -> float:
    def f1(threshold: float) -> float:
        sessions = [s for row in rows if row["threshold"] == threshold for s in row["tally"]["sessions"]]
        hits, predicted, truth = (sum(s[name] for s in sessions) for name in ("hits", "predicted", "truth"))
        return share(2 * hits, predicted + truth) or 0.0

    return max(THRESHOLDS, key=f1)


def methods_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of every method that has any."""
    by_name = {name: [row for row in rows if row["method"] == name] for name in ("samefield", "alone", "blobs")}
    by_name["blobs"] = held_out(by_name["blobs"])
    return {name: own for name, own in by_name.items() if own}


def tell_recorded(rows: Sequence[Row], names: Sequence[int]) -> Row:
    """Return the figures of the recorded field, of all methods, and of each dendrite."""
    told = {}
    for method, own in methods_of(rows).items():
        told[method] = figures_of([row["tally"] for row in own], names) | {"by_dendrite": {}}
        for row in own:
            figures = figures_of([row["tally"]], names)
            kept = {name: value for name, value in figures.items() if not isinstance(value, (dict, list))}
            told[method]["by_dendrite"][row["unit"]] = {"threshold": row["threshold"], **kept}
    ours, alone = told.pop("samefield"), told["alone"]
    each = [figures["f1"] for one in (ours, alone) for figures in one["by_session"].values()]
    links = rows[0]["linking"]
    linking = share(2 * links["right"], links["made"] + links["true"])
    more = {"f1_alone": alone["f1"], "f1_least": min(each), "linking_f1": linking, "seconds": rows[0]["seconds"]}
    return {**ours, **more, "alternatives": told}


def tell_simulated(rows: Sequence[Row]) -> Row:
    """Return the figures of the simulated mice, of all methods."""
    if not rows:
        raise SystemExit("no simulated field was found again in every session; there is nothing to judge")
    told = {}
    for method, own in methods_of(rows).items():
        told[method] = figures_of([row["tally"] for row in own], range(len(DAYS)), REPEATS)
        told[method]["thresholds"] = sorted({row["threshold"] for row in own} - {None})
    ours = [row for row in rows if row["method"] == "samefield"]
    return {
        "fields": len(ours),
        "days": DAYS,
        "turnover": round(float(np.mean([row["turnover"] for row in ours])), 3),
        "seconds": round(float(np.median([row["seconds"] for row in ours])), 1),
        **told.pop("samefield"),
        "alternatives": told,
    }


def missed_of(figures: Row, asked: dict[str, Any], kind: str) -> list[str]:
    return [
        f"{kind} {name}"
        for name, (limit, holds) in asked.items()
        if figures[name] is None or not holds(figures[name], limit)
    ]


def draw(told: dict[str, Row], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    # Okabe and Ito's colours; marks and dashes tell the same.
    looks = {"simulated": ("simulated mice", "#0072B2", "o", "-"), "recorded": ("recorded field", "#E69F00", "s", "--")}
    options = {"figsize": (5.2, 6.0), "sharex": True, "height_ratios": (3, 1), "layout": "constrained"}
    figure, (above, below) = plt.subplots(2, 1, **options)
    above.plot([0, 1], [0, 1], color="0.6", lw=1, label="as it should be")
    for number, kind in enumerate(told):
        label, colour, mark, dash = looks[kind]
        table = [row for row in told[kind]["reliability"] if row["cases"]]
        predicted, observed = ([row[name] for row in table] for name in ("predicted", "observed"))
        error = told[kind]["calibration_error"]
        above.plot(predicted, observed, dash, color=colour, marker=mark, lw=2, label=f"{label} (error {error:.3f})")
        middles = [0.5 * (row["from"] + row["to"]) + 0.036 * (number - 0.5 * (len(told) - 1)) for row in table]
        below.bar(middles, [row["cases"] for row in table], width=0.034, color=colour)
    above.set_ylabel("share that is there")
    above.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.legend(frameon=False, loc="upper left")
    below.set_yscale("log")
    below.set_ylabel("cases")
    below.set_xlabel("probability that the spine is there")
    for axis in (above, below):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def read_rows(file: Path | None) -> list[Row]:
    """Return what an earlier run that was cut short has counted already."""
    if file is None or not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def collect(given: argparse.Namespace) -> list[Row]:
    """Count what is not counted yet, and write it down as it comes."""
    rows = read_rows(given.rows)
    done = {row["task"] for row in rows}
    models = [] if given.sample is None else models_of(given.folds, recorded_sessions(given.sample))
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        waiting = {}
        for model in models:
            if model.name not in done:
                waiting[pool.submit(run_recorded, given.sample, model)] = model.name
        for seed in seeds_of(given):
            if f"seed {seed}" not in done:
                waiting[pool.submit(run_mouse, seed, given.fields)] = f"seed {seed}"
        for future in as_completed(waiting):
            rows += future.result()
            print(f"{waiting[future]} counted", flush=True)
            if given.rows is not None:
                given.rows.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wanted = {f"seed {seed}" for seed in seeds_of(given)} | {model.name for model in models}
    return [row for row in rows if row["task"] in wanted]


def seeds_of(given: argparse.Namespace) -> list[int]:
    return [HELD_OUT_SEED + 1000 * given.seed + number for number in range(given.mice)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mice", type=int, default=4, help="simulated mice, each of a seed of its own; 0: none")
    parser.add_argument("--fields", type=int, default=1, help="fields of each mouse")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=Path, help="folder of a recorded field with a person's marks")
    parser.add_argument("--folds", type=Path, help="folder of networks trained without each session, or each dendrite")
    parser.add_argument("--rows", type=Path, help="where all counts go (JSON lines); what is there is not done again")
    parser.add_argument("--out", type=Path, help="folder of reliability.png")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = collect(given)
    told, missed = {}, []
    recorded, simulated = ([row for row in rows if row["kind"] == kind] for kind in ("recorded", "simulated"))
    if simulated:
        told["simulated"] = tell_simulated([row for row in simulated if row["method"] != "none"])
        told["simulated"]["fields_not_found"] = given.mice * given.fields - told["simulated"]["fields"]
        missed += missed_of(told["simulated"], ASKED_SIMULATED, "simulated")
    if recorded:
        told["recorded"] = tell_recorded(recorded, recorded_sessions(given.sample))
        missed += missed_of(told["recorded"], ASKED_RECORDED, "recorded")
    if given.out is not None:
        draw(told, given.out / "reliability.png")
    print(json.dumps({"seed": given.seed, **told, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
