"""What a stack says of its own quality, while the animal is still there to take it again.

Every number gets a light and, unless it is green, advice in words. Planes are named by their number in the file,
which begins at 0 with the shallowest. It knows pixels and records; it deliberately does not know the rig.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from acquire.drift import drift_along
from acquire.model import (
    FieldRecord,
    Light,
    PlaneQuality,
    QualityItem,
    QualityRecord,
    SessionRecord,
    TakenPlane,
    TransformRecord,
)
from analysis.model import Floats, Stack, Verdict

SATURATED_FROM = 0.97  # of full scale: the mean of frames of which one or two clip lies just below it
SATURATED_AMBER, SATURATED_RED = 1e-3, 1e-2  # a tenth of, and all that shafts and heads fill of a cortical stack
SIGNAL_TO_NOISE_AMBER, SIGNAL_TO_NOISE_RED = 10.0, 4.0  # a spine has a third of its shaft's brightness: 3 and 1 then
SHAFT_PERCENTILE = 99.5  # of a plane: a shaft of 1 um across a field of 90 um fills one pixel in a hundred
PLANES_WITH_SHAFT_PERCENTILE = 90.0  # of the planes: even in a sparse stack one in ten cuts a shaft
MOTION_AMBER_UM, MOTION_RED_UM = 0.5, 1.5  # wider than the point spread function; than a spine's head
DIM_AMBER, DIM_RED = 0.85, 0.65  # of the diffuse light of the planes beside; tissue alone keeps above 0.9
BESIDE, LIT_PERCENTILE = 15, 70.0  # planes looked at on each side; found as long as a third of them were lit
DRIFT_AMBER_UM, DRIFT_RED_UM = 2.0, 10.0  # oblique shafts alone feign 0.5 um; a tilted drive gives up to 8 um, evenly
COVERAGE_AMBER, COVERAGE_RED = 0.95, 0.80  # of the reference's depth: what is not covered cannot be scored
OFF_AMBER_UM, OFF_RED_UM = 3.0, 10.0  # a found field lies within 1 um; a stack of another place anywhere
LEAST_ADVICE_UM = 1.0  # a start or end that misses less than one usual step needs no word
PLACE = "place"
WATCHED_PIXELS = 96  # a side, looked at while the next plane is waited for: enough to tell light and saturation
RANK = {Light.GREEN: 0, Light.AMBER: 1, Light.RED: 2}

Pixels = NDArray[np.uint16]
DepthRange = tuple[float, float]


def judge_stack(
    stack: Stack,
    field: FieldRecord,
    session: SessionRecord,
    *,
    reference_depth_um: DepthRange | None = None,
    place: QualityItem | None = None,
) -> QualityRecord:
    """Judge saturation, signal to noise, motion, drift and coverage of a stack, and say what to do about them.

    The background is the median; the noise is the spread of the differences between neighbouring pixels, which
    structures larger than a pixel hardly change; the signal is the brightness of the brightest half per cent of a
    plane, in those planes that hold a shaft.

    Parameters
    ----------
    stack
        The stack, as it was read from its store; ``provenance`` brings what was written of its planes.
    field, session
        Whose it is.
    reference_depth_um
        First and last depth that the field's reference stack covers, in the reference frame, um; None when there is
        nothing to compare with.
    place
        What :func:`judge_place` says; None in the session in which the field was kept.
    """
    background, noise = measure_background(stack.pixels)
    evenness = _evenness(stack.pixels)
    planes = _judge_planes(stack, noise, evenness)
    ratio = float(np.percentile([plane.signal_to_noise for plane in planes], PLANES_WITH_SHAFT_PERCENTILE))
    saturated = float(np.mean([plane.saturated_fraction for plane in planes]))
    items = [
        _saturation(saturated),
        _signal_to_noise(ratio),
        *_even_light(planes, evenness),
        *_motion(planes),
        _drift(stack),
    ]
    if place is not None:
        items.append(place)
    if reference_depth_um is not None:
        items.append(judge_coverage(reference_depth_um, depth_in_reference_um(stack)))
    light = worst(item.light for item in items)
    advice = [item.advice for item in sorted(items, key=lambda item: -RANK[item.light]) if item.advice]
    return QualityRecord(
        animal=session.animal,
        field=field.name,
        session=session.name,
        stack=stack.name,
        planes=len(stack.pixels),
        saturated_fraction=saturated,
        background=background,
        noise=noise,
        signal=ratio * noise,
        signal_to_noise=ratio,
        light=light,
        advice="; ".join(dict.fromkeys(advice)) or "good",
        items=tuple(items),
        plane_quality=planes,
    )


class QualityWatch:
    """Looks at every plane as it comes; a sink for the rig, which keeps nothing.

    ``says`` is what is wrong with the last planes, in words; empty when nothing is.

    Parameters
    ----------
    saturation
        Counts at which the detector is full; None when not known.
    """

    def __init__(self, saturation: float | None) -> None:
        self._saturation = saturation
        self._diffuse: deque[float] = deque(maxlen=BESIDE)
        self.says = ""

    def append(self, taken: TakenPlane) -> None:
        """Judge one plane."""
        shown = taken.pixels if taken.pixels.ndim == 2 else taken.pixels[0]  # the first channel shows the dendrites
        step = max(1, len(shown) // WATCHED_PIXELS)
        thinned = np.sort(shown[::step, ::step], axis=None)
        diffuse = float(thinned[: int(0.95 * thinned.size)].mean() - thinned[int(0.01 * thinned.size)])
        faults = list(self._faults(thinned, diffuse, taken.record.motion_um))
        self._diffuse.append(diffuse)
        self.says = f"plane {taken.record.plane} {', '.join(faults)}" if faults else ""

    def _faults(self, thinned: Pixels, diffuse: float, motion_um: float) -> Iterable[str]:
        if motion_um > MOTION_RED_UM:
            yield f"moved {motion_um:.1f} um"
        if self._saturation is not None:
            saturated = float(np.mean(thinned >= SATURATED_FROM * self._saturation))
            if saturated > SATURATED_RED:
                yield f"is saturated in {100 * saturated:.1f} % of its pixels"
        usual = float(np.median(self._diffuse)) if self._diffuse else diffuse
        if diffuse < DIM_RED * usual:
            yield f"has {100 * diffuse / usual:.0f} % of the light of those before"


def bad_planes(record: QualityRecord) -> list[int]:
    """Return the planes that are worth taking again: those with a red light, shallowest first."""
    return [plane.plane for plane in record.plane_quality if plane.light is Light.RED]


def consecutive_runs(planes: Iterable[int]) -> list[list[int]]:
    """Return plane numbers, ascending, as runs of consecutive ones.

    Examples
    --------
    >>> consecutive_runs([5, 0, 1, 4])
    [[0, 1], [4, 5]]
    """
    runs: list[list[int]] = []
    for plane in sorted(planes):
        if runs and plane == runs[-1][-1] + 1:
            runs[-1].append(plane)
        else:
            runs.append([plane])
    return runs


def name_planes(planes: Sequence[int]) -> str:
    """Return plane numbers in words.

    Examples
    --------
    >>> name_planes([3]), name_planes([18, 19, 20, 24])
    ('plane 3', 'planes 18-20, 24')
    """
    named = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in consecutive_runs(planes))
    return f"{'plane' if len(planes) == 1 else 'planes'} {named}"


def worst(lights: Iterable[Light]) -> Light:
    """Return the worst of some lights; green when there is none.

    Examples
    --------
    >>> str(worst([Light.GREEN, Light.RED, Light.AMBER]))
    'red'
    """
    return max(lights, key=RANK.__getitem__, default=Light.GREEN)


def measure_background(pixels: Pixels) -> tuple[float, float]:
    """Return background and noise of a stack or a plane, shape (..., y, x), in counts; the noise is never 0."""
    background = float(np.median(pixels[..., ::4, ::4]))
    differences = np.diff(pixels[..., ::8, :].astype(np.float32), axis=-1)
    noise = float(1.4826 * np.median(np.abs(differences)) / np.sqrt(2)) or 1.0
    return background, noise


def depth_in_reference_um(stack: Stack) -> DepthRange:
    """Return the depths that the middle of a stack covers, in the field's reference frame, um."""
    written = stack.provenance.get("reference_from_today")
    middle = 0.5 * stack.extent_zyx_um
    ends: Floats = np.array([[0.0, *middle[1:]], [stack.extent_zyx_um[0], *middle[1:]]])
    if written is not None:
        ends = TransformRecord.model_validate(written).transform().apply(ends)
    return float(ends[0, 0]), float(ends[1, 0])


