import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import analysis.memory
from analysis.errors import StackError
from analysis.field import analyse_field
from analysis.memory import Memory, SavedStack
from analysis.model import Dendrite, Transform, Verdict
from analysis.packing import fingerprint, pack, unpack
from analysis.report import write_field_outputs
from analysis.stack import read_stack
from analysis.straighten import straighten
from tests.test_field import GAINED, KEPT, LOST, SHIFT_UM, VOXEL_UM, draw


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Four sessions of one field; the third is seen elsewhere."""
    folder = tmp_path_factory.mktemp("sessions")
    heads = [[*KEPT, LOST], [*KEPT, GAINED], [*KEPT[:4], GAINED], [*KEPT, GAINED]]
    shifts = [np.zeros(3), SHIFT_UM, -SHIFT_UM, np.zeros(3)]
    paths = []
    for session, (some, shift_um) in enumerate(zip(heads, shifts, strict=True)):
        paths.append(folder / f"session{session}.ome.tif")
        sizes = dict(zip(("PhysicalSizeZ", "PhysicalSizeY", "PhysicalSizeX"), VOXEL_UM, strict=True))
        tifffile.imwrite(paths[-1], draw(some, shift_um, session).pixels, metadata={"axes": "ZYX", **sizes})
    return paths


def outputs(stacks, folder: Path) -> dict[str, bytes]:
    """All files of an analysis; the report names nothing but the stacks."""
    analysis = analyse_field(stacks)
    analysis.write_tables(folder)
    write_field_outputs(folder, stacks, analysis)
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def remembered(paths, cache: Path, folder: Path) -> dict[str, bytes]:
    with Memory(cache) as memory:
        written = outputs([SavedStack(path, memory) for path in paths], folder)
        assert memory.trouble is None
    return written


@pytest.fixture(scope="module")
def fresh(files, tmp_path_factory):
    """The outputs of some sessions, computed without a memory."""
    known: dict[tuple[int, ...], dict[str, bytes]] = {}

    def of(*sessions: int) -> dict[str, bytes]:
        if sessions not in known:
            known[sessions] = outputs([read_stack(files[s]) for s in sessions], tmp_path_factory.mktemp("fresh"))
        return known[sessions]

    return of


@pytest.fixture(scope="module")
def grown(files, tmp_path_factory) -> Path:
    """The memory of a field of three sessions."""
    cache = tmp_path_factory.mktemp("grown") / "cache"
    remembered(files[:3], cache, tmp_path_factory.mktemp("out"))
    return cache


def count_reads(monkeypatch) -> list[str]:
    read: list[str] = []

    def reading(path, **options):
        read.append(Path(path).name)
        return read_stack(path, **options)

    monkeypatch.setattr(analysis.memory, "read_stack", reading)
    return read


@pytest.mark.parametrize(
    ("sessions", "reads"),
    [
        ((0, 1, 2), set()),  # the same again: no pixel is read
        ((0, 1, 2, 3), {3}),  # one more: its own pixels
        ((0, 3, 1, 2), {3}),  # in the middle
        ((0, 2), set()),  # one removed
        ((1, 0, 2), {0, 1, 2}),  # another reference
    ],
)
def test_with_memory_the_outputs_are_the_same_and_only_what_is_new_is_read(
    sessions, reads, files, fresh, grown, tmp_path, monkeypatch
):
    shutil.copytree(grown, tmp_path / "cache")
    read = count_reads(monkeypatch)
    assert remembered([files[s] for s in sessions], tmp_path / "cache", tmp_path / "out") == fresh(*sessions)
    assert set(read) == {files[s].name for s in reads}


def test_a_moved_file_is_known_and_a_changed_one_is_not(files, grown, tmp_path, monkeypatch):
    shutil.copytree(grown, tmp_path / "cache")
    shutil.copy(files[0], tmp_path / "elsewhere.ome.tif")
    read = count_reads(monkeypatch)
    with Memory(tmp_path / "cache") as memory:
        moved = SavedStack(tmp_path / "elsewhere.ome.tif", memory)
        assert (moved.name, moved.shape, read) == ("elsewhere.ome.tif", (16, 200, 260), [])
        assert SavedStack(files[0], memory, (1.0, 0.2, 0.2)).voxel_um == (1.0, 0.2, 0.2)
        assert read == [files[0].name]


def test_what_is_damaged_or_foreign_is_computed_again(files, fresh, grown, tmp_path):
    shutil.copytree(grown, tmp_path / "cache")
    kept = sorted((tmp_path / "cache").iterdir())
    contents = [file.read_bytes() for file in kept]
    for number, (file, content) in enumerate(zip(kept, contents, strict=True)):
        flipped = bytearray(content)
        flipped[-len(content) // 3] ^= 1
        damaged = [content[:-7], bytes(flipped), b"PK\x03\x04 not ours", b"", contents[number - 1]]
        file.write_bytes(damaged[number % len(damaged)])
    assert remembered(files[:3], tmp_path / "cache", tmp_path / "out") == fresh(0, 1, 2)
    assert [file.read_bytes() for file in sorted((tmp_path / "cache").iterdir())] == contents


def test_another_version_of_the_analysis_remembers_nothing(files, grown, tmp_path, monkeypatch):
    shutil.copytree(grown, tmp_path / "cache")
    before = {file.name for file in (tmp_path / "cache").iterdir()}
    monkeypatch.setattr(analysis.memory, "fingerprint_of_package", lambda: "another")
    remembered(files[:1], tmp_path / "cache", tmp_path / "out")
    assert not before & {file.name for file in (tmp_path / "cache").iterdir()}


def test_another_onnxruntime_or_none_is_another_program(monkeypatch):
    ask = analysis.memory.fingerprint_of_package.__wrapped__
    now = ask()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    without = ask()
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(__version__="99.0"))
    assert len({now, without, ask()}) == 3


def test_an_analysis_that_fails_forgets_nothing(files, grown, tmp_path):
    shutil.copytree(grown, tmp_path / "cache")
    before = {file.name for file in (tmp_path / "cache").iterdir()}
    with pytest.raises(StackError, match=r"nowhere\.tif does not exist"), Memory(tmp_path / "cache") as memory:
        SavedStack(tmp_path / "nowhere.tif", memory)
    assert {file.name for file in (tmp_path / "cache").iterdir()} == before


def test_a_folder_that_cannot_be_written_is_told_of_and_costs_only_time(files, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with Memory(tmp_path / "cache") as memory:
        assert SavedStack(files[0], memory).shape == (16, 200, 260)
        assert memory.trouble is not None
        assert "cannot be written" in memory.trouble


def test_a_stack_that_is_in_no_file_is_asked_anew(files, tmp_path):
    line = Dendrite(0, np.array([[8.0, 14.0, 2.0], [8.0, 14.0, 30.0]]), np.ones(2))
    with Memory(tmp_path / "cache") as memory:
        saved = SavedStack(files[0], memory)
        there = saved.recall(straighten, line)
    here = read_stack(files[0]).recall(straighten, line)
    assert np.array_equal(here.volume, there.volume)


@dataclass(frozen=True)
class Foreign:
    """A class of another package."""

    number: int


VALUES = [
    None,
    True,
    -3,
    1e-300,
    float("inf"),
    "µm",
    Verdict.UNSURE,
    [1, (2.5, "a"), {"b": [None], 3: False}],
    (),
]


@pytest.mark.parametrize("value", VALUES)
def test_values_come_back_as_they_were(value):
    back = unpack(pack(value))
    assert back == value
    assert type(back) is type(value)


def test_arrays_and_dataclasses_come_back_as_they_were():
    points = np.random.default_rng(0).normal(size=(5, 3))
    line, pose = unpack(pack((Dendrite(4, points, points[:, 0]), Transform.rigid((1.0, 2.0, 3.0), yaw_deg=4.0))))
    assert isinstance(line, Dendrite)
    assert line.name == 4
    assert np.array_equal(line.points_zyx_um, points)
    assert np.array_equal(pose.matrix, Transform.rigid((1.0, 2.0, 3.0), yaw_deg=4.0).matrix)
    assert unpack(pack(np.zeros((0, 3), np.float32))).shape == (0, 3)


@pytest.mark.parametrize("value", [Foreign(1), object(), np.array([object()]), len])
def test_what_is_not_plain_is_refused(value):
    with pytest.raises(TypeError, match="cannot be packed"):
        pack(value)


def test_other_values_have_other_fingerprints():
    zeros = np.zeros(6)
    different = [*VALUES, zeros, zeros.reshape(2, 3), zeros.astype(np.float32), 0, 0.0, "0", [0], (0,), [[0]], "", []]
    assert len({fingerprint(value) for value in different}) == len(different)
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint(zeros.reshape(2, 3)) == fingerprint(np.asfortranarray(zeros.reshape(2, 3)))


def test_stacks_are_given_up_when_there_is_no_room_for_all(files, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.memory, "HELD_BYTES", 2 * 16 * 200 * 260 * 2)
    read = count_reads(monkeypatch)
    with Memory(tmp_path / "cache") as memory:
        stacks = [SavedStack(path, memory) for path in files[:3]]
        for stack in (*stacks, stacks[2], stacks[1]):
            assert stack.pixels.shape == (16, 200, 260)
    assert read == [files[n].name for n in (0, 1, 2, 0, 1, 2)]
