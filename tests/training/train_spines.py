"""Train the network that sees the heads of spines, and write its weights for the program.

It learns from simulated cortices, drawn by ``--seed``, and from ``--marked`` folders of stacks whose spines a person
marked. Needs the extra ``train`` (PyTorch); running the program does not.

    python tests/training/train_spines.py --seed 1000 --out analysis/weights/spines.onnx
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx
import torch
from augment import draw_crop
from samples import RIM_UM, Sample, marked, simulated
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from torch import Tensor, nn

from analysis.learned import channels, look_all_ways
from analysis.score import Tolerance, pair_heads
from analysis.straighten import DEPTH_STEP_UM, STEP_UM

CROP = 128  # samples along
BATCH = 8
RATE, MARKED_RATE = 3e-3, 1.5e-3  # the greatest learning rates
HEAD_WEIGHT = 3.0  # heads are a hundredth of the area
DEPTH_WEIGHT = 0.02
KEPT_FOR_CALIBRATION = 3  # the last simulated cortices: their odds are compared with what came true
TOLERANCE = Tolerance()
Judged = tuple[np.ndarray, np.ndarray]
"""Log-odds of the peaks of one sample, and whether each is a spine."""


def block(width_in: int, width_out: int, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width_out, 3, padding=dilation, dilation=dilation, stride=stride)
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.ReLU())


class HeadFinder(nn.Module):
    """From the channels of a straightened dendrite to log-odds and depth of a head at every place: 60,000 weights.

    It sees 8 um along: at half the resolution with holes in its filters, and the finest detail beside it.
    """

    def __init__(self, width_in: int = 15, fine: int = 16, coarse: int = 32) -> None:
        super().__init__()
        self.fine = block(width_in, fine)
        self.coarse = nn.Sequential(
            block(fine, coarse, stride=2), *(block(coarse, coarse, dilation) for dilation in (1, 2, 4, 2, 1))
        )
        self.join = block(coarse + fine, fine)
        self.says = nn.Conv2d(fine, 2, 1)
        self.says.bias.data = torch.tensor([-3.0, 0.0])

    def forward(self, light: Tensor) -> Tensor:
        fine = self.fine(light)
        coarse = nn.functional.interpolate(self.coarse(fine), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.says(self.join(torch.cat([fine, coarse[..., : fine.shape[2], : fine.shape[3]]], 1)))


def train(
    network: nn.Module,
    simulated_ones: Sequence[Sample],
    marked_ones: Sequence[Sample],
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Show the network crops of both kinds, as many of each where there are both."""
    chance = np.random.default_rng(seed)
    kinds = [
        (ones, np.array([len(one.ratio) for one in ones], float)) for ones in (simulated_ones, marked_ones) if ones
    ]
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    network.train()
    losses, began = [], time.monotonic()
    for step in range(1, steps + 1):
        batch = []
        for number in range(BATCH):
            ones, length = kinds[number % len(kinds)]
            sample = ones[chance.choice(len(ones), p=length / length.sum())]
            batch.append(draw_crop(sample, CROP, chance, clutter=simulated_ones if ones is simulated_ones else ()))
        light, truth, weight, depth_um = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
        loss = loss_of(says(network, light), truth, weight, depth_um)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            print(f"{step}: loss {np.mean(losses[-50:]):.4f}, {time.monotonic() - began:.0f} s", flush=True)


