"""Latency-driven slimming: from a supernet's largest member down to the budget, step by step.

The search of EfficientFormer (arXiv 2206.01191, section 4.2) and the joint one of EfficientFormerV2 (arXiv
2212.08059). The moves, and what is read into the papers there, are `hvnas.supernet.slimming`; the importance
of blocks is `hvnas.supernet.importance`. Left open by the papers and settled here:

* The accuracy drop of a move is that of top-1 with inherited weights, by the search's estimator. A rise,
  which is noise, counts as no drop; of moves that cost equally much per millisecond the one that saves most
  is made.
* V2's mobile efficiency score is ``100 * (size / size_0)^(-1/2) * (latency / latency_0)^(-1/2)``, with the
  parameters and milliseconds of the network that slimming starts from: the paper's exponents and units could
  not be read.
* Where the evaluations left do not suffice to measure every move of a step, importance stands in for the
  drop. The same holds while a network breaks the space's limits, where none can be measured. The network
  that the path ends in is always evaluated.
* All networks that were measured and may be chosen compete for the front, those that the path passed by too.
  The problem's seeds take no part: the path is all there is.
* A supernet trained without ``--importance`` has its importances trained first, its weights as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hvnas._files import write_atomic
from hvnas._records import csv_text
from hvnas.search.evaluations import Archive, Evaluations
from hvnas.search.problem import Problem, rows_at_once
from hvnas.search.reach import UNBOUNDED_MS
from hvnas.search.rows import Floats, Rows
from hvnas.search.runs.checkpoint import Checkpoint, State
from hvnas.search.runs.session import Progress
from hvnas.search.strategies.registry import Strategy

if TYPE_CHECKING:
    from hvnas.accuracy.trained.inherited import InheritedEstimator
    from hvnas.supernet.slimming import Move, Moves


By = Literal["ms", "score"]
Scores = Mapping[str, Mapping[str, float]]
# Of the swaps of one gene, those that save most.
_SWAPS = 3
# Of milliseconds: batches of other sizes round them differently.
_DECIMALS = 9

PATH, FIGURE = "slimming.csv", "slimming.svg"
# Okabe and Ito (2008), "Color universal design".
_COLOURS = {
    "start": "#000000",
    "identity": "#0072b2",
    "convert": "#d55e00",
    "narrow": "#009e73",
    "shrink": "#cc79a7",
    "swap": "#e69f00",
}
_GREY = "#7a7f87"


@dataclass(frozen=True, kw_only=True)
class Slimming(Strategy):
    """The settings of slimming.

    `by` is what a move's drop is divided by: ``ms`` saved, with EfficientFormer's three actions, or ``score``
    gained, size and latency together, with all of EfficientFormerV2's. `steps` of importance are trained
    where the supernet has none.
    """

    by: By = "ms"
    steps: int = 200

    def check(self, problem: Problem) -> None:
        """Raise ValueError where there is no supernet, or nothing to start from; before a run begins."""
        _inherited(problem)
        _moves(problem, {}).start()

    def run(
        self, problem: Problem, *, evals: int, seed: int, progress: Progress, checkpoint: Checkpoint
    ) -> Archive:
        """Slim until the budget is met, with at most `evals` distinct architectures evaluated."""
        run = _Run(self, problem, evals=evals, seed=seed, progress=progress, checkpoint=checkpoint)
        run.walk()
        return run.archive


def joint() -> Slimming:
    """The settings of EfficientFormerV2's joint search."""
    return Slimming(by="score")


def _inherited(problem: Problem) -> InheritedEstimator:
    """The problem's estimator. Raises ValueError where it is none of a supernet."""
    from hvnas.accuracy.trained.inherited import InheritedEstimator

    if isinstance(problem.estimator, InheritedEstimator):
        return problem.estimator
    raise ValueError(
        "strategy: slimming takes blocks out of a trained supernet, which the estimator has to name; "
        "add --estimator supernet:DIR of hvnas supernet train, or take another strategy"
    )


