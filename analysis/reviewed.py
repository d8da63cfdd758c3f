"""The tables of a field after a person's decisions: rejected spines are gone, fates are told anew.

A decision is about the spine that is nearest to one of its places, within a tolerance, whatever its number is. A
decision that finds no spine, or that cannot be done, is told of and changes nothing. Decisions about different spines
may come in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from analysis.edits import Edit, EditError, EditKind, Place
from analysis.followed import AnalysedField, FieldReview, FollowedSpine, put_together, renumbered
from analysis.model import Floats, SpineKind, SpineState
from analysis.score import Tolerance

TOLERANCE = Tolerance()
SAME_HEAD = Tolerance(lateral_um=0.5, axial_um=1.5)
"""An added head that is nearer to another than this is the same: two heads of 0.5 um do not stand closer."""
LONGEST_UM = 8.0
"""Farthest from a dendrite that a spine may be added, um sideways; filopodia reach 5 um and more."""
Head = tuple[float, float, float]


def apply_edits(analysed: AnalysedField, edits: Iterable[Edit], *, tolerance: Tolerance = TOLERANCE) -> FieldReview:
    """Return the tables after decisions.

    Parameters
    ----------
    analysed
        The machine's tables.
    edits
        The decisions in force (:class:`analysis.edits.History`), in the order in which they were made.
    tolerance
        How far from its places a spine may be.
    """
    table = _Spines(analysed, tolerance)
    for edit in edits:
        table.take(edit)
    return put_together(analysed, table.numbered(), table.unplaced)


class _Spines:
    """The spines of a field while decisions are taken one after the other; keys are of no meaning to anybody else."""

    def __init__(self, analysed: AnalysedField, tolerance: Tolerance) -> None:
        self._analysed = analysed
        self._number = {name: number for number, name in enumerate(analysed.sessions)}
        self._tolerance = tolerance
        self._spines: dict[int, FollowedSpine] = dict(enumerate(analysed.spines))
        self._heads: dict[int, tuple[Floats, list[int]]] = {}
        self._made = len(self._spines)
        self.unplaced: list[str] = []

    def take(self, edit: Edit) -> None:
        """Do one decision, or tell why it is not done."""
        try:
            if edit.kind is EditKind.ADD:
                self._add(edit)
            else:
                self._decide(edit)
        except EditError as error:
            self.unplaced.append(f"{edit.kind} by {edit.who}, {edit.when:%Y-%m-%d %H:%M}: {error}")

    def numbered(self) -> list[FollowedSpine]:
        """Return the spines; those that a person made are numbered by where they are, whenever that was decided."""
        machine = len(self._analysed.spines)
        kept = [spine for key, spine in self._spines.items() if key < machine]
        made = [spine for key, spine in self._spines.items() if key >= machine]
        made.sort(key=lambda spine: (spine.dendrite, *sorted(spine.heads.items())[0]))
        free = 1 + max((spine.track_id for spine in self._analysed.spines), default=-1)
        return kept + [renumbered(spine, free + number) for number, spine in enumerate(made)]

    # ---- finding -----------------------------------------------------------------------------------------------

    def _find(self, places: Sequence[Place]) -> int:
        known = [place for place in places if place.session in self._number]
        if not known:
            names = ", ".join(sorted({place.session for place in places}))
            raise EditError(f"session {names} is not in this analysis; add its stack and analyse again")
        for place in known:
            key = self._nearest(self._number[place.session], place.head_zyx_um, self._tolerance)
            if key is not None:
                return key
        where = " x ".join(f"{value:.1f}" for value in known[0].head_zyx_um)
        raise EditError(
            f"no spine is within {self._tolerance.lateral_um:g} um sideways and {self._tolerance.axial_um:g} um in "
            f"depth of {where} um (z, y, x) in {known[0].session}; look there and decide again"
        )

    def _nearest(self, session: int, head: Head, tolerance: Tolerance) -> int | None:
        heads, keys = self._known_heads(session)
        if not keys:
            return None
        away = np.abs(heads - np.asarray(head))
        lateral, axial = np.hypot(away[:, 1], away[:, 2]) / tolerance.lateral_um, away[:, 0] / tolerance.axial_um
        away = np.where((lateral <= 1.0) & (axial <= 1.0), np.hypot(lateral, axial), np.inf)
        best = int(np.argmin(away))
        return keys[best] if np.isfinite(away[best]) else None

    def _known_heads(self, session: int) -> tuple[Floats, list[int]]:
        if session not in self._heads:
            every = [(head, key) for key, spine in self._spines.items() for head in spine.known.get(session, ())]
            self._heads[session] = (np.array([head for head, _ in every]).reshape(-1, 3), [key for _, key in every])
        return self._heads[session]

    def _sessions(self, edit: Edit) -> list[int]:
        missing = [name for name in edit.sessions if name not in self._number]
        if missing:
            raise EditError(f"session {', '.join(missing)} is not in this analysis; add its stack and analyse again")
        return [self._number[name] for name in edit.sessions]

    def _new_heads(self, edit: Edit) -> dict[int, Head]:
        return {self._number[place.session]: place.head_zyx_um for place in edit.to if place.session in self._number}

    # ---- deciding ----------------------------------------------------------------------------------------------

    def _decide(self, edit: Edit) -> None:
        key = self._find(edit.spine)
        spine = self._spines[key]
        if edit.kind is EditKind.JOIN:
            self._join(key, self._find(edit.to), edit)
        elif edit.kind is EditKind.SPLIT:
            self._split(key, edit)
        else:
            self._keep(key, _signed(self._CHANGES[edit.kind](self, spine, edit), edit))

    def _keep(self, key: int, spine: FollowedSpine) -> None:
        self._spines[key] = spine
        self._heads.clear()

    def _accept(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        return replace(spine, is_rejected=False)

    def _reject(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        return replace(spine, is_rejected=True)

    def _name_kind(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        return replace(spine, kind=SpineKind(edit.kind.value))

    def _note(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        return replace(spine, notes=(*spine.notes, edit.text))

    def _say_state(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        sessions, heads = self._sessions(edit), {**spine.heads, **self._new_heads(edit)}
        state = SpineState(edit.kind.value)
        nowhere = [self._analysed.sessions[s] for s in sessions if state is SpineState.PRESENT and s not in heads]
        if nowhere:
            raise EditError(f"it is not said where the spine is in {', '.join(nowhere)}; click on its head there")
        return _judged(_placed(spine, self._new_heads(edit)), dict.fromkeys(sessions, state))

    def _move(self, spine: FollowedSpine, edit: Edit) -> FollowedSpine:
        heads = self._new_heads(edit)
        if not heads:
            raise EditError(f"session {edit.to[0].session} is not in this analysis")
        absent = [self._analysed.sessions[session] for session in heads if session not in spine.present]
        if absent:
            raise EditError(f"the spine is not present in {', '.join(absent)}, so that nothing can be moved there")
        return _placed(spine, heads)

    _CHANGES: Mapping[EditKind, Callable[[_Spines, FollowedSpine, Edit], FollowedSpine]] = {
        EditKind.ACCEPT: _accept,
        EditKind.REJECT: _reject,
        EditKind.FILOPODIUM: _name_kind,
        EditKind.SPINE: _name_kind,
        EditKind.NOTE: _note,
        EditKind.PRESENT: _say_state,
        EditKind.ABSENT: _say_state,
        EditKind.UNSCORABLE: _say_state,
        EditKind.MOVE: _move,
    }

    def _add(self, edit: Edit) -> None:
        heads = self._new_heads(edit)
        if not heads:
            raise EditError(f"session {edit.to[0].session} is not in this analysis; add its stack and analyse again")
        session, head = next(iter(heads.items()))
        there = dict.fromkeys(heads, SpineState.PRESENT)
        same = self._nearest(session, head, SAME_HEAD)
        if same is not None:
            spine = replace(self._spines[same], is_rejected=False)
            heads = {one: place for one, place in heads.items() if one not in spine.heads}
            self._keep(same, _signed(_judged(_placed(spine, heads), there), edit))
            return
        found = self._analysed.nearest_dendrite(session, head)
        if found is None or found[1] > LONGEST_UM:
            far = "there is none" if found is None else f"the nearest is {found[1]:.1f} um away"
            raise EditError(
                f"no dendrite is within {LONGEST_UM:g} um of the added spine: {far}; add it at its dendrite"
            )
        count = len(self._analysed.sessions)
        unseen = FollowedSpine(-1, found[0], {}, (SpineState.UNSCORABLE,) * count, (0.0,) * count, is_added=True)
        self._keep(self._new_key(), _signed(_judged(_placed(unseen, heads), there), edit))

    def _join(self, key: int, other: int, edit: Edit) -> None:
        first, second = sorted((key, other))
        if first == second:  # a later analysis has joined them by itself
            self._keep(first, _signed(self._spines[first], edit))
            return
        one, two = self._spines[first], self._spines[second]
        if why := why_not_join(one, two, self._analysed.sessions):
            raise EditError(why)
        del self._spines[second]
        self._keep(first, _signed(_joined(one, two), edit))

    def _split(self, key: int, edit: Edit) -> None:
        spine, own = self._spines[key], set(self._sessions(edit))
        if why := why_not_split(spine, own):
            raise EditError(why)
        left, taken = _split_in_two(spine, own)
        self._keep(key, _signed(left, edit))
        self._keep(self._new_key(), _signed(taken, edit))

    def _new_key(self) -> int:
        self._made += 1
        return self._made


def why_not_join(one: FollowedSpine, two: FollowedSpine, sessions: Sequence[str]) -> str | None:
    """Return why two spines cannot be one, None when they can."""
    both = sorted(set(one.present) & set(two.present))
    if both:
        return f"both spines are present in {', '.join(sessions[s] for s in both)}: they are two; reject one before"
    if one.dendrite != two.dendrite:
        return (
            f"the spines stand on dendrites {one.dendrite} and {two.dendrite}; only spines of one dendrite can be one"
        )
    return None


def why_not_split(spine: FollowedSpine, own: Iterable[int]) -> str | None:
    """Return why the sight of some sessions cannot become a spine of its own, None when it can."""
    taken = set(spine.present) & set(own)
    if not taken:
        return "the spine is not present from here on; split it in a session that shows it"
    if taken == set(spine.present):
        return "the spine is not present before; split it in a later session"
    return None


def _signed(spine: FollowedSpine, edit: Edit) -> FollowedSpine:
    return replace(spine, reviewed_by=spine.reviewed_by | {edit.who})


def _placed(spine: FollowedSpine, heads: Mapping[int, Head]) -> FollowedSpine:
    """Put heads into place; where the spine was before stays known, for decisions that were made about it there."""
    known = {s: tuple(dict.fromkeys((*spine.known.get(s, ()), head))) for s, head in heads.items()}
    return replace(spine, heads={**spine.heads, **heads}, known={**spine.known, **known})


def _judged(spine: FollowedSpine, states: Mapping[int, SpineState]) -> FollowedSpine:
    sure = {s: 1.0 if state is SpineState.PRESENT else 0.0 for s, state in states.items()}
    return replace(
        spine,
        states=tuple(states.get(s, state) for s, state in enumerate(spine.states)),
        probability=tuple(sure.get(s, value) for s, value in enumerate(spine.probability)),
        judged=spine.judged | set(states),
        fates=None,
        is_rejected=False,
    )


def _joined(one: FollowedSpine, two: FollowedSpine) -> FollowedSpine:
    better = [_says_more(one, two, session) for session in range(len(one.states))]
    heads = {**two.heads, **one.heads} | {s: b.heads[s] for s, b in enumerate(better) if s in b.present}
    known = {s: (*one.known.get(s, ()), *two.known.get(s, ())) for s in {*one.known, *two.known}}
    return replace(
        one,
        heads=heads,
        states=tuple(spine.states[s] for s, spine in enumerate(better)),
        probability=tuple(spine.probability[s] for s, spine in enumerate(better)),
        kind=one.kind or two.kind,
        rows={**two.rows, **one.rows},
        fates=None,
        known=known,
        judged=one.judged | two.judged,
        reviewed_by=one.reviewed_by | two.reviewed_by,
        notes=(*one.notes, *two.notes),
        is_rejected=one.is_rejected and two.is_rejected,
        is_added=one.is_added and two.is_added,
    )


def _says_more(one: FollowedSpine, two: FollowedSpine, session: int) -> FollowedSpine:
    """Return the spine whose word counts in a session: present before a person's word before unscorable."""

    def weight(spine: FollowedSpine) -> tuple[bool, bool, bool]:
        state = spine.states[session]
        return state is SpineState.PRESENT, session in spine.judged, state is SpineState.UNSCORABLE

    return two if weight(two) > weight(one) else one


def _split_in_two(spine: FollowedSpine, own: set[int]) -> tuple[FollowedSpine, FollowedSpine]:
    """Return what is left of a spine, and the sight of ``own`` sessions as a new one."""
    present = set(spine.present)
    left = _without(spine, own & present)
    taken = _without(spine, present - own)
    return left, replace(taken, track_id=-1, notes=(), is_added=True, fates=None)


def _without(spine: FollowedSpine, sessions: set[int]) -> FollowedSpine:
    told = _judged(spine, dict.fromkeys(sessions, SpineState.ABSENT))
    heads = {s: head for s, head in told.heads.items() if s not in sessions}
    known = {s: places for s, places in told.known.items() if s not in sessions}
    return replace(told, heads=heads, known=known, rows={s: r for s, r in told.rows.items() if s not in sessions})
