"""Strategies on a table of published results: how far what they find is from the best that there is.

A table (`hvnas.accuracy.table`) answers in microseconds, but a strategy is told what it would be told of an
estimator that takes minutes: one network at a time, top-1 alone decides, and nothing is too slow or too
large. Its *regret* after n evaluations is the table's best top-1 less that of the best network evaluated so
far.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._names import MOST_SEED, check_whole
from hvnas.accuracy import AccuracyEstimator
from hvnas.accuracy.table import Members, PublishedTable, TableGene, read_table
from hvnas.arch import Arch
from hvnas.latency import LatencyArrays, LatencyDevice
from hvnas.ops import MACS, PARAMS, Column
from hvnas.search import Checkpoint, Objective, Problem
from hvnas.search.rows import Floats, Rows
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.predicted import is_ordered
from hvnas.search.strategies.registry import resolve_strategy, strategy_entry
from hvnas.space import Space, load_space
from hvnas.space.sampling import mutated

AUTO = "auto"
# What curves are read at.
STEPS = (25, 50, 100, 200)
TARGET = 0.3
MOST_SEEDS = 1_000
_COUNTS = {PARAMS: "params", MACS: "macs"}


@dataclass(frozen=True, eq=False, repr=False)
class TableSpace:
    """The networks of a complete table as a space for strategies: every combination of its genes.

    It has no architectures, only encodings: a table does not say what its networks are.
    """

    table: PublishedTable

    def __post_init__(self) -> None:
        if not self.table.complete:
            every = math.prod(self.table.cardinalities.tolist())
            raise ValueError(
                f"{self.table.path}: holds {len(self.table):,} of {every:,} combinations of its choices; a "
                "strategy may ask for any of them, so give a table that holds all"
            )

    @property
    def name(self) -> str:
        """The file's name."""
        return self.table.path.stem

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of the genes."""
        return hashlib.sha256(repr(self.table.genes).encode()).hexdigest()[:12]

    @property
    def size(self) -> int:
        """How many networks there are."""
        return len(self.table)

    @property
    def genes(self) -> tuple[TableGene, ...]:
        """Those of the table."""
        return self.table.genes

    @property
    def cardinalities(self) -> NDArray[np.int64]:
        """Values of each gene."""
        return self.table.cardinalities

    @property
    def limits(self) -> Mapping[str, float]:
        """None."""
        return MappingProxyType({})

    def canonicalise(self, rows: Rows) -> Rows:
        """Return the rows: each is another network."""
        return np.asarray(rows, dtype=np.int16)

    def sample(self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None = None) -> Rows:
        """Draw networks, each as likely, of any MACs."""
        return rng.integers(self.cardinalities, size=(n, len(self.genes))).astype(np.int16)

    def mutate(self, rows: Rows, *, rng: np.random.Generator, rate: float) -> Rows:
        """Return each gene redrawn, or moved to a neighbouring value, with probability `rate`."""
        return mutated(rows, self.cardinalities, self._ordered, rng=rng, rate=rate).astype(np.int16)

    @cached_property
    def _ordered(self) -> NDArray[np.bool_]:
        return np.array([is_ordered(gene) for gene in self.genes])

    def crossover(self, a: Rows, b: Rows, *, rng: np.random.Generator, canonical: bool = True) -> Rows:
        """Return children that take each gene from either parent."""
        return np.where(rng.random(a.shape) < 0.5, a, b)

    def decode(self, row: Rows) -> Arch:
        """Raise ValueError: there is none."""
        raise ValueError(f"{self.name}: a table has no architectures; name the space that it is of")

    def encode(self, arch: Arch) -> Rows:
        """Raise ValueError: there is none."""
        raise ValueError(f"{self.name}: a table has no architectures; name the space that it is of")

    def fixed_points(self) -> tuple[str, ...]:
        """None."""
        return ()


class _Timeless(LatencyDevice):
    """A device on which nothing takes any time, so that no budget has a say."""

    name = "none"
    hash = "0" * 12

    @property
    def columns(self) -> tuple[Column, ...]:
        return ()

    def latency_columns(self, values: Floats) -> LatencyArrays:
        zero = np.zeros(len(values))
        return LatencyArrays(zero, zero, zero, np.ones(len(values), dtype=np.bool_), {})


class BestFound(Exception):
    """Ends a run that has found the best network of a table: nothing that follows changes its regret."""


class _Answers(AccuracyEstimator):
    """Stands for an estimator that takes whole networks; `TableProblem` answers in its place."""


@dataclass(frozen=True, kw_only=True, repr=False)
class TableProblem(Problem):
    """The search for the best top-1 of a table, which remembers what was asked of it.

    `places` maps canonical rows [n, genes] to places in the table, -1 for what it lacks; `asked` holds the
    places of what was evaluated, in order. Where it `ends`, BestFound is raised once the best is among them.
    """

    table: PublishedTable
    places: Callable[[Rows], NDArray[np.intp]]
    ends: bool = False
    asked: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, table: PublishedTable, space: Space | None = None, *, ends: bool = False) -> TableProblem:
        """The search of `table`, by its own genes alone, or as the search of `space`.

        With a space, strategies see what the networks are. Raises ValueError where the two do not fit, and
        without a space where the table lacks combinations.
        """
        shared: dict[str, Any] = {
            "device": _Timeless(),
            "estimator": _Answers(),
            "budget_ms": 1.0,
            "objectives": (Objective("top1"),),
            "table": table,
            "ends": ends,
        }
        if space is not None:
            return cls(space=space, places=Members.of(table, space).places, **shared)
        counts = [table.counts.get(name, np.zeros(len(table))) for name in _COUNTS.values()]
        values = np.stack(counts, axis=1)
        return cls(
            space=TableSpace(table),
            places=table.places,
            features=lambda rows: values[table.places(rows)],
            **shared,
        )

    def _estimate(self, rows: Rows, values: Floats) -> tuple[Floats, Floats]:
        places = self.places(rows)
        self.asked.extend(places.tolist())
        if self.ends and (self.table.top1[places[places >= 0]] == self.table.top1.max()).any():
            raise BestFound
        return np.where(places < 0, -np.inf, self.table.top1[places]), np.zeros(len(rows))

    def regret(self, evals: int) -> Floats:
        """The regret after each of the first `evals` evaluations, in points. Shape [evals].

        Where a run ended earlier the last value stays.
        """
        asked = np.array(self.asked[:evals])
        top1 = np.where(asked < 0, -np.inf, self.table.top1[asked])
        regret = self.table.top1.max() - np.maximum.accumulate(top1)
        return np.concatenate([regret, np.full(evals - len(regret), regret[-1])])


@dataclass(frozen=True, eq=False)
class Curve:
    """One run of a strategy: its regret after each evaluation, in points [evals], and the seconds it took.

    A run ends where it has found the best network.
    """

    strategy: str
    seed: int
    regret: Floats
    seconds: float

    def needed(self, target: float) -> float:
        """How many evaluations brought the regret to `target`; inf where none did."""
        reached = np.flatnonzero(self.regret <= target)
        return float(reached[0] + 1) if len(reached) else float("inf")


@dataclass(frozen=True)
class Outcome:
    """What a strategy did over its runs.

    `regret` is the median after so many evaluations, `low` and `high` the quartiles; `needed` the median of
    the evaluations that brought it to the target, None where half of the runs did not; `seconds` a run's
    mean.
    """

    strategy: str
    runs: int
    regret: Mapping[int, float]
    low: Mapping[int, float]
    high: Mapping[int, float]
    needed: float | None
    seconds: float


def run_curve(
    table: PublishedTable, strategy: str, *, evals: int, seed: int, space: Space | None = None
) -> Curve:
    """Run a strategy, by name or ``auto``, on a table. Raises ValueError as `TableProblem.of`."""
    problem = TableProblem.of(table, space, ends=True)
    name = resolve_strategy(problem, evals).name if strategy == AUTO else strategy
    made = strategy_entry(name).make()
    made.check(problem)
    started = time.perf_counter()
    with suppress(BestFound):
        made.run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint())
    return Curve(strategy, seed, problem.regret(evals), time.perf_counter() - started)


def outcome(curves: Sequence[Curve], *, steps: Sequence[int] = STEPS, target: float = TARGET) -> Outcome:
    """The medians of runs of one strategy, with equally many evaluations each."""
    regret = np.stack([curve.regret for curve in curves])
    shown = [n for n in steps if n <= regret.shape[1]]
    low, middle, high = np.quantile(regret[:, [n - 1 for n in shown]], [0.25, 0.5, 0.75], axis=0)
    needed = float(np.median([curve.needed(target) for curve in curves]))
    return Outcome(
        curves[0].strategy,
        len(curves),
        dict(zip(shown, middle.tolist(), strict=True)),
        dict(zip(shown, low.tolist(), strict=True)),
        dict(zip(shown, high.tolist(), strict=True)),
        needed if np.isfinite(needed) else None,
        float(np.mean([curve.seconds for curve in curves])),
    )


@dataclass(frozen=True, eq=False)
class Bench:
    """What strategies did on a table, `space` the one that they were told of."""

    table: PublishedTable
    space: str | None
    evals: int
    target: float
    outcomes: tuple[Outcome, ...]

    @property
    def best(self) -> float:
        """The highest top-1 of the table."""
        return float(self.table.top1.max())

    @property
    def random(self) -> float:
        """The median of how many random networks bring the regret to the target."""
        return random_needed(self.table, self.target)


def random_needed(table: PublishedTable, target: float) -> float:
    """The median of how many random networks, drawn with replacement, bring the regret to `target`."""
    share = float((table.top1 >= table.top1.max() - target).mean())
    return float(np.log(0.5) / np.log1p(-share)) if share < 1 else 1.0


def bench(
    table: str | Path,
    strategies: Sequence[str] = (AUTO,),
    *,
    space: str | Path | None = None,
    value: str | None = None,
    evals: int = STEPS[-1],
    seeds: int = 5,
    target: float = TARGET,
    on_strategy: Callable[[str], None] = lambda name: None,
) -> Bench:
    """Run strategies on a table of published results, each with seeds 0 to ``seeds - 1``.

    `space` is the one whose networks the table holds, by name or file; without it strategies know the genes
    alone. `value` is as in `read_table`. `on_strategy` is told each name before its runs. Raises ValueError,
    one line, for what is out of range or does not fit.
    """
    check_whole("evals", evals, least=1, most=MOST_SEED)
    check_whole("seeds", seeds, least=1, most=MOST_SEEDS)
    if not 0 <= target <= 100:
        raise ValueError(f"target: must be from 0 to 100 points, got {target}")
    for name in strategies:
        if name != AUTO:
            strategy_entry(name)
    loaded = None if space is None else load_space(space)
    read = read_table(table, value=value)
    TableProblem.of(read, loaded)  # what does not fit is refused before anything runs
    evals = min(evals, len(read))

    def outcome_of(name: str) -> Outcome:
        on_strategy(name)
        curves = [run_curve(read, name, evals=evals, seed=seed, space=loaded) for seed in range(seeds)]
        return outcome(curves, steps=_steps(evals), target=target)

    return Bench(
        read,
        None if loaded is None else loaded.name,
        evals,
        target,
        tuple(map(outcome_of, strategies)),
    )


def _steps(evals: int) -> tuple[int, ...]:
    """What curves of so many evaluations are read at, their end among them."""
    return (*(n for n in STEPS if n < evals), evals)
