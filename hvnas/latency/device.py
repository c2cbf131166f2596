"""Device: what a network takes on it, how sure that is (its interval), and which networks it speaks for
(its gate).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvnas._records import html_of
from hvnas.latency.columns import clean, column, unique
from hvnas.latency.model import LatencyModel, grouped, stage_of
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.rows import Measurement
from hvnas.ops import Column, Program, evaluate_columns

# What files called the errors over all networks, inside and outside the gate.
_FORMER = {"without_gate": "all_networks", "mape_without_gate": "mape_all_networks"}
LOW, HIGH = 0.05, 0.95
# Beyond these an interval has no end that a number can hold.
LEAST_DF, MOST_LOC, MOST_SCALE = 0.5, 50.0, 5.0


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

    def to_json(self) -> dict[str, Any]:
        """Plain data, the breakdown left out."""
        return {
            "ms": self.ms,
            "low": self.low,
            "high": self.high,
            "inside": self.inside,
            "reasons": list(self.reasons),
        }

    def _repr_html_(self) -> str:
        """The milliseconds, stage by stage, for notebooks."""
        spread = f"{self.ms:.3f} ms (90 % interval {self.low:.3f} to {self.high:.3f})"
        told = spread if self.inside else f"{spread}; not calibrated for it: {' '.join(self.reasons)}"
        stages = {"once": self.breakdown.fixed, **self.breakdown.stages}
        return html_of(({"part": name, "ms": round(ms, 3)} for name, ms in stages.items()), caption=told)


@dataclass(frozen=True, repr=False)
class LatencyArrays:
    """The same of n networks: arrays [n]; `excluded_by` holds for each rule whom it excludes."""

    ms: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    inside: NDArray[np.bool_]
    excluded_by: Mapping[str, NDArray[np.bool_]]


class LatencyDevice:
    """Says how long networks take: all that a search asks of a device.

    A device of your own derives from this and has a `name`, a `hash` that changes with its numbers,
    `columns` and `latency_columns`; the rest has defaults. `info`, `report` and `rows` say how its
    latencies were obtained, how far off they are, and what was measured.
    """

    name: str
    hash: str
    info: DeviceInfo | None = None
    report: Mapping[str, Any] = MappingProxyType({})
    rows: Sequence[Measurement] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `latency_columns` reads."""
        raise NotImplementedError

    def latency_columns(self, values: NDArray[np.float64]) -> LatencyArrays:
        """Return the latency of n networks from their column values ``[n, columns]``."""
        raise NotImplementedError

    def p_within(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_] = True
    ) -> NDArray[np.float64]:
        """Return the chance that each network predicted to take `ms` keeps `budget` milliseconds.

        Without an error that is known: 1 within the budget, else 0.
        """
        return (np.asarray(ms) <= budget).astype(np.float64)

    def default_margin(self, budget: float | None = None) -> float:
        """Return the share of the latency to keep in reserve; without an error that is known, 0."""
        return 0.0


