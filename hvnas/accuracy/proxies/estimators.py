"""Zero-cost proxies as estimators: scores that rank networks, and tables of them with the time they took.

A proxy knows nothing of training: recipe and scenario make no difference to a score.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hvnas.accuracy.estimator import SCORE, AccuracyEstimator, ColumnEstimator, ScoreEstimate, check_scenario
from hvnas.accuracy.proxies.registry import Array, CountedProxy, list_proxies, load_proxy
from hvnas.accuracy.ranks import places
from hvnas.arch import Arch
from hvnas.ops import Column, Program
from hvnas.train.recipes import load_recipe

SEED = 0


@dataclass(frozen=True)
class CountEstimator(ColumnEstimator):
    """A counted proxy as an estimator; it serves whole populations by their columns."""

    unit: ClassVar[str] = SCORE

    name: str
    proxy: CountedProxy

    @classmethod
    def of(cls, name: str) -> CountEstimator:
        """Return the estimator of the counted proxy called `name`. Raises ValueError for any other name."""
        proxy = load_proxy(name)
        if not isinstance(proxy, CountedProxy):
            raise ValueError(f"{name}: runs the network, it does not count; use ProbeEstimator")
        return cls(name, proxy)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        return self.proxy.columns

    def label(self) -> str:
        """Return the proxy's name."""
        return self.name

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> ScoreEstimate:
        """Return scores from the values of `columns`, ``[n, len(columns)]``.

        Raises ValueError for an unknown recipe or scenario.
        """
        _check(recipe, scenario)
        return ScoreEstimate.of(self.proxy.combine(values))


@dataclass(frozen=True)
class ProbeEstimator(AccuracyEstimator):
    """A proxy that runs each network with weights drawn from `seed`."""

    unit: ClassVar[str] = SCORE

    name: str
    seed: int = SEED

    def label(self) -> str:
        """Return the proxy's name."""
        return self.name

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> ScoreEstimate:
        """Return a score for each network, -inf where it cannot be computed.

        Raises ValueError for a bare Program, an unknown recipe or an unknown scenario.
        """
        _check(recipe, scenario)
        proxy = load_proxy(self.name)
        scores = [proxy.score(network, seed=self.seed) for network in archs_or_programs]
        return ScoreEstimate.of(np.array(scores, dtype=np.float64))


def _check(recipe: str, scenario: str) -> None:
    check_scenario(scenario)
    load_recipe(recipe)


@dataclass(frozen=True)
class ProxyColumn:
    """One proxy's scores of the networks and the seconds of wall time that each took. Shape [n] each."""

    proxy: str
    scores: Array
    seconds: Array

    @property
    def places(self) -> list[int]:
        """The place of each network, 1 for the best; scores that are not finite come last."""
        return places(self.scores)

    @property
    def failed(self) -> int:
        """How many scores are not finite."""
        return int((~np.isfinite(self.scores)).sum())


def score_table(
    archs: Sequence[Arch], *, proxies: Sequence[str] | None = None, seed: int = 0
) -> tuple[ProxyColumn, ...]:
    """A column for each of `proxies`, all of them by default. Raises ValueError for an unknown name."""
    names = tuple(dict.fromkeys(list_proxies() if proxies is None else proxies))
    loaded = [load_proxy(name) for name in names]
    columns = []
    for name, proxy in zip(names, loaded, strict=True):
        scores, seconds = np.empty(len(archs)), np.empty(len(archs))
        for i, arch in enumerate(archs):
            started = time.perf_counter()
            scores[i] = proxy.score(arch, seed=seed)
            seconds[i] = time.perf_counter() - started
        columns.append(ProxyColumn(name, scores, seconds))
    return tuple(columns)
