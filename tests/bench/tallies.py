"""How right an analysis of a field is, counted so that the counts of dendrites and of animals can be added.

Counted part by part: a part is an annotated dendrite, or a whole simulated field. Every spine found belongs to the part
whose line is nearest. Marks that cannot be judged count neither way; chances are told over spines that are scorable in
both sessions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from analysis.centreline import resampled
from analysis.model import Fate, Floats, SpineState
from analysis.presence import Presence
from analysis.score import HEAD, POINT, Tolerance, pair_heads

TOLERANCE = Tolerance()
HEAD_INSET_UM = 0.55  # from the tip of a spine to the middle of its head
AXIS_STEP_UM = 0.05
EVERY = 4  # points of a true line of which one is asked how far ours is from it
Tally = dict[str, Any]


class Answer(Protocol):
    """What is judged: a :class:`analysis.field.FieldAnalysis`, or an alternative's tables of the same columns."""

    @property
    def tracks(self) -> pd.DataFrame:
        """One row an observed spine."""

    @property
    def dendrites(self) -> pd.DataFrame:
        """One row a point of a centreline in a session."""

    @property
    def presence(self) -> Presence:
        """Row ``track_id``, column session."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of a field in every session.

    Parameters
    ----------
    spines
        A session's spines: ``spine_id``, ``part``, head, ``scorable``.
    lines
        A session's true centrelines: ``part`` and points.
    seen
        Spines of any session whose place can be judged in this one, there or not.
    complete
        Whether all dendrites of the field are known; else only what is near a known one is judged.
    """

    spines: Sequence[pd.DataFrame]
    lines: Sequence[pd.DataFrame]
    seen: Sequence[set[Hashable]]
    complete: bool


def read_marks(folder: Path) -> Truth:
    """Read a person's marks of a recorded field; a head lies a little from the marked tip towards the foot."""
    spines, lines = [], []
    for number in recorded_sessions(folder):
        marks = pd.read_csv(folder / f"session{number}_spines.csv").rename(columns={"dendrite": "part"})
        tip, foot = (marks[[f"{end}_{axis}_um" for axis in "zyx"]].to_numpy(float) for end in ("tip", "anchor"))
        inward = (foot - tip) * (0.0, 1.0, 1.0)
        length = np.linalg.norm(inward, axis=1, keepdims=True)
        marks[HEAD] = tip + inward * np.minimum(HEAD_INSET_UM / np.maximum(length, 1e-9), 0.5)
        spines.append(marks.assign(scorable=~marks["is_bad"].astype(bool))[["spine_id", "part", *HEAD, "scorable"]])
        lines.append(pd.read_csv(folder / f"session{number}_dendrites.csv").rename(columns={"dendrite": "part"}))
    everywhere = set(pd.concat(spines)["spine_id"])
    return Truth(spines, lines, [everywhere] * len(spines), False)


def recorded_sessions(folder: Path) -> list[int]:
    return [int(number) for number in pd.read_csv(folder / "sessions.csv")["session"]]


def count_field(answer: Answer, truth: Truth) -> dict[int, Tally]:
    """Return the counts of every part of a field."""
    sights = [_look(answer, truth, session) for session in range(len(truth.spines))]
    tracks = _Named.of(sights)
    parts = sorted({int(part) for line in truth.lines for part in line["part"]})
    return {
        part: {
            "sessions": [_count_session(sight, part) for sight in sights],
            "pairs": {
                f"{a}-{b}": _count_pair(sights, tracks, answer.presence, (a, b), part)
                for a, b in combinations(range(len(sights)), 2)
            },
            "calibration": _chances(sights, tracks, answer.presence, part),
        }
        for part in parts
    }


@dataclass(frozen=True, eq=False)
class Sight:
    """One session beside its truth: which prediction is which true spine.

    Parameters
    ----------
    track, place_part, judged
        Of each prediction: its track, the part whose line is nearest, and whether it can be judged.
    spine_of
        The true spine of each track that is one.
    spines, seen
        See :class:`Truth`.
    traced
        For each part: points of the true line that ours follows, and all; and how far ours is from it sideways, um.
    """

    track: NDArray[np.int64]
    place_part: NDArray[np.int64]
    judged: NDArray[np.bool_]
    spine_of: dict[int, Hashable]
    spines: pd.DataFrame
    seen: set[Hashable]
    traced: dict[int, tuple[int, int, list[float]]]

    @property
    def unjudged(self) -> set[Hashable]:
        """Spines of this session that nobody can judge."""
        return set(self.spines.loc[~self.spines["scorable"], "spine_id"])

    def ids(self, part: int) -> set[Hashable]:
        """Spines of a part that can be judged."""
        return set(self.spines.loc[self.spines["scorable"] & (self.spines["part"] == part), "spine_id"])