class _Adapted(LatencyDevice):
    """An object that gives latencies, with the defaults of what it does not have."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.name, self.hash = inner, inner.name, inner.hash
        self.info = getattr(inner, "info", None)
        self.report = getattr(inner, "report", self.report)
        self.rows = tuple(getattr(inner, "rows", self.rows))

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(self.inner.columns)

    def latency_columns(self, values: NDArray[np.float64]) -> LatencyArrays:
        arrays: LatencyArrays = self.inner.latency_columns(values)
        return arrays

    def p_within(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_] = True
    ) -> NDArray[np.float64]:
        chance = getattr(self.inner, "p_within", super().p_within)
        return np.asarray(chance(ms, budget, inside=inside), dtype=np.float64)

    def default_margin(self, budget: float | None = None) -> float:
        return float(getattr(self.inner, "default_margin", super().default_margin)(budget))


def as_device(thing: object) -> LatencyDevice:
    """Return `thing`, or what makes a device of it where it derives from none but gives latencies.

    Raises ValueError naming what it lacks.
    """
    if isinstance(thing, LatencyDevice):
        return thing
    for name in ("name", "hash", "columns", "latency_columns"):
        if not hasattr(thing, name):
            raise ValueError(
                f"device: {type(thing).__name__} has no {name}; derive it from hvnas.latency.LatencyDevice"
            )
    return _Adapted(thing)


@dataclass(frozen=True, kw_only=True)
class Device(LatencyDevice):
    """A named device: a latency model, its gate, its errors, and the measurements behind them.

    `inside_error` is the error of networks in the gate, `outside_error` that of the others. `hash`
    is of the files it was loaded from.
    """

    name: str
    hash: str
    info: DeviceInfo = field()  # which has no default here
    model: LatencyModel
    rules: tuple[Rule, ...]
    inside_error: StudentT
    outside_error: StudentT
    report: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Measurement] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "report", _renamed(self.report))

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.info.method}, hash {self.hash})"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `latency_columns` reads: the model's, then the rules'."""
        own = {c.name: c for c in self.model.columns}
        return unique([*own.values(), *(own.get(rule.column) or column(rule.column) for rule in self.rules)])

    @cached_property
    def _places(self) -> tuple[list[str], list[int], list[int]]:
        """Names of the columns, and where those of the model and of each rule stand among them."""
        names = [c.name for c in self.columns]
        of_model = [names.index(c.name) for c in self.model.columns]
        return names, of_model, [names.index(rule.column) for rule in self.rules]

    def latency(self, program: Program) -> LatencyEstimate:
        """Return the latency of one network."""
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
        """Return the latency of n networks from their column values ``[n, columns]``."""
        names, of_model, of_rules = self._places
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(
                f"values must be [n, {len(names)}], a column each for {', '.join(names)}; got {values.shape}"
            )
        values = clean(values)
        ms = self.model.predict(values[:, of_model])
        excluded = {
            rule.name: rule.excludes(values[:, k]) for rule, k in zip(self.rules, of_rules, strict=True)
        }
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
        """Return the chance that networks predicted to take `ms` are measured within `budget` milliseconds.

        Raises ValueError where the budget is no number > 0.
        """
        _check_budget(budget)
        ratio = budget / np.asarray(ms, dtype=float)
        chance: NDArray[np.float64] = np.where(
            inside, self.inside_error.chance(ratio), self.outside_error.chance(ratio)
        )
        return chance

    def default_margin(self, budget: float | None = None, *, p: float = 0.9, inside: bool = True) -> float:
        """Return the smallest margin m >= 0 such that ``ms * (1 + m) <= budget`` is kept with chance >= `p`.

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


def _renamed(report: Any) -> Any:
    """A report with its former keys under their names of now."""
    if isinstance(report, list):
        return [_renamed(value) for value in report]
    if not isinstance(report, Mapping):
        return report
    return {_FORMER.get(key, key): _renamed(value) for key, value in report.items()}


def _check_budget(budget: float) -> None:
    if not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"the budget must be a finite number of milliseconds > 0, got {budget}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason for which a network lies outside: a column above a limit.

    Exactly one of `above` (value > limit excludes) and `at_least` (value >= limit excludes) is set.
    `says` is the sentence shown, with ``{value}`` for the network's value; `evidence` tells what
    published measurement the rule rests on.
    """

    name: str
    column: str
    says: str
    evidence: str
    above: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        column(self.column)
        if (self.above is None) == (self.at_least is None):
            raise ValueError("give exactly one of above and at_least")
        if not self.evidence.strip():
            raise ValueError("evidence is empty; say which measurement the rule rests on")

    @property
    def most(self) -> float:
        """The limit: values above it lie outside, and where it is `at_least` the limit itself does too."""
        limit = self.above if self.at_least is None else self.at_least
        return math.inf if limit is None else limit

    def excludes(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of the column's `values` lie outside."""
        return values > self.most if self.at_least is None else values >= self.most

    def reason(self, value: float) -> str:
        """Return the sentence for one network."""
        return self.says.replace("{value}", f"{value:g}")


@dataclass(frozen=True, slots=True)
class StudentT:
    """A Student t of e = ln(measured / predicted), family left out."""

    df: float
    loc: float
    scale: float

    def __post_init__(self) -> None:
        if not (self.df > 0 and self.scale > 0 and np.isfinite([self.df, self.loc, self.scale]).all()):
            raise ValueError(f"a Student t needs finite df > 0, loc, scale > 0, got {self}")
        if self.df < LEAST_DF or abs(self.loc) > MOST_LOC or self.scale > MOST_SCALE:
            raise ValueError(
                f"a Student t of latencies has df >= {LEAST_DF:g}, loc from -{MOST_LOC:g} to {MOST_LOC:g} "
                f"and scale up to {MOST_SCALE:g}, got {self}"
            )

    def factor(self, probability: float) -> float:
        """measured / predicted at a quantile of e."""
        return float(np.exp(self.loc + self.scale * student_quantile(self.df, probability)))

    def chance(self, ratio: ArrayLike) -> NDArray[np.float64]:
        """Probability that measured / predicted is at most `ratio` (> 0)."""
        return student_chance(self.df, (np.log(ratio) - self.loc) / self.scale)


# Loading scipy.special for these two would take an eighth of a short search.
# Of the search for a quantile: 200 halvings, so many at once.
_LEVELS, _ROUNDS = 5, 40


@lru_cache(maxsize=256)
def student_quantile(df: float, probability: float) -> float:
    """The quantile of a Student t with `df` degrees of freedom. -inf and inf at probabilities 0 and 1."""
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5) if probability in (0, 1) else math.nan
    if probability < 0.5:
        return -student_quantile(df, 1 - probability)
    low, high = 0.0, 1.0
    while student_chance(df, high) < probability and high < 1e300:
        low, high = high, 2 * high
    for _ in range(_ROUNDS):
        middles = _middles(low, high)
        below, k = (student_chance(df, middles) < probability).tolist(), 0
        while k < len(middles):
            if middles[k] in (low, high):
                return high
            low, high = (middles[k], high) if below[k] else (low, middles[k])
            k = 2 * k + (2 if below[k] else 1)
    return high


