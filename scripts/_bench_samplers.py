"""Hypervolume at equal wall time: evolution and every one of Optuna's samplers, taking turns."""

from __future__ import annotations

import statistics
from dataclasses import replace

from _bench_common import Report, Settings, volume_of
from _bench_contenders import within

from hvnas.blocks.base import lower_block
from hvnas.search import Archive, Checkpoint, Problem, Strategy, find_reach
from hvnas.search.strategies.evolution import Evolution
from hvnas.search.strategies.optuna_samplers import OptunaStrategy
from hvnas.search.strategies.registry import strategy_entry

OWN = "evolution"
# Ten random ones, and one for which a sampler's own libraries are imported and its model is fitted.
_WARM_UP = 11


def run(settings: Settings, report: Report) -> None:
    """Medians over the seeds, and the bar against the best of the samplers."""
    problem = settings.problem()
    problem = problem.with_seeds(find_reach(problem).min_row[None])
    peers = {name: OptunaStrategy(name) for name in settings.samplers}
    contenders: dict[str, Strategy] = {OWN: Evolution(), **peers}
    for strategy in contenders.values():
        _search(strategy, problem, evals=_WARM_UP, seed=0, seconds=60.0)
    results: dict[str, list[tuple[float, int, float]]] = {name: [] for name in contenders}
    for seed in range(settings.seeds):
        for name, strategy in contenders.items():
            evals = planned(name, settings)
            archive, seconds = _search(strategy, problem, evals=evals, seed=seed, seconds=settings.seconds)
            # As in a run's history: above a floor that others do not reach, 0 would be all there is to see.
            volume = volume_of(archive, ms=settings.budget_ms, floor=0.0)
            results[name].append((volume, archive.evaluated, seconds))
    medians = {name: statistics.median(v for v, _, _ in runs) for name, runs in results.items()}
    for name, runs in results.items():
        evaluated = statistics.median(n for _, n, _ in runs)
        seconds = statistics.median(s for _, _, s in runs)
        report.line(
            f"{name:10s} hypervolume {medians[name]:8.4f}   {evaluated:9,.0f} evaluated in {seconds:5.1f} s"
        )
    _bar(medians, report)


def planned(name: str, settings: Settings) -> int:
    """The evaluations that a contender is told of: it suits its populations and its random start to them.

    More than Optuna's get through in time, but for a sampler that learns no more than it is meant for.
    """
    entry = strategy_entry(name)
    if name == OWN:
        return settings.sampler_evals
    return entry.default_evals if entry.adaptive else 10**6


def _bar(medians: dict[str, float], report: Report) -> None:
    best = max((name for name in medians if name != OWN), key=medians.__getitem__)
    ratio = medians[OWN] / medians[best] if medians[best] else float("inf")
    report.at_least(
        1, ratio, f"evolution over the best of Optuna's samplers ({best}), hypervolumes", digits=4
    )


def _search(
    strategy: Strategy, problem: Problem, *, evals: int, seed: int, seconds: float
) -> tuple[Archive, float]:
    """One run with the tables empty: everybody pays for what they look at."""
    lower_block.cache_clear()
    cold = replace(problem, features=None)
    return within(
        seconds,
        lambda clock: strategy.run(cold, evals=evals, seed=seed, progress=clock, checkpoint=Checkpoint()),
    )
