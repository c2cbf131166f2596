"""The default estimator: a Gaussian process on published ImageNet-1k results.

Fitted when loaded, from the evidence and the hyperparameters that ship as text (`data/evidence.csv`,
`data/surrogate.json`). It regresses -ln(100 - top-1), in which equal steps in size or schedule have more
nearly equal effects at 70 % and at 85 %.

A search climbs every slope that a regression extends beyond its evidence, so two holds bound the mean. Every
feature is held at the edge of its central 99 % range (sizes from above only). And what structure adds at a
given size is held at the 99 % quantile of what it adds in the evidence: a network that combines every
favourable trait is not estimated above the best combinations that were published. What a hold cuts off goes
into the variance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text
from hvnas.accuracy.columns import COLUMNS
from hvnas.accuracy.estimator import Estimate, check_scenario, register_estimator
from hvnas.accuracy.evidence import DATA, RECIPE_FEATURES, Evidence, covariates, load_evidence
from hvnas.accuracy.features import FEATURES, MIXERS, SIZE, STRUCTURE, Array, derive
from hvnas.accuracy.gp import Kernel, Posterior, condition
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns
from hvnas.train.recipes import load_recipe

# Top-1 points of a guess among 1,000 classes: far below the evidence no network does worse.
CHANCE = 0.1

ALL_FEATURES: tuple[str, ...] = (*FEATURES, *RECIPE_FEATURES)

# Three smooth parts: size together with training, since small networks gain less from strong
# augmentation and long schedules; token mixers, by kind and level; and the rest of the structure.
GROUPS: tuple[tuple[int, ...], ...] = tuple(
    tuple(ALL_FEATURES.index(name) for name in group)
    for group in (
        (*SIZE, *RECIPE_FEATURES),
        MIXERS,
        tuple(name for name in STRUCTURE if name not in MIXERS),
    )
)
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
    """Which rows share an offset: those of a family, of a study (one training set-up), of a network."""
    return tuple(
        np.unique(names, return_inverse=True)[1]
        for names in (evidence.families, evidence.studies, evidence.networks)
    )


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
class Fit:
    """The Gaussian process fitted on one evidence."""

    scaling: Scaling
    posterior: Posterior
    noise: float
    sd_scale: float
    structure_limit: float

    @classmethod
    def of(cls, evidence: Evidence, theta: Array, *, sd_scale: float = 1.0, inducing: int = INDUCING) -> Fit:
        """Fit with hyperparameters `theta`; `sd_scale` corrects the standard deviation's level."""
        scaling = Scaling.of(evidence)
        kernel = Kernel(theta, len(ALL_FEATURES), GROUPS)
        x, _ = scaling.features(evidence.features)
        y = (transform(evidence.top1) - scaling.target_center) / scaling.target_scale
        posterior = condition(kernel, x, y, group_codes(evidence), inducing=inducing, rank=RANK)
        _, structure, _ = posterior.predict(x)
        limit = float(np.quantile(structure, STRUCTURE_EDGE))
        return cls(scaling, posterior, float(kernel.variances.sum()), sd_scale, limit)

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
        size, structure, variance = self.posterior.predict(held)
        followed = np.minimum(structure, self.structure_limit)
        variance += self.noise + self._beyond(cut) + np.square(structure - followed)
        mean = (size + followed) * self.scaling.target_scale + self.scaling.target_center
        top1 = np.maximum(untransform(mean), CHANCE)
        spread = np.sqrt(variance) * self.scaling.target_scale * self.sd_scale
        return top1, (100.0 - top1) * spread

    def _beyond(self, cut: Array) -> Array:
        """Variance for what lies beyond the evidence: slopes unknown, smooth parts drawn anew."""
        kernel = self.posterior.kernel
        added: Array = cut**2 @ kernel.linear
        for group, amplitude, lengths in kernel.parts():
            apart = np.square(cut[:, group] / lengths).sum(axis=1)
            added += amplitude * (1.0 - np.exp(-0.5 * apart))
        return added


@dataclass(frozen=True)
class Surrogate:
    """Estimates ImageNet-1k top-1 from the Program alone."""

    evidence: Evidence
    theta: Array
    sd_scale: float
    error: dict[str, Any]

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        return COLUMNS

    @cached_property
    def fit(self) -> Fit:
        """The regression on all of the evidence."""
        return self.refit(self.evidence)

    def refit(self, evidence: Evidence) -> Fit:
        """The regression on other evidence, such as this without a family, hyperparameters unchanged."""
        return Fit.of(evidence, self.theta, sd_scale=self.sd_scale)

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """Top-1 and sd of each network, trained as `recipe` says. Raises ValueError as `load_recipe`."""
        check_scenario(scenario)
        programs = [item if isinstance(item, Program) else item.lower() for item in archs_or_programs]
        values = np.array([evaluate_columns(COLUMNS, program) for program in programs])
        return self.estimate_columns(
            values.reshape(len(programs), len(COLUMNS)), recipe=recipe, scenario=scenario
        )

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """Estimates from the values of `columns`, ``[n, len(columns)]``."""
        check_scenario(scenario)
        known = covariates(load_recipe(recipe))
        features = derive(values)
        return self.fit.predict(np.hstack([features, np.broadcast_to(known, (len(features), len(known)))]))


@register_estimator("surrogate")
def load_surrogate(folder: Path = DATA) -> Surrogate:
    """The surrogate that ships."""
    path = folder / "surrogate.json"
    try:
        stored = json.loads(read_text(path))
        theta = np.array([stored["theta"][name] for name in theta_names()], dtype=np.float64)
        sd_scale = float(stored["sd_scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}; run scripts/fit_surrogate.py") from None
    return Surrogate(load_evidence(folder / "evidence.csv"), theta, sd_scale, stored["error"])


def theta_names() -> tuple[str, ...]:
    """A name for every hyperparameter, in the layout of `hvnas.accuracy.gp.Kernel`."""
    names = [f"slope.{feature}" for feature in ALL_FEATURES]
    for index, group in enumerate(GROUPS):
        names.append(f"smooth{index}.amplitude")
        names += [f"smooth{index}.length.{ALL_FEATURES[feature]}" for feature in group]
    return (*names, *(f"noise.{effect}" for effect in ("run", "family", "study", "network")))
