"""Where a field must be today: pure arithmetic on frames, no device and no file.

Three frames meet here and nowhere else: the pixels of an image or stack, the stage of the session in which a field was
kept (``then``), and the stage of today. A head pose is a map from the stage of then to the stage of today, on
(z, y, x, 1) in um.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acquire.config import Orientation
from acquire.model import RelocationRecord, RelocationStep, StackPlan, StagePosition, TransformRecord
from analysis.model import Floats, Transform, Verdict
from analysis.register import MAX_YAW_DEG, StackRegistration

# From the middle of an overview to a field that it still finds, z y x, um: tests/bench/capture.py measures somewhat
# more along one axis at a time; along several at once less is shared.
CAPTURE_UM = np.array([25.0, 50.0, 50.0])
START_STEP_UM = np.array([32.0, 60.0, 60.0])
DEEPER_UM = 30.0  # what an overview of twice the depth captures more, each way
SEARCH_SIGMAS = 2.5
LATERAL_LIMIT_UM = 3.0
AXIAL_LIMIT_UM = 3.0
MAX_OVERVIEWS = 8


@dataclass(frozen=True, eq=False)
class Seen:
    """What one overview showed.

    Parameters
    ----------
    stage
        Where it was taken.
    registration
        How it lies in the reference.
    compute_s
        Time of computing, s.
    """

    stage: StagePosition
    registration: StackRegistration
    compute_s: float


Look = Callable[[StagePosition, StackPlan], Seen]
WhyNot = Callable[[StagePosition, StackPlan], str | None]


def stage_zyx_um(position: StagePosition) -> tuple[float, float, float]:
    """Return a stage position in the order of points: z, y, x, um."""
    return position.z_um, position.y_um, position.x_um


def position_of(zyx_um: Floats) -> StagePosition:
    """Return the stage position of a point (z, y, x), um."""
    z, y, x = (float(value) for value in zyx_um)
    return StagePosition(x_um=x, y_um=y, z_um=z)


@dataclass(frozen=True)
class ImageOnStage:
    """How the pixels of a surface image lie on the stage.

    Parameters
    ----------
    stage
        Stage position of the image's centre.
    pixel_um
        Pixel size, um.
    shape
        Shape of the image (y, x).
    orientation
        The rig's orientation.
    """

    stage: StagePosition
    pixel_um: float
    shape: tuple[int, int]
    orientation: Orientation

    def stage_from_image(self) -> Transform:
        """Return the map from image points (y, x) to the stage (y, x), both um."""
        centre_um = (np.array(self.shape) - 1) / 2 * self.pixel_um
        turn = np.eye(3)
        turn[:2, :2] = np.array(self.orientation.stage_from_image)[::-1, ::-1]
        to_stage = Transform.translation((self.stage.y_um, self.stage.x_um))
        return to_stage @ Transform(turn) @ Transform.translation(-centre_um)

    def image_from_stage(self, xy_um: tuple[float, float]) -> Floats:
        """Return where a stage position (x, y) lies in the image (y, x), um."""
        return self.stage_from_image().inverse().apply(xy_um[::-1])

    def stage_at(self, yx_um: Floats) -> StagePosition:
        """Return the stage position of a point of the image (y, x), um, at the image's depth."""
        y_um, x_um = (float(value) for value in self.stage_from_image().apply(yx_um))
        return StagePosition(x_um=x_um, y_um=y_um, z_um=self.stage.z_um)

    def offset_um(self, stage: StagePosition) -> Floats:
        """Return how far a stage position lies from the image's centre, in the image's axes (y, x), um."""
        centre_um = (np.array(self.shape) - 1) / 2 * self.pixel_um
        return self.image_from_stage((stage.x_um, stage.y_um)) - centre_um


def pose_from_surface(then: ImageOnStage, today: ImageOnStage, then_from_today: Transform) -> Transform:
    """Return the head pose that a registration of two surface images tells.

    Parameters
    ----------
    then, today
        The vessel map and today's image.
    then_from_today
        Map from today's image to the map, on (y, x, 1) in um from the first pixel.
    """
    return lateral_pose(today.stage_from_image() @ then_from_today.inverse() @ then.stage_from_image().inverse())


