"""The fields of a study on several processes or computers, with dask.distributed: field by field.

A worker is a process that does one field at a time. When it dies the field is done again by another, and a field that
ends three of them is given up (on a cluster that runs already: as many as its scheduler allows). Workers see the study
under the same path, or at a URL, and have the same version of this program: so what they write is what one computer
would have written. Loaded without dask, which is asked for when a cluster is.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from acquire.errors import StudyError
from acquire.studywork import Countdown, FieldOutcome, FieldWork, Progress, do_field, do_here
from analysis.jobs import SHARE_VARIABLE
from analysis.remote import is_url

if TYPE_CHECKING:
    from distributed import Client, Future

DEATHS = 3
REACHED_S = 15.0
LISTEN_S = 0.5
SPEAK_S = 1.0
TOPIC = "samefield"
LOST = "the scheduler is lost; analyse again: what is done is not done again"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", SHARE_VARIABLE)
Do = Callable[[FieldWork, Progress], FieldOutcome]


def do_fields(
    works: Sequence[FieldWork], progress: Progress, *, scheduler: str | None = None, workers: int | None = None
) -> Iterator[FieldOutcome]:
    """Analyse fields: in this process, in several of this computer, or on a cluster; yield each as it is done.

    Parameters
    ----------
    works
        The fields.
    progress
        Is told what is done and how long the rest takes.
    scheduler
        Address of the scheduler of a cluster.
    workers
        Number of processes to start here.
    """
    if not works or (scheduler is None and workers is None):
        yield from do_here(works, progress)
        return
    with reached_cluster(scheduler) if scheduler is not None else local_cluster(workers or 1) as client:
        yield from do_on(client, works, progress)


@contextmanager
def local_cluster(workers: int, threads: int | None = None) -> Iterator[Client]:
    """Start worker processes on this computer; they end with the block.

    Parameters
    ----------
    workers
        How many.
    threads
        That each may keep busy; its share of this computer when not given.
    """
    with _needing_dask():
        import dask
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster
    share = str(threads or max(1, CPU_COUNT // workers))
    settings = {
        # Before a worker begins: the libraries read them as they are loaded.
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(THREAD_VARIABLES, share),
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with (
        tempfile.TemporaryDirectory(prefix="samefield-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            worker_dashboard_address=None,
            memory_limit=0,
            local_directory=scratch,
            silence_logs="CRITICAL",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def reached_cluster(scheduler: str) -> Iterator[Client]:
    """Connect to a cluster that runs already, and leave it as it is.

    Raises
    ------
    StudyError
        It does not answer, or has no worker.
    """
    with _needing_dask():
        from distributed import Client
    try:
        client = Client(scheduler, timeout=REACHED_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise StudyError(
            f"no scheduler answers at {scheduler} within {REACHED_S:.0f} s ({' '.join(str(error).split())[:200]}); "
            "check the address, or start one with 'dask scheduler'"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=REACHED_S)
        except TimeoutError as error:
            raise StudyError(
                f"the cluster at {scheduler} has no worker; start some with 'dask worker {scheduler} --nthreads 1'"
            ) from error
        yield client


@contextmanager
def _needing_dask() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StudyError(f"a cluster needs dask ({error}); pip install 'samefield[cluster]'") from error


def do_on(client: Client, works: Sequence[FieldWork], progress: Progress, do: Do = do_field) -> Iterator[FieldOutcome]:
    """Analyse fields on a cluster, at any time as many as it has workers; yield each as it is done.

    No field waits at a worker that is busy: when that dies, only the field that it did is blamed.
    """
    from distributed import wait

    program = _program_of(client)
    countdown = Countdown(len(works), progress)
    heard: deque[tuple[str, str, float]] = deque()
    client.subscribe_topic(TOPIC, lambda event: heard.append(event[1]))
    left = deque(works)
    begun: dict[Future, FieldWork] = {}
    try:
        while left or begun:
            with _needing_scheduler():
                while left and len(begun) < max(1, len(client.nthreads())):
                    order = _Order(left.popleft(), do, program)
                    begun[client.submit(order, pure=False, key=f"{order.work.name} {uuid4()}")] = order.work
                with suppress(TimeoutError), client.as_current():
                    wait(list(begun), timeout=LISTEN_S, return_when="FIRST_COMPLETED")
            names = {work.name for work in begun.values()}
            while heard:
                if (said := heard.popleft())[0] in names:
                    countdown.hear(*said)
            for future in [each for each in begun if each.done()]:
                with _needing_scheduler():
                    outcome = _outcome(future, begun.pop(future))
                countdown.end(outcome)
                yield outcome
    finally:
        with suppress(StudyError), _needing_scheduler():  # what was raised before says more
            client.unsubscribe_topic(TOPIC)
            client.cancel(list(begun))


@contextmanager
def _needing_scheduler() -> Iterator[None]:
    """Say that the scheduler is lost, however its client noticed: by a call, by what it waits for, or by giving up."""
    from distributed import client

    given_up = getattr(client, "ClosedClientError", CancelledError)  # which older versions lack
    try:
        yield
    except (CancelledError, OSError, given_up) as error:
        raise StudyError(LOST) from error


@dataclass(frozen=True)
class _Order:
    """What a worker is asked to do, by which program: called there."""

    work: FieldWork
    do: Do
    program: tuple[str, str]

    def __call__(self) -> FieldOutcome:
        from distributed import get_worker

        worker, work = get_worker(), self.work
        os.environ.setdefault(SHARE_VARIABLE, str(worker.state.nthreads))
        if _own_program() != self.program:
            fault = (
                f"the worker on {platform.node()} has another samefield, other libraries or another kind of processor "
                "than the first worker; install the same on all"
            )
            return FieldOutcome(work.animal, work.field, fault=fault)
        if not (is_url(work.folder) or Path(work.folder).is_dir()):
            fault = f"the worker on {platform.node()} does not see {work.folder}; mount it there under the same path"
            return FieldOutcome(work.animal, work.field, fault=fault)
        return self.do(work, _Speaker(worker, work.name))


class _Speaker:
    """Tells the client how far a field is, not more often than is looked at."""

    def __init__(self, worker: Any, name: str) -> None:
        self._worker, self._name, self._spoke_s = worker, name, 0.0

    def __call__(self, what: str, share: float) -> None:
        if monotonic() - self._spoke_s >= SPEAK_S:
            self._spoke_s = monotonic()
            self._worker.log_event(TOPIC, (self._name, what, share))


def _program_of(client: Client) -> tuple[str, str]:
    """Return the program of the first worker, which all others must have; its code is the code of this process.

    Libraries and processor may differ from those here: it is the workers who compute.
    """
    from analysis.memory import fingerprint_of_code

    first = next(iter(client.nthreads()))
    try:
        program: tuple[str, str] = client.run(_own_program, workers=[first])[first]
    except ImportError as error:
        raise StudyError(f"{first} cannot load samefield ({error}); pip install 'samefield[cluster]' there") from error
    if program[0] != fingerprint_of_code():
        raise StudyError(f"{first} has another version of samefield than this computer; install the same on all")
    return program


def _own_program() -> tuple[str, str]:
    from analysis.memory import fingerprint_of_code, fingerprint_of_package

    return fingerprint_of_code(), fingerprint_of_package()


def _outcome(future: Future, work: FieldWork) -> FieldOutcome:
    """Return what came of a field, also when no worker lived to tell."""
    from distributed import KilledWorker

    if future.cancelled():
        raise StudyError(LOST)
    error = future.exception()
    if error is None:
        done: FieldOutcome = future.result()
        return done
    if isinstance(error, KilledWorker):
        fault = (
            f"its analysis ended {error.allowed_failures + 1} workers (out of memory?); see their logs, or analyse it "
            f"alone with --animal {work.animal} --field {work.field}"
        )
    elif isinstance(error, ImportError):
        fault = f"a worker cannot load samefield ({error}); pip install 'samefield[cluster]' there"
    else:
        fault = f"a worker failed: {type(error).__name__}: {' '.join(str(error).split())}"
    return FieldOutcome(work.animal, work.field, fault=fault)
