"""How long new spines stay, in and outside clusters (analysis 8), and how long those of the first view (analysis 9).

What it is to stay, to be lost and not to be judged is told in :mod:`analysis.study.lifetimes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from analysis.model import Fate, SpineKind, SpineState
from analysis.study.charts import COLOURS, MARKERS, QUIET, draw_course, group_colour, group_marker, key_above, panels
from analysis.study.clusters import ALONE, cluster_members
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import FEWEST, compare_groups, compare_paired, group_means, holm
from analysis.study.intervals import phase_fates, phase_names, phases_of
from analysis.study.lifetimes import (
    AnimalDraws,
    Floats,
    censored,
    drawn_p,
    drawn_survival,
    followed_spines,
    kaplan_meier,
    lifetimes,
    limits,
    loss_rates,
    still_there,
    weibull_shape,
)
from analysis.study.settings import StudySettings
from analysis.study.tables import SPINE_KEY, StudyTables

CLUSTERED, LONE, UNDECIDED = "clustered", "non-clustered", "undecided"
CLASSES = (CLUSTERED, LONE)
CLASS_COLOURS = {CLUSTERED: COLOURS[1], LONE: QUIET}
CLASS_MARKERS = {CLUSTERED: MARKERS[0], LONE: MARKERS[1]}
SPINE_CLASS = "spine_class"
BY_CLASS = ["phase", "group", "animal", SPINE_CLASS]
MOST_COLUMNS = 4
"""Panels side by side."""
MOST_RATE_RUNS = 2_000
"""Draws of animals for the interval of a rate of loss."""
DRAWN = "interval over draws of whole animals"
HOLM_DAYS = "P of each kind of test is corrected after Holm over the days, phases and groups"


# ---- analysis 8 ------------------------------------------------------------------------------------------------------


def persistence_of_new_spines(tables: StudyTables, settings: StudySettings) -> Finding:
    """Answer analysis 8.

    Raises
    ------
    NotComputable
        No spine was new in a phase, or none was looked for on a later day.
    """
    start = new_spine_classes(tables, settings)
    undecided = int((start[SPINE_CLASS] == UNDECIDED).sum())
    followed = followed_spines(tables, start[start[SPINE_CLASS] != UNDECIDED], same_day=settings.same_day)
    if followed.empty:
        raise NotComputable(
            "no new spine was looked for after its phase; persistence needs a session after a phase ends"
        )
    persistence = _by_phase(still_there(followed, BY_CLASS), tables, settings)
    lives = lifetimes(followed, ["phase", "group", SPINE_CLASS])
    parts = [_Part(*key, lives, persistence, settings) for key in _phases_and_groups(persistence)]
    curves = pd.concat([part.curves() for part in parts], ignore_index=True)
    statistics = tuple(correct_by_kind([line for part in parts for line in part.statistics()]))
    legend = (
        "By phase and group: share of the new spines of a phase that are still present, by days after the "
        "phase's last session: new spines in clusters (definition 1: neighbouring new spines with no existing one "
        "between) and the others. "
        "Lines: Kaplan-Meier, straight between sessions; bands: 95 % interval over draws of whole animals (three at "
        "least). Marks: mean +/- s.e.m. of animals, each the % of its spines that the session could judge. "
        f"{_count(lives)}; by panel in its title. {undecided} new spines were left out because a spine that could not "
        "be judged leaves open whether they are in a cluster. A spine is lost at the first later session in which it "
        "is absent; one that could not be judged is never counted as lost: it is bridged when present afterwards, else "
        "followed to where it was last seen. Animals' shares are compared by turning the signs of their differences, "
        f"Wilcoxon's signed rank test and paired t, curves, rates of loss and log-rank as they are ({HOLM_DAYS}). "
        "The log-rank test takes spines as independent, "
        "which those of one animal are not; its P stands for comparison with other work. Rates of loss: exponential "
        "model of lifetimes that end between two sessions."
    )  # fmt: skip
    named = {"": persistence, "kaplan_meier": curves, "lifetimes": lives}

    def draw() -> Figure:
        return _draw_parts(parts)

    return Finding("08_persistence", "Persistence of new spines", legend, named, statistics, draw)


def new_spine_classes(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return the new spines of every phase: the key, ``phase, group, spine_class`` and ``from_session``, its last one.

    Raises
    ------
    NotComputable
        No phase has two sessions, or no spine was new.
    """
    phases = phases_of(tables, same_day=settings.same_day)
    fates = phase_fates(tables, phases, with_filopodia=settings.with_filopodia)
    members = cluster_members(fates)
    fates[SPINE_CLASS] = np.select(
        [members["cluster"] != ALONE, members["undecided"]], [CLUSTERED, UNDECIDED], default=LONE
    )
    new = fates[fates["fate"] == Fate.GAINED.value]
    if new.empty:
        raise NotComputable("no spine was new in a phase; persistence needs new spines")
    ends = pd.DataFrame(
        [(one.name, one.animal, one.sessions[-1]) for one in phases], columns=["phase", "animal", "from_session"]
    )
    return new[[*SPINE_KEY, "phase", "group", SPINE_CLASS]].merge(ends, on=["phase", "animal"])


