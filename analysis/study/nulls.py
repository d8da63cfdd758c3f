"""Chance: the same dendrites with their new spines dealt anew.

Two nulls, both with the NUMBER of new spines that each dendrite has: **permuted** keeps every place of a spine and
draws which of the spines that stand there at the end are the new ones; **uniform** keeps the stable spines and puts the
new ones anywhere on the stretch that could be judged at both ends. Eliminated spines are gone, unscorable ones stay.

Dendrites with the same number of new spines are drawn together, run by run in pieces that bound the memory. What is
drawn hangs on the seed and the data: neither on the order of rows nor on the size of the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.study.dendrites import Dendrites, Floats, Numbers, Pieces
from analysis.study.finding import NotComputable

MOST_NUMBERS = 1_000_000
"""Drawn at a time: about 50 MB with all that is made of them."""


@dataclass(frozen=True, eq=False)
class NewSpines:
    """Dendrites of equally many new spines, in some runs of a null, or as observed (one run).

    Parameters
    ----------
    first_run
        Number of the first run.
    dendrite
        (dendrites,) their numbers.
    along_um
        (runs, dendrites, new) where the new spines stand, rising, um.
    stable_between, hidden_between
        (runs, dendrites, new - 1) stable and unscorable spines between one new spine and the next.
    """

    first_run: int
    dendrite: Numbers
    along_um: Floats
    stable_between: Numbers
    hidden_between: Numbers


def observed_spines(dendrites: Dendrites, *, fewest: int = 1) -> Iterator[NewSpines]:
    """Return the new spines as they are."""
    for number, which in _blocks(dendrites, fewest):
        along = dendrites.new.um[dendrites.new.starts[which][:, None] + np.arange(number)]
        standing = np.flatnonzero(dendrites.is_new)[dendrites.new.starts[which][:, None] + np.arange(number)]
        yield _of_standing(dendrites, which, 0, standing[None], along[None])


def permuted_spines(
    dendrites: Dendrites, *, runs: int, seed: int, fewest: int = 1, most: int = MOST_NUMBERS
) -> Iterator[NewSpines]:
    """Draw which of the spines of each dendrite are the new ones; all choices are equally likely.

    Parameters
    ----------
    dendrites
        All of them; those with fewer than ``fewest`` new spines are left out.
    runs, seed
        How often, and of what.
    most
        Numbers drawn at a time.
    """
    for number, which in _blocks(dendrites, fewest):
        standing = dendrites.end.counts[which]
        for first, shares in _shares(runs, len(which), number, (seed, 1), most):
            chosen = choose(shares, standing) + dendrites.end.starts[which][:, None]
            yield _of_standing(dendrites, which, first, chosen, dendrites.end.um[chosen])


def uniform_spines(
    dendrites: Dendrites, pieces: Pieces, *, runs: int, seed: int, fewest: int = 1, most: int = MOST_NUMBERS
) -> Iterator[NewSpines]:
    """Draw places for the new spines of each dendrite, anywhere on its judged pieces.

    Raises
    ------
    NotComputable
        A dendrite with new spines has no judged stretch.
    """
    lengths = pieces.lengths_um
    lost = dendrites.names[(dendrites.new.counts >= fewest) & (lengths <= 0)]
    if len(lost):
        where = ", ".join(f"{row.animal} {row.field} dendrite {row.dendrite}" for row in lost.head(3).itertuples())
        raise NotComputable(
            f"no stretch that could be judged at both ends of the phase is known of {len(lost)} dendrites with new "
            f"spines ({where}); uniform placement needs the stretches"
        )
    for number, which in _blocks(dendrites, fewest):
        for first, shares in _shares(runs, len(which), number, (seed, 2), most):
            along = np.sort(pieces.at(which[:, None], shares), axis=-1)
            standing = (dendrites.stable, dendrites.hidden)
            between = (np.diff(places.before(which[:, None], along), axis=-1) for places in standing)
            yield NewSpines(first, which, along, *between)


def choose(shares: Floats, among: Numbers) -> Numbers:
    """Return as many different numbers below ``among`` as there are shares, rising; every set is equally likely.

    Parameters
    ----------
    shares
        (runs, dendrites, chosen) drawn evenly from 0 to 1.
    among
        (dendrites,) at least as many as are chosen.
    """
    chosen = np.empty(shares.shape, dtype=np.int64)
    for count in range(shares.shape[-1]):
        pick = (shares[..., count] * (among - count)).astype(np.int64)
        for earlier in range(count):
            pick += pick >= chosen[..., earlier]
        chosen[..., count] = pick
        chosen[..., : count + 1].sort(axis=-1)
    return chosen


def sums_by(
    drawn: Iterable[NewSpines],
    measure: Callable[[NewSpines], Iterable[NDArray[np.generic]]],
    unit: Numbers,
    *,
    runs: int = 1,
) -> Floats:
    """Sum measures of dendrites over the unit that each belongs to.

    Parameters
    ----------
    drawn
        Observed or drawn spines.
    measure
        Gives one or several (runs, dendrites) arrays.
    unit
        (all dendrites,) number of the animal, or other whole, of each; -1 for none.

    Returns
    -------
    (measures, runs, units)
    """
    total: list[Floats] = []
    for block in drawn:
        belongs = (unit[block.dendrite][:, None] == np.arange(unit.max(initial=-1) + 1)).astype(float)
        for place, values in enumerate(measure(block)):
            if place == len(total):
                total.append(np.zeros((runs, belongs.shape[1])))
            total[place][block.first_run : block.first_run + len(values)] += values.astype(float) @ belongs
    return np.array(total)


def _blocks(dendrites: Dendrites, fewest: int) -> Iterator[tuple[int, Numbers]]:
    counts = dendrites.new.counts
    for number in np.unique(counts[counts >= fewest]):
        yield int(number), np.flatnonzero(counts == number)


def _shares(runs: int, dendrites: int, number: int, seed: tuple[int, int], most: int) -> Iterator[tuple[int, Floats]]:
    rng = np.random.default_rng([*seed, number])
    step = max(1, most // (dendrites * number))
    for first in range(0, runs, step):
        yield first, rng.random((min(step, runs - first), dendrites, number))


def _of_standing(dendrites: Dendrites, which: Numbers, first: int, standing: Numbers, along: Floats) -> NewSpines:
    hidden = np.diff(dendrites.hidden_before[standing], axis=-1)
    return NewSpines(first, which, along, np.diff(standing, axis=-1) - 1, hidden)
