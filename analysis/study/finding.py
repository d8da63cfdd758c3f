"""What an analysis gives: tables, tests, words and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


class NotComputable(Exception):  # noqa: N818 - not an error: the reason is shown in the place of the picture
    """An analysis cannot be made of the data at hand; its text is the reason, and what would be needed."""


@dataclass(frozen=True)
class Statistic:
    """One line of ``statistics.json``: one number with all that is needed to judge it.

    Parameters
    ----------
    measure
        What was measured, with its unit.
    comparison
        Of what with what ("early against control", "observed against permuted labels"); empty for a plain value.
    test
        The test or estimate, in words that stand in a methods section.
    n_animals, n_spines
        How many went into it.
    value
        The number: a mean, a difference, a ratio; None where there is none.
    low, high
        Limits of its 95 % interval; None where there is none.
    p
        Two-sided P; None where nothing is tested.
    p_corrected, correction
        P after the correction for several tests, and which ("Holm, 3 comparisons").
    """

    measure: str
    comparison: str
    test: str
    n_animals: int
    n_spines: int
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    correction: str = ""


@dataclass(frozen=True, eq=False)
class Finding:
    """The answer of one analysis.

    Parameters
    ----------
    name
        Of its files: number and words, ``02_clustered_share``.
    title
        One line above the picture: what it shows.
    legend
        The legend in words: what is drawn, what is counted, n, tests; plain sentences.
    tables
        The tables behind the picture, by name; the one named ``""`` is the main table.
    statistics
        Its tests and estimates.
    draw
        Draws the picture.
    """

    name: str
    title: str
    legend: str
    tables: Mapping[str, pd.DataFrame]
    statistics: tuple[Statistic, ...]
    draw: Callable[[], Figure]
