"""A problem whose batches are evaluated by Ray's actors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas.parallel import Failure, Pool, actor_pool
from hvnas.search.evaluations import Evaluations
from hvnas.search.failures import EvaluationsFailed, Tally
from hvnas.search.problem import Accuracy, Problem
from hvnas.search.ray_work import Answer, estimates_of, work_on
from hvnas.search.seams import Floats, Rows

if TYPE_CHECKING:
    from hvnas.search.request import Engine

# Rows per call of an actor: their evaluation takes several times as long as the call, about a millisecond.
_ROWS_PER_CALL = 256


# Rows and whether their accuracy is wanted.
Batch = tuple[Rows, Accuracy]


@contextmanager
def ray_problem(
    problem: Problem, engine: Engine, *, rows_per_call: int | None = None, tally: Tally | None = None
) -> Iterator[Problem]:
    """`problem`, evaluating on actors inside of the block, which lies in one of `ray_cluster`.

    Of a cheap problem whole evaluations are sent, `rows_per_call` rows at once (256 unless given). Of an
    expensive one only the estimates of networks that are worth one, one network a call: a network whose
    estimate fails for good has a top-1 of -inf and is infeasible. An estimator that compares the networks of
    a batch with each other, as successive halving does, so sees each network alone. `tally` is told of
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
        yield SpreadProblem(**fields, spread=Spread(pool, size, tally or Tally()))


@dataclass(frozen=True)
class Spread:
    """Batches of `size` rows on a pool of workers."""

    pool: Pool[Batch, Any]
    size: int
    tally: Tally

    def outcomes(self, rows: Rows, accuracy: Accuracy = True) -> Iterator[tuple[Rows, Any]]:
        """Parts of `rows`, each with what the workers made of it, in order."""
        parts = [rows[i : i + self.size] for i in range(0, len(rows), self.size)]
        return zip(parts, self.pool.outcomes((part, accuracy) for part in parts), strict=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class SpreadProblem(Problem):
    """A problem that leaves its evaluations to `spread`."""

    spread: Spread

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
        means, sds = [], []
        for batch, outcome in self.spread.outcomes(rows):
            if isinstance(outcome, Failure):
                self.spread.tally.failure(batch, outcome.reason)
                mean, sd = np.full(len(batch), -np.inf), np.zeros(len(batch))
            else:
                self.spread.tally.success()
                mean, sd = self._estimates(batch, outcome)
            means.append(mean)
            sds.append(sd)
        return np.concatenate(means), np.concatenate(sds)

    def _estimates(self, rows: Rows, answers: list[Answer]) -> tuple[Floats, Floats]:
        return estimates_of(self.asked, answers, [self.space.decode(row) for row in rows])


def _work_on_batches(problem: Problem) -> Callable[[Batch], Any]:
    work = work_on(problem)
    return lambda batch: work(*batch)
