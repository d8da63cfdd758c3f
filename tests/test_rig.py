"""The rig: what was asked is done or refused, and the light is off on every way out."""

import threading
import time

import numpy as np
import pytest

from acquire.checks import check_devices
from acquire.config import RigConfig, read_rig_config
from acquire.engine import PlanesInMemory, StackCancelledError, take_stack
from acquire.errors import RigError
from acquire.frames import align_frames
from acquire.model import StackPlan, StagePosition
from acquire.opening import open_rig

ORIGIN = StagePosition(x_um=0.0, y_um=0.0, z_um=30.0)
PLAN = StackPlan(field_of_view_um=60.0, pixels=64, depth_um=6.0, step_um=1.0, frames_per_plane=1)


def with_changes(config: RigConfig, **changes) -> RigConfig:
    return RigConfig.model_validate({**config.model_dump(), **changes})


@pytest.fixture(scope="module")
def rig():
    with open_rig(read_rig_config("simulated")) as opened:
        opened.loaded.mount(0, 0.0)
        yield opened


@pytest.fixture(autouse=True)
def dark_at_the_end(request):
    """Whatever a test did, the shutter must be closed when it ends."""
    yield
    if "rig" in request.fixturenames:
        opened = request.getfixturevalue("rig")
        assert not opened.core.getShutterOpen("Shutter")


class Sabotage(PlanesInMemory):
    """A sink that does something bad at its third plane."""

    def __init__(self, deed):
        super().__init__()
        self.deed = deed

    def append(self, taken):
        super().append(taken)
        if len(self.planes) == 3:
            self.deed()


def test_a_stack_has_every_plane_where_it_was_asked(rig):
    sink = PlanesInMemory()
    take_stack(rig, rig.set_scan(PLAN), ORIGIN, [sink])
    depths = [record.stage.z_um for record in sink.records]
    assert depths == pytest.approx([27, 28, 29, 30, 31, 32, 33], abs=0.3)
    powers = [record.power_mw for record in sink.records]
    assert powers == pytest.approx([PLAN.plane_power_mw(plane) for plane in range(7)], rel=0.01)
    assert all(record.zoom == pytest.approx(10.0) and record.frames == 1 for record in sink.records)
    assert np.ptp(sink.planes[3]) > 100


def test_the_light_is_off_between_stacks_and_images_are_dark_then(rig):
    rig.set_scan(PLAN)
    rig.set_power_mw(20.0)
    with rig.light():
        lit = rig.snap()
    dark = rig.snap()
    assert lit.max() > dark.max() + 50


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt(), MemoryError()])
def test_an_error_while_a_plane_is_kept_closes_the_light(rig, error):
    def deed():
        raise error

    with pytest.raises(type(error)):
        take_stack(rig, rig.set_scan(PLAN), ORIGIN, [Sabotage(deed)])
    assert not rig.core.getShutterOpen("Shutter")


def test_stop_from_another_thread_ends_the_stack_dark(rig):
    sink = Sabotage(lambda: threading.Thread(target=rig.stop).start())
    slow = Sabotage(lambda: time.sleep(0.2))
    with pytest.raises(StackCancelledError, match="of 7 planes"):
        take_stack(rig, rig.set_scan(PLAN), ORIGIN, [sink, slow])
    assert 3 <= len(sink.planes) < 7


def test_a_camera_that_fails_stops_the_stack_dark_and_is_named(rig, monkeypatch):
    taken = []

    def fail():
        taken.append(1)
        raise RuntimeError("camera unplugged")

    plan = rig.set_scan(PLAN)
    monkeypatch.setattr(rig.core, "snapImage", fail)
    with pytest.raises(RigError, match="taking an image with Scanner failed: camera unplugged"):
        take_stack(rig, plan, ORIGIN, [PlanesInMemory()])
    assert len(taken) == 1


def test_a_power_that_is_not_reached_is_an_error(rig, monkeypatch):
    plan = rig.set_scan(PLAN)
    monkeypatch.setattr(rig.core, "setProperty", lambda *_: None)
    with pytest.raises(RigError, match=r"Pockels\.Voltage reads"):
        take_stack(rig, plan, ORIGIN, [PlanesInMemory()])


def test_a_stage_that_stops_short_is_an_error(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "setXYPosition", lambda *_: None)
    with pytest.raises(RigError, match=r"XY stopped at .* 50\.0 um from where it was sent"):
        rig.move_to(ORIGIN.moved(x_um=50.0))


