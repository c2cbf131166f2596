"""The surrogate's regression on one evidence: a Gaussian process for each view, and their mean.

It regresses -ln(100 - top-1), in which equal steps in size or schedule have more nearly equal effects at
70 % and at 85 %. Every feature is held at the edge of its central 99 % range (sizes from above only), and
what structure adds at a given size at the 99 % quantile of what it adds in the evidence: a network that
combines every favourable trait is not estimated above the best combinations that were published. What a
hold cuts off goes into the variance; how it widens beyond the evidence is `hvnas.accuracy.guard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy.estimator import Estimate
from hvnas.accuracy.evidence import Evidence
from hvnas.accuracy.features import SIZE, Array
from hvnas.accuracy.gp import Kernel, Posterior, condition
from hvnas.accuracy.guard import Guard
from hvnas.accuracy.views import ALL_FEATURES, VIEWS, View

# Top-1 points of a guess among 1,000 classes: far below the evidence no network does worse.
CHANCE = 0.1

INDUCING = 256
RANK = 128
BATCH = 1024
EDGE = 0.005
STRUCTURE_EDGE = 0.99


def transform(top1: Array) -> Array:
    """-ln(100 - top-1)."""
    return -np.log(100.0 - top1)


def untransform(value: Array) -> Array:
    """Top-1 from its transform."""
    return 100.0 - np.exp(-value)


def group_codes(evidence: Evidence) -> tuple[NDArray[np.int64], ...]:
    """Which rows share an offset: those of a family, of a study (one training set-up), of a network.

    Last come the ablations, whose offset is as wide as the target: they count as differences only.
    """
    names = (evidence.families, evidence.studies, evidence.networks, evidence.ablations)
    return tuple(np.where(name == "", -1, np.unique(name, return_inverse=True)[1]) for name in names)


@dataclass(frozen=True)
class Scaling:
    """Standardisation of features and target, and the range within which features are followed."""

    center: Array
    scale: Array
    low: Array
    high: Array
    target_center: float
    target_scale: float

    @classmethod
    def of(cls, evidence: Evidence) -> Scaling:
        x, y = evidence.features, transform(evidence.top1)
        low, high = np.quantile(x, [EDGE, 1.0 - EDGE], axis=0)
        low[[ALL_FEATURES.index(name) for name in SIZE]] = -np.inf
        return cls(x.mean(0), x.std(0) + 1e-9, low, high, float(y.mean()), float(y.std()))

    def features(self, x: Array) -> tuple[Array, Array]:
        """Standardised features held within the range, and what was cut off."""
        held = np.clip(x, self.low, self.high)
        return (held - self.center) / self.scale, (x - held) / self.scale


@dataclass(frozen=True)
class Member:
    """The Gaussian process of one view."""

    view: View
    posterior: Posterior
    noise: float
    structure_limit: float

    @classmethod
    def of(cls, view: View, evidence: Evidence, scaling: Scaling, theta: Array, inducing: int) -> Member:
        """Fit with hyperparameters `theta`, in the layout of ``view.theta_names``."""
        kernel = Kernel(theta, len(view.features), view.groups)
        x, y = standardised(view, evidence, scaling)
        posterior = condition(kernel, x, y, group_codes(evidence), inducing=inducing, rank=RANK)
        posterior = posterior.with_slopes(view.slopes)
        _, structure, _ = posterior.predict(x)
        # A network of its own owes nothing to the offset of an ablation, which comes last.
        noise = float(kernel.variances[:-1].sum())
        return cls(view, posterior, noise, float(np.quantile(structure, STRUCTURE_EDGE)))

    def predict(self, held: Array, cut: Array) -> tuple[Array, Array]:
        """Mean and variance, standardised, of a new training of a network of a new family."""
        size, structure, variance = self.posterior.predict(held[:, self.view.index])
        followed = np.minimum(structure, self.structure_limit)
        beyond = self._beyond(cut[:, self.view.index])
        return size + followed, variance + self.noise + beyond + np.square(structure - followed)

    def _beyond(self, cut: Array) -> Array:
        """Variance for what lies beyond the evidence: slopes unknown, smooth parts drawn anew."""
        kernel = self.posterior.kernel
        added: Array = cut**2 @ kernel.linear
        for group, amplitude, lengths in kernel.parts():
            apart = np.square(cut[:, group] / lengths).sum(axis=1)
            added += amplitude * (1.0 - np.exp(-0.5 * apart))
        return added


def standardised(view: View, evidence: Evidence, scaling: Scaling) -> tuple[Array, Array]:
    """What a Gaussian process of `view` is fitted to: features, and the target less the trend."""
    x, _ = scaling.features(evidence.features)
    x = x[:, view.index]
    y = (transform(evidence.top1) - scaling.target_center) / scaling.target_scale
    return x, y - x @ view.slopes


@dataclass(frozen=True, repr=False)
class Fit:
    """The regression on one evidence."""

    scaling: Scaling
    guard: Guard
    members: tuple[Member, ...]
    sd_scale: float

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        thetas: Mapping[str, Array],
        *,
        sd_scale: float = 1.0,
        inducing: int = INDUCING,
    ) -> Fit:
        """Fit with hyperparameters `thetas`, by view; `sd_scale` corrects the standard deviation's level."""
        scaling = Scaling.of(evidence)
        guard = Guard.of(evidence.features)
        members = tuple(
            Member.of(view, evidence, scaling, thetas[view.name], inducing)
            for view in VIEWS
            if view.name in thetas
        )
        return cls(scaling, guard, members, sd_scale)

    def predict(self, features: Array) -> Estimate:
        """Estimates from features of network and recipe, ``[n, len(ALL_FEATURES)]``.

        The variance is that of a new training run of a network of a new family in a new study.
        """
        mean, sd = np.empty(len(features)), np.empty(len(features))
        for start in range(0, len(features), BATCH):
            part = slice(start, start + BATCH)
            mean[part], sd[part] = self._predict(features[part])
        return Estimate(mean, sd)

    def _predict(self, features: Array) -> tuple[Array, Array]:
        held, cut = self.scaling.features(features)
        found = [member.predict(held, cut) for member in self.members]
        means, variances = (np.stack(side) for side in zip(*found, strict=True))
        mean = means.mean(0) * self.scaling.target_scale + self.scaling.target_center
        unknown = self.guard.growth(features)
        top1 = np.maximum(untransform(mean), CHANCE)
        spread = np.sqrt(variances.mean(0) + means.var(0)) * self.scaling.target_scale * self.sd_scale
        return top1, (100.0 - top1) * spread + unknown

    def joint(self, features: Array) -> tuple[Array, Array]:
        """Mean and covariance, in points, of what sets networks apart: offsets that they share left out."""
        mean, _ = self.predict(features)
        held, _ = self.scaling.features(features)
        total = np.zeros((len(features), len(features)))
        for member in self.members:
            kernel = member.posterior.kernel
            own = kernel.variances[0] + kernel.variances[3]  # of a run and of a network
            total += member.posterior.covariance(held[:, member.view.index]) + own * np.eye(len(total))
        slope = (100.0 - mean) * self.scaling.target_scale * self.sd_scale
        return mean, total / len(self.members) * np.outer(slope, slope)
