"""Review: what a key decides about the spine that is selected.

A decision is made of what is shown, written to ``edits.jsonl`` in the thread that reads, and shown when it is on the
disk. Knows no Qt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import Any, TypeVar

import numpy as np

from acquire.errors import StudyError
from acquire.gui.judgement import Judgement, judge
from acquire.gui.material import Material
from acquire.gui.selection import Selection, measured_kind
from analysis.blind import blind_order
from analysis.edits import Edit, EditError, EditKind, History, Place, new_step
from analysis.errors import ExperimentError
from analysis.followed import FollowedSpine
from analysis.model import SpineKind, SpineState
from analysis.reviewed import why_not_join, why_not_split

T = TypeVar("T")
NO_SPINE = "select a spine first"
HIDDEN = "this went wrong, and the reason names animal or day; end blind (Ctrl+B) and do it again to read it"
LARGEST_SEED = 2**31 - 1
INSERTED_UM = 1.0
"""A click this near to where an absent spine should be says that this spine is present."""


def without_names(verb: Callable[[], T]) -> T:
    """Read something for one who is blind: what goes wrong is told without its file, whose name holds the day."""
    try:
        return verb()
    except ExperimentError as error:
        raise StudyError(HIDDEN) from error


class Review(Selection):
    """One field under review: what is selected can be decided about.

    Parameters
    ----------
    material
        Tables, stacks and decisions of the field.
    who
        Whose decisions these are.
    after
        What was reviewed before in this window: a second rater stays one, and who was blind stays blind.
    """

    def __init__(self, material: Material, who: str, *, after: Review | None = None) -> None:
        super().__init__(material, who, after=after)
        self.joining: FollowedSpine | None = None

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
        kind = spine.kind or measured_kind(spine, self.session)
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

    @property
    def joining_says(self) -> str:
        """What is to be done to join two spines, in words."""
        return "" if self.joining is None else "join: go to the other half of this spine and press j there; j here: no"

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
        return self.judge_anew()

    def judge_anew(self) -> Judgement:
        """Tell what the decisions come to for the rater that is named now."""
        return self._go_on(second=self.second)

    def turn_second(self) -> Judgement:
        """Judge apart from the review, or go back to it."""
        return self._go_on(second=not self.second)

    def _go_on(self, *, second: bool) -> Judgement:
        """Have a rater go on where another was; whoever comes while the window is blind is blind too."""
        shown, refused = self.blind, ""
        own = blind_order(self.material.book.edits, self.who, self.analysed.sessions, second=second)
        if shown is not None and own is None:
            try:
                self.material.book.append(Edit.now(self.who, EditKind.BLIND, second=second, seed=shown.seed))
            except EditError as error:
                refused = str(error)
        return self._judge_as(second=second, refused=refused)

    def _judge(self, *, refused: str = "") -> Judgement:
        return self._judge_as(second=self.second, refused=refused)

    def _judge_as(self, *, second: bool, refused: str = "") -> Judgement:
        material = self.material
        if self.blind is not None:
            refused = refused.replace(str(material.book.file), material.book.file.name)
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
        """Show what is on the disk now; what was to be joined is forgotten."""
        self.joining = None
        super().take(judgement)
