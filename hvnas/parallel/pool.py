"""Hands batches to workers: in bounded number, again where a worker is lost, results in order."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from hvnas._names import check_whole

B = TypeVar("B")
V = TypeVar("V")


_POLL_SECONDS = 1.0
# Batches that may be out, or finished ahead of their turn, per worker: a slow one must not idle the others.
_WINDOW = 8
# Starts in a row that may end before the worker was ready, per worker.
_MAX_START_LOSSES = 3


@dataclass(frozen=True)
class Failure:
    """A batch without a value: `attempts` were made, `reason` is that of the last."""

    index: int
    attempts: int
    reason: str


class BatchFailed(RuntimeError):
    """A batch failed as often as it may; `failure` tells of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"batch {failure.index} failed {failure.attempts} times: {failure.reason}")
        self.failure = failure


class WorkersLost(RuntimeError):
    """Workers cannot be started, or not kept."""


@dataclass(eq=False)
class _Task(Generic[B, V]):
    # A run that its caller abandoned leaves tasks behind that end during the next one.
    run: _Run[B, V]
    index: int
    batch: B
    ticket: int = -1
    attempts: int = 0
    again: bool = False


class Pool(Generic[B, V]):
    """`workers` workers that call one function on batches.

    A batch whose worker is lost, or on which the function raises, is given out again, `retries` times at
    most; of the batches that a lost worker held only the first counts that as an attempt. Its value may have
    gone with the worker while that was at the next batch, so a batch that is tried again has its worker to
    itself. A lost worker is replaced. Where no worker is ready for `patience` seconds it raises WorkersLost.
    """

    def __init__(
        self, group: WorkerGroup, *, workers: int, retries: int = 2, patience: float = 300.0
    ) -> None:
        check_whole("workers", workers, least=1)
        check_whole("retries", retries, least=0)
        self.workers = workers
        self.retries = retries
        self.patience = patience
        self._group = group
        self._starting: set[int] = set()
        self._held: dict[int, deque[_Task[B, V]]] = {}
        self._tickets = 0
        self._start_losses = 0
        self._losing_since = 0.0
        self._next_start = 0.0
        self._closed = False

    def __enter__(self) -> Pool[B, V]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; what they are at is lost."""
        if not self._closed:
            self._closed = True
            self._group.close()

    def map(self, batches: Iterable[B]) -> Iterator[V]:
        """Return the values of `batches`, in their order.

        Raises BatchFailed where one stays without a value.
        """
        for outcome in self.outcomes(batches):
            if isinstance(outcome, Failure):
                raise BatchFailed(outcome)
            yield outcome

    def outcomes(self, batches: Iterable[B]) -> Iterator[V | Failure]:
        """Return the value of every batch, in their order, or a Failure where there is none.

        `batches` may be endless: few more are taken than are being worked on. Raises WorkersLost where no
        worker can be had, with the reason.
        """
        if self._closed:
            raise ValueError("the pool is closed; make another one")
        run = _Run[B, V](iter(batches))
        idle_since = time.monotonic()
        while True:
            self._staff()
            self._hand_out(run)
            yield from run.in_order()
            if run.finished:
                return
            events = self._group.events(_POLL_SECONDS)
            if events or self._held:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self.patience:
                raise WorkersLost(
                    f"no worker was ready within {self.patience:g} s; "
                    "free or add machines, or ask for fewer resources per worker"
                )
            for event in events:
                self._take(event)

    def _staff(self) -> None:
        if time.monotonic() < self._next_start:
            return
        while len(self._starting) + len(self._held) < self.workers:
            self._starting.add(self._group.start())

    def _hand_out(self, run: _Run[B, V]) -> None:
        """Give batches to the workers that hold fewest, those tried before to a worker that holds none."""
        for room in range(self._group.depth):
            for worker, held in list(self._held.items()):
                if len(held) > room or (held and (run.waiting or held[0].again)):
                    continue
                task = run.next_task(self._tickets, limit=_WINDOW * self.workers)
                if task is None:
                    return
                self._tickets += 1
                held.append(task)
                self._group.send(worker, task.ticket, task.batch)

    def _take(self, event: Event) -> None:
        match event:
            case Ready(worker):
                self._starting.discard(worker)
                self._held[worker] = deque()
                self._start_losses = 0
            case Unmade(worker, reason):
                self._starting.discard(worker)
                raise WorkersLost(f"a worker could not be set up: {reason}")
            case Finished(worker, ticket, value):
                task = self._release(worker, ticket)
                if task is not None:
                    task.run.settle(task, value)
            case Raised(worker, ticket, reason):
                task = self._release(worker, ticket)
                if task is not None:
                    task.run.fail(task, reason, retries=self.retries)
            case Lost(worker, reason):
                self._lose(worker, reason)

    def _release(self, worker: int, ticket: int) -> _Task[B, V] | None:
        held = self._held.get(worker, deque())
        task = next((task for task in held if task.ticket == ticket), None)
        if task is not None:
            held.remove(task)
        return task

    def _lose(self, worker: int, reason: str) -> None:
        if worker in self._starting:
            self._starting.discard(worker)
            self._lose_at_start(reason)
            return
        held = self._held.pop(worker, deque())
        if held:
            first = held.popleft()
            first.run.fail(first, f"its worker was lost: {reason}", retries=self.retries)
        for task in held:
            task.run.again(task)

    def _lose_at_start(self, reason: str) -> None:
        now = time.monotonic()
        if self._start_losses == 0:
            self._losing_since = now
        self._start_losses += 1
        self._next_start = now + min(1.0, self._group.patience)
        hopeless = now - self._losing_since >= self._group.patience and not self._held
        if hopeless and self._start_losses >= _MAX_START_LOSSES * self.workers:
            raise WorkersLost(f"{self._start_losses} workers in a row were lost at their start: {reason}")


class _Run(Generic[B, V]):
    """The batches of one call: what is out, what is to be tried again, what is finished ahead of its turn."""

    def __init__(self, batches: Iterator[B]) -> None:
        self.batches = batches
        self.exhausted = False
        self.taken = 0
        self.given = 0
        self.waiting: deque[_Task[B, V]] = deque()
        self.done: dict[int, V | Failure] = {}

    @property
    def finished(self) -> bool:
        return self.exhausted and self.given == self.taken

    def next_task(self, ticket: int, *, limit: int) -> _Task[B, V] | None:
        """The next batch to give out, those tried before first; None where there is none for now."""
        task = self.waiting.popleft() if self.waiting else self._fresh(limit)
        if task is not None:
            task.ticket = ticket
        return task

    def _fresh(self, limit: int) -> _Task[B, V] | None:
        if self.exhausted or self.taken - self.given >= limit:
            return None
        try:
            batch = next(self.batches)
        except StopIteration:
            self.exhausted = True
            return None
        self.taken += 1
        return _Task(self, self.taken - 1, batch)

    def settle(self, task: _Task[B, V], outcome: V | Failure) -> None:
        self.done[task.index] = outcome

    def fail(self, task: _Task[B, V], reason: str, *, retries: int) -> None:
        task.attempts += 1
        if task.attempts > retries:
            self.settle(task, Failure(task.index, task.attempts, reason))
        else:
            self.again(task)

    def again(self, task: _Task[B, V]) -> None:
        task.again = True
        self.waiting.append(task)

    def in_order(self) -> Iterator[V | Failure]:
        while self.given in self.done:
            outcome = self.done.pop(self.given)
            self.given += 1
            yield outcome


@dataclass(frozen=True)
class Ready:
    """A worker has made its function and takes batches."""

    worker: int


@dataclass(frozen=True)
class Unmade:
    """A worker could not make its function."""

    worker: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """A worker has the value of the batch sent under `ticket`."""

    worker: int
    ticket: int
    value: Any


@dataclass(frozen=True)
class Raised:
    """The function raised on the batch sent under `ticket`; the worker goes on."""

    worker: int
    ticket: int
    reason: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone, and with it what it had not finished."""

    worker: int
    reason: str


Event = Ready | Unmade | Finished | Raised | Lost


class WorkerGroup(Protocol):
    """Workers, by number. A worker takes its batches in the order in which they were sent to it."""

    @property
    def depth(self) -> int:
        """How many unfinished batches a worker may hold."""
        ...

    @property
    def patience(self) -> float:
        """Seconds for which workers may be lost at their start before it counts as hopeless."""
        ...

    def start(self) -> int:
        """Begin to start a worker and return its number; `Ready`, `Unmade` or `Lost` follows."""
        ...

    def send(self, worker: int, ticket: int, batch: Any) -> None:
        """Give a batch to a worker that is ready; `Finished`, `Raised` or `Lost` follows."""
        ...

    def events(self, timeout: float) -> list[Event]:
        """What was reported, waiting at most `timeout` seconds for the first report."""
        ...

    def close(self) -> None:
        """End every worker."""
        ...


def reason_of(error: BaseException) -> str:
    """One line: the message of a ValueError, which is meant for users; of others the type and place too."""
    message = " ".join(str(error).split())
    if isinstance(error, ValueError) and message:
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].name}, line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}"
