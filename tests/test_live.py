"""The live view: frames come, a joystick moves, and the light is off on every way out."""

import threading
import time

import pytest

from acquire.config import RigConfig, read_rig_config
from acquire.errors import RigError
from acquire.live import LiveView, SurfaceView
from acquire.model import StackPlan
from acquire.opening import open_rig
from acquire.sight import LivePower

PLAN = StackPlan(field_of_view_um=60.0, pixels=64, power_mw=10.0)


@pytest.fixture(scope="module")
def rig():
    config = read_rig_config("simulated")
    small = {**config.load_settings, "half_width_um": 250.0}
    with open_rig(RigConfig.model_validate({**config.model_dump(), "load_settings": small})) as opened:
        opened.loaded.mount(0, 0.0)
        yield opened


@pytest.fixture(autouse=True)
def dark(rig):
    yield
    assert not rig.core.getShutterOpen("Shutter")
    assert not rig.sight.is_lit


def until(asked, limit_s=20.0):
    began = time.monotonic()
    while not asked():
        assert time.monotonic() - began < limit_s
        time.sleep(0.005)


@pytest.fixture
def running(rig):
    """A live view in a thread of its own; afterwards it was stopped."""
    view, ended = LiveView(rig, PLAN, 10.0), []
    thread = threading.Thread(target=lambda: ended.append(view.run()))
    before = rig.sight.frames
    thread.start()
    until(lambda: rig.sight.frames > before + 2)
    yield view
    rig.stop()
    thread.join(20.0)
    assert ended == ["stopped"]


def test_frames_come_with_the_power_that_was_asked(rig, running):
    assert rig.sight.frame.shape == (64, 64)
    assert rig.sight.power_mw == pytest.approx(10.0, rel=0.01)
    running.set_power(20.0)
    until(lambda: rig.sight.power_mw > 19.0)
    with pytest.raises(RigError, match=r"power 500\.0 mW is outside"):
        running.set_power(500.0)
    assert running.power_mw == 20.0


def test_a_joystick_moves_between_frames(rig, running):
    here = rig.sight.position or rig.position()
    for number in range(1, 4):
        running.nudge(x_um=2.0, z_um=1.0)
        until(lambda number=number: rig.sight.position.x_um > here.x_um + 2.0 * number - 0.5)
    until(lambda: abs(rig.sight.position.z_um - here.z_um - 3.0) < 0.5)


def test_a_held_key_leaves_no_long_move_behind(rig):
    view = LiveView(rig, PLAN, 10.0, untouched_s=0.3)
    here = rig.position()
    for _ in range(60):
        view.nudge(z_um=5.0)
    view.run()
    assert rig.position().z_um - here.z_um < 10.5
    rig.move_to(here)


def test_a_move_beyond_the_limits_is_refused_and_the_view_goes_on(rig):
    told = []
    view = LiveView(rig, PLAN, 10.0, untouched_s=0.3, tell=told.append)
    frames = rig.sight.frames
    view.nudge(x_um=1e6)
    view.run()
    assert "limits" in told[0]
    assert rig.sight.frames > frames


def test_the_animals_own_limit_holds(rig):
    view = LiveView(rig, PLAN, 10.0, untouched_s=0.3)
    view.limit_power(1.0)
    assert view.power_mw == 1.0
    with pytest.raises(RigError, match=r"10\.0 mW is above the animal's limit of 1\.0 mW"):
        view.set_power(10.0)
    powers = []
    snap = rig.snap
    rig.snap = lambda: powers.append(rig.sight.power_mw) or snap()
    try:
        view.run()
    finally:
        del rig.snap
    assert max(powers) == pytest.approx(1.0, rel=0.05)


def test_a_pause_is_dark(rig, running):
    rig.pause()
    until(lambda: not rig.sight.is_lit)
    frames = rig.sight.frames
    time.sleep(0.2)
    assert not rig.sight.is_lit
    assert rig.sight.frames == frames
    rig.pause(False)
    until(lambda: rig.sight.frames > frames)


