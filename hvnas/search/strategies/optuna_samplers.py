"""Optuna's samplers as strategies."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hvnas._optuna import constraint_options
from hvnas._waiting import WaitReport
from hvnas.search.evaluations import Archive
from hvnas.search.problem import Problem
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Progress
from hvnas.search.shared.study import SharedStudy
from hvnas.search.strategies.optuna_run import OptunaRun
from hvnas.search.strategies.optuna_study import SamplerKind
from hvnas.search.strategies.registry import Strategy

if TYPE_CHECKING:
    import optuna

_POLL_SECONDS = 0.25
_OTHERS = "other searches of this study still evaluate the last networks"


@dataclass(frozen=True)
class OptunaStrategy(Strategy):
    """One of Optuna's samplers, by the name of its strategy.

    `storage` is one that several searches share, see `hvnas.search.shared.storage`; the study in it is called
    `study`, by default by a name made of the problem.
    """

    one_by_one: ClassVar[bool] = True

    sampler: str
    storage: str | None = None
    study: str | None = None

    def on_storage(self, storage: str) -> OptunaStrategy:
        """The same on a study in `storage`."""
        return replace(self, storage=storage)

    def run(
        self,
        problem: Problem,
        *,
        evals: int,
        seed: int,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> Archive:
        """Evaluate `evals` distinct architectures, or all there are to be found if those are fewer.

        Searches that share a storage evaluate `evals` together, and each returns the archive of all.

        A proposal that repeats an architecture is asked for again, 20 times at most; then it is mutated
        until it is new. Raises StorageError where the storage fails.
        """
        run = self.proposer(problem, evals=evals, seed=seed)
        try:
            checkpoint.restore(run.replay)
            report = WaitReport(_OTHERS)
            while True:
                proposal = run.ask()
                if proposal is not None:
                    report = WaitReport(_OTHERS)
                    run.tell(proposal, problem.evaluate(proposal.row))
                elif run.waiting:
                    report.tick()
                    time.sleep(_POLL_SECONDS)
                else:
                    return run.finish()
                progress.advanced(run.archive, evals=evals)
                if checkpoint.due():
                    checkpoint.save(run.state())
        finally:
            run.close()

    def proposer(
        self,
        problem: Problem,
        *,
        evals: int,
        seed: int,
        storage: str | None = None,
    ) -> OptunaRun:
        """The sampler at work on `problem`, for those who evaluate themselves; `close` it in the end.

        `storage` takes precedence over the strategy's own.
        """
        place = storage or self.storage
        shared = None if place is None else SharedStudy(problem, place, evals=evals, name=self.study)
        return OptunaRun(problem, KINDS[self.sampler], evals=evals, seed=seed, shared=shared)


def _population(evals: int) -> int:
    return int(np.clip(evals // 20, 10, 100))


def _make_tpe(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import TPESampler

    # Left to itself TPE models every parameter alone when there is more than one objective; the constant
    # liar keeps it from proposing next to what is being evaluated.
    return TPESampler(multivariate=True, constant_liar=True, seed=seed, **constraint_options())


def _make_nsga2(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(population_size=_population(evals), seed=seed, **constraint_options())


def _make_nsga3(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import NSGAIIISampler

    return NSGAIIISampler(population_size=_population(evals), seed=seed, **constraint_options())


def _make_gp(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(deterministic_objective=True, seed=seed, **constraint_options())


def _make_cmaes(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from importlib.util import find_spec

    from optuna.samplers import CmaEsSampler

    if find_spec("cmaes") is None:
        raise ValueError("strategy: cmaes needs the package cmaes; install it with pip install cmaes")
    # The margin keeps integers from freezing (Hamano et al. 2022, "CMA-ES with Margin").
    return CmaEsSampler(with_margin=True, warn_independent_sampling=False, seed=seed)


def _make_random(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _make_qmc(evals: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna.samplers import QMCSampler

    return QMCSampler(scramble=True, warn_independent_sampling=False, seed=seed)


KINDS = {
    "tpe": SamplerKind(make=_make_tpe),
    "nsga2": SamplerKind(make=_make_nsga2),
    "nsga3": SamplerKind(make=_make_nsga3),
    "cmaes": SamplerKind(make=_make_cmaes, integers=True, scalar=True),
    "gp": SamplerKind(make=_make_gp),
    "random": SamplerKind(make=_make_random, startup=False),
    # Categories would be drawn independently, outside the sequence.
    "qmc": SamplerKind(make=_make_qmc, startup=False, integers=True),
}
