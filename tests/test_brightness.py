"""The proposed power against the power that is known to match."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from acquire.brightness import match_power
from acquire.errors import RigError
from acquire.model import TransformRecord
from analysis.model import Stack, Transform

VOXEL_UM = (1.0, 0.2, 0.2)
FULL_SCALE = 4095


def expected_photons(planes: int = 12, size: int = 128) -> NDArray[np.float64]:
    """Return two shafts and some background at 10 mW, photons, shape (planes, size, size)."""
    volume = np.zeros((planes, size, size))
    across = np.arange(size)
    volume[planes // 3, size // 4, :] = 1.0
    volume[2 * planes // 3, across, across[::-1]] = 1.3
    volume = ndimage.gaussian_filter(volume, (0.8, 2.0, 2.0))
    return 12.0 * volume / volume.max() + 0.4


def stack(power_mw: float, seed: int = 0, *, clarity: float = 1.0, first: int = 0, last: int | None = None) -> Stack:
    """Take the sample with a power; the light goes with its square."""
    photons = expected_photons()[first:last] * clarity * (power_mw / 10.0) ** 2
    rng = np.random.default_rng(seed)
    counts = 40.0 * rng.poisson(photons) + rng.normal(100, 5, photons.shape)
    provenance = {}
    if first:
        place = TransformRecord.of(Transform.translation((first * VOXEL_UM[0], 0.0, 0.0)))
        provenance = {"reference_from_today": place.model_dump(mode="json")}
    pixels = np.clip(np.rint(counts), 0, FULL_SCALE).astype(np.uint16)
    return Stack(pixels, VOXEL_UM, saturation=FULL_SCALE, provenance=provenance)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.35, 2.2), st.integers(0, 10_000))
def test_the_proposed_power_gives_the_brightness_of_the_reference(clarity: float, seed: int) -> None:
    proposal = match_power(stack(10.0), stack(10.0, seed, clarity=clarity), 10.0, limit_mw=100.0)
    assert proposal.power_mw == pytest.approx(10.0 / np.sqrt(clarity), rel=0.06)
    assert proposal.ratio == pytest.approx(clarity, rel=0.12)


def test_the_power_it_proposes_changes_nothing_when_taken_again() -> None:
    first = match_power(stack(10.0), stack(10.0, 1, clarity=0.5), 10.0, limit_mw=100.0)
    again = match_power(stack(10.0), stack(first.power_mw, 2, clarity=0.5), first.power_mw, limit_mw=100.0)
    assert again.power_mw == pytest.approx(first.power_mw, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 8.0), st.floats(1.0, 30.0))
def test_no_power_above_the_limit_is_proposed(clarity: float, limit_mw: float) -> None:
    proposal = match_power(stack(10.0), stack(10.0, 3, clarity=clarity), 10.0, limit_mw=limit_mw)
    assert 0 < proposal.power_mw <= limit_mw


def test_the_limit_is_told_with_the_power_that_would_match() -> None:
    proposal = match_power(stack(10.0), stack(10.0, 1, clarity=0.4), 10.0, limit_mw=12.0)
    assert proposal.power_mw == 12.0
    assert "would match: average more frames" in proposal.says


def test_one_step_does_not_go_too_far() -> None:
    proposal = match_power(stack(10.0), stack(10.0, 1, clarity=0.15), 10.0, limit_mw=100.0)
    assert proposal.power_mw == pytest.approx(20.0)
    assert "match again" in proposal.says


def test_only_planes_in_common_are_compared() -> None:
    # The second shaft, which is the brighter, lies below what is left of today's stack, or above the first plane.
    deep = stack(10.0, 1, first=6)
    assert match_power(stack(10.0), deep, 10.0, limit_mw=100.0).ratio == pytest.approx(1.0, rel=0.06)
    moved = TransformRecord.of(Transform.translation((50.0, 0.0, 0.0))).model_dump(mode="json")
    far = Stack(deep.pixels, VOXEL_UM, provenance={"reference_from_today": moved})
    proposal = match_power(stack(10.0), far, 10.0, limit_mw=50.0)
    assert (proposal.power_mw, proposal.ratio) == (10.0, 1.0)
    assert "share no plane" in proposal.says


def test_saturated_shafts_are_told() -> None:
    bright = stack(60.0, 1)
    today = match_power(stack(10.0), bright, 60.0, limit_mw=100.0)
    assert today.power_mw <= 60.0
    assert "today's shafts are saturated" in today.says
    then = match_power(bright, stack(10.0), 10.0, limit_mw=100.0)
    assert (then.power_mw, then.ratio) == (10.0, 1.0)
    assert "reference's shafts are saturated" in then.says


def test_without_anything_bright_the_power_stays() -> None:
    dark = Stack(np.random.default_rng(0).normal(100, 5, (12, 128, 128)).astype(np.uint16), VOXEL_UM)
    for reference, today, which in ((stack(10.0), dark, "today's stack"), (dark, stack(10.0), "the reference")):
        proposal = match_power(reference, today, 10.0, limit_mw=8.0)
        assert (proposal.power_mw, proposal.ratio) == (8.0, 1.0)
        assert f"nothing is bright in {which}" in proposal.says


def test_without_light_there_is_no_brightness_to_match() -> None:
    proposal = match_power(stack(10.0), stack(10.0), 0.0, limit_mw=10.0)
    assert proposal.power_mw == 0.0
    assert "0 mW" in proposal.says
    with pytest.raises(RigError, match="power -1 mW"):
        match_power(stack(10.0), stack(10.0), -1.0, limit_mw=10.0)
