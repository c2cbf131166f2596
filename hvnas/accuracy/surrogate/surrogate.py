"""The default estimator: Gaussian processes on published ImageNet-1k results, and layouts compared by it.

Fitted when loaded, from the evidence and the hyperparameters that ship as text (`data/evidence.csv`,
`data/ablations.csv`, `data/surrogate.json`); the regression itself is `hvnas.accuracy.surrogate.fit`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._cache import code_hash, keep, read_cached, read_shipped
from hvnas._files import read_json, refusing
from hvnas.accuracy.estimator import (
    ColumnEstimator,
    Estimate,
    assumptions,
    chances,
    check_scenario,
    values_of,
)
from hvnas.accuracy.surrogate.evidence import (
    DATA,
    Evidence,
    covariates,
    large_data_shift,
    load_evidence,
    study_families,
)
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES, Array, derive
from hvnas.accuracy.surrogate.fit import LOG_MACS, VIEWS, Calibration, Fit, Member, Scaling, weights_of
from hvnas.arch import Arch
from hvnas.ops import Column, Program
from hvnas.train.recipes import load_recipe

CLASSES = 1000
# What makes a regression of the evidence.
_CODE = ("accuracy/surrogate",)
SHIPPED = "surrogate"  # the file of the regression that ships
# Hyperparameters by view.
Thetas = Mapping[str, Array]

# The largest may have so much more params or MACs than the smallest: beyond that, size is what is compared.
TOLERANCE = 0.05
DRAWS = 20_000


@dataclass(frozen=True)
class LeftOut:
    """Families that are left out together, and hyperparameters that were found without them."""

    families: frozenset[str]
    thetas: Thetas


@dataclass(frozen=True)
class Fold(LeftOut):
    """A fold of all families, and the regression's mean without it.

    By view, `weights` [n] are those of the rows that are left of the evidence, and `limits` what structure
    may add at most; see `hvnas.accuracy.surrogate.fit`.
    """

    weights: Mapping[str, Array]
    limits: Mapping[str, float]

    @classmethod
    def of(cls, families: frozenset[str], rest: Evidence, thetas: Thetas) -> Fold:
        """The fold of `families`; `rest` is the evidence without them."""
        found = {view.name: weights_of(view, rest, thetas[view.name]) for view in VIEWS}
        return cls(
            families,
            thetas,
            {name: weights for name, (weights, _) in found.items()},
            {name: limit for name, (_, limit) in found.items()},
        )

    def rest(self, evidence: Evidence) -> Evidence:
        """The evidence without the families."""
        return evidence.where(~np.isin(evidence.families, list(self.families)))


@dataclass(frozen=True)
class Surrogate(ColumnEstimator):
    """Estimates ImageNet-1k top-1 from the Program alone."""

    evidence: Evidence
    thetas: Thetas
    sd_scale: float
    error: dict[str, Any]
    folds: tuple[Fold, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.evidence)} published results)"

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        return COLUMNS

    @property
    def read_classes(self) -> int:
        """1000: all evidence is of ImageNet-1k, and the head is among what is read."""
        return CLASSES

    @cached_property
    def fit(self) -> Fit:
        """The regression on all of the evidence, made once for all runs that can share it.

        That of the evidence that ships comes ready made, so that its last digits are the same everywhere.
        """
        name, key = f"surrogate-{self._digest}", f"{code_hash(*_CODE)} {np.__version__}"
        stored = read_shipped(SHIPPED, self.shipped_key) or read_cached(name, key)
        if stored is not None:
            return Fit.stored(self.evidence, self.thetas, stored, sd_scale=self.sd_scale)
        found = self.refit(self.evidence)
        keep(name, key, found.arrays())
        return found

    @property
    def shipped_key(self) -> str:
        """What the regression that ships depends on."""
        return f"{code_hash(*_CODE)} {self._digest}"

    @cached_property
    def _digest(self) -> str:
        """Of all that the regression is fitted on and with."""
        evidence = self.evidence
        whole = hashlib.blake2b(digest_size=8)
        for array in (evidence.features, evidence.top1, *self.thetas.values()):
            whole.update(np.ascontiguousarray(array).tobytes())
        groups = (evidence.families, evidence.studies, evidence.networks, evidence.ablations)
        whole.update(repr([*self.thetas, *(group.tolist() for group in groups)]).encode())
        return whole.hexdigest()

    def refit(self, evidence: Evidence) -> Fit:
        """Refit on other evidence, such as this without a family; hyperparameters stay."""
        return Fit.of(evidence, self.thetas, sd_scale=self.sd_scale)

    def without(self, fold: str, rest: Evidence) -> Fit:
        """Return the regression on `rest`, with hyperparameters that were found without `fold` as well.

        `fold` is ``family:NAME`` or ``study:NAME``, which stands for the families of its networks. Where
        none were found without just them, those without a fold of families are taken.
        """
        kind, _, name = fold.partition(":")
        families = frozenset([name]) if kind == "family" else study_families(self.evidence, name)
        alone = next((part.thetas for part in self.left_out if part.families == families), None)
        thetas = self.thetas_without(sorted(families)) if alone is None else alone
        return Fit.of(rest, thetas, sd_scale=self.sd_scale)

    def of_rest(self, families: Sequence[str]) -> Surrogate:
        """Return the surrogate of the evidence without `families`, its folds and calibration too.

        Its own hyperparameters were found without the first of them as well, those of its folds without the
        fold alone.
        """
        rest = self.evidence.where(~np.isin(self.evidence.families, list(families)))
        folds = tuple(Fold.of(fold.families, fold.rest(rest), fold.thetas) for fold in self.folds)
        return replace(self, evidence=rest, thetas=self.thetas_without(families), folds=folds)

    def thetas_without(self, families: Sequence[str]) -> Thetas:
        """Hyperparameters that were found without the first of `families` that the folds know."""
        for family in families:
            for fold in self.folds:
                if family in fold.families:
                    return fold.thetas
        return self.thetas

    @cached_property
    def crossed(self) -> tuple[Fit, ...]:
        """The regression's mean without each fold. Raises ValueError where the evidence is not the folds'."""
        return tuple(self._without(fold) for fold in self.folds)

    def _without(self, fold: Fold) -> Fit:
        rest = fold.rest(self.evidence)
        if any(len(weights) != len(rest) for weights in fold.weights.values()):
            raise ValueError("folds: are of other evidence; run scripts/fit_surrogate.py")
        scaling = Scaling.of(rest)
        members = tuple(
            Member.crossed(
                view, rest, scaling, fold.thetas[view.name], fold.weights[view.name], fold.limits[view.name]
            )
            for view in VIEWS
        )
        return replace(self.fit, scaling=scaling, members=members)

    def cross_fitted(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Array:
        """Top-1 by each fit that lacks a fold of families. Shape [n, folds]; `values` is [n, columns].

        What a search selects is what the fit on everything flatters; fits on parts flatter other networks.
        """
        check_scenario(scenario)
        if not self.folds:
            return np.empty((len(values), 0))
        features = self._features(values, recipe)
        found = self._by_fold(features)
        return found if scenario == "imagenet1k" else found + large_data_shift()(values)[0][:, None]

    def _by_fold(self, features: Array) -> Array:
        """Means of the fits that each lack a fold. Shape [n, folds]."""
        return np.stack([fit.mean(features) for fit in self.crossed], axis=1)

    @cached_property
    def calibration(self) -> Calibration:
        """How results go with the estimates of fits that lack their families."""
        evidence = self.evidence
        own = evidence.ablations == ""
        estimate = np.full(len(evidence), np.nan)
        for fold, fit in zip(self.folds, self.crossed, strict=True):
            judged = own & np.isin(evidence.families, list(fold.families))
            estimate[judged] = fit.mean(evidence.features[judged])
        judged = np.isfinite(estimate)
        log_macs = evidence.features[judged, LOG_MACS]
        return Calibration.of(estimate[judged], log_macs, evidence.top1[judged], evidence.families[judged])

    def cross_fitted_estimate(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate | None:
        """Top-1 by the mean of `cross_fitted`, calibrated, with the estimate's sd; None without folds.

        It is the same for networks that a search chose and for those that it did not.
        """
        check_scenario(scenario)
        if not self.folds:
            return None
        found = self.cross_fit(self._features(values, recipe))
        return found if scenario == "imagenet1k" else _shifted(found.mean, found.sd, values)

    def cross_fit(self, features: Array) -> Estimate:
        """As `cross_fitted_estimate`, from features of network and recipe. Shape [n, features]."""
        mean = self._by_fold(features).mean(axis=1)
        return Estimate(self.calibration(mean, features[:, LOG_MACS]), self.fit.predict(features).sd)

    def chances_of_better(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Array:
        """As `ColumnEstimator` says, by cross-fitted means; each network is of a family of its own."""
        check_scenario(scenario)
        found = self.cross_fitted_estimate(values, recipe=recipe, scenario=scenario)
        if found is None:
            found = self.estimate_columns(values, recipe=recipe, scenario=scenario)
        covariance = self.fit.covariance_across_families(self._features(values, recipe))
        if scenario != "imagenet1k":
            covariance = covariance + large_data_shift().joint(values)[1]
        return chances(found.mean, covariance)

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        """Return what is taken for granted about networks unlike the evidence.

        See `hvnas.accuracy.estimator`.
        """
        sides = self.evidence.values[:, NAMES.index("resolution")]
        sides = sides[sides > 0]
        return assumptions(archs, resolutions=(int(sides.min()), int(sides.max())), classes=(CLASSES,))

    def overall_error(self) -> Mapping[str, Any]:
        """Return the error over the families, each left out of the fit."""
        overall = self.error.get("overall")
        return overall if isinstance(overall, Mapping) else {}

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """Return top-1 and sd from the values of `columns`, ``[n, len(columns)]``, trained as `recipe` says.

        Raises ValueError as `load_recipe`.
        """
        check_scenario(scenario)
        found = self.fit.predict(self._features(values, recipe))
        return found if scenario == "imagenet1k" else _shifted(found.mean, found.sd, values)

    def joint_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Array, Array]:
        """Means and covariance, in points, of networks trained alike: see
        `hvnas.accuracy.surrogate.surrogate`."""
        check_scenario(scenario)
        mean, covariance = self.fit.joint(self._features(values, recipe))
        if scenario == "imagenet1k":
            return mean, covariance
        shift, spread = large_data_shift().joint(values)
        return mean + shift, covariance + spread

    def _features(self, values: Array, recipe: str) -> Array:
        known = covariates(load_recipe(recipe))
        features = derive(values)
        return np.hstack([features, np.broadcast_to(known, (len(features), len(known)))])


def _shifted(mean: Array, sd: Array, values: Array) -> Estimate:
    """Estimates of networks with these column values, pre-trained on large data."""
    shift, spread = large_data_shift()(values)
    return Estimate(mean + shift, np.hypot(sd, spread))


@dataclass(frozen=True, repr=False)
class LowestSurrogate(Surrogate):
    """The surrogate with the lowest estimate of its folds in the place of its own: slower, less flattered."""

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """As the surrogate's, the mean the lowest of `cross_fitted`."""
        found = super().estimate_columns(values, recipe=recipe, scenario=scenario)
        lowest = self.cross_fitted(values, recipe=recipe, scenario=scenario).min(axis=1)
        return Estimate(lowest, found.sd)


