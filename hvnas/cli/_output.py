"""Files that a command writes: refused before anything long is done, named where the system refuses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hvnas.cli._failure import Failure
from hvnas.cli._screen import Screen


def check_output(path: Path) -> None:
    """End the command where no file can come to lie at `path`."""
    if path.is_dir():
        raise Failure(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise Failure(f"{path}: there is no folder {path.parent}; create it first")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, what the system says of temporary files is said of `path`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"{path}: cannot be written: {reason}") from None


def written(out: Path | None, write: Callable[[Path], Sequence[Path]]) -> tuple[Path, ...]:
    """The files that ``write(out)`` leaves, none where nothing is to be written."""
    if out is None:
        return ()
    with writing(out):
        return tuple(write(out))


def show_written(screen: Screen, files: Sequence[Path]) -> None:
    """Name the files that were written, if any, below a result."""
    if files:
        screen.line()
        screen.line("Written: " + ", ".join(map(str, files)))
