"""A run is a folder, whatever runs in it: claimed once, with its request in one file, a lock and a log.

Killed at any instant it can be continued: files take their places whole, what was half written goes when the
run goes on, and the system gives the lock back.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from hvnas._files import append_line, read_mapping, refusing, write_together
from hvnas._names import WrongField, to_plain, validated
from hvnas._yaml import dump_yaml

C = TypeVar("C")
LOG = "log.txt"
# Files and folders that are being written; those of networks were called otherwise in 0.1.0.
_PART = re.compile(r"\..*\.part|\.archs\..*")
# What a system says where another process holds the lock.
_HELD = (errno.EAGAIN, errno.EACCES)


@dataclass(frozen=True)
class RunKind(Generic[C]):
    """What tells one kind of run from another.

    What a run was asked for, every default resolved, is a dataclass `config`. It lies in `file`, YAML or JSON
    by its ending, under `schema`. `taken`, `foreign` and `missing` are what is said of a folder with a run,
    with other things, and without a run where there should be one. `lock` is the file that is locked;
    `folders` are those inside in which files are written too.
    """

    config: type[C]
    file: str
    schema: str
    taken: str
    foreign: str
    missing: str
    lock: str = ".lock"
    folders: tuple[str, ...] = ()


class RunFolder(Generic[C]):
    """The folder of a run of one `kind`. Its files appear whole or not at all."""

    kind: ClassVar[RunKind[Any]]

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.file = self.path / self.kind.file

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun here."""
        return self.file.is_file()

    def refuse_if_taken(self) -> None:
        """Raise ValueError where the folder holds anything but the beginnings of a run that never began."""
        # Looked at first: another process may claim the folder between the two looks.
        is_foreign = self.path.exists() and not (self.path.is_dir() and self._is_bare())
        if self.holds_run:
            raise ValueError(f"{self.path}: {self.kind.taken}")
        if is_foreign:
            raise ValueError(f"{self.path}: {self.kind.foreign}")

    def _is_bare(self) -> bool:
        """Whether nothing is in the folder but the lock, and what was being written when a run was cut."""
        lock = self.path / self.kind.lock
        return all(
            path == lock or (path == lock.parent and {*path.iterdir()} <= {lock})
            for path in self.path.iterdir()
            if not is_part(path)
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be and keep it to this process; ValueError where another one has it."""
        with locked(self.path / self.kind.lock):
            yield

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """`locked`, and what a cut left half written is gone."""
        with self.locked():
            self.remove_parts()
            yield

    def claim(self, config: C, *, beside: Mapping[str, str] | None = None) -> None:
        """`create` by the one process that gets the lock, for a run that starts later."""
        self.refuse_if_taken()
        with self.locked():
            self.create(config, beside=beside)

    def create(self, config: C, *, beside: Mapping[str, str] | None = None) -> None:
        """Begin a run, with the texts `beside` its request, by file name; whoever calls holds the lock.

        Raises ValueError where the folder is taken.
        """
        self.refuse_if_taken()
        self.path.mkdir(parents=True, exist_ok=True)
        data = {"schema": self.kind.schema, **self.to_plain(config)}
        text = json.dumps(data, indent=1) + "\n" if self.file.suffix == ".json" else dump_yaml(data)
        write_together({**{self.path / name: each for name, each in (beside or {}).items()}, self.file: text})

    @cached_property
    def config(self) -> C:
        """What the run was asked for. Raises ValueError naming file and field."""
        if not self.holds_run:
            raise ValueError(f"{self.path}: {self.kind.missing}")
        with refusing(self.file):
            data = read_mapping(self.file, schema=self.kind.schema)
            del data["schema"]
            return self.from_plain(data)

    def to_plain(self, config: C) -> dict[str, Any]:
        """The fields of the run's file, but the schema."""
        return to_plain(config)

    def from_plain(self, data: dict[str, Any]) -> C:
        """The other way. Raises ValueError naming the field at fault."""
        try:
            config: C = validated(self.kind.config, data)
            return config
        except WrongField as wrong:
            raise ValueError(f"{wrong}; restore the file") from None

    def remove_parts(self) -> None:
        """Remove what a cut left half written."""
        folders = [self.path, *(self.path / name for name in self.kind.folders)]
        with self.writing():
            for path in [path for folder in folders if folder.is_dir() for path in folder.iterdir()]:
                if is_part(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def log(self, line: str) -> None:
        """Append one line to the log, with the time."""
        with self.writing():
            append_line(self.path / LOG, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def writing(self) -> AbstractContextManager[None]:
        """What a failure to write inside comes to; the system's own error, unless the kind says more."""
        return nullcontext()


def is_part(path: Path) -> bool:
    """Whether a file or folder was being written when a run was cut."""
    return _PART.fullmatch(path.name) is not None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, which is made if need be, as is its folder.

    The system gives the lock back when the process ends, however that comes about: a file left behind locks
    nobody out. Where the system or the file system has no such locks, nothing is locked.

    Raises ValueError, one line, where another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _hold(handle, path)
        yield
    finally:
        os.close(handle)


def _hold(handle: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise ValueError(
                f"{path}: another process is at work on this run; wait until it has ended, or stop it"
            ) from None


@contextmanager
def writing(run: Path, hint: str) -> Iterator[None]:
    """Make a failure to write into the folder of a run a ValueError of one line, which ends in `hint`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{_refused(run, error)}: cannot be written: {reason}; {hint}") from None


def _refused(run: Path, error: OSError) -> Path:
    """The file of the run that an error is about, the run where it is about a temporary one or none."""
    path = Path(os.fsdecode(error.filename or run))
    return path if run in path.parents and not any(map(is_part, map(Path, path.parts))) else run


def versions(*packages: str) -> dict[str, str]:
    """Versions that a run's numbers may depend on: ours, Python's, those of `packages`."""
    from hvnas._version import __version__

    return {"hvnas": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}
