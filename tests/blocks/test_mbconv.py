"""The MobileNet lineage: counts by hand, the residual rule, both heads."""

from __future__ import annotations

import pytest

from hvnas.blocks.mbconv import (
    ConvClassifier,
    ConvResidual,
    FusedMBConv,
    FusedMBConvDown,
    Identity,
    MBConv,
    MBConvDown,
    make_divisible,
)
from hvnas.ops import Lowered, State

STATE = State(map=(32, 14, 14))


def params(lowered: Lowered) -> int:
    return sum(op.params for op in lowered.ops)


def kinds(lowered: Lowered) -> list[str]:
    return [op.kind for op in lowered.ops]


def test_counts() -> None:
    mid = 4 * 32
    weights = 32 * mid + 9 * mid + mid * 64
    assert params(MBConv(out=64).lower(STATE)) == weights + 2 * mid + 2 * mid + 2 * 64
    assert params(MBConv(out=64, fewer_norm=True).lower(STATE)) == weights + mid + mid + 2 * 64
    fused = 9 * 32 * mid + mid * 64 + 2 * mid + 2 * 64
    assert params(FusedMBConv(out=64).lower(STATE)) == fused
    assert params(ConvResidual(out=32).lower(STATE)) == 2 * (9 * 32 * 32 + 2 * 32)


def test_expand_1_leaves_the_first_convolution_out() -> None:
    assert kinds(MBConv(out=64, expand=1).lower(STATE)) == ["conv", "norm", "act", "conv", "norm"]


def test_squeeze_excite_is_a_fraction_of_what_arrives() -> None:
    plain, gated = (MBConv(out=64, se=se).lower(STATE) for se in (0.0, 0.25))
    assert params(gated) - params(plain) == 128 * 8 + 8 + 8 * 128 + 128


@pytest.mark.parametrize("block", [MBConv, FusedMBConv, ConvResidual])
def test_residual_where_neither_size_nor_width_changes(block: type[MBConv]) -> None:
    assert "add" in kinds(block(out=32).lower(STATE))
    assert "add" not in kinds(block(out=64).lower(STATE))
    assert "add" not in kinds(block(out=32, stride=2).lower(STATE))


def test_identity_is_nothing_where_nothing_changes() -> None:
    lowered = Identity(out=32).lower(STATE)
    assert lowered.ops == () and lowered.state == STATE
    for changed in (Identity(out=64), Identity(out=32, stride=2)):
        found = changed.lower(STATE)
        assert kinds(found) == ["conv", "norm"]
        assert params(found) == 32 * changed.out + 2 * changed.out


@pytest.mark.parametrize("block", [MBConvDown, FusedMBConvDown])
@pytest.mark.parametrize("size, halved", [(14, 7), (7, 4)])
def test_downsampling(block: type[MBConvDown], size: int, halved: int) -> None:
    state = block(out=64).lower(State(map=(32, size, size))).state
    assert state == State(map=(64, halved, halved))


def test_head() -> None:
    state = State(map=(32, 7, 7))
    plain = ConvClassifier(out=10).lower(state)
    assert params(plain) == 32 * 10 + 10
    full = ConvClassifier(out=10, channels=64, hidden=48).lower(state)
    assert params(full) == 32 * 64 + 2 * 64 + 64 * 48 + 2 * 48 + 48 * 10 + 10
    assert full.state == State(tokens=(1, 10))


@pytest.mark.parametrize("value, expected", [(32, 32), (36, 40), (35, 32), (3, 8), (10, 16)])
def test_make_divisible(value: float, expected: int) -> None:
    assert make_divisible(value) == expected
