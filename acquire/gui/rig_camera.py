"""Which camera looks, with how much light: asked alike wherever the rig is measured."""

from __future__ import annotations

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QWidget

from acquire.gui.rig_tab import line
from acquire.gui.rig_view import plan_of
from acquire.orientation import CalibrationPlan

CAMERAS = {"surface camera": "surface_camera", "scanner": "scanner"}


class CameraForm(QWidget):
    """Asks for camera, power and how far to go.

    Parameters
    ----------
    name
        By which tests find its lines.
    step_name
        What the step is called.
    step
        What is typed there at first.
    hint
        What an empty step means.
    """

    changed = pyqtSignal()

    def __init__(self, name: str, step_name: str, step: str, hint: str) -> None:
        super().__init__()
        self.camera = QComboBox()
        self.camera.setObjectName(f"{name}-camera")
        self.camera.addItems(list(CAMERAS))
        self.power = line(f"{name}-power", "needed for the scanner")
        self.step = line(f"{name}-step", hint, step)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Image of", self.camera)
        form.addRow("Power (mW)", self.power)
        form.addRow(step_name, self.step)
        self.camera.currentTextChanged.connect(self.changed)
        for typed in (self.power, self.step):
            typed.textChanged.connect(self.changed)

    def plan(self, *, with_step: bool = True) -> CalibrationPlan:
        """Return what was asked for.

        Raises
        ------
        RigError
            When something is no number.
        """
        step = self.step.text() if with_step else ""
        return plan_of(CAMERAS[self.camera.currentText()], self.power.text(), step)


def in_a_row(*widgets: QWidget) -> QWidget:
    """Return widgets side by side."""
    pair = QWidget()
    row = QHBoxLayout(pair)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    return pair
