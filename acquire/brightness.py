"""Which power gives today's shafts the brightness of the reference: so that spine sizes compare over sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acquire.errors import RigError
from acquire.model import TransformRecord
from analysis.model import Floats, Stack, Transform

SHAFT_PERCENTILE = 99.5  # of the planes in common: the shafts, hardly a single spine
SMOOTH_UM = 0.25  # evens out the photon noise, which would make dim stacks look brighter at a high percentile
LEAST_SIGNAL_TO_NOISE = 3.0  # after smoothing: below, what is brightest may be noise
CLIPPED_FROM = 0.97  # of full scale: the mean of frames of which one or two clip lies just below it
CLIPPED_SHARE = 0.1  # of the shafts' voxels: when more are clipped the brightness is too low to compare
BRIGHTER_AT_MOST = 4.0  # in one step: a larger ratio is more likely a wrong field or a closed iris than a dim day


@dataclass(frozen=True)
class PowerProposal:
    """The power to take the stack with.

    Parameters
    ----------
    power_mw
        Power at the sample in the first plane, mW; today's own when nothing could be compared.
    ratio
        Today's brightness of the shafts over the reference's; 1 when it could not be measured.
    says
        The proposal, or why there is none, in words.
    """

    power_mw: float
    ratio: float
    says: str


@dataclass(frozen=True)
class _Shafts:
    """Brightness of the shafts above the background, and the noise of the smoothed background, counts."""

    brightness: float
    noise: float
    is_clipped: bool

    @property
    def is_bright(self) -> bool:
        return self.brightness >= LEAST_SIGNAL_TO_NOISE * self.noise


def match_power(reference: Stack, today: Stack, power_mw: float, *, limit_mw: float) -> PowerProposal:
    """Propose the power that gives today's shafts the reference's brightness.

    The two-photon signal goes with the square of the power. Compared are the planes that both stacks hold, by the
    transform that today's stack was taken with, or by their distance from the first plane where there is none.

    Parameters
    ----------
    reference, today
        The field's stack then and now, of one detector gain, dwell time and frame average.
    power_mw
        Power that today's stack was taken with in its first plane, mW.
    limit_mw
        Never propose more, mW.

    Raises
    ------
    RigError
        When the power is negative, or its limit not positive.
    """
    if power_mw < 0 or limit_mw <= 0:
        raise RigError(f"power {power_mw:g} mW, limit {limit_mw:g} mW: must not be negative to match brightness")
    kept_mw = min(power_mw, limit_mw)
    if power_mw == 0:
        return PowerProposal(0.0, 1.0, "the plan asks for 0 mW: no brightness to match")
    then_planes, now_planes = _planes_in_common(reference, today)
    if not len(then_planes):
        return PowerProposal(kept_mw, 1.0, f"the stacks share no plane: keep {kept_mw:.1f} mW and relocate the field")
    then, now = _measure(reference, then_planes), _measure(today, now_planes)
    if then.is_clipped:
        return PowerProposal(kept_mw, 1.0, f"the reference's shafts are saturated: keep {kept_mw:.1f} mW")
    for which, shafts in (("the reference", then), ("today's stack", now)):
        if not shafts.is_bright:
            return PowerProposal(kept_mw, 1.0, f"nothing is bright in {which}: keep {kept_mw:.1f} mW, find a shaft")
    return _propose(now.brightness / then.brightness, power_mw, limit_mw, is_clipped=now.is_clipped)


def _propose(ratio: float, power_mw: float, limit_mw: float, *, is_clipped: bool) -> PowerProposal:
    factor = float(np.clip(ratio**-0.5, BRIGHTER_AT_MOST**-0.5, BRIGHTER_AT_MOST**0.5))
    wanted_mw = power_mw * factor
    proposed_mw = min(wanted_mw, limit_mw)
    says = f"shafts are {ratio:.2f} times as bright as in the reference: {proposed_mw:.1f} mW instead of {power_mw:.1f}"
    if is_clipped:
        proposed_mw = min(proposed_mw, power_mw)
        says = f"today's shafts are saturated: at most {proposed_mw:.1f} mW; take a stack and match again"
    elif wanted_mw > limit_mw:
        says += f" (the limit; {wanted_mw:.1f} mW would match: average more frames)"
    elif factor != ratio**-0.5:
        says += ", which is as far as one step goes; look whether it is the same field, and match again"
    return PowerProposal(proposed_mw, ratio, says)


def _planes_in_common(reference: Stack, today: Stack) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the planes of each stack that lie at depths which both hold."""
    written = today.provenance.get("reference_from_today")
    carry = Transform.identity() if written is None else TransformRecord.model_validate(written).transform()
    count = len(today.pixels)
    middle = np.tile(0.5 * today.extent_zyx_um, (count, 1))
    middle[:, 0] = np.arange(count) * today.voxel_um[0]
    depth_um: Floats = carry.apply(middle)[:, 0]
    own_um = np.arange(len(reference.pixels)) * reference.voxel_um[0]
    first, last = max(own_um[0], depth_um[0]), min(own_um[-1], depth_um[-1])
    half = 0.5 * min(reference.voxel_um[0], today.voxel_um[0])
    return (
        np.flatnonzero((own_um >= first - half) & (own_um <= last + half)),
        np.flatnonzero((depth_um >= first - half) & (depth_um <= last + half)),
    )


def _measure(stack: Stack, planes: NDArray[np.intp]) -> _Shafts:
    smooth = np.empty((len(planes), *stack.pixels.shape[1:]), np.float32)
    for slot, plane in zip(smooth, planes, strict=True):
        sigma = SMOOTH_UM / np.array(stack.voxel_um[1:])
        slot[:] = ndimage.gaussian_filter(stack.pixels[plane].astype(np.float32), sigma, truncate=3.0)
    low, background, high = np.percentile(smooth[:, ::2, ::2], (15.9, 50, SHAFT_PERCENTILE))
    clipped = 0.0
    if stack.saturation is not None:
        clipped = float(np.mean(stack.pixels[planes] >= CLIPPED_FROM * stack.saturation))
    is_clipped = clipped > CLIPPED_SHARE * (1 - SHAFT_PERCENTILE / 100)
    return _Shafts(float(high - background), float(background - low) or 1.0, is_clipped)
