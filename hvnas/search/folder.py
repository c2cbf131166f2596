"""The run folder: everything needed to resume, reload and redo a search."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from math import isnan
from pathlib import Path
from typing import Any

from hvnas._files import csv_text, dump_yaml, read_yaml, refuse_unknown, refusing, sync_folder, write_atomic
from hvnas._lock import locked
from hvnas._numbers import took
from hvnas._validation import first_wrong, shown, validated
from hvnas.arch import save_arch, to_dict
from hvnas.search.history import history_csv
from hvnas.search.result import Found, SearchResult, describe, with_origin
from hvnas.search.slimming_path import FIGURE, PATH
from hvnas.search.state import FolderCheckpoint, writing
from hvnas.search.study import write_study

SCHEMA = "hvnas.run/1"
CONFIG, BEST, FRONT, HISTORY, STUDY, LOG, ARCHS, STATE = (
    "config.yaml",
    "best.yaml",
    "pareto.csv",
    "history.csv",
    "study.journal",
    "log.txt",
    "archs",
    ".state",
)
_LOCK = "lock"
# What is being written, under a name of its own, ends like this; beside it the one that 0.1.0 used for archs.
_PART, _OLD_PART = ".part", ".archs."


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A search as it was asked for, every default resolved.

    `space`, `device` and `others` are names or paths; `others` with their hashes and margins are the
    further devices. `storage` is where the study is shared, without its password; `estimator_hash` is that
    of the files that the estimator's name points to, if any. `resolution` and `classes` are those that every
    network is put to, each None where the space decides.
    """

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
    objectives: tuple[str, ...] = ("top1", "latency_ms")
    constraints: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    other_hashes: tuple[str, ...] = ()
    other_margins: tuple[float, ...] = ()
    engine: str = "local"
    storage: str | None = None
    estimator_hash: str = ""
    resolution: int | None = None
    classes: int | None = None


def versions() -> dict[str, str]:
    """Versions that a run's numbers may depend on."""
    from hvnas import __version__

    packages = {name: version(name) for name in ("cmaes", "numpy", "optuna", "scipy")}
    return {"hvnas": __version__, "python": platform.python_version(), **packages}


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


class RunFolder:
    """One run's folder. Files appear whole or not at all; the folder is never overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse_if_taken(self) -> None:
        """Raise ValueError where the folder holds anything but the beginnings of a run that never began."""
        if (self.path / CONFIG).is_file():
            raise ValueError(
                f"{self.path}: holds a run already; choose another name, or continue it with hvnas resume"
            )
        if self.path.exists() and not (self.path.is_dir() and self._is_bare()):
            raise ValueError(f"{self.path}: is there already and holds no run; choose another name")

    def _is_bare(self) -> bool:
        inside = [path for path in self.path.iterdir() if not _is_part(path)]
        return all(path.name == STATE and {p.name for p in path.iterdir()} <= {_LOCK} for path in inside)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if need be and keep it to this process; ValueError where another one has it."""
        (self.path / STATE).mkdir(parents=True, exist_ok=True)
        with locked(self.path / STATE / _LOCK):
            yield

    def create(self, config: RunConfig) -> None:
        """Begin a run; from now on it can be resumed."""
        self.refuse_if_taken()
        with writing(self.path, "no run was begun"):
            (self.path / STATE).mkdir(parents=True, exist_ok=True)
            write_atomic(self.path / CONFIG, dump_yaml({"schema": SCHEMA, **_plain(asdict(config))}))
        self.log(f"started: {config.strategy}, {config.evals} evaluations, seed {config.seed}")

    def reopen(self) -> None:
        """Go on with the run: what a cut left half written goes."""
        with writing(self.path):
            for path in (*self.path.iterdir(), *(self.path / STATE).iterdir()):
                if _is_part(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.log("resumed")

    def config(self) -> RunConfig:
        """The configuration of the run. Raises ValueError naming the field at fault."""
        path = self.path / CONFIG
        if not path.is_file():
            raise ValueError(f"{self.path}: holds no run (no {CONFIG}); give a folder of hvnas search --out")
        with refusing(path):
            return _config(read_yaml(path, schema=SCHEMA))

    def checkpoint(self, *, every: float) -> FolderCheckpoint:
        """Where strategies keep their state."""
        mark = zlib.crc32((self.path / CONFIG).read_bytes())
        return FolderCheckpoint(self.path / STATE, every=every, mark=mark)

    def log(self, line: str) -> None:
        """Append one line to the log, with the time."""
        with writing(self.path), (self.path / LOG).open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            # A line that was cut stays alone on its line.
            start = "" if file.read() in (b"", b"\n") else "\n"
            file.write(f"{start}{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n".encode())

    def files(self) -> list[str]:
        """The names of what searches write here that is there, sorted; what others put here is not theirs."""
        names = (CONFIG, BEST, FRONT, HISTORY, STUDY, LOG, ARCHS, PATH, FIGURE)
        return sorted(name for name in names if (self.path / name).exists())

    def write(self, result: SearchResult) -> SearchResult:
        """Write front, study and best; returns the result with the files' paths.

        `pareto.csv` holds the exact front, `archs/` and the study its readable part. All files are whole
        before the first one takes its place, and `best.yaml` comes last: where it is, everything is.
        """
        files = [self.path / ARCHS / f"{found.name}.yaml" for found in result.front]
        front = tuple(replace(f, file=file) for f, file in zip(result.front, files, strict=True))
        with (
            writing(self.path),
            tempfile.TemporaryDirectory(dir=self.path, prefix=".", suffix=_PART) as aside,
        ):
            self._write_aside(Path(aside), replace(result, front=front))
            self._put_in_place(Path(aside))
        self.log(f"limit: {result.limit}")
        ended = "stopped" if result.stopped else "finished"
        self.log(
            f"{ended}: {result.evaluated} evaluated, {len(result.archive)} on the front, "
            f"{took(result.seconds, parts=result.parts)}"
        )
        return replace(result, front=front, out=self.path)

    def _write_aside(self, aside: Path, result: SearchResult) -> None:
        """All files of a front, in a folder beside those that are there."""
        _write_archs(aside / ARCHS, result)
        name = self.path.resolve().name
        write_study(aside / STUDY, name=name, problem=result.problem, front=result.front)
        archive = result.archive
        members = describe(result.problem, archive.rows, archive.evaluations)
        write_atomic(aside / FRONT, front_csv(members, written={found.name for found in result.front}))
        write_atomic(aside / HISTORY, history_csv(result.history))
        save_arch(with_origin(result.best, result.problem, seed=result.seed), aside / BEST)

    def _put_in_place(self, aside: Path) -> None:
        for name in (STUDY, FRONT, HISTORY, BEST):
            if (self.path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path / name))
        if (self.path / ARCHS).exists() and not (self.path / ARCHS).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path / ARCHS))
        (self.path / BEST).unlink(missing_ok=True)
        if (self.path / ARCHS).exists():
            (self.path / ARCHS).replace(aside / "before")
        for name in (ARCHS, STUDY, FRONT, HISTORY, BEST):
            (aside / name).replace(self.path / name)
        sync_folder(self.path)


