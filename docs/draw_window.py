"""Draw every page of the window as it is used: a simulated mouse on its first day and four days later.

    python docs/draw_window.py [FOLDER]

The pictures go into FOLDER, ``docs/window`` when it is not given. No screen is needed.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtWidgets import QApplication, QPushButton

from acquire.gui.app import make_window
from acquire.gui.theme import choose_theme
from acquire.gui.window import Window
from acquire.model import StackPlan, StagePosition

SIZE = 1366, 768
PLAN = StackPlan(keep_frames=False)
FIELDS = 2
READINGS = 4  # beside the worker, each asked for by the one before


class Sitting:
    """Works in a window like a person who waits until it has done what was asked."""

    def __init__(self, app: QApplication, window: Window, folder: Path) -> None:
        self.app, self.window, self.folder = app, window, folder

    def wait(self, is_over: Callable[[], bool] | None = None, more_s: float = 0.3) -> None:
        """Let the window live until something is over, and a moment longer."""
        desk = self.window.desk
        over = is_over or (lambda: not (desk.is_busy or desk.status.analysing))
        last_s = time.monotonic() + more_s
        while not over() or time.monotonic() < last_s:
            self.app.processEvents()
            time.sleep(0.01)

    def do(self, verb: Callable[[], object]) -> None:
        """Ask for something and wait until it is done."""
        verb()
        self.wait()

    def press(self, page: str, name: str) -> None:
        """Press the button of a command, and wait until it is done."""
        self.show(page)
        button = self.window.page(page).findChild(QPushButton, name)
        if button is None or not button.isEnabled():
            raise RuntimeError(f"{name} of {page}: {'not there' if button is None else button.toolTip()}")
        self.do(button.click)

    def show(self, page: str) -> None:
        """Bring a page to the front."""
        self.window.open_page(page)
        self.wait(more_s=0.5)

    def draw(self, page: str, name: str = "") -> None:
        """Keep a picture of a page."""
        self.show(page)
        self.read()
        self.snap(name or page.lower())

    def live(self, page: str, button: str, name: str) -> None:
        """Keep a picture of a live view, and end it."""
        self.show(page)
        desk = self.window.desk
        pressed = self.window.page(page).findChild(QPushButton, button)
        self.window.refresh()
        if not pressed.isEnabled():
            raise RuntimeError(f"{button} of {page}: {pressed.toolTip()}")
        pressed.click()
        self.wait(lambda: desk.live is not None, more_s=2.0)
        self.snap(name)
        self.do(desk.stop)

    def read(self) -> None:
        """Wait until the pages have read what they show, also what they ask for when they have read."""
        for _ in range(READINGS):
            has_read: list[None] = []
            self.window.desk.read("waiting", lambda: None, has_read.append)
            self.wait(lambda has_read=has_read: bool(has_read))

    def snap(self, name: str) -> None:
        """Keep a picture of the window as it is."""
        self.window.refresh()
        self.app.processEvents()
        self.window.grab().save(str(self.folder / f"{name}.png"))
        print(self.folder / f"{name}.png")


def first_day(sitting: Sitting) -> None:
    """Keep two fields and take them."""
    desk = sitting.window.desk
    sitting.do(lambda: desk.new_study("motor learning", ("trained", "control")))
    for animal, group in (("M041", "control"), ("M042", "trained")):
        sitting.do(lambda animal=animal, group=group: desk.new_animal(animal, group))
    sitting.do(lambda: desk.open_session("M042"))
    sitting.press("Surface", "map-surface")
    rig, session = desk.rig, desk.session
    for number in range(FIELDS):
        x, y, z = rig.loaded.good_places(FIELDS)[number]
        place = StagePosition(x_um=x, y_um=y, z_um=z)
        sitting.do(lambda place=place: desk.do("moving", lambda: rig.move_to(place)))
        sitting.do(lambda: desk.do("keeping a field", lambda: session.new_field(plan=PLAN)))
        name = f"F{number + 1:02d}"
        sitting.do(lambda name=name: desk.do(f"taking {name}", lambda: session.take_stack(name)))
    sitting.do(desk.close_session)


def later_day(sitting: Sitting) -> None:
    """Find the fields again, take and compare them; draw every page on the way."""
    desk = sitting.window.desk
    sitting.do(lambda: desk.open_session("M042", day=4.0, new=True))
    sitting.press("Session", "check-rig")
    sitting.draw("Session")
    sitting.live("Surface", "live-surface", "live-surface")
    sitting.press("Surface", "map-surface")
    sitting.draw("Surface")
    for name in ("F01", "F02"):
        desk.choose(name)
        sitting.press("Find", "find")
    sitting.draw("Find")
    sitting.live("Find", "live", "live-find")
    sitting.show("Take")
    desk.choose("F01")
    sitting.live("Take", "live-view", "live")
    sitting.show("Take")
    sitting.window.page("Take").findChild(QPushButton, "take").click()
    sitting.wait(lambda: desk.status.share > 0.5 or not desk.is_busy, more_s=0.0)
    sitting.snap("take")
    sitting.wait()
    for name in ("F01", "F02"):
        if name == "F02":
            sitting.do(lambda: desk.do("taking F02", lambda: desk.session.take_stack("F02")))
        sitting.do(lambda name=name: desk.analyse(name))
    sitting.draw("Take", "taken")
    desk.choose("F01")
    sitting.show("Review")
    sitting.draw("Review")
    sitting.draw("Study")
    sitting.press("Rig", "rig-check")
    sitting.draw("Rig")
    sitting.draw("Close")


def main() -> int:
    """Draw the pages."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "window"
    folder.mkdir(parents=True, exist_ok=True)
    app = QApplication(sys.argv[:1])
    choose_theme(app)
    with tempfile.TemporaryDirectory() as scratch:
        window = make_window(Path(scratch) / "study", "simulated", "Ada")
        window.resize(*SIZE)
        window.show()
        sitting = Sitting(app, window, folder)
        sitting.do(window.desk.open)
        first_day(sitting)
        later_day(sitting)
        window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
