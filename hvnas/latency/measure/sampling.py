"""Times that can be trusted: clocks, interleaved rounds, and rows too noisy to use.

Memory that a process keeps: what the system's allocator gives back it must fetch again, page by page.

A network run by itself hands its largest tensors back to the system after every run (glibc maps blocks above
32 MiB anew each time), and whether it does depends on what ran before. Services keep their memory.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas.latency.measure.backends import Backend, Sampler
from hvnas.latency.tables.op_rows import OpTime
from hvnas.ops import Op

ROUNDS = 3
RUNS = 3
AGAIN = 2  # further tries of a noisy row
NOISE_BOUND = 0.25
# ORT's profile counts whole microseconds: what takes less than half of one still takes some time.
LEAST_MS = 1e-4
RESOLUTION_MS = 0.003  # what clocks and interrupts add to any time, however short


@dataclass(frozen=True)
class Sampled:
    """Milliseconds: median and range over the rounds of each one's fastest run; `n` runs in all."""

    ms: float
    spread: float
    n: int

    @property
    def relative(self) -> float:
        """The spread as a share of the time."""
        return self.spread / max(self.ms, LEAST_MS)

    def is_noisy(self, bound: float) -> bool:
        """Whether the rounds disagree by more than `bound` of the median and by more than clocks do."""
        return self.spread > max(bound * self.ms, RESOLUTION_MS)


def sample_interleaved(
    samplers: Sequence[Sampler], *, rounds: int = ROUNDS, runs: int = RUNS
) -> list[Sampled]:
    """Times each sampler in `rounds` rounds, one after the other within a round.

    What slows the machine for a while so slows one round of all instead of all rounds of one.
    """
    fastest = [[min(sampler(runs)) for sampler in samplers] for _ in range(rounds)]
    columns = np.array(fastest).T
    return [Sampled(float(np.median(c)), float(np.ptp(c)), rounds * runs) for c in columns]


def time_ops(backend: Backend, ops: Iterable[Op], *, bound: float = NOISE_BOUND) -> list[OpTime]:
    """Times of some ops. Those noisier than `bound` are measured again, then marked."""
    listed = list(ops)
    samplers = [backend.op(op) for op in listed]
    found = sample_interleaved(samplers)
    for _ in range(AGAIN):
        noisy = [k for k, sampled in enumerate(found) if sampled.is_noisy(bound)]
        if not noisy:
            break
        for k, better in zip(noisy, sample_interleaved([samplers[k] for k in noisy]), strict=True):
            found[k] = min(found[k], better, key=lambda sampled: sampled.relative)
    return [
        OpTime(op, max(sampled.ms, LEAST_MS), sampled.spread, sampled.n, sampled.is_noisy(bound))
        for op, sampled in zip(listed, found, strict=True)
    ]


Clock = Callable[[], float]


THREAD_TIME = "CPU time of the thread, which is its wall time where nothing else runs on its core"
WALL_TIME = "wall time"


def clock_for(threads: int) -> tuple[Clock, str]:
    """Seconds, and what they are: one thread's own CPU time, or wall time where several threads work.

    What a thread does not run, for another program has its core, is none of its latency.
    """
    return (time.thread_time, THREAD_TIME) if threads == 1 else (time.perf_counter, WALL_TIME)


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
KEPT = "freed memory stays with the process (mallopt: no mmap, no trim)"
AS_IS = "the system's allocator as it is"


def keep_memory() -> str:
    """Tell glibc to keep what is freed, from now on; says in words what is the case afterwards."""
    try:
        libc = ctypes.CDLL(None)
        is_set = libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # no glibc
        return AS_IS
    return KEPT if is_set else AS_IS


CPUINFO = Path("/proc/cpuinfo")


def host_cpu() -> str:
    """The processor's name, as its own tables have it; the architecture where there is none."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def host_os() -> str:
    """Operating system, release and architecture."""
    return f"{platform.system()} {platform.release()} ({platform.machine()})"
