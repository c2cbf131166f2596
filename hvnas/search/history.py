"""How a search went: the hypervolume of its front over evaluations and time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from hvnas.search.objectives import LATENCY, TOP1, Objective
from hvnas.search.pareto import hypervolume, thin
from hvnas.search.seams import Floats

if TYPE_CHECKING:
    from hvnas.search.archive import Archive
    from hvnas.search.problem import Problem
    from hvnas.search.reach import Reach

# A line for each 15 % more evaluations: some seventy up to a hundred thousand.
_GROWTH = 1.15
# Of the front's extent, between points whose volume is taken where there are more than three objectives.
_APART = 0.25
FIELDS = ("evaluated", "seconds", "hypervolume", "front", "best")


@dataclass(frozen=True)
class Moment:
    """After `evaluated` architectures and `seconds` of search: the front's hypervolume in the product of
    the objectives' units, its size, and its best value of the first objective (nan where it is empty).
    """

    evaluated: int
    seconds: float
    hypervolume: float
    front: int
    best: float


@dataclass
class History:
    """The moments of a run, at evaluations that grow geometrically.

    `reference` [k] is the corner that the hypervolume is measured to; see `reference_of`. `sign` is that of
    the first objective. `before` is the seconds that earlier parts of a run that was cut had taken. With
    four objectives the volume is that of a part of the front, a lower bound, and with more nan: the exact
    one takes seconds.
    """

    reference: Floats
    sign: int = -1
    moments: list[Moment] = field(default_factory=list)
    before: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Of search so far."""
        return self.before + time.monotonic() - self._started

    def note(self, archive: Archive, *, last: bool = False) -> None:
        """Take down the moment if one is due, or it is the `last`."""
        known = self.moments[-1].evaluated if self.moments else 0
        if archive.evaluated >= _GROWTH * known + 1 or (last and archive.evaluated > known):
            self.moments.append(self._moment(archive))

    def _moment(self, archive: Archive) -> Moment:
        costs = archive.evaluations.costs
        best = self.sign * float(costs[-1, 0]) if len(archive) else float("nan")
        return Moment(archive.evaluated, self.seconds, self._volume(costs), len(archive), best)

    def _volume(self, costs: Floats) -> float:
        if np.isnan(self.reference).any() or len(self.reference) > 4:
            return float("nan")
        if len(costs) == 0:
            return 0.0
        if len(self.reference) > 3:
            costs = costs[thin(costs, share=_APART)]
        return hypervolume(costs, self.reference)

    def stored(self) -> list[list[float]]:
        """Plain data, for a checkpoint."""
        return [[getattr(moment, name) for name in FIELDS] for moment in self.moments]

    def restore(self, stored: Sequence[Sequence[float]]) -> None:
        """Go on after what `stored` returned. Raises ValueError for what it cannot have been."""
        self.moments = [Moment(int(e), float(s), float(v), int(f), float(b)) for e, s, v, f, b in stored]
        if not all(0 <= moment.seconds < inf for moment in self.moments):
            raise ValueError("history: holds seconds that are none")
        self.before = self.moments[-1].seconds if self.moments else 0.0


def history_csv(moments: Sequence[Moment]) -> str:
    """A line per moment."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for m in moments:
        writer.writerow([m.evaluated, f"{m.seconds:.3f}", f"{m.hypervolume:.6g}", m.front, f"{m.best:.4f}"])
    return text.getvalue()


def reference_of(problem: Problem, reach: Reach) -> Floats:
    """The corner of the objectives, as costs [k], that hypervolumes of the problem are measured to.

    The budget or constraint where an objective has one. Else the value that the slowest network within
    reach has, and for top-1 zero points (for a score no volume can be told: the corner is nan).
    """
    slowest = problem.evaluate(reach.max_row[None], accuracy=False)
    return np.array(
        [_corner(problem, what, float(slowest.costs[0, i])) for i, what in enumerate(problem.objectives)]
    )


def _corner(problem: Problem, what: Objective, slowest: float) -> float:
    bounds = [c.bound for c in problem.constraints if c.what == what]
    if what.metric == LATENCY and what.device in (None, problem.device.name):
        bounds.append(problem.budget_ms)
    if bounds:
        return min(what.sign * bound for bound in bounds)
    if what.metric == TOP1:
        return 0.0 if problem.unit == "points" else float("nan")
    return slowest
