"""EfficientFormerV2: the published models, their counts, and the three blocks."""

from __future__ import annotations

import pytest

from hvnas.arch import load_arch
from hvnas.blocks.efficientformerv2 import Attn4D, AttnDown, UnifiedFFN
from hvnas.ops import Op, State

PARAMS = {
    "efficientformerv2_s0": 3_600_256,
    "efficientformerv2_s1": 6_185_560,
    "efficientformerv2_s2": 12_710_112,
    "efficientformerv2_l": 26_322_288,
}


@pytest.mark.parametrize("name", PARAMS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=PARAMS[name], macs_within=0.01)


@pytest.mark.parametrize(
    "name, third, fourth",
    [
        ("efficientformerv2_s0", [4, 3, 3, 3, 4, 4], [4, 3, 3, 4]),
        ("efficientformerv2_s2", [4, 4, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4], [4, 4, 3, 3, 3, 3, 4, 4]),
    ],
)
def test_expansions_of_the_stages(name: str, third: list[int], fourth: list[int]) -> None:
    stages = load_arch(name).stages
    blocks = [[block for _, run in stage.runs for block in run.blocks()] for stage in stages]
    expansions = [[block.expand for block in stage] for stage in blocks]
    assert expansions[2:] == [third, fourth]
    assert set(expansions[0] + expansions[1]) == {4}
    downsamples = [stage.downsample for stage in stages[1:]]
    assert [type(down).__name__ for down in downsamples] == ["ConvDown", "ConvDown", "AttnDown"]


def of_kind(ops: tuple[Op, ...], kind: str) -> list[Op]:
    return [op for op in ops if op.kind == kind]


def test_stride_attention_attends_on_a_smaller_map_and_comes_back() -> None:
    lowered = Attn4D(out=64, attn_stride=2).lower(State(map=(64, 14, 14)))
    assert lowered.state.map == (64, 14, 14)
    assert [op.shape_out for op in of_kind(lowered.ops, "matmul")] == [(8, 49, 49), (8, 49, 128)]
    assert [(op.shape_in, op.shape_out) for op in of_kind(lowered.ops, "resize")] == [
        ((1024, 7, 7), (1024, 14, 14))
    ]


def test_stride_attention_takes_odd_maps() -> None:
    lowered = Attn4D(out=64, attn_stride=2).lower(State(map=(64, 7, 9)))
    assert of_kind(lowered.ops, "matmul")[0].shape_out == (8, 20, 20)
    assert lowered.state.map == (64, 7, 9)


def test_talking_heads_are_convolutions_over_the_heads() -> None:
    ops = Attn4D(out=64).lower(State(map=(64, 7, 7))).ops
    talking = [op for op in of_kind(ops, "conv") if op.shape_in == (8, 49, 49)]
    assert [(op.shape_out, op.bias, op.params) for op in talking] == [((8, 49, 49), True, 72)] * 2


def test_attention_downsampling_queries_the_halved_map() -> None:
    lowered = AttnDown(out=176).lower(State(map=(96, 14, 14)))
    assert lowered.state.map == (176, 7, 7)
    assert [op.shape_out for op in of_kind(lowered.ops, "matmul")] == [(8, 49, 196), (8, 49, 64)]
    assert [op.weights for op in of_kind(lowered.ops, "bias")] == [8 * 196]


def test_no_layer_norm_anywhere() -> None:
    ops = load_arch("efficientformerv2_s0").lower().ops
    assert {op.variant for op in of_kind(ops, "norm")} == {"bn"}


@pytest.mark.parametrize("block", [UnifiedFFN, Attn4D, AttnDown])
def test_refuses_even_kernels(block: type) -> None:
    with pytest.raises(ValueError, match="kernel must be odd"):
        block(out=64, kernel=4)


def test_refuses() -> None:
    with pytest.raises(ValueError, match="attn_stride must be a number from 1 to 64, got 0"):
        Attn4D(out=64, attn_stride=0)
    with pytest.raises(ValueError, match="keeps its width"):
        UnifiedFFN(out=64).lower(State(map=(32, 7, 7)))
