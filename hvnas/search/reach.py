"""What latencies a space reaches on a device: known before the search, so a hopeless budget ends at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hvnas.arch import Arch
from hvnas.search.moves import alternatives, distinct
from hvnas.search.problem import Problem
from hvnas.search.seams import Floats, Rows

_SAMPLES = 64
_BEAM = 3
_PASSES = 12
_SEED = 0  # the reach is a property of space and device, not of a run


@dataclass(frozen=True)
class Reach:
    """The smallest and largest latency of a space on a device, in ms, with the encodings that reach them.

    Only architectures that the problem allows count; where none was found inside the gate `empty` is True
    and the numbers are of those that break the fewest rules. `excluded` is the share of random
    encodings that each rule of the gate excludes, largest first.
    """

    min_ms: float
    max_ms: float
    min_row: Rows
    max_row: Rows
    empty: bool
    excluded: dict[str, float]

    @property
    def worst_rule(self) -> str | None:
        """The rule of the gate that excludes most, None where no rule excludes anything."""
        return next((rule for rule, share in self.excluded.items() if share > 0), None)


class InfeasibleBudget(ValueError):
    """No architecture of the space meets the budget on the device.

    `smallest_ms` is the smallest reachable latency and `arch` an architecture that reaches it; where
    nothing lies inside the gate `rule` names what excludes most, else it is None.
    """

    def __init__(self, message: str, *, smallest_ms: float, arch: Arch, rule: str | None) -> None:
        super().__init__(message)
        self.smallest_ms = smallest_ms
        self.arch = arch
        self.rule = rule


def find_reach(problem: Problem) -> Reach:
    """The smallest and largest latency: random encodings, then descent gene by gene from the best of them.

    Accuracy plays no part. The result is a local optimum in every single gene, from several starts.
    """
    space = problem.space
    rng = np.random.default_rng(_SEED)
    corners = np.stack([np.zeros(len(space.genes)), np.asarray(space.cardinalities) - 1]).astype(np.int16)
    # Not `space.sample`: keeping to the limits on size makes it weigh many more networks than it returns.
    drawn = rng.integers(np.asarray(space.cardinalities), size=(_SAMPLES, len(space.genes)))
    samples = space.canonicalise(drawn.astype(np.int16))
    excluded_by = problem.screen(samples).latency.excluded_by
    starts = distinct(np.concatenate([samples, space.canonicalise(corners)]))
    shares = {rule: float(np.mean(out)) for rule, out in excluded_by.items()}
    low, low_cost = _descend(problem, starts, sign=1)
    high, high_cost = _descend(problem, starts, sign=-1)
    return Reach(
        min_ms=float(low_cost[1]),
        max_ms=float(-high_cost[1]),
        min_row=low,
        max_row=high,
        empty=bool(low_cost[0] > 0),
        excluded=dict(sorted(shares.items(), key=lambda item: -item[1])),
    )


def widened(reach: Reach, problem: Problem, known: Rows) -> Reach:
    """`reach`, or the latencies of `known` canonical rows where those lie beyond it and are allowed."""
    if len(known) == 0 or reach.empty:
        return reach
    screened = problem.screen(known)
    ms = np.round(screened.latency.ms, 9)
    fastest = int(np.argmin(np.where(screened.broken > 0, np.inf, ms)))
    slowest = int(np.argmax(np.where(screened.broken > 0, -np.inf, ms)))
    if screened.broken[fastest] == 0 and ms[fastest] < reach.min_ms:
        reach = replace(reach, min_ms=float(ms[fastest]), min_row=known[fastest])
    if screened.broken[slowest] == 0 and ms[slowest] > reach.max_ms:
        reach = replace(reach, max_ms=float(ms[slowest]), max_row=known[slowest])
    return reach


def check_budget(problem: Problem, reach: Reach) -> None:
    """Raise InfeasibleBudget where `reach` shows that nothing meets the budget of `problem`."""
    needed = reach.min_ms * (1 + problem.margin)
    if not reach.empty and needed <= problem.budget_ms:
        return
    space, device = problem.space.name, problem.device.name
    if reach.empty:
        share = reach.excluded.get(reach.worst_rule or "", 0.0)
        message = (
            f"no architecture of {space} lies inside the gate of {device}: the rule {reach.worst_rule!r} "
            f"excludes most ({share:.0%} of random encodings). Allow them with --outside allow, "
            "or choose another space."
        )
    else:
        margin = f" ({needed:.3f} ms with the margin of {problem.margin:.1%})" if problem.margin else ""
        message = (
            f"budget_ms: no architecture of {space} meets {problem.budget_ms:g} ms on {device}; the smallest "
            f"reachable latency is {reach.min_ms:.3f} ms{margin}. Give a larger budget, or another space."
        )
    raise InfeasibleBudget(
        message,
        smallest_ms=reach.min_ms,
        arch=problem.space.decode(reach.min_row),
        rule=reach.worst_rule if reach.empty else None,
    )


def _costs(problem: Problem, rows: Rows, sign: int) -> Floats:
    """Per row (rules broken, sign * latency in ms), to be minimised in this order. Shape [n, 2]."""
    screened = problem.screen(rows)
    return np.stack([screened.broken, sign * np.round(screened.latency.ms, 9)], axis=1)


def _order(costs: Floats) -> np.ndarray:
    return np.lexsort((costs[:, 1], costs[:, 0]))


def _descend(problem: Problem, rows: Rows, *, sign: int) -> tuple[Rows, Floats]:
    """The best encoding reached from the best few of `rows` by changing one gene at a time."""
    costs = _costs(problem, rows, sign)
    order = _order(costs)[:_BEAM]
    beam, beam_costs = rows[order], costs[order]
    for _ in range(_PASSES):
        before = beam_costs[0].copy()
        for gene in range(rows.shape[1]):
            tried = alternatives(problem.space, beam, gene)
            if len(tried) == 0:
                continue
            candidates = distinct(np.concatenate([beam, tried]))
            costs = _costs(problem, candidates, sign)
            order = _order(costs)[:_BEAM]
            beam, beam_costs = candidates[order], costs[order]
        if tuple(beam_costs[0]) == tuple(before):
            break
    return beam[0], beam_costs[0]
