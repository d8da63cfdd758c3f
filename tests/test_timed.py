"""Stacks timed by the devices: the same planes as one by one, or an error; never a plane under another's number."""

import re
import struct
import threading
import time

import numpy as np
import pytest

from acquire.config import RigConfig, read_rig_config
from acquire.engine import PlanesInMemory, StackCancelledError, take_stack
from acquire.errors import RigError
from acquire.images import ImageProvenance, StackWriter, is_complete, read_journal
from acquire.model import StackPlan, StagePosition
from acquire.opening import open_rig
from acquire.timed import burst_planes, planes_per_burst, why_not_timed
from analysis.stack import read_stack

ORIGIN = StagePosition(x_um=0.0, y_um=0.0, z_um=30.0)
PLAN = StackPlan(field_of_view_um=60.0, pixels=128, depth_um=10.0, step_um=1.0, frames_per_plane=2)


def with_changes(config: RigConfig, **changes) -> RigConfig:
    return RigConfig.model_validate({**config.model_dump(), **changes})


def with_settings(config: RigConfig, **settings) -> RigConfig:
    return with_changes(config, load_settings={**config.load_settings, **settings})


TRIGGERED = with_settings(read_rig_config("simulated"), hardware_timing=True)


@pytest.fixture(scope="module")
def rig():
    with open_rig(TRIGGERED) as opened:
        yield opened


def is_dark_and_idle(rig) -> bool:
    """Whether the shutter is closed, no camera runs, and nothing listens to triggers."""
    roles, core = rig.config.roles, rig.core
    listening = rig.loaded is not None and rig.loaded.scene.triggered
    return not (core.getShutterOpen(roles.shutter) or core.isSequenceRunning(roles.scanner) or listening)


@pytest.fixture(autouse=True)
def dark_at_the_end(request):
    """Whatever a test did, nothing is left on or running."""
    yield
    for name in {"rig", "slow"} & set(request.fixturenames):
        assert is_dark_and_idle(request.getfixturevalue(name))


def taken(rig, plan, centre=ORIGIN, **options) -> PlanesInMemory:
    sink = PlanesInMemory()
    take_stack(rig, rig.set_scan(plan), centre, [sink], **options)
    return sink


def bursts_of(rig, monkeypatch) -> list[int]:
    """Return a list that fills with the number of frames of each burst."""
    started, real = [], rig.core.startSequenceAcquisition
    monkeypatch.setattr(
        rig.core,
        "startSequenceAcquisition",
        lambda camera, count, *rest: (started.append(count), real(camera, count, *rest)),
    )
    return started


def at_frame(rig, monkeypatch, number, deed):
    """Do something when a frame of a burst is taken out of the camera's memory."""
    real, count = rig.core.popNextImageAndMD, []

    def pop():
        count.append(1)
        if len(count) == number:
            deed()
        return real()

    monkeypatch.setattr(rig.core, "popNextImageAndMD", pop)


def test_a_burst_gives_the_same_stack_as_plane_by_plane(rig, monkeypatch):
    bursts, progress = bursts_of(rig, monkeypatch), []
    rig.loaded.mount(0, 0.0)
    x_um, y_um, z_um = rig.loaded.good_places(1)[0]
    there = StagePosition(x_um=x_um, y_um=y_um, z_um=z_um)
    plan = PLAN.model_copy(update={"step_um": 4.0, "depth_um": 40.0, "frames_per_plane": 4, "dwell_us": 10.0})
    timed = taken(rig, plan, there, progress=lambda done, asked: progress.append((done, asked)))
    assert bursts == [44]
    assert progress == [(done, 11) for done in range(1, 12)]
    rig.loaded.mount(0, 0.0)
    plain = taken(rig, plan.model_copy(update={"hardware_timing": False}), there)
    assert bursts == [44]
    assert {record.timing for record in timed.records} == {"hardware"}
    assert {record.timing for record in plain.records} == {"software"}
    same = {"plane", "exposure_ms", "pmt_gain", "zoom", "frames", "frames_taken", "drift_yx_um"}
    for one, other in zip(timed.records, plain.records, strict=True):
        assert one.stage.z_um == pytest.approx(other.stage.z_um, abs=0.3)
        assert one.stage.lateral_distance_um(other.stage) < 0.5
        assert (one.power_mw, one.power_setting) == pytest.approx((other.power_mw, other.power_setting), rel=1e-6)
        assert one.model_dump(include=same) == other.model_dump(include=same)
    times = [record.time for record in timed.records]
    assert times == sorted(times)
    for number, plane in enumerate(timed.planes):
        likeness = [np.corrcoef(plane.ravel(), other.ravel())[0, 1] for other in plain.planes]
        assert int(np.argmax(likeness)) == number
        assert plane.mean() == pytest.approx(plain.planes[number].mean(), rel=0.03)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware_timing": False}, "hardware_timing is off"),
        ({"follow_drift": True}, "follows the drift"),
        ({"depth_um": 0.0}, "a single plane"),
        ({"dwell_us": 100.0, "frames_per_plane": 4}, r"4 frames takes 6.6 s and 0 MB; two are more than a burst holds"),
    ],
)
def test_what_cannot_be_timed_says_why_and_is_taken_all_the_same(rig, monkeypatch, changes, reason):
    bursts = bursts_of(rig, monkeypatch)
    plan = rig.set_scan(PLAN.model_copy(update=changes))
    assert re.search(reason, why_not_timed(rig, plan, range(plan.planes)))
    sink = taken(rig, plan)
    assert [record.timing for record in sink.records] == ["software"] * plan.planes
    assert bursts == []


