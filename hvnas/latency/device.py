"""Device: what a network takes on it, how sure that is, and which networks it speaks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvnas.latency.columns import clean, column, unique
from hvnas.latency.gate import Rule
from hvnas.latency.interval import HIGH, LOW, Student
from hvnas.latency.model import LatencyModel, grouped, stage_of
from hvnas.latency.rows import Measurement
from hvnas.ops import Column, Program, evaluate_columns


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What the numbers are of, and where they come from."""

    description: str
    device: str
    soc: str
    os: str
    runtime: str
    runtime_version: str
    compute_unit: str
    precision: str
    threads: int | None
    batch: int
    statistic: str
    tool: str
    date: str
    source: str
    method: str
    protocol: str


@dataclass(frozen=True)
class Breakdown:
    """Where the milliseconds go: `fixed` once per network, the rest by stage and, again, by op kind."""

    fixed: float
    stages: Mapping[str, float]
    kinds: Mapping[str, float]


@dataclass(frozen=True)
class LatencyEstimate:
    """Milliseconds of one network, batch one.

    `low` and `high` are the 5 and 95 % quantiles; `reasons` says in a sentence each why the network
    lies outside what the device's model was calibrated on (empty where `inside`).
    """

    ms: float
    low: float
    high: float
    inside: bool
    reasons: tuple[str, ...]
    breakdown: Breakdown


@dataclass(frozen=True, repr=False)
class LatencyArrays:
    """The same of n networks: arrays [n]; `excluded_by` holds for each rule whom it excludes."""

    ms: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    inside: NDArray[np.bool_]
    excluded_by: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A named device: a latency model, its gate, its errors, and the measurements behind them.

    `inside_error` is the error of networks in the gate, `outside_error` that of the others. `hash`
    is of the files it was loaded from.
    """

    name: str
    hash: str
    info: DeviceInfo
    model: LatencyModel
    rules: tuple[Rule, ...]
    inside_error: Student
    outside_error: Student
    report: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Measurement, ...] = ()

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.info.method}, hash {self.hash})"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `latency_columns` reads: the model's, then the rules'."""
        own = {c.name: c for c in self.model.columns}
        return unique([*own.values(), *(own.get(rule.column) or column(rule.column) for rule in self.rules)])

    def latency(self, program: Program) -> LatencyEstimate:
        """The latency of one network."""
        values = evaluate_columns(self.columns, program)
        arrays = self.latency_columns(values[None])
        names = [c.name for c in self.columns]
        reasons = tuple(
            rule.reason(values[names.index(rule.column)])
            for rule in self.rules
            if arrays.excluded_by[rule.name][0]
        )
        return LatencyEstimate(
            ms=float(arrays.ms[0]),
            low=float(arrays.low[0]),
            high=float(arrays.high[0]),
            inside=bool(arrays.inside[0]),
            reasons=reasons,
            breakdown=self._breakdown(program),
        )

    def latency_columns(self, values: NDArray[np.float64]) -> LatencyArrays:
        """The latency of n networks from their column values ``[n, columns]``."""
        names = [c.name for c in self.columns]
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(
                f"values must be [n, {len(names)}], a column each for {', '.join(names)}; got {values.shape}"
            )
        values = clean(values)
        ms = self.model.predict(values[:, [names.index(c.name) for c in self.model.columns]])
        excluded = {rule.name: rule.excludes(values[:, names.index(rule.column)]) for rule in self.rules}
        inside = ~np.any([np.zeros(len(values), bool), *excluded.values()], axis=0)
        return LatencyArrays(
            ms=ms,
            low=ms * self._factor(LOW, inside),
            high=ms * self._factor(HIGH, inside),
            inside=inside,
            excluded_by=excluded,
        )

    def p_within(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_] = True
    ) -> NDArray[np.float64]:
        """The chance that networks predicted to take `ms` are measured within `budget` milliseconds.

        Raises ValueError where the budget is no number > 0.
        """
        _check_budget(budget)
        ratio = budget / np.asarray(ms, dtype=float)
        chance: NDArray[np.float64] = np.where(
            inside, self.inside_error.chance(ratio), self.outside_error.chance(ratio)
        )
        return chance

    def default_margin(self, budget: float | None = None, *, p: float = 0.9, inside: bool = True) -> float:
        """The smallest margin m >= 0 such that ``ms * (1 + m) <= budget`` is kept with chance >= `p`.

        The error is a ratio, so that the margin is the same for every budget.
        """
        if budget is not None:
            _check_budget(budget)
        error = self.inside_error if inside else self.outside_error
        return max(0.0, error.factor(p) - 1)

    def _factor(self, probability: float, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        factors = (self.inside_error.factor(probability), self.outside_error.factor(probability))
        # Where errors were all of one sign, the interval still holds the point that it is of.
        bound = min if probability < 0.5 else max
        return np.where(inside, *(bound(1.0, factor) for factor in factors))

    def _breakdown(self, program: Program) -> Breakdown:
        fixed, parts = self.model.parts(program)
        ms = [value for _, _, value in parts]
        stages = grouped([stage_of(label) for label, _, _ in parts], ms)
        return Breakdown(fixed, stages, grouped([op.kind for _, op, _ in parts], ms))


def _check_budget(budget: float) -> None:
    if not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"the budget must be a finite number of milliseconds > 0, got {budget}")
