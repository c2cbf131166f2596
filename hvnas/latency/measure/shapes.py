"""What an op's key leaves open, filled in: padding, and the second operand."""

from __future__ import annotations

from math import ceil

from hvnas.ops import Op
from hvnas.ops.op import Shape


def padding(op: Op) -> tuple[int, int]:
    """Padding per axis that makes `shape_out` of `shape_in`."""
    axes = zip(op.shape_in[1:], op.shape_out[1:], op.kernel, op.stride, strict=True)
    first, second = (max(0, ceil(((out - 1) * s + k - size) / 2)) for size, out, k, s in axes)
    return first, second


def glue_shapes(op: Op) -> tuple[Shape, Shape]:
    """Shapes of the two operands of an add, mul, maximum or concat.

    A product of maps is taken for a channel gate (squeeze-excitation), which is what most are; a
    concatenation for one of halves.
    """
    if op.kind == "concat":
        axis = 0 if len(op.shape_out) == 3 else len(op.shape_out) - 1
        half = op.shape_out[axis] // 2
        sizes = (half, op.shape_out[axis] - half)
        first, second = ((*op.shape_out[:axis], size, *op.shape_out[axis + 1 :]) for size in sizes)
        return first, second
    if op.kind == "mul" and len(op.shape_out) == 3 and op.shape_in == op.shape_out:
        return op.shape_in, (op.shape_out[0], 1, 1)
    return op.shape_in, op.shape_out
