"""What the samplers are told: constraints, both ways of Optuna, penalties, and costs that are no numbers."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest

from hvnas import _optuna
from hvnas.accuracy import Estimate
from hvnas.arch import Arch
from hvnas.search.evaluations import Evaluations
from hvnas.search.objectives import Objective
from hvnas.search.problem import Problem
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.optuna_run import OptunaRun, settled
from hvnas.search.strategies.optuna_samplers import KINDS, OptunaStrategy
from hvnas.search.strategies.optuna_study import SamplerStudy, distribution
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToyGene, ToySpace

LANDSCAPE = LANDSCAPES[0]


def half_problem() -> Problem:
    """A budget that half of the networks keep."""
    values = LANDSCAPE.features(LANDSCAPE.space.sample(999, rng=np.random.default_rng(0)))
    return LANDSCAPE.problem(budget_ms=float(np.median(values[:, 0])))


def proposer(problem: Problem, sampler: str = "tpe", *, evals: int = 40) -> OptunaRun:
    return OptunaStrategy(sampler).proposer(problem, evals=evals, seed=0)


def steps(run: OptunaRun, problem: Problem, count: int) -> list[Evaluations]:
    told = []
    for _ in range(count):
        proposal = run.ask()
        assert proposal is not None
        told.append(problem.evaluate(proposal.row))
        run.tell(proposal, told[-1])
    return told


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "gp"])
@pytest.mark.parametrize("on_trial", [True, False], ids=["set_constraint", "constraints_func"])
def test_sampler_is_told_the_constraint(
    sampler: str, on_trial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_trial and not _optuna.has_set_constraint():
        pytest.skip(f"Optuna {optuna.__version__} has no Trial.set_constraint")
    if sampler == "gp":
        pytest.importorskip("torch")
    monkeypatch.setattr(_optuna, "has_set_constraint", lambda: on_trial)
    problem = half_problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        run = proposer(problem, sampler)
        evaluations = steps(run, problem, 12)
    told = [_constraints(trial) for trial in run.study.trials if trial.state.is_finished() and trial.values]
    feasible = [bool(evaluation.feasible[0]) for evaluation in evaluations]
    assert [len(values) for values in told] == [1] * 12
    assert [values[0] <= 0 for values in told] == feasible
    assert 0 < sum(feasible) < 12


@pytest.mark.parametrize("on_trial", [True, False], ids=["set_constraint", "constraints_func"])
def test_a_result_of_another_process_brings_its_constraint(
    on_trial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_trial and not _optuna.has_set_constraint():
        pytest.skip(f"Optuna {optuna.__version__} has no Trial.set_constraint")
    monkeypatch.setattr(_optuna, "has_set_constraint", lambda: on_trial)
    problem = half_problem()
    rows = LANDSCAPE.space.sample(1, rng=np.random.default_rng(0))
    evaluation = problem.evaluate(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        sampler = SamplerStudy(problem, KINDS["nsga2"], evals=40, seed=0)
        sampler.add(rows, evaluation, {"NSGAIISampler:generation": 3, "cma:optimizer:0": "80"})
    (trial,) = sampler.study.trials
    assert _constraints(trial) == [float(evaluation.excess[0])]
    assert trial.values == evaluation.costs[0].tolist()
    assert trial.system_attrs["NSGAIISampler:generation"] == 3
    assert "cma:optimizer:0" not in trial.system_attrs


def _constraints(trial: optuna.trial.FrozenTrial) -> list[float]:
    found: list[float] = []
    for key, value in trial.system_attrs.items():
        if key.startswith("constraints"):
            found += value if isinstance(value, (list, tuple)) else [value]
    return found


def test_a_gene_of_ascending_numbers_is_ordered() -> None:
    ordered = distribution(ToyGene("width", (8, 16, 24)), integers=False)
    assert ordered == optuna.distributions.IntDistribution(0, 2)
    kind = ToyGene("kind", ("a", "b"))  # type: ignore[arg-type]
    assert distribution(kind, integers=False) == optuna.distributions.CategoricalDistribution((0, 1))
    assert distribution(kind, integers=True) == optuna.distributions.IntDistribution(0, 1)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "cmaes", "qmc", "random"])
@pytest.mark.parametrize("metrics", [("top1",), ("top1", "latency_ms", "params")])
def test_any_number_of_objectives(sampler: str, metrics: tuple[str, ...]) -> None:
    problem = replace(LANDSCAPE.problem(), objectives=tuple(map(Objective, metrics)))
    run = proposer(problem, sampler)
    steps(run, problem, 30)
    assert run.archive.evaluated == 30
    assert len(run.study.directions) == (1 if sampler == "cmaes" else len(metrics))


def test_cmaes_is_told_the_cost_and_a_penalty_in_units_of_its_spread() -> None:
    problem = half_problem()
    run = proposer(problem, "cmaes")
    told = steps(run, problem, 10)
    costs = np.array([evaluation.costs[0, 0] for evaluation in told])
    values = np.array([trial.value for trial in run.study.trials])
    feasible = np.array([evaluation.feasible[0] for evaluation in told])
    assert np.array_equal(values[feasible], costs[feasible])
    assert (values[~feasible] > costs[~feasible]).all()
    last = np.flatnonzero(~feasible)[-1]
    expected = costs[last] + 10 * np.std(costs[: last + 1]) * told[last].violation[0]
    assert values[last] == pytest.approx(expected, rel=1e-12)


def test_cmaes_begins_anew_where_it_has_converged() -> None:
    small = Landscape("small", space=ToySpace(count=4, choices=4))
    problem = small.problem()
    run = proposer(problem, "cmaes", evals=150)
    first = run.study
    steps(run, problem, 150)
    assert run.study is not first
    assert run.archive.evaluated == 150


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sampler", ["nsga2", "cmaes"])
def test_a_cost_that_is_no_number_is_infeasible_and_told_as_the_worst(value: float, sampler: str) -> None:
    problem = LANDSCAPE.problem()
    run = proposer(problem, sampler)
    worst = max(evaluation.costs[0, 0] for evaluation in steps(run, problem, 5))
    proposal = run.ask()
    assert proposal is not None
    evaluation = problem.evaluate(proposal.row)
    costs = evaluation.costs.copy()
    costs[0, 0] = value
    run.tell(proposal, replace(evaluation, costs=costs))
    told = [trial for trial in run.study.trials if trial.values][-1]
    assert np.isfinite(told.values).all()
    assert told.values[0] >= worst
    assert run.archive.evaluated == 6
    assert not np.isin(proposal.row, run.archive.rows).all(axis=1).any() or not len(run.archive)


def test_what_is_settled_is_infeasible_and_keeps_its_violation() -> None:
    rows = LANDSCAPE.space.sample(3, rng=np.random.default_rng(0))
    evaluations = LANDSCAPE.problem(budget_ms=1e9).evaluate(rows)
    costs = evaluations.costs.copy()
    costs[1, 0] = np.nan
    found = settled(replace(evaluations, costs=costs))
    assert found.feasible.tolist() == [True, False, True]
    assert found.excess[1] == 1.0
    assert settled(evaluations) is evaluations


class TestOpenProposals:
    """Several proposals may be open at once."""

    def test_all_are_distinct_and_count(self) -> None:
        problem = LANDSCAPE.problem()
        run = proposer(problem, "nsga2", evals=20)
        proposals = [run.ask() for _ in range(20)]
        rows = np.concatenate([proposal.row for proposal in proposals if proposal])
        assert len(np.unique(rows, axis=0)) == 20
        assert run.ask() is None
        for proposal in reversed(proposals):
            assert proposal is not None
            run.tell(proposal, problem.evaluate(proposal.row))
        assert run.archive.evaluated == 20
        assert run.ask() is None

    def test_a_failure_counts_and_is_not_proposed_again(self) -> None:
        problem = LANDSCAPE.problem()
        run = proposer(problem, "random", evals=10)
        failed = run.ask()
        assert failed is not None
        run.fail(failed, "the worker was lost")
        rows = []
        while (proposal := run.ask()) is not None:
            rows.append(proposal.row)
            run.tell(proposal, problem.evaluate(proposal.row))
        assert len(rows) == 9
        assert not (np.concatenate(rows) == failed.row).all(axis=1).any()
        states = {trial.number: trial for trial in run.study.trials}
        assert states[0].state == optuna.trial.TrialState.FAIL
        assert states[0].user_attrs["reason"] == "the worker was lost"

    @pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes", "qmc"])
    def test_a_run_that_was_cut_repeats_itself_and_reopens_what_was_open(self, sampler: str) -> None:
        problem = LANDSCAPE.problem()
        run = proposer(problem, sampler)
        opened = [run.ask() for _ in range(4)]
        for index in (2, 0):
            proposal = opened[index]
            assert proposal is not None
            run.tell(proposal, problem.evaluate(proposal.row))
        assert opened[1] is not None
        run.fail(opened[1], "broken")
        steps(run, problem, 14)
        again = proposer(problem, sampler)
        again.replay(run.state())
        assert again.archive.evaluated == run.archive.evaluated == 16
        reopened = again.ask()
        assert reopened is not None and opened[3] is not None
        assert np.array_equal(reopened.row, opened[3].row)
        run.tell(opened[3], problem.evaluate(opened[3].row))
        again.tell(reopened, problem.evaluate(reopened.row))
        following = [one.ask() for one in (run, again)]
        assert following[0] is not None and following[1] is not None
        assert np.array_equal(following[0].row, following[1].row)

    def test_other_proposals_than_recorded_are_refused(self) -> None:
        problem = LANDSCAPE.problem()
        run = proposer(problem)
        steps(run, problem, 3)
        other = OptunaStrategy("tpe").proposer(problem, evals=40, seed=1)
        with pytest.raises(ValueError, match="other versions of the packages"):
            other.replay(run.state())


def test_where_an_estimate_takes_seconds_only_networks_within_the_budget_are_estimated() -> None:
    landscape = LANDSCAPES[1]
    estimated: list[np.ndarray] = []

    class Slow:
        def estimate(self, archs: list[Arch], *, recipe: str, scenario: str) -> Estimate:
            rows = landscape.space.canonicalise(np.stack([landscape.space.encode(a) for a in archs]))
            estimated.append(rows)
            return Estimate(landscape.features(rows)[:, 1], np.full(len(rows), 0.5))

    cheap = landscape.problem()
    problem = replace(cheap, estimator=Slow(), features=lambda rows: landscape.features(rows)[:, [0, 2, 3]])
    archive = OptunaStrategy("tpe").run(problem, evals=40, seed=0, progress=Silent(), checkpoint=Checkpoint())
    assert archive.evaluated == sum(map(len, estimated)) == 40
    assert cheap.evaluate(np.concatenate(estimated)).feasible.all()