def test_stop_halts_the_motor_that_moves(rig, monkeypatch):
    halted, gate = [], threading.Event()
    monkeypatch.setattr(rig.core, "stop", lambda motor: halted.append(motor) or gate.set())
    monkeypatch.setattr(rig.core, "waitForDevice", lambda device: device == "Z" and gate.wait(10.0))
    here = rig.position()
    mover = threading.Thread(target=lambda: rig.move_z(here.z_um + 1.0))
    mover.start()
    until(lambda: rig._moving == "Z")
    rig.stop()
    mover.join(10.0)
    assert halted == ["Z"]
    rig.stop()
    assert halted == ["Z"]  # nothing moves any more
    rig.move_z(here.z_um)


def test_a_far_move_is_made_in_the_dark(rig, monkeypatch):
    view, lit = LiveView(rig, PLAN, 10.0, untouched_s=0.5), []
    move_to = rig.move_to
    monkeypatch.setattr(rig, "move_to", lambda there: lit.append(rig.sight.is_lit) or move_to(there))
    view.nudge(x_um=100.0)
    view.run()
    view.nudge(x_um=-100.0)
    view.run()
    assert lit == [False, False]


def test_it_goes_dark_when_nobody_touches_anything(rig):
    assert LiveView(rig, PLAN, 10.0, untouched_s=0.2).run() == "the light went off: nobody touched anything for 0 s"


def test_a_scanner_that_fails_ends_it_dark(rig, monkeypatch):
    def fail():
        raise RuntimeError("the cable is out")

    monkeypatch.setattr(rig.core, "snapImage", fail)
    with pytest.raises(RigError, match="the cable is out"):
        LiveView(rig, PLAN, 10.0).run()


def test_what_is_seen_of_the_rig_asks_no_device(rig, monkeypatch):
    rig.position()

    def fail(*_):
        raise RuntimeError("asked")

    for verb in ("getPosition", "getXYPosition", "getProperty", "getShutterOpen", "snapImage"):
        monkeypatch.setattr(rig.core, verb, fail)
    sight = rig.sight
    assert sight.position is not None
    assert not sight.is_lit
    monkeypatch.undo()


def test_the_power_goes_in_steps_as_far_as_rig_and_animal_allow(rig):
    view = LiveView(rig, PLAN, 10.0)
    least_mw, most_mw = rig.power_range_mw
    assert view.power == LivePower(10.0, least_mw, most_mw)
    view.limit_power(11.5)
    assert view.power.says == "10.0 of 11.5 mW"
    view.step_power(1)
    view.step_power(1)
    assert view.power_mw == 11.5
    with pytest.raises(RigError, match=r"11\.5 mW is the most that rig and animal allow"):
        view.step_power(1)
    view.step_power(-1)
    assert view.power_mw == 10.5
    view.set_power(least_mw)
    with pytest.raises(RigError, match="is the least"):
        view.step_power(-1)


def test_a_power_set_before_the_limit_was_known_is_held_to_it(rig):
    view = LiveView(rig, PLAN, 10.0, untouched_s=0.3)
    view.limit_power(1.0)
    view._power_mw = 10.0  # another thread was faster
    powers = []
    snap = rig.snap
    rig.snap = lambda: powers.append(rig.sight.power_mw) or snap()
    try:
        view.run()
    finally:
        del rig.snap
    assert max(powers) == pytest.approx(1.0, rel=0.05)


def test_the_surface_camera_is_watched_with_the_laser_closed(rig, monkeypatch):
    view, lit, ended = SurfaceView(rig), [], []
    snap = rig.snap
    monkeypatch.setattr(
        rig, "snap", lambda camera: lit.append(rig.core.getShutterOpen("Shutter") or rig.sight.is_lit) or snap(camera)
    )
    thread = threading.Thread(target=lambda: ended.append(view.run()))
    here = rig.position()
    thread.start()
    until(lambda: view.camera_frame is not None and view.camera_frame[1] > 2)
    assert view.camera_frame[0].ndim == 2
    view.nudge(x_um=5.0)
    until(lambda: rig.sight.position.x_um > here.x_um + 4.5)
    assert view.power is None
    with pytest.raises(RigError, match="the laser is off in this view"):
        view.step_power(1)
    rig.stop()
    thread.join(20.0)
    assert ended == ["stopped"]
    assert not any(lit)
    assert rig.core.getCameraDevice() == "Scanner"
    monkeypatch.undo()
    rig.move_to(here)
    assert SurfaceView(rig, 0.1).run() == "the live view ended: nobody touched anything for 0 s"