def test_devices_without_sequences_say_so(rig, monkeypatch):
    planes = range(PLAN.planes)
    with monkeypatch.context() as patched:
        patched.setattr(rig.core, "isStageSequenceable", lambda _drive: False)
        assert why_not_timed(rig, PLAN, planes) == "Z cannot run a sequence of positions"
    monkeypatch.setattr(rig.core, "isPropertySequenceable", lambda *_: False)
    refusal = "Pockels.Voltage cannot run a sequence, and the power changes from plane to plane"
    assert why_not_timed(rig, PLAN, planes) == refusal
    constant = PLAN.model_copy(update={"attenuation_length_um": None})
    assert why_not_timed(rig, constant, planes) is None
    assert {record.power_mw for record in taken(rig, constant).records} == {15.0}


def test_the_simulated_rig_is_timed_only_when_it_is_told():
    with open_rig(read_rig_config("simulated")) as plain:
        assert why_not_timed(plain, plain.set_scan(PLAN), range(11)) == "Z cannot run a sequence of positions"


def test_a_sequence_that_a_device_cannot_hold_is_split(rig, monkeypatch):
    bursts = bursts_of(rig, monkeypatch)
    monkeypatch.setattr(rig.core, "getPropertySequenceMaxLength", lambda *_: 9)
    sink = taken(rig, PLAN)
    assert bursts == [8, 8, 6]
    assert [record.plane for record in sink.records] == list(range(11))
    assert {record.timing for record in sink.records} == {"hardware"}


def test_a_long_burst_is_split_by_its_time(rig):
    plan = rig.set_scan(PLAN.model_copy(update={"dwell_us": 60.0}))  # 0.98 s a frame
    assert planes_per_burst(rig, plan, range(plan.planes)) == 5


def test_planes_that_do_not_follow_each_other_are_bursts_of_their_own(rig, monkeypatch):
    bursts = bursts_of(rig, monkeypatch)
    sink = taken(rig, PLAN, planes=[0, 1, 2, 6, 7, 10])
    assert bursts == [6, 4]
    assert [record.plane for record in sink.records] == [0, 1, 2, 6, 7, 10]
    assert [record.stage.z_um for record in sink.records] == pytest.approx([25, 26, 27, 31, 32, 35], abs=0.3)


@pytest.mark.parametrize(
    ("z_um", "power_mw", "complaint"),
    [
        (501.0, 15.0, r"z = 501\.0 um is outside the limits"),
        (30.0, 55.0, r"power 55\.0 mW is outside 0 to 50\.0 mW"),
    ],
)
def test_limits_are_asked_before_anything_is_sent(rig, z_um, power_mw, complaint):
    plan = PLAN.model_copy(update={"power_mw": power_mw, "power_limit_mw": 60.0, "attenuation_length_um": None})
    with pytest.raises(RigError, match=complaint):
        burst_planes(rig, plan, [0, 1], [30.0, z_um])


