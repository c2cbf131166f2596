"""Where a strategy's estimates are made: in this process, on Ray, or by several processes on one study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvnas.search.request import Engine
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.registry import Strategy, strategy_entry

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive
    from hvnas.search.problem import Problem
    from hvnas.search.runs.folder import RunConfig
    from hvnas.search.runs.session import Session


@dataclass(frozen=True)
class _OnlyRuns(Strategy):
    """A strategy of another maker's that derives from nothing: it runs, and no more is asked of it."""

    strategy: Strategy

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """As that strategy does."""
        return self.strategy.run(problem, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)


def run_strategy(problem: Problem, config: RunConfig, engine: Engine, session: Session) -> Archive:
    """The archive of the configured strategy. Raises ValueError where it cannot run on the engine."""
    strategy = strategy_on(config.strategy, engine)
    if engine.name == "ray":
        from hvnas.search.engines.ray_batches import run_on_ray

        return run_on_ray(
            strategy,
            problem,
            evals=config.evals,
            seed=config.seed,
            progress=session,
            checkpoint=session,
            engine=engine,
        )
    return strategy.run(problem, evals=config.evals, seed=config.seed, progress=session, checkpoint=session)


def strategy_on(name: str, engine: Engine) -> Strategy:
    """The strategy, on the engine's storage if there is one. Raises ValueError where it can share nothing."""
    made = strategy_entry(name).make()
    strategy = made if isinstance(made, Strategy) else _OnlyRuns(made)
    if engine.storage is None:
        return strategy
    shared = strategy.on_storage(engine.storage)
    if shared is None:
        raise ValueError(
            f"storage: {name} keeps no study that processes could share; "
            "choose one of Optuna's strategies, such as --strategy tpe"
        )
    return shared
