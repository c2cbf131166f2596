"""What keeps an optimiser within the evidence.

A search climbs every slope that a regression extends beyond its evidence, and it maximises the estimate less
its standard deviation. Inside the central 98 % of each main feature, and inside the 99 % quantile of the
Mahalanobis distance of all of them together, the standard deviation is the regression's. Beyond, it grows by
points for every standard deviation that a network is outside: nothing is known there, and a network that
goes there gains nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hvnas.accuracy.features import FEATURES, SIZE, Array

MAIN: tuple[str, ...] = (
    *(name for name in SIZE if name != "log_resolution"),
    *(f"macs_share_s{s}" for s in (4, 8, 16, 32)),
    *("mixers", "acts_depthwise", "acts_matmul", "apart"),
)
LOW, HIGH = 0.01, 0.99
# Points that the standard deviation grows for each standard deviation of a feature outside: several times
# what a standard deviation of any feature is worth inside.
GROWTH = 3.0
# It begins to grow this much before the upper edges, so that the best of a search stop short of them.
MARGIN = 0.1


@dataclass(frozen=True)
class Guard:
    """The range of the main features, and their joint spread."""

    low: Array
    high: Array
    center: Array
    scale: Array
    whitening: Array
    farthest: float
    open: Array

    @classmethod
    def of(cls, features: Array) -> Guard:
        """The guard of evidence with these features of network and recipe. Shape [n, features]."""
        x = features[:, _AT]
        low, high = np.quantile(x, [LOW, HIGH], axis=0)
        center, scale = x.mean(0), x.std(0) + 1e-9
        covariance = np.cov((x - center) / scale, rowvar=False) + 1e-3 * np.eye(len(_AT))
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        passable = np.where(x.max(0) > high + 0.05 * scale, scale, 0.0)
        guard = cls(low, high, center, scale, whitening, np.inf, passable)
        return replace(guard, farthest=float(np.quantile(guard.distance(features), HIGH)))

    def distance(self, features: Array) -> Array:
        """Mahalanobis distance of the main features from the evidence's mean. Shape [n]."""
        z = ((features[:, _AT] - self.center) / self.scale) @ self.whitening.T
        return np.sqrt(np.einsum("ij,ij->i", z, z))

    def outside(self, features: Array) -> Array:
        """Standard deviations outside, all main features and the distance together. Shape [n]; 0 inside."""
        away = np.maximum(self.distance(features) - self.farthest, 0.0)
        total: Array = self.beyond(features).sum(axis=1) + away
        return total

    def growth(self, features: Array) -> Array:
        """Points that the standard deviation grows by. Shape [n]; 0 inside, but for the upper margin."""
        away = np.maximum(self.distance(features) - self.farthest * (1.0 - 0.3 * MARGIN), 0.0)
        total: Array = GROWTH * (self.beyond(features, margin=MARGIN).sum(axis=1) + away)
        return total

    def beyond(self, features: Array, *, margin: float = 0.0) -> Array:
        """Standard deviations outside the range of each main feature. Shape [n, len(MAIN)]; 0 inside.

        `margin` moves the upper edges inwards by as many standard deviations, but for those that no network
        can pass, such as a share of 1.
        """
        x = features[:, _AT]
        gap: Array = np.maximum(self.low - x, 0.0) + np.maximum(x - self.high + margin * self.open, 0.0)
        return gap / self.scale

    def inside(self, features: Array) -> Array:
        """Whether a network lies within the range in every main feature and in the distance."""
        return self.outside(features) == 0.0


_AT = [FEATURES.index(name) for name in MAIN]
