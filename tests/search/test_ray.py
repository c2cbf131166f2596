"""Searches on a Ray of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import pytest
from unreliable import Unreliable

from hvnas.parallel import ray_cluster
from hvnas.search import Archive, Checkpoint, Problem, State
from hvnas.search.engines.ray_batches import run_on_ray
from hvnas.search.evaluations import EvaluationsFailed, TrialLog
from hvnas.search.request import Engine
from hvnas.search.rows import Rows
from hvnas.search.runs.checkpoint import Stopped
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.registry import strategy_entry
from hvnas.testing.estimators import Synthetic, expensive_problem
from hvnas.testing.strategies import LANDSCAPES, MemoryCheckpoint

ray = pytest.importorskip("ray", reason="Ray is not installed; see the extra 'ray'")

LANDSCAPE = LANDSCAPES[1]
EVALS = 16


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Workers find what is installed, not what lies beside it.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.cloudpickle.register_pickle_by_value(sys.modules[Unreliable.__module__])
    with ray_cluster(cpus=2):
        yield


@dataclass
class Watcher(Silent):
    """Remembers the failures, and the counts that it was told."""

    failures: list[tuple[Rows, str]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def failed(self, row: Rows, reason: str) -> None:
        self.failures.append((row, reason))

    def advanced(self, archive: Archive, *, evals: int) -> None:
        self.counts.append(archive.evaluated)


def on_ray(
    problem: Problem,
    strategy: str = "random",
    *,
    evals: int = EVALS,
    watcher: Watcher | None = None,
    checkpoint: Checkpoint | None = None,
    **options: Any,
) -> Archive:
    return run_on_ray(
        strategy_entry(strategy).make(),
        problem,
        evals=evals,
        seed=0,
        progress=watcher or Watcher(),
        checkpoint=checkpoint or Checkpoint(),
        engine=Engine(name="ray", **options),
    )


def unreliable(folder: Path, **how: Any) -> Unreliable:
    return Unreliable(Synthetic(0), folder, **how)


def tried(folder: Path) -> dict[str, int]:
    """Attempts per network."""
    names = [path.name.split("-")[0] for path in folder.iterdir()]
    return {name: names.count(name) for name in names}


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_every_evaluation_arrives_once(cluster: None, tmp_path: Path, strategy: str) -> None:
    problem = expensive_problem(LANDSCAPE, unreliable(tmp_path, failures=0))
    watcher = Watcher()
    archive = on_ray(problem, strategy, watcher=watcher)
    assert archive.evaluated == EVALS == watcher.counts[-1]
    assert watcher.failures == []
    assert {problem.space.decode(row).hash for row in archive.rows} <= set(tried(tmp_path))
    assert len(tried(tmp_path)) <= EVALS
    assert set(tried(tmp_path).values()) == {1}
    here = expensive_problem(LANDSCAPE, Synthetic(0)).evaluate(archive.rows)
    assert np.array_equal(here.costs, archive.evaluations.costs)


def test_workers_are_processes_that_keep_what_they_loaded(cluster: None, tmp_path: Path) -> None:
    # Shorter than a worker's start: one that becomes idle must not keep the other from starting.
    slow = Unreliable(Synthetic(0.25), tmp_path, failures=0)
    on_ray(expensive_problem(LANDSCAPE, slow), evals=EVALS)
    workers = {path.name.split("-")[2] for path in tmp_path.iterdir()}
    assert len(workers) == 2
    assert str(os.getpid()) not in workers


@pytest.mark.parametrize("strategy", [pytest.param("random", marks=pytest.mark.slow), "evolution"])
def test_a_fault_that_passes_costs_attempts_only(cluster: None, tmp_path: Path, strategy: str) -> None:
    watcher = Watcher()
    problem = expensive_problem(LANDSCAPE, unreliable(tmp_path, failures=2, only="01"))
    archive = on_ray(problem, strategy, evals=10, watcher=watcher, max_retries=2)
    assert archive.evaluated == 10
    assert watcher.failures == []
    assert set(tried(tmp_path).values()) == {1, 3}


@pytest.mark.parametrize(
    "deadly",
    [
        pytest.param(False, id="raises"),
        pytest.param(True, id="kills its worker", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_a_fault_that_stays_is_recorded(cluster: None, tmp_path: Path, strategy: str, deadly: bool) -> None:
    watcher = Watcher()
    problem = expensive_problem(LANDSCAPE, unreliable(tmp_path, only="01", deadly=deadly))
    archive = on_ray(problem, strategy, evals=10, watcher=watcher, max_retries=1)
    hashes = {problem.space.decode(row[0]).hash for row, _ in watcher.failures}
    assert hashes == {name for name in tried(tmp_path) if name[-1] in "01"}
    assert len(hashes) > 0
    assert all(tried(tmp_path)[name] == 2 for name in hashes)
    assert all(deadly or "attempt 2 fails" in reason for _, reason in watcher.failures)
    # A batch is told whole, failures and all; trials that failed are none of the archive's.
    assert archive.evaluated + (len(hashes) if strategy == "random" else 0) == 10
    assert not hashes & {problem.space.decode(row).hash for row in archive.rows}
    assert len(archive) > 0


@pytest.mark.parametrize("strategy", [pytest.param("random", marks=pytest.mark.slow), "evolution"])
def test_nothing_but_faults_ends_it(cluster: None, tmp_path: Path, strategy: str) -> None:
    problem = expensive_problem(LANDSCAPE, unreliable(tmp_path))
    with pytest.raises(
        EvaluationsFailed, match=r"all of the first 10 networks failed; the first: .*attempt 1"
    ):
        on_ray(problem, strategy, evals=100, max_retries=0)
    assert len(tried(tmp_path)) < 20


@dataclass(frozen=True)
class Refusing(Synthetic):
    """Takes no network that is deeper than `deepest` in its first stage."""

    deepest: int = 3

    def estimate(self, archs: Any, **options: Any) -> Any:
        if any(arch.stages[0].local.depth > self.deepest for arch in archs):
            raise ValueError("too deep")
        return super().estimate(archs, **options)


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_a_refusal_is_not_tried_again(cluster: None, strategy: str) -> None:
    watcher = Watcher()
    problem = expensive_problem(LANDSCAPE, Refusing(0))
    archive = on_ray(problem, strategy, watcher=watcher)
    assert (archive.evaluated, watcher.failures) == (EVALS, [])
    assert problem.refusals.refused["too deep"] > 0
    assert all(row[0] < 3 for row in archive.rows)
    with pytest.raises(ValueError, match="too deep"):
        on_ray(expensive_problem(LANDSCAPE, Refusing(0, deepest=0)), strategy, evals=60)


@dataclass
class Stopping(MemoryCheckpoint):
    """Asks to stop once so many saves were made, as a run's session does."""

    after: int = 5
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        super().__init__()

    def save(self, state: State) -> None:
        super().save(state)
        if self.saves >= self.after:
            self.stop.set()
        if self.stopping():
            raise Stopped

    def stopping(self) -> bool:
        return self.stop.is_set()


