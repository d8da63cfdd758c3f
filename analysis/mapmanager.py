"""Maps of Map Manager (Igor Pro; Cudmore), as PyMapManager reads them: spines and segments linked over sessions.

A map ``NAME`` is a folder: ``NAME.txt`` (a table, one column a session: ``hsStack``, ``days``...),
``stackdb/STACK_db2.txt`` (the points of a session), ``line/STACK_l.txt`` (its tracings), ``NAME_objMap.txt`` and
``NAME_segMap.txt`` (which point, which segment of a session is which of another: block ``runIdx``). Lines may end as
on old Macs. Points and tracings are um, x, y, z, from the centre of the first pixel;
``cx, cy, cz`` is the foot of a spine.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import StackError
from analysis.marked import NO_DENDRITE, MarkedSession, MarkedSpine, Point, as_point
from analysis.model import Floats

T = TypeVar("T")
SPINE = "spineROI"
RUN_BLOCK = "runIdx"
RunMap = NDArray[np.float64]


def is_map(file: Path) -> bool:
    """Tell whether a file is the table of a map: its points lie in a folder ``stackdb`` beside it."""
    return file.suffix == ".txt" and (file.parent / "stackdb").is_dir()


def read_map(file: Path) -> list[MarkedSession]:
    """Read all sessions of a map.

    Raises
    ------
    StackError
        A file of the map is missing or cannot be read.
    """
    header = _read(file, lambda text: {row[0]: row[1:] for row in (line.split("\t") for line in text.splitlines())})
    if "hsStack" not in header:
        raise StackError(f"{file} is no Map Manager map: it has no row hsStack; give NAME.txt of the map's folder")
    stacks = [name.strip() for name in header["hsStack"] if name.strip()]
    days = _numbers(header.get("days", [""] * len(stacks)), len(stacks))
    objects, segments = (_run_map(file.with_name(f"{file.stem}_{kind}.txt")) for kind in ("objMap", "segMap"))
    if objects is None:
        raise StackError(
            f"{file.parent} has no {file.stem}_objMap.txt, which links spines over sessions; save the map again"
        )
    return [
        _session(file.parent, name.removesuffix("_ch1"), number, days[number], objects=objects, segments=segments)
        for number, name in enumerate(stacks)
    ]


def _session(
    folder: Path, stack: str, number: int, day: float | None, *, objects: RunMap, segments: RunMap | None
) -> MarkedSession:
    file = folder / "stackdb" / f"{stack}_db2.txt"
    about, points = _read(file, lambda text: (_header(text), pd.read_csv(io.StringIO(text), header=1, index_col=False)))
    if missing := [name for name in ("roiType", "x", "y", "z", "parentID") if name not in points]:
        raise StackError(f"{file} lacks {', '.join(missing)}; save the map again from Map Manager")
    spines = []
    for row, point in enumerate(points.to_dict("records")):  # the map counts rows, not Idx, which repeats numbers
        if point["roiType"] == SPINE:
            spines.append(_spine(point, _run(objects, row, number), _segment(segments, point["parentID"], number)))
    voxel = [_float(about.get(f"voxel{axis}")) for axis in "zyx"]
    count = [_float(about.get(f"pixel{axis}")) for axis in "zyx"]
    voxel_um = as_point(np.array(voxel)) if None not in voxel else None
    extent = None
    if voxel_um is not None and None not in count:
        extent = as_point((np.array(count, dtype=float) - 1) * np.array(voxel_um))
    lines = _tracings(folder / "line" / f"{stack}_l.txt", number, segments)
    return MarkedSession(tuple(spines), lines, extent, voxel_um, day)


def _spine(point: Mapping[Any, Any], track: int | None, dendrite: int) -> MarkedSpine:
    foot = np.array([_float(point.get(name)) for name in ("cz", "cy", "cx")], dtype=float)
    head: Point = as_point(np.array([float(point[axis]) for axis in "zyx"]))
    return MarkedSpine(track, dendrite, head, as_point(foot) if np.isfinite(foot).all() else None)


def _run(runs: RunMap, row: int, number: int) -> int | None:
    """Return the number that a point, or a segment, has in all sessions."""
    inside = row < runs.shape[0] and number < runs.shape[1]
    run = runs[row, number] if inside else np.nan
    return int(run) if np.isfinite(run) and run >= 0 else None


def _segment(segments: RunMap | None, own: object, number: int) -> int:
    segment = _float(own)
    if segment is None:
        return NO_DENDRITE
    run = None if segments is None else _run(segments, int(segment), number)
    return int(segment) if run is None else run


def _tracings(file: Path, number: int, segments: RunMap | None) -> dict[int, Floats]:
    """Return the centrelines of a session; the file has its own header, a table of segments, then the points."""
    if not file.is_file():
        return {}

    def parse(text: str) -> pd.DataFrame:
        lines = text.split("\n")
        columns = next(n for n in range(1, len(lines)) if lines[n].startswith("node,"))
        return pd.read_csv(io.StringIO("\n".join(lines[columns:])), index_col=False)

    points = _read(file, parse)
    if missing := [name for name in ("x", "y", "z", "ID") if name not in points]:
        raise StackError(f"{file} lacks {', '.join(missing)}; save the map again from Map Manager")
    lines = {}
    for own, rows in points.dropna(subset=["x", "y", "z", "ID"]).groupby("ID", sort=True):
        line = rows[["z", "y", "x"]].to_numpy(dtype=float)
        line = line[np.r_[True, np.any(np.diff(line, axis=0) != 0, axis=1)]]
        if len(line) > 1:
            lines[_segment(segments, own, number)] = line
    return lines


def _run_map(file: Path) -> RunMap | None:
    """Return the numbers over sessions, shape (points, sessions); None when there is no such file."""
    if not file.is_file():
        return None

    def parse(text: str) -> RunMap:
        about = _header(text)
        rows, columns = int(about["rows"]), int(about["cols"])
        block = about["blockNames"].split(",").index(RUN_BLOCK)
        values = np.array([float(word) for word in text.partition("\n")[2].split()])
        runs: RunMap = values.reshape(-1, rows, columns)[block]
        return runs

    return _read(file, parse)


def _read(file: Path, parse: Callable[[str], T]) -> T:
    """Read a file and parse its text; what is wrong with it is one sentence."""
    try:
        text = file.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        return parse(text)
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror or error}; copy the whole map") from error
    except (ValueError, KeyError, IndexError, StopIteration) as error:
        raise StackError(f"{file} is no file of a Map Manager map ({error}); save the map again") from error


def _header(text: str) -> dict[str, str]:
    """Return the first line, ``key=value;key=value;``."""
    pairs = (item.partition("=") for item in text.partition("\n")[0].strip().split(";"))
    return {key: value for key, _, value in pairs if key}


def _numbers(values: Sequence[object], count: int) -> list[float | None]:
    return [_float(value) for value in values[:count]]


def _float(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None
