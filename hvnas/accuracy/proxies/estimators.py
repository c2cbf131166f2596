"""Zero-cost proxies as estimators: scores that rank networks, without a scale of points.

A proxy knows nothing of training: recipe and scenario make no difference to a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hvnas.accuracy.estimator import SCORE, ScoreEstimate, check_scenario, values_of
from hvnas.accuracy.proxies.registry import Array, CountedProxy, load_proxy
from hvnas.arch import Arch
from hvnas.ops import Column, Program
from hvnas.train.recipes import load_recipe

SEED = 0


@dataclass(frozen=True)
class CountEstimator:
    """A counted proxy as an estimator; it serves whole populations by their columns."""

    unit: ClassVar[str] = SCORE

    name: str
    proxy: CountedProxy

    @classmethod
    def of(cls, name: str) -> CountEstimator:
        """The estimator of the counted proxy called `name`. Raises ValueError for any other name."""
        proxy = load_proxy(name)
        if not isinstance(proxy, CountedProxy):
            raise ValueError(f"{name}: runs the network, it does not count; use ProbeEstimator")
        return cls(name, proxy)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        return self.proxy.columns

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> ScoreEstimate:
        """A score for each network or Program. Raises ValueError for an unknown recipe or scenario."""
        return self.estimate_columns(
            values_of(self.columns, archs_or_programs), recipe=recipe, scenario=scenario
        )

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> ScoreEstimate:
        """Scores from the values of `columns`, ``[n, len(columns)]``."""
        _check(recipe, scenario)
        return ScoreEstimate.of(self.proxy.combine(values))


@dataclass(frozen=True)
class ProbeEstimator:
    """A proxy that runs each network with weights drawn from `seed`."""

    unit: ClassVar[str] = SCORE

    name: str
    seed: int = SEED

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> ScoreEstimate:
        """A score for each network, -inf where it cannot be computed.

        Raises ValueError for a bare Program, an unknown recipe or an unknown scenario.
        """
        _check(recipe, scenario)
        proxy = load_proxy(self.name)
        scores = [proxy.score(network, seed=self.seed) for network in archs_or_programs]
        return ScoreEstimate.of(np.array(scores, dtype=np.float64))


def _check(recipe: str, scenario: str) -> None:
    check_scenario(scenario)
    load_recipe(recipe)
