"""Independent jobs on two cores: numpy, scipy and the network let go of the interpreter while they compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
SHARE_VARIABLE = "SAMEFIELD_THREADS"
"""Says how many threads a worker of a cluster may keep busy, so that workers on one computer do not fight."""


def own_share() -> int:
    """Return how many threads this process may keep busy, 0 when it has the computer to itself."""
    told = os.environ.get(SHARE_VARIABLE, "")
    return max(1, int(told)) if told.isdecimal() else 0


def own_threads() -> int:
    """Return how many threads one computation takes: two, or one where that is the share of this process."""
    return min(2, own_share() or 2)


def two_at_a_time(jobs: Sequence[Callable[[], T]], tell: Callable[[int], None] = lambda _number: None) -> list[T]:
    """Do jobs two at a time and return their answers in order; more would cost more memory.

    In a worker whose share is one thread they are done one after the other.

    Parameters
    ----------
    jobs
        None needs what another one does.
    tell
        Is told the number of the job that is waited for.
    """
    answers = []
    with ThreadPoolExecutor(max_workers=own_threads()) as pool:
        begun = [pool.submit(job) for job in jobs]
        try:
            for number, answer in enumerate(begun):
                tell(number)
                answers.append(answer.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return answers
