"""Rediscovery with a supernet: slimming on its own, and a search by supernet and surrogate together.

The supernet is trained by ``hvnas supernet train`` on a space of one's own, small enough for its data. The
budgets are shares of the milliseconds between its fastest and its slowest network, on the device that never
saw the family; the gate is off, so that only costs are at work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.inherited import Inherited, InheritedEstimator
from hvnas.search import search
from hvnas.search.making import make_problem
from hvnas.search.reach import UNBOUNDED_MS, find_reach
from hvnas.studies.rediscovery.efficientformer import OnStep, Setting
from hvnas.studies.rediscovery.patterns import LayoutOf, held

SHARES = (0.25, 0.5, 0.75)
EVALS = 200
REFERENCES = 32


@dataclass(frozen=True)
class Slimmed:
    """What one way of searching found within a budget; `top1` is a score for ``both``."""

    way: str
    share: float
    budget_ms: float
    layout: LayoutOf
    ms: float
    top1: float
    held: dict[str, bool]
    evaluated: int


@dataclass(frozen=True)
class WithSupernet:
    """The supernet's part of a rediscovery: `meaning` says what its top-1 is that of."""

    folder: str
    space: str
    meaning: str
    found: tuple[Slimmed, ...]


def with_supernet(
    setting: Setting,
    folder: str | Path,
    *,
    shares: Sequence[float] = SHARES,
    evals: int = EVALS,
    on_step: OnStep | None = None,
) -> WithSupernet:
    """Slim the supernet in `folder`, and search by it and the surrogate together, at each share.

    Raises ValueError where the folder holds no supernet, or one of blocks that do not attend.
    """
    supernet = InheritedEstimator(Inherited(folder=str(folder)))
    space = supernet.folder.space()
    if not any(0 in s.global_depth and max(s.global_depth) > 0 for s in space.spec.stages):
        raise ValueError(f"{folder}: its space leaves no stage the choice to attend; train another supernet")
    device = setting.device.device
    problem = make_problem(space, device, supernet, budget_ms=UNBOUNDED_MS, margin=0.0, outside="allow")
    reach = find_reach(problem)
    rows = space.sample(REFERENCES, rng=np.random.default_rng(0))
    references = [space.decode(row) for row in rows]
    both = RankMean("surrogate+supernet", (setting.surrogate, supernet)).against(references)
    found = []
    for share in shares:
        budget = reach.min_ms + share * (reach.max_ms - reach.min_ms)
        for way, estimator, strategy in (("slimming", supernet, "slimming"), ("both", both, "evolution")):
            if on_step:
                on_step(f"supernet, {way}, {budget:.3f} ms")
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
            best = result.best
            layout = LayoutOf.of(best.arch)
            found.append(
                Slimmed(
                    way=way,
                    share=share,
                    budget_ms=budget,
                    layout=layout,
                    ms=best.latency_ms,
                    top1=best.top1,
                    held=held(layout),
                    evaluated=result.evaluated,
                )
            )
    return WithSupernet(str(folder), space.name, supernet.meaning, tuple(found))
