"""Runs side by side: what makes them comparable, hypervolume, coverage, and the papers' models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hvnas.accuracy.estimator import ImageSize
from hvnas.report.runs import Run, load_runs
from hvnas.search import Evaluations, Problem
from hvnas.search.making import problem_of
from hvnas.search.objectives import LATENCY, TOP1, Constraint, Objective, parse_constraint
from hvnas.search.pareto import dominated, front, hypervolume
from hvnas.search.rows import Bools, Floats, Rows
from hvnas.search.runs.folder import RunConfig
from hvnas.search.runs.result import MS_DECIMALS, POINT_DECIMALS, nearest_and_highest


@dataclass(frozen=True, kw_only=True)
class Measures:
    """How good a run's front is, of its members within the limits that all runs had.

    `hypervolume` reaches to the comparison's reference, `relative` is its share of the hypervolume of all
    fronts together; `union_share` is the share of the front of all that this run holds (what several hold
    counts for each); `coverage` [runs] is C(this, other), the share of the other's members that one of
    this run dominates or equals (Zitzler and Thiele 1999, "Multiobjective evolutionary algorithms: a
    comparative case study and the strength Pareto approach", section III-C), nan of an empty front;
    `dominates` and `holds` are over the comparison's fixed points: worse than some member, equal to one.
    """

    run: Run
    members: int
    hypervolume: float
    relative: float
    union_share: float
    coverage: tuple[float, ...]
    dominates: Bools = field(repr=False)
    holds: Bools = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs with the same objectives, devices, estimator, recipe and scenario.

    `limit_ms` is the latency that every run was allowed, inf where budgets and margins are alike;
    `differences` are sentences on what else the runs differ in; `no_fixed_points` says why there are none.
    `shared_history` tells whether the hypervolumes of the histories are measured to one corner.
    """

    runs: tuple[Run, ...]
    measures: tuple[Measures, ...]
    reference: tuple[Corner, ...]
    limit_ms: float
    union_size: int
    union_hypervolume: float
    fixed_points: tuple[FixedPoint, ...]
    no_fixed_points: str | None
    differences: tuple[str, ...]
    shared_history: bool

    def __repr__(self) -> str:
        return f"Comparison({', '.join(run.name for run in self.runs)})"


def compare_folders(folders: Sequence[str | Path]) -> Comparison:
    """Return the comparison of the runs in `folders`. Raises ValueError as `load_runs` and `compare`."""
    if len(folders) < 2:
        raise ValueError("runs: give two or more run folders to compare")
    return compare(load_runs([Path(folder) for folder in folders]))


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs. Raises ValueError naming the field and both values where they do not compare."""
    check_comparable(runs)
    corners = reference(runs)
    limit = common_limit(runs)
    fronts = [run.costs[run.ms <= limit] for run in runs]
    every = np.concatenate(fronts)
    union = every[front(every)]
    corner = np.array([each.cost for each in corners])
    whole = hypervolume(union, corner)
    points, reason = fixed_points(runs)
    models = np.array([point.costs for point in points]).reshape(-1, len(corners))
    measures = []
    for run, own in zip(runs, fronts, strict=True):
        volume = hypervolume(own, corner)
        holds = equal(models, to=own)
        measures.append(
            Measures(
                run=run,
                members=len(own),
                hypervolume=volume,
                relative=volume / whole if whole > 0 else float("nan"),
                union_share=float(equal(union, to=own).mean()) if len(union) else float("nan"),
                coverage=tuple(coverage(own, other) for other in fronts),
                dominates=dominated(models, by=own) & ~holds,
                holds=holds,
            )
        )
    return Comparison(
        runs=tuple(runs),
        measures=tuple(measures),
        reference=corners,
        limit_ms=limit,
        union_size=len(union),
        union_hypervolume=whole,
        fixed_points=points,
        no_fixed_points=reason,
        differences=tuple(differences(runs)),
        shared_history=share_reference(runs),
    )


def coverage(a: Floats, b: Floats) -> float:
    """C(a, b): the share of points of `b` [n, k] that a point of `a` dominates or equals; nan of no point."""
    return float(dominated(b, by=a).mean()) if len(b) else float("nan")


def equal(points: Floats, *, to: Floats) -> Bools:
    """Where a point [n, k] is one of `to`. Shape [n]."""
    known = set(map(tuple, to.tolist()))
    return np.array([tuple(point) in known for point in points.tolist()], dtype=np.bool_)


@dataclass(frozen=True)
class _Agreed:
    """A field in which runs must agree: what is compared, and how it is shown."""

    field: str
    key: object
    shown: str


def _agreed(run: Run) -> tuple[_Agreed, ...]:
    config = run.config
    devices = [f"{name} (hash {mark})" for name, mark in zip(config.device, config.device_hash, strict=True)]
    objectives = ", ".join(config.objectives)
    return (
        _Agreed("objectives", objectives, objectives),
        # The same table may be known by a name and by a path.
        _Agreed("device", config.device_hash[0], devices[0]),
        _Agreed("others", config.device_hash[1:], ", ".join(devices[1:]) or "none"),
        _Agreed("estimator", config.estimator, config.estimator),
        _Agreed("resolution and classes", _image_size(config), _image_size(config)),
        _Agreed("recipe", config.recipe, config.recipe),
        _Agreed("scenario", config.scenario, config.scenario),
        _Agreed("unit of accuracy", run.unit, run.unit),
    )


def _image_size(config: RunConfig) -> str:
    return str(ImageSize(config.resolution, config.classes)) or "those of its space"


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise ValueError naming the first field in which runs may not differ, and both values."""
    for run in runs[1:]:
        for here, there in zip(_agreed(runs[0]), _agreed(run), strict=True):
            if here.key != there.key:
                raise ValueError(
                    f"{here.field}: {runs[0].name} has {here.shown}, {run.name} has {there.shown}; "
                    "only runs that agree in it compare"
                )


def differences(runs: Sequence[Run]) -> list[str]:
    """A sentence for each thing asked that runs may differ in and that no table of them shows."""
    asked: dict[str, list[str]] = {
        "budget": [f"{run.config.budget_ms:g} ms" for run in runs],
        "margin": [f"{100 * run.config.margin[0]:.3g} %" for run in runs],
        "constraints": [", ".join(run.config.constraints) or "none" for run in runs],
        "space": [run.config.space for run in runs],
        "outside the gate": [run.config.outside for run in runs],
        "begun from fixed points": ["yes" if run.config.fixed_points else "no" for run in runs],
    }
    if len(set(asked["space"])) < len({run.config.space_hash for run in runs}):
        asked["space"] = [f"{run.config.space} (hash {run.config.space_hash})" for run in runs]
    return [_sentence(name, values, runs) for name, values in asked.items() if len(set(values)) > 1]


def _sentence(name: str, values: Sequence[str], runs: Sequence[Run]) -> str:
    by_value: dict[str, list[str]] = {}
    for value, run in zip(values, runs, strict=True):
        by_value.setdefault(value, []).append(run.name)
    told = "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
    return f"{name} differs: {told}"


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
        return config.margin[0]
    for name, margin in zip(config.device, config.margin, strict=True):
        # A device that was given by its file is called by that file's name, unless the file says another.
        if what.device in (name, Path(name).stem):
            return margin
    return 0.0


def is_budget(what: Objective) -> bool:
    """Whether the budget bounds it: the latency on the first device."""
    return what.metric == LATENCY and what.device is None


def common_limit(runs: Sequence[Run]) -> float:
    """The ms on the first device that every run was allowed, margin included; inf where all are alike."""
    limits = {run.config.budget_ms / (1 + run.config.margin[0]) for run in runs}
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


# Points, ms or relative: a few units of the last decimal in ``pareto.csv``.
_AGREES = 2e-3


@dataclass(frozen=True)
class FixedPoint:
    """A paper's model: its costs [k], rounded as in ``pareto.csv``, its latency on the first device in ms,
    its top-1 in points with standard deviation, and whether it lies inside every device's gate and keeps
    the constraints and a budget of `limit` ms (which is the tightest of the runs). `cross_fitted` is nan
    where the estimator has none; `published` is what its paper says, nothing at another size; `against` says
    by a run's name how its best network stands to this one, where that is known.
    """

    name: str
    costs: Floats
    ms: float
    top1: float
    sd: float
    inside: bool
    feasible: bool
    cross_fitted: float = math.nan
    cross_fitted_sd: float = math.nan
    published: Mapping[str, Any] = field(default_factory=dict, repr=False)
    against: Mapping[str, Against] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Against:
    """How the best network of a run stands to a paper's model: genes apart, the chance of being better."""

    distance: int
    chance: float


def rivals(found: Comparison, run: Run) -> tuple[FixedPoint, ...]:
    """Of the papers' models within the limits the nearest to the run's best, then the highest in top-1."""
    within = [point for point in found.fixed_points if point.feasible and run.name in point.against]
    near = sorted(
        within, key=lambda point: (point.against[run.name].distance, abs(point.ms - run.ms[run.best]))
    )
    return nearest_and_highest(near, top1=lambda point: point.top1)


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
        for point in _scored(problem, here):
            known = found.get(point.name, point)
            found[point.name] = replace(known, against={**known.against, **point.against})
    return tuple(sorted(found.values(), key=lambda point: point.ms)), None


def _problem(run: Run, runs: Sequence[Run]) -> Problem:
    """The problem of a run under the tightest of the budgets. Raises ValueError where that has changed."""
    config = run.config
    tightest = min((each.config for each in runs), key=lambda each: each.budget_ms / (1 + each.margin[0]))
    problem = replace(
        problem_of(config), budget_ms=tightest.budget_ms, margin=tightest.margin[0], outside="forbid"
    )
    hashes = (config.space_hash, *config.device_hash)
    names = (config.space, *config.device)
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


def _scored(problem: Problem, runs: Sequence[Run]) -> list[FixedPoint]:
    """The fixed points of a space, and how the best of its `runs` stand to them."""
    from hvnas.arch import load_arch

    names = problem.space.fixed_points()
    if not names:
        return []
    models = [load_arch(name) for name in names]
    rows = np.stack([problem.space.encode(model) for model in models])
    evaluations = problem.evaluate(rows)
    costs = _rounded(problem.objectives, evaluations)
    unknown = np.full(len(rows), np.nan)
    crossed, crossed_sd = problem.cross_fitted(rows) or (unknown, unknown)
    against = {run.name: _against(problem, run, rows) for run in runs}
    return [
        FixedPoint(
            name=name,
            costs=costs[i],
            ms=float(evaluations.ms[i]),
            top1=float(evaluations.top1[i]),
            sd=float(evaluations.sd[i]),
            inside=bool(evaluations.inside[i]),
            feasible=bool(evaluations.feasible[i]),
            cross_fitted=float(crossed[i]),
            cross_fitted_sd=float(crossed_sd[i]),
            published=(models[i].published or {}) if problem.image_size is None else {},
            against={run: told[i] for run, told in against.items() if told},
        )
        for i, name in enumerate(names)
    ]


def _against(problem: Problem, run: Run, rows: Rows) -> list[Against]:
    """How the best of `run` stands to the networks of canonical `rows`; nothing where that is not known."""
    chances = problem.chances_of_better(np.concatenate([run.best_row[None], rows]))
    if chances is None:
        return []
    distances = (rows != run.best_row).sum(axis=1).tolist()
    return [Against(*both) for both in zip(distances, chances.tolist(), strict=True)]


def _rounded(objectives: Sequence[Objective], evaluations: Evaluations) -> Floats:
    """Costs at the decimals of ``pareto.csv``: a model that is on a front is then equal to its line there."""
    costs = np.round(evaluations.costs, MS_DECIMALS)
    top1 = np.round(evaluations.top1, POINT_DECIMALS) - np.round(evaluations.sd, POINT_DECIMALS)
    for i, what in enumerate(objectives):
        if what.metric == TOP1:
            costs[:, i] = -top1
    return costs
