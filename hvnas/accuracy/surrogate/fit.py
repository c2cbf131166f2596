"""The surrogate's regression on one evidence: views, a Gaussian process for each, and the guard around
them.

It regresses -ln(100 - top-1), in which equal steps in size or schedule have more nearly equal effects at
70 % and at 85 %. Every feature is held at the edge of its central 99 % range (sizes from above only), and
what structure adds at a given size at the 99 % quantile of what it adds in the evidence: a network that
combines every favourable trait is not estimated above the best combinations that were published. Schedules
are held at the longest one that their class of augmentation was trained for. What a hold cuts off goes into
the variance; how it widens beyond the evidence is `hvnas.accuracy.surrogate.fit`.

Which features each Gaussian process of the surrogate looks at, how they are grouped, and their trend.

Two regressions look at the same evidence. The ``whole`` view knows how many mixers of each kind stand at each
stride; with so many features many networks are far from all others. The ``lean`` view knows what the network
is made of as a whole. Their errors on unseen families are partly independent, and their mean is better than
either.

What keeps an optimiser within the evidence.

A search climbs every slope that a regression extends beyond its evidence, and it maximises the estimate less
its standard deviation. Inside the central 98 % of each main feature, and inside the 99 % quantile of the
Mahalanobis distance of all of them together, the standard deviation is the regression's. Beyond, it grows by
points for every standard deviation that a network is outside: nothing is known there, and a network that
goes there gains nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hvnas._cache import Arrays
from hvnas.accuracy.estimator import Estimate
from hvnas.accuracy.surrogate.evidence import RECIPE_FEATURES, Evidence
from hvnas.accuracy.surrogate.features import COUNTS, FEATURES, MIXERS, RANGE_ONLY, SIZE, STRUCTURE, Array
from hvnas.accuracy.surrogate.gp import Groups, Kernel, Posterior, condition, exact, exact_weights

# Top-1 points of a guess among 1,000 classes: far below the evidence no network does worse.
CHANCE = 0.1


INDUCING = 256
RANK = 128
# Rows at once: few enough for what they are multiplied with to stay in a cache near the processor.
BATCH = 256
_POSTERIOR = ("inducing", "smooth_loading", "linear_loading")
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

    Last come the ablations, whose offset is as wide as the target: they count as differences only. What is a
    network's own and no feature tells is the same in base and variant, so that their difference has the noise
    of two trainings.
    """
    networks = np.where(evidence.ablations == "", evidence.networks, "")
    names = (evidence.families, evidence.studies, networks, evidence.ablations)
    return tuple(np.where(name == "", -1, np.unique(name, return_inverse=True)[1]) for name in names)


@dataclass(frozen=True)
class Scaling:
    """Standardisation of features and target, and the range within which features are followed.

    `longest` [augmentation classes] is the feature of the longest schedule with each class of augmentation:
    what more epochs are worth depends on the class.
    """

    center: Array
    scale: Array
    low: Array
    high: Array
    longest: Array
    target_center: float
    target_scale: float

    @classmethod
    def of(cls, evidence: Evidence) -> Scaling:
        x, y = evidence.features, transform(evidence.top1)
        low, high = np.quantile(x, [EDGE, 1.0 - EDGE], axis=0)
        low[[ALL_FEATURES.index(name) for name in SIZE]] = -np.inf
        classes = _classes(x)
        longest = np.max(np.where(classes, x[:, [EPOCHS]], -np.inf), axis=0)
        # A class that nothing was trained with is followed as far as any other.
        longest[np.isinf(longest)] = x[:, EPOCHS].max()
        return cls(x.mean(0), x.std(0) + 1e-9, low, high, longest, float(y.mean()), float(y.std()))

    def features(self, x: Array) -> tuple[Array, Array]:
        """Standardised features held within the range, and what was cut off."""
        held = np.clip(x, self.low, self.high)
        held[:, EPOCHS] = np.minimum(held[:, EPOCHS], _classes(x) @ self.longest)
        return (held - self.center) / self.scale, (x - held) / self.scale


