"""Where a strategy's estimates are made: in this process, on Ray, or by several processes on one study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from hvnas._names import unknown_name
from hvnas.search.optuna_samplers import OptunaStrategy
from hvnas.search.registry import strategy_entry

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.folder import RunConfig
    from hvnas.search.on_ray import RayOptions
    from hvnas.search.problem import Problem
    from hvnas.search.seams import Strategy
    from hvnas.search.session import Session

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where estimates are made.

    ``local`` is this process. ``ray`` is the cluster at `address` (``auto``: the one running here; None: a
    local one for this run) with at most `workers` trials at once, each with its share of CPUs and GPUs; one
    that fails is tried again `max_retries` times.
    `storage` is a journal file or a database URL through which several processes share one study.

    Raises ValueError naming the field that makes no sense.
    """

    name: EngineName = "local"
    address: str | None = None
    workers: int | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    max_retries: int = 2
    storage: str | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(EngineName):
            raise ValueError(unknown_name("engine", self.name, get_args(EngineName)))
        if self.name != "ray" and (self.address is not None or self.workers is not None):
            raise ValueError("address and workers: are Ray's; add --engine ray (in Python, name='ray')")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: must be >= 1, got {self.workers}")
        for field in ("cpus_per_trial", "gpus_per_trial"):
            if not 0 <= getattr(self, field) <= 1024:
                raise ValueError(f"{field}: must be from 0 to 1024, got {getattr(self, field)}")
        if self.name == "ray":
            self.on_ray()

    def on_ray(self) -> RayOptions:
        """What Ray is told. Raises ValueError naming the field that makes no sense."""
        from hvnas.search.on_ray import RayOptions

        return RayOptions(
            address=self.address,
            workers=self.workers,
            cpus_per_trial=self.cpus_per_trial,
            gpus_per_trial=self.gpus_per_trial,
            max_retries=self.max_retries,
        )

    @property
    def shown_storage(self) -> str | None:
        """The storage without its password."""
        if self.storage is None:
            return None
        from hvnas.search.optuna_storage import parse_storage

        return parse_storage(self.storage).reference


LOCAL = Engine()


def resumed_engine(config: RunConfig) -> Engine:
    """The engine that the run was begun with; the password of its storage is not kept."""
    return Engine(name="ray" if config.engine == "ray" else "local", storage=config.storage)


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
            options=engine.on_ray(),
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
