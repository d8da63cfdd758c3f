"""The simulated rig as Micro-Manager sees it, and the truth that it hands to tests."""

import dataclasses
import gc
import time

import numpy as np
import pytest
import tifffile
from pymmcore_plus.experimental.unicore import UniMMCore
from scipy import ndimage
from useq import MDASequence

from devices.laser import power_mw
from devices.simulated import load

MIRRORED = ((-1.0, 0.0), (0.0, 1.0))
TURNED = ((0.0, -1.0), (1.0, 0.0))
TURNED_AND_MIRRORED = ((0.0, 1.0), (1.0, 0.0))
STILL = {"pulsation_um": 0.0, "drift_um": 0.0, "repeatability_um": 0.0}


@pytest.fixture(scope="module")
def shared():
    """One core with one rig: loading is most of the work."""
    core = UniMMCore()
    yield core, load(core, seed=2, half_width_um=360.0, **STILL)
    core.unloadAllDevices()
    # The core's callback thread must be gone before the interpreter comes to its end.
    del core
    gc.collect()
    time.sleep(0.3)


@pytest.fixture
def core(shared):
    """The shared core, as it was after loading."""
    core, rig = shared
    rig.mount(0, 0.0)
    core.setCameraDevice("Scanner")
    core.setShutterOpen(False)
    core.setXYPosition(0.0, 0.0)
    core.setPosition(0.0)
    for label, name, value in (("Pockels", "Voltage", 0.4), ("PMT", "Gain", 1.0), ("Scanner", "PixelDwell_us", 2.0)):
        core.setProperty(label, name, value)
    return core


@pytest.fixture
def rig(core, shared):
    return shared[1]


@pytest.fixture
def own_core():
    """A core without devices."""
    made = UniMMCore()
    yield made
    made.unloadAllDevices()


def look(core, rig, *, zoom=6.0, pixels=256, place=None):
    """Put the light on a good place and return its position."""
    x_um, y_um, z_um = place or rig.good_places(1)[0]
    core.setXYPosition(x_um, y_um)
    core.setPosition(z_um)
    core.setProperty("Scanner", "Zoom", zoom)
    core.setProperty("Scanner", "Resolution", pixels)
    core.setShutterOpen(True)
    return x_um, y_um, z_um


def snap(core, frames=1):
    images = []
    for _ in range(frames):
        core.snapImage()
        images.append(core.getImage().astype(float))
    return np.mean(images, axis=0)


