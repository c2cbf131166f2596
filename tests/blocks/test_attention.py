"""EfficientFormer: the published models, their counts, and MB3D."""

from __future__ import annotations

import pytest

from hvnas.arch import load_arch
from hvnas.blocks.attention import MB3D
from hvnas.blocks.metaformer import MB4D
from hvnas.ops import State

PARAMS = {
    "efficientformer_l1": 12_289_928,
    "efficientformer_l3": 31_406_000,
    "efficientformer_l7": 82_229_328,
}


@pytest.mark.parametrize("name", PARAMS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=PARAMS[name], macs_within=0.01)


def params_and_macs(name: str, label: str) -> tuple[int, int]:
    program = load_arch(name).lower()
    ops = [op for op, place in zip(program.ops, program.labels, strict=True) if place == label]
    return sum(op.params for op in ops), sum(op.macs for op in ops)


@pytest.mark.parametrize(
    "name, label, params, megamacs",
    [
        ("efficientformer_l1", "stem", 11_232, 40.643),
        ("efficientformer_l1", "stages.0.local.0", 19_248, 57.803),
        ("efficientformer_l3", "stages.2.local.3", 824_640, 160.563),
        ("efficientformer_l7", "stages.3.global.0", 6_695_816, 330.622),
        ("efficientformer_l1", "stages.3.global.0", 2_759_816, 137.946),
        ("efficientformer_l7", "stages.2.downsample", 664_704, 130.056),
    ],
)
def test_cost_of_the_authors_modules(name: str, label: str, params: int, megamacs: float) -> None:
    counted, macs = params_and_macs(name, label)
    assert counted == params
    assert macs / 1e6 == pytest.approx(megamacs, abs=5e-4)


def test_the_map_is_flattened_once() -> None:
    relayouts = [op for op in load_arch("efficientformer_l7").lower().ops if op.kind == "relayout"]
    assert [(op.variant, op.shape_out) for op in relayouts] == [("map>tokens", (49, 768))]


def test_heads_do_not_follow_the_width() -> None:
    for width in (64, 96):
        ops = MB3D(out=width).lower(State(tokens=(49, width), grid=(7, 7))).ops
        assert [op.shape_out for op in ops if op.kind == "matmul"] == [(8, 49, 49), (8, 49, 128)]
        assert [op.weights for op in ops if op.kind == "bias"] == [8 * 49]


def test_refuses() -> None:
    with pytest.raises(ValueError, match="keeps its width: 64 channels arrive, out is 96"):
        MB4D(out=96).lower(State(map=(64, 14, 14)))
    with pytest.raises(ValueError, match="pool must be odd"):
        MB4D(out=64, pool=2)
