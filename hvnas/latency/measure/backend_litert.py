"""LiteRT on the CPU (its XNNPACK delegate): networks and blocks as exported, and single fused ops as files.

Ops are those that litert-torch writes for the same op, with the channels last as it lays maps out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray
from numpy.typing import NDArray

from hvnas.arch import Arch
from hvnas.export.running import silenced
from hvnas.latency.measure.backends import ExportedNetworks, Runtime, Sampler, warmed
from hvnas.latency.measure.sampling import clock_for
from hvnas.latency.tables.op_rows import glue_shapes, padding
from hvnas.ops import Op
from hvnas.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

FLUSH_BYTES = 24_000_000
EMPTY_RUNS = 200


class LiteRT(ExportedNetworks):
    """float32 on so many threads.

    An op's time is that of a call of a file that holds it alone, less that of a file that holds nothing.
    """

    fuses_attention = False
    suffix = ".tflite"

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads
        self.clock, clock = clock_for(threads)
        self.runtime = Runtime(
            runtime="litert",
            runtime_version=version("ai-edge-litert"),
            compute_unit="CPU",
            precision="float32",
            threads=threads,
            clock=f"{clock}; ops: a call less an empty call",
        )
        self.elsewhere = np.zeros(FLUSH_BYTES // 4, np.float32)
        empty = self._loaded(model_content=litert_op(Op("embed", (1, 1), (1, 1))))
        self.call_ms = median(self._once(empty) for _ in range(EMPTY_RUNS))

    def op(self, op: Op) -> Sampler:
        """An op; before each run other memory goes through the cache, then what the op reads."""
        interpreter = self._loaded(model_content=litert_op(op))
        reads = [tensor["index"] for tensor in interpreter.get_input_details()]

        def once() -> float:
            self.elsewhere.sum()
            for index in reads:
                interpreter.get_tensor(index).sum()
            return self._once(interpreter) - self.call_ms

        return warmed(once, warm_ups=1)

    def export(
        self, source: Arch | nn.Module, path: Path, *, inputs: Mapping[str, Shape] | None = None
    ) -> None:
        """As the user's own export, unchecked."""
        from hvnas.export import export_tflite

        export_tflite(source, path, inputs=inputs, check=False)

    def caller(self, path: Path) -> Callable[[], float]:
        """An interpreter with random inputs."""
        interpreter = self._loaded(model_path=str(path))
        return lambda: self._once(interpreter)

    def _loaded(self, *, model_path: str | None = None, model_content: bytes | None = None) -> Any:
        """An interpreter with random inputs."""
        with silenced():
            interpreter = Interpreter(
                model_path=model_path, model_content=model_content, num_threads=self.threads
            )
            interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        for tensor in interpreter.get_input_details():
            values = rng.standard_normal(tensor["shape"], dtype=np.float32)
            interpreter.set_tensor(tensor["index"], values)
        return interpreter

    def _once(self, interpreter: Any) -> float:
        start = self.clock()
        interpreter.invoke()
        return 1e3 * (self.clock() - start)


NONE, RELU, RELU6 = 0, 1, 3  # schema.ActivationFunctionType
FUSED = {"": NONE, "relu": RELU, "relu6": RELU6}
SAME, VALID = 0, 1  # schema.Padding
EPSILON = np.full(1, 1e-5, np.float32)
Write = Callable[[Op, "Graph"], int]
_WRITERS: dict[str, Write] = {}


def litert_op(op: Op) -> bytes:
    """A TFLite file of one fused op. Raises ValueError for a kind that has none."""
    if op.kind not in _WRITERS:
        raise ValueError(
            f"ops of kind {op.kind!r} cannot be measured; there are {', '.join(sorted(_WRITERS))}"
        )
    graph = Graph()
    return graph.file(_WRITERS[op.kind](op, graph))


