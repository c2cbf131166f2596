"""What an answer to a damaged file must be like: quick, the file read, or refused in one short line."""

from __future__ import annotations

import gc
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hvnas.cli._failure import Failure, one_line

# Of processor time; twice that and it is interrupted. Of time on the wall, for what only waits.
MOST_SECONDS, INTERRUPTED_SECONDS, LONGEST_WAIT = 1.0, 2.0, 30.0
MOST_CHARACTERS = 500


class TooLong(BaseException):
    """Interrupts a reader; no reader catches it as an error of its own."""


def fault_of(read: Callable[[Path], object], path: Path, names: Sequence[str]) -> str | None:
    """What is wrong with the answer to the file at `path`, None where nothing is.

    A refusal has to name the file by one of `names`.
    """
    gc.collect(0)
    started = time.process_time()
    try:
        with _timer(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            read(path)
        fault = _warned(warned)
    except (ValueError, OSError, Failure) as error:
        fault = _refusal(str(error) if isinstance(error, Failure) else one_line(error), names)
        if fault is not None:
            fault = f"{fault}{_where(error)}"
    except TooLong as error:
        return f"hangs{_where(error)}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"traceback: {type(error).__name__}: {str(error)[:160]!r}{_where(error)}"
    seconds = time.process_time() - started
    return f"takes {seconds:.1f} s of processor time" if seconds > MOST_SECONDS else fault


def _refusal(message: str, names: Sequence[str]) -> str | None:
    if "\n" in message:
        return f"several lines: {message[:160]!r}"
    if len(message) > MOST_CHARACTERS:
        return f"{len(message)} characters: {message[:100]!r} ... {message[-60:]!r}"
    if not any(name in message for name in names):
        return f"names no file: {message[:160]!r}"
    return None


def _warned(warned: Sequence[warnings.WarningMessage]) -> str | None:
    """Warnings of libraries, which are lines from the inside."""
    found = [one for one in warned if issubclass(one.category, RuntimeWarning | UserWarning)]
    if not found:
        return None
    first = found[0]
    where = f"{_short(first.filename)}:{first.lineno}"
    return f"warns: {first.category.__name__}: {str(first.message)[:120]!r} at {where}"


def _where(error: BaseException) -> str:
    """The lines of the project that an error came through, the last two."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/hvnas/" in frame.filename] or list(frames)
    return "".join(f" < {_short(frame.filename)}:{frame.lineno}" for frame in reversed(ours[-2:]))


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-3:])


@contextmanager
def _timer() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = [signal.signal(number, interrupt) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, INTERRUPTED_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)