def _look(answer: Answer, truth: Truth, session: int) -> Sight:
    rows = answer.tracks[answer.tracks["session"] == session]
    heads = rows[HEAD].to_numpy(dtype=float).reshape(-1, 3)
    line, spines = truth.lines[session], truth.spines[session]
    part, near = _nearest_part(heads, line)
    if not truth.complete:
        rows, heads, part = rows[near], heads[near], part[near]
    pairs = pair_heads(heads, spines[HEAD].to_numpy(dtype=float).reshape(-1, 3), TOLERANCE)
    track, ids = rows["track_id"].to_numpy(dtype=int), spines["spine_id"].tolist()
    judged = np.ones(len(heads), dtype=bool)
    judged[pairs[:, 0]] = spines["scorable"].to_numpy(dtype=bool)[pairs[:, 1]]
    part = part.copy()
    part[pairs[:, 0]] = spines["part"].to_numpy(dtype=int)[pairs[:, 1]]
    spine_of = {int(track[i]): ids[j] for i, j in pairs}
    ours = answer.dendrites[answer.dendrites["session"] == session]
    return Sight(track, part, judged, spine_of, spines, truth.seen[session], _count_traced(ours, line))


def _nearest_part(heads: Floats, line: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the part whose line is nearest to each head, and whether that is near enough to be judged."""
    reach = np.array([TOLERANCE.near_axial_um, TOLERANCE.near_lateral_um, TOLERANCE.near_lateral_um])
    away, nearest = cKDTree(line[POINT].to_numpy(dtype=float) / reach).query(heads / reach)
    return line["part"].to_numpy(dtype=int)[nearest], np.asarray(away <= 1.0)


def _count_traced(ours: pd.DataFrame, line: pd.DataFrame) -> dict[int, tuple[int, int, list[float]]]:
    reach = np.array([TOLERANCE.axial_um, TOLERANCE.lateral_um, TOLERANCE.lateral_um])
    points = line[POINT].to_numpy(dtype=float)
    drawn = [resampled(group[POINT].to_numpy(dtype=float), AXIS_STEP_UM) for _, group in ours.groupby("dendrite")]
    if not drawn:
        return {int(part): (0, len(group), []) for part, group in line.groupby("part")}
    all_drawn = np.concatenate(drawn)
    away, nearest = cKDTree(all_drawn / reach).query(points / reach)
    sideways = np.hypot(*(all_drawn[nearest] - points)[:, 1:].T)
    counts = {}
    for part in sorted(set(line["part"].tolist())):
        own = (line["part"] == part).to_numpy()
        found = own & (away <= 1.0)
        counts[int(part)] = (int(found.sum()), int(own.sum()), sideways[found][::EVERY].round(3).tolist())
    return counts


@dataclass(frozen=True)
class _Named:
    """What each track is over all sessions: its part, and the true spine (None: none)."""

    part: dict[int, int]
    spine: dict[int, Hashable | None]
    unjudged: frozenset[int]

    @classmethod
    def of(cls, sights: Sequence[Sight]) -> _Named:
        part: dict[int, int] = {}
        spine: dict[int, Hashable | None] = {}
        for sight in sights:
            for track, own in zip(sight.track.tolist(), sight.place_part.tolist(), strict=True):
                part.setdefault(track, own)
                if spine.get(track) is None:
                    spine[track] = sight.spine_of.get(track)
        beyond = {spine for sight in sights for spine in sight.unjudged}
        unjudged = frozenset(track for track, own in spine.items() if own in beyond)
        return cls(part, spine, unjudged)


def _count_session(sight: Sight, part: int) -> Tally:
    ours = sight.judged & (sight.place_part == part)
    hits = len(sight.ids(part) & set(sight.spine_of.values()))
    found, length, away = sight.traced.get(part, (0, 0, []))
    return {
        "hits": hits, "predicted": int(ours.sum()), "truth": len(sight.ids(part)),
        "traced": found, "length": length, "axis_um": away,
    }  # fmt: skip


def _count_pair(sights: Sequence[Sight], named: _Named, presence: Presence, pair: tuple[int, int], part: int) -> Tally:
    """Count identities and fates between two sessions, and keep the chances of gain and loss beside what was true."""
    a, b = (sights[session] for session in pair)
    beyond = a.unjudged | b.unjudged
    before, after = a.ids(part) - beyond, b.ids(part) - beyond
    track_a, track_b = ({spine: track for track, spine in sight.spine_of.items()} for sight in (a, b))
    kept = before & after
    both = [spine for spine in kept if spine in track_a and spine in track_b]
    tally: Tally = {
        "kept": len(kept),
        "both": len(both),
        "same": sum(track_a[spine] == track_b[spine] for spine in both),
    }
    tally |= _marks("lost", before & b.seen, kept, track_a, presence, pair[1], _replaced(a, b, kept))
    tally |= _marks("gained", after & a.seen, kept, track_b, presence, pair[0], _replaced(b, a, kept))
    return tally | _fates(sights, named, presence, pair, part, (before - after) & b.seen, (after - before) & a.seen)


def _replaced(here: Sight, there: Sight, kept: set[Hashable]) -> set[Hashable]:
    """Return spines of one session whose place bears another one in the other, which is not in the first.

    A person gave them two names: after a session that missed the spine, or when one really came where one went.
    """
    named = {track: spine for track, spine in there.spine_of.items() if spine not in kept}
    return {spine for track, spine in here.spine_of.items() if track in named and spine not in kept}


def _marks(
    fate: str,
    spines: set[Hashable],
    kept: set[Hashable],
    track_of: dict[Hashable, int],
    presence: Presence,
    other: int,
    replaced: set[Hashable],
) -> Tally:
    """For every true spine of one session: how sure it is that it is not in the other, and whether that is so."""
    scores: list[tuple[float, bool]] = []
    bare: list[tuple[float, bool]] = []
    missed = {"kept": 0, "turned": 0}
    for spine in sorted(spines, key=str):
        if spine not in track_of:
            missed["kept" if spine in kept else "turned"] += 1
        elif presence.state[track_of[spine], other] != SpineState.UNSCORABLE:
            chance = 1.0 - float(presence.probability[track_of[spine], other])
            scores.append((round(chance, 5), spine not in kept))
            if spine not in replaced:
                bare.append(scores[-1])
    return {f"{fate}_marks": scores, f"{fate}_bare": bare, f"{fate}_missed": missed}


def _fates(
    sights: Sequence[Sight],
    named: _Named,
    presence: Presence,
    pair: tuple[int, int],
    part: int,
    lost: set[Hashable],
    gained: set[Hashable],
) -> Tally:
    """For every track, also one that is no spine: how sure it is that it went or came, and whether that is so."""
    a, b = pair
    seen = sights[a].seen & sights[b].seen
    counts = dict.fromkeys([fate.value for fate in Fate], 0)
    right = {"lost": 0, "gained": 0}
    chances: dict[str, list[tuple[float, bool]]] = {"lost": [], "gained": []}
    for track, own in named.part.items():
        if own != part or track in named.unjudged:
            continue
        spine, states = named.spine[track], presence.state[track, [a, b]]
        told = _fate(states)
        if told is not None:
            counts[told.value] += 1
        if SpineState.UNSCORABLE in states or (spine is not None and spine not in seen):
            continue
        p, q = presence.probability[track, [a, b]]
        for fate, true, chance in (("lost", lost, p * (1 - q)), ("gained", gained, (1 - p) * q)):
            chances[fate].append((round(float(chance), 5), spine in true))
            right[fate] += told == fate and spine in true
    return {
        "fates": counts,
        "right": right,
        "true": {"lost": len(lost), "gained": len(gained)},
        **{f"{fate}_tracks": rows for fate, rows in chances.items()},
    }


def _fate(states: NDArray[np.object_]) -> Fate | None:
    before, after = states
    if before == after == SpineState.ABSENT:
        return None
    if SpineState.UNSCORABLE in (before, after):
        return Fate.UNSCORABLE
    if before == after:
        return Fate.STABLE
    return Fate.LOST if before == SpineState.PRESENT else Fate.GAINED


def _chances(sights: Sequence[Sight], named: _Named, presence: Presence, part: int) -> list[tuple[float, bool]]:
    """Return the probability of every track in every session that can tell, and whether the spine was there."""
    cases = _cases(sights, named, presence, part)
    return [(round(float(presence.probability[track, session]), 5), there) for track, session, there in cases]


def cases_of(answer: Answer, truth: Truth) -> list[tuple[int, int, bool]]:
    """Return every track with every session that can tell, and whether the spine was there."""
    sights = [_look(answer, truth, session) for session in range(len(truth.spines))]
    named = _Named.of(sights)
    return [case for part in set(named.part.values()) for case in _cases(sights, named, answer.presence, part)]


def _cases(sights: Sequence[Sight], named: _Named, presence: Presence, part: int) -> list[tuple[int, int, bool]]:
    return [
        (track, session, named.spine[track] in set(sight.spines["spine_id"]))
        for session, sight in enumerate(sights)
        for track, own in named.part.items()
        if own == part
        and track not in named.unjudged
        and presence.state[track, session] != SpineState.UNSCORABLE
        and (named.spine[track] is None or named.spine[track] in sight.seen)
    ]
