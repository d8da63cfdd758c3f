"""How the head sits today: guessed from the vessels, learned from every field that was found, with how sure it is.

A head pose maps the stage of the session in which fields were kept (``then``) to the stage of today, on (z, y, x, 1)
in um. It is estimated as a correction of a first guess by seven numbers (shift, yaw, two tilts, scale), each with a
prior; a found field tells its own displacement and how it was turned. The tissue's own deformation is part of the error
of each field, so that one odd field does not turn the whole head. Pure arithmetic: no device and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from acquire.config import Orientation
from analysis.model import Floats, Transform

# One sigma of what a found field tells: registration and the tissue's own deformation together (1 um rms in recorded
# fields, slowly changing), z y x um; and of how it was turned against its reference, degrees.
FIELD_ZYX_UM = np.array([1.5, 1.2, 1.2])
FIELD_TURN_DEG = np.array([0.5, 0.8, 0.8])
ROBUST_SIGMAS = 3.0  # a field farther off than this loses weight
ROUNDS = 12
ODD_SIGMAS, ODD_UM = 4.0, 8.0  # a field farther than both from where the others put it is not believed silently
TILT_KNOWN_DEG = 1.0
LEAST_TURN_DEG = 0.3  # less is not worth turning a goniometer
# What lies at the bottom and top of the image, and at its right and left, by where the nose points in the image.
SIDES = {
    None: (("bottom of the image", "top of the image"), ("right of the image", "left of the image")),
    "up": (("tail", "nose"), ("right side", "left side")),
    "down": (("nose", "tail"), ("left side", "right side")),
    "left": (("left side", "right side"), ("tail", "nose")),
    "right": (("right side", "left side"), ("nose", "tail")),
}


@dataclass(frozen=True)
class PosePrior:
    """One sigma of a first guess of the head pose.

    Parameters
    ----------
    lateral_um, depth_um
        Of the shift, um.
    yaw_deg, tilt_deg
        Of the turn about the optical axis and of each tilt, degrees.
    scale
        Of the lateral scale, a share.
    """

    lateral_um: float
    depth_um: float
    yaw_deg: float
    tilt_deg: float
    scale: float = 0.005

    def or_else(self, probability: float, other: PosePrior) -> PosePrior:
        """Return what is known when this guess is right with a probability, and otherwise no better than the other."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in vars(self))
        return PosePrior(*(float(np.sqrt(probability * a**2 + (1 - probability) * b**2)) for a, b in pairs))

    @property
    def covariance(self) -> Floats:
        """Covariance of (shift z y x in um, yaw, tilt y, tilt x in radian, scale), shape (7, 7)."""
        turn, tilt = np.deg2rad(self.yaw_deg), np.deg2rad(self.tilt_deg)
        sigma = [self.depth_um, self.lateral_um, self.lateral_um, turn, tilt, tilt, self.scale]
        return np.diag(np.square(sigma))


# The vessels tell where and how far turned, but neither depth nor tilt: heads are re-mounted to within these.
FROM_VESSELS = PosePrior(lateral_um=8.0, depth_um=30.0, yaw_deg=0.7, tilt_deg=2.0)
# A wide stack of the scanner's whole field tells the depth and the tilt as well.
FROM_WIDE = PosePrior(lateral_um=5.0, depth_um=6.0, yaw_deg=0.7, tilt_deg=0.8)
# Stage coordinates alone: the head plate goes back into its holder.
FROM_STAGE = PosePrior(lateral_um=60.0, depth_um=40.0, yaw_deg=3.0, tilt_deg=2.0)


@dataclass(frozen=True, eq=False)
class FoundField:
    """A field that was found today.

    Parameters
    ----------
    then_zyx_um, today_zyx_um
        Stage position of its middle then and today, shape (3,), um.
    turn_deg
        Yaw, tilt y and tilt x of today's head against then as this field shows them, degrees; None when not measured.
    """

    then_zyx_um: Floats
    today_zyx_um: Floats
    turn_deg: Floats | None = None


