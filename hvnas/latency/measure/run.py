"""Measuring a plan on this host, from where it was left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from hvnas.arch import Arch
from hvnas.latency.block_keys import BlockKey
from hvnas.latency.measure.backends import Backend
from hvnas.latency.measure.journal import Journal
from hvnas.latency.measure.networks import network_times
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.sampling import NOISE_BOUND, sample_interleaved, time_ops
from hvnas.latency.measure.whole_rows import BLOCK, NETWORK, WholeTime
from hvnas.ops import Op

CHUNK = 40
DEPTH = 4
Step = Callable[[], None]
OnStep = Callable[[int, str], None]


def measure(
    plan: Plan,
    backend: Backend,
    yaml: Path,
    *,
    bound: float = NOISE_BOUND,
    on_step: OnStep | None = None,
) -> Journal:
    """Time all of a plan that the journal beside `yaml` does not hold yet.

    Ops, blocks and networks take turns, so that what slows the machine for a while slows some of each. Ops
    whose rounds differ by more than `bound` are measured again, then marked. `on_step` is told how many of
    `count_steps` are done and what comes next. Raises ValueError where rows
    cannot be kept; those before are.
    """
    journal = Journal(yaml)
    steps = _steps(plan, backend, journal, bound)
    done = count_steps(plan) - len(steps)
    for k, (doing, step) in enumerate(steps):
        if on_step:
            on_step(done + k, doing)
        step()
    return journal


def count_steps(plan: Plan) -> int:
    """Steps of a whole plan: chunks of ops, blocks and networks."""
    return -(-len(plan.ops) // CHUNK) + len(plan.blocks) + len(plan.networks)


def _steps(plan: Plan, backend: Backend, journal: Journal, bound: float) -> list[tuple[str, Step]]:
    measured = {row.op.key for row in journal.ops}
    whole = {(row.kind, row.key) for row in journal.wholes}
    ops = [op for op in plan.ops if op.key not in measured]
    kinds: list[list[tuple[str, Step]]] = [
        [("ops", _op_step(backend, journal, chunk, bound)) for chunk in _chunks(ops)],
        [
            (key.block.type, _block_step(backend, journal, key))
            for key in plan.blocks
            if (BLOCK, key.name) not in whole
        ],
        [
            ("a network", _network_step(backend, journal, arch))
            for arch in plan.networks
            if (NETWORK, arch.hash) not in whole
        ],
    ]
    # Evenly mixed: the k-th of n comes at (k + 1/2) / n of the way.
    placed = [
        ((k + 0.5) / len(steps), i, step) for i, steps in enumerate(kinds) for k, step in enumerate(steps)
    ]
    return [step for _, _, step in sorted(placed, key=lambda p: p[:2])]


def _chunks(ops: Sequence[Op]) -> Iterator[Sequence[Op]]:
    return (ops[k : k + CHUNK] for k in range(0, len(ops), CHUNK))


def _op_step(backend: Backend, journal: Journal, ops: Sequence[Op], bound: float) -> Step:
    return lambda: journal.add_ops(time_ops(backend, ops, bound=bound))


def _block_step(backend: Backend, journal: Journal, key: BlockKey) -> Step:
    def step() -> None:
        low, high = key.depths(DEPTH)
        first, second = sample_interleaved([backend.block(key, depth) for depth in (low, high)], runs=5)
        ms, spread = (second.ms - first.ms) / (high - low), (first.spread + second.spread) / (high - low)
        journal.add_whole(WholeTime(BLOCK, key.name, ms, spread, key.program.macs))

    return step


def _network_step(backend: Backend, journal: Journal, arch: Arch) -> Step:
    def step() -> None:
        times = network_times(backend.network(arch))
        low, ms, high = np.quantile(times, [0.25, 0.5, 0.75])
        journal.add_whole(WholeTime(NETWORK, arch.hash, float(ms), float(high - low), arch.lower().macs))

    return step
