"""Where planted spines may stand: random places with a smallest distance, and places between what stands already."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.errors import StudyTablesError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

APART_UM = 1000.0
"""Distance at which dendrites are laid one behind the other to find all neighbours at once, um."""
FARTHEST_UM = 4.5
"""A first spine stands within so much of the stable spine that its succedent joins: definition 2 sees them too, um."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What stands on the dendrites of a group: spines that are there, stay, or were eliminated earlier.

    Dendrites are counted through all animals, ``per_animal`` of each.
    """

    dendrite: Ints
    along_um: Floats
    there: Flags
    stable: Flags
    earlier: Flags
    length_um: float
    per_animal: int

    def line(self, which: Flags) -> Floats:
        """Return the places of some on one long line, sorted, um."""
        return np.sort(self.along_um[which] + self.dendrite[which] * (self.length_um + APART_UM))


@dataclass(eq=False)
class Sites:
    """Random places of a group's dendrites with what stands around them, in random order.

    Distances are um: to the nearest stable spine towards the start (``below``) and the end (``above``) of the dendrite,
    the same or the dendrite's end (``wall``), to the nearest existing spine, and to the nearest of an earlier loss.
    ``gap`` numbers the room between two stable spines; in each only one thing is put.
    """

    owner: Ints
    dendrite: Ints
    along_um: Floats
    gap: Ints
    below_um: Floats
    above_um: Floats
    below_wall_um: Floats
    above_wall_um: Floats
    existing_um: Floats
    earlier_um: Floats
    is_between: Flags
    used: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def drawn(cls, around: Neighbours, animals: int, tries: int, rng: np.random.Generator) -> Sites:
        """Draw so many places an animal."""
        owner = np.tile(np.arange(animals), tries)
        dendrite = owner * around.per_animal + rng.integers(0, around.per_animal, len(owner))
        along = rng.uniform(0.0, around.length_um, len(owner))
        place = along + dendrite * (around.length_um + APART_UM)
        below, above, number = _nearest(place, around.line(around.stable))
        existing, earlier = (_nearest(place, around.line(which)) for which in (around.there, around.earlier))
        return cls(
            owner=owner,
            dendrite=dendrite,
            along_um=along,
            gap=number + dendrite,
            below_um=below,
            above_um=above,
            below_wall_um=np.minimum(below, along),
            above_wall_um=np.minimum(above, around.length_um - along),
            existing_um=np.minimum(*existing[:2]),
            earlier_um=np.minimum(*earlier[:2]),
            is_between=(existing[0] == below) & (existing[1] == above),
        )

    def has_room(self, *, near_um: float, wall_um: float) -> Flags:
        """Return where a cluster may begin: nothing lost in the gap, and room for others on either side, um."""
        near = np.minimum(self.below_um, self.above_um)
        wall = np.minimum(self.below_wall_um, self.above_wall_um)
        return self.is_between & (near >= near_um) & (near <= FARTHEST_UM) & (wall >= wall_um)

    def chosen(self, fits: Flags, counts: Ints, what: str) -> Ints:
        """Return places that fit, so many of each animal, one a gap, in the order of the animals."""
        fitting = np.flatnonzero(fits & ~np.isin(self.gap, self.used))
        fitting = np.sort(fitting[np.unique(self.gap[fitting], return_index=True)[1]])
        fitting = fitting[np.argsort(self.owner[fitting], kind="stable")]
        kept = fitting[rank(self.owner[fitting]) < counts[self.owner[fitting]]]
        found = np.bincount(self.owner[kept], minlength=len(counts))
        if (found < counts).any():
            short = int(np.argmax(counts - found))
            raise StudyTablesError(
                f"the dendrites of an animal have room for {found[short]} of {counts[short]} {what}; plan more or "
                "longer dendrites, fewer new spines, or a smaller avoidance_um"
            )
        self.used = np.concatenate([self.used, self.gap[kept]])
        return kept


def random_places(counts: Ints, length_um: float, gap_um: float, rng: np.random.Generator) -> tuple[Ints, Floats, Ints]:
    """Return uniform places no two of which are nearer than a gap: dendrite, um, and a random order in each."""
    dendrite = np.repeat(np.arange(len(counts)), counts)
    free_um = (length_um - (counts - 1) * gap_um)[dendrite]
    order = np.lexsort((draw := rng.random(len(dendrite)), dendrite))
    along_um = (draw[order] * free_um) + rank(dendrite) * gap_um
    return dendrite, along_um[np.lexsort((rng.random(len(dendrite)), dendrite))], rank(dendrite)


def rank(sorted_key: Ints) -> Ints:
    """Return the number of each row among those of its key; rows of a key stand together.

    >>> rank(np.array([3, 3, 5, 5, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    begins = np.flatnonzero(np.diff(sorted_key, prepend=-1))
    lengths = np.diff(begins, append=len(sorted_key))
    return np.arange(len(sorted_key)) - np.repeat(begins, lengths)


def _nearest(place: Floats, line: Floats) -> tuple[Floats, Floats, Ints]:
    """Return how far the nearest of a sorted line is below and above each place, and how many are below."""
    number = np.searchsorted(line, place)
    bounded = np.concatenate([[-np.inf], line, [np.inf]])
    return place - bounded[number], bounded[number + 1] - place, number
