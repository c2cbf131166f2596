"""Evolution and its peers as functions of a problem, and the clock that they run against."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from _bench_common import volume

from hvnas.search import Archive, Checkpoint, Problem
from hvnas.search.evaluations import Evaluations
from hvnas.search.rows import Rows, SeenSet, row_keys
from hvnas.search.runs.session import Progress, Silent
from hvnas.search.strategies.evolution import Evolution
from hvnas.search.strategies.optuna_samplers import OptunaStrategy

Run = Callable[[Problem], object]


@dataclass
class Counter:
    """Stands before a Problem's evaluation: counts distinct rows and keeps the feasible points."""

    problem: Problem
    seen: SeenSet = field(default_factory=SeenSet)
    points: list[np.ndarray] = field(default_factory=list)

    def evaluate(self, rows: Rows, **options: Any) -> Evaluations:
        """As the problem does."""
        found = self.problem.evaluate(rows, **options)
        self.seen.add(row_keys(rows))
        self.points.append(found.costs[found.feasible])
        return found

    def volume(self) -> float:
        """Hypervolume of all points up to the budget, in ms x points."""
        return volume(np.concatenate(self.points), ms=self.problem.budget_ms)


@dataclass(frozen=True)
class Outcome:
    """One run of one contender: distinct architectures per second of wall time, and of processor time of
    all threads; hypervolume, best objective.
    """

    rate: float
    cpu_rate: float
    volume: float
    best: float


def timed(problem: Problem, run: Run) -> Outcome:
    """Run a contender on a problem whose evaluations are counted."""
    counter = Counter(problem)
    counted = problem.with_seeds(problem.seeds)
    object.__setattr__(counted, "evaluate", counter.evaluate)
    start, cpu_start = time.perf_counter(), time.process_time()
    run(counted)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    best = max((-float(p[:, 0].min()) for p in counter.points if p.size), default=float("nan"))
    evaluated = len(counter.seen)
    return Outcome(evaluated / seconds, evaluated / cpu_seconds, counter.volume(), best)


class _TimeIsUp(Exception):
    """Ends a strategy from within its progress."""


class _Clock(Silent):
    """Progress that ends the run at the first report after its time."""

    def __init__(self, seconds: float, started: float) -> None:
        self.end = started + seconds
        self.archive: Archive | None = None

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Keep the archive; raise when the time is up."""
        self.archive = archive
        if time.perf_counter() >= self.end:
            raise _TimeIsUp


def within(seconds: float, run: Callable[[Progress], object]) -> tuple[Archive, float]:
    """What a strategy has found when `seconds` of wall time are over, and how many it took."""
    started = time.perf_counter()
    clock = _Clock(seconds, started)
    with suppress(_TimeIsUp):
        run(clock)
    assert clock.archive is not None, "a strategy reports at least once"
    return clock.archive, time.perf_counter() - started


def evolution(evals: int, seed: int) -> Run:
    """Our evolution."""
    return lambda problem: Evolution().run(
        problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()
    )


def optuna_nsga2(evals: int, seed: int) -> Run:
    """Optuna's NSGA-II on an in-memory study."""
    return lambda problem: OptunaStrategy("nsga2").run(
        problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()
    )


def pymoo_nsga2(evals: int, seed: int, *, population: int = 200) -> Run:
    """pymoo's NSGA-II with its integer operators."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Wrapped(PymooProblem):
        def __init__(self, problem: Problem) -> None:
            top = np.asarray(problem.space.cardinalities) - 1
            objectives = len(problem.objectives)
            super().__init__(n_var=len(top), n_obj=objectives, n_ieq_constr=1, xl=0, xu=top, vtype=int)
            self.problem = problem

        def _evaluate(
            self, x: np.ndarray, out: dict[str, np.ndarray], *args: object, **kwargs: object
        ) -> None:
            found = self.problem.evaluate(self.problem.space.canonicalise(x.astype(np.int16)))
            out["F"] = found.costs
            out["G"] = found.violation[:, None]

    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    return lambda problem: minimize(Wrapped(problem), algorithm, ("n_eval", evals), seed=seed, verbose=False)
