"""SWC: the dendrites of a session as trees, its spines as branches of their own type, and back.

Seven columns: number, type, x, y, z, radius, number of the parent, all in um. A spine is two nodes of type 5 ("custom"
in the standard of NeuroMorpho.Org, 5 and more are free): its base, whose parent is the nearest node of its dendrite,
and its head. SWC has no column for a name: a comment before the nodes says of which spine or dendrite they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.errors import StackError
from analysis.fieldtables import SHAFT_RADIUS_UM
from analysis.marked import NO_DENDRITE, MarkedSession, MarkedSpine, Point, as_point
from analysis.model import Floats

DENDRITE_TYPE, SPINE_TYPE, ROOT = 3, 5, -1
DENDRITE_TYPES = (DENDRITE_TYPE, 4)  # basal or unspecified, apical
HEAD_RADIUS_UM, NECK_RADIUS_UM = 0.25, 0.1  # drawn so; nothing is measured
DECIMALS = 4
ABOUT = re.compile(r"#\s*(spine|dendrite)\s+(\S+)((?:\s+\w+=\S+)*)")
Row = tuple[int, int, float, float, float, float, int]


def write_swc(file: Path, session: MarkedSession, *, title: str = "", spines: bool = True) -> None:
    """Write the dendrites of a session, one tree each, and its spines on them.

    A spine whose dendrite is not there is a tree of its own. ``spines`` False leaves them out, for programs that take
    every branch for a dendrite.
    """
    lines = [f"# {title}", "# um from the centre of the first voxel", "# n type x y z radius parent"]
    nodes: dict[int, tuple[int, Floats]] = {}
    count = 0
    for name, line in session.dendrites.items():
        lines.append(f"# dendrite {name}")
        nodes[name] = (count + 1, line)
        for number, point in enumerate(line):
            count += 1
            lines.append(_row(count, DENDRITE_TYPE, point, SHAFT_RADIUS_UM, count - 1 if number else ROOT))
    for spine in session.spines if spines else ():
        lines.append(f"# spine {_named(spine)} dendrite={spine.dendrite} fate={spine.fate.replace(' ', '+') or 'none'}")
        parent = _nearest_node(nodes.get(spine.dendrite), spine.base_zyx_um or spine.head_zyx_um)
        if spine.base_zyx_um is not None:
            count += 1
            lines.append(_row(count, SPINE_TYPE, spine.base_zyx_um, NECK_RADIUS_UM, parent))
            parent = count
        count += 1
        lines.append(_row(count, SPINE_TYPE, spine.head_zyx_um, HEAD_RADIUS_UM, parent))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _named(spine: MarkedSpine) -> str:
    return "unlinked" if spine.track_id is None else str(spine.track_id)


def _row(number: int, kind: int, point: Sequence[float] | Floats, radius_um: float, parent: int) -> str:
    z, y, x = (float(value) for value in point)
    return f"{number} {kind} {x:.{DECIMALS}f} {y:.{DECIMALS}f} {z:.{DECIMALS}f} {radius_um:g} {parent}"


def _nearest_node(nodes: tuple[int, Floats] | None, point: Sequence[float]) -> int:
    if nodes is None:
        return ROOT
    first, line = nodes
    return first + int(np.argmin(np.linalg.norm(line - np.asarray(point), axis=1)))


def read_swc(file: Path) -> MarkedSession:
    """Read dendrites (types 3 and 4) and spines (ends of branches of type 5 and more) of one session.

    A dendrite is an unbranched run of nodes, from a root or a branching point; its number is the one that the file's
    comment says, else its place in the file. Only files that :func:`write_swc` wrote say the track of a spine.

    Raises
    ------
    StackError
        The file cannot be read, or a line is no node of seven columns.
    """
    rows, about = _read_rows(file)
    at = {row[0]: row for row in rows}
    parents = {row[6] for row in rows}
    dendrites = _runs([row for row in rows if row[1] in DENDRITE_TYPES], about)
    heads = [row for row in rows if row[1] >= SPINE_TYPE and row[0] not in parents]
    spines = tuple(_spine(row, at, about) for row in heads)
    return MarkedSession(spines, dendrites)


def _read_rows(file: Path) -> tuple[list[Row], dict[int, tuple[str, str, dict[str, str]]]]:
    """Return the nodes, and what the last comment before each says: kind, name, rest."""
    rows: list[Row] = []
    about: dict[int, tuple[str, str, dict[str, str]]] = {}
    said = None
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror or error}; check the path and its rights") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            if found := ABOUT.fullmatch(line.strip()):
                said = (found[1], found[2], dict(word.split("=", 1) for word in found[3].split()))
            continue
        if not line.strip():
            continue
        try:
            n, kind, x, y, z, radius, parent = (float(word) for word in line.split()[:7])
        except ValueError as error:
            raise StackError(f"{file.name}, line {number} is no SWC node: give n type x y z radius parent") from error
        rows.append((int(n), int(kind), x, y, z, radius, int(parent)))
        if said is not None:
            about[int(n)] = said
    if not rows:
        raise StackError(f"{file.name} holds 0 nodes; export it again from its program")
    return rows, about


def _runs(rows: Sequence[Row], about: dict[int, tuple[str, str, dict[str, str]]]) -> dict[int, Floats]:
    children: dict[int, list[Row]] = {}
    own = {row[0]: row for row in rows}
    for row in rows:
        children.setdefault(row[6] if row[6] in own else ROOT, []).append(row)
    runs: dict[int, Floats] = {}
    begun = [[row] for row in children.get(ROOT, [])]
    while begun:
        run = begun.pop(0)
        while len(following := children.get(run[-1][0], [])) == 1:
            run.append(following[0])
        begun += [[run[-1], row] for row in following]
        if len(run) > 1:
            runs[_free_name(about.get(run[-1][0]), runs)] = np.array([_point(row) for row in run])
    return runs


def _free_name(said: tuple[str, str, dict[str, str]] | None, taken: dict[int, Floats]) -> int:
    if said is not None and said[0] == "dendrite" and said[1].isdigit() and int(said[1]) not in taken:
        return int(said[1])
    return max(taken, default=-1) + 1


def _point(row: Row) -> Point:
    return row[4], row[3], row[2]


def _spine(row: Row, at: dict[int, Row], about: dict[int, tuple[str, str, dict[str, str]]]) -> MarkedSpine:
    kind, name, rest = about.get(row[0], ("", "", {}))
    parent = at.get(row[6])
    base = None if parent is None or parent[1] < SPINE_TYPE else as_point(np.array(_point(parent)))
    ours = kind == "spine"
    fates = tuple(rest.get("fate", "none").split("+")) if ours and rest.get("fate", "none") != "none" else ()
    track = int(name) if ours and name.isdigit() else None
    return MarkedSpine(track, int(rest.get("dendrite", NO_DENDRITE)) if ours else NO_DENDRITE, _point(row), base, fates)
