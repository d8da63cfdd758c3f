"""From one value an animal to a statement about groups. The animal is the statistical unit, always.

Every test is that of a kept library; what is written here is which one is asked, and how its answer is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.study.finding import Statistic

CONFIDENCE = 0.95
FEWEST = 2
"""Values that it takes to speak of a spread, and groups that it takes to compare them."""
ROUNDING = 1e-12
"""Values that differ by no more of their size are equal."""
NULL_ROUNDING = 1e-9
"""Runs of a null that differ from the observed by no more of its size are equal to it."""
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
    """Return low and high of the 95 % interval of mean(x) - mean(y), and P; None of what spread is none.

    One group may be without spread: all its animals at 100 %.
    """
    if is_flat(x) and is_flat(y):
        return None, None, None
    parts = [0.0 if is_flat(values) else float(np.var(values, ddof=1)) / len(values) for values in (x, y)]
    error = sum(parts) ** 0.5
    free = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (x, y), strict=True))
    apart = float(np.mean(x) - np.mean(y))
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, free))
    return apart - reach, apart + reach, 2 * float(stats.t.sf(abs(apart) / error, free))


def is_flat(values: NDArray[np.float64]) -> bool:
    """Return whether values are equal but for rounding: nothing can be said of their spread."""
    return bool(np.ptp(values) <= ROUNDING * np.max(np.abs(values)))


def permute_animals(x: NDArray[np.float64], y: NDArray[np.float64], runs: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided P of a difference of means when animals are dealt to the groups at random.

    Twice the share of the ways that are at least as far out on the nearer side, as of
    :func:`scipy.stats.permutation_test`, which takes a hundred times as long where every way is tried.
    """
    if comb(len(x) + len(y), len(x)) > MOST_EXACT:
        result = stats.permutation_test(
            [x.tolist(), y.tolist()], lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
            vectorized=True, n_resamples=runs, rng=np.random.default_rng(seed), batch=20_000,
        )  # fmt: skip
        return float(result.pvalue)
    values = np.concatenate([x, y]).astype(float)
    sums = values[_every_deal(len(values), len(x))].sum(axis=1)
    rounding = ROUNDING * float(np.abs(values).sum())
    beyond = [np.mean(sums >= sums[0] - rounding), np.mean(sums <= sums[0] + rounding)]
    return min(1.0, 2 * float(min(beyond)))


@lru_cache(maxsize=32)
def _every_deal(animals: int, first: int) -> NDArray[np.intp]:
    """Return every way to deal animals to a first group, shape (ways, first); the first way is the observed one."""
    return np.array(list(combinations(range(animals), first)), dtype=np.intp)


def compare_paired(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    measure: str,
    comparison: str,
    *,
    n_spines: int = 0,
    runs: int = 10_000,
    seed: int = 0,
) -> list[Statistic]:
    """Compare two values of each animal by three tests: signs of the differences turned, Wilcoxon, paired t.

    The value is the mean of first - second over the animals that have both, with its t interval; P are not corrected.
    None of fewer than two animals.
    """
    apart = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    apart = apart[np.isfinite(apart)]
    n, ways = len(apart), 2 ** len(apart)
    if n < FEWEST:
        return []
    mean, sem = mean_sem(apart)
    signs = stats.permutation_test(
        [apart.tolist()], lambda a, axis: np.mean(a, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=ways if ways <= MOST_EXACT else runs, rng=np.random.default_rng(seed), batch=20_000,
    )  # fmt: skip
    how = f"exact, {ways} ways" if ways <= MOST_EXACT else f"{runs} drawn"
    named: dict[str, float | None] = {
        f"signs of the animals' differences turned ({how})": float(signs.pvalue),
        "Wilcoxon signed rank": float(stats.wilcoxon(apart).pvalue) if np.any(apart) else None,
        "paired t": float(stats.ttest_1samp(apart, 0.0).pvalue) if not is_flat(apart) else None,
    }
    reach = sem * float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1))
    low, high = (mean - reach, mean + reach) if not is_flat(apart) else (None, None)
    return [Statistic(measure, comparison, test, n, n_spines, mean, low, high, p) for test, p in named.items()]


