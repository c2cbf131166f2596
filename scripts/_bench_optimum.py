"""Whether evolution finds the true optimum and the true front of a space small enough to list."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from _bench_common import Report, Settings, volume_of

from hvnas.arch import load_arch
from hvnas.search import Archive, Checkpoint, Problem, find_reach
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.evolution import Evolution
from hvnas.search.strategies.grid import Grid

SHARE, HITS, VOLUME = 0.05, 0.95, 0.995
# Points; objectives are rounded to a thousandth of this.
_EQUAL = 1e-6


@dataclass(frozen=True)
class Truth:
    """The front of a listed space, its hypervolume up to `ms`, and the highest objective."""

    front: Archive
    ms: float
    volume: float
    best: float


def run(settings: Settings, report: Report) -> None:
    """List the space, then search it with many seeds. The fixed points inside are not given to the search."""
    problem = settings.problem(space=settings.small, margin=None)
    truth = listed(problem, report)
    say_fixed_points(problem, truth, report)
    # The fastest architecture begins every search.
    problem = problem.with_seeds(find_reach(problem).min_row[None])
    for share in settings.shares:
        search_often(problem, truth, share=share, seeds=settings.optimum_seeds, report=report)


def listed(problem: Problem, report: Report) -> Truth:
    """The truth, by evaluating everything."""
    start = time.perf_counter()
    front = Grid().run(problem, evals=problem.space.size, seed=0, progress=Silent(), checkpoint=Checkpoint())
    assert front.evaluated == problem.space.size and front.best is not None
    seconds = time.perf_counter() - start
    # Nothing feasible lies between here and the budget: volume there would tell nothing.
    ms = problem.budget_ms / (1 + problem.margin)
    truth = Truth(front, ms, volume_of(front, ms=ms), float(front.best.objective[0]))
    report.line(
        f"{problem.space.name}: all {front.evaluated:,} architectures in {seconds:.1f} s; "
        f"{len(front)} on the front, optimum {truth.best:.3f} at {float(front.best.ms[0]):.3f} ms"
    )
    return truth


def say_fixed_points(problem: Problem, truth: Truth, report: Report) -> None:
    """Where the papers' models inside lie below the optimum; none of them is a seed here."""
    for name in problem.space.fixed_points():
        found = problem.evaluate(problem.space.encode(load_arch(name))[None])
        gap = truth.best - float(found.objective[0])
        report.line(f"fixed point inside, no seed here: {name}, {gap:.3f} points below the optimum")


def search_often(problem: Problem, truth: Truth, *, share: float, seeds: int, report: Report) -> None:
    """Searches that evaluate `share` of the space, one per seed; with bars at `SHARE`."""
    evals = int(share * problem.space.size)
    hits, volumes = 0, []
    for seed in range(seeds):
        archive = Evolution().run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint())
        assert archive.evaluated <= evals
        best = archive.best
        hits += best is not None and float(best.objective[0]) >= truth.best - _EQUAL
        volumes.append(volume_of(archive, ms=truth.ms) / truth.volume)
    report.line(
        f"{evals:,} evaluations ({share:.1%}), {seeds} seeds: optimum found by {hits}; share of the true "
        f"hypervolume: median {statistics.median(volumes):.6f}, minimum {min(volumes):.6f}"
    )
    if share == SHARE:
        report.at_least(HITS, hits / seeds, f"share of seeds that find the optimum with {share:.0%}")
        report.at_least(
            VOLUME, min(volumes), f"least share of the true hypervolume with {share:.0%}", digits=6
        )