def _middles(low: float, high: float) -> list[float]:
    """The middle of an interval, those of its halves, of theirs, and so on: a call for all costs as a call
    for one."""
    ends, middles = [(low, high)], []
    for k in range(2**_LEVELS - 1):
        left, right = ends[k]
        middles.append((left + right) / 2)
        ends += [(left, middles[k]), (middles[k], right)]
    return middles


def student_chance(df: float, t: ArrayLike) -> NDArray[np.float64]:
    """Probability that a Student t with `df` degrees of freedom is at most `t`. Shape of `t`.

    By the incomplete beta function (Abramowitz and Stegun 1964, 26.7.1).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.square(np.asarray(t, dtype=float))
        far = np.isinf(square)
        near, rest = np.where(far, 0.0, df / (df + square)), np.where(far, 1.0, square / (df + square))
        tail = 0.5 * _incomplete_beta(df / 2, 0.5, near, rest)
    return np.where(np.asarray(t) > 0, 1 - tail, tail)


def _incomplete_beta(a: float, b: float, x: NDArray[np.float64], rest: NDArray[np.float64]) -> Any:
    """The regularised incomplete beta function at `x`; `rest` is 1 - x, known better than that."""
    with np.errstate(divide="ignore"):
        logarithm = a * np.log(x) + b * np.log(rest)
    front = np.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + logarithm)
    small = x < (a + 1) / (a + b + 2)
    swapped = 1 - front * _beta_fraction(b, a, np.where(small, 0.0, rest)) / b
    return np.where(small, front * _beta_fraction(a, b, np.where(small, x, 0.0)) / a, swapped)


def _beta_fraction(a: float, b: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The continued fraction of the incomplete beta function, by Lentz's method (26.5.8 there)."""
    c = np.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    found, done = d.copy(), np.zeros(np.shape(x), dtype=np.bool_)
    for m in range(1, 10_000):
        following = found
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            following = following * c * d
        # As near as double precision comes: the last bit may go on changing. Each is done by itself, so that
        # it is the same whatever others are asked for.
        near = np.abs(following - found) <= 1e-15 * np.abs(following)
        found = np.where(done, found, following)
        done |= near
        if done.all():
            break
    return found


def fit_student_t(e: NDArray[np.float64], *, families: int) -> StudentT:
    """The t that fits `e` best, with at most ``families - 1`` degrees of freedom.

    Maximum likelihood (scipy.stats.t.fit). Errors within a family go together, so that the number of
    families, not of networks, bounds what is known of the tails; where the likelihood would have
    lighter ones, df is set to the bound and loc and scale are fitted again.
    """
    from scipy import stats

    bound = max(1, families - 1)
    df, loc, scale = stats.t.fit(e)
    if not 1 <= df <= bound:
        df, loc, scale = stats.t.fit(e, f0=bound if df > bound else 1)
    return StudentT(float(df), float(loc), float(scale))
