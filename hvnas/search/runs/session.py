"""What accompanies a strategy: the watcher, the history of the front, the checkpoint, the request to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np

from hvnas._records import Cell, csv_text
from hvnas.search.objectives import LATENCY, TOP1, Objective
from hvnas.search.pareto import hypervolume, thin
from hvnas.search.rows import Floats, Rows
from hvnas.search.runs.checkpoint import Checkpoint, State, Stopped

if TYPE_CHECKING:
    from hvnas.search.evaluations import Archive, TrialLog
    from hvnas.search.problem import Problem
    from hvnas.search.reach import Reach
    from hvnas.search.timed import TimedFront

# A line for each 15 % more evaluations: some seventy up to a hundred thousand.
_GROWTH = 1.15
# Of the front's extent, between points whose volume is taken where there are more than three objectives.
_APART = 0.25
SECONDS_DECIMALS = 3
FIELDS = ("evaluated", "seconds", "hypervolume", "front", "best")


def no_log(_: str) -> None:
    """The log of a run without a folder."""


@dataclass
class Session(Checkpoint):
    """Progress and checkpoint of a run in one: what a strategy tells goes to all that wait for it.

    After `stop` is set the next checkpoint is due at once, and saving it raises `Stopped`: the strategy is
    at rest then, and `archive` is the front that it had. Where a checkpoint is due the watcher hears of a
    batch once it is saved: what was reported is not lost. `trials` are saved with each state, and `saved` is
    called then.
    """

    progress: Progress
    checkpoint: Checkpoint
    history: History
    stop: Event
    log: Callable[[str], None] = no_log
    trials: TrialLog | None = None
    saved: Callable[[], None] | None = None
    archive: Archive | None = None
    _untold: int | None = None

    def chosen(self, strategy: str, reason: str) -> None:
        """Passed on."""
        self.progress.chosen(strategy, reason)

    def reachable(self, reach: Reach) -> None:
        """Passed on."""
        self.progress.reachable(reach)

    def failed(self, row: Rows, reason: str) -> None:
        """Logged and passed on."""
        self.log(f"failed: {' '.join(map(str, np.ravel(row).tolist()))}: {reason}")
        self.progress.failed(row, reason)

    def timed(self, front: TimedFront, count: int) -> None:
        """Passed on."""
        self.progress.timed(front, count)

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Noted and passed on."""
        self.archive = archive
        self.history.note(archive)
        self._untold = evals
        if not self.due():
            self._tell()

    def _tell(self) -> None:
        if self.archive is not None and self._untold is not None:
            self.progress.advanced(self.archive, evals=self._untold)
        self._untold = None

    def due(self) -> bool:
        """When the checkpoint says so, and when the run is to stop."""
        return self.stopping() or self.checkpoint.due()

    def stopping(self) -> bool:
        """Whether `stop` is set."""
        return self.stop.is_set()

    def load(self) -> State | None:
        """The state, with the history and the trials restored from it."""
        state = self.checkpoint.load()
        if state is not None:
            with self.restoring():
                self.history.restore(state.meta, finished=bool(state.meta.get("finished")))
                if self.trials is not None:
                    self.trials.restore(state.arrays, state.meta)
        return state

    def restoring(self) -> AbstractContextManager[None]:
        """Passed on to the checkpoint."""
        return self.checkpoint.restoring()

    def save(self, state: State) -> None:
        """Keep the state, the history and the trials; raises Stopped where the run is to stop."""
        arrays, trials = ({}, {}) if self.trials is None else self.trials.stored()
        meta = {**state.meta, **self.history.stored(), **trials}
        self.checkpoint.save(State(arrays={**state.arrays, **arrays}, meta=meta, keys=state.keys))
        self._tell()
        if self.saved is not None:
            self.saved()
        if self.stopping():
            raise Stopped

    def keep(self, name: str, write: Callable[[Path], None]) -> None:
        """Passed on to the checkpoint."""
        self.checkpoint.keep(name, write)

    def finish(self, state: State) -> None:
        """Keep the state of a run that came to its end, too late to stop."""
        self.stop.clear()
        self.save(state)


@dataclass(frozen=True)
class Moment:
    """After `evaluated` architectures and `seconds` of search: the front's hypervolume in the product of
    the objectives' units, its size, and its best value of the first objective (nan where it is empty).
    """

    evaluated: Annotated[int, Cell(least=0, most=10**15)]
    seconds: Annotated[float, Cell(least=0)]
    hypervolume: float
    front: Annotated[int, Cell(least=0, most=10**9)]
    best: float


