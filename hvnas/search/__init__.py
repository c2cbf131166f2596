"""Search: strategies, the Pareto front, run folders.

``search(space, device, budget_ms=2.0)`` is the whole job; `resume` continues a run that was cut.
"""

from __future__ import annotations

import sys

from hvnas.search.archive import Archive
from hvnas.search.engines import Engine
from hvnas.search.evaluations import Evaluations
from hvnas.search.making import make_problem
from hvnas.search.objectives import Constraint, Objective
from hvnas.search.problem import Problem
from hvnas.search.reach import InfeasibleBudget, Reach, find_reach
from hvnas.search.registry import list_strategies, register_strategy
from hvnas.search.result import Found, Nearest, SearchResult
from hvnas.search.run import resume, search
from hvnas.search.seams import Progress, Strategy
from hvnas.search.state import Checkpoint, State, Stopped

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
]

# `hvnas.search` is the function, wherever it is read; under it lies what this package holds, so that
# ``import hvnas.search as s; s.Engine`` and ``hvnas.search.Engine`` find the package's names.
search.__dict__ = sys.modules[__name__].__dict__
