"""Where an export goes: checked before the work, written beside, moved there whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from hvnas._files import check_parent, naming

UNFINISHED = ".part"  # what a killed export leaves behind is named .NAME.xxxxxxxx.part


def check_target(path: str | Path, suffix: str) -> Path:
    """`path` as a Path. Raises ValueError, one line, where an export cannot be written there."""
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(f"{path}: the name must end in {suffix}; rename it")
    if path.is_dir() and not (path / "Manifest.json").is_file():
        raise ValueError(f"{path}: a folder of something else is there; choose another name")
    _check_parent(path)
    return path


def check_folder(path: str | Path, files: Iterable[str]) -> Path:
    """`path` as a Path. Raises ValueError, one line, where a folder of `files` cannot be written there."""
    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"{path}: the name of a folder to write is missing; give one")
    if path.is_symlink() or path.is_file():
        raise ValueError(f"{path}: a file is there; choose another name")
    if path.is_dir() and {entry.name for entry in path.iterdir()} - set(files):
        raise ValueError(f"{path}: a folder of something else is there; choose another name")
    _check_parent(path)
    return path


def _check_parent(path: Path) -> None:
    check_parent(path)
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{path}: the folder {path.parent} is not writable; choose another")


def require(*packages: str, extra: str, what: str) -> None:
    """Raise ValueError naming the extra to install where one of `packages` is missing."""
    missing = [package for package in packages if not _is_there(package)]
    if missing:
        raise ValueError(
            f"{what} needs {', '.join(missing)}, not installed here; pip install 'hvnas[{extra}]' brings it"
        )


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module without a spec, such as None in sys.modules
        return False


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path to write to; what lies in its folder takes the place of `path` and its side files at the end.

    Side files come first, so that a reader never finds a model without its weights. Where an exception
    leaves nothing changes. Raises OSError naming `path` where it cannot be written.
    """
    with naming(path):
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED))
        try:
            with naming(path):
                yield folder / path.name
            for part in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
                _replace(part, path.parent / part.name, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _replace(part: Path, path: Path, folder: Path) -> None:
    if path.is_dir():  # a folder cannot take another's place in one step
        path.rename(folder / f"{path.name}.old")
    part.rename(path)


def size_of(path: Path) -> int:
    """Bytes of a file or of everything in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
