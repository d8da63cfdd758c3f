"""The generated mouse: its statistics, its poses and its truth."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from devices import truth
from devices.branches import TuftPlan
from devices.cortex import CortexPlan, generate_cortex
from devices.detector import Detector
from devices.optics import FocalView, Optics, splat
from devices.pose import MountRanges, draw_pose
from devices.spines import LEAST_GAP_UM, SpinePlan
from devices.vessels import HALF_WIDTH_UM, generate_vessels

SMALL = CortexPlan(TuftPlan(half_width_um=260.0))
MIRRORED = np.array([[-1.0, 0.0], [0.0, 1.0]])
STILL = MountRanges(deformation_um=0.0)


@pytest.fixture(scope="module")
def cortex():
    return generate_cortex(3, SMALL)


def view_at(zyx_um, *, pixels=128, pixel_um=0.15):
    return FocalView(np.asarray(zyx_um, dtype=float), MIRRORED, pixel_um, pixels, np.zeros((pixels, 2)))


def test_same_seed_gives_the_same_mouse_and_another_seed_another(cortex):
    again, other = generate_cortex(3, SMALL), generate_cortex(4, SMALL)
    np.testing.assert_array_equal(cortex.fine.points_zyx_um, again.fine.points_zyx_um)
    np.testing.assert_array_equal(cortex.spines.last_day, again.spines.last_day)
    assert cortex.branches[0].points_zyx_um[0, 1] != other.branches[0].points_zyx_um[0, 1]


def test_dendrites_are_as_dense_and_as_thick_as_asked(cortex):
    points = cortex.shaft_zyx_um
    assert points[:, 0].min() >= 10.0
    assert points[:, 0].max() <= 100.0
    inner = (np.abs(points[:, 1:]) < 200.0).all(axis=1)
    length_per_volume = 0.25 * inner.sum() / (400.0 * 400.0 * 90.0)
    assert length_per_volume == pytest.approx(SMALL.tufts.length_per_volume, rel=0.35)
    diameters = 2.0 * np.concatenate([b.radius_um[:-60] for b in cortex.branches])
    assert np.percentile(diameters, [1, 99]) == pytest.approx([0.7, 1.5], abs=0.15)


def test_every_place_has_several_dendrites(cortex):
    points = cortex.shaft_zyx_um
    deep = (points[:, 0] > 15.0) & (points[:, 0] < 80.0)
    for y_um in (-150.0, -50.0, 50.0, 150.0):
        for x_um in (-150.0, -50.0, 50.0, 150.0):
            here = deep & (np.abs(points[:, 1:] - [y_um, x_um]) < 50.0).all(axis=1)
            assert len(np.unique(cortex.shaft_branch[here])) >= 2


@pytest.mark.parametrize("day", [0.0, 8.0, 40.0])
def test_spines_have_their_density_and_their_sizes_on_every_day(cortex, day):
    spines = cortex.spines
    there = spines.present(day)
    assert there.sum() / sum(b.length_um for b in cortex.branches) == pytest.approx(0.5, abs=0.06)
    assert spines.length_um[there].min() >= 0.5
    assert spines.length_um[there].max() <= 3.0
    heads = spines.kind[there] != 2
    assert 2.0 * spines.head_radius_um[there][heads].min() >= 0.3
    assert 2.0 * spines.head_radius_um[there][heads].max() <= 0.9


@pytest.mark.parametrize("day", [0.0, 20.0])
def test_heads_of_one_dendrite_stand_apart(cortex, day):
    spines = cortex.spines
    there = np.flatnonzero(spines.present(day))
    pairs = cKDTree(spines.head_zyx_um[there]).query_pairs(LEAST_GAP_UM, output_type="ndarray")
    same = spines.branch[there[pairs[:, 0]]] == spines.branch[there[pairs[:, 1]]]
    assert not same.any()


def test_five_to_ten_percent_of_the_spines_come_and_go_in_four_days(cortex):
    before, after = cortex.spines.present(0.0), cortex.spines.present(4.0)
    assert 0.05 < (before & ~after).sum() / before.sum() < 0.10
    assert 0.05 < (~before & after).sum() / before.sum() < 0.10


def test_without_turnover_nothing_changes():
    plan = dataclasses.replace(SMALL, spines=SpinePlan(gained_per_day=0.0, lost_per_day=0.0))
    spines = generate_cortex(0, plan).spines
    np.testing.assert_array_equal(spines.present(0.0), spines.present(59.0))


@given(seed=st.integers(0, 2**31), session=st.integers(1, 50))
@settings(max_examples=50)
def test_mountings_stay_in_their_ranges_and_can_be_undone(seed, session):
    pose = draw_pose(seed, session, MountRanges())
    assert np.all(np.abs(pose.shift_zyx_um) <= [30.0, 200.0, 200.0])
    yaw_deg = np.rad2deg(np.arctan2(-pose.rotation[2, 1], pose.rotation[2, 2]))
    assert abs(yaw_deg) <= 5.0
    assert np.rad2deg(np.arccos(pose.rotation[0, 0])) <= 2.0 * np.sqrt(2.0)
    assert 0.7 <= pose.clarity <= 1.2
    points = np.random.default_rng(seed).uniform([0, -600, -600], [110, 600, 600], (50, 3))
    np.testing.assert_allclose(pose.to_tissue(pose.to_stage(points)), points, atol=1e-4)


def test_the_first_session_is_unmoved():
    points = np.random.default_rng(0).uniform(-100, 100, (5, 3))
    np.testing.assert_array_equal(draw_pose(5, 0, MountRanges()).to_stage(points), points)


def test_tissue_is_deformed_by_about_a_micrometre_and_smoothly():
    points = np.random.default_rng(0).uniform([10, -600, -600], [100, 600, 600], (4000, 3))
    amounts, slopes = [], []
    for session in range(1, 9):
        bent, stiff = draw_pose(0, session, MountRanges()), draw_pose(0, session, STILL)
        shift = bent.deformation.at(points)
        amounts.append(shift.std())
        slopes.append(np.abs(bent.deformation.at(points + np.array([0.0, 5.0, 0.0])) - shift).max())
        assert stiff.deformation is None
    assert np.mean(amounts) == pytest.approx(1.0, abs=0.25)
    assert max(slopes) < 1.5


@given(shift=st.tuples(*[st.floats(-5.0, 5.0)] * 3))
@settings(max_examples=25, deadline=None)
def test_rendering_follows_the_focus(cortex, shift):
    """What is seen at a focus is what another focus shows, displaced."""
    mounted = cortex.mount(draw_pose(0, 0, STILL), 0.0)
    z_um, y_um, x_um = truth.choose_places(cortex, 1)[0]
    pixel_um = 0.15
    steps = np.rint(np.array(shift[1:]) / pixel_um).astype(int)
    here = mounted.photons(view_at([z_um, y_um, x_um], pixel_um=pixel_um), Optics())
    moved = np.array([z_um, y_um + steps[0] * pixel_um, x_um + steps[1] * pixel_um])
    there = mounted.photons(view_at(moved, pixel_um=pixel_um), Optics())
    # The image runs against the stage's x.
    expected = np.roll(here, (-steps[0], steps[1]), axis=(0, 1))[36:-36, 36:-36]
    np.testing.assert_allclose(there[36:-36, 36:-36], expected, atol=0.02 * here.max())


def test_a_spine_that_is_lost_is_dark_and_one_that_is_gained_is_bright(cortex):
    pose = draw_pose(0, 0, STILL)
    before, after = cortex.mount(pose, 0.0), cortex.mount(pose, 30.0)
    spines, optics = cortex.spines, Optics()
    big = (spines.head_radius_um > 0.25) & (np.abs(spines.head_zyx_um[:, 1:]).max(axis=1) < 200.0)
    lost = np.flatnonzero(big & spines.present(0.0) & ~spines.present(30.0))[:60]
    gained = np.flatnonzero(big & ~spines.present(0.0) & spines.present(30.0))[:60]

    def brightness(mounted, rows):
        views = [view_at(spines.head_zyx_um[row], pixels=1) for row in rows]
        return np.array([mounted.photons(view, optics)[0, 0] for view in views])

    assert np.all(brightness(before, lost) - brightness(after, lost) > 2.0)
    assert np.all(brightness(after, gained) - brightness(before, gained) > 2.0)


def test_a_wide_blur_drawn_on_a_coarse_grid_is_the_same(cortex):
    """At high zoom points are drawn on a coarser grid: the image must not show it."""
    mounted = cortex.mount(draw_pose(0, 0, STILL), 0.0)
    place = truth.choose_places(cortex, 1)[0]
    fine = mounted.photons(view_at(place, pixels=513, pixel_um=0.02), Optics())
    plain = mounted.photons(view_at(place, pixels=129, pixel_um=0.08), Optics())
    np.testing.assert_allclose(fine[32:-32:4, 32:-32:4], plain[8:-8, 8:-8], atol=0.06 * plain.max())


def test_truth_in_a_stack_lies_in_the_stack_and_says_what_can_be_scored(cortex):
    z_um, y_um, x_um = truth.choose_places(cortex, 1)[0]
    shape, voxel_um = (31, 256, 300), (1.0, 0.2, 0.2)
    frame = truth.StackFrame.at((x_um, y_um, z_um), MIRRORED, shape, voxel_um)
    pose = draw_pose(0, 0, STILL)
    spines = truth.spines_in(cortex, pose, 0.0, frame)
    heads = spines[["head_z_um", "head_y_um", "head_x_um"]].to_numpy()
    extent = (np.array(shape) - 1) * voxel_um
    assert list(spines.columns) == truth.SPINE_COLUMNS
    assert np.all((heads >= 0.0) & (heads <= extent))
    scorable = spines.scorable.to_numpy()
    assert np.all((heads[scorable] >= [3, 2, 2]) & (heads[scorable] <= extent - [3, 2, 2]))
    assert 0.5 < scorable.mean() < 0.95
    assert spines.spine_id.is_unique
    dendrites = truth.dendrites_in(cortex, pose, frame)
    assert set(spines.dendrite) <= set(dendrites.dendrite) | set(spines[~spines.scorable].dendrite)
    tree = cKDTree(dendrites[["z_um", "y_um", "x_um"]].to_numpy())
    away_um, _ = tree.query(heads[scorable])
    assert away_um.max() < 4.0


@given(st.tuples(st.floats(-400, 400), st.floats(-400, 400), st.floats(0, 90)), st.floats(0, 6.3), st.booleans())
def test_stack_frames_map_to_the_stage_and_back(centre_xyz_um, angle, mirrored):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    orientation = turn @ MIRRORED if mirrored else turn
    frame = truth.StackFrame.at(centre_xyz_um, orientation, (21, 64, 80), (1.0, 0.1, 0.1))
    points = np.array([[0.0, 0.0, 0.0], [10.0, 3.15, 3.95], [3.0, 1.0, 7.0]])
    stage = frame.to_stage(points)
    np.testing.assert_allclose(frame.from_stage(stage), points, atol=1e-9)
    np.testing.assert_allclose(stage[1], centre_xyz_um[::-1], atol=1e-9)
    right = frame.to_stage([[0.0, 0.0, 1.0]]) - frame.to_stage([[0.0, 0.0, 0.0]])
    np.testing.assert_allclose(right[0, ::-1][:2], orientation[:, 0], atol=1e-9)


def test_too_many_places_are_refused_with_their_number(cortex):
    with pytest.raises(ValueError, match="400 were asked for"):
        truth.choose_places(cortex, 400)


@given(photons=st.floats(0.05, 60.0), gain=st.floats(0.2, 2.0))
@settings(max_examples=30, deadline=None)
def test_counts_are_poisson(photons, gain):
    optics = dataclasses.replace(Optics(), counts_per_photon=10.0)
    counts = Detector(optics, 1).expose(np.full((200, 200), photons, np.float32), (200, 200), gain).astype(float)
    per_photon = 10.0 * gain
    mean, variance = photons * per_photon, photons * per_photon**2 + optics.read_noise**2 + 1.0 / 12.0
    assert counts.mean() - optics.offset == pytest.approx(mean, abs=6.0 * np.sqrt(variance) / 200.0)
    assert counts.var() == pytest.approx(variance, rel=0.12)


def test_the_detector_saturates_at_twelve_bits():
    bright = Detector(Optics(), 0).expose(np.full((64, 64), 500.0, np.float32), (64, 64), 1.0)
    assert bright.min() == bright.max() == 4095


@pytest.mark.parametrize("shape", [(64, 64), (1024, 1024), (2048, 2048)])
def test_darkness_is_the_offset_and_never_the_same_twice(shape):
    detector = Detector(Optics(), 0)
    first, second = detector.expose(None, shape, 1.0), detector.expose(None, shape, 1.0)
    assert first.mean() == pytest.approx(100.0, abs=0.5)
    assert first.std() == pytest.approx(5.0, rel=0.05)
    assert np.any(first != second)


def test_light_grows_with_the_square_of_power_with_dwell_and_falls_with_depth():
    optics = Optics()
    reference = optics.excitation(10.0, 1.0, 0.0)
    assert optics.excitation(20.0, 1.0, 0.0) == pytest.approx(4.0 * reference)
    assert optics.excitation(10.0, 3.0, 0.0) == pytest.approx(3.0 * reference)
    assert optics.excitation(10.0, 1.0, optics.scattering_um) == pytest.approx(np.exp(-2.0) * reference)
    assert optics.excitation(10.0, 1.0, -20.0) == pytest.approx(reference)


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.0, 30.0), st.floats(0.0, 5.0)), min_size=1, max_size=20))
def test_splatting_keeps_the_light_and_its_centre(points):
    rows, cols, weights = np.array(points, dtype=np.float32).T
    image = splat(rows, cols, weights, 32)
    assert image.sum() == pytest.approx(weights.sum(), rel=1e-4, abs=1e-5)
    if weights.sum() > 0.01:
        centre = (image.sum(axis=1) * np.arange(32)).sum() / image.sum()
        assert centre == pytest.approx((rows * weights).sum() / weights.sum(), abs=1e-2)


def test_the_point_spread_function_has_its_width():
    from devices.cloud import index_by_depth, project

    point = index_by_depth(np.zeros((1, 3), np.float32), np.ones(1, np.float32))
    optics = Optics()
    args = (optics.sigma_lateral_um, optics.sigma_axial_um)
    image = project(point, view_at([0.0, 0.0, 0.0], pixels=101, pixel_um=0.02), *args)
    assert image.max() == pytest.approx(1.0, rel=0.02)
    assert 0.02 * (image[50] > 0.5 * image.max()).sum() == pytest.approx(0.40, abs=0.05)
    depths_um = np.arange(-2.0, 2.0, 0.05)
    column = [project(point, view_at([z, 0.0, 0.0], pixels=1, pixel_um=0.02), *args)[0, 0] for z in depths_um]
    assert 0.05 * (np.array(column) > 0.5).sum() == pytest.approx(1.8, abs=0.15)


def test_vessels_are_dark_and_cover_the_brain():
    vessels, again = generate_vessels(1), generate_vessels(1)
    np.testing.assert_array_equal(vessels.brightness, again.brightness)
    assert len(vessels.brightness) * 2.0 >= 2.0 * HALF_WIDTH_UM
    dark = vessels.brightness < 0.75
    assert 0.03 < dark.mean() < 0.4
    quarter = len(dark) // 4
    for row in range(4):
        for col in range(4):
            assert dark[row * quarter : (row + 1) * quarter, col * quarter : (col + 1) * quarter].mean() > 0.005
