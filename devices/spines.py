"""The spines of the generated dendrites: where they sit, what they look like, and on which days they are there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from devices.branches import Branch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SPINE, STUBBY, FILOPODIUM = 0, 1, 2
KIND_NAMES = np.array(["spine", "stubby", "filopodium"])

LEAST_GAP_UM = 0.8
"""Two spines that are there on the same day keep this distance between their heads, um."""


@dataclass(frozen=True)
class SpinePlan:
    """How many spines there are, and how they come and go.

    Parameters
    ----------
    density_per_um
        Least and greatest number of spines per um of dendrite on day 0.
    gained_per_day, lost_per_day
        Share of the spines that comes and that goes within a day; 0.018 is 7 % in 4 days.
    filopodia, stubby
        Shares of the protrusions that have no head, and that have no neck.
    days
        Spines come and go from day 0 to this day.
    """

    density_per_um: tuple[float, float] = (0.4, 0.6)
    gained_per_day: float = 0.018
    lost_per_day: float = 0.018
    filopodia: float = 0.06
    stubby: float = 0.08
    days: float = 60.0


@dataclass(frozen=True, eq=False)
class Spines:
    """All spines that are ever there, one a row.

    Parameters
    ----------
    branch
        Number of the branch that carries it, shape (n,).
    along
        Index of its foot on the centreline, shape (n,).
    base_zyx_um, head_zyx_um
        Where the neck leaves the shaft, and the middle of the head (the tip of a filopodium), um, shape (n, 3).
    head_radius_um, neck_radius_um
        Radii, um, shape (n,).
    length_um
        From the shaft's surface to the tip, um, shape (n,).
    kind
        ``SPINE``, ``STUBBY`` or ``FILOPODIUM``, shape (n,).
    first_day, last_day
        It is there from the first to just before the last day, shape (n,).
    """

    branch: Integers
    along: Integers
    base_zyx_um: Floats
    head_zyx_um: Floats
    head_radius_um: Floats
    neck_radius_um: Floats
    length_um: Floats
    kind: Integers
    first_day: Floats
    last_day: Floats

    def __len__(self) -> int:
        return len(self.branch)

    def present(self, day: float) -> NDArray[np.bool_]:
        """Return which spines are there on ``day``, shape (n,)."""
        return (self.first_day <= day) & (day < self.last_day)


def grow_spines(rng: np.random.Generator, branches: list[Branch], plan: SpinePlan) -> Spines:
    """Give every branch its spines for all days."""
    parts = [_grow_on(rng, number, branch, plan) for number, branch in enumerate(branches)]
    return _join(parts)


def _grow_on(rng: np.random.Generator, number: int, branch: Branch, plan: SpinePlan) -> Spines:
    """Grow the spines of one branch; candidates too near an earlier one of the same days are dropped."""
    wanted = round(rng.uniform(*plan.density_per_um) * branch.length_um)
    coming = rng.poisson(wanted * plan.gained_per_day * plan.days)
    spare = 1.3 + 0.8 * max(plan.density_per_um)
    there, newcomers = int(wanted * spare) + 4, int(coming * spare)
    first_day = np.concatenate([np.full(there, -np.inf), np.sort(rng.uniform(0.0, plan.days, newcomers))])
    lifetime_days = rng.exponential(1.0 / max(plan.lost_per_day, 1e-9), there + newcomers)
    last_day = np.where(np.isinf(first_day), 0.0, first_day) + lifetime_days
    return _thin_out(rng, _shape(rng, branch, plan, Lives(number, first_day, last_day)), wanted, coming)


@dataclass(frozen=True, eq=False)
class Lives:
    """When the candidate spines of one branch are there: the branch's number, first and last days, shape (n,)."""

    branch: int
    first_day: Floats
    last_day: Floats


def _shape(rng: np.random.Generator, branch: Branch, plan: SpinePlan, lives: Lives) -> Spines:
    """Draw place and form of a branch's candidate spines."""
    count = len(lives.first_day)
    draw = rng.random(count)
    kind = np.where(draw < plan.filopodia, FILOPODIUM, np.where(draw < plan.filopodia + plan.stubby, STUBBY, SPINE))
    head_um = np.clip(rng.lognormal(np.log(0.56), 0.28, count), 0.3, 0.9) / 2.0
    length_um = np.clip(rng.lognormal(np.log(1.35), 0.33, count), 2.0 * head_um + 0.2, 3.0)
    length_um = np.where(kind == STUBBY, np.clip(2.0 * head_um, 0.5, 0.8), length_um)
    length_um = np.where(kind == FILOPODIUM, rng.uniform(1.6, 3.0, count), length_um)
    head_um = np.where(kind == FILOPODIUM, 0.12, head_um)
    along = rng.integers(4, len(branch.points_zyx_um) - 4, count)
    axis = branch.points_zyx_um[along + 3] - branch.points_zyx_um[along - 3]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    outward = _directions(rng, axis)
    base = branch.points_zyx_um[along] + branch.radius_um[along, None] * _across(outward, axis)
    head = base + (length_um - head_um)[:, None] * outward
    neck_um = rng.uniform(0.07, 0.13, count)
    return Spines(
        np.full(count, lives.branch),
        along,
        base,
        head,
        head_um,
        neck_um,
        length_um,
        kind,
        lives.first_day,
        lives.last_day,
    )


def _directions(rng: np.random.Generator, axis: Floats) -> Floats:
    """Draw unit vectors mostly square to ``axis``, (n, 3)."""
    across = _across(rng.standard_normal(axis.shape), axis)
    leaning = across + 0.35 * rng.standard_normal((len(axis), 1)) * axis
    unit: Floats = leaning / np.linalg.norm(leaning, axis=1, keepdims=True)
    return unit


def _across(vectors: Floats, axis: Floats) -> Floats:
    """Return the unit vectors of the part of ``vectors`` that is square to ``axis``."""
    square = vectors - np.sum(vectors * axis, axis=1, keepdims=True) * axis
    unit: Floats = square / np.linalg.norm(square, axis=1, keepdims=True)
    return unit


def _thin_out(rng: np.random.Generator, candidates: Spines, wanted: int, coming: int) -> Spines:
    """Keep ``wanted`` spines of day 0 and ``coming`` later ones, with ``LEAST_GAP_UM`` between those of one day."""
    kept = ~_crowded(candidates)
    at_start = np.isinf(candidates.first_day)
    there, later = np.flatnonzero(kept & at_start)[:wanted], rng.permutation(np.flatnonzero(kept & ~at_start))[:coming]
    return _take(candidates, np.concatenate([there, later]))


def _crowded(spines: Spines) -> NDArray[np.bool_]:
    """Return which spines stand too near an earlier one that is there on the same day and is not crowded itself."""
    pairs = cKDTree(spines.head_zyx_um).query_pairs(LEAST_GAP_UM, output_type="ndarray")
    earlier, later = pairs[:, 0], pairs[:, 1]
    crowded = np.zeros(len(spines), dtype=bool)
    # The candidates are in order of their first day.
    together = spines.last_day[earlier] > spines.first_day[later]
    for pair in np.flatnonzero(together)[np.argsort(later[together], kind="stable")]:
        crowded[later[pair]] |= not crowded[earlier[pair]]
    return crowded


def _take(spines: Spines, rows: Integers) -> Spines:
    return Spines(*(getattr(spines, f.name)[rows] for f in fields(Spines)))


def _join(parts: list[Spines]) -> Spines:
    return Spines(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Spines)))
