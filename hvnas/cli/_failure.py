"""Failures that a user can do something about, and their exit codes."""

from __future__ import annotations

import errno
import os

BAD_INPUT = 2
INFEASIBLE = 3
INTERRUPTED = 130
TERMINATED = 143

_REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "make room and run the command again",
    errno.EDQUOT: "make room and run the command again",
    errno.EFBIG: "allow larger files there, or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "change the permissions, or choose another path",
    errno.EPERM: "change the permissions, or choose another path",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file",
}


class Failure(Exception):
    """Ends the command with one line on standard error and an exit code."""

    def __init__(self, message: str, *, code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code


def one_line(error: ValueError | OSError) -> str:
    """What went wrong, file first where the system names one."""
    if isinstance(error, OSError) and error.strerror:
        file = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        remedy = f"; {_REMEDIES[error.errno]}" if error.errno in _REMEDIES else ""
        return f"{'' if file is None else f'{file}: '}{error.strerror.lower()}{remedy}"
    return str(error) or type(error).__name__
