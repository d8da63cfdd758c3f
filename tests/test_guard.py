"""The light goes off when the program that should close it hangs or dies: each fault is made to happen."""

import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from acquire.config import RigConfig, WatchdogPlan, read_rig_config
from acquire.errors import RigError
from acquire.guard import Guard
from acquire.lock import ProgramLock, rig_lock
from acquire.model import StackPlan
from acquire.opening import open_rig
from acquire.watchdog import Watchdog, WatchdogError, watch
from devices.shutterfile import close_shutter, is_shutter_open, write_shutter

CLOSE = "devices.shutterfile:close_shutter"
PLAN = StackPlan(field_of_view_um=60.0, pixels=64, depth_um=6.0, step_um=1.0, frames_per_plane=1)
SMALL = {"half_width_um": 150.0}


def config_of(shutter_file, **changes) -> RigConfig:
    """Return the simulated rig, small, with a shutter file that the test knows."""
    config = read_rig_config("simulated")
    settings = {**config.load_settings, **SMALL, "shutter_file": str(shutter_file)}
    watchdog = WatchdogPlan(close=CLOSE, settings={"shutter_file": str(shutter_file)}, timeout_s=2.0)
    return config.model_copy(update={"load_settings": settings, "watchdog": watchdog, "stall_s": 0.6, **changes})


def seconds_until(condition, limit_s=10.0) -> float:
    started_s = time.monotonic()
    while not condition():
        if time.monotonic() - started_s > limit_s:
            return math.inf
        time.sleep(0.005)
    return time.monotonic() - started_s


def is_running(pid) -> bool:
    if sys.platform == "win32":  # signal 0 would be Ctrl-C there
        return str(pid) in subprocess.check_output(["tasklist", "/FI", f"PID eq {pid}"], text=True)
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def guards() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name in {"light guard", "watchdog answers"})


@pytest.fixture(autouse=True)
def nothing_left():
    """Fail a test that leaves a thread of the guards behind."""
    before = guards()
    yield
    assert len(guards()) <= len(before)


