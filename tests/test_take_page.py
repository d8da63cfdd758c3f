"""The page Take: the power that was matched for a field is used for no other one."""

from types import SimpleNamespace

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from acquire.brightness import PowerProposal  # noqa: E402
from acquire.gui.desk import Desk  # noqa: E402
from acquire.gui.status import FieldStatus, Known  # noqa: E402
from acquire.gui.take_page import TakePage  # noqa: E402
from acquire.model import StagePosition  # noqa: E402

HERE = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)


class Worker:
    """Keeps what is to be done, and writes down with which power stacks are taken."""

    def __init__(self):
        self.waiting, self.taken = [], []

    def do(self, _what, verb, then=lambda _: None):
        self.waiting.append((verb, then))

    def work(self):
        while self.waiting:
            verb, then = self.waiting.pop(0)
            then(verb())

    def propose_power(self, name):
        return PowerProposal(31.0, 0.8, f"{name} is darker today")

    def take_stack(self, name, *, accept_unsure, power_mw):
        self.taken.append((name, power_mw))


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def page(tmp_path, qtbot, worker, monkeypatch):
    """The page with two fields, of which the first is chosen."""
    desk = Desk(tmp_path / "study", "simulated", bring=lambda _: None)
    desk.session = SimpleNamespace(propose_power=worker.propose_power, take_stack=worker.take_stack)
    desk._known = Known(fields=tuple(FieldStatus(name, HERE) for name in ("F01", "F02")))
    monkeypatch.setattr(desk, "do", worker.do)
    monkeypatch.setattr("acquire.gui.take_page.tell_plan", lambda _: "")
    made = TakePage(desk)
    qtbot.addWidget(made)
    desk.choose("F01")
    made.show_status(desk.status)
    yield made
    desk.session = None
    assert desk.close()


def test_a_matched_power_is_that_of_its_field(page, worker):
    page._propose()
    worker.work()
    assert page.power.currentText().startswith("31.0 mW")
    page._take()
    worker.work()
    assert worker.taken == [("F01", 31.0)]


def test_another_field_that_any_page_chose_is_taken_as_planned(page, worker):
    page._propose()
    worker.work()
    page.desk.choose("F02")  # on the page Find
    page._take()  # before the page shows it
    page.show_status(page.desk.status)
    assert [page.power.itemText(row) for row in range(page.power.count())] == ["as planned"]
    page._take()
    worker.work()
    assert worker.taken == [("F02", None), ("F02", None)]


def test_a_power_that_comes_late_is_not_offered_for_another_field(page, worker):
    said = []
    page.desk.say = lambda text, _: said.append(text)
    page._propose()
    page.desk.choose("F02")
    worker.work()
    assert page.power.count() == 1
    assert said == ["the power for F01 is not used: another field is chosen; choose F01, match again"]
    page._take()
    worker.work()
    assert worker.taken[-1] == ("F02", None)
