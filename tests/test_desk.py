"""The desk, without a window: one thing at a time, errors in a sentence, dark and alive afterwards."""

import queue
import threading
import time
from pathlib import Path

import pytest

from acquire.errors import RelocationError
from acquire.gui.desk import BUSY, LOG_FILE, NO_RIG, NO_SESSION, Desk
from acquire.gui.words import spoken_time
from acquire.model import StackPlan, StagePosition

SMALL = StackPlan(field_of_view_um=60.0, pixels=128, depth_um=16.0, step_um=2.0, frames_per_plane=1, keep_frames=False)


class Sitting:
    """A desk whose window's thread is the test."""

    def __init__(self, folder, rig_name="simulated"):
        self.brought, self.said = queue.Queue(), []
        self.desk = Desk(folder, rig_name, "tester", bring=self.brought.put)
        self.desk.say = lambda text, is_error: self.said.append((text, is_error))

    def settle(self, limit_s=120.0):
        """Wait for the worker, and hear what it brought."""
        began = time.monotonic()
        while self.desk.is_busy or self.desk.status.analysing:
            assert time.monotonic() - began < limit_s
            time.sleep(0.01)
        time.sleep(0.02)
        while not self.brought.empty():
            self.brought.get()()

    @property
    def last(self):
        return self.said[-1]


@pytest.fixture(scope="module")
def sitting(tmp_path_factory):
    opened = Sitting(tmp_path_factory.mktemp("desk") / "study")
    desk = opened.desk
    desk.open()
    opened.settle()
    desk.new_study("memory", ("learning",))
    opened.settle()
    desk.new_animal("M1", "learning")
    opened.settle()
    desk.open_session("M1")
    opened.settle()
    yield opened
    desk.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rig")]


def test_everything_is_known_when_a_session_is_open(sitting):
    known = sitting.desk.status.known
    assert (known.study, known.animals, known.groups, known.group) == ("memory", ("M1",), ("learning",), "learning")
    assert known.record is not None
    assert known.record.experimenter == "tester"
    assert known.stacks_left > 0
    assert sitting.desk.status.is_done("Session")
    assert not sitting.desk.status.is_done("Take")


def test_one_thing_at_a_time(sitting):
    gate = threading.Event()
    assert sitting.desk.do("waiting", gate.wait)
    assert sitting.desk.status.doing == "waiting"
    assert sitting.desk.why_not() == BUSY.format(doing="waiting")
    assert not sitting.desk.do("another", lambda: None)
    assert sitting.last == (BUSY.format(doing="waiting"), False)
    gate.set()
    sitting.settle()
    assert sitting.desk.why_not() is None


def test_a_result_comes_back_in_the_windows_thread(sitting):
    told = []
    sitting.desk.do(
        "asking", lambda: threading.current_thread().name, lambda name: told.append((name, threading.current_thread()))
    )
    sitting.settle()
    ((worker, here),) = told
    assert worker.startswith("rig")
    assert here is threading.main_thread()


def test_what_a_user_can_cause_is_one_sentence(sitting):
    def refuse():
        raise RelocationError("field F03 not found: move to landmark V2")

    sitting.desk.do("finding", refuse)
    sitting.settle()
    assert sitting.last == ("field F03 not found: move to landmark V2", True)


def test_a_study_that_cannot_be_read_keeps_the_desk_free(sitting, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("a file that nobody foresaw")

    told = []
    with monkeypatch.context() as spoilt:
        spoilt.setattr("acquire.gui.knowing.know", fail)
        sitting.desk.do("asking", lambda: 1, told.append)
        sitting.settle()
    assert told == [1]
    assert any("a file that nobody foresaw" in text and is_error for text, is_error in sitting.said)
    assert sitting.desk.why_not() is None


def test_what_nobody_expected_closes_the_light_and_is_written_down(sitting):
    rig = sitting.desk.rig

    def fail():
        rig.open_light()
        raise ZeroDivisionError("a fault of ours")

    sitting.desk.do("failing", fail)
    sitting.settle()
    text, is_error = sitting.last
    assert is_error
    assert "unexpected ZeroDivisionError: a fault of ours" in text
    assert str(sitting.desk.folder / LOG_FILE) in text
    assert "Traceback" in (sitting.desk.folder / LOG_FILE).read_text(encoding="utf-8")
    assert not sitting.desk.status.sight.is_lit
    assert not rig.core.getShutterOpen("Shutter")


def test_where_the_log_is_is_known_without_a_look_at_the_disk(tmp_path, monkeypatch):
    sitting = Sitting(tmp_path / "study")
    sitting.desk.do("failing", lambda: {}["a fault of ours"])
    sitting.settle()
    with monkeypatch.context() as spoilt:  # a share that hangs
        spoilt.setattr(Path, "is_dir", lambda path: pytest.fail(f"asked for {path}"))
        assert str(sitting.desk.log_file) in sitting.last[0]
    assert sitting.desk.log_file.is_file()  # no study yet: beside other temporary files
    assert not (tmp_path / "study").exists()
    assert sitting.desk.close()


def test_a_wish_to_stop_that_comes_before_the_work_holds(sitting):
    desk, gate, done = sitting.desk, threading.Event(), []
    desk._worker.submit(gate.wait)  # a slow motor that is just asked where it is
    desk.do("taking", lambda: done.append("taken"))
    desk.stop()
    gate.set()
    sitting.settle()
    assert not done
    assert "stopped before it began" in sitting.last[0]
    desk.do("looking", lambda: done.append("looked"))
    sitting.settle()
    assert done == ["looked"]
    assert sitting.last == ("looking: done", False)


def test_live_light_counts_for_the_field_and_keeps_the_animals_limit(sitting):
    desk = sitting.desk
    x, y, z = desk.rig.loaded.good_places(2)[1]
    desk.do("moving", lambda: desk.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z)))
    sitting.settle()
    desk.do("keeping", lambda: desk.session.new_field("L01", plan=SMALL))
    sitting.settle()
    desk.choose("L01")
    before = desk.status.chosen.dose_mj
    desk.watch("L01")
    frames = desk.status.sight.frames
    began = time.monotonic()
    while desk.status.sight.frames < frames + 5 and time.monotonic() - began < 20:
        time.sleep(0.01)
    desk.stop()
    sitting.settle()
    assert desk.status.chosen.dose_mj > before
    desk.choose("")


