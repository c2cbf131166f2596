"""Kendall's tau and Spearman's rho overall and in bins, regret, and the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from hvnas.studies.rank import bootstrap, regret, rho, tau


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 8, size=24).astype(float)
    return a, a + rng.normal(0, 2, size=24).round()


def test_without_bins_they_are_the_known_ones(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert tau(*pair) == pytest.approx(kendalltau(*pair)[0])
    assert rho(*pair) == pytest.approx(spearmanr(*pair)[0])


def test_one_bin_is_no_bin(pair: tuple[np.ndarray, np.ndarray]) -> None:
    one = np.zeros(24, dtype=np.int64)
    assert tau(*pair, one) == tau(*pair)
    assert rho(*pair, one) == pytest.approx(rho(*pair))


def test_in_bins_what_lies_between_them_does_not_count() -> None:
    bins = np.repeat([0, 1], 3)
    truth = np.array([1.0, 2, 3, 11, 12, 13])
    opposed = np.array([3.0, 2, 1, 13, 12, 11])  # right about the bins, wrong inside both
    assert tau(truth, opposed, bins) == rho(truth, opposed, bins) == -1
    assert tau(truth, opposed) == pytest.approx(kendalltau(truth, opposed)[0])
    assert tau(truth, opposed) > 0
    half = np.array([1.0, 2, 3, 13, 12, 11])
    assert tau(truth, half, bins) == rho(truth, half, bins) == 0


def test_nothing_told_apart_is_no_order() -> None:
    assert np.isnan(tau(np.ones(4), np.arange(4.0)))
    assert np.isnan(rho(np.ones(4), np.arange(4.0)))


def test_scores_that_failed_come_last() -> None:
    assert tau(np.array([-np.inf, -np.inf, 1.0]), np.array([1.0, 2, 3])) == pytest.approx(2 / np.sqrt(6))


def test_regret_is_what_the_chosen_lack() -> None:
    truth, bins = np.array([50.0, 60, 70, 10, 20, 40]), np.repeat([0, 1], 3)
    assert regret(truth, truth, bins, k=1) == 0
    assert regret(-truth, truth, bins, k=1) == (20 + 30) / 2
    assert regret(-truth, truth, bins, k=2) == (10 + 20) / 2
    assert regret(-truth, truth, bins, k=3) == 0


def test_the_bootstrap_keeps_bins_and_brackets_the_value(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    bins = np.repeat([0, 1, 2], 8)
    sizes = []
    found = bootstrap(lambda i: sizes.append(np.bincount(bins[i])) or tau(a[i], b[i]), bins, draws=200)
    assert all((size == 8).all() for size in sizes)
    assert found.low < found.value == tau(a, b) < found.high
    assert bootstrap(lambda i: tau(a[i], b[i]), bins, draws=200) == found
    perfect = bootstrap(lambda i: tau(a[i], a[i], bins[i]), bins, draws=50)
    assert (perfect.low, perfect.value, perfect.high) == (1, 1, 1)
