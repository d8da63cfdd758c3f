"""Analysis 11: whether the first spine of a cluster grows as the next one joins it.

The head of each first spine is compared with itself: from when it is first seen until the succedent is there, and since
then to the end of the phase. Beside it, over the same sessions of the same animal, stand new spines in no cluster that
were first seen in the same session, and stable spines. Sizes are compared as ratios, on a logarithmic scale, each
measurement weighed by its own uncertainty; the animal is the unit. Saturated measurements are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.model import Fate, SpineState
from analysis.study import charts
from analysis.study.clusters import ALONE, FIRST, SUCCEDENT, cluster_members, cluster_roles
from analysis.study.conditions import condition_names, conditions_of, tell_numbers
from analysis.study.finding import Finding, NotComputable, Statistic
from analysis.study.inference import compare_paired, group_means, holm, mean_sem
from analysis.study.intervals import Phase, phase_fates, phases_of
from analysis.study.settings import StudySettings
from analysis.study.tables import SPINE_KEY, StudyTables

CLASSES = {
    "first": "first spines of clusters",
    "alone": "new spines in no cluster, first seen in the same session",
    "stable": "stable spines",
}
MEASURE = "head size after the succedent joined over before, change in %"
CASE = ["phase", *SPINE_KEY, "class", "first_seen", "joined"]
LEAST_ANIMALS = 2
POOLED = "all animals"


def head_size_of_first_spines(tables: StudyTables, settings: StudySettings) -> Finding:
    """Return how the heads of first spines change as their succedents join, beside those of other spines.

    Raises
    ------
    NotComputable
        There is no phase of two views, no cluster whose spines came one after the other, or no measured head of one.
    """
    phases = phases_of(tables, same_day=settings.same_day)
    units = conditions_of(phases)
    cases = _cases(phase_fates(tables, phases, with_filopodia=settings.with_filopodia), phases)
    seen = _measurements(tables, cases)
    changes = _changes(cases, seen[~seen["saturated"]], units)
    if not (changes["class"] == "first").any():
        raise NotComputable(
            f"of {int((cases['class'] == 'first').sum())} clusters whose spines came one after the other none has a "
            "first spine with a measured, unsaturated head both before and after; it needs lower power or gain"
        )
    by_animal = _by_animal(changes, units)
    saturated = seen[seen["saturated"]].drop_duplicates([*SPINE_KEY, "session", "class"])
    left_out = saturated["class"].value_counts().reindex(list(CLASSES), fill_value=0)
    return Finding(
        name="11_head_size",
        title="Head size of the first spine of a cluster, before and after the next one joins",
        legend=_legend(by_animal, left_out),
        tables={
            "": changes,
            "animals": by_animal,
            "saturated": pd.DataFrame({"class": left_out.index, "measurements": left_out.to_numpy()}),
        },
        statistics=tuple(_statistics(by_animal, settings)),
        draw=lambda: _draw(changes, by_animal),
    )


def _cases(fates: pd.DataFrame, phases: Sequence[Phase]) -> pd.DataFrame:
    """Return the spines that are compared: one row a spine and a pair of sessions that a first spine gives.

    Columns ``phase``, those of a spine, ``class`` (first, alone, stable), ``first_seen`` and ``joined`` (the sessions
    of the first spine and of its succedent), ``last`` (session of the phase), ``case`` (number of the row).
    """
    told = pd.concat([fates, cluster_members(fates)], axis=1)
    told["role"] = cluster_roles(fates, told["cluster"])
    joined = told[told["role"] == SUCCEDENT].groupby("cluster")["formed"].min()
    firsts = told[told["role"] == FIRST].assign(joined=lambda rows: rows["cluster"].map(joined).astype(int))
    if firsts.empty:
        raise NotComputable(
            "no cluster (definition 1) has spines that were first seen one after the other; it needs a session within "
            "a phase, and more new spines"
        )
    firsts = firsts.assign(first_seen=firsts["formed"])
    splits = firsts[["phase", "animal", "first_seen", "joined"]].drop_duplicates()
    alone = told[(told["fate"] == Fate.GAINED.value) & (told["cluster"] == ALONE) & ~told["undecided"]]
    alone = alone.assign(first_seen=alone["formed"]).merge(splits, on=["phase", "animal", "first_seen"])
    stable = told[told["fate"] == Fate.STABLE.value].merge(splits, on=["phase", "animal"])
    parts = [rows.assign(**{"class": name})[CASE] for name, rows in zip(CLASSES, (firsts, alone, stable), strict=True)]
    last = pd.DataFrame([(p.name, p.animal, p.sessions[-1]) for p in phases], columns=["phase", "animal", "last"])
    cases = pd.concat(parts, ignore_index=True).merge(last, on=["phase", "animal"])
    return cases.assign(case=np.arange(len(cases)))


def _measurements(tables: StudyTables, cases: pd.DataFrame) -> pd.DataFrame:
    """Return the measured heads of the cases, one row a session in which it is present, with ``after``."""
    spines = tables.spines[tables.spines["state"].astype(str) == SpineState.PRESENT.value]
    spines = spines[[*SPINE_KEY, "session", "head_size", "head_size_sd", "saturated"]]
    spines = spines.astype({"head_size": float, "head_size_sd": float, "saturated": bool, "session": int})
    seen = cases.merge(spines[spines["head_size"] > 0], on=SPINE_KEY)
    seen = seen[seen["session"].between(seen["first_seen"], seen["last"])]
    return seen.assign(after=seen["session"] >= seen["joined"])


def _changes(cases: pd.DataFrame, seen: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """Return the cases that are measured before and after: sizes, their uncertainty, the change, its weight."""
    case, after = seen["case"].to_numpy(), seen["after"].to_numpy()
    size, sd = seen["head_size"].to_numpy(), seen["head_size_sd"].to_numpy()
    is_known = bool(np.all(sd > 0))
    weight = (size / sd) ** 2 if is_known else np.ones(len(seen))

    def summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sides = [np.bincount(case[side], values[side], len(cases)) for side in (~after, after)]
        return np.array(sides, dtype=float)

    weights, logs = summed(weight), summed(weight * np.log(size))
    kept = (weights > 0).all(axis=0)
    weights, logs = weights[:, kept], logs[:, kept] / weights[:, kept]
    sizes = np.exp(logs)
    sds = sizes / np.sqrt(weights) if is_known else np.full_like(sizes, np.nan)
    table = cases[kept][CASE].assign(
        before=sizes[0], after=sizes[1], before_sd=sds[0], after_sd=sds[1], log_change=logs[1] - logs[0],
        change_percent=100.0 * np.expm1(logs[1] - logs[0]), weight=1.0 / (1.0 / weights).sum(axis=0),
    )  # fmt: skip
    return units[["animal", "phase", "group", "condition"]].merge(table, on=["animal", "phase"])


def _by_animal(changes: pd.DataFrame, units: pd.DataFrame) -> pd.DataFrame:
    """Return one row an animal and phase: of every class the weighed mean change in %, and the number of spines."""
    table = units.copy()
    for name in CLASSES:
        rows = changes[changes["class"] == name]
        rows = rows.assign(weighed=rows["weight"] * rows["log_change"]) if len(rows) else rows.assign(weighed=0.0)
        of = rows.groupby(["animal", "phase"])
        mean = of["weighed"].sum().astype(float) / of["weight"].sum().astype(float)
        spines = rows.drop_duplicates(["phase", *SPINE_KEY]).groupby(["animal", "phase"]).size()
        key = pd.MultiIndex.from_frame(table[["animal", "phase"]])
        table[f"{name}_percent"] = 100.0 * np.expm1(mean.reindex(key).to_numpy(dtype=float))
        table[f"{name}_spines"] = spines.reindex(key, fill_value=0).to_numpy(dtype=int)
    return table


def _statistics(by_animal: pd.DataFrame, settings: StudySettings) -> list[Statistic]:
    """Return means of every class, and of first spines the change against none, and against the other classes."""
    lines: list[Statistic] = []
    for name, noun in CLASSES.items():
        rows = by_animal.assign(group=by_animal["condition"])
        lines += group_means(rows, f"{name}_percent", f"{noun}: {MEASURE}", spines=f"{name}_spines")
    named = [(name, by_animal[by_animal["condition"] == name]) for name in condition_names(by_animal)]
    if len(named) > 1:
        named.append((POOLED, by_animal))
    tested: dict[tuple[str, int], list[Statistic]] = {}
    for name, rows in named:
        for other in ("", "alone", "stable"):
            for kind, line in enumerate(_tested(name, rows, other, settings)):
                tested.setdefault((other, kind), []).append(line)
    return lines + [line for part in tested.values() for line in holm(part)]


def _tested(name: str, rows: pd.DataFrame, other: str, settings: StudySettings) -> list[Statistic]:
    """Return the tests of the change of first spines against that of another class, or against none."""
    against = rows[f"{other}_percent"] if other else pd.Series(0.0, index=rows.index)
    kept = rows["first_percent"].notna() & against.notna()
    of_animals = pd.DataFrame(
        {"animal": rows["animal"], "x": np.log1p(rows["first_percent"] / 100), "y": np.log1p(against / 100)}
    )
    means = of_animals[kept].groupby("animal")[["x", "y"]].mean()  # an animal counts once, whatever its phases
    if len(means) < LEAST_ANIMALS:
        return []
    spines = int(rows.loc[kept, "first_spines"].sum())
    noun = CLASSES[other] if other else "before (no change)"
    first, second = (means[side].to_numpy(dtype=float) for side in ("x", "y"))
    words = f"{name}: {CLASSES['first']} against {noun}"
    return compare_paired(
        first, second, f"{MEASURE}, as logarithm", words, n_spines=spines, runs=settings.runs, seed=settings.seed
    )


def _legend(by_animal: pd.DataFrame, left_out: pd.Series[int]) -> str:
    shown = by_animal[by_animal["first_percent"].notna()]
    without = sorted(set(by_animal["animal"]) - set(shown["animal"]))
    saturated = ", ".join(f"{count} of {CLASSES[str(name)]}" for name, count in left_out.items())
    return (
        "Left: head size (over the local shaft) of each first spine of a cluster (definition 1), before and after the "
        "next spine of the cluster is seen; bars are the uncertainty of the measurement (one standard deviation). "
        "Right: change in %, one mark an animal, with mean and s.e.m., of first spines, of new spines in no cluster "
        "that were first seen in the same session, and of stable spines, over the same sessions of the same animals. "
        "Of several sessions the mean is taken, each measurement weighed by its uncertainty; sizes are compared as "
        "logarithms, within the spine, and tested by animal (permutation of signs, paired t; Holm over the groups). "
        f"Saturated measurements are left out: {saturated}. "
        f"{tell_numbers(shown, 'first_percent', 'first_spines', 'first spines')} {len(without)} of "
        f"{by_animal['animal'].nunique()} animals have no such first spine and are not in the comparison."
    )


def _draw(changes: pd.DataFrame, by_animal: pd.DataFrame) -> Figure:
    names = condition_names(by_animal[by_animal["first_percent"].notna()])
    figure, (left, right) = charts.panels(2)
    _draw_pairs(left, changes[changes["class"] == "first"], names)
    _draw_classes(right, by_animal, names)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 6), fontsize=6)
    return figure


def _draw_pairs(axes: Axes, firsts: pd.DataFrame, names: Sequence[str]) -> None:
    for place, (_, row) in enumerate(firsts.iterrows()):
        name = str(row["condition"])
        shift = 0.12 * ((place % 5) / 2 - 1)
        axes.errorbar(
            [shift, 1 + shift], [row["before"], row["after"]], yerr=[row["before_sd"], row["after_sd"]],
            fmt=charts.group_marker(name, names) + "-", color=charts.group_colour(name, names), alpha=0.7,
            markersize=3.0, linewidth=0.7, elinewidth=0.5, markeredgewidth=0,
        )  # fmt: skip
    axes.set_xticks([0, 1], ["first spines, before\nthe next one joins", "after"])
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("head size over the shaft")


def _draw_classes(axes: Axes, by_animal: pd.DataFrame, names: Sequence[str]) -> None:
    axes.axhline(0, color=charts.QUIET, linewidth=0.6)
    for place, name in enumerate(names):
        rows = by_animal[by_animal["condition"] == name]
        across = np.arange(len(CLASSES)) + 0.7 * ((place + 0.5) / len(names) - 0.5)
        for number, kind in enumerate(CLASSES):
            values = rows[f"{kind}_percent"].dropna().to_numpy(dtype=float)
            axes.plot(
                across[number] + charts.spread(values, 0.3 / len(names)), values, charts.group_marker(name, names),
                color=charts.group_colour(name, names), markersize=3.0, alpha=0.7, markeredgewidth=0,
                label=name if number == 0 else None,
            )  # fmt: skip
            mean, sem = mean_sem(values)
            axes.errorbar(
                across[number], mean, yerr=0.0 if np.isnan(sem) else sem, fmt="_", color=charts.INK, markersize=8,
                capsize=1.5, linewidth=0.8,
            )  # fmt: skip
    axes.set_xticks(range(len(CLASSES)), ["first spines\nof clusters", "new, in no\ncluster", "stable"])
    axes.set_ylabel("change of head size, %")
