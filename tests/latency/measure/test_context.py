"""Factors and costs found again from networks made of known ones."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.latency.measure.table import fit_context
from hvnas.latency.tables.op_model import OpModel
from hvnas.latency.tables.op_rows import OpTime
from hvnas.ops import Op, Program, evaluate_columns

FIXED, PER_OP, FACTORS = 0.4, 0.003, {"conv_pointwise": 0.8, "conv_depthwise": 1.3, "act": 1.0}
CANDIDATES = [
    *(Op("conv", (c, 14, 14), (c, 14, 14)) for c in (16, 32, 64, 128)),
    *(Op("conv", (c, 14, 14), (c, 14, 14), kernel=(3, 3), groups=c) for c in (16, 32, 64, 128)),
    *(Op("act", (c, 14, 14), (c, 14, 14), variant="gelu") for c in (16, 32, 64, 128)),
]
GROUPS = ["conv_pointwise"] * 4 + ["conv_depthwise"] * 4 + ["act"] * 4
ALONE = np.array([0.02, 0.05, 0.15, 0.5, 0.03, 0.05, 0.1, 0.2, 0.01, 0.02, 0.04, 0.08])


@pytest.fixture
def counts() -> np.ndarray:
    """How often each of 40 networks, the largest 30 times the smallest, holds each op, [40, 12]."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.uniform(np.log(0.5), np.log(15), (40, 1)))
    return 1 + rng.poisson(size * rng.uniform(0, 1, (40, len(CANDIDATES))))


@pytest.fixture
def model() -> OpModel:
    rows = zip(CANDIDATES, ALONE.tolist(), strict=True)
    return OpModel(tuple(OpTime(op, ms, 0.0, 9, False) for op, ms in rows))


def programs(counts: np.ndarray) -> list[Program]:
    listed = [[op for op, n in zip(CANDIDATES, row, strict=True) for _ in range(n)] for row in counts]
    return [Program(tuple(ops), ("",) * len(ops), 14) for ops in listed]


def times(counts: np.ndarray) -> np.ndarray:
    factors = np.array([FACTORS[group] for group in GROUPS])
    return FIXED + PER_OP * counts.sum(1) + counts @ (factors * ALONE)


def test_known_factors_come_back(counts: np.ndarray, model: OpModel) -> None:
    fitted = fit_context(model, programs(counts), times(counts).tolist())
    context = fitted.context
    assert context.fixed_ms == pytest.approx(FIXED, abs=0.05)
    assert context.op_ms == pytest.approx(PER_OP, abs=0.001)
    for group, factor in FACTORS.items():
        assert context.factor(group) == pytest.approx(factor, abs=0.03)
    assert np.abs(fitted.errors).max() < 0.01
    own = OpModel(model.rows, {}, context)
    shown = own.parts(programs(counts[:1])[0])
    assert shown[0] + sum(ms for _, _, ms in shown[1]) == pytest.approx(times(counts)[0], rel=0.01)


def test_errors_are_of_networks_left_out(counts: np.ndarray, model: OpModel) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.05, len(counts)))
    ms = times(counts) * noise
    fitted = fit_context(model, programs(counts), ms.tolist())
    assert len(fitted.errors) == 40
    assert 0.03 < fitted.errors.std() < 0.08
    # The same by hand: fitted to the others with the same strength, and asked for the first.
    from hvnas.latency.measure import table

    design = table._with_cache(table._design(model, programs(counts)), fitted.context.cached_mb)
    design = design / ms[:, None]
    solution, _ = table._ridge(design[1:], fitted.strength)
    assert fitted.errors[0] == pytest.approx(-np.log(design[0] @ solution), abs=0.002)


