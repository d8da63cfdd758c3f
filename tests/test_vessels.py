"""Registration of surface pictures: vessels seen again turned, shifted, dimmer, out of focus; and wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from analysis.errors import StackError
from analysis.model import Transform, Verdict
from analysis.stack import read_image
from analysis.vessels import SurfaceRegistration, draw_vessels, find_branch_points, judge, register_surface

WIDE_UM = 1280.0
CENTRE_UM = np.array([WIDE_UM / 2, WIDE_UM / 2])


def grow_vessels(seed: int) -> NDArray[np.float64]:
    """Return places and widths along branching vessels in and around the picture: y, x, width, um."""
    rng = np.random.default_rng(seed)
    places: list[tuple[float, float, float]] = []

    def grow(place: NDArray[np.float64], heading: float, width: float, depth: int) -> None:
        for _ in range(int(rng.uniform(150, 700) / 4) * (1 if depth else 3)):
            heading += rng.normal(0, 0.05)
            place = place + 4 * np.array([np.sin(heading), np.cos(heading)])
            places.append((*place, width))
            if rng.uniform() < 0.012 and depth < 4 and width > 8:
                grow(
                    place,
                    heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2),
                    width * rng.uniform(0.5, 0.8),
                    depth + 1,
                )

    for _ in range(6):
        grow(rng.uniform(-200, WIDE_UM + 200, 2), rng.uniform(0, 2 * np.pi), rng.uniform(25, 80), 0)
    return np.array(places)


def picture(
    vessels: NDArray[np.float64],
    today_from_map: Transform,
    rng: np.random.Generator,
    *,
    pixel_um: float = 2.0,
    blur_um: float = 6.0,
    photons: float = 150.0,
) -> NDArray[np.uint16]:
    """Draw the vessels dark on unevenly lit tissue, blurred, with the noise of ``photons`` a pixel."""
    shape = (int(WIDE_UM / pixel_um),) * 2
    image = np.zeros(shape)
    places = np.round(today_from_map.apply(vessels[:, :2]) / pixel_um).astype(int)
    inside = np.all((places >= 0) & (places < shape), axis=1)
    for width in np.unique(vessels[inside, 2]):
        line = np.ones(shape, bool)
        line[tuple(places[inside & (vessels[:, 2] == width)].T)] = False
        distance_um = ndimage.distance_transform_edt(line) * pixel_um
        image = np.maximum(image, np.clip((width / 2 - distance_um) / pixel_um + 1, 0, 1) * min(0.6, 0.1 + width / 100))
    tissue = ndimage.gaussian_filter(1 - image, blur_um / pixel_um)
    lit_from = rng.uniform(0.2, 0.8, 2)
    away = sum((np.indices(shape)[a] / shape[a] - lit_from[a]) ** 2 for a in (0, 1))
    return rng.poisson(photons * tissue * (1 - 0.6 * away)).astype(np.uint16)


def look_again(seed: int, pose: Transform, **view: float) -> tuple[SurfaceRegistration, float]:
    """Register a changed view of the same vessels; return the result and its error in the map's middle, um."""
    rng, vessels = np.random.default_rng(seed), grow_vessels(seed)
    pixel_um = view.get("pixel_um", 2.0)
    found = register_surface(
        picture(vessels, Transform.identity(2), rng),
        picture(vessels, pose, rng, **view),
        map_pixel_um=2.0,
        today_pixel_um=pixel_um,
    )
    return found, float(np.linalg.norm(found.map_from_today.apply(pose.apply(CENTRE_UM)) - CENTRE_UM))


@pytest.mark.parametrize(
    ("seed", "shift", "yaw", "scale"),
    [(0, (0, 0), 0, 1), (1, (300, -350), 12, 1), (2, (-150, 400), -19, 1.03), (3, (100, 80), 18, 0.96)],
)
def test_vessels_are_found_again(seed: int, shift: tuple[float, float], yaw: float, scale: float) -> None:
    pose = Transform.similarity(shift, yaw_deg=yaw, scale=scale, centre_yx_um=CENTRE_UM)
    found, error_um = look_again(seed, pose, blur_um=12.0, photons=40.0)
    assert found.verdict is Verdict.FOUND
    assert error_um < 1.5
    assert found.map_from_today.yaw_deg == pytest.approx(-yaw, abs=0.3)


