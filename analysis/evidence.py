"""What speaks for a spine at a place beside a shaft.

The light of the shaft itself is removed (what a typical cross-section of the dendrite nearby looks like), and five
numbers describe what is left at a place. All are ratios, to the brightness of the shaft or to the spread at the same
distance from it, so that laser power, detector gain and bit depth drop out. A logistic score makes a log-odds of them.
Detection asks at every place, presence at predicted ones: both through :meth:`Evidence.log_odds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from analysis.learned import SpineMap
from analysis.model import Floats
from analysis.ranking import running_percentile
from analysis.straighten import StraightenedDendrite

Volume = NDArray[np.float32]

HEAD_SIGMA_UM = 0.20  # with the microscope's blur, a head of 0.5 um looks like a spot of this sigma
RING_SIGMA_UM = 0.45
DEPTH_SIGMA_UM = 0.6
PROFILE_WINDOW_UM = 6.0  # spines stand 2 um apart: over 6 um less than half of one side is spine
PROFILE_PERCENTILE = 40
PROFILE_STEP_UM = 0.6
SHAFT_HALF_WIDTH_UM = 0.25
SHAFT_SMOOTHING_UM = 2.0
BEYOND_UM = 0.8  # a head ends there; an axon or a dendrite crossing does not
MINIMUM_SPREAD = 0.002  # of the shaft's brightness: a noiseless stack is not infinitely sure
MINIMUM_RATIO = 0.003
LEAST_SHAFT_SIGMA = 10.0  # a shaft dimmer than this many noises is not seen, nor are its spines
NO_SHAFT = -10.0  # log-odds there


@dataclass(frozen=True)
class SpineScore:
    """Weights of the logistic score, on features as they are (not standardised).

    The six numbers are the only fitted ones of the detector, fitted on the five hand-annotated dendrites of the field
    rr30a (MapManager's example map; sessions 0, 1 and 3, 428 spines). With our own tracing each session alone then has
    F1 0.78, 0.82 and 0.81; fitted on the two other sessions 0.78, 0.82, 0.81; on the four other dendrites 0.77, 0.80,
    0.80: they are not fitted too closely.
    """

    log_contrast: float = 1.72
    log_head: float = 1.1
    log_glow: float = -0.69
    distance_um: float = -2.3
    beyond: float = -4.18
    offset: float = 0.98


SPINE_SCORE = SpineScore()


@dataclass(frozen=True, eq=False)
class Levels:
    """What the light beside one straightened dendrite is compared with; the parameters as of :class:`Evidence`."""

    shaft: Floats
    spread: Floats
    background: float
    noise: float

    @classmethod
    def of(cls, straightened: StraightenedDendrite, light: Volume, contrast: Volume) -> Levels:
        """Measure them in the light, smoothed in depth, and in the contrast of heads."""
        away = np.abs(straightened.across_um) > 0.6 * straightened.across_um[-1]
        background = float(np.percentile(light[:, away], 30))
        noise = 1.4826 * float(np.median(np.abs(contrast[:, away])))
        shaft = _shaft_brightness(light, straightened) - background
        relative = contrast / np.maximum(shaft, 1e-6).astype(np.float32)[:, None, None]
        return cls(shaft, _spread(relative, straightened), background, noise)


def _measured(measure: Callable[[], Levels]) -> Levels:
    return measure()


@dataclass(frozen=True, eq=False)
class Evidence:
    """Maps of one straightened dendrite from which every place beside the shaft can be judged.

    Parameters
    ----------
    straightened
        The volume they were made from; all maps have its shape.
    left
        Light that is left when the shaft's own is removed.
    head
        The same, smoothed to the size of a head.
    contrast
        ``head`` minus its wider surroundings: a matched filter for a head.
    shaft
        Brightness of the shaft above the background, shape (along,).
    spread
        Spread of contrast / shaft at each ``across``: the noise, and how busy the tissue is, at that distance.
    background
        Intensity away from the shaft.
    noise
        Robust standard deviation of the contrast away from the shaft.
    learned
        Where the network sees heads; without it the logistic score of five numbers decides.
    """

    straightened: StraightenedDendrite
    left: Volume
    head: Volume
    contrast: Volume
    shaft: Floats
    spread: Floats
    background: float
    noise: float
    learned: SpineMap | None = None

    @classmethod
    def of(
        cls,
        straightened: StraightenedDendrite,
        learned: SpineMap | None = None,
        recall: Callable[[Callable[[], Levels]], Levels] = _measured,
    ) -> Evidence:
        """Make the maps of one straightened dendrite.

        Parameters
        ----------
        straightened
            The volume.
        learned
            What the network sees of it, where there is one.
        recall
            Is given how the levels are measured, and returns them; it may know them.
        """
        step, across_step, _ = straightened.steps_um
        light = _light(straightened)
        left = light - _running_profile(light, step)
        head = _blur(left, HEAD_SIGMA_UM / step, HEAD_SIGMA_UM / across_step)
        contrast = head - _blur(left, RING_SIGMA_UM / step, RING_SIGMA_UM / across_step)
        levels = recall(partial(Levels.of, straightened, light, contrast))
        told = (levels.shaft, levels.spread, levels.background, levels.noise)
        return cls(straightened, left, head, contrast, *told, learned)

    @cached_property
    def profile(self) -> Volume:
        """The shaft's own light, the typical cross-section within a few um along; only the five numbers ask for it."""
        return _running_profile(_light(self.straightened), self.straightened.steps_um[0])

    def log_odds(self, places_um: ArrayLike, score: SpineScore = SPINE_SCORE) -> Floats:
        """Return the log-odds that a spine's head stands at each (along, across, depth) place, shape (n,)."""
        if self.learned is not None:
            places = np.atleast_2d(np.asarray(places_um, dtype=float))
            index = self.straightened.index_of(places)[:, :2]
            odds: Floats = map_coordinates(self.learned.log_odds, index.T, output=np.float64, order=1, mode="nearest")
            return np.where(self.shows_shaft(places), odds, NO_SHAFT)
        features = self.features(places_um)
        weights = (score.log_contrast, score.log_head, score.log_glow, score.distance_um, score.beyond)
        odds = features @ np.array(weights) + score.offset
        return np.where(self.shows_shaft(places_um), odds, NO_SHAFT)

    def shows_shaft(self, places_um: ArrayLike) -> NDArray[np.bool_]:
        """Whether the shaft stands out of the noise beside each (along, across, depth) place, shape (n,)."""
        places = np.atleast_2d(np.asarray(places_um, dtype=float))
        shaft = np.interp(places[:, 0], self.straightened.along_um, self.shaft)
        visible: NDArray[np.bool_] = shaft > max(LEAST_SHAFT_SIGMA * self.noise, 1e-6)
        return visible

    def features(self, places_um: ArrayLike) -> Floats:
        """Return the five numbers of each (along, across, depth) place, shape (n, 5), in the order of SpineScore."""
        places = np.atleast_2d(np.asarray(places_um, dtype=float))
        shaft = np.maximum(np.interp(places[:, 0], self.straightened.along_um, self.shaft), 1e-6)
        beyond = places + np.sign(places[:, 1:2]) * np.array([0.0, BEYOND_UM, 0.0])
        outside = self.at(self.head, beyond) / shaft
        return np.stack(
            [
                np.log(np.maximum(self.contrast_at(places) / self.spread_at(places), 0.1)),
                np.log(np.maximum(self.at(self.head, places) / shaft, MINIMUM_RATIO)),
                np.log(np.maximum((self.at(self.profile, places) - self.background) / shaft, MINIMUM_RATIO)),
                np.abs(places[:, 1]),
                np.sign(outside) * np.sqrt(np.abs(outside)),
            ],
            axis=1,
        )

    def contrast_at(self, places_um: ArrayLike) -> Floats:
        """Return contrast over shaft brightness at (along, across, depth) places, shape (n,)."""
        places = np.atleast_2d(np.asarray(places_um, dtype=float))
        shaft = np.interp(places[:, 0], self.straightened.along_um, self.shaft)
        contrast: Floats = self.at(self.contrast, places) / np.maximum(shaft, 1e-6)
        return contrast

    def brightness_at(self, places_um: ArrayLike) -> Floats:
        """Return head-sized light over shaft brightness at (along, across, depth) places, shape (n,)."""
        places = np.atleast_2d(np.asarray(places_um, dtype=float))
        shaft = np.interp(places[:, 0], self.straightened.along_um, self.shaft)
        bright: Floats = self.at(self.head, places) / np.maximum(shaft, 1e-6)
        return bright

    def spread_at(self, places_um: ArrayLike) -> Floats:
        """Return the spread of contrast over shaft brightness at places, shape (n,)."""
        places = np.atleast_2d(np.asarray(places_um, dtype=float))
        spread: Floats = np.interp(places[:, 1], self.straightened.across_um, self.spread)
        return spread

    def is_inside(self, places_um: ArrayLike) -> NDArray[np.bool_]:
        """Whether (along, across, depth) places lie in the stack, shape (n,)."""
        index = np.rint(self.straightened.index_of(places_um)).astype(int)
        last = np.array(self.straightened.inside.shape) - 1
        within = np.all((index >= 0) & (index <= last), axis=1)
        index = np.clip(index, 0, last)
        inside: NDArray[np.bool_] = within & self.straightened.inside[index[:, 0], index[:, 1], index[:, 2]]
        return inside

    def at(self, volume: Volume, places_um: Floats) -> Floats:
        """Return one of the maps at (along, across, depth) places, shape (n,)."""
        index = self.straightened.index_of(places_um)
        values: Floats = map_coordinates(volume, index.T, output=np.float64, order=1, mode="nearest")
        return values


def _light(straightened: StraightenedDendrite) -> Volume:
    light: Volume = gaussian_filter1d(straightened.volume, DEPTH_SIGMA_UM / straightened.steps_um[2], axis=2)
    return light


def _running_profile(light: Volume, step_um: float) -> Volume:
    """Typical cross-section within a few um along: a low percentile, which spines on less than half do not raise."""
    block = max(1, round(PROFILE_STEP_UM / step_um))
    edges = np.minimum(np.arange(0, len(light) + block, block), len(light))
    edges = np.unique(edges)
    coarse = np.stack([light[a:b].mean(axis=0) for a, b in pairwise(edges)])
    window = max(1, round(PROFILE_WINDOW_UM / (block * step_um))) | 1
    coarse = running_percentile(coarse, PROFILE_PERCENTILE, window)
    coarse = gaussian_filter1d(coarse, 1.0, axis=0, mode="nearest")
    centres = 0.5 * (edges[:-1] + edges[1:] - 1)
    return _stretch(coarse, centres, len(light))


def _stretch(coarse: Volume, centres: Floats, count: int) -> Volume:
    position = np.interp(np.arange(count), centres, np.arange(len(centres)))
    below = np.minimum(position.astype(int), max(0, len(coarse) - 2))
    above = np.minimum(below + 1, len(coarse) - 1)
    weight = (position - below).astype(np.float32)[:, None, None]
    stretched: Volume = coarse[below] * (1 - weight) + coarse[above] * weight
    return stretched


def _blur(volume: Volume, along: float, across: float) -> Volume:
    return gaussian_filter1d(gaussian_filter1d(volume, along, axis=0), across, axis=1)


def _shaft_brightness(light: Volume, straightened: StraightenedDendrite) -> Floats:
    core = light[:, np.abs(straightened.across_um) <= SHAFT_HALF_WIDTH_UM]
    core = core[:, :, np.abs(straightened.depth_um) <= DEPTH_SIGMA_UM]
    middle = np.median(core.reshape(len(core), -1), axis=1).astype(float)
    return gaussian_filter1d(middle, SHAFT_SMOOTHING_UM / straightened.steps_um[0], mode="nearest")


def _spread(relative: Volume, straightened: StraightenedDendrite) -> Floats:
    """Robust standard deviation at each distance from the shaft, both sides together."""
    middle = np.abs(relative[:, :, np.abs(straightened.depth_um) <= DEPTH_SIGMA_UM])
    both = np.concatenate([middle, middle[:, ::-1]], axis=2)
    spread = 1.4826 * np.median(both, axis=(0, 2))
    return np.maximum(gaussian_filter1d(spread.astype(float), 1.0, mode="nearest"), MINIMUM_SPREAD)
