"""The head pose: what found fields teach, how sure it is, and which field does not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquire.config import Orientation
from acquire.headpose import (
    FROM_STAGE,
    FROM_VESSELS,
    FoundField,
    HeadPose,
    goniometer_advice,
    is_odd,
    learn_pose,
    left_out_residuals_um,
    propose_order,
)
from analysis.model import Transform

NOWHERE = Transform.identity()


def test_a_guess_that_may_be_wrong_is_known_less_well() -> None:
    for probability, like in ((1.0, FROM_VESSELS), (0.0, FROM_STAGE)):
        assert vars(FROM_VESSELS.or_else(probability, FROM_STAGE)) == pytest.approx(vars(like))
    half = FROM_VESSELS.or_else(0.5, FROM_STAGE)
    assert half.lateral_um == pytest.approx(np.sqrt((FROM_VESSELS.lateral_um**2 + FROM_STAGE.lateral_um**2) / 2))


def fields(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(20, 60, count), rng.uniform(-400, 400, (count, 2))])


def seen(head: Transform, then: np.ndarray, rng: np.random.Generator | None = None) -> list[FoundField]:
    """Return fields as they are found under a head; with noise of 1 um and half a degree."""
    noise = (lambda *shape: np.zeros(shape)) if rng is None else lambda *shape: rng.normal(0, 1, shape)
    turn = np.array([head.yaw_deg, *head.tilt_yx_deg])
    return [FoundField(place, head.apply(place) + noise(3), turn + 0.5 * noise(3)) for place in then]


@settings(deadline=None)
@given(st.floats(-50, 50), st.floats(-20, 20), st.floats(-20, 20))
def test_one_found_field_teaches_the_shift(dz: float, dy: float, dx: float) -> None:
    then = fields(0, 2)
    head = Transform.translation((dz, dy, dx))
    pose = learn_pose(NOWHERE, FROM_VESSELS, seen(head, then[:1]), then.mean(axis=0))
    assert pose.predict(then[0]) == pytest.approx(head.apply(then[0]), abs=0.6)
    assert np.all(np.abs(pose.predict(then[1]) - head.apply(then[1])) < 2.5 * pose.uncertainty_um(then[1]))


def test_a_pose_is_learned_the_better_the_more_fields_are_found_and_knows_how_well() -> None:
    missed, sigmas = np.zeros((5, 60, 3)), np.zeros((5, 60, 3))
    for trial in range(60):
        rng = np.random.default_rng(trial)
        then = fields(trial, 6)
        head = Transform.rigid(
            rng.normal(0, (30, 8, 8)),
            yaw_deg=rng.normal(0, 0.7),
            tilt_y_deg=rng.normal(0, 2),
            tilt_x_deg=rng.normal(0, 2),
        )
        found = seen(head, then, rng)
        for count in range(5):
            pose = learn_pose(NOWHERE, FROM_VESSELS, found[:count], then.mean(axis=0))
            missed[count, trial] = found[5].today_zyx_um - pose.predict(then[5])
            sigmas[count, trial] = missed[count, trial] / pose.uncertainty_um(then[5])
    rms_um = np.sqrt(np.mean(missed**2, axis=1))
    assert np.all(np.diff(rms_um[:, 0]) < 0)
    assert rms_um[0, 0] > 20 and rms_um[1, 0] < 6 and rms_um[4, 0] < 2
    # Honest: never surer than it may be, never much less sure.
    assert np.all(np.mean(sigmas**2, axis=(1, 2)) < 1.3)
    assert np.all(np.mean(sigmas**2, axis=(1, 2)) > 0.3)


def test_large_turns_are_learned_from_stage_coordinates_alone() -> None:
    head = Transform.rigid((20.0, 40.0, -50.0), yaw_deg=6.0, tilt_y_deg=3.0, tilt_x_deg=-2.0)
    then = fields(3, 5)
    pose = learn_pose(NOWHERE, FROM_STAGE, seen(head, then[:3]), then.mean(axis=0))
    for place in then[3:]:
        assert np.abs(pose.predict(place) - head.apply(place)).max() < 4.0


def test_a_field_that_is_not_where_the_others_put_it_is_odd() -> None:
    then = fields(4, 4)
    head = Transform.rigid((10.0, 3.0, -4.0), tilt_y_deg=1.0)
    found = seen(head, then)
    missed, sigmas = left_out_residuals_um(NOWHERE, FROM_VESSELS, found, then.mean(axis=0))
    assert not any(is_odd(*each) for each in zip(missed, sigmas, strict=True))
    wrong = FoundField(then[3], np.add(found[3].today_zyx_um, (0.0, 30.0, 0.0)), found[3].turn_deg)
    missed, sigmas = left_out_residuals_um(NOWHERE, FROM_VESSELS, [*found[:3], wrong], then.mean(axis=0))
    assert is_odd(missed[3], sigmas[3])
    assert missed[3][1] == pytest.approx(30.0, abs=3.0)


def test_one_odd_field_does_not_carry_the_pose_away() -> None:
    then = fields(5, 6)
    found = seen(NOWHERE, then)
    wrong = FoundField(then[5], np.add(found[5].today_zyx_um, (0.0, 40.0, 0.0)), found[5].turn_deg)
    pose = learn_pose(NOWHERE, FROM_VESSELS, [*found[:5], wrong], then.mean(axis=0))
    assert np.abs(pose.predict(then[0]) - then[0]).max() < 4.0


def test_fields_are_proposed_so_that_the_rest_is_known_best() -> None:
    then = np.array([[40.0, 0.0, 0.0], [40.0, 10.0, 400.0], [40.0, -10.0, -400.0], [40.0, 380.0, 30.0]])
    pose = HeadPose(NOWHERE, FROM_VESSELS.covariance, then.mean(axis=0))
    order = propose_order(pose, list(then))
    assert sorted(order) == [0, 1, 2, 3]

    def unknown_after(first: int) -> float:
        learned = learn_pose(NOWHERE, FROM_VESSELS, seen(NOWHERE, then[[first]]), then.mean(axis=0))
        return float(sum(np.sum(learned.uncertainty_um(place) ** 2) for place in then))

    assert unknown_after(order[0]) == pytest.approx(min(unknown_after(each) for each in range(4)), rel=0.05)


@pytest.mark.parametrize(
    ("tilts", "orientation", "expected"),
    [
        ((1.4, 0.0), Orientation(), "bottom of the image up 1.4 deg"),
        ((-1.4, 0.6), Orientation(nose="up"), "nose up 1.4 deg, right side up 0.6 deg"),
        ((0.0, -2.0), Orientation(nose="right"), "tail up 2.0 deg"),
        ((0.0, 2.0), Orientation(stage_from_image=((-1, 0), (0, 1)), nose="up"), "left side up 2.0 deg"),
        ((1.0, 0.0), Orientation(deeper_is=-1, nose="up"), "nose up 1.0 deg"),
    ],
)
def test_advice_turns_the_side_up_that_sits_too_low(tilts, orientation, expected) -> None:
    head = Transform.rigid(tilt_y_deg=tilts[0], tilt_x_deg=tilts[1])
    then = fields(6, 4)
    pose = learn_pose(head, FROM_VESSELS, seen(head, then), then.mean(axis=0))
    told = f"turn the goniometer: {expected}; once turned, begin a new session (--new-session)"
    assert goniometer_advice(pose, orientation) == told


@pytest.mark.parametrize("stage_from_image", [((1, 0), (0, 1)), ((-1, 0), (0, 1)), ((0, 1), (1, 0)), ((0, -1), (1, 0))])
@pytest.mark.parametrize("yaw_deg", [4.0, -4.0])
def test_advice_says_to_which_side_the_head_is_turned_in_the_image(stage_from_image, yaw_deg) -> None:
    """Clockwise: what lay at the right of the middle lies lower in the image today, whose y grows downwards."""
    head, then = Transform.rigid(yaw_deg=yaw_deg), fields(6, 4)
    pose = learn_pose(head, FROM_VESSELS, seen(head, then), then.mean(axis=0))
    advice = goniometer_advice(pose, Orientation(stage_from_image=stage_from_image))
    x, y = np.array(stage_from_image) @ (100.0, 0.0)
    _, y_today, x_today = head.apply((0.0, y, x))
    _, lower_um = np.linalg.inv(stage_from_image) @ (x_today, y_today)
    sense, back = ("clockwise", "counter-clockwise") if lower_um > 0 else ("counter-clockwise", "clockwise")
    assert (
        f"; seen in the image the head is turned 4.0 deg {sense}: turn it back {back}; once turned, begin a new session"
        in advice
    )


def test_no_advice_is_given_before_the_tilt_is_known() -> None:
    pose = learn_pose(NOWHERE, FROM_VESSELS, [], np.zeros(3))
    assert goniometer_advice(pose, Orientation()) == "the head's tilt is not known yet (to 2.0 deg): find a field first"
