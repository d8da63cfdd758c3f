"""Drift against known shifts: from plane to plane, along a stack, since a stack before; none in strange tissue."""

import numpy as np
import pytest

from acquire.drift import align_stack, drift_along, follow_drift
from acquire.errors import RigError
from tests.phantom import PIXEL_UM, counts, dendrites, moved


def test_drift_is_followed_from_plane_to_plane() -> None:
    errors, measured = [], 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        planes = dendrites(seed, 384, planes=2)
        shift = rng.uniform(-4, 4, 2)
        step = follow_drift(counts(planes[0], rng), counts(moved(planes[1], shift), rng), PIXEL_UM)
        if step is not None:
            measured += 1
            errors.append(np.abs(np.array(step) - shift * PIXEL_UM).max())
    assert measured >= 6
    assert np.median(errors) < 0.05
    assert max(errors) < 0.15


def test_drift_cannot_be_followed_where_nothing_is_shared() -> None:
    rng = np.random.default_rng(0)
    noise = [counts(np.full((256, 256), 0.4), rng) for _ in range(2)]
    assert follow_drift(noise[0], noise[1], PIXEL_UM) is None
    one, other = (counts(dendrites(seed)[0], rng) for seed in (1, 2))
    assert follow_drift(one, other, PIXEL_UM) is None


def test_drift_along_a_stack_adds_up() -> None:
    rng = np.random.default_rng(5)
    planes = dendrites(5, 384, planes=7, step_um=0.5)
    path = np.linspace(0, 1, 7)[:, None] * np.array([6.0, -4.0])
    stack = np.stack([counts(moved(plane, shift), rng) for plane, shift in zip(planes, path, strict=True)])
    np.testing.assert_allclose(drift_along(stack, PIXEL_UM), path * PIXEL_UM, atol=0.25)


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("dz", [-1, 0, 2])
def test_a_stack_that_goes_on_finds_how_the_tissue_moved(first: int, dz: int) -> None:
    rng = np.random.default_rng(first)
    volume = dendrites(7, planes=15)
    shift = rng.uniform(-5, 5, 2)
    before = np.stack([counts(plane, rng) for plane in volume[3:12]])
    # What lay at plane p lies now at plane p + dz.
    now = np.stack([counts(moved(volume[3 + first + i - dz], shift), rng) for i in range(4)])
    found = align_stack(before, now, (1.0, PIXEL_UM, PIXEL_UM), 3.0, first_plane=first)
    assert found.score > 0.8
    assert found.shift_zyx_um[0] == pytest.approx(dz, abs=0.25)
    np.testing.assert_allclose(found.shift_zyx_um[1:], shift * PIXEL_UM, atol=0.03)


def test_another_tissue_is_not_found_again() -> None:
    rng = np.random.default_rng(0)
    before, now = (np.stack([counts(p, rng) for p in dendrites(seed, planes=5)]) for seed in (1, 2))
    found = align_stack(before, now[:3], (1.0, PIXEL_UM, PIXEL_UM), 3.0)
    assert found.score < 0.5


def test_planes_without_structure_are_not_found_again_and_strange_planes_are_refused() -> None:
    rng = np.random.default_rng(0)
    noise = np.stack([counts(np.full((128, 128), 0.4), rng) for _ in range(5)])
    found = align_stack(noise, noise[::-1][:3], (1.0, PIXEL_UM, PIXEL_UM), 2.0)
    assert (found.shift_zyx_um, found.score) == ((0.0, 0.0, 0.0), 0.0)
    with pytest.raises(RigError, match="3 planes from plane 9 on are not among the 5"):
        align_stack(noise, noise[:3], (1.0, PIXEL_UM, PIXEL_UM), 1.0, first_plane=9)
