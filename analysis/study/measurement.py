"""How good the measurement is: analysis 16. What repeats of a day, several raters and unscorable spines say of it.

Errors are few, and of few animals: so the numbers of all spines together stand here with Wilson's interval, beside one
value an animal. Each part is told where its data are, and named with what it lacks where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import SpineState
from analysis.study.charts import (
    COLOURS,
    INK,
    MARKERS,
    QUIET,
    draw_course,
    from_zero,
    key_above,
    panels,
    spread,
    wrapped,
)
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import compare_groups, group_means
from analysis.study.intervals import session_days
from analysis.study.raters import RatedField, pool_ratings
from analysis.study.repeats import ERRORS, pooled_errors, repeat_errors, reported_against_seen, seen_again, wilson
from analysis.study.settings import StudySettings
from analysis.study.tables import DENDRITE_KEY, StudyTables

WILSON = "share of spines of all animals, Wilson interval"
DEPTH_STEP_UM = 25.0
UNSCORABLE = "unscorable_percent"
MOST_COLUMNS = 3
Floats = NDArray[np.float64]
Part = tuple[dict[str, pd.DataFrame], list[Statistic]]
Drawn = Callable[[Axes, pd.DataFrame], None]


def measurement_quality(
    tables: StudyTables,
    settings: StudySettings,
    *,
    ratings: Sequence[RatedField] = (),
    depths: pd.DataFrame | None = None,
) -> Finding:
    """Answer analysis 16, as far as the data go.

    Parameters
    ----------
    tables, settings
        The study and its choices.
    ratings
        Fields that several raters judged, as of :func:`analysis.study.raters.rate_field`.
    depths
        ``animal, field, dendrite, depth_um`` (below the surface); None where depths are not known.

    Raises
    ------
    NotComputable
        There is no spine in any session.
    """
    if tables.spines.empty:
        raise NotComputable("there is no spine in any session; nothing is known of the measurement")
    parts: dict[str, Callable[[], Part]] = {
        "same-day repeats": lambda: _repeats(tables, settings),
        "reported probability": lambda: _probability(tables, settings),
        "unscorable share": lambda: _unscorable(tables, settings),
        "unscorable share by depth": lambda: _unscorable_by_depth(tables, depths),
        "agreement of raters": lambda: _raters(ratings),
    }
    named: dict[str, pd.DataFrame] = {}
    statistics: list[Statistic] = []
    lacking: list[tuple[str, str]] = []
    for part, compute in parts.items():
        try:
            found, lines = compute()
        except NotComputable as reason:
            lacking.append((part, str(reason)))
            continue
        named |= found
        statistics += lines
    named = {"": named["unscorable"], **named, "not_computed": pd.DataFrame(lacking, columns=["part", "reason"])}
    groups = tables.groups

    def draw() -> Figure:
        return _draw(named, groups)

    legend = _legend(named, lacking)
    return Finding("16_measurement", "Quality of the measurement", legend, named, tuple(statistics), draw)


# ---- the parts -------------------------------------------------------------------------------------------------------


def _repeats(tables: StudyTables, settings: StudySettings) -> Part:
    table = repeat_errors(tables, settings)
    pooled = pooled_errors(table)
    lines = []
    for row in pooled.to_dict("records"):
        measure = f"{row['error']} in same-day repeats, %"
        lines.append(
            Statistic(
                measure, "", WILSON, len(table), int(row["spines"]),
                _finite(row["percent"]), _finite(row["low"]), _finite(row["high"]),
            )
        )  # fmt: skip
    for column, name in ERRORS.items():
        lines += group_means(table.assign(group="all animals"), column, f"{name} in same-day repeats, %")
    return {"repeats": table, "repeats_pooled": pooled}, lines


def _probability(tables: StudyTables, settings: StudySettings) -> Part:
    table = seen_again(tables, settings)
    if table.empty:
        raise NotComputable("no spine was judged in both sessions of a day")
    lines = []
    animals = int(table["animal"].nunique())
    for name, said in (("present", True), ("absent", False)):
        part = table[table["said"] == said]
        if len(part):
            share, low, high = wilson(int(part["other"].sum()), len(part))
            measure = f"spines called {name} that the other view of the day shows, share"
            reported = float(part["probability"].astype(float).mean())
            told = f"{WILSON}; mean reported probability {reported:.3f}"
            lines.append(Statistic(measure, "", told, animals, len(part), share, low, high))
    return {"probability": reported_against_seen(table)}, lines


def unscorable_share(tables: StudyTables, settings: StudySettings, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of spines that a session could not judge, one row an animal and session (and each of ``keys``).

    Returns
    -------
    ``group, animal, session, day`` (nominal), the keys, ``spines, unscorable, unscorable_percent``; of all spines of
    the field, in whatever session each was seen.
    """
    days = session_days(tables.sessions, same_day=settings.same_day)[["animal", "session", "nominal_day"]]
    rows = tables.spines.assign(unscorable=tables.spines["state"].astype(str).eq(SpineState.UNSCORABLE.value))
    rows = rows.merge(days, on=["animal", "session"]).rename(columns={"nominal_day": "day"})
    rows = rows.merge(tables.animals[["animal", "group"]], on="animal")
    counts = rows.groupby(["group", "animal", "session", "day", *keys], as_index=False, sort=False).agg(
        spines=("track", "size"), unscorable=("unscorable", "sum")
    )
    place = {animal: number for number, animal in enumerate(tables.animals["animal"])}
    counts = counts.assign(
        **{UNSCORABLE: 100 * counts["unscorable"] / counts["spines"]}, at=counts["animal"].map(place)
    )
    return counts.sort_values(["at", "session", *keys], ignore_index=True).drop(columns="at")


