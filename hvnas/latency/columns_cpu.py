"""Columns for devices that run a network kernel by kernel: processors and graphics cards under a framework.

Where every operator is a call of its own, time goes to calls, to what elementwise operators read and write
again, and to weights that no cache holds. As everywhere, a column's bytes are those of float16; the price
of a byte in a device's file takes account of the precision that it was measured in.

Conditions are on kinds, kernels, positions and rows, never on channels, and excesses are declared by
`above`: so every column stays polynomial in channels, and populations take the fast path.
"""

from __future__ import annotations

from math import isqrt, prod

from hvnas.latency.columns import MEGABYTE, PRODUCTS, register_column
from hvnas.ops import Op

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