def test_a_run_that_was_stopped_goes_on_from_its_record(cluster: None, tmp_path: Path) -> None:
    problem = expensive_problem(LANDSCAPE, unreliable(tmp_path, failures=0))
    checkpoint = Stopping()
    with pytest.raises(Stopped):
        on_ray(problem, checkpoint=checkpoint)
    told = len(checkpoint.load().arrays["told.ms"])  # type: ignore[union-attr]
    assert 5 <= told < EVALS
    checkpoint.after, checkpoint.stop = 10**9, Event()
    watcher = Watcher()
    archive = on_ray(problem, checkpoint=checkpoint, watcher=watcher)
    assert archive.evaluated == EVALS
    assert watcher.counts[0] == told + 1
    # What was under way when it was stopped may be done again, what was told is not.
    again = [name for name, attempts in tried(tmp_path).items() if attempts > 1]
    assert len(again) <= 2


def test_a_request_to_stop_does_not_wait_for_a_long_evaluation(cluster: None) -> None:
    problem = expensive_problem(LANDSCAPE, Synthetic(3600))
    checkpoint = Stopping(after=10**9)
    Timer(4.0, checkpoint.stop.set).start()
    with pytest.raises(Stopped):
        on_ray(problem, checkpoint=checkpoint)
    assert checkpoint.saves >= 1


