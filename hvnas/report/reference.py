"""The corner that the hypervolumes of several runs are measured to, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.report.runs import Run
from hvnas.search.folder import RunConfig
from hvnas.search.objectives import LATENCY, TOP1, Constraint, Objective, parse_constraint
from hvnas.search.seams import Floats

# Of an objective's extent on all fronts, beyond the worst there is: else that one would have no volume.
_BEYOND = 0.1


@dataclass(frozen=True)
class Corner:
    """One coordinate of the reference: `value` in the metric's unit, and where it comes from."""

    objective: Objective
    value: float
    why: str

    @property
    def cost(self) -> float:
        """As a cost, minimised."""
        return self.objective.sign * self.value


def reference(runs: Sequence[Run]) -> tuple[Corner, ...]:
    """A corner for each objective: the tightest budget or constraint on worse values that the runs have.

    Else 0 points of top-1, as in a run's own history, and for other metrics a tenth of the fronts' extent
    beyond the worst value on them.
    """
    every = np.concatenate([run.costs for run in runs])
    return tuple(_corner(runs, what, every[:, i]) for i, what in enumerate(runs[0].objectives))


def _corner(runs: Sequence[Run], what: Objective, costs: Floats) -> Corner:
    bounds = bounds_of(runs, what)
    if bounds:
        kind = "budget" if is_budget(what) else "constraint"
        tightest = max(bounds) if what.sign < 0 else min(bounds)
        return Corner(what, tightest, kind if len(set(bounds)) == 1 else f"tightest {kind}")
    if what.metric == TOP1 and runs[0].unit == "points":
        return Corner(what, 0.0, "zero")
    worst = float(costs.max())
    extent = worst - float(costs.min())
    cost = worst + _BEYOND * (extent if extent > 0 else abs(worst) or 1.0)
    return Corner(what, what.sign * cost, "a tenth beyond the worst on the fronts")


def bounds_of(runs: Sequence[Run], what: Objective) -> list[float]:
    """The budgets of the runs, and their constraints that forbid the worse values of a metric."""
    bounds = [run.config.budget_ms for run in runs] if is_budget(what) else []
    return bounds + [c.bound for c in _constraints(runs, what) if c.bounds_the_worst]


def better_bounds_of(runs: Sequence[Run], what: Objective) -> list[float]:
    """The constraints of the runs that forbid the better values of a metric."""
    return [c.bound for c in _constraints(runs, what) if not c.bounds_the_worst]


def _constraints(runs: Sequence[Run], what: Objective) -> list[Constraint]:
    kept = [parse_constraint(text) for run in runs for text in run.config.constraints]
    return [constraint for constraint in kept if constraint.what == what]


def margin_of(config: RunConfig, what: Objective) -> float:
    """The relative reserve that a run kept on a metric: that of the device for latencies, else none."""
    if what.metric != LATENCY:
        return 0.0
    if what.device is None:
        return config.margin
    margins = (config.margin, *config.other_margins)
    for name, margin in zip((config.device, *config.others), margins, strict=True):
        # A device that was given by its file is called by that file's name, unless the file says another.
        if what.device in (name, Path(name).stem):
            return margin
    return 0.0


def is_budget(what: Objective) -> bool:
    """Whether the budget bounds it: the latency on the first device."""
    return what.metric == LATENCY and what.device is None


def common_limit(runs: Sequence[Run]) -> float:
    """The ms on the first device that every run was allowed, margin included; inf where all are alike."""
    limits = {run.config.budget_ms / (1 + run.config.margin) for run in runs}
    return min(limits) if len(limits) > 1 else float("inf")


def share_reference(runs: Sequence[Run]) -> bool:
    """Whether the hypervolumes in the runs' histories are measured to one corner: see `reference_of`."""
    first = runs[0].config
    if any(run.config.budget_ms != first.budget_ms for run in runs):
        return False
    if any(sorted(run.config.constraints) != sorted(first.constraints) for run in runs):
        return False
    told = all(what.metric == TOP1 or bounds_of(runs[:1], what) for what in runs[0].objectives)
    # Without a bound the corner is the slowest network within reach, which is the space's.
    return told or all(run.config.space_hash == first.space_hash for run in runs)
