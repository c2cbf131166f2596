"""Factors and costs found again from networks made of known ones."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.latency.measure.table import fit_context
from hvnas.latency.tables.op_model import OpModel
from hvnas.latency.tables.op_rows import OpTime
from hvnas.ops import Op, Program

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

    design = table._design(model, programs(counts)) / ms[:, None]
    solution, _ = table._ridge(design[1:], fitted.strength)
    assert fitted.errors[0] == pytest.approx(-np.log(design[0] @ solution), abs=0.002)


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
