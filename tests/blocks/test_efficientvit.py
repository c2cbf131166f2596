"""EfficientViT: the published models, their counts, and what the block refuses."""

from __future__ import annotations

import pytest

from hvnas.arch import list_models, load_arch
from hvnas.blocks.efficientvit import EfficientViT
from hvnas.ops import State

PARAMS = {
    "b0": 3_410_008,
    "b1": 9_102_024,
    "b2": 24_330_712,
    "b3": 48_646_056,
    "l1": 52_654_088,
    "l2": 63_707_016,
    "l3": 246_037_288,
}
RESOLUTIONS = {
    "b0": (224,),
    "b1": (224, 256, 288),
    "b2": (224, 256, 288),
    "b3": (224, 256, 288),
    "l1": (224,),
    "l2": (224, 256, 288, 320, 352, 384),
    "l3": (224, 256, 288, 320, 384),
}
NAMES = [
    f"efficientvit_{size}" + ("" if resolution == 224 else f"@r{resolution}")
    for size, resolutions in RESOLUTIONS.items()
    for resolution in resolutions
]


def test_every_published_size_is_there() -> None:
    assert sorted(NAMES) == [name for name in list_models() if name.startswith("efficientvit_")]


@pytest.mark.parametrize("name", NAMES)
def test_fixed_point(name: str, check_fixed_point) -> None:
    size = name.removeprefix("efficientvit_").partition("@")[0]
    check_fixed_point(name, params=PARAMS[size], macs_within=0.04)


def test_l2_at_288_rounds_to_the_print() -> None:
    assert load_arch("efficientvit_l2@r288").lower().macs == pytest.approx(11.48e9, rel=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if "@" in name])
def test_resolution_is_all_that_differs(name: str) -> None:
    base, _, resolution = name.partition("@r")
    assert load_arch(base).with_(resolution=int(resolution)) == load_arch(name)


def test_attention_costs_grow_with_the_positions() -> None:
    block = EfficientViT(out=64)
    costs = [
        sum(op.macs for op in block.lower(State(map=(64, size, size))).ops if op.kind == "matmul")
        for size in (8, 16)
    ]
    # 64 / 16 heads, twice with one scale, each 2 n d (d + 1).
    assert costs == [8 * 2 * 64 * 16 * 17, 8 * 2 * 256 * 16 * 17]


def test_single_scale_has_no_convolution_but_the_ffns() -> None:
    state = State(map=(64, 14, 14))
    single, multi, twice = (EfficientViT(out=64, scales=scales).lower(state) for scales in ((), (5,), (3, 5)))
    kernels = [[op.kernel[0] for op in lowered.ops if op.kind == "conv"] for lowered in (single, multi)]
    assert kernels == [[1, 1, 1, 3, 1], [1, 5, 1, 1, 1, 3, 1]]
    assert not [op for op in single.ops if op.kind == "concat"]
    heads = [next(op.shape_in[0] for op in x.ops if op.kind == "matmul") for x in (single, multi, twice)]
    assert heads == [4, 8, 12]


@pytest.mark.parametrize("fields, words", [({"head_dim": 24}, "head_dim 24"), ({"scales": (4,)}, "odd")])
def test_refuses(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EfficientViT(out=64, **fields).lower(State(map=(64, 14, 14)))


def test_refuses_another_width() -> None:
    with pytest.raises(ValueError, match="keeps its width"):
        EfficientViT(out=64).lower(State(map=(32, 14, 14)))
