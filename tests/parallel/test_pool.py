"""Who is to blame for a lost worker, with workers that die on a script."""

from __future__ import annotations

from collections import deque
from typing import Any

from hvnas.parallel.pool import Event, Failure, Finished, Lost, Pool, Ready


class Scripted:
    """Workers that square, and die at `deadly` before the value of the batch before it is out."""

    depth = 2
    patience = 0.0

    def __init__(self, deadly: int) -> None:
        self.deadly = deadly
        self.held: dict[int, deque[tuple[int, Any]]] = {}
        self.new: list[int] = []
        self.began: list[int] = []

    def start(self) -> int:
        worker = len(self.began)
        self.began.append(worker)
        self.new.append(worker)
        return worker

    def send(self, worker: int, ticket: int, batch: Any) -> None:
        self.held[worker].append((ticket, batch))

    def events(self, timeout: float) -> list[Event]:
        if self.new:
            self.held |= {worker: deque() for worker in self.new}
            ready: list[Event] = [Ready(worker) for worker in self.new]
            self.new.clear()
            return ready
        for worker, held in list(self.held.items()):
            if any(batch == self.deadly for _, batch in held):
                del self.held[worker]
                return [Lost(worker, "died")]
            if held:
                ticket, batch = held.popleft()
                return [Finished(worker, ticket, batch * batch)]
        return []

    def close(self) -> None:
        pass


def test_only_the_batch_that_kills_fails() -> None:
    for deadly in range(8):
        with Pool[int, int](Scripted(deadly), workers=2, retries=1) as pool:
            outcomes = list(pool.outcomes(range(8)))
        failure = outcomes.pop(deadly)
        assert isinstance(failure, Failure) and (failure.index, failure.attempts) == (deadly, 2)
        assert outcomes == [x * x for x in range(8) if x != deadly]
