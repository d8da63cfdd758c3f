"""How the spines of a simulated group come and go: the truth of a planted study, before anybody looks at it.

Old spines stand at random places, no two nearer than a gap. New ones of a phase are either taken from the same places
at random (no effect: which of them are new is exchangeable) or put between the stable spines one by one: as many pairs
and triples with no existing spine between them as the plan asks to be **measured**, all others with a stable spine
between, so that chance adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.study.intervals import WITHIN_DAYS
from analysis.study.places import APART_UM, FARTHEST_UM, Flags, Floats, Ints, Neighbours, Sites, random_places, rank
from analysis.study.plan import FIRST_DAY_SHARE, SAME_PLACE_UM, TRIPLE_SHARE, PlantedPhase, PlantedPlan, Regimen
from analysis.study.settings import StudySettings

FULLEST = 0.8
"""Share of a dendrite's length that spines with their gaps may take at most."""
LEAST_UM = 1e-3
"""Smallest distance in a cluster where the plan asks for none, um."""


class Role(IntEnum):
    """What a planted spine is."""

    OLD = 0
    BACKGROUND = 1
    FILOPODIUM = 2
    ALONE = 3
    FIRST = 4
    SUCCEDENT = 5


@dataclass(frozen=True, eq=False)
class PlantedSpines:
    """Spines of one group: one entry each; dendrites are counted through all animals.

    ``born`` is the first session with it, ``gone`` the first without it again; ``phase`` the number of the phase that
    formed it, -1 for none; ``joined`` the session from which a first spine has its succedent, -1 for never.
    """

    dendrite: Ints
    along_um: Floats
    born: Ints
    gone: Ints
    role: Ints
    phase: Ints
    joined: Ints

    @classmethod
    def made(
        cls,
        dendrite: Ints,
        along_um: Floats,
        *,
        born: Ints | int,
        gone: Ints | int,
        role: Ints | Role,
        phase: int = -1,
        joined: Ints | int = -1,
    ) -> PlantedSpines:
        """Make spines; a single value is that of all."""
        whole = (np.broadcast_to(value, len(dendrite)).astype(np.int64) for value in (born, gone, role, phase, joined))
        return cls(dendrite.astype(np.int64), along_um, *whole)

    def and_more(self, other: PlantedSpines) -> PlantedSpines:
        """Return these and others."""
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return PlantedSpines(*(np.concatenate(pair) for pair in both))

    def that(self, which: Flags | Ints) -> PlantedSpines:
        """Return some of them."""
        return PlantedSpines(*(values[which] for values in vars(self).values()))

    def present(self, sessions: int) -> Flags:
        """Return which is there when, shape (spines, sessions)."""
        session = np.arange(sessions)
        return (self.born[:, None] <= session) & (session < self.gone[:, None])


@dataclass(frozen=True, eq=False)
class _Phase:
    """A phase as it passes: its number, the sessions in which its spines may come and go, and who is there.

    ``there`` are the spines at its start, ``lost`` those of them that it takes, ``earlier`` those that earlier phases
    took, ``new`` how many it forms in every animal.
    """

    number: int
    plan: PlantedPhase
    sessions: Ints
    there: Flags
    lost: Flags
    earlier: Flags
    new: Ints