@dataclass
class Graph:
    """Tensors and operators of a file as it is written; a tensor is known by its number."""

    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [schema.BufferT()])
    inputs: list[int] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def tensor(self, shape: Sequence[int], *, whole: bool = False, buffer: int = 0) -> int:
        """A tensor, of int32 where `whole`, else of float32."""
        made = schema.TensorT()
        made.shape, made.buffer = list(shape), buffer
        made.type = schema.TensorType.INT32 if whole else schema.TensorType.FLOAT32
        made.name = f"t{len(self.tensors)}".encode()
        self.tensors.append(made)
        return len(self.tensors) - 1

    def input(self, shape: Shape) -> int:
        """A float32 input of an op's shape, a map with its channels last."""
        self.inputs.append(self.tensor(placed(shape)))
        return self.inputs[-1]

    def constant(self, value: NDArray[Any]) -> int:
        """A tensor that is part of the file."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self.buffers.append(buffer)
        whole = np.issubdtype(value.dtype, np.integer)
        return self.tensor(value.shape, whole=whole, buffer=len(self.buffers) - 1)

    def weight(self, *shape: int) -> int:
        """A float32 weight."""
        return self.constant(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02))

    def whole(self, *values: Any) -> int:
        """int32 numbers, as axes and sizes are given."""
        return self.constant(np.array(values, np.int32))

    def shape(self, tensor: int) -> list[int]:
        """The shape of a tensor, batch included."""
        return list(self.tensors[tensor].shape)

    def node(self, kind: str, *inputs: int, to: Sequence[int], options: str = "", **attributes: Any) -> int:
        """An operator; the tensor of shape `to` that it writes."""
        made = schema.OperatorT()
        if kind not in self.kinds:
            self.kinds.append(kind)
        made.opcodeIndex, made.inputs = self.kinds.index(kind), list(inputs)
        made.outputs = [self.tensor(to)]
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
            for name, value in attributes.items():
                setattr(made.builtinOptions, name, value)
        self.operators.append(made)
        return int(made.outputs[0])

    def file(self, output: int) -> bytes:
        """The file whose output is a tensor."""
        part, model = schema.SubGraphT(), schema.ModelT()
        part.tensors, part.operators, part.inputs = self.tensors, self.operators, self.inputs
        part.outputs = [output]
        model.version, model.subgraphs, model.buffers = 3, [part], self.buffers
        model.operatorCodes = [_code(kind) for kind in self.kinds]
        return bytes(convert_object_to_bytearray(model))


# Versions of the operators of litert-torch's files where they are above one.
VERSIONS = {"FULLY_CONNECTED": 5, "BATCH_MATMUL": 1, "RESIZE_BILINEAR": 3}


def _code(kind: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = VERSIONS.get(kind, 1)
    return code


def placed(shape: Shape) -> tuple[int, ...]:
    """An op's shape with the batch, and of a map the channels last."""
    return (1, *shape[1:], shape[0]) if len(shape) == 3 else (1, *shape)


def _writes(*kinds: str) -> Callable[[Write], Write]:
    def register(write: Write) -> Write:
        _WRITERS.update(dict.fromkeys(kinds, write))
        return write

    return register


def _activate(graph: Graph, x: int, act: str) -> int:
    to = graph.shape(x)
    if act in ("gelu", "gelu_tanh"):
        return graph.node("GELU", x, to=to, options="GeluOptions", approximate=act == "gelu_tanh")
    if act == "silu":
        return graph.node("MUL", x, graph.node("LOGISTIC", x, to=to), to=to, options="MulOptions")
    if act == "hardsigmoid":
        raised = graph.node(
            "ADD",
            x,
            graph.constant(np.full(1, 3, np.float32)),
            to=to,
            options="AddOptions",
            fusedActivationFunction=RELU6,
        )
        sixth = graph.constant(np.full(1, 1 / 6, np.float32))
        return graph.node("MUL", raised, sixth, to=to, options="MulOptions")
    kind = {
        "relu": "RELU",
        "relu6": "RELU6",
        "hardswish": "HARD_SWISH",
        "sigmoid": "LOGISTIC",
        "tanh": "TANH",
    }
    return x if not act else graph.node(kind[act], x, to=to)


