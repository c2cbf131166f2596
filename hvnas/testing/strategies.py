"""Conformance of strategies: subclass `StrategyConformance` and set `strategy` to the registered name.

The landscapes are synthetic: small spaces with the traits of real ones (inactive genes, a gate, budgets
that cut through the middle), whose latency and top-1 are closed formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from hvnas.accuracy import ColumnEstimator, Estimate
from hvnas.arch import Arch, Run, Stage
from hvnas.blocks import block_class
from hvnas.latency import LatencyArrays, LatencyDevice
from hvnas.ops import Column
from hvnas.search.evaluations import Archive, Evaluations
from hvnas.search.pareto import front, hypervolume
from hvnas.search.problem import Accuracy, Problem
from hvnas.search.rows import Features, Floats, Rows
from hvnas.search.runs.checkpoint import Checkpoint, State
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.registry import strategy_entry


@dataclass(frozen=True)
class ToyGene:
    """A name and an ordered list."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class ToySpace:
    """`count` genes of `choices` values each; where the first gene is 0 the last two are inactive."""

    count: int = 8
    choices: int = 6
    name: str = "toy"
    hash: str = "000000000000"

    def __post_init__(self) -> None:
        assert self.count % 2 == 0 and self.count >= 4, "genes come in pairs of depth and width"

    @property
    def genes(self) -> tuple[ToyGene, ...]:
        """Depths and widths of ``count / 2`` stages in turn."""
        names = [f"stages.{i}.{what}" for i in range(self.count // 2) for what in ("depth", "width")]
        lists = (tuple(range(1, self.choices + 1)), tuple(8 * i for i in range(1, self.choices + 1)))
        return tuple(ToyGene(name, lists[i % 2]) for i, name in enumerate(names))

    @property
    def cardinalities(self) -> np.ndarray:
        """Choices per gene."""
        return np.full(self.count, self.choices)

    @property
    def limits(self) -> dict[str, float]:
        """None."""
        return {}

    @property
    def size(self) -> int:
        """Canonical encodings."""
        return (self.choices - 1) * self.choices ** (self.count - 1) + self.choices ** (self.count - 3)

    def everything(self) -> Rows:
        """Every canonical row, int16 [size, genes]."""
        grid = np.indices((self.choices,) * self.count).reshape(self.count, -1).T.astype(np.int16)
        return grid[(self.canonicalise(grid) == grid).all(axis=1)]

    def canonicalise(self, rows: Rows) -> Rows:
        """Inactive genes set to 0."""
        rows = np.array(rows, dtype=np.int16)
        rows[rows[:, 0] == 0, -2:] = 0
        return rows

    def sample(self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None = None) -> Rows:
        """Uniform over encodings, whatever `macs` says."""
        return self.canonicalise(rng.integers(self.choices, size=(n, self.count)).astype(np.int16))

    def mutate(self, rows: Rows, *, rng: np.random.Generator, rate: float) -> Rows:
        """Every gene redrawn with probability `rate`."""
        fresh = rng.integers(self.choices, size=rows.shape)
        return self.canonicalise(np.where(rng.random(rows.shape) < rate, fresh, rows))

    def crossover(self, a: Rows, b: Rows, *, rng: np.random.Generator, canonical: bool = True) -> Rows:
        """Every gene from either parent."""
        children = np.where(rng.random(a.shape) < 0.5, a, b)
        return self.canonicalise(children) if canonical else children

    def decode(self, row: Rows) -> Arch:
        """A real, if small, network per canonical row."""
        stages = []
        for i in range(0, self.count, 2):
            width = 8 * (int(row[i + 1]) + 1)
            down = None if i == 0 else block_class("conv_down")(out=width)
            run = Run(block=block_class("poolformer")(out=width), depth=int(row[i]) + 1)
            stages.append(Stage(downsample=down, local=run))
        stem = block_class("patch_stem")(out=8 * (int(row[1]) + 1))
        return Arch(resolution=64, stem=stem, stages=tuple(stages), head=block_class("classifier")(out=1000))

    def encode(self, arch: Arch) -> Rows:
        """The row that `decode` turns into `arch`."""
        pairs = [(run.depth - 1, run.width // 8 - 1) for stage in arch.stages for _, run in stage.runs]
        return np.array(pairs, dtype=np.int16).reshape(-1)

    def fixed_points(self) -> tuple[str, ...]:
        """None."""
        return ()


def _nothing(_: Any) -> float:
    return 0.0


def _nothing_either(_: Any) -> float:
    return 0.0


@dataclass(frozen=True)
class ToyDevice(LatencyDevice):
    """Reads the latency from its only column; latencies that end in the upper half of 0.1 ms are outside.

    `gated` switches that rule on.
    """

    gated: bool = False
    name: str = "toy-device"
    hash: str = "000000000000"
    columns: tuple[Column, ...] = (Column("toy.ms", "sum", _nothing),)

    def latency_columns(self, values: Floats) -> LatencyArrays:
        """Latencies of [n, 1] values."""
        ms = values[:, 0]
        excluded = (ms * 10) % 1 >= 0.5 if self.gated else np.zeros(len(ms), dtype=np.bool_)
        return LatencyArrays(ms, ms * 0.9, ms * 1.1, ~excluded, {"upper half": excluded})


@dataclass(frozen=True)
class ToyEstimator(ColumnEstimator):
    """Reads top-1 from its only column; the standard deviation is half a point everywhere."""

    columns: tuple[Column, ...] = (Column("toy.top1", "sum", _nothing_either),)

    def estimate_columns(
        self, values: Floats, *, recipe: str = "modern300", scenario: str = "imagenet1k"
    ) -> Estimate:
        """Top-1 of [n, 1] values."""
        return Estimate(values[:, 0], np.full(len(values), 0.5))


@dataclass(frozen=True)
class Landscape:
    """Latency and top-1 as formulas of genes scaled to 0..1; `couplings` between genes, `gated` or not."""

    name: str
    couplings: float = 0.0
    gated: bool = False
    space: ToySpace = field(default_factory=ToySpace)

    @cached_property
    def _weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(len(self.name))
        count = self.space.count
        pairs = np.triu(rng.normal(size=(count, count)), 1)
        return rng.uniform(0.1, 1, count), rng.uniform(0.5, 3, count), pairs

    def features(self, rows: Rows) -> Floats:
        """The columns of a toy problem: latency, top-1, params, MACs. Shape [n, 4]."""
        costs, gains, pairs = self._weights
        x = rows / (self.space.choices - 1)
        # Sums along an axis, not matrix products: those round a row differently in batches of other sizes.
        products = self.couplings * x[:, :, None] * x[:, None, :]
        ms = 0.3 + (x * costs).sum(axis=1) + 0.5 * (products * np.abs(pairs)).sum(axis=(1, 2))
        top1 = 70 + (np.sqrt(x) * gains).sum(axis=1) + 3 * (products * pairs).sum(axis=(1, 2))
        return np.stack([ms, top1, 1e6 * ms, 1e9 * ms], axis=1)

    def problem(self, *, budget_ms: float | None = None, features: Features | None = None) -> Problem:
        """The problem, with a budget that 30 % of the space's random architectures meet if none is given."""
        if budget_ms is None:
            rows = self.space.sample(2000, rng=np.random.default_rng(0))
            budget_ms = float(np.quantile(self.features(rows)[:, 0], 0.3))
        return Problem(
            space=self.space,
            device=ToyDevice(self.gated),
            estimator=ToyEstimator(),
            budget_ms=budget_ms,
            features=features or self.features,
        )


LANDSCAPES = (Landscape("additive"), Landscape("coupled", couplings=1.0), Landscape("gated", 0.5, gated=True))


@dataclass(frozen=True, kw_only=True, repr=False)
class WatchedProblem(Problem):
    """A problem that remembers what was evaluated, batch by batch; what is only screened does not count."""

    batches: list[tuple[Rows, Evaluations]] = field(default_factory=list, init=False)

    def evaluate(self, rows: Rows, *, accuracy: Accuracy = True) -> Evaluations:
        """As the problem does."""
        found = super().evaluate(rows, accuracy=accuracy)
        self.batches.append((rows, found))
        return found

    @property
    def evaluated(self) -> Rows:
        """Every row, in order."""
        return np.concatenate([rows for rows, _ in self.batches])

    @property
    def found(self) -> Evaluations:
        """What was found of them."""
        return Evaluations.join([found for _, found in self.batches])

    @staticmethod
    def of(problem: Problem, **changes: Any) -> WatchedProblem:
        """`problem` with changes, watched."""
        kept = {field.name: getattr(problem, field.name) for field in fields(Problem)}
        return WatchedProblem(**(kept | changes))


class MemoryCheckpoint(Checkpoint):
    """Saves at every chance, and cuts the run (KeyboardInterrupt) at save number `cut`."""

    def __init__(self, *, cut: int | None = None) -> None:
        self.cut = cut
        self.saves = 0
        self.state: State | None = None

    def due(self) -> bool:
        """Always."""
        return True

    def load(self) -> State | None:
        """The state saved last."""
        return self.state

    def save(self, state: State) -> None:
        """Keep `state`, all keys in it."""
        before = self.state.keys if self.state else np.empty(0, dtype=np.uint64)
        self.state = State(state.arrays, state.meta, np.concatenate([before, state.keys]))
        self.saves += 1
        if self.saves == self.cut:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class ConformanceRun:
    """A search of a landscape: the problem, with all that was evaluated, and the archive in the end."""

    problem: WatchedProblem
    archive: Archive


class StrategyConformance:
    """What every strategy must do. Subclass it, set `strategy`, and lower `evals` where it is slow."""

    strategy: str
    evals: int = 300
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    _runs: ClassVar[dict[tuple[Landscape, int], ConformanceRun]]

    def __init_subclass__(cls) -> None:
        """Give every class runs of its own."""
        super().__init_subclass__()
        cls._runs = {}

    def run_on(self, landscape: Landscape, seed: int = 0) -> ConformanceRun:
        """The strategy's search of `landscape`, made once for all cases."""
        if (landscape, seed) not in self._runs:
            problem = WatchedProblem.of(landscape.problem())
            self._runs[landscape, seed] = ConformanceRun(problem, self.search(problem, seed=seed))
        return self._runs[landscape, seed]

    def search(
        self,
        problem: Problem,
        *,
        evals: int | None = None,
        seed: int = 0,
        strategy: str | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Archive:
        """Run the strategy (or another one, by name)."""
        return (
            strategy_entry(strategy or self.strategy)
            .make()
            .run(
                problem,
                evals=evals or self.evals,
                seed=seed,
                progress=Silent(),
                checkpoint=checkpoint or Checkpoint(),
            )
        )

    def test_spends_exactly_its_evaluations_on_distinct_architectures(self) -> None:
        """It evaluates `evals` rows, all canonical, none twice, and says so."""
        for landscape in LANDSCAPES:
            run = self.run_on(landscape)
            rows = run.problem.evaluated
            assert run.archive.evaluated == len(rows) == self.evals
            assert len(np.unique(rows, axis=0)) == len(rows)
            assert np.array_equal(rows, landscape.space.canonicalise(rows))

    def test_front_is_the_front_of_what_was_evaluated(self) -> None:
        """Everything on it is feasible, nothing feasible dominates it, nothing is missing."""
        for landscape in LANDSCAPES:
            run = self.run_on(landscape)
            assert run.archive.evaluations.feasible.all()
            found = landscape.problem().evaluate(run.problem.evaluated)
            expected = _front_points(found.take(found.feasible))
            assert np.array_equal(_points(run.archive.evaluations), expected)

    def test_seed_decides(self) -> None:
        """The same seed gives the same rows, another one others."""
        first, other = (self.run_on(LANDSCAPES[1], seed).archive for seed in (0, 1))
        again = self.search(LANDSCAPES[1].problem(), seed=0)
        assert np.array_equal(first.rows, again.rows)
        assert not np.array_equal(first.rows, other.rows)

    def test_seeds_of_the_problem_are_evaluated(self) -> None:
        """The problem's seeds come first."""
        landscape = LANDSCAPES[0]
        seeds = landscape.space.sample(5, rng=np.random.default_rng(3))
        problem = WatchedProblem.of(landscape.problem().with_seeds(seeds))
        self.search(problem)
        assert np.array_equal(problem.evaluated[: len(seeds)], seeds)

    def test_ends_where_nothing_is_feasible(self) -> None:
        """A hopeless budget costs the evaluations and leaves an empty front."""
        archive = self.search(LANDSCAPES[0].problem(budget_ms=0.01))
        assert len(archive) == 0
        assert archive.evaluated == self.evals

    def test_ends_where_the_space_is_exhausted(self) -> None:
        """More evaluations than architectures: it stops by itself."""
        landscape = Landscape("tiny", space=ToySpace(count=4, choices=2))
        archive = self.search(landscape.problem(), evals=landscape.space.size + 50)
        assert archive.evaluated <= landscape.space.size

    def test_resumes_to_the_same_front(self) -> None:
        """Cut twice and continued from the checkpoint, a run ends as one that was not cut."""
        problem = LANDSCAPES[2].problem()
        whole = self.run_on(LANDSCAPES[2], seed=2).archive
        checkpoint = MemoryCheckpoint()
        for cut in (2, 4):
            checkpoint.cut = cut
            try:
                self.search(problem, seed=2, checkpoint=checkpoint)
            except KeyboardInterrupt:
                continue
        checkpoint.cut = None
        resumed = self.search(problem, seed=2, checkpoint=checkpoint)
        assert np.array_equal(resumed.rows, whole.rows)
        assert resumed.evaluated == whole.evaluated

    def test_adaptive_strategies_beat_random(self) -> None:
        """At equal evaluations the median hypervolume is above that of `random`, on every landscape."""
        if not strategy_entry(self.strategy).adaptive:
            return
        for landscape in LANDSCAPES:
            own = self.quality(landscape, [self.run_on(landscape, seed).archive for seed in self.seeds])
            random = self.quality(landscape, [self._random(landscape, seed) for seed in self.seeds])
            assert own > random, f"{landscape.name}: {own:.4f} against {random:.4f}"

    def quality(self, landscape: Landscape, archives: Sequence[Archive]) -> float:
        """What is compared with `random`: the median hypervolume over the seeds."""
        reference = np.array([-60.0, landscape.problem().budget_ms])
        return float(np.median([hypervolume(found.evaluations.costs, reference) for found in archives]))

    def _random(self, landscape: Landscape, seed: int) -> Archive:
        """What `random` finds in as many evaluations."""
        known = _RANDOM.get((landscape, seed))
        if known is None or len(known) < self.evals:
            problem = WatchedProblem.of(landscape.problem())
            self.search(problem, seed=seed, strategy="random")
            known = _RANDOM[landscape, seed] = problem.evaluated
        # It draws one by one, whatever it found: a shorter search is the beginning of a longer one.
        rows = known[: self.evals]
        archive = Archive(rows.shape[1])
        archive.add(rows, landscape.problem().evaluate(rows))
        return archive


# The rows that searches by `random` evaluated, the longest for each landscape and seed.
_RANDOM: dict[tuple[Landscape, int], Rows] = {}


def _points(evaluations: Evaluations) -> np.ndarray:
    return np.stack([evaluations.ms, evaluations.objective], axis=1)


def _front_points(evaluations: Evaluations) -> np.ndarray:
    return _points(evaluations.take(front(evaluations.costs)))
