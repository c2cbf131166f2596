"""What the surrogate reads off a plain Program, one column at a time.

Every column is a sum or a maximum over ops, so that a whole Program and the segments of the
fast path give the same numbers. An op belongs to the *level* of the map or tokens that it writes,
named after the stride that an image of 160 to 288 pixels has there: the number of positions tells
strides 2, 4, 8, 16 and 32 apart at these resolutions without knowing the resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import log2, sqrt

from hvnas.ops import Column, Op

# Fewest positions of a level, midway between what neighbouring strides have at 160 and at 288 px: stride 4
# has 1600 to 5184, stride 8 400 to 1296, stride 16 100 to 324, stride 32 25 to 81. Below 16 lie pooled
# vectors and class tokens. At 128 px maps count as one stride coarser; no evidence lies there anyway.
LEVELS = ((2, 5800), (4, 1450), (8, 360), (16, 90), (32, 16))
STRIDES = tuple(stride for stride, _ in LEVELS)
VECTOR = 0

WEIGHTED = frozenset({"conv", "linear"})
COSTLY = frozenset({"conv", "linear", "matmul"})


def positions(op: Op) -> int:
    """Positions of the map, or tokens, that `op` writes."""
    shape = op.shape_out
    if op.kind in ("matmul", "softmax", "linear") or len(shape) != 3:
        return shape[-2] if len(shape) > 1 else 1
    return shape[1] * shape[2]


def level(op: Op) -> int:
    """The stride that `op` works at, or VECTOR."""
    count = positions(op)
    for stride, least in LEVELS:
        if count >= least:
            return stride
    return VECTOR


def is_depthwise(op: Op) -> bool:
    """A convolution with one filter per input channel, spatial."""
    return op.kind == "conv" and op.groups > 1 and op.groups == op.shape_in[0] and op.kernel != (1, 1)


def is_attention(op: Op) -> bool:
    """A product of two computed tensors over 16 positions or more."""
    return op.kind == "matmul" and max(op.shape_in[1:]) >= 16


def is_mixer_pool(op: Op) -> bool:
    """Pooling that keeps the size: a token mixer."""
    return op.kind == "pool" and op.kernel != (1, 1) and op.shape_in == op.shape_out


Where = tuple[Callable[[Op], object], object]


def _sum(
    name: str,
    value: Callable[[Op], float | None],
    kinds: Iterable[str] | None = None,
    where: Where | None = None,
) -> Column:
    return Column(name, "sum", value, kinds=None if kinds is None else frozenset(kinds), where=where)


def _count(name: str, holds: Callable[[Op], bool], *kinds: str, where: Where | None = None) -> Column:
    return _sum(name, lambda op: 1.0 if holds(op) else None, kinds or None, where)


def _size_columns() -> list[Column]:
    return [
        _sum("params", lambda op: float(op.params)),
        _sum("macs", lambda op: float(op.macs), COSTLY),
        # Outputs of convolutions, linear layers and attention products: timm's `macts`, maps included.
        _sum("acts", lambda op: float(op.out_count), COSTLY),
    ]


def _level_columns(stride: int) -> list[Column]:
    here = (level, stride)
    return [
        _sum(f"macs_s{stride}", lambda op: float(op.macs), COSTLY, here),
        _sum(f"params_s{stride}", lambda op: float(op.params), WEIGHTED, here),
        _count(f"layers_s{stride}", lambda op: True, *WEIGHTED, where=here),
    ]


def _mixer_columns(stride: int) -> list[Column]:
    here = (level, stride)
    return [
        _count(f"depthwise_s{stride}", is_depthwise, "conv", where=here),
        _count(f"dense_s{stride}", _is_dense, "conv", where=here),
        _count(f"attention_s{stride}", is_attention, "matmul", where=(_attended, stride)),
        _count(f"pool_s{stride}", is_mixer_pool, "pool", where=here),
    ]


def _is_dense(op: Op) -> bool:
    return op.kind == "conv" and op.kernel != (1, 1) and not is_depthwise(op)


def _attended(op: Op) -> int:
    """Level of the tokens that an attention product runs over.

    Rows or contraction are the tokens in scores, in weighted sums, and in linear attention alike; the
    last axis is left out, since value heads may be wider than there are tokens.
    """
    count = max(op.shape_in[1:])
    return next((stride for stride, least in LEVELS if count >= least), VECTOR)


def _kind_columns() -> list[Column]:
    return [
        _sum("macs_depthwise", lambda op: float(op.macs) if is_depthwise(op) else None, ["conv"]),
        _sum(
            "macs_grouped", lambda op: float(op.macs) if _is_dense(op) and op.groups > 1 else None, ["conv"]
        ),
        _sum("macs_dense", lambda op: float(op.macs) if _is_dense(op) and op.groups == 1 else None, ["conv"]),
        _sum("macs_matmul", lambda op: float(op.macs), ["matmul"]),
        _sum("acts_depthwise", lambda op: float(op.out_count) if is_depthwise(op) else None, ["conv"]),
        _sum("acts_matmul", lambda op: float(op.out_count), ["matmul"]),
        # Taps of the depthwise kernels: larger ones reach further at almost no cost.
        _sum(
            "depthwise_taps",
            lambda op: float(op.kernel[0] * op.kernel[1]) if is_depthwise(op) else None,
            ["conv"],
        ),
        # Side lengths of the map that kernels step over, one after the other: how far positions see.
        _sum("reach", _reach, ["conv", "pool"]),
        # Doublings of the tokens that each attention product runs over.
        _sum("keys", _doublings, ["matmul"]),
        # As much for the tokens of linear layers: where windows or patches attend apart, there are more.
        _sum("token_layers", lambda op: 1.0 if _on_tokens(op) else None, ["linear"]),
        _sum("tokens", lambda op: log2(positions(op)) if _on_tokens(op) else None, ["linear"]),
        _count("softmaxes", lambda op: True, "softmax"),
        _count("position_biases", lambda op: op.weights > 0, "bias"),
        _count("layer_scales", lambda op: True, "scale"),
        _count("gates", _is_gate, "conv"),
    ]


def _reach(op: Op) -> float | None:
    count = positions(op)
    return (max(op.kernel) - 1) / sqrt(count) if count >= LEVELS[-1][1] else None


def _on_tokens(op: Op) -> bool:
    return positions(op) >= LEVELS[-1][1]


def _doublings(op: Op) -> float | None:
    return log2(max(op.shape_in[1:])) if is_attention(op) else None


def _is_gate(op: Op) -> bool:
    """A convolution or linear layer on a pooled vector that is no classifier: squeeze-excitation."""
    return op.kind == "conv" and positions(op) == 1 and op.shape_out[0] != 1000


def _style_columns() -> list[Column]:
    def counted(kind: str, *variants: str) -> Column:
        return _count(f"{kind}_{variants[0]}", lambda op: op.variant in variants, kind)

    return [
        counted("norm", "bn"),
        counted("norm", "ln"),
        counted("norm", "gn"),
        counted("act", "relu", "relu6"),
        counted("act", "gelu"),
        counted("act", "silu"),
        counted("act", "hardswish"),
    ]


def _stem_columns() -> list[Column]:
    def first(op: Op) -> bool:
        return op.kind == "conv" and op.shape_in[0] == 3 and op.shape_in[1] > 16

    return [
        Column("resolution", "max", lambda op: float(op.shape_in[1]) if first(op) else None),
        Column("stem_stride", "max", lambda op: float(op.stride[0]) if first(op) else None),
        Column("stem_kernel", "max", lambda op: float(op.kernel[0]) if first(op) else None),
        # 16 where patches of 16 x 16 pixels, or of a stem's maps, become tokens at once.
        Column("largest_stride", "max", lambda op: float(op.stride[0]), kinds=frozenset({"conv"})),
    ]


COLUMNS: tuple[Column, ...] = (
    *_size_columns(),
    *(column for stride in STRIDES for column in _level_columns(stride)),
    *(column for stride in STRIDES[1:] for column in _mixer_columns(stride)),
    *_kind_columns(),
    *_style_columns(),
    *_stem_columns(),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
