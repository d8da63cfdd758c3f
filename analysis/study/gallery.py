"""Analysis 1: dendrites over all their sessions, spine by spine, as a map, and as images where there are any."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.model import Fate, SpineKind, SpineState
from analysis.study.charts import COLOURS, INK, QUIET, panels
from analysis.study.clusters import ALONE, cluster_members
from analysis.study.finding import Finding, NotComputable
from analysis.study.intervals import Phase, phase_fates, phases_of
from analysis.study.settings import StudySettings
from analysis.study.tables import DENDRITE_KEY, StudyTables

DrawField = Callable[[str, str, int], Figure]
"""Draws the images of one dendrite over its sessions, by animal, field and dendrite."""
MOST_PANELS = 6
LINE_IN = 0.19
NEW_COLOUR, LOST_COLOUR = COLOURS[2], COLOURS[1]
STRETCH_UM = 60.0
"""Longest stretch of a dendrite that is drawn, um: longer, and neighbours cannot be told apart."""


@dataclass(frozen=True)
class Look:
    """How one kind of place is drawn: shape, fill and words."""

    words: str
    marker: str
    colour: str
    filled: bool = True


LOOKS = {
    "stable": Look("stable", "o", INK, filled=False),
    "new": Look("new: absent in the session before", "^", NEW_COLOUR),
    "filopodium": Look("filopodium", "d", COLOURS[5]),
    "lost": Look("eliminated since the session before", "x", LOST_COLOUR),
    "unscorable": Look("unscorable", "s", QUIET, filled=False),
}


def spine_map(tables: StudyTables, settings: StudySettings) -> Finding:
    """Draw the dendrite of each group on which most new spines stand in clusters, in every session."""
    phases = phases_of(tables, same_day=settings.same_day)
    chosen = _richest(tables, phases, with_filopodia=settings.with_filopodia)
    parts = [_places(tables, row, phases, settings) for row in chosen.to_dict("records")]
    table = pd.concat(parts, ignore_index=True)
    groups = len(chosen)
    shown = "the dendrite of each group" if groups > 1 else "the dendrite"
    legend = (
        f"Every line is one session of one dendrite, every mark one spine at its place along it. Shown is {shown} "
        "with most new spines in clusters (definition 1), then with most new spines; a dendrite is never shown because "
        f"it looks best. At most {STRETCH_UM:g} µm of it are drawn, those with most new spines. Bars below the last "
        "session of a phase join the new spines of one cluster."
    )

    def draw() -> Figure:
        most = max(part["session"].nunique() for part in parts)
        figure, axes = panels(1, len(parts), width_in=7.0, height_in=0.8 + LINE_IN * most)
        for each, part, row in zip(axes, parts, chosen.to_dict("records"), strict=True):
            _draw_map(each, part, tables, row)
        figure.legend(handles=[_handle(look) for look in LOOKS.values()], loc="outside lower center", ncols=3)
        return figure

    return Finding("01_gallery", "The same dendrites, session by session", legend, {"": table}, (), draw)


def spine_images(tables: StudyTables, settings: StudySettings, draw_field: DrawField | None) -> Finding:
    """Show the dendrite of :func:`spine_map` that has most clustered new spines in its images, all sessions aligned."""
    if draw_field is None:
        raise NotComputable("the images are not at hand; only tables were given")
    phases = phases_of(tables, same_day=settings.same_day)
    row = _richest(tables, phases, with_filopodia=settings.with_filopodia).to_dict("records")[0]
    figure = draw_field(str(row["animal"]), str(row["field"]), int(row["dendrite"]))
    name = f"dendrite {row['dendrite']} of field {row['field']}, animal {row['animal']}"
    legend = (
        f"The {name}, straightened, all sessions aligned under each other; each picture is the brightest value over "
        "the depth of the dendrite. Marks say what became of every spine."
    )
    table = pd.DataFrame([{key: row[key] for key in DENDRITE_KEY}])
    return Finding("01_gallery_images", f"The {name}, in its images", legend, {"": table}, (), lambda: figure)


def _richest(tables: StudyTables, phases: list[Phase], *, with_filopodia: bool) -> pd.DataFrame:
    """Return one dendrite a group: that with most new spines in clusters, then with most new spines."""
    fates = phase_fates(tables, phases, with_filopodia=with_filopodia)
    members = cluster_members(fates)
    counted = fates.assign(new=fates["fate"] == Fate.GAINED.value, clustered=members["cluster"] != ALONE)
    sums = counted.groupby(["group", *DENDRITE_KEY], sort=True)[["clustered", "new"]].sum().reset_index()
    if sums.empty:
        raise NotComputable("no spine could be judged in both sessions of a phase")
    best = sums.sort_values(["clustered", "new"], ascending=False, kind="stable").groupby("group", sort=False).head(1)
    order = {group: place for place, group in enumerate(tables.groups)}
    return best.sort_values("group", key=lambda names: names.map(order)).head(MOST_PANELS)


def _places(
    tables: StudyTables, row: Mapping[Hashable, Any], phases: list[Phase], settings: StudySettings
) -> pd.DataFrame:
    """Return what is drawn of one dendrite: a row a spine and session, with what it is there and its cluster."""
    spines = tables.spines[np.logical_and.reduce([tables.spines[key] == row[key] for key in DENDRITE_KEY])]
    spines = spines.sort_values(["track", "session"]).reset_index(drop=True)
    before = spines.groupby("track")["state"].shift()
    state = spines["state"].astype(str)
    present, absent = state == SpineState.PRESENT.value, state == SpineState.ABSENT.value
    shown = np.select(
        [
            state == SpineState.UNSCORABLE.value,
            present & (spines["kind"] == SpineKind.FILOPODIUM.value),
            present & (before == SpineState.ABSENT.value),
            present,
            absent & (before == SpineState.PRESENT.value),
        ],
        ["unscorable", "filopodium", "new", "stable", "lost"],
        default="",
    )
    own = [phase for phase in phases if phase.animal == row["animal"]]
    return spines.assign(shown=shown, cluster=_clusters(spines, tables, own, settings), group=row["group"])


def _clusters(spines: pd.DataFrame, tables: StudyTables, phases: list[Phase], settings: StudySettings) -> pd.Series:
    """Return the cluster of every spine in the last session of each phase; -1 in all other rows."""
    cluster = pd.Series(ALONE, index=spines.index)
    own = replace(tables, spines=spines)
    for phase in phases:
        fates = phase_fates(own, [phase], with_filopodia=settings.with_filopodia)
        by_track = dict(zip(fates["track"], cluster_members(fates)["cluster"], strict=True))
        at_end = spines["session"] == phase.sessions[-1]
        cluster[at_end] = spines.loc[at_end, "track"].map(by_track).fillna(ALONE).astype(int)
    return cluster


def _draw_map(axes: Axes, part: pd.DataFrame, tables: StudyTables, row: Mapping[Hashable, Any]) -> None:
    start_um, end_um = _best_stretch(part)
    days = tables.sessions[tables.sessions["animal"] == row["animal"]].set_index("session")["day"]
    sessions = sorted(set(part["session"]))
    for line, session in enumerate(sessions):
        axes.plot([start_um, end_um], [line, line], color="#dddddd", linewidth=3.0, zorder=0, solid_capstyle="round")
        here = part[(part["session"] == session) & part["along_um"].between(start_um, end_um)]
        for name, look in LOOKS.items():
            places = here.loc[here["shown"] == name, "along_um"]
            axes.plot(places, np.full(len(places), line), **_paint(look))
        for _, members in here[here["cluster"] != ALONE].groupby("cluster"):
            ends = members["along_um"].agg(["min", "max"])
            axes.plot(ends, [line + 0.34] * 2, color=NEW_COLOUR, linewidth=2.5, solid_capstyle="butt")
    axes.set_yticks(range(len(sessions)), [f"day {days[session]:g}" for session in sessions])
    axes.set_ylim(len(sessions) - 0.4, -0.6)
    axes.set_xlim(start_um - 0.5, end_um + 0.5)
    axes.set_xlabel("along the dendrite (µm)")
    axes.set_title(
        f"{row['group'] or 'animal'} · {row['animal']} {row['field']} dendrite {row['dendrite']}", loc="left"
    )


def _best_stretch(part: pd.DataFrame) -> tuple[float, float]:
    """Return the stretch of at most STRETCH_UM that holds most new spines, and of these the first."""
    along = np.sort(part["along_um"].unique())
    if along[-1] - along[0] <= STRETCH_UM:
        return float(along[0]), float(along[-1])
    new = np.sort(part.loc[part["shown"] == "new", "along_um"].to_numpy(dtype=float))
    starts = along[along <= along[-1] - STRETCH_UM]
    starts = starts if len(starts) else along[:1]
    counts = np.searchsorted(new, starts + STRETCH_UM, "right") - np.searchsorted(new, starts, "left")
    start = float(starts[int(np.argmax(counts))])
    return start, start + STRETCH_UM


def _paint(look: Look) -> dict[str, Any]:
    face = look.colour if look.filled else "white"
    return {"linestyle": "", "marker": look.marker, "color": look.colour, "markerfacecolor": face, "markersize": 5.0}


def _handle(look: Look) -> Line2D:
    return Line2D([], [], **_paint(look), label=look.words)
