"""Numbers read off a Program, declared one column at a time.

A column is a value per op and the reducer that combines values. Because reducers are associative,
the same declaration serves a whole Program and the fast path, which reduces segments first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvnas.ops.op import Op
from hvnas.ops.program import Program, fuse

Reducer = Literal["sum", "max", "min", "last"]
IDENTITY: dict[Reducer, float] = {"sum": 0.0, "max": -np.inf, "min": np.inf, "last": np.nan}


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a network.

    `value(op)` gives the op's contribution, or None where the op has no say. `fused` columns read
    the deployed form (latency), the others the plain ops (accuracy). A column to which no op
    contributed holds its reducer's identity: 0, -inf, inf or nan.
    """

    name: str
    reducer: Reducer
    value: Callable[[Op], float | None]
    fused: bool = False


def column_values(columns: Sequence[Column], ops: tuple[Op, ...]) -> NDArray[np.float64]:
    """One value per column for a run of ops (a whole network or a segment of it). Shape [columns]."""
    deployed = tuple(op for op, _ in fuse(ops)) if any(c.fused for c in columns) else ()
    return np.array([_reduce(column, deployed if column.fused else ops) for column in columns])


def evaluate_columns(columns: Sequence[Column], program: Program) -> NDArray[np.float64]:
    """One value per column for a whole Program. Shape [columns]."""
    return column_values(columns, program.ops)


def _reduce(column: Column, ops: Iterable[Op]) -> float:
    total = IDENTITY[column.reducer]
    for op in ops:
        value = column.value(op)
        if value is None:
            continue
        if column.reducer == "sum":
            total += value
        elif column.reducer == "max":
            total = max(total, value)
        elif column.reducer == "min":
            total = min(total, value)
        else:
            total = value
    return total
