"""The path of a slimming: a line and a point for every step, in the run's folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas._files import write_atomic
from hvnas.search.seams import Rows

if TYPE_CHECKING:
    from hvnas.search.state import Checkpoint
    from hvnas.supernet.slimming import Move

PATH, FIGURE = "slimming.csv", "slimming.svg"
FIELDS = (
    "step action part change latency_ms saved_ms params macs top1 drop importance_lost chosen_by considered "
    "encoding"
).split()
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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for step in steps:
        size, encoding = step.size, " ".join(str(int(i)) for i in step.row)
        floats = (step.top1, step.drop, step.importance_lost)
        top1, drop, lost = ("" if isnan(value) else f"{value:.4f}" for value in floats)
        move = (step.step, step.action, step.part, step.change)
        facts = (f"{size.ms:.4f}", f"{step.saved_ms:.4f}", size.params, size.macs)
        writer.writerow((*move, *facts, top1, drop, lost, step.chosen_by, step.considered, encoding))
    return text.getvalue()


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
