"""Slimming on a supernet of a few weights: what it visits, measures, records and goes on from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from hvnas.accuracy import Estimate
from hvnas.accuracy.trained.inherited import Inherited, InheritedEstimator
from hvnas.arch import Arch
from hvnas.ops import Program
from hvnas.search import resume, search
from hvnas.search.evaluations import Archive
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.reach import InfeasibleBudget
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.slimming import Slimming
from hvnas.space import load_space
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start, train_supernet
from hvnas.supernet.slimming import Moves
from hvnas.testing import strategies
from hvnas.testing.strategies import MemoryCheckpoint, StrategyConformance, WatchedProblem

FILES = Path(__file__).parents[1] / "supernet"
SPACE, DEVICE = FILES / "slim.yaml", "cpu-i7-12700h"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(out: Path, *, importance: bool) -> Path:
    asked = SupernetRequest(
        space=str(SPACE),
        data="shapes",
        resolution=32,
        train_size=24,
        test_size=32,
        recipe=str(FILES / "short.yaml"),
        epochs=1,
        scheme="single-path",
        bn_calib=8,
        importance=importance,
    )
    train_supernet(start(asked, out), device="cpu")
    return out


@pytest.fixture(scope="module")
def supernet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained supernet with importances."""
    return trained(tmp_path_factory.mktemp("net") / "net", importance=True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained supernet without them."""
    return trained(tmp_path_factory.mktemp("bare") / "net", importance=False)


class Formula(InheritedEstimator):
    """Top-1 as a closed formula: depth counts much, width little."""

    def estimate(
        self,
        archs_or_programs: Sequence[Arch | Program],
        *,
        recipe: str | None = None,
        scenario: str = "imagenet1k",
    ) -> Estimate:
        archs = [arch for arch in archs_or_programs if isinstance(arch, Arch)]
        depth = [sum(run.depth for stage in arch.stages for _, run in stage.runs) for arch in archs]
        width = [sum(stage.width for stage in arch.stages) for arch in archs]
        top1 = 5.0 * np.array(depth) + 0.01 * np.array(width)
        return Estimate(top1, np.zeros(len(archs)))


@dataclass(frozen=True)
class Extent:
    """Milliseconds of the network that slimming starts from, and of the smallest one."""

    start: float
    least: float

    def budget(self, share: float) -> float:
        return self.least + share * (self.start - self.least)


def problem(supernet: Path, budget_ms: float, *, formula: bool = False) -> Problem:
    options = Inherited(folder=str(supernet))
    estimator = Formula(options) if formula else InheritedEstimator(options)
    return make_problem(SPACE, DEVICE, estimator, budget_ms=budget_ms, margin=0.0, outside="allow")


@pytest.fixture(scope="module")
def extent(supernet: Path) -> Extent:
    from hvnas.search.reach import find_reach

    made = problem(supernet, 1e6)
    start = Moves(load_space(SPACE), {}).start()
    ms = float(made.screen(start[None]).latency.ms[0])
    return Extent(ms, find_reach(made).min_ms)


def slim(
    problem: Problem, *, evals: int = 200, checkpoint: Checkpoint | None = None, **settings: Any
) -> Archive:
    return Slimming(**settings).run(
        problem, evals=evals, seed=0, progress=Silent(), checkpoint=checkpoint or Checkpoint()
    )


class Kept(Checkpoint):
    """Keeps what is written beside a run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        write(self.folder / name)

    @property
    def path(self) -> list[dict[str, str]]:
        return path_of(self.folder)


def path_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "slimming.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class _Landscape:
    """The conformance cases' landscape on the supernet: a budget that a few steps reach."""

    supernet: Path
    extent: Extent
    share: float
    name: str = "slim"

    @property
    def space(self) -> Any:
        return load_space(SPACE)

    def problem(self, *, budget_ms: float | None = None) -> Problem:
        chosen = self.extent.budget(self.share) if budget_ms is None else budget_ms
        return problem(self.supernet, chosen, formula=True)


class TestConformance(StrategyConformance):
    """The suite where it applies: slimming ends at the budget, draws nothing, and takes no seeds."""

    strategy = "slimming"
    evals = 60

    @pytest.fixture(autouse=True)
    def _on_the_supernet(self, monkeypatch: pytest.MonkeyPatch, supernet: Path, extent: Extent) -> None:
        shares = (0.7, 0.4, 0.1)
        cases = tuple(_Landscape(supernet, extent, share) for share in shares)
        monkeypatch.setattr(strategies, "LANDSCAPES", cases)

    def test_spends_exactly_its_evaluations_on_distinct_architectures(self) -> None:
        for case in strategies.LANDSCAPES:
            run = self.run_on(case)
            rows = run.problem.evaluated
            assert 1 < run.archive.evaluated == len(rows) <= self.evals
            assert len(np.unique(rows, axis=0)) == len(rows)
            assert np.array_equal(rows, case.space.canonicalise(rows))

    def test_seed_decides(self) -> None:
        first = self.run_on(strategies.LANDSCAPES[1]).archive
        again = self.search(strategies.LANDSCAPES[1].problem(), seed=0)
        assert np.array_equal(first.rows, again.rows)

    def test_seeds_of_the_problem_are_evaluated(self) -> None:
        case = strategies.LANDSCAPES[0]
        seeds = case.space.sample(5, rng=np.random.default_rng(3))
        watched = WatchedProblem.of(case.problem().with_seeds(seeds))
        self.search(watched)
        assert not (watched.evaluated[:, None] == seeds[None]).all(axis=2).any(), "the path alone"

    def test_ends_where_nothing_is_feasible(self) -> None:
        archive = self.search(strategies.LANDSCAPES[0].problem(budget_ms=0.001))
        assert len(archive) == 0
        assert 1 < archive.evaluated <= self.evals

    def test_ends_where_the_space_is_exhausted(self) -> None:
        archive = self.search(strategies.LANDSCAPES[0].problem(budget_ms=0.001), evals=10_000)
        assert archive.evaluated < 200


class TestJointConformance(TestConformance):
    strategy = "slimming-joint"
    evals = 120


@pytest.mark.parametrize("by", ["ms", "score"])
@pytest.mark.parametrize("share", [0.6, 0.2])
def test_the_best_is_within_the_budget_and_in_order(
    supernet: Path, extent: Extent, by: str, share: float
) -> None:
    budget = extent.budget(share)
    archive = slim(problem(supernet, budget), by=by)
    assert archive.best is not None
    assert float(archive.best.ms[0]) <= budget
    space = load_space(SPACE)
    moves = Moves(space, {})
    for row in archive.rows:
        assert moves.in_order(row)
        assert space.decode(row) in space


def test_it_takes_what_costs_least_per_millisecond(supernet: Path, extent: Extent, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    slim(problem(supernet, extent.budget(0.3), formula=True), checkpoint=kept)
    first, *steps = kept.path
    assert (first["action"], first["step"]) == ("start", "0")
    narrowed = [step["action"] for step in steps[: len(steps) // 2]]
    assert set(narrowed) == {"narrow"}, "widths cost a hundredth of a point each, blocks five points"
    assert [int(step["step"]) for step in steps] == list(range(1, len(steps) + 1))
    for before, step in zip(kept.path, steps, strict=False):
        assert float(before["latency_ms"]) - float(step["latency_ms"]) == pytest.approx(
            float(step["saved_ms"]), abs=2e-4
        )
        assert float(before["top1"]) - float(step["top1"]) == pytest.approx(float(step["drop"]), abs=2e-4)
        assert step["chosen_by"] == "top1"
    assert float(steps[-1]["latency_ms"]) <= extent.budget(0.3) < float(kept.path[-2]["latency_ms"])


def test_size_counts_in_the_joint_search(supernet: Path, extent: Extent, tmp_path: Path) -> None:
    paths = {}
    for by in ("ms", "score"):
        kept = Kept(tmp_path / by)
        kept.folder.mkdir()
        slim(problem(supernet, extent.budget(0.2), formula=True), by=by, checkpoint=kept)
        paths[by] = kept.path
    assert {step["action"] for step in paths["score"]} & {"shrink"}, "expansions are the joint search's"
    assert not {step["action"] for step in paths["ms"]} & {"shrink"}
    most = {by: max(int(step["considered"]) for step in path) for by, path in paths.items()}
    assert most["ms"] <= 3 < most["score"]


def test_with_few_evaluations_importance_decides(supernet: Path, extent: Extent, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    archive = slim(problem(supernet, extent.budget(0.2), formula=True), evals=3, checkpoint=kept)
    assert archive.evaluated <= 3
    assert archive.best is not None
    chosen = [step["chosen_by"] for step in kept.path[1:]]
    assert "importance" in chosen
    assert kept.path[-1]["top1"], "what the path ends in is measured"
    only = slim(problem(supernet, extent.budget(0.2), formula=True), evals=1)
    assert only.evaluated == 1 == len(only)


def test_a_budget_that_the_start_meets_leaves_it_as_it_is(supernet: Path, extent: Extent) -> None:
    archive = slim(problem(supernet, extent.start * 1.01))
    assert archive.evaluated == 1
    assert np.array_equal(archive.rows[0], Moves(load_space(SPACE), _scores(supernet)).start())


def _scores(folder: Path) -> dict[str, dict[str, float]]:
    from hvnas.supernet.checkpoint import SupernetFolder
    from hvnas.supernet.importance import importance_of

    importance = importance_of(SupernetFolder(folder).load())
    assert importance is not None
    return importance.scores()


def test_importances_are_trained_where_the_supernet_has_none(bare: Path, extent: Extent) -> None:
    checkpoint = MemoryCheckpoint()
    slim(problem(bare, extent.budget(0.5), formula=True), steps=3, checkpoint=checkpoint)
    assert checkpoint.state is not None
    scores = checkpoint.state.meta["scores"]
    assert scores.keys() == _scores_of_nothing().keys()
    assert scores != _scores_of_nothing()


def _scores_of_nothing() -> dict[str, dict[str, float]]:
    from hvnas.supernet.importance import Importance

    return Importance(load_space(SPACE)).scores()


class StopAfter(Silent):
    """Asks to stop once so many networks are evaluated."""

    def __init__(self, count: int, stop: Event) -> None:
        self.count, self.stop = count, stop

    def advanced(self, archive: Archive, *, evals: int) -> None:
        if archive.evaluated >= self.count:
            self.stop.set()


def test_a_run_in_a_folder_goes_on_to_the_same_result(supernet: Path, extent: Extent, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "budget_ms": extent.budget(0.3),
        "strategy": "slimming",
        "estimator": f"supernet:{supernet}",
        "outside": "allow",
        "margin": 0.0,
    }
    whole = search(SPACE, DEVICE, **asked, out=tmp_path / "whole")
    assert whole.best.latency_ms <= asked["budget_ms"]
    stop = Event()
    try:
        cut = search(SPACE, DEVICE, **asked, out=tmp_path / "cut", stop=stop, progress=StopAfter(3, stop))
        assert cut.stopped
    except InfeasibleBudget as error:
        assert error.stopped
    resumed = resume(tmp_path / "cut")
    assert resumed.evaluated == whole.evaluated
    for name in ("slimming.csv", "pareto.csv", "best.yaml"):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("whole", "cut"))
        assert one == other, name
    pytest.importorskip("matplotlib")
    assert (tmp_path / "whole" / "slimming.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("strategy", ["slimming", "slimming-joint"])
@pytest.mark.parametrize("estimator", ["surrogate", "params"])
def test_other_estimators_are_refused_before_anything_is_written(
    tmp_path: Path, strategy: str, estimator: str
) -> None:
    with pytest.raises(ValueError, match="slimming takes blocks out of a trained supernet") as caught:
        search(
            "efficientformer",
            DEVICE,
            budget_ms=50,
            strategy=strategy,
            estimator=estimator,
            out=tmp_path / "run",
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
