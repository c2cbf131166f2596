"""Where things are timed: a registry of backends, each of which times ops and whole networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hvnas._names import unknown_name
from hvnas.arch import Arch
from hvnas.latency.block_keys import BlockKey
from hvnas.ops import Op

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
        """Build a stack of a block (`hvnas.nn.stack`), deployed, with random weights."""

    def network(self, arch: Arch) -> Sampler:
        """Build the deployed form of a network with random weights, and prepare it for timing."""


MakeBackend = Callable[[int], Backend]
_BACKENDS: dict[str, MakeBackend] = {}


def register_backend(name: str) -> Callable[[MakeBackend], MakeBackend]:
    """Decorator: ``make(threads)`` gives the backend known under `name`."""

    def register(make: MakeBackend) -> MakeBackend:
        if name in _BACKENDS:
            raise ValueError(f"a backend named {name!r} exists already; choose another name")
        _BACKENDS[name] = make
        return make

    return register


def list_backends() -> tuple[str, ...]:
    """Names of the backends."""
    _import_all()
    return tuple(_BACKENDS)


def make_backend(name: str, *, threads: int = 1) -> Backend:
    """A backend by name.

    Raises ValueError, one line: a name there is not, a thread count below one, a package or a device
    that this machine lacks.
    """
    _import_all()
    if name not in _BACKENDS:
        raise ValueError(unknown_name("backend", name, list_backends()))
    if threads < 1:
        raise ValueError(f"threads must be >= 1, got {threads}")
    return _BACKENDS[name](threads)


def _import_all() -> None:
    from hvnas.latency.measure import backend_onnx, backend_torch  # noqa: F401
