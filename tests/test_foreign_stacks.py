"""Recordings of other programs give the same numbers, sizes in um, day and place; what is unclear is refused."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from acquire.__main__ import main
from acquire.errors import RelocationError, StudyError
from acquire.importing import Place, import_stack
from acquire.model import AnimalRecord, StudyRecord
from acquire.store import Study
from analysis.errors import StackError
from analysis.memory import Memory, SavedStack, fingerprint_of_file
from analysis.stack import read_stack
from tests.foreign import (
    PIXELS,
    STAGE_UM,
    VOXEL_UM,
    write_lsm,
    write_oif,
    write_old_prairie,
    write_prairie,
    write_thorimage,
)

FORMATS = {
    "prairie": lambda folder: write_prairie(folder / "ZSeries-001"),
    "prairie.xml": lambda folder: write_prairie(folder / "ZSeries-001") / "ZSeries-001.xml",
    "old prairie": lambda folder: write_old_prairie(folder / "ZSeries-001"),
    "thorimage": lambda folder: write_thorimage(folder / "thor"),
    "thorimage.xml": lambda folder: write_thorimage(folder / "thor") / "Experiment.xml",
    "thorimage raw": lambda folder: write_thorimage(folder / "thor", raw=True),
    "fast z raw": lambda folder: write_thorimage(folder / "thor", raw=True, streaming=1, fast=1, flyback=2),
    "lsm": lambda folder: write_lsm(folder / "a.lsm"),
}


def write_czi(file: Path) -> Path:
    """Write a stack with Zeiss' own library."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    with czi.create_czi(str(file)) as opened:
        for z, plane in enumerate(PIXELS):
            for channel, image in enumerate(plane):
                opened.write(data=image[..., None], plane={"Z": z, "C": channel, "T": 0})
        x, y, z = (1e-6 * VOXEL_UM[n] for n in (2, 1, 0))
        opened.write_metadata(document_name="a", scale_x=x, scale_y=y, scale_z=z)
    return file


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_reads_as_it_was_written(name, tmp_path):
    stack = read_stack(FORMATS[name](tmp_path))
    np.testing.assert_array_equal(stack.pixels, PIXELS[:, 0])
    assert stack.voxel_um == pytest.approx(VOXEL_UM)


def test_olympus_reads_as_it_was_written(tmp_path):
    pytest.importorskip("oiffile")
    stack = read_stack(write_oif(tmp_path / "a.oif"), channel=1)
    np.testing.assert_array_equal(stack.pixels, PIXELS[:, 1])
    assert stack.voxel_um == pytest.approx(VOXEL_UM)
    assert (stack.saturation, stack.channels) == (4095, 2)
    assert stack.provenance["acquired"] == "2008-05-06T12:34:56"


def test_zeiss_czi_reads_as_it_was_written(tmp_path):
    stack = read_stack(write_czi(tmp_path / "a.czi"), channel=1)
    np.testing.assert_array_equal(stack.pixels, PIXELS[:, 1])
    assert stack.voxel_um == pytest.approx(VOXEL_UM)


def test_a_czi_that_is_none_is_refused(tmp_path):
    pytest.importorskip("pylibCZIrw")
    (tmp_path / "a.czi").write_bytes(b"no such thing" * 100)
    with pytest.raises(StackError, match="cannot be read as CZI"):
        read_stack(tmp_path / "a.czi")


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("name", ["prairie", "thorimage", "thorimage raw", "fast z raw"])
def test_channels_are_kept_apart(name, channel, tmp_path):
    stack = read_stack(FORMATS[name](tmp_path), channel=channel)
    np.testing.assert_array_equal(stack.pixels, PIXELS[:, channel])
    assert stack.channels == 2


def test_prairie_tells_when_where_and_how_bright(tmp_path):
    stack = read_stack(write_prairie(tmp_path / "a"))
    assert stack.provenance["acquired"] == "2016-11-23T14:05:07"
    assert stack.provenance["stage_um"] == pytest.approx(STAGE_UM)
    assert stack.provenance["software"] == "Prairie View 5.4.64.700"
    assert stack.saturation == 4095


