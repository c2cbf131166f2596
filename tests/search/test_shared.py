"""Several searches on one study, in a journal file and in SQLite."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sharing import LANDSCAPE, at, check_shared, in_processes, proposer, run, search, start, step

from hvnas.search.runs.session import Silent
from hvnas.search.shared import storage as optuna_storage
from hvnas.search.shared import study as optuna_shared
from hvnas.search.shared.journal import StorageError
from hvnas.search.shared.storage import parse_storage
from hvnas.search.shared.study import SharedStudy
from hvnas.search.strategies.optuna_samplers import OptunaStrategy
from hvnas.testing.strategies import MemoryCheckpoint

KINDS = pytest.mark.parametrize("kind", ["journal", "sqlite"])


@pytest.mark.parametrize(("kind", "count"), [("journal", 3), ("sqlite", 2)])
def test_processes_share_a_study_without_duplicates(kind: str, count: int, tmp_path: Path) -> None:
    evals = 40 if kind == "journal" else 16
    check_shared(in_processes(at(kind, tmp_path), count, evals=evals, pause=0.02), evals=evals)


@KINDS
def test_alone_on_a_storage_a_search_finds_what_it_finds_without(kind: str, tmp_path: Path) -> None:
    shared = run(LANDSCAPE.problem(), at(kind, tmp_path), evals=14, seed=3)
    alone = run(LANDSCAPE.problem(), None, evals=14, seed=3)
    assert np.array_equal(shared.rows, alone.rows)
    assert np.array_equal(shared.evaluations.costs, alone.evaluations.costs)


@KINDS
def test_who_comes_late_has_everything_and_evaluates_nothing(kind: str, tmp_path: Path) -> None:
    first = search(at(kind, tmp_path), evals=15)
    late = search(at(kind, tmp_path), evals=15, sampler="tpe")
    assert len(late.rows) == 0
    assert late.evaluated == 15
    assert np.array_equal(late.front, first.front)
    more = search(at(kind, tmp_path), evals=18, sampler="cmaes")
    assert len(more.rows) == 3 and more.evaluated == 18


def test_a_process_that_is_killed_loses_only_what_it_was_evaluating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_shared, "_LEAST_PATIENCE", 0.2)
    storage = at("journal", tmp_path)
    dying = start(storage, evals=20, pause=60)
    study = SharedStudy(LANDSCAPE.problem(), storage, evals=20)
    while len(study.changes().claimed) == 0:
        assert dying.poll() is None
        time.sleep(0.05)
    dying.kill()
    dying.communicate()
    found = search(storage, evals=20)
    assert found.evaluated == 20
    claimed = [trial.user_attrs["row"] for trial in study._trials() if trial.state.name == "RUNNING"]
    assert len(claimed) == 1
    assert not (found.rows == np.array(claimed[0])).all(axis=1).any()


def test_a_database_gives_up_the_claims_of_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (optuna_shared, optuna_storage):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(optuna_storage, "GRACE_SECONDS", 2)
    storage = at("sqlite", tmp_path)
    dying = start(storage, evals=12, pause=60)
    study = SharedStudy(LANDSCAPE.problem(), storage, evals=12)
    while len(study.changes().claimed) == 0:
        assert dying.poll() is None
        time.sleep(0.05)
    dying.kill()
    dying.communicate()
    assert search(storage, evals=12).evaluated == 12
    assert not study.waiting or (study.changes() and not study.waiting)
    assert {trial.state.name for trial in study._trials()} == {"COMPLETE", "FAIL"}


@KINDS
def test_a_process_that_resumes_has_its_own_claims_back(kind: str, tmp_path: Path) -> None:
    cut = proposer(at(kind, tmp_path))
    done, claimed = step(cut), cut.ask()
    assert claimed is not None
    again = proposer(at(kind, tmp_path))
    again.replay(cut.state())
    assert again.archive.evaluated == 1
    rows = np.concatenate([step(again) for _ in range(19)])
    assert again.ask() is None
    assert again.finish().evaluated == 20
    assert not (rows == done).all(axis=1).any()


def test_a_claim_given_up_and_evaluated_by_another_counts_once(tmp_path: Path) -> None:
    storage = at("journal", tmp_path)
    slow = proposer(storage)
    claimed = slow.ask()
    assert claimed is not None
    other = proposer(storage)
    other.replay(slow.state())
    slow.tell(claimed, LANDSCAPE.problem().evaluate(claimed.row))
    assert slow.archive.evaluated == 0
    assert other.finish().evaluated == 0


def test_failures_count_for_all_and_what_is_given_back_does_not(tmp_path: Path) -> None:
    storage = at("journal", tmp_path)
    one, two = proposer(storage, evals=4), proposer(storage, evals=4)
    failed, open_ = one.ask(), one.ask()
    assert failed is not None and open_ is not None
    one.fail(failed, "out of memory")
    one.close()
    rows = [step(two) for _ in range(3)]
    assert len(rows) == 3 and two.ask() is None
    assert two.finish().evaluated == 3


def test_a_cut_search_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    strategy = OptunaStrategy("tpe", storage=at("journal", tmp_path))
    checkpoint = MemoryCheckpoint(cut=7)
    options = {"evals": 12, "seed": 0, "progress": Silent(), "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        strategy.run(LANDSCAPE.problem(), **options)  # type: ignore[arg-type]
    checkpoint.cut = None
    assert strategy.run(LANDSCAPE.problem(), **options).evaluated == 12  # type: ignore[arg-type]


class TestAnotherProblem:
    """Two problems never share a study."""

    def test_on_one_storage_has_a_study_of_its_own(self, tmp_path: Path) -> None:
        names = {
            SharedStudy(problem, at("journal", tmp_path), evals=9).name
            for problem in (
                LANDSCAPE.problem(),
                LANDSCAPE.problem(budget_ms=3.0),
                replace(LANDSCAPE.problem(), recipe="other"),
                replace(LANDSCAPE.problem(), objectives=LANDSCAPE.problem().objectives[:1]),
            )
        }
        assert len(names) == 4

    def test_is_refused_under_the_same_name(self, tmp_path: Path) -> None:
        storage = at("journal", tmp_path)
        SharedStudy(LANDSCAPE.problem(), storage, evals=9, name="mine")
        with pytest.raises(
            StorageError, match=r"mine belongs to another problem \(budget_ms: .*choose another"
        ):
            SharedStudy(LANDSCAPE.problem(budget_ms=3.0), storage, evals=9, name="mine")

    def test_of_somebody_else_is_refused(self, tmp_path: Path) -> None:
        import optuna

        store = parse_storage(at("sqlite", tmp_path)).open()
        optuna.create_study(study_name="theirs", storage=store)
        with pytest.raises(StorageError, match="theirs was not created by hvnas"):
            SharedStudy(LANDSCAPE.problem(), at("sqlite", tmp_path), evals=9, name="theirs")