def _classes(x: Array) -> NDArray[np.bool_]:
    """Which class of augmentation each row was trained with: modern, basic, policy. Shape [n, 3]."""
    older = x[:, [ALL_FEATURES.index("basic"), ALL_FEATURES.index("policy")]] > 0.0
    return np.column_stack([~older.any(axis=1), older])


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

    @classmethod
    def stored(cls, view: View, theta: Array, arrays: Arrays) -> Member:
        """The member of a view whose `arrays` these are."""
        kernel = Kernel(theta, len(view.features), view.groups)
        inducing, smooth, linear = (arrays[f"{view.name}.{name}"] for name in _POSTERIOR)
        noise, limit = arrays[f"{view.name}.numbers"].tolist()
        return cls(view, Posterior(kernel, inducing, smooth, linear), noise, limit)  # type: ignore[arg-type]

    def arrays(self) -> Arrays:
        """What takes time to find, to be stored."""
        name = self.view.name
        found: Arrays = {f"{name}.{field}": getattr(self.posterior, field) for field in _POSTERIOR}
        return {**found, f"{name}.numbers": np.array([self.noise, self.structure_limit])}

    @classmethod
    def crossed(
        cls, view: View, evidence: Evidence, scaling: Scaling, theta: Array, weights: Array, limit: float
    ) -> Member:
        """The mean alone, from what `weights_of` found on the same evidence."""
        kernel = Kernel(theta, len(view.features), view.groups)
        x, _ = standardised(view, evidence, scaling)
        return cls(view, exact(kernel, x, weights).with_slopes(view.slopes), 0.0, limit)

    def predict(self, held: Array, cut: Array) -> tuple[Array, Array]:
        """Mean and variance, standardised, of a new training of a network of a new family."""
        size, structure, variance = self.posterior.predict(held[:, self.view.index])
        followed = np.minimum(structure, self.structure_limit)
        beyond = self._beyond(cut[:, self.view.index])
        return size + followed, variance + self.noise + beyond + np.square(structure - followed)

    def mean(self, held: Array) -> Array:
        """The mean of `predict` alone."""
        size, structure = self.posterior.mean(held[:, self.view.index])
        return size + np.minimum(structure, self.structure_limit)

    def _beyond(self, cut: Array) -> Array:
        """Variance for what lies beyond the evidence: slopes unknown, smooth parts drawn anew."""
        kernel = self.posterior.kernel
        added: Array = cut**2 @ kernel.linear
        for group, amplitude, lengths in kernel.parts:
            apart = np.square(cut[:, group] / lengths).sum(axis=1)
            added += amplitude * (1.0 - np.exp(-0.5 * apart))
        return added


def weights_of(view: View, evidence: Evidence, theta: Array) -> tuple[Array, float]:
    """Weights of the rows of `evidence`, and the limit of what structure adds: see `Member.crossed`."""
    scaling = Scaling.of(evidence)
    x, y = standardised(view, evidence, scaling)
    weights = exact_weights(Kernel(theta, len(view.features), view.groups), x, y, group_codes(evidence))
    found = Member.crossed(view, evidence, scaling, theta, weights, np.inf)
    return weights, float(np.quantile(found.posterior.predict(x)[1], STRUCTURE_EDGE))


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

    @classmethod
    def stored(
        cls, evidence: Evidence, thetas: Mapping[str, Array], arrays: Arrays, *, sd_scale: float
    ) -> Fit:
        """The regression on `evidence` whose `arrays` these are."""
        members = tuple(
            Member.stored(view, thetas[view.name], arrays) for view in VIEWS if view.name in thetas
        )
        return cls(Scaling.of(evidence), Guard.of(evidence.features), members, sd_scale)

    def arrays(self) -> Arrays:
        """What takes time to find, to be stored."""
        return {name: array for member in self.members for name, array in member.arrays().items()}

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
        unknown = self.guard.growth(features)
        top1 = self._top1(means)
        spread = np.sqrt(variances.mean(0) + means.var(0)) * self.scaling.target_scale * self.sd_scale
        return top1, (100.0 - top1) * spread + unknown

    def mean(self, features: Array) -> Array:
        """The means of `predict` alone, in a fraction of its time. Shape [n]."""
        held, _ = self.scaling.features(features)
        return self._top1(np.stack([member.mean(held) for member in self.members]))

    def _top1(self, means: Array) -> Array:
        """Points from the members' means, standardised. Shape [members, n] to [n]."""
        mean = means.mean(0) * self.scaling.target_scale + self.scaling.target_center
        return np.maximum(untransform(mean), CHANCE)

    def joint(self, features: Array) -> tuple[Array, Array]:
        """Mean and covariance, in points, of what sets networks apart: offsets that they share left out."""
        mean = self.mean(features)
        # Of a run and of a network.
        own = [member.posterior.kernel.variances[[0, 3]].sum() for member in self.members]
        total = self._covariance(features) + float(np.mean(own)) * np.eye(len(features))
        slope = self._slope(mean) * self.sd_scale
        return mean, total * np.outer(slope, slope)

    def covariance_across_families(self, features: Array) -> Array:
        """Covariance, in points, of networks that are each of a family and in a study of their own.

        The variances are as the evidence has them: `sd_scale` makes intervals of single networks cover what
        they say, and differences between networks of two families are as wide as they are without it.
        Shape [n, n].
        """
        found = replace(self, sd_scale=1.0).predict(features)
        slope = self._slope(found.mean)
        total = self._covariance(features) * np.outer(slope, slope)
        np.fill_diagonal(total, np.square(found.sd))
        return total

    def _slope(self, mean: Array) -> Array:
        """Points per unit of the standardised target, at these means."""
        return (100.0 - mean) * self.scaling.target_scale

    def _covariance(self, features: Array) -> Array:
        """Covariance of what structure and training explain, standardised. Shape [n, n]."""
        held, _ = self.scaling.features(features)
        parts = [member.posterior.covariance(held[:, member.view.index]) for member in self.members]
        return np.asarray(np.mean(parts, axis=0))


