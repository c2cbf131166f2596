"""What a report draws: figures of its page as plain data, and files with matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from hvnas._numbers import clean
from hvnas.latency.plots import check_target, save_figure
from hvnas.report.compare import Comparison
from hvnas.report.panels import Curve, Panel, Star, front_panels, history_panels
from hvnas.report.runs import device_title

# Okabe and Ito (2008), "Color universal design"; black and yellow, which read badly as lines, left out.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("-", "--", ":", "-.")
# Decades of a logarithmic axis from which 2 and 5 between the powers of ten crowd its labels.
_MANY = 3
# Characters that a row of the legend has room for.
_LEGEND = 120
# Reads on white and on black.
_GREY = "#7a7f87"
# Of a row of bars of the page, and of what stands above and below them, in pixels.
_ROW, _FRAME = 15, 60
_REACH = "feasible"
_MARKS = "fixed points"

_Panels = tuple[tuple[Panel, ...], tuple[Panel, ...]]


def save_comparison(comparison: Comparison, path: str | Path, *, chosen: Sequence[int | None] = ()) -> None:
    """Draw the fronts side by side and how the searches went; `chosen` as in `front_panels`.

    Raises ValueError where no figure can be written at `path`, naming the extra that is missing, and where
    there is nothing to draw.
    """
    check_target(path)
    panels = front_panels(comparison, chosen), history_panels(comparison)
    if not any(panels):
        raise ValueError(
            f"{path}: runs of one objective without a history leave nothing to draw; write a .csv"
        )
    save_figure(_drawn, panels, path, title(comparison))


def title(comparison: Comparison) -> str:
    """What is compared, in one line."""
    config, count = comparison.runs[0].config, len(comparison.runs)
    counted = "1 run" if count == 1 else f"{count} runs"
    device = device_title(config.device[0])
    return f"{counted} on {device}: {config.estimator}, {config.recipe}, {config.scenario}"


def _style(run: int) -> tuple[str, str]:
    """The colour of run number `run`, and its dash; the page's style has the same."""
    return _COLOURS[run % len(_COLOURS)], _DASHES[run // len(_COLOURS) % len(_DASHES)]


def _drawn(panels: _Panels, heading: str) -> Any:
    from matplotlib.figure import Figure

    fronts, histories = panels
    rows = len(fronts) + bool(histories)
    heights = [1.6] * len(fronts) + [1.0] * bool(histories)
    figure = Figure(figsize=(10, 1.2 + 3.1 * sum(heights)), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(rows, 2, height_ratios=heights)
    axes = [figure.add_subplot(grid[row, :]) for row in range(len(fronts))]
    axes += [figure.add_subplot(grid[rows - 1, column]) for column in range(len(histories))]
    for axis, panel in zip(axes, (*fronts, *histories), strict=True):
        _draw_panel(axis, panel)
    handles, labels = axes[0].get_legend_handles_labels()
    columns = max(1, min(6, _LEGEND // (max(map(len, labels)) + 8)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
    figure.suptitle(clean(heading), fontsize=11)
    return figure


def _draw_panel(axis: Any, panel: Panel) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    corners = _corners(panel)
    if corners is not None:
        (x0, x1), (y0, y1) = corners
        axis.fill_between([x0, x1], y0, y1, color="#009e73", alpha=0.1, linewidth=0, label=_REACH)
    for curve in panel.curves:
        colour, dash = _style(curve.run)
        line = {"drawstyle": "steps-post", "linestyle": dash} if curve.steps else {"linestyle": "none"}
        size = 2.5 if curve.steps else 3.5
        axis.plot(
            curve.x, curve.y, marker="o", markersize=size, color=colour, label=clean(curve.name), **line
        )
    if panel.marks:
        xs, ys = [m.x for m in panel.marks], [m.y for m in panel.marks]
        axis.scatter(
            xs, ys, marker="D", s=28, color=_GREY, edgecolor="white", linewidth=0.5, label=_MARKS, zorder=3
        )
    for mark in panel.marks:
        if mark.labelled:
            side, shift = ("right", -4) if mark.at_end else ("left", 4)
            place = {"xytext": (shift, -3), "textcoords": "offset points", "va": "top", "ha": side}
            axis.annotate(mark.name, (mark.x, mark.y), fontsize=7, color="#444444", **place)
    for star in panel.stars:
        _draw_star(axis, star)
    axis.set(xlabel=clean(panel.x_label), ylabel=clean(panel.y_label))
    if panel.x_range is not None and panel.y_range is not None:
        axis.set(xlim=panel.x_range, ylim=panel.y_range)
    if panel.decades is not None:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if panel.decades < _MANY else (1.0,)))
        # The library's own labels are formulas, and none are drawn.
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(clean(panel.title), loc="left", fontsize=9)
    axis.grid(color="0.92", linewidth=0.6)
    axis.set_axisbelow(True)


def _draw_star(axis: Any, star: Star) -> None:
    colour, _ = _style(star.run)
    errors = [None if e is None else [[e[0]], [e[1]]] for e in (star.x_error, star.y_error)]
    named = "chosen, with its intervals" if star.run == 0 else None
    look = {"marker": "*", "markersize": 13, "color": colour, "capsize": 3, "linestyle": "none"}
    axis.errorbar(star.x, star.y, xerr=errors[0], yerr=errors[1], label=named, zorder=4, **look)


@dataclass(frozen=True)
class PageFigure:
    """A figure under `id`, as wide as the page lets it; `data` and `layout` are what its script draws.

    Texts are escaped, and ``<br>`` parts their lines.
    """

    id: str
    title: str
    height: int
    data: list[dict[str, Any]]
    layout: dict[str, Any]

    def to_plain(self) -> dict[str, Any]:
        """The figure as plain data."""
        return asdict(self) | {"title": _text(self.title)}


def panel_figure(name: str, panel: Panel, height: int) -> PageFigure:
    """The figure of a panel."""
    corners = _corners(panel)
    data = [] if corners is None else [_region_trace(*corners)]
    data += [_curve_trace(curve) for curve in panel.curves]
    if panel.marks:
        data.append(
            {
                "kind": "marks",
                "name": _MARKS,
                "x": [mark.x for mark in panel.marks],
                "y": [mark.y for mark in panel.marks],
                "text": [_text(mark.name) for mark in panel.marks],
                "hovertext": [_hover(mark.name, mark.detail) for mark in panel.marks],
            }
        )
    data += [_star_trace(star) for star in panel.stars]
    x_type = "linear" if panel.decades is None else "log"
    layout = {
        "xaxis": _axis(panel.x_label, panel.x_range) | {"type": x_type},
        "yaxis": _axis(panel.y_label, panel.y_range),
    }
    return PageFigure(name, panel.title, height, data, layout)


def bars_figure(
    name: str,
    heading: str,
    *,
    rows: Sequence[tuple[str, Sequence[float | None]]],
    names: Sequence[str],
    unit: str,
) -> PageFigure:
    """Bars side by side: a row is a part's name and the value of each of `names`, None without it."""
    data = [
        {
            "kind": "bars",
            "name": _text(each),
            "run": k,
            "x": [values[k] for _, values in rows],
            "y": [_text(part) for part, _ in rows],
            "hovertext": [f"{_text(part)}: {values[k] or 0.0:.3f} ms" for part, values in rows],
        }
        for k, each in enumerate(names)
    ]
    height = _FRAME + _ROW * len(rows) * (len(names) + 1)
    return PageFigure(name, heading, height, data, {"xaxis": _axis(unit, None), "yaxis": _axis("", None)})


def _axis(label: str, extent: tuple[float, float] | None) -> dict[str, Any]:
    return {"title": {"text": _text(label)}, "range": extent}


def _text(text: str) -> str:
    """`text` in which nothing is markup, whoever comes to show it."""
    return escape(clean(text))


def _hover(name: str, detail: str) -> str:
    return f"{_text(name)}<br>{_text(detail)}" if detail else _text(name)


def _region_trace(x: tuple[float, float], y: tuple[float, float]) -> dict[str, Any]:
    (x0, x1), (y0, y1) = x, y
    return {"kind": "region", "name": _REACH, "x": [x0, x0, x1, x1, x0], "y": [y0, y1, y1, y0, y0]}


def _curve_trace(curve: Curve) -> dict[str, Any]:
    details = curve.details or ("",) * len(curve.texts)
    trace: dict[str, Any] = {
        "kind": "curve",
        "name": _text(curve.name),
        "run": curve.run,
        "steps": curve.steps,
        "x": list(curve.x),
        "y": list(curve.y),
        "shown": [text in curve.tabled for text in curve.texts] or [False] * len(curve.x),
    }
    if curve.texts:
        trace["hovertext"] = [_hover(*each) for each in zip(curve.texts, details, strict=True)]
    return trace


def _star_trace(star: Star) -> dict[str, Any]:
    return {
        "kind": "star",
        "name": "chosen, with its intervals",
        "run": star.run,
        "x": [star.x],
        "y": [star.y],
        "error_x": star.x_error,
        "error_y": star.y_error,
        "hovertext": [_hover(star.name, star.detail)],
    }


def _corners(panel: Panel) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """What of the frame is feasible; None where nothing bounds it, or all is out of sight."""
    region = panel.region
    if region is None or panel.x_range is None or panel.y_range is None:
        return None
    if (*region.x, *region.y) == (None,) * 4:
        return None
    (x0, x1), (y0, y1) = _cut(panel.x_range, region.x), _cut(panel.y_range, region.y)
    return ((x0, x1), (y0, y1)) if x0 < x1 and y0 < y1 else None


def _cut(extent: tuple[float, float], limits: tuple[float | None, float | None]) -> tuple[float, float]:
    low, high = limits
    return (
        extent[0] if low is None else max(extent[0], low),
        extent[1] if high is None else min(extent[1], high),
    )
