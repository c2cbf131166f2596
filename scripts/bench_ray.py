"""What Ray costs and gains here: two workers against one, and the overhead of an evaluation on an actor.

    python scripts/bench_ray.py
    python scripts/bench_ray.py --evals 10 --cheap 2000   # a quick look

The estimator that stands for an expensive one burns a second of its thread's CPU time per network. Both
engines are measured in one run on Ray of this machine, so the ratio is one of equal conditions; two workers
need two idle cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from hvnas.parallel import ray_cluster
from hvnas.search import Archive, Checkpoint, Problem
from hvnas.search.engines.ray_batches import ray_problem, run_on_ray
from hvnas.search.request import Engine
from hvnas.search.rows import Rows
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.registry import strategy_entry
from hvnas.testing.estimators import Synthetic, expensive_problem
from hvnas.testing.strategies import LANDSCAPES

LEAST_RATIO = 1.8
MOST_OVERHEAD_MS = 2.0


@dataclass
class Clock(Silent):
    """When each evaluation was told, in seconds."""

    moments: list[float] = field(default_factory=list)

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Note the time."""
        self.moments.append(time.perf_counter())


@dataclass(frozen=True)
class Speed:
    """One search: seconds from its call to its end, and networks per second once all workers are at work."""

    whole: float
    rate: float


@dataclass(frozen=True)
class Scaling:
    """Two workers against one, by the rate and by the whole time."""

    one: Speed
    two: Speed

    @property
    def ratio(self) -> float:
        """Of the rates."""
        return self.two.rate / self.one.rate

    @property
    def whole_ratio(self) -> float:
        """Of the whole times, Ray's start included."""
        return self.one.whole / self.two.whole


def scaling(*, evals: int = 24, seconds: float = 1.0, rounds: int = 1) -> Scaling:
    """Searches of `evals` networks of `seconds` each, with one and with two workers in turn.

    Of several rounds the median by ratio counts.
    """
    found = [Scaling(_speed(1, evals, seconds), _speed(2, evals, seconds)) for _ in range(rounds)]
    return sorted(found, key=lambda one: one.ratio)[len(found) // 2]


def _speed(workers: int, evals: int, seconds: float) -> Speed:
    # Every network is within the budget, and so worth its second.
    problem = expensive_problem(LANDSCAPES[1], Synthetic(seconds), budget_ms=1000.0)
    clock = Clock()
    start = time.perf_counter()
    run_on_ray(
        strategy_entry("random").make(),
        problem,
        evals=evals,
        seed=0,
        progress=clock,
        checkpoint=Checkpoint(),
        engine=Engine(name="ray", workers=workers),
    )
    whole = time.perf_counter() - start
    # From the moment at which every worker had told one.
    told = np.array(clock.moments)
    return Speed(whole, (len(told) - workers) / (told[-1] - told[workers - 1]))


@dataclass(frozen=True)
class Overhead:
    """Milliseconds per cheap evaluation: here, on actors in batches, and on actors one row a call.

    `batched` and `single` are what actors take beyond what the evaluation takes here.
    """

    here: float
    batched: float
    single: float


def overhead(*, evals: int = 10_000, workers: int = 2) -> Overhead:
    """`evals` distinct cheap evaluations through actors that are up, and the same ones in this process."""
    problem = LANDSCAPES[1].problem()
    rows = np.unique(problem.space.sample(3 * evals, rng=np.random.default_rng(0)), axis=0)[:evals]
    here = _ms_per_row(problem, rows)
    with ray_cluster(cpus=workers):
        batched, single = (
            _on_actors(problem, rows, rows_per_call=size, workers=workers) for size in (None, 1)
        )
    return Overhead(here, batched - here, single - here)


def _on_actors(problem: Problem, rows: Rows, *, rows_per_call: int | None, workers: int) -> float:
    with ray_problem(problem, Engine(name="ray", workers=workers), rows_per_call=rows_per_call) as spread:
        spread.evaluate(rows[:100])
        return _ms_per_row(spread, rows)


def _ms_per_row(problem: Problem, rows: Rows) -> float:
    start = time.perf_counter()
    found = problem.evaluate(rows)
    seconds = time.perf_counter() - start
    assert len(found) == len(rows)
    return 1e3 * seconds / len(rows)


def lines(scale: Scaling, cost: Overhead, *, cheap: int) -> Iterator[str]:
    """Both results for readers, each with its bar."""
    for workers, speed in (("1 worker", scale.one), ("2 workers", scale.two)):
        yield f"{workers:<10} {speed.rate:6.3f} networks/s   {speed.whole:6.1f} s with Ray's start"
    yield (
        f"2 workers / 1 worker: {scale.ratio:.2f} x (>= {LEAST_RATIO}: {_met(scale.ratio >= LEAST_RATIO)}); "
        f"with Ray's start {scale.whole_ratio:.2f} x"
    )
    within = _met(max(cost.batched, cost.single) <= MOST_OVERHEAD_MS)
    yield (
        f"{cheap:,} cheap evaluations on actors: overhead {cost.batched:.4f} ms each in batches, "
        f"{cost.single:.3f} ms one a call, {cost.here:.4f} ms each here (<= {MOST_OVERHEAD_MS:g}: {within})"
    )


def _met(well: bool) -> str:
    return "met" if well else "MISSED"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evals", type=int, default=24, help="networks of a second each, per search")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds per network")
    parser.add_argument("--rounds", type=int, default=1, help="pairs of searches")
    parser.add_argument("--cheap", type=int, default=10_000, help="cheap evaluations")
    asked = parser.parse_args()
    scale = scaling(evals=asked.evals, seconds=asked.seconds, rounds=asked.rounds)
    for line in lines(scale, overhead(evals=asked.cheap), cheap=asked.cheap):
        print(line)


if __name__ == "__main__":
    main()
