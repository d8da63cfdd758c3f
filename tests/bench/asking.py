"""Fit what a session that did not see a spine by itself tells of it: the weights of analysis.presence.AskedScore.

Every track of simulated mice is judged by the truth, every one of a recorded field by a person's marks; both kinds
count alike, however many they are. With ``--weights SESSION=FILE`` each recorded session is judged by a network that
was trained without it. The other rules of the presence are as shipped. The last line is one JSON object; exit code 1
when the probabilities with the shipped weights of simulated mice are off by more than what is asked.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pooled import auc, calibration_of
from restudied import restudy
from scipy.optimize import minimize
from tallies import Truth, cases_of, read_marks, recorded_sessions

from analysis.field import FieldAnalysis, analyse_field
from analysis.model import Floats
from analysis.presence import AskedScore, weigh_sessions
from analysis.stack import read_stack

SEED = 940_000  # the mice of spines.py are of higher seeds
ASKED_CALIBRATION = 0.05
SHIPPED = AskedScore()
Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Followed:
    """The tracks of one field, and what is true of them.

    Parameters
    ----------
    log_odds
        What each session said by itself, shape (tracks, sessions).
    answers
        What it said when it was asked, NaN where it was not, shape (tracks, sessions, 2).
    scorable
        Whether it can tell, shape (tracks, sessions).
    track, session, there
        Every case that can be judged, and whether the spine was there.
    """

    log_odds: Floats
    answers: Floats
    scorable: NDArray[np.bool_]
    track: Rows
    session: Rows
    there: NDArray[np.bool_]

    @classmethod
    def of(cls, field: FieldAnalysis, truth: Truth, only: int | None = None) -> Followed:
        """Take the cases of one session, or of all."""
        nothing = (np.nan, np.nan)
        answers = [[nothing if a is None else astuple(a) for a in track.answers] for track in field.followed]
        cases = [case for case in cases_of(field, truth) if only in (None, case[1])]
        track, session, there = (np.array(column) for column in zip(*cases, strict=True))
        log_odds, scorable = (np.array([getattr(t, name) for t in field.followed]) for name in ("log_odds", "scorable"))
        return cls(log_odds, np.array(answers), scorable, track, session, there.astype(bool))

    def probability(self, score: AskedScore) -> Floats:
        """Return the probability of every case with such a score."""
        asked = score.offset + self.answers @ (score.log_odds, score.log_brightness)
        told = weigh_sessions(np.where(np.isnan(asked), self.log_odds, asked), self.scorable)
        return told.probability[self.track, self.session]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which cases are of a session that was asked."""
        return np.isfinite(self.answers[self.track, self.session, 0])


def simulated(mice: int, fields: int) -> Iterator[Followed]:
    for seed in range(SEED, SEED + mice):
        for field in restudy(seed, fields):
            yield Followed.of(analyse_field(field.stacks), field.truth)
        print(f"seed {seed} followed", flush=True)


def recorded(folder: Path, weights: Sequence[str]) -> Iterator[Followed]:
    names = recorded_sessions(folder)
    stacks, truth = [read_stack(folder / f"session{name}.ome.tif") for name in names], read_marks(folder)
    models = dict(each.split("=", 1) for each in weights)
    for session, name in enumerate(names):
        file = models.get(str(name))
        yield Followed.of(analyse_field(stacks, weights=Path(file) if file else None), truth, session)


def surprise(fields: Sequence[Followed], score: AskedScore) -> float:
    """Return the mean negative log-likelihood of what was true."""
    told = [np.where(one.there, p, 1.0 - p) for one in fields for p in [one.probability(score)]]
    return float(-np.mean(np.log(np.clip(np.concatenate(told), 1e-9, 1.0))))


def fit(kinds: Sequence[Sequence[Followed]]) -> AskedScore:
    """Return the score that surprises least, every kind of field counting alike."""

    def loss(weights: Floats) -> float:
        return sum(surprise(fields, AskedScore(*weights)) for fields in kinds)

    best = minimize(loss, astuple(SHIPPED), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6}).x
    return AskedScore(*(round(float(weight), 2) for weight in best))


def tell(fields: Sequence[Followed], score: AskedScore) -> dict[str, Any]:
    rows = [pair for one in fields for pair in zip(one.probability(score), one.there, strict=True)]
    asked = np.concatenate([one.asked for one in fields])
    only = [row for row, was in zip(rows, asked, strict=True) if was]
    return {
        "cases": len(rows),
        "asked": len(only),
        "surprise": round(surprise(fields, score), 4),
        "calibration_error": calibration_of(rows)["calibration_error"],
        "auc_asked": auc(only),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mice", type=int, default=6, help="simulated mice, each of a seed of its own")
    parser.add_argument("--fields", type=int, default=3, help="fields of each mouse")
    parser.add_argument("--sample", type=Path, help="folder of a recorded field with a person's marks")
    parser.add_argument("--weights", nargs="*", default=[], metavar="SESSION=FILE", help="what scores a session")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    kinds = {"simulated": list(simulated(given.mice, given.fields))}
    if given.sample is not None:
        kinds["recorded"] = list(recorded(given.sample, given.weights))
    kinds = {kind: fields for kind, fields in kinds.items() if fields}
    found = fit(list(kinds.values()))
    told = {
        name: {"weights": astuple(score), **{kind: tell(fields, score) for kind, fields in kinds.items()}}
        for name, score in (("fitted", found), ("shipped", SHIPPED))
    }
    error = told["shipped"].get("simulated", {}).get("calibration_error", 0.0)
    missed = ["simulated calibration_error"] if error > ASKED_CALIBRATION else []
    print(json.dumps({"seed": SEED, **told, "missed": missed}))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
