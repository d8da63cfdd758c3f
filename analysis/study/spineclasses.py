"""The classes of the new spines of a dendrite: as they were seen, and in the runs of chance.

To be in a cluster hangs on where a spine stands: clustered spines are found in long gaps between stable ones. Chance is
therefore classed as what was seen: all new spines of a dendrite are placed first, then told apart in every run.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study.clusters import ALONE, FIRST, SUCCEDENT, beside, cluster_members, cluster_roles, dendrite_key
from analysis.study.dendrites import Numbers
from analysis.study.nulls import NewSpines
from analysis.study.tables import DENDRITE_KEY

ALL, LONE, CLUSTERED = "all new", "not clustered", "clustered"
CLASSES = (ALL, LONE, CLUSTERED, FIRST, SUCCEDENT)


def with_classes(fates: pd.DataFrame, distance_um: float) -> pd.DataFrame:
    """Return the fates on dendrites with a stable spine, with a column a class that says which new spines are of it.

    Undecided new spines are neither clustered nor not; spines of a cluster that came together are neither first nor
    succedent.
    """
    members = cluster_members(fates, distance_um)
    role, new = cluster_roles(fates, members["cluster"]), fates["fate"] == Fate.GAINED.value
    clustered = members["cluster"] != ALONE
    table = fates.assign(
        **{
            ALL: new, LONE: new & ~clustered & ~members["undecided"], CLUSTERED: clustered, FIRST: role == FIRST,
            SUCCEDENT: role == SUCCEDENT,
        }
    )  # fmt: skip
    has_stable = (fates["fate"] == Fate.STABLE.value).groupby([fates[name] for name in dendrite_key(fates)])
    return table[has_stable.transform("any")].reset_index(drop=True)


def classes_of(spines: NewSpines, formed: Numbers) -> dict[str, NDArray[np.bool_]]:
    """Return which new spines are of each class, (runs, dendrites, new) each; the same as :func:`with_classes`.

    Parameters
    ----------
    spines
        Observed or drawn.
    formed
        (runs, dendrites, new) the session in which each is first seen.
    """
    is_open, is_clear = spines.stable_between == 0, spines.hidden_between == 0
    linked = is_open & is_clear
    clustered = beside(linked)
    undecided = beside(is_open & ~is_clear) & ~clustered
    earliest, latest = (_of_chain(formed, linked, best) for best in (np.minimum, np.maximum))
    return {
        ALL: np.ones(clustered.shape, dtype=bool), LONE: ~clustered & ~undecided, CLUSTERED: clustered,
        FIRST: clustered & (formed == earliest) & (earliest < latest), SUCCEDENT: clustered & (formed > earliest),
    }  # fmt: skip


def _of_chain(values: Numbers, linked: NDArray[np.bool_], best: np.ufunc) -> Numbers:
    """Return the least (or largest) value of the chain of each spine."""
    found = values.copy()
    ways = (range(1, values.shape[-1]), range(values.shape[-1] - 2, -1, -1))
    for way, step in zip(ways, (-1, 1), strict=True):
        for place in way:
            link = linked[..., place - 1 if step < 0 else place]
            best(found[..., place], found[..., place + step], out=found[..., place], where=link)
    return found


def formed_of(fates: pd.DataFrame) -> Numbers:
    """Return the session in which each new spine is first seen, in the order of ``read_dendrites(fates).new``."""
    table = fates[fates["fate"] == Fate.GAINED.value].sort_values(["phase", *DENDRITE_KEY, "along_um", "track"])
    return table["formed"].to_numpy(dtype=np.int16)


def deal_formed(formed: Numbers, unit: Numbers, *, runs: int, seed: int) -> Numbers:
    """Deal the sessions in which new spines were first seen anew among those of one animal and phase.

    Parameters
    ----------
    formed, unit
        (new spines,) the session, and the number of the animal and phase.

    Returns
    -------
    (runs, new spines)
    """
    dealt = np.tile(formed, (runs, 1))
    for number in np.unique(unit):
        mine = unit == number
        dealt[:, mine] = np.random.default_rng([seed, 3, int(number)]).permuted(dealt[:, mine], axis=1)
    return dealt
