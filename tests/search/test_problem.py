"""Evaluating populations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hvnas.accuracy import Estimate
from hvnas.arch import Arch
from hvnas.ops.program import MACS, PARAMS
from hvnas.search.evaluations import Evaluations
from hvnas.search.making import make_problem
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToyDevice, ToyEstimator, ToySpace

LANDSCAPE = LANDSCAPES[2]


@dataclass(frozen=True)
class LimitedSpace(ToySpace):
    """Half of the toy networks are too large."""

    @property
    def limits(self) -> dict[str, float]:
        return {"params": 3e6}


def rows(n: int = 500) -> np.ndarray:
    return LANDSCAPE.space.sample(n, rng=np.random.default_rng(0))


def test_columns_are_there_once() -> None:
    shared = replace(ToyEstimator(), columns=(*ToyDevice().columns, PARAMS))
    problem = replace(LANDSCAPE.problem(), estimator=shared)
    assert problem.columns == (*ToyDevice().columns, PARAMS, MACS)


def test_numbers_come_from_their_columns() -> None:
    found = LANDSCAPE.problem().evaluate(rows())
    values = LANDSCAPE.features(rows())
    assert np.allclose(found.ms, values[:, 0], rtol=0, atol=1e-9)
    assert np.allclose(found.objective, values[:, 1] - 0.5, rtol=0, atol=1e-8)
    assert np.array_equal(found.params, np.rint(values[:, 2]))
    assert np.array_equal(found.macs, np.rint(values[:, 3]))


def test_feasible_is_inside_and_within_the_budget() -> None:
    problem = replace(LANDSCAPE.problem(), margin=0.1)
    found = problem.evaluate(rows())
    within = found.ms * 1.1 <= problem.budget_ms
    assert np.array_equal(found.feasible, within & found.inside)
    assert 0 < found.feasible.sum() < within.sum()
    assert np.array_equal(replace(problem, outside="allow").evaluate(rows()).feasible, within)


def test_violation_grows_with_excess_and_rules() -> None:
    found = LANDSCAPE.problem().evaluate(rows())
    excess = np.maximum(found.ms / LANDSCAPE.problem().budget_ms - 1, 0)
    assert np.allclose(found.violation, excess + ~found.inside)


def test_size_limits_of_the_space_hold() -> None:
    limited = Landscape("limited", space=LimitedSpace())
    problem = limited.problem(budget_ms=100.0)
    found = problem.evaluate(rows())
    assert np.array_equal(found.feasible, limited.features(rows())[:, 2] <= 3e6)
    assert 0 < found.feasible.sum() < len(found)


def test_batches_join_and_split() -> None:
    problem = LANDSCAPE.problem()
    whole = problem.evaluate(rows())
    parts = [problem.evaluate(rows()[:77]), Evaluations.none(), problem.evaluate(rows()[77:])]
    joined = Evaluations.join(parts)
    for name, array in whole.arrays().items():
        assert np.array_equal(joined.arrays()[name], array), name
    assert np.array_equal(whole.take(whole.inside).ms, whole.ms[whole.inside])
    assert len(problem.evaluate(rows()[:0])) == 0


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (["params>=100.1M"], "params>=100100000: hybrid-mobile allows at most 100,000,000; loosen one"),
        (["latency>=1.8"], "latency_ms>=1.8: the budget of 2 ms leaves at most 1.739, margin included"),
        (["latency<=1.5", "latency>=1.4"], "latency_ms>=1.4: latency_ms<=1.5 leaves at most 1.304, margin"),
        (["top1>=100.5"], "top1>=100.5: there can be at most 100; loosen one"),
    ],
)
def test_a_bound_from_below_above_what_others_leave_is_told(constraints: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=r"^constraint: no network can meet ") as caught:
        make_problem(
            "hybrid-mobile", "iphone12", "surrogate", budget_ms=2.0, margin=0.15, constraints=constraints
        )
    assert said in str(caught.value)


def test_bounds_from_both_sides_that_leave_something_are_kept() -> None:
    bounds = ["latency>=1.7", "macs>=12G", "macs<=12G", "top1>=80", "top1<=82"]
    problem = make_problem(
        "hybrid-mobile", "iphone12", "surrogate", budget_ms=2.0, margin=0.15, constraints=bounds
    )
    assert len(problem.constraints) == 5


def test_means_and_covariance_of_networks() -> None:
    problem = LANDSCAPE.problem()
    mean, covariance = problem.joint(rows(20))
    assert np.allclose(mean, problem.evaluate(rows(20)).top1, rtol=0, atol=1e-8)
    assert np.array_equal(covariance, 0.25 * np.eye(20))


class WholeNetworks:
    """Estimates networks, not columns."""

    def estimate(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Estimate:
        return Estimate(np.full(len(archs), 70.0), np.full(len(archs), 0.5))


def test_an_estimator_of_whole_networks_states_no_covariance() -> None:
    problem = replace(LANDSCAPE.problem(), estimator=WholeNetworks())
    with pytest.raises(ValueError, match="estimator: states no covariance of networks; take surrogate"):
        problem.joint(rows(2))
