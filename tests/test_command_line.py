"""The commands as a user types them: contracts, exit codes, one clear line for every mistake."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

import acquire
from acquire.__main__ import main
from acquire.session import Session
from tests.phantom import draw_spiny

TABLES = {
    "spines.csv": "session,spine_id,dendrite,head_z_um,head_y_um,head_x_um,base_z_um,base_y_um,base_x_um,along_um,"
    "length_um,side,head_size_ratio,kind,present_probability,state,"
    "head_size_sd,saturated",
    "dendrites.csv": "session,dendrite,z_um,y_um,x_um",
    "tracks.csv": "session,track_id,head_z_um,head_y_um,head_x_um,state,present_probability",
    "fates.csv": "from_session,to_session,track_id,fate,probability",
}


def run(*arguments):
    return main([str(argument) for argument in arguments])


def complaint(capsys):
    """The one line that the program left on stderr."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def small_stack(tmp_path_factory):
    """A stack of two crossing bright shafts, 6 um apart in depth, the longer one with two spines; 16 x 24 x 36 um."""
    path = tmp_path_factory.mktemp("stacks") / "small.ome.tif"
    rng = np.random.default_rng(1)
    z, y, x = np.meshgrid(np.arange(16.0), np.arange(120) * 0.2, np.arange(180) * 0.2, indexing="ij")
    long = np.exp(-(((z - 5) / 1.2) ** 2 + ((y - 8) / 0.5) ** 2))
    cross = np.exp(-(((z - 11) / 1.2) ** 2 + ((x - 22 - 0.4 * y) / 0.5) ** 2))
    heads = sum(np.exp(-(((z - 5) / 1) ** 2 + ((y - 9.6) / 0.3) ** 2 + ((x - at) / 0.3) ** 2)) for at in (8.0, 18.0))
    pixels = rng.poisson(100 + 900 * (long + cross) + 500 * heads).astype(np.uint16)
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.0}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata)
    return path


def test_the_package_named_acquire_is_ours():
    assert Path(acquire.__file__).parent == Path(__file__).parents[1] / "acquire"


def test_help_names_every_command(capsys):
    assert run("--help") == 0
    text = capsys.readouterr().out
    commands = "demo new-study new-animal new-field relocate acquire analyse register register-surface check-rig"
    assert all(command in text for command in commands.split())


def test_analyse_writes_exactly_the_promised_files(small_stack, tmp_path):
    assert run("analyse", small_stack, small_stack, "--out", tmp_path / "out") == 0
    written = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert written == {*TABLES, "overlay_session0.png", "overlay_session1.png", "gallery.png", "report.html"}
    for name, columns in TABLES.items():
        assert (tmp_path / "out" / name).read_text().splitlines()[0] == columns
    fates = pd.read_csv(tmp_path / "out" / "fates.csv")
    assert len(fates) > 0
    assert set(fates["fate"]) == {"stable"}


