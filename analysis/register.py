"""Where today's stack lies in the reference stack: shift, yaw and tilt, and whether to believe it.

Coarse to fine: the yaw is searched, each with one correlation in three dimensions, then the stack is matched block by
block and a rigid motion is fitted that ignores the blocks that disagree. How far the correlation stands out, how well
the blocks agree, and whether the two halves of the stack, each searched anew over the whole range, end at the same
place tell the probability that the place is right; found is said only when it is high.
It knows nothing of dendrites or spines, and works in the frames of the two stacks.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import expit

from analysis.alignment import (
    BlockMatching,
    FlatImage,
    refine_motion,
    search_halves,
    search_motion,
    stretch_motion,
)
from analysis.correlate import block_mean, flatten
from analysis.errors import StackError
from analysis.jobs import two_at_a_time
from analysis.model import FOUND_AGREEMENT_UM, Floats, Stack, Transform, Verdict

COARSE_UM = (3.0, 1.0, 1.0)
FINE_UM = (1.0, 0.5, 0.5)
COARSE_BAND_UM = ((1.5, 0.8, 0.8), (8.0, 5.0, 5.0))
FINE_BAND_UM = ((0.8, 0.5, 0.5), (6.0, 4.0, 4.0))
AXIAL_SEARCH_UM = 32.0
MAX_YAW_DEG = 10.0
YAW_STEP_DEG = 1.5
NEAR_PEAK_UM = np.array([12.0, 6.0, 6.0])
AXIS_WEIGHT = np.array([0.5, 1.0, 1.0])  # the depth is blurred and counts half
BLOCKS = (
    BlockMatching(np.array([20.0, 24.0, 24.0]), np.array([8.0, 4.0, 4.0]), AXIS_WEIGHT, agree_within_um=2.5),
    BlockMatching(np.array([14.0, 16.0, 16.0]), np.array([4.0, 2.5, 2.5]), AXIS_WEIGHT, agree_within_um=2.5),
)
STRETCHED = replace(BLOCKS[-1], most=200)
LEAST_EXTENT_UM = (3.0, 10.0, 10.0)

# A logistic formula: constant, and the weights of score, margin, log(1 + agreement in um) and overlap. Fitted by
# `tests/bench/capture.py --seed 1 --cases 4 --fit --sample FOLDER` to 300 registrations: re-mounts of simulated cortex,
# recorded sessions under imposed poses, look-alike dendrites, and pairs of other, mirrored and strange places.
PROBABILITY_WEIGHTS = (-0.87, 5.22, 8.10, -1.61, 0.0)
FAR_APART_UM = 60.0  # halves that disagree by more tell no more
MOST_PROBABILITY = 0.997  # the 300 registrations of the fit cannot tell of more
FOUND_PROBABILITY, UNSURE_PROBABILITY = 0.98, 0.3  # none of the wrong ones in the fit was above 0.45
REVERSED_PROBABILITY = 0.05  # upside down right stacks correlate 0.16-0.75 times as well, mirrored ones 1.2-6 times


@dataclass(frozen=True, eq=False)
class StackRegistration:
    """Where today's stack lies in the reference stack.

    Parameters
    ----------
    reference_from_today
        Map from today's stack frame to the reference stack frame, um: a rigid motion, with the little stretch and shear
        that soft tissue shows.
    score
        Mean correlation of the matched blocks, 0 to 1; a block that disagrees with the common motion counts 0.
    margin
        How far the best place stands out in the coarse search: 1 - second / best, 0 to 1.
    agreement_um
        How far apart the two halves of the stack, searched one by one over the whole range, put today's stack, um
        (a depth counts half).
    overlap
        Share of the reference stack that today's stack covers.
    probability
        That the place is less than 3 um off, 0 to 1; told from the four signs above.
    verdict
        What the probability amounts to; never found when the halves disagree.
    is_reversed
        Whether today's planes fit better from the last to the first: the same place mirrored in depth.
    """

    reference_from_today: Transform
    score: float
    margin: float
    agreement_um: float
    overlap: float
    probability: float
    verdict: Verdict
    is_reversed: bool = False


def register_stacks(
    reference: Stack,
    today: Stack,
    *,
    max_yaw_deg: float = MAX_YAW_DEG,
    max_shift_um: float | None = None,
    prior: Transform | None = None,
) -> StackRegistration:
    """Find the rigid motion between two stacks of one field, and say whether it is believed.

    Parameters
    ----------
    reference, today
        The stacks; voxel sizes and shapes may differ.
    max_yaw_deg
        Largest rotation in the image plane that is searched each way around the prior, degrees.
    max_shift_um
        Largest lateral shift of the stacks' centres that is searched each way, um; half the reference's width when not
        given. The depth is searched 32 um each way, and farther where one stack is deeper than the other.
    prior
        Where to search around, ``reference_from_today``; without it the stacks' centres are laid on each other.

    Raises
    ------
    StackError
        When a stack is no three-dimensional image, or too small to be recognised.
    """
    for stack in (reference, today):
        _refuse_unusable(stack)
    start = prior or Transform.translation((reference.extent_zyx_um - today.extent_zyx_um) / 2)
    voxel_um = np.maximum(reference.voxel_um, today.voxel_um)
    both = partial(reference.recall, _prepare, voxel_um), partial(_prepare, today, voxel_um)
    (fine, coarse), (fine_today, coarse_today) = two_at_a_time(both)  # later sessions ask for those of the reference
    lateral = np.array(reference.extent_zyx_um[1:]) / 2 if max_shift_um is None else np.full(2, max_shift_um)
    deeper_um = abs(reference.extent_zyx_um[0] - today.extent_zyx_um[0]) / 2
    reach_um = np.array([AXIAL_SEARCH_UM + deeper_um, *lateral])
    if not (np.any(coarse.values) and np.any(coarse_today.values)):
        return StackRegistration(start, 0.0, 0.0, float("inf"), 0.0, 0.0, Verdict.NOT_FOUND)
    centre_um = start.apply(coarse_today.centre_um)
    turns = _turns(centre_um, max_yaw_deg)
    found, margin, height = search_motion(coarse, coarse_today, start, turns, reach_um=reach_um, near_um=NEAR_PEAK_UM)
    reversed_today = replace(coarse_today, values=np.ascontiguousarray(coarse_today.values[::-1]))
    as_turned = [Transform.rigid(yaw_deg=found.yaw_deg - start.yaw_deg, centre_zyx_um=centre_um)]
    search_reversed = partial(search_motion, coarse, reversed_today, start, as_turned, reach_um=reach_um)
    with ThreadPoolExecutor(max_workers=1) as beside:  # what the steps of the refinement need not wait for
        flipped = beside.submit(search_reversed, near_um=NEAR_PEAK_UM)
        score = 0.0
        for plan in BLOCKS:
            refined = refine_motion(fine, fine_today, found, plan)
            found, score = refined.motion, refined.score
        in_halves = partial(search_halves, reach_um=reach_um, axis_weight=AXIS_WEIGHT)
        halves = beside.submit(in_halves, coarse, coarse_today, found)
        stretched = stretch_motion(fine, fine_today, found, STRETCHED)
    agreement_um, overlap = halves.result()
    probability = estimate_probability(score, margin, agreement_um, overlap)
    is_reversed = flipped.result().height > height
    if is_reversed:
        probability = min(probability, REVERSED_PROBABILITY)
    verdict = judge(probability, agreement_um)
    return StackRegistration(stretched, score, margin, agreement_um, overlap, probability, verdict, is_reversed)


def signs(score: float, margin: float, agreement_um: float, overlap: float) -> Floats:
    """Return what the probability is told from, shape (4,); the disagreement of the halves counts by its logarithm."""
    return np.array([score, margin, np.log1p(min(agreement_um, FAR_APART_UM)), overlap])


def estimate_probability(score: float, margin: float, agreement_um: float, overlap: float) -> float:
    """Return the probability that a registration is less than 3 um off; each sign alone is fooled now and then."""
    constant, *weights = PROBABILITY_WEIGHTS
    told = float(expit(constant + np.array(weights) @ signs(score, margin, agreement_um, overlap)))
    return min(told, MOST_PROBABILITY)


def judge(probability: float, agreement_um: float) -> Verdict:
    """Say what a probability amounts to; nothing is found whose halves, searched one by one, lie far apart."""
    if probability >= FOUND_PROBABILITY and agreement_um <= FOUND_AGREEMENT_UM:
        return Verdict.FOUND
    return Verdict.UNSURE if probability >= UNSURE_PROBABILITY else Verdict.NOT_FOUND


def _refuse_unusable(stack: Stack) -> None:
    if len(stack.shape) != 3 or 0 in stack.shape or not all(v > 0 for v in stack.voxel_um):
        shape, voxel = "x".join(map(str, stack.shape)), "x".join(f"{v:g}" for v in stack.voxel_um)
        raise StackError(
            f"{stack.name} cannot be registered: shape {shape}, voxels {voxel} um. Give a (z, y, x) stack."
        )
    size = np.array(stack.shape) * stack.voxel_um
    if np.any(size < LEAST_EXTENT_UM) or min(stack.shape) < 3:
        told = " x ".join(f"{v:.1f}" for v in size)
        least = " x ".join(f"{v:g}" for v in LEAST_EXTENT_UM)
        raise StackError(
            f"{stack.name} is too small to be recognised: {told} um in {stack.shape[0]} planes. "
            f"Take at least 3 planes and {least} um (z, y, x)."
        )


def _prepare(stack: Stack, voxel_um: Floats) -> tuple[FlatImage, FlatImage]:
    """Return the stack on the fine and on the coarse grid, flattened; no grid finer than ``voxel_um``."""
    flat = []
    image = stack.pixels if stack.pixels.dtype.kind != "f" else np.nan_to_num(stack.pixels)
    voxel, origin = np.array(stack.voxel_um), np.zeros(3)
    for target_um, (small_um, large_um) in ((FINE_UM, FINE_BAND_UM), (COARSE_UM, COARSE_BAND_UM)):
        factors = np.floor(np.maximum(target_um, voxel_um) / voxel + 0.3).astype(int)
        factors = np.clip(factors, 1, np.maximum(1, np.array(image.shape) // 4))
        image = block_mean(image, [int(f) for f in factors])
        origin, voxel = origin + voxel * (factors - 1) / 2, voxel * factors
        flat.append(FlatImage(flatten(image, small_um / voxel, large_um / voxel), voxel, origin))
    return flat[0], flat[1]


def _turns(centre_um: Floats, max_yaw_deg: float) -> list[Transform]:
    """Return the rotations in the plane to try, from none to the largest."""
    steps = int(np.ceil(max_yaw_deg / YAW_STEP_DEG))
    yaws = sorted(np.linspace(-max_yaw_deg, max_yaw_deg, 2 * steps + 1), key=abs)
    return [Transform.rigid(yaw_deg=float(yaw), centre_zyx_um=centre_um) for yaw in yaws]
