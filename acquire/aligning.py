"""The pose that landmarks tell when a person found them again, and whether they can be believed.

A person mistakes one fork for another, swaps two names, or reads a sign wrongly. What no head and no photograph can be
is refused, with what it seems to be. Pure arithmetic: no device and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from acquire.config import Limits
from acquire.errors import RelocationError
from acquire.landmarks import LEAST_SIGMA_UM, AlignmentRecord, LandmarkPair
from acquire.model import TransformRecord
from acquire.relocate import lateral_pose
from analysis.model import Floats, Transform
from analysis.motion import fit_motion

LEAST_PAIRS = 2
LEAST_APART_UM = 100.0  # closer together, they tell the head's turn to no better than 15 deg
MOST_TURN_DEG = 25.0  # heads are put back to within 20 deg
MOST_SHIFT_UM = 5000.0  # a window is no wider
MOST_STRETCH = 0.05  # more is no living brain, but a wrong landmark
ODD_UM, ODD_TIMES = 40.0, 4.0  # farther than both from where the others put it, a landmark is another one
ONE_SIGMA = 0.8413  # of a normal distribution lies below its middle plus one sigma

XY = tuple[float, float]


@dataclass(frozen=True, eq=False)
class SeenTwice:
    """The same landmarks in two frames.

    Parameters
    ----------
    names
        Their names.
    then, today
        Their places (y, x), shape (n, 2), um.
    most_turn_deg
        How far the frames may be turned against each other, degrees.
    with_scale
        Whether the frames may differ in scale.
    """

    names: tuple[str, ...]
    then: Floats
    today: Floats
    most_turn_deg: float
    with_scale: bool = False

    def motion(self) -> Transform:
        """Return the motion from then to today."""
        return fit_motion(self.then, self.today, np.ones(len(self.names)), with_scale=self.with_scale)

    def stretch(self) -> float:
        """Return by how much they lie farther apart today, a share: -0.05 is 5 % closer."""
        scaled = replace(self, with_scale=True).motion()
        return float(np.sqrt(abs(np.linalg.det(scaled.matrix[:2, :2])))) - 1.0

    def off_um(self, motion: Transform) -> Floats:
        """Return how far a motion misses each, shape (n,), um."""
        return np.asarray(np.linalg.norm(motion.apply(self.then) - self.today, axis=1))

    def misfit_um(self) -> float:
        """Return how far they are off in the mean; infinite when turned or stretched more than can be."""
        motion = self.motion()
        if abs(motion.yaw_deg) > self.most_turn_deg or abs(self.stretch()) > MOST_STRETCH:
            return float("inf")
        return float(np.sqrt(np.mean(self.off_um(motion) ** 2)))

    def only(self, chosen: NDArray[np.bool_]) -> SeenTwice:
        """Return some of them."""
        names = tuple(name for name, is_chosen in zip(self.names, chosen, strict=True) if is_chosen)
        return replace(self, names=names, then=self.then[chosen], today=self.today[chosen])

    def swapped(self, one: int, other: int) -> SeenTwice:
        """Return them with two of today's places swapped."""
        order = np.arange(len(self.names))
        order[[one, other]] = other, one
        return replace(self, today=self.today[order])

    def mirrored(self) -> SeenTwice:
        """Return them as a mirror shows them, turned at will."""
        return replace(self, then=self.then * (-1.0, 1.0), most_turn_deg=180.0)

    def told(self, motion: Transform) -> str:
        """Return how far a motion misses each, in words."""
        return ", ".join(f"{name} {um:.0f} um off" for name, um in zip(self.names, self.off_um(motion), strict=True))


