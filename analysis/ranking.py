"""The running percentile of a volume along its first axis, by comparing whole planes.

A window of a few values is put in order by a fixed list of comparisons (Batcher 1968); those that the rank asked for
does not need are left out. So the processor compares many windows at once, and nothing is looked up.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

VALUES_AT_ONCE = 16_384  # of each place in the window: all of them stay in the processor's cache
Volume = NDArray[np.float32]


def running_percentile(volume: Volume, percentile: float, window: int) -> Volume:
    """Return what :func:`scipy.ndimage.percentile_filter` gives for a window along the first axis, edges repeated.

    Parameters
    ----------
    volume
        Any shape; no value is missing.
    percentile
        From 0 to 100.
    window
        Number of values.
    """
    rank = min(window - 1, int(window * percentile / 100.0))
    padded = np.concatenate([volume[:1].repeat(window // 2, 0), volume, volume[-1:].repeat((window - 1) // 2, 0)])
    step = max(1, VALUES_AT_ONCE // max(1, volume[:1].size))
    result = np.empty_like(volume)
    for first in range(0, len(volume), step):
        some = result[first : first + step]
        some[:] = _ranked([padded[first + k : first + k + len(some)] for k in range(window)], rank)
    return result


def _ranked(values: list[Volume], rank: int) -> Volume:
    for low, high, keeps_low, keeps_high in _comparisons(len(values), rank):
        one, other = values[low], values[high]
        if keeps_low:
            values[low] = np.minimum(one, other)
        if keeps_high:
            values[high] = np.maximum(one, other)
    return values[rank]


@cache
def _comparisons(count: int, rank: int) -> list[tuple[int, int, bool, bool]]:
    """Return which places to compare, in order, and whether the lower and the higher value are asked for later."""
    needed, kept = {rank}, []
    for low, high in reversed(_sorting_network(count)):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return kept[::-1]


def _sorting_network(count: int) -> list[tuple[int, int]]:
    """Return the comparisons that sort so many values: Knuth, The Art of Computer Programming, 5.2.2, algorithm M."""
    pairs = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return pairs
