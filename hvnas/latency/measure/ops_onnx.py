"""One fused op as an ONNX graph that can be timed by itself.

Operators are those that torch's exporter writes for the same op, so that the runtime fuses them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hvnas.latency.measure.shapes import glue_shapes, padding
from hvnas.ops import Op
from hvnas.ops.op import Shape

OPSET = 20  # the first with Gelu
IR_VERSION = 10
ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "hardswish": ("HardSwish", {}),
    "sigmoid": ("Sigmoid", {}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "tanh": ("Tanh", {}),
}
Floats = NDArray[np.float32]
Write = Callable[[Op, "Graph"], str]
_WRITERS: dict[str, Write] = {}


@dataclass
class Graph:
    """Nodes, inputs and weights of a graph as it is written."""

    nodes: list[Any] = field(default_factory=list)
    inputs: dict[str, Shape] = field(default_factory=dict)
    weights: list[Any] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def input(self, shape: Shape) -> str:
        """A float32 input ``[1, *shape]``."""
        name = f"x{len(self.inputs)}"
        self.inputs[name] = (1, *shape)
        return name

    def weight(self, *shape: int) -> str:
        """A float32 weight."""
        return self.constant(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02))

    def constant(self, value: NDArray[Any]) -> str:
        """A tensor that is part of the graph."""
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node; the name of what it writes."""
        name = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def onnx_op(op: Op) -> tuple[bytes, dict[str, Floats]]:
    """A serialised ONNX model of a fused op, and inputs for it.

    Raises ValueError for a kind that has none.
    """
    if op.kind not in _WRITERS:
        raise ValueError(
            f"ops of kind {op.kind!r} cannot be measured; there are {', '.join(sorted(_WRITERS))}"
        )
    graph = Graph()
    output = _WRITERS[op.kind](op, graph)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            op.kind,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in graph.inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    feeds = {name: graph.rng.standard_normal(shape, dtype=np.float32) for name, shape in graph.inputs.items()}
    return model.SerializeToString(), feeds


def _writes(*kinds: str) -> Callable[[Write], Write]:
    def register(write: Write) -> Write:
        _WRITERS.update(dict.fromkeys(kinds, write))
        return write

    return register


def _activate(graph: Graph, x: str, act: str) -> str:
    if not act:
        return x
    if act == "silu":
        return graph.node("Mul", x, graph.node("Sigmoid", x))
    if act == "relu6":
        low, high = (graph.constant(np.array(v, np.float32)) for v in (0.0, 6.0))
        return graph.node("Clip", x, low, high)
    kind, attributes = ACTS[act]
    return graph.node(kind, x, **attributes)


