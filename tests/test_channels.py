"""Channels and a region in a plan, from the rig to the disk: detectors read at once, presets one after another."""

import shutil

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image
from pydantic import ValidationError

from acquire import relocate
from acquire.channels import exposures_of
from acquire.config import ChannelRole, read_rig_config
from acquire.engine import PlanesInMemory, StackCancelledError, take_stack
from acquire.errors import RigError, StudyError
from acquire.frames import align_frames
from acquire.images import ImageProvenance, StackWriter, frames_path, is_complete, read_journal
from acquire.model import AnimalRecord, PlaneRecord, StackPlan, StagePosition, StudyRecord, TakenPlane
from acquire.opening import open_rig
from acquire.session import Session
from acquire.store import Study
from analysis.errors import StackError
from analysis.model import Transform
from analysis.stack import read_stack

ORIGIN = StagePosition(x_um=0.0, y_um=0.0, z_um=40.0)
DETECTORS = StackPlan(
    field_of_view_um=60.0, pixels=128, depth_um=4.0, step_um=1.0, frames_per_plane=2, channels=("green", "red")
)
PRESETS = DETECTORS.model_copy(update={"channels": ("rhodamine", "dapi")})
MULTI_CAMERA = """
Device,A,DemoCamera,DCam
Device,B,DemoCamera,DCam
Device,Both,Utilities,Multi Camera
Device,Z,DemoCamera,DStage
Property,Core,Initialize,1
Property,Both,Physical Camera 1,A
Property,Both,Physical Camera 2,B
"""


def changed(name, **update):
    """A config that travels with the program, with other entries."""
    config = read_rig_config(name)
    return type(config).model_validate({**config.model_dump(), **update})


@pytest.fixture(scope="module")
def simulated():
    with open_rig(read_rig_config("simulated")) as opened:
        yield opened


@pytest.fixture(scope="module")
def demo():
    with open_rig(read_rig_config("demo")) as opened:
        yield opened


@pytest.fixture(params=["simulated", "demo"])
def rig_and_plan(request):
    """Each rig with a plan of two channels of its kind: detectors read at once, presets one after another."""
    return request.getfixturevalue(request.param), {"simulated": DETECTORS, "demo": PRESETS}[request.param]


def provenance(rig, plan):
    return ImageProvenance(
        kind="stack",
        animal="M1",
        session="s",
        day=0.0,
        rig=rig.config.model_dump(mode="json"),
        stage=ORIGIN,
        plan=plan,
        saturation=rig.config.scan.saturation,
    )


def taken(rig, plan, place=ORIGIN):
    """Take a stack into memory; return the sink and the plan as it was taken."""
    plan, sink = rig.set_scan(plan), PlanesInMemory()
    take_stack(rig, plan, place, [sink])
    return sink, plan


def stored(rig, plan, path):
    plan = rig.set_scan(plan)
    with StackWriter(path, plan, provenance(rig, plan)) as writer:
        take_stack(rig, plan, ORIGIN, [writer])
    return plan


# ---- plans and configs -----------------------------------------------------------------------------------------------


def test_a_plan_names_each_channel_once_and_a_region_inside_its_field():
    with pytest.raises(ValidationError, match="red more than once"):
        StackPlan(channels=("red", "green", "red"))
    with pytest.raises(ValidationError, match="120 x 90 um is larger than field_of_view_um 90 um"):
        StackPlan(region_um=(120.0, 90.0))
    with pytest.raises(ValidationError, match="6 x 512 pixels, fewer than 16"):
        StackPlan(region_um=(1.0, 90.0))


@pytest.mark.parametrize("rows_um", [8.0, 20.1, 33.3, 59.9, 60.0])
def test_a_region_leaves_as_many_pixels_out_on_each_side(rows_um):
    plan = StackPlan(field_of_view_um=60.0, pixels=128, region_um=(rows_um, 60.0))
    _, rows, columns = plan.shape
    assert (columns, (128 - rows) % 2) == (128, 0)
    assert rows * plan.voxel_um[1] == pytest.approx(rows_um, abs=1.01 * plan.voxel_um[1])


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ({"green": {}}, "give camera_channel"),
        ({"green": {"group": "Channel"}}, "both group and preset"),
        (
            {"a": {"camera_channel": 0}, "b": {"group": "Channel", "preset": "DAPI"}},
            "some name a preset",
        ),
        ({"a": {"camera_channel": 1}, "b": {"camera_channel": 1}}, "channels.a and channels.b are the same"),
        ({"two words": {"camera_channel": 0}}, "channels.two words"),
    ],
)
def test_a_config_says_what_each_channel_is(channels, says):
    with pytest.raises(ValidationError, match=says):
        changed("simulated", channels=channels)


