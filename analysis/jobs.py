"""Independent jobs on two cores: numpy, scipy and the network let go of the interpreter while they compute."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

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


TRIM_THRESHOLD, MAPPED_AT_MOST, ARENAS_AT_MOST = -1, -4, -8  # of mallopt, as the GNU C library numbers them
KEPT_BYTES = 1 << 30


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


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for arrays of like size come again and again; only Linux can be told so.

    A tenth to a fifth of an analysis is otherwise spent by the system on giving, clearing and taking back the same
    memory. It is for processes that analyse and end: one that stays, as the window does, gives it back.
    """
    try:
        told = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for what, most in ((ARENAS_AT_MOST, 1), (MAPPED_AT_MOST, 0), (TRIM_THRESHOLD, KEPT_BYTES)):
        told(what, most)


@contextmanager
def small_sums_in_one_thread() -> Iterator[None]:
    """Keep the linear algebra in the thread that asks for it.

    The equations of a field are small: a second thread would mostly wait for the next ones, and wait so eagerly that it
    takes a core from the jobs. The last bits of an answer then depend on no number of cores.
    """
    with threadpool_limits(1, user_api="blas"):
        yield
