"""What a comparison's figure shows, panel by panel, without saying with what it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hvnas import _numbers as numbers
from hvnas.report.compare import Comparison, FixedPoint, better_bounds_of, bounds_of, margin_of
from hvnas.report.runs import Run, device_title
from hvnas.report.tables import nearest_models
from hvnas.search.objectives import LATENCY, TOP1, Objective
from hvnas.search.runs.result import MS_DECIMALS
from hvnas.search.runs.session import Moment

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
# A limit within so many extents of the front is shown beside it.
_NEAR = 2.0


@dataclass(frozen=True)
class Curve:
    """Points of one run; `run` is its place, which gives it its colour. `steps`: each y holds up to the
    next x; else points alone. `texts` name the points, `details` tell their numbers; `tabled` are the names
    that a table beside the figure shows.
    """

    name: str
    run: int
    x: Sequence[float]
    y: Sequence[float]
    steps: bool
    texts: Sequence[str] = ()
    details: Sequence[str] = ()
    tabled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mark:
    """A fixed point; only some bear their label, to the left of them where `at_end` of the frame."""

    name: str
    x: float
    y: float
    labelled: bool
    at_end: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Star:
    """The network chosen from run number `run`; errors reach below and above it, None where unknown."""

    name: str
    run: int
    x: float
    y: float
    x_error: tuple[float, float] | None
    y_error: tuple[float, float] | None
    detail: str


@dataclass(frozen=True)
class Region:
    """What budgets, less their margins, and constraints allow in a frame; None where a side is open."""

    x: tuple[float | None, float | None]
    y: tuple[float | None, float | None]


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
    region: Region | None = None
    stars: tuple[Star, ...] = ()


def front_panels(
    comparison: Comparison, chosen: Sequence[int | None] = (), *, tabled: bool = False
) -> tuple[Panel, ...]:
    """The first objective over each other one; over nothing where there is but one.

    `chosen` is for each run the place of a member that is marked, or None. With `tabled` the frames hold all
    networks that the tables of a report show, and say which they are.
    """
    places = range(1, len(comparison.runs[0].objectives))
    panels = [_front_panel(comparison, i, tabled=tabled) for i in places]
    return tuple(_marked(panel, _stars(comparison, i, chosen)) for i, panel in enumerate(panels, start=1))


def _marked(panel: Panel, stars: tuple[Star, ...]) -> Panel:
    """The panel with stars, and their errors inside the frame."""
    if not stars or panel.x_range is None or panel.y_range is None:
        return replace(panel, stars=stars)
    most_x = max(star.x + (star.x_error[1] if star.x_error else 0.0) for star in stars)
    most_y = max(star.y + (star.y_error[1] if star.y_error else 0.0) for star in stars)
    x_range, y_range = _holding(panel.x_range, most_x), _holding(panel.y_range, most_y)
    return replace(panel, stars=stars, x_range=x_range, y_range=y_range)


def _holding(extent: tuple[float, float], value: float) -> tuple[float, float]:
    """A range that reaches up to a value too."""
    low, high = extent
    return low, max(high, value + _PAD * (high - low))


def has_volume(comparison: Comparison) -> bool:
    """Whether hypervolumes tell how the searches went: not of one objective, nor of scores."""
    several = len(comparison.runs[0].objectives) > 1
    return several and any(np.isfinite(m.hypervolume) for run in comparison.runs for m in run.history)


def history_panels(comparison: Comparison) -> tuple[Panel, ...]:
    """Over evaluations and over seconds the hypervolume, or where that tells nothing the best network.

    None where no network was found yet.
    """
    grows = has_volume(comparison)
    first = comparison.runs[0].objectives[0]
    if grows:
        unit = volume_unit(comparison.runs[0]) if comparison.shared_history else "% of the run's last"
        label = f"hypervolume ({unit})"
    else:
        label = f"best {axis_label(first, comparison.runs[0])}"
    axes: tuple[tuple[str, Callable[[Moment], float]], ...] = (
        ("evaluations", lambda m: m.evaluated),
        ("seconds", lambda m: m.seconds),
    )
    panels = []
    for name, of in axes:
        curves = []
        for i, run in enumerate(comparison.runs):
            # A logarithmic axis has no zero.
            moments = [m for m in run.history if of(m) > 0]
            x, y = _volumes(moments, comparison, of) if grows else _bests(moments, first, of)
            curves.append(Curve(run.name, i, x, y, True))
        title = f"{label[0].upper()}{_bare(label)[1:]} over {name}"
        panels.append(Panel(title, name, label, tuple(curves), decades=_decades(curves)))
    return tuple(panels) if any(curve.x for panel in panels for curve in panel.curves) else ()


def _volumes(
    moments: Sequence[Moment], comparison: Comparison, of: Callable[[Moment], float]
) -> tuple[list[float], list[float]]:
    shown = [m for m in moments if m.hypervolume > 0]
    scale = 1.0 if comparison.shared_history or not shown else 100 / shown[-1].hypervolume
    return [of(m) for m in shown], [m.hypervolume * scale for m in shown]


def _bests(
    moments: Sequence[Moment], what: Objective, of: Callable[[Moment], float]
) -> tuple[list[float], list[float]]:
    shown = [m for m in moments if np.isfinite(m.best)]
    return [of(m) for m in shown], [m.best / _AXES.get(what.metric, ("", 1.0))[1] for m in shown]


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
        device = what.device or run.config.device[0]
        return f"latency on {device_title(device)} ({_ms_of(device)})"
    return _AXES[what.metric][0]


def _ms_of(device: str) -> str:
    """The unit of a device's latencies: calibrated ones say so, wherever the figure comes to be seen."""
    from hvnas.latency import load_device

    try:
        how = load_device(device).info.method
    except ValueError:  # a file that is gone: nothing is known of it
        return "ms"
    return "ms" if how == "measured" else f"ms, {how}"


