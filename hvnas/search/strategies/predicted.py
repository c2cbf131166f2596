"""A problem whose accuracy is predicted from the architectures evaluated so far.

The regressor is the Gaussian process of `hvnas.accuracy.surrogate.gp`, on encodings and on numbers that cost
nothing: it needs numpy and scipy only, which the package depends on anyway, and unlike boosted trees it tells
how unsure it is of an architecture, which is what the choice of the next ones rests on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from hvnas.accuracy import ColumnEstimator, Estimate, load_estimator
from hvnas.accuracy.surrogate.gp import Kernel, Posterior, condition, initial, maximise, noise_covariance
from hvnas.ops import Column
from hvnas.search.problem import Problem, Screened
from hvnas.search.rows import Features, Floats, GeneLike, Rows

_ITERATIONS = 8
# How much encodings weigh against free numbers: which of these is likelier. In spaces of networks the free
# numbers rank better than encodings do, which then only tell apart what agrees in them.
_WEIGHTS = (0.1, 1.0)
# Targets further below the median than so many times the best one's distance above it count as that far: how
# bad the worst are is of no use, and bends the rest.
_DEPTH = 2.0
# Exact up to here; beyond, as many inducing points, chosen by pivoted Cholesky.
_INDUCING = 400
# The most rows that hyperparameters are fitted to, the latest ones: 20 ms an iteration on one core.
_FITTED = 300
# Spread of a feature below which it is a constant, as far as a regression goes.
_CONSTANT = 1e-9


def is_ordered(gene: GeneLike) -> bool:
    """Whether the values of a gene are ascending numbers, so that its index is a quantity."""
    values = list(gene.values)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return numbers and len(values) > 1 and values == sorted(values)


class Encoder:
    """Rows as features: the index of ordered genes, one feature per value of others, and free numbers.

    Free are the columns of the devices, params, MACs and, in a space whose networks are lowered, the outputs
    of all layers; their logarithms are taken.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.columns = _free_columns(problem)
        self.free = self._free()
        self._screening = _plain(problem, estimator=_Nothing(), features=None)
        order = [self.columns.index(column) for column in self._screening.columns]
        self._screening = replace(self._screening, features=lambda rows: self.free(rows)[:, order])
        genes = problem.space.genes
        self.ordered = [i for i, gene in enumerate(genes) if is_ordered(gene)]
        self.listed = [
            (i, v) for i, gene in enumerate(genes) if i not in self.ordered for v in range(len(gene.values))
        ]

    def _free(self) -> Features:
        from hvnas.space import FastPath, Space

        if isinstance(self.problem.space, Space):
            return FastPath(self.problem.space, self.columns)
        places = [self.problem.columns.index(column) for column in self.columns]
        return lambda rows: self.problem.values(rows)[:, places]

    def screen(self, rows: Rows) -> Screened:
        """Latencies and sizes of canonical rows and what they break."""
        return self._screening.screen(rows)

    def encoded(self, rows: Rows) -> Floats:
        """Features of the genes alone. Shape [n, features]."""
        cardinalities = np.asarray(self.problem.space.cardinalities)[self.ordered]
        ordered = rows[:, self.ordered] / np.maximum(cardinalities - 1, 1)
        listed = [rows[:, gene] == value for gene, value in self.listed]
        return np.column_stack([ordered, *listed]).astype(np.float64)

    def whole(self, free: Floats, encoded: Floats) -> Floats:
        """Features from the values of `columns` and from encodings. Shape [n, features]."""
        finite = np.where(np.isfinite(free), free, 0.0)
        return np.column_stack([np.sign(finite) * np.log1p(np.abs(finite)), encoded])

    def __call__(self, rows: Rows) -> Floats:
        """Features of canonical rows. Shape [n, features]; those of `columns` come first."""
        return self.whole(self.free(rows), self.encoded(rows))


def _plain(problem: Problem, **changes: Any) -> Problem:
    """`problem` with changes, evaluated here and now whatever it is otherwise."""
    kept = {field.name: getattr(problem, field.name) for field in fields(Problem)}
    return Problem(**(kept | changes))


def _free_columns(problem: Problem) -> tuple[Column, ...]:
    """The columns that an evaluation reads but for the estimator's own."""
    from hvnas.space import Space

    free = _plain(problem, estimator=_Nothing(), features=None).columns
    if not isinstance(problem.space, Space):
        return free
    baseline = load_estimator("free")
    assert isinstance(baseline, ColumnEstimator)
    return tuple(dict.fromkeys([*free, *baseline.columns]))


