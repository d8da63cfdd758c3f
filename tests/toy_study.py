"""A small study drawn from a seed: dendrites of 60 um, a spine every 2 to 4 um, with clusters planted where asked."""

import numpy as np
import pandas as pd

from analysis.study.tables import SPINE_COLUMNS, StudyTables

LENGTH_UM = 60.0
DAYS = (0.0, 1.0, 2.0, 4.0)


def toy_study(
    groups=(("control", 0.0), ("early", 0.6), ("late", 0.0)), *, animals=5, dendrites=8, share_new=0.07,
    share_lost=0.05, share_hidden=0.02, seed=0, phases=None, days=DAYS, filopodia=0.1,
):  # fmt: skip
    """Draw a study; ``groups`` are (name, chance that a new spine comes with another right beside it).

    Every animal is seen on ``days``; new spines come at any of them but the first. Without ``phases`` there is one from
    the first to the last day.
    """
    rng = np.random.default_rng(seed)
    names, sessions, spines, stretches = [], [], [], []
    for group, together in groups:
        for number in range(animals):
            animal = f"{group}-{number}"
            names.append((animal, group))
            sessions += [(animal, session, day) for session, day in enumerate(days)]
            for dendrite in range(dendrites):
                shares = (share_new, share_lost, share_hidden)
                spines += _dendrite(rng, animal, dendrite, together, shares, days, filopodia)
                stretches += [(animal, "F01", dendrite, session, 0.0, LENGTH_UM) for session in range(len(days))]
    phases = [("training", "", days[0], days[-1], "reaching")] if phases is None else phases
    return StudyTables(
        "toy",
        pd.DataFrame(names, columns=["animal", "group"]),
        pd.DataFrame(sessions, columns=["animal", "session", "day"]),
        pd.DataFrame(spines, columns=list(SPINE_COLUMNS)),
        pd.DataFrame(stretches, columns=["animal", "field", "dendrite", "session", "from_um", "to_um"]),
        pd.DataFrame(phases, columns=["phase", "group", "first_day", "last_day", "task"]),
    )


def _dendrite(rng, animal, dendrite, together, shares, days, filopodia):
    places = np.cumsum(rng.uniform(1.5, 4.5, 40))
    places = places[places < LENGTH_UM - 1]
    fates = rng.choice(["new", "lost", "hidden", "stable"], len(places), p=[*shares, 1 - sum(shares)])
    standing = []
    for place, fate in zip(places, fates, strict=True):
        comes = int(rng.integers(1, len(days))) if fate == "new" else 0
        standing.append((place, fate, comes))
        if fate == "new" and rng.random() < together:
            standing.append((place + 0.8, "new", int(rng.integers(comes, len(days)))))
    rows = []
    for track, (place, fate, comes) in enumerate(standing):
        goes = int(rng.integers(1, len(days))) if fate == "lost" else len(days)
        kind = "filopodium" if fate in ("new", "lost") and rng.random() < filopodia else "spine"
        for session in range(len(days)):
            state = "present" if comes <= session < goes else "absent"
            if fate == "hidden" and session == len(days) - 1:
                state = "unscorable"
            present = state == "present"
            rows.append(
                (animal, "F01", dendrite, track, session, place, state, float(present), kind if present else "",
                 1.0 if present else np.nan, 0.1, False)
            )  # fmt: skip
    return rows


NAMES = {"N": "gained", "s": "stable", "x": "lost", "?": "unscorable"}


def dendrite(letters, *, gap_um=3.0, places=None, animal="m1", name=0, formed=None):
    """A dendrite in letters: N new, s stable, x lost, ? unscorable."""
    places = np.arange(len(letters)) * gap_um if places is None else np.asarray(places, dtype=float)
    formed = formed or [1 if letter == "N" else -1 for letter in letters]
    return pd.DataFrame(
        {"animal": animal, "field": "F01", "dendrite": name, "track": range(len(letters)), "along_um": places,
         "fate": [NAMES[letter] for letter in letters], "kind": "spine", "formed": formed}
    )  # fmt: skip


def loop_members(fates, distance_um):
    """The two definitions pair by pair: slow, and written from the words of the paper."""
    rows = fates.to_dict("records")
    key = [(row["animal"], row["field"], row["dendrite"]) for row in rows]
    place = [(row["along_um"], row["track"]) for row in rows]
    new = [number for number, row in enumerate(rows) if row["fate"] == "gained"]
    partner, doubt, near = ({number: set() for number in new} for _ in range(3))
    for a in new:
        for b in new:
            if a == b or key[a] != key[b]:
                continue
            low, high = sorted([place[a], place[b]])
            inside = {rows[n]["fate"] for n in range(len(rows)) if key[n] == key[a] and low < place[n] < high}
            if not inside & {"stable", "gained"}:
                (doubt if "unscorable" in inside else partner)[a].add(b)
            if abs(rows[a]["along_um"] - rows[b]["along_um"]) <= distance_um:
                near[a].add(b)
    return partner, doubt, near


def drawn(words, seed):
    rng = np.random.default_rng(seed)
    parts = [
        dendrite(word, places=np.sort(rng.permutation(120)[: len(word)]) / 2, name=n) for n, word in enumerate(words)
    ]
    return pd.concat(parts, ignore_index=True)


def told_study(dendrites, days=(0.0, 2.0, 4.0, 6.0), phases=(), length_um=LENGTH_UM, groups=None):
    """Make a study of what is told: {(animal, dendrite): [(along_um, "+-+?"), ...]}, one sign a session.

    + is present, - absent, ? unscorable; all of one group unless ``groups`` names the group of an animal.
    """
    animals = list(dict.fromkeys(animal for animal, _ in dendrites))
    words = {"+": "present", "-": "absent", "?": "unscorable"}
    spines = [
        (animal, "F01", number, track, session, float(place), words[sign], float(sign == "+"),
         "spine" if sign == "+" else "", 1.0, 0.1, False)
        for (animal, number), rows in dendrites.items()
        for track, (place, signs) in enumerate(rows)
        for session, sign in enumerate(signs)
    ]  # fmt: skip
    stretches = [
        (animal, "F01", number, session, 0.0, length_um) for animal, number in dendrites for session in range(len(days))
    ]
    return StudyTables(
        "told",
        pd.DataFrame([(animal, (groups or {}).get(animal, "g")) for animal in animals], columns=["animal", "group"]),
        pd.DataFrame(
            [(a, n, day) for a in animals for n, day in enumerate(days)], columns=["animal", "session", "day"]
        ),
        pd.DataFrame(spines, columns=list(SPINE_COLUMNS)),
        pd.DataFrame(stretches, columns=["animal", "field", "dendrite", "session", "from_um", "to_um"]),
        pd.DataFrame(list(phases), columns=["phase", "group", "first_day", "last_day", "task"]),
    )
