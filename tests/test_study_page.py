"""The page of the study: a table of words, opened and added to by hand."""

import time
from datetime import timedelta

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import Qt  # noqa: E402

from acquire.glance import AnimalSight, FieldVisit, SessionSight, StudyOverview, Taken  # noqa: E402
from acquire.gui.app import make_window  # noqa: E402
from acquire.gui.study_page import StudyPage  # noqa: E402
from acquire.gui.study_view import table_of, why_not_animal  # noqa: E402
from acquire.model import AnimalRecord, Light, StudyRecord  # noqa: E402
from acquire.overview import study_overview  # noqa: E402
from acquire.store import Study  # noqa: E402
from tests import test_overview as made  # noqa: E402

NOW = made.FIRST + timedelta(days=6)


def a_study(folder, *, blind=False):
    record = StudyRecord(name="learning", groups=("trained", "home"), days=(0, 4, 8), plan=made.PLAN, blind=blind)
    study = Study.create(folder, record)
    for animal, group in (("M1", "trained"), ("M2", "home")):
        study.new_animal(AnimalRecord(id=animal, group=group))
    day0 = made.begin(study, "M1", 0.0)
    made.keep(study, "M1", day0, "F01", "F02")
    made.take(study, day0)
    made.take(study, day0, "F02", planes=2)
    return study


@pytest.fixture
def study(tmp_path):
    with a_study(tmp_path / "study") as opened:
        yield opened


# ---- words ---------------------------------------------------------------------------------------------------------


def test_cells_say_it_in_words_and_marks(study):
    table = table_of(study_overview(study, NOW))
    assert table.columns == ("Next", "Day 0", "Day 4", "Day 8")
    assert table.labels == ("M1\ntrained", "M2\nhome")
    due, day0, day4, _ = table.rows[0]
    assert due.text.startswith("! day 4 is overdue by 2 days (2026-01-09)\nF02 to be taken")
    assert day0.text == "! 1 of 2 fields whole\nF02 cut short, 2 of 4 planes\nnot analysed"
    assert day0.light is Light.AMBER
    assert "F01 whole, comparable, not analysed since it was taken, not reviewed" in day0.tip
    assert day4.text == ""
    assert table.summary == "learning: 2 animals, 1 session; overdue: M1"


def test_groups_are_hidden_when_the_study_is_blind(tmp_path):
    with a_study(tmp_path / "blind", blind=True) as study:
        table = table_of(study_overview(study, NOW))
    assert table.labels == ("M1", "M2")
    assert "trained" not in str(table)
    assert table.summary.endswith("groups are hidden")


def test_damage_stands_in_its_cell(study):
    (study.animal_folder("M2") / "animal.json").write_text("{")
    next((study.animal_folder("M1") / "sessions").glob("*/session.json")).write_text("{")
    table = table_of(study_overview(study, NOW))
    assert table.columns[-1] == "Unreadable"
    assert table.rows[0][-1].text.endswith("cannot be read")
    assert table.rows[1][0].text == "✗ mend its files first"
    assert "animal.json" in table.rows[1][0].tip


@pytest.mark.parametrize(
    ("name", "limit", "why"),
    [
        ("", "", "give the animal a name first"),
        ("M1", "", "the study has an animal M1 already"),
        ("M 3", "", "a name has letters, digits"),
        ("M3", "lots", "power limit 'lots' is no number"),
        ("M3", "-2", "a limit of -2 mW is none; give more than 0 and at most 10000 mW"),
        ("M3", "0", "a limit of 0 mW is none"),
        ("M3", "nan", "a limit of nan mW is none"),
        ("M3", "1e9", "a limit of 1e+09 mW is none"),
        ("con", "", "Windows makes no folder of the name con; choose another, con_1 for instance"),
        ("LPT9", "", "Windows makes no folder of the name LPT9"),
        ("COM10", "", None),
        ("M3", "30", None),
        ("M3", "", None),
    ],
)
def test_a_new_animal_is_checked_before_it_is_sent(study, name, limit, why):
    said = why_not_animal(name, limit, study_overview(study, NOW))
    assert said is None if why is None else why in said


