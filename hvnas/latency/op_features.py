"""Groups of ops that one regressor speaks for, and what it reads off them."""

from __future__ import annotations

from math import log, prod

from hvnas.ops import Op
from hvnas.ops.program import ATTENTION, INNER, MASKED

ACTS = ("", "relu", "relu6", "gelu", "gelu_tanh", "silu", "hardswish", "sigmoid", "hardsigmoid", "tanh")
NAMES = (
    *("macs", "read", "written", "weights", "channels_in", "channels_out"),
    *("rows", "last", "kernel", "stride", "groups"),
)


def group_of(op: Op) -> str:
    """The regressor's name: the kind; convolutions by their shape, norms and pools by their variant.

    Attention that one kernel can do is a group, with a mask another, and so are its inner parts.
    """
    if op.kind == "conv":
        if op.groups > 1:
            return "conv_depthwise" if op.groups == op.shape_in[0] else "conv_grouped"
        return "conv_pointwise" if op.kernel == (1, 1) else "conv_spatial"
    if op.variant in (ATTENTION, MASKED, INNER):
        return op.variant if op.kind == "matmul" and op.variant != INNER else f"{op.kind}_{INNER}"
    return f"{op.kind}_{op.variant}" if op.kind in ("norm", "pool") else op.kind


def features(op: Op) -> list[float]:
    """Logarithms of the op's sizes, in the order of `NAMES`, then one 0/1 for each of `ACTS`."""
    last = op.shape_in[-1]
    sizes = (
        *(op.macs + 1, op.in_count, op.out_count, op.weight_count + op.weights + 1),
        *(op.shape_in[0] if len(op.shape_in) == 3 else last, op.channels),
        *(prod(op.shape_in[:-1]), last, prod(op.kernel), prod(op.stride), op.groups),
    )
    act = op.act if op.kind in ("conv", "linear") else op.variant
    return [log(max(1, size)) for size in sizes] + [float(act == name) for name in ACTS]
