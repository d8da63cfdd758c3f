"""Devices: every property as its device says it, and one at a time to be set.

The editors are those of pymmcore-widgets, made of what the worker has read: they speak to no device. Its own browser is
not used, because it fetches icons from the web and asks the devices in the window's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QSignalBlocker, Qt
from PyQt6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from acquire.gui.commands import Command
from acquire.gui.desk import NO_RIG
from acquire.gui.page import in_tab_order, quiet, titled, wrapped
from acquire.gui.rig_tab import RigTab, line, two_columns
from acquire.gui.rig_view import matching, property_cells, tell_property
from acquire.gui.status import DeskStatus

if TYPE_CHECKING:
    from acquire.properties import DeviceProperty
    from acquire.rig import Rig

CHOOSE = "choose a property first"
EXPLAINED = "What would go around a limit is refused. Nothing is sent before Set is pressed."


class DevicesTab(RigTab):
    """Lists properties and sets one."""

    title = "Devices"
    icon = "mdi6.tune-variant"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.filter = line("property-filter", "device, property or role")
        self.filter.textChanged.connect(self._list)
        self.table = QTableWidget(0, 4)
        self.table.setTabKeyNavigation(False)
        self.table.setObjectName("property-table")
        self.table.setHorizontalHeaderLabels(["device", "property", "value", ""])
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.table.currentCellChanged.connect(self._choose)
        if (header := self.table.horizontalHeader()) is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setHighlightSections(False)
            header.setStretchLastSection(True)
        if (rows := self.table.verticalHeader()) is not None:
            rows.hide()
        self.chosen = wrapped("", "property-chosen")
        self._place = QVBoxLayout()
        self._editor: Any = None
        self._properties: tuple[DeviceProperty, ...] = ()
        self._shown: list[DeviceProperty] = []
        self._rig: Rig | None = None

    def lay_out(self) -> None:
        """Put it in its place."""
        editing = QWidget()
        editing.setLayout(self._place)
        set_it = titled("Property", self.chosen, editing, self.buttons["set-property"], quiet(EXPLAINED))
        two_columns(self, [self.filter, self.buttons["read-properties"], set_it], [self.table])
        in_tab_order(self.filter, self.buttons["read-properties"], self.table, self.buttons["set-property"])

    def commands(self) -> Sequence[Command]:
        """Read, set."""
        return (
            Command("read-properties", "Read again", "", "mdi6.refresh", self._read, self.desk.why_not),
            Command("set-property", "Set", "", "mdi6.check", self._set, self._why_not_set),
        )

    def show_status(self, status: DeskStatus) -> None:
        """Read the properties once a rig is open and nothing else is done."""
        if self.desk.rig is not self._rig and self.desk.why_not() is None:
            self._rig = self.desk.rig
            self._read()
        super().show_status(status)

    def _read(self) -> None:
        rig = self.desk.rig
        if rig is None:
            self.desk.refuse(NO_RIG)
            return
        self.desk.do("reading the devices", lambda: _read_all(rig), self.show_properties)

    def show_properties(self, found: Sequence[DeviceProperty]) -> None:
        """Show what was read; the choice stays."""
        self._properties = tuple(found)
        self._list()

    def _list(self) -> None:
        chosen = str(self._one) if self._one else ""
        self._shown = matching(self._properties, self.filter.text())
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(self._shown))
            for row, one in enumerate(self._shown):
                for column, text in enumerate(property_cells(one)):
                    self.table.setItem(row, column, QTableWidgetItem(text))
            names = [str(one) for one in self._shown]
            if names:
                self.table.setCurrentCell(names.index(chosen) if chosen in names else 0, 0)
        self._choose()

    @property
    def _one(self) -> DeviceProperty | None:
        row = self.table.currentRow()
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _choose(self, *_: int) -> None:
        one = self._one
        if self._editor is not None:
            self._place.removeWidget(self._editor)
            self._editor.hide()
            self._editor.deleteLater()
            self._editor = None
        self.chosen.setText("" if one is None else tell_property(one))
        if one is not None and not one.why_not:
            self._editor = _editor_of(one)
            self._place.addWidget(self._editor)
            in_tab_order(self.table, self._editor, self.buttons["set-property"])
        self.refresh()

    def _why_not_set(self) -> str | None:
        one = self._one
        if one is None:
            return CHOOSE
        return self.desk.why_not() or one.why_not or None

    def _set(self) -> None:
        rig, one, editor = self.desk.rig, self._one, self._editor
        if rig is None or one is None or editor is None:
            return
        value = str(editor.value())

        def set_it() -> DeviceProperty:
            from acquire.properties import set_property

            return set_property(rig, one.device, one.name, value)

        self.desk.do(f"setting {one} to {value}", set_it, self._was_set)

    def _was_set(self, one: DeviceProperty) -> None:
        self.desk.tell(f"{one} reads {one.value}")
        self.show_properties([one if str(each) == str(one) else each for each in self._properties])


def _read_all(rig: Rig) -> tuple[DeviceProperty, ...]:
    """Read the properties; in the worker also import the editors, which takes seconds the first time."""
    import pymmcore_widgets.device_properties._property_widget  # noqa: F401

    from acquire.properties import read_properties

    return read_properties(rig)


def _editor_of(one: DeviceProperty) -> Any:
    """Return an editor with the value of a property; it tells nobody what is done with it."""
    from pymmcore_plus import PropertyType
    from pymmcore_widgets._models._py_config_model import DevicePropertySetting
    from pymmcore_widgets.device_properties._property_widget import create_property_editor

    kinds = {"text": PropertyType.String, "whole": PropertyType.Integer, "number": PropertyType.Float}
    described: Any = DevicePropertySetting
    editor: Any = create_property_editor(
        described(
            device=one.device,
            property_name=one.name,
            value=one.value,
            allowed_values=one.allowed,
            limits=one.limits,
            property_type=kinds[one.kind],
        )
    )
    editor.setObjectName("property-editor")
    editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    if one.value:
        editor.setValue(one.value)
    return editor