@dataclass(frozen=True)
class Calibration:
    """How results go with the estimates of fits that have not seen their families.

    Of networks with equal MACs those that are estimated high are overrated on average, and those that are
    estimated low underrated: an estimate takes for the network's own what similar networks of the evidence
    owe to their training. In the scale of the regression, -ln(100 - top-1),

        result = intercept + slope estimate + log_macs ln(MACs), with a slope below 1.
    """

    intercept: float
    slope: float
    log_macs: float

    @classmethod
    def of(cls, estimate: Array, log_macs: Array, top1: Array, families: NDArray[np.str_]) -> Calibration:
        """The one of least squares; a family weighs as the root of its number of networks. Shape [n] each."""
        _, family, counts = np.unique(families, return_inverse=True, return_counts=True)
        # The root of the weight of a row, which is that of its family over the number of its networks.
        root = counts[family] ** -0.25
        terms = np.stack([np.ones(len(top1)), transform(estimate), log_macs], axis=1)
        found = np.linalg.lstsq(terms * root[:, None], transform(top1) * root, rcond=None)[0]
        return cls(*map(float, found))

    def __call__(self, estimate: Array, log_macs: Array) -> Array:
        """Top-1 in points from that of fits without the family, and the feature of MACs. Shape [n] each."""
        found = self.intercept + self.slope * transform(estimate) + self.log_macs * log_macs
        return np.maximum(untransform(found), CHANCE)


ALL_FEATURES: tuple[str, ...] = (*FEATURES, *RECIPE_FEATURES)
LOG_MACS = ALL_FEATURES.index("log_macs")
EPOCHS = ALL_FEATURES.index("log_epochs")


# What theory says of the sign of an effect. Size helps, and so do depth in every stage, every map that is
# mixed, longer training, and a teacher; tokens that cannot attend to each other, patches cut at once from
# many pixels, and activations with a flat side hinder. The prior of each slope is centred on STRENGTH times
# the sign, in standard deviations of the target per standard deviation of the feature; the evidence moves it
# from there.
SIGNS: dict[str, int] = {
    "log_params": 1,
    "log_macs": 1,
    "log_depth": 1,
    **{f"depth_s{stride}": 1 for stride in (4, 8, 16, 32)},
    "mixers": 1,
    "apart": -1,
    "largest_stride": -1,
    "act_relu": -1,
    "log_epochs": 1,
    "distilled": 1,
}
STRENGTH = 0.15


EFFECTS = ("run", "family", "study", "network", "ablation")


@dataclass(frozen=True)
class View:
    """A choice of features. Three smooth parts of the kernel: size together with training, since small
    networks gain less from strong augmentation and long schedules; token mixers; the rest of the structure.
    """

    name: str
    features: tuple[str, ...]

    @cached_property
    def index(self) -> list[int]:
        """Where the view's features stand among all."""
        return [ALL_FEATURES.index(name) for name in self.features]

    @cached_property
    def groups(self) -> Groups:
        """The smooth parts, as indices into the view's features."""
        parts = (
            (*SIZE, *RECIPE_FEATURES),
            MIXERS,
            tuple(name for name in STRUCTURE if name not in MIXERS),
        )
        return tuple(
            tuple(self.features.index(name) for name in part if name in self.features) for part in parts
        )

    @cached_property
    def slopes(self) -> Array:
        """The trend of each of the view's features."""
        return np.array([STRENGTH * SIGNS.get(name, 0) for name in self.features])

    @cached_property
    def theta_names(self) -> tuple[str, ...]:
        """A name for every hyperparameter, in the layout of `hvnas.accuracy.surrogate.gp.Kernel`."""
        names = [f"slope.{feature}" for feature in self.features]
        for index, group in enumerate(self.groups):
            names.append(f"smooth{index}.amplitude")
            names += [f"smooth{index}.length.{self.features[feature]}" for feature in group]
        return (*names, *(f"noise.{effect}" for effect in EFFECTS))


VIEWS: tuple[View, ...] = (
    View("whole", tuple(name for name in ALL_FEATURES if name not in RANGE_ONLY)),
    View("lean", tuple(name for name in ALL_FEATURES if name not in RANGE_ONLY | COUNTS)),
)


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
