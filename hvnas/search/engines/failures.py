"""Evaluations that fail, on workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hvnas.search.rows import Rows

# A mistake in the options of an estimator fails every network; so many are enough to tell.
_GIVE_UP = 10


class EvaluationsFailed(ValueError):
    """Nothing but failures came back from those that evaluate; the message has the first reason."""


@dataclass
class FailureCount:
    """Counts failures, and ends a search in which there is nothing else.

    `on_failure` is called with the row, int16 [1, genes], and the reason of every failure.
    """

    on_failure: Callable[[Rows, str], None] | None = None
    failed: int = 0
    succeeded: int = 0
    first: str = ""

    def success(self) -> None:
        """A network was evaluated."""
        self.succeeded += 1

    def failure(self, row: Rows, reason: str) -> None:
        """A network was not. Raises EvaluationsFailed where that is all that ever happens."""
        self.failed += 1
        self.first = self.first or reason
        if self.on_failure is not None:
            self.on_failure(row, reason)
        if self.failed >= _GIVE_UP:
            self.check()

    def check(self) -> None:
        """Raise EvaluationsFailed where there were failures and nothing else."""
        if self.failed and not self.succeeded:
            raise EvaluationsFailed(
                f"estimator: all of the first {self.failed} networks failed; the first: {self.first}"
            )
