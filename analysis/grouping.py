"""Which observations of all sessions are one and the same, all sessions weighed together.

Given is what every pair of observations gains by being one thing. Groups hold at most one observation a session; those
whose pairs gain most together are looked for: pair by pair the best first, then every session anew against all others,
as long as that gains. No session comes first, so their order does not matter. What is grouped is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from analysis.model import Floats

Numbers = NDArray[np.intp]
Gains = Callable[[Numbers], Floats]  # what each pair of some observations gains by being one: their numbers, (n, n)
LEAST_GAIN = 1e-9


def group_observations(gains: Gains, near: Numbers, session: Numbers) -> Numbers:
    """Join observations to groups with at most one of each session, the summed gain of their pairs the largest found.

    Parameters
    ----------
    gains
        What pairs gain by being one, negative where they had better not be.
    near
        All pairs that may gain, shape (pairs, 2).
    session
        The session of each observation, shape (n,).

    Returns
    -------
    NDArray
        Number of the group of each observation, shape (n,).

    Examples
    --------
    >>> gain = np.array([[0.0, 2.0, 1.5], [2.0, 0.0, -0.5], [1.5, -0.5, 0.0]])
    >>> near = np.array([[0, 1], [0, 2]])
    >>> group_observations(lambda some: gain[np.ix_(some, some)], near, np.array([0, 1, 2])).tolist()
    [0, 0, 0]
    """
    count = len(session)
    other = near[session[near[:, 0]] != session[near[:, 1]]]
    graph = coo_array((np.ones(len(other)), (other[:, 0], other[:, 1])), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    group = np.arange(count, dtype=np.intp)
    by_part = np.argsort(part, kind="stable")
    for members in np.split(by_part, np.flatnonzero(np.diff(part[by_part])) + 1):
        if len(members) > 1:
            ours = session[members]
            among = np.where(ours[:, None] == ours, 0.0, gains(members))
            group[members] = members[_improve(among, ours, _join_best_first(among, ours))]
    return np.unique(group, return_inverse=True)[1].astype(np.intp)


def _join_best_first(gain: Floats, session: Numbers) -> Numbers:
    """Merge the two groups that gain most by it, again and again; a group is named by one of its members."""
    group = np.arange(len(session), dtype=np.intp)
    held = session[:, None] == np.arange(session.max() + 1)
    between = gain.copy()
    while True:
        allowed = np.where((held @ held.T), -np.inf, between)
        a, b = np.unravel_index(int(allowed.argmax()), allowed.shape)
        if allowed[a, b] <= LEAST_GAIN:
            return group
        group[group == b] = a
        held[a] |= held[b]
        between[a] += between[b]
        between[:, a] += between[:, b]
        between[b] = between[:, b] = -np.inf


def _improve(gain: Floats, session: Numbers, group: Numbers) -> Numbers:
    """Assign one session anew to what the others hold, the one that gains most by it, until none does."""
    while True:
        tried = [_assign_anew(gain, session, group, one) for one in np.unique(session)]
        gains = [total for total, _ in tried]
        best = int(np.argmax(gains))
        if gains[best] <= LEAST_GAIN:
            return group
        group = tried[best][1]


def _assign_anew(gain: Floats, session: Numbers, group: Numbers, one: int) -> tuple[float, Numbers]:
    """Return what is gained when one session is assigned anew to the groups of the others, and the groups then."""
    ours, rest = np.flatnonzero(session == one), np.flatnonzero(session != one)
    names, column = np.unique(group[rest], return_inverse=True)
    to_group = np.zeros((len(names), len(ours)))
    np.add.at(to_group, column, gain[np.ix_(rest, ours)])
    now = group[ours][:, None] == names
    before = float(to_group.T[now].sum())
    rows, columns = linear_sum_assignment(np.maximum(to_group, 0.0), maximize=True)
    worth = to_group[rows, columns] > 0.0
    anew = group.copy()
    anew[rest] = column
    anew[ours] = len(names) + np.arange(len(ours))
    anew[ours[columns[worth]]] = rows[worth]
    return float(to_group[rows[worth], columns[worth]].sum()) - before, anew


@dataclass(frozen=True, eq=False)
class Row:
    """Where observations stand in rows whose members keep their order.

    Parameters
    ----------
    name
        The row of each observation, shape (n,).
    along_um
        Its place in the row, shape (n,).
    """

    name: Numbers
    along_um: Floats


def keep_order(group: Numbers, gains: Gains, session: Numbers, row: Row, odds: float) -> Numbers:
    """Regroup what stands in another order in one session than in another, where that costs less than ``odds``.

    Two groups of one row that changed places exchange their observations of a session, or one leaves its group,
    whatever gains most, until nothing does.

    Parameters
    ----------
    group, gains, session
        As of :func:`group_observations`.
    row
        Where they stand.
    odds
        How much likelier it is, as a log-likelihood, that two keep their order than that they change it.
    """
    table = _tabulate(group, session)
    while True:
        moves = [m for a, b in _crossed(table, row) for m in _exchanges(table, a, b)]
        worth = np.array([_worth(table, m, gains, row, odds) for m in moves])
        best_first = [moves[i] for i in np.argsort(-worth, kind="stable") if worth[i] > LEAST_GAIN]
        if not best_first:
            break
        touched: set[int] = set()
        for a, b, one in best_first:
            if not touched & {a, b}:
                table = _after(table, (a, b, one))
                touched |= {a, b} - {-1}
    numbers, sessions = np.nonzero(table >= 0)
    kept = np.empty(len(group), dtype=np.intp)
    kept[table[numbers, sessions]] = numbers
    return np.unique(kept, return_inverse=True)[1].astype(np.intp)


Move = tuple[int, int, int]  # two groups and the session whose observations they exchange; to a new group: -1


def _tabulate(group: Numbers, session: Numbers) -> Numbers:
    table = np.full((int(group.max(initial=-1)) + 1, int(session.max(initial=-1)) + 1), -1, dtype=np.intp)
    table[group, session] = np.arange(len(group))
    return table


def _crossings(some: Numbers, table: Numbers, row: Row) -> NDArray[np.int64]:
    """Count in how many pairs of sessions two rows of groups stand in another order, shape (some, table)."""
    ahead = np.zeros((len(some), *table.shape), dtype=np.int64)
    for session in range(table.shape[1]):
        a, b = some[:, None, session], table[None, :, session]
        beside = (a >= 0) & (b >= 0) & (row.name[a] == row.name[b])
        ahead[..., session] = np.where(beside, np.sign(row.along_um[a] - row.along_um[b]), 0)
    before, behind = (ahead < 0).sum(axis=2), (ahead > 0).sum(axis=2)
    return np.asarray(before * behind)


def _crossed(table: Numbers, row: Row) -> list[tuple[int, int]]:
    rows = np.where(table >= 0, row.name[table], -1)
    pairs: set[tuple[int, int]] = set()
    for name in np.unique(row.name).tolist():
        here = np.flatnonzero((rows == name).any(axis=1))
        a, b = np.nonzero(np.triu(_crossings(table[here], table[here], row)))
        pairs |= {*zip(here[a].tolist(), here[b].tolist(), strict=True)}
    return sorted(pairs)


def _exchanges(table: Numbers, a: int, b: int) -> list[Move]:
    both = np.flatnonzero((table[a] >= 0) & (table[b] >= 0)).tolist()
    return [(one, other, session) for session in both for one, other in ((a, b), (a, -1), (b, -1))]


def _after(table: Numbers, move: Move) -> Numbers:
    a, b, session = move
    moved = np.concatenate([table, np.full((1, table.shape[1]), -1, dtype=np.intp)]) if b < 0 else table.copy()
    moved[a, session], moved[b, session] = moved[b, session], moved[a, session]
    return moved


def _worth(table: Numbers, move: Move, gains: Gains, row: Row, odds: float) -> float:
    """Return what a move gains."""
    touched = [move[0], move[1]]
    after = _after(table, move)
    before = table if len(table) == len(after) else np.concatenate([table, after[-1:] * 0 - 1])

    def total(rows: Numbers) -> float:
        ours = rows[touched]
        joined = sum(gains(m[m >= 0]).sum() / 2 for m in ours)
        crossed = _crossings(ours, rows, row)
        return float(joined) - odds * float(crossed.sum() - crossed[:, touched].sum() / 2)

    return total(after) - total(before)
