"""Runs side by side: hypervolume, coverage, shares of the front of all, and the papers' models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hvnas.report.comparable import check_comparable, differences
from hvnas.report.fixed_points import FixedPoint, fixed_points
from hvnas.report.reference import Corner, common_limit, reference, share_reference
from hvnas.report.runs import Run, load_runs
from hvnas.search.pareto import dominated, front, hypervolume
from hvnas.search.seams import Bools, Floats


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
    """The comparison of the runs in `folders`. Raises ValueError as `load_runs` and `compare`."""
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
