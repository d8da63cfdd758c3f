"""Every device call of a stack is made to fail, to hang or to lie: the light goes off, no plane is lost, work goes on.

The calls are counted while one small stack is taken; each is then spoilt at its first, a middle and its last time.
"""

import contextlib
import functools
import inspect
import re
import threading
import time
import zlib
from collections import Counter

import numpy as np
import pytest
import zarr

from acquire.config import RigConfig, read_rig_config
from acquire.errors import ExperimentError, RigError
from acquire.images import is_complete, read_journal
from acquire.model import OVERVIEW_PLAN, AnimalRecord, StackPlan, StagePosition, StudyRecord
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study
from devices.shutterfile import is_shutter_open

PLAN = StackPlan(
    field_of_view_um=40.0, pixels=128, depth_um=4.0, frames_per_plane=1, dwell_us=4.0, pmt_gain=1.2, power_mw=25.0
)
OVERVIEW = OVERVIEW_PLAN.model_copy(update={"pixels": 128, "depth_um": 8.0, "dwell_us": 4.0})
LIMIT_S = 1.0  # of silence under the light, and of a device's answer; a busy computer pauses for less
HANG_S = 1.2
DARK_WITHIN_S = 2.0  # limit, time of the guard to act, and a busy computer

CABLE = "the cable is out"

STEPPED = [
    "setCameraDevice Scanner",
    "getCameraDevice",
    "setProperty Scanner.Zoom",
    "waitForDevice Scanner",
    "getProperty Scanner.Zoom",
    "setProperty Scanner.Resolution",
    "getProperty Scanner.Resolution",
    "setProperty Scanner.PixelDwell_us",
    "getProperty Scanner.PixelDwell_us",
    "setProperty PMT.Gain",
    "waitForDevice PMT",
    "getProperty PMT.Gain",
    "getImageHeight",
    "getImageWidth",
    "getBytesPerPixel",
    "images_per_burst_frame",
    "getExposure Scanner",
    "getPosition Z",
    "getXYPosition XY",
    "setXYPosition XY",
    "waitForDevice XY",
    "setPosition Z",
    "waitForDevice Z",
    "setShutterOpen Shutter",
    "getShutterOpen Shutter",
    "isStageSequenceable Z",
    "setProperty Pockels.Voltage",
    "waitForDevice Pockels",
    "getProperty Pockels.Voltage",
    "waitForDevice Shutter",
    "snapImage",
    "getImage",
]
"""The calls of a stack that is taken plane by plane."""

TIMED = [
    "isPropertySequenceable Pockels.Voltage",
    "getStageSequenceMaxLength Z",
    "getPropertySequenceMaxLength Pockels.Voltage",
    "loadStageSequence Z",
    "startStageSequence Z",
    "loadPropertySequence Pockels.Voltage",
    "startPropertySequence Pockels.Voltage",
    "initializeCircularBuffer",
    "startSequenceAcquisition Scanner",
    "getRemainingImageCount",
    "popNextImageAndMD",
    "isSequenceRunning Scanner",
    "stopSequenceAcquisition Scanner",
    "stopPropertySequence Pockels.Voltage",
    "stopStageSequence Z",
]
"""Those that a stack timed by the devices has beside them."""

POLLED = {"getRemainingImageCount", "isSequenceRunning Scanner"}
"""How often these are asked depends on the computer: only the first is spoilt."""

CALLS = [("stepped", key) for key in STEPPED] + [("timed", key) for key in TIMED]

