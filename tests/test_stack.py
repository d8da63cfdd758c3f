"""Each file format is written as its own software writes it, and read back to the same numbers."""

import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.io import imsave

from analysis.errors import StackError
from analysis.stack import read_dendrites, read_image, read_stack

VOXEL_UM = (0.8, 0.13, 0.12)
PIXELS = np.random.default_rng(0).integers(0, 4000, (5, 16, 20), dtype=np.uint16)
IMAGEJ = {"spacing": VOXEL_UM[0], "unit": "um", "axes": "ZYX"}
RESOLUTION = (1 / VOXEL_UM[2], 1 / VOXEL_UM[1])


def write_imagej(path: Path, pixels=PIXELS, **metadata) -> Path:
    tifffile.imwrite(path, pixels, imagej=True, resolution=RESOLUTION, metadata=IMAGEJ | metadata)
    return path


def write_ome(path: Path, pixels=PIXELS, **metadata) -> Path:
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", VOXEL_UM, strict=True)}
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZYX"} | sizes | metadata)
    return path


def write_zarr(path: Path, pixels=PIXELS, *, version="0.5", axes="zyx", units="micrometer", attributes=None) -> Path:
    sizes = dict(zip("zyx", VOXEL_UM, strict=True))
    per_um = {"micrometer": 1.0, "nanometer": 1e3, "millimeter": 1e-3}.get(units, 1.0)
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in described:
        if axis["type"] == "space" and units:
            axis["unit"] = units
    scale = [sizes.get(a, 1.0) * (per_um if a in sizes else 1.0) for a in axes]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    multiscales = [{"axes": described, "datasets": [dataset], "version": version}]
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    array = group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=pixels.shape)
    array[...] = pixels
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    else:
        group.attrs["multiscales"] = multiscales
    group.attrs.update(attributes or {})
    return path


def write_scanimage(path: Path, pages: np.ndarray, *, era="2023", **settings) -> Path:
    """Write pages as ScanImage does: BigTIFF, int16, settings in the Software tag, frame numbers in each page."""
    wanted = {
        "hChannels.channelAdcResolution": "[12 12 12 12]",
        "hChannels.channelSave": "1",
        "hRoiManager.imagingFovUm": "[-1.2 -1.04;1.2 -1.04;1.2 1.04;-1.2 1.04]",
        "hRoiManager.linesPerFrame": "16",
        "hRoiManager.mroiEnable": "false",
        "hRoiManager.pixelsPerLine": "20",
        "hScan2D.logAverageFactor": "1",
        "hStackManager.actualNumSlices": "5",
        "hStackManager.actualStackZStepSize": "-0.8",
        "hStackManager.framesPerSlice": "1",
        "hStackManager.numSlices": "11",
        "hStackManager.stackMode": "'slow'",
        "objectiveResolution": "15",
    } | {name.replace("__", "."): value for name, value in settings.items()}
    prefix = "SI." if era != "2015" else "scanimage.SI."
    header = "\n".join(f"{prefix}{name} = {value}" for name, value in wanted.items() if value is not None)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, page in enumerate(pages):
            frame = f"frameNumbers = {number + 1}\nacquisitionNumbers = 1\nframeTimestamps_sec = {number / 30:.9f}\n"
            writer.write(
                page.astype(np.int16),
                metadata=None,
                contiguous=False,
                software=header if era != "2015" else "",
                description=frame if era != "2015" else frame + header,
                extratags=[(315, 2, 0, json.dumps({"RoiGroups": {}}), True)],
            )
    return path


