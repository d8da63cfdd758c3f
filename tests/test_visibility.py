"""Sessions that are blurred, dim, shifted, cut, saturated or empty: no crash, and no spine is called lost for that."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from analysis.errors import StackError
from analysis.field import FieldAnalysis, analyse_field
from analysis.model import Dendrite, Stack
from tests.test_field import KEPT, SHAPE, VOXEL_UM, draw, shaft_y_um


@pytest.fixture(scope="module")
def line() -> Dendrite:
    x = np.linspace(1.5, 37.0, 180)
    return Dendrite(0, np.stack([np.full(180, 8.0), shaft_y_um(x), x], axis=1), np.full(180, 0.5))


def blurred(pixels):
    return np.rint(gaussian_filter(pixels.astype(float), (1.0, 4.0, 4.0)))


def dim(pixels):
    return np.random.default_rng(0).binomial(pixels, 0.004)


def saturated(pixels):
    return np.minimum(pixels * 30, 255)


def cut_short(pixels):
    return pixels[:, :, :140]


def aside(pixels):
    return np.concatenate([pixels[:, :, 90:], np.random.default_rng(0).poisson(3.0, (16, 200, 90))], axis=2)


def empty(pixels):
    return np.zeros_like(pixels)


def dark(pixels):
    return np.random.default_rng(0).poisson(3.0, pixels.shape)


def with_bad(spoil, line) -> FieldAnalysis:
    """Three sessions in which nothing happens; the one in the middle is spoilt."""
    first, middle, last = (draw(KEPT, seed=seed) for seed in range(3))
    pixels = spoil(middle.pixels).astype(np.uint16)
    return analyse_field([first, Stack(pixels, VOXEL_UM, "bad", saturation=255.0), last], dendrites=[line])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (blurred, "bad is blurred: heads have"),
        (dim, "bad (is too dim|was not recognised)"),
        (saturated, r"bad is saturated in \d+% of the shafts"),
        (cut_short, r"bad shows \d\d% of the dendrites"),
        (aside, r"bad shows \d\d% of the dendrites"),
        (empty, "bad was not recognised, 16 of 16 planes are empty; all its spines are unscorable"),
        (dark, "bad was not recognised, it shows no dendrite; all its spines are unscorable"),
    ],
)
def test_a_bad_session_loses_no_spine_and_says_what_is_wrong(spoil, told, line):
    analysis = with_bad(spoil, line)
    assert not set(analysis.fates["fate"]) & {"lost", "gained"}
    assert "unscorable" in set(analysis.fates["fate"]) or spoil is saturated
    assert len(analysis.warnings) >= 1
    assert any(re.search(told, text) for text in analysis.warnings), analysis.warnings


def test_a_spine_that_goes_beside_a_bad_session_is_lost_only_between_good_ones(line):
    first, second, third = draw(KEPT, seed=0), draw(KEPT[1:], seed=1), draw(KEPT[1:], seed=2)
    bad = Stack(blurred(third.pixels).astype(np.uint16), VOXEL_UM, "bad")
    fates = analyse_field([first, second, bad], dendrites=[line]).fates
    assert (fates["fate"] == "lost").groupby(fates["from_session"]).sum().to_dict() == {0: 1, 1: 0}


def test_an_empty_reference_is_named(line):
    blank = Stack(np.zeros(SHAPE, np.uint16), VOXEL_UM, "blank")
    with pytest.raises(StackError, match="blank shows no dendrite to compare session0 with; leave it out"):
        analyse_field([blank, draw(KEPT)], dendrites=[line])
