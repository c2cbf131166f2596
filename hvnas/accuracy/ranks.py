"""Ranks of scores that have no scale of their own, and of scores that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A scale goes on beyond its ends as steeply as it runs in the outer quarter there: one value far out makes
# it flatter, never steeper, and a quarter of 64 references is 16.
_OUTER = 0.25


def settled(scores: Array) -> Array:
    """`scores` with -inf, the worst score there is, for nan and for infinities of either sign."""
    scores = np.asarray(scores, dtype=np.float64)
    return np.where(np.isfinite(scores), scores, -np.inf)


def normalised_ranks(scores: Array) -> Array:
    """Ranks of n scores as shares in (0, 1), the best nearest to 1: ``(rank - 0.5) / n``.

    Equal scores share the mean of their ranks; so do scores that are not finite, below all others.
    """
    from scipy.stats import rankdata  # late: a search that ranks nothing must not pay for it

    ranks: Array = (rankdata(settled(scores)) - 0.5) / max(len(scores), 1)
    return ranks


def places(scores: Array) -> list[int]:
    """The place of each score, 1 for the highest; equal scores share the better place."""
    from scipy.stats import rankdata

    found: list[int] = rankdata(-settled(scores), method="min").astype(int).tolist()
    return found


def mean_rank(scores: Sequence[Array]) -> Array:
    """Mean over several scores of each network's normalised rank among the networks given. Shape [n]."""
    mean: Array = np.mean([normalised_ranks(score) for score in scores], axis=0)
    return mean


@dataclass(frozen=True)
class RankScale:
    """Where scores stand among reference scores: a strictly increasing map, the same in every call.

    At a reference score its normalised rank among the references, linear between two of them, and linear
    beyond the first and the last, so that it leaves (0, 1) there instead of standing still.

    `scores` are the distinct finite reference scores, ascending, `shares` their normalised ranks, `below`
    and `above` the slopes beyond the ends. Shape [k] each, k >= 1.
    """

    scores: Array
    shares: Array
    below: float
    above: float

    @classmethod
    def of(cls, references: Array, *, name: str) -> RankScale:
        """The scale of n reference scores; those that are not finite stand below all others.

        Raises ValueError, with the `name` of what gave the scores, where none is finite.
        """
        references = settled(references)
        finite = np.isfinite(references)
        if not finite.any():
            raise ValueError(
                f"estimator: {name} fails on all of {len(references)} reference networks; leave it out, or "
                "choose another space"
            )
        ranks = normalised_ranks(references)
        scores, first = np.unique(references[finite], return_index=True)
        shares = ranks[finite][first]
        low, high = np.quantile(references[finite], [_OUTER, 1 - _OUTER])
        return cls(
            scores,
            shares,
            below=_slope(scores, shares, scores[0], low),
            above=_slope(scores, shares, high, scores[-1]),
        )

    def __call__(self, scores: Array) -> Array:
        """Positions of scores; -inf where a score is not finite. Shape kept."""
        scores = settled(scores)
        inside = np.interp(scores, self.scores, self.shares)
        beyond = self.above * np.maximum(scores - self.scores[-1], 0)
        short = self.below * np.maximum(self.scores[0] - scores, 0)
        positions: Array = inside + beyond - short
        return positions


def _slope(scores: Array, shares: Array, start: float, stop: float) -> float:
    """Share per score between two scores, over the whole scale where those are equal."""
    if stop <= start:
        start, stop = float(scores[0]), float(scores[-1])
    if stop <= start:
        return 1.0 / max(1.0, abs(start))
    first, last = np.interp([start, stop], scores, shares)
    return float((last - first) / (stop - start))
