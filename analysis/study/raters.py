"""How far several raters, and raters and the software, agree: field by field, and over all fields of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.agreement import ANY_FATE, Agreement, compare_raters
from analysis.edits import Edit, History
from analysis.followed import AnalysedField, FieldReview
from analysis.reviewed import apply_edits

SOFTWARE = "software"


@dataclass(frozen=True)
class RatedField:
    """How far two raters agree about one field.

    Parameters
    ----------
    animal, field
        Whose field it is.
    first, second
        The raters; :data:`SOFTWARE` for what no person has touched.
    agreement
        Class by class.
    """

    animal: str
    field: str
    first: str
    second: str
    agreement: Agreement


def rate_field(animal: str, field: str, analysed: AnalysedField, edits: Iterable[Edit]) -> list[RatedField]:
    """Return how far the reviewer, every second rater and the software agree about a field, pair by pair."""
    history = History(edits)
    seconds = [edit for edit in history.in_force if edit.second]
    decided = {"review": history.of_review}
    for who in dict.fromkeys(edit.who for edit in seconds):
        decided[who] = [edit for edit in seconds if edit.who == who]
    reviews = {who: apply_edits(analysed, own) for who, own in decided.items() if own}
    machine = apply_edits(analysed, ())
    sides: dict[str, FieldReview] = {SOFTWARE: _signed(machine, SOFTWARE), **reviews}
    names = list(sides)
    return [
        RatedField(animal, field, one, two, compare_raters(sides[one], sides[two]))
        for place, one in enumerate(names)
        for two in names[place + 1 :]
    ]


def _signed(review: FieldReview, who: str) -> FieldReview:
    followed = tuple(replace(spine, reviewed_by=frozenset([who])) for spine in review.followed)
    return replace(review, followed=followed)


def pool_ratings(ratings: Sequence[RatedField]) -> pd.DataFrame:
    """Return the agreement of every pair of raters over all fields, one row a pair and class.

    Returns
    -------
    ``first, second, rated`` (class), ``fields, n`` (cases), ``said_first, said_second, said_both``, ``kappa`` with
    ``low, high`` (Cohen's with its 95 % interval; NaN where there is no room beyond
    chance, or no spread), ``f1`` (NaN where neither names the class).
    """
    cells: dict[tuple[str, str, str], list[tuple[int, int, int, int]]] = {}
    for rated in ratings:
        for one in rated.agreement.classes:
            if one.name != ANY_FATE and one.n:
                cells.setdefault((rated.first, rated.second, one.name), []).append(
                    (one.n, one.first, one.second, one.both)
                )
    rows = []
    for key, counts in cells.items():
        n, first, second, both = (int(total) for total in np.sum(counts, axis=0))
        kappa = _kappa(n, first, second, both)
        f1 = 2 * both / (first + second) if first + second else float("nan")
        rows.append((*key, len(counts), n, first, second, both, *kappa, f1))
    columns = ["first", "second", "rated", "fields", "n", "said_first", "said_second", "said_both"]
    return pd.DataFrame(rows, columns=[*columns, "kappa", "low", "high", "f1"])


def _kappa(n: int, first: int, second: int, both: int) -> tuple[float, float, float]:
    from statsmodels.stats.inter_rater import cohens_kappa

    if {first, second} <= {0, n}:
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):  # of the test that it makes besides
        found = cohens_kappa(np.array([[both, first - both], [second - both, n - first - second + both]]))
    if not found.std_kappa > 0:
        return float(found.kappa), float("nan"), float("nan")
    return float(found.kappa), float(found.kappa_low), float(found.kappa_upp)
