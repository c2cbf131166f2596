"""The regression: gradients, the exact limit, offsets of groups, and what cutting the rank may do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvnas.accuracy.surrogate.gp import (
    Kernel,
    _penalised,
    condition,
    initial,
    maximise,
    noise_covariance,
    pivots,
)

FEATURES, GROUPS = 4, ((0, 1), (1, 2, 3))


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, FEATURES))
    families, studies = rng.integers(0, 9, 60), rng.integers(0, 5, 60)
    y = x[:, 0] + np.sin(x[:, 1]) + 0.5 * rng.normal(size=9)[families] + 0.05 * rng.normal(size=60)
    return x, y, (families, studies)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(initial(FEATURES, GROUPS, effects=2), FEATURES, GROUPS)


def test_gradient_is_that_of_the_likelihood(data, kernel) -> None:
    x, y, codes = data
    _, gradient = _penalised(kernel, x, y, codes)
    for i in range(len(kernel.theta)):
        step = np.zeros_like(kernel.theta)
        step[i] = 1e-5
        up, _ = _penalised(replace(kernel, theta=kernel.theta + step), x, y, codes)
        down, _ = _penalised(replace(kernel, theta=kernel.theta - step), x, y, codes)
        assert gradient[i] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-4)


def test_with_every_row_inducing_it_is_the_exact_regression(data, kernel) -> None:
    x, y, codes = data
    found = condition(kernel, x, y, codes, inducing=60, rank=60)
    query = np.random.default_rng(1).normal(size=(7, FEATURES))
    total = kernel(x, x) + noise_covariance(kernel.variances, codes)
    across = kernel(query, x)
    first, others, variance = found.predict(query)
    mean = first + others
    assert mean == pytest.approx(across @ np.linalg.solve(total, y), abs=1e-4)
    exact = kernel.diagonal(query) - np.einsum("ij,ji->i", across, np.linalg.solve(total, across.T))
    assert variance == pytest.approx(exact, abs=1e-4)


def test_a_lower_rank_only_widens(data, kernel) -> None:
    x, y, codes = data
    *full_mean, full = condition(kernel, x, y, codes, inducing=60, rank=60).predict(x)
    *mean, cut = condition(kernel, x, y, codes, inducing=60, rank=10).predict(x)
    assert sum(mean) == pytest.approx(sum(full_mean))
    assert (cut >= full - 1e-9).all()
    assert cut.max() > full.max()


def test_variance_grows_away_from_the_rows(data, kernel) -> None:
    x, y, codes = data
    found = condition(kernel, x, y, codes, inducing=60, rank=60)
    direction = np.ones((1, FEATURES))
    spread = [found.predict(direction * distance)[2][0] for distance in (0.0, 3.0, 6.0, 12.0)]
    assert spread == sorted(spread)
    assert spread[-1] > 4 * spread[0]


def test_an_offset_of_one_family_does_not_bend_the_trend(data) -> None:
    x, _, _ = data
    families = np.where(x[:, 0] > 0.8, 1, 0)
    y = x[:, 0] + np.where(families == 1, 2.0, 0.0)
    theta = initial(FEATURES, GROUPS, effects=1)
    shared = condition(Kernel(theta, FEATURES, GROUPS), x, y, (families,), inducing=60, rank=60)
    theta = theta.copy()
    theta[-1] = np.log(1.0)
    apart = condition(Kernel(theta, FEATURES, GROUPS), x, y, (families,), inducing=60, rank=60)
    query = np.array([[2.0, 0.0, 0.0, 0.0]])
    assert sum(apart.predict(query)[:2])[0] < sum(shared.predict(query)[:2])[0]


def test_pivots_are_distinct_rows(data, kernel) -> None:
    x, _, _ = data
    twice = np.vstack([x, x])
    chosen = pivots(kernel, twice, 120)
    assert len(set(chosen.tolist())) == len(chosen) <= 60


def test_search_finds_a_likelier_kernel_and_always_the_same(data, kernel) -> None:
    x, y, codes = data
    first = maximise(kernel, x, y, codes, iterations=15)
    again = maximise(kernel, x, y, codes, iterations=15)
    assert (first.theta == again.theta).all()
    assert _penalised(first, x, y, codes)[0] < _penalised(kernel, x, y, codes)[0] - 1.0