def test_pixel_sizes_may_differ() -> None:
    pose = Transform.similarity((60, -90), yaw_deg=6, centre_yx_um=CENTRE_UM)
    found, error_um = look_again(5, pose, pixel_um=3.2)
    assert found.verdict is Verdict.FOUND
    assert error_um < 2.0


def test_landmarks_lie_on_the_same_branch_points_in_both_pictures() -> None:
    pose = Transform.similarity((80, -120), yaw_deg=9, centre_yx_um=CENTRE_UM)
    found, _ = look_again(2, pose)
    assert len(found.landmarks) >= 4
    assert [mark.name for mark in found.landmarks] == [f"V{n + 1}" for n in range(len(found.landmarks))]
    for mark in found.landmarks:
        assert np.linalg.norm(pose.apply(mark.map_yx_um) - mark.today_yx_um) < 8.0
        carried = found.map_from_today.apply(mark.today_yx_um)
        assert mark.residual_um == pytest.approx(float(np.linalg.norm(carried - mark.map_yx_um)), abs=1e-6)


def test_the_fork_of_a_y_is_a_branch_point() -> None:
    image = np.full((300, 300), 200.0)
    along = np.linspace(0, 130, 400)
    for angle in (0.3, 2.4, 4.5):
        y, x = 150 + along * np.sin(angle), 140 + along * np.cos(angle)
        image[np.round(y).astype(int), np.round(x).astype(int)] = 0
    image = 200 - 100 * ndimage.grey_dilation(image < 100, size=(13, 13))
    noisy = image + np.random.default_rng(0).normal(0, 2, image.shape)
    places_um = find_branch_points(draw_vessels(noisy, 2.0, 2.0, 2000.0), 2000.0)
    assert np.linalg.norm(places_um[0] - [300, 280]) < 12.0


@pytest.mark.parametrize("seed", range(3))
def test_other_vessels_are_not_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours = picture(grow_vessels(seed), Transform.identity(2), rng)
    others = picture(grow_vessels(seed + 100), Transform.identity(2), rng)
    for wrong in (others, ours[:, ::-1], rng.poisson(100, ours.shape)):
        found = register_surface(ours, wrong, map_pixel_um=2.0, today_pixel_um=2.0)
        assert found.verdict is Verdict.NOT_FOUND
        assert found.landmarks == ()


def test_a_turn_beyond_the_search_is_not_found() -> None:
    pose = Transform.similarity(yaw_deg=60, centre_yx_um=CENTRE_UM)
    found, _ = look_again(1, pose)
    assert found.verdict is not Verdict.FOUND


@pytest.mark.parametrize("value", [0.0, 4095.0, np.nan])
def test_a_blank_picture_is_not_found(value: float) -> None:
    ours = picture(grow_vessels(1), Transform.identity(2), np.random.default_rng(0))
    blank = np.full((500, 500), value)
    assert register_surface(ours, blank, map_pixel_um=2.0, today_pixel_um=2.0).verdict is Verdict.NOT_FOUND
    assert register_surface(blank, ours, map_pixel_um=2.0, today_pixel_um=2.0).verdict is Verdict.NOT_FOUND


@pytest.mark.parametrize(
    ("shape", "told"), [((5, 5), "5x5 pixels. Take at least 32"), ((0, 90), "shape 0x90"), ((3, 90, 90), "3x90x90")]
)
def test_what_is_no_picture_is_refused_with_its_size(shape: tuple[int, ...], told: str) -> None:
    ours = np.ones((200, 200))
    with pytest.raises(StackError, match=told):
        register_surface(ours, np.ones(shape), map_pixel_um=2.0, today_pixel_um=2.0)


@pytest.mark.parametrize("case", [(0.15, 0.6, 0.001), (0.8, 0.02, 0.001), (0.8, 0.6, 0.3)])
def test_one_bad_sign_is_enough_to_withhold_found(case: tuple[float, float, float]) -> None:
    assert judge(0.8, 0.6, 0.001) is Verdict.FOUND
    assert judge(*case) is Verdict.NOT_FOUND


