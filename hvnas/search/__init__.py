"""Search: strategies, the Pareto front, run folders.

``search(space, device, budget_ms=2.0)`` is the whole job; `resume` continues a run that was cut. A
`SearchRequest` holds all that can be asked for, and `start` searches as one says.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive, Evaluations
    from hvnas.search.making import make_problem
    from hvnas.search.objectives import Constraint, Objective
    from hvnas.search.problem import Problem
    from hvnas.search.reach import InfeasibleBudget, Reach, find_reach
    from hvnas.search.request import Engine, SearchRequest
    from hvnas.search.run import resume, search, start
    from hvnas.search.runs.checkpoint import Checkpoint, State, Stopped
    from hvnas.search.runs.result import Found, Nearest, SearchResult
    from hvnas.search.runs.session import Progress
    from hvnas.search.strategies.registry import Strategy, list_strategies, register_strategy

# A command line's help reads no more than what a search is asked for.
_HOMES = {
    "Archive": "hvnas.search.evaluations",
    "Checkpoint": "hvnas.search.runs.checkpoint",
    "Constraint": "hvnas.search.objectives",
    "Engine": "hvnas.search.request",
    "Evaluations": "hvnas.search.evaluations",
    "Found": "hvnas.search.runs.result",
    "InfeasibleBudget": "hvnas.search.reach",
    "Nearest": "hvnas.search.runs.result",
    "Objective": "hvnas.search.objectives",
    "Problem": "hvnas.search.problem",
    "Progress": "hvnas.search.runs.session",
    "Reach": "hvnas.search.reach",
    "SearchRequest": "hvnas.search.request",
    "SearchResult": "hvnas.search.runs.result",
    "State": "hvnas.search.runs.checkpoint",
    "Stopped": "hvnas.search.runs.checkpoint",
    "Strategy": "hvnas.search.strategies.registry",
    "find_reach": "hvnas.search.reach",
    "list_strategies": "hvnas.search.strategies.registry",
    "make_problem": "hvnas.search.making",
    "register_strategy": "hvnas.search.strategies.registry",
    "resume": "hvnas.search.run",
    "search": "hvnas.search.run",
    "start": "hvnas.search.run",
}

__all__ = [
    "Archive",
    "Checkpoint",
    "Constraint",
    "Engine",
    "Evaluations",
    "Found",
    "InfeasibleBudget",
    "Nearest",
    "Objective",
    "Problem",
    "Progress",
    "Reach",
    "SearchRequest",
    "SearchResult",
    "State",
    "Stopped",
    "Strategy",
    "find_reach",
    "list_strategies",
    "make_problem",
    "register_strategy",
    "resume",
    "search",
    "start",
]


class _Package(LazyPackage):
    """`hvnas.search` is the function, wherever it is read; under it lies what this package holds.

    ``import hvnas.search as s; s.Engine`` and ``hvnas.search.Engine`` so find the package's names.
    """

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name == "search":
            for other in _HOMES:
                getattr(self, other)
            value.__dict__ = self.__dict__
        return value


sys.modules[__name__].__class__ = _Package
