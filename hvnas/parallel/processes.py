"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.util import Finalize
from typing import Any, TypeVar

from hvnas.parallel.crew import Event, Finished, Lost, Raised, Ready, Unmade, reason_of
from hvnas.parallel.pool import Pool
from hvnas.parallel.surroundings import environment

B = TypeVar("B")
V = TypeVar("V")

_JOIN_SECONDS = 5.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def process_pool(
    make: Callable[[], Callable[[B], V]], *, workers: int | None = None, retries: int = 2
) -> Pool[B, V]:
    """A pool of processes of this machine, each with a share of its cores for its own threads.

    `make`, the batches and the values must be picklable; the processes are fresh ones, not forks, which
    torch's threads do not survive. A script that makes a pool needs ``if __name__ == "__main__":``. Raises
    ValueError where `make` cannot be pickled.
    """
    workers = workers if workers is not None else _cores()
    crew = Processes(make, threads=max(1, _cores() // max(1, workers)))
    return Pool(crew, workers=workers, retries=retries)


class Processes:
    """A crew of spawned processes, each behind a pipe. See `hvnas.parallel.crew.Crew`."""

    # Both ends of a pipe write without waiting for a reader: with one batch out they never do so at once.
    depth = 1
    patience = 0.0

    def __init__(self, make: Callable[[], Any], *, threads: int = 1) -> None:
        try:
            self._make = pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{make!r} cannot be sent to another process ({error}); give a function of a module"
            ) from None
        self._threads = threads
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._started = 0
        # At its end the interpreter waits for children, who wait for batches: this is run before.
        self._end = Finalize(self, _end, args=(self._workers,), exitpriority=10)

    def start(self) -> int:
        """Spawn a process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # Not daemons: those may not have children, and loaders of images do.
        process = context.Process(target=_work, args=(theirs, self._make), daemon=False)
        with environment(dict.fromkeys(_THREADS, str(self._threads))):
            process.start()
        theirs.close()
        self._started += 1
        self._workers[self._started] = (process, ours)
        return self._started

    def send(self, worker: int, ticket: int, batch: Any) -> None:
        """Write a batch into the worker's pipe; that the worker is gone `events` will tell."""
        with contextlib.suppress(OSError):
            self._workers[worker][1].send((ticket, batch))

    def events(self, timeout: float) -> list[Event]:
        """At most one report per worker."""
        wait([handle for p, pipe in self._workers.values() for handle in (pipe, p.sentinel)], timeout)
        found = (self._report(worker) for worker in list(self._workers))
        return [event for event in found if event is not None]

    def close(self) -> None:
        """Terminate the processes, and kill those that do not end."""
        self._end()

    def _report(self, worker: int) -> Event | None:
        process, pipe = self._workers[worker]
        # Asked first: what a process wrote before its end is there once the end is seen.
        ended = not process.is_alive()
        try:
            if pipe.poll():
                return _event(worker, pipe.recv())
        except (EOFError, OSError):
            ended = True
        if not ended:
            return None
        del self._workers[worker]
        process.join(_JOIN_SECONDS)
        pipe.close()
        return Lost(worker, _how_it_ended(process.exitcode))


def _event(worker: int, message: tuple[str, int, Any]) -> Event:
    kind, ticket, content = message
    if kind == "ready":
        return Ready(worker)
    if kind == "unmade":
        return Unmade(worker, content)
    return Finished(worker, ticket, content) if kind == "value" else Raised(worker, ticket, content)


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "the process closed its pipe"
    if code < 0:
        return f"the process was ended by signal {-code}"
    return f"the process ended with status {code}"


def _end(workers: dict[int, tuple[SpawnProcess, Connection]]) -> None:
    for process, pipe in workers.values():
        process.terminate()
        pipe.close()
    for process, _ in workers.values():
        process.join(_JOIN_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
    workers.clear()


def _work(pipe: Connection, make: bytes) -> None:
    """What a worker does until its pipe is closed."""
    # Ctrl-C goes to every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        call = pickle.loads(make)()
    except Exception as error:
        pipe.send(("unmade", -1, reason_of(error)))
        return
    pipe.send(("ready", -1, None))
    with contextlib.suppress(EOFError, OSError):
        while True:
            ticket, batch = pipe.recv()
            pipe.send_bytes(_answer(call, ticket, batch))


def _answer(call: Callable[[Any], Any], ticket: int, batch: Any) -> bytes:
    try:
        return pickle.dumps(("value", ticket, call(batch)))
    except Exception as error:
        return pickle.dumps(("raised", ticket, reason_of(error)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
