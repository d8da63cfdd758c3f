"""What two sessions of one day say of the measurement: between them nothing comes and nothing goes.

Every gain and every loss between them is an error, and the probability that one view reports of a spine can be held
against what the other view shows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.model import Fate, SpineKind, SpineState
from analysis.study.finding import NotComputable
from analysis.study.inference import CONFIDENCE
from analysis.study.intervals import fates_between, session_days
from analysis.study.settings import StudySettings
from analysis.study.tables import SPINE_KEY, StudyTables

ERRORS = {
    "false_gained_percent": "false gained",
    "false_lost_percent": "false lost",
    "false_turnover_percent": "false turnover",
}
"""Columns of what repeats get wrong, and their names."""
PROBABILITY_BINS = np.linspace(0.0, 1.0, 11)


def repeated_sessions(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return every session that repeats another of its day: ``animal, first, repeat, day``.

    Raises
    ------
    NotComputable
        No session does.
    """
    days = session_days(tables.sessions, same_day=settings.same_day)
    first = days["session"].where(~days["is_repeat"]).ffill()
    pairs = days.assign(first=first)[days["is_repeat"]].astype({"first": int})
    if pairs.empty:
        raise NotComputable(
            f"no animal has two sessions within {settings.same_day:g} days; "
            "take one field twice on one day, the head mounted anew between"
        )
    pairs = pairs.rename(columns={"session": "repeat"})
    return pairs[["animal", "first", "repeat", "day"]].reset_index(drop=True)


def repeat_errors(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return what repeats of a day get wrong, one row an animal, in the order of the study.

    Returns
    -------
    ``animal, group, repeats`` (pairs of sessions), ``stable, gained, lost, unscorable`` (spines), and in %:
    ``false_gained_percent`` (gained of all that the repeat shows), ``false_lost_percent`` (lost of all that the first
    shows), ``false_turnover_percent`` ((gained + lost) / (2 x present), present being the mean of both views: which of
    them came first is of no meaning). NaN where nothing was present.
    """
    pairs = repeated_sessions(tables, settings)
    spines = {str(animal): rows for animal, rows in tables.spines.groupby("animal", sort=False)}
    rows = []
    for animal, first, repeat in zip(pairs["animal"], pairs["first"], pairs["repeat"], strict=True):
        if animal not in spines:
            continue
        fates = fates_between(spines[animal], first, repeat)
        if not settings.with_filopodia:
            fates = fates[fates["kind"] != SpineKind.FILOPODIUM.value]
        rows.append((animal, *(int((fates["fate"] == fate.value).sum()) for fate in Fate)))
    table = pd.DataFrame(rows, columns=["animal", *(fate.value for fate in Fate)])
    summed = (
        table.groupby("animal", as_index=False)
        .sum()
        .merge(table.groupby("animal").size().rename("repeats"), on="animal")
    )
    return _with_errors(tables.animals[["animal", "group"]].merge(summed, on="animal"))


def _with_errors(table: pd.DataFrame) -> pd.DataFrame:
    stable, gained, lost = (table[fate.value].astype(float) for fate in (Fate.STABLE, Fate.GAINED, Fate.LOST))
    table = table.assign(false_gained_percent=100 * gained / (stable + gained).where(stable + gained > 0))
    table = table.assign(false_lost_percent=100 * lost / (stable + lost).where(stable + lost > 0))
    both = 2 * stable + gained + lost
    return table.assign(false_turnover_percent=100 * (gained + lost) / both.where(both > 0))


def pooled_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of all spines together with Wilson's interval: ``error, wrong, spines, percent, low, high``.

    Of turnover the interval is that of the share w of spines in either view that are not in both, as
    turnover = w / (2 - w).
    """
    stable, gained, lost = (int(table[fate.value].sum()) for fate in (Fate.STABLE, Fate.GAINED, Fate.LOST))
    rows = []
    for name, wrong, count in (
        (ERRORS["false_gained_percent"], gained, stable + gained),
        (ERRORS["false_lost_percent"], lost, stable + lost),
        (ERRORS["false_turnover_percent"], gained + lost, stable + gained + lost),
    ):
        share, low, high = wilson(wrong, count)
        if name == ERRORS["false_turnover_percent"]:
            share, low, high = (one / (2 - one) for one in (share, low, high))
        rows.append((name, wrong, count, 100 * share, 100 * low, 100 * high))
    return pd.DataFrame(rows, columns=["error", "wrong", "spines", "percent", "low", "high"])


def wilson(count: int, of: int) -> tuple[float, float, float]:
    """Return a share and its 95 % interval after Wilson; NaN of nothing."""
    from statsmodels.stats.proportion import proportion_confint

    if not of:
        return float("nan"), float("nan"), float("nan")
    low, high = proportion_confint(count, of, alpha=1 - CONFIDENCE, method="wilson")
    return count / of, float(low), float(high)


def seen_again(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return every judged spine of a repeat, in both directions: ``animal, probability, said`` and ``other`` (states).

    ``probability`` is that reported in one view, ``other`` whether the other view of the same day shows the spine.
    """
    pairs = repeated_sessions(tables, settings)
    columns = [*SPINE_KEY, "session", "state", "probability"]
    judged = tables.spines.loc[tables.spines["state"].astype(str) != SpineState.UNSCORABLE.value, columns]
    judged = judged.assign(there=judged["state"].astype(str).eq(SpineState.PRESENT.value)).drop(columns="state")
    first = judged.merge(
        pairs[["animal", "first", "repeat"]], left_on=["animal", "session"], right_on=["animal", "first"]
    )
    both = first.drop(columns="session").merge(
        judged, left_on=[*SPINE_KEY, "repeat"], right_on=[*SPINE_KEY, "session"], suffixes=("", "_repeat")
    )
    forth = both[["animal", "probability", "there", "there_repeat"]]
    back = both[["animal", "probability_repeat", "there_repeat", "there"]]
    named = ["animal", "probability", "said", "other"]
    table = pd.concat([part.set_axis(named, axis=1) for part in (forth, back)], ignore_index=True)
    return table[table["probability"].notna()].reset_index(drop=True)


def reported_against_seen(views: pd.DataFrame) -> pd.DataFrame:
    """Return by tenths of the reported probability how often the other view of the day shows the spine.

    Parameters
    ----------
    views
        As of :func:`seen_again`.

    Returns
    -------
    ``from_probability, to_probability, views, mean_probability, seen_share, low, high`` (Wilson).
    """
    probability = views["probability"].astype(float)
    bins = np.clip(np.digitize(probability, PROBABILITY_BINS) - 1, 0, len(PROBABILITY_BINS) - 2)
    rows = []
    for place in np.unique(bins):
        inside = views["other"][bins == place]
        mean = float(probability[bins == place].mean())
        share = wilson(int(inside.sum()), len(inside))
        rows.append((*PROBABILITY_BINS[place : place + 2], len(inside), mean, *share))
    columns = ["from_probability", "to_probability", "views", "mean_probability", "seen_share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
