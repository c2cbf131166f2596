"""Vectorised NSGA-II over integer encodings (Deb, Pratap, Agarwal, Meyarivan 2002).

The problem's objectives are traded against each other, budget and constraints are handled by constraint
domination (section VI there). Three things are added: no architecture is evaluated twice; a share of the
parents comes from the end of the front that lies at the budget; and the last part of the evaluations goes
to the neighbours of the front, best first, so that its members are optima in every single gene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hvnas.search.evaluations import Archive, Evaluations
from hvnas.search.pareto import crowding, ranks
from hvnas.search.problem import Problem
from hvnas.search.rows import Bools, Floats, Rows, SeenSet, neighbours, row_keys
from hvnas.search.runs.checkpoint import Checkpoint, State
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Evolution(Strategy):
    """The settings of the evolution.

    `population` architectures per generation (None: chosen by the evaluations); `mutated` genes change per
    child on average, at most a twentieth of them, but one, where an evaluation takes seconds; `crossed` is
    the share of children with two parents, `focused` the share whose parents come from the end of the front
    at the budget; `refined` the share of evaluations for refinement.
    """

    population: int | None = None
    mutated: float = 3.0
    crossed: float = 0.9
    focused: float = 0.4
    refined: float = 0.1

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate `evals` distinct architectures, or all there are to be found if those are fewer."""
        return self.bred(problem, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)[0]

    def bred(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> tuple[Archive, Rows]:
        """As `run`; returns the last population, too, best first. Shape [population, genes]."""
        run = _Run(self, problem, evals=evals, seed=seed)
        if not checkpoint.restore(run.restore):
            run.start()
        while not run.finished:
            progress.advanced(run.archive, evals=evals)
            if checkpoint.due():
                checkpoint.save(run.state())
            run.step()
        progress.advanced(run.archive, evals=evals)
        return run.archive, run.rows


def _population(evals: int, *, few: bool) -> int:
    """Architectures per generation; `few` where evaluations are dear and no front has to be held."""
    if few:
        return max(10, int(0.7 * math.sqrt(evals)))
    return min(max(16, int(1.6 * math.sqrt(evals))), 4000)


def _mutation_rate(settings: Evolution, problem: Problem) -> float:
    """The share of genes that change per child.

    Thousands of evaluations can afford diversity. A few hundred are spent on steps: where a space has eight
    choices, a child that differs in three of them has forgotten its parents.
    """
    if problem.cheap:
        return min(0.5, settings.mutated / len(problem.space.genes))
    varying = int((np.asarray(problem.space.cardinalities) > 1).sum())
    return min(0.5, min(settings.mutated, max(1.0, varying / 20)) / max(1, varying))


class _Run:
    """One run of the evolution. The population is kept sorted, best first."""

    # Steps without anything new after which the space counts as exhausted.
    MAX_STALE = 30

    def __init__(self, settings: Evolution, problem: Problem, *, evals: int, seed: int) -> None:
        self.settings = settings
        self.problem = problem
        self.space = problem.space
        self.evals = evals
        genes = len(self.space.genes)
        self.few = not problem.cheap and len(problem.objectives) == 1
        self.size = settings.population or _population(evals, few=self.few)
        self.base_rate = _mutation_rate(settings, problem)
        self.rate = self.base_rate
        self.steps_per_row = max(1, int(np.sum(np.asarray(self.space.cardinalities) - 1)))
        self.rng = np.random.default_rng(seed)
        self.archive = Archive(genes)
        self.seen = SeenSet()
        self.expanded: set[int] = set()
        self.stale = 0
        self.rows: Rows = np.empty((0, genes), dtype=np.int16)
        self.evaluations = Evaluations.none()

    @property
    def finished(self) -> bool:
        return self.archive.evaluated >= self.evals or self.stale >= self.MAX_STALE

    def start(self) -> None:
        """The first population: the problem's seeds and random architectures.

        A quarter of a population of them: what they lack mutation supplies, and every network far from
        the front has parts that are lowered for it alone. A population of few is filled with them.
        """
        count = self.size if self.few else max(16, self.size // 4)
        rows = self.problem.sample(count, rng=self.rng, of_papers_size=True)
        if len(self.problem.seeds):
            rows = np.concatenate([self.problem.seeds, rows])
        self.admit(rows)

    def step(self) -> None:
        """One batch: neighbours of the front when their time has come and some are left, else children."""
        late = self.archive.evaluated >= (1 - self.settings.refined) * self.evals
        rows = self.around_front() if late else None
        self.admit(self.children() if rows is None else rows)

    def admit(self, rows: Rows) -> None:
        """Evaluate what is new in `rows` and let it compete with the population."""
        if not self.problem.cheap:
            # What is not to be chosen whatever its accuracy would spend an evaluation on nothing.
            rows = rows[self.problem.allowed(rows)]
        new = rows[self.seen.add(row_keys(rows))][: self.evals - self.archive.evaluated]
        self.adapt(len(new) / max(1, len(rows)))
        self.stale = 0 if len(new) else self.stale + 1
        if len(new) == 0:
            return
        evaluations = self.problem.evaluate(new, accuracy="allowed")
        self.archive.add(new, evaluations)
        rows = np.concatenate([self.rows, new])
        evaluations = Evaluations.join([self.evaluations, evaluations])
        order = competition_order(evaluations)[: self.size]
        self.rows, self.evaluations = rows[order], evaluations.take(order)

    def adapt(self, share_new: float) -> None:
        """Mutate more when children repeat what was seen, fall back to the base rate when they do not."""
        if share_new < 0.5:
            self.rate = min(0.5, self.rate * 1.2)
        else:
            self.rate = max(self.base_rate, self.rate * 0.9)

    def children(self) -> Rows:
        """`size` new candidates from the population and from the front's end at the budget."""
        if self.stale > self.MAX_STALE // 2 or len(self.rows) == 0:
            return self.problem.sample(self.size, rng=self.rng)
        focused = int(self.settings.focused * self.size) if len(self.archive) else 0
        first = np.concatenate([self.tournament(self.size - focused), self.near_budget(focused)])
        second = np.concatenate([self.tournament(self.size - focused), self.near_budget(focused)])
        crossed = self.rng.random(self.size) < self.settings.crossed
        children = first.copy()
        children[crossed] = self.space.crossover(
            first[crossed], second[crossed], rng=self.rng, canonical=False
        )
        return self.space.mutate(children, rng=self.rng, rate=self.rate)

    def tournament(self, n: int) -> Rows:
        """n parents, each the better of two drawn from the population."""
        drawn = self.rng.integers(len(self.rows), size=(2, n))
        return self.rows[drawn.min(axis=0)]

    def near_budget(self, n: int) -> Rows:
        """n parents from the front, those with the highest objective most often."""
        back = self.rng.exponential(scale=max(1.0, len(self.archive) / 8), size=n).astype(np.intp)
        return self.archive.rows[len(self.archive) - 1 - np.minimum(back, len(self.archive) - 1)]

    def around_front(self) -> Rows | None:
        """Neighbours of front members that had none evaluated yet, highest objective first."""
        wanted = max(1, self.size // self.steps_per_row)
        chosen = []
        keys = row_keys(self.archive.rows)
        for place in range(len(self.archive) - 1, -1, -1):
            key = int(keys[place])
            if key not in self.expanded:
                chosen.append(place)
                self.expanded.add(key)
            if len(chosen) == wanted:
                break
        return neighbours(self.space, self.archive.rows[chosen]) if chosen else None

    def state(self) -> State:
        """Everything that the next step depends on."""
        arrays = {"population.rows": self.rows, **self.archive.arrays()}
        arrays |= {f"population.{name}": array for name, array in self.evaluations.arrays().items()}
        arrays["expanded"] = np.array(sorted(self.expanded), dtype=np.uint64)
        meta = {
            "rng": self.rng.bit_generator.state,
            "evaluated": self.archive.evaluated,
            "rate": self.rate,
            "stale": self.stale,
        }
        return State(arrays=arrays, meta=meta, keys=self.seen.take_unsaved())

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.rng.bit_generator.state = state.meta["rng"]
        self.archive = Archive.stored(state.arrays, evaluated=state.meta["evaluated"])
        self.rate, self.stale = state.meta["rate"], state.meta["stale"]
        self.rows = state.arrays["population.rows"]
        self.evaluations = Evaluations.stored(state.arrays, prefix="population.")
        self.expanded = {int(key) for key in state.arrays["expanded"]}
        self.seen.add(state.keys)
        self.seen.take_unsaved()


def competition_order(evaluations: Evaluations) -> np.ndarray:
    """Best first: the feasible by front, then crowding; after them the infeasible by violation."""
    feasible: Bools = evaluations.feasible
    rank = np.empty(len(evaluations))
    spread: Floats = np.zeros(len(evaluations))
    costs = evaluations.costs[feasible]
    fronts = ranks(costs)
    rank[feasible] = fronts
    spread[feasible] = crowding(costs, fronts)
    rank[~feasible] = len(evaluations) + evaluations.violation[~feasible]
    return np.lexsort((-spread, rank))
