"""Proxies as estimators: scores without points, and what refuses them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import ColumnEstimator, load_estimator
from hvnas.accuracy.proxies import registry
from hvnas.accuracy.proxies.registry import COUNTED, PROBED
from hvnas.ops import evaluate_columns


def test_every_proxy_is_an_estimator() -> None:
    assert {*COUNTED, *PROBED, "surrogate"} <= set(hvnas.list_estimators())


@pytest.mark.parametrize("name", COUNTED)
def test_counts_serve_populations(name: str) -> None:
    estimator = load_estimator(name)
    assert isinstance(estimator, ColumnEstimator)
    archs = [hvnas.load_arch(model) for model in ("poolformer_s12", "efficientformer_l1")]
    values = np.array([evaluate_columns(estimator.columns, arch.lower()) for arch in archs])
    by_arch = estimator.estimate([archs[0], archs[1].lower()])
    np.testing.assert_array_equal(estimator.estimate_columns(values).mean, by_arch.mean)
    assert estimator.estimate([]).mean.shape == (0,)


def test_scores_are_not_points() -> None:
    arch = hvnas.load_arch("poolformer_s12").shrunk()
    scores = load_estimator("zico").estimate([arch])
    assert scores.unit == "score"
    assert np.isnan(scores.sd).all()
    assert scores.mean[0] == registry.load_proxy("zico").score(arch)
    assert load_estimator("surrogate").estimate([arch]).unit == "points"


def test_what_cannot_be_computed_is_worst_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([1.0, math.nan, math.inf, -3.0])
    monkeypatch.setitem(
        registry._PROXIES, "synflow", registry.ProbedProxy("synflow", lambda subject: next(scores))
    )
    arch = hvnas.load_arch("poolformer_s12").shrunk()
    found = load_estimator("synflow").estimate([arch] * 4)
    assert found.mean.tolist() == [1.0, -math.inf, -math.inf, -3.0]
    assert found.failed == 2


def test_unknown_recipes_and_scenarios_are_refused() -> None:
    arch = hvnas.load_arch("poolformer_s12").shrunk()
    for name in ("free", "naswot"):
        with pytest.raises(ValueError, match="recipe"):
            load_estimator(name).estimate([arch], recipe="none_such")
        with pytest.raises(ValueError, match="scenario"):
            load_estimator(name).estimate([arch], scenario="none_such")


@pytest.mark.parametrize("name", ["free", "naswot", "free+macs"])
def test_a_search_takes_scores_and_calls_them_so(name: str) -> None:
    how = {"estimator": name, "strategy": "evolution", "evals": 6, "outside": "allow"}
    found = hvnas.search("hybrid-tiny", "iphone12", budget_ms=2.0, **how)
    best = found.best.to_json()
    assert "top1" not in best
    assert best["score"] == max(one["score"] for one in found.to_json()["pareto"])