def _moves(problem: Problem, scores: Scores) -> Moves:
    from hvnas.space import Space
    from hvnas.supernet.slimming import Moves

    assert isinstance(problem.space, Space), "the moves need a space's layout"
    return Moves(problem.space, scores)


class _Measured(NamedTuple):
    """An evaluated network: its top-1 whatever its latency, and what the archive is told."""

    row: Rows
    top1: float
    evaluations: Evaluations


class _Run:
    """What was evaluated, and the way so far.

    The way is a function of the importances and of what was evaluated: a run that goes on walks it again,
    with what is known already.
    """

    def __init__(
        self,
        settings: Slimming,
        problem: Problem,
        *,
        evals: int,
        seed: int,
        progress: Progress,
        checkpoint: Checkpoint,
    ) -> None:
        self.settings, self.evals = settings, evals
        self.progress, self.checkpoint = progress, checkpoint
        self.estimator = _inherited(problem)
        self.trials = problem.trials
        # Accuracies are wanted of networks beyond the budget too; with_seeds hands on what is tabulated.
        tabulated = replace(problem.with_seeds(problem.seeds), trials=None)
        # What is logged is told below, with the accuracy beyond the budget.
        self.problem = problem if self.trials is None else tabulated
        self.free = replace(tabulated, budget_ms=UNBOUNDED_MS, margin=0.0, constraints=(), outside="allow")
        self.archive = Archive(len(problem.space.genes))
        self.steps: list[Step] = []
        self.done: dict[bytes, _Measured] = {}
        self.stored: dict[bytes, _Measured] = {}
        self.scores = self._restored(seed)

    def _restored(self, seed: int) -> Scores:
        """Importance by position and block type, and what was stored put back."""
        from hvnas.supernet.importance import importance_of, train_importance

        state = self.checkpoint.load()
        if state is not None:
            with self.checkpoint.restoring():
                return self._stored_scores(state)
        net, data = self.estimator.net, self.estimator.data
        importance = importance_of(net)
        if importance is None:
            importance = train_importance(net, data, steps=self.settings.steps, seed=seed)
        return importance.scores()

    def _stored_scores(self, state: State) -> Scores:
        evaluations = Evaluations.stored(state.arrays)
        pairs = zip(state.arrays["rows"], state.arrays["inherited"], strict=True)
        for i, (row, top1) in enumerate(pairs):
            self.stored[row.tobytes()] = _Measured(row, float(top1), evaluations.take(np.array([i])))
        scores: Scores = state.meta["scores"]
        return scores

    # the way

    def walk(self) -> None:
        """From the largest member to one that may be chosen, or to where no move is left."""
        moves = _moves(self.problem, self.scores)
        row = moves.start()
        if self._room > 1:
            self._measure([row])
        self._note(Step.first(row, self._size(row), self._top1(row)))
        while not self.problem.allowed(row[None])[0]:
            move = self._best(moves, row)
            if move is None:
                break
            row = move.row
        if self._room:
            self._measure([row])
        last = self.steps.pop()
        before = self.steps[-1:]
        self._note(last.measured(self._top1(row), after=before[0] if before else None))
        keep_path(self.checkpoint, self.steps, budget_ms=self.problem.budget_ms, figure=True)

    def _best(self, moves: Moves, row: Rows) -> Move | None:
        """The move to make, noted; None where none is left."""
        found = self._options(moves, row)
        if not found:
            return None
        drops = self._drops(row, found)
        by = "importance" if drops is None else "top1"
        drops = np.array([move.lost for move in found]) if drops is None else drops
        gains = self._gains(row, found)
        order = np.lexsort((-gains, np.maximum(drops, 0) / gains))
        best = found[int(order[0])]
        step = Step.after(
            self.steps[-1],
            best,
            size=self._size(best.row),
            top1=self._top1(best.row),
            by=by,
            considered=len(found),
        )
        self._note(step)
        return best

    def _options(self, moves: Moves, row: Rows) -> list[Move]:
        """The moves that gain something: the strategy's own, or what a space has beside them."""
        own = moves.actions if self.settings.by == "ms" else moves.frontier
        for source in (own, moves.frontier, moves.swaps):
            found = source(row)
            gains = self._gains(row, found)
            found = [found[i] for i in np.argsort(-gains, kind="stable") if gains[i] > 0]
            if found:
                return found[:_SWAPS] if source == moves.swaps else found
        return []

    def _gains(self, row: Rows, moves: Sequence[Move]) -> Floats:
        """Milliseconds saved by each move, or score gained. Shape [n]."""
        if not moves:
            return np.empty(0)
        ms, params, _ = self._facts(np.stack([row, *(move.row for move in moves)]))
        if self.settings.by == "ms":
            return ms[0] - ms[1:]
        first = self.steps[0].size
        score = 100 / np.sqrt(params / first.params * ms / first.ms)
        return np.asarray(score[1:] - score[0])

    def _drops(self, row: Rows, moves: Sequence[Move]) -> Floats | None:
        """Points of top-1 that each move loses; None where they are not to be had. Shape [n]."""
        rows = [move.row for move in moves]
        if not np.isfinite(self._top1(row)) or len(self._unknown(rows)) >= self._room:
            return None
        self._measure(rows)
        drops = self._top1(row) - np.array([self._top1(row) for row in rows])
        drops[~np.isfinite(drops)] = np.inf
        return drops if np.isfinite(drops).any() else None

    def _facts(self, rows: Rows) -> tuple[Floats, Floats, Floats]:
        """Milliseconds, parameters and MACs. Shape [n] each."""
        screened = self.problem.screen(rows)
        return np.round(screened.latency.ms, _DECIMALS), screened.values["params"], screened.values["macs"]

    def _size(self, row: Rows) -> Size:
        ms, params, macs = self._facts(row[None])
        return Size(float(ms[0]), int(params[0]), int(macs[0]))

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        keep_path(self.checkpoint, self.steps, budget_ms=self.problem.budget_ms)

    # evaluations

    @property
    def _room(self) -> int:
        return self.evals - self.archive.evaluated

    def _top1(self, row: Rows) -> float:
        known = self.done.get(row.tobytes())
        return float("nan") if known is None else known.top1

    def _unknown(self, rows: Sequence[Rows]) -> list[Rows]:
        """Those not evaluated yet, each once."""
        return [row for key, row in {row.tobytes(): row for row in rows}.items() if key not in self.done]

    def _measure(self, rows: Sequence[Rows]) -> None:
        """Evaluate what is not known of `rows`, one by one unless workers share them."""
        for row in self._unknown(rows):
            if row.tobytes() in self.stored:
                self._add(self.stored[row.tobytes()])
        left = self._unknown(rows)
        count = rows_at_once(self.problem, max(1, len(left)))
        for at in range(0, len(left), count):
            part = np.stack(left[at : at + count])
            started = time.time()
            free, evaluations = self.free.evaluate(part), self.problem.evaluate(part)
            if self.trials is not None:
                known = replace(evaluations, top1=free.top1, sd=free.sd, costs=free.costs)
                self.trials.add(part, known, started=started)
            for i, row in enumerate(part):
                self._add(_Measured(row, float(free.top1[i]), evaluations.take(np.array([i]))))
            self.progress.advanced(self.archive, evals=self.evals)
            if self.checkpoint.due():
                self.checkpoint.save(self._state())

    def _add(self, measured: _Measured) -> None:
        self.done[measured.row.tobytes()] = measured
        self.archive.add(measured.row[None], measured.evaluations)

    def _state(self) -> State:
        """Everything that the way depends on."""
        known = list(self.done.values())
        arrays = {
            "rows": np.stack([one.row for one in known]),
            "inherited": np.array([one.top1 for one in known]),
            **Evaluations.join([one.evaluations for one in known]).arrays(),
        }
        return State(arrays=arrays, meta={"scores": self.scores})


