"""What latency models and gates read off the fused ops of a network, by name.

A device file names columns; every column is computable op by op, so that populations take the fast
path. Bytes are those of float16 at batch one; the price of a byte in a device's file takes account of the
precision that it was measured in.

Conditions are on kinds, kernels, positions and rows, never on channels, and excesses are declared by
`above`: so every column stays polynomial in channels, and populations take the fast path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt, prod

import numpy as np
from numpy.typing import NDArray

from hvnas._registry import Registry
from hvnas.ops import Column, Op
from hvnas.ops.program import Reducer

PRODUCTS = ("conv", "linear", "matmul")
ELEMENTWISE = ("add", "mul", "scale", "bias", "act", "norm")
SWISH = frozenset({"silu", "hardswish"})
# exp, tanh, erf or a division per element; the other activations compare and add.
TRANSCENDENTAL = frozenset({"gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "elu"})
MEGABYTE = 1_000_000
ITEMSIZE = 2  # float16
LONG = 196
SMALL_MAP, LARGE_MAP = 8 * 8, 40 * 40
FEW_ROWS = 4
HEADS, TOKENS = 8, 7 * 7
# Weights of which each is used at most so often (a use a position, or a row) take longer to stream at 35 GB/s
# than to multiply: at 5.95 TFLOPS in 1x1 convolutions and linear layers, at 11.56 in larger kernels.
POINTWISE_USES, SPATIAL_USES = 170, 330

Value = Callable[[Op], float | None]
_COLUMNS: Registry[Column] = Registry("latency column")


def register_column(
    name: str, reducer: Reducer, *kinds: str, above: float | None = None
) -> Callable[[Value], Value]:
    """Decorator: make `value(op)`, over fused ops of some kinds, a column that device files may name."""

    def register(value: Value) -> Value:
        _COLUMNS.add(name, _column(name, reducer, kinds, value, above=above))
        return value

    return register


def list_columns() -> tuple[str, ...]:
    """Return names of the registered columns."""
    return tuple(_COLUMNS)


def column(name: str) -> Column:
    """The column called `name`. Raises ValueError naming those there are."""
    return _COLUMNS[name]


def unique(columns: Sequence[Column]) -> tuple[Column, ...]:
    """`columns` without repetitions, in order of first appearance."""
    return tuple({c.name: c for c in columns}.values())


def clean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` with 0 where no op had a say (a maximum's identity is -inf)."""
    return np.where(np.isneginf(values), 0.0, values)


def _column(
    name: str, reducer: Reducer, kinds: Sequence[str], value: Value, *, above: float | None = None
) -> Column:
    only = frozenset(kinds) if kinds else None
    return Column(name, reducer, value, fused=True, kinds=only, above=above)


def _sum(name: str, kinds: Sequence[str], value: Value, *, above: float | None = None) -> Column:
    return _column(name, "sum", kinds, value, above=above)


def _max(name: str, kinds: Sequence[str], value: Value) -> Column:
    return _column(name, "max", kinds, value)


def _macs(op: Op) -> float:
    return op.macs


def _bytes(op: Op) -> float:
    return op.act_bytes()


def _weights(op: Op) -> float:
    return op.weight_bytes()


def _one(op: Op) -> float:
    return 1


def _positions(op: Op) -> int:
    return prod(op.shape_out[1:])


def _is_depthwise(op: Op) -> bool:
    return op.kind == "conv" and op.kernel != (1, 1) and op.groups == op.shape_in[0]


def _is_streamed(op: Op) -> bool:
    """Whether streaming the weights of `op` takes longer than its products."""
    if op.kind == "matmul" or _is_depthwise(op):
        return False
    uses = _positions(op) if op.kind == "conv" else prod(op.shape_in[:-1])
    return uses <= (POINTWISE_USES if op.kernel == (1, 1) else SPATIAL_USES)


def _computed(op: Op) -> float | None:
    """MACs of products other than depthwise ones whose weights are not streamed."""
    return None if _is_streamed(op) or _is_depthwise(op) else op.macs


def _attention_queries(op: Op) -> float | None:
    """Rows of the attention matrix; in ReLU linear attention, which has none, the positions summed over.

    The latter is told by its row of ones, which makes numerator and denominator one product:
    ``(h, d + 1, n) x (h, n, d)``.
    """
    if op.kind == "softmax":
        return op.shape_out[-2]
    return op.shape_in[-1] if op.shape_in[-2] == op.shape_out[-1] + 1 else None


def _linear_attention(op: Op) -> float | None:
    """Products of ReLU linear attention with a row, or a column, of ones; see `_attention_queries`.

    In timm's order of axes the ones are a column: ``(h, d, n) x (h, n, d + 1)``.
    """
    rows, summed, columns = *op.shape_in[-2:], op.shape_out[-1]
    return 1 if abs(rows - columns) == 1 and summed != rows else None


