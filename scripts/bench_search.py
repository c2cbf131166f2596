"""How fast the search is, on a clock of its own, beside Optuna's and pymoo's NSGA-II.

All contenders run in this process, in turn, on the same problem through the same evaluation; a rate counts
distinct canonical architectures per second of wall time, proposals, repairs and bookkeeping included.

    python scripts/bench_search.py
    python scripts/bench_search.py --rounds 1 --evals 20000 --peer-evals 500   # a quick look
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hvnas.blocks.base import lower_block
from hvnas.ops import evaluate_columns
from hvnas.search import Checkpoint, Problem, find_reach, make_problem
from hvnas.search.evolution import Evolution
from hvnas.search.optuna_samplers import OptunaStrategy
from hvnas.search.pareto import hypervolume
from hvnas.search.problem import Evaluations
from hvnas.search.seams import Rows, Silent
from hvnas.search.seen import SeenSet, row_keys


@dataclass
class Counter:
    """Stands before a Problem's evaluation: counts distinct rows and keeps the feasible points."""

    problem: Problem
    seen: SeenSet = field(default_factory=SeenSet)
    points: list[np.ndarray] = field(default_factory=list)

    def evaluate(self, rows: Rows) -> Evaluations:
        """As the problem does."""
        found = self.problem.evaluate(rows)
        self.seen.add(row_keys(rows))
        kept = found.feasible
        self.points.append(np.stack([found.ms[kept], found.objective[kept]]))
        return found

    def volume(self) -> float:
        """Hypervolume up to the budget, above 60 points, in ms x points."""
        ms, objective = np.concatenate(self.points, axis=1)
        return hypervolume(ms, objective, reference=(self.problem.budget_ms, 60.0))


@dataclass(frozen=True)
class Outcome:
    """One run of one contender."""

    rate: float
    volume: float
    best: float


def timed(problem: Problem, run: Callable[[Problem], object]) -> Outcome:
    """Run a contender on a problem whose evaluations are counted."""
    counter = Counter(problem)
    counted = problem.with_seeds(problem.seeds)
    object.__setattr__(counted, "evaluate", counter.evaluate)
    start = time.perf_counter()
    run(counted)
    seconds = time.perf_counter() - start
    best = max((float(p[1].max()) for p in counter.points if p.size), default=float("nan"))
    return Outcome(len(counter.seen) / seconds, counter.volume(), best)


def evolution(evals: int, seed: int) -> Callable[[Problem], object]:
    """Our evolution."""
    return lambda problem: Evolution().run(
        problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()
    )


def optuna_nsga2(evals: int, seed: int) -> Callable[[Problem], object]:
    """Optuna's NSGA-II on an in-memory study."""
    return lambda problem: OptunaStrategy("nsga2").run(
        problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint()
    )


def pymoo_nsga2(evals: int, seed: int) -> Callable[[Problem], object]:
    """pymoo's NSGA-II with its integer operators, population 200."""
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
            super().__init__(n_var=len(top), n_obj=2, n_ieq_constr=1, xl=0, xu=top, vtype=int)
            self.problem = problem

        def _evaluate(
            self, x: np.ndarray, out: dict[str, np.ndarray], *args: object, **kwargs: object
        ) -> None:
            found = self.problem.evaluate(self.problem.space.canonicalise(x.astype(np.int16)))
            out["F"] = np.stack([found.ms, -found.objective], axis=1)
            out["G"] = found.violation[:, None]

    algorithm = NSGA2(
        pop_size=200,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    return lambda problem: minimize(Wrapped(problem), algorithm, ("n_eval", evals), seed=seed, verbose=False)


def bench_contenders(problem: Problem, arguments: argparse.Namespace) -> None:
    """Rates with the fast path's tables filled, and their ratios, in interleaved rounds."""
    contenders = {
        "evolution": (evolution, arguments.evals),
        "pymoo NSGA-II": (pymoo_nsga2, arguments.peer_evals * 4),
        "Optuna NSGA-II": (optuna_nsga2, arguments.peer_evals),
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    for seed in range(arguments.rounds):
        for name, (make, evals) in contenders.items():
            # The first time fills the tables: none is to pay for lowering that another was spared.
            timed(problem, make(evals, seed))
            outcomes[name].append(timed(problem, make(evals, seed)))
    own = statistics.median(o.rate for o in outcomes["evolution"])
    for name, runs in outcomes.items():
        rate = statistics.median(o.rate for o in runs)
        volume, best = statistics.median(o.volume for o in runs), statistics.median(o.best for o in runs)
        print(
            f"{name:16s} {contenders[name][1]:8,d} evaluations  {rate:10,.0f} archs/s  "
            f"evolution is {own / rate:6.1f} x  hypervolume {volume:.4f}  best objective {best:.3f}"
        )


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median wall time in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def bench_features(problem: Problem) -> None:
    """Features of 10,000 encoded rows, warm; of one architecture, from cold."""
    rng = np.random.default_rng(1)
    rows = problem.space.sample(10_000, rng=rng, macs=(0.1e9, 5e9))
    problem.values(rows)
    print(f"features of 10,000 rows, warm  {median_ms(lambda: problem.values(rows), 5):8.1f} ms")
    print(f"evaluation of 10,000 rows, warm{median_ms(lambda: problem.evaluate(rows), 5):8.1f} ms")

    fresh = iter(rows)

    def one_from_cold() -> None:
        lower_block.cache_clear()
        evaluate_columns(problem.columns, problem.space.decode(next(fresh)).lower())

    print(f"one architecture from cold     {median_ms(one_from_cold, 50):8.2f} ms (median of 50)")


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget-ms", type=float, default=2.0)
    parser.add_argument("--evals", type=int, default=200_000, help="of evolution")
    parser.add_argument(
        "--peer-evals", type=int, default=2_000, help="of Optuna; pymoo gets four times as many"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contender, taking turns")
    arguments = parser.parse_args()

    start = time.perf_counter()
    problem = make_problem(
        arguments.space, arguments.device, "surrogate", budget_ms=arguments.budget_ms, margin=0.0
    )
    print(f"loading space, device and surrogate {time.perf_counter() - start:6.2f} s")
    start = time.perf_counter()
    reach = find_reach(problem)
    print(f"reach {reach.min_ms:.3f} to {reach.max_ms:.3f} ms        {time.perf_counter() - start:6.2f} s")
    first = timed(problem, evolution(arguments.evals, 0))
    print(f"evolution, first run (tables still empty)   {first.rate:10,.0f} archs/s")
    bench_contenders(problem, arguments)
    bench_features(problem)


if __name__ == "__main__":
    main()
