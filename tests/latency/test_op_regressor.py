"""Interpolation of times between measured ops, and where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.latency.tables import op_regressor
from hvnas.latency.tables.op_model import OpModel
from hvnas.latency.tables.op_regressor import Choice, Regressor
from hvnas.latency.tables.op_rows import OpTime
from hvnas.ops import Op


def conv(channels: int, out: int, size: int) -> Op:
    return Op("conv", (channels, size, size), (out, size, size))


def power_law(op: Op) -> float:
    return float(2e-7 * op.macs**0.8 * op.out_count**0.1)


def row(op: Op, *, noisy: bool = False) -> OpTime:
    return OpTime(op, power_law(op), 0.0, 9, noisy)


WIDTHS, SIZES = (16, 32, 48, 96, 192, 384), (7, 14, 28, 56)
ROWS = [row(conv(c, o, s)) for c in WIDTHS for o in WIDTHS for s in SIZES]
BETWEEN = [conv(c, o, s) for c in (24, 64, 128, 320) for o in (40, 80, 256) for s in (10, 20, 40)]


def test_a_power_law_is_interpolated() -> None:
    regressor = Regressor(ROWS)
    errors = [abs(regressor.ms(op) / power_law(op) - 1) for op in BETWEEN]
    assert max(errors) < 0.05
    assert regressor.choice.error < 5


def test_the_stated_error_is_that_of_ops_left_out() -> None:
    rng = np.random.default_rng(0)
    rows = [OpTime(r.op, r.ms * float(np.exp(rng.normal(0, 0.1))), 0.0, 9, False) for r in ROWS]
    error = Regressor(rows).choice.error
    assert 6 < error < 12  # mean |error| of a normal with sd 10 % is 8 %
    held, kept = rows[::7], [r for k, r in enumerate(rows) if k % 7]
    regressor = Regressor(kept)
    found = 100 * np.mean([abs(regressor.ms(r.op) / r.ms - 1) for r in held])
    assert found == pytest.approx(error, rel=0.4)


def test_a_choice_that_is_given_is_kept() -> None:
    choice = Choice(4.0, 0.1, 3.0)
    assert Regressor(ROWS[:50], choice).choice is choice


@pytest.mark.parametrize(
    ("op", "inside"),
    [
        (conv(24, 40, 10), True),
        (conv(384, 384, 56), True),
        (conv(16, 400, 28), True),  # a little wider than the widest
        (conv(16, 448, 28), False),
        (conv(16, 32, 112), False),
        (conv(8, 32, 28), False),
    ],
)
def test_inside_is_between_the_measured(op: Op, inside: bool) -> None:
    assert Regressor(ROWS).is_inside(op) is inside


def test_one_row_speaks_for_itself() -> None:
    regressor = Regressor([row(conv(32, 32, 14))])
    assert regressor.ms(conv(32, 32, 14)) == pytest.approx(power_law(conv(32, 32, 14)), rel=0.01)
    assert regressor.is_inside(conv(32, 32, 14)) and not regressor.is_inside(conv(64, 32, 14))


def test_a_large_group_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_regressor, "MOST_ROWS", 60)
    regressor = Regressor(ROWS)
    assert len(regressor.weights) == 60
    assert np.mean([abs(regressor.ms(op) / power_law(op) - 1) for op in BETWEEN]) < 0.05


def test_the_model_takes_measured_ops_as_measured_and_noisy_ones_for_unmeasured() -> None:
    odd = OpTime(conv(24, 40, 10), 3.0, 0.1, 9, False)
    assert OpModel((*ROWS, odd)).op_ms(odd.op) == 3.0
    noisy = OpTime(odd.op, 3.0, 2.0, 9, True)
    model = OpModel((*ROWS, noisy))
    assert model.op_ms(odd.op) == pytest.approx(power_law(odd.op), rel=0.05) and model.covers(odd.op)


def test_a_group_that_was_not_measured() -> None:
    model = OpModel(tuple(ROWS))
    act, inner = (
        Op("act", (4, 7, 7), (4, 7, 7), variant="relu"),
        Op("softmax", (2, 9, 9), (2, 9, 9), variant="inner"),
    )
    assert (model.op_ms(act), model.covers(act)) == (0.0, False)
    assert (model.op_ms(inner), model.covers(inner)) == (0.0, True)  # the time of attention's last product