def says(network: nn.Module, light: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        said = network(light.to(memory_format=torch.channels_last))
    return said.float()


def loss_of(said: Tensor, truth: Tensor, weight: Tensor, depth_um: Tensor) -> Tensor:
    wrong = nn.functional.binary_cross_entropy_with_logits(
        said[:, 0], truth, pos_weight=torch.tensor(HEAD_WEIGHT), reduction="none"
    )
    heads = (truth > 0) & (weight > 0)
    off_um = torch.abs(said[:, 1] - depth_um)[heads]
    return (wrong * weight).sum() / weight.sum() + DEPTH_WEIGHT * (off_um.mean() if len(off_um) else 0.0)


def judge(network: nn.Module, sample: Sample) -> Judged:
    """Return the log-odds of every peak that can be judged, and whether it is a spine."""
    network.eval()

    def see(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return says(network, torch.from_numpy(images)).numpy()

    seen = look_all_ways(see, channels(sample.ratio))
    odds, depth_um = seen.log_odds, seen.depth_um
    index = seen.peaks((STEP_UM, STEP_UM))
    middle = odds.shape[1] // 2
    places = np.column_stack([depth_um[tuple(index.T)], (index - [0, middle]) * STEP_UM])
    from_head_um, _ = cKDTree(np.append(sample.heads[:, :2], [[-1e9, -1e9]], axis=0)).query(places[:, 1:])
    judged = (sample.weight[tuple(index.T)] > 0) | (from_head_um < RIM_UM)
    places, odds = places[judged], odds[tuple(index[judged].T)]
    is_spine = np.zeros(len(odds), bool)
    likely = odds > -2.0  # the others would take marks from those that are meant
    pairs = pair_heads(places[likely], sample.heads[:, [2, 0, 1]], TOLERANCE)
    is_spine[np.flatnonzero(likely)[pairs[:, 0]]] = True
    return odds, is_spine


def calibrate(judged: Sequence[Judged]) -> dict[str, object]:
    """Return scale and offset that make log-odds of the network's output (Platt)."""
    odds, is_spine = (np.concatenate(part) for part in zip(*judged, strict=True))

    def surprise(line: np.ndarray) -> float:
        said = line[0] * odds + line[1]
        return float(np.mean(np.logaddexp(0.0, np.where(is_spine, -said, said))))

    scale, offset = minimize(surprise, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return {"log_odds_scale": float(scale), "log_odds_offset": float(offset)}


def best_f1(odds: np.ndarray, is_spine: np.ndarray, spines: int) -> float:
    order = np.argsort(-odds)
    hits = np.cumsum(is_spine[order])
    return float(np.max(2 * hits / (np.arange(1, len(hits) + 1) + spines)))


def write(network: nn.Module, file: Path, about: dict[str, object]) -> None:
    """Write the weights as ONNX, with what is known of them."""
    network.eval()
    light = torch.zeros(1, 15, CROP, 68)
    names = {"input_names": ["light"], "output_names": ["said"]}
    free = {name: {0: "n", 2: "along"} for name in ("light", "said")}
    torch.onnx.export(network, (light,), str(file), dynamo=False, dynamic_axes=free, **names)
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {name: str(value) for name, value in about.items()})
    onnx.save(model, file)


def read_samples(seeds: range, workers: int, folder: Path | None) -> list[Sample]:
    """Return the samples of simulated cortices, made once and kept in a folder."""
    todo = [(seed, folder) for seed in seeds]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [sample for part in pool.map(_of_seed, *zip(*todo, strict=True)) for sample in part]


def _of_seed(seed: int, folder: Path | None) -> list[Sample]:
    file = None if folder is None else folder / f"cortex{seed}.pkl"
    if file is not None and file.is_file():
        return pickle.loads(file.read_bytes())
    samples = list(simulated(seed))
    if file is not None:
        file.write_bytes(pickle.dumps(samples))
    return samples


def fold_of(sample: Sample, name: str) -> str:
    return f"{name}_{sample.group[name]}"


def tell_f1(judged: Sequence[Judged], samples: Sequence[Sample]) -> float:
    odds, is_spine = (np.concatenate(part) for part in zip(*judged, strict=True))
    return round(best_f1(odds, is_spine, sum(len(one.heads) for one in samples)), 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1000, help="of the first simulated cortex")
    parser.add_argument("--cortices", type=int, default=12)
    parser.add_argument("--steps", type=int, default=1000, help="on simulated cortices")
    parser.add_argument("--marked", type=Path, nargs="*", default=[], help="folders of stacks that a person marked")
    parser.add_argument("--marked-steps", type=int, default=900, help="on both kinds, after those")
    parser.add_argument("--fold-by", choices=("session", "dendrite"), default="session", help="what is judged unseen")
    parser.add_argument("--begin-with", type=Path, help="weights after the simulated steps (.pt)")
    parser.add_argument("--samples", type=Path, help="folder in which simulated samples are kept for the next time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="the weights (.onnx); .pt is written beside it")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    seeds = range(given.seed, given.seed + given.cortices)
    samples = read_samples(seeds, given.workers, given.samples)
    kept = [one for one in samples if one.group["seed"] >= seeds[-KEPT_FOR_CALIBRATION]]
    shown = [one for one in samples if one.group["seed"] < seeds[-KEPT_FOR_CALIBRATION]]
    by_hand = [one for folder in given.marked for one in marked(folder)]
    network = HeadFinder().to(memory_format=torch.channels_last)
    if given.begin_with:
        network.load_state_dict(torch.load(given.begin_with))
    else:
        train(network, shown, [], given.steps, RATE, given.seed)
        torch.save(network.state_dict(), given.out.with_suffix(".pt"))
    judged = [judge(network, one) for one in kept]
    told: dict[str, object] = {"f1_simulated": tell_f1(judged, kept)}
    if by_hand:
        told["f1_marked_by_simulation_alone"] = tell_f1([judge(network, one) for one in by_hand], by_hand)
        begun = copy.deepcopy(network)
        train(network, shown, by_hand, given.marked_steps, MARKED_RATE, given.seed)
        judged = [judge(network, one) for one in kept]
        judged += judge_folds(begun, shown, by_hand, judged, given, told)
    about = {**calibrate(judged), "seed": given.seed, "cortices": given.cortices, "steps": given.steps, **told}
    about |= {"marked": len(by_hand), "marked_steps": given.marked_steps}
    about |= {"step_um": STEP_UM, "depth_step_um": DEPTH_STEP_UM}
    write(network, given.out, about)
    print(json.dumps(about))
    return 0


def judge_folds(
    begun: nn.Module,
    shown: Sequence[Sample],
    by_hand: Sequence[Sample],
    simulated_ones: Sequence[Judged],
    given: argparse.Namespace,
    told: dict[str, object],
) -> list[Judged]:
    """Judge every marked sample by a network that has not seen its session or dendrite; write the weights of each.

    Their odds are calibrated on simulated samples and on what the networks of the other folds have not seen.
    """
    networks, judged = {}, {}
    for fold in sorted({fold_of(one, given.fold_by) for one in by_hand}):
        unseen = [one for one in by_hand if fold_of(one, given.fold_by) == fold]
        seen = [one for one in by_hand if fold_of(one, given.fold_by) != fold]
        networks[fold] = copy.deepcopy(begun)
        train(networks[fold], shown, seen, given.marked_steps, MARKED_RATE, given.seed)
        judged[fold] = [judge(networks[fold], one) for one in unseen]
        told[f"f1_without_{fold}"] = tell_f1(judged[fold], unseen)
        print(fold, told[f"f1_without_{fold}"], flush=True)
    for fold, network in networks.items():
        others = [one for other, ones in judged.items() if other != fold for one in ones]
        write(
            network, given.out.with_name(f"{given.out.stem}_without_{fold}.onnx"), calibrate([*simulated_ones, *others])
        )
    every = [one for ones in judged.values() for one in ones]
    told["f1_unseen"] = tell_f1(every, by_hand)  # it counts them all together
    return every


if __name__ == "__main__":
    sys.exit(main())
