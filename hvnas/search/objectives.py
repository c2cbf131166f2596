"""What a search optimises and what it must keep to: metrics as objectives and as constraints."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from hvnas._names import unknown_name

TOP1, LATENCY = "top1", "latency_ms"
# top1: points, mean minus one standard deviation (the score itself where an estimator gives scores);
# latency_ms: milliseconds on a device; peak_memory: bytes of activations alive at once in the deployed
# network; size_mb: 10^6 bytes of the deployed network's weights in the device's precision.
METRICS = (TOP1, LATENCY, "params", "macs", "peak_memory", "size_mb")

_ALIASES = {"latency": LATENCY, "top-1": TOP1}
_CONSTRAINT = re.compile(r"^\s*([^<>=\s]+)\s*(<=|>=)\s*(\S+)\s*$")


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
        """The same objective on another device."""
        return replace(self, device=device)

    def __str__(self) -> str:
        return self.metric if self.device is None else f"{self.metric}@{self.device}"


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, in its unit: `relation` is ``<=``, for ``top1`` it is ``>=``."""

    what: Objective
    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.what}{self.relation}{self.bound:g}"


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
    """``params<=6e6``, ``latency@cpu-i7-12700h<=20``, ``top1>=78``. Raises ValueError."""
    found = _CONSTRAINT.match(text)
    if found is None:
        raise ValueError(f"constraint: {text!r} is none; write a metric, <= or >=, and a number: params<=6e6")
    what = parse_objective(found[1], field="constraint")
    relation = ">=" if what.metric == TOP1 else "<="
    if found[2] != relation:
        raise ValueError(f"constraint: {text!r}: {what.metric} is bounded by {relation}; turn it round")
    return Constraint(what, relation, _bound(found[3], text))


def _bound(number: str, text: str) -> float:
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not (math.isfinite(bound) and bound > 0):
        raise ValueError(f"constraint: {text!r}: {number!r} is no number > 0; write one, such as 6e6")
    return bound


def check_objectives(objectives: tuple[Objective, ...]) -> None:
    """Raise ValueError where there is none, or one stands there twice."""
    if not objectives:
        raise ValueError("objective: name at least one, such as top1")
    for i, objective in enumerate(objectives):
        if objective in objectives[:i]:
            raise ValueError(f"objective: {objective} stands there twice; name each once")
