"""The probability that a registration is right: fitted where the truth is known, and held against other cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from analysis.register import signs

BINS = (0.0, 0.1, 0.3, 0.7, 0.99, 1.0)
RIDGE = 0.2  # keeps the formula modest where right and wrong hardly overlap
BOUNDS = [(None, None), (0, None), (0, None), (None, 0), (0, None)]  # no good sign may speak against


def fit_probability(rows: list[dict[str, Any]], is_right: Callable[[dict[str, Any]], bool]) -> dict[str, float]:
    """Return the logistic formula's numbers, by name: the signs are weighed and summed.

    Right and wrong count alike in all, however many of each were tried.
    """
    x = np.array([signs(r["score"], r["margin"], r["agreement_um"], r["overlap_found"]) for r in rows])
    right = np.array([is_right(row) for row in rows])
    counts = len(x) / 2 / np.where(right, right.sum(), (~right).sum())
    spread = x.std(axis=0)

    def loss(weights: NDArray[np.float64]) -> float:
        logit = weights[0] + x @ weights[1:]
        surprise = np.sum(counts * (np.logaddexp(0, logit) - right * logit))
        return float(surprise + RIDGE * np.sum((weights[1:] * spread) ** 2))

    best = minimize(loss, np.zeros(len(BOUNDS)), method="L-BFGS-B", bounds=BOUNDS).x
    names = ("constant", "score", "margin", "agreement", "overlap")
    return {name: round(float(value), 2) for name, value in zip(names, best, strict=True)}


def reliability(
    probability: NDArray[np.float64], right: NDArray[np.bool_], bins: Sequence[float] = BINS
) -> list[dict[str, Any]]:
    """Return, for each range of the probability, how many there are, what was predicted and what came true."""
    which = np.clip(np.digitize(probability, bins[1:-1]), 0, len(bins) - 2)
    table = []
    for number, (low, high) in enumerate(pairwise(bins)):
        inside = which == number
        mean, share = (float(v[inside].mean()) if inside.any() else None for v in (probability, right))
        table.append({"from": low, "to": high, "cases": int(inside.sum()), "predicted": mean, "observed": share})
    return table
