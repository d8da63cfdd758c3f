"""The dose: all light that reaches the tissue is counted, by somebody who watches the shutter, and limited."""

import threading
import time

import numpy as np
import pytest

from acquire.config import read_rig_config
from acquire.engine import StackCancelledError
from acquire.errors import RigError
from acquire.frames import AlignedPlane
from acquire.images import frames_path, read_journal
from acquire.meter import LightBudget, LightMeter, Lit
from acquire.model import AnimalRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study

PLAN = StackPlan(
    field_of_view_um=40.0,
    pixels=64,
    depth_um=6.0,
    frames_per_plane=1,
    power_mw=20.0,
    dwell_us=5.0,
    replacement_frames=0,
)
WATCH_S = 0.0005


def test_a_shutter_that_does_not_close_goes_on_counting():
    meter = LightMeter()
    meter.set_power(10.0)
    meter.switch_on()
    assert meter.switch_off() is not None
    meter.leak()
    before = meter.total
    time.sleep(0.01)
    assert not meter.is_on
    assert (meter.total - before).mj >= 0.1
    assert meter.switch_off() is not None  # it closed at last
    closed = meter.total
    time.sleep(0.01)
    assert meter.total == closed


class Watch:
    """Watches shutter and power of the simulated rig all the time, and adds up the energy."""

    def __init__(self, scene):
        self.mj, self._scene, self._ended = 0.0, scene, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        before_s = time.monotonic()
        while not self._ended.is_set():
            time.sleep(WATCH_S)
            now_s = time.monotonic()
            if self._scene.is_lit:
                self.mj += self._scene.power_mw * (now_s - before_s)
            before_s = now_s

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def rig():
    """A rig that takes the time a real one would, and whose drive needs time to settle."""
    config = read_rig_config("simulated")
    changes = {
        "load_settings": {**config.load_settings, "realtime": True, "hardware_timing": True},
        "settle": {"z_s": 0.05},
        "stall_s": 1.0,
    }
    with open_rig(config.model_validate({**config.model_dump(), **changes})) as opened:
        yield opened


@pytest.fixture
def session(rig, tmp_path):
    with Study.create(tmp_path / "study", StudyRecord(name="dose", plan=PLAN, overview_plan=PLAN)) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0, new=True) as opened:
            x, y, z = rig.loaded.good_places(1)[0]
            rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            opened.new_field()
            yield opened


def with_plan(session, **changes):
    """Change how the field is taken."""
    field = session.study.field("M1", "F01")
    plan = field.plan.model_copy(update=changes)
    session.study.save_field("M1", field.model_copy(update={"plan": plan}))
    return plan


def dose_mj(session):
    return session.study.dose_mj(session.record, "F01")


@pytest.mark.parametrize("hardware_timing", [False, True])
@pytest.mark.parametrize("frames", [1, 3])
def test_all_the_light_of_a_stack_is_counted(session, hardware_timing, frames):
    plan = with_plan(session, hardware_timing=hardware_timing, frames_per_plane=frames)
    before = dose_mj(session)
    with Watch(session.rig.loaded.scene) as watch:
        session.take_stack("F01")
    counted = dose_mj(session) - before
    assert counted == pytest.approx(watch.mj, rel=0.15)
    powers = sum(plan.plane_power_mw(plane) for plane in range(plan.planes))
    assert counted < 1.5 * powers * frames * session.rig.exposure_ms() / 1000  # dark while the drive settles


def stop_when_lit(session, watch):
    """Stop in the middle of a plane, when there has been some light."""
    while watch.mj < 4.0:
        time.sleep(0.002)
    session.stop()


@pytest.mark.parametrize("hardware_timing", [False, True])
def test_the_light_of_a_stack_that_was_stopped_is_counted(session, hardware_timing):
    with_plan(session, hardware_timing=hardware_timing, frames_per_plane=20)
    before = dose_mj(session)
    with Watch(session.rig.loaded.scene) as watch:
        stopper = threading.Thread(target=stop_when_lit, args=(session, watch))
        stopper.start()
        with pytest.raises(StackCancelledError):
            session.take_stack("F01")
        stopper.join()
    assert watch.mj > 1.0
    assert dose_mj(session) - before == pytest.approx(watch.mj, rel=0.15)
    lost = session.study.log_lines(session.record, "light in no plane")[-1]["mj"]
    assert lost > 0.0


