"""A reader under test: valid files that it takes, and the door that it reads them by."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from hvnas.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
_LABEL = "hvnas: error: "


@dataclass(frozen=True, kw_only=True)
class Reader:
    """`make` writes valid files into an empty folder and returns those to be damaged, with their kinds.

    `read` reads the file at a path; what stands beside it is as `make` left it. `share` is how many files it
    gets beside those of others. Messages may name the file, or its folder where `of_folder` is True.
    """

    name: str
    make: Callable[[Path], Sequence[tuple[Path, str]]]
    read: Callable[[Path], object]
    share: float = 1.0
    of_folder: bool = False

    def names(self, path: Path) -> tuple[str, ...]:
        """What a message may name the file by."""
        return (path.name, str(path.parent)) if self.of_folder else (path.name,)


READERS: dict[str, Reader] = {}


def add(reader: Reader) -> None:
    """List a reader under its name."""
    assert reader.name not in READERS
    READERS[reader.name] = reader


def copied(source: Path, kind: str, name: str | None = None) -> Callable[[Path], list[tuple[Path, str]]]:
    """A maker that copies one file of the repository."""

    def make(folder: Path) -> list[tuple[Path, str]]:
        path = folder / (name or source.name)
        shutil.copyfile(source, path)
        return [(path, kind)]

    return make


_MADE: dict[str, dict[str, bytes]] = {}


def kept(folder: Path, what: str, make: Callable[[], object]) -> None:
    """The files that `make` writes into `folder`: made once, then written as they were."""
    files = _MADE.get(what)
    if files is None:
        make()
        _MADE[what] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def command(*arguments: str | Path) -> str:
    """What ``hvnas ARGUMENTS`` prints. Raises ValueError with what it says where it fails."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        app(list(map(str, arguments)), standalone_mode=False)
    said = errors.getvalue()
    if "Traceback" in said:
        raise AssertionError(said[-400:])
    if _LABEL in said:
        raise ValueError(said[said.rfind(_LABEL) + len(_LABEL) :].rstrip("\n"))
    return out.getvalue()
