"""A study drawn with matplotlib (the extra ``plot``): a row of panels for each of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from hvnas._files import write_atomic
from hvnas.latency.plots import check_folder, save_figure
from hvnas.studies.ablation.facts import breakdown, published, to_csv
from hvnas.studies.ablation.run import PartResult, StudyResult

ENDINGS = (".csv", ".png", ".svg")
# Inches: the figure's width, and the height of a panel without rows and of a row.
_WIDTH, _PANEL, _ROW = 9.5, 0.72, 0.17
# In an SVG, text stays text, which takes a fifth of the room of its outlines.
_SETTINGS = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}

# Okabe and Ito (2008), "Color universal design"; for stages Tol (2021), "Colour schemes", light.
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#444444"
_KINDS = {"fixed": "#999999", "conv": _BLUE, "linear": "#56b4e9", "matmul": _ORANGE, "softmax": "#e69f00"}
_STAGES = {"stem": "#aaaa00", "head": "#dddddd"}
_FURTHER = ("#44bb99", "#eedd88", "#ee8866", "#77aadd", "#ffaabb", "#bbcc33")
_BAR, _HATCH = {"height": 0.6, "edgecolor": "white", "linewidth": 0}, "/////"
_MARKS = {"marker": "D", "markersize": 4, "markerfacecolor": "none", "color": _GREY, "linestyle": "none"}
# An axis ends at so many times the base's latency, the longest bar and the median sd, and at so many points
# below the lowest estimate: what is beyond is cut off, and written.
_BASES, _BARS, _SDS, _POINTS = 8, 1.7, 3, 6
_OUTSIDE = "hatched: outside the device's gate"
_UNEQUAL = "hollow: could not be made equal"


def write_study(found: StudyResult, out: Path) -> tuple[Path, ...]:
    """Write NAME.csv, NAME.png and NAME.svg to a folder, which is made; returns the paths.

    Equal results give equal files. Raises as `check_folder`.
    """
    from matplotlib import rc_context

    check_folder(out, f"{found.study.name}.png")
    out.mkdir(exist_ok=True)
    table, *plots = (out / f"{found.study.name}{ending}" for ending in ENDINGS)
    write_atomic(table, to_csv(found))
    for plot in plots:
        with rc_context(_SETTINGS):  # type: ignore[arg-type]  # the stubs want a literal
            save_figure(_drawn, found, plot, found.study.title)
    return table, *plots


def _drawn(found: StudyResult, title: str) -> Any:
    from matplotlib.figure import Figure

    heights = [_PANEL + _ROW * len(result.rows) for result in found.parts]
    figure = Figure(figsize=(_WIDTH, 0.8 + sum(heights)), layout="constrained", facecolor="white")
    axes = figure.subplots(len(found.parts), 2, squeeze=False, height_ratios=heights)
    for (left, right), result in zip(axes, found.parts, strict=True):
        _draw(left, right, result, found.estimator)
    figure.suptitle(title, fontsize=10)
    legend = _legend(axes.ravel())
    if legend:
        figure.legend(legend.values(), legend, loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    return figure


def _draw(left: Any, right: Any, result: PartResult, estimator: str) -> None:
    """A table's two panels: accuracy, or MACs where none is asked for, and latency."""
    if result.scenarios:
        draw_estimates(left, result, estimator)
    else:
        draw_macs(left, result)
    if result.device is None:
        draw_host(right, result)
    else:
        draw_latency(right, result)
    left.set_title(result.part.title or result.part.name, loc="left", fontsize=8)
    for axis in (left, right):
        axis.tick_params(labelsize=7)
        axis.xaxis.label.set_size(7)
    right.set_yticks([])