def _depthwise_beyond(megabytes: int) -> Value:
    return lambda op: op.act_bytes() - megabytes * MEGABYTE if _is_depthwise(op) else None


def _swish_on_maps(op: Op) -> float | None:
    """Maps with more than one position that SiLU or HardSwish writes."""
    is_map = len(op.shape_out) == 3 and _positions(op) > 1
    return 1 if is_map and _is_swish(op) else None


def _swish_bytes(op: Op) -> float | None:
    """What SiLU and HardSwish read and write where there is more than one position."""
    positions = op.shape_out[1:] if len(op.shape_out) == 3 else op.shape_out[:-1]
    return 4 * prod(op.shape_out) if _is_swish(op) and prod(positions) > 1 else None


def _is_swish(op: Op) -> bool:
    return op.act in SWISH or (op.kind == "act" and op.variant in SWISH)


# What decides where a network runs, and what published ablations and breakdowns put a time on.
COLUMNS = (
    _sum("macs", PRODUCTS, _macs),
    _sum("grouped_macs", ["conv"], lambda op: op.macs if op.groups > 1 else None),
    _sum("pointwise_macs", PRODUCTS, lambda op: op.macs if op.kernel == (1, 1) else None),
    _sum(
        "spatial_macs",
        ["conv"],
        lambda op: op.macs if op.kernel != (1, 1) and op.groups < op.shape_in[0] else None,
    ),
    _sum(
        "depthwise_macs",
        ["conv"],
        lambda op: op.macs if _is_depthwise(op) else None,
    ),
    _sum(
        "streamed_weight_bytes",
        ["conv", "linear"],
        lambda op: op.weight_bytes() if _is_streamed(op) else None,
    ),
    _sum(
        "computed_pointwise_macs",
        PRODUCTS,
        lambda op: _computed(op) if op.kernel == (1, 1) else None,
    ),
    _sum("computed_spatial_macs", ["conv"], lambda op: _computed(op) if op.kernel != (1, 1) else None),
    # Of kernels up to 5x5, which Core ML's cost model was read off for, and of larger ones.
    _sum(
        "small_depthwise_macs",
        ["conv"],
        lambda op: op.macs if _is_depthwise(op) and max(op.kernel) <= 5 else None,
    ),
    _sum(
        "large_depthwise_macs",
        ["conv"],
        lambda op: op.macs if _is_depthwise(op) and max(op.kernel) > 5 else None,
    ),
    _sum("params", [], lambda op: op.params),
    _sum("weight_bytes", PRODUCTS, _weights),
    _sum("act_bytes", PRODUCTS, _bytes),
    *(_sum(f"act_bytes_over_{mb}mb", PRODUCTS, _bytes, above=mb * MEGABYTE) for mb in (1, 2, 4)),
    *(_sum(f"depthwise_bytes_beyond_{mb}mb", ["conv"], _depthwise_beyond(mb), above=0) for mb in (1, 2, 4)),
    _sum("matmul_bytes", ["matmul", "softmax"], _bytes),
    _sum("pool_bytes", ["pool"], lambda op: op.act_bytes() if op.variant != "mean" else None),
    _sum("other_bytes", [], lambda op: None if op.kind in PRODUCTS else op.act_bytes()),
    _max("attention_queries", ["softmax", "matmul"], _attention_queries),
    _sum("map_to_tokens", ["relayout"], lambda op: 1 if op.variant.startswith("map>") else None),
    _max("tokens_to_map", ["relayout"], lambda op: _positions(op) if op.variant.endswith(">map") else None),
    _sum("swish_on_maps", ["conv", "act"], _swish_on_maps),
    _max(
        "patch_kernel",
        ["conv"],
        lambda op: max(op.kernel) if op.groups == 1 and max(op.stride) > 1 else None,
    ),
    # The shorter side: convolutions along the channels of pooled maps see a map one wide.
    _max("input_size", ["conv"], lambda op: min(op.shape_in[1:])),
    # Rows of attention matrices, over all heads, where a head has 196 or more.
    _sum(
        "long_attention_rows",
        ["softmax"],
        lambda op: prod(op.shape_out[:-1]) if op.shape_out[-2] >= LONG else None,
    ),
    # `matmul_bytes` of attention with 196 or more queries a head.
    _sum(
        "long_attention_bytes",
        ["softmax", "matmul"],
        lambda op: op.act_bytes() if op.shape_in[-2] >= LONG else None,
    ),
    _sum("relayout_bytes", ["relayout"], _bytes),
    # Of norms that no convolution absorbs.
    _sum("norm_bytes", ["norm"], _bytes),
    # Of embeddings of patches: dense convolutions with a stride of 4 or more.
    _sum("patch_macs", ["conv"], lambda op: op.macs if op.groups == 1 and max(op.stride) >= 4 else None),
    # Products of two computed tensors; squeeze-excitation has one.
    _sum("gates", ["mul"], _one),
    _sum("gate_bytes", ["mul"], _bytes),
    _sum("swish_bytes", [], _swish_bytes),
)