@dataclass
class History:
    """The moments of a run, at evaluations that grow geometrically.

    `reference` [k] is the corner that the hypervolume is measured to; see `reference_of`. `sign` is that of
    the first objective. The clock runs from `started` (of `time.perf_counter`); `before` is the seconds that
    earlier parts of a run that was cut had taken, and `parts` counts them and this one. With four objectives
    the volume is that of a part of the front, a lower bound, and with more nan: the exact one takes seconds.
    """

    reference: Floats
    sign: int = -1
    moments: list[Moment] = field(default_factory=list)
    before: float = 0.0
    parts: int = 1
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Of search so far, all parts together, at the decimals of the files."""
        return round(self.before + time.perf_counter() - self.started, SECONDS_DECIMALS)

    def note(self, archive: Archive) -> None:
        """Take down the moment if one is due."""
        known = self.moments[-1].evaluated if self.moments else 0
        if archive.evaluated >= _GROWTH * known + 1:
            self.moments.append(self._moment(archive))

    def close(self, archive: Archive) -> None:
        """Take down the end: the seconds of the last moment are those of the search."""
        if not self.moments or archive.evaluated > self.moments[-1].evaluated:
            self.moments.append(self._moment(archive))
        self.moments[-1] = replace(self.moments[-1], seconds=self.seconds)

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

    def stored(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        moments = [[getattr(moment, name) for name in FIELDS] for moment in self.moments]
        return {"history": moments, "seconds": self.seconds, "parts": self.parts}

    def restore(self, stored: Mapping[str, Any], *, finished: bool = False) -> None:
        """Go on after what `stored` returned; of a `finished` run nothing is left to go on with.

        Checkpoints of earlier versions hold the moments alone. Raises ValueError for what it cannot have
        been.
        """
        moments = stored.get("history", [])
        self.moments = [Moment(int(e), float(s), float(v), int(f), float(b)) for e, s, v, f, b in moments]
        known = self.moments[-1].seconds if self.moments else 0.0
        self.before = float(stored.get("seconds", known))
        if not all(
            0 <= seconds < inf for seconds in (self.before, *(moment.seconds for moment in self.moments))
        ):
            raise ValueError("history: holds seconds that no search takes")
        self.parts = int(stored.get("parts", 1)) + (0 if finished else 1)


def history_csv(moments: Sequence[Moment]) -> str:
    """A line per moment."""
    return csv_text(
        (
            vars(m)
            | {
                "seconds": f"{m.seconds:.{SECONDS_DECIMALS}f}",
                "hypervolume": f"{m.hypervolume:.6g}",
                "best": f"{m.best:.4f}",
            }
            for m in moments
        ),
        FIELDS,
    )


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
    bounds = [c.bound for c in problem.constraints if c.what == what and c.bounds_the_worst]
    if what.metric == LATENCY and what.device in (None, problem.device.name):
        bounds.append(problem.budget_ms)
    if bounds:
        return min(what.sign * bound for bound in bounds)
    if what.metric == TOP1:
        return 0.0 if problem.unit == "points" else float("nan")
    return slowest


class Progress(Protocol):
    """Told how a search goes; for a bar on a terminal. The search itself prints nothing."""

    def chosen(self, strategy: str, reason: str) -> None:
        """The search is left to `strategy`, for `reason`; told where the user named none."""

    def reachable(self, reach: Reach) -> None:
        """The latencies that the space reaches on the device are known; the search starts next."""

    def failed(self, row: Rows, reason: str) -> None:
        """The network of canonical `row` could not be evaluated, for `reason`."""

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """`archive.evaluated` of `evals` architectures are evaluated; `archive.best` is the best so far."""

    def timed(self, front: TimedFront, count: int) -> None:
        """Another network of `front` was timed, of at most `count`; told by searches that measure."""


class Silent:
    """Progress that nobody watches."""

    def chosen(self, strategy: str, reason: str) -> None:
        """Nothing."""

    def reachable(self, reach: Reach) -> None:
        """Nothing."""

    def failed(self, row: Rows, reason: str) -> None:
        """Nothing."""

    def advanced(self, archive: Archive, *, evals: int) -> None:
        """Nothing."""

    def timed(self, front: TimedFront, count: int) -> None:
        """Nothing."""
