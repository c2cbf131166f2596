"""The papers' models inside the spaces of runs, scored as the runs score networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvnas.report.runs import Run
from hvnas.search import Evaluations, Problem
from hvnas.search.objectives import TOP1, Objective
from hvnas.search.result import MS_DECIMALS, POINT_DECIMALS
from hvnas.search.run import problem_of
from hvnas.search.seams import Floats

# Points, ms or relative: a few units of the last decimal in ``pareto.csv``.
_AGREES = 2e-3


@dataclass(frozen=True)
class FixedPoint:
    """A paper's model: its costs [k], rounded as in ``pareto.csv``, its latency on the first device in ms,
    its top-1 in points with standard deviation, and whether it lies inside every device's gate and keeps
    the constraints and a budget of `limit` ms (which is the tightest of the runs).
    """

    name: str
    costs: Floats
    ms: float
    top1: float
    sd: float
    inside: bool
    feasible: bool


def fixed_points(runs: Sequence[Run]) -> tuple[tuple[FixedPoint, ...], str | None]:
    """The fixed points in the runs' spaces, fastest first; or none, and why.

    An estimator that takes seconds a network is not asked about them.
    """
    found: dict[str, FixedPoint] = {}
    for mark in dict.fromkeys(run.config.space_hash for run in runs):
        here = [run for run in runs if run.config.space_hash == mark]
        try:
            problem = _problem(here[0], runs)
            if not problem.cheap:
                return (), f"{here[0].config.estimator} takes seconds a network"
            for run in here:
                _check_estimates(problem, run)
        except ValueError as error:
            return (), str(error)
        found |= {point.name: point for point in _scored(problem, known=set(found))}
    return tuple(sorted(found.values(), key=lambda point: point.ms)), None


def _problem(run: Run, runs: Sequence[Run]) -> Problem:
    """The problem of a run under the tightest of the budgets. Raises ValueError where that has changed."""
    config = run.config
    tightest = min((each.config for each in runs), key=lambda each: each.budget_ms / (1 + each.margin))
    problem = replace(
        problem_of(config), budget_ms=tightest.budget_ms, margin=tightest.margin, outside="forbid"
    )
    hashes = (config.space_hash, config.device_hash, *config.other_hashes)
    names = (config.space, config.device, *config.others)
    now = (problem.space.hash, *(device.hash for device in problem.devices))
    for name, then, here in zip(names, hashes, now, strict=True):
        if then != here:
            raise ValueError(f"{name} has changed since {run.name} (hash {here}, was {then})")
    return problem


def _check_estimates(problem: Problem, run: Run) -> None:
    """Raise ValueError where the best of the run would be told other numbers now.

    No hash stands for an estimator: it may have been fitted anew, or its code changed.
    """
    if len(run.best_row) != len(problem.space.genes):
        raise ValueError(f"the encodings of {run.name} are not of {problem.space.name}")
    now = _rounded(problem.objectives, problem.evaluate(run.best_row[None]))[0]
    if not np.allclose(now, run.costs[run.best], rtol=_AGREES, atol=_AGREES):
        raise ValueError(
            f"{run.config.estimator} has changed since {run.name}: its networks score otherwise now"
        )


def _scored(problem: Problem, *, known: set[str]) -> list[FixedPoint]:
    from hvnas.arch import load_arch

    names = [name for name in problem.space.fixed_points() if name not in known]
    if not names:
        return []
    rows = np.stack([problem.space.encode(load_arch(name)) for name in names])
    evaluations = problem.evaluate(rows)
    costs = _rounded(problem.objectives, evaluations)
    return [
        FixedPoint(
            name=name,
            costs=costs[i],
            ms=float(evaluations.ms[i]),
            top1=float(evaluations.top1[i]),
            sd=float(evaluations.sd[i]),
            inside=bool(evaluations.inside[i]),
            feasible=bool(evaluations.feasible[i]),
        )
        for i, name in enumerate(names)
    ]


def _rounded(objectives: Sequence[Objective], evaluations: Evaluations) -> Floats:
    """Costs at the decimals of ``pareto.csv``: a model that is on a front is then equal to its line there."""
    costs = np.round(evaluations.costs, MS_DECIMALS)
    top1 = np.round(evaluations.top1, POINT_DECIMALS) - np.round(evaluations.sd, POINT_DECIMALS)
    for i, what in enumerate(objectives):
        if what.metric == TOP1:
            costs[:, i] = -top1
    return costs
