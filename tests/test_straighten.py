import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import StackError
from analysis.model import Dendrite, Stack
from analysis.straighten import DendriteFrame, straighten

VOXEL_UM = (1.0, 0.12, 0.12)


def arc(radius_um: float = 15.0, turn_rad: float = 1.2) -> Dendrite:
    """A dendrite on a circle that also sinks 4 um."""
    angle = np.linspace(0.0, turn_rad, 150)
    z = np.linspace(5.0, 9.0, 150)
    points = np.stack([z, 4.0 + radius_um * (1 - np.cos(angle)), 6.0 + radius_um * np.sin(angle)], axis=1)
    return Dendrite(3, points, np.full(150, 0.4))


@given(
    along=st.floats(0.05, 0.95),
    across=st.floats(-4.0, 4.0),
    depth=st.floats(-3.0, 3.0),
    radius_um=st.floats(10.0, 200.0),
)
@settings(deadline=None)
def test_the_way_there_and_back_is_the_identity(along, across, depth, radius_um):
    frame = DendriteFrame.of(arc(radius_um, 20.0 / radius_um), 0.12)
    place = np.array([[along * frame.along_um[-1], across, depth]])
    assert frame.dendrite_from_stack(frame.stack_from_dendrite(place)) == pytest.approx(place, abs=0.01)


def test_left_is_up_on_the_screen_when_the_dendrite_runs_to_the_right():
    points = np.stack([np.full(50, 3.0), np.full(50, 8.0), np.linspace(2.0, 12.0, 50)], axis=1)
    frame = DendriteFrame.of(Dendrite(0, points, np.full(50, 0.4)), 0.1)
    assert frame.stack_from_dendrite([[5.0, 2.0, 1.0]])[0] == pytest.approx([4.0, 6.0, 7.0])


def test_a_spot_lands_where_the_frame_says():
    z, y, x = np.meshgrid(*(np.arange(n) for n in (15, 140, 200)), indexing="ij")
    dendrite = arc()
    frame = DendriteFrame.of(dendrite, 0.12)
    spot_um = frame.stack_from_dendrite([[8.0, -1.7, 0.5]])[0]
    away = [
        (axis * step - at) / width
        for axis, step, at, width in zip((z, y, x), VOXEL_UM, spot_um, (1.2, 0.3, 0.3), strict=True)
    ]
    stack = Stack(1000 * np.exp(-0.5 * sum(a**2 for a in away)), VOXEL_UM)
    straight = straighten(stack, dendrite)
    brightest = straight.point_at([np.unravel_index(np.argmax(straight.volume), straight.volume.shape)])[0]
    assert brightest == pytest.approx([8.0, -1.7, 0.5], abs=0.5)
    assert brightest[:2] == pytest.approx([8.0, -1.7], abs=0.13)


def test_what_lies_outside_the_stack_is_marked():
    stack = Stack(np.ones((8, 140, 200), dtype=np.uint8), VOXEL_UM)
    straight = straighten(stack, arc())
    places = straight.stack_from_dendrite(straight.point_at(np.argwhere(straight.inside)))
    assert np.all(places >= -1e-6)
    assert np.all(places <= stack.extent_zyx_um + 1e-6)
    assert not straight.inside.all()


def test_the_staircase_of_a_traced_path_is_smoothed_but_its_ends_stay():
    smooth = arc()
    stairs = Dendrite(0, np.round(smooth.points_zyx_um / VOXEL_UM) * VOXEL_UM, smooth.radius_um)
    centre = DendriteFrame.of(stairs, 0.12).centre_zyx_um
    assert centre[[0, -1]] == pytest.approx(stairs.points_zyx_um[[0, -1]], abs=0.1)
    assert np.abs(np.diff(centre[:, 0], 2)).max() < 0.05


def test_a_dendrite_without_length_is_refused():
    place = Dendrite(4, np.full((5, 3), 2.0), np.ones(5))
    with pytest.raises(StackError, match="dendrite 4 has no length: its 5 points lie at one place"):
        DendriteFrame.of(place, 0.12)


def test_a_dendrite_far_shorter_than_the_smoothing_has_a_frame():
    points = np.linspace([2.0, 2.0, 2.0], [2.0, 2.0, 2.0 + 1e-9], 5)
    assert np.isfinite(DendriteFrame.of(Dendrite(0, points, np.ones(5)), 0.12).centre_zyx_um).all()
