"""The dendrites of a study as arrays, so that chance can be drawn for all of them at once.

A dendrite here is one dendrite in one phase. Its order is by name, so that what is drawn hangs on the seed and on the
data alone, never on the order of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study.finding import NotComputable
from analysis.study.intervals import Phase
from analysis.study.tables import DENDRITE_KEY, StudyTables

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
PIECE_COLUMNS = ("phase", *DENDRITE_KEY, "from_um", "to_um")


@dataclass(frozen=True, eq=False)
class Places:
    """Places along dendrites: those of dendrite ``d`` are ``um[starts[d]:starts[d + 1]]``, rising."""

    um: Floats
    starts: Numbers

    @property
    def counts(self) -> Numbers:
        """How many a dendrite has."""
        return np.diff(self.starts)

    def before(self, dendrite: Numbers, along_um: Floats) -> Numbers:
        """Return how many of a dendrite's places lie before each point; shapes are broadcast."""
        if not len(self.um):
            return np.zeros(np.broadcast_shapes(dendrite.shape, along_um.shape), dtype=np.int64)
        low, high = min(self.um.min(), along_um.min()), max(self.um.max(), along_um.max())
        span = high - low + 1.0
        keys = np.repeat(np.arange(len(self.counts)), self.counts) * span + (self.um - low)
        found: Numbers = np.searchsorted(keys, dendrite * span + (along_um - low)) - self.starts[dendrite]
        return found

    def nearest_um(self, dendrite: Numbers, along_um: Floats) -> Floats:
        """Return the distance of each point to the nearest place of its dendrite, um; infinite where it has none."""
        if not len(self.um):
            return np.full(np.broadcast_shapes(dendrite.shape, along_um.shape), np.inf)
        after = self.before(dendrite, along_um) + self.starts[dendrite]
        distances = []
        for number in (after - 1, after):
            inside = (number >= self.starts[dendrite]) & (number < self.starts[dendrite + 1])
            distance = np.abs(self.um[np.clip(number, 0, len(self.um) - 1)] - along_um)
            distances.append(np.where(inside, distance, np.inf))
        nearest: Floats = np.minimum(*distances)
        return nearest


@dataclass(frozen=True, eq=False)
class Dendrites:
    """The dendrites of a table of fates.

    Parameters
    ----------
    names
        One row a dendrite: ``phase`` (empty where the fates have none), ``animal, field, dendrite``, sorted.
    new, stable, hidden
        Where its gained, stable and unscorable spines stand.
    end
        Gained and stable spines together: what stands there at the end.
    hidden_before
        How many unscorable spines stand before each of ``end``.
    is_new
        Which of ``end`` are gained.
    """

    names: pd.DataFrame
    new: Places
    stable: Places
    hidden: Places
    end: Places
    hidden_before: Numbers
    is_new: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)


