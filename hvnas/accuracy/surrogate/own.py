"""An estimator of the reader's own: their results, with the published ones as the prior.

A few dozen trainings on another data set say little about layouts by themselves. So the surrogate's estimate
enters as a feature whose slope is expected to be 1, and a Gaussian process on the surrogate's features takes
what the two do not share. With m the surrogate's and z the user's results, both as -ln(100 - metric):

    z = m + a + b (m - mean m) + d(x) + noise,   a ~ N(0, 4), b ~ N(0, 0.25), d ~ GP(0, s^2 k).

s and the noise are those of a small grid under which the results are likeliest, each left out in turn.

The reader's own results: one trained network a row.

Columns: ``arch``, the name of a model or the path of an architecture file, relative to the table; ``metric``,
a percentage; and, where the trainings differ, ``epochs``, ``distilled`` (true or false) and ``augmentation``
(basic, policy or modern), which are 300, false and modern where the column is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from hvnas._files import read_json, refuse_unknown, refusing, write_atomic
from hvnas._names import shown, validated
from hvnas._numbers import LARGEST
from hvnas._records import Row, read_csv
from hvnas.accuracy.estimator import ColumnEstimator, Estimate, assumptions, check_scenario, values_of
from hvnas.accuracy.loading import load_estimator
from hvnas.accuracy.surrogate.evidence import RECIPE_FEATURES, covariates, recipe_features
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES, Array, derive
from hvnas.accuracy.surrogate.fit import transform, untransform
from hvnas.accuracy.surrogate.surrogate import Surrogate
from hvnas.arch import Arch, load_arch
from hvnas.ops import Column
from hvnas.train.recipes import AUGMENTATIONS, MOST_EPOCHS, load_recipe

SCHEMA = "hvnas.estimator/1"
OFFSET, SLOPE = 4.0, 0.25
SPREADS = (0.0, 0.02, 0.05, 0.1, 0.2)
NOISES = (0.005, 0.01, 0.02, 0.05, 0.1)
LEAST = 4

# What a fit may have come to: none of a file's numbers is without bounds.
_BOUNDS = {
    "values": (0.0, LARGEST),
    "recipes": (-1e3, 1e3),
    "metric": (1.0, 100.0 - 1e-6),
    "resolutions": (1, 1e5),
    "classes": (1, 1e9),
    "spread": (0.0, 10.0),
    "noise": (1e-4, 10.0),
}
FIELDS = ("arch", "metric", "epochs", "distilled", "augmentation")
_DEFAULTS = {"epochs": "300", "distilled": "false", "augmentation": "modern"}


@dataclass(frozen=True)
class OwnEstimator(ColumnEstimator):
    """Estimates the metric of the reader's data set, in percentage points.

    Per result: `values` [n, columns], `recipes` [n, covariates], `metric` [n]; `spread` and `noise` are s and
    the noise's standard deviation in the formula above.
    """

    name: str
    values: Array
    recipes: Array
    metric: Array
    resolutions: tuple[int, int]
    classes: tuple[int, ...]
    spread: float
    noise: float

    def __repr__(self) -> str:
        return f"OwnEstimator({self.name!r}, {len(self.metric)} results)"

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it reads of a plain Program, in the order that `estimate_columns` takes it."""
        return COLUMNS

    @cached_property
    def _surrogate(self) -> Surrogate:
        found = load_estimator("surrogate")
        assert isinstance(found, Surrogate)
        return found

    @cached_property
    def _known(self) -> tuple[Array, Array, Array, Array]:
        """Features and prior mean of the results, the inverse of their covariance, and weights."""
        x = np.hstack([derive(self.values), self.recipes])
        prior = self._prior(x)
        inverse = np.linalg.inv(self._covariance(x, x, prior, prior, prior) + self._noise(len(x)))
        return x, prior, np.asarray(inverse), np.asarray(inverse @ (transform(self.metric) - prior))

    def _noise(self, n: int) -> Array:
        return self.noise**2 * np.eye(n)

    def _prior(self, x: Array) -> Array:
        return transform(np.clip(self._surrogate.fit.predict(x).mean, 1.0, 99.0))

    def _covariance(self, a: Array, b: Array, of_a: Array, of_b: Array, known: Array) -> Array:
        center = known.mean()
        total = OFFSET + SLOPE * np.outer(of_a - center, of_b - center)
        if self.spread:
            total = total + self.spread**2 * self._likeness(a, b)
        return np.asarray(total)

    def _likeness(self, a: Array, b: Array) -> Array:
        """The smooth parts of the surrogate's lean kernel, 1 for equal networks."""
        fit = self._surrogate.fit
        member = fit.members[-1]
        left, right = (fit.scaling.features(x)[0][:, member.view.index] for x in (a, b))
        kernel = member.posterior.kernel
        total = sum(amplitude for _, amplitude, _ in kernel.parts)
        return np.asarray(kernel.smooth(left, right) / total)

    def left_out(self) -> Estimate:
        """Each result estimated from the others, in points."""
        _, _, inverse, weights = self._known
        own = np.diag(inverse)
        mean = untransform(transform(self.metric) - weights / own)
        return Estimate(mean, (100.0 - mean) / np.sqrt(own))

    @property
    def error(self) -> dict[str, float | int]:
        """Leave-one-out error: mean absolute and root mean square in points, Kendall tau."""
        gap = self.left_out().mean - self.metric
        return {
            "n": len(gap),
            "mae": round(float(np.abs(gap).mean()), 3),
            "rmse": round(float(np.sqrt(np.square(gap).mean())), 3),
            "tau": round(float(kendalltau(self.left_out().mean, self.metric)[0]), 3),
        }

    def assumptions(self, archs: Sequence[Arch]) -> tuple[str, ...]:
        """What is taken for granted about networks unlike the results; see `hvnas.accuracy.estimator`."""
        return assumptions(archs, resolutions=self.resolutions, classes=self.classes)

    def label(self) -> str:
        """Return its file's name."""
        return self.name

    def estimate_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """Return metric and sd from the values of `columns`, ``[n, len(columns)]``.

        `scenario` is that of the results, whatever it is called.
        """
        check_scenario(scenario)
        x = self._features(values, recipe)
        _, known_prior, inverse, weights = self._known
        prior, across = self._across(x)
        explained = np.einsum("ij,jk,ik->i", across, inverse, across)
        own = OFFSET + SLOPE * np.square(prior - known_prior.mean()) + self.spread**2
        mean = untransform(prior + across @ weights)
        return Estimate(mean, (100.0 - mean) * np.sqrt(np.maximum(own - explained, 0.0) + self.noise**2))

    def joint_columns(
        self, values: Array, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> tuple[Array, Array]:
        """Return means and covariance, ``[n]`` and ``[n, n]``: what networks have in common goes together."""
        check_scenario(scenario)
        x = self._features(values, recipe)
        _, known_prior, inverse, weights = self._known
        prior, across = self._across(x)
        covariance = self._covariance(x, x, prior, prior, known_prior) - across @ inverse @ across.T
        mean = untransform(prior + across @ weights)
        slope = 100.0 - mean
        return mean, (covariance + self._noise(len(x))) * np.outer(slope, slope)

    def _features(self, values: Array, recipe: str) -> Array:
        covariate = covariates(load_recipe(recipe))
        return np.hstack([derive(values), np.broadcast_to(covariate, (len(values), len(covariate)))])

    def _across(self, x: Array) -> tuple[Array, Array]:
        """The prior mean of networks with these features, and their covariance with the results."""
        known, known_prior, _, _ = self._known
        prior = self._prior(x)
        return prior, self._covariance(x, known, prior, known_prior, known_prior)


def fit_own(results: str | Path, name: str) -> OwnEstimator:
    """An estimator from a file of results. Raises ValueError as `read_results`, and for fewer than four."""
    rows = read_results(results)
    if len(rows) < LEAST:
        raise ValueError(f"{results}: {len(rows)} results are too few; give {LEAST} or more")
    found = [_made(name, rows, spread, noise) for spread, noise in product(SPREADS, NOISES)]
    return max(found, key=_density)


def _made(name: str, rows: Sequence[Result], spread: float, noise: float) -> OwnEstimator:
    archs = [row.arch for row in rows]
    return OwnEstimator(
        name,
        values_of(COLUMNS, archs),
        np.array([row.recipe for row in rows]),
        np.array([row.metric for row in rows]),
        (min(arch.resolution for arch in archs), max(arch.resolution for arch in archs)),
        tuple(sorted({arch.head.out for arch in archs})),
        spread,
        noise,
    )


def _density(estimator: OwnEstimator) -> float:
    """Mean log density of the results, each left out in turn."""
    found = estimator.left_out()
    z = (estimator.metric - found.mean) / found.sd
    return float(np.mean(-0.5 * z**2 - np.log(found.sd)))


def save_own(estimator: OwnEstimator, path: str | Path) -> None:
    """Write an estimator as JSON: its results and its two parameters, nothing that is executed."""
    stored = {
        "schema": SCHEMA,
        "name": estimator.name,
        "columns": list(NAMES),
        "values": estimator.values.tolist(),
        "recipes": estimator.recipes.tolist(),
        "metric": estimator.metric.tolist(),
        "resolutions": list(estimator.resolutions),
        "classes": list(estimator.classes),
        "spread": estimator.spread,
        "noise": estimator.noise,
        "error": estimator.error,
    }
    write_atomic(path, json.dumps(stored) + "\n")


def load_own(path: str | Path) -> OwnEstimator:
    """Read what `save_own` wrote. Raises ValueError naming the file and what is wrong with it."""
    with refusing(path):
        try:
            return _estimator(read_json(path))
        except ValueError as error:
            raise ValueError(f"{error}; make it again with 'hvnas accuracy fit'") from None


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The file's fields; see `OwnEstimator`."""

    schema: str
    name: str
    columns: list[str]
    values: list[list[float]]
    recipes: list[list[float]]
    metric: list[float]
    resolutions: tuple[int, int]
    classes: list[int]
    spread: float
    noise: float
    error: dict[str, float | int]


def _estimator(data: Any) -> OwnEstimator:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else data
        raise ValueError(f"schema: must be {SCHEMA}, got {shown(found)}")
    if data.get("columns") != list(NAMES):
        raise ValueError("columns: were written for another version of the surrogate")
    refuse_unknown(data, [field.name for field in fields(_Stored)], "", "the file")
    stored = validated(_Stored, data)
    numbers = {name: _array(name, getattr(stored, name)) for name in _BOUNDS}
    shapes = [numbers[name].shape for name in ("values", "recipes", "metric")]
    n = len(stored.metric)
    if n < LEAST or shapes != [(n, len(NAMES)), (n, len(RECIPE_FEATURES)), (n,)]:
        raise ValueError(f"values, recipes, metric: must be of one length, {LEAST} or more")
    if stored.resolutions[0] > stored.resolutions[1] or not stored.classes:
        raise ValueError("resolutions, classes: must be a range, and one number or more")
    return OwnEstimator(
        stored.name,
        numbers["values"],
        numbers["recipes"],
        numbers["metric"],
        stored.resolutions,
        tuple(stored.classes),
        stored.spread,
        stored.noise,
    )


def _array(name: str, values: Any) -> Array:
    """Numbers within their bounds. Raises ValueError naming the field."""
    try:
        array = np.array(values, dtype=np.float64)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: must be lists of one length") from None
    least, most = _BOUNDS[name]
    if not ((array >= least) & (array <= most)).all():
        raise ValueError(f"{name}: must be numbers from {least:g} to {most:g}")
    return array


@dataclass(frozen=True)
class Result:
    """One trained network: `recipe` as numbers (see `hvnas.accuracy.surrogate.evidence`), `metric` in
    points."""

    arch: Arch
    recipe: tuple[float, ...]
    metric: float


def read_results(path: str | Path) -> tuple[Result, ...]:
    """The results of a table, equal duplicates once.

    Raises ValueError naming file, row and column: for an unknown architecture, a percentage given as a
    fraction, and two rows that give one network under one training different results.
    """
    with refusing(path):
        return _distinct(read_csv(path, FIELDS[:2], optional=FIELDS[2:]), Path(path).parent)


def _distinct(rows: Iterable[Row], folder: Path) -> tuple[Result, ...]:
    found: dict[tuple[str, tuple[float, ...]], tuple[int, Result]] = {}
    for row in rows:
        result = _result(row, folder)
        key = result.arch.hash, result.recipe
        first, known = found.setdefault(key, (row.number, result))
        if known.metric != result.metric:
            raise row.refusal(
                "metric",
                f"{result.metric:g}, but row {first} gives the same network under the same training "
                f"{known.metric:g}; keep one, or write down how the trainings differ",
            )
    return tuple(result for _, result in found.values())


def _result(row: Row, folder: Path) -> Result:
    name = row.text("arch")
    try:
        arch = load_arch(folder / name if name.endswith((".yaml", ".yml")) else name)
    except ValueError as error:
        raise row.refusal("arch", str(error)) from None
    told = row._replace(cells=_DEFAULTS | {column: cell for column, cell in row.cells.items() if cell})
    epochs = told.number_of("epochs", above=0, most=MOST_EPOCHS)
    distilled = told.cells["distilled"].lower()
    if distilled not in ("true", "false"):
        raise row.refusal("distilled", f"must be true or false, got {shown(distilled)}")
    augmentation = told.one_of("augmentation", AUGMENTATIONS)
    recipe = tuple(recipe_features(epochs, distilled == "true", augmentation))
    return Result(arch, recipe, _metric(row))


def _metric(row: Row) -> float:
    value = row.number_of("metric")
    if 0.0 <= value <= 1.0:
        raise row.refusal("metric", f"{value:g} is a fraction; write the percentage, {100 * value:g}")
    if not 1.0 < value < 100.0:
        raise row.refusal("metric", f"must be a percentage between 1 and 100, got {value:g}")
    return value