def test_an_analysis_that_was_killed_is_told_and_the_next_one_works(sitting, monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    desk = sitting.desk

    class Broken:
        def submit(self, *_):
            raise BrokenProcessPool("killed")

    monkeypatch.setattr(desk.study, "stacks", lambda *_: [(None, desk.folder)])
    monkeypatch.setattr(desk, "_analyst", Broken())
    desk.analyse("F09")
    sitting.settle()
    assert sitting.last == ("the analysis of F09 was ended from outside; analyse it again", True)
    assert desk._analyst is None


def test_stop_ends_a_stack_and_it_is_gone_on_with(sitting):
    desk = sitting.desk
    x, y, z = desk.rig.loaded.good_places(1)[0]

    def keep():
        desk.rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
        return desk.session.new_field("F01", plan=SMALL)

    desk.do("keeping", keep)
    sitting.settle()
    desk.choose("F01")
    assert desk.status.chosen.is_new

    tell = desk.session._progress

    def stop_in_the_middle(what, share):
        tell(what, share)
        if 0.3 < share < 1.0:
            desk.stop()
            time.sleep(0.05)

    desk.session._progress = stop_in_the_middle
    desk.do("taking F01", lambda: desk.session.take_stack("F01"))
    sitting.settle()
    desk.session._progress = tell
    assert "the light is off" in sitting.last[0]
    assert desk.status.chosen.is_cut_short
    assert not desk.status.sight.is_lit
    desk.do("going on", lambda: desk.session.take_stack("F01", resume=True))
    sitting.settle()
    chosen = desk.status.chosen
    assert chosen.stacks == 1
    assert not chosen.is_cut_short
    assert chosen.dose_mj > 0


def test_looking_and_live_are_told(sitting):
    desk = sitting.desk
    desk.look()
    sitting.settle()
    assert desk.status.sight.position is not None
    desk.watch()
    began = time.monotonic()
    while not desk.status.sight.is_lit and time.monotonic() - began < 20:
        time.sleep(0.01)
    assert desk.status.sight.is_lit
    desk.stop()
    sitting.settle()
    assert not desk.status.sight.is_lit
    assert sitting.last == ("stopped", False)


def test_a_pause_is_dark_and_ends(sitting):
    desk = sitting.desk
    tell, lit = desk.session._progress, []

    def pause_once(what, share):
        tell(what, share)
        if not lit and share > 0.3:
            desk.pause()
            lit.append(None)

    desk.session._progress = pause_once
    desk.do("taking F01", lambda: desk.session.take_stack("F01"))
    began = time.monotonic()
    while not (desk.status.is_paused and not desk.status.sight.is_lit) and time.monotonic() - began < 20:
        time.sleep(0.01)
    assert desk.status.is_paused
    assert not desk.status.sight.is_lit
    desk.pause()
    sitting.settle()
    desk.session._progress = tell
    assert not desk.status.is_paused
    assert not desk.status.chosen.is_cut_short


def test_before_anything_is_open_every_verb_says_why_not(tmp_path):
    sitting = Sitting(tmp_path / "none")
    desk = sitting.desk
    assert desk.why_not() == NO_RIG
    desk.watch()
    assert sitting.last == (NO_RIG, False)
    desk.analyse("F01")
    assert sitting.last == (NO_SESSION, False)
    desk.new_animal("M1")
    sitting.settle()
    assert "is no study yet; make one first" in sitting.last[0]
    desk.close()
    desk.close()
    assert not desk.do("late", lambda: None)


def test_a_rig_that_does_not_open_is_told(tmp_path):
    sitting = Sitting(tmp_path, str(tmp_path / "no.toml"))
    sitting.desk.open()
    sitting.settle()
    text, is_error = sitting.last
    assert is_error
    assert "no.toml" in text
    sitting.desk.close()


@pytest.mark.parametrize(("seconds", "told"), [(0, "0 s"), (59.6, "1:00 min"), (3599.7, "1:00 h")])
def test_times_are_read_at_a_glance(seconds, told):
    assert spoken_time(seconds) == told


def test_a_device_that_hangs_does_not_keep_the_window(tmp_path, monkeypatch):
    monkeypatch.setattr("acquire.gui.desk.LEAVING_S", 0.2)
    sitting, gate = Sitting(tmp_path / "study"), threading.Event()
    sitting.desk.do("hanging", gate.wait)
    assert not sitting.desk.close()
    gate.set()
    sitting.desk._worker.shutdown()
