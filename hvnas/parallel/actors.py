"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from hvnas.parallel.pool import Event, Finished, Lost, Pool, Raised, Ready, Unmade, reason_of

B = TypeVar("B")
V = TypeVar("V")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def actor_pool(
    make: Callable[[], Callable[[B], V]],
    *,
    workers: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 2,
    depth: int = 2,
) -> Pool[B, V]:
    """A pool of Ray actors of `cpus` and `gpus` each, as many as the cluster fits unless `workers` says less.

    Each holds `depth` batches: one that it is at, and others that are there once it is done; 1 is better
    where a batch takes seconds.

    Inside of `hvnas.parallel.ray_cluster`, or where Ray was started before. `make`, the batches and the
    values travel through Ray's own pickling, which takes functions of a script or a notebook too. Raises
    ValueError where the cluster has no room for a single worker.
    """
    fits = fitting(cpus=cpus, gpus=gpus)
    return Pool(
        Actors(make, cpus=cpus, gpus=gpus, depth=depth),
        workers=fits if workers is None else min(workers, fits),
        retries=retries,
    )


def fitting(*, cpus: float, gpus: float = 0.0) -> int:
    """Return how many workers of `cpus` and `gpus` each the cluster holds when empty; see `room`.

    Raises ValueError where not even one fits.
    """
    import ray

    fits = room(cpus=cpus, gpus=gpus)
    if fits == 0:
        total = ray.cluster_resources()
        raise ValueError(
            f"no machine of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs to give to one worker (all "
            f"together: {total.get('CPU', 0):g} CPUs, {total.get('GPU', 0):g} GPUs); ask for fewer per worker"
        )
    return fits


def room(*, cpus: float, gpus: float = 0.0) -> int:
    """As `fitting`, 0 where none fits: the sum over machines, a worker being on one of them."""
    import ray

    found = 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            asked = [(has.get("CPU", 0.0), cpus), (has.get("GPU", 0.0), gpus)]
            found += min((math.floor(there / each + 1e-9) for there, each in asked if each > 0), default=1)
    return found


class Actors:
    """A group of Ray actors. See `hvnas.parallel.pool.WorkerGroup`."""

    # Until Ray has noticed that a machine is gone, which takes it about 15 s, it starts workers there.
    patience = 40.0

    def __init__(
        self, make: Callable[[], Any], *, cpus: float = 1.0, gpus: float = 0.0, depth: int = 2
    ) -> None:
        import ray

        self.depth = depth
        self._ray = ray
        # Stored once; every actor reads it from there.
        self._make = ray.put(make)
        self._actor: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Worker)
        self._actors: dict[int, Any] = {}
        # What each reference stands for: a worker, and a ticket or None for its start.
        self._out: dict[Any, tuple[int, int | None]] = {}
        self._started = 0

    def start(self) -> int:
        """Ask the cluster for an actor."""
        self._started += 1
        # In a list it stays a reference: what cannot be read there is then told by `prepare`.
        actor = self._actor.remote([self._make])
        self._actors[self._started] = actor
        self._out[actor.prepare.remote()] = (self._started, None)
        return self._started

    def send(self, worker: int, ticket: int, batch: Any) -> None:
        """Call the actor."""
        self._out[self._actors[worker].call.remote(batch)] = (worker, ticket)

    def events(self, timeout: float) -> list[Event]:
        """Everything that has come in once something has."""
        if not self._out:
            return []
        if not self._ray.wait(list(self._out), num_returns=1, timeout=timeout, fetch_local=True)[0]:
            return []
        ready, _ = self._ray.wait(list(self._out), num_returns=len(self._out), timeout=0, fetch_local=True)
        events = []
        for reference in ready:
            # Gone where its worker was found to be lost.
            if reference in self._out:
                worker, ticket = self._out.pop(reference)
                events.append(self._event(reference, worker, ticket))
        return events

    def _event(self, reference: Any, worker: int, ticket: int | None) -> Event:
        from ray.exceptions import RayActorError, RayError

        try:
            well, content = self._ray.get(reference)
        except RayActorError as error:
            self._forget(worker)
            return Lost(worker, first_line(error))
        except RayError as error:
            # A value that went with the machine that held it, or that could not be pickled.
            return Raised(worker, -1 if ticket is None else ticket, first_line(error))
        if ticket is None:
            return Ready(worker) if well else Unmade(worker, content)
        return Finished(worker, ticket, content) if well else Raised(worker, ticket, content)

    def _forget(self, worker: int) -> None:
        # Out of reach is not dead: an actor that comes back must not go on with what others do by then.
        self._ray.kill(self._actors.pop(worker))
        self._out = {r: place for r, place in self._out.items() if place[0] != worker}

    def close(self) -> None:
        """Kill the actors; on a cluster that is gone there is nothing to do."""
        if self._ray.is_initialized():
            for actor in self._actors.values():
                self._ray.kill(actor)
        self._actors.clear()
        self._out.clear()


class _Worker:
    """The actor."""

    def __init__(self, stored: list[Any]) -> None:
        self._stored = stored

    def prepare(self) -> tuple[bool, Any]:
        """Make the function, here and not in the constructor: from there a reason does not come back."""
        import ray

        try:
            self._call = ray.get(self._stored[0])()
        except Exception as error:
            return False, reason_of(error)
        return True, None

    def call(self, batch: Any) -> tuple[bool, Any]:
        """The value and True, or the reason and False."""
        try:
            return True, self._call(batch)
        except Exception as error:
            return False, reason_of(error)


def first_line(error: BaseException) -> str:
    """The type of an error of Ray's and the first line of its message, which has many."""
    plain = _COLOUR.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
