"""The network that sees the heads of spines: what it looks at, and what becomes of bad weights."""

from importlib import resources

import numpy as np
import pytest

from analysis import learned
from analysis.detect import detect_spines
from analysis.errors import StackError
from analysis.evidence import Evidence
from analysis.learned import SpineMap, find_heads, look_all_ways, network_input
from analysis.straighten import straighten
from tests.phantom import HEADS, draw_spiny


def straightened(**options):
    return straighten(*draw_spiny(**options))


def test_the_weights_travel_with_the_program_and_are_small():
    file = resources.files("analysis") / "weights" / learned.WEIGHTS
    assert 1e4 < len(file.read_bytes()) < 2e6


def test_what_the_network_looks_at_does_not_depend_on_gain_and_offset():
    one = straightened()
    image = network_input(one.volume)
    assert image.shape == (15, *one.volume.shape[:2])
    assert network_input(3.0 * one.volume + 100.0) == pytest.approx(image, abs=2e-3)


def test_heads_are_seen_where_they_are():
    one = straightened()
    seen = find_heads(one)
    for along, left, _ in HEADS:
        near = np.hypot(one.along_um[:, None] - along, one.across_um - left) < 0.6
        assert seen.log_odds[near].max() > 1.0
        assert abs(seen.depth_um[near][seen.log_odds[near].argmax()]) < 1.5
    assert seen.log_odds[:, np.abs(one.across_um) > 3.0].max() < 0.0


def test_all_ways_of_looking_are_turned_back():
    image = np.arange(24.0, dtype=np.float32).reshape(1, 4, 6)
    seen = look_all_ways(lambda images: np.concatenate([images, -images], axis=1), image)
    np.testing.assert_allclose(seen.log_odds, image[0])
    np.testing.assert_allclose(seen.depth_um, -image[0])


def test_of_peaks_too_close_the_surest_stays():
    odds = np.full((40, 21), -9.0, np.float32)
    odds[10, 5], odds[12, 6], odds[30, 5] = 2.0, 1.0, 0.5
    index = SpineMap(odds, np.zeros_like(odds)).peaks((0.12, 0.12))
    assert [tuple(place) for place in index.tolist() if odds[tuple(place)] > -9.0] == [(10, 5), (30, 5)]


def test_other_weights_are_taken_and_bad_ones_refused(tmp_path):
    one = straightened()
    mine = tmp_path / "mine.onnx"
    mine.write_bytes((resources.files("analysis") / "weights" / learned.WEIGHTS).read_bytes())
    assert find_heads(one, mine) is not None
    assert learned.version_of(mine) == learned.version_of()
    mine = tmp_path / "bad.onnx"
    mine.write_bytes(b"no weights")
    with pytest.raises(StackError, match=r"bad.onnx holds no weights .* train them anew"):
        find_heads(one, mine)
    with pytest.raises(StackError, match=r"none.onnx holds no weights .* train them anew"):
        find_heads(one, tmp_path / "none.onnx")


def test_weights_that_were_trained_anew_under_the_same_path_are_asked(tmp_path):
    one, mine = straightened(), tmp_path / "mine.onnx"
    content = (resources.files("analysis") / "weights" / learned.WEIGHTS).read_bytes()
    mine.write_bytes(content)
    version, before = learned.version_of(mine), find_heads(one, mine)
    offset = learned._network(mine).session.get_modelmeta().custom_metadata_map["log_odds_offset"]
    another = f"{float(offset) + 1.0:.{len(offset)}f}"[: len(offset)]  # of the same length: the file stays a network
    mine.write_bytes(content.replace(offset.encode(), another.encode()))
    assert learned.version_of(mine) != version
    assert not np.array_equal(find_heads(one, mine).log_odds, before.log_odds)
    with pytest.raises(StackError, match=r"mine.onnx was changed during the analysis; analyse again"):
        find_heads(one, mine, version)


@pytest.fixture
def without_weights(monkeypatch):
    monkeypatch.setattr(learned, "WEIGHTS", "none.onnx")


def test_without_weights_five_numbers_decide(without_weights):
    stack, dendrite = draw_spiny()
    assert find_heads(straighten(stack, dendrite)) is None
    assert learned.version_of() == "none"
    spines = detect_spines(Evidence.of(straighten(stack, dendrite)))
    found = [tuple(spine.place_um[:2].tolist()) for spine in spines]
    assert len(found) == len(HEADS)
    for place, (along, left, _) in zip(found, HEADS, strict=True):
        assert place == pytest.approx((along, left), abs=0.35)
