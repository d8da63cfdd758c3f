"""What the spine network learns from: crops whose truth lies where the heads are, however they were turned."""

from pathlib import Path

import numpy as np
import pytest

from analysis.straighten import straighten
from tests.phantom import HEADS, SHAFT_UM, draw_spiny


@pytest.fixture
def sample(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "training"))
    from samples import Sample

    stack, line = draw_spiny(slope=0.0)
    heads = np.array([[SHAFT_UM[0], SHAFT_UM[1] - left, along] for along, left, _ in HEADS])
    return Sample.of({"seed": 0}, straighten(stack, line), heads[:-1], heads[-1:])


def test_the_truth_lies_on_the_heads(sample):
    assert sample.truth.shape == sample.weight.shape == sample.ratio.shape[:2]
    assert len(sample.heads) == len(HEADS) - 1
    for along, left, _ in HEADS[:-1]:
        row, column = round(along / 0.12), round(left / 0.12) + sample.truth.shape[1] // 2
        assert sample.truth[row, column] == sample.weight[row, column] == 1.0
    along, left, _ = HEADS[-1]  # somebody else's
    assert sample.weight[round(along / 0.12), round(left / 0.12) + sample.truth.shape[1] // 2] == 0.0


@pytest.mark.parametrize("is_simulated", [False, True])
def test_a_crop_is_turned_with_its_truth(sample, is_simulated):
    from augment import draw_crop

    chance, brightness = np.random.default_rng(1), []
    for _ in range(30):
        light, truth, weight, depth_um = draw_crop(sample, 128, chance, clutter=[sample] if is_simulated else ())
        assert light.shape == (15, 128, sample.ratio.shape[1])
        assert truth.shape == weight.shape == depth_um.shape == light.shape[1:]
        assert np.all(np.isfinite(light))
        far = (truth == 0) & (np.abs(np.arange(truth.shape[1]) - 33) > 8)
        brightness.append((light[3][truth > 0].mean(), light[3][far].mean()))
    heads, elsewhere = np.mean(brightness, axis=0)
    assert heads > 4 * elsewhere


def test_short_dendrites_are_filled_up_with_nothing_to_learn(sample):
    from augment import draw_crop

    light, truth, weight, _ = draw_crop(sample, 400, np.random.default_rng(0))
    assert light.shape[1] == 400
    assert truth.sum() == sample.truth.sum()
    assert np.all(weight.sum(axis=1)[truth.sum(axis=1) > 0] > 0)
