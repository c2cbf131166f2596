"""Timing whole networks on this host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hvnas.arch import Arch
from hvnas.latency.measure.backends import make_backend

RUNS = 15
LONG_MS = 200.0
FEW_RUNS = 7
CALM, TRIES = 0.05, 3


def time_networks(
    archs: Sequence[Arch],
    *,
    backend: str,
    threads: int | None = 1,
    passes: int = 2,
    on_step: Callable[[int, str], None] | None = None,
) -> list[tuple[float, ...]]:
    """Median milliseconds of every network, in as many passes over all of them.

    A pass builds each network anew, so that two passes tell what a time is worth. `on_step` is told how
    many timings are done and what comes next. Raises ValueError as `make_backend`.
    """
    timer = make_backend(backend, threads=threads or 1)
    times: list[list[float]] = [[] for _ in archs]
    for done in range(passes * len(archs)):
        k = done % len(archs)
        if on_step:
            on_step(done, archs[k].name)
        times[k].append(float(np.median(network_times(timer.network(archs[k])))))
    return [tuple(t) for t in times]


def network_times(sampler: Callable[[int], list[float]]) -> list[float]:
    """Milliseconds of `RUNS` runs, of `FEW_RUNS` where one is long; the calmest of a few tries.

    Where the middle half of the runs spans more than `CALM` of their median, something else was going on.
    """
    tries: list[list[float]] = []
    while len(tries) < TRIES and not (tries and _span(tries[-1]) <= CALM):
        first = sampler(3)
        runs = FEW_RUNS if np.median(first) > LONG_MS else RUNS
        tries.append([*first, *sampler(runs - 3)])
    return min(tries, key=_span)


def _span(times: Sequence[float]) -> float:
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
    return float((high - low) / median)
