"""How far two raters agree about the spines of a field: Cohen's kappa and F1, class by class, with their numbers.

Only what both have judged is counted: a spine that one of them has not decided about is missing, neither agreed nor
disagreed upon. A spine that only one of them sees at all (added, split off, or joined away) is judged by the other as
well once the other has decided about every spine of that dendrite; before, it is missing. Where there is nothing to
divide by, a figure is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.followed import FieldReview, FollowedSpine
from analysis.model import Fate, SpineState
from analysis.score import Tolerance, pair_heads

NO_FATE = "none"
ANY_FATE = "all fates"
SPINE = "spine"
TOLERANCE = Tolerance()
Pair = tuple[FollowedSpine | None, FollowedSpine | None]
Labels = list[tuple[str, str]]


@dataclass(frozen=True)
class ClassAgreement:
    """How far two raters agree about one class.

    Parameters
    ----------
    name
        Gained, lost, stable, unscorable (of an interval), spine (there or not, of a session), or all fates together.
    n
        Cases that both have judged.
    first, second, both
        Of these the cases that the first, the second, and both of them gave to the class.
    kappa
        Cohen's kappa of the class against the rest (of all fates together: of the whole table), -1 to 1; None where
        chance alone would make them agree.
    f1
        2 both / (first + second); None when neither names the class, and for all fates together.
    """

    name: str
    n: int
    first: int
    second: int
    both: int
    kappa: float | None
    f1: float | None


@dataclass(frozen=True)
class Agreement:
    """Two raters compared.

    Parameters
    ----------
    classes
        One a fate, one for all fates, and one for spine or no spine.
    spines
        Spines that both have judged.
    missing
        Spines that only one of them, or none, has judged.
    """

    classes: tuple[ClassAgreement, ...]
    spines: int
    missing: int

    def of(self, name: str) -> ClassAgreement:
        """Return one class by its name."""
        return next(one for one in self.classes if one.name == name)


def compare_raters(first: FieldReview, second: FieldReview, *, tolerance: Tolerance = TOLERANCE) -> Agreement:
    """Compare two reviews of the same analysis, each made of the decisions of one rater."""
    every = _pairs(first.followed, second.followed, tolerance)
    looked = _whole_dendrites(first.followed), _whole_dendrites(second.followed)
    judged = [pair for pair in every if _is_judged(pair[0], pair[1], looked[0]) and _is_judged(*pair[::-1], looked[1])]
    fates, states = _fate_labels(judged), _state_labels(judged)
    classes = [_about(fates, fate.value) for fate in (Fate.STABLE, Fate.GAINED, Fate.LOST, Fate.UNSCORABLE)]
    agreed = sum(a == b for a, b in fates)
    whole = ClassAgreement(ANY_FATE, len(fates), len(fates), len(fates), agreed, cohens_kappa(fates), None)
    return Agreement((*classes, whole, _about(states, SPINE)), len(judged), len(every) - len(judged))


def cohens_kappa(labels: Sequence[tuple[str, str]]) -> float | None:
    """Return the agreement beyond chance (Cohen 1960), None when there is no case or no room beyond chance.

    Examples
    --------
    >>> yes_no = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    >>> round(cohens_kappa(yes_no), 6)
    0.4
    """
    n = len(labels)
    first, second = Counter(a for a, _ in labels), Counter(b for _, b in labels)
    chance = sum(first[label] * second[label] for label in first) / n**2 if n else 1.0
    if n == 0 or np.isclose(chance, 1.0):
        return None
    return float((sum(a == b for a, b in labels) / n - chance) / (1.0 - chance))


def _about(labels: Labels, name: str) -> ClassAgreement:
    first, second = sum(a == name for a, _ in labels), sum(b == name for _, b in labels)
    both = sum(a == b == name for a, b in labels)
    kappa = cohens_kappa([(str(a == name), str(b == name)) for a, b in labels])
    return ClassAgreement(
        name, len(labels), first, second, both, kappa, 2 * both / (first + second) if first + second else None
    )


def _pairs(first: Sequence[FollowedSpine], second: Sequence[FollowedSpine], tolerance: Tolerance) -> list[Pair]:
    """Pair the spines of two reviews: those of the machine by their number, the others by their heads."""
    ours, theirs = ({one.track_id: one for one in some if not one.is_added} for some in (first, second))
    pairs: list[Pair] = [(ours[track], theirs[track]) for track in sorted(set(ours) & set(theirs))]
    left = [one for one in first if one.is_added or one.track_id not in theirs]
    right = [one for one in second if one.is_added or one.track_id not in ours]
    for session in sorted({session for one in left for session in one.heads}):
        here, there = ([one for one in some if session in one.heads] for some in (left, right))
        heads = [np.array([one.heads[session] for one in some]).reshape(-1, 3) for some in (here, there)]
        for i, j in pair_heads(heads[0], heads[1], tolerance):
            pairs.append((here[i], there[j]))
            left, right = [one for one in left if one is not here[i]], [one for one in right if one is not there[j]]
    return [*pairs, *((one, None) for one in left), *((None, one) for one in right)]


def _is_judged(spine: FollowedSpine | None, other: FollowedSpine | None, looked: set[int]) -> bool:
    if spine is not None:
        return bool(spine.reviewed_by)
    return other is not None and other.dendrite in looked


def _whole_dendrites(spines: Iterable[FollowedSpine]) -> set[int]:
    """Return the dendrites of which every spine was decided about."""
    spines = list(spines)
    return {one.dendrite for one in spines} - {one.dendrite for one in spines if not one.reviewed_by}


def _fate_labels(pairs: Iterable[Pair]) -> Labels:
    """Return what each rater says of every spine and interval, where at least one of them sees a spine."""
    labels = []
    for one, two in pairs:
        for first in range(_sessions(one, two) - 1):
            fates = _fate(one, first), _fate(two, first)
            if fates != (NO_FATE, NO_FATE):
                labels.append(fates)
    return labels


def _fate(spine: FollowedSpine | None, first: int) -> str:
    fate = spine.fate(first) if spine is not None and spine.is_shown else None
    return NO_FATE if fate is None else fate.value


def _state_labels(pairs: Iterable[Pair]) -> Labels:
    """Return whether each rater sees the spine, of every spine and session that neither calls unscorable."""
    labels = []
    for one, two in pairs:
        for session in range(_sessions(one, two)):
            states = _state(one, session), _state(two, session)
            if SpineState.UNSCORABLE not in states:
                said = [SPINE if state is SpineState.PRESENT else NO_FATE for state in states]
                labels.append((said[0], said[1]))
    return labels


def _state(spine: FollowedSpine | None, session: int) -> SpineState:
    return SpineState.ABSENT if spine is None or spine.is_rejected else spine.states[session]


def _sessions(one: FollowedSpine | None, two: FollowedSpine | None) -> int:
    return max(len(spine.states) for spine in (one, two) if spine is not None)
