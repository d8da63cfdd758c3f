"""A condition is a group in a phase: what stands side by side in the figures, and is compared.

Of groups with one phase only (trained early, trained late, control) a condition is the group, and all of these are
compared with all. Where a group is seen in several phases, all groups of a phase are compared within it, those with one
phase too; a group whose one phase no other has is compared with every other condition. The phases of a group are
compared by what changed in each animal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from analysis.study.finding import NotComputable, Statistic
from analysis.study.inference import FEWEST, compare_groups, compare_paired, holm
from analysis.study.intervals import Phase, phase_names

ALL_ANIMALS = "all animals"


def conditions_of(phases: Sequence[Phase]) -> pd.DataFrame:
    """Return one row an animal and phase, ``animal, group, phase, task, condition``, sorted by group and phase.

    Raises
    ------
    NotComputable
        No animal has two sessions in a phase.
    """
    if not phases:
        raise NotComputable("no animal has sessions on two days of a phase; a new spine needs two views of its field")
    rows = [(phase.animal, phase.group, phase.name, phase.task) for phase in phases]
    table = pd.DataFrame(rows, columns=["animal", "group", "phase", "task"])
    several = table.groupby("group")["phase"].transform("nunique") > 1
    table["condition"] = [
        ", ".join(word for word in (group, phase if is_one_of_several else "") if word) or ALL_ANIMALS
        for group, phase, is_one_of_several in zip(table["group"], table["phase"], several, strict=True)
    ]
    groups, names = list(dict.fromkeys(table["group"])), phase_names(list(phases))
    place = table["group"].map(groups.index) * len(names) + table["phase"].map(names.index)
    return table.iloc[np.argsort(place, kind="stable")].reset_index(drop=True)


def condition_names(table: pd.DataFrame) -> list[str]:
    """Return the conditions of a table of one row an animal and phase, in their order."""
    return list(dict.fromkeys(table["condition"]))


def as_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose ``group`` is the condition, as charts and tests of groups take it."""
    return table.assign(group=table["condition"])


def compare_conditions(
    table: pd.DataFrame, value: str, measure: str, *, spines: str | None = None, runs: int = 10_000, seed: int = 0
) -> list[Statistic]:
    """Compare conditions by the tests of :func:`analysis.study.inference.compare_groups`.

    Every pair is compared once; P of each kind of test is corrected over all pairs after Holm.

    Parameters
    ----------
    table
        One row an animal and phase: ``animal, group, phase, condition`` and the value, NaN for none.
    value, measure, spines, runs, seed
        As of ``compare_groups``.
    """
    lines: dict[int, list[Statistic]] = {}
    for rows in _pairs(table, value):
        tests = compare_groups(as_groups(rows), value, measure, spines=spines, runs=runs, seed=seed)
        for kind, line in enumerate(tests):
            lines.setdefault(kind, []).append(line)
    corrected = [line for part in lines.values() for line in holm(part)]
    return corrected + compare_phases(table, value, measure, spines=spines, runs=runs, seed=seed)


def _pairs(table: pd.DataFrame, value: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of every two conditions that have two values or more each, no pair twice."""
    made: set[frozenset[str]] = set()
    for rows in _side_by_side(table):
        known = rows[rows[value].notna()]
        counts = known["condition"].value_counts(sort=False)
        for pair in combinations([name for name in condition_names(known) if counts[name] > 1], 2):
            if frozenset(pair) not in made:
                made.add(frozenset(pair))
                yield known[known["condition"].isin(pair)]


def _side_by_side(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield rows whose conditions may all be compared with each other: no animal is in two of them."""
    several = table.groupby("group")["phase"].transform("nunique") > 1
    if not several.any():
        yield table
        return
    for _, rows in table.groupby("phase", sort=False):
        yield rows
    yield table[~several]
    alone = ~several & (table.groupby("phase")["group"].transform("nunique") == 1)
    for group in dict.fromkeys(table.loc[alone, "group"]):
        own = table["group"] == group
        for condition in condition_names(table[~own]):
            yield table[own | (table["condition"] == condition)]


def compare_phases(
    table: pd.DataFrame, value: str, measure: str, *, spines: str | None = None, runs: int = 10_000, seed: int = 0
) -> list[Statistic]:
    """Compare every pair of phases within a group by what changed in each animal; P corrected after Holm."""
    lines: dict[int, list[Statistic]] = {}
    for _, rows in table[table[value].notna()].groupby("group", sort=False):
        for first, second in combinations(dict.fromkeys(rows["condition"]), 2):
            both = rows[rows["condition"] == first].merge(rows[rows["condition"] == second], on="animal")
            if len(both) < 2:
                continue
            x, y = (both[f"{value}_{side}"].to_numpy(dtype=float) for side in ("x", "y"))
            count = int(both[f"{spines}_x"].sum() + both[f"{spines}_y"].sum()) if spines else 0
            tests = compare_paired(
                x, y, measure, f"{first} against {second}", n_spines=count, runs=runs, seed=seed
            )  # fmt: skip
            for kind, line in enumerate(tests):
                lines.setdefault(kind, []).append(line)
    return [line for part in lines.values() for line in holm(part)]


@dataclass(frozen=True)
class KindNames:
    """Columns of a table of one row a kind of spines: its value, its number of spines, and what is paired."""

    value: str
    spines: str
    paired: tuple[str, ...]


def compare_kinds(
    table: pd.DataFrame, names: KindNames, pairs: Sequence[tuple[str, str]], measure: str, *, runs: int, seed: int
) -> list[Statistic]:
    """Compare kinds of spines within animals, by condition; P of each test corrected after Holm.

    Parameters
    ----------
    table
        ``condition``, ``kind``, and the columns that ``names`` tells.
    names
        The columns.
    pairs
        Which kinds are compared with which; those that a condition lacks are left out.
    measure
        What the value is, with its unit.
    """
    kinds: dict[int, list[Statistic]] = {}
    for condition, rows in table.groupby("condition", sort=False):
        wide = rows.pivot_table(index=list(names.paired), columns="kind", values=[names.value, names.spines])
        for first, second in pairs:
            columns = [(names.value, first), (names.value, second)]
            if not set(columns) <= set(wide.columns) or len(pair := wide[columns].dropna()) < FEWEST:
                continue
            x, y = pair.to_numpy(dtype=float).T
            count = int(wide.loc[pair.index, [(names.spines, first), (names.spines, second)]].sum().sum())
            words = f"{first} against {second}: {condition}"
            tests = compare_paired(x, y, measure, words, n_spines=count, runs=runs, seed=seed)
            for place, line in enumerate(tests):
                kinds.setdefault(place, []).append(line)
    return [line for lines in kinds.values() for line in holm(lines)]


def tell_numbers(table: pd.DataFrame, value: str, spines: str, noun: str = "new spines", why_none: str = "") -> str:
    """Return n of every condition as a sentence, and the animals that have no value, by name."""
    told = [
        f"{name}: {len(rows)} {'animal' if len(rows) == 1 else 'animals'}, {int(rows[spines].sum())} {noun}"
        for name, rows in table[table[value].notna()].groupby("condition", sort=False)
    ]
    without = table.loc[table[value].isna()]
    names = list(dict.fromkeys(without["animal"] + (" (" + without["phase"] + ")" if without.size else "")))
    left_out = f" No value ({why_none or f'no {noun} to count'}): {', '.join(names)}." if names else ""
    return f"n: {'; '.join(told) or 'none'}.{left_out}"