def align(
    animal: str,
    session: str,
    reference_session: str,
    then_xy_um: Mapping[str, XY],
    today_xy_um: Mapping[str, XY],
) -> AlignmentRecord:
    """Return the head pose that landmarks tell: turned and shifted in the plane of the stage.

    One sigma of a landmark is what they are off, at least what a person centres by, times Student's factor for so few:
    1.8 with two, which cannot check each other.

    Parameters
    ----------
    animal, session, reference_session
        Whose pose, today and then.
    then_xy_um, today_xy_um
        Stage positions (x, y) of the same landmarks then and today, um.

    Raises
    ------
    RelocationError
        When they are too few, do not fit each other, or tell what no head can be: turned by more than 25 degrees,
        shifted by more than 5 mm, stretched by more than 5 %, mirrored.
    """
    if len(today_xy_um) < LEAST_PAIRS:
        raise RelocationError(f"{len(today_xy_um)} landmark was given; the head's turn needs {LEAST_PAIRS}, far apart")
    names = tuple(today_xy_um)
    then, today = (np.array([places[name][::-1] for name in names]) for places in (then_xy_um, today_xy_um))
    seen = SeenTwice(names, then, today, MOST_TURN_DEG)
    used = _believed(seen)
    fitted = seen.only(used)
    _refuse_shift(fitted)
    pose = fitted.motion()
    freedom = 2 * len(fitted.names) - 3
    rest_um = float(np.sqrt(np.sum(fitted.off_um(pose) ** 2) / freedom))
    sigma_um = max(LEAST_SIGMA_UM, rest_um) * float(stdtrit(freedom, ONE_SIGMA))
    pairs = tuple(
        LandmarkPair(
            name=name,
            then_xy_um=then_xy_um[name],
            today_xy_um=today_xy_um[name],
            residual_um=round(float(off_um), 2),
            used=bool(is_used),
        )
        for name, off_um, is_used in zip(names, seen.off_um(pose), used, strict=True)
    )
    return AlignmentRecord(
        animal=animal,
        session=session,
        reference_session=reference_session,
        today_from_then=TransformRecord.of(lateral_pose(pose)),
        sigma_um=round(sigma_um, 2),
        stretch=round(fitted.stretch(), 5),
        pairs=pairs,
    )


def photograph_on_image(photograph_yx_um: Mapping[str, XY], image_yx_um: Mapping[str, Floats]) -> Transform:
    """Return the map from a photograph to an image as the camera would show it, told by landmarks, (y, x, 1), um.

    A photograph may lie as it likes; but two landmarks cannot tell whether they are swapped, so that with two it may be
    turned by 25 degrees at most.

    Raises
    ------
    RelocationError
        When they are fewer than two, contradict each other, are mirrored, or the photograph's pixel size is wrong by
        more than 5 %.
    """
    names = tuple(image_yx_um)
    if len(names) < LEAST_PAIRS:
        raise RelocationError(f"{len(names)} landmark was given; a photograph needs {LEAST_PAIRS}, far apart")
    photograph, image = (np.array([places[name] for name in names]) for places in (photograph_yx_um, image_yx_um))
    most_turn_deg = MOST_TURN_DEG if len(names) == LEAST_PAIRS else 180.0
    seen = SeenTwice(names, photograph, image, most_turn_deg, with_scale=True)
    used = _believed(seen)
    if not used.all():
        odd = names[int(np.argmin(used))]
        raise RelocationError(f"landmark {odd} does not fit the others; centre it again, or leave it out")
    return seen.motion()


def refuse_beyond(limits: Limits, today_xy_um: Mapping[str, XY]) -> None:
    """Raise RelocationError when a landmark's stage position is none that the stage can have."""
    for name, xy_um in today_xy_um.items():
        for axis, value, (low, high) in zip("xy", xy_um, (limits.x_um, limits.y_um), strict=True):
            if not low <= value <= high:
                raise RelocationError(
                    f"landmark {name}: {axis} = {value:g} um is outside the stage's limits {low:g} to {high:g} um; "
                    "read it off again while the landmark is centred"
                )


def _believed(seen: SeenTwice) -> NDArray[np.bool_]:
    """Return which landmarks agree, all but one at least.

    Raises
    ------
    RelocationError
        When that is impossible; the message says what seems to be wrong.
    """
    _refuse_one_place(seen)
    _refuse_mixed_up(seen)
    odd = _odd_one(seen)
    if odd is not None and len(seen.names) == LEAST_PAIRS + 1:
        raise RelocationError(
            f"the landmarks contradict each other ({seen.told(seen.motion())}), and three cannot tell which is wrong: "
            "centre them again, or give a fourth"
        )
    used: NDArray[np.bool_] = np.arange(len(seen.names)) != odd
    _refuse_impossible(seen.only(used))
    return used