def judge_coverage(reference_depth_um: DepthRange, depth_um: DepthRange) -> QualityItem:
    """Judge how much of the reference's depth a stack covers, both in the reference frame, um."""
    (top, bottom), (first, last) = reference_depth_um, depth_um
    covered = max(0.0, min(bottom, last) - max(top, first)) / (bottom - top) if bottom > top else 1.0
    light = _light(-covered, -COVERAGE_AMBER, -COVERAGE_RED)
    advice = []
    if light is not Light.GREEN and first - top >= LEAST_ADVICE_UM:
        advice.append(f"raise the start {first - top:.0f} um")
    if light is not Light.GREEN and bottom - last >= LEAST_ADVICE_UM:
        advice.append(f"end {bottom - last:.0f} um deeper")
    return QualityItem(name="coverage", value=100 * covered, unit="%", light=light, advice=", ".join(advice))


def judge_place(verdict: Verdict, off_um: float) -> QualityItem:
    """Judge whether a stack shows its field, by how it was registered to the field's first overview.

    Parameters
    ----------
    verdict
        Of the registration.
    off_um
        How far the stack's middle lies from the overview's, um.
    """
    light = _light(off_um, OFF_AMBER_UM, OFF_RED_UM)
    if verdict is not Verdict.FOUND:
        light = worst((light, Light.RED if verdict is Verdict.NOT_FOUND else Light.AMBER))
    advice = "it does not show the field; if the head was moved, relocate the field in a new session"
    if light is Light.AMBER:
        advice = f"{verdict} and {off_um:.1f} um off its place: compare it with the first day"
    return _item(PLACE, off_um, "um off", light, advice)


