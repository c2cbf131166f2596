"""The predictor in the loop: its regression, its batches, and what it must do on an expensive problem."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hvnas.accuracy import AccuracyEstimator, Estimate
from hvnas.arch import Arch
from hvnas.search.objectives import Objective
from hvnas.search.problem import Problem
from hvnas.search.rows import Floats, Rows, row_keys
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.predicted import (
    Encoder,
    Regressor,
    Scaling,
    UpperConfidenceEstimator,
    predicted_problem,
)
from hvnas.search.strategies.predictor import Predictor, promising_batch
from hvnas.testing.strategies import (
    LANDSCAPES,
    Landscape,
    MemoryCheckpoint,
    ToySpace,
    WatchedProblem,
)

COUPLED = LANDSCAPES[1]


@dataclass
class Expensive(AccuracyEstimator):
    """A landscape's top-1 of whole networks, one at a time; it counts them."""

    landscape: Landscape
    asked: list[Arch] = field(default_factory=list)
    fails: bool = False

    def estimate(self, archs: list[Arch], *, recipe: str, scenario: str) -> Estimate:
        rows = np.array([self.landscape.space.encode(arch) for arch in archs])
        self.asked += archs
        top1 = self.landscape.features(self.landscape.space.canonicalise(rows))[:, 1]
        if self.fails:
            top1 = np.where(rows[:, 0] % 2, np.nan, top1)
        return Estimate(top1, np.full(len(rows), 0.5))


def expensive(
    landscape: Landscape = COUPLED, *, fails: bool = False, budget_ms: float | None = None
) -> WatchedProblem:
    cheap = landscape.problem(budget_ms=budget_ms)

    def features(rows: Rows) -> Floats:
        return landscape.features(rows)[:, [0, 2, 3]]

    return WatchedProblem(
        space=cheap.space,
        device=cheap.device,
        estimator=Expensive(landscape, fails=fails),  # type: ignore[arg-type]
        budget_ms=cheap.budget_ms,
        features=features,
    )


def run(
    problem: Problem, *, evals: int = 40, seed: int = 0, checkpoint: Checkpoint | None = None
) -> WatchedProblem:
    settings = Predictor(inner=400)
    settings.run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=checkpoint or Checkpoint())
    assert isinstance(problem, WatchedProblem)
    return problem


def test_an_expensive_problem_is_asked_one_network_at_a_time_and_none_twice() -> None:
    problem = run(expensive())
    assert [len(rows) for rows, _ in problem.batches] == [1] * 40
    assert len(np.unique(row_keys(problem.evaluated))) == 40
    # Latency is known beforehand: nothing over the budget is worth an evaluation here.
    assert len(problem.estimator.asked) == 40  # type: ignore[attr-defined]


def test_it_finds_better_networks_than_random_ones_within_the_budget() -> None:
    found, random = [], []
    for seed in range(3):
        problem = run(expensive(), seed=seed)
        evaluated = Problem.evaluate(problem, problem.evaluated)
        found.append(evaluated.objective[evaluated.feasible].max())
        rows = problem.space.sample(2000, rng=np.random.default_rng(seed))
        screened = problem.screen(rows)
        within = rows[(screened.broken == 0) & (screened.over <= 0).all(axis=1)][:40]
        random.append(Problem.evaluate(problem, within).objective.max())
    assert np.median(found) > np.median(random)


def test_of_one_objective_whole_batches_are_promising() -> None:
    """Its front is a single network: what fills a batch are the next best, not random ones."""
    problem = run(replace(expensive(), objectives=(Objective("top1"),)))
    found = problem.found
    assert found.feasible.all()
    first, proposed = found.objective[:8], found.objective[8:]
    assert np.median(proposed) > first.max()