def read_dendrites(fates: pd.DataFrame) -> Dendrites:
    """Return the dendrites of fates; rows in any order."""
    key = ["phase", *DENDRITE_KEY]
    table = fates if "phase" in fates else fates.assign(phase="")
    table = table.sort_values([*key, "along_um", "track"], ignore_index=True)
    groups = table.groupby(key, sort=True)
    number = groups.ngroup().to_numpy(dtype=np.int64)
    fate = table["fate"].to_numpy(dtype=str)
    new, stable, hidden = (fate == kind.value for kind in (Fate.GAINED, Fate.STABLE, Fate.UNSCORABLE))
    along = table["along_um"].to_numpy(dtype=float)

    def places(chosen: NDArray[np.bool_]) -> Places:
        counts = np.bincount(number[chosen], minlength=groups.ngroups)
        return Places(along[chosen], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    return Dendrites(
        names=table[key].drop_duplicates(ignore_index=True), new=places(new), stable=places(stable),
        hidden=places(hidden), end=places(new | stable), hidden_before=np.cumsum(hidden)[new | stable].astype(np.int64),
        is_new=new[new | stable],
    )  # fmt: skip


def place_on(dendrites: Dendrites, table: pd.DataFrame) -> Places:
    """Return where the rows of a table (``phase, animal, field, dendrite, along_um``) stand on dendrites, by dendrite.

    Rows of other dendrites are left out.
    """
    names = pd.MultiIndex.from_frame(dendrites.names)
    number = names.get_indexer(pd.MultiIndex.from_frame(table[list(dendrites.names)]))
    along = table["along_um"].to_numpy(dtype=float)
    order = np.lexsort((along, number))
    order = order[number[order] >= 0]
    counts = np.bincount(number[order], minlength=len(dendrites))
    return Places(along[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces of dendrites that could be judged: those of dendrite ``d`` are ``starts[d]:starts[d + 1]``."""

    from_um: Floats
    to_um: Floats
    starts: Numbers

    @property
    def lengths_um(self) -> Floats:
        """Length of each dendrite that could be judged, um."""
        total = np.concatenate([[0.0], np.cumsum(self.to_um - self.from_um)])
        lengths: Floats = np.diff(total[self.starts])
        return lengths

    def at(self, dendrite: Numbers, share: Floats) -> Floats:
        """Return the points at shares of the judged length, from 0 to 1; shapes are broadcast."""
        total = np.concatenate([[0.0], np.cumsum(self.to_um - self.from_um)])
        point = total[self.starts[dendrite]] + share * self.lengths_um[dendrite]
        piece = np.searchsorted(total, point, side="right") - 1
        piece = np.clip(piece, self.starts[dendrite], self.starts[dendrite + 1] - 1)
        place: Floats = np.minimum(self.from_um[piece] + (point - total[piece]), self.to_um[piece])
        return place


def judged_pieces(tables: StudyTables, phases: Sequence[Phase]) -> pd.DataFrame:
    """Return the pieces of dendrites that could be judged at both ends of a phase: ``PIECE_COLUMNS``."""
    rows: list[tuple[object, ...]] = []
    by_session = {
        name: list(zip(part["from_um"].astype(float), part["to_um"].astype(float), strict=True))
        for name, part in tables.stretches.groupby([*DENDRITE_KEY, "session"], sort=False)
    }
    named = tables.stretches[DENDRITE_KEY].drop_duplicates()
    for phase in phases:
        for dendrite in named[named["animal"] == phase.animal].itertuples(index=False, name=None):
            first, last = (by_session.get((*dendrite, phase.sessions[end]), []) for end in (0, -1))
            rows.extend((phase.name, *dendrite, *piece) for piece in common(first, last))
    return pd.DataFrame(rows, columns=list(PIECE_COLUMNS))


def common(first: Sequence[tuple[float, float]], last: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return what two lists of pieces share, in order.

    >>> common([(0, 10), (20, 30)], [(5, 25)])
    [(5, 10), (20, 25)]
    """
    both = [(max(a, c), min(b, d)) for a, b in first for c, d in last]
    return sorted((low, high) for low, high in both if high > low)


def read_pieces(pieces: pd.DataFrame, dendrites: Dendrites, *, gap_um: float = 0.0) -> Pieces:
    """Return the judged pieces of dendrites; without what lies within a gap of a stable spine, if one is given."""
    by_name = {
        name: list(zip(part["from_um"], part["to_um"], strict=True))
        for name, part in pieces.groupby(["phase", *DENDRITE_KEY], sort=False)
    }
    parts = []
    for number, name in enumerate(dendrites.names.itertuples(index=False, name=None)):
        stable = dendrites.stable.um[dendrites.stable.starts[number] : dendrites.stable.starts[number + 1]]
        parts.append(common(sorted(by_name.get(name, [])), free_of(stable, gap_um)))
    flat = np.array([piece for part in parts for piece in part], dtype=float).reshape(-1, 2)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Pieces(flat[:, 0], flat[:, 1], starts)


def with_room(
    fates: pd.DataFrame, pieces: pd.DataFrame, *, gap_um: float = 0.0, fewest: int = 1
) -> tuple[pd.DataFrame, int]:
    """Return the fates on dendrites that have a judged stretch to place spines on, and how many were left out.

    Only dendrites with at least ``fewest`` new spines are counted.

    Raises
    ------
    NotComputable
        All of them would be left out.
    """
    dendrites = read_dendrites(fates)
    lengths, is_asked = read_pieces(pieces, dendrites, gap_um=gap_um).lengths_um, dendrites.new.counts >= fewest
    left_out = int((is_asked & (lengths <= 0)).sum())
    if left_out and left_out == is_asked.sum():
        raise NotComputable(
            f"no stretch that could be judged at both ends of the phase is known of the {left_out} dendrites with new "
            f"spines; uniform placement needs the stretches"
        )
    names = pd.MultiIndex.from_frame(dendrites.names[lengths > 0])
    return fates[pd.MultiIndex.from_frame(fates[list(dendrites.names)]).isin(names)].reset_index(drop=True), left_out


def tell_left_out(count: int) -> str:
    """Return a sentence about dendrites without a stretch to place spines on; nothing for none."""
    dendrites = "dendrite is" if count == 1 else "dendrites are"
    return (
        f" {count} {dendrites} left out, of what was observed and of chance: no stretch of them could be judged at "
        f"both ends of the phase, or none is left beyond the gap from stable spines." if count else ""
    )  # fmt: skip


def free_of(places_um: Floats, gap_um: float) -> list[tuple[float, float]]:
    """Return what lies farther than a gap from every place, um; all of the line for no gap.

    >>> free_of(np.array([2.0, 2.5, 9.0]), 1.0)
    [(-inf, 1.0), (3.5, 8.0), (10.0, inf)]
    """
    if not gap_um or not len(places_um):
        return [(-np.inf, np.inf)]
    lows = [-np.inf, *(float(place) for place in places_um + gap_um)]
    highs = [*(float(place) for place in places_um - gap_um), np.inf]
    return [(low, high) for low, high in zip(lows, highs, strict=True) if high > low]
