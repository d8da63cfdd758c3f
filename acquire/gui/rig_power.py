"""Power: readings of a meter at the sample are typed in, the curve is drawn, the table goes into the rig config."""

from __future__ import annotations

from collections.abc import Sequence

import pyqtgraph as pg
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QHBoxLayout, QTableWidget, QTableWidgetItem, QWidget

from acquire.calibrated import judge_power, power_table, with_power
from acquire.config import PowerCalibration
from acquire.gui.commands import Command
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet, titled
from acquire.gui.rig_tab import NO_DRAFT, RigTab, refusal_of, two_columns
from acquire.gui.rig_view import Draft, readings_of
from acquire.gui.theme import theme
from acquire.model import Finding, Light

EXPLAINED = (
    "Put the meter under the objective, set the value of the power device, open the shutter by hand, type what the "
    "meter reads. End where the power is highest."
)
SPARE_ROWS = 3


class PowerTab(RigTab):
    """A table to type into, and its curve."""

    title = "Power"
    icon = "mdi6.brightness-6"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.table = QTableWidget(0, 2)
        self.table.setTabKeyNavigation(False)
        self.table.setObjectName("power-table")
        self.table.setHorizontalHeaderLabels(["value", "mW at the sample"])
        header = self.table.horizontalHeader()
        if header is not None:
            header.setStretchLastSection(True)
        self.table.itemChanged.connect(self._typed)
        self.findings = FindingList("power-findings")
        self.plot = pg.PlotWidget()
        self._build_plot()

    def lay_out(self) -> None:
        """Put it in its place."""
        pair = QWidget()
        row = QHBoxLayout(pair)
        row.setContentsMargins(0, 0, 0, 0)
        for name in ("power-add-row", "power-remove-row"):
            row.addWidget(self.buttons[name])
        two_columns(
            self,
            [titled("Readings", quiet(EXPLAINED), self.table, pair, self.buttons["apply-power"])],
            [self.plot, titled("What the readings say", self.findings)],
            stretches=(5, 3),
        )
        self.table.setMinimumHeight(300)

    def _build_plot(self) -> None:
        look = theme()
        self.plot.setObjectName("power-plot")
        self.plot.setBackground(look.panel)
        self.plot.setLabel("bottom", "value of the power device", color=look.text)
        self.plot.setLabel("left", "power at the sample (mW)", color=look.text)
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        legend = self.plot.addLegend(offset=(16, 12), labelTextColor=look.text)
        legend.setBrush(look.raised)
        dashed = pg.mkPen(look.quiet, width=2, style=Qt.PenStyle.DashLine)
        self._old = self.plot.plot([], [], pen=dashed, name="rig config")
        self._new = self.plot.plot(
            [],
            [],
            pen=pg.mkPen(look.accent, width=2),
            symbol="o",
            symbolBrush=look.accent,
            symbolSize=9,
            name="readings",
        )
        self._limit = pg.InfiniteLine(
            angle=0,
            pen=pg.mkPen(look.warn, width=2, style=Qt.PenStyle.DotLine),
            label="limit {value:.0f} mW",
            labelOpts={"color": look.warn, "position": 0.4, "anchors": [(0.5, 1), (0.5, 1)]},
        )
        self.plot.addItem(self._limit)

    def commands(self) -> Sequence[Command]:
        """Add and remove rows, apply."""
        return (
            Command("power-add-row", "Add row", "", "mdi6.plus", self._add_row),
            Command("power-remove-row", "Remove row", "", "mdi6.minus", self._remove_row),
            Command("apply-power", "Apply table", "", "mdi6.check", self._apply, self._why_not),
        )

    def show_draft(self, draft: Draft) -> None:
        """Show the table of a draft; what is typed stays when it is the same."""
        is_same = self.is_same(draft, "power")
        super().show_draft(draft)
        self._limit.setValue(draft.config.limits.power_mw)
        if is_same:
            self._typed()
            return
        table = draft.config.power
        readings = list(zip(table.value, table.power_mw, strict=True)) if table is not None else []
        self.table.blockSignals(True)
        self.table.setRowCount(len(readings) + SPARE_ROWS)
        for row in range(self.table.rowCount()):
            texts = [f"{number:g}" for number in readings[row]] if row < len(readings) else ["", ""]
            for column, text in enumerate(texts):
                self.table.setItem(row, column, QTableWidgetItem(text))
        self.table.blockSignals(False)
        saved = draft.saved.power
        self._old.setData(*(([], []) if saved is None else (saved.value, saved.power_mw)))
        self._typed()

    def _rows(self) -> list[tuple[str, str]]:
        def text(row: int, column: int) -> str:
            item = self.table.item(row, column)
            return "" if item is None else item.text()

        return [(text(row, 0), text(row, 1)) for row in range(self.table.rowCount())]

    def _read(self) -> PowerCalibration:
        return power_table(readings_of(self._rows()))

    def _typed(self) -> None:
        if self.draft is None:
            return
        if refusal := refusal_of(self._read):
            self.findings.show_findings([Finding(Light.RED, refusal)])
        else:
            self.findings.show_findings(judge_power(self._read(), self.draft.config.limits.power_mw))
        if refusal_of(lambda: readings_of(self._rows())) is None:
            readings = sorted(readings_of(self._rows()))
            self._new.setData([value for value, _ in readings], [power_mw for _, power_mw in readings])
        self.refresh()

    def _add_row(self) -> None:
        self.table.insertRow(max(self.table.currentRow(), 0) + (self.table.rowCount() > 0))

    def _remove_row(self) -> None:
        self.table.removeRow(self.table.currentRow())
        self._typed()

    def _why_not(self) -> str | None:
        if self.draft is None:
            return NO_DRAFT
        return refusal_of(self._read)

    def _apply(self) -> None:
        self.apply(lambda config: with_power(config, self._read()))