def lateral_pose(flat: Transform) -> Transform:
    """Return a motion in the plane of the stage, on (y, x, 1), as a head pose: it tells no depth and no tilt."""
    pose = np.eye(4)
    pose[1:3, 1:3] = flat.matrix[:2, :2]
    pose[1:3, 3] = flat.matrix[:2, 2]
    return Transform(pose)


@dataclass(frozen=True)
class StackOnStage:
    """How the voxels of a stack lie on the stage.

    Parameters
    ----------
    stage
        Stage position of the stack's middle.
    plan
        Its geometry.
    orientation
        The rig's orientation.
    """

    stage: StagePosition
    plan: StackPlan
    orientation: Orientation

    def stage_from_stack(self) -> Transform:
        """Return the map from points of the stack to the stage, both (z, y, x), um."""
        middle_um = (np.array(self.plan.shape) - 1) / 2 * np.array(self.plan.voxel_um)
        turn = np.eye(4)
        turn[:3, :3] = _stage_axes(self.orientation)
        return Transform.translation(stage_zyx_um(self.stage)) @ Transform(turn) @ Transform.translation(-middle_um)


def pose_from_stacks(then: StackOnStage, today: StackOnStage, then_from_today: Transform) -> Transform:
    """Return the head pose that a registration of two stacks tells: turned and shifted as their middle is.

    The little stretch that tissue shows in a stack does not hold for the whole head.
    """
    pose = today.stage_from_stack() @ then_from_today.inverse() @ then.stage_from_stack().inverse()
    middle_um = np.array(stage_zyx_um(then.stage))
    u, _, vt = np.linalg.svd(pose.matrix[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = u @ vt
    rigid[:3, 3] = pose.apply(middle_um) - rigid[:3, :3] @ middle_um
    return Transform(rigid)


def _stage_axes(orientation: Orientation) -> Floats:
    axes = np.eye(3)
    axes[0, 0] = orientation.deeper_is
    axes[1:, 1:] = np.array(orientation.stage_from_image)[::-1, ::-1]
    return axes


def turn_on_stage_deg(reference_from_today: Transform, orientation: Orientation) -> Floats:
    """Return how the head was turned since the reference, on the stage: yaw, tilt y, tilt x, degrees."""
    axes = _stage_axes(orientation)
    u, _, vt = np.linalg.svd(reference_from_today.inverse().matrix[:3, :3])  # the turn alone, without the stretch
    turned = np.eye(4)
    turned[:3, :3] = axes @ u @ vt @ axes.T
    on_stage = Transform(turned)
    return np.array([on_stage.yaw_deg, *on_stage.tilt_yx_deg])


def needs_deeper(sigma_zyx_um: Floats) -> bool:
    """Tell whether the depth of a prediction is known too badly for an overview of the usual depth."""
    return bool(SEARCH_SIGMAS * sigma_zyx_um[0] > CAPTURE_UM[0])


def starts_um(sigma_zyx_um: Floats) -> list[tuple[float, float, float]]:
    """Return where to begin looking, as stage offsets (z, y, x) from the prediction, the likeliest first, um.

    Overviews capture what is within ``CAPTURE_UM`` of their middle, deeper ones ``DEEPER_UM`` more of the depth;
    together the starts reach ``SEARCH_SIGMAS`` of the prediction's uncertainty. One step deeper and higher is always
    among them: a prediction may be wrong.
    """
    sigma = np.asarray(sigma_zyx_um, dtype=float)
    more = np.array([DEEPER_UM if needs_deeper(sigma) else 0.0, 0.0, 0.0])
    steps = START_STEP_UM + 2 * more
    counts = np.ceil(np.maximum(SEARCH_SIGMAS * sigma - CAPTURE_UM - more, 0.0) / steps).astype(int)
    counts[0] = max(counts[0], 1)
    axes = [np.arange(-count, count + 1) * step for count, step in zip(counts, steps, strict=True)]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    order = np.argsort(np.linalg.norm(offsets / np.maximum(sigma, 1.0), axis=1), kind="stable")
    return [(float(z), float(y), float(x)) for z, y, x in offsets[order]]


def deeper_plan(plan: StackPlan) -> StackPlan:
    """Return an overview of twice the depth with as many planes, and as much power in its middle: it captures more."""
    more_um, length_um = plan.depth_um / 2, plan.attenuation_length_um
    power_mw = plan.power_mw if length_um is None else plan.power_mw * float(np.exp(-more_um / length_um))
    twice = {"depth_um": 2 * plan.depth_um, "step_um": 2 * plan.step_um, "power_mw": power_mw}
    return plan.model_copy(update=twice)


def offset_zyx_um(
    reference_from_today: Transform, plan: StackPlan, todays_plan: StackPlan | None = None
) -> tuple[float, float, float]:
    """Return where the middle of the reference stack lies in today's, from the middle of today's, um.

    Moving the stage by this offset (through the rig's orientation) brings the field back to where it was.

    Parameters
    ----------
    reference_from_today
        How the stacks lie.
    plan
        Geometry of the reference stack.
    todays_plan
        Geometry of today's stack when it is another.
    """
    middle, todays_middle = (
        (np.array(each.shape) - 1) / 2 * np.array(each.voxel_um) for each in (plan, todays_plan or plan)
    )
    dz, dy, dx = reference_from_today.inverse().apply(middle) - todays_middle
    return float(dz), float(dy), float(dx)


def about_middle(reference_from_today: Transform, plan: StackPlan) -> Transform:
    """Return how a stack lies in the reference stack once the stage brought its middle back: turned, not shifted."""
    middle = (np.array(plan.shape) - 1) / 2 * np.array(plan.voxel_um)
    turned = reference_from_today.matrix.copy()
    turned[:3, 3] = middle - turned[:3, :3] @ middle
    return Transform(turned)


def is_close(offset_um: tuple[float, float, float]) -> bool:
    """Tell whether an offset (z, y, x) is so small that no further overview is worth its light.

    The stage is moved by it all the same; a registration is as good at 3 um as at none.
    """
    dz, dy, dx = offset_um
    return bool(np.hypot(dy, dx) <= LATERAL_LIMIT_UM and abs(dz) <= AXIAL_LIMIT_UM)


def tilt_advice(reference_from_today: Transform) -> str:
    """Say how the head is turned against the reference, as the image shows it, in degrees."""
    tilt_y, tilt_x = reference_from_today.tilt_yx_deg
    yaw_deg = -reference_from_today.yaw_deg  # of today: positive turns right to bottom in the image
    down_y = "bottom" if tilt_y < 0 else "top"
    down_x = "right" if tilt_x < 0 else "left"
    return (
        f"turned {abs(yaw_deg):.1f} deg {'clockwise' if yaw_deg > 0 else 'counter-clockwise'}, "
        f"{down_y} of the image {abs(tilt_y):.1f} deg lower, {down_x} {abs(tilt_x):.1f} deg lower than at the reference"
    )


def searched(record: RelocationRecord) -> str:
    """Say how far around the prediction a search would have found the field."""
    starts_um = np.array([stage_zyx_um(step.stage) for step in record.steps]) - stage_zyx_um(record.predicted)
    deeper = record.sigma_zyx_um is not None and needs_deeper(np.array(record.sigma_zyx_um))
    reach_um = CAPTURE_UM + np.array([DEEPER_UM if deeper else 0.0, 0.0, 0.0])
    ends = zip("zyx", starts_um.min(axis=0) - reach_um, starts_um.max(axis=0) + reach_um, strict=True)
    ranges = ", ".join(f"{axis} {low:+.0f} to {high:+.0f}" for axis, low, high in ends)
    return f"searched about {ranges} um from the prediction, yaw to {MAX_YAW_DEG:.0f} deg each way"


@dataclass(frozen=True)
class SearchResult:
    """The end of a search: where, how sure, and every step on the way."""

    verdict: Verdict
    position: StagePosition
    steps: tuple[RelocationStep, ...]
    registration: StackRegistration | None

    def record(
        self, *, animal: str, field: str, session: str, predicted: StagePosition, seconds: float
    ) -> RelocationRecord:
        """Write the search down; ``seconds`` is what it took in all."""
        compute_s = sum(step.compute_s for step in self.steps)
        found = self.registration if self.verdict is not Verdict.NOT_FOUND else None
        return RelocationRecord(
            animal=animal,
            field=field,
            session=session,
            verdict=self.verdict,
            predicted=predicted,
            position=self.position,
            remaining_zyx_um=self.steps[-1].offset_zyx_um if found else None,
            reference_from_today=TransformRecord.of(found.reference_from_today) if found else None,
            steps=self.steps,
            rig_s=max(0.0, seconds - compute_s),
            compute_s=compute_s,
            probability=self.steps[-1].probability if self.steps else None,
        )


def search(
    predicted: StagePosition,
    sigma_zyx_um: Floats,
    look: Look,
    plan: StackPlan,
    *,
    orientation: Orientation,
    why_not: WhyNot,
    cut_short: Callable[[SearchResult], object] = lambda _: None,
) -> SearchResult:
    """Look at the predicted place, then around it, and close in where the field shows itself.

    Where the depth is badly known, as for the first field of a session, the first looks go deeper.

    Parameters
    ----------
    predicted
        Where the field must be.
    sigma_zyx_um
        One sigma of the prediction on the stage, um: how far around it is worth looking.
    look
        Takes an overview at a position as a plan says and registers it to the reference.
    plan
        Geometry of the reference, and of the overviews but the deeper ones.
    orientation
        How images lie on the stage.
    why_not
        Says why an overview at a position is refused; None when it is allowed.
    cut_short
        Is told what was seen when an overview could not be taken, or somebody stopped the search.
    """
    loop = _Loop(look, plan, orientation, why_not)
    first = deeper_plan(plan) if needs_deeper(sigma_zyx_um) else plan
    verdict, position = Verdict.NOT_FOUND, predicted
    try:
        for z_um, y_um, x_um in starts_um(sigma_zyx_um):
            start = predicted.moved(x_um, y_um, z_um)
            verdict, position = loop.close_in(start, plan if why_not(start, first) else first)
            if verdict is not Verdict.NOT_FOUND:
                break
    except BaseException:
        if loop.steps:
            cut_short(SearchResult(Verdict.NOT_FOUND, predicted, tuple(loop.steps), loop.registration))
        raise
    if verdict is Verdict.NOT_FOUND:
        position = predicted
    return SearchResult(verdict, position, tuple(loop.steps), loop.registration)


class _Loop:
    """The closed loop of a search: overview, registration, move, until it is close, lost or twice unsure."""

    def __init__(
        self,
        look: Look,
        plan: StackPlan,
        orientation: Orientation,
        why_not: WhyNot,
    ) -> None:
        self.steps: list[RelocationStep] = []
        self.registration: StackRegistration | None = None
        self._look, self._plan, self._orientation, self._why_not = look, plan, orientation, why_not

    def close_in(self, position: StagePosition, first: StackPlan) -> tuple[Verdict, StagePosition]:
        """Search from one start, where the first overview is taken as ``first`` says."""
        unsure, verdict, plan = 0, Verdict.NOT_FOUND, first
        while len(self.steps) < MAX_OVERVIEWS and self._why_not(position, plan) is None:
            step = self._step(position, plan)
            verdict = step.verdict
            if verdict is Verdict.NOT_FOUND:
                return verdict, position
            position = step.stage.moved(*self._orientation.stage_offset_um(step.offset_zyx_um))
            unsure += verdict is Verdict.UNSURE
            close = plan is self._plan and is_close(step.offset_zyx_um)
            if unsure == 2 or (verdict is Verdict.FOUND and close):
                return verdict, position
            plan = self._plan
        return (Verdict.NOT_FOUND if verdict is Verdict.NOT_FOUND else Verdict.UNSURE), position

    def _step(self, position: StagePosition, plan: StackPlan) -> RelocationStep:
        seen = self._look(position, plan)
        self.registration = seen.registration
        offset_um = offset_zyx_um(seen.registration.reference_from_today, self._plan, plan)
        step = RelocationStep.of(seen.stage, seen.registration, offset_um, seen.compute_s)
        self.steps.append(step)
        return step