def test_cut_in_the_middle_of_a_batch_it_goes_on_as_if_uncut() -> None:
    whole = run(expensive(), evals=24, seed=2)
    checkpoint = MemoryCheckpoint(cut=13)
    cut, rest = expensive(), expensive()
    with pytest.raises(KeyboardInterrupt):
        run(cut, evals=24, seed=2, checkpoint=checkpoint)
    run(rest, evals=24, seed=2, checkpoint=checkpoint)
    rows = np.concatenate([cut.evaluated, rest.evaluated])
    assert np.array_equal(rows, whole.evaluated)


def test_networks_that_fail_are_passed_over() -> None:
    problem = run(expensive(fails=True))
    rows = problem.evaluated
    assert len(rows) == 40
    # Half of the space fails; what is proposed after the first batch avoids it.
    assert (rows[8:, 0] % 2).mean() < 0.4


def test_a_hopeless_budget_costs_no_estimate() -> None:
    problem = run(expensive(budget_ms=0.01), evals=12)
    assert len(problem.evaluated) == 12
    assert problem.estimator.asked == []  # type: ignore[attr-defined]


def test_a_tiny_space_is_exhausted() -> None:
    landscape = Landscape("tiny", space=ToySpace(count=4, choices=2))
    problem = run(expensive(landscape, budget_ms=100.0), evals=50)
    assert len(problem.evaluated) == landscape.space.size


def fitted(problem: Problem, rows: Rows) -> tuple[Encoder, Regressor]:
    encoder = Encoder(problem)
    features = encoder(rows)
    scaling = Scaling.of(features, free=len(encoder.columns))
    return encoder, Regressor.fit(features, Problem.evaluate(problem, rows).objective, scaling)


def test_regression_ranks_what_it_has_not_seen() -> None:
    problem = expensive(LANDSCAPES[0], budget_ms=100.0)
    rows = problem.space.sample(300, rng=np.random.default_rng(1))
    encoder, regressor = fitted(problem, rows[:100])
    found = regressor.predict(encoder(rows[100:]))
    truth = Problem.evaluate(problem, rows[100:]).objective
    assert np.corrcoef(found.mean, truth)[0, 1] > 0.9
    assert (np.abs(found.mean - truth) < 3 * found.sd + 0.1).mean() > 0.8
    known = regressor.predict(encoder(rows[:100]))
    assert known.sd.mean() < found.sd.mean()


def test_estimators_own_columns_are_no_feature() -> None:
    cheap = COUPLED.problem()
    encoder = Encoder(cheap)
    assert not set(cheap.estimator.columns) & set(encoder.columns)
    assert set(cheap.device.columns) <= set(encoder.columns)


def test_predicted_problem_is_exact_in_what_is_known() -> None:
    problem = replace(COUPLED.problem(), margin=0.1)
    rows = problem.space.sample(60, rng=np.random.default_rng(0))
    encoder, regressor = fitted(problem, rows)
    estimator = UpperConfidenceEstimator(encoder, regressor, optimism=2.0, unit="points")
    inner = predicted_problem(problem, estimator, pool=rows, seeds=rows[:3])
    assert type(inner) is Problem
    new = problem.space.sample(50, rng=np.random.default_rng(9))
    exact, predicted = problem.evaluate(new), inner.evaluate(new)
    assert np.array_equal(exact.ms, predicted.ms)
    assert np.array_equal(exact.violation, predicted.violation)
    expected = regressor.predict(encoder(new))
    np.testing.assert_allclose(predicted.objective, expected.mean + 2 * expected.sd, atol=1e-6)
    drawn = inner.space.sample(10, rng=np.random.default_rng(0))
    assert np.isin(row_keys(drawn), row_keys(rows)).all()


def test_a_batch_holds_no_two_points_that_tell_the_same() -> None:
    mean = np.array([1.0, 0.99, 0.5, 0.2])
    covariance = np.eye(4)
    covariance[0, 1] = covariance[1, 0] = 0.999
    assert promising_batch(mean, covariance, optimism=1.0, count=3).tolist() == [0, 2, 3]
    assert promising_batch(mean, covariance, optimism=0.0, count=2).tolist() == [0, 1]
