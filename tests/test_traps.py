"""What the libraries underneath do when nobody looks, and that none of it reaches who uses this program.

Each test makes one fault happen. Where that is cheap it first shows that the library really does it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zarr
from pymmcore_plus.experimental.unicore import UniMMCore
from pymmcore_plus.mda import MDAEngine, MDARunner, RunState
from useq import MDASequence

from acquire import engine
from acquire.config import RigConfig, read_rig_config
from acquire.engine import PlanesInMemory, StackCancelledError, StackEngine, take_stack
from acquire.errors import RigError, StudyError
from acquire.images import ImageProvenance, StackWriter, is_complete, read_journal
from acquire.model import StackPlan, StagePosition
from acquire.opening import SIGNALS, open_rig

HERE = StagePosition(x_um=0.0, y_um=0.0, z_um=30.0)
PLAN = StackPlan(field_of_view_um=60.0, pixels=64, depth_um=4.0, step_um=1.0, frames_per_plane=1)
SHUTTER = "White Light Shutter"


def with_changes(config, **changes):
    return RigConfig.model_validate({**config.model_dump(), **changes})


@pytest.fixture(scope="module")
def simulated():
    config = read_rig_config("simulated")
    with open_rig(with_changes(config, load_settings={**config.load_settings, "half_width_um": 200.0})) as opened:
        yield opened


@pytest.fixture(scope="module")
def demo():
    """Micro-Manager's own C++ demo devices, through our rig."""
    with open_rig(read_rig_config("demo")) as opened:
        yield opened


@pytest.fixture
def library():
    """The same devices without our rig: Micro-Manager and pymmcore-plus as they are."""
    os.environ.setdefault(*SIGNALS)  # a window may be there
    core = UniMMCore()
    core.loadSystemConfiguration("MMConfig_demo.cfg")
    yield core
    core.unloadAllDevices()


@pytest.fixture(autouse=True)
def dark_at_the_end(request):
    yield
    for name, shutter in (("simulated", "Shutter"), ("demo", SHUTTER)):
        if name in request.fixturenames:
            assert not request.getfixturevalue(name).core.getShutterOpen(shutter)


def four_planes(**options):
    return MDASequence(z_plan={"absolute": [0, 1, 2, 3]}, **options)


def writer_of(path, plan, stage=HERE):
    return StackWriter(
        path, plan, ImageProvenance(kind="stack", animal="M1", session="s", day=0.0, rig={}, stage=stage, plan=plan)
    )


class AtPlane(PlanesInMemory):
    """A sink that does something at its second plane."""

    def __init__(self, deed):
        super().__init__()
        self.deed = deed

    def append(self, taken):
        super().append(taken)
        if len(self.planes) == 2:
            self.deed()


def refuse(*_arguments):
    raise RuntimeError("refused by the device")


# ---- light ---------------------------------------------------------------------------------------------------------


def test_a_stack_that_ends_early_leaves_the_shutter_open_in_the_library_and_closed_here(library, demo):
    library.mda.events.frameReady.connect(lambda *_: library.mda.cancel())
    library.mda.run(four_planes(keep_shutter_open_across=("z",)))
    assert library.getShutterOpen()
    assert not library.getAutoShutter()
    with pytest.raises(StackCancelledError):
        take_stack(demo, demo.set_scan(PLAN), HERE, [AtPlane(demo.stop)])
    assert not demo.core.getShutterOpen(SHUTTER)
    with pytest.raises(RuntimeError, match="refused by the device"):
        take_stack(demo, demo.set_scan(PLAN), HERE, [AtPlane(refuse)])
    assert not demo.core.getShutterOpen(SHUTTER)


def test_a_pause_within_a_stack_is_lit_in_the_library_and_dark_here(library, demo):
    def pause_and_look(core, pause, seen):
        def look():
            time.sleep(0.3)
            seen.append(core.getShutterOpen(SHUTTER))
            pause(False)

        pause(True)
        threading.Thread(target=look).start()

    theirs, ours = [], []
    library.mda.events.frameReady.connect(
        lambda *_: theirs or pause_and_look(library, library.mda.set_paused, theirs), max_args=0
    )
    library.mda.run(four_planes(keep_shutter_open_across=("z",)))
    sink = AtPlane(lambda: pause_and_look(demo.core, demo.pause, ours))
    take_stack(demo, demo.set_scan(PLAN), HERE, [sink])
    assert theirs[0] is True
    assert ours == [False]
    assert len(sink.planes) == PLAN.planes


