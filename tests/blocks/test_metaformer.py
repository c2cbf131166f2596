"""PoolFormer: the published models, the ablations of Table 5, and what the block refuses."""

from __future__ import annotations

import pytest

from hvnas.arch import load_arch
from hvnas.blocks.metaformer import MIXERS, PoolFormer
from hvnas.blocks.stem import ConvDown
from hvnas.ops import Op, State
from hvnas.ops.counting import count_macs

EXACT = {
    "poolformer_s12": 11_915_176,
    "poolformer_s24": 21_388_968,
    "poolformer_s36": 30_862_760,
    "poolformer_m36": 56_172_520,
    "poolformer_m48": 73_473_448,
    "poolformer_s12_id": 11_915_176,
    "poolformer_s12_pppa": 14_038_440,
    "poolformer_s12_ppaa": 16_535_592,
    "poolformer_s12_pppf": 11_919_978,
    "poolformer_s12_ppff": 12_150_474,
}
# Table 5 prints 11.9 M for each; a frozen matrix is no parameter
ROUNDED = {
    "poolformer_s12_random": 11_915_176,
    "poolformer_s12_depthwise": 11_948_456,
    "poolformer_s12_pool5": 11_915_176,
    "poolformer_s12_pool7": 11_915_176,
    "poolformer_s12_pool9": 11_915_176,
    "poolformer_s12_ln": 11_915_176,
    "poolformer_s12_bn": 11_915_176,
    "poolformer_s12_nonorm": 11_900_840,
    "poolformer_s12_relu": 11_915_176,
    "poolformer_s12_silu": 11_915_176,
}
STATE = State(map=(64, 14, 14))


@pytest.mark.parametrize("name", EXACT)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=EXACT[name], macs_within=0.01)


@pytest.mark.parametrize("name", ROUNDED)
def test_ablation(name: str, check_fixed_point) -> None:
    # half a unit of the one decimal that the table prints; then to that decimal
    check_fixed_point(name, params=ROUNDED[name], macs_within=0.05 / 1.8, printed_within=0.005)
    arch = load_arch(name)
    assert round(count_macs(arch.lower(), "fvcore") / 1e9, 1) == (arch.published or {})["macs"] / 1e9


def test_position_map_is_before_the_first_attention_stage_only() -> None:
    for name, label, weights in (
        ("pppa", "stages.3.downsample", 512 * 49),
        ("ppaa", "stages.2.downsample", 320 * 196),
    ):
        program = load_arch(f"poolformer_s12_{name}").lower()
        places = zip(program.ops, program.labels, strict=True)
        assert [(place, op.weights) for op, place in places if op.kind == "bias"] == [(label, weights)]


@pytest.mark.parametrize("norm", ["none", "bn"])
def test_position_map_has_the_size_of_the_output(norm: str) -> None:
    plain, learned = (
        ConvDown(out=96, norm=norm, position=position).lower(State(map=(64, 15, 9)))
        for position in (False, True)
    )
    assert learned.state == plain.state == State(map=(96, 8, 5))
    assert [op.key for op in learned.ops[:-1]] == [op.key for op in plain.ops]
    assert (learned.ops[-1].kind, learned.ops[-1].params) == ("bias", 96 * 8 * 5)


def mixing(mixer: str, **fields: object) -> list[Op]:
    """The ops that a mixer adds to those of the identity."""
    plain = [op.key for op in PoolFormer(out=64, mixer="identity").lower(STATE).ops]
    ops = PoolFormer(out=64, mixer=mixer, **fields).lower(STATE).ops
    return [op for op in ops if op.key not in plain and op.kind not in ("relayout", "scale")]


def test_mixers() -> None:
    n = 14 * 14
    assert [(op.kind, op.kernel) for op in mixing("pool", pool=5)] == [("pool", (5, 5))]
    assert [(op.kind, op.groups) for op in mixing("depthwise")] == [("conv", 64)]
    assert [(op.kind, op.macs, op.params) for op in mixing("spatial_fc")] == [("linear", 64 * n * n, n * n)]
    assert [(op.kind, op.macs, op.params) for op in mixing("random")] == [("matmul", 64 * n * n, 0)]
    assert [(op.kind, op.bias) for op in mixing("attention") if op.kind == "linear"] == [
        ("linear", False),
        ("linear", True),
    ]


@pytest.mark.parametrize("mixer", MIXERS)
def test_keeps_the_map(mixer: str) -> None:
    assert PoolFormer(out=64, mixer=mixer).lower(STATE).state == STATE


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"mixer": "mlp"}, "mixer must be one of pool, identity"),
        ({"norm": "rms"}, "norm must be one of gn, ln, bn, none"),
        ({"pool": 4}, "pool must be odd"),
    ],
)
def test_refuses(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PoolFormer(out=64, **fields)


def test_head_dim_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="head_dim 48 must divide the width 64"):
        PoolFormer(out=64, mixer="attention", head_dim=48).lower(STATE)