def test_thorimage_tells_when_and_where(tmp_path):
    stack = read_stack(write_thorimage(tmp_path / "a"))
    assert datetime.fromisoformat(stack.provenance["acquired"]) == datetime(2018, 12, 20, 18, 33, 52, tzinfo=UTC)
    assert stack.provenance["stage_um"] == pytest.approx({"x": 1250.0, "y": -500.0, "z": 500 - 1.5 * 2})


def test_scanimage_and_ome_tell_when_and_where(tmp_path):
    si = ["SI.VERSION_MAJOR = '2021'", "SI.hStackManager.actualNumSlices = 5", "SI.hStackManager.stackZStepSize = 1.5"]
    si += ["SI.hChannels.channelSave = [1]", "SI.hMotors.samplePosition = [12.5 -3 140]"]
    settings = {"software": "\n".join(si), "description": "frameNumbers = 1\nepoch = [2021 5 3 14 2 7.25]\n"}
    tifffile.imwrite(tmp_path / "si.tif", PIXELS[:, 0], photometric="minisblack", metadata=None, **settings)
    told = read_stack(tmp_path / "si.tif", voxel_um=VOXEL_UM).provenance
    assert told["acquired"] == "2021-05-03T14:02:07"
    assert told["stage_um"] == {"x": 12.5, "y": -3.0, "z": 140.0}
    assert told["software"] == "ScanImage 2021"

    places = {f"Position{axis}": [um] * 5 for axis, um in zip("XYZ", (1.0, 2.0, 3.0), strict=True)}
    units = {f"Position{axis}Unit": ["mm"] * 5 for axis in "XYZ"}
    metadata = {"axes": "ZYX", "AcquisitionDate": "2020-02-01T10:00:00", "Plane": places | units}
    tifffile.imwrite(tmp_path / "ome.tif", PIXELS[:, 0], ome=True, metadata=metadata)
    told = read_stack(tmp_path / "ome.tif", voxel_um=VOXEL_UM).provenance
    assert told["stage_um"] == {"x": 1000.0, "y": 2000.0, "z": 3000.0}
    assert told["acquired"] == "2020-02-01T10:00:00"


def test_a_date_that_reads_two_ways_is_not_told(tmp_path):
    stack = read_stack(write_thorimage(tmp_path / "a", no_time=True, date="03/04/2018 18:33:52"))
    assert "acquired" not in stack.provenance


