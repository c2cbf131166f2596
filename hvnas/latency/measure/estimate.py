"""How long a plan will take here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hvnas.arch import Arch
from hvnas.latency.measure.backends import Backend
from hvnas.latency.measure.networks import network_times
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.run import DEPTH
from hvnas.latency.measure.sampling import sample_interleaved, time_ops

OPS, WHOLES = 40, 2
# Rows that are measured again, and the machine's other work.
ALLOWANCE = 1.2


@dataclass(frozen=True)
class Seconds:
    """Seconds by what they are spent on."""

    ops: float
    blocks: float
    networks: float

    @property
    def total(self) -> float:
        """All of them, with an allowance of a fifth."""
        return ALLOWANCE * (self.ops + self.blocks + self.networks)


def estimate(plan: Plan, backend: Backend) -> Seconds:
    """Times a few ops, a block and two networks of the plan, and scales up."""
    _seconds(lambda: time_ops(backend, plan.ops[:2]))
    ops = _seconds(lambda: time_ops(backend, plan.ops[2 : 2 + OPS])) / len(plan.ops[2 : 2 + OPS])
    blocks = networks = 0.0
    if plan.blocks:
        key = plan.blocks[len(plan.blocks) // 2]
        blocks = _seconds(
            lambda: sample_interleaved([backend.block(key, d) for d in key.depths(DEPTH)], runs=5)
        )
    for arch in plan.networks[:WHOLES]:
        networks += _seconds(partial(_network, backend, arch)) / WHOLES
    return Seconds(ops * len(plan.ops), blocks * len(plan.blocks), networks * len(plan.networks))


def _network(backend: Backend, arch: Arch) -> object:
    return network_times(backend.network(arch))


def _seconds(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
