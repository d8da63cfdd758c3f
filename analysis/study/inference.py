"""From one value an animal to a statement about groups. The animal is the statistical unit, always.

Every test is that of a kept library; what is written here is which one is asked, and how its answer is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.study.finding import Statistic

CONFIDENCE = 0.95
MOST_EXACT = 200_000
"""Ways to deal animals to two groups up to which all are tried; beyond, as many as there are runs are drawn."""


def mean_sem(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean and its standard error; NaN where there are too few."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    return float(values.mean()), float(stats.sem(values)) if len(values) > 1 else float("nan")


def group_means(table: pd.DataFrame, value: str, measure: str, *, spines: str | None = None) -> list[Statistic]:
    """Return mean and t interval of every group.

    Parameters
    ----------
    table
        One row an animal: ``group`` and ``value``; animals without a value (NaN) are left out.
    value
        Column of the value.
    measure
        What it is, with its unit.
    spines
        Column of the number of spines behind each value.
    """
    found = []
    for group, rows in table[table[value].notna()].groupby("group", sort=False):
        values = rows[value].to_numpy(dtype=float)
        mean, sem = mean_sem(values)
        low, high = (None, None)
        if len(values) > 1:
            low, high = (
                mean + sign * sem * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) for sign in (-1, 1)
            )
        count = int(rows[spines].sum()) if spines else 0
        found.append(Statistic(measure, str(group), "mean of animals, t interval", len(values), count, mean, low, high))
    return found


def compare_groups(
    table: pd.DataFrame, value: str, measure: str, *, spines: str | None = None, runs: int = 10_000, seed: int = 0
) -> list[Statistic]:
    """Compare every pair of groups by three tests; P of each kind is corrected over the pairs after Holm.

    The tests are: permutation of animals between the groups (exact where there are few), Mann-Whitney U, Welch's t.
    The value of each line is the difference of the means, with the t interval of Welch.
    """
    rows = table[table[value].notna()]
    groups = {str(name): part for name, part in rows.groupby("group", sort=False) if len(part) > 1}
    lines: dict[str, list[Statistic]] = {}
    for (first, a), (second, b) in combinations(groups.items(), 2):
        x, y = a[value].to_numpy(dtype=float), b[value].to_numpy(dtype=float)
        count = int(a[spines].sum() + b[spines].sum()) if spines else 0
        welch = welch_interval(x, y)
        ways = comb(len(x) + len(y), len(x))
        exact = f"exact permutation of animals ({ways} ways)"
        named = {
            exact if ways <= MOST_EXACT else f"permutation of animals ({runs} drawn)": permute_animals(
                x, y, runs, seed
            ),
            "Mann-Whitney U": float(stats.mannwhitneyu(x, y).pvalue),
            "Welch t": welch[2],
        }
        for kind, (test, p) in zip(("permutation", "rank", "t"), named.items(), strict=True):
            line = Statistic(
                measure, f"{first} against {second}", test, len(x) + len(y), count, float(x.mean() - y.mean())
            )
            lines.setdefault(kind, []).append(replace(line, low=welch[0], high=welch[1], p=p))
    return [line for part in lines.values() for line in holm(part)]


def welch_interval(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Return low and high of the 95 % interval of mean(x) - mean(y), and P; None of what spread is none."""
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return None, None, None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)  # equal in one group
        result = stats.ttest_ind(x, y, equal_var=False)
    interval = result.confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high), float(result.pvalue)


def permute_animals(x: NDArray[np.float64], y: NDArray[np.float64], runs: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided P of a difference of means when animals are dealt to the groups at random."""
    ways = comb(len(x) + len(y), len(x))
    result = stats.permutation_test(
        [x.tolist(), y.tolist()], lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis), vectorized=True,
        n_resamples=ways if ways <= MOST_EXACT else runs, rng=np.random.default_rng(seed), batch=20_000,
    )  # fmt: skip
    return float(result.pvalue)


def holm(lines: Sequence[Statistic]) -> list[Statistic]:
    """Return lines of one question with their P corrected after Holm; those without a P stay as they are."""
    tested = [number for number, line in enumerate(lines) if line.p is not None]
    if not tested:
        return list(lines)
    ps = np.array([lines[number].p for number in tested], dtype=float)
    order = np.argsort(ps, kind="stable")
    raised = np.maximum.accumulate(ps[order] * (len(ps) - np.arange(len(ps))))
    corrected = np.empty(len(ps))
    corrected[order] = np.minimum(raised, 1.0)
    result = list(lines)
    for number, p in zip(tested, corrected, strict=True):
        result[number] = replace(lines[number], p_corrected=float(p), correction=f"Holm, {len(ps)} comparisons")
    return result


def against_null(
    observed: float, drawn: NDArray[np.float64], measure: str, null: str, *, n_animals: int, n_spines: int
) -> Statistic:
    """Return an observed number against the runs of a null: value observed, interval of the null, two-sided P.

    P counts the observed as one of the runs, so that it is never 0: (1 + runs at least as far out) / (1 + runs), twice
    the smaller side.
    """
    drawn = np.asarray(drawn, dtype=float)
    drawn = drawn[np.isfinite(drawn)]
    above, below = ((1 + np.count_nonzero(side)) / (1 + len(drawn)) for side in (drawn >= observed, drawn <= observed))
    low, high = (float(value) for value in np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    spread = float(drawn.std())
    z = f", z = {(observed - drawn.mean()) / spread:.2f}" if spread else ""
    test = f"{null}, {len(drawn)} runs: mean {drawn.mean():.4g}{z}; the interval is the null's"
    p = min(1.0, 2 * min(above, below))
    return Statistic(measure, "observed against chance", test, n_animals, n_spines, float(observed), low, high, p)


def by_animal(values: Mapping[str, float], animals: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row an animal, ``animal, group`` and the value, in the order of ``animals``; NaN for none."""
    return animals[["animal", "group"]].assign(**{name: animals["animal"].map(dict(values)).astype(float)})
