"""The registry of strategies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from hvnas._names import unknown_name
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
_STRATEGIES: dict[str, Entry] = {}


def register_strategy(name: str, *, adaptive: bool, default_evals: int, summary: str) -> Callable[[T], T]:
    """Decorator: make a strategy (a class, or a function that returns one) known under `name`.

    `adaptive` strategies learn from what they have evaluated, and must beat ``random`` in the conformance
    cases. `default_evals` is what a search spends where the user names no number; `summary` one line.
    """

    def register(make: T) -> T:
        if name in _STRATEGIES:
            raise ValueError(f"a strategy named {name!r} is registered already; choose another name")
        _STRATEGIES[name] = Entry(name, make, adaptive, default_evals, summary)
        return make

    return register


def list_strategies() -> list[str]:
    """Names of the registered strategies."""
    _load()
    return sorted(_STRATEGIES)


def strategy_entry(name: str) -> Entry:
    """The strategy registered under `name`. Raises ValueError naming those there are."""
    _load()
    if name not in _STRATEGIES:
        raise ValueError(unknown_name("strategy", name, sorted(_STRATEGIES)))
    return _STRATEGIES[name]


@lru_cache(maxsize=1)
def _load() -> None:
    from importlib import import_module
    from importlib.metadata import entry_points

    for module in ("evolution", "grid", "optuna_samplers", "predictor", "slimming"):
        import_module(f"hvnas.search.{module}")
    for point in entry_points(group="hvnas.strategies"):
        point.load()
