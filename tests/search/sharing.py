"""Shared by the tests of shared studies: searches of a toy problem in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hvnas.search.evaluations import Archive
from hvnas.search.problem import Problem
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.optuna_run import OptunaRun
from hvnas.search.strategies.optuna_samplers import OptunaStrategy
from hvnas.testing.strategies import LANDSCAPES

LANDSCAPE = LANDSCAPES[1]


@dataclass(frozen=True)
class Shared:
    """What one process evaluated, int16 [n, genes], and the archive with which it ended."""

    rows: np.ndarray
    evaluated: int
    front: np.ndarray
    costs: np.ndarray


def search(storage: str, *, sampler: str = "nsga2", evals: int, seed: int = 0, pause: float = 0.0) -> Shared:
    """Search in this process; every evaluation takes `pause` seconds longer."""
    rows: list[np.ndarray] = []

    def features(asked: np.ndarray) -> np.ndarray:
        rows.append(asked)
        time.sleep(pause)
        return LANDSCAPE.features(asked)

    problem = LANDSCAPE.problem(features=features).with_seeds(seeds())
    archive = run(problem, storage, sampler=sampler, evals=evals, seed=seed)
    own = np.concatenate(rows) if rows else np.empty((0, len(problem.space.genes)), dtype=np.int16)
    return Shared(own, archive.evaluated, archive.rows, archive.evaluations.costs)


def run(
    problem: Problem, storage: str | None, *, sampler: str = "nsga2", evals: int, seed: int = 0
) -> Archive:
    """The archive of a search."""
    strategy = OptunaStrategy(sampler, storage=storage)
    return strategy.run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint())


def proposer(storage: str, *, evals: int = 20, seed: int = 0) -> OptunaRun:
    return OptunaStrategy("nsga2", storage=storage).proposer(LANDSCAPE.problem(), evals=evals, seed=seed)


def step(run: OptunaRun) -> np.ndarray:
    proposal = run.ask()
    assert proposal is not None
    run.tell(proposal, LANDSCAPE.problem().evaluate(proposal.row))
    return proposal.row


def at(kind: str, folder: Path) -> str:
    return f"journal:{folder}/study.journal" if kind == "journal" else f"sqlite:///{folder}/study.db"


def seeds() -> np.ndarray:
    """Rows that every process wants to evaluate first."""
    return LANDSCAPE.space.sample(4, rng=np.random.default_rng(5))


def in_processes(storage: str, count: int, **options: Any) -> list[Shared]:
    """`count` processes that search at the same time, all with the same seed."""
    started = [start(storage, **options) for _ in range(count)]
    found = []
    for process in started:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        data = json.loads(output)
        rows, front = (np.array(data[name], dtype=np.int16) for name in ("rows", "front"))
        found.append(
            Shared(rows.reshape(-1, front.shape[1]), data["evaluated"], front, np.array(data["costs"]))
        )
    return found


def start(storage: str, **options: Any) -> subprocess.Popen[str]:
    """`search` in a process of its own, which prints what it found."""
    return subprocess.Popen(
        [sys.executable, __file__, storage, json.dumps(options)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_shared(found: list[Shared], *, evals: int) -> None:
    """Nothing was evaluated twice, `evals` in all, and every process knows all of it."""
    rows = np.concatenate([one.rows for one in found])
    assert len(np.unique(rows, axis=0)) == len(rows) == evals
    assert (rows[:, None] == seeds()).all(axis=2).any(axis=0).all()
    for one in found:
        assert one.evaluated == evals
        assert np.array_equal(one.front, found[0].front)
        assert np.array_equal(one.costs, found[0].costs)
    whole = Archive(rows.shape[1])
    whole.add(rows, LANDSCAPE.problem().evaluate(rows))
    assert np.array_equal(whole.evaluations.costs, found[0].costs)


if __name__ == "__main__":
    result = search(sys.argv[1], **json.loads(sys.argv[2]))
    print(
        json.dumps(
            {
                "rows": result.rows.tolist(),
                "evaluated": result.evaluated,
                "front": result.front.tolist(),
                "costs": result.costs.tolist(),
            }
        )
    )
