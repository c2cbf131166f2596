"""Times that can be trusted: interleaved rounds, and rows too noisy to use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hvnas.latency.measure.backends import Backend, Sampler
from hvnas.latency.op_rows import OpTime
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
