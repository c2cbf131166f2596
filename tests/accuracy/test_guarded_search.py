"""An optimiser cannot climb outside the evidence: what it evolves lies within what was published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvnas.accuracy import Surrogate
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES, derive
from hvnas.accuracy.surrogate.fit import MAIN
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.ops import evaluate_columns
from hvnas.search import Archive, Checkpoint, make_problem
from hvnas.search.problem import Problem
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.registry import strategy_entry
from hvnas.space import Space

BUDGETS = (1.0, 1.5, 2.2, 3.5, 6.0)
BEST = 20


@pytest.fixture(scope="module")
def known(hybrid: Space) -> np.ndarray:
    """The papers' models in the space, from which a search begins."""
    return np.array([hybrid.encode(load_arch(name)) for name in hybrid.fixed_points()], dtype=np.int16)


@pytest.fixture(scope="module")
def problem(hybrid: Space, known: np.ndarray, surrogate: Surrogate) -> Problem:
    """The problem under the first budget; what is known of segments serves all budgets."""
    device = load_device("iphone12")
    return make_problem(hybrid, device, surrogate, budget_ms=BUDGETS[0]).with_seeds(known)


def evolve(problem: Problem, budget_ms: float) -> Archive:
    """What a search does once it knows that the budget can be met."""
    strategy = strategy_entry("evolution").make()
    within = replace(problem, budget_ms=budget_ms)
    return strategy.run(within, evals=2000, seed=0, progress=Silent(), checkpoint=Checkpoint())


@pytest.mark.parametrize("budget_ms", BUDGETS)
def test_the_best_evolved_lie_within_the_evidence(
    surrogate: Surrogate, hybrid: Space, problem: Problem, budget_ms: float
) -> None:
    rows = evolve(problem, budget_ms).rows[-BEST:]
    assert len(rows) == BEST
    archs = [hybrid.decode(row) for row in rows]
    values = np.array([evaluate_columns(COLUMNS, arch.lower()) for arch in archs])
    guard = surrogate.fit.guard
    features = np.pad(derive(values), ((0, 0), (0, surrogate.evidence.recipes.shape[1])))
    beyond = {
        name: round(float(excess), 3)
        for name, excess in zip(MAIN, guard.beyond(features).max(axis=0), strict=True)
        if excess > 0
    }
    assert not beyond
    assert (guard.distance(features) <= guard.farthest).all()
    _none_above_the_published(surrogate, values, surrogate.estimate(archs).mean)


def _none_above_the_published(surrogate: Surrogate, values: np.ndarray, mean: np.ndarray) -> None:
    """None is above the best result published with at most a fifth more MACs, plus two sd."""
    published = surrogate.evidence
    macs = published.values[:, NAMES.index("macs")]
    sd = surrogate.estimate_columns(values).sd
    for row, top1, spread in zip(values, mean, sd, strict=True):
        same_class = macs <= 1.2 * row[NAMES.index("macs")]
        assert top1 <= published.top1[same_class].max() + 2.0 * spread
