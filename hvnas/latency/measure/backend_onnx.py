"""ONNX Runtime's CPU provider: networks, blocks, and single fused ops as ONNX graphs.

One fused op as an ONNX graph that can be timed by itself.

Operators are those that torch's exporter writes for the same op, so that the runtime fuses them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hvnas._files import read_json
from hvnas.arch import Arch
from hvnas.latency.measure.backends import ExportedNetworks, Runtime, Sampler
from hvnas.latency.measure.sampling import clock_for
from hvnas.latency.tables.op_rows import glue_shapes, padding
from hvnas.ops import Op
from hvnas.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

FLUSH_BYTES = 24_000_000
# Between two convolutions of a network nothing is reordered; an op by itself pays on either side.
AT_THE_EDGES = frozenset({"ReorderInput", "ReorderOutput"})


class OnnxRuntime(ExportedNetworks):
    """float32 on so many threads.

    An op's time is that of its kernels in the runtime's own profile (whole microseconds of wall time),
    a network's that of a call.
    """

    fuses_attention = False
    suffix = ".onnx"

    def __init__(self, threads: int) -> None:
        super().__init__()
        import onnxruntime

        self.ort: Any = onnxruntime
        self.threads = threads
        self.clock, clock = clock_for(threads)
        self.runtime = Runtime(
            runtime="onnxruntime",
            runtime_version=str(onnxruntime.__version__),
            compute_unit="CPU",
            precision="float32",
            threads=threads,
            clock=f"{clock}; ops: the runtime's profile, wall time",
        )
        self.elsewhere = np.zeros(FLUSH_BYTES // 4, np.float32)

    def op(self, op: Op) -> Sampler:
        """An op; before each run other memory goes through the cache, then what the op reads."""

        model, feeds = onnx_op(op)

        def sample(n: int) -> list[float]:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self.folder.name) / "op")
            session = self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            for _ in range(n + 1):
                self.elsewhere.sum()
                for x in feeds.values():
                    x.sum()
                session.run(None, feeds)
            return _kernel_ms(Path(session.end_profiling()))[1:]

        return sample

    def export(
        self, source: Arch | nn.Module, path: Path, *, inputs: Mapping[str, Shape] | None = None
    ) -> None:
        """As the user's own export, unchecked."""
        from hvnas.export import export_onnx

        export_onnx(source, path, inputs=inputs, check=False)

    def caller(self, path: Path) -> Callable[[], float]:
        """A session with random inputs."""
        session = self.ort.InferenceSession(str(path), self._options(), providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        feeds = {x.name: rng.standard_normal(x.shape, dtype=np.float32) for x in session.get_inputs()}

        def once() -> float:
            start = self.clock()
            session.run(None, feeds)
            return 1e3 * (self.clock() - start)

        return once

    def _options(self) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options


def _kernel_ms(profile: Path) -> list[float]:
    """Milliseconds of each run's kernels; those at the graph's edges are left out."""
    events = read_json(profile)
    profile.unlink()
    runs: list[float] = []
    pending = 0.0
    for event in sorted((e for e in events if "ts" in e), key=lambda e: e["ts"] + e.get("dur", 0)):
        if event["name"].endswith("_kernel_time") and event["args"]["op_name"] not in AT_THE_EDGES:
            pending += event["dur"] / 1e3
        elif event["name"] == "model_run":
            runs.append(pending)
            pending = 0.0
    return runs


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
