"""EfficientFormerV2's modules: training, odd maps, and the offsets of attention downsampling."""

from __future__ import annotations

import pytest
import torch

from hvnas.blocks import Block
from hvnas.blocks.efficientformerv2 import Attn4D, AttnDown, UnifiedFFN
from hvnas.nn import build_block
from hvnas.nn.attention import OffsetBias
from hvnas.ops import State


@pytest.mark.parametrize("grid", [(7, 7), (9, 6), (14, 14)])
@pytest.mark.parametrize(
    "block", [UnifiedFFN(out=32), Attn4D(out=32), Attn4D(out=32, attn_stride=2), AttnDown(out=48)]
)
def test_trains(block: Block, grid: tuple[int, int]) -> None:
    state = State(map=(32, *grid))
    module = build_block(block, state, drop_path=0.1)
    y = module(torch.randn(2, 32, *grid))
    assert y.shape[1:] == block.lower(state).state.map
    y.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_offsets_from_every_second_position() -> None:
    bias = OffsetBias(1, (4, 6), step=2)
    with torch.no_grad():
        bias.table.copy_(torch.arange(24.0)[None])
    w_NM = bias()[0]
    assert w_NM.shape == (6, 24)
    for row, (v, u) in enumerate((v, u) for v in (0, 2) for u in (0, 2, 4)):
        for column, (y, x) in enumerate((y, x) for y in range(4) for x in range(6)):
            assert w_NM[row, column] == abs(y - v) * 6 + abs(x - u)