def test_a_frame_that_moved_too_far_is_taken_again_one_by_one(rig, monkeypatch):
    scene, calls = rig.loaded.scene, []
    real = scene.scan

    def scan(*args):
        calls.append(1)
        gasp_um = 60.0 if len(calls) == 8 else 0.0
        scene.x_um += gasp_um
        try:
            return real(*args)
        finally:
            scene.x_um -= gasp_um

    monkeypatch.setattr(scene, "scan", scan)
    bursts = bursts_of(rig, monkeypatch)
    x_um, y_um, z_um = rig.loaded.good_places(1)[0]
    plan = rig.set_scan(PLAN.model_copy(update={"frames_per_plane": 3, "depth_um": 4.0}))
    sink = PlanesInMemory()
    take_stack(rig, plan, StagePosition(x_um=x_um, y_um=y_um, z_um=z_um), [sink])
    assert bursts == [15]
    assert [record.plane for record in sink.records] == [0, 1, 2, 3, 4]
    assert [record.frames for record in sink.records] == [3] * 5
    assert [record.frames_taken for record in sink.records] == [3, 3, 4, 3, 3]


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow():
    """A simulated rig whose frames take their time: 82 ms each; silence is noticed soon."""
    with open_rig(with_settings(with_changes(TRIGGERED, stall_s=2.0), realtime=True)) as opened:
        yield opened


SLOW_PLAN = PLAN.model_copy(update={"dwell_us": 5.0, "depth_um": 6.0, "frames_per_plane": 1})


def dark_after_s(rig, deed) -> float:
    """Do something; return how long the light stayed on after it was begun, s."""
    began_s = time.monotonic()
    threading.Thread(target=deed).start()
    while rig.core.getShutterOpen("Shutter"):
        assert time.monotonic() < began_s + 5.0
        time.sleep(0.001)
    return time.monotonic() - began_s


def later(delay_s, deed):
    """Do something in another thread, later; return that thread."""
    thread = threading.Timer(delay_s, deed)
    thread.start()
    return thread


def written(rig, plan, path) -> None:
    provenance = ImageProvenance(
        kind="stack", animal="M1", session="s", day=0.0, rig={}, stage=ORIGIN, field="F01", plan=plan,
        saturation=None, reference_from_today=None,
    )  # fmt: skip
    with StackWriter(path, plan, provenance) as writer:
        take_stack(rig, plan, ORIGIN, [writer])


def test_stop_in_a_burst_is_dark_at_once_and_the_stack_can_be_gone_on_with(slow, tmp_path, monkeypatch):
    waits_s = []
    thread = threading.Thread(target=lambda: waits_s.append(dark_after_s(slow, slow.stop)))
    at_frame(slow, monkeypatch, 4, thread.start)
    path = tmp_path / "stack.ome.zarr"
    plan = slow.set_scan(SLOW_PLAN)
    with pytest.raises(StackCancelledError, match=r"stopped after [34] of 7 planes"):
        written(slow, plan, path)
    thread.join()
    assert waits_s[0] < 0.1
    kept = read_journal(path)
    assert [record.plane for record in kept] == list(range(len(kept)))
    assert len(kept) in {3, 4}
    assert not is_complete(path)
    before = read_stack(path).pixels[: len(kept)].copy()
    assert (before.max(axis=(1, 2)) > 150).all()  # none of them is dark
    with StackWriter.reopen(path) as writer:
        assert writer.missing == list(range(len(kept), 7))
        take_stack(slow, plan, ORIGIN, [writer], planes=writer.missing)
    assert is_complete(path)
    np.testing.assert_array_equal(read_stack(path).pixels[: len(kept)], before)


def test_a_pause_in_a_burst_is_dark_at_once_and_goes_on_with_the_first_missing_plane(slow, monkeypatch):
    waits_s, bursts = [], bursts_of(slow, monkeypatch)

    def pause():
        waits_s.append(dark_after_s(slow, slow.pause))
        time.sleep(0.3)
        waits_s.append(0.0 if not slow.core.getShutterOpen("Shutter") else np.inf)
        slow.pause(False)

    thread = threading.Thread(target=pause)
    at_frame(slow, monkeypatch, 4, thread.start)
    sink = taken(slow, SLOW_PLAN)
    thread.join()
    assert max(waits_s) < 0.1
    assert [record.plane for record in sink.records] == list(range(7))
    assert [record.stage.z_um for record in sink.records] == pytest.approx(range(27, 34), abs=0.3)
    assert all(plane.max() > 150 for plane in sink.planes)
    assert bursts in ([7, 4], [7, 3])