def test_channels_of_one_preset_are_read_at_once():
    roles = {
        "gfp": ChannelRole(group="Laser", preset="920"),
        "dye": ChannelRole(group="Laser", preset="1040", camera_channel=1),
        "plasma": ChannelRole(group="Laser", preset="920", camera_channel=1),
    }
    first, second = exposures_of(StackPlan(channels=("gfp", "dye", "plasma")), roles)
    assert (first.preset, first.places, first.camera_channels) == ("920", (0, 2), (0, 1))
    assert (second.preset, second.places, second.camera_channels) == ("1040", (1,), (1,))


@pytest.mark.parametrize(
    ("name", "channels", "says"),
    [
        ("simulated", {"blue": {"camera_channel": 2}}, r"camera channel 2, but Scanner has 0 \(green\), 1 \(red\)"),
        ("simulated", {"blue": {"group": "Channel", "preset": "DAPI"}}, "the group 'Channel'; there are: none"),
        ("demo", {"a": {"camera_channel": 1}}, "camera channel 1, but Camera has 0"),
        ("demo", {"a": {"group": "Colour", "preset": "DAPI"}}, "the group 'Colour'; there are: .*Channel"),
        ("demo", {"a": {"group": "Channel", "preset": "GFP"}}, "'GFP'; Channel has: Cy5, DAPI, FITC, Rhodamine"),
    ],
)
def test_channels_that_the_devices_lack_are_refused_at_opening(name, channels, says):
    with pytest.raises(RigError, match=says):
        open_rig(changed(name, channels=channels))


def test_unknown_channels_are_refused_before_the_light_goes_on(rig_and_plan):
    rig, plan = rig_and_plan
    lit_s = rig.lit.seconds
    with pytest.raises(RigError, match=f"the channel violet; this rig has {', '.join(rig.config.channels)}"):
        rig.set_scan(plan.model_copy(update={"channels": ("violet",)}))
    assert rig.lit.seconds == lit_s
    with open_rig(changed("simulated", channels={})) as bare, pytest.raises(RigError, match="one channel without name"):
        bare.set_scan(DETECTORS)


# ---- planes ----------------------------------------------------------------------------------------------------------


def test_planes_have_the_channels_of_the_plan(rig_and_plan):
    rig, plan = rig_and_plan
    sink, plan = taken(rig, plan)
    assert [plane.shape for plane in sink.planes] == [(2, *plan.shape[1:])] * plan.planes
    single, _ = taken(rig, plan.model_copy(update={"channels": ()}))
    assert [plane.shape for plane in single.planes] == [plan.shape[1:]] * plan.planes


