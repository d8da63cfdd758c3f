"""The joystick of a live view: keys and buttons that move the stage as the image shows it, and change the power.

Every page with a live picture has one; its commands are among those of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PyQt6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QLineEdit, QSizePolicy, QWidget

from acquire.gui.commands import Command
from acquire.gui.desk import Desk
from acquire.gui.finding_view import STEPS_UM, WAYS, other_step_um, read_power_mw, stage_step_um
from acquire.gui.page import CommandButton, OneOf, quiet
from acquire.gui.status import DeskStatus
from analysis.errors import ExperimentError

ARROWS = {"Left": "←", "Right": "→", "Up": "↑", "Down": "↓", "PgUp": "z ↑", "PgDown": "z ↓"}
WHEEL_UM = 1.0  # of depth for a click of the wheel
NOT_LIVE = "begin the live view first (L)"
BY_HAND = "the power of this view is not set by program"
POWER_PX = 64
HELP = "Move as the image shows it: arrow keys; while live, depth by the wheel"


class Joystick(QWidget):
    """Moves the stage and changes the power while somebody looks. The page lays ``power_row`` where it has room.

    Parameters
    ----------
    desk
        Where the live view runs.
    why_not
        Says why the stage cannot be moved now; only while live when it is not given.
    in_a_row
        Whether it is as low as can be, else as narrow.
    """

    def __init__(self, desk: Desk, why_not: Callable[[], str | None] | None = None, *, in_a_row: bool = False) -> None:
        super().__init__()
        self.desk = desk
        self._why_not_move = why_not or self._why_not_live
        self._step_um = STEPS_UM[1]
        self._buttons = {each.name: CommandButton(each) for each in self.commands()}
        self._steps = self._steps_to_choose()
        self.power = QLabel()
        self.power.setObjectName("live-power")
        self.typed = QLineEdit()
        self.typed.setObjectName("live-power-typed")
        self.typed.setPlaceholderText("mW")
        self.typed.setToolTip("type a power in mW and press Enter  [- and + change it by 1 mW]")
        self.typed.setFixedWidth(POWER_PX)
        self.typed.returnPressed.connect(self._type)
        self._lay_pad(QGridLayout(self), in_a_row)
        self.power_row = QWidget()
        self._lay_power(QHBoxLayout(self.power_row))

    def _steps_to_choose(self) -> dict[float, CommandButton]:
        self._group, buttons = OneOf(self), {}
        for step_um in STEPS_UM:
            choose = Command(f"step-{step_um:g}", f"{step_um:g}", "", "", partial(self._choose_step, step_um))
            buttons[step_um] = CommandButton(choose)
            buttons[step_um].setCheckable(True)
            buttons[step_um].setToolTip("step of the arrow keys, um  [Ctrl+Up and Ctrl+Down choose another]")
            self._group.addButton(buttons[step_um])
        buttons[self._step_um].setChecked(True)
        return buttons

    def _lay_pad(self, grid: QGridLayout, in_a_row: bool) -> None:
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for column, key in enumerate(ARROWS):
            grid.addWidget(self._buttons[f"nudge-{key.lower()}"], 0, column)
        row, first = (0, len(ARROWS)) if in_a_row else (1, 0)
        for column, button in enumerate(self._steps.values()):
            grid.addWidget(button, row, first + column)
        unit = quiet("um a step")
        unit.setWordWrap(False)
        grid.addWidget(unit, row, first + len(self._steps), 1, 2)

    def _lay_power(self, row: QHBoxLayout) -> None:
        row.setContentsMargins(0, 0, 0, 0)
        self.power.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        for widget in (quiet("power"), self._buttons["less-power"], self.typed, self._buttons["more-power"]):
            row.addWidget(widget)
        row.addWidget(self.power, 1)

    def commands(self) -> Sequence[Command]:
        """Move, choose the step, change the power."""
        nudges = [
            Command(f"nudge-{key.lower()}", ARROWS[key], key, "", partial(self._nudge, key), self._why_not_move)
            for key in WAYS
        ]
        return (
            *nudges,
            Command("smaller-step", "Smaller step", "Ctrl+Down", "", partial(self._other_step, larger=False)),
            Command("larger-step", "Larger step", "Ctrl+Up", "", partial(self._other_step, larger=True)),
            Command("less-power", "−", "-", "", partial(self._step_power, -1), self._why_not_power),
            Command("more-power", "+", "+", "", partial(self._step_power, 1), self._why_not_power),
        )

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        self.power.setText("" if status.live_power is None else status.live_power.says)
        self.typed.setEnabled(status.live_power is not None)
        for button in self._buttons.values():
            button.refresh()

    def turn(self, way: int) -> None:
        """Move the focus by a click of the wheel: 1 deeper, -1 higher."""
        if self._why_not_move() is None:
            self._move("PgDown" if way > 0 else "PgUp", WHEEL_UM)

    # ---- how ---------------------------------------------------------------------------------------------------

    def _why_not_live(self) -> str | None:
        return NOT_LIVE if self.desk.live is None else None

    def _why_not_power(self) -> str | None:
        live = self.desk.live
        if live is None:
            return NOT_LIVE
        return BY_HAND if live.power is None else None

    def _nudge(self, key: str) -> None:
        self._move(key, self._step_um)

    def _move(self, key: str, step_um: float) -> None:
        rig = self.desk.rig
        if rig is not None:
            self.desk.nudge(*stage_step_um(rig.config.orientation, key, step_um))

    def _choose_step(self, step_um: float) -> None:
        self._step_um = step_um
        self._steps[step_um].setChecked(True)

    def _other_step(self, *, larger: bool) -> None:
        self._choose_step(other_step_um(self._step_um, larger=larger))

    def _step_power(self, way: int) -> None:
        live = self.desk.live
        if live is not None:
            self._ask(partial(live.step_power, way))

    def _type(self) -> None:
        live, typed = self.desk.live, self.typed.text()
        self.typed.clear()
        self.setFocus()  # the keys of the page work again
        if live is not None:
            self._ask(lambda: live.set_power(read_power_mw(typed)))

    def _ask(self, verb: Callable[[], object]) -> None:
        try:
            verb()
        except ExperimentError as error:
            self.desk.refuse(str(error))
        else:
            self.show_status(self.desk.status)
