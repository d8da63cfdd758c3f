"""A report is one file that needs nothing else, and is never half there."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.aligned import STEP_UM
from analysis.errors import StackError
from analysis.gallery import made_strips
from analysis.model import Stack
from analysis.page import LARGE_BYTES
from analysis.report import Picture, Report, Section, field_report, write_field_outputs, write_report


class Page(HTMLParser):
    """What a browser would find: tags, addresses, text, cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.words.append(data.strip())


def figure() -> Figure:
    drawn = Figure(figsize=(2, 1), dpi=50)
    drawn.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1])
    return drawn


def noise_picture() -> Picture:
    pixels = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    return Picture.of_image(Image.fromarray(pixels), 200, "noise")


def test_report_is_one_self_contained_file(tmp_path):
    table = pd.DataFrame({"interval": ["0 → 1"], "length_um": [12.3456], "gained_percent": [float("nan")]})
    section = Section("Gained <b>", "First & last.\n\nSecond.", table, [figure(), noise_picture()])
    path = write_report(tmp_path / "report.html", Report("Field F01 & co", [section], warnings=["Beware."]))
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", html)
    assert [word for word in page.words if word in ("length (µm)", "12.3", "–", "gained (%)")] == [
        "length (µm)",
        "gained (%)",
        "12.3",
        "–",
    ]
    assert "Gained <b>" in page.words
    assert {"First & last.", "Second.", "Beware.", "noise"} <= set(page.words)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_pictures_can_be_decoded_and_large_ones_are_packed(tmp_path):
    small, large = Picture.of(figure()), noise_picture()
    assert len(small.png) < LARGE_BYTES < len(large.png)
    sizes = []
    for picture, kind in ((small, "PNG"), (large, "WEBP")):
        content = base64.b64decode(picture.source.partition(",")[2])
        with Image.open(io.BytesIO(content)) as image:
            assert image.format == kind
            sizes.append(image.size)
    assert sizes == [(100, 50), (400, 400)]
    assert small.width_px == 192


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_report(tmp_path / "report.html", Report("old", []))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StackError, match="No space left on device; free space"):
        write_report(path, Report("new", []))
    assert "<h1>old</h1>" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StackError, match="cannot be written"):
        write_report(tmp_path / "out" / "report.html", Report("r", []))


def make_stack(number: int, **provenance) -> Stack:
    pixels = np.full((4, 60, 120), 255 * number, np.uint8)
    pixels[number:, 0, 0] = 9
    return Stack(pixels, (1.0, 0.2, 0.2), f"s{number}.tif", saturation=255.0, provenance=provenance)


STACKS = [make_stack(0, animal="M042", field="F01"), make_stack(1, complete=False, planned_planes=9)]


def make_tables(sessions: int) -> SimpleNamespace:
    line = np.linspace(0.0, 20.0, 100)
    spines = pd.DataFrame(
        [(s, t, 0, 2.0, 7.5, 5.0 * t, "spine", "present") for s in range(sessions) for t in (1, 2 + s)],
        columns=["session", "track_id", "dendrite", "head_z_um", "head_y_um", "head_x_um", "kind", "state"],
    )
    fates = [(0, 1, 1, "stable", 0.9), (0, 1, 2, "lost", 0.8), (0, 1, 3, "gained", 0.7)] if sessions > 1 else []
    return SimpleNamespace(
        spines=spines,
        tracks=spines,
        dendrites=pd.concat(
            pd.DataFrame({"session": s, "dendrite": 0, "z_um": 2.0, "y_um": 6.0, "x_um": line}) for s in range(sessions)
        ),
        fates=pd.DataFrame(fates, columns=["from_session", "to_session", "track_id", "fate", "probability"]),
        warnings=("Beware of s0.",),
    )


def test_field_report_tells_the_numbers():
    report = field_report(STACKS, make_tables(2))
    assert report.subtitle == "animal M042, field F01, 2 sessions"
    assert report.warnings == [
        "Beware of s0.",
        "s1.tif: the recording was stopped after 4 of 9 planes.",
        "s1.tif is marked as not complete.",
        "s1.tif: 1 of 4 planes are empty. Nothing can be found there.",
    ]
    tables = {section.heading: section.table for section in report.sections}
    fates = tables["Spines gained and lost"].iloc[0]
    assert (fates["interval"], fates["gained"], fates["lost"], fates["present"]) == ("session 0 → session 1", 1, 1, 2)
    assert tables["Spine density"]["density_per_um"].tolist() == [0.1, 0.1]
    assert tables["Stacks"]["saturated_percent"].round().tolist() == [0.0, 100.0]


@pytest.mark.parametrize("sessions", [1, 2])
def test_field_outputs(tmp_path, sessions):
    written = write_field_outputs(tmp_path / "out", STACKS[:sessions], make_tables(sessions))
    names = [*(f"overlay_session{s}.png" for s in range(sessions)), "gallery.png", "report.html"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for path in written[:-1]:
        with Image.open(path) as image:
            image.verify()


def test_a_field_without_a_spine_has_a_report(tmp_path):
    tables = make_tables(2)
    empty = SimpleNamespace(**{name: value[:0] for name, value in vars(tables).items()})
    assert write_field_outputs(tmp_path, STACKS, empty)[-1].is_file()


def test_outputs_of_an_earlier_analysis_do_not_stay(tmp_path):
    write_field_outputs(tmp_path, STACKS, make_tables(2))
    others = ["edits.jsonl", "overlay_session1_mine.png", "notes.html"]
    for name in others:
        (tmp_path / name).write_text("mine")
    written = write_field_outputs(tmp_path, STACKS[:1], make_tables(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, *(path.name for path in written)])
    assert not (tmp_path / "overlay_session1.png").exists()


def test_an_error_leaves_no_old_report_beside_new_pictures(tmp_path, monkeypatch):
    write_field_outputs(tmp_path, STACKS, make_tables(2))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StackError, match="No space left"):
        write_field_outputs(tmp_path, STACKS, make_tables(2))
    assert list(tmp_path.iterdir()) == []


def test_only_dendrite_in_view_counts_for_the_density():
    tables = make_tables(2)
    tables.dendrites["x_um"] += 10.0  # the pictures end at 23.8 um: of 20 um 13.8 are seen
    sections = {section.heading: section.table for section in field_report(STACKS, tables).sections}
    assert sections["Spine density"]["length_um"].tolist() == pytest.approx([13.8, 13.8], abs=0.3)


def test_the_gallery_is_black_where_the_stack_ends():
    x = np.linspace(10.0, 30.0, 100)
    tables = make_tables(1)
    tables.dendrites = pd.DataFrame({"session": 0, "dendrite": 0, "z_um": 2.0, "y_um": 6.0, "x_um": x})
    pixels = np.random.default_rng(0).integers(50, 255, (4, 60, 120), dtype=np.uint8)  # ends at 23.8 um
    (strip,) = made_strips([Stack(pixels, (1.0, 0.2, 0.2))], tables, 0)
    along_um = np.arange(strip.image.shape[1]) * STEP_UM
    assert strip.image[:, along_um > 14.0].max() == 0.0
    assert (strip.image[:, along_um < 13.0] > 0).mean() > 0.7
