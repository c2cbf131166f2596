"""Search: strategies, the Pareto front, run folders.

``search(space, device, budget_ms=2.0)`` is the whole job; `resume` continues a run that was cut. A
`SearchRequest` holds all that can be asked for, and `start` searches as one says.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.evaluations import Evaluations
    from hvnas.search.making import make_problem
    from hvnas.search.objectives import Constraint, Objective
    from hvnas.search.problem import Problem
    from hvnas.search.reach import InfeasibleBudget, Reach, find_reach
    from hvnas.search.registry import list_strategies, register_strategy
    from hvnas.search.request import Engine, SearchRequest
    from hvnas.search.result import Found, Nearest, SearchResult
    from hvnas.search.run import resume, search, start
    from hvnas.search.seams import Progress, Strategy
    from hvnas.search.state import Checkpoint, State, Stopped

# A command line's help reads no more than what a search is asked for.
_HOMES = {
    "Archive": "hvnas.search.archive",
    "Checkpoint": "hvnas.search.state",
    "Constraint": "hvnas.search.objectives",
    "Engine": "hvnas.search.request",
    "Evaluations": "hvnas.search.evaluations",
    "Found": "hvnas.search.result",
    "InfeasibleBudget": "hvnas.search.reach",
    "Nearest": "hvnas.search.result",
    "Objective": "hvnas.search.objectives",
    "Problem": "hvnas.search.problem",
    "Progress": "hvnas.search.seams",
    "Reach": "hvnas.search.reach",
    "SearchRequest": "hvnas.search.request",
    "SearchResult": "hvnas.search.result",
    "State": "hvnas.search.state",
    "Stopped": "hvnas.search.state",
    "Strategy": "hvnas.search.seams",
    "find_reach": "hvnas.search.reach",
    "list_strategies": "hvnas.search.registry",
    "make_problem": "hvnas.search.making",
    "register_strategy": "hvnas.search.registry",
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