def _phases_and_groups(persistence: pd.DataFrame) -> list[tuple[str, str]]:
    pairs = persistence[["phase", "group"]].drop_duplicates()
    return [(str(phase), str(group)) for phase, group in pairs.itertuples(index=False)]


def _by_phase(persistence: pd.DataFrame, tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    names = phase_names(phases_of(tables, same_day=settings.same_day))
    phases = {name: place for place, name in enumerate(names)}
    animals = {name: place for place, name in enumerate(tables.animals["animal"])}
    ranked = persistence.assign(p=persistence["phase"].map(phases), a=persistence["animal"].map(animals))
    return ranked.sort_values(["p", "a", SPINE_CLASS, "days_after"], ignore_index=True).drop(columns=["p", "a"])


class _Part:
    """The new spines of one phase and group."""

    def __init__(
        self, phase: str, group: str, lives: pd.DataFrame, persistence: pd.DataFrame, settings: StudySettings
    ) -> None:
        self.phase, self.group, self._settings = phase, group, settings
        self.persistence = _of(persistence, phase=phase, group=group)
        own = _of(lives, phase=phase, group=group)
        self.lives = {name: part for name in CLASSES if len(part := own[own[SPINE_CLASS] == name])}
        self.animals = sorted(own["animal"].unique())
        self._draws = AnimalDraws.of(self.animals, settings.runs, settings.seed)
        self._tables = {name: kaplan_meier(part, self._draws) for name, part in self.lives.items()}

    @property
    def title(self) -> str:
        """What a panel is of."""
        return f"phase {self.phase}, group {self.group}" if self.group else f"phase {self.phase}"

    def curves(self) -> pd.DataFrame:
        """Return the Kaplan-Meier curves."""
        parts = [
            table.assign(phase=self.phase, group=self.group, spine_class=name) for name, table in self._tables.items()
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def statistics(self) -> Iterator[Statistic]:
        """Return tests and estimates."""
        yield from self._by_day()
        where = f"new spines, {self.title}"
        samples = {name: _Sample(lives, self._draws) for name, lives in self.lives.items()}
        for name, sample in samples.items():
            yield from _rate_lines(sample, f"{name} {where}")
        if len(samples) == len(CLASSES):
            yield from _compare(samples[CLUSTERED], samples[LONE], where, f"{CLUSTERED} against {LONE}")

    def _by_day(self) -> list[Statistic]:
        tested: list[Statistic] = []
        means: list[Statistic] = []
        for days, rows in self.persistence.groupby("days_after"):
            measure = f"still present {days:g} days after, new spines, {self.title}, %"
            means += group_means(rows.assign(group=rows[SPINE_CLASS]), "percent", measure, spines="judged")
            wide = rows.pivot_table(index="animal", columns=SPINE_CLASS, values=["percent", "judged"]).dropna()
            if wide.empty or len(wide["percent"].columns) < len(CLASSES):
                continue
            pair = [wide["percent"][name].to_numpy(dtype=float) for name in CLASSES]
            spines = int(wide["judged"].to_numpy().sum())
            lines = compare_paired(
                pair[0], pair[1], measure, f"{CLUSTERED} against {LONE}",
                n_spines=spines, runs=self._settings.runs, seed=self._settings.seed,
            )  # fmt: skip
            tested += lines
        return [*means, *tested]

    def draw(self, axes: Axes) -> None:
        """Draw curves and animals' means."""
        for name, table in self._tables.items():
            draw_curve(axes, table, CLASS_COLOURS[name], name, "-" if name == CLUSTERED else "--")
            rows = self.persistence[self.persistence[SPINE_CLASS] == name]
            told = rows.groupby("days_after")["percent"].agg(["mean", "sem"]).fillna(0.0)
            aside = (0.01 if name == CLUSTERED else -0.01) * float(self.persistence["days_after"].max())
            axes.errorbar(
                told.index.to_numpy(dtype=float) + aside, told["mean"], yerr=told["sem"], fmt=CLASS_MARKERS[name],
                color=CLASS_COLOURS[name], markersize=4.0, capsize=2.0, linewidth=0.8,
            )  # fmt: skip
        numbers = ", ".join(f"{len(self.lives.get(name, ()))} {name}" for name in CLASSES)
        of = ", ".join(word for word in (self.phase, self.group) if word)
        axes.set_title(f"{of}\n{len(self.animals)} animals: {numbers}", fontsize=7)
        _share_axes(axes, "days after the end of the phase")


def _draw_parts(parts: Sequence[_Part]) -> Figure:
    columns = min(len(parts), MOST_COLUMNS, max(FEWEST, len({part.group for part in parts})))
    figure, axes = panels(columns, -(-len(parts) // columns), width_in=2.7)
    for place, part in zip(axes, parts, strict=False):
        part.draw(place)
    for place in axes[len(parts) :]:
        place.set_axis_off()
    fullest = max(range(len(parts)), key=lambda number: len(parts[number].lives))
    key_above(figure, axes[fullest])
    return figure


# ---- analysis 9 ------------------------------------------------------------------------------------------------------


def survival_of_old_spines(tables: StudyTables, settings: StudySettings) -> Finding:
    """Answer analysis 9.

    Raises
    ------
    NotComputable
        No spine of a field's first view was looked for on a later day.
    """
    followed = followed_spines(tables, old_spines(tables, settings), same_day=settings.same_day)
    if followed.empty:
        raise NotComputable("no field was seen on two days; survival of old spines needs a later view of them")
    shares, lives = still_there(followed, ["group", "animal"]), lifetimes(followed, ["group"])
    order = {animal: place for place, animal in enumerate(tables.animals["animal"])}
    shares = shares.assign(rank=shares["animal"].map(order)).sort_values(["rank", "days_after"], ignore_index=True)
    shares = shares.drop(columns="rank")
    groups = [group for group in tables.groups if group in set(lives["group"])]
    samples = {}
    for place, group in enumerate(groups):
        own = lives[lives["group"] == group]
        draws = AnimalDraws.of(sorted(own["animal"].unique()), settings.runs, settings.seed + place)
        samples[group] = _Sample(own, draws)
    curves = {group: kaplan_meier(sample.lives, sample.draws) for group, sample in samples.items()}
    statistics = [*_old_by_day(shares, settings), *correct_by_kind(list(_old_by_group(samples)))]
    legend = (
        "Spines present in the first view of their field, by days after it. Left: Kaplan-Meier by group, straight "
        "between sessions; bands: 95 % interval over draws of whole animals (three at least). Right: % still present "
        "of the spines that the session could judge; faint marks: animals, large marks: mean +/- s.e.m. of animals. "
        f"{_count(lives)}. A spine is lost at the first later session in which it is absent; one that could not be "
        "judged is never counted as lost: it is bridged when present afterwards, else followed to where it was last "
        "seen. Groups are compared by permutation of animals, Mann-Whitney U and Welch's t on every day (P corrected "
        "after Holm over groups and days), and by their curves, rates of loss and log-rank (after Holm over the pairs "
        "of groups). The log-rank test takes spines as independent, which those of one animal are not. Rates of loss: "
        "exponential model of lifetimes that end between two sessions."
    )
    drawn = pd.concat([table.assign(group=group) for group, table in curves.items()], ignore_index=True)
    named = {"": shares, "kaplan_meier": drawn, "lifetimes": lives}

    def draw() -> Figure:
        figure, axes = panels(2)
        for group, table in curves.items():
            draw_curve(axes[0], table, group_colour(group, tables.groups), group or "all animals")
            last = table.iloc[-1]
            axes[0].plot(
                last["days_after"], 100 * last["survival"], group_marker(group, tables.groups),
                color=group_colour(group, tables.groups), markersize=4.5,
            )  # fmt: skip
        draw_course(axes[1], shares, "percent", x="days_after", groups=tables.groups, label="still present (%)")
        for place in axes:
            _share_axes(place, "days after the first view", float(shares["percent"].min()))
        key_above(figure, axes[1])
        return figure

    return Finding("09_old_spines", "Survival of the spines of the first view", legend, named, tuple(statistics), draw)


def old_spines(tables: StudyTables, settings: StudySettings) -> pd.DataFrame:
    """Return the spines present in the first session of their field: the key, ``group`` and ``from_session``."""
    first = tables.spines.groupby(["animal", "field"])["session"].transform("min")
    rows = tables.spines[
        (tables.spines["session"] == first) & (tables.spines["state"].astype(str) == SpineState.PRESENT.value)
    ]
    if not settings.with_filopodia:
        rows = rows[rows["kind"].astype(str) != SpineKind.FILOPODIUM.value]
    start = rows[[*SPINE_KEY, "session"]].rename(columns={"session": "from_session"})
    return start.merge(tables.animals[["animal", "group"]], on="animal")


def _old_by_day(shares: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    means: list[Statistic] = []
    tested: dict[str, list[Statistic]] = {}
    for days, rows in shares.groupby("days_after"):
        measure = f"old spines still present {days:g} days after, %"
        means += group_means(rows, "percent", measure, spines="judged")
        for line in compare_groups(rows, "percent", measure, spines="judged", runs=settings.runs, seed=settings.seed):
            kind = line.test.split()[0]
            tested.setdefault("exact" if kind == "permutation" else kind, []).append(line)
    return [*means, *(line for part in tested.values() for line in holm(part))]


def _old_by_group(samples: Mapping[str, _Sample]) -> Iterator[Statistic]:
    for group, sample in samples.items():
        yield from _rate_lines(sample, f"old spines, {group}" if group else "old spines")
    for first, second in combinations(samples, 2):
        yield from _compare(samples[first], samples[second], "old spines", f"{first} against {second}")


def correct_by_kind(lines: Sequence[Statistic]) -> list[Statistic]:
    """Correct P after Holm, among the lines of one kind of test; the order of the lines stays."""
    kinds: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if line.p is not None:
            kinds.setdefault(line.test.split()[0], []).append(number)
    found = list(lines)
    for numbers in kinds.values():
        for number, line in zip(numbers, holm([lines[number] for number in numbers]), strict=True):
            found[number] = line
    return found


# ---- estimates -------------------------------------------------------------------------------------------------------


class _Sample:
    """Lifetimes of the spines of one class, with draws of the animals that they may be of."""

    def __init__(self, lives: pd.DataFrame, draws: AnimalDraws) -> None:
        self.lives, self.draws = lives, draws
        self.few = AnimalDraws(draws.animals, draws.weights[:MOST_RATE_RUNS])
        self.n_animals = int(lives["animal"].nunique())
        self.last_days = float(np.nanmax(lives[["kept_days", "gone_days"]].to_numpy(dtype=float)))
        self._once = AnimalDraws.each_once(draws.animals)

    @property
    def rate(self) -> float:
        """Rate of loss per day."""
        return float(loss_rates(self.lives, self._once)[0])

    def survival(self, days: float) -> tuple[float, Floats]:
        """Return the Kaplan-Meier share on a day, and that of every draw, %."""
        at = np.array([days])
        once, drawn = (100 * drawn_survival(self.lives, draws, at)[:, 0] for draws in (self._once, self.draws))
        return float(once[0]), drawn


def _rate_lines(sample: _Sample, what: str) -> Iterator[Statistic]:
    n_spines = len(sample.lives)
    rates = loss_rates(sample.lives, sample.few)
    low, high = _interval(rates, sample.n_animals)
    test = f"exponential model, interval-censored; {DRAWN} ({len(rates)})"
    measure = f"rate of loss, {what}, per day"
    yield Statistic(measure, "", test, sample.n_animals, n_spines, _finite(sample.rate), low, high)
    shape = weibull_shape(sample.lives)
    if shape is not None:
        test = "Weibull model, interval-censored: below 1 the rate of loss falls with age"
        yield Statistic(f"shape of lifetimes, {what}", "", test, sample.n_animals, n_spines, shape)


def _compare(first: _Sample, second: _Sample, what: str, versus: str) -> Iterator[Statistic]:
    """Compare two classes: curves on the last day up to which both are followed, rates, log-rank."""
    fewer = min(first.n_animals, second.n_animals)
    n_animals = len({*first.lives["animal"], *second.lives["animal"]})
    n_spines = len(first.lives) + len(second.lives)
    days = min(first.last_days, second.last_days)
    (one, drawn_one), (two, drawn_two) = first.survival(days), second.survival(days)
    drawn = drawn_one - drawn_two
    yield Statistic(
        f"still present {days:g} days after (Kaplan-Meier), {what}, %", versus,
        f"difference of Kaplan-Meier curves; {DRAWN} ({len(drawn)})", n_animals, n_spines,
        one - two, *_interval(drawn, fewer), drawn_p(drawn, 0.0, fewer),
    )  # fmt: skip
    if 0 < second.rate < np.inf and first.rate < np.inf:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = loss_rates(first.lives, first.few) / loss_rates(second.lives, second.few)
        yield Statistic(
            f"ratio of rates of loss, {what}", versus,
            f"exponential model, interval-censored; {DRAWN} ({len(ratios)})", n_animals, n_spines,
            first.rate / second.rate, *_interval(ratios, fewer), drawn_p(ratios, 1.0, fewer),
        )  # fmt: skip
    p = _log_rank(first.lives, second.lives)
    if p is not None:
        test = "log-rank of spines as if independent"
        yield Statistic(f"survival, {what}", versus, test, n_animals, n_spines, None, p=p)


def _log_rank(first: pd.DataFrame, second: pd.DataFrame) -> float | None:
    if not (first["gone_days"].notna().any() or second["gone_days"].notna().any()):
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        return _finite(float(stats.logrank(censored(first), censored(second)).pvalue))


def _interval(drawn: Floats, n_animals: int) -> tuple[float | None, float | None]:
    low, high = limits(drawn[:, None], n_animals)
    return _finite(float(low[0])), _finite(float(high[0]))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _of(table: pd.DataFrame, *, phase: str, group: str) -> pd.DataFrame:
    return table[(table["phase"] == phase) & (table["group"] == group)]


def _count(lives: pd.DataFrame) -> str:
    return f"n = {lives['animal'].nunique()} animals, {len(lives)} spines"


# ---- drawing ---------------------------------------------------------------------------------------------------------


def draw_curve(axes: Axes, table: pd.DataFrame, colour: str, label: str, line: str = "-") -> None:
    """Draw a Kaplan-Meier curve with its band, in %; straight between sessions, as nobody knows when a spine went."""
    days = table["days_after"].to_numpy(dtype=float)
    low, middle, high = (100 * table[name].to_numpy(dtype=float) for name in ("low", "survival", "high"))
    axes.plot(days, middle, line, color=colour, linewidth=1.3, label=label)
    axes.fill_between(days, low, high, color=colour, alpha=0.15, linewidth=0)


def _share_axes(axes: Axes, below: str, least: float = 0.0) -> None:
    """Set the axes of shares, which begin at the ten below the least of them."""
    bottom = 10.0 * max(0, int(least // 10))
    axes.set_ylim(bottom - 0.03 * (100 - bottom), 100 + 0.03 * (100 - bottom))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(below)
    axes.set_ylabel("still present (%)")
