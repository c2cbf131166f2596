"""Rediscovery with a supernet: slimming, and searches by the supernet and by it and the surrogate
together.

The supernet is that of `hvnas.studies.rediscovery.slimmed`, or another one of ``hvnas supernet train``. The
budgets are shares of the milliseconds between its fastest network and the one that slimming starts from, on
the device that never saw the family; the gate is off, so that only costs are at work. Slimming starts from
local blocks with attention behind them, as the paper's does, and only takes away: the order of blocks that it
comes to is its own, not a finding. The searches start from nothing. What the patterns cost the supernet is
told by the best of the random members that have them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.trained.inherited import Inherited, InheritedEstimator
from hvnas.arch import Arch
from hvnas.search import SearchResult, search
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.reach import UNBOUNDED_MS, find_reach
from hvnas.search.rows import Floats, Rows
from hvnas.studies.rediscovery.efficientformer import COUNTED, OnStep, Setting
from hvnas.studies.rediscovery.patterns import PATTERNS, LayoutOf, Weights, patterns_of
from hvnas.studies.rediscovery.patterns import shares as shares_of
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import resume, start
from hvnas.supernet.slimming import Moves

SHARES = (0.25, 0.5, 0.75)
# An estimate of the study's own supernet takes seconds: half of the test images, and few estimates.
EVALS, IMAGES = 60, 1024
REFERENCES = 32
SLIMMING, ALONE, BOTH, FOUR = "slimming", "supernet", "both", "all four"
DRAWN = 5000  # random members, of which those within a budget tell what chance has to offer


@dataclass(frozen=True)
class Slimmed:
    """What one way of searching found within a budget; `top1` is a score for `BOTH`."""

    way: str
    share: float
    budget_ms: float
    arch: Arch
    ms: float
    top1: float
    evaluated: int

    @property
    def layout(self) -> LayoutOf:
        """Its stem and its stages."""
        return LayoutOf.of(self.arch)

    @property
    def held(self) -> dict[str, bool]:
        """Which of the patterns it has."""
        return patterns_of(self.layout)


@dataclass(frozen=True)
class Chance:
    """What chance has to offer: the share of random members within a budget that have each pattern.

    As among the peers of a paper's model, a run of blocks is empty or not with equal weight. None where no
    member drawn is within the budget.
    """

    share: float
    budget_ms: float
    members: int
    held: dict[str, float | None]


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
    """Slim `supernet`, and search by it, alone and with the surrogate, at each share of its latencies.

    And take the best, by the supernet, of at most `evals` random members with all four patterns, if any.
    """
    space, device = supernet.folder.space().at(*supernet.image_size), setting.device.device
    problem = make_problem(space, device, supernet, budget_ms=UNBOUNDED_MS, margin=0.0, outside="allow")
    rows = space.sample(DRAWN, rng=np.random.default_rng(0))
    least, most = find_reach(problem).min_ms, float(_ms(problem, Moves(space, {}).start()[None])[0])
    budgets = [least + share * (most - least) for share in shares]
    within = rows[_ms(problem, rows) <= max(budgets)]
    references = [space.decode(row) for row in (within if len(within) else rows)[:REFERENCES]]
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
        found += _with_all_four(supernet, problem, rows, share, budget, at_most=evals)
    chances = (_chance(problem, rows, share, ms) for share, ms in zip(shares, budgets, strict=True))
    return WithSupernet(str(supernet.folder.path), space.name, supernet.meaning, tuple(found), tuple(chances))


def _ms(problem: Problem, rows: Rows) -> Floats:
    return problem.screen(rows).latency.ms


def _slimmed(way: str, share: float, budget_ms: float, result: SearchResult) -> Slimmed:
    best = result.best
    return Slimmed(way, share, budget_ms, best.arch, best.latency_ms, best.top1, result.evaluated)


def _with_all_four(
    supernet: InheritedEstimator,
    problem: Problem,
    rows: Rows,
    share: float,
    budget_ms: float,
    *,
    at_most: int,
) -> list[Slimmed]:
    """The best of the first `at_most` of `rows` that keep the budget and have all patterns; none, or one."""
    ms = _ms(problem, rows)
    drawn = ((problem.space.decode(rows[i]), float(ms[i])) for i in np.flatnonzero(ms <= budget_ms))
    having = {arch.hash: (arch, at) for arch, at in drawn if all(patterns_of(LayoutOf.of(arch)).values())}
    tried = list(having.values())[:at_most]
    if not tried:
        return []
    top1 = supernet.estimate([arch for arch, _ in tried]).mean
    arch, at = tried[int(np.argmax(top1))]
    return [Slimmed(FOUR, share, budget_ms, arch, at, float(np.max(top1)), len(tried))]


def _chance(problem: Problem, rows: Rows, share: float, budget_ms: float) -> Chance:
    within = rows[_ms(problem, rows) <= budget_ms]
    if not len(within):
        return Chance(share, budget_ms, 0, dict.fromkeys(PATTERNS))
    weights = np.exp(Weights(problem.space)(within))
    drawn = np.random.default_rng(0).choice(len(within), size=COUNTED, p=weights / weights.sum())
    layouts = [LayoutOf.of(problem.space.decode(within[i])) for i in drawn]
    return Chance(share, budget_ms, len(within), dict(shares_of(layouts)))


# At 64 px the third stage has as many positions a side as the images have cells, which attention must relate.
REQUEST = SupernetRequest(space="metaformer-tiny", data="shapes", resolution=64, epochs=24, importance=True)


def to_train(folder: str | Path) -> SupernetFolder:
    """The folder of the study's own supernet, begun if need be. Raises ValueError where it holds another."""
    return resume(REQUEST, folder) if SupernetFolder(folder).holds_run else start(REQUEST, folder)
