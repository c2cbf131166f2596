"""Params, MACs and bytes of every kind of op, against numbers counted by hand."""

from __future__ import annotations

import pytest

from hvnas.ops import KINDS, Op

# op, params, MACs, elements read, elements written
COUNTED = {
    "conv": (
        # 3x3, 8 -> 16 channels, stride 2 on 10x10: 16 * 8 * 9 weights at 5x5 places
        Op("conv", (8, 10, 10), (16, 5, 5), kernel=(3, 3), stride=(2, 2)),
        (1152, 28_800, 800, 400),
    ),
    "conv with bias": (
        Op("conv", (8, 10, 10), (16, 5, 5), kernel=(3, 3), stride=(2, 2), bias=True),
        (1168, 28_800, 800, 400),
    ),
    "depthwise": (
        Op("conv", (8, 10, 10), (8, 10, 10), kernel=(5, 5), groups=8),
        (200, 20_000, 800, 800),
    ),
    "grouped": (Op("conv", (8, 4, 4), (16, 4, 4), groups=4), (32, 512, 128, 256)),
    "oblong": (Op("conv", (2, 6, 4), (3, 6, 4), kernel=(1, 7)), (42, 1008, 48, 72)),
    "linear": (Op("linear", (49, 32), (49, 64)), (2048, 100_352, 1568, 3136)),
    "linear with bias": (Op("linear", (49, 32), (49, 64), bias=True), (2112, 100_352, 1568, 3136)),
    # 4 heads of 9 queries and 16 keys of 8 channels
    "matmul": (Op("matmul", (4, 9, 8), (4, 9, 16)), (0, 4608, 288 + 512, 576)),
    "softmax": (Op("softmax", (4, 9, 16), (4, 9, 16)), (0, 0, 576, 576)),
    "norm": (Op("norm", (8, 5, 5), (8, 5, 5), variant="bn", weights=16), (16, 0, 200, 200)),
    "act": (Op("act", (8, 5, 5), (8, 5, 5), variant="gelu"), (0, 0, 200, 200)),
    "pool": (Op("pool", (8, 5, 5), (8, 1, 1), variant="mean"), (0, 0, 200, 8)),
    "add": (Op("add", (8, 5, 5), (8, 5, 5)), (0, 0, 400, 200)),
    "mul": (Op("mul", (8, 5, 5), (8, 5, 5)), (0, 0, 400, 200)),
    "maximum": (Op("reduce", (8, 5, 5), (8, 5, 5), variant="maximum"), (0, 0, 400, 200)),
    "scale": (Op("scale", (8, 5, 5), (8, 5, 5), weights=8), (8, 0, 200, 200)),
    "bias": (Op("bias", (4, 9, 9), (4, 9, 9), weights=100), (100, 0, 324, 324)),
    "concat": (Op("concat", (8, 5, 5), (20, 5, 5)), (0, 0, 500, 500)),
    "resize": (Op("resize", (8, 5, 5), (8, 6, 6)), (0, 0, 200, 288)),
    "relayout": (Op("relayout", (8, 5, 5), (25, 8), variant="map>tokens"), (0, 0, 200, 200)),
    "embed": (Op("embed", (6, 192), (6, 192), weights=1152), (1152, 0, 1152, 1152)),
    "reduce": (Op("reduce", (9, 8), (1, 8), variant="amax"), (0, 0, 72, 8)),
}


@pytest.mark.parametrize("case", COUNTED)
def test_counts(case: str) -> None:
    op, counts = COUNTED[case]
    assert (op.params, op.macs, op.in_count, op.out_count) == counts


def test_every_kind_is_counted() -> None:
    assert {op.kind for op, _ in COUNTED.values()} == KINDS


@pytest.mark.parametrize("case", COUNTED)
def test_bytes(case: str) -> None:
    op, (params, _, read, written) = COUNTED[case]
    assert op.act_bytes() == 2 * (read + written)
    assert op.act_bytes(4) == 4 * (read + written)
    has_weights = op.kind in ("conv", "linear")
    bias = op.channels if op.bias else 0
    assert op.weight_bytes() == (2 * (params - bias) if has_weights else 0)


def test_channels() -> None:
    assert COUNTED["conv"][0].channels == 16
    assert COUNTED["linear"][0].channels == 64
    assert COUNTED["matmul"][0].channels == 16
    assert COUNTED["relayout"][0].channels == 8


def test_key_leaves_only_the_edges_out() -> None:
    op = COUNTED["conv"][0]
    assert op._replace(inputs=(3,)).key == op.key
    for change in (
        {"shape_in": (8, 9, 9)},
        {"kernel": (1, 1)},
        {"groups": 2},
        {"bias": True},
        {"weights": 1},
        {"act": "relu"},
        {"variant": "x"},
    ):
        assert op._replace(**change).key != op.key
