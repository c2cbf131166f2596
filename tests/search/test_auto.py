"""Which strategy suits what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvnas.accuracy import ShortTrainingEstimator
from hvnas.search.problem import Problem
from hvnas.search.strategies.registry import resolve_strategy, strategy_entry
from hvnas.testing.strategies import LANDSCAPES


@pytest.fixture(scope="module")
def expensive() -> Problem:
    return replace(LANDSCAPES[0].problem(), estimator=ShortTrainingEstimator())  # type: ignore[arg-type]


def test_cheap_estimates_get_evolution() -> None:
    name, reason = resolve_strategy(LANDSCAPES[0].problem(), None)
    assert name == "evolution"
    assert "microseconds" in reason


@pytest.mark.parametrize("evals", [None, 10, 500])
def test_expensive_estimates_get_a_predictor(expensive: Problem, evals: int | None) -> None:
    name, reason = resolve_strategy(expensive, evals)
    assert name == "predictor"
    assert "seconds" in reason


def test_too_many_for_a_predictor_and_several_processes_get_tpe(expensive: Problem) -> None:
    many, several = resolve_strategy(expensive, 5000), resolve_strategy(expensive, 100, several=True)
    assert many.name == several.name == "tpe"
    assert "5,000" in many.reason
    assert "processes" in several.reason


def test_choices_are_registered_and_reasons_are_one_line(expensive: Problem) -> None:
    for problem, evals in ((LANDSCAPES[0].problem(), 10), (expensive, 10), (expensive, 10**5)):
        choice = resolve_strategy(problem, evals)
        assert strategy_entry(choice.name).name == choice.name
        assert "\n" not in choice.reason and not choice.reason.endswith(".")
