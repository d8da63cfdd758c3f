"""How the window looks: what can be ticked is seen in the dark and in the light."""

import re
from pathlib import Path

import pytest

from tests.qt import skip_without_qt

skip_without_qt()

from PyQt6.QtGui import QColor  # noqa: E402
from PyQt6.QtWidgets import QCheckBox, QRadioButton  # noqa: E402

from acquire.gui.theme import choose_theme, style_sheet, theme  # noqa: E402

SEEN = 3.0  # contrast of a control that is seen, WCAG 2.2, 1.4.11


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in QColor(colour).getRgbF()[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(params=[False, True], ids=["dark", "bright"])
def look(request, qapp):
    choose_theme(qapp, bright=request.param)
    yield theme()
    choose_theme(qapp)


@pytest.mark.parametrize("kind", [QCheckBox, QRadioButton])
def test_what_can_be_ticked_is_seen(look, kind, qtbot):
    box = kind("the head was mounted anew")
    qtbot.addWidget(box)
    box.show()
    drawn = box.grab().toImage()
    across = [drawn.pixelColor(x, drawn.height() // 2) for x in range(24)]
    assert max(contrast(colour, look.panel) for colour in across) > SEEN
    empty = box.grab().toImage()
    box.setChecked(True)
    assert box.grab().toImage() != empty


def test_every_picture_of_the_look_is_there(look):
    files = re.findall(r'url\("(.*?)"\)', style_sheet(look))
    assert len(files) == 4
    assert all(Path(file).is_file() for file in files)
