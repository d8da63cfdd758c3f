"""Check: every role is exercised, what works and what does not is said in words."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtWidgets import QHBoxLayout, QVBoxLayout

from acquire.gui.commands import Command
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet
from acquire.gui.rig_tab import RigTab

EXPLAINED = (
    "Moves stage and focus by 5 um and back, takes an image with each camera, the laser closed, sets the least power "
    "and calls up the watchdog."
)


class CheckTab(RigTab):
    """Checks the rig."""

    title = "Check"
    icon = "mdi6.stethoscope"

    def commands(self) -> Sequence[Command]:
        """Check."""
        return (Command("rig-check", "Check the rig", "", self.icon, self._check, self.desk.why_not),)

    def primary(self) -> Sequence[str]:
        """Return the button that stands out."""
        return ("rig-check",)

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.findings = FindingList("check-findings")

    def lay_out(self) -> None:
        """Put it in its place."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 12, 0, 0)
        head = QHBoxLayout()
        head.addWidget(self.buttons["rig-check"])
        head.addWidget(quiet(EXPLAINED), 1)
        layout.addLayout(head)
        layout.addWidget(self.findings, 1)

    def _check(self) -> None:
        self.findings.clear()
        self.desk.check_rig(self.findings.show_findings)
