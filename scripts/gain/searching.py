"""The search whose worth is asked for, at the resolution that its networks are trained at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvnas._request import Outside
from hvnas.accuracy import Estimate
from hvnas.arch import Arch
from hvnas.latency import Device
from hvnas.search import SearchResult, search
from hvnas.space import FastPath, Space, load_space

SAMPLE = 256
BUDGET_QUANTILE = 0.25


@dataclass(frozen=True, kw_only=True)
class GainRequest:
    """How to search; `recipe` and `scenario` are what top-1 is estimated for, not how networks are trained.

    `budget_ms` None is the lower quartile of random members' predictions: there networks are quick to train.
    """

    budget_ms: float | None = None
    estimator: str = "surrogate"
    recipe: str = "modern300"
    scenario: str = "imagenet1k"
    strategy: str = "auto"
    evals: int | None = None
    margin: float | None = None
    outside: Outside = "forbid"
    seed: int = 0


@dataclass(frozen=True)
class Searched:
    """What was found, and within what budget in milliseconds."""

    arch: Arch
    budget_ms: float
    result: SearchResult

    def score(self, archs: Sequence[Arch]) -> Estimate:
        """What the search's own estimator says of networks."""
        problem = self.result.problem
        return problem.estimator.estimate(archs, recipe=problem.recipe, scenario=problem.scenario)


def space_at(name: str | Path, resolution: int, classes: int | None = None) -> Space:
    """The space with `resolution` instead of its own, and with heads for `classes` where these are given.

    Raises ValueError as `load_space`.
    """
    spec = load_space(name).spec
    space = Space(replace(spec, name=f"{spec.name}-{resolution}px", resolution=(resolution,)))
    return space if classes is None else space.at(resolution, classes)


def searched(space: Space, device: Device, asked: GainRequest) -> Searched:
    """Search `space`. Raises as `hvnas.search.search`."""
    budget = asked.budget_ms or usual_budget(space, device, seed=asked.seed)
    result = search(
        space,
        device,
        budget_ms=budget,
        strategy=asked.strategy,
        recipe=asked.recipe,
        scenario=asked.scenario,
        estimator=asked.estimator,
        evals=asked.evals,
        seed=asked.seed,
        margin=asked.margin,
        outside=asked.outside,
    )
    return Searched(result.best.arch, budget, result)


def usual_budget(space: Space, device: Device, *, seed: int) -> float:
    """The lower quartile of the latencies predicted for random members, to a hundredth of a millisecond."""
    rows = space.sample(SAMPLE, rng=np.random.default_rng([seed, 1]))
    ms = device.latency_columns(FastPath(space, device.columns)(rows)).ms
    return round(float(np.quantile(ms, BUDGET_QUANTILE)), 2)