def test_stop_does_not_wait_for_the_end_of_an_average(demo):
    plan = demo.set_scan(PLAN.model_copy(update={"frames_per_plane": 500}))
    asked = []

    def stop():
        time.sleep(0.3)
        asked.append(time.monotonic())
        demo.stop()

    threading.Thread(target=stop).start()
    with pytest.raises(StackCancelledError, match="stopped after 0 of 5 planes"):
        take_stack(demo, plan, HERE, [PlanesInMemory()])
    assert time.monotonic() - asked[0] < 0.5  # the average would take 5 s


# ---- what was asked is done, or refused ----------------------------------------------------------------------------


def test_a_refused_move_images_the_wrong_place_in_the_library_and_nothing_here(library, demo, monkeypatch):
    images = []
    library.mda.events.frameReady.connect(lambda _image, event: images.append(event))
    monkeypatch.setattr(library, "setXYPosition", refuse)
    library.mda.run(MDASequence(stage_positions=[(50, 0, 0), (100, 0, 0)]))
    assert len(images) == 2
    plan, before = demo.set_scan(PLAN), demo.images_taken
    for verb, moves in (("setXYPosition", "moving XY to x 50.0"), ("setPosition", "moving Z to z 28.0")):
        with monkeypatch.context() as refusing:
            refusing.setattr(demo.core, verb, refuse)
            with pytest.raises(RigError, match=f"{moves}.* failed: refused by the device"):
                take_stack(demo, plan, HERE.moved(x_um=50.0), [PlanesInMemory()])
    assert demo.images_taken == before


def test_a_refused_power_ends_the_stack(simulated, monkeypatch):
    plan, before = simulated.set_scan(PLAN), simulated.images_taken
    monkeypatch.setattr(simulated.core, "setProperty", refuse)
    with pytest.raises(RigError, match=r"setting Pockels\.Voltage to .* failed: refused by the device"):
        take_stack(simulated, plan, HERE, [PlanesInMemory()])
    assert simulated.images_taken == before


def test_a_failed_snap_shifts_the_planes_in_the_library_and_ends_the_stack_here(library, demo, monkeypatch):
    def failing_at_the_second(snap):
        asked = []

        def snap_or_fail():
            asked.append(1)
            return refuse() if len(asked) == 2 else snap()

        return snap_or_fail

    stored = []
    library.mda.events.frameReady.connect(lambda _image, event: stored.append(event.index["z"]))
    monkeypatch.setattr(library, "snapImage", failing_at_the_second(library.snapImage))
    library.mda.run(four_planes())
    assert stored == [0, 2, 3]  # a sink that counts calls them 0, 1, 2
    sink, plan = PlanesInMemory(), demo.set_scan(PLAN)
    monkeypatch.setattr(demo.core, "snapImage", failing_at_the_second(demo.core.snapImage))
    with pytest.raises(RigError, match="taking an image with Camera failed: refused by the device"):
        take_stack(demo, plan, HERE, [sink])
    assert [record.plane for record in sink.records] == [0]


def test_planes_that_are_asked_for_one_by_one_keep_their_number_and_depth(demo):
    sink = PlanesInMemory()
    take_stack(demo, demo.set_scan(PLAN), HERE, [sink], planes=[1, 4])
    assert [(record.plane, round(record.stage.z_um)) for record in sink.records] == [(1, 29), (4, 32)]


def test_a_plan_gives_fewer_planes_than_meant_in_the_library_and_is_counted_here(demo, monkeypatch):
    assert list(MDASequence(z_plan={"top": 0, "bottom": 10, "step": 1})) == []
    plan = demo.set_scan(PLAN)
    monkeypatch.setattr(StackEngine, "event_iterator", lambda _self, events: list(events)[:-1])
    with pytest.raises(RigError, match="4 of 5 planes were taken; take the stack again"):
        take_stack(demo, plan, HERE, [PlanesInMemory()])


def test_a_stage_that_cannot_reach_hangs_in_the_library_and_is_not_asked_here(library, demo):
    library.setTimeoutMs(200)
    library.setXYPosition("XY", 1e6, 0.0)
    with pytest.raises(RuntimeError, match="timed out after 200ms"):
        library.waitForDevice("XY")
    before = demo.position()
    with pytest.raises(RigError, match=r"x = 1000000\.0 um is outside the limits -5000\.0 to 5000\.0 um"):
        demo.move_to(HERE.model_copy(update={"x_um": 1e6}))
    assert demo.position() == before