def test_a_camera_that_stops_delivering_is_named_with_its_plane(slow, monkeypatch):
    scene, calls, go_on = slow.loaded.scene, [], threading.Event()
    real = scene.scan

    def scan(*args):
        calls.append(1)
        if len(calls) == 4:
            go_on.wait(30.0)
        return real(*args)

    monkeypatch.setattr(scene, "scan", scan)
    sink = PlanesInMemory()
    freed = later(3.0, go_on.set)
    with pytest.raises(
        RigError, match=r"Scanner gave no frame for [12]\.\d s \(limit 1\.7 s\) in plane 3, after 3 of 7 frames"
    ):
        take_stack(slow, slow.set_scan(SLOW_PLAN), ORIGIN, [sink])
    freed.join()
    assert sink.records == []


def test_a_frame_that_is_missing_at_the_end_is_an_error_and_nothing_is_kept(rig, monkeypatch):
    real, sink = rig.core.startSequenceAcquisition, PlanesInMemory()
    monkeypatch.setattr(
        rig.core, "startSequenceAcquisition", lambda camera, count, *rest: real(camera, count - 1, *rest)
    )
    with pytest.raises(RigError, match=r"Scanner gave 21 of 22 frames of a burst, up to plane 10: it ended by itself"):
        take_stack(rig, rig.set_scan(PLAN), ORIGIN, [sink])
    assert sink.records == []


def test_a_frame_that_is_missing_in_the_middle_is_an_error(rig, monkeypatch):
    def lose():
        while rig.core.getRemainingImageCount() < 2:
            time.sleep(0.001)
        rig.core.popNextImage()

    at_frame(rig, monkeypatch, 5, lose)
    with pytest.raises(
        RigError, match="gave 4 of 22 frames of a burst, up to plane 2: frame 5 came in place of frame 4"
    ):
        taken(rig, PLAN)


def test_a_buffer_that_overflows_is_an_error(rig, monkeypatch):
    footprint_mb = rig.core.getCircularBufferMemoryFootprint()
    rig.core.setCircularBufferMemoryFootprint(1)
    at_frame(rig, monkeypatch, 2, lambda: time.sleep(1.0))
    try:
        with pytest.raises(RigError, match=r"gave \d+ of 66 frames of a burst, .*: its buffer overflowed"):
            taken(rig, PLAN.model_copy(update={"frames_per_plane": 6}))
    finally:
        rig.core.setCircularBufferMemoryFootprint(footprint_mb)


def test_a_drive_that_missed_a_trigger_is_noticed_and_nothing_is_kept(rig, monkeypatch):
    real, sink = rig.core.loadStageSequence, PlanesInMemory()
    monkeypatch.setattr(rig.core, "loadStageSequence", lambda drive, z_um: real(drive, [z_um[0], *z_um[:-1]]))
    with pytest.raises(RigError, match=r"Z reads 3[34]\.\d+ um after a burst that was to bring it to 35\.00 um"):
        take_stack(rig, rig.set_scan(PLAN.model_copy(update={"frames_per_plane": 1})), ORIGIN, [sink])
    assert sink.records == []


def test_a_power_that_does_not_follow_is_noticed(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "startPropertySequence", lambda *_: None)
    with pytest.raises(RigError, match=r"Pockels\.Voltage reads .* after a burst that was to bring it to"):
        taken(rig, PLAN)


def test_a_shutter_that_somebody_else_closes_ends_the_burst(rig, monkeypatch):
    at_frame(rig, monkeypatch, 5, lambda: rig.core.setShutterOpen("Shutter", False))
    with pytest.raises(RigError, match="shutter Shutter reads closed"):
        taken(rig, PLAN)


def test_an_interrupt_in_a_burst_leaves_nothing_running(rig, monkeypatch):
    def deed():
        raise KeyboardInterrupt

    at_frame(rig, monkeypatch, 5, deed)
    with pytest.raises(KeyboardInterrupt):
        taken(rig, PLAN)
    assert len(taken(rig, PLAN.model_copy(update={"hardware_timing": False})).planes) == 11


# ---- C++ devices ---------------------------------------------------------------------------------------------------

TESTER = """
Property,Core,Initialize,0
Device,THub,SequenceTester,THub
Device,TCamera-0,SequenceTester,TCamera-0
Device,TZStage-0,SequenceTester,TZStage-0
Device,TShutter-0,SequenceTester,TShutter-0
Parent,TCamera-0,THub
Parent,TZStage-0,THub
Parent,TShutter-0,THub
Property,TCamera-0,ImageMode,MachineReadable
Property,TCamera-0,ImageWidth,64
Property,TCamera-0,ImageHeight,64
Property,Core,Initialize,1
Property,TZStage-0,TriggerSourceDevice,TCamera-0
Property,TZStage-0,TriggerSourcePort,ExposureStartEdge
Property,TZStage-0,TriggerSequenceMaxLength,100
"""


