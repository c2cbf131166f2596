"""What a search gained, in points of top-1, with the interval that networks and seeds leave.

Shapes: n networks, s seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hvnas.studies.alone import HIGH, LOW, Array, Interval

DRAWS = 10_000

Reduce = Callable[[Array], Array]


def over_median(found: Array, others: Array) -> Interval:
    """`found` [s] above the median of `others` [n, s], which are some of many: networks are drawn too."""
    return _gain(found, others, lambda means: np.median(means, axis=-1), redraw=True)


def over_best(found: Array, others: Array) -> Interval:
    """`found` [s] above the best of `others` [n, s], which are all there are; which is best is drawn too."""
    return _gain(found, others, lambda means: means.max(axis=-1), redraw=False)


def _gain(found: Array, others: Array, reduce: Reduce, *, redraw: bool) -> Interval:
    """The difference of means over seeds, and the 5 and 95 % quantiles of a bootstrap of it."""
    rng = np.random.default_rng(0)
    (n, s), own = others.shape, found.shape[0]
    networks = rng.integers(n, size=(DRAWS, n)) if redraw else np.broadcast_to(np.arange(n), (DRAWS, n))
    drawn = others[networks[:, :, None], rng.integers(s, size=(DRAWS, n, s))].mean(axis=2)
    gains = found[rng.integers(own, size=(DRAWS, own))].mean(axis=1) - reduce(drawn)
    low, high = np.quantile(gains, [LOW, HIGH])
    return Interval(float(found.mean() - reduce(others.mean(axis=1))), float(low), float(high))
