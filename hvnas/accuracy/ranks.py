"""Ranks of scores that have no scale of their own, and of scores that failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def settled(scores: Array) -> Array:
    """`scores` with -inf, the worst score there is, for nan and for infinities of either sign."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isfinite(scores), scores, -np.inf)


def normalised_ranks(scores: Array) -> Array:
    """Ranks of n scores as shares in (0, 1), the best nearest to 1: ``(rank - 0.5) / n``.

    Equal scores share the mean of their ranks; so do scores that are not finite, below all others.
    """
    ranks: Array = (rankdata(settled(scores)) - 0.5) / max(len(scores), 1)
    return ranks


def places(scores: Array) -> list[int]:
    """The place of each score, 1 for the highest; equal scores share the better place."""
    found: list[int] = rankdata(-settled(scores), method="min").astype(int).tolist()
    return found


def mean_rank(scores: Sequence[Array]) -> Array:
    """Mean over several scores of each network's normalised rank among the networks given. Shape [n]."""
    mean: Array = np.mean([normalised_ranks(score) for score in scores], axis=0)
    return mean