def _scaled(costs: np.ndarray, what: Objective) -> np.ndarray:
    """Costs of an objective in the unit of its axis."""
    return what.sign * costs / (_AXES[what.metric][1] if what.metric in _AXES else 1.0)


def _front_panel(comparison: Comparison, i: int, *, tabled: bool) -> Panel:
    first, what = comparison.runs[0].objectives[0], comparison.runs[0].objectives[i]
    joined = len(comparison.runs[0].objectives) == 2
    curves = []
    for k, run in enumerate(comparison.runs):
        order = np.argsort(run.costs[:, i] * what.sign, kind="stable")
        x, y = _scaled(run.costs[order, i], what), _scaled(run.costs[order, 0], first)
        texts, details = [run.members[j] for j in order], [_numbers_of(run, j) for j in order]
        rows = frozenset(run.members[j] for j in run.shown) if tabled else frozenset()
        curves.append(Curve(run.name, k, x.tolist(), y.tolist(), joined, texts, details, rows))
    shown = np.concatenate([np.stack([curve.x, curve.y], axis=1) for curve in curves])
    y_range = _focused(shown[:, 1], first)
    inside = (shown[:, 1] >= y_range[0]) & (shown[:, 1] <= y_range[1])
    region = Region(_allowed(comparison.runs, what), _allowed(comparison.runs, first))
    x_range = _reaching(_padded(shown[inside, 0]), region.x[1])
    points = [
        (
            point.name,
            float(_scaled(point.costs, what)[i]),
            float(_scaled(point.costs, first)[0]),
            _told_of_model(point, comparison.runs[0]),
        )
        for point in comparison.fixed_points
        if point.inside
    ]
    if tabled:
        held = [*_tabled_members(curves), *_tabled_models(comparison, points)]
        x_range, y_range = _spanning(x_range, [x for x, _ in held]), _spanning(y_range, [y for _, y in held])
    x_label, y_label = axis_label(what, comparison.runs[0]), axis_label(first, comparison.runs[0])
    title = f"{_bare(y_label)} against {_bare(x_label)}"
    marks = _marks(points, x_range, y_range)
    return Panel(title, x_label, y_label, tuple(curves), marks, x_range, y_range, region=region)


