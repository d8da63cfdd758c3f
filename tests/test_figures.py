"""Pictures are checked for what they claim: marks lie on the spines, bars are as long as they say."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from analysis.aligned import STEP_UM
from analysis.contrast import stretched
from analysis.drawing import MARKS
from analysis.fieldtables import fates_seen_from, interval_counts, session_densities, session_labels
from analysis.figures import draw_fate_counts, draw_gallery, draw_overlay, draw_red_green, draw_vessel_map
from analysis.gallery import LONGEST_UM, Strip, best_stretch_um, made_strips
from analysis.model import Stack

VOXEL_UM = (1.0, 0.2, 0.2)
SHIFT_X_UM = (0.0, 3.0)  # the second session sees everything 3 um farther right
LOST, KEPT, NEW, DOUBTFUL = 1, 2, 3, 4
ALONG_UM = {LOST: 10.0, KEPT: 20.0, NEW: 30.0, DOUBTFUL: 40.0}  # spines 1.8 um above the shaft at y = 8 um
SEEN = [(LOST, KEPT, DOUBTFUL), (KEPT, NEW, DOUBTFUL)]


def make_stack(session: int, seen=SEEN) -> Stack:
    pixels = np.zeros((9, 80, 300), dtype=np.float32)
    z, y, x = np.indices(pixels.shape) * np.array(VOXEL_UM).reshape(3, 1, 1, 1)
    pixels += 2 * np.exp(-((y - 8) ** 2 + (z - 4) ** 2) / 0.5)
    for track in seen[session]:
        pixels += np.exp(-((y - 6.2) ** 2 + (z - 4) ** 2 + (x - ALONG_UM[track] - SHIFT_X_UM[session]) ** 2) / 0.2)
    return Stack(pixels, VOXEL_UM, f"s{session}.tif")


def make_tables(sessions=2, seen=SEEN) -> SimpleNamespace:
    spines = pd.DataFrame(
        [
            (s, t, 0, 4.0, 6.2, ALONG_UM[t] + SHIFT_X_UM[s], "filopodium" if t == NEW else "spine", "present")
            for s in range(sessions)
            for t in seen[s]
        ],
        columns=["session", "spine_id", "dendrite", "head_z_um", "head_y_um", "head_x_um", "kind", "state"],
    )
    line = np.linspace(0.0, 50.0, 251)
    dendrites = pd.concat(
        pd.DataFrame({"session": s, "dendrite": 0, "z_um": 4.0, "y_um": 8.0, "x_um": line + SHIFT_X_UM[s]})
        for s in range(sessions)
    )
    fates = [(0, 1, LOST, "lost"), (0, 1, KEPT, "stable"), (0, 1, NEW, "gained"), (0, 1, DOUBTFUL, "unscorable")]
    return SimpleNamespace(
        spines=spines,
        dendrites=dendrites,
        tracks=spines.rename(columns={"spine_id": "track_id"})[
            ["session", "track_id", "head_z_um", "head_y_um", "head_x_um", "state"]
        ],
        fates=pd.DataFrame(
            fates if sessions > 1 else [], columns=["from_session", "to_session", "track_id", "fate"]
        ).assign(probability=0.9),
    )


@pytest.fixture(scope="module")
def stacks() -> list[Stack]:
    return [make_stack(0), make_stack(1)]


@pytest.fixture(scope="module")
def tables() -> SimpleNamespace:
    return make_tables()


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (0, {LOST: "lost", KEPT: "stable", DOUBTFUL: "unscorable"}),
        (1, {KEPT: "stable", NEW: "gained", DOUBTFUL: "unscorable"}),
    ],
)
def test_fates_seen_from_a_session(tables, session, expected):
    seen = fates_seen_from(tables, session)
    assert dict(zip(seen["track_id"], seen["fate"], strict=True)) == expected
    assert set(seen["dendrite"]) == {0}


def test_a_spine_that_came_and_went_is_marked_twice():
    tables = make_tables()
    tables.fates = pd.DataFrame(
        [(0, 1, NEW, "gained"), (1, 2, NEW, "lost")], columns=["from_session", "to_session", "track_id", "fate"]
    )
    seen = fates_seen_from(tables, 1)
    assert sorted(seen.loc[seen["track_id"] == NEW, "fate"]) == ["gained", "lost"]


def test_interval_counts():
    row = interval_counts(make_tables().fates).iloc[0]
    assert (row["present"], row["stable"], row["gained"], row["lost"], row["unscorable"]) == (2, 1, 1, 1, 1)
    assert (row["gained_percent"], row["lost_percent"], row["turnover_percent"]) == (50, 50, 50)


def test_nothing_judged_has_no_percentage():
    fates = pd.DataFrame([(0, 1, 1, "unscorable")], columns=["from_session", "to_session", "track_id", "fate"])
    assert np.isnan(interval_counts(fates)["gained_percent"].iloc[0])


def test_densities(tables):
    table = session_densities(tables, 2)
    assert table["spines"].tolist() == [3, 3]
    np.testing.assert_allclose(table["length_um"], 50.0)
    np.testing.assert_allclose(table["density_per_um"], 0.06)


def test_labels_by_day_only_when_all_know_their_day(stacks):
    day = [Stack(s.pixels, s.voxel_um, provenance={"day": 4 * n}) for n, s in enumerate(stacks)]
    assert session_labels(day) == ["day 0", "day 4"]
    assert session_labels([day[0], stacks[1]]) == ["session 0", "session 1"]


def test_overlay_marks_lie_on_the_spines(stacks, tables):
    figure = draw_overlay(stacks[1], fates_seen_from(tables, 1), tables.dendrites[tables.dendrites["session"] == 1])
    places = {to_hex(c.get_edgecolor()[0]): np.asarray(c.get_offsets()) for c in figure.axes[0].collections}
    np.testing.assert_allclose(places[MARKS["gained"].colour], [(33.0, 6.2)])
    np.testing.assert_allclose(places[MARKS["stable"].colour], [(23.0, 6.2)])
    np.testing.assert_allclose(figure.axes[0].get_xlim(), (-0.1, 59.9))


def test_overlay_without_fates_uses_the_state(stacks):
    spines = make_tables().spines.assign(state=["present", "present", "unscorable"] * 2)
    figure = draw_overlay(stacks[0], spines, make_tables().dendrites)
    assert [len(c.get_offsets()) for c in figure.axes[0].collections] == [4, 2]


@pytest.mark.parametrize(("width_um", "length_um"), [(123.0, 20), (30.0, 5), (5000.0, 500), (9.0, 1)])
def test_scale_bar_is_as_long_as_it_says(width_um, length_um):
    figure = draw_red_green(np.zeros((1, 10, 10)), np.zeros((1, 10, 10)), (1.0, width_um / 10, width_um / 10))
    axes = figure.axes[0]
    bar = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert bar.get_width() == length_um
    assert f"{length_um} µm" in [text.get_text() for text in axes.texts]
    left, right = axes.get_xlim()
    assert left < bar.get_x() < bar.get_x() + bar.get_width() < right


def test_gallery_puts_the_same_place_above_itself(stacks, tables):
    strips = made_strips(stacks, tables, 0)
    for session, strip in enumerate(strips):
        marks = strip.marks.set_index("track_id")
        for track in SEEN[session]:
            assert marks.loc[track, "along_um"] == pytest.approx(ALONG_UM[track], abs=0.3)
            column = strip.image[:, round(ALONG_UM[track] / STEP_UM)]
            row = round((len(column) - 1) / 2 - marks.loc[track, "across_um"] / STEP_UM)
            assert column[row] > 0.4  # the head is bright where its mark says
            assert strip.image[row, round((ALONG_UM[track] + 4) / STEP_UM)] < 0.1


def test_gallery_marks_the_place_that_a_lost_spine_left(stacks, tables):
    before, after = made_strips(stacks, tables, 0)
    empty = after.marks[after.marks["fate"] == "empty"]
    assert empty["track_id"].tolist() == [LOST]
    lost = before.marks[before.marks["fate"] == "lost"]
    assert empty["along_um"].iloc[0] == lost["along_um"].iloc[0]


def test_gallery_page_has_a_strip_for_each_session_and_row(stacks, tables):
    figure = draw_gallery(stacks, tables, labels=["day 0", "day 4"])
    assert len(figure.axes) == 2
    assert ["day 0" in _texts(axes) for axes in figure.axes] == [True, False]
    assert ["day 4" in _texts(axes) for axes in figure.axes] == [False, True]


def _texts(axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_gallery_of_a_long_dendrite_shows_where_spines_were_followed():
    followed = pd.DataFrame({"track_id": [1, 2, 3], "fate": "stable", "along_um": [210.0, 220.0, 290.0]})
    once = pd.DataFrame({"track_id": range(10, 40), "fate": "gained", "along_um": 20.0})
    marks = [pd.concat([followed, once]), followed]
    strips = [Strip(n, np.zeros((7, 3000)), m) for n, m in enumerate(marks)]
    first_um, last_um = best_stretch_um(strips)
    assert last_um - first_um == LONGEST_UM
    assert first_um < 210.0 < 290.0 < last_um
    assert best_stretch_um([Strip(0, np.zeros((7, 900)), once)]) == (0.0, 90.0)


def test_gallery_without_dendrites_says_so(stacks):
    tables = make_tables()
    for name in ("spines", "dendrites", "tracks", "fates"):
        setattr(tables, name, getattr(tables, name).iloc[:0])
    assert "No dendrite" in draw_gallery(stacks, tables).texts[0].get_text()


def test_gallery_of_one_session(stacks):
    assert len(draw_gallery(stacks[:1], make_tables(1)).axes) == 1


def test_fate_counts_up_and_down(tables):
    axes = draw_fate_counts(tables.fates, labels=["day 0", "day 4"]).axes[0]
    heights = [patch.get_height() for patch in axes.patches]
    assert heights == [1, 1, -1]
    assert axes.get_xticklabels()[0].get_text() == "day 0 → day 4\n1 unscorable"


def test_fate_counts_of_nothing_can_be_drawn():
    draw_fate_counts(make_tables(1).fates).savefig(io.BytesIO())


def test_red_green_cuts_to_the_common_size():
    stack = np.stack([np.eye(20)] * 8)
    figure = draw_red_green(stack, stack[:6, :, :15], (2.0, 0.5, 0.5))
    shapes = [axes.images[0].get_array().shape[:2] for axes in figure.axes]
    assert shapes == [(20, 15)] * 3 + [(6, 15)] * 3
    assert [axes.get_ylim()[0] for axes in figure.axes[2:4]] == [19.5 * 0.5, 5.5 * 2.0]  # um, also from the side


def test_red_green_is_white_where_both_are_bright():
    both = np.zeros((1, 20, 20))
    both[0, 5] = 1.0
    overlay = np.asarray(draw_red_green(both, both, (1.0, 0.5, 0.5)).axes[2].images[0].get_array())
    assert overlay[5].min() > 0.95
    assert overlay[10].max() == 0.0


def test_red_green_leaves_mere_noise_dark():
    rng = np.random.default_rng(0)
    lines = 1000.0 * (np.arange(40) % 8 == 0) * np.ones((3, 40, 40))
    figure = draw_red_green(lines, rng.uniform(0, 30, (3, 40, 40)), (2.0, 0.5, 0.5))
    reference, today = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:2])
    assert reference.max() == 1.0
    assert today.max() < 0.4


def test_vessel_map_draws_fields_where_they_are():
    figure = draw_vessel_map(np.random.default_rng(0).random((50, 80)), 20.0, [("F01", 400.0, 900.0)], [(100.0, 200.0)])
    box = next(patch for patch in figure.axes[0].patches if patch.get_width() == 120.0)
    assert (box.get_x() + 60, box.get_y() + 60) == (900.0, 400.0)
    assert "F01" in [text.get_text() for text in figure.axes[0].texts]


def test_stretch_of_a_flat_image_is_finite():
    assert np.isfinite(stretched(np.full((4, 4), 7))).all()


def test_stretch_does_not_see_what_fills_the_outside():
    image = np.random.default_rng(0).uniform(100, 200, (40, 40))
    padded = np.zeros((80, 80))
    padded[:40, :40] = image
    np.testing.assert_allclose(stretched(padded)[:40, :40], stretched(image), atol=0.02)
    assert (stretched(padded)[40:] == 0).all()
