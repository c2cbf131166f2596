"""An optimiser cannot climb outside the evidence: what it evolves lies within what was published."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.columns import COLUMNS, NAMES
from hvnas.accuracy.features import derive
from hvnas.accuracy.guard import MAIN
from hvnas.ops import evaluate_columns
from hvnas.search import search

BUDGETS = (1.0, 1.5, 2.2, 3.5, 6.0)
BEST = 20


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    found = load_estimator("surrogate")
    assert isinstance(found, Surrogate)
    return found


@pytest.mark.parametrize("budget_ms", BUDGETS)
def test_the_best_evolved_lie_within_the_evidence(surrogate: Surrogate, budget_ms: float) -> None:
    result = search("hybrid", "iphone12", budget_ms=budget_ms, evals=2000, seed=0)
    rows = result.archive.rows[-BEST:]
    archs = [result.best.space.decode(row) for row in rows]
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
