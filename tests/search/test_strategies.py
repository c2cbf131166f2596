"""Every strategy that ships passes the conformance cases."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hvnas.search import Archive, Engine, list_strategies
from hvnas.search.engines.engine import strategy_on
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.evolution import Evolution
from hvnas.search.strategies.registry import register_strategy, strategy_entry
from hvnas.testing.strategies import LANDSCAPES, Landscape, StrategyConformance

# They need a supernet: test_slimming.py.
IN_FILES_OF_THEIR_OWN = {"slimming", "slimming-joint"}


class TestEvolution(StrategyConformance):
    strategy = "evolution"
    evals = 600


class TestTpe(StrategyConformance):
    strategy = "tpe"
    evals = 60
    seeds = (0, 1, 2)


class TestNsga2(StrategyConformance):
    strategy = "nsga2"
    evals = 250


class TestNsga3(StrategyConformance):
    strategy = "nsga3"
    evals = 200
    seeds = (0, 1, 2)


class TestCmaes(StrategyConformance):
    strategy = "cmaes"
    evals = 120
    seeds = (0, 1, 2)

    def quality(self, landscape: Landscape, archives: Sequence[Archive]) -> float:
        """The median of the best top-1: CMA-ES has one objective, and a front is no aim of its."""
        found = [archive.best for archive in archives]
        return float(np.median([-best.costs[0, 0] for best in found if best is not None]))


class TestQmc(StrategyConformance):
    strategy = "qmc"
    evals = 100


class TestRandom(StrategyConformance):
    strategy = "random"
    evals = 100


class TestGrid(StrategyConformance):
    strategy = "grid"
    evals = 300


class TestPredictor(StrategyConformance):
    strategy = "predictor"
    evals = 40
    seeds = (0, 1, 2)


@pytest.mark.slow
class TestGp(StrategyConformance):
    strategy = "gp"
    evals = 30
    seeds = (0, 1, 2)


def test_every_strategy_has_its_cases() -> None:
    tested = {case.strategy for case in StrategyConformance.__subclasses__()}
    assert tested | IN_FILES_OF_THEIR_OWN == set(list_strategies())


def test_gp_searches() -> None:
    archive = StrategyConformance.search(TestGp(), LANDSCAPES[0].problem(), evals=12)
    assert archive.evaluated == 12
    assert len(archive)


def test_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'evolution'"):
        strategy_entry("evolutoin")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_strategy("tpe", adaptive=True, default_evals=1, summary="")(lambda: None)  # type: ignore


def test_a_strategy_that_derives_from_nothing_needs_a_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        def run(self, problem: Any, **asked: Any) -> Archive:
            return Evolution().run(problem, **asked)

    monkeypatch.setattr("hvnas.search.engines.engine.strategy_entry", lambda _: SimpleNamespace(make=Foreign))
    problem = LANDSCAPES[0].problem()
    strategy = strategy_on("foreign", Engine())
    strategy.check(problem)
    asked = {"evals": 200, "seed": 0, "progress": Silent(), "checkpoint": Checkpoint()}
    assert np.array_equal(strategy.run(problem, **asked).rows, Evolution().run(problem, **asked).rows)
    with pytest.raises(ValueError, match="storage: foreign keeps no study"):
        strategy_on("foreign", Engine(storage="study.journal"))