def _padded(op: Op, graph: Graph, x: int) -> tuple[int, int]:
    """What a window slides over, and its padding: a tensor of its own where it is not that of ``SAME``."""
    pads = padding(op)
    if all(s == 1 and 2 * p == k - 1 for s, p, k in zip(op.stride, pads, op.kernel, strict=True)):
        return x, SAME
    if pads == (0, 0):
        return x, VALID
    _, height, width, channels = graph.shape(x)
    to = (1, height + 2 * pads[0], width + 2 * pads[1], channels)
    around = graph.whole([0, 0], [pads[0]] * 2, [pads[1]] * 2, [0, 0])
    return graph.node("PAD", x, around, to=to), VALID


@_writes("conv")
def _conv(op: Op, graph: Graph) -> int:
    x, pad = _padded(op, graph, graph.input(op.shape_in))
    inside, outside = op.shape_in[0], op.shape_out[0]
    common = {
        "padding": pad,
        "strideH": op.stride[0],
        "strideW": op.stride[1],
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": FUSED.get(op.act, NONE),
    }
    to = placed(op.shape_out)
    if op.groups == inside > 1:
        weight = graph.weight(1, *op.kernel, outside)
        y = graph.node(
            "DEPTHWISE_CONV_2D",
            x,
            weight,
            graph.weight(outside),
            to=to,
            options="DepthwiseConv2DOptions",
            depthMultiplier=outside // inside,
            **common,
        )
    else:
        weight = graph.weight(outside, *op.kernel, inside // op.groups)
        y = graph.node("CONV_2D", x, weight, graph.weight(outside), to=to, options="Conv2DOptions", **common)
    return y if op.act in FUSED else _activate(graph, y, op.act)


@_writes("linear")
def _linear(op: Op, graph: Graph) -> int:
    inside, outside = op.shape_in[-1], op.shape_out[-1]
    y = graph.node(
        "FULLY_CONNECTED",
        graph.input(op.shape_in),
        graph.weight(outside, inside),
        graph.weight(outside) if op.bias else -1,
        to=placed(op.shape_out),
        options="FullyConnectedOptions",
        keepNumDims=True,
        fusedActivationFunction=FUSED.get(op.act, NONE),
    )
    return y if op.act in FUSED else _activate(graph, y, op.act)


@_writes("matmul")
def _matmul(op: Op, graph: Graph) -> int:
    heads, _, inner = op.shape_in
    operands = []
    for shape in (op.shape_in, (heads, inner, op.shape_out[-1])):  # heads are no channels
        graph.inputs.append(graph.tensor((1, *shape)))
        operands.append(graph.inputs[-1])
    return graph.node("BATCH_MATMUL", *operands, to=(1, *op.shape_out), options="BatchMatMulOptions")


@_writes("softmax")
def _softmax(op: Op, graph: Graph) -> int:
    graph.inputs.append(graph.tensor((1, *op.shape_in)))
    x = graph.inputs[-1]
    return graph.node("SOFTMAX", x, to=(1, *op.shape_in), options="SoftmaxOptions", beta=1.0)


@_writes("norm")
def _norm(op: Op, graph: Graph) -> int:
    x, channels = graph.input(op.shape_in), op.channels
    to = graph.shape(x)
    scale, shift = graph.weight(channels), graph.weight(channels)
    if op.variant != "bn":
        axes = graph.whole(len(to) - 1) if op.variant == "ln" else graph.whole(*range(1, len(to)))
        few = [*to[:-1], 1] if op.variant == "ln" else [1] * len(to)
        mean = graph.node("MEAN", x, axes, to=few, options="ReducerOptions", keepDims=True)
        squares = graph.node("SQUARED_DIFFERENCE", x, mean, to=to)
        variance = graph.node("MEAN", squares, axes, to=few, options="ReducerOptions", keepDims=True)
        above = graph.node("ADD", variance, graph.constant(EPSILON), to=few, options="AddOptions")
        root = graph.node("RSQRT", above, to=few)
        x = graph.node("SUB", x, mean, to=to, options="SubOptions")
        x = graph.node("MUL", x, root, to=to, options="MulOptions")
    y = graph.node("MUL", x, scale, to=to, options="MulOptions")
    return graph.node("ADD", y, shift, to=to, options="AddOptions")


@_writes("act")
def _act(op: Op, graph: Graph) -> int:
    return _activate(graph, graph.input(op.shape_in), op.variant)


@_writes("pool")
def _pool(op: Op, graph: Graph) -> int:
    x = graph.input(op.shape_in)
    if op.variant == "mean":
        axes = graph.whole(1, 2) if len(op.shape_in) == 3 else graph.whole(1)
        few = [1, *[1] * (len(graph.shape(x)) - 2), graph.shape(x)[-1]]
        return graph.node("MEAN", x, axes, to=few, options="ReducerOptions", keepDims=True)
    x, pad = _padded(op, graph, x)
    return graph.node(
        "MAX_POOL_2D" if op.variant == "max" else "AVERAGE_POOL_2D",
        x,
        to=placed(op.shape_out),
        options="Pool2DOptions",
        padding=pad,
        strideH=op.stride[0],
        strideW=op.stride[1],
        filterHeight=op.kernel[0],
        filterWidth=op.kernel[1],
    )


@_writes("add", "mul", "reduce")
def _elementwise(op: Op, graph: Graph) -> int:
    if op.kind == "reduce" and op.variant != "maximum":
        x = graph.input(op.shape_in)
        last = graph.whole(len(graph.shape(x)) - 1)
        return graph.node("SUM", x, last, to=graph.shape(x)[:-1], options="ReducerOptions")
    first, second = (graph.input(shape) for shape in glue_shapes(op))
    kind, options = {
        "add": ("ADD", "AddOptions"),
        "mul": ("MUL", "MulOptions"),
        "reduce": ("MAXIMUM", "MaximumMinimumOptions"),
    }[op.kind]
    to = np.broadcast_shapes(graph.shape(first), graph.shape(second))
    return graph.node(kind, first, second, to=to, options=options)


@_writes("scale", "bias")
def _learned(op: Op, graph: Graph) -> int:
    x = graph.input(op.shape_in)
    everywhere = op.weights == prod(op.shape_in)
    learned = graph.weight(*(graph.shape(x) if everywhere else [graph.shape(x)[-1]]))
    kind, options = ("MUL", "MulOptions") if op.kind == "scale" else ("ADD", "AddOptions")
    return graph.node(kind, x, learned, to=graph.shape(x), options=options)


@_writes("concat")
def _concat(op: Op, graph: Graph) -> int:
    parts = [graph.input(shape) for shape in glue_shapes(op)]
    to = placed(op.shape_out)
    return graph.node("CONCATENATION", *parts, to=to, options="ConcatenationOptions", axis=len(to) - 1)


@_writes("resize")
def _resize(op: Op, graph: Graph) -> int:
    return graph.node(
        "RESIZE_BILINEAR",
        graph.input(op.shape_in),
        graph.whole(*op.shape_out[1:]),
        to=placed(op.shape_out),
        options="ResizeBilinearOptions",
        halfPixelCenters=True,
    )


@_writes("relayout")
def _relayout(op: Op, graph: Graph) -> int:
    """Of a map a view, for its channels are last already."""
    x = graph.input(op.shape_in)
    if len(op.shape_in) == 3:
        to = (1, op.shape_in[1] * op.shape_in[2], op.shape_in[0])
        return graph.node("RESHAPE", x, graph.whole(*to), to=to)
    batch, rows, width = graph.shape(x)
    return graph.node("TRANSPOSE", x, graph.whole(0, 2, 1), to=(batch, width, rows))


@_writes("embed")
def _embed(op: Op, graph: Graph) -> int:
    x = graph.input(op.shape_out)
    return graph.node("RESHAPE", x, graph.whole(*graph.shape(x)), to=graph.shape(x))