def test_the_red_detector_sees_other_things_than_the_green_one(simulated):
    plan = DETECTORS.model_copy(update={"field_of_view_um": 300.0, "depth_um": 0.0, "channels": ("red", "green")})
    x, y, z = simulated.loaded.good_places(1)[0]
    place = StagePosition(x_um=x, y_um=y, z_um=z)
    both = taken(simulated, plan, place)[0].planes[0].astype(float)
    red, green = (taken(simulated, plan.model_copy(update={"channels": (name,)}), place)[0] for name in plan.channels)
    alike = [np.corrcoef(both[i].ravel(), sink.planes[0].ravel())[0, 1] for i, sink in enumerate((red, green))]
    assert min(alike) > 0.4
    assert abs(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 0.2
    assert np.percentile(both[0], 99) > np.median(both[0]) + 50


def test_the_first_channel_moves_the_others_with_it():
    rng = np.random.default_rng(0)
    shown, other = rng.poisson(20, (2, 96, 96)).astype(np.uint16)
    shown[40:50, 10:80] += 400
    shown[20:70, 30:36] += 400
    frames = [np.stack([shown, other]), np.roll(np.stack([shown, other]), (3, -2), axis=(1, 2))]
    aligned = align_frames(frames, 0.25)
    alone = align_frames([frame[0] for frame in frames], 0.25)
    np.testing.assert_array_equal(aligned.shifts_yx_um, alone.shifts_yx_um)
    np.testing.assert_array_equal(aligned.pixels[0], alone.pixels)
    assert aligned.motion_um > 0.3
    assert aligned.pixels.shape == (2, 96, 96)
    # Moved together, what is noise to the eye stays what it was: two rolled copies agree again.
    inside = aligned.pixels[1][8:-8, 8:-8].ravel().astype(float)
    rolled = [np.roll(other, shift, axis=(0, 1))[8:-8, 8:-8].ravel() for shift in ((1, -1), (2, -1))]
    apart = np.mean([frame[1] for frame in frames], axis=0)[8:-8, 8:-8].ravel()
    assert max(np.corrcoef(inside, image)[0, 1] for image in rolled) > 0.6
    assert inside.std() > apart.std()


def test_presets_are_set_in_the_dark_and_read_back(demo, monkeypatch):
    plan, dark = demo.set_scan(PRESETS), []
    real = demo.core.setConfig
    shutter = demo.config.roles.shutter

    def watched(group, preset):
        dark.append((preset, demo.core.getShutterOpen(shutter)))
        real(group, preset)

    monkeypatch.setattr(demo.core, "setConfig", watched)
    take_stack(demo, plan, ORIGIN, [PlanesInMemory()])
    assert dark[0][0] == "DAPI"
    assert [preset for preset, _ in dark[:3]] == ["DAPI", "Rhodamine", "DAPI"]
    assert not any(is_open for _, is_open in dark)
    monkeypatch.setattr(demo.core, "setConfig", lambda group, preset: None)
    with pytest.raises(RigError, match="Channel reads DAPI after it was set to Rhodamine"):
        demo.set_scan(PRESETS)


def test_a_preset_that_somebody_changes_in_a_plane_is_noticed(demo, monkeypatch):
    plan, real = demo.set_scan(PRESETS), demo.core.snapImage

    def meddle():
        real()
        demo.core.setConfig("Channel", "Cy5")

    monkeypatch.setattr(demo.core, "snapImage", meddle)
    sink = PlanesInMemory()
    with pytest.raises(RigError, match="Channel reads Cy5 after it was set to Rhodamine"):
        take_stack(demo, plan, ORIGIN, [sink])
    assert sink.planes == []
    assert not demo.core.getShutterOpen(demo.config.roles.shutter)


def test_each_preset_counts_as_one_more_exposure(rig_and_plan):
    rig, plan = rig_and_plan
    sink, plan = taken(rig, plan)
    exposures = {"simulated": 1, "demo": 2}[rig.config.name]
    assert rig.lit_ms(plan) == pytest.approx(exposures * rig.exposure_ms())
    for record in sink.records:
        lit_ms = record.exposure_ms * record.frames_taken + record.further_lit_ms
        assert lit_ms >= exposures * plan.frames_per_plane * record.exposure_ms - 1e-6
        assert (record.further_lit_ms > 0) == (exposures > 1)
        assert record.model_copy(update={"power_mw": 10.0}).dose_mj == pytest.approx(10.0 * lit_ms / 1000)


def test_a_camera_of_several_cxx_cameras_gives_its_images_at_once(tmp_path):
    (tmp_path / "multi.cfg").write_text(MULTI_CAMERA)
    config = changed(
        "demo",
        mm_config=str(tmp_path / "multi.cfg"),
        roles={"scanner": "Both", "z_drive": "Z"},
        channels={"left": {"camera_channel": 0}, "right": {"camera_channel": 1}},
    )
    plan = StackPlan(depth_um=2.0, step_um=1.0, frames_per_plane=1, channels=("right", "left"))
    with open_rig(config) as rig:
        rig.core.setProperty("B", "Mode", "Noise")
        sink, plan = taken(rig, plan)
        assert sink.planes[0].shape == (2, *plan.shape[1:])
        right, left = rig.snap().astype(float)
        assert left.std() > 0.5 > right.std()  # waves; noise of almost no light
        single = rig.why_not_in_bursts(plan.model_copy(update={"channels": ("left",)}))
        assert "2 images of each frame" in single


# ---- on disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["simulated", "demo"])
def store(request, tmp_path_factory):
    """A stack of two channels taken with each rig."""
    rig, plan = request.getfixturevalue(request.param), {"simulated": DETECTORS, "demo": PRESETS}[request.param]
    path = tmp_path_factory.mktemp(request.param) / "stack.ome.zarr"
    return path, stored(rig, plan, path)


def test_the_format_says_that_a_store_of_channels_is_valid(store):
    path, plan = store
    for written in (path, frames_path(path)):
        yaozarrs.validate_zarr_store(str(written))
        described = Image.from_zarr(zarr.open_group(written, mode="r")).ome_attributes
        axes = [axis.name for axis in described.multiscales[0].axes]
        assert axes == list("czyx" if written == path else "tczyx")
        assert [channel["label"] for channel in described.omero["channels"]] == list(plan.channels)
    frames = zarr.open_array(frames_path(path) / "0", mode="r")
    assert frames.shape == (plan.frames_per_plane + plan.replacement_frames, 2, *plan.shape)
    assert all(frames[:2, channel].std() > 0 for channel in range(2))


def test_ome_zarr_shows_the_channels_by_name(store):
    path, plan = store
    (node,) = list(Reader(parse_url(str(path)))())
    assert node.metadata["channel_names"] == list(plan.channels)
    assert node.data[0].shape == plan.stored_shape == (2, *plan.shape)
    transforms = node.metadata["coordinateTransformations"][0][0]
    assert transforms["scale"] == pytest.approx([1.0, *plan.voxel_um])


def test_the_analysis_reads_the_first_channel(store):
    path, plan = store
    array = tensorstore.open({"driver": "zarr3", "kvstore": f"file://{path}/0/"}).result().read().result()
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.pixels, array[0])
    np.testing.assert_array_equal(read_stack(path, channel=1).pixels, array[1])
    assert stack.voxel_um == pytest.approx(plan.voxel_um)