def last_value(pixels, key) -> bytes:
    """Return what a device was last set to when a frame was taken: the frame says it itself, in MessagePack."""
    return pixels.astype(np.uint8).tobytes().rpartition(key)[2]


def test_every_frame_of_a_triggered_drive_says_where_it_was_taken(tmp_path):
    cfg = tmp_path / "tester.cfg"
    cfg.write_text(TESTER)
    roles = {"scanner": "TCamera-0", "z_drive": "TZStage-0", "shutter": "TShutter-0"}
    config = with_changes(read_rig_config("demo"), mm_config=str(cfg), roles=roles, channels={})
    with open_rig(config) as tester:
        tester.core.setExposure(2.0)
        sink = taken(tester, PLAN.model_copy(update={"frames_per_plane": 1}))
    assert {record.timing for record in sink.records} == {"hardware"}
    for pixels, record in zip(sink.planes, sink.records, strict=True):
        assert struct.unpack(">d", last_value(pixels, b"ZPositionUm\x92\xa5float\xcb")[:8])[0] == record.stage.z_um
        assert last_value(pixels, b"ShutterState\x92\xa4bool").startswith(b"\xc3")
    assert [record.stage.z_um for record in sink.records] == list(range(25, 36))


@pytest.fixture
def demo():
    """Micro-Manager's demo devices; the drive takes sequences."""
    with open_rig(read_rig_config("demo")) as opened:
        opened.core.setProperty("Z", "UseSequences", "Yes")
        opened.core.setExposure(20.0)
        yield opened
        assert is_dark_and_idle(opened)


@pytest.fixture
def moving(demo, monkeypatch):
    """Bring the demo drive where a real one would be after a burst: by itself it stays where it was."""
    loaded, started, real = [], [], (demo.core.loadStageSequence, demo.core.startSequenceAcquisition)
    stop, pop, popped = demo.core.stopStageSequence, demo.core.popNextImageAndMD, []
    monkeypatch.setattr(demo.core, "loadStageSequence", lambda drive, z: (loaded.append(z), real[0](drive, z)))
    monkeypatch.setattr(
        demo.core, "startSequenceAcquisition", lambda *args: (popped.clear(), started.append(args[1]), real[1](*args))
    )
    monkeypatch.setattr(demo.core, "popNextImageAndMD", lambda: (popped.append(1), pop())[1])
    monkeypatch.setattr(
        demo.core,
        "stopStageSequence",
        lambda drive: (stop(drive), demo.core.setPosition(drive, loaded[-1][len(popped) - 1])),
    )
    return started


def test_a_drive_that_takes_a_sequence_but_stays_is_noticed(demo):
    sink = PlanesInMemory()
    with pytest.raises(
        RigError, match=r"Z reads 25\.00 um after a burst that was to bring it to 35\.00 um \(planes 0 to 10"
    ):
        take_stack(demo, demo.set_scan(PLAN), ORIGIN, [sink])
    assert sink.records == []


def test_the_demo_camera_gives_a_burst(demo, moving):
    sink = taken(demo, PLAN)
    assert moving == [22]
    assert np.array(sink.planes).shape == (11, 512, 512)
    assert {record.timing for record in sink.records} == {"hardware"}
    ages_s = np.diff([record.time.timestamp() for record in sink.records])
    assert ages_s.mean() == pytest.approx(0.04, abs=0.02)


def test_the_demo_camera_is_stopped_in_a_burst(demo, moving, monkeypatch):
    sink = PlanesInMemory()
    at_frame(demo, monkeypatch, 9, lambda: threading.Thread(target=demo.stop).start())
    with pytest.raises(StackCancelledError, match="of 41 planes"):
        take_stack(demo, demo.set_scan(PLAN.model_copy(update={"depth_um": 40.0})), ORIGIN, [sink])
    assert 1 <= len(sink.records) < 41
    assert moving == [82]


def test_the_demo_camera_is_paused_in_a_burst(demo, moving, monkeypatch):
    def pause():
        demo.pause()
        later(0.2, lambda: demo.pause(False))

    at_frame(demo, monkeypatch, 9, pause)
    sink = taken(demo, PLAN)
    assert [record.plane for record in sink.records] == list(range(11))
    assert len(moving) == 2
    assert moving[1] % 2 == 0