@dataclass(eq=False)
class Growth:
    """The dendrites of all animals of a group, while their spines come and go.

    ``shared`` is, of every animal, the planted share that its behaviour goes with.
    """

    plan: PlantedPlan
    regimen: Regimen
    animals: int
    rng: np.random.Generator
    spines: PlantedSpines = field(init=False)

    def __post_init__(self) -> None:
        plan, rng = self.plan, self.rng
        self.days = np.array(plan.days)
        self.per_animal = plan.fields * plan.dendrites
        self.owner = np.repeat(np.arange(self.animals), self.per_animal)
        dense = _spread(rng, plan.density_spread, self.animals)[self.owner]
        fullest = int(FULLEST * plan.length_um / plan.least_gap_um) if plan.least_gap_um else 10**6
        old = np.clip(rng.poisson(plan.density_per_um * plan.length_um * dense), 2, fullest // 2)
        self.forming = _spread(rng, plan.formation_spread, self.animals)
        self.lost: list[Flags] = []
        self.shared = np.zeros(self.animals)
        chance = sum(phase.formation_share for phase in self.regimen.phases if phase.clustered_share is None)
        later = chance + plan.background_per_day * np.ptp(self.days) + plan.filopodium_share * len(self.days)
        places = np.minimum(old + 4 + np.ceil(2 * later * old).astype(int), fullest)
        self.place_dendrite, self.place_um, self.place_rank = random_places(
            places, plan.length_um, plan.least_gap_um, rng
        )
        self.taken = np.zeros(len(places), dtype=np.int64)
        self.old = np.bincount(self.owner, weights=old, minlength=self.animals)
        self.spines = PlantedSpines.made(*self._take(old), born=0, gone=len(self.days), role=Role.OLD)

    # ---- coming and going ------------------------------------------------------------------------------------------

    def grown(self) -> Growth:
        """Let all days pass."""
        session = 0
        for number, phase in enumerate(self.regimen.phases):
            inside = np.flatnonzero(
                (self.days >= phase.first_day - WITHIN_DAYS) & (self.days <= phase.last_day + WITHIN_DAYS)
            )
            for one in range(session, int(inside[0])):
                self._rest(one)
            self._train(number, phase, max(session, int(inside[0])), int(inside[-1]))
            session = int(inside[-1])
        for one in range(session, len(self.days) - 1):
            self._rest(one)
        for one in range(len(self.days)):
            seen = self.rng.poisson(self.plan.filopodium_share * self.old)
            place = self._take(self._dealt(seen))
            self._add(PlantedSpines.made(*place, born=one, gone=one + 1, role=Role.FILOPODIUM))
        return self

    def _rest(self, session: int) -> None:
        """Let the time to the next session pass outside of phases."""
        days = self.days[session + 1] - self.days[session]
        if days <= StudySettings().same_day:
            return
        kept = np.full(len(Role), self.regimen.persistence_other)
        kept[Role.OLD] = self.plan.old_persistence
        kept[[Role.FIRST, Role.SUCCEDENT]] = self.regimen.persistence_clustered
        self._lose(session, 1.0 - kept[self.spines.role] ** days, np.array([session + 1]))
        formed = self.rng.poisson(self.plan.background_per_day * days * self.old)
        place = self._take(self._dealt(formed))
        self._add(PlantedSpines.made(*place, born=session + 1, gone=len(self.days), role=Role.BACKGROUND))

    def _train(self, number: int, plan: PlantedPhase, first: int, last: int) -> None:
        """Let a phase pass: from session ``first`` to ``last``."""
        sessions = np.arange(first + 1, last + 1)
        sessions = sessions[self.days[sessions] - self.days[first] > StudySettings().same_day]
        there = self.spines.present(len(self.days))[:, first]
        new = _rounded(plan.formation_share * self.forming * self._by_animal(there), self.rng)
        chance = np.full(len(there), plan.elimination_share)
        if plan.formed_lost_share is not None:
            chance[self.spines.phase >= 0] = plan.formed_lost_share
        lost = self._lose(first, chance, sessions)
        earlier = np.zeros_like(lost)
        for before in self.lost:
            earlier[: len(before)] |= before
        self.lost.append(lost)
        phase = _Phase(number, plan, sessions, there, lost, earlier, new)
        if number == 0 and self.regimen.behaviour_with == "eliminated":
            self.shared = self._by_animal(lost) / np.maximum(self._by_animal(there), 1)
        self._add(self._scattered(phase) if plan.clustered_share is None else self._planted(phase))

    def _lose(self, first: int, chance: Floats, sessions: Ints) -> Flags:
        """Take spines that are there in session ``first`` away, each in one of the sessions; return which."""
        there = self.spines.present(len(self.days))[:, first]
        lost: Flags = there & (self.rng.random(len(there)) < chance)
        self.spines.gone[lost] = self.rng.choice(sessions, lost.sum())
        return lost

    def _add(self, more: PlantedSpines) -> None:
        self.spines = self.spines.and_more(more)

    def _by_animal(self, which: Flags) -> Floats:
        owners = self.owner[self.spines.dendrite[which]]
        return np.bincount(owners, minlength=self.animals).astype(float)

    # ---- where they stand ------------------------------------------------------------------------------------------

    def _dealt(self, counts: Ints) -> Ints:
        """Deal spines of every animal to its dendrites at random."""
        owner = np.repeat(np.arange(self.animals), counts)
        dendrite = owner * self.per_animal + self.rng.integers(0, self.per_animal, len(owner))
        return np.bincount(dendrite, minlength=len(self.owner))

    def _take(self, counts: Ints) -> tuple[Ints, Floats]:
        """Return so many free random places of every dendrite; fewer where it is full."""
        begin = self.taken[self.place_dendrite]
        free = (self.place_rank >= begin) & (self.place_rank < begin + counts[self.place_dendrite])
        self.taken += counts
        return self.place_dendrite[free], self.place_um[free]

    def _formed(self, phase: _Phase, dendrite: Ints, along_um: Floats) -> PlantedSpines:
        born = self.rng.choice(phase.sessions, len(dendrite))
        return PlantedSpines.made(
            dendrite, along_um, born=born, gone=len(self.days), role=Role.ALONE, phase=phase.number
        )

    def _scattered(self, phase: _Phase) -> PlantedSpines:
        """Put the new spines of a phase wherever chance has it."""
        return self._formed(phase, *self._take(self._dealt(phase.new)))

    def _planted(self, phase: _Phase) -> PlantedSpines:
        """Put the new spines of a phase between the stable ones: clusters first, then those that stand alone."""
        plan, new = phase.plan, phase.new
        clusters, triples = self._clusters(plan, new)
        clustered = 2 * clusters + triples
        if self.regimen.behaviour_with == "clustered" and phase.number == 0:
            self.shared = clustered / np.maximum(new, 1)
        single = new - clustered
        share = (plan.reformed_share or 0.0) * new / np.maximum(single, 1)
        again = self.rng.binomial(single, np.minimum(share, 1.0))
        stands = Neighbours(
            self.spines.dendrite, self.spines.along_um, phase.there, phase.there & ~phase.lost, phase.earlier,
            self.plan.length_um, self.per_animal,
        )  # fmt: skip
        site = Sites.drawn(stands, self.animals, 200 + 60 * int(new.max(initial=0)), self.rng)
        is_free = np.minimum(site.below_um, site.above_um) >= max(self.regimen.avoidance_um, self.plan.least_gap_um)
        is_free &= site.existing_um >= self.plan.least_gap_um
        firsts = site.chosen(is_free & self._has_room(site), clusters, "clusters")
        near, known = site.earlier_um <= SAME_PLACE_UM, site.earlier_um < APART_UM / 2
        reformed = site.chosen(is_free & near, again, "re-formed spines")
        away = ~near & known if plan.reformed_share is not None else np.ones_like(near)
        alone = site.chosen(is_free & away, single - again, "new spines")
        sites = np.concatenate([reformed, alone])
        formed = self._formed(phase, site.dendrite[sites], site.along_um[sites])
        return formed.and_more(self._joined(phase, site, firsts, triples))

    @property
    def _nearest_um(self) -> tuple[float, float]:
        """How near a later spine of a cluster stands to the stable spine, um, at the least, and it may at the most."""
        least = max(self.plan.least_gap_um, LEAST_UM)
        if self.regimen.do_succedents_overcome:
            return least, max(self.regimen.avoidance_um, 2 * least)
        return max(self.regimen.avoidance_um, least), np.inf

    def _has_room(self, site: Sites) -> Flags:
        least = max(self.plan.least_gap_um, LEAST_UM)
        return site.has_room(near_um=self._nearest_um[0] + least, wall_um=2 * least)

    def _clusters(self, phase: PlantedPhase, new: Ints) -> tuple[Ints, Ints]:
        """Return how many clusters each animal has, and how many of them are of three spines."""
        mean, spread = phase.clustered_share or 0.0, self.plan.clustered_spread
        share = np.full(self.animals, mean)
        if 0.0 < spread**2 < mean * (1.0 - mean):
            many = mean * (1.0 - mean) / spread**2 - 1.0
            share = self.rng.beta(mean * many, (1.0 - mean) * many, self.animals)
        clusters = np.minimum(_rounded(share * new / (2.0 + TRIPLE_SHARE), self.rng), new // 2)
        triples = np.minimum(self.rng.binomial(clusters, TRIPLE_SHARE), new - 2 * clusters)
        return clusters, triples

    def _joined(self, phase: _Phase, site: Sites, firsts: Ints, triples: Ints) -> PlantedSpines:
        """Return first spines with those that join them: beside the nearer stable spine, a third on the other side."""
        rng, least, sessions = self.rng, max(self.plan.least_gap_um, LEAST_UM), phase.sessions
        dendrite, first_um = site.dendrite[firsts], site.along_um[firsts]
        is_below = site.below_um[firsts] <= site.above_um[firsts]
        near = np.where(is_below, site.below_um[firsts], site.above_um[firsts])
        far = np.where(is_below, site.above_wall_um[firsts], site.below_wall_um[firsts])
        towards = np.where(is_below, -1.0, 1.0)
        nearest, farthest = self._nearest_um
        second_um = first_um + towards * (near - rng.uniform(nearest, np.minimum(near - least, farthest)))
        third_um = first_um - towards * rng.uniform(least, np.minimum(far - least, FARTHEST_UM))
        later = rng.choice(sessions[1:] if len(sessions) > 1 else sessions, len(firsts))
        is_early = (rng.random(len(firsts)) < FIRST_DAY_SHARE) & (len(sessions) > 1)
        born, joined = np.where(is_early, sessions[0], later), np.where(is_early, later, -1)
        told = {"gone": len(self.days), "phase": phase.number}
        first = PlantedSpines.made(dendrite, first_um, born=born, role=Role.FIRST, joined=joined, **told)
        second = PlantedSpines.made(dendrite, second_um, born=later, role=Role.SUCCEDENT, **told)
        third = PlantedSpines.made(dendrite, third_um, born=later, role=Role.SUCCEDENT, **told)
        third = third.that(rank(site.owner[firsts]) < triples[site.owner[firsts]])
        return first.and_more(second).and_more(third)


def _rounded(wanted: NDArray[np.floating[Any]], rng: np.random.Generator) -> Ints:
    """Return whole numbers of the same mean."""
    below = np.floor(wanted)
    whole: Ints = (below + (rng.random(len(wanted)) < wanted - below)).astype(np.int64)
    return whole


def _spread(rng: np.random.Generator, relative: float, count: int) -> Floats:
    """Return positive factors with the mean 1 and a standard deviation."""
    if not relative:
        return np.ones(count)
    factors: Floats = rng.gamma(relative**-2, relative**2, count)
    return factors