@_writes("conv")
def _conv(op: Op, graph: Graph) -> str:
    inputs = [
        graph.input(op.shape_in),
        graph.weight(op.shape_out[0], op.shape_in[0] // op.groups, *op.kernel),
    ]
    if op.bias:
        inputs.append(graph.weight(op.shape_out[0]))
    pads = [*padding(op), *padding(op)]
    y = graph.node("Conv", *inputs, kernel_shape=op.kernel, strides=op.stride, group=op.groups, pads=pads)
    return _activate(graph, y, op.act)


@_writes("linear")
def _linear(op: Op, graph: Graph) -> str:
    y = graph.node("MatMul", graph.input(op.shape_in), graph.weight(op.shape_in[-1], op.shape_out[-1]))
    if op.bias:
        y = graph.node("Add", y, graph.weight(op.shape_out[-1]))
    return _activate(graph, y, op.act)


@_writes("matmul")
def _matmul(op: Op, graph: Graph) -> str:
    heads, _, inner = op.shape_in
    return graph.node("MatMul", graph.input(op.shape_in), graph.input((heads, inner, op.shape_out[-1])))


@_writes("softmax")
def _softmax(op: Op, graph: Graph) -> str:
    return graph.node("Softmax", graph.input(op.shape_in), axis=-1)


@_writes("norm")
def _norm(op: Op, graph: Graph) -> str:
    x, channels, on_map = graph.input(op.shape_in), op.channels, len(op.shape_in) == 3
    scale, shift = graph.weight(channels), graph.weight(channels)
    if op.variant == "ln":
        if on_map:
            x = graph.node("Transpose", x, perm=(0, 2, 3, 1))
        y = graph.node("LayerNormalization", x, scale, shift, axis=-1)
        return graph.node("Transpose", y, perm=(0, 3, 1, 2)) if on_map else y
    first = x if on_map else graph.node("Transpose", x, perm=(0, 2, 1))
    if op.variant == "gn":
        rows = graph.node("Reshape", first, graph.constant(np.array([0, 1, -1])))
        one, zero = (graph.constant(np.full(1, v, np.float32)) for v in (1.0, 0.0))
        flat = graph.node("InstanceNormalization", rows, one, zero)
        like = (1, channels, *([-1, op.shape_in[-1]] if on_map else [-1]))
        spread = [channels, 1, 1] if on_map else [channels, 1]
        y = graph.node("Reshape", flat, graph.constant(np.array(like)))
        y = graph.node("Mul", y, graph.weight(*spread))
        return graph.node("Add", y, graph.weight(*spread))
    variance = graph.constant(np.ones(channels, np.float32))
    return graph.node("BatchNormalization", first, scale, shift, scale, variance)


@_writes("act")
def _act(op: Op, graph: Graph) -> str:
    return _activate(graph, graph.input(op.shape_in), op.variant)


@_writes("pool")
def _pool(op: Op, graph: Graph) -> str:
    x = graph.input(op.shape_in)
    if op.variant == "mean":
        axes = [2, 3] if len(op.shape_in) == 3 else [1]
        return graph.node("ReduceMean", x, graph.constant(np.array(axes)), keepdims=1)
    pads = [min(p, k // 2) for p, k in zip(padding(op), op.kernel, strict=True)]
    kind = "MaxPool" if op.variant == "max" else "AveragePool"
    return graph.node(kind, x, kernel_shape=op.kernel, strides=op.stride, pads=[*pads, *pads])


@_writes("add", "mul", "reduce")
def _elementwise(op: Op, graph: Graph) -> str:
    if op.kind == "reduce" and op.variant != "maximum":
        return graph.node("ReduceSum", graph.input(op.shape_in), graph.constant(np.array([-1])), keepdims=0)
    first, second = (graph.input(shape) for shape in glue_shapes(op))
    return graph.node({"add": "Add", "mul": "Mul", "reduce": "Max"}[op.kind], first, second)


@_writes("scale", "bias")
def _learned(op: Op, graph: Graph) -> str:
    shape = _learned_shape(op)
    return graph.node("Mul" if op.kind == "scale" else "Add", graph.input(op.shape_in), graph.weight(*shape))


def _learned_shape(op: Op) -> Sequence[int]:
    if op.weights == prod(op.shape_in):
        return op.shape_in
    if len(op.shape_in) == 3 and op.weights == op.shape_in[0]:
        return (op.weights, 1, 1)
    return (op.shape_in[-1],)


@_writes("concat")
def _concat(op: Op, graph: Graph) -> str:
    parts = [graph.input(shape) for shape in glue_shapes(op)]
    return graph.node("Concat", *parts, axis=1 if len(op.shape_out) == 3 else 2)


@_writes("resize")
def _resize(op: Op, graph: Graph) -> str:
    sizes = graph.constant(np.array([1, *op.shape_out]))
    return graph.node("Resize", graph.input(op.shape_in), "", "", sizes, mode="linear")


@_writes("relayout")
def _relayout(op: Op, graph: Graph) -> str:
    x = graph.input(op.shape_in)
    if len(op.shape_in) == 3:
        x = graph.node("Reshape", x, graph.constant(np.array([1, op.shape_in[0], -1])))
    return graph.node("Transpose", x, perm=(0, 2, 1))


@_writes("embed")
def _embed(op: Op, graph: Graph) -> str:
    return graph.node("Identity", graph.input(op.shape_out))