def _legend(axes: Iterable[Any]) -> dict[str, Any]:
    """One handle for each name in any panel."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return found


def draw_estimates(axis: Any, result: PartResult, estimator: str) -> None:
    """Means with one sd to either side, a colour per scenario, and what was published."""
    places = _places(axis, result)
    equal = [row.is_equal for row in result.rows]
    for k, scenario in enumerate(result.scenarios):
        colour = (_BLUE, _ORANGE)[k % 2]
        shifted = [place + 0.2 * (k - (len(result.scenarios) - 1) / 2) for place in places]
        means = [row.judged[k].mean for row in result.rows]
        sds = [row.judged[k].sd or 0.0 for row in result.rows]
        bars = {"fmt": "o", "markersize": 3.5, "linewidth": 1, "color": colour}
        axis.errorbar(means, shifted, xerr=sds, label=f"{estimator}, {scenario}", **bars)
        hollow = [
            (mean, place) for mean, place, is_equal in zip(means, shifted, equal, strict=True) if not is_equal
        ]
        axis.plot(*_columns(hollow), "o", markersize=3.5, color=colour, markerfacecolor="white", zorder=3)
    if not all(equal):
        axis.plot([], [], "o", markersize=3.5, markerfacecolor="white", color=_GREY, label=_UNEQUAL)
    least = _limit_estimates(axis, result)
    told = _published(result, places, "top1")
    _mark(axis, [(value, place) for value, place in told if value >= least])
    for value, place in told:
        if value < least:
            axis.text(least, place, f" ← {value:g}", va="center", fontsize=6.5, color=_GREY)
    axis.set_xlabel("top-1 ± sd" if result.unit == "points" else "score")


def _limit_estimates(axis: Any, result: PartResult) -> float:
    """Limit the axis to the estimates and what was published near them; returns where it begins."""
    judged = [j for row in result.rows for j in row.judged]
    told = [value for value, _ in _published(result, range(len(result.rows)), "top1")]
    lowest = min(j.mean for j in judged) - _POINTS
    widest = _SDS * median(j.sd or 0.0 for j in judged)
    ends = [j.mean + sign * min(j.sd or 0.0, widest) for j in judged for sign in (-1, 1)]
    ends += [value for value in told if value >= lowest or result.unit != "points"]
    margin = 0.05 * (max(ends) - min(ends)) or 0.5
    room = 2 * margin if any(value < min(ends) for value in told) else 0.0  # for what is written there
    least = float(min(ends) - margin - room)
    axis.set_xlim(least, max(ends) + margin)
    return least


def draw_macs(axis: Any, result: PartResult) -> None:
    """A bar for each row."""
    places = _places(axis, result)
    bars = axis.barh(places, [row.macs / 1e9 for row in result.rows], color=_BLUE, height=0.6)
    axis.bar_label(bars, fmt=" {:.3g}", fontsize=6)
    axis.margins(x=0.12)
    axis.set_xlabel("MACs, 1e9")


def draw_host(axis: Any, result: PartResult) -> None:
    """Measured milliseconds with half of what their middle half spans to either side."""
    places = _places(axis, result)
    measured = [row.measured for row in result.rows if row.measured is not None]
    spread = [m.spread / 2 for m in measured]
    bars = axis.barh(places, [m.ms for m in measured], xerr=spread, height=0.6, color=_ORANGE)
    axis.bar_label(bars, fmt=" {:.3g}", fontsize=6)
    axis.margins(x=0.12)
    axis.set_xlabel("ms, measured on this host")


def draw_latency(axis: Any, result: PartResult) -> None:
    """Stacked milliseconds with the interval; published ones marked."""
    places = _places(axis, result)
    _stack(axis, result, places)
    latencies = [row.latency for row in result.rows if row.latency is not None]
    ends = [each.low for each in latencies], [each.high for each in latencies]
    axis.hlines(places, *ends, color=_GREY, linewidth=0.9, label="5–95 %")
    _mark(axis, _published(result, places, "ms"))
    _limit_latency(axis, result, places)
    assert result.device is not None
    axis.set_xlabel(f"ms on {result.device.name}, {result.device.info.method}")


def _stack(axis: Any, result: PartResult, places: Sequence[int]) -> None:
    parts = [breakdown(result, row) for row in result.rows]
    outside = [row.latency is not None and not row.latency.inside for row in result.rows]
    hatches = [_HATCH if is_outside else "" for is_outside in outside]
    names = dict.fromkeys(name for part in parts for name, ms in part.items() if ms > 0)
    further = [name for name in names if name not in _KINDS | _STAGES]
    left = [0.0] * len(parts)
    for name in names:
        colour = (_KINDS | _STAGES).get(name) or _FURTHER[further.index(name) % len(_FURTHER)]
        widths = [part.get(name, 0.0) for part in parts]
        for k, place in enumerate(places):
            if widths[k] > 0:
                axis.barh(place, widths[k], left=left[k], color=colour, hatch=hatches[k], **_BAR)
        axis.barh(0, 0, color=colour, label=name)  # for the legend, without hatches
        left = [a + b for a, b in zip(left, widths, strict=True)]
    if any(outside):
        axis.barh(0, 0, color="#bbbbbb", hatch=_HATCH, label=_OUTSIDE, **_BAR)


def _limit_latency(axis: Any, result: PartResult, places: Sequence[int]) -> None:
    """Cut off long intervals, and rows that take many times what the base takes; write what these take."""
    latencies = [row.latency for row in result.rows if row.latency is not None]
    told = [value for value, _ in _published(result, places, "ms")]
    assert result.base.latency is not None
    longest = min(max(each.ms for each in latencies), _BASES * result.base.latency.ms)
    highest = max(each.high for each in latencies)
    limit = max([min(1.05 * highest, _BARS * longest), *(1.1 * value for value in told)])
    axis.set_xlim(0, limit)
    for latency, place in zip(latencies, places, strict=True):
        if latency.ms > limit:
            said = {"ha": "right", "va": "center", "fontsize": 6, "bbox": {"color": "white", "pad": 0.8}}
            axis.text(limit, place, f"{latency.ms:.0f} ms →", **said)


def _published(result: PartResult, places: Sequence[int], name: str) -> list[tuple[float, int]]:
    """A published number of the rows that have it, and where they stand."""
    told = [(published(result, row, name), place) for row, place in zip(result.rows, places, strict=True)]
    return [(value, place) for value, place in told if value is not None]


def _mark(axis: Any, told: Sequence[tuple[float, int]]) -> None:
    if told:
        axis.plot(*_columns(told), label="published", **_MARKS)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _places(axis: Any, result: PartResult) -> list[int]:
    places = list(range(len(result.rows)))
    names = [f"{row.name} (base)" if row.is_base else row.name for row in result.rows]
    axis.set_yticks(places, names)
    axis.locator_params(axis="x", nbins=5)
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)
    return places
