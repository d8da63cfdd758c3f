"""Recorded sessions of one real field laid on each other under imposed poses; linked marks are the judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from analysis.model import Stack, Transform
from analysis.register import StackRegistration, register_stacks
from analysis.stack import read_stack

SHIFT_UM = np.array([8.0, 20.0, 20.0])
YAW_DEG, TILT_DEG = 5.0, 2.0
BINNED = 2  # pixels a side: an overview is not taken finer
TIP_UM = ["tip_z_um", "tip_y_um", "tip_x_um"]


@dataclass(frozen=True)
class Recorded:
    """One session of the field: its stack, binned, and its marks by spine (z, y, x), um."""

    number: int
    stack: Stack
    marks: pd.DataFrame


@dataclass(frozen=True)
class Case:
    """Today's stack is a session turned and shifted: ``today_from_session``; it must be found in the reference."""

    reference: Recorded
    session: Recorded
    today_from_session: Transform
    today: Stack

    def residuals_um(self, reference_from_today: Transform) -> NDArray[np.float64]:
        """Return how far shared marks land from where they are in the reference (z, y, x), um."""
        ids = self.reference.marks.index.intersection(self.session.marks.index)
        today = self.today_from_session.apply(self.session.marks.loc[ids].to_numpy())
        size = np.array(self.today.pixels.shape) * self.today.voxel_um
        seen = np.all((today >= 0) & (today < size), axis=1)
        there = self.reference.marks.loc[ids].to_numpy()[seen]
        return np.asarray(reference_from_today.apply(today[seen]) - there)


def read_sessions(folder: Path) -> list[Recorded]:
    sessions = []
    for number in pd.read_csv(folder / "sessions.csv")["session"]:
        full = read_stack(folder / f"session{number}.ome.tif")
        rows, columns = (n // BINNED * BINNED for n in full.pixels.shape[1:])
        shape = (len(full.pixels), rows // BINNED, BINNED, columns // BINNED, BINNED)
        pixels = full.pixels[:, :rows, :columns].reshape(shape).mean(axis=(2, 4), dtype=np.float32)
        z, y, x = full.voxel_um
        marks = pd.read_csv(folder / f"session{number}_spines.csv")
        marks = marks[~marks["is_bad"].astype(bool)].drop_duplicates("spine_id").set_index("spine_id")[TIP_UM]
        offset = np.array([0.0, y, x]) * (BINNED - 1) / 2
        sessions.append(Recorded(int(number), Stack(pixels, (z, y * BINNED, x * BINNED)), marks - offset))
    return sessions


def moved(session: Recorded, today_from_session: Transform) -> Stack:
    """Return the session's stack as it is seen under a pose; dark where it was not recorded."""
    voxel = np.array(session.stack.voxel_um)
    back = today_from_session.inverse().matrix
    matrix, offset = back[:3, :3] * voxel / voxel[:, None], back[:3, 3] / voxel
    dark = float(np.median(session.stack.pixels[:, ::8, ::8]))
    pixels = ndimage.affine_transform(session.stack.pixels, matrix, offset, order=1, cval=dark)
    return Stack(pixels, session.stack.voxel_um)


def draw_cases(sessions: list[Recorded], count: int, seed: int) -> Iterator[Case]:
    chance = np.random.default_rng(seed)
    for _ in range(count):
        one, other = chance.choice(len(sessions), 2, replace=False)
        session = sessions[other]
        centre = (np.array(session.stack.pixels.shape) - 1) / 2 * session.stack.voxel_um
        tilts = chance.uniform(-TILT_DEG, TILT_DEG, 2)
        pose = Transform.rigid(
            chance.uniform(-1, 1, 3) * SHIFT_UM,
            yaw_deg=chance.uniform(-YAW_DEG, YAW_DEG),
            tilt_y_deg=tilts[0],
            tilt_x_deg=tilts[1],
            centre_zyx_um=centre,
        )
        yield Case(sessions[one], session, pose, moved(session, pose))


def signs_of(found: StackRegistration) -> dict[str, Any]:
    """Return what a registration says of itself."""
    return {
        "verdict": str(found.verdict),
        "probability": found.probability,
        "score": found.score,
        "margin": found.margin,
        "agreement_um": min(found.agreement_um, 999.0),
        "overlap_found": found.overlap,
    }


def look_for(case: Case) -> dict[str, Any]:
    """Register one case; return verdict, time and residuals of the shared marks, um."""
    started = time.perf_counter()
    found = register_stacks(case.reference.stack, case.today)
    seconds = time.perf_counter() - started
    pair = f"{case.reference.number}-{case.session.number}"
    return {"pair": pair, "seconds": seconds, **signs_of(found), **misses(case, found.reference_from_today)}


def beside(case: Case, find: Callable[[Stack, Stack], Transform]) -> dict[str, Any]:
    """Let an alternative register a case; return time and residuals of the shared marks, um."""
    started = time.perf_counter()
    found = find(case.reference.stack, case.today)
    return {"seconds": time.perf_counter() - started, **misses(case, found)}


def misses(case: Case, reference_from_today: Transform) -> dict[str, Any]:
    """Return how far shared marks miss one another (medians), and how far they are off together, um."""
    residual = case.residuals_um(reference_from_today)
    return {
        "marks": len(residual),
        "lateral_um": float(np.median(np.hypot(residual[:, 1], residual[:, 2]))),
        "axial_um": float(np.median(np.abs(residual[:, 0]))),
        "off_um": float(np.linalg.norm(np.median(residual, axis=0))),
    }


def wrong_views(sessions: list[Recorded], count: int, seed: int) -> Iterator[tuple[str, Stack, Stack]]:
    """Return pairs that do not show one place: a session and another's mirror image, and two sides of the field."""
    chance = np.random.default_rng([seed, 3])
    for number in range(count):
        one, other = chance.choice(len(sessions), 2, replace=False)
        reference, today = sessions[one].stack, sessions[other].stack
        if number % 2:
            flipped = np.flip(today.pixels, axis=int(chance.integers(3)))
            yield "mirrored", reference, Stack(flipped, today.voxel_um)
        else:
            half = today.pixels.shape[2] // 2
            left, right = reference.pixels[:, :, :half], today.pixels[:, :, half:]
            yield "other place", Stack(left, reference.voxel_um), Stack(right, today.voxel_um)


def look_at_wrong(kind: str, reference: Stack, today: Stack) -> dict[str, Any]:
    """Register a pair that has no right place."""
    started = time.perf_counter()
    found = register_stacks(reference, today)
    return {"quantity": kind, **signs_of(found), "off_um": None, "seconds": time.perf_counter() - started}
