"""What a proxy is, and how one is found by name.

A *counted* proxy is a formula of columns of the Program; a *probed* one runs the network with weights
drawn from a seed. Each stands in a file of its own name; the decorators below make it known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvnas._names import unknown_name
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns

if TYPE_CHECKING:
    from hvnas.accuracy.proxies.subject import Subject

Array = NDArray[np.float64]

COUNTED = ("params", "macs", "acts", "free")
PROBED = ("naswot", "zico", "az_expressivity", "az_trainability", "synflow", "dss")


@dataclass(frozen=True)
class CountedProxy:
    """A formula of numbers of the Program: ``combine(values [n, columns]) -> [n]``."""

    name: str
    columns: tuple[Column, ...]
    combine: Callable[[Array], Array]

    def score(self, network: Arch | Program, *, seed: int = 0) -> float:
        """The score of one network; the seed makes no difference."""
        program = network if isinstance(network, Program) else network.lower()
        return float(self.combine(evaluate_columns(self.columns, program)[None])[0])


@dataclass(frozen=True)
class ProbedProxy:
    """A score that a network with random weights gives on random images."""

    name: str
    probe: Callable[[Subject], float]

    def score(self, network: Arch | Program, *, seed: int = 0) -> float:
        """The score of one network, nan where it cannot be computed; the same seed gives the same score.

        Raises ValueError for a bare Program.
        """
        from hvnas.accuracy.proxies.subject import Subject

        if isinstance(network, Program):
            raise ValueError(
                f"{self.name}: needs a network to run, and a Program has no weights; pass its Arch"
            )
        return self.score_subject(Subject.of(network, seed=seed))

    def score_subject(self, subject: Subject) -> float:
        """As `score`, for any torch module that `Subject.ready` made ready."""
        import torch

        try:
            return float(self.probe(subject))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a spectrum of what is not finite
            return float("nan")


Proxy = CountedProxy | ProbedProxy
_PROXIES: dict[str, Proxy] = {}


def register_count(
    name: str, *columns: Column
) -> Callable[[Callable[[Array], Array]], Callable[[Array], Array]]:
    """Decorator: a formula of `columns`, ``values [n, columns] -> scores [n]``, is the proxy `name`."""

    def register(combine: Callable[[Array], Array]) -> Callable[[Array], Array]:
        _PROXIES[name] = CountedProxy(name, columns, combine)
        return combine

    return register


def register_probe(name: str) -> Callable[[Callable[[Subject], float]], Callable[[Subject], float]]:
    """Decorator: a function of a `Subject` is the proxy `name`."""

    def register(probe: Callable[[Subject], float]) -> Callable[[Subject], float]:
        _PROXIES[name] = ProbedProxy(name, probe)
        return probe

    return register


def list_proxies() -> tuple[str, ...]:
    """Names that `load_proxy` takes: counts first, then those that run the network."""
    return tuple(dict.fromkeys([*COUNTED, *PROBED, *_PROXIES]))


def load_proxy(name: str) -> Proxy:
    """The proxy called `name`. Raises ValueError naming those that exist."""
    if name not in _PROXIES and name in (*COUNTED, *PROBED):
        import_module(f"hvnas.accuracy.proxies.{name}")
    if name not in _PROXIES:
        raise ValueError(unknown_name("proxy", name, list_proxies()))
    return _PROXIES[name]
