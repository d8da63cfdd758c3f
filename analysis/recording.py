"""Which files a stack lies in: what stands for its contents must know them all, and no other.

A microscope's XML or OIF only describes a recording, whose planes are files of their own; other recordings, and what
an analysis writes, may lie in the same folder. Nothing is known here of what the files hold.
"""

from __future__ import annotations

from pathlib import Path

from analysis.prairie import find_prairie, prairie_files
from analysis.thorimage import find_thorimage, thorimage_files

OIF_SUFFIX = ".oif"


def find_description(path: Path) -> Path | None:
    """Return the file that describes a recording, given that file or its folder; None where it describes itself."""
    if path.suffix.lower() == OIF_SUFFIX and path.is_file():
        return path
    return (find_prairie(path) or find_thorimage(path)) if path.exists() else None


def files_of(path: Path) -> list[Path]:
    """Return the files of a stack that are there, the one that describes a recording first."""
    if (description := find_description(path)) is not None:
        return [description, *sorted(set(_described_by(description)))]
    return [file for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]


def _described_by(description: Path) -> list[Path]:
    if description.suffix.lower() == OIF_SUFFIX:
        folder = description.with_name(f"{description.name}.files")
        return [file for file in folder.rglob("*") if file.is_file()]
    return prairie_files(description) if find_prairie(description) else thorimage_files(description)