def _unscorable(tables: StudyTables, settings: StudySettings) -> Part:
    table = unscorable_share(tables, settings)
    by_animal = table.groupby(["group", "animal"], as_index=False, sort=False)[["spines", "unscorable"]].sum()
    by_animal[UNSCORABLE] = 100 * by_animal["unscorable"] / by_animal["spines"]
    share, low, high = wilson(int(table["unscorable"].sum()), int(table["spines"].sum()))
    measure = "unscorable, % of spines and sessions"
    pooled = Statistic(
        measure, "", WILSON, len(by_animal), int(table["spines"].sum()), 100 * share, 100 * low, 100 * high
    )
    lines = [
        pooled,
        *group_means(by_animal, UNSCORABLE, measure, spines="spines"),
        *compare_groups(by_animal, UNSCORABLE, measure, spines="spines", runs=settings.runs, seed=settings.seed),
    ]
    return {"unscorable": table, "unscorable_by_animal": by_animal}, lines


def _unscorable_by_depth(tables: StudyTables, depths: pd.DataFrame | None) -> Part:
    if depths is None or depths.empty:
        raise NotComputable("the depths of the dendrites are not known; give the depth of each below the surface")
    rows = tables.spines.merge(depths[[*DENDRITE_KEY, "depth_um"]], on=DENDRITE_KEY)
    rows = rows[rows["depth_um"].notna()]
    if rows.empty:
        raise NotComputable("no dendrite with spines has a depth")
    step = np.floor(rows["depth_um"].astype(float) / DEPTH_STEP_UM).astype(int)
    hidden = rows["state"].astype(str).eq(SpineState.UNSCORABLE.value)
    told = []
    for place, part in hidden.groupby(step):
        share, low, high = wilson(int(part.sum()), len(part))
        at_um = float(np.asarray(place, dtype=float)) * DEPTH_STEP_UM
        told.append((at_um, at_um + DEPTH_STEP_UM, len(part), int(part.sum()), 100 * share, 100 * low, 100 * high))
    columns = ["from_um", "to_um", "spines", "unscorable", UNSCORABLE, "low", "high"]
    animals = int(rows["animal"].nunique())
    lines = [
        Statistic(f"unscorable at {a:g}-{b:g} um below the surface, %", "", WILSON, animals, n, share, low, high)
        for a, b, n, _, share, low, high in told
    ]
    return {"unscorable_by_depth": pd.DataFrame(told, columns=columns)}, lines


def _raters(ratings: Sequence[RatedField]) -> Part:
    table = pool_ratings(ratings)
    if table.empty:
        raise NotComputable(
            "no field was judged by several raters, or by one beside the software; let a second rater judge some fields"
        )
    animals = {(first, second): len({one.animal for one in ratings if (one.first, one.second) == (first, second)})
               for first, second in zip(table["first"], table["second"], strict=True)}  # fmt: skip
    lines = []
    for row in table.to_dict("records"):
        pair = (str(row["first"]), str(row["second"]))
        versus = f"{pair[0]} against {pair[1]}"
        count, n_animals = int(row["n"]), animals[pair]
        lines += [
            Statistic(
                f"agreement about {row['rated']}, kappa", versus, "Cohen's kappa of all cases", n_animals, count,
                _finite(row["kappa"]), _finite(row["low"]), _finite(row["high"]),
            ),
            Statistic(
                f"agreement about {row['rated']}, F1", versus, "2 both / (first + second)", n_animals, count,
                _finite(row["f1"]),
            ),
        ]  # fmt: skip
    return {"raters": table}, lines


def _finite(value: object) -> float | None:
    number = float(str(value))
    return number if np.isfinite(number) else None


# ---- words and picture -----------------------------------------------------------------------------------------------


