"""Optuna's journal file, made safe against writers that die and files that go away."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

_BLOCK = 1 << 16


def open_journal(path: Path) -> JournalStorage:
    """The storage in the journal file at `path`, an absolute path; made where there is none.

    Raises OSError where the file cannot be made or read, ValueError where it is no journal.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    class GuardedJournal(JournalFileBackend):
        """A journal whose file is never made anew behind its readers and never keeps half a line."""

        def __init__(self, path: Path) -> None:
            # A relative path would make the link, and Optuna's watch on the lock, point elsewhere.
            self._own_lock = JournalFileSymlinkLock(str(path))
            super().__init__(str(path), lock_obj=self._own_lock)
            self._path = path
            self._inode = path.stat().st_ino

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            self._check()
            self._own_lock.acquire()
            try:
                self._check()
                _append(self._path, lines.encode())
            finally:
                self._own_lock.release()

        def read_logs(self, log_number_from: int) -> Any:
            self._check()
            return super().read_logs(log_number_from)

        def _check(self) -> None:
            if self._path.stat().st_ino != self._inode:
                raise ValueError("another file has taken its place")

    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(GuardedJournal(path))


def _append(path: Path, data: bytes) -> None:
    """Append whole lines and nothing else: what a writer left that died, or the full disk, goes.

    The caller holds the lock.
    """
    with path.open("r+b", buffering=0) as file:
        end = _whole(file, file.seek(0, os.SEEK_END))
        file.truncate(end)
        file.seek(end)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(end)
            raise
        os.fsync(file.fileno())


def _whole(file: Any, size: int) -> int:
    """The length of the part that consists of whole lines."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
