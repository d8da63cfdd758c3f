"""Orientation: how the image lies on the stage, measured by moving; which way is deeper, seen by a person."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PyQt6.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from acquire.calibrate import CalibrationPlan, DepthViews, MeasuredOrientation, Moves, measure_orientation, plan_moves
from acquire.calibrate import see_depth as see
from acquire.calibrated import LargerZ, compare_depth, compare_orientation, with_depth, with_orientation
from acquire.gui.commands import Command
from acquire.gui.desk import NO_RIG
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet, titled, wrapped
from acquire.gui.picture import Picture
from acquire.gui.rig_tab import NO_DRAFT, RigTab, line, refusal_of, two_columns
from acquire.gui.rig_view import number_of, orientation_rows, plan_of

CAMERAS = {"surface camera": "surface_camera", "scanner": "scanner"}
PLAN_FIRST = "plan it first: see what will move, and what light there will be"
MEASURE_FIRST = "measure first"
LOOK_FIRST = "look first: two images, at this z and at a larger one"
EXPLAINED = "Something with structure lies in focus: vessels for the camera, dendrites or a grid for the scanner."
DEPTH_EXPLAINED = (
    "Nobody can tell up from down in an image but you: focus on the surface, look, and say what the right image shows."
)


class OrientationTab(RigTab):
    """Measures how the image lies on the stage."""

    title = "Orientation"
    icon = "mdi6.axis-arrow"

    def build(self) -> None:
        """Lay the tab out."""
        self.camera = QComboBox()
        self.camera.setObjectName("calibrate-camera")
        self.camera.addItems(list(CAMERAS))
        self.power = line("calibrate-power", "needed for the scanner")
        self.step = line("calibrate-step", "a sixth of the image")
        self.depth_step = line("depth-step", text="10")
        self.told = wrapped("", "calibrate-told")
        self.findings = FindingList("orientation-findings")
        self.depth_findings = FindingList("depth-findings")
        self.depth_findings.setMaximumHeight(72)
        self.numbers = QTableWidget(0, 3)
        self.here, self.deeper = Picture("depth-here"), Picture("depth-larger-z")
        self._planned: tuple[CalibrationPlan, Moves] | None = None
        self._measured: MeasuredOrientation | None = None
        self._views: DepthViews | None = None
        self.camera.currentTextChanged.connect(self._forget_plan)
        for typed in (self.power, self.step):
            typed.textChanged.connect(self._forget_plan)
        self._build_numbers()
        two_columns(self, [self._asked(), self._depth_asked()], [self._shown(), self._pictures()])

    def _build_numbers(self) -> None:
        self.numbers.setObjectName("orientation-numbers")
        self.numbers.setHorizontalHeaderLabels(["", "rig config", "measured"])
        self.numbers.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.numbers.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        for header in (self.numbers.horizontalHeader(), self.numbers.verticalHeader()):
            if header is not None:
                header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
                header.setStretchLastSection(header is self.numbers.horizontalHeader())
        if (rows := self.numbers.verticalHeader()) is not None:
            rows.hide()

    def _asked(self) -> QWidget:
        form = QFormLayout()
        form.addRow("Image of", self.camera)
        form.addRow("Power (mW)", self.power)
        form.addRow("Move by (um)", self.step)
        inside = QWidget()
        inside.setLayout(form)
        buttons = _row(self.buttons["plan-moves"], self.buttons["measure-orientation"])
        return titled("Measure by moving", quiet(EXPLAINED), inside, buttons, self.told)

    def _depth_asked(self) -> QWidget:
        form = QFormLayout()
        form.addRow("Raise z by (um)", self.depth_step)
        inside = QWidget()
        inside.setLayout(form)
        answers = _row(self.buttons["it-is-deeper"], self.buttons["it-is-higher"])
        return titled("Which way is deeper", quiet(DEPTH_EXPLAINED), inside, self.buttons["see-depth"], answers)

    def _shown(self) -> QWidget:
        shown = QWidget()
        row = QHBoxLayout(shown)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.numbers, 4)
        side = QVBoxLayout()
        side.addWidget(self.findings, 1)
        side.addWidget(self.buttons["apply-orientation"])
        row.addLayout(side, 5)
        return titled("Image on the stage", shown)

    def _pictures(self) -> QWidget:
        pair = QWidget()
        row = QHBoxLayout(pair)
        row.setContentsMargins(0, 0, 0, 0)
        for picture, caption in ((self.here, "at this z"), (self.deeper, "at the larger z")):
            column = QVBoxLayout()
            column.addWidget(quiet(caption))
            column.addWidget(picture, 1)
            row.addLayout(column)
        return titled("Depth", pair, self.depth_findings)

    def commands(self) -> Sequence[Command]:
        """Plan, measure, apply; look deeper and answer."""
        return (
            Command("plan-moves", "Plan", "", "mdi6.map-marker-path", self._plan, self._why_not_plan),
            Command("measure-orientation", "Measure", "", "mdi6.ruler-square", self._measure, self._why_not_measure),
            Command("apply-orientation", "Apply orientation", "", "mdi6.check", self._apply, self._why_not_apply),
            Command("see-depth", "Look at both", "", "mdi6.eye-outline", self._see, self._why_not_see),
            Command(
                "it-is-deeper",
                "Right: deeper",
                "",
                "mdi6.arrow-down",
                partial(self._answer, "deeper"),
                self._why_not_answer,
            ),
            Command(
                "it-is-higher",
                "Right: higher",
                "",
                "mdi6.arrow-up",
                partial(self._answer, "higher"),
                self._why_not_answer,
            ),
        )

    # ---- orientation -------------------------------------------------------------------------------------------

    def _typed(self) -> CalibrationPlan:
        return plan_of(CAMERAS[self.camera.currentText()], self.power.text(), self.step.text())

    def _forget_plan(self) -> None:
        self._planned = None
        self.told.setText("")
        self.refresh()

    def _why_not_plan(self) -> str | None:
        return self.desk.why_not() or (NO_DRAFT if self.draft is None else refusal_of(self._typed))

    def _plan(self) -> None:
        rig, asked = self.desk.rig, self._typed()
        if rig is not None:
            self.desk.do("planning the moves", lambda: plan_moves(rig, asked), partial(self._planned_is, asked))

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
        self.desk.do(
            f"measuring the {self.camera.currentText()}",
            lambda: measure_orientation(rig, asked, self.desk.hear),
            self._show_measured,
        )

    def _show_measured(self, measured: MeasuredOrientation) -> None:
        self._measured = measured
        if self.draft is None:
            return
        self.findings.show_findings(compare_orientation(self.draft.saved, measured))
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

    # ---- depth -------------------------------------------------------------------------------------------------

    def _why_not_see(self) -> str | None:
        return self._why_not_plan() or refusal_of(lambda: number_of(self.depth_step.text(), "the step along z"))

    def _see(self) -> None:
        rig, asked = self.desk.rig, self._typed()
        step_um = number_of(self.depth_step.text(), "the step along z")
        if rig is not None:
            self.desk.do(f"looking {step_um:g} um farther", lambda: see(rig, asked, step_um), self._show_depth)

    def _show_depth(self, views: DepthViews) -> None:
        self._views = views
        for picture, image in ((self.here, views.here), (self.deeper, views.at_larger_z)):
            picture.forget_levels()
            picture.show_image(image)
        self.refresh()

    def _why_not_answer(self) -> str | None:
        return LOOK_FIRST if self._views is None else None

    def _answer(self, larger_z_is: LargerZ) -> None:
        if self.draft is not None:
            self.depth_findings.show_findings([compare_depth(self.draft.saved, larger_z_is)])
            self.apply(lambda config: with_depth(config, larger_z_is))


def _row(*widgets: QWidget) -> QWidget:
    pair = QWidget()
    row = QHBoxLayout(pair)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return pair
