"""What latency models and gates read off the fused ops of a network, by name.

A device file names columns; every column is computable op by op, so that populations take the fast
path. Bytes are those of float16 at batch one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from hvnas._registry import Registry
from hvnas.ops import Column, Op
from hvnas.ops.columns import Reducer

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