@dataclass(frozen=True, eq=False)
class HeadPose:
    """An estimate of the head pose.

    Parameters
    ----------
    today_from_then
        The estimate: from the stage of then to the stage of today.
    covariance
        Of (shift z y x in um, yaw, tilt y, tilt x in radian, scale) about ``centre_zyx_um``, shape (7, 7).
    centre_zyx_um
        Point of today's stage about which the numbers are meant, shape (3,), um.
    """

    today_from_then: Transform
    covariance: Floats
    centre_zyx_um: Floats = field(default_factory=lambda: np.zeros(3))

    def predict(self, then_zyx_um: ArrayLike) -> Floats:
        """Return where a point of then lies today, um."""
        return self.today_from_then.apply(then_zyx_um)

    def uncertainty_um(self, then_zyx_um: ArrayLike) -> Floats:
        """Return one sigma (z, y, x) of the prediction of a point, with the tissue's own deformation, um."""
        lever = _lever(self.predict(then_zyx_um) - self.centre_zyx_um)
        total = lever @ self.covariance @ lever.T + np.diag(FIELD_ZYX_UM**2)
        return np.asarray(np.sqrt(np.diag(total)))

    @property
    def tilt_sigma_deg(self) -> float:
        """One sigma of a tilt, degrees."""
        return float(np.rad2deg(np.sqrt(self.covariance[4:6, 4:6].trace() / 2)))


def learn_pose(guess: Transform, prior: PosePrior, found: Sequence[FoundField], centre_zyx_um: ArrayLike) -> HeadPose:
    """Correct a guess of the head pose by the fields found today: maximum a posteriori, outliers weighted down.

    Parameters
    ----------
    guess
        From the stage of then to the stage of today, as the vessels or the stage coordinates tell.
    prior
        How far to trust it.
    found
        The fields that were found; none leaves the guess as it is.
    centre_zyx_um
        Point of today's stage about which the prior is meant: the middle of all fields, um.
    """
    centre = np.asarray(centre_zyx_um, dtype=float)
    numbers, weight = np.zeros(7), np.ones(len(found))
    information = np.linalg.inv(prior.covariance)
    precision, pull = information, np.zeros(7)
    guessed_turn = _turn_deg(guess)
    for _ in range(ROUNDS if found else 0):
        corrected = _correction(numbers, centre) @ guess
        precision, pull = information.copy(), -information @ numbers
        for index, each in enumerate(found):
            lever, missed, sigma = _seen(each, corrected, centre, guessed_turn, numbers)
            weight[index] = _trust(np.linalg.norm(missed[:3] / sigma[:3]) / np.sqrt(3))
            scaled = lever.T * (weight[index] / sigma**2)
            precision, pull = precision + scaled @ lever, pull + scaled @ missed
        numbers = numbers + np.linalg.solve(precision, pull)
    return HeadPose(_correction(numbers, centre) @ guess, np.linalg.inv(precision), centre)


def left_out_residuals_um(
    guess: Transform, prior: PosePrior, found: Sequence[FoundField], centre_zyx_um: ArrayLike
) -> tuple[Floats, Floats]:
    """Return how far each field lies from where the others put it (z, y, x), um, and the same in sigmas."""
    missed, sigmas = np.zeros((len(found), 3)), np.zeros(len(found))
    for index, each in enumerate(found):
        others = [other for number, other in enumerate(found) if number != index]
        pose = learn_pose(guess, prior, others, centre_zyx_um)
        missed[index] = each.today_zyx_um - pose.predict(each.then_zyx_um)
        sigmas[index] = float(np.max(np.abs(missed[index]) / pose.uncertainty_um(each.then_zyx_um)))
    return missed, sigmas


def is_odd(missed_zyx_um: Floats, sigmas: float) -> bool:
    """Tell whether a field lies so far from where the others put it that somebody should look."""
    return bool(sigmas > ODD_SIGMAS and np.linalg.norm(missed_zyx_um) > ODD_UM)


def propose_order(pose: HeadPose, fields_zyx_um: Sequence[ArrayLike]) -> list[int]:
    """Return in which order fields are best looked for: each next one makes the others' places known best.

    Parameters
    ----------
    pose
        What is known now.
    fields_zyx_um
        Positions then of the fields that are still to be found, um.
    """
    levers = [_lever(pose.predict(place) - pose.centre_zyx_um) for place in fields_zyx_um]
    turn = np.zeros((3, 7))
    turn[:, 3:6] = np.eye(3)
    noise = np.concatenate([FIELD_ZYX_UM, np.deg2rad(FIELD_TURN_DEG)]) ** -2.0
    precision, left = np.linalg.inv(pose.covariance), list(range(len(levers)))
    order: list[int] = []
    while left:
        gains = {}
        for one in left:
            seen = np.vstack([levers[one], turn])
            covariance = np.linalg.inv(precision + (seen.T * noise) @ seen)
            gains[one] = sum(float(np.trace(levers[other] @ covariance @ levers[other].T)) for other in left)
        best = min(left, key=gains.__getitem__)
        seen = np.vstack([levers[best], turn])
        precision = precision + (seen.T * noise) @ seen
        order.append(best)
        left.remove(best)
    return order


