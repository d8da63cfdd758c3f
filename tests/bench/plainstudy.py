"""The measures of a study counted again by plain loops over its long table: one value an animal, nothing shared.

Of ``analysis.study`` only the table is taken. A value is in percent, or NaN where there is nothing to count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum, log, nan

from analysis.study.tables import StudyTables

SAME_PLACE_UM = 2.0
Values = dict[str, float]


@dataclass(frozen=True)
class Spine:
    """One spine: where it stands, and its state and unsaturated head size by session."""

    along_um: float
    states: Mapping[int, str]
    sizes: Mapping[int, float]

    def fate(self, first: int, last: int) -> str:
        was, now = self.states[first], self.states[last]
        if "unscorable" in (was, now):
            return "hidden" if "present" in (was, now) else ""
        return {("present", "present"): "stable", ("absent", "present"): "new", ("present", "absent"): "lost"}.get(
            (was, now), ""
        )


def dendrites_of(tables: StudyTables) -> dict[str, list[list[Spine]]]:
    """Return the dendrites of every animal, the spines of each in order; filopodia left out."""
    names = ["animal", "field", "dendrite", "track", "session", "along_um", "state", "kind", "head_size", "saturated"]
    told: dict[tuple[str, str, int], dict[int, Spine]] = {}
    filopodia = set()
    for animal, field, dendrite, track, session, along, state, kind, size, saturated in zip(
        *(tables.spines[name].tolist() for name in names), strict=True
    ):
        spines = told.setdefault((animal, field, dendrite), {})
        spine = spines.setdefault(track, Spine(along, {}, {}))
        spine.states[session] = state  # type: ignore[index]
        if state == "present" and not saturated:
            spine.sizes[session] = size  # type: ignore[index]
        if kind == "filopodium":
            filopodia.add((animal, field, dendrite, track))
    found: dict[str, list[list[Spine]]] = {}
    for key, spines in told.items():
        kept = [spine for track, spine in spines.items() if (*key, track) not in filopodia]
        found.setdefault(key[0], []).append(sorted(kept, key=lambda spine: spine.along_um))
    return found


def mean(values: list[float]) -> float:
    return fsum(values) / len(values)


def percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else nan


def runs_of(spines: list[Spine], first: int, last: int) -> Iterator[list[tuple[Spine, bool]]]:
    """Return the new spines between two stable ones, each with whether a hidden one stands before it."""
    run: list[tuple[Spine, bool]] = []
    hidden = False
    for spine in spines:
        fate = spine.fate(first, last)
        if fate == "stable":
            yield run
            run, hidden = [], False
        elif fate == "hidden":
            hidden = True
        elif fate == "new":
            run.append((spine, hidden))
            hidden = False
    yield run


def clusters_of(spines: list[Spine], first: int, last: int) -> tuple[list[list[Spine]], list[Spine]]:
    """Return the clusters of a dendrite, and the spines in none; those that a hidden one leaves open are in neither."""
    clusters: list[list[Spine]] = []
    alone: list[Spine] = []
    for run in runs_of(spines, first, last):
        parts: list[list[Spine]] = []
        for number, (spine, hidden) in enumerate(run):
            if number and not hidden:
                parts[-1].append(spine)
            else:
                parts.append([spine])
        clusters += [part for part in parts if len(part) > 1]
        if len(run) == 1:
            alone += parts[0]
    return clusters, alone


def measures(dendrites: list[list[Spine]], first: int, last: int, later: int) -> Values:
    """Return the measures of one animal in a phase between two sessions; ``later`` is one after it."""
    fates = [spine.fate(first, last) for spines in dendrites for spine in spines]
    seen = fates.count("stable") + fates.count("lost")
    clusters, alone = [], []
    for spines in dendrites:
        some, others = clusters_of(spines, first, last)
        clusters += some
        alone += others
    clustered = [spine for cluster in clusters for spine in cluster]
    kept = {name: [spine.states[later] for spine in spines if spine.states[later] != "unscorable"]
            for name, spines in (("clustered", clustered), ("other", alone))}  # fmt: skip
    growth = [grown for cluster in clusters if (grown := growth_of(cluster)) is not None]
    return {
        "formation_share": percent(fates.count("new"), seen),
        "elimination_share": percent(fates.count("lost"), seen),
        "clustered_share": percent(len(clustered), len(clustered) + len(alone)),
        "persistence_clustered": percent(kept["clustered"].count("present"), len(kept["clustered"])),
        "persistence_other": percent(kept["other"].count("present"), len(kept["other"])),
        "strengthening": mean(growth) if growth else nan,
    }


def growth_of(cluster: list[Spine]) -> float | None:
    """Return the mean log change of the first spines of a cluster; None when none was measured before and after."""
    first_seen = [min(s for s, state in spine.states.items() if state == "present") for spine in cluster]
    joined = [session for session in first_seen if session > min(first_seen)]
    changes = []
    for spine, seen in zip(cluster, first_seen, strict=True):
        if joined and seen == min(first_seen):
            before = [log(size) for s, size in spine.sizes.items() if s < min(joined)]
            after = [log(size) for s, size in spine.sizes.items() if min(joined) <= s <= max(joined) + 2]
            if before and after:
                changes.append(mean(after) - mean(before))
    return mean(changes) if changes else None


def reformed(dendrites: list[list[Spine]], lost_in: tuple[int, int], formed_in: tuple[int, int]) -> float:
    """Return the new spines of one phase within 2 um of those lost in an earlier, % of new."""
    near = new = 0
    for spines in dendrites:
        gone = [spine.along_um for spine in spines if spine.fate(*lost_in) == "lost"]
        for spine in spines:
            if spine.fate(*formed_in) == "new":
                new += 1
                near += any(abs(spine.along_um - place) <= SAME_PLACE_UM for place in gone)
    return percent(near, new)


def lost_again(dendrites: list[list[Spine]], formed_in: tuple[int, int], lost_in: tuple[int, int]) -> float:
    """Return of the spines that one phase formed those that a later phase took, %."""
    fates = [s.fate(*lost_in) for spines in dendrites for s in spines if s.fate(*formed_in) == "new"]
    return percent(fates.count("lost"), fates.count("lost") + fates.count("stable"))


def nearest_stable(dendrites: list[list[Spine]], first: int, last: int) -> float:
    """Return the mean distance of the new spines in no cluster to the nearest stable one, um."""
    away = []
    for spines in dendrites:
        stable = [spine.along_um for spine in spines if spine.fate(first, last) == "stable"]
        away += [min(abs(spine.along_um - place) for place in stable)
                 for spine in clusters_of(spines, first, last)[1] if stable]  # fmt: skip
    return mean(away) if away else nan