def _refuse_one_place(seen: SeenTwice) -> None:
    for one, other in combinations(range(len(seen.names)), 2):
        for when, places in (("then", seen.then), ("today", seen.today)):
            apart_um = float(np.linalg.norm(places[one] - places[other]))
            if apart_um < LEAST_SIGMA_UM:
                raise RelocationError(
                    f"landmarks {seen.names[one]} and {seen.names[other]} lie {apart_um:.0f} um apart {when}; "
                    "give two that are far from each other"
                )
    middle = seen.then.mean(axis=0)
    most_um = 2 * float(np.linalg.norm(seen.then - middle, axis=1).max())
    if most_um < LEAST_APART_UM:
        raise RelocationError(
            f"the landmarks lie within {most_um:.0f} um; give some that are at least {LEAST_APART_UM:.0f} um apart"
        )


def _refuse_mixed_up(seen: SeenTwice) -> None:
    """Raise when they fit far better with two names swapped, or seen in a mirror."""
    given_um = seen.misfit_um()

    def explains(other: SeenTwice) -> bool:
        other_um = other.misfit_um()
        return other_um <= 2 * LEAST_SIGMA_UM and given_um > max(ODD_UM, ODD_TIMES * other_um)

    pairs = combinations(range(len(seen.names)), 2)
    swapped = [f"{seen.names[a]} and {seen.names[b]}" for a, b in pairs if explains(seen.swapped(a, b))]
    if swapped:
        third = ", and give a third: two cannot check each other" if len(seen.names) == LEAST_PAIRS else ""
        raise RelocationError(
            f"landmarks {' or '.join(swapped)} seem to be swapped; check their names and the signs of x and y{third}"
        )
    if len(seen.names) > LEAST_PAIRS and explains(seen.mirrored()):
        raise RelocationError(
            "the landmarks lie mirrored; check the signs of x and y, and that a photograph is not mirrored"
        )


def _odd_one(seen: SeenTwice) -> int | None:
    """Return the landmark without which the others fit far better, None when there is none."""
    count = len(seen.names)
    if count <= LEAST_PAIRS:
        return None
    rest, missed = np.zeros(count), np.zeros(count)
    for each in range(count):
        others = np.arange(count) != each
        off_um = seen.off_um(seen.only(others).motion())
        rest[each], missed[each] = float(np.sqrt(np.mean(off_um[others] ** 2))), off_um[each]
    odd = int(np.argmin(rest))
    return odd if missed[odd] > max(ODD_UM, ODD_TIMES * rest[odd]) else None


def _refuse_impossible(seen: SeenTwice) -> None:
    """Raise when landmarks that agree are turned or stretched more than can be, or still do not fit."""
    motion, stretch = seen.motion(), seen.stretch()
    told = seen.told(replace(seen, with_scale=False).motion())
    if abs(stretch) > MOST_STRETCH:
        apart = f"{abs(stretch) * 100:.0f} % {'farther apart' if stretch > 0 else 'closer'}"
        raise RelocationError(
            f"the landmarks lie {apart} today than in the map (limit {MOST_STRETCH * 100:.0f} %; {told}); one of them "
            "is another place: centre them again, and check --pixel-um of a photograph"
        )
    if abs(motion.yaw_deg) > seen.most_turn_deg:
        raise RelocationError(
            f"by these landmarks the map is turned by {motion.yaw_deg:.0f} deg (limit {seen.most_turn_deg:.0f} deg); "
            "check their names and the signs of x and y, or give a third landmark"
        )
    if float(np.sqrt(np.mean(seen.off_um(motion) ** 2))) > 2 * ODD_UM:
        raise RelocationError(f"the landmarks do not fit the map ({told}); centre them again")


def _refuse_shift(seen: SeenTwice) -> None:
    shift_um = float(np.linalg.norm(seen.today.mean(axis=0) - seen.then.mean(axis=0)))
    if not shift_um <= MOST_SHIFT_UM:
        raise RelocationError(
            f"by these landmarks the head is shifted by {shift_um:.0f} um (limit {MOST_SHIFT_UM:.0f} um); check the "
            "numbers and the stage's zero"
        )