def goniometer_advice(pose: HeadPose, orientation: Orientation) -> str:
    """Say how to turn the goniometer so that the head sits as it did, in degrees.

    Sides are those of the animal when the rig config says where its nose points, else those of the image. Clockwise is
    as the image shows it: whether the image is mirrored against the view from above, the rig config does not say.
    """
    if pose.tilt_sigma_deg > TILT_KNOWN_DEG:
        return f"the head's tilt is not known yet (to {pose.tilt_sigma_deg:.1f} deg): find a field first"
    tilt_yx = np.array(pose.today_from_then.tilt_yx_deg)
    turn = np.array(orientation.stage_from_image)[::-1, ::-1]
    down_deg, right_deg = orientation.deeper_is * (turn.T @ tilt_yx)  # lower towards the image's bottom, its right
    sides = SIDES[orientation.nose]
    turns = [
        f"{sides[axis][0 if lower > 0 else 1]} up {abs(lower):.1f} deg"
        for axis, lower in enumerate((down_deg, right_deg))
        if abs(lower) >= LEAST_TURN_DEG
    ]
    told = f"turn the goniometer: {', '.join(turns)}" if turns else "the head is level with the first day"
    yaw_deg = pose.today_from_then.yaw_deg * float(np.sign(np.linalg.det(turn)))  # positive turns right to bottom
    if abs(yaw_deg) >= LEAST_TURN_DEG:
        sense, back = ("clockwise", "counter-clockwise") if yaw_deg > 0 else ("counter-clockwise", "clockwise")
        told += f"; seen in the image the head is turned {abs(yaw_deg):.1f} deg {sense}: turn it back {back}"
        turns.append(back)
    return f"{told}; once turned, begin a new session (--new-session)" if turns else told


def _lever(offset_zyx_um: Floats) -> Floats:
    """Return how a point moves with each of the seven numbers, shape (3, 7)."""
    z, y, x = offset_zyx_um
    return np.array([[1, 0, 0, 0, y, x, 0], [0, 1, 0, x, -z, 0, y], [0, 0, 1, -y, 0, -z, x]], dtype=float)


def _correction(numbers: Floats, centre: Floats) -> Transform:
    yaw, tilt_y, tilt_x = np.rad2deg(numbers[3:6])
    turned = Transform.rigid(numbers[:3], yaw_deg=yaw, tilt_y_deg=tilt_y, tilt_x_deg=tilt_x, centre_zyx_um=centre)
    scale = np.diag([1.0, 1.0 + numbers[6], 1.0 + numbers[6], 1.0])
    return turned @ Transform.translation(centre) @ Transform(scale) @ Transform.translation(-centre)


def _turn_deg(transform: Transform) -> Floats:
    return np.array([transform.yaw_deg, *transform.tilt_yx_deg])


def _seen(
    each: FoundField, corrected: Transform, centre: Floats, guessed_turn: Floats, numbers: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return levers, what is missed and its sigma: three rows for the place, three for the turn when it is known."""
    predicted = corrected.apply(each.then_zyx_um)
    lever, missed, sigma = _lever(predicted - centre), each.today_zyx_um - predicted, FIELD_ZYX_UM
    if each.turn_deg is None:
        return lever, missed, sigma
    turn = np.zeros((3, 7))
    turn[:, 3:6] = np.eye(3)
    off = np.deg2rad(each.turn_deg - guessed_turn) - numbers[3:6]
    return np.vstack([lever, turn]), np.concatenate([missed, off]), np.concatenate([sigma, np.deg2rad(FIELD_TURN_DEG)])


def _trust(sigmas: float) -> float:
    """Return the weight of a field (Huber 1964)."""
    return 1.0 if sigmas <= ROBUST_SIGMAS else ROBUST_SIGMAS / sigmas
