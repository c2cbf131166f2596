"""The run folder: everything needed to resume, reload and redo a search."""

from __future__ import annotations

import csv
import io
import platform
import shutil
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hvnas._files import dump_yaml, read_yaml, write_atomic
from hvnas.arch import save_arch, to_dict
from hvnas.search.result import Found, SearchResult, describe, with_origin
from hvnas.search.state import FolderCheckpoint
from hvnas.search.study import write_study

SCHEMA = "hvnas.run/1"
CONFIG, BEST, FRONT, STUDY, LOG, ARCHS, STATE = (
    "config.yaml",
    "best.yaml",
    "pareto.csv",
    "study.journal",
    "log.txt",
    "archs",
    ".state",
)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A search as it was asked for, every default resolved; `space` and `device` are names or paths."""

    space: str
    space_hash: str
    device: str
    device_hash: str
    estimator: str
    recipe: str
    scenario: str
    budget_ms: float
    margin: float
    outside: str
    strategy: str
    evals: int
    seed: int
    fixed_points: bool
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Versions that a run's numbers may depend on."""
    from hvnas import __version__

    packages = {name: version(name) for name in ("numpy", "optuna", "scipy")}
    return {"hvnas": __version__, "python": platform.python_version(), **packages}


class RunFolder:
    """One run's folder. Files appear whole or not at all; the folder is never overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse_if_taken(self) -> None:
        """Raise ValueError where the folder holds anything."""
        if (self.path / CONFIG).is_file():
            raise ValueError(
                f"{self.path}: holds a run already; choose another name, or continue it with hvnas resume"
            )
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise ValueError(f"{self.path}: is there already and holds no run; choose another name")

    def create(self, config: RunConfig) -> None:
        """Make the folder; from now on the run can be resumed."""
        self.refuse_if_taken()
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / STATE).mkdir()
        write_atomic(self.path / CONFIG, dump_yaml({"schema": SCHEMA, **asdict(config)}))
        self.log(f"started: {config.strategy}, {config.evals} evaluations, seed {config.seed}")

    def config(self) -> RunConfig:
        """The configuration of the run. Raises ValueError naming the field at fault."""
        from pydantic import TypeAdapter, ValidationError

        path = self.path / CONFIG
        if not path.is_file():
            raise ValueError(f"{self.path}: holds no run (no {CONFIG}); give a folder of hvnas search --out")
        data = read_yaml(path, schema=SCHEMA)
        data.pop("schema")
        try:
            return TypeAdapter(RunConfig).validate_python(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{field}: {first['msg']}, got {first['input']!r} ({path})") from None

    def checkpoint(self, *, every: float) -> FolderCheckpoint:
        """Where strategies keep their state."""
        (self.path / STATE).mkdir(exist_ok=True)
        return FolderCheckpoint(self.path / STATE, every=every)

    def log(self, line: str) -> None:
        """Append one line to the log, with the time."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def write(self, result: SearchResult) -> SearchResult:
        """Write front, study and best; returns the result with the files' paths.

        `pareto.csv` holds the exact front, `archs/` and the study its readable part. `best.yaml` comes
        last: where it is, everything is.
        """
        self._write_archs(result)
        files = [self.path / ARCHS / f"{found.name}.yaml" for found in result.front]
        front = tuple(replace(f, file=file) for f, file in zip(result.front, files, strict=True))
        write_study(self.path / STUDY, name=self.path.resolve().name, space=result.problem.space, front=front)
        archive = result.archive
        members = describe(result.problem, archive.rows, archive.evaluations)
        write_atomic(self.path / FRONT, front_csv(members, written={found.name for found in front}))
        save_arch(with_origin(result.best, result.problem, seed=result.seed), self.path / BEST)
        self.log(
            f"finished: {result.evaluated} evaluated, {len(members)} on the front, {result.seconds:.1f} s"
        )
        return replace(result, front=front, out=self.path)

    def _write_archs(self, result: SearchResult) -> None:
        """The architectures of the front, a file each; the folder appears in one step."""
        with tempfile.TemporaryDirectory(dir=self.path, prefix=".archs.") as temporary:
            whole = Path(temporary) / ARCHS
            whole.mkdir()
            for found in result.front:
                arch = with_origin(found, result.problem, seed=result.seed)
                # Not `save_arch`: the folder is what appears in one step, and a sync per file takes seconds.
                (whole / f"{found.name}.yaml").write_text(dump_yaml(to_dict(arch)), encoding="utf-8")
            if (self.path / ARCHS).exists():
                shutil.rmtree(self.path / ARCHS)
            whole.replace(self.path / ARCHS)


def front_csv(front: Sequence[Found], *, written: Collection[str]) -> str:
    """The exact front as CSV, a line per architecture, in fixed decimals; the last column is the encoding.

    `written` are the names of those that have a file.
    """
    text = io.StringIO()
    rows = [{"file": f"{ARCHS}/{f.name}.yaml" if f.name in written else "", **_csv_row(f)} for f in front]
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_row(found: Found) -> dict[str, Any]:
    return {
        "name": found.name,
        "latency_ms": f"{found.latency_ms:.4f}",
        "latency_low": f"{found.latency_low:.4f}",
        "latency_high": f"{found.latency_high:.4f}",
        "p_within_budget": f"{found.p_within_budget:.4f}",
        "inside": str(found.inside).lower(),
        "top1": f"{found.top1:.3f}",
        "top1_sd": f"{found.top1_sd:.3f}",
        "params": found.params,
        "macs": found.macs,
        "encoding": " ".join(str(int(i)) for i in found.row),
    }
