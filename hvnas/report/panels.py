"""What a comparison's figure shows, panel by panel, without saying with what it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hvnas.report.compare import Comparison
from hvnas.report.runs import Run
from hvnas.search.history import Moment
from hvnas.search.objectives import LATENCY, TOP1, Objective

# How a metric is called on an axis, and the unit's size.
_AXES = {
    "params": ("params (M)", 1e6),
    "macs": ("MACs (G)", 1e9),
    "peak_memory": ("peak memory (MB)", 1e6),
    "size_mb": ("weights (MB)", 1.0),
}
_UNITS = {TOP1: "points", LATENCY: "ms", "peak_memory": "bytes", "size_mb": "MB"}
# The fastest networks of a front are near useless: the frame shows from the best down to this many times
# the distance of the front's median.
_DEPTH = 2.0
_PAD = 0.04
# Labels of fixed points stand at least this far apart, in shares of the frame.
_APART_X, _APART_Y = 0.17, 0.07
_END = 0.88


@dataclass(frozen=True)
class Curve:
    """Points of one run; `run` is its place, which gives it its colour. `steps`: each y holds up to the
    next x; else points alone. `texts` name the points.
    """

    name: str
    run: int
    x: Sequence[float]
    y: Sequence[float]
    steps: bool
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Mark:
    """A fixed point; only some bear their label, to the left of them where `at_end` of the frame."""

    name: str
    x: float
    y: float
    labelled: bool
    at_end: bool = False


@dataclass(frozen=True)
class Panel:
    """One frame. Ranges are None where the drawing library may choose; `decades` is how many powers of ten
    a logarithmic x axis spans, None of a linear one.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    decades: float | None = None


def front_panels(found: Comparison) -> tuple[Panel, ...]:
    """The first objective over each other one; over nothing where there is but one."""
    objectives = found.runs[0].objectives
    return tuple(_front_panel(found, i, joined=len(objectives) == 2) for i in range(1, len(objectives)))


def history_panels(found: Comparison) -> tuple[Panel, ...]:
    """Hypervolume over evaluations and over seconds; of scores there is none."""
    histories = [[m for m in run.history if np.isfinite(m.hypervolume)] for run in found.runs]
    if not any(histories):
        return ()
    if found.shared_history:
        label = f"hypervolume ({volume_unit(found.runs[0])})"
    else:
        label = "hypervolume (% of the run's last)"
    axes: tuple[tuple[str, Callable[[Moment], float]], ...] = (
        ("evaluations", lambda m: m.evaluated),
        ("seconds", lambda m: m.seconds),
    )
    panels = []
    for name, of in axes:
        curves = []
        for i, (run, moments) in enumerate(zip(found.runs, histories, strict=True)):
            # A logarithmic axis has no zero.
            shown = [m for m in moments if of(m) > 0 and m.hypervolume > 0]
            scale = 1.0 if found.shared_history or not shown else 100 / shown[-1].hypervolume
            y = [m.hypervolume * scale for m in shown]
            curves.append(Curve(run.name, i, [of(m) for m in shown], y, True))
        panels.append(Panel(f"Hypervolume over {name}", name, label, tuple(curves), decades=_decades(curves)))
    return tuple(panels)


def _decades(curves: Sequence[Curve]) -> float | None:
    """How many powers of ten the curves span along x; None below one, where a linear axis reads better."""
    every = [x for curve in curves for x in curve.x]
    spanned = float(np.log10(max(every) / min(every))) if every else 0.0
    return spanned if spanned >= 1 else None


def volume_unit(run: Run) -> str:
    """Of hypervolumes: the product of the objectives' units, counts without one."""
    units = [_UNITS.get(what.metric, what.metric) for what in run.objectives]
    return "·".join(unit if unit != "points" else run.unit for unit in units)


def axis_label(what: Objective, run: Run) -> str:
    """What stands at an axis of an objective, with its unit."""
    if what.metric == TOP1:
        return "score" if run.unit == "score" else "top-1 − 1 sd (points)"
    if what.metric == LATENCY:
        return f"latency on {what.device or run.config.device} (ms)"
    return _AXES[what.metric][0]


def _scaled(costs: np.ndarray, what: Objective) -> np.ndarray:
    """Costs of an objective in the unit of its axis."""
    return what.sign * costs / (_AXES[what.metric][1] if what.metric in _AXES else 1.0)


def _front_panel(found: Comparison, i: int, *, joined: bool) -> Panel:
    first, what = found.runs[0].objectives[0], found.runs[0].objectives[i]
    curves = []
    for k, run in enumerate(found.runs):
        order = np.argsort(run.costs[:, i] * what.sign, kind="stable")
        x, y = _scaled(run.costs[order, i], what), _scaled(run.costs[order, 0], first)
        texts = [run.members[j] for j in order]
        curves.append(Curve(run.name, k, x.tolist(), y.tolist(), joined, texts))
    shown = np.concatenate([np.stack([curve.x, curve.y], axis=1) for curve in curves])
    y_range = _focused(shown[:, 1], first)
    inside = (shown[:, 1] >= y_range[0]) & (shown[:, 1] <= y_range[1])
    x_range = _padded(shown[inside, 0])
    points = [
        (point.name, float(_scaled(point.costs, what)[i]), float(_scaled(point.costs, first)[0]))
        for point in found.fixed_points
        if point.inside
    ]
    x_label, y_label = axis_label(what, found.runs[0]), axis_label(first, found.runs[0])
    title = f"{_bare(y_label)} against {_bare(x_label)}"
    marks = _marks(points, x_range, y_range)
    return Panel(title, x_label, y_label, tuple(curves), marks, x_range, y_range)


def _bare(label: str) -> str:
    return label.rpartition(" (")[0] or label


def _focused(values: np.ndarray, what: Objective) -> tuple[float, float]:
    """From the best down to where the front is of little use; all of what is minimised."""
    if what.metric != TOP1:
        return _padded(values)
    best = float(values.max())
    lowest = best - _DEPTH * (best - float(np.median(values)))
    return _padded(values[values >= lowest])


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = _PAD * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _marks(
    points: Sequence[tuple[str, float, float]], x: tuple[float, float], y: tuple[float, float]
) -> tuple[Mark, ...]:
    """The points inside the frame; from the highest down, those far from every label get one."""
    framed = [p for p in points if x[0] <= p[1] <= x[1] and y[0] <= p[2] <= y[1]]
    labels: list[tuple[float, float]] = []
    marks = []
    for name, px, py in sorted(framed, key=lambda p: -p[2]):
        place = (px - x[0]) / (x[1] - x[0]), (py - y[0]) / (y[1] - y[0])
        free = all(abs(place[0] - a) > _APART_X or abs(place[1] - b) > _APART_Y for a, b in labels)
        if free:
            labels.append(place)
        marks.append(Mark(name, px, py, free, place[0] > _END))
    return tuple(marks)
