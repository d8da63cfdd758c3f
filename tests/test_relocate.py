"""Head poses: arithmetic between image, stage of then and stage of today."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acquire import relocate
from acquire.config import Orientation
from acquire.model import StackPlan, StagePosition
from analysis.model import Transform, Verdict
from analysis.register import StackRegistration

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
    predicted = relocate.position_of(pose.apply((20.0, 50.0, 100.0)))
    expected = head.apply((50.0, 100.0))
    assert (predicted.y_um, predicted.x_um) == pytest.approx(tuple(expected), abs=1e-6)
    assert predicted.z_um == 20.0


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-20, 20), st.floats(-8, 8), st.floats(-3, 3))
def test_moving_by_the_offset_brings_the_field_back(dz, dy, dx, yaw, tilt):
    plan = PLAN
    middle = (np.array(plan.shape) - 1) / 2 * np.array(plan.voxel_um)
    today_from_reference = Transform.rigid((dz, dy, dx), yaw_deg=yaw, tilt_y_deg=tilt, centre_zyx_um=middle)
    offset = relocate.offset_zyx_um(today_from_reference.inverse(), plan)
    assert offset == pytest.approx((dz, dy, dx), abs=1e-6)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-8, 8), st.floats(-3, 3))
def test_a_stack_that_was_brought_back_is_turned_about_its_middle(dz, dx, yaw, tilt):
    plan = StackPlan(field_of_view_um=90, pixels=512, depth_um=40)
    middle = (np.array(plan.shape) - 1) / 2 * np.array(plan.voxel_um)
    pose = relocate.about_middle(Transform.rigid((dz, 1.0, dx), yaw_deg=yaw, tilt_y_deg=tilt), plan)
    assert pose.apply(middle) == pytest.approx(middle)
    assert pose.yaw_deg == pytest.approx(yaw, abs=1e-6)


def test_advice_names_the_lower_side():
    advice = relocate.tilt_advice(Transform.rigid(yaw_deg=2.0, tilt_y_deg=-1.4))
    assert "bottom of the image 1.4 deg lower" in advice
    assert advice.startswith("turned 2.0 deg counter-clockwise")  # today's image is the reference's, turned back


PLAN = StackPlan(field_of_view_um=120, pixels=256, depth_um=68, step_um=2)


class Tissue:
    """A field at a known place, seen when the overview comes near enough; counts the looks."""

    def __init__(self, place, *, seen_within_um=25.0, verdict=Verdict.FOUND):
        self.place, self.seen_within_um, self.verdict, self.looked_at = place, seen_within_um, verdict, []

    def look(self, position, plan):
        self.looked_at.append(position)
        deeper_um = 30.0 if plan.depth_um > PLAN.depth_um else 0.0
        dx, dy, dz = np.subtract(self.place.xyz_um, position.xyz_um)
        image_x, image_y = np.linalg.inv(np.array(MIRRORED.stage_from_image)) @ (dx, dy)
        seen = abs(dz) <= self.seen_within_um + deeper_um and np.hypot(dx, dy) <= 60.0
        middles_um = (PLAN.depth_um - plan.depth_um) / 2
        shift = Transform.translation((middles_um - dz, -image_y, -image_x)) if seen else Transform.identity()
        verdict = self.verdict if seen else Verdict.NOT_FOUND
        found = StackRegistration(shift, 0.9 if seen else 0.1, 0.5, 1.0, 0.8, 0.999 if seen else 0.0, verdict)
        return relocate.Seen(position, found, 0.1)


def allowed(_position, _plan):
    return None


SIGMA_UM = np.array([30.0, 8.0, 8.0])


def search(predicted, tissue, why_not=allowed):
    return relocate.search(predicted, SIGMA_UM, tissue.look, PLAN, orientation=MIRRORED, why_not=why_not)


@given(st.floats(-40, 40), st.floats(-40, 40), st.floats(-80, 80))
def test_a_search_ends_on_the_field(dx, dy, dz):
    predicted = StagePosition(x_um=10.0, y_um=20.0, z_um=30.0)
    tissue = Tissue(predicted.moved(dx, dy, dz))
    result = search(predicted, tissue)
    assert result.verdict is Verdict.FOUND
    assert result.position.xyz_um == pytest.approx(tissue.place.xyz_um, abs=1e-6)
    assert len(result.steps) == len(tissue.looked_at) <= (2 if abs(dz) < 50 else 4)


def test_a_field_that_is_not_there_is_not_found_and_costs_a_bounded_dose():
    predicted = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    tissue = Tissue(predicted.moved(x_um=500.0))
    result = search(predicted, tissue)
    assert result.verdict is Verdict.NOT_FOUND
    assert result.position == predicted
    depths = [position.z_um for position in tissue.looked_at]
    assert depths == [0.0, -92.0, 92.0]


def test_a_prediction_that_is_sure_of_itself_costs_few_overviews():
    assert len(relocate.starts_um(np.array([3.0, 2.0, 2.0]))) == 3
    assert relocate.starts_um(np.array([3.0, 2.0, 2.0]))[0] == (0.0, 0.0, 0.0)


def test_a_place_known_badly_is_looked_for_on_all_sides_likeliest_first():
    starts = np.array(relocate.starts_um(np.array([20.0, 60.0, 40.0])))
    far = np.linalg.norm(starts / (20.0, 60.0, 40.0), axis=1)
    assert np.all(np.diff(far) >= -1e-9)
    assert np.abs(starts).max(axis=0) == pytest.approx((92.0, 120.0, 60.0))


@given(st.floats(-8, 8), st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([1, -1]), st.booleans())
def test_the_turn_of_a_field_is_that_of_the_head(yaw, tilt_y, tilt_x, deeper_is, mirrored):
    orientation = Orientation(stage_from_image=((-1, 0) if mirrored else (1, 0), (0, 1)), deeper_is=deeper_is)
    axes = np.diag([deeper_is, 1.0, -1.0 if mirrored else 1.0, 1.0])
    head = Transform.rigid(yaw_deg=yaw, tilt_y_deg=tilt_y, tilt_x_deg=tilt_x)
    today_from_reference = Transform(axes @ head.matrix @ axes)
    turn_deg = relocate.turn_on_stage_deg(today_from_reference.inverse(), orientation)
    assert turn_deg == pytest.approx((yaw, tilt_y, tilt_x), abs=0.3)


def test_unsure_stays_unsure():
    predicted = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    tissue = Tissue(predicted.moved(x_um=5.0), verdict=Verdict.UNSURE)
    assert search(predicted, tissue).verdict is Verdict.UNSURE
    assert len(tissue.looked_at) == 2


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(-100, 100))
def test_a_search_never_looks_where_it_is_refused(dx, dy, dz):
    predicted = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    tissue = Tissue(predicted.moved(dx, dy, dz))

    def why_not(position, _plan):
        return "too deep" if position.z_um > 20.0 else None

    search(predicted, tissue, why_not)
    assert all(position.z_um <= 20.0 for position in tissue.looked_at)


def test_a_found_place_that_may_not_be_reached_is_unsure():
    predicted = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
    tissue = Tissue(predicted.moved(z_um=15.0))
    result = search(predicted, tissue, lambda p, _: "no" if p.z_um > 10 else None)
    assert result.verdict is Verdict.UNSURE
