"""What is said of stacks whose faults are known, because they were put in."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from acquire.model import (
    FieldRecord,
    Light,
    PlaneRecord,
    QualityItem,
    QualityRecord,
    SessionRecord,
    StagePosition,
    TakenPlane,
    TransformRecord,
    utc_now,
)
from acquire.quality import QualityWatch, bad_planes, judge_coverage, judge_stack, name_planes
from analysis.model import Stack, Transform

VOXEL_UM = (1.0, 0.2, 0.2)
FIELD = FieldRecord(name="F01", position=StagePosition(x_um=0, y_um=0, z_um=0), reference_session="one")
SESSION = SessionRecord(animal="M1", name="one", number=0, day=0, started=utc_now(), rig="r", software_version="0")
RIGHT = ("saturation", "signal to noise", "dimmest plane", "drift")


def photons(planes: int = 30, size: int = 192) -> NDArray[np.float64]:
    """Return shafts at all depths and in all directions in some diffuse light, photons."""
    rng = np.random.default_rng(4)
    volume = np.zeros((planes, size, size))
    along = np.arange(-size, size)
    for plane in range(1, planes, 3):
        angle, centre = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7, 2) * size
        y, x = (np.rint(c + along * f(angle)).astype(int) for c, f in zip(centre, (np.sin, np.cos), strict=True))
        inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
        volume[plane, y[inside], x[inside]] = 1.0
        spots = rng.integers(0, size, (40, 2))
        volume[plane, spots[:, 0], spots[:, 1]] = 1.5
    volume = ndimage.gaussian_filter(volume, (0.9, 1.5, 1.5))
    return 20.0 * volume / volume.max() + 0.6


def stack(expected: NDArray[np.float64] | None = None, **provenance: object) -> Stack:
    expected = photons() if expected is None else expected
    rng = np.random.default_rng(0)
    counts = 40.0 * rng.poisson(expected) + rng.normal(100, 5, expected.shape)
    return Stack(np.clip(np.rint(counts), 0, 4095).astype(np.uint16), VOXEL_UM, saturation=4095, provenance=provenance)


def judge(taken: Stack) -> QualityRecord:
    return judge_stack(taken, FIELD, SESSION)


def item(record: QualityRecord, name: str) -> QualityItem:
    return {item.name: item for item in record.items}[name]


def motion(planes: int, moved: dict[int, float]) -> list[dict[str, object]]:
    return [{"plane": plane, "motion_um": moved.get(plane, 0.1)} for plane in range(planes)]


def test_a_good_stack_is_green_and_says_nothing_to_do() -> None:
    record = judge(stack(planes=motion(30, {})))
    assert (record.light, record.advice, bad_planes(record)) == (Light.GREEN, "good", [])
    assert [item.name for item in record.items] == ["saturation", "signal to noise", "dimmest plane", "motion", "drift"]
    assert all(item.advice == "" for item in record.items)
    assert len(record.plane_quality) == record.planes == 30


def test_the_record_survives_its_file() -> None:
    record = judge(stack(planes=motion(30, {3: 2.0})))
    assert QualityRecord.model_validate_json(record.model_dump_json()) == record


def darken(expected: NDArray[np.float64], planes: slice, light: float) -> NDArray[np.float64]:
    expected = expected.copy()
    expected[planes] *= light
    return expected


@pytest.mark.parametrize(
    ("planes", "light", "words"),
    [
        (slice(18, 25), 0.0, "repeat planes 18-24"),
        (slice(12, 13), 0.25, "repeat plane 12:"),
        (slice(5, 8), 0.1, "repeat planes 5-7"),
    ],
)
def test_planes_that_got_no_light_are_named(planes: slice, light: float, words: str) -> None:
    record = judge(stack(darken(photons(), planes, light)))
    assert record.light is Light.RED
    assert words in record.advice
    assert bad_planes(record) == list(range(30))[planes]


def test_the_dark_above_the_surface_is_no_fault() -> None:
    record = judge(stack(darken(photons(), slice(0, 9), 0.02)))
    assert item(record, "dimmest plane").light is Light.GREEN
    assert bad_planes(record) == []


def test_planes_that_moved_are_named() -> None:
    record = judge(stack(planes=motion(30, {18: 2.0, 19: 1.8, 20: 3.1, 25: 1.6, 2: 0.7})))
    assert item(record, "motion").value == pytest.approx(3.1)
    assert item(record, "motion").advice == "repeat planes 18-20, 25 (up to 3.1 um)"
    assert bad_planes(record) == [18, 19, 20, 25]
    assert record.plane_quality[2].light is Light.AMBER
    watched = judge(stack(planes=motion(30, {2: 0.7})))
    assert (watched.light, bad_planes(watched)) == (Light.AMBER, [])
    assert "plane 2 moved" in watched.advice


def test_motion_is_not_judged_where_it_was_not_written() -> None:
    assert [item.name for item in judge(stack()).items] == list(RIGHT)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda light: 40 * light, "saturation", "lower the power or the gain"),
        (lambda light: 0.6 + 0.03 * light, "signal to noise", "average more frames"),
    ],
)
def test_too_much_and_too_little_light(
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]], name: str, words: str
) -> None:
    record = judge(stack(change(photons())))
    assert item(record, name).light is Light.RED
    assert words in item(record, name).advice
    assert record.light is Light.RED


def test_drift_along_the_stack_is_measured() -> None:
    sharp = photons()
    path = np.linspace(0, 1, 30)[:, None] * np.array([12.0, 9.0])
    drifted = np.stack([ndimage.shift(p, by, order=3, mode="nearest") for p, by in zip(sharp, path, strict=True)])
    found = item(judge(stack(np.maximum(drifted, 0))), "drift")
    assert found.value == pytest.approx(3.0, abs=0.8)
    assert found.light is Light.AMBER
    assert "along the stack" in found.advice
    assert item(judge(stack(sharp)), "drift").value < 0.8


@pytest.mark.parametrize(
    ("depth_um", "light", "advice"),
    [
        ((0.0, 40.0), Light.GREEN, ""),
        ((-2.0, 45.0), Light.GREEN, ""),
        ((3.0, 43.0), Light.AMBER, "raise the start 3 um"),
        ((-4.0, 36.0), Light.AMBER, "end 4 um deeper"),
        ((5.0, 30.0), Light.RED, "raise the start 5 um, end 10 um deeper"),
        ((60.0, 100.0), Light.RED, "raise the start 60 um"),
    ],
)
def test_coverage_says_what_is_missing(depth_um: tuple[float, float], light: Light, advice: str) -> None:
    found = judge_coverage((0.0, 40.0), depth_um)
    assert (found.light, found.advice) == (light, advice)


@given(*[st.floats(-100, 100)] * 2, st.floats(1, 100), st.floats(1, 100))
def test_coverage_is_a_share(top: float, first: float, depth: float, own_depth: float) -> None:
    found = judge_coverage((top, top + depth), (first, first + own_depth))
    assert 0 <= found.value <= 100 + 1e-9
    assert judge_coverage((top, top + depth), (top, top + depth)).light is Light.GREEN


def test_coverage_comes_from_the_transform_that_the_stack_was_taken_with() -> None:
    deeper = TransformRecord.of(Transform.translation((4.0, 0.0, 0.0))).model_dump(mode="json")
    record = judge_stack(stack(reference_from_today=deeper), FIELD, SESSION, reference_depth_um=(0.0, 29.0))
    assert item(record, "coverage").value == pytest.approx(100 * 25 / 29)
    assert "raise the start 4 um" in record.advice


@given(st.sets(st.integers(0, 60), min_size=1))
def test_named_planes_are_those_given(planes: set[int]) -> None:
    words = name_planes(sorted(planes)).split(maxsplit=1)[1]
    named: set[int] = set()
    for run in words.split(", "):
        first, _, last = run.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    assert named == planes


def watched(pixels: NDArray[np.uint16], moved_um: dict[int, float] | None = None) -> dict[int, str]:
    """Return what is said of each plane while a stack is taken, where anything is."""
    watch, said = QualityWatch(4095.0), {}
    for number, plane in enumerate(pixels):
        record = PlaneRecord(
            plane=number,
            time=utc_now(),
            stage=FIELD.position,
            power_mw=None,
            power_setting=None,
            exposure_ms=1.0,
            pmt_gain=None,
            zoom=None,
            frames=1,
            motion_um=(moved_um or {}).get(number, 0.1),
        )
        watch.append(TakenPlane(plane, (plane,), record))
        said |= {number: watch.says} if watch.says else {}
    return said


def test_faults_of_a_plane_are_said_while_the_stack_is_taken() -> None:
    pixels = stack().pixels.copy()
    assert watched(pixels) == {}
    pixels[12] = 100 + (pixels[12] - 100.0) * 0.3
    pixels[20, :, :40] = 4095
    said = watched(pixels, {7: 2.25})
    assert said.keys() == {7, 12, 20}
    assert said[7] == "plane 7 moved 2.2 um"
    assert said[12].startswith("plane 12 has ") and "of the light of those before" in said[12]
    assert "is saturated in 2" in said[20]
