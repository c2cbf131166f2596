"""Latency models: milliseconds from the columns of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hvnas.latency.columns import column, unique
from hvnas.ops import Column, Op, Program
from hvnas.ops.program import op_value

# A second for each unit.
MOST_PER_MEGA = 1e9


class LatencyModel(Protocol):
    """What a device computes latency with."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that `predict` reads."""

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return milliseconds ``[n]`` from column values ``[n, columns]``."""

    def parts(self, program: Program) -> tuple[float, list[tuple[str, Op, float]]]:
        """Return the fixed cost, and of every fused op its label and its milliseconds.

        They sum to `predict`.
        """


@dataclass(frozen=True, slots=True)
class Term:
    """One cost: a sum column and what its unit costs.

    `ms_per_mega` is milliseconds per 10^6 units: bytes, MACs, or ops.
    """

    column: str
    ms_per_mega: float
    meaning: str = ""

    def __post_init__(self) -> None:
        if column(self.column).reducer != "sum":
            raise ValueError(f"the column {self.column!r} is not a sum over ops; a term needs one")
        if not (np.isfinite(self.ms_per_mega) and self.ms_per_mega >= 0):
            raise ValueError(f"ms_per_mega must be a finite number >= 0, got {self.ms_per_mega}")
        if self.ms_per_mega > MOST_PER_MEGA:
            raise ValueError(f"ms_per_mega must be at most {MOST_PER_MEGA:g}, got {self.ms_per_mega}")

    @property
    def rate(self) -> float:
        """10^9 units per second; GB/s where the column counts bytes."""
        return float("inf") if self.ms_per_mega == 0 else 1 / self.ms_per_mega


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A fixed cost once per network, plus terms that are sums over its fused ops.

    `floor` is a second set of terms, of what the hardware cannot beat: a network takes the fixed cost
    plus the larger of the two sums. What the terms were fitted on may not reach the floor; what a search
    finds would otherwise go below it. Where every term of the floor is among the terms, at no lower cost, no
    op takes less than its own share of the floor, whatever the rest of its network waits for.
    """

    fixed_ms: float
    terms: tuple[Term, ...]
    floor: tuple[Term, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of terms and floor, in order."""
        return unique([column(term.column) for term in (*self.terms, *self.floor)])

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return milliseconds ``[n]`` from column values ``[n, columns]``."""
        terms, floor = _weights(self)
        return self.fixed_ms + np.maximum(values @ terms, values @ floor)

    def parts(self, program: Program) -> tuple[float, list[tuple[str, Op, float]]]:
        """Return the fixed cost, and of every fused op its label and its milliseconds."""
        deployed = program.fused()
        costs = max(
            ([_op_ms(terms, op) for op in deployed.ops] for terms in (self.terms, self.floor)), key=sum
        )
        return self.fixed_ms, list(zip(deployed.labels, deployed.ops, costs, strict=True))


@dataclass(frozen=True, slots=True)
class ScaledModel:
    """What another model predicts, times `factor`: the correction by networks that were timed."""

    model: LatencyModel
    factor: float

    @property
    def columns(self) -> tuple[Column, ...]:
        """The other model's."""
        return self.model.columns

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return milliseconds ``[n]`` from column values ``[n, columns]``."""
        return self.factor * self.model.predict(values)

    def parts(self, program: Program) -> tuple[float, list[tuple[str, Op, float]]]:
        """Return the fixed cost, and of every fused op its label and its milliseconds."""
        fixed, parts = self.model.parts(program)
        return self.factor * fixed, [(label, op, self.factor * ms) for label, op, ms in parts]


@lru_cache(maxsize=64)
def _weights(model: LinearModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds for a unit of each column, by the terms and by the floor. Shape [columns] each."""
    names = [c.name for c in model.columns]
    found = []
    for terms in (model.terms, model.floor):
        weights = np.zeros(len(names))
        for term in terms:
            weights[names.index(term.column)] += term.ms_per_mega / 1e6
        found.append(weights)
    return found[0], found[1]


def _op_ms(terms: Sequence[Term], op: Op) -> float:
    return sum(term.ms_per_mega / 1e6 * op_value(column(term.column), op) for term in terms)


def stage_of(label: str) -> str:
    """The stage a label lies in: ``stages.2.local.0`` in ``stages.2``, ``stem.conv1`` in ``stem``."""
    first, _, rest = label.partition(".")
    number = rest.partition(".")[0]
    return f"{first}.{number}" if number.isdigit() else (first or "network")


def grouped(names: Sequence[str], ms: Sequence[float]) -> dict[str, float]:
    """Sums of `ms` by name, in order of first appearance."""
    sums: dict[str, float] = {}
    for name, value in zip(names, ms, strict=True):
        sums[name] = sums.get(name, 0.0) + value
    return sums
