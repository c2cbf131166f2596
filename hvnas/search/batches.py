"""How many architectures a strategy hands over at once."""

from __future__ import annotations

from hvnas.search.problem import Problem


def rows_at_once(problem: Problem, most: int) -> int:
    """`most` where an evaluation costs microseconds or workers share a batch; else 1, so that no evaluation
    of seconds is lost to a run that is cut.
    """
    shared = getattr(problem, "spread", None) is not None
    return most if problem.cheap or shared else 1