def _light(value: float, amber: float, red: float) -> Light:
    if value > red:
        return Light.RED
    return Light.AMBER if value > amber else Light.GREEN


# ---- planes ----------------------------------------------------------------------------------------------------------


def _judge_planes(stack: Stack, noise: float, evenness: Floats) -> tuple[PlaneQuality, ...]:
    motion = {int(plane["plane"]): plane.get("motion_um") for plane in stack.provenance.get("planes", ())}
    judged = []
    for number, plane in enumerate(stack.pixels):
        saturated = 0.0
        if stack.saturation is not None:
            saturated = float(np.mean(plane >= SATURATED_FROM * stack.saturation))
        lights = [
            _light(-evenness[number], -DIM_AMBER, -DIM_RED),
            _light(motion.get(number) or 0.0, MOTION_AMBER_UM, MOTION_RED_UM),
        ]
        judged.append(
            PlaneQuality(
                plane=number,
                saturated_fraction=saturated,
                signal_to_noise=_shaft(plane) / noise,
                motion_um=motion.get(number),
                light=worst(lights),
            )
        )
    return tuple(judged)


def _shaft(plane: Pixels) -> float:
    """Return the brightness of a plane's brightest structure above its background, counts."""
    low, high = np.percentile(plane[::2, ::2], (50, SHAFT_PERCENTILE))
    return float(high - low)


def _evenness(pixels: Pixels) -> Floats:
    """Return the diffuse light of each plane over that of the planes above and below, whichever is less.

    The diffuse light changes slowly with depth, so a plane darker than both sides was lit less: the laser or the
    shutter, not the tissue, made it so. Structures, the brightest twentieth, do not count.
    """
    thinned = np.sort(pixels[:, ::4, ::4].reshape(len(pixels), -1), axis=1)
    count = thinned.shape[1]
    diffuse = thinned[:, : int(0.95 * count)].mean(axis=1) - np.median(thinned[:, int(0.01 * count)])
    evenness = np.ones(len(diffuse))
    for plane in range(1, len(diffuse) - 1):
        above, below = diffuse[max(0, plane - BESIDE) : plane], diffuse[plane + 1 : plane + 1 + BESIDE]
        expected = min(float(np.percentile(side, LIT_PERCENTILE)) for side in (above, below))
        evenness[plane] = min(1.0, max(0.0, diffuse[plane]) / expected) if expected > 0 else 1.0
    return evenness


# ---- items -----------------------------------------------------------------------------------------------------------


def _saturation(saturated: float) -> QualityItem:
    light = _light(saturated, SATURATED_AMBER, SATURATED_RED)
    advice = f"{100 * saturated:.2f} % of the voxels are saturated: lower the power or the gain"
    return _item("saturation", 100 * saturated, "%", light, advice)


def _signal_to_noise(ratio: float) -> QualityItem:
    light = _light(-ratio, -SIGNAL_TO_NOISE_AMBER, -SIGNAL_TO_NOISE_RED)
    advice = f"signal to noise is only {ratio:.1f}: average more frames, clean the window, or raise the power"
    return _item("signal to noise", ratio, "", light, advice)


def _even_light(planes: Sequence[PlaneQuality], evenness: Floats) -> Iterable[QualityItem]:
    if not len(planes):
        return
    least = float(np.min(evenness))
    dim = [plane.plane for plane, even in zip(planes, evenness, strict=True) if even < DIM_RED]
    light = _light(-least, -DIM_AMBER, -DIM_RED)
    advice = f"repeat {name_planes(dim)}: darker than the planes beside" if dim else "check that the laser is steady"
    yield _item("dimmest plane", 100 * least, "% of its neighbours", light, advice)


def _motion(planes: Sequence[PlaneQuality]) -> Iterable[QualityItem]:
    moved = {plane.plane: plane.motion_um for plane in planes if plane.motion_um is not None}
    if not moved:
        return
    most_um = max(moved.values())
    light = _light(most_um, MOTION_AMBER_UM, MOTION_RED_UM)
    limit_um = MOTION_RED_UM if light is Light.RED else MOTION_AMBER_UM
    named = name_planes([number for number, motion_um in sorted(moved.items()) if motion_um > limit_um] or [0])
    advice = f"repeat {named}" if light is Light.RED else f"watch the breathing: {named} moved"
    yield _item("motion", most_um, "um", light, f"{advice} (up to {most_um:.1f} um)")


def _drift(stack: Stack) -> QualityItem:
    drift_yx_um = drift_along(stack.pixels, stack.voxel_um[1])
    most_um = float(np.hypot(*np.ptp(drift_yx_um, axis=0)))
    light = _light(most_um, DRIFT_AMBER_UM, DRIFT_RED_UM)
    advice = f"the tissue drifted {most_um:.1f} um along the stack: let it settle, or let the stage follow the drift"
    return _item("drift", most_um, "um", light, advice)


def _item(name: str, value: float, unit: str, light: Light, advice: str) -> QualityItem:
    return QualityItem(name=name, value=value, unit=unit, light=light, advice="" if light is Light.GREEN else advice)
