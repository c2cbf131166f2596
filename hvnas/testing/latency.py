"""A backend that computes its times, for tests of whatever measures: nothing runs, nothing is noisy.

from hvnas.testing.latency import FormulaBackend, registered

with registered("formula", FormulaBackend()):
    ...  # hvnas latency measure --backend formula
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from hvnas.arch import Arch
from hvnas.latency.measure import backends
from hvnas.latency.measure.backends import Runtime, Sampler, register_backend
from hvnas.latency.tables.block_keys import BlockKey
from hvnas.latency.tables.op_regressor import group_of
from hvnas.ops import Op

RUNTIME = Runtime(
    runtime="formula",
    runtime_version="1",
    compute_unit="none",
    precision="float32",
    threads=1,
    clock="no clock",
)


def formula_ms(op: Op) -> float:
    """Milliseconds of an op by itself: 20 G MACs/s, 10 G elements/s, and 2 microseconds."""
    return 0.002 + op.macs / 20e6 + (op.in_count + op.out_count + op.weight_count) / 10e6


@dataclass
class FormulaBackend:
    """A network takes `fixed_ms`, `op_ms` for each op, and each group's ops times the group's factor.

    Whole networks take `slow` times that, as where a machine is slower than when its table was measured.
    `timed` counts what was asked for: keys of ops, names of blocks, hashes of networks.
    """

    fixed_ms: float = 0.3
    op_ms: float = 0.001
    factors: Mapping[str, float] = field(default_factory=dict)
    slow: float = 1.0
    fuses_attention: bool = True
    runtime: Runtime = RUNTIME
    timed: Counter[object] = field(default_factory=Counter)

    def op(self, op: Op) -> Sampler:
        """An op by itself."""
        self.timed[op.key] += 1
        return _always(formula_ms(op))

    def block(self, key: BlockKey, depth: int) -> Sampler:
        """`depth` copies of a block, and the call."""
        self.timed[key.name] += 1
        return _always(self.fixed_ms + depth * self._ms(key.program.fused().ops))

    def network(self, arch: Arch) -> Sampler:
        """A whole network."""
        self.timed[arch.hash] += 1
        return _always(self.slow * (self.fixed_ms + self._ms(arch.lower().fused().ops)))

    def _ms(self, ops: Iterable[Op]) -> float:
        return sum(self.op_ms + self.factors.get(group_of(op), 1.0) * self._alone(op) for op in ops)

    def _alone(self, op: Op) -> float:
        return 0.0 if self.fuses_attention and group_of(op).endswith("_inner") else formula_ms(op)


@contextmanager
def registered(name: str, backend: FormulaBackend) -> Iterator[FormulaBackend]:
    """Inside, `backend` is known under `name`, whatever the number of threads."""
    register_backend(name)(lambda threads: backend)
    try:
        yield backend
    finally:
        del backends._BACKENDS[name]


def _always(ms: float) -> Sampler:
    return lambda n: [ms] * n