def test_one_stack_is_one_session(small_stack, tmp_path):
    assert run("analyse", small_stack, "--out", tmp_path) == 0
    spines = pd.read_csv(tmp_path / "spines.csv")
    assert set(spines["session"]) == {0}
    assert len(spines) == 2
    assert pd.read_csv(tmp_path / "fates.csv").empty


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["analyse", "missing.tif", "--out", "o"], "missing.tif does not exist"),
        (["analyse", "--study", "."], "is no study"),
        (["register", "missing.tif", "missing.tif"], "missing.tif does not exist"),
        (["register-surface", "missing.png", "missing.png"], "missing.png does not exist"),
        (["check-rig", "missing.toml"], "no rig config missing.toml"),
        (["new-animal", "nowhere", "M1"], "is no study"),
        (["nonsense"], "No such command 'nonsense'"),
        (["demo", "--fields", "13"], "--fields"),
        (["demo", "--days", "nan", "--out", "o"], "days nan must rise"),
        (["analyse"], "give either stacks with --out, or --study"),
        (["analyse", "--study", ".", "--spines", "marks.csv"], "--spines needs stacks with --out"),
        (["analyse", "a.tif", "--out", "o", "--spines", "marks.csv"], "marks.csv does not exist; give a CSV with"),
        (["check-rig"], "Missing argument 'RIG'"),
        (["new-field", "--rig", "demo", "--study", "s", "--animal", "M1", "--at", "nan", "0", "0"], "x_um"),
        (["demo", "--sample", "nowhere", "--out", "o"], "nowhere"),
        (["demo", "--days", "4", "0", "--out", "o"], "days 4 0 must rise"),
        (["acquire", "--rig", "simulated", "--study", "nowhere", "--animal", "M1"], "is no study"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_1(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    assert says in complaint(capsys)


def test_a_stack_without_voxel_size_says_how_to_give_it(tmp_path, capsys):
    path = tmp_path / "bare.tif"
    tifffile.imwrite(path, np.zeros((8, 64, 64), np.uint16))
    assert run("analyse", path, "--out", tmp_path / "out") == 1
    assert "--voxel-um" in complaint(capsys)
    assert not (tmp_path / "out").exists()


def test_an_empty_stack_is_analysed_to_empty_tables_and_says_so(tmp_path, capsys):
    path = tmp_path / "black.tif"
    tifffile.imwrite(path, np.zeros((12, 128, 128), np.uint16))
    assert run("analyse", path, "--out", tmp_path / "out", "--voxel-um", 1, 0.2, 0.2) == 0
    assert pd.read_csv(tmp_path / "out" / "spines.csv").empty
    assert "warning: " in capsys.readouterr().out


def test_a_demo_never_writes_into_a_folder_that_holds_something(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("data")
    assert run("demo", "--out", tmp_path) == 1
    assert "not an empty folder" in complaint(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_register_exits_3_when_nothing_fits(tmp_path, capsys, small_stack):
    noise = tmp_path / "noise.ome.tif"
    pixels = np.random.default_rng(0).poisson(100, (16, 120, 180)).astype(np.uint16)
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.0}
    tifffile.imwrite(noise, pixels, ome=True, metadata=metadata)
    assert run("register", small_stack, noise, "--json") == 3
    told, last = capsys.readouterr().out.splitlines()
    assert told.startswith("not found, right with probability 0.0")
    assert "best guess, not to be used: shift z" in told and "check that both show one field" in told
    result = json.loads(last)
    assert result["verdict"] in {"unsure", "not found"}
    assert np.array(result["reference_from_today"]).shape == (4, 4)


def test_register_says_which_channel_it_compared(tmp_path, capsys, small_stack):
    green = tifffile.imread(small_stack)
    both = tmp_path / "both.ome.tif"
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.0}
    noise = np.random.default_rng(0).poisson(100, green.shape).astype(np.uint16)
    tifffile.imwrite(both, np.stack([noise, green]), ome=True, metadata=metadata)
    run("register", both, both, "--channel", 1)
    assert (
        "; channel 1 of 2 in both.ome.tif, 1 of 2 in both.ome.tif (--channel takes another)" in capsys.readouterr().out
    )
    assert run("register", both, both, "--channel", 2) == 1
    assert "both.ome.tif has 2 channels; channel 2 is not among 0-1" in complaint(capsys)


def test_the_demo_camera_takes_stacks_by_the_same_commands(tmp_path, capsys):
    study = tmp_path / "study"
    assert run("new-study", study, "--groups", "trained", "control") == 0
    assert run("new-animal", study, "M1", "--group", "trained") == 0
    at = ["--rig", "demo", "--study", study, "--animal", "M1"]
    assert run("new-field", *at, "--at", 100, 50, 20) == 0
    assert run("acquire", *at) == 0
    (first, second) = sorted(study.glob("animals/M1/sessions/*/F01/stack*.ome.zarr"))
    assert {first.name, second.name} == {"stack.ome.zarr", "stack-2.ome.zarr"}
    assert run("relocate", *at, "--json") == 1
    assert "nothing to find again" in complaint(capsys)


def test_a_session_stays_with_its_rig_its_day_and_the_order_of_time(tmp_path, capsys):
    study = tmp_path / "study"
    run("new-study", study)
    run("new-animal", study, "M1")
    at = ["--study", study, "--animal", "M1"]
    assert run("new-field", "--rig", "demo", *at, "--day", 4) == 0
    assert run("new-field", "--rig", "simulated", *at) == 1
    assert "was begun with rig demo, this is simulated" in complaint(capsys)
    assert run("new-field", "--rig", "demo", *at, "--day", 5) == 1
    assert "is of day 4, not 5" in complaint(capsys)
    assert run("new-field", "--rig", "demo", *at, "--day", 3, "--new-session") == 1
    assert "day 3 lies before day 4" in complaint(capsys)
    assert run("new-field", "--rig", "demo", *at, "--name", "bad name") == 1
    assert "name: a name has letters, digits, - and _" in complaint(capsys)


def test_a_relocation_that_may_not_be_done_says_why(tmp_path, capsys):
    study = tmp_path / "study"
    run("new-study", study)
    run("new-animal", study, "M1")
    run("new-field", "--rig", "simulated", "--study", study, "--animal", "M1")
    path = study / "animals" / "M1" / "animal.json"
    animal = json.loads(path.read_text())
    animal["fields"][0]["overview_plan"].update(power_mw=60.0, power_limit_mw=60.0)
    path.write_text(json.dumps(animal))
    args = ["relocate", "--rig", "simulated", "--study", study, "--animal", "M1", "--new-session", "--day", 4]
    assert run(*args) == 1
    assert "power 60.0 mW is outside 0 to 50.0 mW, which the rig allows" in complaint(capsys)
    animal["fields"][0]["overview_plan"].update(step_um=1e-9)
    path.write_text(json.dumps(animal))
    assert run(*args[:-3]) == 1
    assert "more than 5000 planes; raise step_um" in complaint(capsys)


@pytest.fixture
def hears_ctrl_c():
    """Programs begun in the background of a shell ignore Ctrl-C, and so do those that they begin."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends programs without a signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGTSTP"])  # the last is Ctrl-Z
def test_a_program_that_is_asked_to_end_says_that_the_light_is_off(tmp_path, name):
    args = [sys.executable, "-m", "acquire", "demo", "--out", str(tmp_path / "demo")]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        while not list(tmp_path.glob("demo/animals/M001/sessions/*/F01/overview.planes.jsonl")):
            assert program.poll() is None, program.stderr.read()
            time.sleep(0.05)
        for _ in range(5):
            program.send_signal(getattr(signal, name))
        _, told = program.communicate(timeout=30)
    assert program.returncode == 130
    assert "stopped; the light is off" in told
    assert "Traceback" not in told


def test_a_session_that_goes_on_and_what_the_guards_did_are_told(tmp_path, capsys, monkeypatch):
    study = tmp_path / "study"
    at = ["--rig", "demo", "--study", study, "--animal", "M1"]
    run("new-study", study)
    assert run("new-animal", study, "M1", "--power-limit-mw", 20) == 0
    assert json.loads((study / "animals/M1/animal.json").read_text())["power_limit_mw"] == 20.0
    assert run("new-field", *at) == 0
    assert "goes on" not in capsys.readouterr().err
    new_field = Session.new_field

    def alarming(session, *args):
        session.rig.alarms.append("the program stalled for 6.0 s")
        return new_field(session, *args)

    monkeypatch.setattr(Session, "new_field", alarming)
    assert run("new-field", *at) == 0
    told = capsys.readouterr().err
    assert "goes on; was the head re-mounted: --new-session" in " ".join(told.split())
    assert "warning: the program stalled for 6.0 s" in told
    (log,) = study.glob("animals/M1/sessions/*/log.jsonl")
    (*_, left) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (left["event"], left["alarms"]) == ("leave", ["the program stalled for 6.0 s"])


def test_a_field_that_is_not_there_begins_no_session(tmp_path, capsys):
    study = tmp_path / "study"
    at = ["--rig", "demo", "--study", study, "--animal", "M1", "--field", "F99", "--new-session"]
    run("new-study", study)
    run("new-animal", study, "M1")
    for command in ("relocate", "acquire"):
        assert run(command, *at) == 1
        assert "F99" in complaint(capsys)
    assert not list(study.glob("animals/M1/sessions/*"))


def test_a_refused_place_leaves_no_field_behind(tmp_path, capsys):
    study = tmp_path / "study"
    run("new-study", study)
    run("new-animal", study, "M1")
    assert run("new-field", "--rig", "demo", "--study", study, "--animal", "M1", "--at", 9000, 0, 0) == 1
    assert "outside the limits -5000.0 to 5000.0 um" in complaint(capsys)
    assert json.loads((study / "animals/M1/animal.json").read_text())["fields"] == []


def test_the_program_ends_cleanly_after_the_core_was_used():
    done = subprocess.run(
        [sys.executable, "-m", "acquire", "check-rig", "demo"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_demo_prints_what_it_promises(tmp_path, capsys):
    out = tmp_path / "demo"
    assert run("demo", "--out", out, "--seed", 11, "--days", 0, 4, "--fields", 1, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result) == {"seed", "seconds", "report", "relocations", "spines", "fates"}
    (found,) = result["relocations"]
    assert found["verdict"] == "found"
    assert found["lateral_error_um"] < 2.0
    assert found["axial_error_um"] < 3.0
    assert result["spines"]["f1"] > 0.6
    page = Path(result["report"]).read_text(encoding="utf-8")
    for word in ("Vessel map", "found again", "One dendrite", "gained"):
        assert word.lower() in page.lower()
    assert "://" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_the_demo_runs_on_recorded_stacks(real_field, tmp_path, capsys):
    assert run("demo", "--sample", real_field, "--out", tmp_path / "demo", "--days", 0, 4.1, "--json") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [found["verdict"] for found in result["relocations"]] == ["found"]
    assert result["relocations"][0]["lateral_error_um"] is None


def test_bad_weights_are_refused_in_a_sentence(tmp_path, capsys):
    stack, _ = draw_spiny()
    tifffile.imwrite(tmp_path / "day0.tif", stack.pixels.astype(np.uint16))
    weights = tmp_path / "mine.onnx"
    weights.write_bytes(b"nothing")
    voxel = [str(size) for size in stack.voxel_um]
    given = ["analyse", tmp_path / "day0.tif", "--voxel-um", *voxel, "--out", tmp_path / "out", "--weights", weights]
    assert run(*given) == 1
    assert "mine.onnx holds no weights of the spine network" in " ".join(capsys.readouterr().err.split())
