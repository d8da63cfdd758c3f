"""What a picture draws: greys between two levels, the warning's colour where the detector is full, colours as given."""

import numpy as np
import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from acquire.gui.picture import Picture  # noqa: E402
from acquire.gui.theme import theme  # noqa: E402
from acquire.gui.tinted import Tint, look_up, packed  # noqa: E402

WARNING = 0xFF3B30
BLACK, WHITE, RED = 0xFF000000, 0xFFFFFFFF, 0xFF000000 + WARNING


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_each_value_has_its_colour(dtype):
    tint = Tint(10.0, 110.0, 200.0, WARNING)
    levels = np.array([[0, 10, 60], [110, 199, 200]], dtype)
    expected = [[BLACK, BLACK, 0xFF7F7F7F], [WHITE, WHITE, RED]]
    assert tint.colours(levels).tolist() == expected
    if dtype is not np.float32:
        assert tint.table(levels.dtype)[levels].tolist() == expected


def test_without_a_known_limit_nothing_warns():
    assert Tint(0.0, 100.0).table(np.dtype(np.uint16))[-1] == WHITE
    assert Tint(5.0, 5.0).colours(np.array([4.0, 6.0, np.nan])).tolist() == [BLACK, WHITE, BLACK]


def test_an_image_of_many_rows_is_looked_up_whole():
    image = np.random.default_rng(0).integers(0, 65536, (300, 7)).astype(np.uint16)
    colours = np.zeros(image.shape, np.uint32)
    look_up(np.arange(65536, dtype=np.uint32), image, colours)
    assert np.array_equal(colours, image)


def test_colours_stay_what_they_are():
    assert packed(np.array([[[1, 2, 3]]], np.uint8)).tolist() == [[0xFF010203]]


@pytest.fixture
def picture(qtbot):
    made = Picture()
    qtbot.addWidget(made)
    made.resize(240, 240)
    made.show()
    return made


def middle(picture):
    """The colour in the middle of what is on the screen."""
    grabbed = picture.grab().toImage()
    return grabbed.pixelColor(grabbed.width() // 2, grabbed.height() // 2).name()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_a_saturated_image_is_drawn_in_the_warning(picture, dtype):
    picture.show_image(np.full((8, 6), 100, dtype), saturation=100.0, levels=(0.0, 50.0))
    assert middle(picture) == theme().light_on
    picture.show_image(np.full((8, 6), 99, dtype), saturation=100.0, levels=(0.0, 198.0))
    assert middle(picture) == "#7f7f7f"


def test_a_frame_that_is_a_piece_of_another_is_drawn_as_it_is(picture):
    whole = np.zeros((20, 20), np.uint16)
    whole[::2, ::2] = 50
    picture.show_image(whole[::2, ::2], levels=(0.0, 50.0))
    assert middle(picture) == "#ffffff"
    coloured = np.zeros((10, 10, 3), np.uint8)
    coloured[..., 1] = 200
    picture.show_image(coloured)
    assert middle(picture) == "#00c800"


def test_an_image_lies_where_it_was_said_and_nothing_is_drawn_of_none(picture):
    picture.show_image(np.full((5, 10), 9, np.uint8), levels=(0.0, 9.0), um=(50.0, 100.0))
    assert (picture.item.boundingRect().height(), picture.item.boundingRect().width()) == (50.0, 100.0)
    assert middle(picture) == "#ffffff"
    picture.item.clear()
    assert middle(picture) == theme().background
