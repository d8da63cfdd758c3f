"""Orientation: how the image lies on the stage and how large its pixels are, measured by moving."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PyQt6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from acquire.calibrated import compare_cameras, compare_orientation, with_orientation
from acquire.gui.commands import Command
from acquire.gui.desk import NO_RIG
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet, titled, wrapped
from acquire.gui.rig_camera import CameraForm, limited
from acquire.gui.rig_tab import NO_DRAFT, RigTab, refusal_of, two_columns
from acquire.gui.rig_view import orientation_rows
from acquire.orientation import CalibrationPlan, MeasuredOrientation, Moves

PLAN_FIRST = "plan it first: see what will move, and what light there will be"
MEASURE_FIRST = "measure first"
EXPLAINED = "Something with structure lies in focus: vessels for the camera, dendrites or a grid for the scanner."
NAME_PX, NUMBER_PX, ROW_PX = 230, 200, 28
NUMBERS_PX = 240  # all rows in sight


class OrientationTab(RigTab):
    """Measures how the image lies on the stage."""

    title = "Orientation"
    icon = "mdi6.axis-arrow"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.asked = CameraForm("calibrate", "Move by (um)", "", "as far as is well seen")
        self.asked.changed.connect(self._forget_plan)
        self.told = wrapped("", "calibrate-told")
        self.findings = FindingList("orientation-findings")
        self.numbers = QTableWidget(0, 3)
        self.numbers.setTabKeyNavigation(False)
        self.numbers.setObjectName("orientation-numbers")
        self.numbers.setHorizontalHeaderLabels(["", "rig config", "measured"])
        self.numbers.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.numbers.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        for column, width_px in enumerate((NAME_PX, NUMBER_PX, NUMBER_PX)):
            self.numbers.setColumnWidth(column, width_px)
        if (header := self.numbers.horizontalHeader()) is not None:
            header.setStretchLastSection(True)
        if (rows := self.numbers.verticalHeader()) is not None:
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            rows.setDefaultSectionSize(ROW_PX)
            rows.hide()
        self.numbers.setMinimumHeight(NUMBERS_PX)
        self._planned: tuple[CalibrationPlan, Moves] | None = None
        self._measured: MeasuredOrientation | None = None
        self._before: MeasuredOrientation | None = None

    def lay_out(self) -> None:
        """Put it in its place."""
        plan, measure, apply = (self.buttons[each.name] for each in self.commands())
        two_columns(
            self,
            [titled("Measure by moving", quiet(EXPLAINED), self.asked, plan, self.told, measure, apply)],
            [titled("Image on the stage", self.numbers), titled("Against the rig config", self.findings)],
            stretches=(3, 2),
        )

    def commands(self) -> Sequence[Command]:
        """Plan, measure, apply."""
        return (
            Command("plan-moves", "1  Plan", "", "mdi6.map-marker-path", self._plan, self._why_not_plan),
            Command("measure-orientation", "2  Measure", "", "mdi6.ruler-square", self._measure, self._why_not_measure),
            Command("apply-orientation", "3  Apply", "", "mdi6.check", self._apply, self._why_not_apply),
        )

    def _forget_plan(self) -> None:
        self._planned = None
        self.told.setText("")
        self.refresh()

    def _why_not_plan(self) -> str | None:
        return self.desk.why_not() or (NO_DRAFT if self.draft is None else refusal_of(self.asked.plan))

    def _plan(self) -> None:
        rig, asked = self.desk.rig, self.asked.plan()
        if rig is None:
            return

        def plan() -> Moves:
            from acquire.calibrate import plan_moves

            return plan_moves(rig, limited(asked, self.desk.session))

        self.desk.do("planning the moves", plan, partial(self._planned_is, asked))

    def _planned_is(self, asked: CalibrationPlan, moves: Moves) -> None:
        self._planned = asked, moves
        self.told.setText(f"{moves}.")
        self.refresh()

    def _why_not_measure(self) -> str | None:
        return self._why_not_plan() or (None if self._planned else PLAN_FIRST)

    def _measure(self) -> None:
        rig = self.desk.rig
        if rig is None or self._planned is None:
            self.desk.refuse(NO_RIG if rig is None else PLAN_FIRST)
            return
        asked, _ = self._planned

        def measure() -> MeasuredOrientation:
            from acquire.calibrate import measure_orientation

            return measure_orientation(rig, limited(asked, self.desk.session), self.desk.hear)

        self.desk.do(f"measuring the {self.asked.camera.currentText()}", measure, self._show)

    def _show(self, measured: MeasuredOrientation) -> None:
        if self._measured is not None and self._measured.camera != measured.camera:
            self._before = self._measured
        self._measured = measured
        if self.draft is None:
            return
        found = compare_orientation(self.draft.saved, measured)
        if self._before is not None and self._before.camera != measured.camera:
            found.append(compare_cameras(measured, self._before))
        self.findings.show_findings(found)
        rows = orientation_rows(self.draft.saved, measured)
        self.numbers.setRowCount(len(rows))
        for number, texts in enumerate(rows):
            for column, text in enumerate(texts):
                self.numbers.setItem(number, column, QTableWidgetItem(text))
        self.refresh()

    def _why_not_apply(self) -> str | None:
        return MEASURE_FIRST if self._measured is None else None

    def _apply(self) -> None:
        measured = self._measured
        if measured is not None:
            self.apply(lambda config: with_orientation(config, measured))