def test_weights_that_stay_in_the_cache_cost_less() -> None:
    ops = [
        *(Op("conv", (c, 7, 7), (c, 7, 7)) for c in (64, 128, 256, 512)),
        *(Op("conv", (c, 7, 7), (c, 7, 7), kernel=(3, 3), groups=c) for c in (64, 128, 256, 512)),
    ]
    alone = np.array([0.004, 0.008, 0.015, 0.03, 0.003, 0.006, 0.012, 0.02])
    rng = np.random.default_rng(0)
    counts = 1 + rng.poisson(
        np.exp(rng.uniform(np.log(0.2), np.log(8), (60, 1))) * rng.uniform(0, 1, (60, 8))
    )
    made = [
        Program(tuple(op for op, n in zip(ops, row, strict=True) for _ in range(n)), ("",) * row.sum(), 7)
        for row in counts
    ]
    megabytes = counts @ np.array([2e-6 * op.weight_count for op in ops])
    assert megabytes.min() < 0.8 and megabytes.max() > 3
    ms = 0.1 + counts @ alone + 0.1 * np.maximum(megabytes - 1, 0)
    ms *= np.exp(rng.normal(0, 0.01, len(ms)))
    model = OpModel(tuple(OpTime(op, ms, 0.0, 9, False) for op, ms in zip(ops, alone.tolist(), strict=True)))
    context = fit_context(model, made, ms.tolist()).context
    assert context.cached_mb == pytest.approx(1.0, abs=0.5)
    assert context.uncached_ms_per_mb == pytest.approx(0.1, rel=0.4)
    own = OpModel(model.rows, {}, context)
    predicted = own.predict(np.stack([evaluate_columns(own.columns, program) for program in made]))
    assert np.abs(predicted / ms - 1).mean() < 0.02
    # What its ops take adds up; on top of a full cache, an op adds what it takes.
    largest = made[int(megabytes.argmax())]
    fixed, parts = own.parts(largest)
    assert fixed + sum(ms for _, _, ms in parts) == pytest.approx(predicted[megabytes.argmax()])
    assert fixed == pytest.approx(own.parts(Program((), (), 0))[0])
    more = Program((*largest.ops, ops[3]), (*largest.labels, ""), 7)
    added = own.predict(evaluate_columns(own.columns, more)[None])[0] - predicted[megabytes.argmax()]
    assert added == pytest.approx(next(ms for _, op, ms in parts if op.key == ops[3].key))


def test_without_weights_in_the_cache_there_is_no_such_cost(counts: np.ndarray, model: OpModel) -> None:
    noise = np.exp(np.random.default_rng(1).normal(0, 0.05, len(counts)))
    context = fit_context(model, programs(counts), (times(counts) * noise).tolist()).context
    assert (context.cached_mb, context.uncached_ms_per_mb) == (0.0, 0.0)


def test_a_group_in_no_network_keeps_the_common_factor(counts: np.ndarray, model: OpModel) -> None:
    counts[:, 8:] = 0
    fitted = fit_context(model, programs(counts), times(counts).tolist())
    factors = fitted.context.factors
    assert factors["conv_pointwise"] < factors["act"] < factors["conv_depthwise"]
    assert fitted.context.factor("never seen") == 1.0


def test_the_call_costs_nothing_negative(counts: np.ndarray, model: OpModel) -> None:
    ms = times(counts) - FIXED - 0.3
    assert fit_context(model, programs(counts), ms.tolist()).context.fixed_ms >= 0


def test_no_factor_and_no_cost_is_below_zero(counts: np.ndarray, model: OpModel) -> None:
    """Whatever noise does, more work never takes less time: a search would buy what pays it."""
    rng = np.random.default_rng(2)
    free = FACTORS | {"act": -3.0}
    factors = np.array([free[group] for group in GROUPS])
    ms = np.maximum(0.05, 0.4 - 0.002 * counts.sum(1) + counts @ (factors * ALONE))
    ms *= np.exp(rng.normal(0, 0.2, len(ms)))
    context = fit_context(model, programs(counts), ms.tolist()).context
    costs = (
        context.fixed_ms,
        context.op_ms,
        context.weight_ms_per_mb,
        context.act_ms_per_mb,
        context.mac_ms_per_giga,
    )
    assert min(*costs, *context.factors.values()) == 0.0