@pytest.fixture
def shutter(tmp_path):
    return str(tmp_path / "shutter")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One simulated rig; opening it is most of the work."""
    file = str(tmp_path_factory.mktemp("rig") / "shutter")
    with open_rig(config_of(file)) as rig:
        yield rig, file


@pytest.fixture
def rig(shared):
    opened, file = shared
    opened.set_scan(PLAN)
    yield opened
    opened.close_light()
    assert not is_shutter_open(file)


@pytest.fixture
def file(shared):
    return shared[1]


# --- the simulated shutter has a second handle ----------------------------------------------------------------------


def test_another_process_closes_the_shutter_and_the_scanner_sees_it(rig, file):
    rig.set_power_mw(20.0)
    with rig.light():
        assert is_shutter_open(file)
        lit = rig.snap()
        code = f"from devices.shutterfile import close_shutter; close_shutter(shutter_file={file!r})"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert not rig.core.getShutterOpen("Shutter")
        assert lit.max() > rig.snap().max() + 50


def test_the_second_handle_needs_neither_the_sample_nor_micro_manager():
    code = (
        "import sys, acquire.watchdog, devices.shutterfile;"
        "assert not {'numpy', 'pydantic', 'pymmcore', 'pymmcore_plus'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_asking_the_shutter_costs_a_frame_nothing(shutter):
    write_shutter(shutter, is_open=True)
    started_s = time.perf_counter()
    for _ in range(200):
        assert is_shutter_open(shutter)
    assert (time.perf_counter() - started_s) / 200 < 1e-3


# --- the program dies ------------------------------------------------------------------------------------------------

PROGRAM = """
import sys, time
from acquire.opening import open_rig
from tests_config import config
rig = open_rig(config())
rig.open_light()
print(rig._light._guard._watchdog.pid, rig.core.getShutterOpen("Shutter"), flush=True)
{then}
"""


@pytest.fixture
def program(tmp_path, shutter):
    """A way to start a program that opens the light and then does something; it waits until the light is on."""
    started = []
    dump = config_of(shutter, stall_s=60.0).model_dump(mode="json")
    module = f"from acquire.config import RigConfig\ndef config():\n    return RigConfig.model_validate({dump!r})\n"
    (tmp_path / "tests_config.py").write_text(module, encoding="utf-8")

    def start(then):
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(then=then)], stdout=subprocess.PIPE, env=environment, text=True
        )
        started.append(process)
        watchdog_pid, is_open = process.stdout.readline().split()
        assert is_open == "True"
        return process, int(watchdog_pid)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_program_leaves_the_light_off_within_a_second(program, shutter):
    process, watchdog_pid = program("time.sleep(60)")
    process.kill()
    assert seconds_until(lambda: not is_shutter_open(shutter)) < 1.0
    assert seconds_until(lambda: not is_running(watchdog_pid)) < 3.0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_a_fork_that_outlives_the_program_does_not_keep_the_light_on(program, shutter):
    # The fork holds the pipe open, so that its end does not tell of the death.
    process, _ = program("import os\nfork = os.fork()\nif fork:\n    print(fork, flush=True)\ntime.sleep(60)")
    fork = int(process.stdout.readline())
    try:
        process.kill()
        assert seconds_until(lambda: not is_shutter_open(shutter)) < 1.0
    finally:
        os.kill(fork, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
def test_a_frozen_program_loses_the_light_and_notices(program, shutter):
    process, _ = program(
        "time.sleep(3)\ntry:\n    rig.beat()\nexcept Exception as error:\n    print(error, flush=True)"
    )
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert 1.0 < seconds_until(lambda: not is_shutter_open(shutter)) < 3.5
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert "the watchdog closed the light" in process.stdout.readline()


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "sys.stdin = None"])
def test_a_program_that_ends_without_closing_is_dark(program, shutter, ending):
    process, watchdog_pid = program(ending)
    assert process.wait(20) == 0
    assert not is_shutter_open(shutter)
    assert not is_running(watchdog_pid)


# --- the program stalls ----------------------------------------------------------------------------------------------


def test_a_stall_closes_the_light_and_the_next_call_says_so(rig, file):
    rig.open_light()
    assert 0.4 < seconds_until(lambda: not is_shutter_open(file)) < 1.2
    time.sleep(0.2)
    for call in (rig.beat, rig.open_light, rig.snap):
        with pytest.raises(RigError, match=r"stalled for [01]\.\d s \(limit 0\.6 s\); the light was closed"):
            call()
    assert any("stalled" in alarm for alarm in rig.alarms)
    rig.close_light()
    with rig.light():
        assert is_shutter_open(file)
        rig.snap()


def test_a_frame_that_hung_is_not_kept(rig, file, monkeypatch):
    snap = rig.core.snapImage

    def hang():
        assert seconds_until(lambda: not is_shutter_open(file)) < 1.5
        snap()

    monkeypatch.setattr(rig.core, "snapImage", hang)
    with pytest.raises(RigError, match="stalled"), rig.light():
        rig.snap()


def test_work_that_gives_signs_keeps_the_light(rig, file):
    with rig.light():
        for _ in range(10):
            time.sleep(0.1)
            rig.beat()
            assert is_shutter_open(file)


def test_a_long_frame_is_no_stall(rig, file):
    with rig.light():
        rig.beat(frame_s=1.0)
        time.sleep(1.0)
        rig.beat()
        assert is_shutter_open(file)


def test_the_dark_may_last(rig):
    time.sleep(0.8)
    rig.beat()


def test_a_shutter_that_hangs_here_is_closed_by_the_other_process(shutter):
    write_shutter(shutter, is_open=True)
    hang = threading.Event()
    watchdog = Watchdog(CLOSE, {"shutter_file": shutter}, 60.0)
    guard = Guard(lambda: hang.wait(5.0), 0.2, watchdog, alarm=print)
    try:
        guard.light_on()
        assert seconds_until(lambda: not is_shutter_open(shutter)) < 1.5
    finally:
        hang.set()
        guard.stop()


def test_a_shutter_that_does_not_open_is_an_error(rig, monkeypatch):
    monkeypatch.setattr(rig.core, "setShutterOpen", lambda *_: None)
    with pytest.raises(RigError, match="Shutter reads closed after it was opened"), rig.light():
        pytest.fail("imaged in the dark")


def test_a_shutter_closed_by_another_hand_is_noticed(rig, file):
    with pytest.raises(RigError, match="Shutter reads closed"), rig.light():
        rig.check_light()
        close_shutter(shutter_file=file)
        rig.check_light()


def test_stopping_at_any_moment_ends_dark(rig, file):
    for after_s in np.linspace(0.0, 0.01, 40):
        with rig.work():
            stopper = threading.Timer(after_s, rig.stop)
            stopper.start()
            while not rig.stop_requested:
                rig.open_light()
                rig.close_light()
                rig.open_light()
            stopper.join()
            assert not is_shutter_open(file)
    rig.open_light()
    assert not is_shutter_open(file)
    with rig.work():
        assert not rig.stop_requested


# --- the watchdog itself fails ---------------------------------------------------------------------------------------


def test_a_watchdog_killed_in_the_dark_is_replaced_before_the_light_comes_on(rig):
    watchdog = rig._light._guard._watchdog
    first = watchdog.pid
    os.kill(first, signal.SIGTERM)
    assert seconds_until(lambda: not watchdog.is_alive) < 2.0
    with rig.light():
        assert watchdog.is_alive
        assert watchdog.pid != first


def test_a_watchdog_killed_under_light_is_replaced_and_the_stack_goes_on(rig, file):
    watchdog = rig._light._guard._watchdog
    with rig.light():
        first = watchdog.pid
        os.kill(first, signal.SIGTERM)
        for _ in range(20):
            time.sleep(0.1)
            rig.beat()
            assert is_shutter_open(file)
        assert watchdog.pid != first
        assert any("was replaced" in alarm for alarm in rig.alarms)


def test_without_a_watchdog_that_works_the_light_does_not_come_on(rig, file, monkeypatch):
    watchdog = rig._light._guard._watchdog
    monkeypatch.setattr(watchdog, "_command", [sys.executable, "-c", "print('no licence')"])
    os.kill(watchdog.pid, signal.SIGTERM)
    assert seconds_until(lambda: not watchdog.is_alive) < 2.0
    with pytest.raises(RigError, match=r"does not answer: it ended with code 0.*the light stays off"), rig.light():
        pytest.fail("the light came on")
    assert not is_shutter_open(file)


def test_a_watchdog_that_cannot_be_replaced_ends_the_light(rig, file, monkeypatch):
    watchdog = rig._light._guard._watchdog
    with pytest.raises(RigError, match="watchdog died and cannot be replaced"), rig.light():
        monkeypatch.setattr(watchdog, "_command", [sys.executable, "-c", "pass"])
        os.kill(watchdog.pid, signal.SIGTERM)
        for _ in range(40):
            time.sleep(0.1)
            rig.beat()
    assert not is_shutter_open(file)


@pytest.mark.parametrize("close", ["nowhere:close", "devices.shutterfile:nothing"])
def test_a_close_function_that_is_not_there_is_named(close):
    watchdog = Watchdog(close, {}, 1.0)
    try:
        with pytest.raises(WatchdogError, match=r"ended with code 2 and said .failed to start: .*[Nn]o"):
            watchdog.light_on(1.0)
    finally:
        watchdog.stop()


def obey(lines, close, parent=None):
    """Run the watchdog's loop here over given lines; return what it said and how it ended."""
    given, said = queue.SimpleQueue(), []
    for line in lines:
        given.put(line)
    return said, watch(given, close, said.append, os.getppid() if parent is None else parent)