AGAIN = "closing is tried again, and the light is off then"
RETRACT = "this position only decides whether z is retracted first; where the stage arrived is read anew"
CLEARED = "it only decides whether the region is cleared; the size of the image is asked anew then"
HARMLESS = {
    ("getImageHeight", "half more", "first"): CLEARED,
    ("getImageHeight", "not a number", "first"): CLEARED,
    ("getImageWidth", "half more", "first"): CLEARED,
    ("getImageWidth", "not a number", "first"): CLEARED,
    ("setShutterOpen Shutter", "fails", "first"): AGAIN,
    ("setShutterOpen Shutter", "fails", "last"): AGAIN,
    ("getShutterOpen Shutter", "fails", "first"): AGAIN,
    ("getShutterOpen Shutter", "fails", "last"): AGAIN,
    ("getShutterOpen Shutter", "the contrary", "first"): AGAIN,
    ("getShutterOpen Shutter", "the contrary", "last"): AGAIN,
    ("getPosition Z", "10 um off", "first"): RETRACT,
    ("getXYPosition XY", "10 um off", "first"): RETRACT,
    ("getExposure Scanner", "half more", "middle"): "it tells the guard how long the next frame may take, no more",
    ("images_per_burst_frame", "two", "first"): "then the planes are taken one by one",
    ("isStageSequenceable Z", "the contrary", "first"): "a drive that holds no steps is given none",
    ("isPropertySequenceable Pockels.Voltage", "the contrary", "first"): "then the planes are taken one by one",
    ("getStageSequenceMaxLength Z", "half more", "first"): "a drive refuses more steps than it holds",
    ("getStageSequenceMaxLength Z", "half more", "last"): "a drive refuses more steps than it holds",
    ("getPropertySequenceMaxLength Pockels.Voltage", "half more", "first"): "a cell refuses more steps than it holds",
    ("getPropertySequenceMaxLength Pockels.Voltage", "half more", "last"): "a cell refuses more steps than it holds",
}
"""Faults that a stack survives: the light is off and the stack is whole, and why that is right."""

NUMBERS = {"half more": lambda value: float(value) * 1.5 or 0.5, "not a number": lambda _: float("nan")}
CONTRARY = {"the contrary": lambda value: not value}
LIES = {
    "getCameraDevice": {"another camera": lambda _: "SurfaceCamera"},
    "getProperty Scanner.Zoom": NUMBERS,
    "getProperty Scanner.Resolution": NUMBERS,
    "getProperty Scanner.PixelDwell_us": NUMBERS,
    "getProperty PMT.Gain": NUMBERS,
    "getProperty Pockels.Voltage": NUMBERS,
    "getExposure Scanner": NUMBERS,
    "getImageHeight": NUMBERS,
    "getImageWidth": NUMBERS,
    "getBytesPerPixel": {"one": lambda _: 1},
    "images_per_burst_frame": {"two": lambda _: 2},
    "getPosition Z": {"10 um off": lambda z: z + 10.0, "not a number": lambda _: float("nan")},
    "getXYPosition XY": {"10 um off": lambda xy: (xy[0] + 10.0, xy[1]), "not a number": lambda _: (float("nan"), 0.0)},
    "getShutterOpen Shutter": CONTRARY,
    "isStageSequenceable Z": CONTRARY,
    "isPropertySequenceable Pockels.Voltage": CONTRARY,
    "getStageSequenceMaxLength Z": NUMBERS,
    "getPropertySequenceMaxLength Pockels.Voltage": NUMBERS,
    "getRemainingImageCount": {"one too many": lambda count: count + 1},
    "isSequenceRunning Scanner": CONTRARY,
    "getImage": {
        "of another shape": lambda image: image[:-1],
        "in colour": lambda image: np.stack([image] * 3, axis=-1),
        "of 8 bits": lambda image: image.astype(np.uint8),
        "of fractions": lambda image: image.astype(np.float32),
        "none": lambda _: None,
    },
    "popNextImageAndMD": {
        "of another shape": lambda taken: (taken[0][:-1], taken[1]),
        "of 8 bits": lambda taken: (taken[0].astype(np.uint8), taken[1]),
        "none": lambda taken: (None, taken[1]),
    },
}
"""What a call says in place of the truth."""


