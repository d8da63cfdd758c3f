"""Independent jobs on two cores: numpy, scipy and the network let go of the interpreter while they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def two_at_a_time(jobs: Sequence[Callable[[], T]], tell: Callable[[int], None] = lambda _number: None) -> list[T]:
    """Do jobs two at a time and return their answers in order; more would cost more memory.

    Parameters
    ----------
    jobs
        None needs what another one does.
    tell
        Is told the number of the job that is waited for.
    """
    answers = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        begun = [pool.submit(job) for job in jobs]
        try:
            for number, answer in enumerate(begun):
                tell(number)
                answers.append(answer.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return answers
