"""Rig configs: what a laboratory may write, and what it is told when it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquire.config import Limits, Orientation, PowerCalibration, find_config, read_rig_config
from acquire.errors import RigError, StudyError
from acquire.model import OVERVIEW_PLAN, StackPlan, StagePosition
from acquire.protocol import read_protocol

MINIMAL = """
name = "mine"
mm_config = "MMConfig_demo.cfg"
[roles]
scanner = "Camera"
z_drive = "Z"
[scan]
pixel_um = 0.2
[limits]
x_um = [-10.0, 10.0]
y_um = [-10.0, 10.0]
z_um = [-10.0, 10.0]
power_mw = 1.0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["simulated", "demo"])
def test_the_configs_that_travel_with_the_program_are_found_by_name(name):
    assert read_rig_config(name).name == name
    assert find_config(name).suffix == ".toml"


def test_a_minimal_config_says_what_it_cannot_do(tmp_path):
    missing = " ".join(read_rig_config(written(tmp_path, MINIMAL)).missing())
    for word in ("stage", "shutter", "surface camera", "power"):
        assert word in missing


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("name =", "nmae ="), "nmae"),
        (("z_drive = ", "zdrive = "), "roles.zdrive"),
        (("x_um = [-10.0, 10.0]", "x_um = [10.0, -10.0]"), "lower limit 10.0 um is not below"),
        (("power_mw = 1.0", "power_mw = -1.0"), "limits.power_mw"),
        (('mm_config = "MMConfig_demo.cfg"', ""), "nothing to load"),
        (("pixel_um = 0.2", "field_um_at_zoom_1 = 600.0"), "needs roles.zoom"),
        (("[roles]", "[roles"), "no valid TOML"),
        (('scanner = "Camera"', 'scanner = "Camera"\nsurface_camera = "C2"'), "surface_pixel_um"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, change, complaint):
    with pytest.raises(RigError, match=complaint.replace("[", r"\[")):
        read_rig_config(written(tmp_path, MINIMAL.replace(*change)))


def test_a_missing_config_is_one_line():
    with pytest.raises(RigError, match="no rig config nowhere"):
        read_rig_config("nowhere")


def test_a_power_table_must_rise():
    with pytest.raises(ValueError, match="must both rise"):
        PowerCalibration(value=(0.0, 1.0, 2.0), power_mw=(0.0, 5.0, 4.0))


@given(st.floats(0.0, 60.0))
def test_power_and_setting_are_inverse(power_mw):
    table = read_rig_config("simulated").power
    assert table is not None
    assert table.power_at(table.value_at(power_mw)) == pytest.approx(power_mw, abs=1e-6)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_a_position_is_refused_exactly_when_it_is_outside(x, y, z):
    limits = Limits(x_um=(-100, 100), y_um=(-200, 200), z_um=(-50, 60), power_mw=10)
    inside = -100 <= x <= 100 and -200 <= y <= 200 and -50 <= z <= 60
    refusal = limits.why_not(StagePosition(x_um=x, y_um=y, z_um=z))
    assert (refusal is None) == inside


def test_orientation_must_not_scale_or_shear():
    with pytest.raises(ValueError, match="rotation or a mirror"):
        Orientation(stage_from_image=((2.0, 0.0), (0.0, 1.0)))


def test_orientation_turns_image_offsets_into_stage_moves():
    orientation = Orientation(stage_from_image=((0.0, 1.0), (-1.0, 0.0)), deeper_is=-1)
    assert orientation.stage_offset_um((3.0, 1.0, 2.0)) == (1.0, -2.0, -3.0)


@given(
    power=st.floats(0, 50),
    length=st.floats(10, 500) | st.none(),
    step=st.floats(0.3, 5),
    depth=st.floats(0, 200),
)
def test_no_plane_ever_gets_more_than_the_limit(power, length, step, depth):
    plan = StackPlan(power_mw=power, attenuation_length_um=length, step_um=step, depth_um=depth)
    powers = [plan.plane_power_mw(plane) for plane in range(plan.planes)]
    assert max(powers) <= plan.power_limit_mw
    assert powers == sorted(powers)
    assert len(plan.plane_offsets_um) == plan.planes
    assert sum(plan.plane_offsets_um) == pytest.approx(0.0, abs=1e-6)


def test_a_plan_above_its_own_limit_is_refused():
    with pytest.raises(ValueError, match=r"power_mw 60\.0 is above power_limit_mw 50\.0"):
        StackPlan(power_mw=60.0)


def test_an_overview_that_says_little_stays_quick_and_coarse(tmp_path):
    file = tmp_path / "protocol.toml"
    file.write_text("[stack]\ndepth_um = 30.0\n[overview]\npower_mw = 8.0\n")
    protocol = read_protocol(file)
    assert protocol.overview == OVERVIEW_PLAN.model_copy(update={"power_mw": 8.0})
    assert protocol.stack.depth_um == 30.0


def test_a_field_of_one_plane_is_refused(tmp_path):
    file = tmp_path / "protocol.toml"
    file.write_text("[stack]\ndepth_um = 0.4\n")
    with pytest.raises(StudyError, match=r"stack: depth_um 0\.4 in steps of 1 um is one plane"):
        read_protocol(file)
