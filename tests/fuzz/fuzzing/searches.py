"""The folder of a search, and studies that searches share."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Event

import hvnas
from fuzzing.reader import Reader, add, command, kept
from hvnas.report.runs import load_run
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.optuna_samplers import OptunaStrategy
from hvnas.testing.strategies import LANDSCAPES

LANDSCAPE = LANDSCAPES[1]
KINDS = {"config.yaml": "yaml", "pareto.csv": "csv", "history.csv": "csv", "log.txt": "text"}
STATE = {"config.yaml": "yaml", ".state/state.npz": "npz", ".state/seen.bin": "text"}


def _run(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "finished run", lambda: _search(folder))
    return [(folder / name, kind) for name, kind in KINDS.items()]


def _read_run(path: Path) -> None:
    run = load_run(path.parent)
    assert math.isfinite(run.costs.sum()) and run.seconds >= 0


def _search(folder: Path, *, stop: bool = False) -> None:
    asked = Event()
    if stop:
        asked.set()
    hvnas.search(
        "poolformer", "iphone12", budget_ms=3.0, strategy="evolution", evals=100, out=folder, stop=asked
    )


def _finished(folder: Path) -> list[tuple[Path, str]]:
    _run(folder)
    return [(folder / name, kind) for name, kind in STATE.items() if (folder / name).is_file()]


def _stopped(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "stopped run", lambda: _search(folder, stop=True))
    return [(folder / name, kind) for name, kind in STATE.items()]


def _resume(path: Path) -> object:
    folder = path.parent if path.name == "config.yaml" else path.parent.parent
    return command("resume", folder, "--json")


def _best(folder: Path) -> list[tuple[Path, str]]:
    _run(folder)
    return [(folder / "best.yaml", "yaml")]


def _journal(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "shared.journal"
    _share(path, evals=6)
    return [(path, "jsonl")]


def _database(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "shared.db"
    kept(folder, "database", lambda: _share(path, evals=3))
    return [(path, "bytes")]


def _storage(path: Path) -> str:
    return f"sqlite:///{path}" if path.suffix == ".db" else f"journal:{path}"


def _share(path: Path, *, evals: int) -> None:
    strategy = OptunaStrategy("nsga2", storage=_storage(path))
    strategy.run(LANDSCAPE.problem(), evals=evals, seed=0, progress=Silent(), checkpoint=Checkpoint())


def _join(path: Path) -> None:
    """Read what others evaluated, and propose one more network."""
    run = OptunaStrategy("nsga2", storage=_storage(path)).proposer(LANDSCAPE.problem(), evals=7, seed=0)
    try:
        run.ask()
    finally:
        run.close()


add(Reader(name="run", make=_run, read=_read_run, of_folder=True))
add(
    Reader(
        name="run-report",
        make=_run,
        read=lambda path: command("report", path.parent),
        share=0.1,
        of_folder=True,
    )
)
add(Reader(name="run-finished", make=_finished, read=_resume, share=0.1, of_folder=True))
add(Reader(name="run-resume", make=_stopped, read=_resume, share=0.2, of_folder=True))
add(
    Reader(
        name="run-show",
        make=_best,
        read=lambda path: command("show", path.parent, "--device", "iphone12"),
        share=0.15,
        of_folder=True,
    )
)
add(Reader(name="database", make=_database, read=_join, share=0.05))
add(Reader(name="journal", make=_journal, read=_join, share=0.5))