class Faults:
    """What a core is asked from outside, in ``calls``; one answer of it can be spoilt."""

    def __init__(self, core):
        self.calls, self.spoilt, self._spoil, self._inside = [], False, None, threading.local()
        for method, _ in inspect.getmembers(type(core), inspect.isroutine):
            if not method.startswith("_"):
                setattr(core, method, self._watched(method, getattr(core, method)))

    def _watched(self, method, real):
        @functools.wraps(real)
        def call(*given, **named):
            if getattr(self._inside, "core", False):  # the core asks itself
                return real(*given, **named)
            self._inside.core = True
            try:
                return self._ask(method, given, lambda: real(*given, **named))
            finally:
                self._inside.core = False

        return call

    def _ask(self, method, given, real):
        key = " ".join([method, ".".join(each for each in given if isinstance(each, str))]).strip()
        self.calls.append(key)
        if self._spoil is None or self._spoil[:2] != (key, self.calls.count(key) - 1):
            return real()
        deed, self._spoil, self.spoilt = self._spoil[2], None, True
        return deed(real)

    def spoil(self, key, number, deed):
        """From now on count; call ``deed(real)`` in place of the call of that number (from 0)."""
        self.calls.clear()
        self._spoil, self.spoilt = (key, number, deed), False

    def heal(self):
        self._spoil = None


def fail(_real):
    raise RuntimeError(CABLE)


class Place:
    """A session at a rig with faults, and what really happened there."""

    def __init__(self, session, rig, shutter):
        self.session, self.rig, self.faults, self.shutter = session, rig, Faults(rig.core), shutter
        self.z_of_frame = {}  # by checksum: where the drive really stood
        self.dark_after_s = None
        scene = rig.loaded.scene
        scan = scene.scan

        def watched(*given):
            frame = scan(*given)
            self.z_of_frame[zlib.crc32(np.ascontiguousarray(frame, np.uint16))] = scene.z_um
            return frame

        scene.scan = watched

    @property
    def is_lit(self):
        return is_shutter_open(self.shutter)

    def hang(self, real):
        """Answer too late; measure how long the light stays on meanwhile."""
        answer, began_s = real(), time.monotonic()
        while self.is_lit and time.monotonic() - began_s < 5.0:
            time.sleep(0.005)
        self.dark_after_s = time.monotonic() - began_s
        time.sleep(max(HANG_S - self.dark_after_s, 0.0))
        return answer

    def folder(self):
        return self.session.study.session_folder("M1", self.session.record.name) / "F01"

    def stores(self):
        return set(self.folder().glob("stack*.ome.zarr"))

    def saved(self, store):
        """Return the planes that the journal names, after a look at every one on disk."""
        array, records = zarr.open_array(store / "0", mode="r"), read_journal(store)
        middle_um = self.session.study.field("M1", "F01").position.z_um
        for record in records:
            z_um = middle_um + PLAN.plane_offsets_um[record.plane]
            assert zlib.crc32(np.asarray(array[record.plane])) == record.crc32
            assert self.z_of_frame[record.crc32] == pytest.approx(z_um, abs=0.5), f"plane {record.plane} is another"
        planes = [record.plane for record in records]
        assert not any(np.any(array[plane]) for plane in set(range(PLAN.planes)) - set(planes))
        return planes

    def goes_on(self):
        """Take or complete the stack."""
        self.faults.heal()
        store = self.session.take_stack("F01", resume=True)
        assert is_complete(store)
        assert self.saved(store) == list(range(PLAN.planes))
        assert not self.is_lit


def config_of(shutter, **settings) -> RigConfig:
    config = read_rig_config("simulated")
    settings = {"seed": 1, "half_width_um": 250.0, "shutter_file": shutter, "drift_um": 0.0, **settings}
    watchdog = config.watchdog.model_copy(update={"settings": {"shutter_file": shutter}})
    return config.model_copy(
        update={
            "load_settings": {**config.load_settings, **settings},
            "watchdog": watchdog,
            "stall_s": LIMIT_S,
            "timeout_s": LIMIT_S,
        }
    )


def open_place(folder, **settings):
    """Yield a place where a field was kept; a generator for fixtures."""
    shutter = str(folder / "shutter")
    record = StudyRecord(name="faults", plan=PLAN, overview_plan=OVERVIEW)
    with open_rig(config_of(shutter, **settings)) as rig, Study.create(folder / "study", record) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", rig, day=0.0) as session:
            x, y, z = rig.loaded.good_places(1)[0]
            rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            session.new_field()
            yield Place(session, rig, shutter)


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    yield from open_place(tmp_path_factory.mktemp("stepped"))


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    yield from open_place(tmp_path_factory.mktemp("timed"), hardware_timing=True)


