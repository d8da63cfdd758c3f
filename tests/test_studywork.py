"""A study field by field: what fails stops nothing, what is up to date is left, and who did it changes no byte."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import psutil
import pytest

from acquire.__main__ import main
from acquire.analysing import write_outputs
from acquire.cluster import do_on, local_cluster, reached_cluster
from acquire.commands import analyse_study
from acquire.errors import StudyError
from acquire.images import ImageProvenance, StackWriter, say_shows_field
from acquire.model import (
    AnimalRecord,
    FieldRecord,
    PlaneRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
    TakenPlane,
    utc_now,
)
from acquire.planning import StudyAnalysis, plan_analysis
from acquire.store import Study
from acquire.studywork import Countdown, FieldOutcome, FieldWork
from acquire.uptodate import ANALYSIS_FILE, read_up_to_date
from analysis.correlate import THREADS
from analysis.errors import StackError
from analysis.jobs import SHARE_VARIABLE, own_threads, two_at_a_time
from analysis.stack import read_stack
from tests.test_field import GAINED, KEPT, LOST, SHIFT_UM, draw

HERE = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
PLAN = StackPlan(field_of_view_um=39.0, pixels=260, depth_um=15.0, frames_per_plane=1, keep_frames=False)
FIELDS = (("M1", "F01"), ("M1", "F02"), ("M2", "F01"))
TABLES = ("spines", "dendrites", "tracks", "fates")


def write_image(study, session, field, kind, pixels) -> Path:
    path = study.new_store(session, field, kind)
    about = ImageProvenance(
        kind=kind, animal=session.animal, session=session.name, day=session.day, rig={}, stage=HERE, field=field
    )
    with StackWriter(path, PLAN, about) as writer:
        for plane, light in enumerate(pixels):
            record = PlaneRecord(
                plane=plane, time=utc_now(), stage=HERE, power_mw=1.0, power_setting=1.0, exposure_ms=1.0,
                pmt_gain=None, zoom=None, frames=1, crc32=zlib.crc32(np.ascontiguousarray(light).tobytes()),
            )  # fmt: skip
            writer.append(TakenPlane(light, (light,), record))
    return path


def square(stack, seed):
    pixels = np.random.default_rng(seed).poisson(3, (16, 260, 260)).astype(np.uint16)
    pixels[:, : stack.shape[1]] = stack.pixels
    return pixels


@pytest.fixture(scope="module")
def taken(tmp_path_factory) -> Path:
    """A study of two animals and three fields, each taken on two days; nothing is analysed."""
    folder = tmp_path_factory.mktemp("taken") / "study"
    with Study.create(folder, StudyRecord(name="three fields", plan=PLAN)) as study:
        for animal in ("M1", "M2"):
            study.new_animal(AnimalRecord(id=animal))
            sessions = [study.new_session(animal, rig="drawn", day=day) for day in (0.0, 4.0)]
            for number, name in enumerate(name for owner, name in FIELDS if owner == animal):
                field = FieldRecord(
                    name=name, position=HERE, reference_session=sessions[0].name, plan=PLAN, overview_plan=PLAN
                )
                study.save_field(animal, field)
                seed = 10 * number + (animal == "M2")
                days = [draw([*KEPT, LOST], seed=seed), draw([*KEPT, GAINED], SHIFT_UM, seed=seed + 1)]
                pixels = [square(stack, seed) for stack in days]
                write_image(study, sessions[0], name, "overview", pixels[0])
                for session, light in zip(sessions, pixels, strict=True):
                    write_image(study, session, name, "stack", light)
    return folder


@pytest.fixture
def study(taken, tmp_path) -> Path:
    shutil.copytree(taken, tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(scope="module")
def expected(taken, tmp_path_factory) -> dict[tuple[str, str], dict[str, bytes]]:
    """The tables that one process writes."""
    folder = tmp_path_factory.mktemp("expected") / "study"
    shutil.copytree(taken, folder)
    analyse_study(str(folder), StudyAnalysis(), lambda *_: None)
    return {field: tables_in(folder_of(folder, *field)) for field in FIELDS}


def folder_of(study, animal, field) -> Path:
    return study / "animals" / animal / "analysis" / field


def tables_in(folder) -> dict[str, bytes]:
    return {
        f"{name}.{kind}": (folder / f"{name}.{kind}").read_bytes() for name in TABLES for kind in ("csv", "parquet")
    }


def analyse(folder, **asked) -> list[str]:
    lines: list[str] = []
    analyse_study(str(folder), StudyAnalysis(**asked), lambda *_: None, lines.append)
    return lines


def stack_of(study, animal, field, day) -> Path:
    return sorted((study / "animals" / animal / "sessions").iterdir())[day] / field / "stack.ome.zarr"


def damage(store: Path) -> None:
    chunk = max((store / "0" / "c").rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])


# ---- one field's failure ------------------------------------------------------------------------------------------


def test_a_field_that_fails_is_named_at_the_end_and_stops_no_other(study, expected, capsys):
    damage(stack_of(study, "M1", "F01", 1))
    assert main(["analyse", "--study", str(study)]) == 1
    told = capsys.readouterr()
    assert "1 of 3 fields failed: M1 F01: " in told.err
    assert "stack.ome.zarr" in told.err
    assert "M2 F01: 2 sessions" in told.out
    for field in FIELDS[1:]:
        assert tables_in(folder_of(study, *field)) == expected[field]
    assert not (folder_of(study, "M1", "F01") / ANALYSIS_FILE).exists()


def test_a_damaged_stack_that_nobody_judged_is_left_out_and_told(study):
    store = stack_of(study, "M1", "F01", 1)
    say_shows_field(store, None)
    damage(store)
    lines: list[str] = []
    with pytest.raises(StudyError, match=r"1 of 3 fields failed: M1 F01: stack.ome.zarr of .* cannot be judged"):
        analyse_study(str(study), StudyAnalysis(), lambda *_: None, lines.append)
    assert any(line.startswith("M1 F01: 1 sessions") for line in lines)
    assert any(line.startswith("M2 F01: 2 sessions") for line in lines)


def test_a_damaged_animal_stops_no_other(study):
    (study / "animals" / "M1" / "animal.json").write_text("{")
    with pytest.raises(StudyError, match=r"1 of 2 fields failed: M1: .*cannot be understood"):
        analyse(study)
    assert (folder_of(study, "M2", "F01") / "fates.csv").is_file()


def test_what_nobody_foresaw_fails_one_field_and_is_logged(study, monkeypatch):
    import acquire.analysing

    whole = acquire.analysing.analyse_stores

    def break_one(stores, folder, **options):
        if "M1" in str(folder):
            raise ZeroDivisionError("no such luck")
        return whole(stores, folder, **options)

    monkeypatch.setattr(acquire.analysing, "analyse_stores", break_one)
    with pytest.raises(StudyError, match=r"2 of 3 .* unexpected ZeroDivisionError: no such luck .details in "):
        analyse(study)
    assert (folder_of(study, "M2", "F01") / "fates.csv").is_file()


def test_a_field_that_no_animal_has_is_told(study):
    assert [line[:6] for line in analyse(study, fields=("F02",))] == ["M1 F02"]
    with pytest.raises(StudyError, match=r"F09: .* has no such field"):
        analyse(study, fields=("F09",))


# ---- up to date ---------------------------------------------------------------------------------------------------


def test_what_is_up_to_date_is_left(study, expected):
    def done(**asked):
        return ["up to date" not in line for line in analyse(study, **asked)]

    assert done() == [True, True, True]
    folder = folder_of(study, "M1", "F01")
    record = json.loads((folder / ANALYSIS_FILE).read_text())
    assert (record["animal"], record["field"]) == ("M1", "F01")
    assert len(record["stacks"]) == 2
    assert done() == [False, False, False]
    assert done(again=True) == [True, True, True]
    (folder / "fates.csv").write_text("changed\n")
    assert done() == [True, False, False]
    assert tables_in(folder) == expected["M1", "F01"]
    (folder / "report.html").unlink()
    assert done() == [True, False, False]
    (folder / "edits.jsonl").write_text("")  # a person's decisions are no part of it
    assert done() == [False, False, False]
    shutil.copytree(stack_of(study, "M2", "F01", 1), stack_of(study, "M2", "F01", 1).with_name("stack-2.ome.zarr"))
    assert done() == [False, False, True]


def test_another_program_or_other_weights_make_tables_again(study, monkeypatch):
    analyse(study, animal="M2")
    assert "up to date" in analyse(study, animal="M2")[0]
    weights = Path(sys.modules["analysis"].__file__).parent / "weights" / "spines.onnx"
    assert "up to date" not in analyse(study, animal="M2", weights=weights)[0]
    monkeypatch.setattr("acquire.uptodate.software_version", lambda: "samefield 9.9")
    assert "up to date" not in analyse(study, animal="M2", weights=weights)[0]


def test_weights_that_change_during_an_analysis_are_not_those_of_its_tables(study, tmp_path, monkeypatch):
    mine = tmp_path / "mine.onnx"
    shutil.copy(Path(sys.modules["analysis"].__file__).parent / "weights" / "spines.onnx", mine)

    def write(*args, **options):
        told = write_outputs(*args, **options)
        mine.write_bytes(b"trained anew")
        return told

    monkeypatch.setattr("acquire.analysing.write_outputs", write)
    analyse(study, animal="M2", weights=mine)
    store = [stack_of(study, "M2", "F01", day) for day in (0, 1)]
    assert read_up_to_date(folder_of(study, "M2", "F01"), store, mine) is None


def test_tables_go_where_they_are_asked_to(study, expected, tmp_path):
    analyse(study, out=tmp_path / "out", animal="M2")
    assert tables_in(tmp_path / "out" / "M2" / "F01") == expected["M2", "F01"]
    assert not folder_of(study, "M2", "F01").exists()


# ---- the share of a worker, the time that is left -------------------------------------------------------------------


def test_a_worker_keeps_to_its_share_of_threads(monkeypatch):
    assert THREADS == 2
    seen: set[int] = set()
    together = threading.Barrier(2, timeout=10)
    assert two_at_a_time([together.wait, together.wait]) in ([0, 1], [1, 0])
    monkeypatch.setenv(SHARE_VARIABLE, "1")
    assert own_threads() == 1
    two_at_a_time([lambda: seen.add(threading.get_ident())] * 4)
    assert len(seen) == 1
    monkeypatch.setenv(SHARE_VARIABLE, "16")
    assert own_threads() == 2


def test_the_time_that_is_left_is_told():
    now, told = [0.0], []
    countdown = Countdown(4, lambda what, share: told.append((what, share)), lambda: now[0])
    countdown.hear("M1 F01", "registering", 0.5)
    assert told[-1] == ("0 of 4 fields done; M1 F01: registering", 0.125)
    now[0] = 60.0
    countdown.hear("M1 F01", "tracing", 0.5)
    assert told[-1][0] == "0 of 4 fields done, about 7 min left; M1 F01: tracing"
    countdown.end(FieldOutcome("M1", "F01"))
    assert told[-1] == ("1 of 4 fields done, about 3 min left", 0.25)
    countdown.end(FieldOutcome("M1", "F02", is_new=False))  # says nothing of how long the others take
    assert countdown.left_s() == 120.0


# ---- a cluster ------------------------------------------------------------------------------------------------------


def test_a_node_of_a_cluster_needs_no_window_and_no_rig():
    asks = """
