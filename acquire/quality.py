"""What a stack says of its own quality, while the animal is still there."""

from __future__ import annotations

from typing import Literal

import numpy as np

from acquire.model import FieldRecord, QualityRecord, SessionRecord
from analysis.model import Stack

SATURATED_AMBER, SATURATED_RED = 1e-3, 1e-2
SIGNAL_TO_NOISE_AMBER, SIGNAL_TO_NOISE_RED = 10.0, 4.0
SHAFT_PERCENTILE = 99.5  # shafts fill about one voxel in a hundred of a cortical stack


def judge_stack(stack: Stack, field: FieldRecord, session: SessionRecord) -> QualityRecord:
    """Measure saturation and signal to noise, and say what to do about them.

    The background is the median; the noise is the spread of the differences between neighbouring pixels, which
    structures larger than a pixel hardly change; the signal is the brightness of the brightest half per cent.
    """
    pixels = stack.pixels[:, ::2, ::2].astype(np.float32)
    background = float(np.median(pixels))
    differences = np.diff(stack.pixels[:, ::2].astype(np.float32), axis=2)
    noise = float(1.4826 * np.median(np.abs(differences)) / np.sqrt(2)) or 1.0
    signal = float(np.percentile(pixels, SHAFT_PERCENTILE)) - background
    saturated = 0.0 if stack.saturation is None else float(np.mean(stack.pixels >= stack.saturation))
    ratio = signal / noise
    light, advice = _advice(saturated, ratio)
    return QualityRecord(
        animal=session.animal,
        field=field.name,
        session=session.name,
        planes=len(stack.pixels),
        saturated_fraction=saturated,
        background=background,
        noise=noise,
        signal=signal,
        signal_to_noise=ratio,
        light=light,
        advice=advice,
    )


def _advice(saturated: float, ratio: float) -> tuple[Literal["green", "amber", "red"], str]:
    if saturated > SATURATED_AMBER:
        light: Literal["amber", "red"] = "red" if saturated > SATURATED_RED else "amber"
        return light, f"{100 * saturated:.2f} % of the voxels are saturated: lower the power or the gain"
    if ratio < SIGNAL_TO_NOISE_AMBER:
        light = "red" if ratio < SIGNAL_TO_NOISE_RED else "amber"
        return light, f"signal to noise is only {ratio:.1f}: average more frames, clean the window, or raise the power"
    return "green", "good"
