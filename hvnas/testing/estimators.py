"""Estimators that stand for expensive ones: they take the networks, and as long as they are told to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hvnas.accuracy import AccuracyEstimator, Estimate, register_estimator
from hvnas.accuracy.loading import register_estimator_family
from hvnas.arch import Arch
from hvnas.ops import MACS, PARAMS, Program, evaluate_columns
from hvnas.search.problem import Problem
from hvnas.search.rows import Floats, Rows
from hvnas.testing.strategies import Landscape

NAME = "synthetic"


@dataclass(frozen=True)
class Synthetic(AccuracyEstimator):
    """Burns `seconds` of CPU time per network, then answers with a formula of its MACs and parameters.

    The time is that of the thread, so a network costs the same work on a busy machine. Top-1 grows with the
    logarithm of both counts, in points; the standard deviation is half a point everywhere.
    """

    seconds: float = 1.0
    meaning: ClassVar[str] = "a formula of MACs and params that stands for an expensive estimate"

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= 3600:
            raise ValueError(f"{NAME}: seconds: must be from 0 to 3600, got {self.seconds}")

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str = "modern300",
        scenario: str = "imagenet1k",
    ) -> Estimate:
        """One estimate per network, in order. Raises ValueError for bare Programs, which nobody can train."""
        mean = np.array([self._top1(network) for network in archs_or_programs])
        return Estimate(mean, np.full(len(mean), 0.5))

    def _top1(self, network: Arch | Program) -> float:
        if isinstance(network, Program):
            raise ValueError(f"{NAME}: takes architectures, got a Program; give the architecture")
        burn(self.seconds)
        macs, params = evaluate_columns([MACS, PARAMS], network.lower())
        return float(60 + 3 * np.log10(1 + macs / 1e6) + 2 * np.log10(1 + params / 1e5))


def burn(seconds: float) -> None:
    """Use so many seconds of this thread's CPU time."""
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


@register_estimator_family(NAME)
def from_options(text: str) -> Synthetic:
    """The estimator of ``synthetic:seconds=1``, given what stands behind the colon."""
    name, equals, value = text.partition("=")
    try:
        if not equals or name.strip() != "seconds":
            raise ValueError
        return Synthetic(float(value))
    except ValueError:
        raise ValueError(f"{NAME}: {text!r} is not seconds=NUMBER; write {NAME}:seconds=1") from None


@register_estimator(NAME)
def make_default() -> Synthetic:
    """One second a network."""
    return Synthetic()


@dataclass(frozen=True)
class _LandscapeSizes:
    """The columns that a toy problem reads where its estimator has none: latency, params, MACs."""

    landscape: Landscape

    def __call__(self, rows: Rows) -> Floats:
        return np.asarray(self.landscape.features(rows)[:, [0, 2, 3]])


def expensive_problem(
    landscape: Landscape, estimator: AccuracyEstimator, *, budget_ms: float | None = None
) -> Problem:
    """The toy problem of `landscape` with an estimator that takes the networks.

    Half of the space's random architectures are within its budget unless another one is given.
    """
    if budget_ms is None:
        rows = landscape.space.sample(2000, rng=np.random.default_rng(0))
        budget_ms = float(np.quantile(landscape.features(rows)[:, 0], 0.5))
    problem = landscape.problem(budget_ms=budget_ms, features=_LandscapeSizes(landscape))
    return replace(problem, estimator=estimator)
