"""Optuna's journal file, made safe against writers that die, files that go away and files that are none."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from hvnas._waiting import LOGGER, end_wait_if_stopped, waiting

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

# Optuna's own for its locks: who holds one that long without a word is dead. Seconds.
LOCK_GRACE_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.25
_BLOCK = 1 << 16
# A line of ours has a few thousand bytes.
_LONGEST_LINE = 16 * 2**20
_FIRST_KEY = b'{"op_code":'
# What replaying lines of the right form but of wrong content was seen to raise in Optuna.
_WRONG_CONTENT = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    UserWarning,
)


class StorageError(ValueError):
    """A storage that cannot be reached or does not serve; the message names it, without its password."""


class JournalLock:
    """The lock beside a journal, ``PATH.lock``: the link that Optuna's processes make, or their lock file.

    A lock that does not change for `LOCK_GRACE_SECONDS`, beside a journal that does not either, was left
    by a process that was killed, and is taken away. Locks are told apart by inode and time.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self.path = journal.with_name(f"{journal.name}.lock")
        self._own: tuple[int, int] | None = None

    def acquire(self) -> bool:
        """Wait for the lock and take it; says what it waits for where that takes long.

        Raises KeyboardInterrupt where the job is asked to stop meanwhile, StorageError where something
        that is no lock has its name.
        """
        if not self._take():
            with waiting(
                f"{self.path}: another process holds the lock of this journal, or was killed with it"
            ):
                self._wait()
        return True

    def release(self) -> None:
        """Give the lock back, unless somebody took it away for a stale one."""
        if self._own is not None and self._identity() == self._own:
            with suppress(FileNotFoundError):
                self.path.unlink()
        self._own = None

    def _wait(self) -> None:
        pause, seen, since = _FIRST_PAUSE, None, time.monotonic()
        started = since
        while not self._take():
            now = time.monotonic()
            found = (self._identity(), _changed(self._journal))
            if found != seen:
                seen, since = found, now
            elif now - since >= LOCK_GRACE_SECONDS:
                self._take_away(found[0])
            if now - started >= _LONGEST_PAUSE:
                end_wait_if_stopped()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _take(self) -> bool:
        try:
            self.path.symlink_to(self._journal)
        except FileExistsError:
            return False
        self._own = self._identity()
        return True

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return None
        if not (stat.S_ISLNK(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise StorageError(f"{self.path}: is in the place of the journal's lock file; move it away")
        return found.st_ino, found.st_mtime_ns

    def _take_away(self, stale: tuple[int, int] | None) -> None:
        if stale is None or self._identity() != stale:
            return
        aside = self.path.with_name(f"{self.path.name}{uuid4().hex}.rename")
        # Of several that wait one succeeds.
        with suppress(FileNotFoundError):
            self.path.rename(aside)
            aside.unlink()
            LOGGER.warning(
                "%s: taken away, as nothing changed for %.0f s: the process that made it was killed",
                self.path,
                LOCK_GRACE_SECONDS,
            )


def open_journal(path: Path) -> JournalStorage:
    """The storage in the journal file at `path`, an absolute path; made where there is none.

    Raises OSError where the file cannot be made or read, StorageError, which names the line, where it is
    no journal or was damaged. Half a line at the end, which a writer left that was killed, is passed over,
    and goes with the next line that is appended.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend

    class GuardedJournal(BaseJournalBackend):
        """A journal whose file is never made anew behind its readers and never keeps half a line."""

        def __init__(self) -> None:
            self._lock = JournalLock(path)
            self._inode = path.stat().st_ino
            # Lines that were read, and where the next one begins.
            self.lines, self._offset = 0, 0

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            self._check()
            self._lock.acquire()
            try:
                self._check()
                _append(path, lines.encode())
            finally:
                self._lock.release()

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            self._check()
            if log_number_from < self.lines:
                self.lines, self._offset = 0, 0
            with path.open("rb") as file:
                file.seek(self._offset)
                for line in _whole_lines(file, path, self.lines):
                    self.lines += 1
                    self._offset += len(line)
                    if self.lines > log_number_from:
                        yield _parsed(line, path, self.lines)

        def _check(self) -> None:
            if path.stat().st_ino != self._inode:
                raise ValueError("another file has taken its place")

    _make(path)
    journal = GuardedJournal()
    try:
        with warnings.catch_warnings():
            # A record that Optuna would mend by itself, with a word to nobody in particular.
            warnings.filterwarnings("error", message="The distribution is specified by", category=UserWarning)
            return JournalStorage(journal)
    except (StorageError, OSError):
        raise
    except _WRONG_CONTENT as error:
        raise _damaged(path, journal.lines, f"not a record of Optuna ({type(error).__name__})") from None


def _make(path: Path) -> None:
    """An empty journal where there is nothing; refuses what can be none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.open("ab").close()
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise StorageError(f"{path}: is {kind}; give the path of a journal file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with path.open("rb") as file:
        _check_tail(path, file)


def _whole_lines(file: IO[bytes], path: Path, before: int) -> Iterator[bytes]:
    """The lines from where `file` stands that end in a line break; `before` is the number of those before."""
    while line := file.readline(_LONGEST_LINE):
        before += 1
        if line.endswith(b"\n"):
            yield line
        elif len(line) == _LONGEST_LINE:
            raise _damaged(path, before, f"longer than {_LONGEST_LINE // 2**20} MiB")


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        raise _damaged(path, number, "not text (UTF-8)") from None
    except (ValueError, RecursionError):
        raise _damaged(path, number, "not JSON") from None
    if not isinstance(record, dict) or not isinstance(record.get("op_code"), int):
        raise _damaged(path, number, "not a record of Optuna (op_code is missing)")
    return record


def _damaged(path: Path, line: int, what: str) -> StorageError:
    if line <= 1:
        return StorageError(
            f"{path}: line 1: {what}; this is not an Optuna journal; choose another --storage"
        )
    return StorageError(
        f"{path}: line {line}: {what}; the journal was damaged there: put a copy of it in its place, or give "
        "another --storage"
    )


def _check_tail(path: Path, file: IO[bytes]) -> None:
    """Raise StorageError where the end without a line break is not what a writer may have left."""
    size = file.seek(0, os.SEEK_END)
    end = _whole(file, size)
    file.seek(end)
    start = file.read(len(_FIRST_KEY))
    # A disk that lost power may leave zeros.
    if end == 0 and start.strip(b"\0") and not _FIRST_KEY.startswith(start):
        raise _damaged(path, 1, "not what a journal begins with")


def _append(path: Path, data: bytes) -> None:
    """Append whole lines and nothing else: what a writer left that died, or the full disk, goes.

    The caller holds the lock.
    """
    with path.open("r+b", buffering=0) as file:
        _check_tail(path, file)
        size = file.seek(0, os.SEEK_END)
        end = _whole(file, size)
        file.seek(end)
        tail = file.read(min(size - end, _LONGEST_LINE))
        if tail:
            data = _mended(tail, path) + data
        file.truncate(end)
        file.seek(end)
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(end)
            raise
        os.fsync(file.fileno())


def _mended(tail: bytes, path: Path) -> bytes:
    """The last line, which was cut: whole again where only its line break is missing, else nothing."""
    try:
        whole = bool(_parsed(tail, path, 0))
    except StorageError:
        whole = False
    what = "gets its line break back" if whole else "is dropped"
    LOGGER.warning("%s: the last line was cut short by a writer that was killed; it %s", path, what)
    return tail + b"\n" if whole else b""


def _changed(path: Path) -> int:
    """When a file was changed last."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


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
