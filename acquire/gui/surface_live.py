"""The surface camera live in the place of the map: to focus and to centre before the map is taken."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from acquire.gui.commands import Command
from acquire.gui.desk import LIVE_SURFACE, Desk
from acquire.gui.joystick import Joystick
from acquire.gui.live_picture import LivePicture, Seen
from acquire.gui.page import CommandButton
from acquire.gui.status import DeskStatus


class SurfaceLive(QStackedWidget):
    """What lies on it, or, while live, what the surface camera sees.

    Parameters
    ----------
    desk
        Where the live view runs.
    below
        What is shown while it is not live.
    """

    def __init__(self, desk: Desk, below: QWidget) -> None:
        super().__init__()
        self.desk = desk
        self.joystick = Joystick(desk, in_a_row=True)
        self.live = LivePicture(desk, self.joystick.turn, look=self._look, has_limit=False)
        self.button = CommandButton(self._command(), show_key=True)
        watching = QWidget()
        column = QVBoxLayout(watching)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.live, 1)
        column.addWidget(self.joystick)
        self.addWidget(below)
        self.addWidget(watching)

    def commands(self) -> Sequence[Command]:
        """Begin and end it, move the stage."""
        return (self._command(), *(one for one in self.joystick.commands() if not one.name.endswith("-power")))

    def _command(self) -> Command:
        return Command("live-surface", "Live", "L", "mdi6.video-outline", self._watch, self._why_not)

    @property
    def is_on(self) -> bool:
        """Whether it is live."""
        return self.desk.status.doing == LIVE_SURFACE

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        is_on = status.doing == LIVE_SURFACE
        self.setCurrentIndex(int(is_on))
        self.button.setText("End live  L" if is_on else "Live  L")
        self.button.refresh()
        if is_on:
            self.joystick.show_status(status)

    def _look(self) -> Seen | None:
        live = self.desk.live
        return None if live is None else live.camera_frame

    def _why_not(self) -> str | None:
        if self.is_on:
            return None
        rig = self.desk.rig
        if rig is not None and rig.config.roles.surface_camera is None:
            return f"rig {rig.config.name} has no surface camera (roles.surface_camera); go live on the page Find"
        return self.desk.why_not(session=True)

    def _watch(self) -> None:
        if self.is_on:
            self.desk.stop()
            return
        self.live.picture.forget_levels()
        self.button.setFocus()  # a table would keep the arrow keys
        self.desk.watch_surface()
