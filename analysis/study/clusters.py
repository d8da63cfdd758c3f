"""Which new spines stand together: the two definitions of a cluster (Fu et al. 2012), and who came first in it.

Definition 1: two or more neighbouring new spines with no existing spine between them. Existing is what is **stable** in
the interval: present at both its ends. An eliminated spine is gone at the end and does not stand between. A spine that
could not be judged at one of the ends (**unscorable**) leaves it open whether there was one between: new spines that
would be in a cluster but for it are *undecided*, neither clustered nor alone. What an unscorable spine itself may be is
not asked. Definition 2: new spines within a distance along the dendrite, whatever lies between; chains count as one.

Two spines at the same place stand in the order of their tracks. Knows nothing of groups, animals as units, or chance.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.model import Fate
from analysis.study.intervals import UNKNOWN
from analysis.study.tables import DENDRITE_KEY

ALONE = -1
"""Number of the cluster of a spine that is in none."""
ROUNDING_UM = 1e-9
"""Distances that differ by no more are the same, um."""


def dendrite_key(fates: pd.DataFrame) -> list[str]:
    """Return the columns that name a dendrite in one phase: the same dendrite is another one in another phase."""
    return [name for name in ("phase", *DENDRITE_KEY) if name in fates]


def along_dendrites(fates: pd.DataFrame) -> pd.DataFrame:
    """Return fates in the order in which spines stand on their dendrites, whatever the order of the rows.

    Returns
    -------
    The rows with ``dendrite_number`` (from 0, by name) and ``row`` (where each stood before).
    """
    numbers = fates.groupby(dendrite_key(fates), sort=True).ngroup().to_numpy()
    table = fates.assign(dendrite_number=numbers, row=np.arange(len(fates)))
    return table.sort_values(["dendrite_number", "along_um", "track"], ignore_index=True)


def cluster_members(fates: pd.DataFrame, distance_um: float = 5.0) -> pd.DataFrame:
    """Return for every spine the cluster that it is in, by both definitions.

    Parameters
    ----------
    fates
        As of :func:`analysis.study.intervals.phase_fates` or ``fates_between``; rows in any order. Only gained spines
        are ever in a cluster, and only clusters within one dendrite and phase.
    distance_um
        Of definition 2, um.

    Returns
    -------
    With the index of ``fates``: ``cluster`` (number of the cluster by definition 1, -1 for none), ``undecided``
    (gained, in no cluster, but an unscorable spine alone is in the way of one), ``near_cluster`` (by definition 2).
    Numbers are of this table: the same for any order of its rows.
    """
    table = along_dendrites(fates)
    dendrite, row = table["dendrite_number"].to_numpy(), table["row"].to_numpy()
    new, together, doubtful = neighbours(dendrite, table["fate"].to_numpy(dtype=str))
    along = table["along_um"].to_numpy(dtype=float)[new]
    near = (np.diff(dendrite[new]) == 0) & (np.diff(along) <= distance_um + ROUNDING_UM)

    cluster, near_cluster = np.full(len(fates), ALONE), np.full(len(fates), ALONE)
    undecided = np.zeros(len(fates), dtype=bool)
    cluster[row[new]] = number_chains(together)
    near_cluster[row[new]] = number_chains(near)
    undecided[row[new]] = beside(doubtful) & ~beside(together)
    return pd.DataFrame({"cluster": cluster, "undecided": undecided, "near_cluster": near_cluster}, index=fates.index)


def neighbours(
    dendrite: NDArray[np.int64], fate: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the new spines stand, and which are next to the following one by definition 1.

    Parameters
    ----------
    dendrite, fate
        Of every spine, in the order in which they stand.

    Returns
    -------
    Rows of the new spines; for each but the last whether it and the next are in one cluster; and whether they would be
    but for unscorable spines between.
    """
    new = np.flatnonzero(fate == Fate.GAINED.value)
    stable, hidden = (np.cumsum(fate == kind.value)[new] for kind in (Fate.STABLE, Fate.UNSCORABLE))
    open_between = (np.diff(dendrite[new]) == 0) & (np.diff(stable) == 0)
    clear = np.diff(hidden) == 0
    return new, open_between & clear, open_between & ~clear


def beside(linked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which spines are linked to the one before or after; the last axis of ``linked`` is one shorter.

    >>> beside(np.array([True, False])).tolist()
    [True, True, False]
    """
    nobody = np.zeros((*linked.shape[:-1], 1), dtype=bool)
    found: NDArray[np.bool_] = np.concatenate([nobody, linked], axis=-1) | np.concatenate([linked, nobody], axis=-1)
    return found


def number_chains(linked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of the chain of each spine, -1 for those that stand alone.

    >>> number_chains(np.array([True, False, False, True, True])).tolist()
    [0, 0, -1, 1, 1, 1]
    """
    starts = np.concatenate([[True], ~linked])[: len(linked) + 1]
    chained = beside(linked)
    number = np.cumsum(starts & chained) - 1
    return np.where(chained, number, ALONE).astype(np.int64)


FIRST, SUCCEDENT, TOGETHER = "first", "succedent", "together"


def cluster_roles(fates: pd.DataFrame, cluster: pd.Series) -> pd.Series:
    """Return who came first in each cluster.

    Parameters
    ----------
    fates
        With ``formed``, the session in which each gained spine is first seen; -1 where it is not known.
    cluster
        Number of the cluster of each, -1 for none; index as ``fates``.

    Returns
    -------
    ``first`` (seen in the earliest session of its cluster, when another came later), ``succedent`` (came later than the
    first), ``together`` (their order is not known: all of the cluster came between the same two sessions, or one of
    them was unscorable before it was first seen), or empty.
    """
    inside = cluster.to_numpy() != ALONE
    formed = fates["formed"].to_numpy()
    seen = pd.Series(formed).groupby(cluster.to_numpy())
    earliest, latest = seen.transform("min").to_numpy(), seen.transform("max").to_numpy()
    together = (earliest == latest) | (earliest == UNKNOWN)
    role = np.select(
        [inside & together, inside & (formed == earliest), inside], [TOGETHER, FIRST, SUCCEDENT], default=""
    )
    return pd.Series(role, index=fates.index, name="role")
