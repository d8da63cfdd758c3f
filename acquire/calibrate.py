"""How the image lies on the stage, and how large its pixels are: measured by small moves that are seen in the image.

The stage goes a little to each side; how far the image shifts with it tells the map from pixels to the stage. The
light is on for the images alone, at the power that was asked for; the stage comes back on every way out. Nothing here
decides whether the rig config is changed: it says what was measured, and beside it what the config has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from acquire.errors import RigError
from acquire.model import StackPlan, StagePosition
from acquire.orientation import CalibrationPlan, Camera, DepthViews, Matrix, MeasuredOrientation, Moves
from acquire.rig import Rig
from analysis.correlate import Image, block_mean, flatten, match_windows, peak_position
from analysis.model import Floats

Progress = Callable[[str, float], None]

STEP_SHARE = 0.15  # of the image's width: a move that is clearly seen, and leaves most of the image in common
MOST_STEP_UM = 100.0  # a move that nobody need fear, beneath any objective
SPAN_SHARE = 0.35  # how far the image is looked for: the config's pixel size may be wrong by a factor of two
WINDOW_SHARE = 0.25
WINDOW_STARTS = (0.2, 0.375, 0.55)  # of the width, from where three by three windows begin
MOST_PIXELS = 512  # larger images are binned first
FINE_PX, COARSE_PX = 2.0, 16.0
LEAST_SCORE = 0.4  # correlation of a window with what it shows after the move; noise alone reaches 0.2
LEAST_WINDOWS = 3  # of nine, that must be recognised after each move
AGREE_PX = 3.0  # windows that shift otherwise than the others by more than this show something else
LEAST_SHIFT_PX = 3.0
MOST_RESIDUAL_SHARE = 0.05  # of the move
MOST_Z_STEP_UM = 50.0


def plan_moves(rig: Rig, plan: CalibrationPlan) -> Moves:
    """Return where the stage will go, and with what light, before anything moves.

    Raises
    ------
    RigError
        When the rig lacks what is needed, a place is beyond the limits, or the power is not given or too high.
    """
    roles = rig.config.roles
    if roles.xy_stage is None:
        raise RigError(f"rig {rig.config.name} has no xy stage; its orientation cannot be measured by moving")
    field_um = _set_up(rig, plan)
    step_um = plan.step_um or min(STEP_SHARE * (field_um or _surface_width_um(rig)), MOST_STEP_UM)
    start = rig.position()
    sides = [
        start.moved(x_um=step_um),
        start.moved(x_um=-step_um),
        start.moved(y_um=step_um),
        start.moved(y_um=-step_um),
    ]
    places = (start, *sides, start)
    if refusal := next((why for place in places if (why := rig.why_not(place))), None):
        raise RigError(f"moves of {step_um:.0f} um from {start} are refused: {refusal}")
    return Moves(places, step_um, _light(rig, plan, len(places)))


def _set_up(rig: Rig, plan: CalibrationPlan) -> float | None:
    """Set the scanner up and return the width of its image by the config, um; None for the surface camera."""
    if plan.camera == "scanner":
        return rig.set_scan(_scan(plan)).field_of_view_um
    if rig.config.roles.surface_camera is None:
        raise RigError(f"rig {rig.config.name} has no surface camera (roles.surface_camera); measure with the scanner")
    return None


def _surface_width_um(rig: Rig) -> float:
    return _surface_pixel_um(rig) * float(rig.snap_surface().shape[1])


def _surface_pixel_um(rig: Rig) -> float:
    pixel_um = rig.config.surface_pixel_um
    assert pixel_um is not None, "a rig with a surface camera has surface_pixel_um"
    return pixel_um


def _scan(plan: CalibrationPlan) -> StackPlan:
    return StackPlan(
        field_of_view_um=plan.field_of_view_um, pixels=plan.pixels, dwell_us=plan.dwell_us, power_mw=0.0, depth_um=0.0
    )


def _light(rig: Rig, plan: CalibrationPlan, images: int) -> str:
    if plan.camera == "surface_camera":
        return "the laser stays off"
    lit_s = images * plan.frames * rig.exposure_ms() / 1000
    if rig.config.roles.power is None:
        return f"the light is on for {lit_s:.1f} s at a power that this rig does not know"
    if plan.power_mw is None:
        raise RigError("the scanner needs light; give the power at the sample in mW")
    if plan.power_limit_mw is not None and plan.power_mw > plan.power_limit_mw:
        raise RigError(f"power {plan.power_mw:g} mW is above the limit of this animal, {plan.power_limit_mw:g} mW")
    rig.power_setting(plan.power_mw)
    return f"the light is on for {lit_s:.1f} s with {plan.power_mw:g} mW"


def measure_orientation(
    rig: Rig, plan: CalibrationPlan, progress: Progress = lambda _what, _share: None
) -> MeasuredOrientation:
    """Measure how the image lies on the stage by moving a little to each side; the stage comes back.

    Raises
    ------
    RigError
        When a move or an image fails, the image shows nothing that is recognised, or its shifts do not fit one map.
    """
    with rig.work():
        moves = plan_moves(rig, plan)
        images, places = [], []
        with coming_back(rig, moves.places[0]):
            for number, place in enumerate(moves.places):
                progress(f"image {number + 1} of {len(moves.places)}", number / len(moves.places))
                _refuse_if_stopped(rig)
                rig.move_to(place)
                places.append(rig.position())
                images.append(_look(rig, plan))
                _refuse_if_stopped(rig)  # in its light: what was seen of it is dark
        progress("registering", 1.0)
    scan = rig.config.scan
    if plan.camera == "surface_camera":
        told_um, field_um = _surface_pixel_um(rig), None
    else:
        told_um, field_um = scan.pixel_um or plan.field_of_view_um / images[0].shape[1], scan.field_um_at_zoom_1
    return orientation_of(images, places, plan.camera, moves.step_um, told_pixel_um=told_um, told_field_um=field_um)


def see_depth(rig: Rig, plan: CalibrationPlan, step_um: float = 10.0) -> DepthViews:
    """Return images before and after z grew by a little, for a person to say which lies deeper; z comes back.

    Raises
    ------
    RigError
        When the step is large, beyond the limits, or fails.
    """
    if not 0 < step_um <= MOST_Z_STEP_UM:
        raise RigError(
            f"a step of {step_um:g} um along z is refused: nobody knows yet which way is down; give at most "
            f"{MOST_Z_STEP_UM:g} um"
        )
    with rig.work():
        start = rig.position()
        if refusal := rig.why_not(start.moved(z_um=step_um)):
            raise RigError(refusal)
        _set_up(rig, plan)
        _light(rig, plan, 2)
        with coming_back(rig, start):
            here = _look(rig, plan)
            _refuse_if_stopped(rig)
            rig.move_z(start.z_um + step_um)
            there = _look(rig, plan)
            _refuse_if_stopped(rig)
            return DepthViews(here, there, start.z_um, rig.position().z_um)


@contextlib.contextmanager
def coming_back(rig: Rig, start: StagePosition) -> Iterator[None]:
    """Bring the stage back to where it stood on every way out of the block, dark and with the least power.

    Raises
    ------
    RigError
        What went wrong in the block; and when the stage cannot be brought back, that too.
    """
    try:
        yield
    except Exception as error:
        try:
            _go_back(rig, start)
        except RigError as stuck:
            raise RigError(f"{error}; then the stage was not brought back to {start}: {stuck}") from error
        raise
    except BaseException:
        with contextlib.suppress(RigError):  # the program ends: that is what shall be heard
            _go_back(rig, start)
        raise
    _go_back(rig, start)


def _go_back(rig: Rig, start: StagePosition) -> None:
    rig.close_light()
    rig.move_to(start)
    rig.dim()


def _refuse_if_stopped(rig: Rig) -> None:
    if rig.stop_requested:
        raise RigError("the calibration was stopped; the light is off and the stage where it was")


def _look(rig: Rig, plan: CalibrationPlan) -> Image:
    """Return one image, shape (y, x): of the scanner the mean of its frames, under light that goes off again."""
    if plan.camera == "surface_camera":
        return rig.snap_surface().astype(np.float32)
    if plan.power_mw is not None:
        rig.set_power_mw(plan.power_mw)
    with rig.light():
        frames = []
        for _ in range(plan.frames):
            _refuse_if_stopped(rig)
            frame = rig.snap()
            frames.append(frame if frame.ndim == 2 else frame[0])
        rig.check_light()
    return np.asarray(np.mean(frames, axis=0, dtype=np.float32))


def orientation_of(
    images: Sequence[NDArray[np.generic]],
    places: Sequence[StagePosition],
    camera: Camera,
    step_um: float,
    *,
    told_pixel_um: float,
    told_field_um: float | None = None,
) -> MeasuredOrientation:
    """Return the map from pixels to the stage that images at known stage positions tell.

    Raises
    ------
    RigError
        When an image shows nothing that is recognised, does not follow the stage, or the shifts fit no one map.
    """
    first, bins = _prepared(images[0])
    shifts, offsets = [], []
    for number, (image, place) in enumerate(zip(images[1:], places[1:], strict=True)):
        moved = (place.x_um - places[0].x_um, place.y_um - places[0].y_um)
        seen = bins * shifts_of_windows(first, _prepared(image)[0], f"image {number + 2} of {len(images)}")
        shifts.append(seen)
        offsets.append(np.tile(moved, (len(seen), 1)))
    rows, residual_um, sigma_deg = _fitted(np.concatenate(shifts), np.concatenate(offsets), step_um)
    return MeasuredOrientation(camera, rows, residual_um, step_um, sigma_deg, told_pixel_um, told_field_um)


def _prepared(image: NDArray[np.generic]) -> tuple[Image, int]:
    """Return an image with even contrast, and by how many pixels it was binned."""
    bins = max(1, round(max(image.shape) / MOST_PIXELS))
    return flatten(block_mean(image, (bins, bins)), (FINE_PX, FINE_PX), (COARSE_PX, COARSE_PX)), bins


def shifts_of_windows(first: Image, image: Image, name: str) -> Floats:
    """Return how far windows of the first image shifted (right, down), pixels, shape (n, 2); only those recognised.

    Raises
    ------
    RigError
        When too few are.
    """
    shape = np.array(first.shape)
    size, span = (shape * WINDOW_SHARE).astype(int), (shape * SPAN_SHARE).astype(int)
    starts = np.array([(shape * (row, column)).astype(int) for row in WINDOW_STARTS for column in WINDOW_STARTS])
    maps = match_windows(first, image, starts, tuple(size), tuple(span))
    peaks = [peak_position(each) for each in maps]
    found = np.array([position - span for position, score in peaks if score >= LEAST_SCORE]).reshape(-1, 2)
    alike = found[np.linalg.norm(found - np.median(found, axis=0), axis=1) <= AGREE_PX] if len(found) else found
    if len(alike) < LEAST_WINDOWS:
        best = max(score for _, score in peaks)
        raise RigError(
            f"{name} is not recognised: {len(alike)} of {len(peaks)} parts are found again (best correlation "
            f"{best:.2f}, needed {LEAST_SCORE:g} in {LEAST_WINDOWS}); the image shows too little, or the move was too "
            "large: look for structure, mend focus and light, or take a smaller step"
        )
    return np.asarray(alike[:, ::-1], dtype=np.float64)


def _fitted(shifts_px: Floats, moved_um: Floats, step_um: float) -> tuple[Matrix, float, float]:
    """Fit one map to shifts of the image (right, down) and offsets of the stage (x, y), shape (n, 2) both.

    Returns the map, what it leaves of the shifts, um, and one sigma of its rotation, degrees.

    What is centred after a move of the stage by s lay off the centre by the pixels that the image shifted back.
    """
    far = np.linalg.norm(moved_um, axis=1) > 0.5 * step_um
    least_px = float(np.linalg.norm(shifts_px[far], axis=1).min())
    if least_px < LEAST_SHIFT_PX:
        raise RigError(
            f"the image does not follow the stage: it shifted by {least_px:.1f} pixels when the stage moved "
            f"{step_um:.0f} um; check that the stage carries the sample, and clean what casts a fixed pattern"
        )
    solution, *_ = np.linalg.lstsq(shifts_px, -moved_um, rcond=None)
    residuals_um = moved_um + shifts_px @ solution
    residual_um = float(np.sqrt(np.mean(np.sum(residuals_um**2, axis=1))))
    if residual_um > MOST_RESIDUAL_SHARE * step_um:
        raise RigError(
            f"the shifts of the image fit no one map: {residual_um:.2f} um are left over of moves of {step_um:.0f} um "
            f"(limit {MOST_RESIDUAL_SHARE * step_um:.2f} um); check that the stage arrives and the sample is fixed"
        )
    matrix = solution.T
    spread_px = np.sqrt(np.sum(shifts_px**2) / 2)
    sigma = residual_um / np.sqrt(2) / (spread_px * np.sqrt(abs(np.linalg.det(matrix))))
    rows = ((float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1])))
    return rows, residual_um, float(np.degrees(sigma))
