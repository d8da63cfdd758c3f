"""The figures of counts added up: of dendrites, of mice, and what is told of the probabilities.

Four areas under the curve are told of gain and of loss. ``marks``: true spines that were tracked, by how sure it is
that they are not in the other session. ``bare``: of these none whose place bears another name there. ``all_marks``:
those too that were not tracked and so never called changed.
``tracks``: whatever was tracked, also what is no spine, by the probability that it was gained or lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from calibration import reliability
from scipy.stats import rankdata
from tallies import Tally

from analysis.model import Fate

CHANCES = tuple(number / 10 for number in range(11))  # ranges in which probabilities are held against what came true


def figures_of(tallies: Sequence[Tally], names: Sequence[int], repeats: Sequence[str] = ()) -> dict[str, Any]:
    """Return the figures of counts added up; of pairs of sessions, the consecutive ones.

    Parameters
    ----------
    tallies
        Counts of parts.
    names
        How the sessions are called.
    repeats
        Pairs of sessions of one day, between which nothing truly came or went.
    """
    pairs = {name: [tally["pairs"][name] for tally in tallies] for name in tallies[0]["pairs"]}
    turned = [f"{n}-{n + 1}" for n in range(len(names) - 1) if f"{n}-{n + 1}" not in repeats]
    called = {name: "-".join(str(names[int(n)]) for n in name.split("-")) for name in pairs}
    return {
        **_found([session for tally in tallies for session in tally["sessions"]]),
        **_followed([pair for name in turned for pair in pairs[name]]),
        "false_turnover": _turnover([pair for name in repeats for pair in pairs[name]]),
        **calibration_of([chance for tally in tallies for chance in tally["calibration"]]),
        "by_session": {name: _found([tally["sessions"][n] for tally in tallies]) for n, name in enumerate(names)},
        "by_pair": {called[name]: _followed(each) for name, each in pairs.items()},
    }


def _found(sessions: Sequence[Tally]) -> dict[str, float | None]:
    hits, predicted, truth, traced, length = (
        sum(session[name] for session in sessions) for name in ("hits", "predicted", "truth", "traced", "length")
    )
    away = [value for session in sessions for value in session["axis_um"]]
    return {
        "f1": share(2 * hits, predicted + truth),
        "precision": share(hits, predicted),
        "recall": share(hits, truth),
        "traced": share(traced, length),
        "axis_um": round(float(np.median(away)), 3) if away else None,
    }


def _followed(pairs: Sequence[Tally]) -> dict[str, float | None]:
    kept, both, same = (sum(pair[name] for pair in pairs) for name in ("kept", "both", "same"))
    told = {fate: sum(pair["fates"][fate] for pair in pairs) for fate in (f.value for f in Fate)}
    figures = {
        "identity_accuracy": share(same, both),
        "pairs_found_of_annotated": share(same, kept),
        "unscorable": share(told["unscorable"], sum(told.values())),
    }
    for fate in ("gained", "lost"):
        right, true = (sum(pair[name][fate] for pair in pairs) for name in ("right", "true"))
        marks = [row for pair in pairs for row in pair[f"{fate}_marks"]]
        missed = [row for pair in pairs for row in _unsaid(pair[f"{fate}_missed"])]
        figures |= {
            f"{fate}_f1": share(2 * right, told[fate] + true),
            f"{fate}_auc_marks": auc(marks),
            f"{fate}_auc_bare": auc([row for pair in pairs for row in pair[f"{fate}_bare"]]),
            f"{fate}_auc_all_marks": auc(marks + missed),
            f"{fate}_auc_tracks": auc([row for pair in pairs for row in pair[f"{fate}_tracks"]]),
        }
    return figures


def _unsaid(missed: dict[str, int]) -> list[tuple[float, bool]]:
    """Nothing is said of a spine that no track is: whatever became of it, it is never called changed."""
    return [(0.0, False)] * missed["kept"] + [(0.0, True)] * missed["turned"]


def _turnover(pairs: Sequence[Tally]) -> float | None:
    called = sum(pair["fates"]["lost"] + pair["fates"]["gained"] for pair in pairs)
    return share(called, called + sum(pair["fates"]["stable"] for pair in pairs))


def calibration_of(chances: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Return what was predicted and what came true in equal ranges of the probability, and their mean difference."""
    if not chances:
        return {"calibration_error": None, "reliability": []}
    probability, true = np.array(chances, dtype=float).T
    table = reliability(probability, true > 0, CHANCES)
    off = [row["cases"] * abs(row["predicted"] - row["observed"]) for row in table if row["cases"]]
    return {"calibration_error": round(sum(off) / len(chances), 4), "reliability": table}


def auc(rows: Sequence[tuple[float, bool]]) -> float | None:
    """Return how often what is true has the higher score than what is not; ties count half."""
    scores = np.array([score for score, _ in rows], dtype=float)
    true = np.array([label for _, label in rows], dtype=bool)
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return None
    ranks = rankdata(scores)
    return round((float(ranks[true].sum()) - positive * (positive + 1) / 2) / (positive * negative), 4)


def share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
