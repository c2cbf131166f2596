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

from hvnas.search.archive import Archive
from hvnas.search.optuna_samplers import OptunaStrategy
from hvnas.search.problem import Problem
from hvnas.search.request import Engine
from hvnas.search.seams import Progress, Strategy
from hvnas.search.state import Checkpoint


def run_on_ray(
    strategy: Strategy,
    problem: Problem,
    *,
    evals: int,
    seed: int,
    progress: Progress,
    checkpoint: Checkpoint,
    engine: Engine | None = None,
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

    engine = engine or Engine(name="ray")
    _check_fits_here(engine)
    # A Ray of our own has room for the workers, or else the machine's CPUs.
    cpus = None if engine.workers is None else max(1, math.ceil(engine.workers * engine.cpus_per_trial))
    with ray_cluster(engine.address, cpus=cpus):
        if isinstance(strategy, OptunaStrategy):
            return run_trials(
                strategy,
                problem,
                evals=evals,
                seed=seed,
                progress=progress,
                checkpoint=checkpoint,
                engine=engine,
            )
        tally = Tally.told_to(progress)
        with ray_problem(problem, engine, tally=tally) as spread:
            archive = strategy.run(spread, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)
        tally.check()
        return archive


def _check_fits_here(engine: Engine) -> None:
    """Raise ValueError where a trial would never fit on this machine."""
    cores = os.cpu_count() or 1
    if engine.address is None and engine.cpus_per_trial > cores:
        raise ValueError(
            f"cpus_per_trial: must be at most {cores}, the CPUs of this machine, got "
            f"{engine.cpus_per_trial:g}; ask for fewer, or give the address of a larger cluster"
        )
