"""What a search optimises and what it must keep to: metrics as objectives and as constraints."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hvnas._names import shown, unknown_name

TOP1, LATENCY = "top1", "latency_ms"
# top1: points, mean minus one standard deviation (the score itself where an estimator gives scores);
# latency_ms: milliseconds on a device; peak_memory: bytes of activations alive at once in the deployed
# network; size_mb: 10^6 bytes of the deployed network's weights in the device's precision.
METRICS = (TOP1, LATENCY, "params", "macs", "peak_memory", "size_mb")

_ALIASES = {"latency": LATENCY, "top-1": TOP1}
_CONSTRAINT = re.compile(r"\s*([^<>=\s]+)\s*(<=|>=)\s*([^<>=\s](?:[^<>=]*[^<>=\s])?)\s*")
# Other ways to write the two relations: as books and keyboards have them.
_RELATIONS = (("≤", "<="), ("⩽", "<="), ("=<", "<="), ("≥", ">="), ("⩾", ">="), ("=>", ">="))
_NUMBER = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([a-zA-Z%]*)")
_COUNTS = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_DECIMAL_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
# What a person may write behind a number, in the metric's own unit.
_SUFFIXES: dict[str, dict[str, float]] = {
    TOP1: {"%": 1.0},
    LATENCY: {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "params": _COUNTS,
    "macs": _COUNTS,
    "peak_memory": {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30} | _DECIMAL_BYTES,
    "size_mb": {unit: size / 1e6 for unit, size in _DECIMAL_BYTES.items()},
}


@dataclass(frozen=True)
class Objective:
    """A metric to optimise: ``top1`` is maximised, every other metric minimised.

    `device` belongs to latencies only; None is the first device of the search.
    """

    metric: str
    device: str | None = None

    @property
    def sign(self) -> int:
        """-1 where more is better, else 1: ``sign * value`` is a cost."""
        return -1 if self.metric == TOP1 else 1

    def on(self, device: str | None) -> Objective:
        """Return the same objective on another device."""
        return replace(self, device=device)

    def __str__(self) -> str:
        return self.metric if self.device is None else f"{self.metric}@{self.device}"


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, in its unit, from above (`relation` is ``<=``) or from below (``>=``)."""

    what: Objective
    relation: str
    bound: float

    def excess(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much `values` of the metric break the bound, relative to it; negative within it."""
        over: NDArray[np.float64] = (values - self.bound) / self.bound
        return over if self.relation == "<=" else -over

    def is_above(self, what: Objective) -> bool:
        """Return whether it bounds the metric `what` from above."""
        return self.relation == "<=" and self.what == what

    @property
    def bounds_the_worst(self) -> bool:
        """Whether it forbids the worse values of its metric: a bound on the better ones sets no standard."""
        return self.relation == ("<=" if self.what.sign > 0 else ">=")

    def __str__(self) -> str:
        # Run folders keep this text: a bound must come back as it was.
        return f"{self.what}{self.relation}{self.bound:.15g}"


DEFAULT = (Objective(TOP1), Objective(LATENCY))


def parse_objective(text: str, *, field: str = "objective") -> Objective:
    """``top1``, ``params``, ``latency_ms@cpu-i7-12700h``. Raises ValueError naming the metrics there are."""
    name, at, device = text.strip().partition("@")
    metric = _ALIASES.get(name, name)
    if metric not in METRICS:
        raise ValueError(f"{field}: {unknown_name('metric', name, METRICS)}")
    if at and (metric != LATENCY or not device):
        raise ValueError(f"{field}: {text!r}: only latency_ms is of a device, as in latency_ms@iphone12")
    return Objective(metric, device or None)


def parse_constraint(text: str) -> Constraint:
    """``params<=6M``, ``macs>=60e6``, ``latency@cpu-i7-12700h<=20``, ``top1 ≥ 78``.

    A number may end in k, M or G for counts, in ms, us or s for latencies, in MB and the like for sizes.
    Raises ValueError.
    """
    written = text
    for other, relation in _RELATIONS:
        written = written.replace(other, relation)
    found = _CONSTRAINT.fullmatch(written)
    if found is None or found[1][0].isdigit():
        raise ValueError(
            f"constraint: cannot read {shown(text)}; expected METRIC<=NUMBER or METRIC>=NUMBER, such as "
            "params<=6M; bounds from both sides are two constraints"
        )
    what = parse_objective(found[1], field="constraint")
    return Constraint(what, found[2], _bound(what.metric, found[3], text))


def _bound(metric: str, written: str, text: str) -> float:
    found = _NUMBER.fullmatch(written)
    number, suffix = (found[1], found[2]) if found else (written, "")
    units = _SUFFIXES[metric]
    # No two units differ in case alone: 6m of params cannot be thousandths.
    suffix = suffix if suffix in units else suffix.swapcase()
    if suffix and suffix not in units:
        raise ValueError(
            f"constraint: {shown(text)}: unknown unit {shown(suffix.swapcase())}; {metric} takes a number "
            f"alone, or one with {', '.join(units)}"
        )
    try:
        bound = float(number) * units.get(suffix, 1.0)
    except ValueError:
        bound = math.nan
    if not (math.isfinite(bound) and bound > 0):
        raise ValueError(
            f"constraint: {shown(text)}: must be a number > 0, got {shown(written)}; write one, such as 6e6"
        )
    return bound


def check_constraints(constraints: Sequence[Constraint]) -> None:
    """Raise ValueError where two of them leave nothing between them."""
    for lower in constraints:
        for upper in constraints:
            opposite = lower.relation == ">=" and upper.is_above(lower.what)
            if opposite and lower.bound > upper.bound:
                raise ValueError(f"constraint: no network can meet both {lower} and {upper}; loosen one")


def check_objectives(objectives: tuple[Objective, ...]) -> None:
    """Raise ValueError where there is none, or one is listed twice."""
    if not objectives:
        raise ValueError("objective: name at least one, such as top1")
    for i, objective in enumerate(objectives):
        if objective in objectives[:i]:
            raise ValueError(f"objective: {objective} is listed twice; list it once")
