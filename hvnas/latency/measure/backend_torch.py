"""torch, eager, on the CPU or on a CUDA device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.latency.block_keys import BlockKey
from hvnas.latency.measure.backends import Runtime, Sampler
from hvnas.latency.measure.clock import WALL_TIME, clock_for
from hvnas.latency.measure.memory import keep_memory
from hvnas.latency.measure.ops_torch import torch_op
from hvnas.nn.deploy import deploy
from hvnas.nn.network import build
from hvnas.nn.stack import stack
from hvnas.ops import Op

CPU_FLUSH_BYTES = 24_000_000
CUDA_FLUSH_BYTES = 256_000_000
WARM_UPS = 3


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
