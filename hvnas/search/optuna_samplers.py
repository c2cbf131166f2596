"""Optuna's samplers as strategies.

Spaces whose choices depend on other choices raise in several of Optuna's samplers, so a trial has one
parameter per gene, always; the encoding that it spells is made canonical afterwards. The study lives in
memory. Works with Optuna 4 (`constraints_func`) and 5 (`Trial.set_constraint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hvnas._optuna import quiet_optuna
from hvnas.search.archive import Archive
from hvnas.search.problem import Evaluations, Problem
from hvnas.search.registry import register_strategy
from hvnas.search.seams import GeneLike, Progress, Rows
from hvnas.search.seen import SeenSet, row_keys
from hvnas.search.state import Checkpoint, State

if TYPE_CHECKING:
    import optuna

_EXCESS = "excess"
_MAX_REPEATS = 20
_SAMPLE_MACS = (0.1e9, 5e9)


@dataclass(frozen=True)
class OptunaStrategy:
    """One of Optuna's samplers: ``tpe``, ``nsga2``, ``random`` or ``gp``."""

    sampler: str

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate `evals` distinct architectures, or all there are to be found if those are fewer.

        A proposal that repeats an architecture fails its trial and is asked for again, 20 times at most;
        then it is mutated until it is new. A run that was cut is continued by asking the sampler for
        everything again and answering from the record: Optuna's samplers keep state that cannot be stored.
        """
        with quiet_optuna():
            run = _Run(problem, _make_sampler(self.sampler, evals=evals, seed=seed), seed=seed)
            run.start(evals, startup=0 if self.sampler == "random" else max(10, evals // 20))
            state = checkpoint.load()
            if state is not None:
                run.replay(state)
            while run.archive.evaluated < evals and run.step():
                progress.advanced(run.archive, evals=evals)
                if checkpoint.due():
                    checkpoint.save(run.state())
        return run.archive


@register_strategy("tpe", adaptive=True, default_evals=1_000, summary="Optuna's multivariate TPE")
def _tpe() -> OptunaStrategy:
    return OptunaStrategy("tpe")


@register_strategy("nsga2", adaptive=True, default_evals=5_000, summary="Optuna's NSGA-II")
def _nsga2() -> OptunaStrategy:
    return OptunaStrategy("nsga2")


@register_strategy("random", adaptive=False, default_evals=5_000, summary="Optuna's random sampler")
def _random() -> OptunaStrategy:
    return OptunaStrategy("random")


@register_strategy("gp", adaptive=True, default_evals=60, summary="Optuna's Gaussian process (imports torch)")
def _gp() -> OptunaStrategy:
    return OptunaStrategy("gp")


def has_set_constraint() -> bool:
    """Whether this Optuna takes constraints from the trial (5.0 on) rather than from the sampler."""
    from optuna.trial import Trial

    return hasattr(Trial, "set_constraint")


def _make_sampler(name: str, *, evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    options: dict[str, Any] = {"seed": seed}
    if name == "random":
        return samplers.RandomSampler(**options)
    if not has_set_constraint():
        options["constraints_func"] = _excess_of
    if name == "tpe":
        # Left to itself TPE models every parameter alone when there is more than one objective.
        return samplers.TPESampler(multivariate=True, **options)
    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=int(np.clip(evals // 20, 10, 100)), **options)
    return samplers.GPSampler(deterministic_objective=True, **options)


def _excess_of(trial: optuna.trial.FrozenTrial) -> tuple[float]:
    return (trial.user_attrs[_EXCESS],)


class _Run:
    """A study and what it has been told."""

    def __init__(self, problem: Problem, sampler: optuna.samplers.BaseSampler, *, seed: int) -> None:
        import optuna

        self.problem = problem
        self.space = problem.space
        self.study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        self.distributions = {gene.name: _distribution(gene) for gene in self.space.genes}
        self.archive = Archive(len(self.space.genes))
        self.seen = SeenSet()
        self.rng = np.random.default_rng(seed)
        self.recorded: list[tuple[Rows, Evaluations]] = []
        self.to_replay: list[tuple[Rows, Evaluations]] = []

    def start(self, evals: int, *, startup: int) -> None:
        """Queue the problem's seeds and `startup` random architectures."""
        rows = self.problem.seeds
        if startup:
            sampled = self.space.sample(startup, rng=self.rng, macs=_SAMPLE_MACS)
            rows = np.concatenate([rows, sampled]) if len(rows) else sampled
        for row in rows[self.first_of(rows)][:evals]:
            self.study.enqueue_trial(self.params_of(row))

    @staticmethod
    def first_of(rows: Rows) -> np.ndarray:
        return SeenSet().add(row_keys(rows)) if len(rows) else np.empty(0, dtype=np.bool_)

    def step(self) -> bool:
        """Evaluate one new architecture; False where none is to be found."""
        trial, row = self.ask_new()
        if trial is None:
            return False
        evaluation = self.evaluate(row)
        self.recorded.append((row, evaluation))
        self.archive.add(row, evaluation)
        excess = _excess(self.problem, evaluation)
        if has_set_constraint():
            trial.set_constraint(_EXCESS, excess)
        else:
            trial.set_user_attr(_EXCESS, excess)
        self.study.tell(trial, [float(evaluation.objective[0]), float(evaluation.ms[0])])
        return True

    def evaluate(self, row: Rows) -> Evaluations:
        if not self.to_replay:
            return self.problem.evaluate(row)
        recorded, evaluation = self.to_replay.pop(0)
        if not np.array_equal(recorded, row):
            raise ValueError(
                "this run was begun with other versions of the packages: its proposals do not repeat. "
                "Install the versions in its config.yaml, or start a new run"
            )
        return evaluation

    def ask_new(self) -> tuple[optuna.trial.Trial | None, Rows]:
        """A trial whose architecture is new, with its canonical row [1, genes]."""
        import optuna

        for _ in range(1 + _MAX_REPEATS):
            trial = self.study.ask(self.distributions)
            row = self.row_of(trial.params)
            if self.seen.add(row_keys(row))[0]:
                return trial, row
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        row = self.mutant(row)
        if len(row) == 0:
            return None, row
        self.study.enqueue_trial(self.params_of(row[0]))
        return self.study.ask(self.distributions), row

    def mutant(self, row: Rows) -> Rows:
        """A new row near `row`, farther away the harder that is to find; no row where none is found."""
        for rate in (0.1, 0.2, 0.3, 0.5):
            candidates = self.space.mutate(np.repeat(row, 64, axis=0), rng=self.rng, rate=rate)
            new = self.take_first_new(candidates)
            if len(new):
                return new
        return self.take_first_new(self.space.sample(512, rng=self.rng))

    def take_first_new(self, rows: Rows) -> Rows:
        for i in range(len(rows)):
            if self.seen.add(row_keys(rows[i : i + 1]))[0]:
                return rows[i : i + 1]
        return rows[:0]

    def row_of(self, params: Mapping[str, Any]) -> Rows:
        raw = [params[gene.name] for gene in self.space.genes]
        return self.space.canonicalise(np.array([raw], dtype=np.int16))

    def params_of(self, row: Rows) -> dict[str, int]:
        return {gene.name: int(index) for gene, index in zip(self.space.genes, row, strict=True)}

    def state(self) -> State:
        """The record of every evaluation."""
        rows = np.concatenate([row for row, _ in self.recorded])
        evaluations = Evaluations.join([evaluation for _, evaluation in self.recorded])
        return State(arrays={"rows": rows, **evaluations.arrays()}, meta={})

    def replay(self, state: State) -> None:
        """Go through the recorded evaluations again, in their order."""
        rows = state.arrays["rows"]
        evaluations = Evaluations.stored(state.arrays)
        self.to_replay = [(rows[i : i + 1], evaluations.take(slice(i, i + 1))) for i in range(len(rows))]
        while self.to_replay:
            self.step()


def _distribution(gene: GeneLike) -> optuna.distributions.BaseDistribution:
    """Indices into the gene's list: ordered where its values are ascending numbers, else categories."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    values = list(gene.values)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if numbers and values == sorted(values) and len(values) > 1:
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(tuple(range(len(values))))


def _excess(problem: Problem, evaluation: Evaluations) -> float:
    """The constraint, feasible where <= 0; unlike the violation it tells how much room is left."""
    if evaluation.feasible[0]:
        return (float(evaluation.ms[0]) * (1 + problem.margin) - problem.budget_ms) / problem.budget_ms
    return float(evaluation.violation[0])
