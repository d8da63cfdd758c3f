"""The review in the window: real keys and clicks on the real page; then the file of decisions."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtCore import QPoint, QPointF, Qt  # noqa: E402
from PyQt6.QtGui import QWheelEvent  # noqa: E402
from PyQt6.QtTest import QTest  # noqa: E402
from PyQt6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QTableWidget  # noqa: E402

from acquire.gui.app import make_window  # noqa: E402
from acquire.gui.theme import choose_theme  # noqa: E402
from analysis import reviewtables  # noqa: E402
from analysis.edits import EditBook, read_edits  # noqa: E402
from tests.drawn import STATES, A, P, drawn, make_drawn_study  # noqa: E402

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
DRAWN = drawn()


class Sitting:
    """Somebody at the window, on the page of the review."""

    def __init__(self, folder):
        choose_theme(QApplication.instance())
        self.study = make_drawn_study(folder, DRAWN)
        self.file = self.study.analysis_folder("M1", "F01") / "edits.jsonl"
        self.window = make_window(folder, "simulated", "ann")
        self.window.desk.study = self.study
        self.window.resize(1366, 768)
        self.window.show()
        self.window.open_page("Review")
        self.page = self.window.page("Review")
        self.wait(lambda: self.page.review is not None and len(self.page.sight.drawn) == 3 and self.page.sight.raws)

    def wait(self, asked, limit_s=60.0):
        began = time.monotonic()
        while not asked():
            QApplication.processEvents()
            assert time.monotonic() - began < limit_s, self.window.message.text()
            time.sleep(0.005)
        QApplication.processEvents()

    def settle(self):
        """Wait until the thread that reads has done all that was asked of it, and it is shown."""
        for _ in range(3):
            done = threading.Event()
            self.window.desk.read("waiting", lambda: None, lambda _none, done=done: done.set())
            self.wait(done.is_set)

    def key(self, code, modifier=Qt.KeyboardModifier.NoModifier):
        QTest.keyClick(QApplication.focusWidget() or self.page.rows, code, modifier)
        self.settle()

    def click(self, spine, session, button=Qt.MouseButton.LeftButton):
        along, across, _ = self.place(spine, session)
        QTest.mouseClick(self.page.rows.canvas, button, pos=self.page.rows.point_of(session, along, across).toPoint())
        self.settle()

    def hover(self, session, along_um, across_um):
        point = self.page.rows.point_of(session, along_um, across_um).toPoint()
        QTest.mouseMove(self.page.rows.canvas, point)
        QApplication.processEvents()

    def place(self, spine, session):
        review = self.page.review
        found = next(one for one in review.judgement.review.followed if one.track_id == spine)
        return review.place(found, session)

    def states(self, track):
        followed = self.page.review.judgement.review.followed
        return next(spine.states for spine in followed if spine.track_id == track)

    def press(self, name):
        button = self.page.findChild(QPushButton, name)
        assert button.isEnabled(), button.toolTip()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.settle()

    @property
    def selected(self):
        return self.page.review.selected.track_id

    @property
    def kinds(self):
        return [str(edit.kind) for edit in read_edits(self.file)]

    @property
    def numbers(self):
        return self.page.findChild(QTableWidget, "numbers").words

    def texts(self):
        """Return every text that can be read on the page."""
        labels = [one.text() for one in self.page.findChildren(QLabel) if one.isVisible()]
        rows = [row.label.text for row in self.page.rows._rows]
        fields = [self.page.fields.currentText()] if self.page.fields.isVisible() else []
        return [*labels, *rows, *fields, *(word for row in self.numbers for word in row)]


@pytest.fixture
def sitting(tmp_path, qtbot):
    made = Sitting(tmp_path / "study")
    yield made
    made.window._leaving = True
    made.window.close()


def test_all_sessions_are_aligned_and_the_numbers_are_there(sitting):
    rows = sitting.page.rows._rows
    assert [row.session for row in rows] == [0, 1, 2]
    assert all(row.image.image is not None for row in rows)
    widths = {round(float(np.ptp(row.view.viewRange()[0])), 3) for row in rows}
    assert len(widths) == 1
    assert sitting.numbers == [["0-4", "2", "1", "1", "2", "33 %"], ["4-6", "3", "1", "1", "1", "25 %"]]


def test_ctrl_arrows_step_and_the_place_is_centred_in_every_row(sitting):
    for expected in (1, 2, 3):
        sitting.key(Qt.Key.Key_Right, CTRL)
        assert sitting.selected == expected
        for row in sitting.page.rows._rows:
            along = sitting.place(expected, row.session)[0]
            assert along == pytest.approx(2.0 + 3.0 * expected, abs=0.4)
            assert np.mean(row.view.viewRange()[0]) == pytest.approx(along, abs=0.01)
    sitting.key(Qt.Key.Key_Left, CTRL)
    assert sitting.selected == 2
    sitting.key(Qt.Key.Key_Down)
    assert sitting.page.review.session == 1
    assert "▶" in sitting.page.rows._rows[1].label.text


def test_a_key_is_kept_before_it_is_shown_and_the_numbers_follow(sitting, monkeypatch):
    seen = []
    append = EditBook.append

    def spied(book, *edits):
        append(book, *edits)
        seen.append((threading.current_thread().name, len(read_edits(sitting.file)), sitting.states(0)))

    monkeypatch.setattr(EditBook, "append", spied)
    sitting.key(Qt.Key.Key_Down)
    sitting.key(Qt.Key.Key_S)
    assert [(lines, states) for _, lines, states in seen] == [(1, (P, P, P))]
    assert seen[0][0].startswith("reading")
    assert sitting.states(0) == (P, A, P)
    assert sitting.numbers[0] == ["0-4", "1", "1", "2", "2", "50 %"]
    sitting.key(Qt.Key.Key_Z, CTRL)
    assert sitting.states(0) == (P, P, P)
    sitting.key(Qt.Key.Key_Z, CTRL | SHIFT)
    assert sitting.states(0) == (P, A, P)
    assert sitting.kinds == ["absent", "undo", "redo"]
    edit = read_edits(sitting.file)[0]
    assert edit.who == "ann"
    assert edit.sessions == (sitting.page.review.analysed.sessions[1],)


def test_every_decision_has_its_key(sitting):
    sitting.click(1, 0)
    assert sitting.selected == 1
    sitting.key(Qt.Key.Key_Return)
    sitting.key(Qt.Key.Key_F)
    sitting.key(Qt.Key.Key_U)
    sitting.click(3, 1)
    sitting.key(Qt.Key.Key_P)
    sitting.key(Qt.Key.Key_A)
    sitting.click(2, 1)
    sitting.key(Qt.Key.Key_B)
    assert sitting.kinds == ["accept", "filopodium", "unscorable", "present", "present", "present", "absent", "reject"]
    assert sitting.selected == 3
    (mark,) = [mark for mark in sitting.page.review.marks(2) if mark.track_id == 3]
    assert mark.letter == "S✓"
    assert sitting.page.sight.progress.text().startswith("3 of 7 spines decided")


def test_a_note_is_typed_without_deciding_anything(sitting):
    sitting.key(Qt.Key.Key_T)
    note = sitting.page.findChild(QLineEdit, "note")
    assert note.hasFocus()
    QTest.keyClicks(note, "bad spine, a neck")
    sitting.key(Qt.Key.Key_Return)
    assert sitting.kinds == ["note"]
    assert "bad spine, a neck" in sitting.page.position.text()
    assert sitting.page.rows.hasFocus()
    assert note.text() == ""


def test_the_name_is_typed_without_deciding_anything(sitting):
    who = sitting.page.who
    QTest.mouseClick(who, Qt.MouseButton.LeftButton)
    who.selectAll()
    QTest.keyClicks(who, "bob")
    sitting.key(Qt.Key.Key_Down)
    assert sitting.page.review.session == 0
    sitting.key(Qt.Key.Key_Return)
    assert sitting.kinds == []
    assert sitting.page.review.who == "bob"
    assert sitting.page.rows.hasFocus()
    sitting.key(Qt.Key.Key_Return)
    assert [(edit.kind, edit.who) for edit in read_edits(sitting.file)] == [("accept", "bob")]


def test_a_button_decides_for_the_name_that_can_be_read(sitting):
    QTest.mouseClick(sitting.page.who, Qt.MouseButton.LeftButton)
    sitting.page.who.setText("bob")
    sitting.press("accept")
    assert [edit.who for edit in read_edits(sitting.file)] == ["bob"]


def test_letters_in_the_list_of_fields_decide_nothing(sitting):
    sitting.page.fields.setFocus()
    for code in (Qt.Key.Key_M, Qt.Key.Key_B, Qt.Key.Key_Return, Qt.Key.Key_S, Qt.Key.Key_Enter):
        sitting.key(code)
        sitting.key(code, SHIFT)
    assert sitting.kinds == []
    sitting.page.fields.showPopup()
    QTest.keyClick(sitting.page.fields.view(), Qt.Key.Key_B)
    sitting.page.fields.hidePopup()
    sitting.settle()
    assert sitting.kinds == []


def test_a_note_belongs_to_the_spine_it_was_begun_at(sitting):
    note, first = sitting.page.note, sitting.selected
    sitting.key(Qt.Key.Key_T)
    QTest.keyClicks(note, "a neck")
    sitting.key(Qt.Key.Key_Down)
    sitting.key(Qt.Key.Key_Up)
    assert (sitting.page.review.session, note.hasFocus(), note.text()) == (0, True, "a neck")
    sitting.key(Qt.Key.Key_Escape)
    assert sitting.page.rows.hasFocus()
    sitting.key(Qt.Key.Key_Right, CTRL)
    assert note.text() == ""
    assert "'a neck' was not written" in sitting.window.message.text()
    sitting.key(Qt.Key.Key_T)
    sitting.key(Qt.Key.Key_Return)
    assert sitting.kinds == []
    sitting.key(Qt.Key.Key_T)
    QTest.keyClicks(note, "thin")
    sitting.press("next-spine")
    assert not note.hasFocus()
    sitting.press("previous-spine")
    sitting.press("previous-spine")
    assert sitting.selected == first
    assert (sitting.kinds, note.text()) == ([], "")


def test_a_spine_is_inserted_and_moved_at_the_mouse(sitting):
    sitting.hover(1, 7.0, -1.6)
    sitting.key(Qt.Key.Key_I)
    assert sitting.page.review.selected.is_added
    head = sitting.page.review.selected.heads[1]
    assert head[1:] == pytest.approx((13.6, 6.0), abs=0.35)
    sitting.hover(1, 7.6, -1.9)
    sitting.key(Qt.Key.Key_M)
    assert sitting.page.review.selected.heads[1][2] == pytest.approx(6.6, abs=0.35)
    assert sitting.kinds == ["add", "move"]


def test_j_and_j_join_k_splits(sitting):
    sitting.click(1, 0)
    sitting.key(Qt.Key.Key_J)
    assert "press j there" in sitting.page.position.text()
    sitting.click(0, 0)
    sitting.key(Qt.Key.Key_J)
    assert "both spines are present in day 0" in sitting.window.message.text()
    sitting.click(5, 2)
    sitting.key(Qt.Key.Key_J)
    assert sitting.states(1) == (P, A, P)
    sitting.key(Qt.Key.Key_K)
    assert sitting.states(1) == (P, A, A)
    assert sitting.kinds == ["join", "split"]


def test_n_goes_to_the_least_certain(sitting):
    sitting.key(Qt.Key.Key_N)
    doubtful = min(sitting.page.review.judgement.review.shown, key=lambda one: (one.certainty, one.track_id))
    assert sitting.selected == doubtful.track_id


def test_blind_shows_no_animal_day_or_order_and_unblinding_is_kept(sitting):
    sitting.key(Qt.Key.Key_B, CTRL)
    texts = sitting.texts()
    assert not [text for text in texts if "day" in text or "M1" in text or "F01" in text or "2026" in text]
    assert [row.label.text.split(">")[1].split("<")[0].strip("▶ ") for row in sitting.page.rows._rows] == list("ABC")
    assert [row.session for row in sitting.page.rows._rows] == list(sitting.page.review.order)
    assert not sitting.page.fields.isVisible()
    assert sitting.page.findChild(QPushButton, "blind").isChecked()
    sitting.key(Qt.Key.Key_S)
    sitting.key(Qt.Key.Key_B, CTRL)
    assert sitting.kinds == ["blind", "absent", "unblind"]
    assert "M1 F01, dendrite 0" in sitting.page.heading.text()


@pytest.mark.parametrize("turn", ["second", "who", "again"])
def test_who_comes_while_it_is_blind_is_blind_too(sitting, turn):
    sitting.key(Qt.Key.Key_Down)
    sitting.key(Qt.Key.Key_B, CTRL)
    order = sitting.page.review.order
    assert sitting.page.review.session == order[0]
    if turn == "who":
        sitting.page.who.setText("bo")
        sitting.page.who.editingFinished.emit()
    else:
        sitting.key(Qt.Key.Key_R, CTRL)
    sitting.settle()
    if turn == "again":
        before = sitting.page.review
        sitting.page.open(before.material.of)
        sitting.wait(lambda: sitting.page.review is not before)
        assert sitting.page.review.second
    assert sitting.page.review.order == order
    assert not [text for text in sitting.texts() if "day" in text or "M1" in text or "F01" in text or "2026" in text]
    assert not sitting.page.fields.isVisible()
    lines = read_edits(sitting.file)
    assert [edit.kind for edit in lines] == ["blind", "blind"]
    assert lines[0].seed == lines[1].seed
    sitting.key(Qt.Key.Key_B, CTRL)
    line = read_edits(sitting.file)[-1]
    assert (line.kind, line.who, line.second) == ("unblind", "bo" if turn == "who" else "ann", turn != "who")
    assert "M1 F01" in sitting.page.heading.text()


def test_blind_holds_when_its_line_cannot_be_kept(sitting, monkeypatch):
    sitting.key(Qt.Key.Key_B, CTRL)

    def full(_path, _line):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analysis.edits.append_line", full)
    sitting.key(Qt.Key.Key_R, CTRL)
    assert "blind" in sitting.page.heading.text()
    assert "was not kept" in sitting.window.message.text()
    assert str(sitting.file) not in sitting.window.message.text()


def test_a_fault_while_blind_names_no_file(sitting, monkeypatch):
    from acquire.errors import StudyError

    def gone(_material, _session):
        raise StudyError("M1/sessions/2026-01-01 is gone")

    sitting.key(Qt.Key.Key_B, CTRL)
    sitting.page.sight.raws.clear()
    monkeypatch.setattr("acquire.gui.material.Material.raw", gone)
    sitting.key(Qt.Key.Key_Down)
    assert "end blind (Ctrl+B)" in sitting.window.message.text()
    assert "M1" not in sitting.window.message.text()


def test_the_second_rater_is_compared(sitting):
    sitting.key(Qt.Key.Key_Down)
    sitting.key(Qt.Key.Key_S)
    agreement = sitting.page.findChild(QTableWidget, "agreement")
    assert not agreement.isVisible()
    sitting.page.who.setText("bo")
    sitting.page.who.editingFinished.emit()
    sitting.settle()
    sitting.press("second")
    assert sitting.states(0) == STATES[0]
    sitting.key(Qt.Key.Key_Return)
    assert agreement.isVisible()
    assert [row for row in agreement.words if row[0] == "lost"] == [["lost", "2", "1 / 0", "0.00", "0.00"]]
    assert [(edit.who, edit.second) for edit in read_edits(sitting.file)] == [("ann", False), ("bo", True)]


def test_the_wheel_moves_through_the_raw_stack(sitting):
    sitting.click(3, 2)
    raw = sitting.page.sight.raw
    plane = raw.plane
    assert plane == pytest.approx(DRAWN.head(3, 2)[0], abs=0.6)
    canvas = raw.picture.item.getViewWidget().viewport()
    middle = QPointF(canvas.rect().center())
    wheel = QWheelEvent(
        middle, QPointF(canvas.mapToGlobal(middle.toPoint())), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(canvas, wheel)
    assert raw.plane == plane + 1
    assert "um below it" in raw.caption.text()
    sitting.key(Qt.Key.Key_PageUp)
    assert raw.plane == plane


def test_what_the_disk_refuses_is_told_and_not_shown(sitting, monkeypatch):
    def full(_path, _line):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analysis.edits.append_line", full)
    sitting.key(Qt.Key.Key_S)
    assert "was not kept" in sitting.window.message.text()
    assert sitting.states(0) == STATES[0]


def test_a_new_window_has_every_decision(sitting, tmp_path, qtbot):
    sitting.key(Qt.Key.Key_S)
    sitting.file.write_bytes(sitting.file.read_bytes() + b'{"version":1,"wh')
    sitting.page.open(sitting.page.review.material.of)
    before = sitting.page.review
    sitting.wait(lambda: sitting.page.review is not before)
    assert sitting.states(0) == (A, P, P)
    assert "line 2 is torn" in sitting.page.sight.trouble.text()
    assert sitting.page.sight.trouble.isVisible()


def test_the_window_answers_while_somebody_steps(sitting):
    """CPU time, not the clock: other programs may have the processor."""
    took = []
    for _ in range(12):
        began = time.thread_time()
        QTest.keyClick(sitting.page.rows, Qt.Key.Key_Right, CTRL)
        QApplication.processEvents()
        took.append(time.thread_time() - began)
    assert max(took) < 0.1


def reviewed(sitting):
    return sitting.file.parent / "reviewed" / "reviewed.json"


def test_leaving_the_page_writes_the_reviewed_tables_beside_the_window(sitting, monkeypatch):
    written_in = []
    write = reviewtables.write_reviewed
    monkeypatch.setattr(
        "acquire.gui.material.write_reviewed",
        lambda folder: (written_in.append(threading.current_thread().name), write(folder)),
    )
    sitting.key(Qt.Key.Key_B)
    assert not reviewed(sitting).exists()
    sitting.window.open_page("Study")
    sitting.wait(lambda: reviewed(sitting).exists())
    assert reviewtables.is_fresh(sitting.file.parent)
    assert all(name.startswith("reading") for name in written_in)


def test_the_end_of_a_session_and_of_the_window_write_the_reviewed_tables(sitting):
    desk = sitting.window.desk
    sitting.key(Qt.Key.Key_B)
    record = sitting.study.sessions("M1")[0]
    desk._known = dataclasses.replace(desk._known, record=record)
    sitting.window.refresh()
    desk._known = dataclasses.replace(desk._known, record=None)
    sitting.window.refresh()
    sitting.settle()
    assert reviewtables.read_review_note(sitting.file.parent).decisions == 1
    sitting.key(Qt.Key.Key_B)
    sitting.window._leaving = True
    sitting.window.close()
    assert reviewtables.read_review_note(sitting.file.parent).decisions == 2
