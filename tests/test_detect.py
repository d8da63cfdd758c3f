import numpy as np
import pytest

from analysis.detect import Side, best_apart, detect_spines
from analysis.evidence import Evidence
from analysis.learned import find_heads
from analysis.model import Dendrite, SpineKind, Stack
from analysis.protrusion import ProtrusionRules
from analysis.size import measure_head_sizes
from analysis.straighten import straighten
from tests.phantom import HEADS, VOXEL_UM, draw_spiny


def find(stack: Stack, dendrite: Dendrite, **options):
    straightened = straighten(stack, dendrite)
    return detect_spines(Evidence.of(straightened, find_heads(straightened)), **options)


def places(spines) -> list[tuple[float, float]]:
    return [(float(s.place_um[0]), float(s.place_um[1])) for s in spines]


def test_every_drawn_spine_is_found_and_nothing_else():
    spines = find(*draw_spiny())
    assert len(spines) == len(HEADS)
    for spine, (along, left, _) in zip(spines, HEADS, strict=True):
        assert spine.place_um[:2] == pytest.approx([along, left], abs=0.35)
        assert abs(spine.place_um[2]) <= 1.0
        assert spine.side == (Side.LEFT if left > 0 else Side.RIGHT)
        assert spine.base_zyx_um == pytest.approx(
            [8.0, *(np.array([7.0, 0.0]) + along * np.array([0.15, 1.0]) / np.hypot(0.15, 1))], abs=0.5
        )
        assert spine.length_um == pytest.approx(abs(left) + 0.35 - 0.5, abs=0.45)


def test_a_bare_shaft_has_no_spines():
    assert find(*draw_spiny(heads=())) == []


def test_brightness_does_not_matter():
    dim, bright = (find(*draw_spiny(gain=gain)) for gain in (0.01, 1000.0))
    assert np.array(places(dim)) == pytest.approx(np.array(places(bright)), abs=1e-3)
    assert [s.probability for s in dim] == pytest.approx([s.probability for s in bright], rel=1e-3)


def test_a_fibre_that_crosses_is_no_spine():
    spines = find(*draw_spiny(crossing=True))
    assert all(abs(along - 14.0) > 0.8 for along, _ in places(spines))


def test_a_spine_belongs_to_the_nearest_dendrite_only():
    stack, dendrite = draw_spiny()
    rival = Dendrite(5, dendrite.points_zyx_um - [0.0, 2.2, 0.0], dendrite.radius_um)
    left_alone = places(find(stack, dendrite, others=[rival]))
    assert max(left for _, left in left_alone) < 1.4
    assert {round(along) for along, _ in left_alone} >= {8, 16}


@pytest.mark.parametrize("level", [0.0, 7.0])
def test_an_empty_stack_has_no_spines(level):
    _, dendrite = draw_spiny()
    assert find(Stack(np.full((16, 120, 220), level, np.uint8), VOXEL_UM), dendrite) == []


def test_noise_alone_has_no_spines():
    _, dendrite = draw_spiny()
    noise = np.random.default_rng(1).poisson(3.0, (16, 120, 220)).astype(np.uint8)
    assert find(Stack(noise, VOXEL_UM), dendrite) == []


def test_of_two_that_stand_too_close_the_likelier_stays():
    heads = np.array([[5.0, 10.0, 10.0], [5.0, 10.0, 10.3], [5.0, 10.0, 11.5]])
    assert best_apart(heads, np.array([0.6, 0.9, 0.5])) == [1, 2]


def test_a_headless_thin_protrusion_is_a_filopodium_and_a_short_thick_one_stubby():
    shapes = {
        kind: ProtrusionRules(**rule)
        for kind, rule in {
            SpineKind.SPINE: {},
            SpineKind.FILOPODIUM: {"filopodium_head_to_neck": 10.0, "filopodium_length_to_neck": 0.1},
            SpineKind.STUBBY: {"filopodium_length_to_neck": 100.0, "stubby_length_to_head": 100.0},
        }.items()
    }
    for kind, rules in shapes.items():
        assert [s.kind for s in find(*draw_spiny(heads=[(8.0, 2.0, 1.0)]), rules=rules)] == [kind]


def test_what_is_shorter_than_a_third_of_the_shaft_is_not_counted():
    stack, dendrite = draw_spiny(heads=[(8.0, 1.3, 1.0)])
    assert len(find(stack, dendrite)) == 1
    assert find(stack, dendrite, rules=ProtrusionRules(minimum_length_to_shaft_diameter=2.0)) == []


def test_head_size_grows_with_the_head_and_not_with_the_gain():
    def ratios(**options):
        stack, dendrite = draw_spiny(**options)
        evidence = Evidence.of(straighten(stack, dendrite))
        return measure_head_sizes(evidence, [[4.0, 1.3, 0.0], [12.5, 2.0, 0.0]]).ratio

    small, large = ratios(), ratios(heads=[(4.0, 1.3, 1.0), (12.5, 2.0, 2.0)])
    assert large[0] == pytest.approx(small[0], rel=0.1)
    assert large[1] == pytest.approx(2.0 * small[1], rel=0.25)
    assert ratios(gain=50.0) == pytest.approx(small, rel=1e-3)


def test_clipping_is_flagged():
    stack, dendrite = draw_spiny()
    evidence = Evidence.of(straighten(stack, dendrite))
    assert not measure_head_sizes(evidence, [[4.0, 1.3, 0.0]], saturation=1e6).is_saturated.any()
    assert measure_head_sizes(evidence, [[4.0, 1.3, 0.0]], saturation=30.0).is_saturated.all()