import sys, acquire.cluster, acquire.studywork, acquire.analysing, acquire.uptodate
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"pymmcore_plus", "pymmcore", "PyQt6", "useq", "pyqtgraph", "devices", "distributed"}))
"""
    said = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def workers_now() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_killed_workers_change_no_byte(study, expected):
    killed: list[int] = []

    def watch(what: str, share: float) -> None:
        if "M1 F01: " in what and len(killed) < 2:
            for worker in workers_now():
                killed.append(worker.pid)
                worker.kill()

    lines: list[str] = []
    analyse_study(str(study), StudyAnalysis(workers=2), watch, lines.append)
    assert len(killed) == 2
    assert len(lines) == 3
    for field in FIELDS:
        assert tables_in(folder_of(study, *field)) == expected[field]
    assert all("up to date" in line for line in analyse(study))
    assert workers_now() == []


@pytest.mark.slow
def test_a_field_that_kills_three_workers_is_given_up_and_stops_no_other(study):
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with plan_analysis(str(study), StudyAnalysis()) as plan, local_cluster(2) as client:
            outcomes = {outcome.name: outcome for outcome in do_on(client, plan.works, lambda *_: None, end_worker)}
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert "M1 F02: its analysis ended 3 workers" in f"M1 F02: {outcomes['M1 F02'].fault}"
    assert [outcomes[name].told for name in ("M1 F01", "M2 F01")] == ["with 1 thread"] * 2
    deaths = (folder_of(study, "M1", "F02") / "deaths").read_text()
    assert len(deaths.split()) == 3


def end_worker(work, progress):
    import os
    from pathlib import Path

    from acquire.studywork import FieldOutcome

    if work.field == "F02":
        with Path(work.folder, "deaths").open("a") as file:
            file.write("x ")
        os._exit(1)
    share = os.environ["SAMEFIELD_THREADS"], os.environ["OMP_NUM_THREADS"]
    return FieldOutcome(work.animal, work.field, f"with {' '.join(set(share))} thread")


@contextmanager
def cluster_of_its_own(folder: Path):
    """A scheduler and a worker as a laboratory starts them; the process of the scheduler, and its address."""
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    command = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    scheduler = subprocess.Popen(command, **quiet)
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny", "--no-dashboard"], **quiet
    )
    try:
        wait_for(lambda: file.is_file() and file.read_text().strip().endswith("}"))
        yield scheduler, json.loads(file.read_text())["address"]
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def wait_for(is_so) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def do_long(work, progress):
    import time
    from pathlib import Path

    from acquire.studywork import FieldOutcome

    if work.field == "F02":
        Path(work.folder, "begun").touch()
        time.sleep(600)
    return FieldOutcome(work.animal, work.field)


@pytest.mark.slow
def test_a_lost_scheduler_is_told(tmp_path):
    import cloudpickle

    works = [FieldWork("M1", field, (), str(tmp_path)) for field in ("F01", "F02")]
    done: list[str] = []
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with cluster_of_its_own(tmp_path) as (scheduler, address), reached_cluster(address) as client:

            def kill_in_the_middle() -> None:
                wait_for((tmp_path / "begun").exists)
                scheduler.kill()

            killer = threading.Thread(target=kill_in_the_middle)
            killer.start()
            with pytest.raises(StudyError, match="the scheduler is lost; analyse again"):
                done.extend(outcome.name for outcome in do_on(client, works, lambda *_: None, do_long))
            killer.join()
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert done == ["M1 F01"]


def test_a_cluster_without_dask_says_what_to_install(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(StudyError, match=r"pip install 'samefield\[cluster\]'"):
        analyse(study, workers=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scheduler", "tcp://127.0.0.1:9"], "no scheduler answers at tcp://127.0.0.1:9"),
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "leave --workers out"),
        (["--workers", "0"], "greater than or equal to 1"),
    ],
)
def test_what_is_no_cluster_is_told(study, arguments, says, capsys, monkeypatch):
    monkeypatch.setattr("acquire.cluster.REACHED_S", 1.0)
    assert main(["analyse", "--study", str(study), *arguments]) == 1
    assert says in " ".join(capsys.readouterr().err.split())


# ---- a study at a URL -----------------------------------------------------------------------------------------------


@pytest.fixture
def in_memory(study):
    """The study in the memory of this process, as in an object store."""
    files = fsspec.filesystem("memory")
    files.put(str(study), "/lab/study", recursive=True)
    yield "memory://lab/study"
    files.rm("/lab", recursive=True)


def test_a_study_in_an_object_store_is_analysed_there(in_memory, expected):
    files = fsspec.filesystem("memory")
    lines = analyse(in_memory)
    assert "memory://lab/study/animals/M1/analysis/F01" in lines[0]
    for animal, field in FIELDS:
        for name, content in expected[animal, field].items():
            assert files.cat_file(f"/lab/study/animals/{animal}/analysis/{field}/{name}") == content
    assert all("up to date" in line for line in analyse(in_memory))
    files.pipe_file("/lab/study/animals/M2/analysis/F01/fates.csv", b"changed")
    assert ["up to date" in line for line in analyse(in_memory)] == [True, True, False]


def test_a_plane_that_an_object_store_lost_is_noticed(in_memory):
    files = fsspec.filesystem("memory")
    store = next(name for name in files.glob("/lab/study/animals/M1/sessions/*/F02/stack.ome.zarr"))
    files.rm(f"{store}/0/c/3/0/0")
    with pytest.raises(StackError, match="plane 3 of 16 not as recorded"):
        read_stack(f"memory:/{store}")
    with pytest.raises(StudyError, match=r"1 of 3 fields failed: M1 F02: .*plane 3 of 16 not as recorded"):
        analyse(in_memory)


def test_decisions_in_an_object_store_are_done_there(in_memory, monkeypatch):
    from analysis.edits import Edit, EditBook, EditKind, Place

    analyse(in_memory, animal="M2")
    files = fsspec.filesystem("memory")
    folder = "/lab/study/animals/M2/analysis/F01"
    spine = pd.read_csv(BytesIO(files.cat_file(f"{folder}/tracks.csv"))).iloc[0]
    name = pd.read_csv(BytesIO(files.cat_file(f"{folder}/sessions.csv")))["name"][int(spine["session"])]
    head = tuple(float(spine[f"head_{axis}_um"]) for axis in "zyx")
    place = Place(session=name, head_zyx_um=head, dendrite=0)
    with tempfile.TemporaryDirectory() as made:
        book = EditBook(Path(made) / "edits.jsonl")
        book.append(Edit.now("anna", EditKind.REJECT, spine=(place,)))
        files.put_file(str(book.file), f"{folder}/edits.jsonl")
    sent: list[str] = []
    put_file = type(files).put_file
    monkeypatch.setattr(type(files), "put_file", lambda *to, **how: (sent.append(to[2]), put_file(*to, **how))[1])
    assert "1 decisions of anna are in memory://lab/study" in analyse(in_memory, animal="M2")[0]
    assert files.exists(f"{folder}/reviewed/fates.csv")
    assert [name for name in sent if "/reviewed/" in name][-1].endswith("/reviewed/reviewed.json")


def test_a_url_without_fsspec_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StackError, match=r"pip install 'samefield\[cluster\]'"):
        analyse("s3://bucket/study")


def test_a_study_in_this_memory_has_no_cluster(in_memory):
    with pytest.raises(StudyError, match="where no worker sees it"):
        analyse(in_memory, workers=2)


@pytest.mark.slow
def test_workers_reach_a_study_by_its_url(study, expected):
    with local_cluster(2, threads=1) as client:
        analyse(study.as_uri(), scheduler=client.scheduler.address)
    for field in FIELDS:
        assert tables_in(folder_of(study, *field)) == expected[field]


@contextmanager
def served(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_study_on_a_web_server_is_read_and_its_tables_are_kept_here(study, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with served(study.parent) as server:
        with pytest.raises(StudyError, match="give --out DIR"):
            analyse(f"{server}/study")
        analyse(f"{server}/study", out=tmp_path / "out", animal="M2")
    assert tables_in(tmp_path / "out" / "M2" / "F01") == expected["M2", "F01"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://nowhere/study", "is no study: it has no study.json"),
        ("nonsense://there/study", "cannot be reached"),
        ("http://127.0.0.1:9/study", "give --out DIR"),
    ],
)
def test_a_url_without_a_study_is_told(url, says):
    with pytest.raises((StudyError, StackError), match=says):
        analyse(url)


def test_where_nothing_can_be_written_the_tables_go_elsewhere(in_memory, expected, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError("read only")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(StudyError, match=r"cannot be written; give --out DIR for the tables .*read only"):
        analyse(in_memory)
    analyse(in_memory, animal="M2", out=tmp_path)
    assert tables_in(tmp_path / "M2" / "F01") == expected["M2", "F01"]