class _Nothing(ColumnEstimator):
    """An estimator that reads nothing."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """None."""
        return ()

    def estimate_columns(
        self, values: Floats, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """0 for every network."""
        return Estimate(np.zeros(len(values)), np.zeros(len(values)))


@dataclass(frozen=True)
class Scaling:
    """Features made comparable: centred and divided by their spread over `rows` of the space."""

    kept: np.ndarray
    centre: Floats
    spread: Floats
    free: int

    @classmethod
    def of(cls, features: Floats, *, free: int) -> Scaling:
        """From the features [n, features] of many rows, the first `free` of which are no encodings."""
        spread = features.std(axis=0)
        kept = np.flatnonzero(spread > _CONSTANT)
        return cls(kept, features.mean(axis=0)[kept], spread[kept], int((kept < free).sum()))

    def __call__(self, features: Floats) -> Floats:
        return (features[:, self.kept] - self.centre) / self.spread

    def weighed(self, weight: float) -> Scaling:
        """The same with encodings so many times as far apart."""
        encoded = np.arange(len(self.kept)) >= self.free
        return replace(self, spread=np.where(encoded, self.spread / weight, self.spread))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The two smooth parts of the kernel: free numbers, and encodings."""
        parts = (range(self.free), range(self.free, len(self.kept)))
        return tuple(tuple(part) for part in parts if len(part))


@dataclass(frozen=True)
class Regressor:
    """The Gaussian process given evaluated architectures."""

    posterior: Posterior
    scaling: Scaling
    centre: float
    spread: float

    @classmethod
    def fit(cls, features: Floats, targets: Floats, scaling: Scaling) -> Regressor:
        """From features [n, features] and targets [n], n >= 2. Deterministic."""
        middle = float(np.median(targets))
        targets = np.maximum(targets, middle - _DEPTH * (targets.max() - middle))
        centre, spread = float(targets.mean()), float(targets.std()) or 1.0
        y, code = (targets - centre) / spread, np.full(len(targets), -1)
        latest = slice(-_FITTED, None)
        groups, count = scaling.groups, len(scaling.kept)
        prior = Kernel(initial(count, groups, 0, held=1), count, groups)
        scaling = min(
            (scaling.weighed(weight) for weight in _WEIGHTS),
            key=lambda scaled: _unlikelihood(prior, scaled(features)[latest], y[latest]),
        )
        x = scaling(features)
        kernel = maximise(prior, x[latest], y[latest], (code[latest],), iterations=_ITERATIONS, held=1)
        posterior = condition(kernel, x, y, (code,), inducing=_INDUCING, rank=_INDUCING)
        return cls(posterior, scaling, centre, spread)

    def predict(self, features: Floats) -> Estimate:
        """Mean and standard deviation of the target at features [n, features]."""
        own, others, variance = self.posterior.predict(self.scaling(features))
        mean = self.centre + self.spread * (own + others)
        return Estimate(mean, self.spread * np.sqrt(variance))

    def covariance(self, features: Floats) -> Floats:
        """Covariance of the target at features [n, features]. Shape [n, n]."""
        found: Floats = self.spread**2 * self.posterior.covariance(self.scaling(features))
        return found


def _unlikelihood(kernel: Kernel, x: Floats, y: Floats) -> float:
    """Minus the logarithm of the marginal likelihood, but for a constant."""
    covariance = kernel(x, x) + noise_covariance(kernel.variances, (np.full(len(y), -1),))
    factor = cho_factor(covariance, lower=True)
    return float(0.5 * y @ cho_solve(factor, y) + np.log(np.diag(factor[0])).sum())


def _unset(_: Any) -> None:
    """The genes of a network are no sum over its ops."""


class UpperConfidenceEstimator(ColumnEstimator):
    """Estimates the regressor's mean plus `optimism` standard deviations, from columns.

    The genes' encodings are columns too, which only the features of `predicted_problem` know to compute.
    """

    def __init__(self, encoder: Encoder, regressor: Regressor, *, optimism: float, unit: str) -> None:
        self.encoder, self.regressor, self.optimism, self._unit = encoder, regressor, optimism, unit
        count = len(encoder.ordered) + len(encoder.listed)
        self.encodings = tuple(Column(f"encoding.{i}", "sum", _unset) for i in range(count))

    @property
    def unit(self) -> str:
        """That of what the regressor was fitted to."""
        return self._unit

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The free ones, then those of the encodings."""
        return (*self.encoder.columns, *self.encodings)

    def estimate_columns(
        self, values: Floats, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """The upper bound as a mean without a spread."""
        free = len(self.encoder.columns)
        found = self.regressor.predict(self.encoder.whole(values[:, :free], values[:, free:]))
        return Estimate(found.mean + self.optimism * found.sd, np.zeros(len(values)))


def predicted_problem(
    problem: Problem, estimator: UpperConfidenceEstimator, *, pool: Rows, seeds: Rows
) -> Problem:
    """`problem` with a predicted accuracy; latencies, sizes and rules are exact, as there.

    Its random architectures come from `pool`, canonical rows [n, genes].
    """
    changed = _plain(problem, estimator=estimator, pool=pool, seeds=seeds, features=None)
    place = {column: i for i, column in enumerate(estimator.columns)}
    order = [place[column] for column in changed.columns]
    encoder = estimator.encoder

    def features(rows: Rows) -> Floats:
        values: Floats = np.concatenate([encoder.free(rows), encoder.encoded(rows)], axis=1)
        return values[:, order]

    return replace(changed, features=features)
