"""A full disk, at any moment: nothing that was saved is lost, nothing is half written, and the session goes on."""

import errno
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import zlib
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from acquire import files, finding, taking
from acquire.analysing import write_outputs
from acquire.config import read_rig_config
from acquire.drift import StackShift
from acquire.errors import StudyError
from acquire.images import is_complete, read_journal
from acquire.model import (
    AnimalRecord,
    QualityRecord,
    RelocationRecord,
    SessionRecord,
    StackPlan,
    StagePosition,
    StudyRecord,
)
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study, read_record
from analysis import journal
from analysis.errors import ExperimentError
from analysis.field import analyse_field
from analysis.model import Stack, Transform, Verdict
from analysis.register import StackRegistration
from analysis.report import FieldPictures
from analysis.stack import read_stack

PLAN = StackPlan(field_of_view_um=30.0, pixels=64, depth_um=2.0, frames_per_plane=2)
LEAST_PLAN = PLAN.model_copy(update={"depth_um": 1.0})
OVERVIEW = StackPlan(field_of_view_um=60.0, pixels=64, depth_um=4.0, step_um=2.0, frames_per_plane=1, keep_frames=False)
DISK_MB = 64
HIDDEN_LEFTOVERS = ("*.making", "*.writing", "*.part", "*.partial")
LITTLE_RIG = {"seed": 1, "half_width_um": 200.0, "surface_pixels": 64, "surface_pixel_um": 32.0}


@pytest.fixture(scope="module")
def rig():
    """A simulated rig with a small piece of cortex, which is there at once."""
    config = read_rig_config("simulated")
    settings = {**config.load_settings, **LITTLE_RIG}
    with open_rig(config.model_copy(update={"load_settings": settings})) as opened:
        yield opened


@pytest.fixture(autouse=True)
def dark_at_the_end(rig):
    """Whatever the disk did, the light is off when a test ends."""
    yield
    assert not rig.core.getShutterOpen("Shutter")


@pytest.fixture(autouse=True)
def small_stacks_are_recognised(monkeypatch):
    """Whether tissue is recognised is tested elsewhere; the stacks here are too small for it."""
    recognised = StackShift((0.0, 0.0, 0.0), 1.0)
    monkeypatch.setattr(taking, "align_stack", lambda *_arguments, **_options: recognised)


def make_study(folder, plan=PLAN):
    with Study.create(folder, StudyRecord(name="disk", plan=plan, overview_plan=OVERVIEW)) as study:
        study.new_animal(AnimalRecord(id="M1"))
    return folder


def sit(folder, rig, progress=lambda _what, _share: None):
    """Do what is not done yet of a sitting: vessel map, field, stack; then close it."""
    with Study(folder) as study, Session.open(study, "M1", rig, day=0.0, progress=progress) as session:
        if session.record.surface is None:
            session.map_surface()
        if not study.animal("M1").fields:
            x, y, z = rig.loaded.good_places(1)[0]
            rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            session.new_field()
        if not session.has_whole_stack("F01"):
            session.take_stack("F01", resume=True)
        assert session.quality("F01").planes == study.field("M1", "F01").plan.planes
        session.close()


def stacks_of(folder):
    return sorted(folder.glob("animals/M1/sessions/*/F01/stack*.ome.zarr"))


def crc32_on_disk(store, plane):
    """Return the checksum of a plane as a reader sees it that did not write it."""
    array = tensorstore.open({"driver": "zarr3", "kvstore": f"file://{store}/0/"}).result()
    return zlib.crc32(np.ascontiguousarray(array[plane].read().result()).tobytes())


def saved_planes(folder):
    """Return the checksum of every plane that a journal calls saved, after it was found on disk."""
    saved = {}
    for store in folder.glob("animals/M1/sessions/*/*/*.ome.zarr"):
        for record in read_journal(store):
            saved[store, record.plane] = record.crc32
            assert crc32_on_disk(store, record.plane) == record.crc32, f"{store.name}: plane {record.plane} is lost"
    return saved


def check_whole(folder):
    """Every record is whole, every line of every log is one, no stack is called whole that is not."""
    kinds = {"session.json": SessionRecord, "quality.json": QualityRecord, "relocation.json": RelocationRecord}
    for file in folder.rglob("*.json"):
        if file.name in kinds:
            read_record(file, kinds[file.name])
    read_record(folder / "animals" / "M1" / "animal.json", AnimalRecord)
    for file in folder.rglob("*.jsonl"):
        text = file.read_text()
        assert text == "" or text.endswith("\n")
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())
    assert [path for pattern in HIDDEN_LEFTOVERS for path in folder.rglob(pattern)] == []
    for store in stacks_of(folder):
        assert is_complete(store) == read_stack(store).provenance["complete"]
        assert len(read_journal(store)) == len(read_stack(store).pixels) or not is_complete(store)