@dataclass(frozen=True)
class Size:
    """Milliseconds on the first device, parameters and MACs of a network."""

    ms: float
    params: int
    macs: int


@dataclass(frozen=True)
class Step:
    """A network of the path, and the move that led to it.

    `top1` is in points with inherited weights, nan where it was not measured; `drop` and `saved_ms` are
    against the step before; `importance_lost` is the move's. `chosen_by` is ``top1`` or ``importance``,
    `considered` the number of moves that it was chosen from.
    """

    step: int
    action: str
    part: str
    change: str
    size: Size
    top1: float
    row: Rows
    saved_ms: float = 0.0
    drop: float = 0.0
    importance_lost: float = 0.0
    chosen_by: str = ""
    considered: int = 0

    @classmethod
    def first(cls, row: Rows, size: Size, top1: float) -> Step:
        """The network that slimming starts from."""
        return cls(0, "start", "", "", size, top1, row)

    @classmethod
    def after(cls, before: Step, move: Move, *, size: Size, top1: float, by: str, considered: int) -> Step:
        """The network behind `move`."""
        return cls(
            before.step + 1,
            move.kind,
            move.part,
            move.change,
            size,
            top1,
            move.row,
            saved_ms=before.size.ms - size.ms,
            drop=before.top1 - top1,
            importance_lost=move.lost,
            chosen_by=by,
            considered=considered,
        )

    def measured(self, top1: float, *, after: Step | None) -> Step:
        """The step with what was found of its network later; `after` is the step before."""
        return replace(self, top1=top1, drop=after.top1 - top1 if after else 0.0)