@pytest.mark.parametrize("strategy", ["tpe", "evolution"])
def test_a_cheap_problem_is_spread_too(cluster: None, strategy: str) -> None:
    problem = LANDSCAPE.problem()
    archive = on_ray(problem, strategy, evals=60)
    assert archive.evaluated == 60
    assert np.array_equal(problem.evaluate(archive.rows).costs, archive.evaluations.costs)


def test_batches_on_actors_are_those_of_one_process(cluster: None) -> None:
    problem = LANDSCAPE.problem()
    there = on_ray(problem, "evolution", evals=2000)
    here = (
        strategy_entry("evolution")
        .make()
        .run(problem, evals=2000, seed=0, progress=Silent(), checkpoint=Checkpoint())
    )
    assert np.array_equal(there.rows, here.rows)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"cpus_per_trial": -1.0}, "cpus_per_trial"),
        ({"cpus_per_trial": 0.0}, "cpus_per_trial"),
        ({"gpus_per_trial": float("nan")}, "gpus_per_trial"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Engine(name="ray", **options)


def test_resources_that_nobody_has_are_refused(cluster: None) -> None:
    problem = expensive_problem(LANDSCAPE, Synthetic(0))
    for strategy in ("random", "evolution"):
        with pytest.raises(ValueError, match="64 GPUs"):
            on_ray(problem, strategy, gpus_per_trial=64)
    with pytest.raises(ValueError, match="cpus_per_trial: must be at most"):
        on_ray(problem, cpus_per_trial=1_000)


QUIET = """
import sys
from pathlib import Path
from hvnas.search import Checkpoint
from hvnas.search.engines.ray_batches import run_on_ray
from hvnas.search.request import Engine
from hvnas.search.strategies.registry import strategy_entry
from hvnas.search.runs.session import Silent
from hvnas.testing.estimators import Synthetic, expensive_problem
from hvnas.testing.strategies import LANDSCAPES
from unreliable import Unreliable

folder = Path(sys.argv[1])
for deadly in (False, True):
    run_on_ray(
        strategy_entry("random").make(),
        expensive_problem(LANDSCAPES[1], Unreliable(Synthetic(0), folder, only="01", deadly=deadly)),
        evals=15,
        seed=0,
        progress=Silent(),
        checkpoint=Checkpoint(),
        engine=Engine(name="ray", workers=1, max_retries=0),
    )
print("done")
"""


@pytest.mark.slow
def test_nothing_is_left_on_screen_or_disk(tmp_path: Path) -> None:
    temporary, counts = tmp_path / "t", tmp_path / "counts"
    temporary.mkdir()
    counts.mkdir()
    paths = filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(counts)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert len(list(counts.iterdir())) > 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("strategy", ["random", "evolution"])
def test_each_network_is_logged_with_the_times_of_its_worker(
    cluster: None, tmp_path: Path, strategy: str
) -> None:
    slow = Unreliable(Synthetic(0.2), tmp_path, failures=9, only="01")
    problem = replace(expensive_problem(LANDSCAPE, slow), trials=TrialLog())
    watcher = Watcher()
    on_ray(problem, strategy, evals=10, watcher=watcher, max_retries=1)
    assert problem.trials is not None
    logged = problem.trials.trials
    assert len(logged) == 10
    failed = {row.tobytes(): reason for row, reason in watcher.failures}
    assert 0 < len(failed) < 10
    assert {one.row.tobytes(): one.reason for one in logged if one.reason} == failed
    took = [one.ended - one.started for one in logged if np.isfinite(one.evaluations.top1[0])]
    assert min(took) >= 0.2 and all(one.started <= one.ended for one in logged)
