"""Both ways in which Optuna takes constraints."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pytest

from hvnas._optuna import quiet_optuna
from hvnas.search import optuna_samplers
from hvnas.search.optuna_samplers import has_set_constraint
from hvnas.testing.strategies import LANDSCAPES, ToyGene


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
@pytest.mark.parametrize("on_trial", [True, False], ids=["set_constraint", "constraints_func"])
def test_sampler_is_told_the_constraint(
    sampler: str, on_trial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_trial and not has_set_constraint():
        pytest.skip(f"Optuna {optuna.__version__} has no Trial.set_constraint")
    if sampler == "gp":
        pytest.importorskip("torch")
    monkeypatch.setattr(optuna_samplers, "has_set_constraint", lambda: on_trial)
    landscape = LANDSCAPES[0]
    half = float(np.median(landscape.features(landscape.space.everything()[::97])[:, 0]))
    problem = landscape.problem(budget_ms=half)
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        run = optuna_samplers._Run(problem, optuna_samplers._make_sampler(sampler, evals=40, seed=0), seed=0)
        for _ in range(12):
            assert run.step()
    told = [_constraints(trial) for trial in run.study.trials if trial.state.is_finished() and trial.values]
    feasible = [bool(evaluation.feasible[0]) for _, evaluation in run.recorded]
    assert [len(values) for values in told] == [1] * 12
    assert [values[0] <= 0 for values in told] == feasible
    assert 0 < sum(feasible) < 12


def _constraints(trial: optuna.trial.FrozenTrial) -> list[float]:
    found: list[float] = []
    for key, value in trial.system_attrs.items():
        if key.startswith("constraints"):
            found += value if isinstance(value, (list, tuple)) else [value]
    return found


def test_a_gene_of_ascending_numbers_is_ordered() -> None:
    ordered = optuna_samplers._distribution(ToyGene("width", (8, 16, 24)))
    assert ordered == optuna.distributions.IntDistribution(0, 2)
    kinds = optuna_samplers._distribution(ToyGene("kind", ("a", "b")))  # type: ignore[arg-type]
    assert kinds == optuna.distributions.CategoricalDistribution((0, 1))
