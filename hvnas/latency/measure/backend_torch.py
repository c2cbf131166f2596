"""torch, eager, on the CPU or on a CUDA device: networks, blocks, and single fused ops.

One fused op as a torch computation that can be timed by itself.

Shapes: as in `hvnas.ops.op`, with a batch axis of one in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.arch import Arch
from hvnas.latency.measure.backends import WARM_UPS, Runtime, Sampler
from hvnas.latency.measure.sampling import WALL_TIME, clock_for, keep_memory
from hvnas.latency.tables.block_keys import BlockKey
from hvnas.latency.tables.op_rows import glue_shapes, padding
from hvnas.nn.folding import deploy
from hvnas.nn.network import build, stack
from hvnas.ops import Op
from hvnas.ops.program import ATTENTION, MASKED

CPU_FLUSH_BYTES = 24_000_000
CUDA_FLUSH_BYTES = 256_000_000


class TorchCpu:
    """float32 on so many threads."""

    fuses_attention = True

    def __init__(self, threads: int) -> None:
        self.clock, clock = clock_for(threads)
        self.threads = threads
        memory = keep_memory()
        self.runtime = Runtime(
            runtime="torch-cpu",
            runtime_version=str(torch.__version__),
            compute_unit="CPU",
            precision="float32",
            threads=threads,
            clock=f"{clock}; {memory}",
        )
        self.elsewhere = torch.zeros(CPU_FLUSH_BYTES // 4)

    def op(self, op: Op) -> Sampler:
        """An op; right before it, the same op on other tensors, so that its code is at hand."""
        other, timed = torch_op(op), torch_op(op)

        def prepare() -> None:
            self._flush(timed.activations)
            other.compute()

        return self._sampler(timed.compute, prepare)

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """A stack of a block."""
        model = deploy(stack(key.block, key.state, depth=depth))
        other = deploy(stack(key.block, key.state, depth=depth))
        inputs = [torch.randn(shape) for shape in model.inputs.values()]

        def prepare() -> None:
            self._flush(inputs)
            other(*inputs)

        return self._sampler(lambda: model(*inputs), prepare)

    def network(self, arch: Arch) -> Sampler:
        """A whole network."""
        model = deploy(build(arch))
        x_BCHW = torch.randn(1, 3, arch.resolution, arch.resolution)
        return self._sampler(lambda: model(x_BCHW), None)

    def _flush(self, warm: Sequence[Tensor]) -> None:
        """Send other memory through the cache, then what is to be read first."""
        self.elsewhere.sum()
        for x in warm:
            x.sum()

    def _sampler(self, compute: Callable[[], Tensor], prepare: Callable[[], None] | None) -> Sampler:
        def sample(n: int) -> list[float]:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads)
            try:
                with torch.inference_mode():
                    for _ in range(1 if prepare else WARM_UPS):
                        compute()
                    return [self._once(compute, prepare) for _ in range(n)]
            finally:
                torch.set_num_threads(before)

        return sample

    def _once(self, compute: Callable[[], Tensor], prepare: Callable[[], None] | None) -> float:
        if prepare:
            prepare()
        start = self.clock()
        compute()
        return 1e3 * (self.clock() - start)


class TorchCuda:
    """float32 on the current CUDA device, timed by the device's own events."""

    fuses_attention = True

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise ValueError("torch finds no CUDA device here; use --backend torch-cpu or onnxruntime")
        self.runtime = Runtime(
            runtime="torch-cuda",
            runtime_version=f"{torch.__version__}, CUDA {torch.version.cuda}",
            compute_unit=f"GPU {torch.cuda.get_device_name()}",
            precision="float32",
            threads=None,
            clock=f"CUDA events for ops, {WALL_TIME} with synchronisation for networks",
        )
        self.elsewhere = torch.zeros(CUDA_FLUSH_BYTES // 4, device="cuda")

    def op(self, op: Op) -> Sampler:
        """An op; before each run other memory goes through the cache, then what the op reads."""
        prepared = torch_op(op, device="cuda")

        def once() -> float:
            self.elsewhere.zero_()
            for x in prepared.activations:
                x.sum()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            prepared.compute()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end))

        return _warm(once, 1)

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """A stack of a block."""
        model = deploy(stack(key.block, key.state, depth=depth))
        return _whole(model, list(model.inputs.values()))

    def network(self, arch: Arch) -> Sampler:
        """A whole network."""
        return _whole(deploy(build(arch)), [(1, 3, arch.resolution, arch.resolution)])