def _tabled_members(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Where the networks of fronts stand that a table shows."""
    return [
        (x, y)
        for curve in curves
        for name, x, y in zip(curve.texts, curve.x, curve.y, strict=True)
        if name in curve.tabled
    ]


def _tabled_models(
    comparison: Comparison, points: Sequence[tuple[str, float, float, str]]
) -> list[tuple[float, float]]:
    """Where the papers' models stand that a table shows."""
    places, _ = nearest_models(comparison)
    names = {comparison.fixed_points[place].name for place in places}
    return [(x, y) for name, x, y, _ in points if name in names]


def _spanning(extent: tuple[float, float], values: Sequence[float]) -> tuple[float, float]:
    """A range that holds values too, with room beside them."""
    low, high = min([extent[0], *values]), max([extent[1], *values])
    room = _PAD * (high - low)
    return (low - room if low < extent[0] else low), (high + room if high > extent[1] else high)


def _numbers_of(run: Run, i: int) -> str:
    """The numbers of a front's member."""
    accuracy = _accuracy(run, run.top1[i], run.sd[i])
    ms = f"{run.ms[i]:.{MS_DECIMALS}f} ms" + (f" {run.how(i)}" if run.how(i) else "")
    return (
        f"{ms} (5–95 %: {numbers.interval(run.low[i], run.high[i])}), {accuracy}, "
        f"{numbers.millions(run.params[i])} M params, {numbers.billions(run.macs[i])} G MACs"
    )


def _told_of_model(point: FixedPoint, run: Run) -> str:
    accuracy = _accuracy(run, point.top1, point.sd)
    return f"{numbers.ms(point.ms)} ms, {accuracy}" + ("" if point.feasible else ", not within the limits")


def _accuracy(run: Run, mean: float, sd: float) -> str:
    return f"{'score' if run.unit == 'score' else 'top-1'} {numbers.accuracy(mean, sd, unit=run.unit)}"


def _stars(comparison: Comparison, i: int, chosen: Sequence[int | None]) -> tuple[Star, ...]:
    first, what = comparison.runs[0].objectives[0], comparison.runs[0].objectives[i]
    stars = []
    for k, (run, j) in enumerate(zip(comparison.runs, chosen, strict=False)):
        if j is None:
            continue
        x, y = (float(_scaled(run.costs[j, [c]], o)[0]) for c, o in ((i, what), (0, first)))
        timed = what.metric == LATENCY and what.device in (None, run.config.device[0])
        x_error = (float(run.ms[j] - run.low[j]), float(run.high[j] - run.ms[j])) if timed else None
        # The axis is of the mean less one standard deviation: two of them above is the mean plus one.
        scored = first.metric == TOP1 and run.unit != "score"
        y_error = (0.0, 2 * float(run.sd[j])) if scored else None
        stars.append(Star(run.members[j], k, x, y, x_error, y_error, _numbers_of(run, j)))
    return tuple(stars)


def _allowed(runs: Sequence[Run], what: Objective) -> tuple[float | None, float | None]:
    """The least and the most that every run was allowed of a metric, in the unit of its axis."""
    worst = [bound / (1 + margin_of(run.config, what)) for run in runs for bound in bounds_of([run], what)]
    better = better_bounds_of(runs, what)
    low, high = (worst, better) if what.sign < 0 else (better, worst)
    unit = _AXES[what.metric][1] if what.metric in _AXES else 1.0
    return (max(low) / unit if low else None), (min(high) / unit if high else None)


def _reaching(extent: tuple[float, float], limit: float | None) -> tuple[float, float]:
    """A range that shows a limit too, unless that is far off."""
    low, high = extent
    if limit is None or limit > low + _NEAR * (high - low):
        return extent
    return _holding(extent, limit)


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
    points: Sequence[tuple[str, float, float, str]], x: tuple[float, float], y: tuple[float, float]
) -> tuple[Mark, ...]:
    """The points inside the frame; from the highest down, those far from every label get one."""
    framed = [p for p in points if x[0] <= p[1] <= x[1] and y[0] <= p[2] <= y[1]]
    labels: list[tuple[float, float]] = []
    marks = []
    for name, px, py, detail in sorted(framed, key=lambda p: -p[2]):
        place = (px - x[0]) / (x[1] - x[0]), (py - y[0]) / (y[1] - y[0])
        free = all(abs(place[0] - a) > _APART_X or abs(place[1] - b) > _APART_Y for a, b in labels)
        if free:
            labels.append(place)
        marks.append(Mark(name, px, py, free, place[0] > _END, detail))
    return tuple(marks)
