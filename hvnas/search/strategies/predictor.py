"""Search with a predictor in the loop: fit on what was evaluated, propose the next batch, evaluate, repeat.

For estimators that take seconds a network: a Gaussian process learns from the architectures evaluated so far
(`hvnas.search.strategies.predicted`), and an evolution on its optimistic predictions, with latencies, sizes
and rules exact, proposes the next ones. Two thirds of a batch are the most promising ones that tell each
other apart (batched upper confidence bounds: Desautels, Krause, Burdick 2014, "Parallelizing
exploration-exploitation tradeoffs in Gaussian process bandit optimization"), the rest are drawn from the
whole predicted front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hvnas.search.evaluations import Archive, Evaluations
from hvnas.search.problem import Problem, rows_at_once
from hvnas.search.rows import Bools, Floats, Keys, Rows, SeenSet, distinct, row_keys
from hvnas.search.runs.checkpoint import Checkpoint, State
from hvnas.search.runs.session import Progress, Silent
from hvnas.search.strategies.evolution import Evolution
from hvnas.search.strategies.predicted import (
    Encoder,
    Regressor,
    Scaling,
    UpperConfidenceEstimator,
    predicted_problem,
)
from hvnas.search.strategies.registry import Strategy

# How many random architectures come first.
_LEAST_STARTUP, _MOST_STARTUP = 8, 40
# Random architectures to draw from, and those of them that breed.
_POOL, _PARENTS = 256, 64
# How often they breed at most, and the share of genes that change.
_GENERATIONS, _RATE = 20, 0.05
# The part of the predicted front that is looked at for a batch, its best end.
_SHORTLIST = 200


@dataclass(frozen=True, kw_only=True)
class Predictor(Strategy):
    """The settings of the loop.

    `startup` random architectures come first, `batch` ones are proposed at once (None: chosen by the
    evaluations); `inner` predictions are spent on a proposal; `optimism` standard deviations are added to
    the predicted mean; `drawn` is the share of a batch that is drawn from the whole predicted front.
    """

    startup: int | None = None
    batch: int | None = None
    inner: int = 2000
    optimism: float = 1.0
    drawn: float = 1 / 3

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate `evals` distinct architectures, or all there are to be found if those are fewer."""
        run = _Run(self, problem, evals=evals, seed=seed)
        checkpoint.restore(run.restore)
        while run.step():
            progress.advanced(run.archive, evals=evals)
            if checkpoint.due():
                checkpoint.save(run.state())
        return run.archive


