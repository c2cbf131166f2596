"""Numbers read off a Program, declared one column at a time.

A column is a value per op and the reducer that combines values. Because reducers are associative,
the same declaration serves a whole Program and the fast path, which reduces segments first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvnas.ops.op import KINDS, Op
from hvnas.ops.program import Program, fuse

Reducer = Literal["sum", "max", "min", "last"]
IDENTITY: dict[Reducer, float] = {"sum": 0.0, "max": -np.inf, "min": np.inf, "last": np.nan}


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a network.

    `value(op)` gives the op's contribution, or None where the op has no say. `fused` columns read
    the deployed form (latency), the others the plain ops (accuracy). `kinds` names the kinds of op that
    can have a say; None asks every op. In a sum, an op whose value is not `above` counts as nothing: a
    threshold that is declared can be applied to many widths at once. ``where = (function, key)`` asks only
    ops with ``function(op) == key``; columns that share the function share its evaluation. A column to
    which no op contributed holds its reducer's identity: 0, -inf, inf or nan.
    """

    name: str
    reducer: Reducer
    value: Callable[[Op], float | None]
    fused: bool = False
    kinds: frozenset[str] | None = None
    above: float | None = None
    where: tuple[Callable[[Op], object], object] | None = None


def column_values(columns: Sequence[Column], ops: tuple[Op, ...]) -> NDArray[np.float64]:
    """One value per column for a run of ops (a whole network or a segment of it). Shape [columns]."""
    totals = [IDENTITY[column.reducer] for column in columns]
    for fused in {column.fused for column in columns}:
        by_kind = _by_kind(tuple(columns), fused)
        for op in [op for op, _ in fuse(ops)] if fused else ops:
            for k, reducer, value_of, above in _asked(by_kind[op.kind], op):
                value = value_of(op)
                if value is None or (above is not None and value <= above):
                    continue
                if reducer == "sum":
                    totals[k] += value
                elif reducer == "max":
                    totals[k] = max(totals[k], value)
                elif reducer == "min":
                    totals[k] = min(totals[k], value)
                else:
                    totals[k] = value
    return np.array(totals)


def contributions(column: Column, ops: tuple[Op, ...]) -> NDArray[np.float64]:
    """What each op adds to a sum column before its threshold. Shape [ops that have a say]."""
    read = [op for op, _ in fuse(ops)] if column.fused else ops
    asked = [op for op in read if column.kinds is None or op.kind in column.kinds]
    values = (column.value(op) for op in asked)
    return np.array([value for value in values if value is not None])


Entry = tuple[int, Reducer, Callable[[Op], float | None], float | None]
Asked = tuple[list[Entry], list[tuple[Callable[[Op], object], dict[object, list[Entry]]]]]


@lru_cache(maxsize=64)
def _by_kind(columns: tuple[Column, ...], fused: bool) -> dict[str, Asked]:
    """For each kind of op, the columns that it can have a say in: asked always, and asked by key."""
    table: dict[str, Asked] = {}
    for kind in KINDS:
        always: list[Entry] = []
        keyed: dict[Callable[[Op], object], dict[object, list[Entry]]] = {}
        for k, column in enumerate(columns):
            if column.fused != fused or not (column.kinds is None or kind in column.kinds):
                continue
            entry = (k, column.reducer, column.value, column.above)
            if column.where is None:
                always.append(entry)
            else:
                function, key = column.where
                keyed.setdefault(function, {}).setdefault(key, []).append(entry)
        table[kind] = always, list(keyed.items())
    return table


def _asked(columns: Asked, op: Op) -> list[Entry]:
    always, keyed = columns
    entries = always
    for function, table in keyed:
        found = table.get(function(op))
        if found:
            entries = entries + found
    return entries


def op_value(column: Column, op: Op) -> float:
    """What one op adds to a sum column."""
    if column.kinds is not None and op.kind not in column.kinds:
        return 0.0
    if column.where is not None and column.where[0](op) != column.where[1]:
        return 0.0
    value = column.value(op)
    return 0.0 if value is None or (column.above is not None and value <= column.above) else value


def evaluate_columns(columns: Sequence[Column], program: Program) -> NDArray[np.float64]:
    """One value per column for a whole Program. Shape [columns]."""
    return column_values(columns, program.ops)


def merge(
    columns: Sequence[Column], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values of two runs of ops in a row, from the values of each. Shape [columns]."""
    combined = []
    for column, a, b in zip(columns, first.tolist(), second.tolist(), strict=True):
        if column.reducer == "sum":
            combined.append(a + b)
        elif column.reducer == "last":
            combined.append(a if b != b else b)
        else:
            combined.append(max(a, b) if column.reducer == "max" else min(a, b))
    return np.array(combined)