FORMATS = {
    "imagej.tif": write_imagej,
    "escaped.tif": lambda path: write_imagej(path, unit="\\u00B5m"),
    "stack.ome.tif": write_ome,
    "nm.ome.tif": lambda path: write_ome(path, PhysicalSizeX=120.0, PhysicalSizeXUnit="nm"),
    "mm.ome.tif": lambda path: write_ome(path, PhysicalSizeZ=0.0008, PhysicalSizeZUnit="mm"),
    "five.ome.zarr": write_zarr,
    "four.ome.zarr": lambda path: write_zarr(path, version="0.4"),
    "nm.ome.zarr": lambda path: write_zarr(path, units="nanometer"),
    "mm.zarr": lambda path: write_zarr(path, units="millimeter", version="0.4"),
    "si.tif": lambda path: write_scanimage(path, PIXELS),
    "si2015.tif": lambda path: write_scanimage(path, PIXELS, era="2015"),
    "degrees.tif": lambda path: write_scanimage(
        path,
        PIXELS,
        hRoiManager__imagingFovUm=None,
        hRoiManager__imagingFovDeg="[-0.08 -0.06933333;0.08 -0.06933333;0.08 0.06933333;-0.08 0.06933333]",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_pixels_and_voxel_size(tmp_path, name):
    stack = read_stack(FORMATS[name](tmp_path / name))
    np.testing.assert_array_equal(stack.pixels, PIXELS)
    np.testing.assert_allclose(stack.voxel_um, VOXEL_UM, rtol=1e-5)
    assert (stack.name, stack.source) == (name, tmp_path / name)


def test_given_voxel_size_wins(tmp_path):
    assert read_stack(write_ome(tmp_path / "a.tif"), voxel_um=(1.0, 0.1, 0.2)).voxel_um == (1.0, 0.1, 0.2)


@pytest.mark.parametrize(
    ("pixels", "saturation"),
    [(PIXELS.astype(np.uint8), 255.0), (PIXELS, 65535.0), (PIXELS.astype(np.float32), None)],
    ids=["uint8", "uint16", "float"],
)
def test_saturation_is_the_top_of_the_type(tmp_path, pixels, saturation):
    assert read_stack(write_ome(tmp_path / "a.ome.tif", pixels)).saturation == saturation


def test_saturation_from_the_file(tmp_path):
    assert read_stack(write_ome(tmp_path / "a.ome.tif", SignificantBits=12)).saturation == 4095
    ours = write_zarr(tmp_path / "a.zarr", attributes={"samefield": {"saturation": 4000, "animal": "M042"}})
    assert read_stack(ours).saturation == 4000
    assert read_stack(write_scanimage(tmp_path / "si.tif", PIXELS)).saturation == 2047


def test_provenance_of_our_own_store(tmp_path):
    ours = {"animal": "M042", "field": "F01", "session": "2026-11-20T0930", "complete": False}
    assert read_stack(write_zarr(tmp_path / "a.zarr", attributes={"samefield": ours})).provenance == ours


@settings(max_examples=25, deadline=None)
@given(
    axes=st.permutations("zyx"), extra=st.sampled_from(["", "t", "c", "tc"]), version=st.sampled_from(["0.4", "0.5"])
)
def test_zarr_axes_in_any_order(tmp_path_factory, axes, extra, version):
    order = extra + "".join(axes)
    pixels = PIXELS.transpose(["zyx".index(a) for a in axes])
    for letter in reversed(extra):
        pixels = pixels[None] if letter == "t" else np.stack([pixels, pixels + 1])
    path = write_zarr(tmp_path_factory.mktemp("zarr") / "a.zarr", pixels, axes=order, version=version)
    stack = read_stack(path, channel=int("c" in extra))
    np.testing.assert_array_equal(stack.pixels, PIXELS + int("c" in extra))
    np.testing.assert_allclose(stack.voxel_um, VOXEL_UM)


def test_picks_the_channel(tmp_path):
    both = np.stack([PIXELS, PIXELS + 1000], axis=1)
    path = write_imagej(tmp_path / "a.tif", both, axes="ZCYX")
    np.testing.assert_array_equal(read_stack(path, channel=1).pixels, PIXELS + 1000)
    with pytest.raises(StackError, match="2 channels; channel 2"):
        read_stack(path, channel=2)


def test_scanimage_averages_frames_and_splits_channels(tmp_path):
    frames = np.stack([PIXELS - 2.0, PIXELS + 2.0], axis=1)  # two frames a plane
    pages = np.stack([frames, frames + 100], axis=2).reshape(-1, 16, 20)
    path = write_scanimage(
        tmp_path / "si.tif",
        pages,
        hChannels__channelSave="[1;2]",
        hStackManager__framesPerSlice="8",
        hScan2D__logAverageFactor="4",
    )
    np.testing.assert_allclose(read_stack(path, channel=0).pixels, PIXELS)
    np.testing.assert_allclose(read_stack(path, channel=1).pixels, PIXELS + 100)


def test_scanimage_fast_volumes_drop_flyback(tmp_path):
    flyback = np.full((1, 16, 20), 30000)
    volumes = np.concatenate([PIXELS - 5.0, flyback, PIXELS + 5.0, flyback])
    path = write_scanimage(
        tmp_path / "si.tif",
        volumes,
        hStackManager__stackMode="'fast'",
        hStackManager__numFramesPerVolume="5",
        hStackManager__numFramesPerVolumeWithFlyback="6",
    )
    np.testing.assert_allclose(read_stack(path).pixels, PIXELS)


def test_scanimage_aborted(tmp_path):
    fewer = read_stack(write_scanimage(tmp_path / "a.tif", PIXELS[:3]))
    assert (len(fewer.pixels), fewer.provenance["planned_planes"]) == (3, 5)
    with pytest.raises(StackError, match="5 pages, not a multiple of the 2"):
        read_stack(write_scanimage(tmp_path / "b.tif", PIXELS, hStackManager__framesPerSlice="2"))


def test_scanimage_of_several_regions_is_refused(tmp_path):
    with pytest.raises(StackError, match="mROI"):
        read_stack(write_scanimage(tmp_path / "a.tif", PIXELS, hRoiManager__mroiEnable="true"))


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def truncated(path: Path, whole: Path, share: float) -> Path:
    content = whole.read_bytes()
    return write_bytes(path, content[: int(share * len(content))])


def write_many(path: Path) -> Path:
    with tifffile.TiffWriter(path, ome=True) as writer:
        for _ in range(2):
            writer.write(PIXELS, metadata={"axes": "ZYX"})
    return path


def with_broken_chunk(path: Path) -> Path:
    write_zarr(path)
    chunk = next(file for file in (path / "0" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(b"not a chunk")
    return path


def without_array(path: Path) -> Path:
    shutil.rmtree(write_zarr(path) / "0")
    return path


def with_bad_json(path: Path) -> Path:
    write_zarr(path)
    (path / "zarr.json").write_text("{")
    return path


REMEDY = r"no voxel size; give it with --voxel-um Z Y X, e\.g\. --voxel-um 1\.0 0\.12 0\.12"
BAD = {
    "missing.tif": (lambda path: path, "does not exist"),
    "empty.tif": (lambda path: write_bytes(path, b""), "0 bytes"),
    "text.tif": (lambda path: write_bytes(path, b"hello"), "cannot be read as TIFF: not a TIFF"),
    "other.nd2": (lambda path: write_bytes(path, b"hello"), "no known kind"),
    "flat.tif": (lambda path: write_imagej(path, PIXELS[0], axes="YX"), "one plane of 16 x 20 pixels"),
    "time.tif": (lambda path: write_imagej(path, axes="TYX"), "axes TYX .* needs z, y and x"),
    "films.tif": (lambda path: write_imagej(path, np.stack([PIXELS] * 2), axes="TZYX"), "2 time points"),
    "rgb.tif": (lambda path: tifffile.imwrite(path, np.zeros((9, 9, 3), np.uint8)) or path, "RGB"),
    "complex.tif": (lambda path: tifffile.imwrite(path, PIXELS.astype(np.complex64)) or path, "complex64"),
    "nan.ome.tif": (lambda path: write_ome(path, np.full((5, 16, 20), np.nan, np.float32)), "1600 of 1600"),
    "plain.tif": (lambda path: tifffile.imwrite(path, PIXELS) or path, REMEDY),
    "pixel.tif": (lambda path: write_imagej(path, unit="pixel"), REMEDY),
    "noz.ome.tif": (lambda path: write_ome(path, PhysicalSizeZ=None), "along z; give it"),
    "nounit.zarr": (lambda path: write_zarr(path, units=None), REMEDY),
    "huge.ome.tif": (
        lambda path: write_ome(path, PhysicalSizeZ=800.0),
        "800 x 0.13 x 0.12 um .*800 nm would be 0.8 um",
    ),
    "double.ome.tif": (lambda path: write_ome(path, PIXELS * 1e300), r"intensities from 0 to .*e\+303; divide"),
    "noarray.zarr": (without_array, "lacks its array '0'"),
    "zero.ome.tif": (lambda path: write_ome(path, PhysicalSizeX=0.0), "0.8 x 0.13 x 0 um"),
    "many.ome.tif": (write_many, "2 images of the same size"),
    "group.zarr": (lambda path: zarr.create_group(path).store_path and path, "no multiscales"),
    "chunk.zarr": (with_broken_chunk, "cannot be read"),
    "json.zarr": (with_bad_json, "no readable OME-Zarr"),
    "wrong.zarr": (lambda path: write_zarr(path, axes="tyx"), "axes TYX"),
    "folder": (lambda path: path.mkdir() or path, "folder but no OME-Zarr"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_end_in_one_clear_line(tmp_path, name):
    write, message = BAD[name]
    with pytest.raises(StackError, match=message) as raised:
        read_stack(write(tmp_path / name))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("write", [write_imagej, write_ome, write_scanimage], ids=lambda f: f.__name__)
def test_truncated_tiff_is_never_read_as_whole(tmp_path, write, share):
    whole = write(tmp_path / "whole.ome.tif", PIXELS)
    with pytest.raises(StackError, match=r"truncated|cannot be read"):
        read_stack(truncated(tmp_path / "part.ome.tif", whole, share))


@pytest.mark.parametrize(
    ("voxel_um", "says"),
    [
        ((0, 0.1, 0.1), "along z it must be 0.05 to 20 um;"),
        ((1, -0.1, 0.1), "along y it must be 0.01 to 5 um;"),
        ((1, 0.1, float("nan")), "along x"),
        ((200, 0.1, 0.1), r"200 nm would be 0.2 um: was it meant in nm\?"),
        ((100, 100, 100), "100 x 100 x 100 um cannot be right: along z"),
        ((0.001, 0.001, 0.001), "0.001 mm would be 1 um: was it meant in mm"),
        ((1, 120, 120), "120 nm would be 0.12 um: .*; give it with --voxel-um"),
    ],
)
def test_a_voxel_size_that_cannot_be_right_is_refused(tmp_path, voxel_um, says):
    with pytest.raises(StackError, match=says):
        read_stack(write_ome(tmp_path / "a.ome.tif"), voxel_um=voxel_um)


@pytest.mark.parametrize("voxel_um", [(0.05, 0.01, 0.01), (20, 5, 5), (2, 0.47, 0.47)])
def test_unusual_voxel_sizes_are_taken(tmp_path, voxel_um):
    assert read_stack(write_ome(tmp_path / "a.ome.tif"), voxel_um=voxel_um).voxel_um == voxel_um


def recorded(path: Path, pixels=PIXELS, *, complete=True, planes=None) -> Path:
    """Write a stack as the rig does: a file a plane, its checksums taken before."""
    kept = range(len(pixels)) if planes is None else planes
    records = [{"plane": n, "crc32": zlib.crc32(pixels[n].tobytes())} for n in kept]
    ours = {"samefield": {"complete": complete, "planes": records}}
    write_zarr(path, pixels, attributes=ours)
    shutil.rmtree(path / "0")
    array = zarr.open_group(path).create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 16, 20))
    for n in kept:
        array[n] = pixels[n]
    return path


def test_a_recording_is_compared_with_its_checksums(tmp_path):
    dark = PIXELS.copy()
    dark[3] = 0  # has no file, rightly
    np.testing.assert_array_equal(read_stack(recorded(tmp_path / "a.zarr", dark)).pixels, dark)
    assert read_stack(recorded(tmp_path / "part.zarr", complete=False, planes=[0, 1])).pixels[2:].max() == 0


def test_a_recording_that_lost_a_file_is_refused(tmp_path):
    path = recorded(tmp_path / "a.zarr")
    (path / "0" / "c" / "2" / "0" / "0").unlink()
    with pytest.raises(StackError, match=r"a\.zarr: plane 2 of 5 not as recorded .* copy it again"):
        read_stack(path)


def test_a_recording_that_was_changed_is_refused(tmp_path):
    path = recorded(tmp_path / "a.zarr", complete=False, planes=[0, 1, 2])
    zarr.open_array(path / "0")[:2, 5, 5] = 4095
    with pytest.raises(StackError, match="planes 0, 1 of 5 not as recorded"):
        read_stack(path)


def test_a_recording_that_is_not_as_complete_as_it_says_is_refused(tmp_path):
    with pytest.raises(StackError, match="3 of its 5 planes were taken"):
        read_stack(recorded(tmp_path / "a.zarr", planes=[0, 1, 2]))
    odd = write_zarr(tmp_path / "odd.zarr", attributes={"samefield": {"complete": True, "planes": [{"plane": 1}]}})
    with pytest.raises(StackError, match=r"odd\.zarr cannot be read: 'crc32' is missing"):
        read_stack(odd)


def test_a_picture_of_ours_without_its_pixels_is_refused(tmp_path):
    path = write_zarr(tmp_path / "map.zarr", PIXELS[0], axes="yx", attributes={"samefield": {"complete": True}})
    assert read_image(path).pixels.max() > 0
    shutil.rmtree(path / "0" / "c")
    with pytest.raises(StackError, match=r"map\.zarr lacks 1 of its 1 files"):
        read_image(path)


def test_a_path_that_cannot_be_looked_at(tmp_path):
    with pytest.raises(StackError, match=r"cannot be read|does not exist"):
        read_stack(tmp_path / ("long" * 2000 + ".tif"))


def test_nothing_reaches_the_screen(tmp_path):
    part = truncated(tmp_path / "part.ome.tif", write_ome(tmp_path / "whole.ome.tif"), 0.5)
    code = f"from analysis.stack import read_stack\ntry: read_stack({str(part)!r})\nexcept Exception as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_read_image(tmp_path):
    grey = (PIXELS[0] // 16).astype(np.uint8)
    imsave(tmp_path / "a.png", grey, check_contrast=False)
    imsave(tmp_path / "b.png", np.stack([grey] * 3, axis=-1), check_contrast=False)
    tifffile.imwrite(tmp_path / "c.tif", grey, imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"})
    write_zarr(tmp_path / "d.zarr", grey, axes="yx")
    assert (read_image(tmp_path / "a.png").pixels == grey).all()
    np.testing.assert_allclose(read_image(tmp_path / "b.png").pixels, grey, rtol=1e-6)
    assert read_image(tmp_path / "a.png").pixel_um is None
    assert read_image(tmp_path / "c.tif").pixel_um == pytest.approx(2.0)
    assert read_image(tmp_path / "d.zarr").pixel_um == pytest.approx(0.13)
    assert read_image(tmp_path / "a.png", pixel_um=3.0).pixel_um == 3.0


def test_read_image_refuses_stacks_and_rubbish(tmp_path):
    with pytest.raises(StackError, match="5 planes"):
        read_image(write_ome(tmp_path / "a.ome.tif"))
    with pytest.raises(StackError, match=r"rubbish\.png cannot be read"):
        read_image(write_bytes(tmp_path / "rubbish.png", b"rubbish"))


def test_read_dendrites(tmp_path):
    table = tmp_path / "d.csv"
    table.write_text("dendrite,z_um,y_um,x_um\n1,0,0,0\n1,0,3,4\n0,1,1,1\n0,1,1,2\n0,1,1,2\n")
    first, second = read_dendrites(table)
    assert (first.name, second.name) == (0, 1)
    assert (first.length_um, second.length_um) == (1.0, 5.0)
    assert (second.radius_um > 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dendrite,z_um,y_um\n0,1,1\n", "lacks x_um"),
        ("dendrite,z_um,y_um,x_um\n0,1,1,1\n", "dendrite 0 has 1 point"),
        ("dendrite,z_um,y_um,x_um\n0,1,1,1\n0,1,one,1\n", "line 3: not a number"),
        ("dendrite,z_um,y_um,x_um\n1.5,1,1,1\n1.5,1,2,1\n", r"line 2: dendrite 1\.5 is no name"),
        ("dendrite,z_um,y_um,x_um\n1e300,1,1,1\n1e300,1,2,1\n", r"dendrite 1e\+300 is no name"),
        ("dendrite,z_um,y_um,x_um\n", "0 dendrites"),
        ("", "no readable CSV"),
    ],
)
def test_bad_dendrite_tables(tmp_path, text, message):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(StackError, match=message):
        read_dendrites(tmp_path / "d.csv")


def test_reads_the_real_field(real_field):
    stack = read_stack(real_field / "session0.ome.tif")
    assert (stack.pixels.shape, stack.voxel_um, stack.saturation) == ((70, 1024, 1024), (1.0, 0.12, 0.12), 255.0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, about their own arguments
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_reads_what_another_library_wrote(tmp_path, version):
    """The reference implementation writes five axes and a pyramid."""
    writer = pytest.importorskip("ome_zarr.writer")
    formats = pytest.importorskip("ome_zarr.format")
    store = tmp_path / "theirs.ome.zarr"
    form = {"0.4": formats.FormatV04, "0.5": formats.FormatV05}[version]()
    group = zarr.open_group(store, mode="w", zarr_format=2 if version == "0.4" else 3)
    spaces = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *spaces]
    scales = [[1.0, 1.0, VOXEL_UM[0], *(size * 2**level for size in VOXEL_UM[1:])] for level in range(2)]
    writer.write_multiscale(
        [PIXELS[None, None], PIXELS[None, None, :, ::2, ::2]],
        group,
        axes=axes,
        fmt=form,
        coordinate_transformations=[[{"type": "scale", "scale": scale}] for scale in scales],
    )
    stack = read_stack(store)
    np.testing.assert_array_equal(stack.pixels, PIXELS)
    np.testing.assert_allclose(stack.voxel_um, VOXEL_UM)
