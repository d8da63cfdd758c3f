"""What is always in sight: light, power, depth, place, room on the disk, time, dose."""

from __future__ import annotations

from PyQt6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from acquire.gui.page import polish, quiet
from acquire.gui.status import DeskStatus
from acquire.gui.words import spoken, spoken_place, spoken_time

LIT, DARK = "● LIGHT ON", "○ light off"
FEW_STACKS = 5


class Strip(QWidget):
    """The strip above the pages."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("strip")
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 12, 8)
        row.setSpacing(26)
        self.light = QLabel(DARK)
        self.light.setObjectName("light")
        self.light.setMinimumWidth(140)
        row.addWidget(self.light)
        self._values: dict[str, QLabel] = {}
        names = ("power", "depth", "stage x y z (um)", "field", "dose", "under", "disk", "animal")
        for name in names:
            value = QLabel("-")
            value.setObjectName("value")
            self._values[name] = value
            pair = QVBoxLayout()
            pair.setSpacing(0)
            pair.addWidget(quiet(name))
            pair.addWidget(value)
            row.addLayout(pair)
        row.addStretch()

    def value(self, name: str) -> str:
        """Return what is shown under a name."""
        return self._values[name].text()

    def show_status(self, status: DeskStatus) -> None:
        """Show a snapshot."""
        lit = status.sight.is_lit
        if self.light.property("lit") is not lit:
            self.light.setProperty("lit", lit)
            self.light.setText(LIT if lit else DARK)
            polish(self.light)
        field, known = status.chosen, status.known
        limit = "" if field is None or field.dose_limit_mj is None else f" of {field.dose_limit_mj:.0f}"
        left = known.stacks_left
        record = known.record
        told = {
            "power": spoken(status.sight.power_mw, "mW"),
            "depth": spoken(status.depth_um, "um", 0),
            "stage x y z (um)": spoken_place(status.sight.position),
            "field": status.field or "-",
            "dose": "-" if field is None else f"{field.dose_mj:.1f}{limit} mJ",
            "under": "-" if status.sitting_s is None else spoken_time(status.sitting_s),
            "disk": "-" if left is None else f"{left} stacks{' !' if left < FEW_STACKS else ''}",
            "animal": "-" if record is None else f"{record.animal}, day {record.day:g}",
        }
        if status.is_blind:
            told |= dict.fromkeys(("field", "animal"), "blind")
        for name, text in told.items():
            self._values[name].setText(text)