def test_a_shutter_that_does_not_close_is_shouted_and_the_power_goes_down(rig, monkeypatch):
    rig.set_power_mw(20.0)
    with monkeypatch.context() as patched:
        patched.setattr(rig.core, "getShutterOpen", lambda *_: True)
        with pytest.raises(RigError, match="close the laser by hand now"):
            rig.close_light()
    assert rig.power_mw() == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (
            PLAN.model_copy(update={"power_mw": 55.0, "power_limit_mw": 60.0}),
            "outside 0 to 50.0 mW, which the rig allows",
        ),
        (PLAN.model_copy(update={"depth_um": 1200.0}), r"z = -570.0 um is outside the limits -500.0 to 500.0 um"),
    ],
)
def test_what_is_beyond_the_limits_is_refused_before_the_light_goes_on(rig, plan, complaint):
    before = rig.images_taken
    with pytest.raises(RigError, match=complaint):
        take_stack(rig, plan, ORIGIN, [PlanesInMemory()])
    assert rig.images_taken == before


def test_a_role_that_is_not_there_is_named():
    config = read_rig_config("demo")
    broken = with_changes(config, roles={**config.roles.model_dump(), "z_drive": "Piezo"})
    with pytest.raises(RigError, match=r"roles\.z_drive names 'Piezo', which is not loaded; loaded are: .*Camera"):
        open_rig(broken)


def test_a_config_that_cannot_be_loaded_is_named():
    config = with_changes(read_rig_config("demo"), mm_config="missing.cfg")
    with pytest.raises(RigError, match=r"mm_config 'missing\.cfg' cannot be loaded"):
        open_rig(config)


@pytest.mark.parametrize("name", ["simulated", "demo"])
def test_check_rig_says_a_line_a_role(name):
    config = read_rig_config(name)
    with open_rig(config) as opened:
        lines = list(check_devices(opened))
    present = [role for role, player in config.roles if player and role not in {"zoom", "resolution", "pixel_dwell"}]
    guarded = {"watchdog:"} if config.watchdog else set()
    channels = {"channel"} if config.channels else set()
    assert {line.split()[0] for line in lines} == set(present) | guarded | channels


def test_a_role_of_the_wrong_kind_is_named():
    config = read_rig_config("demo")
    broken = with_changes(config, roles={**config.roles.model_dump(), "shutter": "XY"})
    with pytest.raises(RigError, match=r"roles\.shutter names 'XY', which is no ShutterDevice but a XYStageDevice"):
        open_rig(broken)


def test_a_watchdog_that_cannot_start_fails_the_check():
    config = read_rig_config("demo")
    broken = with_changes(config, watchdog={"close": "no.such:f", "settings": {}, "timeout_s": 5.0})
    with pytest.raises(RigError, match="No module named 'no'"), open_rig(broken) as opened:
        list(check_devices(opened))


@pytest.mark.parametrize("stall_s", [1e300, 1e-300])
def test_a_guard_cannot_be_switched_off_by_its_numbers(stall_s):
    with pytest.raises(ValueError, match="stall_s"):
        with_changes(read_rig_config("demo"), stall_s=stall_s)


def test_the_demo_camera_of_micro_manager_gives_a_stack():
    sink = PlanesInMemory()
    with open_rig(read_rig_config("demo")) as opened:
        plan = opened.set_scan(PLAN)
        assert plan.voxel_um[1] == 0.2
        take_stack(opened, plan, ORIGIN, [sink])
    assert np.array(sink.planes).shape == (7, 512, 512)


def test_the_beam_is_dim_while_frames_are_registered(rig, monkeypatch):
    seen = []

    def watched(frames, pixel_um, **options):
        seen.append(rig.power_mw())
        return align_frames(frames, pixel_um, **options)

    monkeypatch.setattr("acquire.engine.align_frames", watched)
    sink = PlanesInMemory()
    plan = rig.set_scan(PLAN.model_copy(update={"frames_per_plane": 2}))
    take_stack(rig, plan, ORIGIN, [sink])
    assert len(seen) >= plan.planes
    assert max(seen) < 0.1
    powers = [record.power_mw for record in sink.records]
    assert powers == pytest.approx([plan.plane_power_mw(plane) for plane in range(7)], rel=0.01)