def _legend(named: Mapping[str, pd.DataFrame], lacking: Sequence[tuple[str, str]]) -> str:
    shown = named["unscorable"]
    said = [
        f"n = {shown['animal'].nunique()} animals, {len(shown)} sessions. Unscorable: spines that a session could not "
        "judge, of all spines of its field; mean +/- s.e.m. of animals, faint marks: animals."
    ]
    if "repeats" in named:
        repeats = named["repeats"]
        said.append(
            f"Same-day repeats ({int(repeats['repeats'].sum())} of {len(repeats)} animals): every gain and loss is "
            "false; bars: all spines together with Wilson's 95 % interval, which takes spines as independent; marks: "
            "animals; false turnover = (gained + lost) / (2 x present), present being the mean of both views."
        )
    if "probability" in named:
        said.append(
            "Reported probability of a spine in one view against the share that the other view of the day shows "
            "(Wilson); the dashed line is where they are equal. The tables hold only spines that were seen in some "
            "session: shares at low probabilities come out too high."
        )
    if "unscorable_by_depth" in named:
        said.append(f"By depth below the surface in steps of {DEPTH_STEP_UM:g} um, all spines and sessions (Wilson).")
    if "raters" in named:
        said.append(
            "Raters: Cohen's kappa of each class against the rest with its 95 % interval, all fields together; the "
            "review is made of decisions about what the software found, and is not independent of it."
        )
    said += [f"Not computed: {part} ({reason})." for part, reason in lacking]
    return " ".join(said)


def _draw(named: Mapping[str, pd.DataFrame], groups: Sequence[str]) -> Figure:
    drawn: dict[str, Drawn] = {
        "unscorable": lambda axes, table: _draw_unscorable(axes, table, groups),
        "unscorable_by_depth": _draw_depth,
        "repeats_pooled": lambda axes, table: _draw_repeats(axes, table, named["repeats"]),
        "probability": _draw_probability,
        "raters": _draw_raters,
    }
    shown = [name for name in drawn if name in named]
    wide = len(shown) if len(shown) <= MOST_COLUMNS else -(-len(shown) // 2)
    figure, axes = panels(wide, -(-len(shown) // wide))
    for place, name in zip(axes, shown, strict=False):
        drawn[name](place, named[name])
    for place in axes[len(shown) :]:
        place.set_axis_off()
    key_above(figure, axes[0])
    return figure


def _draw_unscorable(axes: Axes, table: pd.DataFrame, groups: Sequence[str]) -> None:
    draw_course(axes, table, UNSCORABLE, x="day", groups=groups, label="unscorable (%)")
    axes.set_xlabel("day")
    from_zero(axes)


def _draw_depth(axes: Axes, table: pd.DataFrame) -> None:
    middle = (table["from_um"] + table["to_um"]) / 2
    _draw_shares(axes, middle.to_numpy(dtype=float), table, UNSCORABLE, colour=INK)
    axes.set_xlabel("depth below the surface (um)")
    axes.set_ylabel("unscorable (%)")
    from_zero(axes)


def _draw_repeats(axes: Axes, pooled: pd.DataFrame, animals: pd.DataFrame) -> None:
    _draw_shares(axes, np.arange(len(pooled), dtype=np.float64) + 0.2, pooled, "percent", colour=INK)
    for place, column in enumerate(ERRORS):
        values = animals[column].dropna().to_numpy(dtype=float)
        axes.plot(place - 0.15 + spread(values), values, "o", color=QUIET, markersize=4.0, markeredgewidth=0)
    axes.set_xticks(range(len(pooled)), [wrapped(str(name)) for name in pooled["error"]])
    axes.set_xlim(-0.6, len(pooled) - 0.4)
    axes.set_ylabel("same-day repeats (%)")
    from_zero(axes)


def _draw_probability(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=0.8)
    _draw_shares(axes, table["mean_probability"].to_numpy(dtype=float), table, "seen_share", colour=COLOURS[0])
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("reported probability")
    axes.set_ylabel("share seen in the other view")


def _draw_raters(axes: Axes, table: pd.DataFrame) -> None:
    table = table[table["kappa"].notna()]
    classes = list(dict.fromkeys(table["rated"]))
    pairs = list(dict.fromkeys(zip(table["first"], table["second"], strict=True)))
    for number, (first, second) in enumerate(pairs):
        own = table[(table["first"] == first) & (table["second"] == second)]
        at = own["rated"].map(classes.index).to_numpy(dtype=float) + 0.7 * ((number + 0.5) / len(pairs) - 0.5)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        _draw_shares(axes, at, own, "kappa", colour=colour, marker=marker)
        axes.plot([], [], marker, color=colour, markersize=4.5, label=f"{first} / {second}")
    axes.set_xticks(range(len(classes)), [wrapped(name) for name in classes])
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.set_ylim(top=1.05)
    axes.set_ylabel("Cohen's kappa")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=6)


def _draw_shares(axes: Axes, at: Floats, table: pd.DataFrame, value: str, *, colour: str, marker: str = "o") -> None:
    middle, low, high = (table[name].to_numpy(dtype=float) for name in (value, "low", "high"))
    reach = np.clip([middle - low, high - middle], 0.0, None)
    axes.errorbar(at, middle, yerr=reach, fmt=marker, color=colour, markersize=4.5, capsize=2.5, linewidth=1.0)