def keep_path(
    checkpoint: Checkpoint, steps: Sequence[Step], *, budget_ms: float, figure: bool = False
) -> None:
    """Write the path beside the run, and the figure of it where matplotlib is installed."""
    from importlib.util import find_spec

    checkpoint.keep(PATH, lambda path: write_atomic(path, path_csv(steps)))
    if figure and find_spec("matplotlib") is not None:
        checkpoint.keep(FIGURE, lambda path: save_path(steps, path, budget_ms=budget_ms))


def path_csv(steps: Sequence[Step]) -> str:
    """The path as CSV, a line per network; what was not measured is empty."""
    return csv_text(map(_csv_row, steps))


def _csv_row(step: Step) -> dict[str, Any]:
    def optional(value: float) -> str:
        return "" if isnan(value) else f"{value:.4f}"

    return {
        "step": step.step,
        "action": step.action,
        "part": step.part,
        "change": step.change,
        "latency_ms": f"{step.size.ms:.4f}",
        "saved_ms": f"{step.saved_ms:.4f}",
        "params": step.size.params,
        "macs": step.size.macs,
        "top1": optional(step.top1),
        "drop": optional(step.drop),
        "importance_lost": optional(step.importance_lost),
        "chosen_by": step.chosen_by,
        "considered": step.considered,
        "encoding": " ".join(str(int(i)) for i in step.row),
    }


def save_path(steps: Sequence[Step], path: str | Path, *, budget_ms: float) -> None:
    """Draw latency and top-1, where it was measured, over the steps, to .png or .svg.

    Raises ValueError where no figure can be written there, naming the extra that is missing.
    """
    from hvnas.latency.plots import check_target, save_figure

    check_target(path)
    save_figure(lambda data, title: _drawn(data, title, budget_ms), steps, path, "Slimming step by step")


def _drawn(steps: Sequence[Step], title: str, budget_ms: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, sharex=True)
    _draw(upper, steps, [step.size.ms for step in steps])
    _draw(lower, steps, [step.top1 for step in steps])
    upper.axhline(budget_ms, color=_GREY, linestyle="--", linewidth=1, label="budget")
    upper.set_ylabel("latency, ms")
    lower.set(xlabel="step", ylabel="top-1 with inherited weights")
    upper.legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw(axis: Any, steps: Sequence[Step], values: Sequence[float]) -> None:
    axis.plot(range(len(steps)), values, color=_GREY, linewidth=1, zorder=1)
    for action, colour in _COLOURS.items():
        here = [i for i, step in enumerate(steps) if step.action == action]
        if here:
            axis.scatter(here, [values[i] for i in here], color=colour, s=24, label=action, zorder=2)