def content_shift_px(before, after):
    """Return by how many (rows, columns) the content has moved, by correlation."""
    a, b = (ndimage.gaussian_filter(i, 1.5) for i in (before, after))
    a, b = a - a.mean(), b - b.mean()
    peak = np.fft.ifft2(np.fft.fft2(b) * np.conj(np.fft.fft2(a))).real
    where = np.array(np.unravel_index(np.argmax(peak), peak.shape))
    return (where + np.array(peak.shape) // 2) % peak.shape - np.array(peak.shape) // 2


def test_loading_gives_devices_and_roles(core, rig):
    for label in ("Scanner", "XY", "Z", "Shutter", "Pockels", "PMT", "SurfaceCamera"):
        assert label in core.getLoadedDevices()
    assert (core.getCameraDevice(), core.getXYStageDevice()) == ("Scanner", "XY")
    assert (core.getFocusDevice(), core.getShutterDevice()) == ("Z", "Shutter")
    assert not core.getAutoShutter()
    assert not core.getShutterOpen()
    assert core.getProperty("Scanner", "BitDepth") == 12
    assert rig.sample_days is None


@pytest.mark.parametrize(
    ("label", "name", "value"),
    [
        ("Scanner", "Zoom", 12.5),
        ("Scanner", "Resolution", 300),
        ("Scanner", "PixelDwell_us", 1.5),
        ("Pockels", "Voltage", 0.7),
        ("PMT", "Gain", 2.5),
    ],
)
def test_properties_read_back(core, rig, label, name, value):
    core.setProperty(label, name, value)
    assert core.getProperty(label, name) == value
    core.setProperty(label, name, str(value))
    assert core.getProperty(label, name) == value


@pytest.mark.parametrize(
    ("label", "name", "value"),
    [
        ("Scanner", "Zoom", 41),
        ("Scanner", "Resolution", 32),
        ("Scanner", "Resolution", 100.5),
        ("Pockels", "Voltage", 1.1),
        ("PMT", "Gain", -1),
    ],
)
def test_properties_out_of_range_are_refused(core, rig, label, name, value):
    with pytest.raises((ValueError, RuntimeError)):
        core.setProperty(label, name, value)


def test_light_needs_an_open_shutter_and_power(core, rig):
    look(core, rig)
    lit = snap(core)
    core.setShutterOpen(False)
    closed = snap(core)
    core.setShutterOpen(True)
    core.setProperty("Pockels", "Voltage", 0.0)
    without_power = snap(core)
    assert lit.max() > 500
    assert closed.max() < 140
    assert without_power.max() < 140


def test_shafts_have_a_few_hundred_to_two_thousand_counts_at_15_mw(core, rig):
    look(core, rig)
    core.setProperty("Pockels", "Voltage", 2.0 / np.pi * np.arcsin(np.sqrt(15.0 / 60.0)))
    assert 300 < np.percentile(snap(core, 4), 99.7) < 2200


def test_signal_grows_with_the_square_of_the_power(core, rig):
    look(core, rig)
    signals = []
    for voltage in (0.2, 0.3):
        core.setProperty("Pockels", "Voltage", voltage)
        signals.append(snap(core, 12).mean() - 100.0)
    assert signals[1] / signals[0] == pytest.approx((power_mw(0.3) / power_mw(0.2)) ** 2, rel=0.05)


def test_high_gain_saturates_at_4095(core, rig):
    look(core, rig)
    core.setProperty("PMT", "Gain", 10.0)
    core.setProperty("Pockels", "Voltage", 1.0)
    assert snap(core).max() == 4095


def test_noise_of_a_place_is_that_of_photons(core, rig):
    look(core, rig)
    frames = []
    for _ in range(40):
        core.snapImage()
        frames.append(core.getImage().astype(float))
    mean, variance = np.mean(frames, axis=0), np.var(frames, axis=0, ddof=1)
    bright = mean > 400
    per_photon = np.mean((variance[bright] - 25.0) / (mean[bright] - 100.0))
    assert per_photon == pytest.approx(40.0, rel=0.1)


@pytest.mark.parametrize("orientation", [MIRRORED, TURNED, TURNED_AND_MIRRORED])
def test_content_moves_against_the_stage_as_the_orientation_says(own_core, orientation):
    core = own_core
    rig = load(core, seed=2, half_width_um=360.0, image_orientation=orientation, **STILL)
    x_um, y_um, _ = look(core, rig)
    pixel_um = 600.0 / 6.0 / 256
    before = snap(core, 2)
    right_px, down_px = 20, -12
    stage_um = np.array(orientation) @ (np.array([right_px, down_px]) * pixel_um)
    core.setXYPosition(x_um + stage_um[0], y_um + stage_um[1])
    # What was at (right, down) is now in the middle.
    np.testing.assert_array_equal(content_shift_px(before, snap(core, 2)), [-down_px, -right_px])


@pytest.mark.parametrize("orientation", [MIRRORED, TURNED])
def test_the_surface_moves_as_the_scanner_does(own_core, orientation):
    core = own_core
    rig = load(core, seed=2, half_width_um=360.0, image_orientation=orientation, **STILL)
    rig.mount(1, 1.0)
    core.setCameraDevice("SurfaceCamera")
    before = snap(core)
    stage_um = np.array(orientation) @ np.array([80.0, -60.0])
    core.setXYPosition(*stage_um)
    np.testing.assert_allclose(content_shift_px(before, snap(core)), [30, -40], atol=1)
    assert before.shape == (1024, 1024)
    assert before.mean() > 800


def test_the_surface_does_not_need_the_shutter(core, rig):
    core.setCameraDevice("SurfaceCamera")
    assert not core.getShutterOpen()
    image = snap(core)
    assert np.percentile(image, 1) < 0.75 * np.median(image)


def test_the_head_moves_in_the_surface_image_as_it_is_mounted(own_core):
    core = own_core
    rig = load(core, seed=2, half_width_um=360.0, mount_yaw_deg=0.0, mount_tilt_deg=0.0, **STILL)
    core.setCameraDevice("SurfaceCamera")
    before = snap(core)
    rig.mount(1, 4.0)
    shift_um = rig.pose(1).shift_zyx_um
    # The image runs against the stage's x.
    expected_px = np.array([shift_um[1], -shift_um[2]]) / 2.0
    np.testing.assert_allclose(content_shift_px(before, snap(core)), expected_px, atol=2.0)


def test_two_rigs_of_one_seed_are_the_same_and_another_seed_is_not(own_core):
    core = own_core
    images = []
    for seed in (5, 5, 6):
        core.unloadAllDevices()
        rig = load(core, seed=seed, half_width_um=300.0)
        rig.mount(2, 4.0)
        core.setXYPosition(20.0, 10.0)
        core.setPosition(40.0)
        core.setShutterOpen(True)
        images.append(snap(core))
    np.testing.assert_array_equal(images[0], images[1])
    assert np.any(images[0] != images[2])


def take_stack(core, centre_xyz_um, depths_um, frames=1):
    core.setXYPosition(*centre_xyz_um[:2])
    planes = []
    for depth_um in depths_um:
        core.setPosition(centre_xyz_um[2] + depth_um)
        planes.append(snap(core, frames))
    return np.array(planes)


def test_true_spines_are_bright_and_where_they_are_said_to_be(core, rig):
    rig.mount(3, 4.0)
    place = look(core, rig, zoom=8.0, pixels=512)
    depths_um = np.arange(-10.0, 10.5, 1.0)
    stack = take_stack(core, place, depths_um, frames=3)
    voxel_um = (1.0, 75.0 / 512, 75.0 / 512)
    spines = rig.true_spines(3, place, stack.shape, voxel_um)
    spines = spines[spines.scorable & (spines.kind == "spine")]
    assert len(spines) > 20
    heads = spines[["head_z_um", "head_y_um", "head_x_um"]].to_numpy() / voxel_um
    smooth = ndimage.gaussian_filter(stack, (0.4, 1, 1))
    at_heads = ndimage.map_coordinates(smooth, heads.T, order=1)
    background, noise = np.median(smooth), 1.48 * np.median(np.abs(smooth - np.median(smooth)))
    assert np.mean(at_heads > background + 4.0 * noise) > 0.85
    # Off by 1.5 um in any lateral direction it is darker: the truth is not beside the spines.
    for shift in ((0, 10, 0), (0, -10, 0), (0, 0, 10), (0, 0, -10)):
        beside = ndimage.map_coordinates(smooth, heads.T + np.array(shift)[:, None], order=1, mode="nearest")
        assert np.median(at_heads) > np.median(beside)


def test_displacement_is_what_the_images_show(core, rig):
    rig = dataclasses.replace(rig, ranges=dataclasses.replace(rig.ranges, mount_yaw_deg=1.0, mount_tilt_deg=0.7))
    rig.mount(0, 0.0)
    reference_xyz_um = look(core, rig, zoom=10.0, pixels=256)
    extent_zyx_um = (6.0, 60.0, 60.0)
    reference = take_stack(core, reference_xyz_um, np.arange(-3.0, 4.0), frames=2)
    dz_um, dy_um, dx_um = rig.displacement_um(0, reference_xyz_um, 1, reference_xyz_um, extent_zyx_um)
    assert np.hypot(dx_um, dy_um) > 5.0
    moved = np.add(reference_xyz_um, [*(np.array(MIRRORED) @ [dx_um, dy_um]), dz_um])
    left = rig.displacement_um(0, reference_xyz_um, 1, moved, extent_zyx_um)
    np.testing.assert_allclose(left, 0.0, atol=0.05)
    rig.mount(1, 0.0)
    pixel_um = 60.0 / 256
    away = np.add(moved, [*(np.array(MIRRORED) @ [10 * pixel_um, -6 * pixel_um]), 0.0])
    today = take_stack(core, away, np.arange(-3.0, 4.0), frames=2)
    measured_px = content_shift_px(reference.max(axis=0), today.max(axis=0))
    _, y_um, x_um = rig.displacement_um(0, reference_xyz_um, 1, away, extent_zyx_um)
    np.testing.assert_allclose(measured_px * pixel_um, [y_um, x_um], atol=1.0)


def test_places_are_apart_on_dendrites_and_follow_the_mounting(core, rig):
    places = np.array(rig.good_places(3))
    apart = np.hypot(*(places[:, None, :2] - places[None, :, :2]).T)
    assert apart[np.triu_indices(3, 1)].min() >= 120.0
    rig.mount(1, 4.0)
    later = np.array(rig.good_places(3))
    for before, after in zip(places, later, strict=True):
        left = rig.displacement_um(0, before, 1, after, (0.0, 0.0, 0.0))
        np.testing.assert_allclose(left, 0.0, atol=0.02)
        assert len(rig.true_spines(1, after, (21, 256, 256), (1.0, 0.3, 0.3))) > 20


def test_an_unknown_session_has_no_truth(rig):
    with pytest.raises(ValueError, match="Session 7 has not been mounted"):
        rig.true_spines(7, (0, 0, 40), (10, 64, 64), (1, 0.2, 0.2))


def test_spine_ids_stay_with_the_spine(core, rig):
    place = rig.good_places(1)[0]
    first = rig.true_spines(0, place, (31, 400, 400), (1.0, 0.2, 0.2)).set_index("spine_id")
    rig.mount(1, 4.0)
    after = rig.true_spines(1, rig.good_places(1)[0], (31, 400, 400), (1.0, 0.2, 0.2)).set_index("spine_id")
    both = first.index.intersection(after.index)
    assert len(both) > 0.75 * len(first)
    assert len(after.index.difference(first.index)) > 0
    np.testing.assert_array_equal(first.loc[both, "length_um"], after.loc[both, "length_um"])


def test_a_sequence_of_planes_runs_through_the_engine(core, rig):
    look(core, rig, pixels=64)
    frames = []
    core.mda.events.frameReady.connect(lambda image, event, meta: frames.append((image, event.z_pos)))
    reached = []
    core.events.stagePositionChanged.connect(lambda label, z_um: reached.append(z_um))
    core.mda.run(MDASequence(z_plan={"absolute": [30.0, 32.0, 34.0]}, axis_order="z"))
    assert [z for _, z in frames] == [30.0, 32.0, 34.0]
    assert all(image.shape == (64, 64) and image.dtype == np.uint16 for image, _ in frames)
    assert reached[:3] == [30.0, 32.0, 34.0]


def test_live_frames_arrive(core, rig):
    look(core, rig, pixels=64)
    core.startSequenceAcquisition(5, 0, True)
    deadline = time.monotonic() + 10.0
    while core.getRemainingImageCount() < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    frames = [core.popNextImage() for _ in range(5)]
    core.stopSequenceAcquisition()
    assert all(frame.max() > 200 for frame in frames)
    assert np.any(frames[0] != frames[1])


def test_exposure_is_the_frame_time(core, rig):
    core.setProperty("Scanner", "Resolution", 500)
    core.setProperty("Scanner", "PixelDwell_us", 2.0)
    assert core.getExposure() == pytest.approx(500.0)
    core.setExposure(250.0)
    assert core.getProperty("Scanner", "PixelDwell_us") == pytest.approx(1.0)


def test_real_time_takes_the_frame_and_moving_time(own_core):
    core = own_core
    load(core, half_width_um=250.0, realtime=True)
    core.setProperty("Scanner", "Resolution", 128)
    core.setProperty("Scanner", "PixelDwell_us", 12.0)
    started_s = time.monotonic()
    core.snapImage()
    assert time.monotonic() - started_s >= 0.19
    core.setXYPosition(300.0, 0.0)
    assert core.deviceBusy("XY")
    started_s = time.monotonic()
    core.waitForDevice("XY")
    assert 0.1 < time.monotonic() - started_s < 1.0


def test_stages_tell_where_they_went_and_read_back_what_they_reached(own_core):
    core = own_core
    load(core, half_width_um=250.0, repeatability_um=0.05)
    told = []
    core.events.XYStagePositionChanged.connect(lambda *args: told.append(args))
    core.events.stagePositionChanged.connect(lambda *args: told.append(args))
    core.setXYPosition(12.0, -30.0)
    core.setPosition(45.0)
    core.setRelativeXYPosition(5.0, 0.0)
    assert [args[0] for args in told] == ["XY", "Z", "XY"]
    assert core.getXYPosition() == pytest.approx((17.0, -30.0), abs=0.5)
    assert core.getXYPosition() != (17.0, -30.0)
    assert told[1][1] == core.getPosition() == pytest.approx(45.0, abs=0.4)


@pytest.mark.parametrize(
    "move",
    [
        lambda c: c.setXYPosition(2e4, 0.0),
        lambda c: c.setXYPosition(0.0, float("nan")),
        lambda c: c.setPosition(1500.0),
    ],
)
def test_moves_out_of_range_are_refused_and_nothing_moves(core, rig, move):
    before = (*core.getXYPosition(), core.getPosition())
    with pytest.raises(ValueError, match=r"travels from -\d+ to \d+ um"):
        move(core)
    assert (*core.getXYPosition(), core.getPosition()) == before


def test_a_mirror_that_stretches_is_refused(own_core):
    core = own_core
    with pytest.raises(ValueError, match="does not keep lengths"):
        load(core, image_orientation=((2.0, 0.0), (0.0, 1.0)))


# --- recorded stacks ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Two small stacks with spots."""
    for session in range(2):
        rng = np.random.default_rng(session)
        stack = np.zeros((21, 128, 128))
        stack[rng.integers(2, 19, 40), rng.integers(8, 120, 40), rng.integers(8, 120, 40)] = 1.0
        stack = ndimage.gaussian_filter(stack, (1, 2, 2))
        pixels = (250.0 * stack / stack.max()).astype(np.uint8)
        metadata = {"axes": "ZYX", "PhysicalSizeZ": 1.0, "PhysicalSizeY": 0.25, "PhysicalSizeX": 0.25}
        tifffile.imwrite(tmp_path / f"session{session}.ome.tif", pixels, metadata=metadata)
    return tmp_path


@pytest.fixture
def core_of_own_stack(own_core, folder, tmp_path_factory):
    """A rig that looks at a 16-bit recording with an offset of 100 counts."""
    elsewhere = tmp_path_factory.mktemp("offset")
    pixels = tifffile.imread(folder / "session0.ome.tif").astype(np.uint16) * 10 + 100
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 1.0, "PhysicalSizeY": 250.0, "PhysicalSizeX": 250.0}
    metadata |= {"PhysicalSizeYUnit": "nm", "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(elsewhere / "one.ome.tif", pixels, metadata=metadata)
    return own_core, load(own_core, sample=str(elsewhere), **STILL)


@pytest.mark.parametrize("orientation", [MIRRORED, TURNED])
def test_a_recording_looks_as_it_was_recorded(own_core, folder, orientation):
    core = own_core
    rig = load(core, sample=str(folder), image_orientation=orientation, **STILL)
    x_um, y_um, z_um = look(core, rig, zoom=600.0 / 32.0, pixels=128)
    core.setProperty("Pockels", "Voltage", 0.5)
    recorded = tifffile.imread(folder / "session0.ome.tif").astype(float)
    for plane in (5, 10, 15):
        core.setPosition(z_um + plane - 10)
        assert np.corrcoef(snap(core, 4).ravel(), recorded[plane].ravel())[0, 1] > 0.9
    core.setXYPosition(x_um + 200.0, y_um)
    assert snap(core).max() < 140


def test_a_recording_with_a_dark_offset_glows_no_more_than_its_surroundings(core_of_own_stack):
    core, rig = core_of_own_stack
    x_um, y_um, _ = look(core, rig, zoom=600.0 / 32.0, pixels=128)
    inside = snap(core, 4)
    core.setXYPosition(x_um + 200.0, y_um)
    outside = snap(core, 4)
    assert np.median(inside) == pytest.approx(np.median(outside), abs=3.0)
    assert inside.max() > 500


def test_a_recording_is_placed_anew_in_each_session(own_core, folder):
    core = own_core
    rig = load(core, sample=str(folder), **STILL)
    assert rig.sample_days == (0.0, 1.0)
    rig.mount(1, 1.0)
    place = rig.good_places(1)[0]
    assert np.hypot(place[0], place[1]) > 1.0
    look(core, rig, zoom=600.0 / 32.0, pixels=128, place=place)
    recorded = tifffile.imread(folder / "session1.ome.tif").astype(float)[6:15].max(axis=0)
    seen = take_stack(core, place, np.arange(-4.0, 5.0)).max(axis=0)
    middle = (slice(24, -24), slice(24, -24))
    turned = [
        ndimage.rotate(seen, angle_deg, reshape=False, order=1)[middle] for angle_deg in np.arange(-6.0, 6.5, 0.5)
    ]
    best = max(np.corrcoef(image.ravel(), recorded[middle].ravel())[0, 1] for image in turned)
    assert best > 0.6
    assert rig.displacement_um(0, (0, 0, 50), 1, place, (10, 30, 30)) is None
    assert rig.true_spines(1, place, (21, 128, 128), (1, 0.25, 0.25)).empty
    assert rig.true_dendrites(1, place, (21, 128, 128), (1, 0.25, 0.25)).empty
    with pytest.raises(ValueError, match="1 place"):
        rig.good_places(2)
    with pytest.raises(ValueError, match="holds 2, sessions 0 to 1"):
        rig.mount(2, 2.0)


def test_days_come_from_the_table(own_core, folder):
    core = own_core
    (folder / "sessions.csv").write_text("session,day\n0,0.0\n1,4.1\n", encoding="utf-8")
    assert load(core, sample=str(folder)).sample_days == (0.0, 4.1)


def test_a_folder_that_cannot_be_used_is_refused_in_one_line(own_core, tmp_path):
    core = own_core
    with pytest.raises(ValueError, match="There is no folder"):
        load(core, sample=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"No \*\.tif"):
        load(core, sample=str(tmp_path))
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((5, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="does not say its voxel size"):
        load(core, sample=str(tmp_path))
    (tmp_path / "plain.tif").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        load(core, sample=str(tmp_path))


def test_the_real_field_is_a_sample(own_core, real_field):
    core = own_core
    rig = load(core, sample=str(real_field))
    assert rig.sample_days == (0.0, 4.1, 8.02)
    look(core, rig, zoom=5.0, pixels=512, place=(0.0, 0.0, 46.0))
    assert np.percentile(snap(core, 2), 99.5) > 300
