"""A search whose evaluations are made on a Ray cluster: whole batches on actors, or trials of Ray Tune.

A search whose evaluations are made on a Ray cluster.

Strategies that propose one network at a time run as trials of Ray Tune, one network per trial. Strategies
that propose whole batches run here, and each batch is split over actors. What is sent to the workers is the
Problem, once per worker: what its estimator loads (a data set, a checkpoint) is loaded once per worker.

The record of a run is its own checkpoint, never Ray's: of Ray nothing is kept. With several workers the order
in which results arrive is chance, so two runs of one seed may differ; a run that was cut continues from what
was recorded, every evaluation that was told included, and is not repeated to the byte.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hvnas.parallel import Failure, Pool, actor_pool
from hvnas.search.engines.ray_tune import Answer, estimates_of, note_times, work_on
from hvnas.search.evaluations import Archive, Evaluations, EvaluationsFailed, FailureCount
from hvnas.search.problem import Accuracy, Problem
from hvnas.search.request import Engine
from hvnas.search.rows import Floats, Rows
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.optuna_samplers import OptunaStrategy
from hvnas.search.strategies.registry import Strategy

# Rows per call of an actor: their evaluation takes several times as long as the call, about a millisecond.
_ROWS_PER_CALL = 256


# Rows and whether their accuracy is wanted.
Batch = tuple[Rows, Accuracy]


@contextmanager
def ray_problem(
    problem: Problem,
    engine: Engine,
    *,
    rows_per_call: int | None = None,
    failures: FailureCount | None = None,
) -> Iterator[Problem]:
    """`problem`, evaluating on actors inside of the block, which lies in one of `ray_cluster`.

    Of a cheap problem whole evaluations are sent, `rows_per_call` rows at once (256 unless given). Of an
    expensive one only the estimates of networks that are worth one, one network a call: a network whose
    estimate fails for good has a top-1 of -inf and is infeasible. An estimator that compares the networks of
    a batch with each other, as successive halving does, so sees each network alone. `failures` is told of
    failures.
    """
    pool: Pool[Batch, Any] = actor_pool(
        partial(_work_on_batches, problem),
        workers=engine.workers,
        cpus=engine.cpus_per_trial,
        gpus=engine.gpus_per_trial,
        retries=engine.max_retries,
        depth=2 if problem.cheap else 1,
    )
    with pool:
        size = rows_per_call or (_ROWS_PER_CALL if problem.cheap else 1)
        fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
        yield SpreadProblem(**fields, spread=Spread(pool, size, failures or FailureCount()))


@dataclass(frozen=True)
class Spread:
    """Batches of `size` rows on a pool of workers."""

    pool: Pool[Batch, Any]
    size: int
    failures: FailureCount

    def outcomes(self, rows: Rows, accuracy: Accuracy = True) -> Iterator[tuple[Rows, Any]]:
        """Parts of `rows`, each with what the workers made of it, in order."""
        parts = [rows[i : i + self.size] for i in range(0, len(rows), self.size)]
        return zip(parts, self.pool.outcomes((part, accuracy) for part in parts), strict=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class SpreadProblem(Problem):
    """A problem that leaves its evaluations to `spread`."""

    spread: Spread

    @property
    def on_workers(self) -> bool:
        """They do."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        raise ValueError("a problem that is spread over workers cannot be sent; send the one it was made of")

    def evaluate(self, rows: Rows, *, accuracy: Accuracy = True) -> Evaluations:
        """As the problem does. Raises EvaluationsFailed where a part of a cheap problem's rows fails."""
        if not self.cheap or not accuracy or len(rows) == 0:
            return super().evaluate(rows, accuracy=accuracy)
        parts: list[Evaluations] = []
        for _, outcome in self.spread.outcomes(rows, accuracy):
            if isinstance(outcome, Failure):
                raise EvaluationsFailed(f"estimator: the evaluation of a batch failed: {outcome.reason}")
            parts.append(Evaluations.stored(outcome))
        return Evaluations.join(parts)

    def _estimate(self, rows: Rows, values: Floats) -> tuple[Floats, Floats]:
        means, sds, started = [], [], time.time()
        for batch, outcome in self.spread.outcomes(rows):
            if isinstance(outcome, Failure):
                self.spread.failures.failure(batch, outcome.reason)
                if self.trials is not None:
                    for row in batch:
                        self.trials.spent(row, started, time.time(), outcome.reason)
                mean, sd = np.full(len(batch), -np.inf), np.zeros(len(batch))
            else:
                self.spread.failures.success()
                note_times(self, batch, outcome)
                mean, sd = self._estimates(batch, outcome)
            means.append(mean)
            sds.append(sd)
        return np.concatenate(means), np.concatenate(sds)

    def _estimates(self, rows: Rows, answers: list[Answer]) -> tuple[Floats, Floats]:
        return estimates_of(self.refusals, answers, [self.space.decode(row) for row in rows])


def _work_on_batches(problem: Problem) -> Callable[[Batch], Any]:
    work = work_on(problem)
    return lambda batch: work(*batch)


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
    from hvnas.search.engines.ray_tune import run_trials
    from hvnas.search.evaluations import FailureCount

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
        failures = FailureCount(progress.failed)
        with ray_problem(problem, engine, failures=failures) as spread:
            archive = strategy.run(spread, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)
        failures.check()
        return archive


def _check_fits_here(engine: Engine) -> None:
    """Raise ValueError where a trial would never fit on this machine."""
    cores = os.cpu_count() or 1
    if engine.address is None and engine.cpus_per_trial > cores:
        raise ValueError(
            f"cpus_per_trial: must be at most {cores}, the CPUs of this machine, got "
            f"{engine.cpus_per_trial:g}; ask for fewer, or give the address of a larger cluster"
        )
