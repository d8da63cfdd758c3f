"""Small studies written in letters: one word a spine, one letter a session.

P present, A absent, ? unscorable, F present as a filopodium.
"""

import numpy as np
import pandas as pd

from analysis.study.tables import BEHAVIOUR_COLUMNS, PHASE_COLUMNS, StudyTables

STATES = {"P": "present", "A": "absent", "?": "unscorable", "F": "present"}
KINDS = {"P": "spine", "A": "", "?": "", "F": "filopodium"}
GAP_UM = 4.0


def animal(group, days, *dendrites):
    """An animal: its group, the days of its sessions, and its dendrites, each a string of words."""
    return group, list(days), [words.split() for words in dendrites]


def study_of(animals, phases=(), behaviour=(), *, stretch_um=100.0):
    """The tables of a study of animals by name; phases are rows, (phase, group, first_day, last_day, task)."""
    spines, stretches = [], []
    for name, (_, days, dendrites) in animals.items():
        for number, words in enumerate(dendrites):
            stretches += [(name, "F01", number, session, 0.0, stretch_um) for session in range(len(days))]
            for track, word in enumerate(words):
                assert len(word) == len(days), (name, word, days)
                spines += [
                    (name, "F01", number, track, session, (track + 1) * GAP_UM, STATES[letter],
                     {"P": 0.9, "F": 0.9, "A": 0.1, "?": 0.5}[letter], KINDS[letter], np.nan, np.nan, False)
                    for session, letter in enumerate(word)
                ]  # fmt: skip
    return StudyTables(
        "letters",
        pd.DataFrame([(name, group) for name, (group, _, _) in animals.items()], columns=["animal", "group"]),
        pd.DataFrame(
            [(name, session, float(day)) for name, (_, days, _) in animals.items() for session, day in enumerate(days)],
            columns=["animal", "session", "day"],
        ),
        pd.DataFrame(
            spines,
            columns=["animal", "field", "dendrite", "track", "session", "along_um", "state", "probability", "kind",
                     "head_size", "head_size_sd", "saturated"],
        ),
        pd.DataFrame(stretches, columns=["animal", "field", "dendrite", "session", "from_um", "to_um"]),
        pd.DataFrame(list(phases), columns=list(PHASE_COLUMNS)),
        pd.DataFrame(list(behaviour), columns=list(BEHAVIOUR_COLUMNS)),
    )  # fmt: skip


def renamed(tables, names):
    """The same study with its animals under other names."""
    from dataclasses import replace

    parts = ("animals", "sessions", "spines", "stretches", "behaviour")
    return replace(
        tables, **{part: getattr(tables, part).assign(animal=lambda t: t["animal"].map(names)) for part in parts}
    )


def shuffled(tables, seed):
    """The same study with the rows of its tables in another order; animals and phases keep theirs."""
    from dataclasses import replace

    parts = ("sessions", "spines", "stretches", "behaviour")
    return replace(tables, **{part: getattr(tables, part).sample(frac=1, random_state=seed) for part in parts})


def drawn_study(
    seed=0,
    *,
    animals=5,
    groups=("control", "early", "late"),
    days=(0, 4, 8, 12, 16, 30),
    hidden=0.05,
    formation=None,
    lone_loss_per_day=0.1,
    clustered_loss_per_day=0.03,
    old_loss_per_day=0.004,
    dendrites=6,
    old=14,
    phases=(("early", "", 0, 4, "reaching"), ("late", "", 12, 16, "reaching")),
):
    """A drawn study: old spines go slowly; new ones come in each interval, alone or in pairs that stay for longer."""
    rng = np.random.default_rng(seed)
    formation = formation or {"early": 0.12}
    made, behaviour = {}, []
    for g, group in enumerate(groups):
        for k in range(animals):
            name = f"{group[0].upper()}{k + 1}"
            frailty = float(np.exp(rng.normal(0, 0.15)))
            share = formation.get(group, 0.06) * frailty
            words = [
                _dendrite(
                    rng,
                    days,
                    old,
                    share,
                    hidden,
                    (old_loss_per_day, lone_loss_per_day, clustered_loss_per_day),
                    0.4 if group == "early" else 0.1,
                )
                for _ in range(dendrites)
            ]
            made[name] = animal(group, days, *words)
            top = (0.15, 0.5, 0.45)[g % 3] * frailty
            behaviour += [
                (
                    name,
                    float(day),
                    "success rate (%)",
                    100 * (0.12 + top * (1 - np.exp(-day / 4)) + rng.normal(0, 0.02)),
                )
                for day in range(17)
            ]
    return study_of(made, phases, behaviour)


def _dendrite(rng, days, old, share, hidden, rates, paired):
    words = [_word(rng, days, 0, rates[0]) for _ in range(old)]
    for first in range(1, len(days)):
        for _ in range(rng.poisson(share * old)):
            is_pair = rng.random() < paired
            for _ in range(2 if is_pair else 1):
                place = int(rng.integers(len(words) + 1)) if not is_pair else len(words) // 2
                words.insert(place, _word(rng, days, first, rates[2] if is_pair else rates[1]))
    return " ".join("".join("?" if rng.random() < hidden else letter for letter in word) for word in words)


def _word(rng, days, first, rate):
    gone = days[first] + rng.exponential(1 / rate)
    return "".join("A" if number < first or day > gone else "P" for number, day in enumerate(days))
