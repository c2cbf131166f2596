"""Latency and memory of networks, measured on this host."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.arch import Arch

RUNS = 7
# A network that takes longer is timed less often: a table has many rows.
LONG_MS, FEW_RUNS = 500.0, 3
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """One network on this host at batch one.

    `ms` is the median of `n` runs, `spread` what their middle half spans; `memory` is by how many bytes the
    process grew while the network ran, its weights not counted, None where the system does not tell.
    """

    ms: float
    spread: float
    n: int
    memory: int | None


class Host:
    """A backend of `hvnas.latency.measure` on one thread, with the memory of the process watched."""

    def __init__(self, backend: str = "torch-cpu", *, threads: int = 1) -> None:
        """Raises ValueError as `make_backend`."""
        from hvnas.latency.measure.backends import make_backend
        from hvnas.latency.measure.host import host_cpu

        self.backend = make_backend(backend, threads=threads)
        runtime = self.backend.runtime
        counted = "1 thread" if threads == 1 else f"{threads} threads"
        self.said = (
            f"{host_cpu()}, {runtime.runtime} {runtime.runtime_version}, {counted}, {runtime.precision}, "
            f"batch 1, random weights; {runtime.clock}"
        )

    def measure(self, arch: Arch) -> Measured:
        """Times `arch` and watches its memory in the first runs."""
        sampler = self.backend.network(arch)
        times: list[float] = []
        memory = grown(lambda: times.extend(sampler(1)))
        runs = FEW_RUNS if times[0] > LONG_MS else RUNS
        times.extend(sampler(runs - 1))
        low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
        return Measured(float(median), float(high - low), runs, memory)


def grown(job: Callable[[], object]) -> int | None:
    """Bytes by which the process's memory grew at its peak during `job`; None where /proc does not tell."""
    gc.collect()
    with suppress(OSError, AttributeError):  # what was freed before must not hide what is used now
        ctypes.CDLL(None).malloc_trim(0)
    try:
        RESET.write_text("5", encoding="ascii")  # proc(5): the peak starts again from here
        before = _status("VmRSS")
    except OSError:
        job()
        return None
    job()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS}: no {name}")
