import numpy as np
import pytest

from analysis.errors import StackError
from analysis.field import analyse_field
from analysis.model import Dendrite, Stack
from analysis.retrace import add_dendrite, cut_dendrite, join_dendrites
from tests.test_field import KEPT, draw, shaft_y_um


@pytest.fixture(scope="module")
def stack() -> Stack:
    return draw(KEPT)


@pytest.fixture(scope="module")
def line() -> Dendrite:
    x = np.linspace(1.5, 37.0, 180)
    return Dendrite(7, np.stack([np.full(180, 8.0), shaft_y_um(x), x], axis=1), np.full(180, 0.5))


def off_shaft_um(dendrite: Dendrite) -> np.ndarray:
    return np.abs(dendrite.points_zyx_um[:, 1] - shaft_y_um(dendrite.points_zyx_um[:, 2]))


def test_clicks_beside_the_shaft_give_a_line_on_it(stack):
    clicks = np.array([[8.0, shaft_y_um(3.0) + 0.6, 3.0], [7.5, shaft_y_um(18.0) - 0.6, 18.0], [8, shaft_y_um(35), 35]])
    added = add_dendrite(stack, clicks, name=4)
    assert added.name == 4
    assert np.percentile(off_shaft_um(added), 95) < 0.35
    assert added.points_zyx_um[[0, -1], 2] == pytest.approx([3.0, 35.0], abs=1.0)
    assert len(analyse_field([stack], dendrites=[added]).spines) >= 5


@pytest.mark.parametrize(
    ("clicks", "told"),
    [
        ([[8.0, 14.0, 3.0]], "session0: a trace needs two or more"),
        ([[8.0, 14.0, 3.0], [8.0, 14.0, 300.0]], "outside the stack"),
        ([[8.0, 14.0, 3.0], [8.0, 14.0, 3.01]], "within .* um of each other"),
    ],
)
def test_clicks_that_make_no_line_are_refused(stack, clicks, told):
    with pytest.raises(StackError, match=told):
        add_dendrite(stack, clicks, name=4)


@pytest.mark.parametrize(("at_um", "names"), [(10.0, (8, 7)), (30.0, (7, 8))])
def test_the_longer_part_keeps_the_name(line, at_um, names):
    parts = cut_dendrite(line, at_um, new_name=8)
    assert tuple(part.name for part in parts) == names
    assert parts[0].length_um == pytest.approx(at_um)
    assert sum(part.length_um for part in parts) == pytest.approx(line.length_um)
    assert np.array_equal(parts[0].points_zyx_um[-1], parts[1].points_zyx_um[0])
    assert all(len(part.points_zyx_um) == len(part.radius_um) for part in parts)


@pytest.mark.parametrize("at_um", [-1.0, 0.5, 1000.0, float("nan")])
def test_a_part_too_short_is_refused(line, at_um):
    with pytest.raises(StackError, match=r"Dendrite 7 of .* um cannot be cut at"):
        cut_dendrite(line, at_um, new_name=8)


@pytest.mark.parametrize("turned", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("gap", [slice(90, 90), slice(88, 92), slice(80, 125)])
def test_parts_are_joined_along_the_shaft_whichever_way_they_run(stack, line, turned, gap):
    points = [line.points_zyx_um[: gap.start], line.points_zyx_um[gap.stop :]]
    parts = [Dendrite(n, p[::way], np.full(len(p), 0.5)) for n, p, way in zip((3, 5), points, turned, strict=True)]
    whole = join_dendrites(*parts, stack)
    longer = max(parts, key=lambda part: part.length_um)
    assert whole.name == longer.name
    assert whole.length_um == pytest.approx(line.length_um, rel=0.03)
    assert np.percentile(off_shaft_um(whole), 95) < 0.35
    assert np.all(np.diff(whole.points_zyx_um[:, 2]) * turned[parts.index(longer)] > -0.3)
    assert len(whole.points_zyx_um) == len(whole.radius_um)


def test_what_cannot_be_joined_is_refused(stack, line):
    with pytest.raises(StackError, match="Dendrite 7 cannot be joined with itself"):
        join_dendrites(line, line, stack)
    ends = [
        Dendrite(n, line.points_zyx_um[part], line.radius_um[part])
        for n, part in enumerate((slice(20), slice(150, 180)))
    ]
    with pytest.raises(StackError, match=r"Dendrites 1 and 0 cannot be joined: .* 2\d\.\d um apart \(at most 20 um\)"):
        join_dendrites(*ends, stack)


def test_a_cut_dendrite_joined_again_is_the_same(stack, line):
    whole = join_dendrites(*cut_dendrite(line, 12.0, new_name=8), stack)
    assert whole.name == 7
    assert whole.length_um == pytest.approx(line.length_um)
