"""What is marked in one session of a field: spines with their place, name and fate, and dendrites as lines.

The value that other programs' files are written from and read into. It knows no file format, no image and no study.
All points are (z, y, x), um from the centre of the first voxel of the session's stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from analysis.fieldtables import HEAD, FieldTables, fates_seen_from, session_dendrites
from analysis.model import Floats, SpineState

BASE = ["base_z_um", "base_y_um", "base_x_um"]
NO_DENDRITE = -1
Point = tuple[float, float, float]


@dataclass(frozen=True)
class MarkedSpine:
    """One spine in one session.

    Parameters
    ----------
    track_id
        The same number in every session that has the spine; None when nobody linked it.
    dendrite
        Number of its dendrite, -1 when not known.
    head_zyx_um, base_zyx_um
        Its head, and its foot on the dendrite where that is known.
    fates
        What became of it: gained since the session before, lost by the next, stable or unscorable; none when not known.
    state
        Present, unless the session says that it is absent or cannot be told.
    """

    track_id: int | None
    dendrite: int
    head_zyx_um: Point
    base_zyx_um: Point | None = None
    fates: tuple[str, ...] = ()
    state: SpineState = SpineState.PRESENT

    @property
    def fate(self) -> str:
        """The fates in one word or two."""
        return " ".join(self.fates)


@dataclass(frozen=True, eq=False)
class MarkedSession:
    """What is marked in one session.

    Parameters
    ----------
    spines
        In the order of the tables.
    dendrites
        Centreline of each by its number, shape (n, 3), um.
    extent_zyx_um
        Centre of the last voxel of the stack, um; None when not known.
    voxel_um
        Voxel size (z, y, x) of the stack, um; None when not known.
    day
        Days since the first session, None when not known.
    """

    spines: tuple[MarkedSpine, ...]
    dendrites: Mapping[int, Floats] = field(default_factory=dict)
    extent_zyx_um: Point | None = None
    voxel_um: Point | None = None
    day: float | None = None


def marked_session(tables: FieldTables, session: int) -> MarkedSession:
    """Return what the tables of a field say of one session."""
    seen = fates_seen_from(tables, session)
    fates: dict[int, tuple[str, ...]] = {}
    for track, fate in zip(seen["track_id"], seen["fate"], strict=True):
        fates[int(track)] = (*fates.get(int(track), ()), str(fate))
    rows = tables.spines[tables.spines["session"] == session]
    heads, bases = (rows[columns].to_numpy(dtype=float) for columns in (HEAD, BASE))
    spines = tuple(
        MarkedSpine(
            int(track),
            int(dendrite),
            as_point(head),
            as_point(base) if np.isfinite(base).all() else None,
            fates.get(int(track), ()),
        )
        for track, dendrite, head, base in zip(rows["spine_id"], rows["dendrite"], heads, bases, strict=True)
    )
    lines = {name: line.points_zyx_um for name, line in session_dendrites(tables, session).items()}
    return MarkedSession(spines, lines)


def as_point(values: Floats) -> Point:
    """Return a point (z, y, x) as three numbers."""
    z, y, x = (float(value) for value in values)
    return z, y, x
