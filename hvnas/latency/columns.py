"""What latency models and gates read off the fused ops of a network, by name.

A device file names columns; every column is computable op by op, so that populations take the fast
path. Bytes are those of float16 at batch one.

Columns for devices that run a network kernel by kernel: processors and graphics cards under a framework.

Where every operator is a call of its own, time goes to calls, to what elementwise operators read and write
again, and to weights that no cache holds. As everywhere, a column's bytes are those of float16; the price
of a byte in a device's file takes account of the precision that it was measured in.

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

PRODUCTS = frozenset({"conv", "linear", "matmul"})
SWISH = frozenset({"silu", "hardswish"})
MEGABYTE = 1_000_000


Value = Callable[[Op], float | None]
_COLUMNS: Registry[Column] = Registry("latency column")


def register_column(
    name: str, reducer: Reducer, *kinds: str, above: float | None = None
) -> Callable[[Value], Value]:
    """Decorator: make `value(op)`, over fused ops of some kinds, a column that device files may name."""

    def register(value: Value) -> Value:
        only = frozenset(kinds) if kinds else None
        _COLUMNS.add(name, Column(name, reducer, value, fused=True, kinds=only, above=above))
        return value

    return register


def list_columns(module: str | None = None) -> tuple[str, ...]:
    """Names of the registered columns; of those that `module` declares, where one is named."""
    return tuple(name for name, c in _COLUMNS.items() if module in (None, c.value.__module__))


def column(name: str) -> Column:
    """The column called `name`. Raises ValueError naming those there are."""
    return _COLUMNS[name]


def unique(columns: Sequence[Column]) -> tuple[Column, ...]:
    """`columns` without repetitions, in order of first appearance."""
    return tuple({c.name: c for c in columns}.values())


def clean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` with 0 where no op had a say (a maximum's identity is -inf)."""
    return np.where(np.isneginf(values), 0.0, values)


def _is_map(op: Op) -> bool:
    """Whether `op` writes a map with more than one position."""
    return op.kind in ("conv", "act") and len(op.shape_out) == 3 and prod(op.shape_out[1:]) > 1


# Work.


@register_column("macs", "sum", *PRODUCTS)
def _macs(op: Op) -> float | None:
    return op.macs if op.kind in PRODUCTS else None


@register_column("grouped_macs", "sum")
def _grouped_macs(op: Op) -> float | None:
    return op.macs if op.kind == "conv" and op.groups > 1 else None


@register_column("pointwise_macs", "sum", *PRODUCTS)
def _pointwise_macs(op: Op) -> float | None:
    return op.macs if op.kernel == (1, 1) else None


@register_column("spatial_macs", "sum", "conv")
def _spatial_macs(op: Op) -> float | None:
    return op.macs if op.kernel != (1, 1) and op.groups < op.shape_in[0] else None


@register_column("depthwise_macs", "sum", "conv")
def _depthwise_macs(op: Op) -> float | None:
    return op.macs if op.kernel != (1, 1) and op.groups == op.shape_in[0] else None


@register_column("params", "sum")
def _params(op: Op) -> float | None:
    return op.params


@register_column("weight_bytes", "sum", *PRODUCTS)
def _weight_bytes(op: Op) -> float | None:
    return op.weight_bytes() if op.kind in PRODUCTS else None


@register_column("act_bytes", "sum", *PRODUCTS)
def _act_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind in PRODUCTS else None


def _register_spill(megabytes: int) -> None:
    @register_column(f"act_bytes_over_{megabytes}mb", "sum", *PRODUCTS, above=megabytes * MEGABYTE)
    def _spill(op: Op) -> float | None:
        return op.act_bytes() if op.kind in PRODUCTS else None


for _megabytes in (1, 2, 4):
    _register_spill(_megabytes)


@register_column("matmul_bytes", "sum")
def _matmul_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind in ("matmul", "softmax") else None


@register_column("pool_bytes", "sum")
def _pool_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "pool" and op.variant != "mean" else None


@register_column("other_bytes", "sum")
def _other_bytes(op: Op) -> float | None:
    return None if op.kind in PRODUCTS else op.act_bytes()


# What decides where a network runs.


@register_column("attention_queries", "max", "softmax", "matmul")
def _attention_queries(op: Op) -> float | None:
    """Rows of the attention matrix; in ReLU linear attention, which has none, the positions summed over.

    The latter is told by its row of ones, which makes numerator and denominator one product:
    ``(h, d + 1, n) x (h, n, d)``.
    """
    if op.kind == "softmax":
        return op.shape_out[-2]
    if op.kind == "matmul" and op.shape_in[-2] == op.shape_out[-1] + 1:
        return op.shape_in[-1]
    return None


@register_column("map_to_tokens", "sum", "relayout")
def _map_to_tokens(op: Op) -> float | None:
    return 1 if op.kind == "relayout" and op.variant.startswith("map>") else None