class _Run:
    """What was evaluated, and what was proposed and not evaluated yet.

    A proposal depends on `seed`, on how many were made and on what was evaluated; nothing else is kept.
    """

    def __init__(self, settings: Predictor, problem: Problem, *, evals: int, seed: int) -> None:
        self.settings, self.problem, self.evals, self.seed = settings, problem, evals, seed
        self.space = problem.space
        self.startup = settings.startup or self.fitting_startup()
        self.batch = settings.batch or max(10 if problem.cheap else 4, evals // 50)
        self.encoder = Encoder(problem)
        self.pool = self.bred(np.random.default_rng(seed))
        self.scaling = Scaling.of(self.encoder(self.pool), free=len(self.encoder.columns))
        genes = len(self.space.genes)
        self.archive = Archive(genes)
        self.seen: Keys = np.empty(0, dtype=np.uint64)
        self.batches: list[tuple[Rows, Evaluations]] = []
        self.pending: Rows = np.empty((0, genes), dtype=np.int16)
        self.rounds = 0

    def fitting_startup(self) -> int:
        """A fifth of the evaluations, up to 40.

        Where an evaluation takes seconds, no more random ones than the space has choices to learn about.
        """
        choices = int((np.asarray(self.space.cardinalities) > 1).sum())
        most = _MOST_STARTUP if self.problem.cheap else np.clip(choices, _LEAST_STARTUP, _MOST_STARTUP)
        return int(np.clip(self.evals // 5, _LEAST_STARTUP, most))

    def step(self) -> bool:
        """Evaluate what was proposed, one by one where that takes long; False where all is done."""
        room = self.evals - self.archive.evaluated
        if room > 0 and len(self.pending) == 0:
            self.pending = self.propose()[:room]
        if room <= 0 or len(self.pending) == 0:
            return False
        count = rows_at_once(self.problem, len(self.pending))
        rows, self.pending = self.pending[:count], self.pending[count:]
        self.note(rows, self.problem.evaluate(rows))
        return True

    def note(self, rows: Rows, evaluations: Evaluations) -> None:
        """Take the result of a batch in."""
        self.seen = np.concatenate([self.seen, row_keys(rows)])
        self.batches.append((rows, evaluations))
        self.archive.add(rows, evaluations)

    # proposals

    def bred(self, rng: np.random.Generator) -> Rows:
        """Random rows, those that break least of what is known beforehand; it takes no evaluation.

        Under a tight budget one random architecture in a thousand is within it: the nearest ones breed until
        most are.
        """
        rows = distinct(self.problem.sample(_POOL, rng=rng, of_papers_size=True))
        excess = self.excess(rows)
        for _ in range(_GENERATIONS):
            if (excess == 0).sum() >= _POOL // 2:
                break
            pairs = rng.integers(min(_PARENTS, len(rows)), size=(2, _POOL // 2))
            children = self.space.crossover(rows[pairs[0]], rows[pairs[1]], rng=rng)
            children = self.space.mutate(children, rng=rng, rate=_RATE)
            new = SeenSet()
            new.add(row_keys(rows))
            children = children[new.add(row_keys(children))]
            rows = np.concatenate([rows, children])
            excess = np.concatenate([excess, self.excess(children)])
            kept = np.lexsort((rng.random(len(rows)), excess))[:_POOL]
            rows, excess = rows[kept], excess[kept]
        return rows

    def propose(self) -> Rows:
        """The next rows to evaluate, none of them seen, none twice; no row where none is to be found."""
        rng = np.random.default_rng([self.seed, self.rounds])
        self.rounds += 1
        if self.rounds == 1:
            return self.first(rng)
        learnt = self.learnt()
        if learnt is None:
            return self.drawn(self.batch, rng)
        candidates = self.candidates(learnt, rng)
        chosen = candidates[self.choice(learnt, candidates, rng)]
        if len(chosen) < self.batch:
            more = self.drawn(self.batch, rng)
            chosen = self.unseen(np.concatenate([chosen, more]))[: self.batch]
        return chosen

    def first(self, rng: np.random.Generator) -> Rows:
        """The problem's seeds, then random architectures within the budget."""
        drawn = self.drawn(self.startup, rng)
        seeds = self.problem.seeds
        return self.unseen(np.concatenate([seeds, drawn]) if len(seeds) else drawn)

    def drawn(self, n: int, rng: np.random.Generator) -> Rows:
        """At most n unseen rows: of the pool, those that break least first; then mutants."""
        rows = self.unseen(self.pool)
        if len(rows) < n:
            parents = self.pool[rng.integers(len(self.pool), size=_POOL)]
            mutants = self.space.mutate(parents, rng=rng, rate=0.3)
            rows = self.unseen(np.concatenate([rows, mutants]))
        order = np.lexsort((rng.random(len(rows)), self.excess(rows)))
        return rows[order[:n]]

    def excess(self, rows: Rows) -> Floats:
        """How much rows break of what is known without their accuracy; 0 where nothing."""
        if len(rows) == 0:
            return np.empty(0)
        screened = self.encoder.screen(rows)
        excess: Floats = screened.barred + np.maximum(screened.over[:, 0], 0)
        return excess

    def unseen(self, rows: Rows) -> Rows:
        """The rows that were not evaluated, each once."""
        if len(rows) == 0:
            return rows
        keys = row_keys(rows)
        return rows[SeenSet().add(keys) & ~np.isin(keys, self.seen)]

    def learnt(self) -> Regressor | None:
        """The regressor given what was evaluated; None where that is too little."""
        rows, evaluations = self.evaluated()
        targets = evaluations.objective.copy()
        known = np.isfinite(targets)
        if known.sum() < 2:
            return None
        # What was worth evaluating and could not be is as bad as the worst, so that its kind is avoided.
        failed = ~known & (self.excess(rows) == 0)
        targets[failed] = targets[known].min()
        used: Bools = known | failed
        return Regressor.fit(self.encoder(rows[used]), targets[used], self.scaling)

    def evaluated(self) -> tuple[Rows, Evaluations]:
        """Everything so far, in order."""
        rows, evaluations = zip(*self.batches, strict=True)
        return np.concatenate(rows), Evaluations.join(evaluations)

    def candidates(self, learnt: Regressor, rng: np.random.Generator) -> Rows:
        """The unseen part of the predicted front's best end, best last.

        The front of a single objective is one network: there they are the best that keep the bounds.
        """
        estimator = UpperConfidenceEstimator(
            self.encoder, learnt, optimism=self.settings.optimism, unit=self.problem.unit
        )
        inner = predicted_problem(self.problem, estimator, pool=self.pool, seeds=self.archive.rows)
        seed = int(rng.integers(2**31))
        found, population = Evolution().bred(
            inner, evals=self.settings.inner, seed=seed, progress=Silent(), checkpoint=Checkpoint()
        )
        if len(self.problem.objectives) == 1:
            population = self.unseen(population)
            return population[self.excess(population) == 0][:_SHORTLIST][::-1]
        return self.unseen(found.rows)[-_SHORTLIST:]

    def choice(self, learnt: Regressor, candidates: Rows, rng: np.random.Generator) -> np.ndarray:
        """Indices of a batch of candidates: the most promising ones, then some drawn."""
        count = min(self.batch, len(candidates))
        if count == 0:
            return np.empty(0, dtype=np.intp)
        promising = max(1, round((1 - self.settings.drawn) * count))
        features = self.encoder(candidates)
        chosen = promising_batch(
            learnt.predict(features).mean,
            learnt.covariance(features),
            optimism=self.settings.optimism,
            count=promising,
        )
        left = np.setdiff1d(np.arange(len(candidates)), chosen)
        drawn = rng.choice(left, size=min(count - len(chosen), len(left)), replace=False)
        return np.concatenate([chosen, drawn])

    # checkpoints

    def state(self) -> State:
        """Everything that the next step depends on."""
        rows, evaluations = self.evaluated()
        sizes = np.array([len(rows) for rows, _ in self.batches])
        arrays = {"rows": rows, "sizes": sizes, "pending": self.pending, **evaluations.arrays()}
        return State(arrays=arrays, meta={"rounds": self.rounds})

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        ends = np.cumsum(state.arrays["sizes"])[:-1].tolist()
        evaluations = Evaluations.stored(state.arrays)
        for part in np.split(np.arange(len(evaluations)), ends):
            self.note(state.arrays["rows"][part], evaluations.take(part))
        self.pending, self.rounds = state.arrays["pending"], state.meta["rounds"]


def promising_batch(mean: Floats, covariance: Floats, *, optimism: float, count: int) -> np.ndarray:
    """Indices of `count` points, each the highest mean + optimism * sd given that those before are known.

    `mean` [n] and `covariance` [n, n] of the predictions. What is known of a point lowers the sd of those
    like it and leaves the means as they are. n >= count.
    """
    left = covariance.copy()
    chosen: list[int] = []
    for _ in range(count):
        sd = np.sqrt(np.maximum(np.diag(left), 0))
        score = mean + optimism * sd
        score[chosen] = -np.inf
        best = int(np.argmax(score))
        chosen.append(best)
        if left[best, best] > 1e-12 * max(float(covariance[best, best]), 1e-300):
            left -= np.outer(left[:, best], left[best]) / left[best, best]
    return np.array(chosen, dtype=np.intp)
