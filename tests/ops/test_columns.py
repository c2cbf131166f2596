"""Columns: every reducer, the kinds that have a say, thresholds, and putting two halves together."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hvnas
from hvnas.ops import Column, Op, Program, Reader, Segment, column_values, evaluate_columns
from hvnas.ops.program import IDENTITY, Reducer

MAP = (4, 8, 8)
OPS = (
    Op("conv", (3, 8, 8), MAP, (-1,), kernel=(3, 3)),  # 108 weights
    Op("norm", MAP, MAP, (0,), variant="bn", weights=8),
    Op("act", MAP, MAP, (1,), variant="relu"),
    Op("conv", MAP, (16, 8, 8), (2,)),  # 64 weights
    Op("conv", (16, 8, 8), (2, 8, 8), (3,)),  # 32 weights
    Op("add", (2, 8, 8), (2, 8, 8), (4, 4)),
)
PROGRAM = Program(OPS, ("",) * len(OPS), 8)


def weights(op: Op) -> float | None:
    return float(op.weight_count) if op.kind == "conv" else None


def one(column: Column) -> float:
    return float(evaluate_columns([column], PROGRAM)[0])


@pytest.mark.parametrize("reducer, expected", [("sum", 204), ("max", 108), ("min", 32), ("last", 32)])
def test_reducers(reducer: Reducer, expected: float) -> None:
    assert one(Column("weights", reducer, weights)) == expected


@pytest.mark.parametrize("reducer", IDENTITY)
def test_identity_where_no_op_has_a_say(reducer: Reducer) -> None:
    value = one(Column("none", reducer, lambda op: None))
    expected = {"sum": 0.0, "max": -math.inf, "min": math.inf, "last": math.nan}[reducer]
    assert value == expected or (math.isnan(value) and math.isnan(expected))


def test_kinds_limit_who_is_asked() -> None:
    asked = []

    def count(op: Op) -> float:
        asked.append(op.kind)
        return 1.0

    assert one(Column("count", "sum", count)) == 6
    asked.clear()
    assert one(Column("count", "sum", count, kinds=frozenset({"conv", "add"}))) == 4
    assert set(asked) == {"conv", "add"}


@pytest.mark.parametrize("above, expected", [(0, 204), (32, 172), (63.5, 172), (64, 108), (108, 0)])
def test_above_leaves_small_values_out_of_a_sum(above: float, expected: float) -> None:
    assert one(Column("large", "sum", weights, above=above)) == expected


def test_contributions_are_before_the_threshold() -> None:
    column = Column("large", "sum", weights, above=64)
    fused = Column("ops", "sum", lambda op: 1.0, fused=True)
    reader = Reader([column, fused])
    assert reader.contributions(0, Segment(OPS)) == [108, 64, 32]
    assert reader.contributions(1, Segment(OPS)) == [1.0] * 4


def test_where_asks_only_ops_with_the_key() -> None:
    def out(op: Op) -> int:
        return op.channels

    columns = [Column(f"{key}", "sum", weights, where=(out, key)) for key in (4, 16, 2, 99)]
    assert evaluate_columns(columns, PROGRAM).tolist() == [108, 64, 32, 0]
    both = Column("conv of 4", "sum", lambda op: 1.0, kinds=frozenset({"conv"}), where=(out, 4))
    assert one(both) == 1


def test_fused_columns_read_the_deployed_form() -> None:
    columns = [Column("ops", "sum", lambda op: 1.0, fused=fused) for fused in (False, True)]
    assert evaluate_columns(columns, PROGRAM).tolist() == [6, 4]
    bias = Column("biased", "sum", lambda op: float(op.bias), fused=True)
    assert one(bias) == 1


COLUMNS = [
    Column(f"{reducer} {kinds}", reducer, weights, fused=fused, kinds=kinds)
    for reducer in IDENTITY
    for fused in (False, True)
    for kinds in (None, frozenset({"conv"}), frozenset({"softmax"}))
]


def test_segments_read_together_are_as_each_alone() -> None:
    parts = [OPS[:end] for end in (3, 0, 6, 1)]
    together = Reader(COLUMNS).values([Segment(part) for part in parts])
    alone = [column_values(COLUMNS, part) for part in parts]
    np.testing.assert_array_equal(together, alone)
    assert Reader(COLUMNS).values([]).shape == (0, len(COLUMNS))


def test_equal_ops_are_asked_once() -> None:
    asked = []
    column = Column("asked", "sum", lambda op: float(asked.append(op.kind) or 1))  # type: ignore[func-returns-value]
    reader = Reader([column])
    assert reader.values([Segment(OPS), Segment(OPS[:3])]).tolist() == [[6], [3]]
    assert reader.values([Segment((OPS[0]._replace(inputs=(7,)),))]).tolist() == [[1]]
    assert len(asked) == 6


def test_a_full_table_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvnas.ops.reader.MAX_OPS", 2)
    reader = Reader(COLUMNS)
    for _ in range(3):
        np.testing.assert_array_equal(reader.values([Segment(OPS)])[0], column_values(COLUMNS, OPS))


def test_columns_of_a_network_are_its_totals() -> None:
    program = hvnas.load_arch("efficientformer_l1").lower()
    columns = [
        Column("params", "sum", lambda op: float(op.params)),
        Column("macs", "sum", lambda op: float(op.macs)),
        Column("widest", "max", lambda op: float(op.channels)),
        Column("classes", "last", lambda op: float(op.channels), kinds=frozenset({"linear"})),
    ]
    assert evaluate_columns(columns, program).tolist() == [program.params, program.macs, 1792, 1000]


def test_no_columns() -> None:
    assert evaluate_columns([], PROGRAM).shape == (0,)
