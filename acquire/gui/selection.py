"""What is looked at in a review: a spine of a dendrite, in a session; where it is, and how it is marked.

Knows no Qt, and nothing of how decisions are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from acquire.gui.judgement import Judgement, count_states, judge, tell_agreement
from acquire.gui.marks import ABSENT, GAINED_AND_LOST, PRESENT, SpineMark
from acquire.gui.material import Material
from acquire.gui.numbers import Numbers
from acquire.gui.places import Places
from analysis.blind import BlindOrder, blind_order
from analysis.edits import Edit, EditKind, Place
from analysis.followed import AnalysedField, FollowedSpine
from analysis.model import Fate, Floats, SpineKind, SpineState


class Selection:
    """What is looked at.

    Parameters
    ----------
    material
        Tables, stacks and decisions of the field.
    who
        Whose decisions these are.
    after
        What was looked at before: a second rater stays one, and who was blind stays blind.
    """

    def __init__(self, material: Material, who: str, *, after: Selection | None = None) -> None:
        self.material = material
        self.who = who or "somebody"
        second = after is not None and after.second
        self.judgement = judge(self.analysed, material.days, material.book, self.who, second=second)
        self._places = Places(self.analysed, self.judgement.review.followed)
        shown = None if after is None else after.blind
        kept = None if shown is None else BlindOrder(shown.seed, tuple(self.analysed.sessions))
        self.blind: BlindOrder | None = self._blind() or kept
        dendrites = [name for name in material.analysed.dendrites if self._of(name)] or material.analysed.dendrites
        self.dendrite = dendrites[0] if dendrites else -1
        self.session = self.order[0] if self.order else 0
        self.selected: FollowedSpine | None = None
        self._select_first()

    # ---- what there is -----------------------------------------------------------------------------------------

    @property
    def analysed(self) -> AnalysedField:
        """The machine's tables."""
        return self.material.analysed

    @property
    def second(self) -> bool:
        """Whether this is a second rater, who sees no decision of the review."""
        return self.judgement.second

    def _blind(self) -> BlindOrder | None:
        """Return the order of the sessions while this rater is blind."""
        return blind_order(self.judgement.edits, self.who, self.analysed.sessions, second=self.second)

    @property
    def order(self) -> tuple[int, ...]:
        """The sessions as they are shown, top to bottom."""
        return tuple(range(len(self.analysed.sessions))) if self.blind is None else self.blind.order

    def label(self, session: int) -> str:
        """Return what a session is called."""
        return self.material.days[session] if self.blind is None else self.blind.label(session)

    @property
    def title(self) -> str:
        """Which field and dendrite this is; while blind only the dendrite."""
        field = "blind" if self.blind is not None else str(self.material.of)
        return f"{field}, dendrite {self.dendrite}" + (", second rater" if self.second else "")

    @property
    def position(self) -> str:
        """Which spine is selected, in words."""
        if self.selected is None:
            return "no spine selected"
        ours = self._of(self.dendrite)
        number = next((n for n, one in enumerate(ours, start=1) if one.track_id == self.selected.track_id), 0)
        by = ", ".join(sorted(self.selected.reviewed_by))
        at = f"{self.centre_um(self.session):.0f} of {self.material.lengths_um[self.dendrite]:.0f} um"
        told = f"spine {number} of {len(ours)}, at {at}, certainty {self.selected.certainty:.2f}"
        notes = f"; note: {' / '.join(self.selected.notes)}" if self.selected.notes else ""
        return told + (f", decided by {by}" if by else ", not decided") + notes

    def centre_um(self, session: int) -> float:
        """Return the place along the dendrite that is in the middle of a session's row, um."""
        if self.selected is None or self.selected.dendrite != self.dendrite:
            return self.material.lengths_um.get(self.dendrite, 0.0) / 2
        return float(self.place(self.selected, session)[0])

    def _of(self, dendrite: int) -> list[FollowedSpine]:
        """Return the spines of a dendrite, along it."""
        ours = [spine for spine in self.judgement.review.followed if spine.dendrite == dendrite and spine.is_shown]
        return sorted(ours, key=lambda spine: float(self.place(spine, spine.present[0])[0]))

    def place(self, spine: FollowedSpine, session: int) -> Floats:
        """Return where a spine is, or should be, in a session: (along, across, depth), um."""
        known = spine.present or sorted(spine.heads)
        nearest = session if session in spine.heads else min(known, key=lambda one: abs(one - session))
        return self._places.of(spine.dendrite, nearest, spine.heads[nearest])

    def head(self, spine: FollowedSpine, session: int) -> tuple[float, float, float]:
        """Return where the head of a spine is, or should be, in a session's stack, (z, y, x), um."""
        if session in spine.heads:
            return spine.heads[session]
        z, y, x = self.analysed.aligned(spine.dendrite).points(session, [self.place(spine, session)])[0].tolist()
        return z, y, x

    def marks(self, session: int) -> list[SpineMark]:
        """Return the marks of one session of the dendrite."""
        marks = []
        for spine in self._of(self.dendrite):
            is_selected = self.selected is not None and spine.track_id == self.selected.track_id
            word = self._word(spine, session)
            if word == ABSENT and not is_selected and not self._is_left(spine, session):
                continue
            along_um, across_um, _ = self.place(spine, session).tolist()
            kind = spine.kind or measured_kind(spine, session)
            marks.append(
                SpineMark(
                    spine.track_id,
                    along_um,
                    across_um,
                    word,
                    bool(spine.reviewed_by),
                    kind == SpineKind.FILOPODIUM,
                    is_selected,
                )
            )
        return marks

    def _word(self, spine: FollowedSpine, session: int) -> str:
        state = spine.states[session]
        if state is not SpineState.PRESENT:
            return state.value
        if self.blind is not None:
            return PRESENT
        fates = {row[0]: str(row[3]) for row in spine.fate_rows()}
        gained, lost = fates.get(session - 1) == Fate.GAINED, fates.get(session) == Fate.LOST
        if gained and lost:
            return GAINED_AND_LOST
        if gained or lost:
            return (Fate.GAINED if gained else Fate.LOST).value
        beside = {fates[s] for s in (session - 1, session) if s in fates}
        return (Fate.UNSCORABLE if beside == {Fate.UNSCORABLE} else Fate.STABLE).value

    def _is_left(self, spine: FollowedSpine, session: int) -> bool:
        """Whether the spine was lost here: its empty place is marked, unless one is blind to the order."""
        return self.blind is None and session > 0 and spine.states[session - 1] is SpineState.PRESENT

    # ---- numbers -----------------------------------------------------------------------------------------------

    @property
    def numbers(self) -> Numbers:
        """Count what became of the spines of the field; while blind only how many there are."""
        return self.judgement.fates if self.blind is None else count_states(self.judgement.review, self.blind)

    @property
    def progress(self) -> tuple[int, int]:
        """How many spines a person decided about, of how many."""
        spines = self.judgement.review.followed
        return sum(bool(spine.reviewed_by) for spine in spines), len(spines)

    @property
    def agreement(self) -> Numbers | None:
        """The table of agreement with the other rater, None while there is none."""
        return tell_agreement(self.judgement.agreement)

    @property
    def trouble(self) -> tuple[str, ...]:
        """What must be told of the decisions: torn lines, and those that found no spine."""
        unplaced = self.judgement.review.unplaced
        if unplaced and self.blind is not None:
            unplaced = (f"{len(unplaced)} decisions found no spine; they are told when you are no longer blind",)
        return (*self.judgement.trouble, *unplaced)

    # ---- stepping ----------------------------------------------------------------------------------------------

    def select(self, track_id: int, session: int | None = None) -> None:
        """Select a spine by its mark."""
        found = [spine for spine in self.judgement.review.shown if spine.track_id == track_id]
        if found:
            self.selected, self.dendrite = found[0], found[0].dendrite
        self.choose_session(self.session if session is None else session)

    def choose_session(self, session: int) -> None:
        """Make a session the one that keys are about."""
        if 0 <= session < len(self.analysed.sessions):
            self.session = session

    def step_session(self, by: int) -> None:
        """Go to the session below or above."""
        order = self.order
        self.session = order[int(np.clip(order.index(self.session) + by, 0, len(order) - 1))]

    def step_spine(self, by: int) -> None:
        """Go along the dendrite, then on to the next one."""
        ours = self._of(self.dendrite)
        here = [n for n, spine in enumerate(ours) if self.selected and spine.track_id == self.selected.track_id]
        to = (here[0] if here else -1 if by > 0 else len(ours)) + by
        if 0 <= to < len(ours):
            self.selected = ours[to]
        else:
            self.step_dendrite(by, at_end=by < 0)

    def step_dendrite(self, by: int, *, at_end: bool = False) -> None:
        """Go to the next dendrite that has spines, round and round."""
        names = [name for name in self.analysed.dendrites if self._of(name)]
        if not names:
            return
        if self.dendrite in names:
            self.dendrite = names[(names.index(self.dendrite) + by) % len(names)]
        else:
            self.dendrite = names[0]
        ours = self._of(self.dendrite)
        self.selected = ours[-1 if at_end else 0]

    def step_doubtful(self) -> None:
        """Go to the least certain spine that nobody decided about."""
        open_ones = [spine for spine in self.judgement.review.shown if not spine.reviewed_by]
        if open_ones:
            spine = min(open_ones, key=lambda one: (one.certainty, one.track_id))
            self.select(spine.track_id)

    def why_not_doubtful(self) -> str | None:
        """Say why there is no doubtful spine left."""
        decided, of = self.progress
        return None if decided < of else f"all {of} spines are decided"

    def _select_first(self) -> None:
        ours = self._of(self.dendrite)
        self.selected = ours[0] if ours else None

    # ---- after a decision --------------------------------------------------------------------------------------

    def take(self, judgement: Judgement) -> None:
        """Show what is on the disk now; a spine that is gone gives way to the next along its dendrite."""
        before, was = self.judgement, self.selected
        along_um = None if was is None else float(self.place(was, self.session)[0])
        self.judgement = judgement
        self._take_blind(judgement.edits[len(before.edits) :])
        self.selected = _same(judgement.review.shown, was) or self._next_along(along_um)
        new = judgement.edits[len(before.edits) :]
        if len(new) and new[-1].is_about_a_spine and new[-1].kind is EditKind.ADD:
            self._select_at(new[-1].to)
        for edit in new:
            if not edit.is_about_a_spine and edit.of:
                self._select_at([place for one in judgement.edits if one.step == edit.of for place in one.spine])

    def _take_blind(self, new: Iterable[Edit]) -> None:
        """Stay blind until a line says otherwise; who becomes blind begins at the top, whatever was looked at."""
        before = self.blind
        ours = [edit for edit in new if edit.who == self.who and edit.second == self.second]
        is_over = any(edit.kind is EditKind.UNBLIND for edit in ours)
        self.blind = self._blind() or (None if is_over else before)
        if self.blind is not None and before is None:
            self.session = self.order[0]

    def restore(self, other: Selection) -> None:
        """Look at what was looked at before the field was analysed again: the nearest spine in the same session."""
        if other.selected is None or other.analysed.sessions[other.session] not in self.analysed.sessions:
            return
        head = np.asarray(other.head(other.selected, other.session))
        self.session = self.analysed.sessions.index(other.analysed.sessions[other.session])
        seen = [spine for spine in self.judgement.review.shown if self.session in spine.heads]
        if seen:
            nearest = min(seen, key=lambda spine: float(np.linalg.norm(spine.heads[self.session] - head)))
            self.select(nearest.track_id)

    def _select_at(self, places: Sequence[Place]) -> None:
        for place in places:
            if place.session in self.analysed.sessions:
                session = self.analysed.sessions.index(place.session)
                for spine in self.judgement.review.shown:
                    if place.head_zyx_um in spine.known.get(session, ()):
                        self.selected, self.dendrite, self.session = spine, spine.dendrite, session
                        return

    def _next_along(self, along_um: float | None) -> FollowedSpine | None:
        ours = self._of(self.dendrite)
        if not ours or along_um is None:
            return ours[0] if ours else None
        after = [spine for spine in ours if float(self.place(spine, self.session)[0]) >= along_um]
        return after[0] if after else ours[-1]


def _same(spines: Iterable[FollowedSpine], was: FollowedSpine | None) -> FollowedSpine | None:
    """Return the spine that was selected, under whatever number."""
    if was is None:
        return None
    spines = list(spines)
    if not was.is_added:
        found = [spine for spine in spines if spine.track_id == was.track_id]
        if found:
            return found[0]
    places = {(session, head) for session, heads in was.known.items() for head in heads}
    for spine in spines:
        if places & {(session, head) for session, heads in spine.known.items() for head in heads}:
            return spine
    return None


def measured_kind(spine: FollowedSpine, session: int) -> str:
    """Return what a spine is by measure, in a session if it can."""
    row = spine.rows.get(session) or next(iter(spine.rows.values()), None)
    return SpineKind.SPINE.value if row is None else str(row[13])