@pytest.mark.parametrize("kind", ["bright", "dark then bright", "small pixels", "round field"])
def test_pictures_of_other_kinds_are_found_again(kind: str) -> None:
    rng, vessels = np.random.default_rng(8), grow_vessels(8)
    pose = Transform.similarity((90.0, -160.0), yaw_deg=-14.0, scale=1.03, centre_yx_um=CENTRE_UM)
    images = [picture(vessels, each, rng, photons=400.0).astype(float) for each in (Transform.identity(2), pose)]
    pixel_um = 2.0
    if kind == "bright":
        images = [image.max() - image for image in images]
    if kind == "dark then bright":
        images[1] = images[1].max() - images[1]
    if kind == "small pixels":
        pixel_um = 0.1
        pose = Transform(np.diag([0.05, 0.05, 1]) @ pose.matrix @ np.diag([20, 20, 1]))
    if kind == "round field":
        y, x = np.indices(images[0].shape) / len(images[0]) - 0.5
        images = [np.where(np.hypot(y, x) < 0.46, image, 3.0) for image in images]
    found = register_surface(*images, map_pixel_um=pixel_um, today_pixel_um=pixel_um)
    centre_um = CENTRE_UM * pixel_um / 2.0
    assert found.verdict is Verdict.FOUND
    error_um = np.linalg.norm(found.map_from_today.apply(pose.apply(centre_um)) - centre_um)
    assert error_um < 0.002 * WIDE_UM * pixel_um / 2.0
    assert np.median([mark.residual_um for mark in found.landmarks]) < 0.01 * WIDE_UM * pixel_um / 2.0


def test_the_rim_of_a_round_field_does_not_make_another_place_look_right() -> None:
    rng = np.random.default_rng(9)
    images = [picture(grow_vessels(seed), Transform.identity(2), rng).astype(float) for seed in (9, 10)]
    y, x = np.indices(images[0].shape) / len(images[0]) - 0.5
    images = [np.where(np.hypot(y, x) < 0.46, image, 3.0) for image in images]
    assert register_surface(*images, map_pixel_um=2.0, today_pixel_um=2.0).verdict is Verdict.NOT_FOUND


def test_a_registration_knows_how_well_it_is_known() -> None:
    found, error_um = look_again(1, Transform.similarity((60.0, 40.0), yaw_deg=5.0, centre_yx_um=CENTRE_UM))
    middle_um, corner_um = found.uncertainty_um([CENTRE_UM, CENTRE_UM * 2])
    assert 0.05 < middle_um < corner_um < 5.0
    assert error_um < 4 * middle_um


@pytest.mark.parametrize(("scale", "verdict"), [(1.05, Verdict.FOUND), (1.10, Verdict.UNSURE), (0.92, Verdict.UNSURE)])
def test_a_wrong_pixel_size_is_noticed(scale: float, verdict: Verdict) -> None:
    pose = Transform.similarity((60.0, -90.0), yaw_deg=6.0, scale=scale, centre_yx_um=CENTRE_UM)
    found, error_um = look_again(5, pose)
    assert found.verdict is verdict and error_um < 1.5
    assert found.scale == pytest.approx(1 / scale, abs=0.002)
    said = f"today's pixels seem to be {1 / scale:.2f} times as large as given"
    assert (found.why_scaled() is None) if verdict is Verdict.FOUND else (said in str(found.why_scaled()))


def test_the_shift_is_that_of_the_middles() -> None:
    pose = Transform.similarity((80.0, -50.0), yaw_deg=10.0, centre_yx_um=CENTRE_UM)
    found, _ = look_again(2, pose)
    true_um = pose.inverse().apply(CENTRE_UM) - CENTRE_UM
    assert found.middle_shift_um == pytest.approx(true_um, abs=1.5)


@pytest.mark.parametrize(
    ("name", "told"), [("map.gif", "or for a picture PNG or JPEG"), ("map.png", "save it again as")]
)
def test_a_file_that_is_no_picture_is_refused_with_a_remedy(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(StackError, match=told):
        read_image(tmp_path / name)
