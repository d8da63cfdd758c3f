import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from analysis.detect import detect_spines
from analysis.evidence import Evidence
from analysis.model import Dendrite, Stack
from analysis.noise import Noise, estimate_noise
from analysis.size import measure_head_sizes
from analysis.straighten import straighten
from tests.test_field import KEPT, VOXEL_UM, draw, shaft_y_um


def counted(photons, per_photon=40.0, seed=0):
    """What a photomultiplier with an offset makes of photons."""
    rng = np.random.default_rng(seed)
    return per_photon * rng.poisson(photons) + rng.normal(100.0, 5.0, photons.shape)


@pytest.fixture(scope="module")
def photons():
    """Blobs as wide as the focus in pixels of 0.12 um."""
    spots = np.random.default_rng(3).exponential(1.0, (8, 256, 256)) ** 4
    return 0.4 * gaussian_filter(spots, (0, 2.0, 2.0))


def test_the_gain_of_the_detector_is_read_off_the_stack(photons):
    noise = estimate_noise(Stack(counted(photons), (1.0, 0.12, 0.12)))
    assert noise.per_unit == pytest.approx(40.0, rel=0.1)
    assert noise.variance(100.0) == pytest.approx(5.0**2, abs=400.0)
    assert noise.variance(1e4) == pytest.approx(40.0 * (1e4 - 100.0), rel=0.1)


def test_noise_that_neighbours_share_is_counted_as_strong_as_it_is_over_a_head(photons):
    moved = shift(counted(photons), (0, 0.5, 0.5), order=1, mode="nearest")
    noise = estimate_noise(Stack(moved, (1.0, 0.12, 0.12)))
    assert noise.per_unit == pytest.approx(40.0, rel=0.2)


@pytest.mark.parametrize("pixels", [np.zeros((3, 32, 32), np.uint8), np.full((3, 32, 32), 7.0), np.ones((3, 16, 4))])
def test_a_flat_stack_has_no_noise(pixels):
    noise = estimate_noise(Stack(pixels, (1.0, 0.1, 0.1)))
    assert noise.variance(7.0) == 0.0


def test_the_mean_of_a_region_is_calmer_by_its_voxels():
    noise = Noise(2.0, 1.0, (1.0, 0.1, 0.1))
    assert noise.variance_of_mean(10.0, 0.25, 4.0) == pytest.approx(12.0 / (25 * 4))
    assert noise.variance_of_mean(10.0, 1e-6, 1e-6) == 12.0


def look(seed: int, saturation: float | None = None):
    """The sizes of the heads of one drawn dendrite in one view, by the drawn spine."""
    chance = np.random.default_rng(seed)
    moved_um = chance.uniform(-0.5, 0.5, 3) * [0.0, 1.0, 1.0]  # the drawn shaft has one plane
    seen = draw(KEPT, moved_um, seed)
    stack = Stack(chance.binomial(seen.pixels, 0.15), VOXEL_UM)  # 45 photons where the shaft is brightest
    x = np.linspace(1.5, 37.0, 180)
    line = np.stack([np.full(180, 8.0), shaft_y_um(x), x], axis=1) + moved_um + chance.normal(0, 0.05, 3)
    line = Dendrite(0, line, np.full(180, 0.5))
    maps = Evidence.of(straighten(stack, line))
    spines = detect_spines(maps)
    heads = np.array([[shaft_y_um(along) - above, along] for along, above in KEPT]) + moved_um[1:]
    away = np.array([np.hypot(*(spine.head_zyx_um[1:] - heads).T) for spine in spines])
    places = [spines[i].place_um for i in away.argmin(axis=0)]
    sizes = measure_head_sizes(maps, places, saturation=saturation, noise=estimate_noise(stack))
    return np.where(away.min(axis=0) < 0.5, sizes.ratio, np.nan), sizes.sd, sizes.is_saturated


def test_two_views_of_one_spine_differ_as_much_as_they_say():
    views = [look(seed) for seed in range(10)]
    ratio, sd = np.array([view[0] for view in views]), np.array([view[1] for view in views])
    z = (ratio[1:] - ratio[:-1]) / np.hypot(sd[1:], sd[:-1])
    z = z[np.isfinite(z)]
    assert len(z) > 40
    assert 0.5 < z.std() < 1.5
    assert (np.abs(z) < 1.96).mean() > 0.85
    assert 0.01 < np.nanmedian(sd / ratio) < 0.4


def test_a_clipped_head_says_so():
    assert look(0, saturation=10.0)[2].all()
    assert not look(0, saturation=65535.0)[2].any()


def test_a_drawn_stack_has_the_noise_it_was_drawn_with():
    assert estimate_noise(draw(KEPT)).per_unit == pytest.approx(1.0, rel=0.1)
