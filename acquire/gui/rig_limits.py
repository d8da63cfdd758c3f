"""Limits: where the stage may go and how much light there may be."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtWidgets import QFormLayout, QWidget

from acquire.calibrated import compare_limits, with_limits
from acquire.gui.commands import Command
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet, titled, wrapped
from acquire.gui.rig_tab import NO_DRAFT, RigTab, line, refusal_of, two_columns
from acquire.gui.rig_view import LIMIT_FIELDS, LIMIT_NAMES, Draft, limit_texts, limits_of, tell_place
from acquire.gui.status import DeskStatus
from acquire.model import Finding, Light, StagePosition

EXPLAINED = (
    "Moves and powers beyond these are refused before anything is sent. The power limit of an animal is lower, where "
    "it has one; the working distance of the objective is watched beside them."
)
UNCHANGED = Finding(Light.GREEN, "as in the rig config")


class LimitsTab(RigTab):
    """A form for the limits."""

    title = "Limits"
    icon = "mdi6.arrow-expand-horizontal"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.lines = {name: line(f"limit-{name}") for name in LIMIT_FIELDS}
        for typed in self.lines.values():
            typed.textChanged.connect(self._typed)
        self.findings = FindingList("limit-findings")
        self.place = wrapped("", "limit-place")
        self._position: StagePosition | None = None

    def lay_out(self) -> None:
        """Put it in its place."""
        form = QFormLayout()
        for name, typed in self.lines.items():
            form.addRow(LIMIT_NAMES[name], typed)
        inside = QWidget()
        inside.setLayout(form)
        two_columns(
            self,
            [titled("Limits", inside), self.buttons["apply-limits"]],
            [titled("Against the rig config", self.findings, self.place, quiet(EXPLAINED))],
        )

    def commands(self) -> Sequence[Command]:
        """Apply."""
        return (Command("apply-limits", "Apply limits", "", "mdi6.check", self._apply, self._why_not),)

    def show_draft(self, draft: Draft) -> None:
        """Show the limits of a draft; what is typed stays when they are the same."""
        is_same = self.is_same(draft, "limits")
        super().show_draft(draft)
        if is_same:
            return
        for name, text in limit_texts(draft.config.limits).items():
            self.lines[name].setText(text)
        self._typed()

    def show_status(self, status: DeskStatus) -> None:
        """Show where the stage stands."""
        if status.sight.position != self._position:
            self._position = status.sight.position
            self._typed()
        super().show_status(status)

    def _texts(self) -> dict[str, str]:
        return {name: typed.text() for name, typed in self.lines.items()}

    def _typed(self) -> None:
        if self.draft is None:
            return
        if refusal := refusal_of(lambda: limits_of(self._texts())):
            self.findings.show_findings([Finding(Light.RED, refusal)])
            self.place.setText("")
        else:
            limits = limits_of(self._texts())
            self.findings.show_findings(
                compare_limits(self.draft.saved.limits, limits, self.draft.config.power) or [UNCHANGED]
            )
            self.place.setText(tell_place(limits, self._position))
        self.refresh()

    def _why_not(self) -> str | None:
        if self.draft is None:
            return NO_DRAFT
        config = self.draft.config
        return refusal_of(lambda: with_limits(config, limits_of(self._texts())))

    def _apply(self) -> None:
        self.apply(lambda config: with_limits(config, limits_of(self._texts())))
