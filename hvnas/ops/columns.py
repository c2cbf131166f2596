"""Numbers read off a Program, declared one column at a time.

A column is a value per op and the reducer that combines values. Because reducers are associative,
the same declaration serves a whole Program and the fast path, which reduces segments first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nan
from typing import Any, Literal

from hvnas.ops.op import Op

Reducer = Literal["sum", "max", "min", "last"]
IDENTITY: dict[Reducer, float] = {"sum": 0.0, "max": -inf, "min": inf, "last": nan}


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a network.

    `value(op)` gives the op's contribution, or None where the op has no say; it must not look at the op's
    edges, for equal ops are asked once. `fused` columns read the deployed form (latency), the others the
    plain ops (accuracy). `kinds` names the kinds of op that can have a say; None asks every op. In a sum, an
    op whose value is not `above` counts as nothing: a threshold that is declared can be applied to many
    widths at once. ``where = (function, key)`` asks only ops with ``function(op) == key``; columns that share
    the function share its evaluation. The value of an `alive` column, a maximum, is given not the op but how
    many elements are alive while it runs (`hvnas.ops.liveness`). A column to which no op contributed holds
    its reducer's identity: 0, -inf, inf or nan.
    """

    name: str
    reducer: Reducer
    value: Callable[[Op], float | None]
    fused: bool = False
    kinds: frozenset[str] | None = None
    above: float | None = None
    where: tuple[Callable[[Op], object], object] | None = None
    alive: bool = False


def _params(op: Op) -> float:
    return float(op.params)


def _macs(op: Op) -> float:
    return float(op.macs)


def _float32(elements: Any) -> float:
    return 4.0 * elements


PARAMS = Column("params", "sum", _params)
MACS = Column("macs", "sum", _macs)
PEAK_MEMORY = Column("peak_memory", "max", _float32, fused=True, alive=True)
"""Bytes of activations alive at once in the deployed network: ``program.fused().peak_bytes``."""


def op_value(column: Column, op: Op) -> float:
    """What one op adds to a sum column."""
    if column.kinds is not None and op.kind not in column.kinds:
        return 0.0
    if column.where is not None and column.where[0](op) != column.where[1]:
        return 0.0
    value = column.value(op)
    return 0.0 if value is None or (column.above is not None and value <= column.above) else value
