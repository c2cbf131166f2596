"""Architectures per second: evolution, pymoo's NSGA-II and Optuna's, on the same problem and evaluation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from _bench_common import Report, Settings
from _bench_contenders import Outcome, evolution, optuna_nsga2, pymoo_nsga2, timed

from hvnas.blocks.base import lower_block
from hvnas.ops import evaluate_columns
from hvnas.search import Problem, find_reach

RATE, TIMES_PYMOO, TIMES_OPTUNA = 50_000, 3, 30


def run(settings: Settings, report: Report) -> None:
    """Rates of all three, their ratios, and what an evaluation costs."""
    start = time.perf_counter()
    problem = settings.problem()
    report.line(f"loading space, device and surrogate {time.perf_counter() - start:6.2f} s")
    start = time.perf_counter()
    reach = find_reach(problem)
    report.line(
        f"reach {reach.min_ms:.3f} to {reach.max_ms:.3f} ms        {time.perf_counter() - start:6.2f} s"
    )
    first = timed(problem, evolution(settings.evals, 0))
    report.line(
        f"evolution, first run, tables still empty: {first.rate:,.0f} archs/s "
        f"({first.cpu_rate:,.0f} a second of CPU)"
    )
    rates = contest(problem, settings, report)
    own = rates["evolution"]
    report.at_least(RATE, own, "evolution, archs/s with the tables filled", digits=0)
    for peer, bound in (("pymoo NSGA-II", TIMES_PYMOO), ("Optuna NSGA-II", TIMES_OPTUNA)):
        report.at_least(bound, own / rates[peer], f"evolution over {peer}, ratio of rates")
    features(problem, report)


def contest(problem: Problem, settings: Settings, report: Report) -> dict[str, float]:
    """Median rate of each contender with the fast path's tables filled, in interleaved rounds."""
    contenders = {
        "evolution": (evolution, settings.evals),
        "pymoo NSGA-II": (pymoo_nsga2, settings.peer_evals * 4),
        "Optuna NSGA-II": (optuna_nsga2, settings.peer_evals),
    }
    outcomes: dict[str, list[Outcome]] = {name: [] for name in contenders}
    for seed in range(settings.rounds):
        for name, (make, evals) in contenders.items():
            # The first time fills the tables: none is to pay for lowering that another was spared.
            timed(problem, make(evals, seed))
            outcomes[name].append(timed(problem, make(evals, seed)))
    for name, runs in outcomes.items():
        volume, best = statistics.median(o.volume for o in runs), statistics.median(o.best for o in runs)
        report.line(
            f"{name:15s} {contenders[name][1]:9,d} evaluations {_rate(runs):10,.0f} archs/s   "
            f"({statistics.median(o.cpu_rate for o in runs):,.0f} a second of CPU)   "
            f"hypervolume {volume:.4f}   best objective {best:.3f}"
        )
    return {name: _rate(runs) for name, runs in outcomes.items()}


def _rate(runs: list[Outcome]) -> float:
    return statistics.median(o.rate for o in runs)


def features(problem: Problem, report: Report) -> None:
    """Features of 10,000 encoded rows, warm; of one architecture, from cold."""
    rows = problem.space.sample(10_000, rng=np.random.default_rng(1), macs=(0.1e9, 5e9))
    problem.values(rows)
    report.line(f"features of 10,000 rows, warm   {_median_ms(lambda: problem.values(rows), 5):8.1f} ms")
    report.line(f"evaluation of 10,000 rows, warm {_median_ms(lambda: problem.evaluate(rows), 5):8.1f} ms")
    fresh = iter(rows)

    def one_from_cold() -> None:
        lower_block.cache_clear()
        evaluate_columns(problem.columns, problem.space.decode(next(fresh)).lower())

    report.line(f"one architecture from cold      {_median_ms(one_from_cold, 50):8.2f} ms (median of 50)")


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median wall time in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
