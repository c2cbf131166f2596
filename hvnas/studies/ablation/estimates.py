"""Top-1 of a study's rows, and whether the estimator can tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hvnas._names import unknown_name
from hvnas.accuracy.estimator import POINTS, AccuracyEstimator, ColumnEstimator, values_of
from hvnas.accuracy.evaluate import study_rows
from hvnas.accuracy.loading import load_estimator
from hvnas.accuracy.surrogate.ablations import load_ablations
from hvnas.accuracy.surrogate.features import Array
from hvnas.accuracy.surrogate.surrogate import Surrogate
from hvnas.accuracy.trained.short_training import NAME as TRAIN
from hvnas.accuracy.trained.short_training import ShortTrainingEstimator
from hvnas.arch import Arch

# Between these chances of being better than the base, a row and the base are not told apart.
UNDECIDED = (0.1, 0.9)
SEEDS = 3
DRAWS = 20_000


@dataclass(frozen=True)
class Judged:
    """One row's estimate: top-1 (or a score, without any sd) and how it stands to the base and to all.

    `delta` is the difference to the base with its sd, in which what the two share has cancelled; `p_better`
    the chance of being better than the base, `p_first` that of being the best of the rows. Both are None
    where there is no sd, and of rows that could not be made equal to the base.
    """

    mean: float
    sd: float | None
    delta: float
    delta_sd: float | None
    p_better: float | None
    p_first: float | None

    @property
    def is_undecided(self) -> bool:
        """Whether row and base cannot be told apart."""
        return self.p_better is not None and UNDECIDED[0] < self.p_better < UNDECIDED[1]


@dataclass(frozen=True)
class Beliefs:
    """What is believed of n networks: means, and in points their sds and joint covariance, else None."""

    mean: Array
    sd: Array | None
    covariance: Array | None
    unit: str = POINTS

    def judge(self, *, base: int, equal: NDArray[np.bool_]) -> tuple[Judged, ...]:
        """Each row beside row `base`; the first place is among those that are `equal`."""
        n = len(self.mean)
        deltas = self.mean - self.mean[base]
        sds: list[float | None] = [None] * n
        better: list[float | None] = [None] * n
        first: list[float | None] = [None] * n
        if self.covariance is not None:
            variance = np.diag(self.covariance)
            own = variance + variance[base] - 2 * self.covariance[:, base]
            sds = np.sqrt(np.maximum(own, 0.0)).tolist()
            compared = [bool(equal[i]) and i != base for i in range(n)]
            better = [_chance(deltas[i], sds[i] or 0.0) if compared[i] else None for i in range(n)]
            first = _firsts(self.mean, self.covariance, equal)
        spread = [None] * n if self.sd is None else self.sd.tolist()
        rows = zip(self.mean.tolist(), spread, deltas.tolist(), sds, better, first, strict=True)
        return tuple(Judged(*row) for row in rows)


def _chance(delta: float, sd: float) -> float:
    """The chance that a normal difference is above zero; a half where there is no difference to see."""
    if sd < 1e-9:
        return 0.5 if abs(delta) < 1e-9 else float(delta > 0)
    return float(norm.cdf(delta / sd))


def _firsts(mean: Array, covariance: Array, equal: NDArray[np.bool_]) -> list[float | None]:
    at = np.flatnonzero(equal)
    if len(at) < 2:
        return [None] * len(mean)
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(mean[at], covariance[np.ix_(at, at)], DRAWS, method="eigh")
    shares = np.bincount(drawn.argmax(axis=1), minlength=len(at)) / DRAWS
    found: list[float | None] = [None] * len(mean)
    for i, share in zip(at.tolist(), shares.tolist(), strict=True):
        found[i] = share
    return found


class Judge(Protocol):
    """Says what it believes of networks under a recipe and a scenario."""

    @property
    def estimator(self) -> AccuracyEstimator:
        """What it asks; of several that differ in their seeds the first."""

    @property
    def meaning(self) -> str:
        """What the numbers are, in a line; empty for ImageNet-1k top-1."""

    def beliefs(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Beliefs:
        """Beliefs about all networks at once."""


@dataclass(frozen=True)
class Estimating:
    """An estimator asked once."""

    estimator: AccuracyEstimator

    @property
    def meaning(self) -> str:
        """What its numbers are of, where the estimator says so."""
        return self.estimator.meaning

    def beliefs(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Beliefs:
        """Jointly where the estimator can; else errors are taken as independent."""
        found = self.estimator.estimate(archs, recipe=recipe, scenario=scenario)
        if found.unit != POINTS:
            return Beliefs(found.mean, None, None, found.unit)
        if isinstance(self.estimator, ColumnEstimator):
            values = values_of(self.estimator.columns, archs)
            mean, covariance = self.estimator.joint_columns(values, recipe=recipe, scenario=scenario)
            return Beliefs(mean, found.sd, covariance)
        return Beliefs(found.mean, found.sd, np.diag(np.square(found.sd)))


@dataclass(frozen=True)
class Training:
    """Training with several seeds: mean and sd over them; the mean's own error is that over their root."""

    estimators: tuple[ShortTrainingEstimator, ...]

    @property
    def estimator(self) -> ShortTrainingEstimator:
        """That of the first seed."""
        return self.estimators[0]

    @property
    def meaning(self) -> str:
        """Data set, epochs and seeds."""
        seeds = [estimator.options.seed for estimator in self.estimators]
        return f"{self.estimators[0].meaning}, seeds {', '.join(map(str, seeds))}"

    def beliefs(self, archs: Sequence[Arch], *, recipe: str, scenario: str) -> Beliefs:
        """Mean and sd over seeds; of one seed the sd is the estimator's own."""
        found = [estimator.estimate(archs, recipe=recipe, scenario=scenario) for estimator in self.estimators]
        if len(found) == 1:
            return Beliefs(found[0].mean, found[0].sd, np.diag(np.square(found[0].sd)))
        means = np.array([estimate.mean for estimate in found])
        sd = means.std(axis=0, ddof=1)
        return Beliefs(means.mean(axis=0), sd, np.diag(np.square(sd) / len(found)))


