import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import percentile_filter

from analysis.ranking import running_percentile


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8, 11, 13, 26, 40])
@pytest.mark.parametrize("percentile", [0, 35, 40, 60, 100])
def test_the_running_percentile_is_that_of_scipy(window, percentile):
    volume = np.random.default_rng(window).normal(size=(60, 7, 5)).astype(np.float32)
    expected = percentile_filter(volume, percentile, size=(window, 1, 1), mode="nearest")
    assert np.array_equal(running_percentile(volume, percentile, window), expected)


@given(length=st.integers(1, 30), window=st.integers(1, 20), percentile=st.floats(0, 100), seed=st.integers(0, 99))
def test_short_volumes_and_ties_do_not_matter(length, window, percentile, seed):
    volume = np.random.default_rng(seed).integers(0, 4, (length, 3)).astype(np.float32)
    expected = percentile_filter(volume, percentile, size=(window, 1), mode="nearest")
    assert np.array_equal(running_percentile(volume, percentile, window), expected)


def test_a_volume_larger_than_what_is_compared_at_once_is_whole():
    volume = np.random.default_rng(1).normal(size=(50, 200, 90)).astype(np.float32)
    expected = percentile_filter(volume, 40, size=(11, 1, 1), mode="nearest")
    assert np.array_equal(running_percentile(volume, 40, 11), expected)
