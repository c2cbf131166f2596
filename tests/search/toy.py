"""Shared by the tests here: runs of a toy problem in a folder, also in a process of its own to be killed."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvnas._runs import versions
from hvnas.accuracy import AccuracyEstimator, Estimate
from hvnas.arch import Arch
from hvnas.search.evaluations import Archive
from hvnas.search.problem import Problem
from hvnas.search.run import execute
from hvnas.search.runs.folder import RunConfig, SearchFolder
from hvnas.search.runs.result import SearchResult
from hvnas.search.runs.session import Silent
from hvnas.testing.strategies import LANDSCAPES

LANDSCAPE = LANDSCAPES[1]
# What the process of a run writes beside its folder: the networks estimated, and the evaluations reported.
ESTIMATED, REPORTED = "estimated.txt", "reported.txt"


def config(strategy: str = "evolution", *, evals: int = 3000, seed: int = 0) -> RunConfig:
    problem = LANDSCAPE.problem()
    return RunConfig(
        space="toy",
        space_hash=problem.space.hash,
        device=("toy-device",),
        device_hash=(problem.device.hash,),
        estimator="toy",
        recipe="modern300",
        scenario="imagenet1k",
        budget_ms=problem.budget_ms,
        margin=(0.0,),
        outside="forbid",
        strategy=strategy,
        evals=evals,
        seed=seed,
        fixed_points=True,
        versions=versions(),
    )


@dataclass(frozen=True)
class Expensive(AccuracyEstimator):
    """The landscape's top-1 from networks, one line in `log` for each that it is asked about."""

    log: Path

    def estimate(self, archs: Sequence[Arch], *, recipe: str = "", scenario: str = "") -> Estimate:
        rows = np.stack([LANDSCAPE.space.encode(arch) for arch in archs])
        with self.log.open("a") as file:
            file.writelines(f"{row.tolist()}\n" for row in rows)
        return Estimate(LANDSCAPE.features(rows)[:, 1], np.full(len(rows), 0.5))


class Reporter(Silent):
    """Writes down how many evaluations were reported."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def advanced(self, archive: Archive, *, evals: int) -> None:
        with self.log.open("a") as file:
            file.write(f"{archive.evaluated}\n")


def problem(out: Path, *, pause: float = 0.0, expensive: bool = False) -> Problem:
    """The landscape; every evaluated batch takes `pause` seconds longer."""

    def features(rows: np.ndarray) -> np.ndarray:
        time.sleep(pause)
        return LANDSCAPE.features(rows)

    made = LANDSCAPE.problem(features=features)
    return replace(made, estimator=Expensive(out.parent / ESTIMATED)) if expensive else made


def run(
    out: Path,
    strategy: str = "evolution",
    *,
    evals: int = 3000,
    seed: int = 0,
    pause: float = 0.0,
    expensive: bool = False,
    saved_every: float = 0.02,
) -> SearchResult:
    """Run, or resume where `out` holds a run."""
    return execute(
        problem(out, pause=pause, expensive=expensive),
        config(strategy, evals=evals, seed=seed),
        folder=SearchFolder(out),
        resumed=(out / "config.yaml").is_file(),
        progress=Reporter(out.parent / REPORTED) if expensive else None,
        checkpoint_seconds=saved_every,
    )


def outputs(out: Path) -> dict[str, bytes]:
    """The files that a seed decides, by name."""
    files = [out / "pareto.csv", out / "best.yaml", *sorted((out / "archs").iterdir())]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def history(out: Path) -> list[tuple[str, ...]]:
    """The history but for its seconds."""
    with (out / "history.csv").open(newline="") as file:
        return [(line["evaluated"], line["hypervolume"], line["best"]) for line in csv.DictReader(file)]


def everything(out: Path) -> dict[str, bytes]:
    """All files of a folder, by name."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def start(
    out: Path, strategy: str, *, evals: int, pause: float, expensive: bool = False
) -> subprocess.Popen[bytes]:
    """`run` in a process of its own."""
    arguments = [sys.executable, __file__, str(out), strategy, str(evals), str(pause), str(int(expensive))]
    return subprocess.Popen(arguments, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    run(
        Path(sys.argv[1]),
        sys.argv[2],
        evals=int(sys.argv[3]),
        pause=float(sys.argv[4]),
        expensive=sys.argv[5] == "1",
    )