def load_lowest(folder: Path = DATA) -> LowestSurrogate:
    """The surrogate that ships, estimating by the lowest of its folds."""
    found = load_surrogate(folder)
    return LowestSurrogate(
        found.evidence, found.thetas, found.sd_scale, found.error, found.folds, found.left_out
    )


def load_surrogate(folder: Path = DATA) -> Surrogate:
    """The surrogate that ships."""
    path = folder / "surrogate.json"
    with refusing(path):
        stored = read_json(path)
        try:
            thetas = read_thetas(stored["theta"])
            folds = tuple(map(read_fold, stored["folds"]))
            left_out = tuple(map(read_left_out, stored["left_out"]))
            sd_scale, error = float(stored["sd_scale"]), dict(stored["error"])
        except (LookupError, TypeError, ValueError, AttributeError) as wrong:
            raise ValueError(f"{type(wrong).__name__}: {wrong}; run scripts/fit_surrogate.py") from None
    return Surrogate(load_evidence(folder / "evidence.csv"), thetas, sd_scale, error, folds, left_out)


def read_thetas(stored: Mapping[str, Mapping[str, float]]) -> Thetas:
    """Hyperparameters by view, from their names. Raises KeyError for one that is missing."""
    return {
        view.name: np.array([stored[view.name][name] for name in view.theta_names], dtype=np.float64)
        for view in VIEWS
    }


