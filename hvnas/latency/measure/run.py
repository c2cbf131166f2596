"""Measuring a plan on this host, from where it was left: how long it will take, and what is on the disk
already.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hvnas._files import MAX_BYTES, open_regular
from hvnas.arch import Arch
from hvnas.latency.measure.backends import Backend, make_backend
from hvnas.latency.measure.plan import Plan
from hvnas.latency.measure.sampling import (
    LEAST_MS,
    NOISE_BOUND,
    host_cpu,
    host_os,
    sample_interleaved,
    time_ops,
)
from hvnas.latency.tables import op_rows
from hvnas.latency.tables.block_keys import BlockKey
from hvnas.latency.tables.op_rows import (
    BLOCK,
    NETWORK,
    OpTime,
    WholeTime,
    header,
    op_lines,
    read_op_rows,
    read_whole_rows,
    whole_line,
)
from hvnas.ops import Op

if TYPE_CHECKING:
    from hvnas.latency.remote.measurements import ModelMeasurement

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


def is_measured(plan: Plan, yaml: Path) -> bool:
    """Whether the journal beside `yaml` holds every row of a plan. Raises ValueError where it is damaged."""
    journal = Journal(yaml)
    ops, wholes = journal.keys
    return (
        ops.issuperset(op.key for op in plan.ops)
        and wholes.issuperset((BLOCK, key.name) for key in plan.blocks)
        and wholes.issuperset((NETWORK, arch.hash) for arch in plan.networks)
    )


def count_steps(plan: Plan) -> int:
    """Steps of a whole plan: chunks of ops, blocks and networks."""
    return -(-len(plan.ops) // CHUNK) + len(plan.blocks) + len(plan.networks)


def _steps(plan: Plan, backend: Backend, journal: Journal, bound: float) -> list[tuple[str, Step]]:
    measured, whole = journal.keys
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


RUNS = 15
LONG_MS = 200.0
FEW_RUNS = 7
# How long networks run together that take less each: a machine's pace changes within milliseconds.
WHILE_MS, MOST_RUNS = 300.0, 2000
CALM, TRIES = 0.05, 3


def time_networks(
    archs: Sequence[Arch],
    *,
    backend: str,
    threads: int | None = 1,
    passes: int = 2,
    on_step: Callable[[int, str], None] | None = None,
) -> list[tuple[float, ...]]:
    """Median milliseconds of every network, in as many passes over all of them.

    A pass builds each network anew, so that two passes tell what a time is worth. `on_step` is told how
    many timings are done and what comes next. Raises ValueError as `make_backend`.
    """
    timer = make_backend(backend, threads=threads or 1)
    times: list[list[float]] = [[] for _ in archs]
    for done in range(passes * len(archs)):
        k = done % len(archs)
        if on_step:
            on_step(done, archs[k].name)
        times[k].append(float(np.median(network_times(timer.network(archs[k])))))
    return [tuple(t) for t in times]


@dataclass(frozen=True)
class NetworkTime:
    """Milliseconds of a network: the mean of two medians, each of the network built anew.

    `spread` is the standard deviation of one of them, by their difference; `n` counts the runs of both.
    """

    ms: float
    spread: float
    n: int


def time_network(arch: Arch, backend: Backend) -> NetworkTime:
    """Time one network."""
    times = [network_times(backend.network(arch)) for _ in range(2)]
    first, second = (float(np.median(each)) for each in times)
    return NetworkTime((first + second) / 2, abs(first - second) / math.sqrt(2), sum(map(len, times)))


def network_row(arch: Arch, backend: Backend, *, source: str) -> ModelMeasurement:
    """Time one network of this host, with all that its time is of; the key is the hash of the network."""
    from hvnas.latency.remote.measurements import ModelMeasurement

    found, runtime = time_network(arch, backend), backend.runtime
    return ModelMeasurement(
        kind="model",
        key=f"{arch.hash}.yaml",
        resolution=arch.resolution,
        ms=found.ms,
        spread=found.spread,
        n=found.n,
        statistic="median",
        device=host_cpu(),
        os=host_os(),
        runtime=runtime.runtime,
        runtime_version=runtime.runtime_version,
        compute_unit=runtime.compute_unit,
        precision=runtime.precision,
        threads=runtime.threads,
        batch=1,
        protocol=f"{runtime.clock}; the mean of the medians of the network built twice",
        source=source,
    )


def network_times(sampler: Callable[[int], list[float]]) -> list[float]:
    """Milliseconds of `RUNS` runs, of `FEW_RUNS` where one is long; the calmest of a few tries.

    Short ones run more often, to run for about `WHILE_MS`. Where the middle half of the runs spans more than
    `CALM` of their median, something else was going on.
    """
    tries: list[list[float]] = []
    while len(tries) < TRIES and not (tries and _span(tries[-1]) <= CALM):
        first = sampler(3)
        tries.append([*first, *sampler(_runs(float(np.median(first))) - 3)])
    return min(tries, key=_span)


def _runs(ms: float) -> int:
    if ms > LONG_MS:
        return FEW_RUNS
    return max(RUNS, min(MOST_RUNS, math.ceil(WHILE_MS / max(ms, LEAST_MS))))


def _span(times: Sequence[float]) -> float:
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
    return float((high - low) / median)


class Journal:
    """Rows of ops (`NAME.csv`) and of blocks and networks (`NAME.whole.csv`), appended and synced at once.

    Opening it again continues it; half a line at the end, which a kill or a full disk leaves, goes.
    """

    def __init__(self, yaml: Path) -> None:
        self.ops_path, self.whole_path = yaml.with_suffix(".csv"), yaml.with_suffix(".whole.csv")
        for path, first in ((self.ops_path, header()), (self.whole_path, op_rows.whole_header())):
            _repair(path, first)
        self.ops = read_op_rows(self.ops_path, growing=True)
        self.wholes = read_whole_rows(self.whole_path)

    @property
    def keys(self) -> tuple[set[tuple[object, ...]], set[tuple[str, str]]]:
        """What is measured: ops by `Op.key`, and (kind, key) of blocks and networks."""
        return {row.op.key for row in self.ops}, {(row.kind, row.key) for row in self.wholes}

    def add_ops(self, rows: list[OpTime]) -> None:
        """Append rows of ops. Raises ValueError, one line, where they cannot be kept."""
        _append(self.ops_path, op_lines(rows))
        self.ops = (*self.ops, *rows)

    def add_whole(self, row: WholeTime) -> None:
        """Append a block or a network. Raises ValueError, one line, where it cannot be kept."""
        _append(self.whole_path, whole_line(row))
        self.wholes = (*self.wholes, row)


def _repair(path: Path, first: str) -> None:
    data = b""
    if path.exists():
        with open_regular(path, limit=MAX_BYTES) as file:
            data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    if not whole:
        _write(path, "wb", first)
    elif whole.partition(b"\n")[0].strip() != first.strip().encode():
        raise ValueError(f"{path}: row 1: what is added has the columns {first.strip()}; move the file away")
    elif whole != data:
        with path.open("r+b") as file:
            file.truncate(len(whole))


def _append(path: Path, text: str) -> None:
    _write(path, "ab", text)


def _write(path: Path, mode: str, text: str) -> None:
    try:
        with path.open(mode) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; what was measured is kept: make room and run the command again"
        ) from None