def test_a_stack_ends_before_it_costs_more_than_the_limit(session, monkeypatch):
    """Light around the frames, here a shutter that opens early, is not known before."""
    plan = with_plan(session, hardware_timing=False)
    need = sum(plan.plane_power_mw(plane) for plane in range(plan.planes)) * session.rig.exposure_ms() / 1000
    with_plan(session, hardware_timing=False, dose_limit_mj=dose_mj(session) + 1.2 * need)
    open_light = session.rig.open_light
    monkeypatch.setattr(session.rig, "open_light", lambda: (open_light(), time.sleep(0.05)))
    with pytest.raises(RigError, match=r"has cost \d+\.\d mJ after [1-6] of 7 planes and may cost .* --resume"):
        session.take_stack("F01")
    assert dose_mj(session) <= session.study.field("M1", "F01").plan.dose_limit_mj
    assert not session.rig.loaded.scene.is_lit


def test_frames_are_not_replaced_beyond_the_limit(session, monkeypatch):
    plan = with_plan(session, hardware_timing=False, frames_per_plane=2, replacement_frames=50)

    def all_but_one_moved(frames, _pixel_um, **_):
        kept = np.arange(len(frames)) == 0
        return AlignedPlane(frames[0], np.zeros((len(frames), 2)), kept, 0.0)

    monkeypatch.setattr("acquire.engine.align_frames", all_but_one_moved)
    need = sum(plan.plane_power_mw(plane) for plane in range(plan.planes)) * 2 * session.rig.exposure_ms() / 1000
    limit = dose_mj(session) + 2.0 * need
    with_plan(session, hardware_timing=False, frames_per_plane=2, replacement_frames=50, dose_limit_mj=limit)
    with pytest.raises(RigError, match="may cost"):
        session.take_stack("F01")
    assert dose_mj(session) <= limit
    store = session.study.unfinished_store(session.record, "F01")
    assert read_journal(store)[0].frames_taken > 2
    assert frames_path(store).is_dir()


def test_a_rig_of_unknown_power_counts_no_energy(tmp_path):
    plan = StackPlan(field_of_view_um=102.4, pixels=512, depth_um=4.0)
    with (
        open_rig(read_rig_config("demo")) as demo,
        Study.create(tmp_path / "study", StudyRecord(name="dose", plan=plan, overview_plan=plan)) as study,
    ):
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", demo, day=0.0, new=True) as opened:
            opened.new_field()
            opened.take_stack("F01")
            assert demo.lit.seconds > 0
            assert dose_mj(opened) == 0.0


def test_an_animal_has_its_own_power_limit(rig, tmp_path):
    limited = AnimalRecord(id="M1", power_limit_mw=8.0)
    with Study.create(tmp_path / "study", StudyRecord(name="dose", plan=PLAN, overview_plan=PLAN)) as study:
        study.new_animal(limited)
        with Session.open(study, "M1", rig, day=0.0, new=True) as opened:
            opened.new_field()
            store = opened.take_stack("F01")
    assert {round(plane.power_mw, 3) for plane in read_journal(store)} == {8.0}


def test_the_light_that_a_guard_closed_is_not_counted(rig):
    """A device hangs; the guard closes the light long before it answers."""
    before = rig.lit
    rig.set_power_mw(20.0)
    with Watch(rig.loaded.scene) as watch, pytest.raises(RigError, match="stalled"), rig.light():
        time.sleep(rig.config.stall_s + 1.5)
        rig.beat()
    assert (rig.lit - before).mj == pytest.approx(watch.mj, rel=0.1)


def test_the_meter_counts_what_was_on():
    meter = LightMeter()
    budget = LightBudget(lambda: meter.total, 1.0)
    meter.set_power(10.0)
    assert meter.switch_off() is None
    meter.switch_on()
    time.sleep(0.03)
    meter.set_power(0.0)
    time.sleep(0.03)
    ended = meter.switch_off()
    assert ended.seconds == pytest.approx(0.06, abs=0.03)
    assert 0.3 <= ended.mj <= 0.6
    assert meter.total == ended == Lit(ended.seconds, ended.mj)
    assert budget.spent_mj == pytest.approx(ended.mj)
    assert budget.affords(1.0 - ended.mj - 1e-9)
    assert not budget.affords(1.0)
    budget.expose(ended.mj / 2)  # half of the light was around the frames, and half of what comes will be
    assert not budget.affords(0.6 * (1.0 - ended.mj))
    assert budget.affords(0.4 * (1.0 - ended.mj))
