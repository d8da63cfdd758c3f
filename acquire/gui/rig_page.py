"""Rig: for the engineer. Check, devices, orientation, power, limits; what was calibrated goes into the rig config."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtGui import QShowEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QTabWidget, QVBoxLayout

from acquire.config import RigConfig
from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.page import Page, icon, wrapped
from acquire.gui.rig_check import CheckTab
from acquire.gui.rig_depth import DepthTab
from acquire.gui.rig_devices import DevicesTab
from acquire.gui.rig_limits import LimitsTab
from acquire.gui.rig_orientation import OrientationTab
from acquire.gui.rig_power import PowerTab
from acquire.gui.rig_save import SaveTab
from acquire.gui.rig_tab import RigTab
from acquire.gui.rig_view import Draft
from acquire.gui.status import DeskStatus

UNSAVED = "{count} changed and not saved"


class RigPage(Page):
    """The rig and its config."""

    title = "Rig"
    icon = "mdi6.cog-outline"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.draft: Draft | None = None
        self._is_reading = False
        self.check_tab = CheckTab(desk, self._change)
        self.devices_tab = DevicesTab(desk, self._change)
        self.orientation_tab = OrientationTab(desk, self._change)
        self.depth_tab = DepthTab(desk, self._change)
        self.power_tab = PowerTab(desk, self._change)
        self.limits_tab = LimitsTab(desk, self._change)
        self.save_tab = SaveTab(desk, self._change)
        self.save_tab.saved = self.show_draft
        self.tabs = QTabWidget()
        self.tabs.setObjectName("rig-tabs")
        self.state = wrapped("", "rig-state")
        self._build()

    @property
    def _all(self) -> Sequence[RigTab]:
        return (
            self.check_tab,
            self.devices_tab,
            self.orientation_tab,
            self.depth_tab,
            self.power_tab,
            self.limits_tab,
            self.save_tab,
        )

    def _build(self) -> None:
        title = QLabel("Rig")
        title.setObjectName("title")
        head = QHBoxLayout()
        head.addWidget(title)
        head.addWidget(self.state, 1)
        for tab in self._all:
            self.tabs.addTab(tab, icon(tab.icon), tab.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 16)
        layout.setSpacing(10)
        layout.addLayout(head)
        layout.addWidget(self.tabs, 1)

    @property
    def unsaved(self) -> str | None:
        """What was calibrated and is in no file yet."""
        changes = 0 if self.draft is None else len(self.draft.changes)
        return f"{UNSAVED.format(count=changes)} on the page Rig" if changes else None

    def commands(self) -> Sequence[Command]:
        """Return what has a key."""
        return [one for tab in self._all for one in tab.commands() if one.key]

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot; the config file is read once the rig is open."""
        if self.draft is None and not self._is_reading and status.rig:
            self._is_reading = True
            name = self.desk.rig_name
            self.desk.read("the rig config", lambda: Draft.read(name), self.show_draft)
        current = self.tabs.currentWidget()
        if isinstance(current, RigTab):
            current.show_status(status)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Read a config again that could not be read before."""
        super().showEvent(event)
        self._is_reading = False

    def show_draft(self, draft: Draft) -> None:
        """Show another draft on every tab."""
        self.draft = draft
        for tab in self._all:
            tab.show_draft(draft)
        changes = len(draft.changes)
        told = f"; {UNSAVED.format(count=changes)}: see Save" if changes else ""
        self.state.setText(f"{draft.config.name}, {draft.source}{told}")

    def _change(self, config: RigConfig) -> None:
        if self.draft is not None:
            self.show_draft(self.draft.changed(config))
