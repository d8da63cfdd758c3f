"""What tells a spine from its neighbours besides its place along the dendrite: its distance, depth and brightness.

How much these differ between two sessions of one spine, and between two spines, is measured in the field itself, from
what was joined by place. Where heads turn and sessions differ in focus the two are alike, and nothing is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.model import Floats

LEAST_PAIRS = 30  # to measure it from
LEAST_SPREAD = (0.1, 0.15, 0.1)  # um, um, log: finer than places are found and brightness is measured
TAIL = 3.0  # degrees of freedom: some heads turn, and some are measured beside a brighter one
MEDIAN_OF_TAIL = 0.765  # median size of what is drawn from such a distribution of scale 1


@dataclass(frozen=True, eq=False)
class Likeness:
    """How far traits of two observations lie apart.

    Parameters
    ----------
    of_one, of_two
        When they are one spine, and two: scale of each trait's difference, shape (traits,).
    """

    of_one: Floats
    of_two: Floats

    @classmethod
    def told_by(cls, traits: Floats, group: NDArray[np.intp]) -> Likeness | None:
        """Measure it from groups of observations of one spine each; None when they are too few.

        Parameters
        ----------
        traits
            Across (um), depth (um) and log brightness of each observation, shape (n, 3).
        group
            Which group each belongs to, shape (n,).
        """
        by_group = np.argsort(group, kind="stable")
        partners = np.diff(group[by_group]) == 0
        if partners.sum() < LEAST_PAIRS:
            return None
        same = _scale(np.diff(traits[by_group], axis=0)[partners])
        size = np.column_stack([np.abs(traits[:, 0]), traits[:, 1:]])
        other = _scale(np.sqrt(2.0) * (size - np.median(size, axis=0)))
        same = np.maximum(same, LEAST_SPREAD)
        return cls(same, np.maximum(same, other))

    def gain(self, apart: Floats) -> Floats:
        """Return the log-likelihood that differences are of one spine rather than two, shape (...) of (..., traits)."""
        gain: Floats = np.sum(_log_density(apart, self.of_one) - _log_density(apart, self.of_two), axis=-1)
        return gain


def _scale(differences: Floats) -> Floats:
    scale: Floats = np.median(np.abs(differences), axis=0) / MEDIAN_OF_TAIL
    return scale


def _log_density(apart: Floats, scale: Floats) -> Floats:
    density: Floats = -0.5 * (TAIL + 1.0) * np.log1p((apart / scale) ** 2 / TAIL) - np.log(scale)
    return density