def compare_nested(
    table: pd.DataFrame, value: str, measure: str, *, unit: str = "dendrite", spines: str | None = None
) -> list[Statistic]:
    """Compare every pair of groups by a mixed model of values nested in animals: the animal is its random effect.

    The model is fitted by restricted maximum likelihood to all groups at once. P and interval of a difference are
    those of t with (animals - groups) degrees of freedom: the normal distribution, which the model's own table uses,
    is too narrow for a few animals. Where the model does not converge, or finds no spread between animals (it would
    then take each value for an animal), one line says so and has no number: the tests of animals stand alone.

    Parameters
    ----------
    table
        One row a value: ``animal``, ``group`` and the value; NaN are left out.
    value
        Column of the value.
    measure
        What it is, with its unit.
    unit
        What one value is of.
    spines
        Column of the number of spines behind each value.
    """
    rows = table[table[value].notna()]
    animals = rows.groupby("group", sort=False)["animal"].nunique()
    names = [str(name) for name in animals.index[animals >= FEWEST]]
    rows = rows[rows["group"].isin(names)]
    count = int(rows["animal"].nunique())
    if len(names) < FEWEST or len(rows) == count:
        return []
    test = f"mixed model of {len(rows)} {unit}s, animal as random effect (REML)"
    fitted = _nested_means(rows, value, names)
    if isinstance(fitted, str):
        said = f"{test}: {fitted}; the tests of animals stand alone"
        return [Statistic(measure, "groups", said, count, int(rows[spines].sum()) if spines else 0, None)]
    free = count - len(names)
    lines = []
    for first, second in combinations(range(len(names)), 2):
        apart, error = _contrast(fitted, first, second)
        reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, free))
        pair = rows[rows["group"].isin([names[first], names[second]])]
        lines.append(
            Statistic(
                measure, f"{names[first]} against {names[second]}", f"{test}, t with {free} degrees of freedom",
                int(pair["animal"].nunique()), int(pair[spines].sum()) if spines else 0,
                apart, apart - reach, apart + reach, 2 * float(stats.t.sf(abs(apart) / error, free)),
            )
        )  # fmt: skip
    return holm(lines)


def _contrast(fitted: tuple[NDArray[np.float64], NDArray[np.float64]], first: int, second: int) -> tuple[float, float]:
    means, covariance = fitted
    variance = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    return float(means[first] - means[second]), float(np.sqrt(variance))


def _nested_means(
    rows: pd.DataFrame, value: str, names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | str:
    """Return the means of the groups and their covariance, or why the model gives none."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    values = rows[value].to_numpy(dtype=float)
    spread = float(values.std())
    if is_flat(values):
        return "all values are equal"
    groups = np.column_stack([rows["group"].eq(name).to_numpy(dtype=float) for name in names])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:  # Powell's method needs no gradients, which end at the edge of no spread here
            fit = MixedLM(values / spread, groups, groups=rows["animal"].to_numpy()).fit(reml=True, method="powell")
        except np.linalg.LinAlgError:
            return "it does not converge"
    if any("boundary" in str(one.message) or "singular" in str(one.message) for one in told):
        return "it finds no spread between animals"
    if told or not fit.converged or not np.all(np.isfinite(fit.bse_fe)):
        return "it does not converge"
    size = len(names)
    return np.asarray(fit.fe_params) * spread, np.asarray(fit.cov_params())[:size, :size] * spread**2


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
    the smaller side. Runs that differ from the observed by rounding alone are as far out.
    """
    drawn = np.asarray(drawn, dtype=float)
    drawn = drawn[np.isfinite(drawn)]
    rounding = NULL_ROUNDING * abs(observed)
    sides = (drawn >= observed - rounding, drawn <= observed + rounding)
    above, below = ((1 + np.count_nonzero(side)) / (1 + len(drawn)) for side in sides)
    low, high = (float(value) for value in np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    spread = float(drawn.std())
    z = f", z = {(observed - drawn.mean()) / spread:.2f}" if spread else ""
    test = f"{null}, {len(drawn)} runs: mean {drawn.mean():.4g}{z}; the interval is the null's"
    p = min(1.0, 2 * min(above, below))
    return Statistic(measure, "observed against chance", test, n_animals, n_spines, float(observed), low, high, p)


def by_animal(values: Mapping[str, float], animals: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one row an animal, ``animal, group`` and the value, in the order of ``animals``; NaN for none."""
    return animals[["animal", "group"]].assign(**{name: animals["animal"].map(dict(values)).astype(float)})
