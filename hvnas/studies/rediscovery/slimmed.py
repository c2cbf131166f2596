"""Rediscovery with a supernet: slimming, and searches by the supernet and by it and the surrogate together.

The supernet is that of `hvnas.studies.rediscovery.supernet`, or another one of ``hvnas supernet train``. The
budgets are shares of the milliseconds between its fastest network and the one that slimming starts from, on
the device that never saw the family; the gate is off, so that only costs are at work. Slimming starts from
local blocks with attention behind them, as the paper's does, and only takes away: the order of blocks that it
comes to is its own, not a finding. The searches start from nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.inherited import Inherited, InheritedEstimator
from hvnas.search import SearchResult, search
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.reach import UNBOUNDED_MS, find_reach
from hvnas.search.seams import Floats, Rows
from hvnas.studies.rediscovery.efficientformer import COUNTED, OnStep, Setting
from hvnas.studies.rediscovery.patterns import LayoutOf, held
from hvnas.studies.rediscovery.patterns import shares as shares_of
from hvnas.studies.rediscovery.peers import Weights
from hvnas.supernet.slimming import Moves

SHARES = (0.25, 0.5, 0.75)
# An estimate of the study's own supernet takes seconds: half of the test images, and few estimates.
EVALS, IMAGES = 60, 1024
REFERENCES = 32
SLIMMING, ALONE, BOTH = "slimming", "supernet", "both"
DRAWN = 5000  # random members, of which those within a budget tell what chance has to offer


@dataclass(frozen=True)
class Slimmed:
    """What one way of searching found within a budget; `top1` is a score for `BOTH`."""

    way: str
    share: float
    budget_ms: float
    layout: LayoutOf
    ms: float
    top1: float
    held: dict[str, bool]
    evaluated: int


@dataclass(frozen=True)
class Chance:
    """What chance has to offer: the share of random members within a budget that have each pattern.

    As among the peers of a paper's model, a run of blocks is empty or not with equal weight.
    """

    share: float
    budget_ms: float
    members: int
    held: dict[str, float]


@dataclass(frozen=True)
class WithSupernet:
    """The supernet's part of a rediscovery: `meaning` says what its top-1 is that of."""

    folder: str
    space: str
    meaning: str
    found: tuple[Slimmed, ...]
    chances: tuple[Chance, ...]


def supernet_in(folder: str | Path) -> InheritedEstimator:
    """The supernet in `folder`. Raises ValueError where there is none, or one without a choice to attend."""
    supernet = InheritedEstimator(Inherited(folder=str(folder), images=IMAGES))
    space = supernet.folder.space()
    if not any(0 in s.global_depth and max(s.global_depth) > 0 for s in space.spec.stages):
        raise ValueError(f"{folder}: its space leaves no stage the choice to attend; train another supernet")
    return supernet


def with_supernet(
    setting: Setting,
    supernet: InheritedEstimator,
    *,
    shares: Sequence[float] = SHARES,
    evals: int = EVALS,
    on_step: OnStep | None = None,
) -> WithSupernet:
    """Slim `supernet`, and search by it, alone and with the surrogate, at each share of its latencies."""
    space, device = supernet.folder.space(), setting.device.device
    problem = make_problem(space, device, supernet, budget_ms=UNBOUNDED_MS, margin=0.0, outside="allow")
    rows = space.sample(DRAWN, rng=np.random.default_rng(0))
    least, most = find_reach(problem).min_ms, float(_ms(problem, Moves(space, {}).start()[None])[0])
    budgets = [least + share * (most - least) for share in shares]
    within = rows[_ms(problem, rows) <= max(budgets)]
    references = [space.decode(row) for row in within[:REFERENCES]]
    both = RankMean("surrogate+supernet", (setting.surrogate, supernet)).against(references)
    ways = ((SLIMMING, supernet, "slimming"), (ALONE, supernet, "predictor"), (BOTH, both, "predictor"))
    found = []
    for share, budget in zip(shares, budgets, strict=True):
        for way, estimator, strategy in ways:
            if on_step:
                on_step(f"{way}, {budget:.3f} ms")
            result = search(
                space,
                device,
                budget_ms=budget,
                strategy=strategy,
                recipe=setting.recipe,
                estimator=estimator,
                evals=evals,
                margin=0.0,
                outside="allow",
                fixed_points=False,
            )
            found.append(_slimmed(way, share, budget, result))
    chances = (_chance(problem, rows, share, ms) for share, ms in zip(shares, budgets, strict=True))
    return WithSupernet(str(supernet.folder.path), space.name, supernet.meaning, tuple(found), tuple(chances))


def _ms(problem: Problem, rows: Rows) -> Floats:
    return problem.screen(rows).latency.ms


def _slimmed(way: str, share: float, budget_ms: float, result: SearchResult) -> Slimmed:
    best = result.best
    layout = LayoutOf.of(best.arch)
    return Slimmed(
        way=way,
        share=share,
        budget_ms=budget_ms,
        layout=layout,
        ms=best.latency_ms,
        top1=best.top1,
        held=held(layout),
        evaluated=result.evaluated,
    )


def _chance(problem: Problem, rows: Rows, share: float, budget_ms: float) -> Chance:
    within = rows[_ms(problem, rows) <= budget_ms]
    weights = np.exp(Weights(problem.space)(within))
    drawn = np.random.default_rng(0).choice(len(within), size=COUNTED, p=weights / weights.sum())
    layouts = [LayoutOf.of(problem.space.decode(within[i])) for i in drawn]
    return Chance(share, budget_ms, len(within), shares_of(layouts))
