"""What a laboratory may choose differently in the analyses of a study; each has its source."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StudySettings(BaseModel):
    """The choices of the analyses.

    Parameters
    ----------
    cluster_distance_um
        Definition 2: new spines within so much of each other along the dendrite are a cluster (Fu et al. 2012), um.
    sweep_um
        Distances at which definition 2 is drawn, too, um.
    reformation_distance_um
        A new spine within so much of one that was eliminated earlier is formed there again (Lai et al. 2012), um.
    with_filopodia
        Count filopodia among new spines in the main analyses; both ways are in the tables of analysis 3.
    runs
        Runs of each null.
    seed
        Of all that is drawn at random: the same seed gives the same figures.
    missed_shares
        Shares of the detections that are dropped at random to see how clustering hangs on missed spines.
    least_gap_um
        Smallest distance between two spines in the null with a minimum gap, um.
    equal_formation_percent
        Formation rates of two task regimes that differ by less are called equal, percent of the spines of the first
        view: a choice of the laboratory, to be made before the data are seen.
    same_day
        Sessions of one animal that are no more than this apart are repeats of one day, days.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster_distance_um: Positive = 5.0
    sweep_um: tuple[Positive, ...] = tuple(float(distance) for distance in range(1, 16))
    reformation_distance_um: Positive = 2.0
    with_filopodia: bool = False
    runs: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    seed: Annotated[int, Field(ge=0)] = 0
    missed_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.1, 0.2)
    least_gap_um: Positive = 0.5
    equal_formation_percent: Positive = 3.0
    same_day: Positive = 0.25
