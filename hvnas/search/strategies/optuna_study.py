"""One of Optuna's samplers with its study in memory: new networks out, results in.

Spaces whose choices depend on other choices raise in several of Optuna's samplers, so a trial has one
parameter per gene, always; the encoding that it spells is made canonical afterwards. Works with Optuna 4
(`constraints_func`) and 5 (`Trial.set_constraint`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas._optuna import constrain, constraint_marks, quiet_optuna
from hvnas.search.evaluations import Evaluations
from hvnas.search.problem import Problem
from hvnas.search.rows import GeneLike, Rows, SeenSet, row_keys

if TYPE_CHECKING:
    import optuna

_MAX_REPEATS = 20
# So many of the first networks give the scale of a scalar objective's penalty.
_SCALE_FROM = 100
# In standard deviations of the first objective, per 100 % of excess.
_PENALTY = 10.0


@dataclass(frozen=True, kw_only=True)
class SamplerKind:
    """A sampler and what it can take.

    `make` builds it from the number of evaluations and the seed. `startup`: random networks of all sizes come
    first. `integers`: every gene is a range of integers, for samplers that know no categories. `scalar`: the
    sampler has one objective, `SamplerStudy.scalar`.
    """

    make: Callable[[int, int], optuna.samplers.BaseSampler]
    startup: bool = True
    integers: bool = False
    scalar: bool = False


class SamplerStudy:
    """Proposes each network once: the problem's seeds, random ones, then the sampler's.

    A proposal that repeats a network fails its trial and is asked for again, 20 times at most; then it is
    mutated until it is new. CMA-ES, which has shrunk to known networks then, begins anew. Where a cost is
    not a finite number the sampler is told the worst one so far.
    """

    def __init__(self, problem: Problem, kind: SamplerKind, *, evals: int, seed: int) -> None:
        self.problem, self.space = problem, problem.space
        self.kind = kind
        self.evals = evals
        self.rng = np.random.default_rng(seed)
        self.objectives = 1 if kind.scalar else len(problem.objectives)
        self.study = self._fresh_study(seed)
        self.distributions = {g.name: distribution(g, integers=kind.integers) for g in self.space.genes}
        self._seen = SeenSet()
        self._queue: deque[Rows] = deque()
        self._known: dict[int, list[float]] = {}
        self._worst = np.full(len(problem.objectives), -np.inf)
        self._first_costs: list[float] = []

    @quiet_optuna()
    def _fresh_study(self, seed: int) -> optuna.Study:
        import optuna

        return optuna.create_study(
            directions=[optuna.study.StudyDirection.MINIMIZE] * self.objectives,
            sampler=self.kind.make(self.evals, seed),
        )

    def start(self, rows: Rows, *, random: int) -> None:
        """Propose `rows` [n, genes] first, then `random` networks where the sampler begins with such."""
        self._queue.extend(rows)
        if self.kind.startup and random > 0:
            self._queue.extend(self.problem.sample(random, rng=self.rng, of_papers_size=True))

    def new(self) -> tuple[optuna.trial.Trial | None, Rows]:
        """A trial whose network is new, with its canonical row [1, genes]; no row where there is none.

        The trial is None where the network is none of the sampler's and the sampler is not to think so.
        """
        while self._queue:
            row = self._queue.popleft()[None]
            if self.add_if_new(row):
                return self._trial_of(row), row
        for _ in range(1 + _MAX_REPEATS):
            trial = self.study.ask(self.distributions)
            row = self.row_of(trial.params)
            if self.add_if_new(row):
                return trial, row
            self._tell_repeat(trial, row)
        if self.kind.scalar:
            # It has converged, and would repeat itself from now on.
            self.study = self._fresh_study(int(self.rng.integers(1 << 31)))
        row = self._mutant(row)
        return (self._trial_of(row) if len(row) else None), row

    def add_if_new(self, row: Rows) -> bool:
        """Whether `row` [1, genes] was never seen; from now on it was."""
        return bool(self._seen.add(row_keys(row))[0])

    def tell(self, trial: optuna.trial.Trial | None, row: Rows, evaluations: Evaluations) -> None:
        """The result of a trial that `new` gave, a batch of one."""
        if trial is None:
            self.add(row, evaluations, {})
            return
        if not self.kind.scalar:
            constrain(trial, float(evaluations.excess[0]))
        trial.study.tell(trial, self._values(row, evaluations))

    def fail(self, trial: optuna.trial.Trial | None) -> None:
        """A trial that `new` gave has no result."""
        import optuna

        if trial is not None:
            trial.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def add(self, row: Rows, evaluations: Evaluations, marks: Mapping[str, Any]) -> None:
        """A result that was not asked for; `marks` is what another process' sampler noted with it."""
        import optuna

        excess = float(evaluations.excess[0])
        self.study.add_trial(
            optuna.trial.create_trial(
                values=self._values(row, evaluations),
                params=self.params_of(row[0]),
                distributions=self.distributions,
                system_attrs=constraint_marks(excess) | generation_in(marks),
            )
        )

    def marks_of(self, trial: optuna.trial.Trial | None) -> dict[str, Any]:
        """What the sampler noted on a trial that is of use to samplers of other processes."""
        if trial is None:
            return {}
        return generation_in(self.study.trials[trial.number].system_attrs)

    def scalar(self, cost: float, violation: float) -> float:
        """One number for samplers with one objective: the first cost plus a penalty.

        ``cost + 10 s violation``, where `violation` is the relative excess over the budget and the
        constraints plus the number of rules broken, and s the standard deviation of the cost among the first
        networks of the run. A linear penalty moves no optimum if it is steeper than what the objective gains
        by going over the budget. The objective varies by a few s over all sizes of networks, so it gains far
        less than 10 s by another 100 % of latency; in units of s this holds for points and scores alike.
        """
        spread = float(np.std(self._first_costs)) if len(self._first_costs) > 1 else 0.0
        return cost + _PENALTY * (spread or 1.0) * violation

    def row_of(self, params: Mapping[str, Any]) -> Rows:
        """The canonical row [1, genes] that a trial's parameters spell."""
        raw = [params[gene.name] for gene in self.space.genes]
        return self.space.canonicalise(np.array([raw], dtype=np.int16))

    def params_of(self, row: Rows) -> dict[str, int]:
        """The parameters that spell one row [genes]."""
        return {gene.name: int(index) for gene, index in zip(self.space.genes, row, strict=True)}

    def _trial_of(self, row: Rows) -> optuna.trial.Trial | None:
        """A trial of a network that is none of the sampler's, as if it were."""
        if self.kind.scalar:
            # CMA-ES would take the result for that of the point which it had drawn.
            return None
        self.study.enqueue_trial(self.params_of(row[0]))
        return self.study.ask(self.distributions)

    def _tell_repeat(self, trial: optuna.trial.Trial, row: Rows) -> None:
        """A repeat fails; CMA-ES, which steps by whole populations, is told what is known."""
        known = self._known.get(int(row_keys(row)[0])) if self.kind.scalar else None
        if known is None:
            self.fail(trial)
        else:
            self.study.tell(trial, known)

    def _mutant(self, row: Rows) -> Rows:
        """A new row near `row`, farther away the harder that is to find; no row where none is found."""
        for rate in (0.1, 0.2, 0.3, 0.5):
            candidates = self.space.mutate(np.repeat(row, 64, axis=0), rng=self.rng, rate=rate)
            new = self._take_first_new(candidates)
            if len(new):
                return new
        return self._take_first_new(self.problem.sample(512, rng=self.rng))

    def _take_first_new(self, rows: Rows) -> Rows:
        for i in range(len(rows)):
            if self.add_if_new(rows[i : i + 1]):
                return rows[i : i + 1]
        return rows[:0]

    def _values(self, row: Rows, evaluations: Evaluations) -> list[float]:
        """What the sampler is told: finite numbers."""
        costs = evaluations.costs[0].copy()
        finite = np.isfinite(costs)
        self._worst[finite] = np.maximum(self._worst, costs)[finite]
        costs[~finite] = np.where(np.isfinite(self._worst), self._worst, 0.0)[~finite]
        if not self.kind.scalar:
            return [float(cost) for cost in costs]
        if finite[0] and len(self._first_costs) < _SCALE_FROM:
            self._first_costs.append(float(costs[0]))
        values = [self.scalar(float(costs[0]), float(evaluations.violation[0]))]
        self._known[int(row_keys(row)[0])] = values
        return values


def distribution(gene: GeneLike, *, integers: bool) -> optuna.distributions.BaseDistribution:
    """Indices into the gene's list: ordered where its values are ascending numbers, else categories.

    With `integers` they are ordered always, in the order of the list.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    values: Sequence[Any] = list(gene.values)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if integers or (numbers and values == sorted(values) and len(values) > 1):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(tuple(range(len(values))))


def generation_in(marks: Mapping[str, Any]) -> dict[str, Any]:
    """The generation that a genetic sampler noted."""
    return {key: value for key, value in marks.items() if key.endswith("Sampler:generation")}
