"""MobileViT: the published models, their counts, and what the block refuses."""

from __future__ import annotations

import pytest

from hvnas.arch import load_arch
from hvnas.blocks.mobilevit import MobileViT, padded_grid
from hvnas.ops import State

# Table 4 rounds these to 1.3, 2.3 and 5.6 M; patches change no weight.
PARAMS = {
    "mobilevit_xxs": 1_272_024,
    "mobilevit_xs": 2_317_848,
    "mobilevit_s": 5_578_632,
    "mobilevit_xs_p842": 2_317_848,
    "mobilevit_s_p3": 5_578_632,
    "mobilevit_s_p4": 5_578_632,
    "mobilevit_s_p842": 5_578_632,
}


@pytest.mark.parametrize("name", PARAMS)
def test_fixed_point(name: str, check_fixed_point) -> None:
    check_fixed_point(name, params=PARAMS[name], macs_within=0.04)


@pytest.mark.parametrize("name, macs", [("mobilevit_xs", 0.7032e9), ("mobilevit_xs_p842", 0.7663e9)])
def test_macs_at_224_without_attention_products(name: str, macs: float) -> None:
    """The paper prints 0.7 G for both; 28 x 28 resized to a multiple of 8 makes more of the second."""
    program = load_arch(name).with_(resolution=224).lower()
    assert sum(op.macs for op in program.ops if op.kind != "matmul") == pytest.approx(macs, rel=1e-4)


def test_patches_are_the_ablations() -> None:
    patches = {
        name: tuple(stage.global_.block.patch for stage in load_arch(name).stages if stage.global_)
        for name in PARAMS
    }
    assert patches["mobilevit_s"] == (2, 2, 2)
    assert patches["mobilevit_s_p3"] == (3, 3, 3)
    assert patches["mobilevit_s_p4"] == (4, 4, 4)
    assert patches["mobilevit_s_p842"] == patches["mobilevit_xs_p842"] == (8, 4, 2)


def test_larger_patches_attend_over_fewer_tokens() -> None:
    state = State(map=(64, 32, 32))
    costs = [
        sum(op.macs for op in MobileViT(out=64, patch=patch).lower(state).ops if op.kind == "matmul")
        for patch in (2, 4, 8)
    ]
    assert costs[0] == 4 * costs[1] == 16 * costs[2]


def test_unfolds_once_and_folds_once() -> None:
    lowered = MobileViT(out=64, layers=4).lower(State(map=(64, 32, 32)))
    assert [op.variant for op in lowered.ops if op.kind == "relayout"] == ["map>windows", "windows>map"]
    assert not [op for op in lowered.ops if op.kind == "resize"]


def test_resizes_there_and_back_where_the_patch_does_not_divide() -> None:
    lowered = MobileViT(out=64, dim=96, patch=3).lower(State(map=(64, 32, 32)))
    resizes = [(op.shape_in, op.shape_out) for op in lowered.ops if op.kind == "resize"]
    assert resizes == [((96, 32, 32), (96, 33, 33)), ((96, 33, 33), (96, 32, 32))]
    assert lowered.state.map == (64, 32, 32)


@pytest.mark.parametrize(
    "grid, patch, expected", [((32, 32), 8, (32, 32)), ((7, 5), 2, (8, 6)), ((1, 9), 4, (4, 12))]
)
def test_padded_grid(grid: tuple[int, int], patch: int, expected: tuple[int, int]) -> None:
    assert padded_grid(grid, patch) == expected


@pytest.mark.parametrize(
    "fields, words",
    [({"dim": 90}, "heads 4 must divide"), ({"patch": 1}, "patch must be >= 2"), ({"layers": 0}, "layers")],
)
def test_refuses(fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MobileViT(out=64, **fields)