def make_judge(name: str, seeds: int | None = None) -> Judge:
    """What judges rows, from an estimator's name; `seeds` is for one that trains, SEEDS unless given.

    Raises ValueError as `load_estimator`, and for seeds where nothing is trained.
    """
    estimator = load_estimator(name)
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds: must be >= 1, got {seeds}")
    if not isinstance(estimator, ShortTrainingEstimator):
        if seeds is not None:
            raise ValueError(
                f"seeds: estimator {name!r} trains nothing that a seed could change; leave --seeds out, or "
                f"choose {TRAIN}:data=digits"
            )
        return Estimating(estimator)
    estimator.check()
    first = estimator.options.seed
    every = range(first, first + (SEEDS if seeds is None else seeds))
    return Training(tuple(ShortTrainingEstimator(replace(estimator.options, seed=seed)) for seed in every))


def without_studies(judge: Judge, studies: Sequence[str]) -> Judge | None:
    """The same judge fitted without published ablations; None where there is nothing to leave out.

    Raises ValueError for a study that the evidence does not hold.
    """
    known = tuple(dict.fromkeys(row.study for row in load_ablations()))
    for study in studies:
        if study not in known:
            raise ValueError(f"evidence: {unknown_name('published ablation', study, known)}")
    estimator = judge.estimator
    if not studies or not isinstance(estimator, Surrogate):
        return None
    evidence = estimator.evidence
    gone = np.any([study_rows(evidence, study) for study in studies], axis=0)
    families = [row.family for row in load_ablations() if row.study == studies[0]]
    rest = evidence.where(~gone)
    return Estimating(replace(estimator, evidence=rest, thetas=estimator.thetas_without(families), folds=()))