@register_column("tokens_to_map", "max", "relayout")
def _tokens_to_map(op: Op) -> float | None:
    return prod(op.shape_out[1:]) if op.kind == "relayout" and op.variant.endswith(">map") else None


@register_column("swish_on_maps", "sum")
def _swish_on_maps(op: Op) -> float | None:
    return 1 if _is_map(op) and (op.act in SWISH or (op.kind == "act" and op.variant in SWISH)) else None


@register_column("patch_kernel", "max", "conv")
def _patch_kernel(op: Op) -> float | None:
    if op.kind != "conv" or op.groups > 1 or max(op.stride) == 1:
        return None
    return max(op.kernel)


@register_column("input_size", "max", "conv")
def _input_size(op: Op) -> float | None:
    # The shorter side: convolutions along the channels of pooled maps see a map one wide.
    return min(op.shape_in[1:]) if op.kind == "conv" else None


# What published ablations and breakdowns put a time on.

LONG = 196


@register_column("long_attention_rows", "sum", "softmax")
def _long_attention_rows(op: Op) -> float | None:
    """Rows of attention matrices, over all heads, where a head has 196 or more."""
    return prod(op.shape_out[:-1]) if op.kind == "softmax" and op.shape_out[-2] >= LONG else None


@register_column("long_attention_bytes", "sum", "softmax", "matmul")
def _long_attention_bytes(op: Op) -> float | None:
    """`matmul_bytes` of attention with 196 or more queries a head."""
    return op.act_bytes() if op.kind in ("softmax", "matmul") and op.shape_in[-2] >= LONG else None


@register_column("relayout_bytes", "sum", "relayout")
def _relayout_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "relayout" else None


@register_column("norm_bytes", "sum", "norm")
def _norm_bytes(op: Op) -> float | None:
    """Norms that no convolution absorbs."""
    return op.act_bytes() if op.kind == "norm" else None


@register_column("patch_macs", "sum", "conv")
def _patch_macs(op: Op) -> float | None:
    """Embeddings of patches: dense convolutions with a stride of 4 or more."""
    return op.macs if op.kind == "conv" and op.groups == 1 and max(op.stride) >= 4 else None


@register_column("gates", "sum", "mul")
def _gates(op: Op) -> float | None:
    """Products of two computed tensors; squeeze-excitation has one."""
    return 1 if op.kind == "mul" else None


@register_column("gate_bytes", "sum", "mul")
def _gate_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "mul" else None


@register_column("swish_bytes", "sum")
def _swish_bytes(op: Op) -> float | None:
    """What SiLU and HardSwish read and write where there is more than one position."""
    if op.act not in SWISH and not (op.kind == "act" and op.variant in SWISH):
        return None
    positions = op.shape_out[1:] if len(op.shape_out) == 3 else op.shape_out[:-1]
    return 4 * prod(op.shape_out) if prod(positions) > 1 else None


