"""Comparing layouts: only at one size, and each rank with its probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy.columns import COLUMNS, NAMES
from hvnas.accuracy.estimator import values_of
from hvnas.accuracy.features import Array
from hvnas.accuracy.surrogate import Surrogate
from hvnas.arch import Arch
from hvnas.ops import Program

# The largest may have so much more params or MACs than the smallest: beyond that, size is what is compared.
TOLERANCE = 0.05
DRAWS = 20_000


@dataclass(frozen=True)
class Ranking:
    """Networks in order of their estimates.

    `order` holds indices of the networks given, the best first; ``probabilities[i, r]`` is the chance that
    network i is number r + 1, over what the evidence leaves open; `mean` and `sd` are the top-1 points that
    the surrogate estimates. The sd holds what networks share as well, which cancels in their order.
    """

    order: tuple[int, ...]
    probabilities: Array
    mean: Array
    sd: Array


def rank_probabilities(
    archs: Sequence[Arch | Program],
    surrogate: Surrogate,
    *,
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    tolerance: float = TOLERANCE,
) -> Ranking:
    """Ranks of networks of one size, each with its probability.

    What the networks share, such as the offset of a family trained one way, cancels: the draws are joint.
    Raises ValueError where params or MACs of two of them differ by more than `tolerance` of the smaller.
    """
    if len(archs) < 2:
        raise ValueError("ranking: needs two networks or more; name another one")
    values = values_of(COLUMNS, archs)
    _check_sizes(values, tolerance)
    mean, covariance = surrogate.joint_columns(values, recipe=recipe, scenario=scenario)
    drawn = np.random.default_rng(0).multivariate_normal(mean, covariance, DRAWS, method="eigh")
    order: NDArray[np.int64] = np.argsort(-mean, kind="stable")
    sd = surrogate.estimate_columns(values, recipe=recipe, scenario=scenario).sd
    return Ranking(tuple(order.tolist()), _chances(drawn), mean, sd)


def _chances(drawn: Array) -> Array:
    ranks = np.argsort(np.argsort(-drawn, axis=1), axis=1)
    n = drawn.shape[1]
    return np.array([[float((ranks[:, i] == r).mean()) for r in range(n)] for i in range(n)])


def _check_sizes(values: Array, tolerance: float) -> None:
    for name in ("params", "macs"):
        sizes = values[:, NAMES.index(name)]
        apart = float(sizes.max() / sizes.min() - 1.0)
        if apart > tolerance:
            shown = "MACs" if name == "macs" else name
            raise ValueError(
                f"{shown}: the largest network has {100 * apart:.1f} % more than the smallest, more than "
                f"{100 * tolerance:g} %; widen or deepen the smaller ones until their sizes agree"
            )
