"""Device: what a network takes on it, how sure that is (its interval), and which networks it speaks for
(its gate).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvnas._records import html_of
from hvnas.latency.columns import clean, column, unique
from hvnas.latency.model import LatencyModel, grouped, stage_of
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.rows import Measurement
from hvnas.latency.scores import Pace, StudentT
from hvnas.ops import MACS, Column, Program, evaluate_columns

# What files called the errors over all networks, inside and outside the gate.
_FORMER = {"without_gate": "all_networks", "mape_without_gate": "mape_all_networks"}
LOW, HIGH = 0.05, 0.95


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

    def p_within_of(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_], macs: ArrayLike
    ) -> NDArray[np.float64]:
        """Return `p_within` of networks whose MACs are known.

        Devices that are less sure of networks faster per MAC than any that was measured take them into
        account; others do not.
        """
        return self.p_within(ms, budget, inside=inside)

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

    `inside_error` is the error of networks in the gate, `outside_error` that of the others; both grow
    beyond the `pace` that was measured, where there is one. `hash` is of the files it was loaded from.
    """

    name: str
    hash: str
    info: DeviceInfo = field()  # which has no default here
    model: LatencyModel
    rules: tuple[Rule, ...]
    inside_error: StudentT
    outside_error: StudentT
    pace: Pace | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Measurement] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "report", _renamed(self.report))

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.info.method}, hash {self.hash})"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `latency_columns` reads: the model's, the rules', MACs where there is a pace."""
        own = {c.name: c for c in self.model.columns}
        rules = [own.get(rule.column) or column(rule.column) for rule in self.rules]
        return unique([*own.values(), *rules, *(() if self.pace is None else (own.get("macs", MACS),))])

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
        macs = 0.0 if self.pace is None else values[:, names.index("macs")]
        low, high = self.interval_of(ms, inside=inside, macs=macs)
        return LatencyArrays(
            ms=ms,
            low=low,
            high=high,
            inside=inside,
            excluded_by=excluded,
        )

    def p_within(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_] = True
    ) -> NDArray[np.float64]:
        """Return the chance that networks predicted to take `ms` are measured within `budget` milliseconds.

        Raises ValueError where the budget is no number > 0.
        """
        return self._chance(ms, budget, inside, 0.0)

    def p_within_of(
        self, ms: ArrayLike, budget: float, *, inside: bool | NDArray[np.bool_], macs: ArrayLike
    ) -> NDArray[np.float64]:
        """Return `p_within` of networks whose MACs are known: less sure beyond the pace that was measured."""
        return self._chance(ms, budget, inside, 0.0 if self.pace is None else self.pace.spread(macs, ms))

    def interval_of(
        self, ms: NDArray[np.float64], *, inside: NDArray[np.bool_], macs: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the 5 and 95 % quantiles of networks predicted to take `ms`. Shape [n] each."""
        more = 0.0 if self.pace is None else self.pace.spread(macs, ms)
        return ms * self._factor(LOW, inside, more), ms * self._factor(HIGH, inside, more)

    def _chance(
        self, ms: ArrayLike, budget: float, inside: bool | NDArray[np.bool_], more: ArrayLike
    ) -> NDArray[np.float64]:
        _check_budget(budget)
        ratio = budget / np.asarray(ms, dtype=float)
        chances = (error.chance(ratio, more=more) for error in (self.inside_error, self.outside_error))
        chance: NDArray[np.float64] = np.where(inside, *chances)
        return chance

    def default_margin(self, budget: float | None = None, *, p: float = 0.9, inside: bool = True) -> float:
        """Return the smallest margin m >= 0 such that ``ms * (1 + m) <= budget`` is kept with chance >= `p`.

        The error is a ratio, so that the margin is the same for every budget.
        """
        if budget is not None:
            _check_budget(budget)
        error = self.inside_error if inside else self.outside_error
        return max(0.0, error.factor(p) - 1)

    def _factor(
        self, probability: float, inside: NDArray[np.bool_], more: float | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Of one end of the interval, which holds its point, also where errors were all of one sign.

        Outside the gate it holds what it would inside as well.
        """
        bound = np.minimum if probability < 0.5 else np.maximum
        within = bound(1.0, self.inside_error.factors(probability, more))
        beyond = bound(within, self.outside_error.factors(probability, more))
        return np.where(inside, within, beyond)

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
