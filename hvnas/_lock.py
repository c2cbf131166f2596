"""One process at a time on a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a system says where another process holds the lock.
_HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, which is made if need be.

    The system gives the lock back when the process ends, however that comes about: a file left behind locks
    nobody out. Where the system or the file system has no such locks, nothing is locked.

    Raises ValueError, one line, where another process holds it.
    """
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
