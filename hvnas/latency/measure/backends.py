"""Where things are timed: a registry of backends, each of which times ops and whole networks."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hvnas._registry import Late, Registry
from hvnas.arch import Arch
from hvnas.latency.tables.block_keys import BlockKey
from hvnas.ops import Op
from hvnas.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

Sampler = Callable[[int], list[float]]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a backend runs on, in the words of a device file."""

    runtime: str
    runtime_version: str
    compute_unit: str
    precision: str
    threads: int | None
    clock: str


class Backend(Protocol):
    """Times one op, or one whole network, batch one.

    A sampler takes the number of runs wanted and gives as many times in milliseconds. An op finds its
    weights in memory and its activations in the cache, as it does inside a network; a network runs again
    and again as it is.
    """

    @property
    def runtime(self) -> Runtime:
        """What the times are of."""

    @property
    def fuses_attention(self) -> bool:
        """Whether softmax(q k^T) v is one kernel, whose whole time is that of its last product."""

    def op(self, op: Op) -> Sampler:
        """Prepare an op for timing."""

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """Build a stack of a block (`hvnas.nn.network`), deployed, with random weights."""

    def network(self, arch: Arch) -> Sampler:
        """Build the deployed form of a network with random weights, and prepare it for timing."""


# Runs of a network before those that count.
WARM_UPS = 3


def warmed(once: Callable[[], float], *, warm_ups: int = WARM_UPS) -> Sampler:
    """A sampler of what `once` times; its first runs of each batch do not count."""
    return lambda n: [once() for _ in range(n + warm_ups)][warm_ups:]


class ExportedNetworks(ABC):
    """What backends share that time networks as files, each written once to a folder that goes with them."""

    suffix = ""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="hvnas-")

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """A stack of a block, exported."""
        from hvnas.nn.network import stack

        path = Path(self.folder.name) / f"{key.name}-{depth}{self.suffix}"
        if not path.exists():
            module = stack(key.block, key.state, depth=depth)
            self.export(module, path, inputs=module.inputs)
        return warmed(self.caller(path))

    def network(self, arch: Arch) -> Sampler:
        """A whole network, exported."""
        path = Path(self.folder.name) / f"{arch.hash}{self.suffix}"
        if not path.exists():
            self.export(arch, path)
        return warmed(self.caller(path))

    @abstractmethod
    def export(
        self, source: Arch | nn.Module, path: Path, *, inputs: Mapping[str, Shape] | None = None
    ) -> None:
        """Write a network or a module, unchecked."""

    @abstractmethod
    def caller(self, path: Path) -> Callable[[], float]:
        """Load a file; each call of what comes back runs it once, and gives the milliseconds."""


MakeBackend = Callable[[int], Backend]
_BACKENDS: Registry[MakeBackend] = Registry("backend")
EXTRAS = {"onnxruntime": "onnx", "litert": "litert"}  # what brings the packages of a backend


def register_backend(name: str) -> Callable[[MakeBackend], MakeBackend]:
    """Decorator: ``make(threads)`` gives the backend known under `name`."""
    return _BACKENDS.registering(name)


def list_backends() -> tuple[str, ...]:
    """Names of the backends."""
    return _BACKENDS.names()


def make_backend(name: str, *, threads: int = 1) -> Backend:
    """A backend by name.

    Raises ValueError, one line: a name there is not, a thread count below one, a package or a device
    that this machine lacks.
    """
    make = _BACKENDS[name]
    if threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")
    try:
        return make(threads)
    except ImportError as error:
        extra = EXTRAS.get(name)
        remedy = f"pip install 'hvnas[{extra}]' brings it" if extra else "install it"
        raise ValueError(f"the backend {name} needs the package {error.name}; {remedy}") from None


register_backend("litert")(Late("hvnas.latency.measure.backend_litert:LiteRT"))
register_backend("onnxruntime")(Late("hvnas.latency.measure.backend_onnx:OnnxRuntime"))
register_backend("torch-cpu")(Late("hvnas.latency.measure.backend_torch:TorchCpu"))
register_backend("torch-cuda")(Late("hvnas.latency.measure.backend_torch:cuda"))
