"""Head poses: arithmetic between image, stage of then and stage of today."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquire import relocate
from acquire.config import Orientation
from acquire.model import StackPlan, StagePosition
from analysis.model import Transform

MIRRORED = Orientation(stage_from_image=((-1.0, 0.0), (0.0, 1.0)))
shifts = st.floats(-300, 300)


def image_at(x, y, orientation=MIRRORED):
    return relocate.ImageOnStage(StagePosition(x_um=x, y_um=y, z_um=0.0), 2.0, (101, 201), orientation)


def test_the_centre_of_an_image_lies_under_the_stage_position():
    to_stage = image_at(30.0, -40.0).stage_from_image()
    assert to_stage.apply((100.0, 200.0)) == pytest.approx((-40.0, 30.0))


def test_right_in_a_mirrored_image_is_left_on_the_stage():
    to_stage = image_at(0.0, 0.0).stage_from_image()
    assert to_stage.apply((100.0, 210.0)) == pytest.approx((0.0, -10.0))


@given(shifts, shifts, st.floats(-20, 20))
def test_a_head_that_moved_is_predicted_through_two_images(x, y, yaw):
    """Vessels that moved with the head lead a stored position to where the head took it."""
    head = Transform.similarity((y, x), yaw_deg=yaw)  # stage of then -> stage of today, (y, x)
    then, today = image_at(5.0, 7.0), image_at(-12.0, 3.0)
    today_from_then_image = today.stage_from_image().inverse() @ head @ then.stage_from_image()
    pose = relocate.pose_from_surface(then, today, today_from_then_image.inverse())
    predicted = relocate.predict(pose, StagePosition(x_um=100.0, y_um=50.0, z_um=20.0))
    expected = head.apply((50.0, 100.0))
    assert (predicted.y_um, predicted.x_um) == pytest.approx(tuple(expected), abs=1e-6)
    assert predicted.z_um == 20.0


@given(st.floats(-50, 50), shifts, shifts)
def test_one_found_field_teaches_the_shift(dz, dy, dx):
    stored = StagePosition(x_um=10.0, y_um=20.0, z_um=30.0)
    pose = relocate.learn(Transform.identity(), [(stored, stored.moved(dx, dy, dz))])
    other = relocate.predict(pose, StagePosition(x_um=0.0, y_um=0.0, z_um=0.0))
    assert other.xyz_um == pytest.approx((dx, dy, dz))


def test_three_found_fields_teach_the_tilt():
    tilted = Transform.rigid((4.0, 3.0, 2.0), tilt_y_deg=1.5, tilt_x_deg=-1.0)
    places = [(0.0, 0.0), (400.0, 0.0), (0.0, 400.0), (300.0, 300.0)]
    stored = [StagePosition(x_um=x, y_um=y, z_um=40.0) for x, y in places]
    found = [relocate.predict(tilted, position) for position in stored]
    pose = relocate.learn(Transform.identity(), list(zip(stored[:3], found[:3], strict=True)))
    assert relocate.predict(pose, stored[3]).z_um == pytest.approx(found[3].z_um, abs=0.5)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20), st.floats(-8, 8), st.floats(-3, 3))
def test_moving_by_the_offset_brings_the_field_back(dz, dy, dx, yaw, tilt):
    plan = StackPlan(field_of_view_um=120, pixels=256, depth_um=68, step_um=2)
    middle = (np.array(plan.shape) - 1) / 2 * np.array(plan.voxel_um)
    today_from_reference = Transform.rigid((dz, dy, dx), yaw_deg=yaw, tilt_y_deg=tilt, centre_zyx_um=middle)
    offset = relocate.offset_zyx_um(today_from_reference.inverse(), plan)
    assert offset == pytest.approx((dz, dy, dx), abs=1e-6)


def test_advice_names_the_lower_side():
    advice = relocate.tilt_advice(Transform.rigid(yaw_deg=2.0, tilt_y_deg=-1.4))
    assert "bottom of the image 1.4 deg lower" in advice