REFUSED = {
    "time series": (lambda f: write_prairie(f / "a", kind="TSeries Timed Element"), "no Z-series"),
    "cycles": (lambda f: write_prairie(f / "a", cycles=3), "has 3 cycles"),
    "uneven": (lambda f: write_prairie(f / "a", depths_um=[0, 1.5, 3, 4.5, 9]), "unevenly spaced planes: steps"),
    "no pixel size": (lambda f: write_prairie(f / "a", pixel=""), "no voxel size along y, x; give it with --voxel-um"),
    "stream": (lambda f: write_thorimage(f / "a", streaming=1), "stream of 3000 frames of one plane"),
    "time points": (lambda f: write_thorimage(f / "a", times=4), "has 4 time points"),
    "empty folder": (lambda f: (f / "a").mkdir() or f / "a", "no OME-Zarr image, nor a recording"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_stack_is_refused(name, tmp_path):
    write, told = REFUSED[name]
    with pytest.raises(StackError, match=told):
        read_stack(write(tmp_path))


def test_missing_planes_are_refused(tmp_path):
    folder = write_thorimage(tmp_path / "thor")
    (folder / "ChanB_001_001_003_001.tif").unlink()
    with pytest.raises(StackError, match="has 9 files of planes, 5 planes of 2 channels need 10"):
        read_stack(folder)
    folder = write_prairie(tmp_path / "bruker")
    next(folder.glob("*Ch2_000003*")).unlink()
    with pytest.raises(StackError, match="is missing; copy the whole folder"):
        read_stack(folder)
    folder = write_thorimage(tmp_path / "raw", raw=True)
    (folder / "Image_001_001.raw").write_bytes(b"\0" * 100)
    with pytest.raises(StackError, match="has 100 bytes; 5 planes of 2 channels of 16 x 20 pixels need 6400"):
        read_stack(folder)


def test_an_analysis_of_an_xml_forgets_when_its_planes_change(tmp_path):
    folder = write_thorimage(tmp_path / "thor")
    with Memory(tmp_path / "cache") as memory:
        before = SavedStack(folder / "Experiment.xml", memory).fingerprint
        tifffile.imwrite(folder / "ChanA_001_001_003_001.tif", PIXELS[2, 0] + 1)
        assert SavedStack(folder / "Experiment.xml", memory).fingerprint != before


def two_in_one_folder(kind: str, folder: Path) -> list[Path]:
    """Write two recordings of one field into one folder, as who exports a day's recordings has them."""
    if kind == "oif":
        return [write_oif(folder / "a.oif"), write_oif(folder / "b.oif", PIXELS[::-1])]
    files = []
    for name, pixels in (("a", PIXELS), ("b", PIXELS[::-1])):
        shutil.copytree(write_prairie(folder / name, pixels), folder, dirs_exist_ok=True)
        shutil.rmtree(folder / name)
        files.append(folder / f"{name}.xml")
    return files


@pytest.mark.parametrize("kind", ["prairie", "oif"])
def test_each_of_two_recordings_in_a_folder_stands_for_itself(kind, tmp_path):
    one, other = two_in_one_folder(kind, tmp_path / "day")
    before = fingerprint_of_file(one), fingerprint_of_file(other)
    assert before[0] != before[1]
    (tmp_path / "day" / "out").mkdir()
    (tmp_path / "day" / "out" / "fates.csv").write_text("written by an analysis\n")
    assert (fingerprint_of_file(one), fingerprint_of_file(other)) == before
    plane = next(file for file in sorted(tmp_path.rglob("*.tif")) if "a" in file.parent.name + file.name.split("_")[0])
    tifffile.imwrite(plane, PIXELS[3, 0] + 1)
    assert fingerprint_of_file(one) != before[0]
    assert fingerprint_of_file(other) == before[1]


def test_the_second_of_two_recordings_in_a_folder_has_its_own_pixels(tmp_path):
    one, other = two_in_one_folder("prairie", tmp_path / "day")
    with Memory(tmp_path / "cache") as memory:
        stacks = [SavedStack(file, memory) for file in (one, other)]
        for stack, pixels in zip(stacks, (PIXELS, PIXELS[::-1]), strict=True):
            np.testing.assert_array_equal(stack.pixels, pixels[:, 0])
    assert fingerprint_of_file(tmp_path / "day") == fingerprint_of_file(one)


# ---- into a study ----------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path) -> Path:
    with Study.create(tmp_path / "study", StudyRecord(name="old")) as made:
        made.new_animal(AnimalRecord(id="M1"))
    return tmp_path / "study"


def into(study: Path, stack: Path, *options: str) -> int:
    return main(["import", str(stack), "--study", str(study), "--animal", "M1", "--field", "F01", *options])


def test_a_stack_becomes_that_of_a_session(study, tmp_path, capsys):
    assert into(study, write_prairie(tmp_path / "z1")) == 0
    assert into(study, write_prairie(tmp_path / "z2", PIXELS[::-1], date="11/27/2016 2:05:07 PM")) == 0
    told = capsys.readouterr().out
    assert "day 4: 5 planes of 16 x 20 pixels, 2 channels, voxel 1.5 x 0.13 x 0.12 um; taken 2016-11-27" in told
    with Study(study) as opened:
        (first, one), (second, other) = opened.stacks("M1", "F01")
        assert (first.day, second.day) == (0.0, 4.0)
        assert opened.field("M1", "F01").position.x_um == STAGE_UM["x"]
    for store, pixels in ((one, PIXELS), (other, PIXELS[::-1])):
        for channel in (0, 1):
            stack = read_stack(store, channel=channel)
            np.testing.assert_array_equal(stack.pixels, pixels[:, channel])
            assert stack.voxel_um == pytest.approx(VOXEL_UM)
    about = read_stack(one).provenance["imported"]
    assert about["software"] == "Prairie View 5.4.64.700"
    assert (about["file"], about["voxel_um_from"], len(about["sha256"])) == ("z1", "file", 64)


def test_fields_of_one_sitting_share_their_session(study, tmp_path):
    import_stack(write_prairie(tmp_path / "a"), study, Place("M1", "F01"))
    later = write_prairie(tmp_path / "b", PIXELS[::-1], date="11/23/2016 3:45:00 PM")
    import_stack(later, study, Place("M1", "F02"))
    with Study(study) as opened:
        assert len(opened.sessions("M1")) == 1


def test_the_same_stack_twice_is_refused(study, tmp_path):
    folder = write_prairie(tmp_path / "a")
    import_stack(folder, study, Place("M1", "F01"))
    shutil.copytree(folder, tmp_path / "copy" / "a")
    with pytest.raises(StudyError, match="imported already, as M1 F01"):
        import_stack(tmp_path / "copy" / "a", study, Place("M1", "F01", 3.0))


def test_two_recordings_in_one_folder_are_two_stacks(study, tmp_path):
    one, other = two_in_one_folder("prairie", tmp_path / "day")
    import_stack(one, study, Place("M1", "F01", 0.0))
    import_stack(other, study, Place("M1", "F01", 3.0))
    (tmp_path / "day" / "note.txt").write_text("of no recording")
    with pytest.raises(StudyError, match="imported already, as M1 F01"):
        import_stack(one, study, Place("M1", "F01", 4.0))


def test_an_earlier_stack_is_refused(study, tmp_path):
    import_stack(write_prairie(tmp_path / "a"), study, Place("M1", "F01", 8.0))
    with pytest.raises(StudyError, match="of day 4, before day 8"):
        import_stack(write_prairie(tmp_path / "b", PIXELS[::-1]), study, Place("M1", "F01", 4.0))


def test_a_stack_without_a_day_asks_for_it(study, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[:, 0], imagej=True, metadata={"axes": "ZYX"})
    assert into(study, tmp_path / "a.tif", "--voxel-um", "1", "0.1", "0.1") == 1
    assert "a.tif does not say when it was taken; give --day" in capsys.readouterr().err
    assert into(study, tmp_path / "a.tif", "--day", "0") == 1
    assert "a.tif has no voxel size; give it with --voxel-um" in capsys.readouterr().err
    assert into(study, tmp_path / "a.tif", "--day", "0", "--voxel-um", "1", "0.1", "0.1") == 0
    with Study(study) as opened:
        about = read_stack(opened.stacks("M1", "F01")[0][1])
    assert about.provenance["imported"]["voxel_um_from"] == "given"
    # the first session has no date: that of a second stack cannot be compared with it
    assert into(study, write_prairie(tmp_path / "z")) == 1
    assert "cannot be told: when session" in capsys.readouterr().err


def test_numbers_below_zero_stay(study, tmp_path):
    pixels = PIXELS[:, 0].astype(np.int16) - 2000
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "ZYX"}, ome=True)
    import_stack(tmp_path / "a.tif", study, Place("M1", "F01", 0.0), voxel_um=VOXEL_UM)
    with Study(study) as opened:
        np.testing.assert_array_equal(read_stack(opened.stacks("M1", "F01")[0][1]).pixels, pixels)


def test_a_changed_plane_of_an_imported_stack_is_noticed(study, tmp_path):
    import_stack(write_lsm(tmp_path / "a.lsm"), study, Place("M1", "F01", 0.0))
    with Study(study) as opened:
        ((_, store),) = opened.stacks("M1", "F01")
    shutil.rmtree(store / "0" / "c" / "2")
    with pytest.raises(StackError, match="plane 2 of 5 not as recorded"):
        read_stack(store)


def test_an_imported_field_is_never_driven_to(study, tmp_path):
    """Its position is not known here: without an overview of this microscope nothing moves."""
    from acquire.config import read_rig_config
    from acquire.opening import open_rig
    from acquire.session import Session

    import_stack(write_lsm(tmp_path / "a.lsm"), study, Place("M1", "F01", 0.0))
    with open_rig(read_rig_config("simulated")) as rig, Study(study) as opened:
        before = rig.position()
        with Session.open(opened, "M1", rig, day=4.0) as session, pytest.raises(RelocationError, match="overview"):
            session.relocate("F01")
        assert rig.position() == before
