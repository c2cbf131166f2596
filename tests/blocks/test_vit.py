"""ViT_P and ViT_C: the published models, their counts, the stems of the ablation, and the token blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvnas.arch import Arch, Run, Stage, load_arch
from hvnas.blocks import lower_block
from hvnas.blocks.metaformer import PoolFormer
from hvnas.blocks.stem import ConvStem, PatchStem
from hvnas.blocks.vit import TokenEmbed, ViTBlock, ViTHead
from hvnas.nn import build_on_meta
from hvnas.ops import Program, State
from hvnas.ops.trace import trace

# Parameters with class token, as pycls and torchvision count them; Table 1 rounds them.
PARAMS = {
    "vit_p_1gf": 4_830_376,
    "vit_p_4gf": 18_507_112,
    "vit_p_18gf": 86_567_656,
    "vit_p_36gf": 178_364_392,
    "vit_c_1gf": 4_567_936,
    "vit_c_4gf": 17_754_136,
    "vit_c_18gf": 81_573_160,
    "vit_c_36gf": 167_796_008,
}
# Channels, and MACs (M) and parameters (M) of the stem as Table 3 prints them.
STEMS = {
    "vit_p_4gf": ((), 58, 0.3),
    "vit_c_4gf": ((48, 96, 192, 384), 435, 1.0),
    "vit_s1_4gf": ((52, 104, 208, 416), 422, 0.8),
    "vit_s2_4gf": ((32, 64, 128, 256), 422, 0.7),
    "vit_s3_4gf": ((17, 34, 68, 136), 458, 0.7),
    "vit_s4_4gf": ((8, 16, 32, 64), 407, 0.6),
}


@pytest.mark.parametrize("name", PARAMS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=PARAMS[name], macs_within=0.025)


@pytest.mark.parametrize("name", STEMS)
def test_stems_of_the_ablation(name: str) -> None:
    arch = load_arch(name)
    channels, macs, params = STEMS[name]
    program = arch.lower()
    stem = [op for op, label in zip(program.ops, program.labels, strict=True) if label == "stem"]
    assert getattr(arch.stem, "widths", ()) == channels
    assert round(sum(op.macs for op in stem) / 1e6) == macs
    assert round(sum(op.params for op in stem) / 1e6, 1) == params
    assert stem[-1].shape_out == (384, 14, 14)
    assert program.macs == pytest.approx(4.0e9, rel=0.04)
    assert trace(build_on_meta(arch)).difference(program) == ({}, {})


def test_the_printed_42_channels_of_s1_are_a_misprint() -> None:
    """With them the stem has 389 M MACs, not the 422 M that stand beside them."""
    arch = load_arch("vit_s1_4gf")
    assert "misprint" in (arch.published or {})
    stem = arch.stem
    assert isinstance(stem, ConvStem)
    narrow = replace(stem, ratios=(0.1094, *stem.ratios[1:]))
    assert narrow.widths[0] == 42
    assert round(sum(op.macs for op in narrow.lower(arch.input_state).ops) / 1e6) == 389


def test_vit_c_removes_one_block() -> None:
    for size in ("1gf", "4gf", "18gf", "36gf"):
        depths = [load_arch(f"vit_{kind}_{size}").stages[0].runs[0][1].depth for kind in "pc"]
        assert depths[0] - depths[1] == 1


def test_patchify_is_the_patch_stem() -> None:
    stem = load_arch("vit_p_18gf").stem
    assert stem == PatchStem(out=768, kernel=16, stride=16, padding=0)


def network(*, class_token: bool = True, positions: bool = True, pool: str = "class") -> Arch:
    down = TokenEmbed(out=48, class_token=class_token, positions=positions)
    return Arch(
        resolution=64,
        stem=PatchStem(out=48, kernel=16, stride=16, padding=0),
        stages=(Stage(downsample=down, global_=Run(block=ViTBlock(out=48, head_dim=16), depth=2)),),
        head=ViTHead(pool=pool),
    )


@pytest.mark.parametrize("pool", ["class", "mean"])
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("class_token", [True, False])
def test_traces_to_what_it_lowers_to(class_token: bool, positions: bool, pool: str) -> None:
    arch = network(class_token=class_token, positions=positions, pool=pool)
    assert trace(build_on_meta(arch), resolution=64).difference(arch.lower()) == ({}, {})


def _weights(program: Program, kind: str) -> list[int]:
    return [op.weights for op in program.ops if op.kind == kind]


def test_class_token_and_positions_are_counted() -> None:
    assert _weights(network().lower(), "embed") == [48]
    assert _weights(network().lower(), "bias") == [17 * 48]
    assert _weights(network(class_token=False).lower(), "embed") == []
    assert _weights(network(class_token=False).lower(), "bias") == [16 * 48]
    assert _weights(network(positions=False).lower(), "bias") == []


def test_tokens_without_class_token_become_a_map_again() -> None:
    state = TokenEmbed(out=32, class_token=False).lower(State(map=(32, 14, 14))).state
    assert state == State(tokens=(196, 32), grid=(14, 14))
    assert lower_block(PoolFormer(out=32), state).state.map == (32, 14, 14)


@pytest.mark.parametrize(
    "block, state, words",
    [
        (PoolFormer(out=32), State(tokens=(197, 32)), "takes a map, but only tokens arrive"),
        (ViTBlock(out=96), State(map=(96, 14, 14)), "head_dim 64 must divide the width 96"),
        (ViTBlock(out=64), State(map=(32, 14, 14)), "32 channels arrive, out is 64"),
        (TokenEmbed(out=64), State(map=(32, 14, 14)), "32 channels arrive, out is 64"),
        (ViTBlock(out=64), State(map=(64, 14, 14), tokens=(6, 192)), "neither reads them"),
    ],
)
def test_refuses_a_state(block, state: State, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lower_block(block, state)


def test_refuses_fields() -> None:
    with pytest.raises(ValueError, match="pool must be class or mean"):
        ViTHead(pool="max")
    with pytest.raises(ValueError, match="last of ratios must be 1 without project"):
        ConvStem(out=64, ratios=(0.5,), kernels=(3,), strides=(2,))
