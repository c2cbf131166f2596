"""What a strategy is, the registry of them, and which one suits a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from hvnas._registry import Late, Registry
from hvnas.search.problem import Problem
from hvnas.search.runs.session import Progress

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive
    from hvnas.search.runs.checkpoint import Checkpoint


@dataclass(frozen=True)
class Entry:
    """A strategy as registered: how to make it, and what is known of it."""

    name: str
    make: Callable[[], Strategy]
    adaptive: bool
    default_evals: int
    summary: str


class Strategy:
    """A way to spend a number of evaluations: one of your own derives from this and has a `run`.

    One that proposes `one_by_one` has every network on record, however little time an estimate takes; of
    others that is so where it takes seconds.
    """

    one_by_one: ClassVar[bool] = False

    def check(self, problem: Problem) -> None:
        """Raise ValueError where it cannot search `problem`; asked before anything is written."""

    def on_storage(self, storage: str) -> Strategy | None:
        """Return the same on a study that several searches share; None where it keeps none."""
        return None

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Evaluate at most `evals` distinct architectures of `problem` and return the front found.

        The same seed gives the same archive, whether or not the run was cut and continued from
        `checkpoint`.
        """
        raise NotImplementedError


T = TypeVar("T", bound=Callable[[], Strategy])
_STRATEGIES: Registry[Entry] = Registry("strategy", group="hvnas.strategies", named=False)


def register_strategy(name: str, *, adaptive: bool, default_evals: int, summary: str) -> Callable[[T], T]:
    """Decorator: make a strategy (a class, or a function that returns one) known under `name`.

    `adaptive` strategies learn from what they have evaluated, and must beat ``random`` in the conformance
    cases. `default_evals` is what a search spends where the user names no number; `summary` one line.
    """

    def register(make: T) -> T:
        _STRATEGIES.add(name, Entry(name, make, adaptive, default_evals, summary))
        return make

    return register


def list_strategies() -> list[str]:
    """Return names of the registered strategies."""
    return list(_STRATEGIES.names())


def strategy_entry(name: str) -> Entry:
    """The strategy registered under `name`. Raises ValueError naming those there are."""
    if not _STRATEGIES.has(name):
        raise ValueError(_STRATEGIES.unknown(name, list_strategies(), "auto, which picks one of them"))
    return _STRATEGIES[name]


register_strategy(
    "evolution", adaptive=True, default_evals=50_000, summary="vectorised NSGA-II, front refined"
)(Late("hvnas.search.strategies.evolution:Evolution"))
register_strategy(
    "grid", adaptive=False, default_evals=10_000_000, summary="every architecture of a small space, once"
)(Late("hvnas.search.strategies.grid:Grid"))
register_strategy(
    "predictor",
    adaptive=True,
    default_evals=200,
    summary="fits on what was evaluated, proposes the next batch",
)(Late("hvnas.search.strategies.predictor:Predictor"))
register_strategy(
    "slimming",
    adaptive=False,
    default_evals=200,
    summary="a supernet's largest network, slimmed by the least top-1 per ms (EfficientFormer)",
)(Late("hvnas.search.strategies.slimming:Slimming"))
register_strategy(
    "slimming-joint",
    adaptive=False,
    default_evals=400,
    summary="slimming by size and latency, every depth, width and expansion (EfficientFormerV2)",
)(Late("hvnas.search.strategies.slimming:joint"))


for _name, _adaptive, _evals, _summary in (
    ("tpe", True, 1_000, "Optuna's multivariate TPE"),
    ("nsga2", True, 5_000, "Optuna's NSGA-II"),
    ("nsga3", True, 5_000, "Optuna's NSGA-III, for many objectives"),
    ("cmaes", True, 2_000, "Optuna's CMA-ES on the first objective with a penalty"),
    ("gp", True, 60, "Optuna's Gaussian process (imports torch)"),
    ("qmc", False, 5_000, "Optuna's scrambled Sobol sequence"),
    ("random", False, 5_000, "Optuna's random sampler"),
):
    register_strategy(_name, adaptive=_adaptive, default_evals=_evals, summary=_summary)(
        Late("hvnas.search.strategies.optuna_samplers:OptunaStrategy", (_name,))
    )


# From here on a regression on what was evaluated takes longer than it saves: the Gaussian process is exact up
# to a few hundred networks.
_MANY = 2_000


class Choice(NamedTuple):
    """A registered strategy's name, and the reason for it: one clause, without a full stop."""

    name: str
    reason: str


def resolve_strategy(problem: Problem, evals: int | None, *, several: bool = False) -> Choice:
    """The strategy for `problem` with so many evaluations (None: the strategy's own default).

    `several` processes or workers propose at once: then only Optuna's strategies will do.
    scripts/study_predictor.py prints the comparison that the choice rests on.
    """
    if problem.cheap:
        return Choice(
            "evolution", "an estimate takes microseconds, so whole generations are estimated at once"
        )
    if several:
        return Choice("tpe", "an estimate takes seconds, and only Optuna's studies are shared by processes")
    count = strategy_entry("predictor").default_evals if evals is None else evals
    if count > _MANY:
        return Choice("tpe", f"an estimate takes seconds, and {count:,} are too many to fit a predictor to")
    return Choice(
        "predictor", "an estimate takes seconds, and a predictor fitted to those made needs the fewest"
    )
