"""How well scores order networks: overall, among networks of one size, and at the top.

Shapes: n networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bins = NDArray[np.int64]

DRAWS = 1000
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True)
class Interval:
    """A figure with the 5 and 95 % quantiles of what it is for networks drawn with replacement."""

    value: float
    low: float
    high: float


def tau(a: Array, b: Array, bins: Bins | None = None) -> float:
    """Kendall's tau-b of all pairs of networks, or of those within one bin only, pooled.

    Concordant minus discordant pairs, over the geometric mean of the pairs that `a` and that `b` tell apart
    (Kendall 1945); nan where either tells none apart.
    """
    x, y = _signs(a, bins), _signs(b, bins)
    return _share((x * y).sum(), np.abs(x).sum() * np.abs(y).sum())


def rho(a: Array, b: Array, bins: Bins | None = None) -> float:
    """Spearman's correlation of ranks; with `bins` of ranks within each bin, pooled. nan as `tau`."""
    # a rank less the mean rank is half the sum of the signs of the differences to all others
    x, y = _signs(a, bins).sum(1), _signs(b, bins).sum(1)
    return _share((x * y).sum(), (x * x).sum() * (y * y).sum())


def _signs(values: Array, bins: Bins | None) -> Array:
    """Which of two networks is above the other, 0 for those of different bins. Shape [n, n]."""
    above = values[:, None] > values
    signs: Array = above.astype(np.float64) - above.T
    return signs if bins is None else signs * (bins[:, None] == bins)


def _share(of: float, square: float) -> float:
    return float(of / np.sqrt(square)) if square else float("nan")


def regret(scores: Array, truth: Array, bins: Bins, *, k: int) -> float:
    """What is lost in each bin by training only the `k` that `scores` puts first, in points, on average.

    The best of the bin less the best of those `k`.
    """
    lost = []
    for group in np.unique(bins):
        here = bins == group
        first = np.argsort(-scores[here], kind="stable")[:k]
        lost.append(truth[here].max() - truth[here][first].max())
    return float(np.mean(lost))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], bins: Bins, *, seed: int = 0, draws: int = DRAWS
) -> Interval:
    """`statistic` of indices of networks: of all, and its spread for as many drawn from each bin."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(bins == group) for group in np.unique(bins)]
    values = np.array(
        [statistic(np.concatenate([rng.choice(g, size=len(g)) for g in groups])) for _ in range(draws)]
    )
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [LOW, HIGH]) if len(values) else (np.nan, np.nan)
    return Interval(statistic(np.arange(len(bins))), float(low), float(high))