def _transcendental(op: Op) -> float | None:
    """Elements that go through an activation with exp, tanh, erf or a division."""
    through = op.act or (op.variant if op.kind == "act" else "")
    return op.out_count if through in TRANSCENDENTAL else None


def _few_rows_weights(op: Op) -> float | None:
    """Bytes of weights applied to at most 4 rows: classifiers, squeeze-excitation."""
    rows = _positions(op) if op.kind == "conv" else prod(op.shape_in[:-1])
    return op.weight_bytes() if rows <= FEW_ROWS else None


def _unfolded_bytes(op: Op) -> float | None:
    """What dense convolutions larger than 1x1 read, an element once for every tap that it falls under."""
    if op.groups > 1 or max(op.kernel) == 1:
        return None
    return op.shape_in[0] * prod(op.kernel) * _positions(op) * ITEMSIZE


def _score_convs(op: Op) -> float | None:
    """1x1 convolutions of attention scores, which mix the heads of EfficientFormerV2.

    Told by their shape: at most 8 channels, and sides that are numbers of tokens, squares from 49 on.
    """
    if op.kernel != (1, 1) or op.groups > 1 or op.shape_in != op.shape_out or op.shape_in[0] > HEADS:
        return None
    return 1 if all(n >= TOKENS and isqrt(n) ** 2 == n for n in op.shape_in[1:]) else None


def _beyond(amount: Callable[[Op], float], megabytes: int) -> Value:
    return lambda op: amount(op) - megabytes * MEGABYTE


# For devices that run a network kernel by kernel: processors and graphics cards under a framework. Where
# every operator is a call of its own, time goes to calls, to what elementwise operators read and write again,
# and to weights that no cache holds.
KERNEL_COLUMNS = (
    _sum("ops", [], _one),
    _sum("products", PRODUCTS, _one),
    _sum("convs", ["conv"], _one),
    # Single matrix products in the batched ones of attention: heads times windows.
    _sum("matrices", ["matmul"], lambda op: op.shape_in[0]),
    _sum("linear_macs", ["linear"], _macs),
    # Of convolutions between dense and depthwise.
    _sum("group_conv_macs", ["conv"], lambda op: op.macs if 1 < op.groups < op.shape_in[0] else None),
    _sum("transcendental", [], _transcendental),
    # Elements that pooling windows look at.
    _sum("pool_taps", ["pool"], lambda op: op.out_count * prod(op.kernel)),
    # Of convolutions larger than 1x1, whose weights a framework lays out anew in every call.
    _sum("kernel_weight_bytes", ["conv"], lambda op: op.weight_bytes() if max(op.kernel) > 1 else None),
    # Of convolutions onto at most 8 x 8 positions: each weight is used a few times only.
    _sum(
        "small_map_weight_bytes",
        ["conv"],
        lambda op: op.weight_bytes() if _positions(op) <= SMALL_MAP else None,
    ),
    _sum("few_rows_weight_bytes", ["conv", "linear"], _few_rows_weights),
    *(
        _sum(f"weight_bytes_beyond_{mb}mb", ["conv", "linear"], _beyond(_weights, mb), above=0)
        for mb in (4, 12)
    ),
    *(_sum(f"bytes_beyond_{mb}mb", [], _beyond(_bytes, mb), above=0) for mb in (1, 4)),
    _sum("conv_bytes", ["conv"], _bytes),
    # Of convolutions onto 40 x 40 positions or more.
    _sum(
        "large_map_conv_bytes", ["conv"], lambda op: op.act_bytes() if _positions(op) >= LARGE_MAP else None
    ),
    _sum("linear_bytes", ["linear"], _bytes),
    _sum("unfolded_bytes", ["conv"], _unfolded_bytes),
    _sum("elementwise_bytes", ELEMENTWISE, _bytes),
    _sum("layernorm_bytes", ["norm"], lambda op: op.act_bytes() if op.variant == "ln" else None),
    # Of learned scales that no convolution absorbs.
    _sum("scale_bytes", ["scale"], _bytes),
    # Of additions of learned tensors: positions, attention biases.
    _sum("bias_bytes", ["bias"], _bytes),
    *(_sum(f"{kind}_bytes", [kind], _bytes) for kind in ("concat", "resize", "reduce")),
    # Of relayouts into windows and out of them.
    _sum("window_bytes", ["relayout"], lambda op: op.act_bytes() if "windows" in op.variant else None),
    _sum("score_convs", ["conv"], _score_convs),
    _sum("linear_attention", ["matmul"], _linear_attention),
    # Attention matrices side by side in one product: heads times windows.
    _max("attention_matrices", ["softmax"], lambda op: prod(op.shape_in[:-2])),
    # Switches into windows.
    _sum("windows", ["relayout"], lambda op: 1 if op.variant.endswith(">windows") else None),
)

for _each in (*COLUMNS, *KERNEL_COLUMNS):
    _COLUMNS.add(_each.name, _each)
