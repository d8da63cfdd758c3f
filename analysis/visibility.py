"""Whether a session shows the spines that the other sessions know: if not, it cannot say that they are gone.

Blur takes the contrast from all heads, dimness buries them in noise, and neither is a loss. Every session is judged by
the heads that are surely there in others, on the same dendrites; most of these must stand out in it as they do there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.evidence import DEPTH_SIGMA_UM, HEAD_SIGMA_UM
from analysis.model import Floats
from analysis.noise import Noise
from analysis.tracking import Survey, TrackedSpine

LEAST_KNOWN = 5  # heads that other sessions know, to judge by
BEST_SHARE = 75.0  # percentile of the heads: even where half of them really went, the others are above
LEAST_CONTRAST_LEFT = 0.65  # of a head's contrast: below, a small one may be there unseen
LEAST_CONTRAST_AT_ALL = 0.4
LEAST_HEAD_SIGMA = 5.0  # what is told from noise with certainty (Rose 1948); good stacks have 10-20
MOST_CLIPPED = 0.9  # of the shafts: heads are measured against them; of real stacks up to 70 % were clipped
SURE_LOG_ODDS = 1.0
HEAD_AREA_UM2 = 4 * np.pi * HEAD_SIGMA_UM**2  # what the contrast is the mean of
HEAD_DEPTH_UM = float(2 * np.sqrt(np.pi)) * DEPTH_SIGMA_UM


@dataclass(frozen=True)
class Visibility:
    """How well a session shows the heads that others know.

    Parameters
    ----------
    contrast_left
        Share of their contrast that they have in it, most of them less; NaN where too few are known.
    head_sigma
        How many standard deviations of the surroundings a usual one of them stands out; NaN where too few are known.
    is_recognised
        Whether the session was found to show the field at all.
    clipped
        Share of the shafts that the detector clipped.
    """

    contrast_left: float
    head_sigma: float
    is_recognised: bool = True
    clipped: float = 0.0

    @property
    def hides_small(self) -> bool:
        """Whether a spine that is not seen may be there nonetheless."""
        return self.hides_all or bool(self.contrast_left < LEAST_CONTRAST_LEFT)

    @property
    def hides_all(self) -> bool:
        """Whether nothing that is seen or not seen can be believed."""
        spoilt = self.contrast_left < LEAST_CONTRAST_AT_ALL or self.clipped > MOST_CLIPPED
        return bool(not self.is_recognised or spoilt or self.head_sigma < LEAST_HEAD_SIGMA)


def judge_sessions(
    tracks: Sequence[TrackedSpine], surveys: Sequence[Survey], noises: Sequence[Noise], recognised: Sequence[bool]
) -> list[Visibility]:
    """Judge every session by the heads that the others surely know."""
    contrast = np.array([_contrasts(track, surveys) for track in tracks]).reshape(-1, len(surveys))
    sure = _matrix(tracks, surveys, "log_odds") >= SURE_LOG_ODDS
    scorable = _matrix(tracks, surveys, "scorable").astype(bool)
    judged = []
    for session, survey in enumerate(surveys):
        others = np.array(recognised) & (np.arange(len(surveys)) != session)
        expected = np.where(sure & others, contrast, np.nan)
        known = (np.isfinite(expected).any(axis=1) & scorable[:, session]).nonzero()[0].tolist()
        left, sigma = float("nan"), float("nan")
        if len(known) >= LEAST_KNOWN:
            usual = np.nanmedian(expected[known], axis=1)
            spread = np.array([_spread(survey, tracks[i], session, noises[session]) for i in known])
            left = float(np.percentile(contrast[known, session] / usual, BEST_SHARE))
            sigma = float(np.median(usual / spread))
        judged.append(Visibility(left, sigma, recognised[session]))
    return judged


def hide_unseen(tracks: Sequence[TrackedSpine], sessions: Sequence[Visibility]) -> list[TrackedSpine]:
    """Make unscorable what a session cannot tell of."""
    small = np.array([session.hides_small for session in sessions])
    everything = np.array([session.hides_all for session in sessions])
    hidden = [everything | (small & (track.log_odds < 0.0)) for track in tracks]
    return [replace(track, scorable=track.scorable & ~away) for track, away in zip(tracks, hidden, strict=True)]


def _spread(survey: Survey, track: TrackedSpine, session: int, noise: Noise) -> float:
    """Return how much the contrast over the shaft varies at a head's place, by tissue or by photons."""
    maps = survey.evidence[track.dendrite]
    shaft = max(float(np.median(maps.shaft)), 1e-6)
    photons = noise.variance_of_mean(maps.background + 0.5 * shaft, HEAD_AREA_UM2, HEAD_DEPTH_UM)
    return max(float(maps.spread_at(track.sights[session].place_um)[0]), float(np.sqrt(photons)) / shaft)


def _contrasts(track: TrackedSpine, surveys: Sequence[Survey]) -> list[float]:
    return [
        float(survey.evidence[track.dendrite].contrast_at(sight.place_um)[0])
        for survey, sight in zip(surveys, track.sights, strict=True)
    ]


def _matrix(tracks: Sequence[TrackedSpine], surveys: Sequence[Survey], name: str) -> Floats:
    rows: Floats = np.array([getattr(track, name) for track in tracks], dtype=float).reshape(-1, len(surveys))
    return rows
