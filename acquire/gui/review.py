"""Review: which spine is selected, what a key decides about it, and what is shown of it.

A decision is made of what is shown, written to ``edits.jsonl`` in the thread that reads, and shown when it is on the
disk. Knows no Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import Any

import numpy as np

from acquire.gui.judgement import Judgement, Numbers, count_states, judge, tell_agreement
from acquire.gui.marks import ABSENT, GAINED_AND_LOST, PRESENT, SpineMark
from acquire.gui.material import Material
from acquire.gui.places import Places
from analysis.blind import BlindOrder, blind_order
from analysis.edits import Edit, EditError, EditKind, History, Place, new_step
from analysis.followed import AnalysedField, FollowedSpine
from analysis.model import Fate, Floats, SpineKind, SpineState
from analysis.reviewed import why_not_join, why_not_split

NO_SPINE = "select a spine first"
LARGEST_SEED = 2**31 - 1
INSERTED_UM = 1.0
"""A click this near to where an absent spine should be says that this spine is present."""


class Review:
    """One field under review: what is selected and what can be decided.

    Parameters
    ----------
    material
        Tables, stacks and decisions of the field.
    who
        Whose decisions these are.
    """

    def __init__(self, material: Material, who: str) -> None:
        self.material = material
        self.who = who or "somebody"
        self.joining: FollowedSpine | None = None
        self.judgement = judge(self.analysed, material.days, material.book, self.who, second=False)
        self._places = Places(self.analysed, self.judgement.review.followed)
        self.blind = self._blind()
        dendrites = [name for name in material.analysed.dendrites if self._of(name)] or material.analysed.dendrites
        self.dendrite = dendrites[0] if dendrites else -1
        self.session = 0
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
        at = f"{self.centre_um:.0f} of {self.material.lengths_um[self.dendrite]:.0f} um"
        told = f"spine {number} of {len(ours)}, at {at}, certainty {self.selected.certainty:.2f}"
        notes = f"; note: {' / '.join(self.selected.notes)}" if self.selected.notes else ""
        return told + (f", decided by {by}" if by else ", not decided") + notes

    @property
    def joining_says(self) -> str:
        """What is to be done to join two spines, in words."""
        return "" if self.joining is None else "join: go to the other half of this spine and press j there; j here: no"

    @property
    def centre_um(self) -> float:
        """The place along the dendrite that is in the middle of every row, um."""
        if self.selected is None or self.selected.dendrite != self.dendrite:
            return self.material.lengths_um.get(self.dendrite, 0.0) / 2
        return float(self.place(self.selected, self.session)[0])

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
            kind = spine.kind or _measured_kind(spine, session)
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

    # ---- deciding ----------------------------------------------------------------------------------------------

    def why_not(self) -> str | None:
        """Say why nothing can be decided about a spine now."""
        return NO_SPINE if self.selected is None else None

    def accept(self) -> list[Edit]:
        """Say that the spine is right as it is."""
        return [self._about(EditKind.ACCEPT)]

    def reject(self) -> list[Edit]:
        """Say that it is no spine."""
        return [self._about(EditKind.REJECT)]

    def note(self, text: str) -> list[Edit]:
        """Write something down about the spine."""
        return [self._about(EditKind.NOTE, text=text)]

    def turn_filopodium(self) -> list[Edit]:
        """Say that it is a filopodium, or a spine when it is called one."""
        spine = self._spine
        kind = spine.kind or _measured_kind(spine, self.session)
        return [self._about(EditKind.SPINE if kind == SpineKind.FILOPODIUM else EditKind.FILOPODIUM)]

    def say_added(self) -> list[Edit]:
        """Say that the spine is here, and was not in the session before; while blind only that it is here."""
        return self._say({self.session: EditKind.PRESENT, **self._before(EditKind.ABSENT)})

    def say_lost(self) -> list[Edit]:
        """Say that the spine is not here."""
        return self._say({self.session: EditKind.ABSENT})

    def say_persistent(self) -> list[Edit]:
        """Say that the spine is here, and was in the session before; while blind only that it is here."""
        return self._say({self.session: EditKind.PRESENT, **self._before(EditKind.PRESENT)})

    def say_unscorable(self) -> list[Edit]:
        """Say that nothing can be said of this session."""
        return self._say({self.session: EditKind.UNSCORABLE})

    def _before(self, kind: EditKind) -> dict[int, EditKind]:
        return {self.session - 1: kind} if self.blind is None and self.session > 0 else {}

    def _say(self, states: dict[int, EditKind]) -> list[Edit]:
        spine, step = self._spine, new_step()
        edits = []
        for session, kind in states.items():
            to = (self._place(spine, session),) if kind is EditKind.PRESENT and session not in spine.heads else ()
            edits.append(self._about(kind, sessions=(self.analysed.sessions[session],), to=to, step=step))
        return edits

    def move(self, session: int, head_zyx_um: tuple[float, float, float]) -> list[Edit]:
        """Put the head of the spine elsewhere; where it was absent it is present then."""
        there = Place(session=self.analysed.sessions[session], head_zyx_um=head_zyx_um, dendrite=self.dendrite)
        if self._spine.states[session] is SpineState.PRESENT:
            return [self._about(EditKind.MOVE, to=(there,))]
        return [self._about(EditKind.PRESENT, sessions=(there.session,), to=(there,))]

    def insert(self, session: int, head_zyx_um: tuple[float, float, float]) -> list[Edit]:
        """Add a spine; near to where one should be that is not present, it is that one."""
        there = Place(session=self.analysed.sessions[session], head_zyx_um=head_zyx_um, dendrite=self.dendrite)
        missing = self._missing_near(session, head_zyx_um)
        if missing is None:
            return [self._edit(EditKind.ADD, to=(there,))]
        return [self._about(EditKind.PRESENT, missing, sessions=(there.session,), to=(there,))]

    def _missing_near(self, session: int, head_zyx_um: tuple[float, float, float]) -> FollowedSpine | None:
        absent = [one for one in self._of(self.dendrite) if one.states[session] is not SpineState.PRESENT]
        away_um = [float(np.hypot(*np.subtract(self.head(one, session), head_zyx_um)[1:])) for one in absent]
        if not away_um or min(away_um) > INSERTED_UM:
            return None
        return absent[int(np.argmin(away_um))]

    def split(self) -> list[Edit]:
        """Make the sight from this session on a spine of its own; while blind the sight of this session alone."""
        return [self._about(EditKind.SPLIT, sessions=tuple(self.analysed.sessions[s] for s in self._split_off()))]

    def why_not_split(self) -> str | None:
        """Say why the spine cannot be split here."""
        return NO_SPINE if self.selected is None else why_not_split(self.selected, self._split_off())

    def _split_off(self) -> Iterable[int]:
        return [self.session] if self.blind is not None else range(self.session, len(self.analysed.sessions))

    def join(self) -> list[Edit]:
        """Remember the spine; when another is remembered already, make one of both."""
        first, self.joining = self.joining, None
        if first is None or first.track_id == self._spine.track_id:
            self.joining = self._spine if first is None else None
            return []
        other = self._spine
        to = tuple(self._place(other, session) for session in self._sights(other))
        return [self._about(EditKind.JOIN, first, to=to)]

    def why_not_join(self) -> str | None:
        """Say why the remembered spine and this one cannot be one."""
        if self.selected is None or self.joining is None or self.joining.track_id == self.selected.track_id:
            return self.why_not()
        labels = [self.label(session) for session in range(len(self.analysed.sessions))]
        return why_not_join(self.joining, self.selected, labels)

    # ---- lines -------------------------------------------------------------------------------------------------

    @property
    def _spine(self) -> FollowedSpine:
        if self.selected is None:
            raise LookupError(NO_SPINE)
        return self.selected

    def _edit(self, kind: EditKind, **about: Any) -> Edit:
        return Edit.now(self.who, kind, second=self.second, **about)

    def _about(self, kind: EditKind, spine: FollowedSpine | None = None, **about: Any) -> Edit:
        spine = spine or self._spine
        return self._edit(kind, spine=tuple(self._place(spine, session) for session in self._sights(spine)), **about)

    def _sights(self, spine: FollowedSpine) -> list[int]:
        """Return the sessions that show a spine, this one first."""
        known = spine.present or sorted(spine.heads)
        return sorted(known, key=lambda session: (session != self.session, session))

    def _place(self, spine: FollowedSpine, session: int) -> Place:
        return Place(
            session=self.analysed.sessions[session], head_zyx_um=self.head(spine, session), dendrite=spine.dendrite
        )

    # ---- keeping: these run in the thread that reads -----------------------------------------------------------

    def keep(self, edits: Sequence[Edit]) -> Judgement:
        """Write decisions, then tell what they come to; one that was not kept is told of."""
        refused = ""
        try:
            self.material.book.append(*edits)
        except EditError as error:
            refused = str(error)
        return self._judge(refused=refused)

    def take_back(self) -> Judgement:
        """Undo the last step."""
        return self._turn(EditKind.UNDO, History(self.material.book.edits).undoable)

    def bring_back(self) -> Judgement:
        """Redo the step that was undone last."""
        return self._turn(EditKind.REDO, History(self.material.book.edits).redoable)

    def _turn(self, kind: EditKind, which: Callable[..., str | None]) -> Judgement:
        step = which(self.who, second=self.second)
        return self.judgement if step is None else self.keep([self._edit(kind, of=step)])

    def turn_blind(self) -> Judgement:
        """Hide names, days and order of the sessions, or show them again; either is kept."""
        if self.blind is not None:
            return self.keep([self._edit(EditKind.UNBLIND)])
        return self.keep([self._edit(EditKind.BLIND, seed=SystemRandom().randrange(LARGEST_SEED))])

    def change_who(self, who: str) -> Judgement:
        """Have another person decide from now on."""
        self.who = who or self.who
        return self._judge()

    def turn_second(self) -> Judgement:
        """Judge apart from the review, or go back to it."""
        return self._judge_as(second=not self.second)

    def _judge(self, *, refused: str = "") -> Judgement:
        return self._judge_as(second=self.second, refused=refused)

    def _judge_as(self, *, second: bool, refused: str = "") -> Judgement:
        material = self.material
        return judge(material.analysed, material.days, material.book, self.who, second=second, refused=refused)

    # ---- showing -----------------------------------------------------------------------------------------------

    def why_not_undo(self) -> str | None:
        """Say why nothing can be undone."""
        step = History(self.judgement.edits).undoable(self.who, second=self.second)
        return None if step else f"{self.who} has decided nothing yet"

    def why_not_redo(self) -> str | None:
        """Say why nothing can be redone."""
        step = History(self.judgement.edits).redoable(self.who, second=self.second)
        return None if step else "nothing was undone"

    def take(self, judgement: Judgement) -> None:
        """Show what is on the disk now; a spine that is gone gives way to the next along its dendrite."""
        before, was = self.judgement, self.selected
        along_um = None if was is None else float(self.place(was, self.session)[0])
        self.judgement = judgement
        self.blind = self._blind()
        self.joining = None
        self.selected = _same(judgement.review.shown, was) or self._next_along(along_um)
        new = judgement.edits[len(before.edits) :]
        if len(new) and new[-1].is_about_a_spine and new[-1].kind is EditKind.ADD:
            self._select_at(new[-1].to)
        for edit in new:
            if not edit.is_about_a_spine and edit.of:
                self._select_at([place for one in judgement.edits if one.step == edit.of for place in one.spine])

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


def _measured_kind(spine: FollowedSpine, session: int) -> str:
    row = spine.rows.get(session) or next(iter(spine.rows.values()), None)
    return SpineKind.SPINE.value if row is None else str(row[13])
