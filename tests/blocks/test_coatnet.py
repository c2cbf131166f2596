"""CoAtNet: the published sizes and forms, the layouts, relative attention and its alternatives."""

from __future__ import annotations

import pytest

from hvnas.arch import load_arch
from hvnas.blocks.coatnet import CoatMBConv, CoatTransformer
from hvnas.ops import Op, State

# the paper prints whole millions (size 6 and 7: hundredths of billions)
PARAMS = {
    "coatnet_0": 25_036_820,
    "coatnet_1": 42_225_776,
    "coatnet_2": 74_684_744,
    "coatnet_3": 166_966_264,
    "coatnet_4": 275_425_288,
    "coatnet_5": 687_052_952,
    "coatnet_6": 1_471_125_232,
    "coatnet_7": 2_441_972_728,
    "coatnet_0_dws": 25_036_820,
    "coatnet_1_dws": 42_225_776,
    "coatnet_2_dws": 74_684_744,
    "coatnet_3_dws": 166_966_264,
    "coatnet_4_dws": 275_425_288,
}
# the paper gives no sizes for its layouts; these are timm's counts of the same depths and widths
LAYOUTS = {
    "coatnet_0_cccc": (20_942_312, 3.169),
    "coatnet_0_ccct": (23_533_592, 3.417),
    "coatnet_0_cttt": (25_304_246, 5.195),
    "vit_rel": (25_646_032, 5.327),
}
STATE = State(map=(64, 14, 14))


@pytest.mark.parametrize("name", PARAMS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=PARAMS[name], macs_within=0.04, printed_within=0.0065)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(name: str, check_fixed_point) -> None:
    params, gigamacs = LAYOUTS[name]
    check_fixed_point(name, params=params, macs_within=1e-3, printed_within=1e-5)
    assert load_arch(name).lower().macs / 1e9 == pytest.approx(gigamacs, abs=5e-4)


@pytest.mark.parametrize("name", ["coatnet_3", "coatnet_6"])
def test_misprints_are_marked_and_their_macs_fit(name: str) -> None:
    published = load_arch(name).published
    assert published is not None and "misprint" in published
    macs = load_arch(name).with_(resolution=published["macs_resolution"]).lower().macs
    assert macs == pytest.approx(published["macs"], rel=0.04)


@pytest.mark.parametrize(
    "name, resolution, params, gigamacs",
    [
        ("coatnet_0", 384, 25_142_900, 13.051),
        ("coatnet_2", 512, 75_461_192, 93.351),
        ("coatnet_5", 512, 688_918_040, 803.981),
        ("coatnet_7", 512, 2_444_188_024, 2538.529),
    ],
)
def test_bias_tables_grow_with_the_resolution(
    name: str, resolution: int, params: int, gigamacs: float
) -> None:
    program = load_arch(name).with_(resolution=resolution).lower()
    assert program.params == params
    assert program.macs / 1e9 == pytest.approx(gigamacs, abs=5e-4)


def test_mixed_stage_has_two_widths() -> None:
    stage = load_arch("coatnet_6").stages[2]
    assert stage.local is not None and stage.global_ is not None
    assert [(run.block.type, run.width, run.depth) for _, run in stage.runs] == [
        ("coat_mbconv", 768, 8),
        ("coat_transformer", 1536, 42),
    ]
    assert stage.downsample == "inner"


def kinds(block: CoatTransformer, *wanted: str) -> list[Op]:
    return [op for op in block.lower(STATE).ops if op.kind in wanted]


def test_relative_bias_before_after_or_not_at_all() -> None:
    inner = ("matmul", "softmax", "bias")
    assert [op.kind for op in kinds(CoatTransformer(out=64), *inner)] == [
        "matmul",
        "bias",
        "softmax",
        "matmul",
    ]
    post = kinds(CoatTransformer(out=64, relative="post"), *inner)
    assert [op.kind for op in post] == ["matmul", "softmax", "bias", "matmul"]
    assert post[2].weights == 2 * 27 * 27
    none = kinds(CoatTransformer(out=64, relative="none"), *inner)
    assert [op.kind for op in none] == ["matmul", "softmax", "matmul"]


def test_windows_attend_on_their_own() -> None:
    block = CoatTransformer(out=64, window=7)
    assert [op.shape_out for op in kinds(block, "matmul")] == [(8, 49, 49), (8, 49, 32)]
    assert [op.variant for op in kinds(block, "relayout")] == ["map>windows", "windows>map"]
    assert [op.weights for op in kinds(block, "bias")] == [2 * 13 * 13]


@pytest.mark.parametrize(
    "block, words",
    [
        (lambda: CoatTransformer(out=64, relative="both"), "relative must be one of none, pre, post"),
        (lambda: CoatTransformer(out=64, window=5).lower(STATE), "window 5 must divide the map"),
        (lambda: CoatTransformer(out=64, head_dim=24).lower(STATE), "head_dim 24 must divide the width 64"),
        (lambda: CoatMBConv(out=64, stride_in="pool"), "stride_in must be one of expand, depthwise"),
        (lambda: CoatMBConv(out=64, pool="min"), "pool must be one of max, avg"),
        (lambda: CoatMBConv(out=64, kernel=2), "kernel must be odd"),
        (lambda: CoatMBConv(out=64, stride=2).lower(State(map=(64, 7, 7))), "divisible by"),
    ],
)
def test_refuses(block, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        block()
