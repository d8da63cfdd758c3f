"""Depth: which way is deeper, seen by a person in two images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PyQt6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from acquire.calibrated import LargerZ, compare_depth, with_depth
from acquire.gui.commands import Command
from acquire.gui.findings import FindingList
from acquire.gui.page import quiet, titled
from acquire.gui.picture import Picture
from acquire.gui.rig_camera import CameraForm, in_a_row
from acquire.gui.rig_tab import NO_DRAFT, RigTab, refusal_of, two_columns
from acquire.gui.rig_view import number_of
from acquire.orientation import DepthViews

LOOK_FIRST = "look first: two images, at this z and at a larger one"
EXPLAINED = (
    "No program can tell up from down in an image; you can. Focus on the surface of the brain and look: z goes up by "
    "the step and comes back. Under the scanner the light is on for the two images. Then say what the right one shows."
)
STEP_UM = "20"
FINDING_PX = 100


class DepthTab(RigTab):
    """Asks which of two images lies deeper."""

    title = "Depth"
    icon = "mdi6.arrow-collapse-down"

    def make(self) -> None:
        """Make what the tab holds, but for its buttons."""
        self.asked = CameraForm("depth", "Raise z by (um)", STEP_UM, "")
        self.asked.changed.connect(self.refresh)
        self.findings = FindingList("depth-findings")
        self.findings.setFixedHeight(FINDING_PX)
        self.here, self.there = Picture("depth-here"), Picture("depth-larger-z")
        self._views: DepthViews | None = None

    def lay_out(self) -> None:
        """Put it in its place."""
        answers = in_a_row(self.buttons["it-is-deeper"], self.buttons["it-is-higher"])
        pair = QWidget()
        row = QHBoxLayout(pair)
        row.setContentsMargins(0, 0, 0, 0)
        for picture, caption in ((self.here, "at this z"), (self.there, "at the larger z")):
            column = QVBoxLayout()
            column.addWidget(quiet(caption))
            column.addWidget(picture, 1)
            row.addLayout(column)
        two_columns(
            self,
            [
                titled("Which way is deeper", quiet(EXPLAINED), self.asked, self.buttons["see-depth"]),
                titled("The right image is", answers, self.findings),
            ],
            [pair],
        )

    def commands(self) -> Sequence[Command]:
        """Look, answer."""
        deeper, higher = partial(self._answer, "deeper"), partial(self._answer, "higher")
        return (
            Command("see-depth", "Look at both", "", "mdi6.eye-outline", self._see, self._why_not_see),
            Command("it-is-deeper", "deeper", "", "mdi6.arrow-down", deeper, self._why_not_answer),
            Command("it-is-higher", "higher", "", "mdi6.arrow-up", higher, self._why_not_answer),
        )

    def _step_um(self) -> float:
        return number_of(self.asked.step.text(), "the step along z")

    def _why_not_see(self) -> str | None:
        refusal = self.desk.why_not() or (NO_DRAFT if self.draft is None else None)
        return refusal or refusal_of(lambda: self.asked.plan(with_step=False)) or refusal_of(self._step_um)

    def _see(self) -> None:
        rig, plan, step_um = self.desk.rig, self.asked.plan(with_step=False), self._step_um()
        if rig is None:
            return

        def see() -> DepthViews:
            from acquire.calibrate import see_depth

            return see_depth(rig, plan, step_um)

        self.desk.do(f"looking {step_um:g} um farther", see, self._show)

    def _show(self, views: DepthViews) -> None:
        self._views = views
        for picture, image in ((self.here, views.here), (self.there, views.at_larger_z)):
            picture.forget_levels()
            picture.show_image(image)
        self.refresh()

    def _why_not_answer(self) -> str | None:
        return LOOK_FIRST if self._views is None else None

    def _answer(self, larger_z_is: LargerZ) -> None:
        if self.draft is not None:
            self.findings.show_findings([compare_depth(self.draft.saved, larger_z_is)])
            self.apply(lambda config: with_depth(config, larger_z_is))
