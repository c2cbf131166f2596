"""Where a strategy's estimates are made: in this process, on Ray, or by several processes on one study."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hvnas.search.optuna_samplers import OptunaStrategy
from hvnas.search.registry import strategy_entry
from hvnas.search.request import Engine

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.folder import RunConfig
    from hvnas.search.problem import Problem
    from hvnas.search.seams import Strategy
    from hvnas.search.session import Session


def run_strategy(problem: Problem, config: RunConfig, engine: Engine, session: Session) -> Archive:
    """The archive of the configured strategy. Raises ValueError where it cannot run on the engine."""
    strategy = strategy_on(config.strategy, engine)
    if engine.name == "ray":
        from hvnas.search.on_ray import run_on_ray

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
    strategy = strategy_entry(name).make()
    if engine.storage is None:
        return strategy
    if not isinstance(strategy, OptunaStrategy):
        raise ValueError(
            f"storage: {name} keeps no study that processes could share; "
            "choose one of Optuna's strategies, such as --strategy tpe"
        )
    return replace(strategy, storage=engine.storage)