# exp, tanh, erf or a division per element; the other activations compare and add.
TRANSCENDENTAL = frozenset({"gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "elu"})
ELEMENTWISE = frozenset({"add", "mul", "scale", "bias", "act", "norm"})
ITEMSIZE = 2  # float16
SMALL_MAP, LARGE_MAP = 8 * 8, 40 * 40
FEW_ROWS = 4
HEADS, TOKENS = 8, 7 * 7


def _is_dense_spatial(op: Op) -> bool:
    return op.kind == "conv" and op.groups == 1 and max(op.kernel) > 1


def _positions(op: Op) -> int:
    return prod(op.shape_out[1:])


# Calls.


@register_column("ops", "sum")
def _ops(op: Op) -> float | None:
    return 1


@register_column("products", "sum", *PRODUCTS)
def _products(op: Op) -> float | None:
    return 1 if op.kind in PRODUCTS else None


@register_column("convs", "sum", "conv")
def _convs(op: Op) -> float | None:
    return 1 if op.kind == "conv" else None


@register_column("matrices", "sum", "matmul")
def _matrices(op: Op) -> float | None:
    """Single matrix products in the batched ones of attention: heads times windows."""
    return op.shape_in[0] if op.kind == "matmul" else None


# Work.


@register_column("linear_macs", "sum", "linear")
def _linear_macs(op: Op) -> float | None:
    return op.macs if op.kind == "linear" else None


@register_column("group_conv_macs", "sum", "conv")
def _group_conv_macs(op: Op) -> float | None:
    """Convolutions between dense and depthwise."""
    return op.macs if op.kind == "conv" and 1 < op.groups < op.shape_in[0] else None


@register_column("transcendental", "sum")
def _transcendental(op: Op) -> float | None:
    """Elements that go through an activation with exp, tanh, erf or a division."""
    through = op.act or (op.variant if op.kind == "act" else "")
    return op.out_count if through in TRANSCENDENTAL else None


@register_column("pool_taps", "sum", "pool")
def _pool_taps(op: Op) -> float | None:
    """Elements that pooling windows look at."""
    return op.out_count * prod(op.kernel) if op.kind == "pool" else None


# Weights.


@register_column("kernel_weight_bytes", "sum", "conv")
def _kernel_weight_bytes(op: Op) -> float | None:
    """Weights of convolutions larger than 1x1, which a framework lays out anew in every call."""
    return op.weight_bytes() if op.kind == "conv" and max(op.kernel) > 1 else None


@register_column("small_map_weight_bytes", "sum", "conv")
def _small_map_weight_bytes(op: Op) -> float | None:
    """Weights of convolutions onto at most 8 x 8 positions: each is used a few times only."""
    return op.weight_bytes() if op.kind == "conv" and _positions(op) <= SMALL_MAP else None


@register_column("few_rows_weight_bytes", "sum", "conv", "linear")
def _few_rows_weight_bytes(op: Op) -> float | None:
    """Weights applied to at most 4 rows: classifiers, squeeze-excitation."""
    rows = _positions(op) if op.kind == "conv" else prod(op.shape_in[:-1])
    return op.weight_bytes() if op.kind in ("conv", "linear") and rows <= FEW_ROWS else None


def _register_weight_excess(megabytes: int) -> None:
    @register_column(f"weight_bytes_beyond_{megabytes}mb", "sum", "conv", "linear", above=0)
    def _excess(op: Op) -> float | None:
        return op.weight_bytes() - megabytes * MEGABYTE if op.kind in ("conv", "linear") else None


def _register_act_excess(megabytes: int) -> None:
    @register_column(f"bytes_beyond_{megabytes}mb", "sum", above=0)
    def _excess(op: Op) -> float | None:
        return op.act_bytes() - megabytes * MEGABYTE


for _megabytes in (4, 12):
    _register_weight_excess(_megabytes)
for _megabytes in (1, 4):
    _register_act_excess(_megabytes)


# Activations.


@register_column("conv_bytes", "sum", "conv")
def _conv_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "conv" else None


@register_column("large_map_conv_bytes", "sum", "conv")
def _large_map_conv_bytes(op: Op) -> float | None:
    """Convolutions onto 40 x 40 positions or more."""
    return op.act_bytes() if op.kind == "conv" and _positions(op) >= LARGE_MAP else None


@register_column("linear_bytes", "sum", "linear")
def _linear_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "linear" else None


@register_column("unfolded_bytes", "sum", "conv")
def _unfolded_bytes(op: Op) -> float | None:
    """What dense convolutions larger than 1x1 read, an element once for every tap that it falls under."""
    if not _is_dense_spatial(op):
        return None
    return op.shape_in[0] * prod(op.kernel) * _positions(op) * ITEMSIZE


@register_column("elementwise_bytes", "sum", *ELEMENTWISE)
def _elementwise_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind in ELEMENTWISE else None


@register_column("layernorm_bytes", "sum", "norm")
def _layernorm_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "norm" and op.variant == "ln" else None


@register_column("scale_bytes", "sum", "scale")
def _scale_bytes(op: Op) -> float | None:
    """Learned scales that no convolution absorbs."""
    return op.act_bytes() if op.kind == "scale" else None


@register_column("bias_bytes", "sum", "bias")
def _bias_bytes(op: Op) -> float | None:
    """Additions of learned tensors: positions, attention biases."""
    return op.act_bytes() if op.kind == "bias" else None


@register_column("concat_bytes", "sum", "concat")
def _concat_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "concat" else None


@register_column("resize_bytes", "sum", "resize")
def _resize_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "resize" else None


@register_column("reduce_bytes", "sum", "reduce")
def _reduce_bytes(op: Op) -> float | None:
    return op.act_bytes() if op.kind == "reduce" else None


@register_column("window_bytes", "sum", "relayout")
def _window_bytes(op: Op) -> float | None:
    """Relayouts into windows and out of them."""
    return op.act_bytes() if op.kind == "relayout" and "windows" in op.variant else None


@register_column("score_convs", "sum", "conv")
def _score_convs(op: Op) -> float | None:
    """1x1 convolutions of attention scores, which mix the heads of EfficientFormerV2.

    Told by their shape: at most 8 channels, and sides that are numbers of tokens, squares from 49 on.
    """
    if op.kernel != (1, 1) or op.groups > 1 or op.shape_in != op.shape_out or op.shape_in[0] > HEADS:
        return None
    return 1 if all(n >= TOKENS and isqrt(n) ** 2 == n for n in op.shape_in[1:]) else None


@register_column("windows", "sum", "relayout")
def _windows(op: Op) -> float | None:
    """Switches into windows."""
    return 1 if op.kind == "relayout" and op.variant.endswith(">windows") else None