@pytest.fixture(scope="module")
def calls(stepped, timed):
    """How often each call is made for a stack: plane by plane, and timed by the devices."""
    counts = {}
    for mode, place in (("stepped", stepped), ("timed", timed)):
        place.faults.calls.clear()
        place.session.take_stack("F01")
        counts[mode] = Counter(place.faults.calls)
    return counts


@pytest.fixture
def place(request, mode):
    """Where a call is spoilt; afterwards nothing is spoilt, and it is dark."""
    found = request.getfixturevalue(mode)
    yield found
    found.faults.heal()
    assert not found.is_lit


WHEN = {"first": 0, "last": 1, "middle": 2}


def occurrences(calls, mode, key):
    count = calls[mode][key]
    numbers = {"first": 0} if key in POLLED else {"first": 0, "last": count - 1, "middle": count // 2}
    return {when: number for when, number in numbers.items() if number not in list(numbers.values())[: WHEN[when]]}


def player(key):
    """Return the device that a call asks, as errors name it."""
    return key.partition(" ")[2] or "Scanner"


def take_spoilt(place, key, kind, when, number, deed):
    """Take a stack with one call spoilt; return what it raised."""
    before, what = place.stores(), f"{key}, {when}, {kind}"
    place.faults.spoil(key, number, deed)
    said = ""
    try:
        place.session.take_stack("F01")
    except ExperimentError as error:
        said = str(error)
    assert not place.is_lit, what
    if key in POLLED and not place.faults.spoilt:
        place.faults.heal()
        pytest.skip(f"{key} was not asked: this computer was too slow to have to wait")
    assert place.faults.spoilt, what
    for store in place.stores() - before:
        place.saved(store)
        assert is_complete(store) is (said == ""), what
    assert (said == "") is ((key, kind, when) in HARMLESS), f"{what}: {said}"
    place.goes_on()
    return said


def test_these_are_the_calls_of_a_stack(calls):
    assert set(calls["stepped"]) == set(STEPPED)
    assert set(calls["timed"]) - set(STEPPED) | POLLED == set(TIMED)  # a slow computer never has to wait


@pytest.mark.parametrize(("mode", "key"), CALLS)
def test_a_call_that_fails(place, calls, mode, key):
    for when, number in occurrences(calls, mode, key).items():
        said = take_spoilt(place, key, "fails", when, number, fail)
        if said:
            assert player(key) in said
            assert f"failed: {CABLE}" in said


@pytest.mark.parametrize(("mode", "key"), CALLS)
def test_a_call_that_hangs(place, calls, mode, key):
    when = "middle" if "middle" in occurrences(calls, mode, key) else "first"
    said = take_spoilt(place, key, "hangs", when, occurrences(calls, mode, key)[when], place.hang)
    assert place.dark_after_s < DARK_WITHIN_S
    assert player(key) in said
    assert re.search(r"(took|for) [0-5]\.\d s", said)


@pytest.mark.parametrize(("mode", "key", "lie"), [(mode, key, lie) for mode, key in CALLS for lie in LIES.get(key, {})])
def test_a_call_that_lies(place, calls, mode, key, lie):
    for when, number in occurrences(calls, mode, key).items():
        told = []

        def deed(real, told=told):
            told.append(LIES[key][lie](real()))
            return told[0]

        said = take_spoilt(place, key, lie, when, number, deed)
        if said:
            assert player(key) in said
        if said and isinstance(told[0], float):
            assert any(f"{told[0]:{digits}}" in said.lower() for digits in ("g", ".1f"))


CHANGES = {
    "zoom": (lambda core: core.setProperty("Scanner", "Zoom", 20.0), r"Scanner\.Zoom reads 20, but 15 "),
    "resolution": (lambda core: core.setProperty("Scanner", "Resolution", 64), "Scanner gave an image of 64 x 64 "),
    "dwell": (lambda core: core.setProperty("Scanner", "PixelDwell_us", 2.0), "exposure_ms of Scanner reads 32.768"),
    "gain": (lambda core: core.setProperty("PMT", "Gain", 2.0), r"PMT\.Gain reads 2, but 1\.2 "),
    "power": (
        lambda core: core.setProperty("Pockels", "Voltage", 0.9),
        r"Pockels\.Voltage reads 0\.9 after it was set",
    ),
    "camera": (
        lambda core: core.setCameraDevice("SurfaceCamera"),
        "the camera is 'SurfaceCamera' instead of 'Scanner'",
    ),
    "z": (lambda core: core.setRelativePosition("Z", -5.0), "5.* um from where it was sent"),
    "xy": (lambda core: core.setRelativeXYPosition("XY", 5.0, 0.0), "5.* um from where it was sent"),
    "shutter": (lambda core: core.setShutterOpen("Shutter", False), "shutter Shutter reads closed after it was opened"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_somebody_changes_in_the_middle_of_a_stack_is_noticed(stepped, what):
    change, complaint = CHANGES[what]
    before = stepped.stores()

    def deed(real):
        change(stepped.rig.core)
        return real()

    stepped.faults.spoil("getCameraDevice", 3, deed)  # before the frame of plane 2
    with pytest.raises(RigError, match=complaint):
        stepped.session.take_stack("F01")
    (store,) = stepped.stores() - before
    assert stepped.saved(store) == [0, 1]
    assert not is_complete(store)
    stepped.goes_on()


def test_a_surface_image_that_fails_leaves_no_map_and_the_scanner_chosen(stepped):
    surface = stepped.session.study.session_folder("M1", stepped.session.record.name) / "surface.ome.zarr"
    asked = ["setCameraDevice SurfaceCamera", "getExposure SurfaceCamera", "snapImage", "getImage", "getXYPosition XY"]
    for key in asked:
        stepped.faults.spoil(key, 0, fail)
        with pytest.raises(RigError, match=CABLE):
            stepped.session.map_surface()
        assert not stepped.is_lit
        assert not surface.exists()
        assert stepped.rig.core.getCameraDevice() == "Scanner"
    stepped.faults.spoil("snapImage", 0, stepped.hang)
    with pytest.raises(RigError, match=r"taking an image with SurfaceCamera took 1\.\d s"):
        stepped.session.map_surface()
    for _ in range(10):  # a busy computer may be too late for so short a limit
        with contextlib.suppress(RigError):
            stepped.session.map_surface()
            break
    assert surface.exists()
    stepped.goes_on()


def test_without_retracting_z_there_is_no_long_move(stepped):
    rig, here = stepped.rig, stepped.rig.position()
    for kind in (fail, stepped.hang):
        stepped.faults.spoil("setPosition Z", 0, kind)
        with pytest.raises(RigError, match="moving Z to z"):
            rig.move_to(here.moved(x_um=2000.0))
        assert "setXYPosition XY" not in stepped.faults.calls
        assert rig.position().lateral_distance_um(here) < 1.0
    rig.move_to(here)


def guards():
    return {thread for thread in threading.enumerate() if thread.name in {"light guard", "watchdog answers"}}


def test_devices_that_cannot_be_let_go_of_are_named_and_left_dark(tmp_path):
    before = guards()
    rig = open_rig(config_of(str(tmp_path / "shutter")))
    rig.open_light()
    Faults(rig.core).spoil("unloadAllDevices", 0, fail)
    with pytest.raises(RigError, match=f"unloading the devices failed: {CABLE}"):
        rig.close()
    assert not is_shutter_open(str(tmp_path / "shutter"))
    assert guards() == before
    rig.close()


@pytest.mark.parametrize("deed", [fail, lambda real: time.sleep(HANG_S) or real()])
def test_a_shutter_that_hesitates_is_closed_with_the_rig(tmp_path, deed):
    rig = open_rig(config_of(str(tmp_path / "shutter")))
    rig.open_light()
    faults = Faults(rig.core)
    faults.spoil("setShutterOpen Shutter", 0, deed)
    rig.close()
    assert faults.spoilt
    assert not is_shutter_open(str(tmp_path / "shutter"))
