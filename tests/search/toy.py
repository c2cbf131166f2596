"""Shared by the tests here: runs of a toy problem in a folder, also in a process of its own to be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from hvnas.search.folder import RunConfig, RunFolder, versions
from hvnas.search.result import SearchResult
from hvnas.search.run import execute
from hvnas.testing.strategies import LANDSCAPES

LANDSCAPE = LANDSCAPES[1]


def config(strategy: str = "evolution", *, evals: int = 3000, seed: int = 0) -> RunConfig:
    problem = LANDSCAPE.problem()
    return RunConfig(
        space="toy",
        space_hash=problem.space.hash,
        device="toy-device",
        device_hash=problem.device.hash,
        estimator="toy",
        recipe="modern300",
        scenario="imagenet1k",
        budget_ms=problem.budget_ms,
        margin=0.0,
        outside="forbid",
        strategy=strategy,
        evals=evals,
        seed=seed,
        fixed_points=True,
        versions=versions(),
    )


def run(
    out: Path, strategy: str = "evolution", *, evals: int = 3000, seed: int = 0, pause: float = 0.0
) -> SearchResult:
    """Run, or resume where `out` holds a run; every evaluated batch takes `pause` seconds longer."""

    def features(rows: np.ndarray) -> np.ndarray:
        time.sleep(pause)
        return LANDSCAPE.features(rows)

    folder = RunFolder(out)
    return execute(
        LANDSCAPE.problem(features=features),
        config(strategy, evals=evals, seed=seed),
        folder=folder,
        resumed=(out / "config.yaml").is_file(),
        checkpoint_seconds=0.02,
    )


def outputs(out: Path) -> dict[str, bytes]:
    """The files that a seed decides, by name."""
    files = [out / "pareto.csv", out / "best.yaml", *sorted((out / "archs").iterdir())]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def start(out: Path, strategy: str, *, evals: int, pause: float) -> subprocess.Popen[bytes]:
    """`run` in a process of its own."""
    arguments = [sys.executable, __file__, str(out), strategy, str(evals), str(pause)]
    return subprocess.Popen(arguments, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], evals=int(sys.argv[3]), pause=float(sys.argv[4]))