def test_a_property_takes_any_number_but_no_power_beyond_the_limit_gets_light(simulated):
    with pytest.raises(RigError, match=r"power 55\.0 mW is outside 0 to 50\.0 mW"):
        simulated.set_power_mw(55.0)
    simulated.core.setProperty("Pockels", "Voltage", 1.0)  # 60 mW: the device allows it
    with pytest.raises(RigError, match=r"reads 60\.0 mW, above the limit of 50\.0 mW; the light stays off"):
        simulated.open_light()
    assert not simulated.core.getShutterOpen("Shutter")
    simulated.set_power_mw(0.0)


def test_a_rig_without_pixel_size_is_refused_at_the_start_and_no_scale_is_0(library, demo, tmp_path):
    library.setPixelSizeConfig("Res10x")
    library.deletePixelSizeConfig("Res10x")
    assert library.getPixelSizeUm() == 0.0
    config = read_rig_config("demo").model_dump()
    for scan, says in (({}, "pixel_um"), ({"pixel_um": 0.0}, "greater than 0")):
        with pytest.raises(ValueError, match=says):
            RigConfig.model_validate({**config, "scan": scan})
    plan = demo.set_scan(PLAN)
    with writer_of(tmp_path / "stack.ome.zarr", plan) as writer:
        take_stack(demo, plan, HERE, [writer])
    written = zarr.open_group(tmp_path / "stack.ome.zarr", mode="r").attrs["ome"]["multiscales"][0]
    assert [axis["name"] for axis in written["axes"]] == ["z", "y", "x"]
    assert written["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 0.2, 0.2]


def test_a_rig_without_shutter_takes_stacks_and_says_what_that_means():
    config = read_rig_config("demo")
    bare = with_changes(config, roles={**config.roles.model_dump(), "shutter": None})
    sink = PlanesInMemory()
    with open_rig(bare) as rig:
        take_stack(rig, rig.set_scan(PLAN), HERE, [sink])
    assert len(sink.planes) == PLAN.planes
    assert any("the light is on whenever the laser is" in line for line in bare.missing())


# ---- the runner ----------------------------------------------------------------------------------------------------


class BadEnd(MDAEngine):
    """The library's engine with an error at the end of a run."""

    def teardown_sequence(self, sequence):
        raise RuntimeError("bad end")


def test_an_error_at_the_end_sticks_in_the_library_and_the_next_stack_is_taken_here(library, demo, monkeypatch):
    finished = []
    library.mda.set_engine(BadEnd(library))
    library.mda.events.sequenceFinished.connect(lambda *_: finished.append(1))
    library.mda.run(four_planes())  # says nothing
    assert finished == []
    assert library.mda.status.phase is RunState.FINISHING
    plan = demo.set_scan(PLAN)
    with monkeypatch.context() as refusing:
        sink = AtPlane(lambda: refusing.setattr(demo.core, "getShutterOpen", lambda *_: True))
        with pytest.raises(RigError, match="does not close"):
            take_stack(demo, plan, HERE, [sink])
    again = PlanesInMemory()
    take_stack(demo, plan, HERE, [again])
    assert len(again.planes) == PLAN.planes


def test_an_error_of_who_looks_on_is_swallowed_in_the_library_and_told_here(library, demo, tmp_path):
    library.mda.events.frameReady.connect(refuse)
    library.mda.run(four_planes())  # says nothing
    plan, path = demo.set_scan(PLAN), tmp_path / "stack.ome.zarr"

    def progress(done, _planes):
        if done == 3:
            raise ZeroDivisionError("a fault of the display")

    with pytest.raises(ZeroDivisionError), writer_of(path, plan) as writer:
        take_stack(demo, plan, HERE, [writer], progress=progress)
    assert [record.plane for record in read_journal(path)] == [0, 1, 2]
    with StackWriter.reopen(path) as writer:
        take_stack(demo, plan, HERE, [writer], planes=writer.missing)
    assert is_complete(path)


def test_slow_listeners_pile_up_no_frames(demo, monkeypatch):
    frames, most = [], []

    def look(image):
        frames.append(weakref.ref(image))
        time.sleep(0.02)
        most.append(sum(frame() is not None for frame in frames))

    class ListenedTo(MDARunner):
        def __init__(self):
            super().__init__()
            self.events.frameReady.connect(look, max_args=1)

    class Nowhere:
        def append(self, _taken):
            pass

    monkeypatch.setattr(engine, "MDARunner", ListenedTo)
    take_stack(demo, demo.set_scan(PLAN.model_copy(update={"depth_um": 20.0})), HERE, [Nowhere()])
    assert len(frames) == 21
    assert max(most) <= 3


def test_an_error_in_a_worker_is_lost_in_the_library_and_comes_back_here(library, demo, monkeypatch):
    library.mda.set_engine(BadEnd(library))
    monkeypatch.setattr(threading, "excepthook", lambda _lost: None)
    thread = library.run_mda(four_planes())
    thread.join()  # ended, and says nothing
    plan = demo.set_scan(PLAN)
    monkeypatch.setattr(demo.core, "snapImage", refuse)
    with ThreadPoolExecutor(1) as worker:
        taking = worker.submit(take_stack, demo, plan, HERE, [PlanesInMemory()])
        assert isinstance(taking.exception(timeout=30), RigError)


# ---- what is written -----------------------------------------------------------------------------------------------


def test_each_place_has_a_store_of_its_own_with_its_depth_and_stage_position(demo, tmp_path):
    places = {"one": (HERE, 4.0), "other": (HERE.moved(x_um=200.0, z_um=10.0), 2.0)}
    for name, (stage, depth_um) in places.items():
        plan = demo.set_scan(PLAN.model_copy(update={"depth_um": depth_um}))
        with writer_of(tmp_path / name, plan, stage) as writer:
            take_stack(demo, plan, stage, [writer])
        group = zarr.open_group(tmp_path / name, mode="r")
        about = group.attrs["samefield"]
        assert group["0"].shape == plan.shape
        assert StagePosition.model_validate(about["stage"]) == stage
        offsets = [plane["stage"]["z_um"] - stage.z_um for plane in about["planes"]]
        assert offsets == pytest.approx(plan.plane_offsets_um, abs=0.1)
        assert all(plane["stage"]["x_um"] == pytest.approx(stage.x_um, abs=0.1) for plane in about["planes"])


def test_a_stack_is_never_written_over_but_can_be_gone_on_with(demo, tmp_path):
    plan, path = demo.set_scan(PLAN), tmp_path / "stack.ome.zarr"
    with pytest.raises(StackCancelledError), writer_of(path, plan) as writer:
        take_stack(demo, plan, HERE, [writer, AtPlane(demo.stop)])
    with pytest.raises(StudyError, match="never rewritten"):
        writer_of(path, plan)
    with StackWriter.reopen(path) as writer:
        assert writer.missing == [2, 3, 4]
        take_stack(demo, plan, HERE, [writer], planes=writer.missing)
    assert is_complete(path)


def be_killed(path):
    """Be a program that is killed after three planes."""
    with open_rig(read_rig_config("simulated")) as rig:
        plan = rig.set_scan(PLAN)

        def progress(done, _planes):
            if done == 4:
                os.kill(os.getpid(), signal.SIGKILL)

        take_stack(rig, plan, HERE, [writer_of(path, plan)], progress=progress)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends programs without a signal")
def test_a_killed_program_leaves_all_that_is_known_of_its_planes(tmp_path):
    path = tmp_path / "stack.ome.zarr"
    killed = subprocess.run([sys.executable, __file__, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    records = read_journal(path)
    assert [record.plane for record in records][:3] == [0, 1, 2]
    for record in records:
        assert record.stage.z_um == pytest.approx(HERE.z_um + PLAN.plane_offsets_um[record.plane], abs=0.3)
        assert record.power_mw == pytest.approx(PLAN.plane_power_mw(record.plane), rel=0.01)
        assert record.crc32 is not None
    assert not is_complete(path)
    assert StackWriter.reopen(path).missing == [plane for plane in range(PLAN.planes) if plane >= len(records)]


def test_the_command_that_takes_stacks_ends_cleanly():
    bench = Path(__file__).parent / "bench" / "exits.py"
    done = subprocess.run(
        [sys.executable, str(bench), "--runs", "3", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["runs"], told["clean"], told["codes"]) == (3, 3, {"0": 3})


if __name__ == "__main__":
    be_killed(Path(sys.argv[1]))