# ---- the page ------------------------------------------------------------------------------------------------------


class Desk:
    """A desk that does everything at once."""

    def __init__(self, study):
        self.study, self.added, self.said = study, [], []
        self.is_blind = False

    def read(self, _what, verb, then):
        then(verb())

    def why_not_study(self):
        return None

    def new_animal(self, animal, group, limit_mw):
        self.added.append((animal, group, limit_mw))

    def refuse(self, text):
        self.said.append(text)


@pytest.fixture
def page(study, qtbot):
    opened = []
    page = StudyPage(Desk(study), opened.append)
    page.opened = opened
    qtbot.addWidget(page)
    page.resize(1180, 640)
    page.show()
    page.read()
    return page


def test_enter_and_a_double_click_open_the_animal(page, qtbot):
    page.table.setFocus()
    qtbot.keyClick(page.table, Qt.Key.Key_Return)
    qtbot.keyClick(page.table, Qt.Key.Key_Down)
    qtbot.keyClick(page.table, Qt.Key.Key_Enter)
    place = page.table.visualRect(page.model.index(0, 1)).center()
    qtbot.mouseClick(page.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(page.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    page.findChild(object, "open-animal").click()
    assert page.opened == ["M1", "M2", "M1", "M1"]


def test_an_animal_is_added_when_it_can_be(page, qtbot):
    button = page.findChild(object, "add-to-study")
    assert not button.isEnabled()
    qtbot.keyClicks(page.animal, "M1")
    assert "already" in page.refusal.text()
    qtbot.keyClicks(page.animal, "7")
    page.group.setCurrentText("home")
    qtbot.keyClicks(page.limit, "x")
    assert not button.isEnabled()
    page.limit.setText("30")
    button.click()
    assert page.desk.added == [("M17", "home", 30.0)]
    assert page.animal.text() == ""


def test_what_is_chosen_stays_when_the_study_is_read_again(page, study):
    page._choose("M2", 2)
    study.new_animal(AnimalRecord(id="M0"))
    page.read()
    assert page.model.table.animals == ("M0", "M1", "M2")
    assert page._chosen() == "M2"
    assert page.table.currentIndex().column() == 2


def test_a_blind_study_shows_no_group(page):
    page.show_overview(StudyOverview("blind", is_blind=True))
    assert not page.group.isVisible()
    page.show_overview(StudyOverview("open", groups=("a",)))
    assert page.group.isVisible()


def test_a_study_of_many_animals_is_shown_at_once(page):
    fields = tuple(FieldVisit(f"F{n:02d}", Taken.WHOLE, is_analysed=True, decisions=3) for n in range(4))
    sessions = tuple(SessionSight(f"s{day}", float(day), True, fields) for day in range(0, 40, 4))
    animals = tuple(AnimalSight(f"M{n:03d}", "a", sessions) for n in range(60))
    began_s = time.perf_counter()
    page.show_overview(StudyOverview("large", animals=animals))
    assert time.perf_counter() - began_s < 5.0
    assert page.model.rowCount() == 60


def test_the_window_brings_an_animal_to_the_page_where_it_is_opened(study, qtbot):
    window = make_window(study.folder, "simulated", "tester")
    qtbot.addWidget(window)
    window.show()
    window.desk.study = study
    window.desk.do("reading", lambda: None)
    qtbot.waitUntil(lambda: window.desk.status.known.animals == ("M1", "M2"), timeout=60_000)
    window.open_page("Study")
    page = window.page("Study")
    qtbot.waitUntil(lambda: page.model.rowCount() == 2)
    page._choose("M2", 0)
    qtbot.keyClick(page.table, Qt.Key.Key_Return)
    assert window.stack.currentWidget() is window.page("Session")
    assert window.page("Session").animal.currentText() == "M2"
    window.open_page("Study")
    page.animal.setText("M9")
    page.findChild(object, "add-to-study").click()
    qtbot.waitUntil(lambda: page.model.table.animals == ("M1", "M2", "M9"), timeout=60_000)
    window.close()
