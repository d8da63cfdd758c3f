"""Write a report as one HTML file that holds its pictures, needs no network and no scripts, and prints.

It knows nothing of spines.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from analysis.errors import StackError

LARGE_BYTES = 300_000
SHOWN_DOTS_PER_INCH = 96
"""CSS pixels an inch: a picture is shown as large as it was drawn, with finer dots."""
UNITS = {"_per_um": "per µm", "_um": "µm", "_percent": "%", "_s": "s", "_deg": "°", "_mw": "mW"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn figure.

    Parameters
    ----------
    png
        The picture as PNG.
    width_px
        Width at which a page shows it, CSS pixels.
    caption
        Line below it, also read to those who cannot see it.
    packed
        A large one packed tighter (WebP), for a page.
    """

    png: bytes
    width_px: int
    caption: str = ""
    packed: bytes | None = None

    @classmethod
    def of(cls, figure: Figure, caption: str = "") -> Picture:
        """Draw a figure."""
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        dots = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        image = Image.fromarray(dots).convert("RGB")
        return cls.of_image(image, round(figure.get_figwidth() * SHOWN_DOTS_PER_INCH), caption, dpi=figure.dpi)

    @classmethod
    def of_image(cls, image: Image.Image, width_px: int, caption: str = "", *, dpi: float = 72.0) -> Picture:
        """Take an image of ``dpi`` dots an inch as it is."""
        png, packed = io.BytesIO(), io.BytesIO()
        image.save(png, "PNG", compress_level=1, dpi=(dpi, dpi))
        if len(png.getvalue()) <= LARGE_BYTES:
            return cls(png.getvalue(), width_px, caption)
        image.save(packed, "WEBP", quality=88, method=0)
        return cls(png.getvalue(), width_px, caption, packed.getvalue())

    @property
    def source(self) -> str:
        """The picture as the address that an HTML page can hold."""
        kind, content = ("png", self.png) if self.packed is None else ("webp", self.packed)
        return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a report: heading, text, a table, figures; only the heading is needed.

    Parameters
    ----------
    heading
        Its title.
    text
        Paragraphs, separated by an empty line.
    table
        Shown with its column names; numbers should be rounded already, not-a-number is shown as a dash.
    figures
        Pictures below the table, drawn or as matplotlib figures.
    """

    heading: str
    text: str = ""
    table: pd.DataFrame | None = None
    figures: Sequence[Picture | Figure] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The text, cut at its empty lines."""
        return [paragraph for paragraph in self.text.split("\n\n") if paragraph.strip()]

    @property
    def columns(self) -> list[str]:
        """Names of the table's columns, as words."""
        return [] if self.table is None else [_words(str(name)) for name in self.table.columns]

    @property
    def rows(self) -> list[list[str]]:
        """The table's cells as text."""
        return (
            [] if self.table is None else [[_cell(value) for value in row] for row in self.table.to_numpy(dtype=object)]
        )

    @property
    def pictures(self) -> list[Picture]:
        """The figures, drawn."""
        return [item if isinstance(item, Picture) else Picture.of(item) for item in self.figures]


@dataclass(frozen=True, eq=False)
class Report:
    """A title and sections.

    Parameters
    ----------
    title
        First line, and the name of the page.
    sections
        Parts in order.
    subtitle
        Line under the title.
    warnings
        What the reader must know before the numbers, one line each.
    """

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    warnings: Sequence[str] = ()


def write_report(path: Path | str, report: Report) -> Path:
    """Write a report as one HTML file, whole or not at all; return its path.

    Raises
    ------
    StackError
        The file cannot be written.
    """
    template = resources.files("analysis").joinpath("page.template.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(template)
    html = page.render(report=report, footer=f"Written by samefield {version('samefield')}.")
    return write_whole(Path(path), html.encode("utf-8"))


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name, then give it its own: nobody ever sees half of it.

    Raises
    ------
    StackError
        The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StackError(
            f"{path} cannot be written: {error.strerror or error}; free space or choose another folder"
        ) from error
    return path


def _words(column: str) -> str:
    """Return a column's name with its unit in words: ``length_um`` becomes ``length (µm)``."""
    for ending, unit in UNITS.items():
        if column.endswith(ending):
            return f"{column.removesuffix(ending).replace('_', ' ')} ({unit})"
    return column.replace("_", " ")


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if np.isfinite(value) else "–"
    return str(value)
