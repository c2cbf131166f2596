"""A search whose evaluations are made on a Ray cluster.

Strategies that propose one network at a time run as trials of Ray Tune, one network per trial. Strategies
that propose whole batches run here, and each batch is split over actors. What is sent to the workers is the
Problem, once per worker: what its estimator loads (a data set, a checkpoint) is loaded once per worker.

The record of a run is its own checkpoint, never Ray's: of Ray nothing is kept. With several workers the order
in which results arrive is chance, so two runs of one seed may differ; a run that was cut continues from what
was recorded, every evaluation that was told included, and is not repeated to the byte.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hvnas.search.archive import Archive
from hvnas.search.problem import Problem
from hvnas.search.seams import Progress, Strategy
from hvnas.search.state import Checkpoint

if TYPE_CHECKING:
    from hvnas.search.ray_trials import Proposing


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Where and with what evaluations are made.

    `address` is that of a running cluster, ``auto`` or ``HOST:PORT``; None starts a Ray of this machine's own
    for the run. At most `workers` networks are evaluated at once, None: as many as the cluster fits. Each
    evaluation is given `cpus_per_trial` and `gpus_per_trial`, which may be fractions; with 0 GPUs it sees
    none. One that fails, or whose machine is lost, is tried again `max_retries` times.

    Raises ValueError naming the field that makes no sense.
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_retries: int = 2

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: must be >= 1, got {self.workers}; leave it out for all that fit")
        if self.max_retries < 0:
            raise ValueError(f"max_retries: must be >= 0, got {self.max_retries}; 0 tries once")
        for name in ("cpus_per_trial", "gpus_per_trial"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: must be a number >= 0, got {value}; give 1, or a fraction")
        if self.cpus_per_trial == self.gpus_per_trial == 0:
            raise ValueError("cpus_per_trial: must be > 0 where gpus_per_trial is 0; give 1, or a fraction")

    @property
    def local_cpus(self) -> float | None:
        """The CPUs of a Ray of our own: room for `workers`, or else those of the machine."""
        if self.workers is None:
            return None
        return max(1, math.ceil(self.workers * self.cpus_per_trial))

    def check(self) -> None:
        """Raise ValueError where `workers` of these would never fit on this machine."""
        cores = os.cpu_count() or 1
        if self.address is None and self.cpus_per_trial > cores:
            raise ValueError(
                f"cpus_per_trial: must be at most {cores}, the CPUs of this machine, got "
                f"{self.cpus_per_trial:g}; ask for fewer, or give the address of a larger cluster"
            )


def run_on_ray(
    strategy: Strategy,
    problem: Problem,
    *,
    evals: int,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint,
    options: RayOptions | None = None,
) -> Archive:
    """What ``strategy.run`` does, with the evaluations made on Ray.

    A network whose evaluation fails for good is recorded as failed, counts as one of `evals`, and is not on
    the front. Where nothing but failures comes it ends, with the first reason. A stop request, which makes
    `checkpoint` raise Stopped, waits a few seconds for what is under way.

    Raises ValueError where Ray is not installed, there is no cluster at the address, or it has no room for
    one worker; EvaluationsFailed where every evaluation fails.
    """
    from hvnas.parallel import ray_cluster
    from hvnas.search.failures import Tally
    from hvnas.search.ray_batches import ray_problem
    from hvnas.search.ray_trials import run_trials

    options = options or RayOptions()
    options.check()
    with ray_cluster(options.address, cpus=options.local_cpus):
        if hasattr(strategy, "proposer"):
            return run_trials(
                cast("Proposing", strategy),
                problem,
                evals=evals,
                seed=seed,
                progress=progress,
                checkpoint=checkpoint,
                options=options,
            )
        tally = Tally.told_to(progress)
        with ray_problem(problem, options, tally=tally) as spread:
            archive = strategy.run(spread, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)
        tally.check()
        return archive
