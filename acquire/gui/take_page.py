"""Take: the stack of a field as it was taken before, watched while it comes, judged when it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QListWidget, QVBoxLayout, QWidget

from acquire.gui.commands import Command
from acquire.gui.desk import LIVE, Desk
from acquire.gui.joystick import Joystick
from acquire.gui.live_picture import LivePicture
from acquire.gui.page import CommandButton, Page, quiet, titled, wrapped
from acquire.gui.status import DeskStatus, FieldStatus
from acquire.gui.taking_view import tell_field, tell_plan, tell_quality
from analysis.model import Verdict

if TYPE_CHECKING:
    from acquire.brightness import PowerProposal
    from acquire.session import Session

SIDE_PX = 400
_Verb = Callable[["Session", str], Path | None]


class TakePage(Page):
    """Takes stacks."""

    title = "Take"
    icon = "mdi6.layers-triple"
    shows_live = (LIVE,)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.fields = QListWidget()
        self.fields.setObjectName("fields")
        self.fields.setMaximumHeight(150)
        self.fields.currentTextChanged.connect(self._choose)
        self.plan = wrapped("", "plan")
        self.quality = wrapped("", "quality")
        self.power = QComboBox()
        self.power.setObjectName("power")
        self.power.addItems(["as planned"])
        self.joystick = Joystick(desk, in_a_row=True)
        self.live = LivePicture(desk, self.joystick.turn)
        self._matched: tuple[str, PowerProposal] | None = None  # the field, and the power that is offered for it
        self._listed: tuple[str, ...] = ()
        self._buttons = [CommandButton(one, primary=one.name == "take", show_key=True) for one in self._own_commands()]
        self._build()

    def _build(self) -> None:
        title = QLabel("Take")
        title.setObjectName("title")
        side = QWidget()
        side.setFixedWidth(SIDE_PX)
        column = QVBoxLayout(side)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(title)
        column.addWidget(quiet("fields"))
        column.addWidget(self.fields)
        column.addWidget(self.plan)
        power = QHBoxLayout()
        power.addWidget(quiet("power"))
        power.addWidget(self.power, 1)
        column.addLayout(power)
        named = {button.objectName(): button for button in self._buttons}
        for pair in (("take", "take-again"), ("go-on", "retake"), ("propose-power", "live-view"), ("analyse",)):
            line = QHBoxLayout()
            for name in pair:
                line.addWidget(named[name], 1)
            column.addLayout(line)
        column.addWidget(titled("How good the stack is", self.quality), 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(20, 16, 20, 16)
        row.setSpacing(14)
        row.addWidget(side)
        looking = QVBoxLayout()
        looking.addWidget(self.live, 1)
        looking.addWidget(self.joystick)
        looking.addWidget(self.joystick.power_row)
        row.addLayout(looking, 1)

    def commands(self) -> Sequence[Command]:
        """Take, go on, retake, propose the power, look, analyse, move."""
        return (*self._own_commands(), *self.joystick.commands())

    def _own_commands(self) -> Sequence[Command]:
        return (
            Command("take", "Take stack", "T", "mdi6.record-circle-outline", self._take, self._why_not_take),
            Command(
                "take-again", "Take another", "Shift+T", "mdi6.plus-circle-outline", self._take, self._why_not_again
            ),
            Command("go-on", "Go on with it", "G", "mdi6.play-pause", self._go_on, self._why_not_go_on),
            Command("propose-power", "Match power", "P", "mdi6.brightness-6", self._propose, self._why_not_propose),
            Command("retake", "Retake bad planes", "R", "mdi6.replay", self._retake, self._why_not_retake),
            Command("live-view", "Live", "L", "mdi6.video-outline", self._watch, self._why_not_watch),
            Command("analyse", "Analyse", "Y", "mdi6.chart-scatter-plot", self._analyse, self._why_not_analyse),
        )

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        names = tuple(tell_field(field) for field in status.known.fields)
        if names != self._listed:
            self._list(names)
        self._show_chosen(status.field)
        if self._matched is not None and self._matched[0] != status.field:
            self._offer_no_power()
        field = status.chosen
        self.quality.setText("Choose a field." if field is None else tell_quality(field))
        session = self.desk.session
        self.plan.setText("" if field is None or session is None else tell_plan(field))
        self.joystick.show_status(status)
        for button in self._buttons:
            button.refresh()
            if button.objectName() == "live-view":
                button.setText("End live  L" if status.doing == LIVE else "Live  L")

    def _list(self, names: tuple[str, ...]) -> None:
        self._listed = names
        self.fields.blockSignals(True)
        self.fields.clear()
        self.fields.addItems(names)
        self.fields.blockSignals(False)

    def _show_chosen(self, chosen: str) -> None:
        """Mark the field that the pages are about, whoever chose it."""
        rows = [row for row, name in enumerate(self._listed) if name.split()[:1] == [chosen]]
        row = rows[0] if rows else -1
        if row != self.fields.currentRow():
            self.fields.blockSignals(True)
            self.fields.setCurrentRow(row)
            self.fields.blockSignals(False)

    # ---- what the buttons do -----------------------------------------------------------------------------------

    @property
    def _field(self) -> FieldStatus | None:
        return self.desk.status.chosen

    def _choose(self, text: str) -> None:
        if words := text.split():
            self.desk.choose(words[0])
            self._offer_no_power()

    def _why_not_take(self) -> str | None:
        field = self._field
        if field is not None and field.stacks and not self.desk.why_not(field=True):
            return f"{field.name} has its stack of this session; Shift+T takes another"
        return self._why_not_found()

    def _why_not_again(self) -> str | None:
        field = self._field
        if field is not None and not field.stacks:
            return f"{field.name} has no whole stack in this session yet"
        return self._why_not_found()

    def _why_not_found(self) -> str | None:
        if refusal := self.desk.why_not(field=True):
            return refusal
        field = self._field
        if field is None or field.verdict is Verdict.FOUND:
            return None
        if field.verdict is Verdict.UNSURE and self.desk.is_accepted(field.name):
            return None
        return f"{field.name} is {field.verdict or 'not looked for'} in this session; find it first"

    def _take(self) -> None:
        power_mw = self._matched_mw()
        self._run("taking", lambda session, name: session.take_stack(
            name, accept_unsure=self.desk.is_accepted(name), power_mw=power_mw
        ))  # fmt: skip

    def _matched_mw(self) -> float | None:
        """Return the power that was matched for the chosen field and is wanted, mW; None as planned."""
        if self._matched is None or self.power.currentIndex() != 1:
            return None
        name, proposal = self._matched
        return proposal.power_mw if name == self.desk.field else None

    def _why_not_go_on(self) -> str | None:
        if refusal := self.desk.why_not(field=True):
            return refusal
        field = self._field
        return None if field is not None and field.is_cut_short else "no stack was cut short in this session"

    def _go_on(self) -> None:
        self._run("going on with", lambda session, name: session.take_stack(
            name, accept_unsure=self.desk.is_accepted(name), resume=True
        ))  # fmt: skip

    def _why_not_retake(self) -> str | None:
        if refusal := self.desk.why_not(field=True):
            return refusal
        field = self._field
        return None if field is not None and field.bad_planes else "no plane is bad"

    def _retake(self) -> None:
        self._run("retaking planes of", lambda session, name: session.retake(
            name, accept_unsure=self.desk.is_accepted(name)
        ))  # fmt: skip

    def _run(self, doing: str, verb: _Verb) -> None:
        session, field = self.desk.session, self._field
        if session is not None and field is not None:
            name = field.name
            self.desk.do(f"{doing} {name}", lambda: verb(session, name), lambda store: self._taken(name, store))

    def _taken(self, name: str, store: Path | None) -> None:
        self.desk.tell(f"{name}: {store.name} is whole" if store is not None else f"{name}: nothing to take again")
        if store is not None:
            self.desk.analyse(name)

    def _why_not_propose(self) -> str | None:
        if refusal := self.desk.why_not(field=True):
            return refusal
        field = self._field
        if field is not None and field.is_new:
            return f"{field.name} is new in this session: there is no earlier brightness"
        return None if field is not None and field.relocation is not None else "find the field first"

    def _propose(self) -> None:
        session, field = self.desk.session, self._field
        if session is not None and field is not None:
            name = field.name
            self.desk.do(
                f"comparing brightness of {name}", lambda: session.propose_power(name), partial(self._offer, name)
            )

    def _offer(self, name: str, proposal: PowerProposal) -> None:
        """Offer a power for a field, unless another one was chosen meanwhile."""
        if name != self.desk.field:
            self.desk.tell(f"the power for {name} is not used: another field is chosen; choose {name}, match again")
            return
        self._offer_no_power()
        self._matched = name, proposal
        self.power.addItem(f"{proposal.power_mw:.1f} mW, as bright as on the first day")
        self.power.setCurrentIndex(1)
        self.desk.tell(proposal.says)

    def _offer_no_power(self) -> None:
        self._matched = None
        self.power.clear()
        self.power.addItem("as planned")

    def _why_not_watch(self) -> str | None:
        return None if self.desk.status.doing == LIVE else self.desk.why_not(session=True)

    def _watch(self) -> None:
        if self.desk.status.doing == LIVE:
            self.desk.stop()
            return
        self.joystick.setFocus()  # a list would keep the arrow keys
        self.live.picture.forget_levels()
        self.desk.watch(self.desk.field or None)

    def _why_not_analyse(self) -> str | None:
        field = self._field
        if field is None:
            return "choose a field first"
        if self.desk.status.analysing:
            return f"{self.desk.status.analysing} is analysed"
        return None if field.sessions else f"{field.name} has no whole stack yet"

    def _analyse(self) -> None:
        field = self._field
        if field is not None:
            self.desk.analyse(field.name)
