"""The registry of strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hvnas._registry import Late, Registry
from hvnas.search.seams import Strategy


@dataclass(frozen=True)
class Entry:
    """A strategy as registered: how to make it, and what is known of it."""

    name: str
    make: Callable[[], Strategy]
    adaptive: bool
    default_evals: int
    summary: str


T = TypeVar("T", bound=Callable[[], Strategy])
_STRATEGIES: Registry[Entry] = Registry("strategy", group="hvnas.strategies", named=False)


def register_strategy(name: str, *, adaptive: bool, default_evals: int, summary: str) -> Callable[[T], T]:
    """Decorator: make a strategy (a class, or a function that returns one) known under `name`.

    `adaptive` strategies learn from what they have evaluated, and must beat ``random`` in the conformance
    cases. `default_evals` is what a search spends where the user names no number; `summary` one line.
    """

    def register(make: T) -> T:
        _STRATEGIES.add(name, Entry(name, make, adaptive, default_evals, summary))
        return make

    return register


def list_strategies() -> list[str]:
    """Names of the registered strategies."""
    return list(_STRATEGIES.names())


def strategy_entry(name: str) -> Entry:
    """The strategy registered under `name`. Raises ValueError naming those there are."""
    return _STRATEGIES[name]


register_strategy(
    "evolution", adaptive=True, default_evals=10_000, summary="vectorised NSGA-II, front refined"
)(Late("hvnas.search.evolution:Evolution"))
register_strategy(
    "grid", adaptive=False, default_evals=10_000_000, summary="every architecture of a small space, once"
)(Late("hvnas.search.grid:Grid"))
register_strategy(
    "predictor",
    adaptive=True,
    default_evals=200,
    summary="fits on what was evaluated, proposes the next batch",
)(Late("hvnas.search.predictor:Predictor"))
register_strategy(
    "slimming",
    adaptive=False,
    default_evals=200,
    summary="a supernet's largest network, slimmed by the least top-1 per ms (EfficientFormer)",
)(Late("hvnas.search.slimming:Slimming"))
register_strategy(
    "slimming-joint",
    adaptive=False,
    default_evals=400,
    summary="slimming by size and latency, every depth, width and expansion (EfficientFormerV2)",
)(Late("hvnas.search.slimming:joint"))

for _name, _adaptive, _evals, _summary in (
    ("tpe", True, 1_000, "Optuna's multivariate TPE"),
    ("nsga2", True, 5_000, "Optuna's NSGA-II"),
    ("nsga3", True, 5_000, "Optuna's NSGA-III, for many objectives"),
    ("cmaes", True, 2_000, "Optuna's CMA-ES on the first objective with a penalty"),
    ("gp", True, 60, "Optuna's Gaussian process (imports torch)"),
    ("qmc", False, 5_000, "Optuna's scrambled Sobol sequence"),
    ("random", False, 5_000, "Optuna's random sampler"),
):
    register_strategy(_name, adaptive=_adaptive, default_evals=_evals, summary=_summary)(
        Late("hvnas.search.optuna_samplers:OptunaStrategy", (_name,))
    )