def _whole(model: nn.Module, shapes: list[tuple[int, ...]]) -> Sampler:
    model = model.cuda()
    inputs = [torch.randn(shape, device="cuda") for shape in shapes]

    def once() -> float:
        torch.cuda.synchronize()
        start = perf_counter()
        model(*inputs)
        torch.cuda.synchronize()
        return 1e3 * (perf_counter() - start)

    return _warm(once, WARM_UPS)


def _warm(once: Callable[[], float], warm_ups: int) -> Sampler:
    def sample(n: int) -> list[float]:
        with torch.inference_mode():
            return [once() for _ in range(n + warm_ups)][warm_ups:]

    return sample


def cuda(threads: int) -> TorchCuda:
    """The backend of a graphics card, whatever the number of threads."""
    return TorchCuda()


MOST_HEADS = 32


Compute = Callable[[], Tensor]
Make = Callable[[Op, "Inputs"], Compute]
_MAKERS: dict[str, Make] = {}


ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
}


class Inputs:
    """Makes tensors on a device and remembers those that the op before would just have written."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.activations: list[Tensor] = []

    def activation(self, *shape: int) -> Tensor:
        """A random tensor ``[1, *shape]``, warm in the cache when the op starts."""
        x = torch.randn(1, *shape, device=self.device)
        self.activations.append(x)
        return x

    def weight(self, *shape: int) -> Tensor:
        """A random tensor that comes from memory."""
        return torch.randn(*shape, device=self.device) * 0.02


@dataclass(frozen=True)
class TorchOp:
    """An op to run, and the activations that it reads."""

    compute: Compute
    activations: tuple[Tensor, ...]


def torch_op(op: Op, *, device: str = "cpu") -> TorchOp:
    """The torch computation of a fused op. Raises ValueError for a kind that has none."""
    if op.kind not in _MAKERS:
        raise ValueError(
            f"ops of kind {op.kind!r} cannot be measured; there are {', '.join(sorted(_MAKERS))}"
        )
    inputs = Inputs(device)
    compute = _MAKERS[op.kind](op, inputs)
    return TorchOp(compute, tuple(inputs.activations))


def _makes(*kinds: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        _MAKERS.update(dict.fromkeys(kinds, make))
        return make

    return register


@_makes("conv")
def _conv(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    weight = make.weight(op.shape_out[0], op.shape_in[0] // op.groups, *op.kernel)
    bias = make.weight(op.shape_out[0]) if op.bias else None
    pad, act = padding(op), ACTS[op.act]
    return lambda: act(F.conv2d(x, weight, bias, op.stride, pad, 1, op.groups))


@_makes("linear")
def _linear(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    weight = make.weight(op.shape_out[-1], op.shape_in[-1])
    bias = make.weight(op.shape_out[-1]) if op.bias else None
    act = ACTS[op.act]
    return lambda: act(F.linear(x, weight, bias))


@_makes("matmul")
def _matmul(op: Op, make: Inputs) -> Compute:
    heads, rows, inner = op.shape_in
    if op.variant in (ATTENTION, MASKED):
        return _attention(op, make)
    # Scores of queries and keys read both off one tensor, head beside head; sums of values read the scores.
    if inner <= op.shape_out[-1]:
        queries, keys = (_heads(make, heads, n, inner) for n in (rows, op.shape_out[-1]))
        return lambda: queries @ keys.transpose(2, 3)
    values = _heads(make, heads, inner, op.shape_out[-1])
    scores = make.activation(heads, rows, inner).view(*values.shape[:2], rows, inner)
    return lambda: scores @ values


def _attention(op: Op, make: Inputs) -> Compute:
    heads, rows, width = op.shape_out
    q, k, v = (_heads(make, heads, rows, width) for _ in range(3))
    mask = make.weight(1, q.shape[1], rows, rows) if op.variant == MASKED else None
    return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _heads(make: Inputs, heads: int, rows: int, width: int) -> Tensor:
    """``[windows, heads, rows, width]`` as attention has it: the heads of a row side by side in memory.

    More heads than networks have are those of many windows (or patches), which are a batch.
    """
    per_window = next((n for n in (4, 2) if heads > MOST_HEADS and heads % n == 0), heads)
    return make.activation(heads // per_window, rows, per_window, width)[0].transpose(1, 2)


@_makes("softmax")
def _softmax(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    return lambda: x.softmax(-1)


@_makes("norm")
def _norm(op: Op, make: Inputs) -> Compute:
    x, channels = make.activation(*op.shape_in), op.channels
    weight, on_map = make.weight(channels), len(op.shape_in) == 3
    if op.variant == "ln":
        if on_map:
            return lambda: F.layer_norm(x.permute(0, 2, 3, 1), (channels,), weight, weight).permute(
                0, 3, 1, 2
            )
        return lambda: F.layer_norm(x, (channels,), weight, weight)
    first = x if on_map else x.transpose(1, 2)
    if op.variant == "gn":
        return lambda: F.group_norm(first, 1, weight, weight)
    positive = weight.abs() + 1
    return lambda: F.batch_norm(first, weight, positive, weight, weight)


@_makes("act")
def _act(op: Op, make: Inputs) -> Compute:
    x, act = make.activation(*op.shape_in), ACTS[op.variant]
    return lambda: act(x)


@_makes("pool")
def _pool(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    if op.variant == "mean":
        axes = (2, 3) if len(op.shape_in) == 3 else (1,)
        return lambda: x.mean(axes)
    pad = tuple(min(p, k // 2) for p, k in zip(padding(op), op.kernel, strict=True))
    if op.variant == "max":
        return lambda: F.max_pool2d(x, op.kernel, op.stride, pad)
    return lambda: F.avg_pool2d(x, op.kernel, op.stride, pad)


@_makes("add", "mul", "reduce")
def _elementwise(op: Op, make: Inputs) -> Compute:
    if op.kind == "reduce" and op.variant != "maximum":
        x = make.activation(*op.shape_in)
        return lambda: x.sum(-1)
    first, second = (make.activation(*shape) for shape in glue_shapes(op))
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "add": torch.add,
        "mul": torch.mul,
        "reduce": torch.maximum,
    }
    function = functions[op.kind]
    return lambda: function(first, second)


@_makes("scale", "bias")
def _learned(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    if op.weights == prod(op.shape_in):
        weight = make.weight(*op.shape_in)
    elif len(op.shape_in) == 3 and op.weights == op.shape_in[0]:
        weight = make.weight(op.weights, 1, 1)
    else:
        weight = make.weight(op.shape_in[-1])
    function = torch.mul if op.kind == "scale" else torch.add
    return lambda: function(x, weight)


@_makes("concat")
def _concat(op: Op, make: Inputs) -> Compute:
    first, second = (make.activation(*shape) for shape in glue_shapes(op))
    axis = 1 if len(op.shape_out) == 3 else 2
    return lambda: torch.cat((first, second), axis)


@_makes("resize")
def _resize(op: Op, make: Inputs) -> Compute:
    x, size = make.activation(*op.shape_in), op.shape_out[1:]
    return lambda: F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@_makes("relayout")
def _relayout(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_in)
    flat = x.flatten(2) if len(op.shape_in) == 3 else x
    return lambda: flat.transpose(1, 2).contiguous()


@_makes("embed")
def _embed(op: Op, make: Inputs) -> Compute:
    x = make.activation(*op.shape_out)
    return lambda: x.clone()
