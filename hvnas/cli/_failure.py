"""Failures that a user can do something about, and their exit codes."""

from __future__ import annotations

import os

BAD_INPUT = 2
INFEASIBLE = 3
INTERRUPTED = 130
TERMINATED = 143


class Failure(Exception):
    """Ends the command with one line on standard error and an exit code."""

    def __init__(self, message: str, *, code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code


def one_line(error: ValueError | OSError) -> str:
    """What went wrong, file first where the system names one."""
    if isinstance(error, OSError) and error.strerror:
        file = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        return error.strerror.lower() if file is None else f"{file}: {error.strerror.lower()}"
    return str(error) or type(error).__name__