def _is_part(path: Path) -> bool:
    """Whether a file or folder was being written when a run was cut."""
    return path.name.startswith(_OLD_PART) or (path.name.startswith(".") and path.name.endswith(_PART))


def _config(data: dict[str, Any]) -> RunConfig:
    from pydantic import TypeAdapter, ValidationError

    del data["schema"]
    refuse_unknown(data, [field.name for field in fields(RunConfig)], "", CONFIG)
    try:
        config: RunConfig = validated(TypeAdapter(RunConfig), data)
    except ValidationError as error:
        wrong = first_wrong(error)
        raise ValueError(f"{wrong.at}: {wrong.said}") from None
    _check_numbers(config)
    return config


def _check_numbers(config: RunConfig) -> None:
    for name, number in (("budget_ms", config.budget_ms), ("margin", config.margin)):
        if isnan(number):
            raise ValueError(f"{name}: must be a number, got {number}; restore the file")
    for name, value, least in (("evals", config.evals, 1), ("seed", config.seed, 0)):
        if value < least:
            raise ValueError(f"{name}: must be a whole number >= {least}, got {shown(value)}")
    if not len(config.others) == len(config.other_hashes) == len(config.other_margins):
        raise ValueError("others, other_hashes, other_margins: must be lists of one length")


def _write_archs(folder: Path, result: SearchResult) -> None:
    """The architectures of the front, a file each."""
    folder.mkdir()
    for found in result.front:
        arch = with_origin(found, result.problem, seed=result.seed)
        (folder / f"{found.name}.yaml").write_text(dump_yaml(to_dict(arch)), encoding="utf-8")
    # All written first and synced then: one after the other takes several times as long.
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def front_csv(front: Sequence[Found], *, written: Collection[str]) -> str:
    """The exact front as CSV, a line per architecture, in fixed decimals; the last column is the encoding.

    `written` are the names of those that have a file.
    """
    return csv_text(
        {"file": f"{ARCHS}/{f.name}.yaml" if f.name in written else "", **_csv_row(f)} for f in front
    )


def _csv_row(found: Found) -> dict[str, Any]:
    return {
        "name": found.name,
        "latency_ms": f"{found.latency_ms:.4f}",
        "latency_low": f"{found.latency_low:.4f}",
        "latency_high": f"{found.latency_high:.4f}",
        "p_within_budget": f"{found.p_within_budget:.4f}",
        "inside": str(found.inside).lower(),
        **{name: "" if value is None else f"{value:.3f}" for name, value in found.accuracy_json().items()},
        "params": found.params,
        "macs": found.macs,
        **{name: f"{value:.4f}" for name, value in found.more.items()},
        "encoding": " ".join(str(int(i)) for i in found.row),
    }