def test_a_plane_damaged_in_any_channel_is_noticed(store, tmp_path):
    path, _ = store
    copy = tmp_path / "stack.ome.zarr"
    shutil.copytree(path, copy)
    zarr.open_array(copy / "0", mode="r+")[1, 2, 0, 0] ^= 1
    with pytest.raises(StackError, match=r"plane 2 of 5 not as recorded"):
        read_stack(copy)


def test_room_is_asked_for_all_channels(simulated, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("acquire.images.check_space", lambda _path, size: asked.append(size))
    plan = simulated.set_scan(DETECTORS)
    StackWriter(tmp_path / "a.ome.zarr", plan, provenance(simulated, plan)).abandon()
    single = plan.of_first_channel()
    StackWriter(tmp_path / "b.ome.zarr", single, provenance(simulated, single)).abandon()
    assert asked[0] == 2 * asked[1] == 2 * 2 * 3 * int(np.prod(plan.shape))


def test_a_plane_of_other_channels_than_the_store_is_refused(simulated, tmp_path):
    plan = simulated.set_scan(DETECTORS)
    sink, _ = taken(simulated, plan.of_first_channel())
    with (
        pytest.raises(StudyError, match="channels or region changed"),
        StackWriter(tmp_path / "stack.ome.zarr", plan, provenance(simulated, plan)) as writer,
    ):
        writer.append(TakenPlane(sink.planes[0], (sink.planes[0],), sink.records[0]))


@pytest.fixture
def session(simulated, tmp_path):
    plan = StackPlan(
        field_of_view_um=60.0,
        pixels=256,
        depth_um=8.0,
        frames_per_plane=2,
        channels=("green", "red"),
        region_um=(45.0, 60.0),
    )
    with Study.create(tmp_path / "study", StudyRecord(name="channels", plan=plan)) as study:
        study.new_animal(AnimalRecord(id="M1"))
        with Session.open(study, "M1", simulated, day=0.0, new=True) as opened:
            x, y, z = simulated.loaded.good_places(1)[0]
            simulated.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
            opened.new_field()
            yield opened


def test_a_cut_stack_of_two_channels_is_gone_on_with(session):
    def progress(what, share):
        if "stack" in what and share > 0.5:
            session.stop()

    session._progress = progress
    with pytest.raises(StackCancelledError):
        session.take_stack("F01")
    session._progress = lambda *_: None
    store = session.study.unfinished_store(session.record, "F01")
    saved = [record.plane for record in read_journal(store)]
    before = zarr.open_array(store / "0", mode="r")[:, saved]
    assert session.take_stack("F01", resume=True) == store
    assert is_complete(store)
    array = zarr.open_array(store / "0", mode="r")
    assert array.shape == (2, 9, 192, 256)
    np.testing.assert_array_equal(array[:, saved], before)
    assert all(array[channel, plane].std() > 0 for channel in range(2) for plane in range(9))
    assert [record.plane for record in read_journal(store)] == list(range(9))
    assert session.quality("F01").planes == 9
    again = zarr.open_array(session.retake("F01", [3]) / "0", mode="r")
    assert [bool((again[:, plane] == array[:, plane]).all()) for plane in range(9)] == [n != 3 for n in range(9)]


# ---- region ----------------------------------------------------------------------------------------------------------


def test_a_region_is_scanned_in_the_middle_of_the_field(rig_and_plan):
    rig, plan = rig_and_plan
    plan = plan.model_copy(update={"region_um": (20.0, 40.0), "frames_per_plane": 1})
    sink, region = taken(rig, plan)
    whole_pixels, pixel_um = region.pixels, region.voxel_um[1]
    x, y, width, height = rig.core.getROI(rig.config.roles.scanner)
    assert region.shape[1:] == (height, width)
    assert (2 * x + width, 2 * y + height) == (whole_pixels, whole_pixels)
    assert region.region_um == pytest.approx((height * pixel_um, width * pixel_um))
    assert region.region_um == pytest.approx((20.0, 40.0), abs=1.01 * pixel_um)
    assert sink.planes[0].shape == (2, height, width)
    assert rig.set_scan(region) == region
    assert StackPlan.model_validate_json(region.model_dump_json()) == region
    whole = rig.set_scan(plan.model_copy(update={"region_um": None}))
    assert rig.snap().shape[-2:] == whole.shape[1:] == (whole_pixels, whole_pixels)


def test_a_region_shows_the_middle_of_the_field_and_takes_less_light():
    quiet = {**read_rig_config("simulated").load_settings, "pulsation_um": 0.0, "drift_um": 0.0}
    with open_rig(changed("simulated", load_settings=quiet)) as rig:
        x, y, z = rig.loaded.good_places(1)[0]
        place = StagePosition(x_um=x, y_um=y, z_um=z)
        plan = DETECTORS.model_copy(update={"depth_um": 0.0, "channels": (), "frames_per_plane": 8})
        whole, taken_whole = taken(rig, plan, place)
        region, taken_region = taken(rig, plan.model_copy(update={"region_um": (22.0, 40.0)}), place)
    _, rows, columns = taken_region.shape
    top, left = (128 - rows) // 2, (128 - columns) // 2
    middle = whole.planes[0][top : top + rows, left : left + columns].astype(float)
    assert np.corrcoef(region.planes[0].ravel(), middle.ravel())[0, 1] > 0.9
    share = rows * columns / 128**2
    assert region.records[0].exposure_ms == pytest.approx(share * whole.records[0].exposure_ms)
    assert region.records[0].dose_mj == pytest.approx(share * whole.records[0].dose_mj)
    assert taken_whole.extent_zyx_um == pytest.approx((0.0, 60.0, 60.0))
    assert taken_region.extent_zyx_um[1:] == pytest.approx(taken_region.region_um)


def test_relocation_turns_a_region_about_its_own_middle(simulated):
    plan = simulated.set_scan(DETECTORS.model_copy(update={"region_um": (20.0, 40.0)}))
    middle = (np.array(plan.shape) - 1) / 2 * np.array(plan.voxel_um)
    turned = relocate.about_middle(Transform.translation((1.0, 2.0, 3.0)), plan)
    assert turned.apply(middle) == pytest.approx(middle)
    assert middle[1:] == pytest.approx(((20.0 - 60 / 128) / 2, (40.0 - 60 / 128) / 2), abs=0.5)


def test_a_region_that_the_scanner_does_not_take_is_refused(rig_and_plan, monkeypatch):
    rig, plan = rig_and_plan
    plan = plan.model_copy(update={"region_um": (20.0, 40.0)})
    real = rig.core.setROI
    monkeypatch.setattr(rig.core, "setROI", lambda camera, x, y, width, height: real(camera, x, y, width - 8, height))
    with pytest.raises(RigError, match=r"scans \d+ x \d+ pixels from x \d+, y \d+ after it was set to \d+ x \d+"):
        rig.set_scan(plan)
    monkeypatch.undo()
    rig.set_scan(plan)


def test_a_region_larger_than_a_fixed_field_is_refused(demo):
    with pytest.raises(RigError, match=r"150 x 20 um is larger than the field of view of 102\.4 um"):
        demo.set_scan(StackPlan(field_of_view_um=200.0, region_um=(150.0, 20.0)))


def test_records_of_stacks_taken_before_there_were_channels_are_read():
    record = PlaneRecord.model_validate_json(
        '{"plane":0,"time":"2026-01-05T09:30:00Z","stage":{"x_um":0,"y_um":0,"z_um":0},"power_mw":10,'
        '"power_setting":0.4,"exposure_ms":500,"pmt_gain":1,"zoom":5,"frames":2,"frames_taken":2}'
    )
    assert record.dose_mj == pytest.approx(10.0)
    assert StackPlan.model_validate({"pixels": 64}).channels == ()