def test_the_watchdog_tries_again_when_closing_fails():
    tries = []

    def close():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("port busy")

    assert obey(["lit 9", "close", "bye"], close) == (["lit", "closed"], True)
    assert len(tries) == 3


def test_the_end_of_the_pipe_is_no_proper_end():
    assert obey(["lit 9", ""], lambda: None) == (["lit"], False)
    assert obey(["lit 9", "dark", "bye"], lambda: pytest.fail("closed")) == (["lit"], True)
    assert obey(["lit 9"], lambda: None, parent=-1) == ([], False)


# --- a proper end ----------------------------------------------------------------------------------------------------


def test_a_closed_rig_leaves_nothing(shutter):
    with open_rig(config_of(shutter)) as rig:
        pid = rig._light._guard._watchdog.pid
        with rig.light():
            assert is_running(pid)
            assert {"light guard", "watchdog answers"} <= {thread.name for thread in threading.enumerate()}
    assert not is_running(pid)
    assert not is_shutter_open(shutter)
    rig.close()


def test_a_rig_that_fails_to_open_leaves_nothing(shutter, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    config = config_of(shutter)
    roles = config.roles.model_copy(update={"z_drive": "Piezo"})
    with pytest.raises(RigError, match="Piezo"):
        open_rig(config.model_copy(update={"roles": roles, "exclusive": True, "lock": "test-of-opening"}))
    lock = rig_lock("test-of-opening")
    lock.take()
    lock.release()


def test_each_opening_has_its_own_shutter():
    config = read_rig_config("simulated")
    first, second = (config.for_opening(name) for name in ("a", "b"))
    assert first.load_settings["shutter_file"] == first.watchdog.settings["shutter_file"] != config.load_settings
    assert first.load_settings["shutter_file"] != second.load_settings["shutter_file"]


def test_a_rig_without_a_watchdog_says_so(shutter):
    config = config_of(shutter, watchdog=None)
    assert any("no watchdog" in line for line in config.missing())
    assert not any("no watchdog" in line for line in config_of(shutter).missing())


# --- one program a rig -----------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from acquire.errors import RigError
from acquire.lock import ProgramLock
lock = ProgramLock(Path(sys.argv[1]), Path(sys.argv[2]), "rig A", RigError)
lock.take()
print("taken", flush=True)
time.sleep(60)
"""


def test_the_second_program_is_refused_by_name_and_a_dead_one_is_recognised(tmp_path):
    files = tmp_path / "a.lock", tmp_path / "a.holder.json"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, *map(str, files)], stdout=subprocess.PIPE, text=True)
    lock = ProgramLock(*files, "rig A", RigError)
    try:
        assert holder.stdout.readline() == "taken\n"
        with pytest.raises(RigError, match=rf"rig A is in use by .* on .* \(process {holder.pid}, since 20"):
            lock.take()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    lock.take()
    assert f"process {holder.pid}" in lock.left_by
    with pytest.raises(RigError, match=rf"process {os.getpid()}"):
        ProgramLock(*files, "rig A", RigError).take()
    lock.release()
    assert not files[1].exists()


def test_a_rig_that_a_dead_program_left_says_so(shutter, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    code = "import os, sys; from acquire.lock import rig_lock; rig_lock('A').take(); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    with open_rig(config_of(shutter, exclusive=True, lock="A")) as rig:
        assert "did not end properly" in rig.alarms[0]


def test_an_exclusive_rig_opens_once(shutter, tmp_path, monkeypatch):
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path))
    config = config_of(shutter, exclusive=True)
    with open_rig(config), pytest.raises(RigError, match="rig simulated is in use by"):
        open_rig(config)
    open_rig(config).close()


def test_close_shutter_is_what_the_config_names(shutter):
    plan = read_rig_config("simulated").watchdog
    assert plan.close == CLOSE
    write_shutter(shutter, is_open=True)
    close_shutter(shutter_file=shutter)
    assert not is_shutter_open(shutter)
