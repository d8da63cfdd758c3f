"""A simulated study: tables without images, in which every effect is known.

``plan`` says what is planted, ``growth`` how spines come and go; here it is told as a study tells it: with spines out
of view or overlooked, with head sizes as they are measured, with behaviour. Nothing is known of files.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import SpineKind, SpineState
from analysis.study.growth import Growth, PlantedSpines, Role
from analysis.study.places import Flags, Floats, rank
from analysis.study.plan import PlantedPlan
from analysis.study.settings import StudySettings
from analysis.study.tables import BEHAVIOUR_COLUMNS, PHASE_COLUMNS, SPINE_COLUMNS, StudyTables

HIDDEN_PIECE = (0.1, 0.5)
"""A piece at the end of a dendrite that is out of view in one session, share of its length."""
SATURATED_READS = 0.8
"""A saturated head reads so much of what it is."""
LEARNT, SPREAD = 60.0, 10.0
"""Behaviour on the last day, mean of the animals and spread between them, percent."""
LEARNING_DAYS = 4.0
STATES = np.array([SpineState.ABSENT.value, SpineState.PRESENT.value, SpineState.UNSCORABLE.value], dtype=object)
DECIMALS = 4


def plant_study(plan: PlantedPlan, animals: int = 8, seed: int = 0) -> StudyTables:
    """Draw a study.

    Parameters
    ----------
    plan
        What is planted.
    animals
        In every group.
    seed
        The same seed gives the same study; a group is drawn alike whatever other groups there are before it.

    Raises
    ------
    StudyTablesError
        The dendrites have no room for what is planted.
    """
    parts = []
    for number, regimen in enumerate(plan.regimens):
        rng = np.random.default_rng((seed, number + 1))
        parts.append(_tell(Growth(plan, regimen, animals, rng).grown(), number * animals))
    phases = [
        (phase.name, regimen.group, phase.first_day, phase.last_day, phase.task)
        for regimen in plan.regimens
        for phase in regimen.phases
    ]

    def joined(name: str) -> pd.DataFrame:
        kept = [part[name] for part in parts if len(part[name])] or [parts[0][name]]
        return pd.concat(kept, ignore_index=True)

    return StudyTables(
        name=plan.name,
        animals=joined("animals"),
        sessions=joined("sessions"),
        spines=joined("spines"),
        stretches=joined("stretches"),
        phases=pd.DataFrame(phases, columns=list(PHASE_COLUMNS)),
        behaviour=joined("behaviour"),
    )


def _tell(grown: Growth, first_animal: int) -> dict[str, pd.DataFrame]:
    """Return the tables of one group by name; its animals are numbered from ``first_animal``."""
    plan, days, number = grown.plan, grown.days, np.arange(len(grown.owner))
    names = np.array([f"S{first_animal + one + 1:03d}" for one in range(grown.animals)], dtype=object)
    fields = np.array([f"F{one + 1:02d}" for one in range(plan.fields)], dtype=object)
    session = np.arange(len(days))
    sessions = {
        "animal": np.repeat(names, len(days)),
        "session": np.tile(session, grown.animals),
        "day": np.tile(days, grown.animals),
    }
    dendrites = pd.DataFrame(
        {
            "animal": names[grown.owner],
            "field": fields[number % grown.per_animal // plan.dendrites],
            "dendrite": number % plan.dendrites,
        }
    )
    begin, end = _in_view(grown)
    stretches = dendrites.loc[dendrites.index.repeat(len(days))].reset_index(drop=True)
    return {
        "animals": pd.DataFrame({"animal": names, "group": grown.regimen.group}),
        "sessions": pd.DataFrame(sessions),
        "spines": _spine_table(grown, dendrites, begin, end),
        "stretches": stretches.assign(session=np.tile(session, len(number)), from_um=begin.ravel(), to_um=end.ravel()),
        "behaviour": _behaviour(grown, names),
    }


def _in_view(grown: Growth) -> tuple[Floats, Floats]:
    """Return the piece of every dendrite that each session shows, um, shape (dendrites, sessions) each.

    A dendrite is cut short in one session at most, and never in the second or the last but one: there the fates of
    neighbouring sessions, which are all that is written of a field, could not tell unscorable from absent.
    """
    rng, plan, count, sessions = grown.rng, grown.plan, len(grown.owner), len(grown.days)
    begin, end = np.zeros((count, sessions)), np.full((count, sessions), plan.length_um)
    told = [one for one in range(sessions) if one not in {1, sessions - 2} or sessions < 3]
    cut = rng.random(count) < min(1.0, plan.unscorable_share * sessions / float(np.mean(HIDDEN_PIECE)))
    when, is_start = rng.choice(told, count), rng.random(count) < 0.5
    piece = np.round(rng.uniform(*HIDDEN_PIECE, count) * plan.length_um, DECIMALS)
    at_start, at_end = np.flatnonzero(cut & is_start), np.flatnonzero(cut & ~is_start)
    begin[at_start, when[at_start]] = piece[at_start]
    end[at_end, when[at_end]] = np.round(plan.length_um - piece[at_end], DECIMALS)
    return begin, end


def _seen(grown: Growth, shown: Flags) -> Flags:
    """Return which spine is seen in which session, shape (spines, sessions): it is there, in view, not overlooked."""
    missed = np.full(len(grown.days), grown.plan.missed_share)
    again = np.diff(grown.days, prepend=-np.inf) <= StudySettings().same_day
    missed[again] = 1.0 - (1.0 - missed[again]) * (1.0 - grown.plan.repeat_missed_share)
    seen: Flags = grown.spines.present(len(grown.days)) & shown & (grown.rng.random(shown.shape) >= missed)
    return seen


def _spine_table(grown: Growth, dendrites: pd.DataFrame, begin: Floats, end: Floats) -> pd.DataFrame:
    sessions, along = len(grown.days), np.round(grown.spines.along_um, DECIMALS)[:, None]
    shown = (along >= begin[grown.spines.dendrite]) & (along <= end[grown.spines.dendrite])
    seen = _seen(grown, shown)
    order = np.lexsort((grown.spines.along_um, grown.spines.dendrite))
    order = order[seen[order].any(axis=1)]  # nobody knows of the others
    spines, seen, shown, along = grown.spines.that(order), seen[order], shown[order], along[order]
    size, size_sd, saturated = _head_sizes(grown, spines, sessions)
    rows, there = np.repeat(np.arange(len(order)), sessions), seen.ravel()
    place = dendrites.iloc[spines.dendrite[rows]].reset_index(drop=True)
    return place.assign(
        track=rank(spines.dendrite // grown.plan.dendrites)[rows],
        session=np.tile(np.arange(sessions), len(order)),
        along_um=along[rows, 0],
        state=STATES[np.where(shown, seen.astype(int), 2).ravel()],
        probability=np.where(there, np.round(grown.rng.uniform(0.9, 1.0, there.shape), 2), 0.0),
        kind=np.where(there, _kinds(grown, spines)[rows], ""),
        head_size=np.where(there, np.round(size, DECIMALS).ravel(), np.nan),
        head_size_sd=np.where(there, np.round(size_sd, DECIMALS).ravel(), np.nan),
        saturated=(seen & saturated).ravel(),
    )[list(SPINE_COLUMNS)]


def _kinds(grown: Growth, spines: PlantedSpines) -> NDArray[np.object_]:
    kind = np.full(len(spines.role), SpineKind.SPINE.value, dtype=object)
    kind[spines.role == Role.FILOPODIUM] = SpineKind.FILOPODIUM.value
    is_stubby = grown.rng.random(len(kind)) < grown.plan.stubby_share
    kind[(spines.role == Role.OLD) & is_stubby] = SpineKind.STUBBY.value
    return kind


def _head_sizes(grown: Growth, spines: PlantedSpines, sessions: int) -> tuple[Floats, Floats, Flags]:
    """Return what is read of every head in every session, its uncertainty, and which saturate, (spines, sessions)."""
    plan, rng = grown.plan, grown.rng
    median = plan.head_size * np.exp(plan.head_size_spread * rng.standard_normal(len(spines.role)))
    joined = spines.joined[:, None]
    has_grown = (joined >= 0) & (np.arange(sessions) >= joined)
    true = median[:, None] * np.where(has_grown, 1.0 + grown.regimen.strengthening, 1.0)
    noisy = true * np.maximum(1.0 + plan.head_size_sd * rng.standard_normal(true.shape), 0.1)
    saturated = rng.random(true.shape) < plan.saturated_share
    return np.where(saturated, SATURATED_READS * true, noisy), plan.head_size_sd * true, saturated


def _behaviour(grown: Growth, names: NDArray[np.object_]) -> pd.DataFrame:
    """Return one value an animal and day, to the end of the last phase: learning to a level of its own."""
    if not grown.regimen.behaviour:
        return pd.DataFrame(columns=list(BEHAVIOUR_COLUMNS))
    r, spread = grown.regimen.behaviour_correlation, float(grown.shared.std())
    shared = (grown.shared - grown.shared.mean()) / spread if spread else np.zeros(grown.animals)
    own = np.sqrt(1.0 - r**2) * grown.rng.standard_normal(grown.animals)
    level = np.clip(LEARNT + SPREAD * (r * shared + own), 0.0, 100.0)
    days = np.arange(1.0, max(2.0, np.floor(grown.regimen.phases[-1].last_day)) + 1.0)
    learnt = 1.0 - np.exp((1.0 - days) / LEARNING_DAYS)
    begun = LEARNT - grown.regimen.learning
    value = begun + (level[:, None] - begun) * (learnt / learnt[-1])
    return pd.DataFrame(
        {
            "animal": np.repeat(names, len(days)),
            "day": np.tile(days, grown.animals),
            "measure": grown.regimen.behaviour,
            "value": np.round(value, DECIMALS).ravel(),
        }
    )
