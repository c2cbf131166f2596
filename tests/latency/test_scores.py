"""The statistics of predicted against measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hvnas.latency.scores import scores


def test_by_hand() -> None:
    found = scores([1.0, 2.2, 2.4, 4.8], [1.0, 2.0, 3.0, 4.0])
    assert found == {
        "n": 4,
        "mape": 12.5,  # 0, 10, 20, 20
        "bias": 5.0,  # 0, +10, -20, +20
        "median": 15.0,
        "p90": 20.0,
        "rmspe": 15.0,
        "within_5": 25.0,
        "within_10": 50.0,
        "within_20": 100.0,
        "spearman": 1.0,
        "kendall_tau": 1.0,
    }


def test_order_reversed() -> None:
    found = scores([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])
    assert (found["spearman"], found["kendall_tau"]) == (-1.0, -1.0)


def test_agrees_with_the_definitions_on_many() -> None:
    rng = np.random.default_rng(0)
    measured = rng.lognormal(size=200)
    predicted = measured * rng.lognormal(sigma=0.1, size=200)
    off = [abs(p - m) / m * 100 for p, m in zip(predicted, measured, strict=True)]
    found = scores(predicted, measured)
    assert found["mape"] == pytest.approx(sum(off) / 200, abs=0.005)
    assert found["rmspe"] == pytest.approx(math.sqrt(sum(x * x for x in off) / 200), abs=0.005)
    assert found["within_10"] == pytest.approx(100 * sum(x <= 10 for x in off) / 200, abs=0.05)


@pytest.mark.parametrize(("predicted", "measured"), [([1.0], [1.1]), ([2.0, 2.0], [1.0, 3.0])])
def test_nothing_to_rank(predicted: list[float], measured: list[float]) -> None:
    found = scores(predicted, measured)
    assert found["spearman"] is None and found["kendall_tau"] is None


@pytest.mark.parametrize(
    ("predicted", "measured", "says"),
    [
        ([], [], "at least one"),
        ([1.0, 2.0], [1.0], "2 predicted times for 1 measured"),
        ([1.0, -2.0], [1.0, 2.0], "predicted times must be finite"),
        ([1.0, 2.0], [1.0, math.nan], "measured times must be finite"),
        ([[1.0]], [[1.0]], "shape"),
    ],
)
def test_refusals(predicted: list[float], measured: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scores(predicted, measured)