def read_left_out(stored: Mapping[str, Any]) -> LeftOut:
    """What was left out, from plain data. Raises ValueError where the number of hyperparameters is off."""
    thetas = _by_view(stored["theta"])
    for view in VIEWS:
        if len(thetas[view.name]) != len(view.theta_names):
            raise ValueError(f"theta: needs {len(view.theta_names)} numbers for the view {view.name}")
    return LeftOut(frozenset(map(str, stored["families"])), thetas)


def read_fold(stored: Mapping[str, Any]) -> Fold:
    """A fold from plain data. Raises ValueError as `read_left_out`."""
    part = read_left_out(stored)
    limits = {view.name: float(stored["limits"][view.name]) for view in VIEWS}
    return Fold(part.families, part.thetas, _by_view(stored["weights"]), limits)


def _by_view(stored: Mapping[str, Sequence[float]]) -> dict[str, Array]:
    found = {view.name: np.array(stored[view.name], dtype=np.float64) for view in VIEWS}
    if not all(array.ndim == 1 and np.isfinite(array).all() for array in found.values()):
        raise ValueError("theta, weights: must be lists of numbers")
    return found


def write_left_out(part: LeftOut) -> dict[str, Any]:
    """The reverse of `read_left_out`."""
    return {
        "families": sorted(part.families),
        "theta": {name: np.round(theta, 4).tolist() for name, theta in part.thetas.items()},
    }


def write_fold(fold: Fold) -> dict[str, Any]:
    """The reverse of `read_fold`."""
    return {
        **write_left_out(fold),
        "weights": {name: np.round(weights, 5).tolist() for name, weights in fold.weights.items()},
        "limits": {name: round(limit, 5) for name, limit in fold.limits.items()},
    }


def write_thetas(thetas: Thetas) -> dict[str, dict[str, float]]:
    """The reverse of `read_thetas`."""
    return {
        view.name: dict(zip(view.theta_names, map(float, np.round(thetas[view.name], 4)), strict=True))
        for view in VIEWS
    }


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
