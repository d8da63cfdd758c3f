import ctypes
import subprocess
import sys

import numpy as np
import pytest
from scipy import linalg
from threadpoolctl import threadpool_info

from analysis.jobs import keep_freed_memory, small_sums_in_one_thread, two_at_a_time

KEEPS = """
import resource
import numpy as np
from analysis.jobs import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(400_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
keep_freed_memory()
np.ones(400_000)
print(fresh, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only the GNU C library can be told")
def test_memory_that_was_freed_is_taken_again_without_asking_the_system():
    answer = subprocess.run([sys.executable, "-c", KEEPS], capture_output=True, text=True, check=True, timeout=60)
    _, kept = map(int, answer.stdout.split())
    assert kept < 400  # pages; one such array has 780


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    keep_freed_memory()


def test_linear_algebra_stays_in_its_thread_and_is_let_go_after():
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    linalg.solve(np.eye(2), np.ones(2))
    before = threads()
    with small_sums_in_one_thread():
        assert threads() == {1}
    assert threads() == before


def test_answers_come_in_order_and_the_first_fault_is_told():
    assert two_at_a_time([lambda n=n: n for n in range(5)]) == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        two_at_a_time([lambda: 1, lambda: 1 // 0])