# ---- a disk that is really full ------------------------------------------------------------------------------------


def mount(folder):
    """Mount a small disk there; return why that is not possible, empty when it was."""
    if shutil.which("mount") is None:
        return "there is no mount"
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    return subprocess.run(["mount", *options], capture_output=True, text=True, check=False).stderr.strip()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if refusal := mount(folder):
        pytest.skip(f"no small disk can be mounted here: {refusal}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk, spare_bytes=0):
    """Be another program that fills the disk to its last page."""
    filler = disk / "filler"
    with FileIO(filler, "w") as file:
        block = bytes(1 << 20)
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]
        file.truncate(file.tell() - spare_bytes)
    return filler


def test_without_the_right_to_mount_the_tests_run_as_root_of_a_namespace(tmp_path):
    if not mount(tmp_path):
        subprocess.run(["umount", str(tmp_path)], check=True)
        pytest.skip("they run right here")
    inside = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "real"]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("this system lets nobody but root mount a disk, nor make a namespace")
    done = subprocess.run(inside, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_a_stack_that_does_not_fit_on_the_real_disk_is_refused_in_the_dark(small_disk, rig):
    study = make_study(small_disk / "study")
    filler = fill(small_disk, spare_bytes=53_000_000)
    before = rig.images_taken
    big = PLAN.model_copy(update={"pixels": 512, "depth_um": 4.0})
    with Study(study) as opened, Session.open(opened, "M1", rig, day=0.0) as session:
        with pytest.raises(
            StudyError, match=r"overview\.ome\.zarr needs 8 MB and a reserve of 50 MB, but only 5\d MB are free"
        ):
            session.new_field(overview_plan=big)
        assert rig.images_taken == before
    filler.unlink()
    sit(study, rig)
    assert is_complete(stacks_of(study)[0])


@pytest.mark.parametrize("spare_bytes", [0, 8192, 20480])
@pytest.mark.parametrize("planes", range(1, PLAN.planes))
def test_a_real_disk_that_fills_up_at_a_plane(small_disk, rig, planes, spare_bytes):
    study = make_study(small_disk / "study")
    taken = []

    def progress(what, share):
        if " stack" in what:
            taken.append(share)
            if len(taken) == planes:
                fill(small_disk, spare_bytes)

    with pytest.raises(StudyError, match=r"cannot write .*No space left on device \(0 MB free\); free space"):
        sit(study, rig, progress)
    assert not rig.core.getShutterOpen("Shutter")
    pages_to_spare = spare_bytes // 4096  # a plane of 64 x 64 pixels with its two frames fills at least three
    assert len(taken) <= planes + 2 + pages_to_spare // 3
    (store,) = stacks_of(study)
    assert not is_complete(store)
    saved = saved_planes(study)
    check_whole(study)
    with pytest.raises(StudyError, match=r"only 0 MB are free|No space left"):
        sit(study, rig)
    (small_disk / "filler").unlink()
    sit(study, rig)
    assert is_complete(store)
    assert saved.items() <= saved_planes(study).items()
    check_whole(study)


# ---- every single writing refused once -----------------------------------------------------------------------------


class FullDisk:
    """A disk that refuses the n-th thing that is asked of it below a folder; ``stays`` full, or only that once."""

    def __init__(self):
        self.folder, self.refused, self.asked, self.stays = None, 0, 0, False
        sys.addaudithook(self._hear)

    @contextmanager
    def refusing(self, folder, number, *, stays):
        self.folder, self.refused, self.asked, self.stays = str(folder), number, 0, stays
        try:
            yield
        finally:
            self.folder = None

    @property
    def was_full(self):
        return self.asked >= self.refused

    def ask(self):
        self.asked += 1
        if self.asked == self.refused or (self.stays and self.was_full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _hear(self, event, arguments):
        if self.folder is None or event not in {"open", "os.rename", "os.mkdir"}:
            return
        path = arguments[0]
        if isinstance(path, int) or not os.fsdecode(path).startswith(self.folder):
            return
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self.ask()


DISK = FullDisk()


class TornFile(FileIO):
    """A journal on a full disk: it takes half of a line, and refuses the rest."""

    def write(self, data):
        try:
            if DISK.folder is not None:
                DISK.ask()
        except OSError:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch, rig):
    def fsync(_fd):
        if DISK.folder is not None:
            DISK.ask()

    monkeypatch.setattr(files.os, "fsync", fsync)
    for module in (files, journal):
        monkeypatch.setattr(module, "FileIO", TornFile)
    monkeypatch.setattr(type(rig.loaded), "mount", lambda *_: None)  # once is enough
    return DISK


def refuse_one(full_disk, folder, number, deed, *, stays=False):
    """Do something while the disk refuses what is asked of it as number-th; return whether that was told."""
    refused = None
    with full_disk.refusing(folder, number, stays=stays):
        try:
            deed()
        except ExperimentError as error:
            refused = error
    assert refused is None or "No space left on device" in str(refused)
    return refused is not None


@pytest.mark.parametrize(("stays", "step"), [(False, 1), (True, 7)], ids=["for a moment", "for good"])
def test_whatever_is_refused_nothing_is_lost_and_the_session_goes_on(tmp_path, rig, full_disk, stays, step):
    for number in itertools.count(1, step):
        study = make_study(tmp_path / f"study{number}", LEAST_PLAN)
        refused = refuse_one(full_disk, study, number, functools.partial(sit, study, rig), stays=stays)
        check_whole(study)
        if not full_disk.was_full:
            break
        saved = saved_planes(study)
        if refused:
            sit(study, rig)
            check_whole(study)
            assert saved.items() <= saved_planes(study).items()
        assert [is_complete(store) for store in stacks_of(study)] == [True]
        shutil.rmtree(study)
    assert number > 100


def test_whatever_is_refused_a_field_is_found_again_afterwards(tmp_path, rig, full_disk, monkeypatch):
    registration = known_registration(monkeypatch)
    first = make_study(tmp_path / "first", LEAST_PLAN)
    sit(first, rig)

    def find(folder):
        with Study(folder) as study, Session.open(study, "M1", rig, day=4.0) as session:
            return session.relocate("F01")

    for number in itertools.count(1, 3):
        study = shutil.copytree(first, tmp_path / f"study{number}")
        refused = refuse_one(full_disk, study, number, functools.partial(find, study))
        check_whole(study)
        if not full_disk.was_full:
            break
        if refused:
            assert find(study).verdict is registration.verdict
            check_whole(study)
        shutil.rmtree(study)
    assert number > 50


def test_a_field_that_could_not_be_kept_leaves_no_overview_that_is_taken_for_its_own(tmp_path, rig, monkeypatch):
    study = make_study(tmp_path / "study")
    with Study(study) as opened, Session.open(opened, "M1", rig, day=0.0) as session:
        with monkeypatch.context() as full:
            full.setattr(opened, "save_field", refuse_to_write)
            with pytest.raises(StudyError, match="No space left"):
                session.new_field()
        rig.move_to(rig.position().moved(x_um=40.0))
        field = session.new_field()
        assert session._taker.reference_overview(field).name == "overview-2.ome.zarr"


def refuse_to_write(*_arguments):
    raise StudyError("cannot write animal.json: No space left on device (0 MB free); free space")


def known_registration(monkeypatch):
    """Register once and say the same each time: what registration finds is tested elsewhere."""
    registration = StackRegistration(Transform.identity(), 0.95, 0.5, 0.1, 0.9, 0.999, Verdict.FOUND)
    monkeypatch.setattr(finding, "register_stacks", lambda *_: registration)
    return registration


def test_whatever_is_refused_no_table_is_half(tmp_path, full_disk, monkeypatch):
    stacks = [Stack(np.zeros((12, 128, 128), np.uint16), (1.0, 0.2, 0.2), "black")]
    nothing = analyse_field(stacks)
    drawn = FieldPictures.of(stacks, nothing)
    monkeypatch.setattr(FieldPictures, "of", lambda *_: drawn)
    whole, told = tmp_path / "whole", 0
    write_outputs(whole, stacks, nothing, parquet=True)
    for number in itertools.count(1):
        folder = tmp_path / f"analysis{number}"
        write = functools.partial(write_outputs, folder, stacks, nothing, parquet=True)
        refused = refuse_one(full_disk, folder, number, write)
        if not full_disk.was_full:
            break
        told += refused
        assert refused is not (folder / "report.html").exists()  # it is written last, and says that all is there
        for file in folder.glob("*"):
            assert file.read_bytes() == (whole / file.name).read_bytes()
        write()
        assert {file.name for file in folder.iterdir()} == {file.name for file in whole.iterdir()}
    assert told > 20
