"""Calibration: known orientations are measured, wrong signs found, nothing is left lit, moved or half saved."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from acquire.calibrate import measure_orientation, orientation_of, plan_moves, see_depth
from acquire.calibrated import (
    changed_config,
    compare_cameras,
    compare_depth,
    compare_limits,
    compare_orientation,
    direction_in_image,
    judge_power,
    made_limits,
    power_table,
    straight,
    with_depth,
    with_limits,
    with_orientation,
    with_power,
)
from acquire.config import find_config, read_rig_config
from acquire.errors import RigError
from acquire.model import Light, StagePosition
from acquire.opening import open_rig
from acquire.orientation import CalibrationPlan
from acquire.rigfile import save_rig_config, why_not_name
from devices.shutterfile import is_shutter_open
from tests import test_faults as faulty

SCANNER = CalibrationPlan(camera="scanner", power_mw=20.0, frames=2)
SURFACE = CalibrationPlan()
QUICK = CalibrationPlan(camera="scanner", power_mw=20.0, frames=1, pixels=128)
CABLE = "the cable is out"


def turned(degrees, mirrored=False):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])


def config_of(matrix=None, *, shutter=None, **settings):
    config = read_rig_config("simulated")
    small = {"seed": 1, "half_width_um": 200.0, "surface_pixels": 384, "shutter_file": shutter, **settings}
    if matrix is not None:
        small["image_orientation"] = np.asarray(matrix).tolist()
    return config.model_copy(update={"load_settings": {**config.load_settings, **small}, "watchdog": None})


@contextlib.contextmanager
def at_a_dendrite(config):
    with open_rig(config) as rig:
        x, y, z = rig.loaded.good_places(1)[0]
        rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
        yield rig


@pytest.fixture(scope="module")
def shutter(tmp_path_factory):
    return str(tmp_path_factory.mktemp("rig") / "shutter")


@pytest.fixture(scope="module")
def opened(shutter):
    with at_a_dendrite(config_of(shutter=shutter)) as rig:
        yield rig, rig.position(), faulty.Faults(rig.core)


@pytest.fixture
def rig(opened):
    rig, start, watched = opened
    rig.move_to(start)
    rig.dim()
    watched.calls.clear()
    yield rig
    watched.heal()


@pytest.fixture
def faults(opened):
    return opened[2]


def off_deg(measured, matrix):
    turn = measured.stage_from_image.T @ matrix
    return abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))


# ---- orientation -------------------------------------------------------------------------------------------------

TRUTHS = [(0.0, True), (0.0, False), (90.0, False), (-37.0, True), (171.0, False)]


@pytest.mark.parametrize(("degrees", "mirrored"), TRUTHS)
def test_the_surface_camera_is_measured(degrees, mirrored):
    matrix, pixel_um = turned(degrees, mirrored), 2.3
    with at_a_dendrite(config_of(matrix, surface_pixel_um=pixel_um)) as rig:
        start = rig.position()
        measured = measure_orientation(rig, SURFACE)
        assert rig.position().lateral_distance_um(start) < 1.0
        assert rig.lit.seconds == 0.0
    assert measured.is_mirrored == mirrored
    assert off_deg(measured, matrix) < 0.5
    assert measured.pixels_um == pytest.approx((pixel_um, pixel_um), rel=0.01)
    assert np.cos(np.radians(measured.rotation_deg - degrees)) == pytest.approx(1.0, abs=1e-4)
    assert measured.residual_um < 1.0


@pytest.mark.parametrize(
    ("degrees", "mirrored", "wide_um"), [(0.0, True, 660.0), (-124.0, True, 600.0), (48.0, False, 510.0)]
)
def test_the_scanner_is_measured(degrees, mirrored, wide_um):
    matrix = turned(degrees, mirrored)
    with at_a_dendrite(config_of(matrix, field_um_at_zoom_1=wide_um)) as rig:
        measured = measure_orientation(rig, SCANNER)
        assert rig.lit.mj > 0.0
        changed = with_orientation(with_orientation(rig.config, measured), measured)
    assert measured.is_mirrored == mirrored
    assert off_deg(measured, matrix) < 0.5
    assert measured.pixel_um == pytest.approx(200.0 / 512 * wide_um / 600.0, rel=0.01)
    assert changed.scan.field_um_at_zoom_1 == pytest.approx(wide_um, rel=0.01)
    assert np.array(changed.orientation.stage_from_image) == pytest.approx(matrix, abs=0.01)


def said(config, measured):
    return {each.text: each.light for each in compare_orientation(config, measured)}


def test_a_config_that_agrees_is_told_so_and_stays():
    with at_a_dendrite(config_of()) as rig:
        measured = measure_orientation(rig, SURFACE)
    config = read_rig_config("simulated")
    texts = said(config, measured)
    assert set(texts.values()) == {Light.GREEN}
    assert any(text.startswith("stage +x is left in the image, as the config says") for text in texts)
    assert with_orientation(config, measured).orientation == config.orientation


@pytest.mark.parametrize(
    ("truth", "complaint"),
    [
        (turned(0.0), "stage +x is left in the image, measured right"),
        (turned(180.0), "stage +y is down in the image, measured up"),
        (turned(90.0, mirrored=True), "stage +x is left in the image, measured up"),
    ],
)
def test_wrong_signs_in_the_config_are_found(truth, complaint):
    with at_a_dendrite(config_of(truth)) as rig:
        measured = measure_orientation(rig, SURFACE)
        wrong = [text for text, light in said(rig.config, measured).items() if light is Light.RED]
        changed = with_orientation(rig.config, measured)
    assert any(complaint in text and "corrected the wrong way" in text for text in wrong)
    assert np.array(changed.orientation.stage_from_image) == pytest.approx(truth, abs=1e-9)


def seen_shifts(matrix_um, step_um=30.0, seed=3):
    """Images that a camera with any map from pixels to the stage would take at five places."""
    rng = np.random.default_rng(seed)
    scene = ndimage.gaussian_filter(rng.standard_normal((700, 700)), 2.5) * 400
    places = [(0.0, 0.0), (step_um, 0.0), (-step_um, 0.0), (0.0, step_um), (0.0, -step_um)]
    images = []
    for place in places:
        right, down = np.linalg.inv(matrix_um) @ place
        images.append(ndimage.shift(scene, (-down, -right), order=3, mode="wrap")[200:500, 200:500] + 500)
    return images, [StagePosition(x_um=x, y_um=y, z_um=0.0) for x, y in places]


def test_uneven_and_skewed_pixels_are_told_and_refused():
    config = read_rig_config("simulated")
    even = orientation_of(*seen_shifts(np.array([[-1.0, 0.0], [0.0, 1.0]])), "scanner", 30.0, told_pixel_um=1.0)
    assert set(said(config, even).values()) == {Light.GREEN}
    uneven = orientation_of(*seen_shifts(np.array([[-1.0, 0.0], [0.0, 1.12]])), "scanner", 30.0, told_pixel_um=1.0)
    assert uneven.pixels_um == pytest.approx((1.0, 1.12), rel=0.01)
    with pytest.raises(
        RigError, match=r"1\.\d+ um wide|wide and 1\.12 um high \(12\.\d% apart\).*adjust the amplitude"
    ):
        with_orientation(config, uneven)
    skewed = orientation_of(*seen_shifts(np.array([[1.0, 0.1], [0.0, 1.0]])), "scanner", 30.0, told_pixel_um=1.0)
    assert abs(skewed.skew_deg) == pytest.approx(5.7, abs=0.3)
    with pytest.raises(RigError, match=r"skewed by 5\.\d deg"):
        with_orientation(config, skewed)


def test_a_config_that_is_a_little_off_is_told_what_it_costs():
    config = read_rig_config("simulated")
    measured = orientation_of(*seen_shifts(turned(3.0, mirrored=True)), "scanner", 30.0, told_pixel_um=0.96)
    texts = said(config, measured)
    assert any("3.0 deg from where the config has it" in text and "would miss by 5.2 um" in text for text in texts)
    assert any("+4.2%" in text and "would go 96 um" in text for text in texts)
    assert set(texts.values()) == {Light.AMBER}


def test_cameras_that_lie_differently_are_told():
    one = orientation_of(*seen_shifts(turned(0.0)), "scanner", 30.0, told_pixel_um=1.0)
    same = orientation_of(*seen_shifts(2 * turned(0.2), 60.0), "surface_camera", 60.0, told_pixel_um=2.0)
    other = orientation_of(*seen_shifts(turned(90.0)), "surface_camera", 30.0, told_pixel_um=1.0)
    mirror = orientation_of(*seen_shifts(turned(0.0, mirrored=True)), "surface_camera", 30.0, told_pixel_um=1.0)
    assert compare_cameras(one, same).light is Light.GREEN
    assert "turned by 90.0 deg" in compare_cameras(one, other).text
    assert "mirrored" in compare_cameras(one, mirror).text


def test_images_that_do_not_follow_the_stage_or_fit_no_map_are_refused():
    images, places = seen_shifts(np.eye(2))
    with pytest.raises(
        RigError, match=r"does not follow the stage: it shifted by 0\.\d pixels when the stage moved 30"
    ):
        orientation_of([images[0]] * 5, places, "scanner", 30.0, told_pixel_um=1.0)
    elsewhere, _ = seen_shifts(np.eye(2), seed=4)
    with pytest.raises(RigError, match=r"image 3 of 5 is not recognised: \d of 9 parts"):
        orientation_of([*images[:2], elsewhere[2], *images[3:]], places, "scanner", 30.0, told_pixel_um=1.0)
    with pytest.raises(RigError, match=r"fit no one map: .* left over of moves of 30 um \(limit 1\.50 um\)"):
        orientation_of([images[0], images[2], images[2], *images[3:]], places, "scanner", 30.0, told_pixel_um=1.0)


def test_words_for_directions():
    assert direction_in_image(np.array([1.0, 0.0])) == "right"
    assert direction_in_image(np.array([-1.0, 1e-9])) == "left"
    assert direction_in_image(np.array([-1.0, -1e-9])) == "left"
    assert direction_in_image(np.array([0.1, 1.0])) == "down, turned 5.7 deg counter-clockwise"
    assert straight(turned(0.1)) == ((1.0, 0.0), (0.0, 1.0))
    assert straight(turned(1.0))[0][0] == pytest.approx(0.99985)


# ---- what is refused, and how it ends ------------------------------------------------------------------------------


def test_a_dark_image_is_refused_and_says_what_to_do(rig):
    start = rig.position()
    with pytest.raises(RigError, match=r"image 2 of 6 is not recognised: .* mend focus and light"):
        measure_orientation(rig, QUICK.model_copy(update={"power_mw": 0.0}))
    assert rig.position().lateral_distance_um(start) < 1.0


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (SCANNER.model_copy(update={"power_mw": None}), "give the power at the sample in mW"),
        (SCANNER.model_copy(update={"power_mw": 55.0}), r"power 55\.0 mW is outside 0 to 50\.0 mW"),
        (
            SCANNER.model_copy(update={"power_limit_mw": 15.0}),
            "power 20 mW is above the limit of this animal, 15 mW",
        ),
        (SURFACE.model_copy(update={"step_um": 4000.0}), r"moves of 4000 um from .* outside the limits"),
    ],
)
def test_what_goes_beyond_the_limits_is_refused_before_anything_moves(rig, faults, plan, complaint):
    lit = rig.lit
    with pytest.raises(RigError, match=complaint):
        measure_orientation(rig, plan)
    assert not [call for call in faults.calls if call.startswith(("setXYPosition", "setPosition", "snapImage"))]
    assert rig.lit == lit


def test_the_moves_and_the_light_are_told_before(rig):
    told = str(plan_moves(rig, SCANNER))
    assert told == (
        "6 images; the stage goes 30 um along x and y, to each side and back; the light is on for 6.3 s with 20 mW"
    )
    assert "the laser stays off" in str(plan_moves(rig, SURFACE))
    assert all(rig.why_not(place) is None for place in plan_moves(rig, SCANNER).places)


SPOILT = [
    ("setXYPosition XY", 2),
    ("setXYPosition XY", 4),
    ("getXYPosition XY", 9),
    ("setPosition Z", 2),
    ("snapImage", 3),
    ("getImage", 5),
    ("setShutterOpen Shutter", 4),
    ("setProperty Pockels.Voltage", 1),
    ("getShutterOpen Shutter", 5),
    ("waitForDevice XY", 1),
]


@pytest.mark.parametrize(("key", "number"), SPOILT)
def test_a_fault_leaves_the_rig_dark_and_the_stage_where_it_was(rig, faults, shutter, key, number):
    start = rig.position()
    faults.spoil(key, number, faulty.fail)
    with contextlib.suppress(RigError):  # a shutter that fails once to close is closed again, and work goes on
        measure_orientation(rig, QUICK)
    assert faults.spoilt
    assert not is_shutter_open(shutter)
    assert rig.position().lateral_distance_um(start) < 1.0
    assert rig.power_mw() == pytest.approx(0.0)


def test_a_stage_that_cannot_come_back_is_told_with_what_went_wrong_before(rig, monkeypatch):
    real = rig.core.setXYPosition
    sent = []

    def stuck(*given):
        sent.append(given)
        if len(sent) > 2:
            raise RuntimeError(CABLE)
        return real(*given)

    monkeypatch.setattr(rig.core, "setXYPosition", stuck)
    with pytest.raises(RigError, match=rf"moving XY .*{CABLE}; then the stage was not brought back to x .*{CABLE}"):
        measure_orientation(rig, SURFACE)


def test_a_wish_to_stop_ends_it_dark_and_back(rig, shutter):
    start, told = rig.position(), []

    def stop_at_third(what, share):
        told.append(what)
        if len(told) == 3:
            rig.stop()

    with pytest.raises(RigError, match="stopped; the light is off and the stage where it was"):
        measure_orientation(rig, QUICK, stop_at_third)
    assert told == ["image 1 of 6", "image 2 of 6", "image 3 of 6"]
    assert rig.position().lateral_distance_um(start) < 1.0
    assert not is_shutter_open(shutter)
    assert measure_orientation(rig, SURFACE).is_mirrored  # the next work goes on


def test_which_way_is_deeper_is_asked_not_guessed(rig):
    start = rig.position()
    views = see_depth(rig, SURFACE, 20.0)
    assert views.larger_z_um - views.z_um == pytest.approx(20.0, abs=1.0)
    assert views.here.shape == views.at_larger_z.shape == (384, 384)
    assert abs(rig.position().z_um - start.z_um) < 1.0
    with pytest.raises(RigError, match="a step of 80 um along z is refused"):
        see_depth(rig, SURFACE, 80.0)
    rig.move_z(495.0)
    with pytest.raises(RigError, match=r"z = 51\d\.\d um is outside the limits"):
        see_depth(rig, SURFACE, 20.0)
    config = rig.config
    assert compare_depth(config, "deeper").light is Light.GREEN
    assert "you saw that it is higher: stacks would be upside down" in compare_depth(config, "higher").text
    assert with_depth(config, "higher").orientation.deeper_is == -1
    assert with_depth(config, "deeper").orientation == config.orientation


# ---- power and limits ----------------------------------------------------------------------------------------------

VALUES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def read_power(spoil=None):
    readings = [(v, 60 * np.sin(np.pi / 2 * v) ** 2) for v in VALUES]
    return [*readings[:2], (0.4, spoil), *readings[3:]] if spoil else readings


def test_readings_make_the_table_of_the_config():
    config = read_rig_config("simulated")
    table = power_table(read_power()[::-1])
    assert table.value == tuple(VALUES)
    assert [each.light for each in judge_power(table, 50.0)] == [Light.GREEN]
    assert with_power(config, table).power == table
    with pytest.raises(RigError, match="has no power control"):
        with_power(read_rig_config("demo"), table)


@pytest.mark.parametrize(
    ("readings", "complaint"),
    [
        ([(0.0, 0.0)], "at least two readings, here are 1"),
        ([(0.0, 0.0), (0.5, 30.0), (1.0, 29.0)], r"falls from 30 mW at 0\.5 to 29 mW at 1; .* end the table where"),
        ([(0.0, 0.0), (0.5, 30.0), (0.5, 31.0)], r"the value 0\.5 was read twice \(30 and 31 mW\)"),
        ([(0.0, -1.0), (0.5, 30.0)], "greater than or equal to 0"),
        ([(0.0, 0.0), (0.5, float("inf"))], "finite number"),
    ],
)
def test_readings_that_make_no_table_are_refused(readings, complaint):
    with pytest.raises(RigError, match=complaint):
        power_table(readings)


def test_a_table_whose_least_power_is_above_the_limit_is_refused():
    with pytest.raises(RigError, match=r"least power in \[power\], 55\.0 mW, is above limits\.power_mw"):
        with_power(read_rig_config("simulated"), power_table([(0.0, 55.0), (1.0, 60.0)]))


@pytest.mark.parametrize(
    ("table", "limit_mw", "complaint"),
    [
        (
            read_power(spoil=28.0),
            50.0,
            r"28 mW at 0\.4 is off the curve of its neighbours \(21 mW\); read it again",
        ),
        ([(0.0, 3.0), (0.5, 30.0), (1.0, 60.0)], 50.0, "the least value still lets 3 mW through"),
        ([(0.0, 0.0), (0.5, 30.0), (1.0, 60.0)], 50.0, r"between 0 and 30 mW there is no reading.* at about 0\.25"),
        (read_power(), 80.0, "ends at 60 mW, below the limit of 80 mW"),
    ],
)
def test_what_is_remarkable_of_a_power_table_is_told(table, limit_mw, complaint):
    found = judge_power(power_table(table), limit_mw)
    assert any(re.search(complaint, each.text) and each.light is Light.AMBER for each in found), found


def test_limits_are_checked_as_in_the_file():
    config = read_rig_config("simulated")
    limits = made_limits(**{**config.limits.model_dump(), "x_um": (-4000.0, 3000.0), "power_mw": 40.0})
    assert [each.light for each in compare_limits(config.limits, limits)] == [Light.AMBER, Light.GREEN]
    assert with_limits(config, limits).limits == limits
    beyond = made_limits(**{**config.limits.model_dump(), "power_mw": 500.0})
    with pytest.raises(RigError, match="the power limit is 500 mW, but the power table ends at 60 mW"):
        with_limits(config, beyond)
    with pytest.raises(RigError, match=r"x_um: the lower limit 5\.0 um is not below"):
        made_limits(**{**config.limits.model_dump(), "x_um": (5.0, 5.0)})


# ---- the file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rig.toml"
    path.write_text(find_config("simulated").read_text(encoding="utf-8"), encoding="utf-8")
    return path


def recalibrated(config):
    upside = with_depth(config, "higher")
    return with_power(upside, power_table(read_power()))


def test_saving_changes_what_was_measured_and_keeps_comments_order_and_the_old_file(file):
    before = file.read_text(encoding="utf-8")
    config = recalibrated(read_rig_config(file))
    kept = save_rig_config(config, file)
    assert kept.read_text(encoding="utf-8") == before
    assert kept.name.startswith("rig.toml.20")
    assert kept.suffix == ".bak"
    assert read_rig_config(file) == config
    old, new = before.splitlines(), file.read_text(encoding="utf-8").splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert [b.split("=")[0].strip() for _, b in changed] == ["value", "power_mw", "deeper_is"]
    assert save_rig_config(config, file) != kept
    assert file.read_text(encoding="utf-8").splitlines() == new


def test_a_config_that_travels_with_the_program_is_never_overwritten(tmp_path):
    config, packaged = read_rig_config("simulated"), find_config("simulated")
    before = packaged.read_bytes()
    with pytest.raises(RigError, match="travels with the program and is never overwritten; save under a path"):
        save_rig_config(recalibrated(config), packaged)
    assert save_rig_config(recalibrated(config), tmp_path / "mine.toml", template=packaged) is None
    assert read_rig_config(tmp_path / "mine.toml") == recalibrated(config)
    assert packaged.read_bytes() == before
    with pytest.raises(RigError, match=r"does not end in \.toml"):
        save_rig_config(config, tmp_path / "mine.txt", template=packaged)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(RigError, match="is a folder; give the name of a file"):
        save_rig_config(config, tmp_path / "folder.toml", template=packaged)
    (tmp_path / "link.toml").symlink_to(packaged)
    with pytest.raises(RigError, match=r"link\.toml travels with the program"):
        save_rig_config(config, tmp_path / "link.toml", template=packaged)


def test_a_name_is_judged_without_a_look_at_the_disk(tmp_path, monkeypatch):
    packaged = find_config("simulated")
    why_not_name(packaged)
    with monkeypatch.context() as spoilt:  # a share that hangs: the window asks at every look
        for asks in ("is_dir", "resolve", "stat", "exists"):
            spoilt.setattr(Path, asks, lambda path, *_: pytest.fail(f"asked for {path}"))
        refusals = [why_not_name(path) for path in (packaged, tmp_path / "mine.txt", tmp_path / "mine.toml")]
    assert "never overwritten" in refusals[0]
    assert "does not end in .toml" in refusals[1]
    assert refusals[2] is None


def test_a_running_rig_saves_its_file_as_it_was_written(file):
    config = read_rig_config(file).for_opening("4711")
    save_rig_config(recalibrated(config), file)
    assert "{opening}" in file.read_text(encoding="utf-8")
    assert "4711" not in file.read_text(encoding="utf-8")


def test_a_section_that_the_file_lacks_is_added(tmp_path):
    file = tmp_path / "mine.toml"
    text = find_config("demo").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    config = with_depth(read_rig_config(file), "higher")
    save_rig_config(config, file)
    assert file.read_text(encoding="utf-8").startswith(text)
    assert read_rig_config(file) == config


def test_what_cannot_be_written_or_read_back_leaves_the_file_as_it_was(file, monkeypatch):
    before, config = file.read_bytes(), recalibrated(read_rig_config(file))
    with monkeypatch.context() as patch:
        patch.setattr("acquire.rigfile._changed_text", lambda *_: before.decode())
        with pytest.raises(RigError, match="was not saved: power reads back as"):
            save_rig_config(config, file)
    with monkeypatch.context() as patch:
        patch.setattr("acquire.rigfile._changed_text", lambda *_: "name = 3\n")
        with pytest.raises(RigError, match="roles"):
            save_rig_config(config, file)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copy2", full)
        with pytest.raises(RigError, match="No space left on device"):
            save_rig_config(config, file)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir() if "checking" in each.name] == []


def test_a_change_that_contradicts_the_rest_of_the_config_is_refused():
    with pytest.raises(RigError, match=r"needs the table \[power\]"):
        changed_config(read_rig_config("simulated"), power=None)
