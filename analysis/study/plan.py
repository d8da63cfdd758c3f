"""What is planted in a simulated study: by default the effects of the two papers that this software serves.

Numbers of Fu et al. (2012, doi 10.1038/nature10844) are the shares of new spines in clusters: 32.5 % early, 6.8 %
control, 7.4 % late; 2 clusters of 63 of three spines; more than half of the clusters begun after the first day; 3.5 %
new spines in control. Of Lai et al. (2012, doi 10.1038/nature10792) it is the 2 um within which spines form again.
**Every other number is a choice of ours**, made so that the effects can be found in eight animals a group, and is never
to be told as the papers'.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CONTROL_CLUSTERED, EARLY_CLUSTERED, LATE_CLUSTERED = 0.068, 0.325, 0.074
"""Share of the new spines that are in clusters, definition 1: Fu et al. (2012)."""
CONTROL_FORMATION = 0.036
"""New spines, share of the first view: 3.5 % of all spines are new in control (Fu et al. 2012)."""
TRIPLE_SHARE = 2 / 63
"""Clusters of three spines among all: Fu et al. (2012)."""
SAME_PLACE_UM = 2.0
"""Spines form within so much of where one was eliminated: Lai et al. (2012)."""
FIRST_DAY_SHARE = 0.6
"""Clusters whose first spine is seen after the first day, the succedent later: "more than half"; 0.6 is our choice."""

TRAINED_FORMATION = 0.08
"""A choice of ours: new spines of the trained, cross-trained and enriched alike, share of the first view."""
CROSS_CLUSTERED, ENRICHED_CLUSTERED = 0.16, 0.15
"""A choice of ours: fewer than early, and no more than chance makes of so many new spines."""
CLUSTERED_PERSISTENCE, OTHER_PERSISTENCE = 0.995, 0.975
"""A choice of ours: share of the new spines that are still there after one more day."""
AVOIDANCE_UM = 1.0
"""A choice of ours: new spines but succedents stand no nearer to a stable one, um."""
STRENGTHENING = 0.3
"""A choice of ours: a first spine's head grows by this share of itself as its succedent joins."""
REFORMED_SHARE, FORMED_LOST_SHARE = 0.5, 0.6
"""A choice of ours: of the spines that extinction forms, those within 2 um of eliminated ones; and those lost later."""
BEHAVIOUR_CORRELATION = 0.6
"""A choice of ours: between the animals of one group."""
NULL_FORMATION, NULL_ELIMINATION, NULL_PERSISTENCE = 0.05, 0.05, 0.985
"""A choice of ours: the rates of every group of a study without effects; as many form as go, so that nothing drifts."""

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Planted(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlantedPhase(Planted):
    """What happens to a group from one day to another.

    Parameters
    ----------
    name, task
        As in the table of phases.
    first_day, last_day
        Days of its first and of its last session.
    formation_share
        Spines that are new at its end, over those present at its start: mean of the animals.
    elimination_share
        Chance of a spine that is present at its start to be gone at its end.
    clustered_share
        New spines in clusters, definition 1, **as it is measured**, chance included: mean of the animals. None places
        them at random: what is measured is then chance alone.
    reformed_share
        New spines within 2 um of one eliminated in an earlier phase on the same dendrite, as it is measured; None for
        wherever they fall.
    formed_lost_share
        Chance of a spine that an earlier phase formed to be gone at its end; None for that of all others.
    """

    name: str
    task: str = ""
    first_day: NonNegative = 0.0
    last_day: Positive = 4.0
    formation_share: Annotated[float, Field(ge=0, le=0.25)] = CONTROL_FORMATION
    elimination_share: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    clustered_share: Annotated[float, Field(ge=0, le=0.7)] | None = None
    reformed_share: Share | None = None
    formed_lost_share: Share | None = None


class Regimen(Planted):
    """What is planted in one group.

    Parameters
    ----------
    group
        Its name.
    phases
        In their order in time, one after the other.
    persistence_clustered, persistence_other
        Chance of a new spine to be there one day later, once its phase is over, by class.
    avoidance_um
        New spines stand at least so far from the nearest stable one, um; only where ``clustered_share`` is given.
    do_succedents_overcome
        Whether the later spines of a cluster stand nearer to a stable spine than ``avoidance_um``.
    strengthening
        Growth of the head of a cluster's first spine from the session in which the next one is there, share of itself.
    behaviour
        What was measured of its animals every day; empty for nothing.
    learning
        Points in % that behaviour gains from the first to the last day, mean of the animals.
    behaviour_with
        The planted share of the first phase that behaviour goes with.
    behaviour_correlation
        Correlation, over the animals of the group, of that share with the last value of behaviour, -1 to 1.
    """

    group: str
    phases: tuple[PlantedPhase, ...]
    persistence_clustered: Share = CLUSTERED_PERSISTENCE
    persistence_other: Share = OTHER_PERSISTENCE
    avoidance_um: NonNegative = AVOIDANCE_UM
    do_succedents_overcome: bool = True
    strengthening: Annotated[float, Field(ge=-0.5, le=2)] = STRENGTHENING
    behaviour: str = ""
    learning: Annotated[float, Field(ge=0, le=60)] = 30.0
    behaviour_with: Literal["clustered", "eliminated"] = "clustered"
    behaviour_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.0

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        for phase in self.phases:
            if phase.last_day <= phase.first_day:
                raise ValueError(
                    f"phase {phase.name} ends on day {phase.last_day:g}, before it begins; correct its days"
                )
        for one, other in pairwise(self.phases):
            if other.first_day < one.last_day:
                raise ValueError(
                    f"phase {other.name} begins before {one.name} ends; let it begin on day {one.last_day:g}"
                )
        return self


def trained(group: str, task: str, clustered: float, *, behaviour: str = "", first_day: float = 0.0) -> Regimen:
    """Return a regimen of four days; one that does not begin at once forms as few new spines as control."""
    phase = PlantedPhase(
        name="training",
        task=task,
        first_day=first_day,
        last_day=first_day + 4.0,
        formation_share=CONTROL_FORMATION if first_day else TRAINED_FORMATION,
        clustered_share=clustered,
    )
    goes_with = BEHAVIOUR_CORRELATION if behaviour else 0.0
    return Regimen(group=group, phases=(phase,), behaviour=behaviour, behaviour_correlation=goes_with)


CONDITIONED = Regimen(
    group="conditioned",
    phases=(
        PlantedPhase(name="conditioning", task="fear conditioning", last_day=2.0, elimination_share=0.12,
                     clustered_share=0.0),
        PlantedPhase(name="extinction", task="extinction", first_day=2.0, last_day=4.0, formation_share=0.08,
                     clustered_share=0.0, reformed_share=REFORMED_SHARE),
        PlantedPhase(name="reconditioning", task="fear conditioning", first_day=4.0, last_day=8.0,
                     elimination_share=0.06, clustered_share=0.0, formed_lost_share=FORMED_LOST_SHARE),
    ),
    avoidance_um=0.0,
    strengthening=0.0,
    behaviour="freezing",
    behaviour_with="eliminated",
    behaviour_correlation=BEHAVIOUR_CORRELATION,
)  # fmt: skip
"""The animals of the companion study; rates are choices of ours."""

REGIMENS = (
    Regimen(group="control", phases=(PlantedPhase(name="training", task="none", clustered_share=CONTROL_CLUSTERED),)),
    trained("early", "seed reaching", EARLY_CLUSTERED, behaviour="success rate"),
    trained("late", "seed reaching", LATE_CLUSTERED, behaviour="success rate", first_day=12.0),
    trained("cross-trained", "seed reaching and capellini handling", CROSS_CLUSTERED, behaviour="success rate"),
    trained("enriched", "motor enrichment", ENRICHED_CLUSTERED),
    CONDITIONED,
)


class PlantedPlan(Planted):
    """A study that is to be simulated, with all that is true of it.

    Parameters
    ----------
    name
        Of the study.
    regimens
        One a group.
    days
        Of the sessions of every animal; two within a quarter of a day are same-day repeats.
    fields, dendrites
        Fields of an animal, dendrites of a field.
    length_um
        Of every dendrite, um.
    density_per_um
        Spines on a dendrite in the first session, mean of the animals, per um.
    least_gap_um
        Smallest distance between two spines, um.
    density_spread, formation_spread
        Between animals: standard deviation over the mean.
    clustered_spread
        Between animals: standard deviation of the share of new spines in clusters, as a share.
    old_persistence
        Chance of an old spine to be there one day later, outside of phases.
    background_per_day
        Spines formed a day outside of phases, over those of the first session.
    filopodium_share
        Filopodia in a session, over the spines of the first; each is seen once.
    stubby_share
        Old spines that are stubby.
    missed_share
        Chance of a spine to be overlooked in any one session: what is measured then differs from the truth.
    repeat_missed_share
        The same for the second of two same-day repeats alone, when no phase ends with it: it changes no effect.
    unscorable_share
        Share of the dendrites' length that is out of view, mean of the sessions.
    head_size, head_size_spread
        Of a spine over its shaft: median, and standard deviation of its logarithm between spines.
    head_size_sd
        Uncertainty of one measurement, share of it.
    saturated_share
        Heads that saturate the detector.
    """

    name: str = "planted"
    regimens: tuple[Regimen, ...] = REGIMENS
    days: tuple[NonNegative, ...] = (0.0, 0.04, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 30.0, 60.0)
    fields: Annotated[int, Field(ge=1, le=20)] = 2
    dendrites: Annotated[int, Field(ge=1, le=50)] = 12
    length_um: Annotated[float, Field(ge=20, le=500)] = 60.0
    density_per_um: Annotated[float, Field(ge=0.05, le=0.6)] = 0.3
    least_gap_um: Annotated[float, Field(ge=0, le=0.5)] = 0.5
    density_spread: Annotated[float, Field(ge=0, le=0.3)] = 0.1
    formation_spread: Annotated[float, Field(ge=0, le=0.3)] = 0.15
    clustered_spread: Annotated[float, Field(ge=0, le=0.1)] = 0.03
    old_persistence: Share = 0.9985
    background_per_day: Annotated[float, Field(ge=0, le=0.01)] = 0.0015
    filopodium_share: Annotated[float, Field(ge=0, le=0.1)] = 0.03
    stubby_share: Share = 0.1
    missed_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    repeat_missed_share: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    unscorable_share: Annotated[float, Field(ge=0, le=0.03)] = 0.015
    head_size: Positive = 1.0
    head_size_spread: NonNegative = 0.35
    head_size_sd: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    saturated_share: Annotated[float, Field(ge=0, le=0.5)] = 0.02

    @model_validator(mode="after")
    def _days_and_groups(self) -> Self:
        if len(self.days) < 2 or any(later <= day for day, later in pairwise(self.days)):
            raise ValueError("days do not rise, or are fewer than two; sort them, each once")
        if len({regimen.group for regimen in self.regimens}) < len(self.regimens):
            raise ValueError("two regimens are of one group; name each group once")
        named = {
            day for regimen in self.regimens for phase in regimen.phases for day in (phase.first_day, phase.last_day)
        }
        if missing := sorted(named - set(self.days)):
            raise ValueError(f"phases begin or end on days {missing} without a session; add these to days")
        return self

    def truths(self) -> tuple[Truth, ...]:
        """Return what is true of every group and phase, as it would be measured in many animals."""
        return tuple(truth for regimen in self.regimens for truth in _truths(regimen))


@dataclass(frozen=True)
class Truth:
    """What is true of one measure in a group and phase; shares are of 1."""

    measure: str
    group: str
    phase: str
    value: float


def _truths(regimen: Regimen) -> list[Truth]:
    shares = ("formation_share", "elimination_share", "clustered_share", "reformed_share", "formed_lost_share")
    whole = ("persistence_clustered", "persistence_other", "avoidance_um", "strengthening", "behaviour_correlation")
    found = [
        Truth(share, regimen.group, phase.name, value)
        for phase in regimen.phases
        for share in shares
        if (value := getattr(phase, share)) is not None
    ]
    return found + [Truth(name, regimen.group, "", getattr(regimen, name)) for name in whole]


def null_plan(groups: tuple[str, ...] = (), *, least_gap_um: float = 0.5) -> PlantedPlan:
    """Return a study without any effect: all groups alike, every new spine wherever chance puts it.

    Parameters
    ----------
    groups
        Their names; those of the default plan when none are given.
    least_gap_um
        Smallest distance between spines: with 0 new spines are uniform along the dendrite, else uniform where there is
        room, um.
    """
    rates = {"formation_share": NULL_FORMATION, "elimination_share": NULL_ELIMINATION}
    names = ("training", "extinction", "reconditioning")
    days = ((0.0, 4.0), (4.0, 8.0), (8.0, 12.0))
    phases = tuple(
        PlantedPhase(name=name, task=name, first_day=first, last_day=last, **rates)
        for name, (first, last) in zip(names, days, strict=True)
    )
    regimens = tuple(
        Regimen(
            group=group, phases=phases, persistence_clustered=NULL_PERSISTENCE, persistence_other=NULL_PERSISTENCE,
            avoidance_um=0.0, do_succedents_overcome=False, strengthening=0.0, behaviour="success rate", learning=0.0,
        )
        for group in groups or tuple(regimen.group for regimen in REGIMENS)
    )  # fmt: skip
    return PlantedPlan(name="planted null", regimens=regimens, least_gap_um=least_gap_um)
