"""Which strategy suits a problem, and why."""

from __future__ import annotations

from typing import NamedTuple

from hvnas.search.problem import Problem
from hvnas.search.registry import strategy_entry

# From here on a regression on what was evaluated takes longer than it saves: the Gaussian process is exact up
# to a few hundred networks.
_MANY = 2_000


class Choice(NamedTuple):
    """A registered strategy's name, and the reason for it: one clause, without a full stop."""

    name: str
    reason: str


def resolve_strategy(problem: Problem, evals: int | None, *, several: bool = False) -> Choice:
    """The strategy for `problem` with so many evaluations (None: the strategy's own default).

    `several` processes or workers propose at once: then only Optuna's strategies will do.
    scripts/study_predictor.py prints the comparison that the choice rests on.
    """
    if problem.cheap:
        return Choice(
            "evolution", "an estimate takes microseconds, so whole generations are estimated at once"
        )
    if several:
        return Choice("tpe", "an estimate takes seconds, and only Optuna's studies are shared by processes")
    count = strategy_entry("predictor").default_evals if evals is None else evals
    if count > _MANY:
        return Choice("tpe", f"an estimate takes seconds, and {count:,} are too many to fit a predictor to")
    return Choice(
        "predictor", "an estimate takes seconds, and a predictor fitted to those made needs the fewest"
    )
